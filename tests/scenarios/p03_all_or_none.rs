//! P3: every matching subscription gets the message in the same commit, and without any the sender is
//! told.

use std::{net::SocketAddr, time::Duration};

use quayside_harness::{
    Load, LoadPlan, OnBreak, Reply, client, items, order_xml, pass_through, wait_for,
};
use quayside_tests::{Site, Store, judge, post};
use serde_json::{Value, json};

/// Two more subscribers beside `t.out`, each with a path of its own.
fn three_subscribers(partner: SocketAddr) -> String {
    let subscriber = |name: &str| {
        format!(
            "[send.{name}]\nhost = \"edge\"\nfilter = \"CustomerId != ''\"\n\
             retry = {{ attempts = 1000, first = \"50ms\", factor = 1.5, max = \"1s\" }}\n\
             [send.{name}.primary.http]\nurl = \"http://{partner}/{name}\"\n"
        )
    };
    pass_through(partner, "", &(subscriber("copy") + &subscriber("audit")))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_subscriber_gets_each_message_across_kills() {
    for store in [Store::Sqlite, Store::Postgres] {
        let mut site = Site::new(store, 1, &three_subscribers, &[]).await;
        let mut plan = LoadPlan::new(&site.servers(), "/in/orders", 8);
        plan.on_break = OnBreak::Mixed;
        let load = Load::start(plan);
        for _ in 0..5 {
            load.wait_accepted(100, Duration::from_secs(60)).await;
            site.gateways[0].kill9();
            site.restart(0).await;
        }
        let report = load.finish().await;
        site.gateway().drained(Duration::from_secs(60)).await;
        let log = site.partner.log().await;
        let mut ids = Vec::new();
        for path in ["/orders", "/copy", "/audit"] {
            let one: Vec<_> = log.iter().filter(|s| s.path == path).cloned().collect();
            let verdict = judge(&report, &one);
            assert!(verdict.exactly_once(), "{store:?} {path}: {verdict}");
            assert!(verdict.accepted >= 500);
            ids.push(
                one.into_iter()
                    .map(|s| s.id)
                    .collect::<std::collections::BTreeSet<_>>(),
            );
        }
        // Also of requests without an answer: either all three got it, or none.
        assert!(
            ids.iter().all(|i| *i == ids[0]),
            "{store:?}: subscribers got different messages"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_accepted_that_nobody_subscribes_to() {
    for store in [Store::Sqlite, Store::Postgres] {
        let app = |partner| pass_through(partner, "", "").replace("'urn:orders#Order'", "'nobody'");
        let site = Site::new(store, 1, &app, &[]).await;
        let reply = site.order("unwanted").await;
        assert_eq!(
            (reply.status.as_u16(), reply.code().as_str()),
            (422, "QS0801")
        );
        let messages = site.gateway().api("messages").await.expect("a list");
        assert!(items(&messages).is_empty(), "nothing is stored: {messages}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unrouted_message_is_kept_with_a_report_if_the_port_says_so() {
    for store in [Store::Sqlite, Store::Postgres] {
        let app = |partner| {
            let text = pass_through(partner, "", "");
            let text = text.replace("'urn:orders#Order'", "'nobody'");
            text.replacen(
                "message = \"order\"",
                "message = \"order\"\nunrouted = \"suspend\"",
                1,
            )
        };
        let site = Site::new(store, 1, &app, &[]).await;
        let addr = site.gateway().http;
        let reply = post(addr, "kept", order_xml("kept", "k", 300))
            .await
            .expect("an answer");
        assert_eq!(reply.status, 202, "{}", reply.text());
        let id = reply.json()["id"].as_str().expect("an id").to_owned();
        let way = wait_for("the routing report", Duration::from_secs(5), async || {
            site.gateway().way(&id).await
        })
        .await;
        let delivery = &way["live_deliveries"][0];
        assert_eq!(delivery["state"], "suspended", "{way}");
        assert_eq!(delivery["failure"]["code"], "QS0801", "{way}");
    }
}

/// A failure that is published takes the place of what arrived, and its id is the one that is told.
#[tokio::test(flavor = "multi_thread")]
async fn an_unrouted_message_may_become_a_failed_one() {
    let app = |partner| {
        let more = "[send.failures]\nhost = \"edge\"\nfilter = \"error.code != ''\"\n\
            [send.failures.primary.http]\n";
        let more = format!("{more}url = \"http://{partner}/failures\"\n");
        let text = pass_through(partner, "", &more);
        let text = text.replace("'urn:orders#Order'", "'nobody'");
        let port = "message = \"order\"";
        let told = format!("{port}\nunrouted = \"suspend\"\non_failure = \"publish\"");
        text.replacen(port, &told, 1)
    };
    let site = Site::new(Store::Sqlite, 1, &app, &[]).await;
    let reply = site.order("failed").await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    let id = reply.json()["id"].as_str().expect("an id").to_owned();
    let way = wait_for("its way", Duration::from_secs(5), async || {
        site.gateway().way(&id).await
    })
    .await;
    assert_eq!(way["context"]["error.code"]["v"]["text"], "QS0801", "{way}");
}

/// An event that carries an order of this type.
fn event(id: &str, kind: &str) -> Value {
    let order = order_xml(id, "k", 300);
    let order = String::from_utf8_lossy(&order).replace("urn:orders", kind);
    json!({
        "specversion": "1.0", "id": id, "source": "/shop", "type": "order",
        "datacontenttype": "application/xml", "data": order,
    })
}

async fn send_batch(site: &Site, events: &[Value]) -> Reply {
    let headers = [("content-type", "application/cloudevents-batch+json")];
    let body = Value::from(events).to_string().into();
    let addr = site.gateway().http;
    let request = client::request("POST", addr, "/in/orders", &headers, body);
    let reply = client::once(addr, request, Duration::from_secs(20)).await;
    reply.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_events_is_taken_as_a_whole_or_not_at_all() {
    for store in [Store::Sqlite, Store::Postgres] {
        let app = |partner| {
            let text = pass_through(partner, "", "");
            text.replace(
                "path = \"/in/orders\"",
                "path = \"/in/orders\"\ncloudevents = \"require\"",
            )
        };
        let site = Site::new(store, 1, &app, &[]).await;
        let (a, b, c) = (
            event("a", "urn:orders"),
            event("b", "urn:orders"),
            event("c", "urn:orders"),
        );
        let stored = async || {
            let messages = site.gateway().api("messages").await.expect("a list");
            items(&messages).len()
        };

        // Nobody wants the second, so nothing of the others is there either.
        let unwanted = event("b", "urn:nobody");
        let refused = send_batch(&site, &[a.clone(), unwanted, c.clone()]).await;
        assert_eq!(refused.status, 422, "{store:?}: {}", refused.text());
        assert_eq!(refused.json()["index"], 1, "{}", refused.text());
        assert_eq!(stored().await, 0, "{store:?}");

        let accepted = send_batch(&site, &[a.clone(), b.clone()]).await;
        assert_eq!(accepted.status, 202, "{store:?}: {}", accepted.text());
        let ids = accepted.json()["ids"].clone();
        assert_eq!(ids.as_array().map(Vec::len), Some(2), "{ids}");
        assert_eq!(stored().await, 2, "{store:?}");

        // A repeat beside a new one gives the first ids; an id for another content refuses all.
        let mixed = send_batch(&site, &[b.clone(), c.clone(), a.clone()]).await;
        assert_eq!(mixed.status, 202, "{store:?}: {}", mixed.text());
        let again = mixed.json()["ids"].clone();
        assert_eq!((&again[0], &again[2]), (&ids[1], &ids[0]), "{store:?}");
        let mut other = a.clone();
        other["data"] = order_of_another(&a);
        let refused = send_batch(&site, &[event("d", "urn:orders"), other]).await;
        assert_eq!(
            (refused.status.as_u16(), refused.json()["index"].as_u64()),
            (422, Some(1)),
            "{store:?}: {}",
            refused.text()
        );
        // Two of one id: the first is not stored either, so that nobody can be sent to it.
        let mut other = event("e", "urn:orders");
        other["data"] = order_of_another(&other);
        let refused = send_batch(&site, &[event("e", "urn:orders"), other]).await;
        let said = (refused.status.as_u16(), refused.json()["index"].as_u64());
        assert_eq!(said, (422, Some(1)), "{store:?}: {}", refused.text());
        assert!(
            !refused.text().contains("became message"),
            "{}",
            refused.text()
        );
        assert_eq!(stored().await, 3, "{store:?}");

        site.gateway().drained(Duration::from_secs(60)).await;
        let log = site.partner.log().await;
        let mut got: Vec<_> = log.iter().filter(|s| s.effect).map(|s| &*s.id).collect();
        got.sort_unstable();
        assert_eq!(
            got,
            ["a", "b", "c"],
            "{store:?}: each once, and none of the refused"
        );
    }
}

/// The order of an event, for another customer.
fn order_of_another(event: &Value) -> Value {
    let order = event["data"].as_str().expect("an order");
    Value::from(order.replace("okey:k", "okey:other"))
}
