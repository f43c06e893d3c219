//! A process that starts before its database: it listens, says what it waits for, and begins by itself. What
//! waiting cannot mend ends it with the code for that.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use quayside_harness::{App, Node, Partner, Postgres, Reply, client, order_xml, wait_for};
use quayside_tests::post;

/// How long a process may take to listen, or to see that its database is there.
const SOON: Duration = Duration::from_secs(20);

/// The exit code for a configuration that cannot be used.
const BAD_CONFIG: i32 = 10;

async fn get(addr: SocketAddr, path: &str) -> Result<Reply, String> {
    let get = client::request("GET", addr, path, &[], Bytes::new());
    let reply = client::once(addr, get, Duration::from_secs(5)).await;
    reply.map_err(|error| format!("{path}: {error}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_waits_for_its_database_in_sight_of_everybody() {
    let mut server = Postgres::start().await;
    let url = server.create_database("quayside").await;
    server.stop_immediate().await;
    let partner = Partner::start().await;
    let app = App::pass_through(partner.addr(), "", "");
    let node = Node::new("node-a", app.path()).with_store(&url);
    let mut gateway = node.spawn();

    wait_for("the reason in /readyz", SOON, async || {
        let reply = get(gateway.admin, "/readyz").await?;
        let says_why = reply.status == 503 && reply.text().contains("QS0101");
        says_why.then_some(()).ok_or_else(|| reply.text())
    })
    .await;
    for listener in [gateway.admin, gateway.http] {
        let live = get(listener, "/livez").await.expect("it lives");
        assert_eq!(live.status, 200, "{}", live.text());
        let ready = get(listener, "/readyz").await.expect("it answers");
        assert_eq!(ready.status, 503, "{}", ready.text());
    }
    let order = order_xml("early", "k", 300);
    let refused = post(gateway.http, "early", order.clone()).await;
    let refused = refused.expect("an answer");
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(!refused.header("retry-after").is_empty());
    assert!(gateway.process.lines().is_empty(), "it is not ready");

    server.start_again().await;
    gateway.ready().await;
    let ready = get(gateway.admin, "/readyz").await.expect("it answers");
    assert_eq!(ready.status, 200, "{}", ready.text());
    // The line says ready: the very next request finds its place.
    let accepted = post(gateway.http, "early", order).await.expect("an answer");
    assert_eq!(accepted.status, 202, "{}", accepted.text());
    gateway.drained(SOON).await;
    let log = partner.log().await;
    assert_eq!(log.iter().filter(|seen| seen.effect).count(), 1, "{log:?}");
    assert_eq!(gateway.stop(SOON).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_waits_for_its_database_stops_when_told() {
    let mut server = Postgres::start().await;
    let url = server.create_database("quayside").await;
    server.stop_immediate().await;
    let partner = Partner::start().await;
    let app = App::pass_through(partner.addr(), "", "");
    let node = Node::new("node-a", app.path()).with_store(&url);
    let mut gateway = node.spawn();
    wait_for("it to listen", SOON, async || {
        get(gateway.admin, "/livez").await.map(drop)
    })
    .await;
    assert_eq!(gateway.stop(SOON).await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_by_name_ends_the_process() {
    let server = Postgres::start().await;
    let partner = Partner::start().await;
    let app = App::pass_through(partner.addr(), "", "");
    let node = Node::new("node-a", app.path()).with_store(&server.url("nowhere"));
    let mut gateway = node.spawn();
    let exit = gateway.process.wait_exit(SOON).await;
    let said = gateway.process.stderr();
    assert_eq!(exit.code(), Some(BAD_CONFIG), "{said}");
    assert!(said.contains("QS0109"), "{said}");
}
