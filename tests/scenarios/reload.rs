//! A configuration is swapped without dropping a message: what has changed takes over from its old self,
//! which ends, and what is gone is gone.

use std::time::Duration;

use quayside_harness::{Load, LoadPlan, OnBreak, items, order_xml, pass_through, wait_for};
use quayside_tests::{Site, Store, judge, post_with};
use rustix::process::Signal;

/// How long a new configuration may take to be in force.
const IN_FORCE: Duration = Duration::from_secs(20);

/// The status of an order posted to `path`.
async fn status(site: &Site, path: &str, id: &str) -> u16 {
    let body = order_xml(id, "k", 300);
    let key = [("idempotency-key", id)];
    let reply = post_with(site.gateway().http, path, &key, body).await;
    reply.expect("an answer").status.as_u16()
}

async fn version(site: &Site) -> u64 {
    let status = site.gateway().api("status").await.expect("its status");
    status["config_version"]
        .as_u64()
        .unwrap_or_else(|| panic!("no version in {status}"))
}

/// Writes another configuration and waits until it is in force.
async fn reload(site: &Site, toml: &str) {
    let before = version(site).await;
    site.app.rewrite(toml);
    site.gateway().process.signal(Signal::HUP);
    wait_for("the new configuration", IN_FORCE, async || {
        match version(site).await {
            now if now > before => Ok(()),
            now => Err(format!("version {now}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_location_that_moves_leaves_its_old_path() {
    let site = Site::start(Store::Sqlite).await;
    let old = pass_through(site.partner.addr(), "", "");
    assert_eq!(status(&site, "/in/orders", "1").await, 202);
    reload(&site, &old.replace("/in/orders", "/in/moved")).await;
    wait_for("the move", IN_FORCE, async || {
        let at = (
            status(&site, "/in/moved", "2").await,
            status(&site, "/in/orders", "3").await,
        );
        if at == (202, 404) {
            Ok(())
        } else {
            Err(format!("{at:?}"))
        }
    })
    .await;
    reload(&site, &old).await;
    wait_for("the way back", IN_FORCE, async || {
        let at = (
            status(&site, "/in/orders", "4").await,
            status(&site, "/in/moved", "5").await,
        );
        if at == (202, 404) {
            Ok(())
        } else {
            Err(format!("{at:?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_changes_under_load_fails_no_request() {
    let site = Site::start(Store::Sqlite).await;
    let old = pass_through(site.partner.addr(), "", "");
    let changed = old.replace(
        "path = \"/in/orders\"",
        "path = \"/in/orders\"\nmax_body = \"1 MiB\"",
    );
    let mut plan = LoadPlan::new(&site.servers(), "/in/orders", 8);
    plan.on_break = OnBreak::Abandon;
    let load = Load::start(plan);
    for round in 0..6 {
        load.wait_accepted(100, Duration::from_secs(60)).await;
        reload(&site, if round % 2 == 0 { &changed } else { &old }).await;
    }
    let report = load.finish().await;
    let failed: Vec<_> = report.answers.iter().filter(|a| !a.accepted()).collect();
    assert!(
        failed.is_empty(),
        "{} failed: {:?}",
        failed.len(),
        failed.first()
    );
    site.gateway().drained(Duration::from_secs(60)).await;
    let verdict = judge(&report, &site.partner.log().await);
    assert!(verdict.exactly_once(), "{verdict}");
}

/// Asks for a reload and waits until the process has said that it did not take place.
async fn refused_reload(site: &Site) {
    let refusals = || site.gateway().process.stderr().matches("QS0716").count();
    let before = refusals();
    site.gateway().process.signal(Signal::HUP);
    wait_for("the refusal", IN_FORCE, async || match refusals() {
        now if now > before => Ok(()),
        now => Err(format!("{now} refusals")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_fails_leaves_everything_as_it_was() {
    let mut site = Site::start(Store::Postgres).await;
    let old = pass_through(site.partner.addr(), "", "");
    let recorded = "SELECT count(*) FROM config";
    assert_eq!((version(&site).await, site.number(recorded).await), (1, 1));

    site.app
        .rewrite(&old.replace("host = \"edge\"", "host = 7"));
    refused_reload(&site).await;
    assert_eq!((version(&site).await, site.number(recorded).await), (1, 1));
    assert_eq!(status(&site, "/in/orders", "1").await, 202);

    let moved = old.replace("/in/orders", "/in/moved");
    site.app.rewrite(&moved);
    let server = site.server.as_mut().expect("a server");
    server.stop_immediate().await;
    refused_reload(&site).await;
    site.server.as_mut().expect("a server").start_again().await;
    wait_for(
        "the old configuration at work",
        IN_FORCE,
        async || match status(&site, "/in/orders", "2").await {
            202 => Ok(()),
            status => Err(format!("status {status}")),
        },
    )
    .await;
    assert_eq!((version(&site).await, site.number(recorded).await), (1, 1));
    assert_eq!(status(&site, "/in/moved", "3").await, 404);

    reload(&site, &moved).await;
    assert_eq!((version(&site).await, site.number(recorded).await), (2, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_of_a_removed_port_stay_in_sight() {
    let site = Site::start(Store::Sqlite).await;
    let old = pass_through(site.partner.addr(), "", "");
    let gateway = site.gateway();
    gateway
        .post("ports/t.out/stop", &serde_json::json!({}))
        .await
        .expect("stopped");
    assert_eq!(site.order("1").await.status, 202);
    reload(&site, &old.replace("[send.out", "[send.renamed")).await;
    wait_for("the removed port in the list", IN_FORCE, async || {
        let ports = gateway.api("ports").await?;
        let removed = items(&ports)
            .iter()
            .any(|p| p["name"] == "t.out" && p["kind"] == "removed" && p["backlog"]["ready"] == 1);
        if removed {
            Ok(())
        } else {
            Err(ports.to_string())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_location_asks_its_senders_to_come_back() {
    let site = Site::start(Store::Sqlite).await;
    let gateway = site.gateway();
    for (verb, wanted) in [("stop", 503), ("start", 202), ("stop", 503)] {
        let path = format!("ports/t.orders.web/{verb}");
        gateway
            .post(&path, &serde_json::json!({}))
            .await
            .expect(verb);
        wait_for(verb, IN_FORCE, async || {
            match status(&site, "/in/orders", verb).await {
                status if status == wanted => Ok(()),
                status => Err(format!("status {status}")),
            }
        })
        .await;
    }
    let refused = site.order("stop").await;
    assert_eq!(refused.code(), "QS0423", "{}", refused.text());
    assert!(
        refused.text().contains("was stopped by an operator"),
        "{}",
        refused.text()
    );
    assert_eq!(refused.header("retry-after"), "60");
}

/// Its senders are told so from the start, and not that there is no such place.
#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_location_says_that_it_is_disabled() {
    let app = |partner| {
        let text = pass_through(partner, "", "");
        let place = "[receive.orders.location.web.http]";
        text.replace(
            place,
            &format!("[receive.orders.location.web]\nenabled = false\n{place}"),
        )
    };
    let site = Site::new(Store::Sqlite, 1, &app, &[]).await;
    wait_for("the word", IN_FORCE, async || {
        let refused = site.order("a").await;
        let told = refused.text().contains("is disabled by its configuration");
        match (refused.status.as_u16(), &*refused.code(), told) {
            (503, "QS0423", true) => Ok(()),
            _ => Err(refused.text()),
        }
    })
    .await;
    let gateway = site.gateway();
    gateway
        .post("ports/t.orders.web/start", &serde_json::json!({}))
        .await
        .expect("started");
    wait_for("the start", IN_FORCE, async || {
        let reply = site.order("a").await;
        match reply.status.as_u16() {
            202 => Ok(()),
            _ => Err(reply.text()),
        }
    })
    .await;
}
