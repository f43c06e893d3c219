//! P7: order per key, from receive location to send port, across retries and failover; a failed message
//! holds its own key and no other.

use std::{net::SocketAddr, time::Duration};

use quayside_harness::{Load, LoadPlan, OnBreak, Stopwatch, order_xml, pass_through, wait_for};
use quayside_tests::{DATABASE, Site, Store, judge, post};
use serde_json::json;

/// Within this every request is answered, whatever the store does.
const ANSWER: Duration = Duration::from_secs(2);

const ORDERED: &str = "ordered = { by = \"CustomerId\", on_failure = \"hold-key\" }";

#[tokio::test(flavor = "multi_thread")]
async fn each_key_keeps_its_order_across_faults_and_kills() {
    for (store, machines) in [(Store::Sqlite, 1), (Store::Postgres, 2)] {
        let mut site = Site::with(store, machines, ORDERED, "").await;
        site.partner
            .fault(&json!({ "kind": "reset-after", "share": 0.05 }))
            .await;
        site.partner
            .fault(&json!({ "kind": "status", "status": 503, "share": 0.1 }))
            .await;
        let mut plan = LoadPlan::new(&site.servers(), "/in/orders", 12);
        plan.on_break = OnBreak::Repeat;
        let load = Load::start(plan);
        for round in 0..4 {
            load.wait_accepted(100, Duration::from_secs(60)).await;
            site.gateways[round % machines].kill9();
            site.restart(round % machines).await;
        }
        let report = load.finish().await;
        site.partner.heal().await;
        site.gateway().drained(Duration::from_secs(90)).await;
        let verdict = judge(&report, &site.partner.log().await);
        assert!(verdict.exactly_once(), "{store:?}: {verdict}");
        assert!(verdict.out_of_order.is_empty(), "{store:?}: {verdict}");
    }
}

/// The ordered application whose port gives a message up after one attempt.
fn gives_up(partner: SocketAddr) -> String {
    let many = "attempts = 1000, first = \"50ms\", factor = 1.5, max = \"1s\"";
    let one = "attempts = 1, first = \"50ms\", factor = 1.0, max = \"50ms\"";
    let text = pass_through(partner, ORDERED, "");
    assert!(text.contains(many), "the schedule to be replaced is there");
    text.replace(many, one)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_message_holds_its_own_key_and_no_other() {
    for store in [Store::Sqlite, Store::Postgres] {
        let site = Site::new(store, 1, &gives_up, &[]).await;
        let addr = site.gateway().http;
        let send = async |id: &str, key: &str| {
            let reply = post(addr, id, order_xml(id, key, 300))
                .await
                .expect("an answer");
            assert_eq!(reply.status, 202, "{}", reply.text());
            reply.json()["id"].as_str().expect("an id").to_owned()
        };
        site.partner
            .fault(&json!({ "kind": "status", "status": 503, "next": 1 }))
            .await;
        let head = send("head", "held").await;
        let delivery = wait_for(
            "the head to be suspended",
            Duration::from_secs(20),
            async || {
                let way = site.gateway().way(&head).await?;
                let delivery = &way["live_deliveries"][0];
                if delivery["state"] == "suspended" {
                    Ok(delivery["id"].clone())
                } else {
                    Err(way.to_string())
                }
            },
        )
        .await;
        send("second", "held").await;
        send("third", "held").await;
        send("other", "free").await;
        site.partner
            .wait_for_ids(&["other"], Duration::from_secs(20))
            .await;
        // The other key went by; whatever was to pass the head would have done so before it.
        let effective = async || {
            let log = site.partner.log().await;
            log.into_iter()
                .filter(|s| s.effect)
                .map(|s| s.id)
                .collect::<Vec<_>>()
        };
        assert_eq!(effective().await, ["other"], "{store:?}");

        let resume = site
            .gateway()
            .post("deliveries/resume", &json!({ "ids": [delivery] }))
            .await;
        assert_eq!(resume.expect("an answer")["outcomes"][0]["outcome"], "done");
        site.partner
            .wait_for_ids(&["head", "second", "third"], Duration::from_secs(20))
            .await;
        assert_eq!(
            effective().await,
            ["other", "head", "second", "third"],
            "{store:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_behind_does_not_overtake_a_commit_in_the_dark() {
    let ordered = |partner| {
        let port = "message = \"order\"";
        let text = pass_through(partner, ORDERED, "");
        text.replacen(port, &format!("{port}\nordered = true"), 1)
    };
    let site = Site::new(Store::Postgres, 1, &ordered, &[]).await;
    let addr = site.gateway().http;
    let send = async |id: &str| {
        let watch = Stopwatch::start();
        let reply = post(addr, id, order_xml(id, "k", 300)).await;
        assert!(watch.elapsed() <= ANSWER, "{id}: {:?}", watch.elapsed());
        reply.expect("an answer")
    };
    assert_eq!(send("before").await.status, 202);
    // No message can be stored while the lock is held, and commits fail for it again and again.
    let server = site.server.as_ref().expect("a server");
    let session = server.connect(DATABASE).await;
    let lock = "BEGIN; LOCK TABLE message IN SHARE MODE";
    session.batch_execute(lock).await.expect("the lock");
    for (id, code) in [("first", Some("QS0803")), ("second", None)] {
        let reply = send(id).await;
        assert_eq!(reply.status, 503, "{id}: {}", reply.text());
        assert!(!reply.header("retry-after").is_empty(), "{id}");
        assert!(
            code.is_none_or(|code| reply.code() == code),
            "{}",
            reply.text()
        );
    }
    session.batch_execute("ROLLBACK").await.expect("unlocked");

    // Nobody sends the first one again: the location itself does not go on without it.
    wait_for("the third", Duration::from_secs(20), async || {
        let reply = send("third").await;
        if reply.status == 202 {
            Ok(())
        } else {
            Err(reply.text())
        }
    })
    .await;
    site.gateway().drained(Duration::from_secs(60)).await;
    let log = site.partner.log().await;
    let got: Vec<_> = log.iter().filter(|s| s.effect).map(|s| &*s.id).collect();
    assert_eq!(got, ["before", "first", "third"]);
}
