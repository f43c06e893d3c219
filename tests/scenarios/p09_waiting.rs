//! P9, P10: instances that wait cost rows of the store, and nothing of the process that will go on with them.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use bytes::Bytes;
use quayside_harness::{Node, Session, wait_for};
use quayside_tests::{DATABASE, Site, Store, note, post_with};

const PATIENCE: Duration = Duration::from_secs(120);
/// How many instances are real; the others are copies of one of them, under keys of their own.
const REAL: usize = 200;
/// The most resident memory of a process whatever waits, in bytes.
const MEMORY: u64 = 200 * 1024 * 1024;

const WAITS: &str = "
messages:
  order: order
  answer: answer
correlations:
  by_order: OrderId
steps:
  - receive: order
    activate: true
    initialise: by_order
  - receive: answer
    follow: by_order
";

fn app(_partner: SocketAddr) -> String {
    let message = |name: &str, root: &str, path: &str| {
        format!(
            "[message.{name}]\ntype = \"urn:orders#{root}\"\n[message.{name}.namespaces]\no = \"urn:orders\"\n\
             [message.{name}.promote]\nOrderId = {{ xpath = \"/o:{root}/o:Id\" }}\n\
             [receive.{path}]\nmessage = \"{name}\"\n[receive.{path}.location.web.http]\npath = \"/in/{path}\"\n"
        )
    };
    format!(
        "[app]\nname = \"t\"\n{}{}",
        message("order", "Order", "orders"),
        message("answer", "Answer", "answers")
    )
}

/// How many instances wait: more by wish than every run of the tests has time for.
fn waiting() -> usize {
    match std::env::var("QUAYSIDE_WAITING") {
        Ok(text) => text.parse().expect("QUAYSIDE_WAITING is a number"),
        Err(_) => 20_000,
    }
}

/// Copies a waiting instance: its row, its key, and the message that it keeps.
async fn fill(session: &Session, copies: usize) {
    let fill = format!(
        "INSERT INTO run (id, started_at, changed_at, since, due, wakes, token, state, orchestration, definition, data)
         SELECT gen_random_uuid(), started_at, changed_at, since, due, wakes, token, state, orchestration, definition, data
         FROM (SELECT * FROM run LIMIT 1) r, generate_series(1, {copies});
         INSERT INTO subscription (orchestration, key, run)
         SELECT orchestration, decode(md5(id::text), 'hex'), id FROM run r
         WHERE NOT EXISTS (SELECT FROM subscription s WHERE s.run = r.id);
         INSERT INTO delivery (message, no, state, priority, slot, seq, rank, due, token, port, run)
         SELECT d.message, x.n, 5, d.priority, d.slot, d.seq, d.rank, d.due, d.token, d.port, x.id
         FROM (SELECT * FROM delivery LIMIT 1) d, (SELECT id, row_number() OVER () AS n FROM run) x WHERE x.n <= {copies}"
    );
    session.batch_execute(&fill).await.expect("copies");
    session
        .batch_execute("VACUUM ANALYZE")
        .await
        .expect("statistics");
}

async fn hand_in(site: &Site, path: &str, root: &str, id: usize) {
    let body = format!("<{root} xmlns='urn:orders'><Id>{id}</Id></{root}>");
    let reply = post_with(site.servers()[0], path, &[], Bytes::from(body)).await;
    let reply = reply.expect("the gateway");
    assert_eq!(reply.status, 202, "{}", reply.text());
}

/// Waits until as many instances as wanted are in `state`.
async fn come_to(site: &Site, state: i16, wanted: usize) {
    let what = format!("{wanted} instances to be in the state {state}");
    wait_for(&what, PATIENCE, async || {
        let query = format!("SELECT count(*) FROM run WHERE state = {state}");
        match usize::try_from(site.number(&query).await) {
            Ok(now) if now == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_waits_is_in_the_store_alone() {
    let count = waiting();
    let files = |folder: &Path| {
        fs::write(folder.join("waits.orchestration.yaml"), WAITS).expect("a definition");
    };
    let made = |node: Node| node;
    let mut site = Site::prepared(Store::Postgres, 1, &app, &files, &made).await;
    for id in 0..REAL {
        hand_in(&site, "/in/orders", "Order", id).await;
    }
    come_to(&site, 2, REAL).await;
    site.gateways[0].stop(PATIENCE).await;
    let session = site
        .server
        .as_ref()
        .expect("a server")
        .connect(DATABASE)
        .await;
    fill(&session, count - REAL).await;
    site.restart(0).await;
    let idle = site.gateway().process.rss();
    for id in 0..REAL {
        hand_in(&site, "/in/answers", "Answer", id).await;
    }
    come_to(&site, 4, REAL).await;
    come_to(&site, 2, count - REAL).await;
    let peak = site.gateway().process.peak_rss();
    let woken = "SELECT percentile_cont(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (ORDER BY (h.at - m.stored_at)::float8 / 1000)
                 FROM history h JOIN message m ON m.id = h.message
                 WHERE m.type = 'urn:orders#Answer' AND h.event = 'consumed'";
    let row = session.query_one(woken, &[]).await.expect("times");
    let times: Vec<f64> = row.get(0);
    let mib = |bytes: u64| bytes / 1024 / 1024;
    note(&format!(
        "{count} instances wait: {} MiB at first, {} MiB at most; {REAL} were woken, from stored to consumed \
         (p50, p99, at most) {times:.1?} ms",
        mib(idle),
        mib(peak),
    ));
    assert!(peak < MEMORY, "{} MiB", mib(peak));
}
