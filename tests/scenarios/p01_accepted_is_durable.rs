//! P1: a positive answer is given only after the store has committed, and a commit outlives its client.

use std::time::Duration;

use quayside_harness::{
    Postgres, Syscall, Trace, order_xml, pass_through, process::children, wait_for,
};
use quayside_tests::{Site, Store};
use tokio::{io::AsyncWriteExt, net::TcpStream};

/// What the tracer writes down: how a request comes in, how an answer goes out, and what makes it last.
const CALLS: &str = "read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,fsync,fdatasync";

/// Where the log of a store lies: what must be on the disk before the answer.
fn is_log(text: &str) -> bool {
    text.contains("quayside.db-wal") || text.contains("/pg_wal/")
}

/// Whether a sync of the store's log was completed between the reading of the request with `mark` and
/// the writing of its 202.
///
/// # Panics
/// When the trace does not show the request or the answer: then it proves nothing.
fn synced_before_the_answer(calls: &[Syscall], mark: &str) -> bool {
    let reads = |c: &Syscall| matches!(c.name.as_str(), "read" | "readv" | "recvfrom" | "recvmsg");
    let writes = |c: &Syscall| matches!(c.name.as_str(), "write" | "writev" | "sendto" | "sendmsg");
    let request = calls.iter().position(|c| reads(c) && c.text.contains(mark));
    let request = request.expect("the trace shows the request");
    let rest = &calls[request..];
    let answer = rest
        .iter()
        .position(|c| writes(c) && c.text.contains("202 Accepted"));
    let before = &rest[..answer.expect("the trace shows the answer")];
    let done = |c: &Syscall| c.text.trim_end().ends_with("= 0") && is_log(&c.text);
    before
        .iter()
        .any(|c| matches!(c.name.as_str(), "fsync" | "fdatasync") && done(c))
}

/// Traces the gateway, and PostgreSQL if it is the store, while one order comes in.
async fn trace_one(site: &Site) -> bool {
    let mut pids = vec![site.gateway().process.pid()];
    if let Some(server) = &site.server {
        pids.push(server.pid());
        pids.extend(children(server.pid()));
    }
    // Past the first request everything is open and warm, so that the trace shows the usual way.
    assert_eq!(site.order("warm").await.status, 202);
    let trace = Trace::attach(&pids, CALLS).await;
    assert_eq!(site.order("traced-order").await.status, 202);
    wait_for(
        "the trace of the answer",
        Duration::from_secs(5),
        async || {
            let seen = trace
                .calls()
                .iter()
                .any(|c| c.text.contains("202 Accepted"));
            if seen {
                Ok(())
            } else {
                Err("not yet".to_owned())
            }
        },
    )
    .await;
    synced_before_the_answer(&trace.detach().await, "traced-order")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_synced_before_the_answer_on_sqlite() {
    assert!(
        trace_one(&Site::start(Store::Sqlite).await).await,
        "202 without a sync of the log"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_synced_before_the_answer_on_postgres() {
    assert!(
        trace_one(&Site::start(Store::Postgres).await).await,
        "202 without a sync of the log"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_would_show_an_answer_without_a_sync_on_sqlite() {
    let app = |partner| pass_through(partner, "", "");
    let site = Site::new(
        Store::Sqlite,
        1,
        &app,
        &[("QUAYSIDE_FAIL_POINTS", "no-sync")],
    )
    .await;
    assert!(!trace_one(&site).await, "synchronous=OFF syncs nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_would_show_an_answer_without_a_sync_on_postgres() {
    // A server that syncs late whoever asks; the writer behind the commits must not wake meanwhile.
    let settings = [("synchronous_commit", "off"), ("wal_writer_delay", "10s")];
    let server = Postgres::start_with(&settings).await;
    let app = |partner| pass_through(partner, "", "");
    let site = Site::on(Some(server), 1, &app, &[]).await;
    assert!(
        !trace_one(&site).await,
        "synchronous_commit=off syncs later"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_does_not_cancel_a_commit() {
    for store in [Store::Sqlite, Store::Postgres] {
        let site = Site::start(store).await;
        let ids: Vec<_> = (0..20).map(|no| format!("hung-up-{no}")).collect();
        for id in &ids {
            send_and_hang_up(&site, id).await;
        }
        let ids: Vec<_> = ids.iter().map(String::as_str).collect();
        site.partner
            .wait_for_ids(&ids, Duration::from_secs(20))
            .await;
    }
}

/// Sends a whole request and goes without reading the answer.
async fn send_and_hang_up(site: &Site, id: &str) {
    let addr = site.gateway().http;
    let body = order_xml(id, "k", 300);
    let head = format!(
        "POST /in/orders HTTP/1.1\r\nhost: {addr}\r\ncontent-type: application/xml\r\n\
         idempotency-key: \"{id}\"\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(addr).await.expect("connecting");
    stream
        .write_all(head.as_bytes())
        .await
        .expect("writing the head");
    stream.write_all(&body).await.expect("writing the body");
    // An orderly end of what this side sends, and no reading: the answer meets a closed socket.
    stream.shutdown().await.expect("ending the request");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_survives_the_next_instant() {
    for store in [Store::Sqlite, Store::Postgres] {
        let mut site = Site::start(store).await;
        // Nothing can be delivered, so what arrives later was kept by the store alone.
        site.partner.process.pause().await;
        let mut accepted = Vec::new();
        for round in 0..5 {
            let id = format!("instant-{round}");
            let reply = site.order(&id).await;
            site.gateways[0].kill9();
            assert_eq!(reply.status, 202, "{store:?} {}", reply.text());
            accepted.push(id);
            site.restart(0).await;
        }
        site.partner.process.resume();
        let ids: Vec<_> = accepted.iter().map(String::as_str).collect();
        site.partner
            .wait_for_ids(&ids, Duration::from_secs(30))
            .await;
    }
}

#[test]
fn the_judge_of_traces_tells_order_and_file() {
    let call = |name: &str, text: &str| Syscall {
        thread: 1,
        name: name.to_owned(),
        text: format!("{name}({text}"),
    };
    let request = call("recvfrom", "9<socket>, \"bid:x\", 100) = 50");
    let sync = call("fdatasync", "5</data/quayside.db-wal>) = 0");
    let failed = call("fdatasync", "5</data/quayside.db-wal>) = -1 EIO");
    let other = call("fsync", "5</data/other>) = 0");
    let answer = call("writev", "9<socket>, \"HTTP/1.1 202 Accepted\") = 90");
    for (calls, expected) in [
        (vec![&request, &sync, &answer], true),
        (vec![&sync, &request, &answer], false),
        (vec![&request, &answer, &sync], false),
        (vec![&request, &failed, &answer], false),
        (vec![&request, &other, &answer], false),
    ] {
        let calls: Vec<_> = calls.into_iter().cloned().collect();
        assert_eq!(
            synced_before_the_answer(&calls, "bid:x"),
            expected,
            "{calls:?}"
        );
    }
}
