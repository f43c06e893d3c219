//! Nodes are upgraded one by one: the program of the previous landing runs beside this one on one
//! database under load, nothing is lost, nothing done twice, and no client notices.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use quayside_harness::{Haproxy, Load, LoadPlan, LoadReport, Node, OnBreak, Postgres, program};
use quayside_tests::{DATABASE, Site, all_accepted, judge, note, two_ports};

/// How long a gateway may take to stop.
const STOP: Duration = Duration::from_secs(30);

const PATIENCE: Duration = Duration::from_secs(60);

/// The program of the commit in `tests/previous-landing`.
///
/// # Panics
/// When it is not built: with what to do.
fn previous() -> PathBuf {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/previous-landing");
    let text = fs::read_to_string(file).expect("reading previous-landing");
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let commit = lines.next().expect("previous-landing names a commit");
    let new = program("quayside");
    let target = new.ancestors().nth(2).expect("TARGET/PROFILE/quayside");
    let path = target.join("previous").join(commit).join("quayside");
    assert!(
        path.exists(),
        "{} is not built: run tests/previous, in a clone that holds commit {commit}",
        path.display()
    );
    path
}

/// Clients that never repeat a request, so that each failure is seen.
fn load(server: SocketAddr, prefix: &str, clients: usize) -> Load {
    let mut plan = LoadPlan::new(&[server], "/in/orders", clients);
    plan.on_break = OnBreak::Abandon;
    prefix.clone_into(&mut plan.prefix);
    Load::start(plan)
}

async fn schema(site: &Site) -> i64 {
    let newest = "SELECT max(version)::int8 FROM schema_version";
    site.number(newest).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_previous_landing_runs_beside_this_one_until_it_is_replaced() {
    let server = Postgres::start().await;
    let mut site = Site::on(Some(server), 0, &two_ports, &[]).await;
    let url = site.server.as_ref().expect("a server").url(DATABASE);
    let node = |name: &str| Node::new(name, site.app.path()).with_store(&url);
    site.nodes = vec![node("node-a").with_binary(&previous()), node("node-b")];

    // The old one alone.
    site.gateways.push(site.nodes[0].start().await);
    let old_schema = schema(&site).await;
    let haproxy = Haproxy::start(&site.servers(), true).await;
    let balanced = load(haproxy.addr(), "balanced", 24);
    let at_old = load(site.nodes[0].http(), "old", 8);
    balanced.wait_accepted(500, PATIENCE).await;

    // The new one joins, which brings the schema to its own version.
    site.gateways.push(site.nodes[1].start().await);
    let new_schema = schema(&site).await;
    site.in_rotation(1).await;
    let at_new = load(site.nodes[1].http(), "new", 8);
    site.in_rotation(0).await;
    at_old.wait_accepted(300, PATIENCE).await;
    at_new.wait_accepted(300, PATIENCE).await;
    balanced.wait_accepted(1000, PATIENCE).await;

    // The old one stops, and the new one takes its place.
    let mut report = at_old.finish().await;
    assert_eq!(site.gateways[0].stop(STOP).await, Some(0));
    balanced.wait_accepted(500, PATIENCE).await;
    let upgraded = site.nodes.remove(0).with_binary(&program("quayside"));
    site.nodes.insert(0, upgraded);
    site.restart(0).await;
    site.in_rotation(0).await;
    balanced.wait_accepted(500, PATIENCE).await;

    report.answers.extend(balanced.finish().await.answers);
    report.answers.extend(at_new.finish().await.answers);
    note(&format!(
        "schema {old_schema} to {new_schema}, {} requests",
        report.answers.len()
    ));
    nobody_noticed(&site, &report).await;
}

/// Every request was accepted, and each had one effect at each port, at the ordered one in order.
async fn nobody_noticed(site: &Site, report: &LoadReport) {
    all_accepted(report);
    site.gateway().drained(PATIENCE).await;
    let log = site.partner.log().await;
    for path in ["/orders", "/sequence"] {
        let at_port: Vec<_> = log.iter().filter(|s| s.path == path).cloned().collect();
        let verdict = judge(report, &at_port);
        note(&format!("{path}: {verdict}"));
        assert!(verdict.exactly_once(), "{path}: {verdict}");
        let in_order = verdict.out_of_order.is_empty() || path == "/orders";
        assert!(in_order, "{path}: {verdict}");
    }
}
