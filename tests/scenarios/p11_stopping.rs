//! P11: stopping is safe. SIGTERM drains; behind a load balancer nobody notices.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use quayside_harness::{
    Answer, Broken, Haproxy, Load, LoadPlan, LoadReport, OnBreak, Status, Syscall, Trace,
    unix_micros,
};
use quayside_tests::{Site, Store, all_accepted, judge, note};

/// How long a gateway may take to stop.
const STOP: Duration = Duration::from_secs(30);

const CLIENTS: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_loses_nothing_and_ends_with_zero() {
    for store in [Store::Sqlite, Store::Postgres] {
        let mut site = Site::start(store).await;
        let mut plan = LoadPlan::new(&site.servers(), "/in/orders", 16);
        plan.on_break = OnBreak::Mixed;
        let load = Load::start(plan);
        for _ in 0..3 {
            load.wait_accepted(200, Duration::from_secs(60)).await;
            assert_eq!(site.gateways[0].stop(STOP).await, Some(0), "{store:?}");
            site.restart(0).await;
        }
        let report = load.finish().await;
        site.gateway().drained(Duration::from_secs(60)).await;
        let verdict = judge(&report, &site.partner.log().await);
        assert!(verdict.exactly_once(), "{store:?}: {verdict}");
        assert_eq!(
            verdict.repeats, 0,
            "{store:?}: a stop leaves nothing in doubt: {verdict}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_haproxy_restarts_in_turn_fail_no_request() {
    let mut site = Site::with(Store::Postgres, 2, "", "").await;
    let haproxy = Haproxy::start(&site.servers(), true).await;
    let mut plan = LoadPlan::new(&[haproxy.addr()], "/in/orders", CLIENTS);
    plan.on_break = OnBreak::Abandon;
    let load = Load::start(plan);
    for round in 0..20 {
        let victim = round % 2;
        site.in_rotation(1 - victim).await;
        load.wait_accepted(100, Duration::from_secs(60)).await;
        assert_eq!(
            site.gateways[victim].stop(STOP).await,
            Some(0),
            "round {round}"
        );
        site.restart(victim).await;
        site.in_rotation(victim).await;
    }
    let report = load.finish().await;
    all_accepted(&report);
    exactly_once(&site, &report).await;
}

/// A process that was killed.
struct Kill {
    victim: usize,
    /// From the signal until the process was gone, in microseconds since the epoch.
    signal: u64,
    gone: u64,
}

/// Why a failed request was none that the victim of a kill had in flight; nothing if it was. `sent_to`
/// are the machines that the load balancer sent it to: the victim alone, or nobody if the connection that
/// was opened for it broke first. A refused connection, which has to be tried elsewhere, would fail with
/// an answer of the load balancer's own, and one after the kill would be too late for either.
fn not_in_flight(answer: &Answer, sent_to: &[usize], kills: &[Kill]) -> Option<String> {
    let ended = answer.sent_at + u64::try_from(answer.took.as_micros()).unwrap_or(u64::MAX);
    let under_way = |kill: &&Kill| answer.sent_at <= kill.gone && ended >= kill.signal;
    // A slow request may be under way at the kills of both.
    let victims: Vec<_> = kills.iter().filter(under_way).map(|k| k.victim).collect();
    if victims.is_empty() {
        return Some(format!("under way at no kill, at {sent_to:?}: {answer:?}"));
    }
    let broken = answer.outcome.is_err() && sent_to.is_empty();
    if broken || matches!(sent_to, [only] if victims.contains(only)) {
        return None;
    }
    Some(format!("at {sent_to:?} when {victims:?} died: {answer:?}"))
}

/// The machines that each request was sent to, by its key, from the system calls of the load balancer. Its
/// log is of no use here: it leaves out requests of a kept connection that the server broke off. A write
/// that failed counts: the connection was open when the server died.
fn sent_to(calls: &[Syscall], servers: &[SocketAddr]) -> HashMap<String, Vec<usize>> {
    let mut sent: HashMap<_, Vec<_>> = HashMap::new();
    let ends: Vec<_> = servers.iter().map(|s| format!("->{s}]>")).collect();
    for call in calls {
        let key = call.text.split_once("idempotency-key: \\\"");
        let key = key.and_then(|(_, rest)| rest.split_once("\\\""));
        let server = ends.iter().position(|end| call.text.contains(end));
        if let (Some((key, _)), Some(server)) = (key, server) {
            let machines = sent.entry(key.to_owned()).or_default();
            // A write that found no room is tried again.
            if machines.last() != Some(&server) {
                machines.push(server);
            }
        }
    }
    sent
}

/// Kills each of two machines in turn behind a load balancer and brings it back, under load of clients
/// that never repeat a request, and send its body with its head or `apart` from it.
async fn kill_in_turn(site: &mut Site, balancer: &Haproxy, apart: bool) -> (LoadReport, Vec<Kill>) {
    let mut plan = LoadPlan::new(&[balancer.addr()], "/in/orders", CLIENTS);
    plan.on_break = OnBreak::Abandon;
    plan.apart = apart;
    let load = Load::start(plan);
    let mut kills = Vec::new();
    for victim in [0, 1, 0, 1, 0] {
        load.wait_accepted(300, Duration::from_secs(60)).await;
        let signal = unix_micros();
        site.gateways[victim].kill9();
        let gone = unix_micros();
        kills.push(Kill {
            victim,
            signal,
            gone,
        });
        load.wait_accepted(300, Duration::from_secs(60)).await;
        site.restart(victim).await;
        site.in_rotation(victim).await;
    }
    (load.finish().await, kills)
}

async fn exactly_once(site: &Site, report: &LoadReport) {
    site.gateway().drained(Duration::from_secs(60)).await;
    let verdict = judge(report, &site.partner.log().await);
    assert!(verdict.exactly_once(), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_haproxy_a_kill_fails_only_what_was_in_flight_there() {
    let mut site = Site::with(Store::Postgres, 2, "", "").await;
    // On a kept connection a request could be sent to who is dead, before the end of it is noticed.
    let haproxy = Haproxy::start_with(&site.servers(), true, &["http-reuse never"]).await;
    let pid = haproxy.process.pid();
    let trace = Trace::attach(|| vec![pid], "sendto,sendmsg,write,writev").await;
    let (report, kills) = kill_in_turn(&mut site, &haproxy, false).await;
    let sent = sent_to(&trace.detach().await, &site.servers());
    let failed: Vec<_> = report.answers.iter().filter(|a| !a.accepted()).collect();
    let at = |answer: &Answer| sent.get(&answer.id).map_or(&[][..], Vec::as_slice);
    let wrong: Vec<_> = failed
        .iter()
        .filter_map(|a| not_in_flight(a, at(a), &kills))
        .collect();
    note(&format!(
        "{} kills, {} requests, {} failed, all of them at the process that died",
        kills.len(),
        report.answers.len(),
        failed.len() - wrong.len(),
    ));
    assert!(
        wrong.is_empty(),
        "{} of {} failures have another cause:\n{}",
        wrong.len(),
        failed.len(),
        wrong[..wrong.len().min(5)].join("\n")
    );
    assert!(!failed.is_empty(), "no kill met a request in flight");
    exactly_once(&site, &report).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_balancer_that_repeats_what_has_a_key_lets_no_client_notice_a_kill() {
    let mut site = Site::with(Store::Postgres, 2, "", "").await;
    let haproxy = Haproxy::as_documented(&site.servers()).await;
    // Apart: what has not arrived as a whole cannot be sent again.
    let (report, _) = kill_in_turn(&mut site, &haproxy, true).await;
    all_accepted(&report);
    exactly_once(&site, &report).await;
}

#[test]
fn the_judge_of_kills_tells_whose_failure_it_was() {
    let kills = [Kill {
        victim: 1,
        signal: 1_000,
        gone: 2_000,
    }];
    let answer = |sent_at, took, status: Option<u16>| Answer {
        id: "m-0-1".to_owned(),
        key: String::new(),
        no: 1,
        sent_at,
        took: Duration::from_micros(took),
        outcome: status
            .ok_or(Broken::Lost("reset".to_owned()))
            .map(|code| Status {
                code,
                retry_after: false,
                problem: String::new(),
            }),
    };
    for (answer, sent_to, fine) in [
        (answer(500, 1_000, None), &[1][..], true),
        (answer(500, 1_000, Some(502)), &[1], true),
        (answer(500, 1_000, None), &[], true),
        (answer(500, 1_000, Some(503)), &[], false),
        (answer(500, 1_000, None), &[0], false),
        (answer(500, 1_000, None), &[1, 0], false),
        (answer(2_001, 1_000, None), &[1], false),
        (answer(2_001, 1_000, None), &[], false),
        (answer(100, 200, None), &[1], false),
    ] {
        let reason = not_in_flight(&answer, sent_to, &kills);
        assert_eq!(reason.is_none(), fine, "{answer:?} {sent_to:?}: {reason:?}");
    }
    let call = |text: &str| Syscall {
        thread: 1,
        name: "sendto".to_owned(),
        text: text.to_owned(),
    };
    let servers = [
        "127.0.0.1:1".parse().unwrap(),
        "127.0.0.1:2".parse().unwrap(),
    ];
    let calls = [
        call(
            r#"sendto(9<TCP:[127.0.0.1:5->127.0.0.1:2]>, "POST /\r\nidempotency-key: \"m-1\"\r\n", 9) = 9"#,
        ),
        call(
            r#"sendto(9<TCP:[127.0.0.1:5->127.0.0.1:1]>, "idempotency-key: \"m-2\"", 9) = -1 EPIPE"#,
        ),
        call(r#"sendto(9<TCP:[127.0.0.1:7->127.0.0.1:9]>, "HTTP/1.1 202 Accepted", 9) = 9"#),
    ];
    let expected = HashMap::from([("m-1".to_owned(), vec![1]), ("m-2".to_owned(), vec![0])]);
    assert_eq!(sent_to(&calls, &servers), expected);
}
