//! Every property in both directions, and through.

use std::fs;

use quayside_harness::{Gateway, Node, items, wait_for};
use serde_json::{Value, json};

use crate::broker::{Broker, ID, IN, OTHER, OUT, PATIENCE, from_http, post};

/// Every property that a foreign sender can write, with how the gateway shows it: `*` is what filters see.
fn table() -> Vec<(&'static str, Value, &'static str, Value)> {
    vec![
        ("message_id", json!(ID), "msmq.id", json!({ "text": ID })),
        (
            "correlation_id",
            json!(OTHER),
            "*msmq.correlation-id",
            json!({ "text": OTHER }),
        ),
        (
            "priority",
            json!(5),
            "*msmq.priority",
            json!({ "integer": 5 }),
        ),
        (
            "reply_to",
            json!(r"srv2\private$\answers"),
            "msmq.response-queue",
            json!({ "text": r"srv2\private$\answers" }),
        ),
        (
            "expiration",
            json!("86400000"),
            "msmq.time-to-be-received",
            json!({ "integer": 86400 }),
        ),
        (
            "timestamp",
            json!(1_700_000_000),
            "msmq.sent-time",
            json!({ "time": "2023-11-14T22:13:20.000000Z" }),
        ),
        (
            "delivery_mode",
            json!(2),
            "msmq.recoverable",
            json!({ "boolean": true }),
        ),
        (
            "user_id",
            json!("guest"),
            "msmq.sender-id",
            json!({ "text": "guest" }),
        ),
        (
            "msmq-label",
            json!("Bestellung Ä17"),
            "*msmq.label",
            json!({ "text": "Bestellung Ä17" }),
        ),
        (
            "msmq-app-specific",
            json!(4_294_967_295_u32),
            "*msmq.app-specific",
            json!({ "integer": 4_294_967_295_u32 }),
        ),
        (
            "msmq-body-type",
            json!(8209),
            "msmq.body-type",
            json!({ "integer": 8209 }),
        ),
        (
            "msmq-extension",
            json!({ "hex": "00ff7f" }),
            "msmq.extension",
            json!({ "text": "00ff7f" }),
        ),
        (
            "msmq-acknowledge",
            json!(12),
            "msmq.acknowledge",
            json!({ "integer": 12 }),
        ),
        (
            "msmq-admin-queue",
            json!("acks"),
            "msmq.administration-queue",
            json!({ "text": "acks" }),
        ),
        (
            "msmq-journal",
            json!(3),
            "*msmq.use-dead-letter-queue",
            json!({ "boolean": true }),
        ),
        (
            "msmq-journal",
            json!(3),
            "msmq.use-journal-queue",
            json!({ "boolean": true }),
        ),
        (
            "msmq-deadline",
            json!(4_102_444_800_000_i64),
            "msmq.deadline",
            json!({ "time": "2100-01-01T00:00:00.000000Z" }),
        ),
        (
            "msmq-source",
            json!("srv2"),
            "msmq.source-machine",
            json!({ "text": "srv2" }),
        ),
        (
            "msmq-xact",
            json!("x-1"),
            "msmq.transaction-id",
            json!({ "text": "x-1" }),
        ),
        (
            "msmq-xact",
            json!("x-1"),
            "msmq.transactional",
            json!({ "boolean": true }),
        ),
        (
            "msmq-xact-first",
            json!(true),
            "msmq.first-in-transaction",
            json!({ "boolean": true }),
        ),
        (
            "msmq-xact-last",
            json!(false),
            "msmq.last-in-transaction",
            json!({ "boolean": false }),
        ),
        (
            "msmq-move-count",
            json!(2),
            "msmq.move-count",
            json!({ "integer": 2 }),
        ),
    ]
}

/// The table as one message.
fn everything() -> Value {
    let mut properties = json!({ "headers": {} });
    for (name, value, _, _) in table() {
        if name.starts_with("msmq-") {
            properties["headers"][name] = value;
        } else {
            properties[name] = value;
        }
    }
    properties
}

/// The way of the one message that the gateway has.
async fn way(gateway: &Gateway) -> Value {
    let mut found = Value::Null;
    wait_for("a message in the store", PATIENCE, async || {
        let list = gateway.api("messages").await?;
        let Some(first) = items(&list).first() else {
            return Err(list.to_string());
        };
        let id = first["id"].as_str().ok_or("no id")?;
        found = gateway.way(id).await?;
        Ok(())
    })
    .await;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_property_of_a_foreign_sender_is_told_with_its_type() {
    let broker = Broker::start(&[IN, OUT, "acks"]).await;
    broker.put(IN, "hello", everything()).await;
    let (app, node, gateway) = broker.mover("", "").await;
    let context = way(&gateway).await["context"].clone();
    for (written, _, told, value) in table() {
        let name = told.trim_start_matches('*');
        let property = &context[name];
        assert_eq!(property["v"], value, "{written} as {name}");
        assert_eq!(
            property["p"] == json!(true),
            told.starts_with('*'),
            "{name}: {property}"
        );
    }
    assert_eq!(context["msmq.class"]["v"], json!({ "integer": 0 }));
    assert_eq!(
        context["msmq.destination-queue"]["v"],
        json!({ "text": IN })
    );
    assert!(
        context["msmq.arrived-time"]["v"]["time"].is_string(),
        "{context}"
    );
    gateway.drained(PATIENCE).await;
    // A filter sees them as what they are.
    let filter = "msmq.label == 'Bestellung Ä17' && msmq.priority > 4 && msmq['app-specific'] == 4294967295 \
                  && msmq.class == 0 && msmq['use-dead-letter-queue']";
    let toml = broker.app("", "", "");
    app.rewrite(&toml.replace("msg.origin == 't.q.in'", filter));
    drop(gateway);
    broker.run(json!([{ "do": "take", "queue": OUT }])).await;
    let again = node.start().await;
    let mut second = everything();
    second["message_id"] = json!("another");
    broker.put(IN, "hello", second).await;
    broker.take(OUT, 1).await;
    drop(again);
}

/// A port that sets everything, half of it from a message that came by HTTP.
const SETS: &str = r#"
machine = "Srv1"
label = "{http.header.x-label}"
correlation_id = "{{9F0C1A2B-0001-4AAA-8BBB-0123456789AB}}\\0017"
response_queue = "srv2\\private$\\answers"
administration_queue = "DIRECT=OS:srv1\\private$\\acks"
acknowledge = ["negative-arrival", "negative-receive"]
app_specific = "{http.header.x-number}"
body_type = 8
extension = "00FF7f"
priority = 6
time_to_reach_queue = "4d"
time_to_be_received = "1d"
journal = true
"#;

#[tokio::test(flavor = "multi_thread")]
async fn every_property_that_a_port_sets_is_read_by_a_foreign_receiver() {
    let broker = Broker::start(&[OUT, "srv1.journal$", "msmq.private$.acks"]).await;
    let app = from_http(&broker, SETS);
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    post(&node, "hello").await;
    let taken = broker.take(OUT, 1).await;
    gateway.drained(PATIENCE).await;
    let seen = &taken[0];
    let id = seen["message_id"].as_str().expect("an id");
    assert!(id.ends_with(r"\1") && id.len() == 38, "{id}");
    for (name, value) in [
        ("body", json!("hello")),
        ("delivery_mode", json!(2)),
        ("priority", json!(6)),
        ("correlation_id", json!(ID)),
        ("reply_to", json!(r"srv2\private$\answers")),
        ("app_id", json!("quayside")),
    ] {
        assert_eq!(seen[name], value, "{name} of {seen}");
    }
    assert!(seen["timestamp"].is_u64(), "{seen}");
    let expiration: u64 = seen["expiration"]
        .as_str()
        .expect("text")
        .parse()
        .expect("a number");
    assert!((1..=86_400_000).contains(&expiration), "{expiration}");
    let deadline = seen["headers"]["msmq-deadline"].as_i64().expect("a number");
    let sent = seen["timestamp"].as_i64().expect("a number");
    assert_eq!((deadline / 1000 - sent), 86_400, "{seen}");
    for (name, value) in [
        ("msmq-label", json!("Order 17")),
        ("msmq-admin-queue", json!(r"DIRECT=OS:srv1\private$\acks")),
        ("msmq-acknowledge", json!(12)),
        ("msmq-app-specific", json!(4_294_967_295_u32)),
        ("msmq-body-type", json!(8)),
        ("msmq-extension", json!({ "hex": "00ff7f" })),
        ("msmq-journal", json!(3)),
        ("msmq-source", json!("srv1")),
        ("msmq-class", Value::Null),
        ("msmq-xact", Value::Null),
    ] {
        assert_eq!(seen["headers"][name], value, "{name} of {seen}");
    }
    // Its copy, with the same id, tells where it went and stays.
    let copy = &broker.take("srv1.journal$", 1).await[0];
    assert_eq!(
        (&copy["message_id"], &copy["body"]),
        (&seen["message_id"], &seen["body"])
    );
    assert_eq!(copy["headers"]["msmq-destination"], json!(OUT));
    assert_eq!(copy["expiration"], Value::Null);
    // A transactional one, with nothing else.
    app.rewrite(
        &fs::read_to_string(app.path().join("app.toml"))
            .expect("app.toml")
            .replace(SETS, "transactional = true"),
    );
    drop(gateway);
    let gateway = node.start().await;
    post(&node, "again").await;
    let seen = &broker.take(OUT, 1).await[0];
    gateway.drained(PATIENCE).await;
    assert_eq!(
        (&seen["priority"], &seen["expiration"]),
        (&json!(0), &Value::Null)
    );
    let headers = &seen["headers"];
    assert_eq!(headers["msmq-xact"], seen["message_id"]);
    assert_eq!(
        (&headers["msmq-xact-first"], &headers["msmq-xact-last"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(
        (&headers["msmq-body-type"], &headers["msmq-journal"]),
        (&json!(8209), &json!(1))
    );
    assert_eq!(seen["content_type"], json!("application/octet-stream"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_foreign_sender_wrote_comes_through_to_a_foreign_receiver() {
    let broker = Broker::start(&[IN, OUT, "acks"]).await;
    broker.put(IN, "hello", everything()).await;
    let passes_on = r#"
administration_queue = "{msmq.administration-queue}"
acknowledge = "not-acknowledge-receive"
time_to_be_received = "{msmq.time-to-be-received}"
machine = "srv9"
"#;
    let (_app, _node, gateway) = broker.mover("", passes_on).await;
    let seen = &broker.take(OUT, 1).await[0];
    gateway.drained(PATIENCE).await;
    let before = everything();
    for name in ["correlation_id", "priority", "reply_to", "delivery_mode"] {
        assert_eq!(seen[name], before[name], "{name} of {seen}");
    }
    for name in [
        "msmq-label",
        "msmq-app-specific",
        "msmq-body-type",
        "msmq-extension",
        "msmq-admin-queue",
        "msmq-acknowledge",
    ] {
        assert_eq!(
            seen["headers"][name], before["headers"][name],
            "{name} of {seen}"
        );
    }
    assert!(
        seen["expiration"].is_string() && seen["headers"]["msmq-deadline"].is_i64(),
        "{seen}"
    );
    // These are the next sender's own.
    assert_ne!(seen["message_id"], before["message_id"]);
    assert_eq!(seen["headers"]["msmq-source"], json!("srv9"));
    assert_eq!(seen["headers"]["msmq-journal"], json!(1));
}
