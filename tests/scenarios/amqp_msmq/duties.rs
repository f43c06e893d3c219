//! Times, dead letters, journals and acknowledgments.

use std::fs;

use quayside_harness::{App, Node, items, wait_for};
use serde_json::{Value, json};

use crate::broker::{Broker, ID, IN, OTHER, OUT, PATIENCE, from_http, post};

#[tokio::test(flavor = "multi_thread")]
async fn senders_are_told_of_arrival_and_receipt_and_copies_are_kept() {
    let journal = format!("{IN}.journal$");
    let broker = Broker::start(&[IN, OUT, "acks", "msmq.private$.arrived", &journal]).await;
    let asks = json!({
        "message_id": ID, "delivery_mode": 2,
        "headers": { "msmq-acknowledge": 14, "msmq-admin-queue": "acks", "msmq-label": "L" },
    });
    broker.put(IN, "hello", asks).await;
    let wants_arrival =
        "administration_queue = '.\\private$\\arrived'\nacknowledge = \"full-reach-queue\"";
    let (_app, _node, gateway) = broker.mover("journal = true", wants_arrival).await;
    let ack = &broker.take("acks", 1).await[0];
    assert_eq!(ack["correlation_id"], json!(ID), "{ack}");
    assert_eq!(ack["headers"]["msmq-class"], json!(0x4000), "{ack}");
    assert_eq!(ack["headers"]["msmq-label"], json!("L"), "{ack}");
    assert_eq!(
        (&ack["body"], &ack["delivery_mode"]),
        (&json!(""), &json!(2))
    );
    let copy = &broker.take(&journal, 1).await[0];
    assert_eq!(
        (&copy["message_id"], &copy["body"]),
        (&json!(ID), &json!("hello"))
    );
    let sent = &broker.take(OUT, 1).await[0];
    let arrived = &broker.take("msmq.private$.arrived", 1).await[0];
    assert_eq!(arrived["correlation_id"], sent["message_id"], "{arrived}");
    assert_eq!(arrived["headers"]["msmq-class"], json!(2), "{arrived}");
    gateway.drained(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_late_is_a_dead_letter_and_its_sender_is_told() {
    let (dead, xact) = ("srv1.deadletter$", "srv1.xactdeadletter$");
    let broker = Broker::start(&[IN, OUT, "acks", dead, xact]).await;
    let late = |id: &str, more: Value| {
        let mut headers = json!({
            "msmq-deadline": 1_000, "msmq-acknowledge": 8, "msmq-admin-queue": "acks",
        });
        for (name, value) in more.as_object().expect("headers") {
            headers[name] = value.clone();
        }
        json!({ "message_id": id, "headers": headers })
    };
    broker.put(IN, "dropped", late("1", json!({}))).await;
    broker
        .put(IN, "flagged", late("2", json!({ "msmq-journal": 1 })))
        .await;
    broker
        .put(IN, "xact", late("3", json!({ "msmq-xact": "x" })))
        .await;
    broker.put(IN, "good", json!({ "message_id": "4" })).await;
    let (_app, _node, gateway) = broker.mover("machine = \"srv1\"", "").await;
    let acks = broker.take("acks", 3).await;
    for (ack, id) in acks.iter().zip(["1", "2", "3"]) {
        assert_eq!(ack["correlation_id"], json!(id), "{acks:?}");
        assert_eq!(ack["headers"]["msmq-class"], json!(0xC002), "{ack}");
    }
    for (queue, id) in [(dead, "2"), (xact, "3")] {
        let letter = &broker.take(queue, 1).await[0];
        assert_eq!(letter["message_id"], json!(id), "{letter}");
        assert_eq!(letter["headers"]["msmq-class"], json!(0xC002), "{letter}");
        assert_eq!(letter["headers"]["quayside-queue"], json!(IN), "{letter}");
    }
    // Only what was in time is stored.
    assert_eq!(broker.take(OUT, 1).await[0]["body"], json!("good"));
    gateway.drained(PATIENCE).await;
    let list = gateway.api("messages").await.expect("a list");
    assert_eq!(items(&list).len(), 1, "{list}");
    assert_eq!(broker.server.waiting(IN).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_reach_its_queue_in_time_is_a_dead_letter_with_its_class() {
    let xact = "srv1.xactdeadletter$";
    let broker = Broker::start(&["acks", xact]).await;
    // There is no queue `out`: the broker returns the message until its time is over.
    let app = from_http(
        &broker,
        "machine = \"srv1\"\ntransactional = true\ntime_to_reach_queue = \"1s\"\n\
         administration_queue = \"acks\"\nacknowledge = \"full-reach-queue\"",
    );
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    post(&node, "hello").await;
    let letter = &broker.take(xact, 1).await[0];
    assert_eq!(letter["headers"]["msmq-class"], json!(0x8002), "{letter}");
    assert_eq!(
        letter["headers"]["msmq-destination"],
        json!(OUT),
        "{letter}"
    );
    let ack = &broker.take("acks", 1).await[0];
    assert_eq!(ack["headers"]["msmq-class"], json!(0x8002), "{ack}");
    assert_eq!(ack["correlation_id"], letter["message_id"], "{ack}");
    gateway.drained(PATIENCE).await;
    // At once, where that is asked for.
    app.rewrite(
        &fs::read_to_string(app.path().join("app.toml"))
            .expect("app.toml")
            .replace(
                "time_to_reach_queue = \"1s\"",
                "undeliverable = \"dead-letter\"",
            ),
    );
    drop(gateway);
    let gateway = node.start().await;
    post(&node, "again").await;
    let letter = &broker.take(xact, 1).await[0];
    assert_eq!(letter["headers"]["msmq-class"], json!(0x8000), "{letter}");
    let ack = &broker.take("acks", 1).await[0];
    assert_eq!(ack["headers"]["msmq-class"], json!(0x8000), "{ack}");
    gateway.drained(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgment_is_repeated_after_a_crash_with_the_same_id() {
    let broker = Broker::start(&[IN, OUT, "acks"]).await;
    let asks = json!({
        "message_id": ID, "headers": { "msmq-acknowledge": 2, "msmq-admin-queue": "acks" },
    });
    broker.put(IN, "hello", asks).await;
    let app = App::new(&broker.app("", "", ""));
    let data = tempfile::tempdir().expect("a folder");
    let node = || Node::new("node-a", app.path()).with_data(data.path());
    let held = node().with_env("QUAYSIDE_FAIL_POINTS", "hold-before-ack@1");
    let mut gateway = held.start().await;
    // The acknowledgment is sent, and the broker still has the message.
    let first = broker.take("acks", 1).await;
    gateway.kill9();
    let node = node();
    let gateway = node.start().await;
    let second = broker.take("acks", 1).await;
    assert_eq!(first[0]["message_id"], second[0]["message_id"]);
    assert_eq!(second[0]["correlation_id"], json!(ID));
    gateway.drained(PATIENCE).await;
    assert_eq!(broker.take(OUT, 1).await.len(), 1);
    assert_eq!(broker.server.waiting(IN).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_missing_holds_the_location_back_and_loses_nothing() {
    let broker = Broker::start(&[IN, OUT]).await;
    broker.put(IN, "hello", json!({ "message_id": ID })).await;
    let (_app, _node, gateway) = broker.mover("journal = true", "").await;
    wait_for("the log to say so", PATIENCE, async || {
        let log = gateway.process.stderr();
        if log.contains("QS0948") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    broker
        .put(IN, "later", json!({ "message_id": OTHER }))
        .await;
    let journal = format!("{IN}.journal$");
    broker
        .run(json!([{ "do": "declare", "queue": journal }]))
        .await;
    let copies = broker.take(&journal, 2).await;
    assert_eq!(copies[0]["message_id"], json!(ID), "{copies:?}");
    assert_eq!(broker.take(OUT, 2).await.len(), 2);
    gateway.drained(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_and_a_queue_that_differ_in_being_transactional_part() {
    let dead = "srv1.deadletter$";
    let broker = Broker::start(&[IN, OUT, "acks", dead]).await;
    let plain = json!({
        "message_id": "1", "headers": { "msmq-acknowledge": 4, "msmq-admin-queue": "acks" },
    });
    broker.put(IN, "plain", plain).await;
    let xact = json!({ "message_id": "2", "headers": { "msmq-xact": "x" } });
    broker.put(IN, "xact", xact).await;
    let receive = "machine = \"srv1\"\ntransactional = true";
    let (_app, _node, gateway) = broker.mover(receive, "").await;
    let letter = &broker.take(dead, 1).await[0];
    assert_eq!(
        (&letter["body"], &letter["headers"]["msmq-class"]),
        (&json!("plain"), &json!(0x800A))
    );
    let ack = &broker.take("acks", 1).await[0];
    assert_eq!(ack["headers"]["msmq-class"], json!(0x800A), "{ack}");
    assert_eq!(broker.take(OUT, 1).await[0]["body"], json!("xact"));
    gateway.drained(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_has_its_class_and_its_sender_is_told() {
    let poison = "msmq.private$.poison";
    let broker = Broker::start(&[IN, OUT, "acks", poison]).await;
    let asks = |id: &str| {
        json!({
            "message_id": id, "expiration": "86400000", "user_id": "guest",
            "headers": { "msmq-acknowledge": 10, "msmq-admin-queue": "acks" },
        })
    };
    broker.put(IN, "<Order", asks("1")).await;
    let good = "<Order xmlns=\"urn:orders\"/>";
    broker.put(IN, good, asks("2")).await;
    let toml = broker.app("", "", "").replace(
        "[receive.q.location.in.amqp.msmq]",
        "on_failure = \"dead-letter\"\ndead_letter = '.\\private$\\poison'\n[receive.q.location.in.amqp.msmq]",
    );
    let typed = "[message.order]\ntype = \"urn:orders#Order\"\n\n[receive.q]\nmessage = \"order\"";
    let app = App::new(&toml.replace("[receive.q]", typed));
    let gateway = Node::new("node-a", app.path()).start().await;
    let letter = &broker.take(poison, 1).await[0];
    assert_eq!(letter["message_id"], json!("1"), "{letter}");
    assert_eq!(letter["headers"]["msmq-class"], json!(0xC004), "{letter}");
    assert_eq!(letter["headers"]["quayside-queue"], json!(IN), "{letter}");
    assert_eq!(letter["expiration"], Value::Null, "it stays");
    let acks = broker.take("acks", 2).await;
    let mut told: Vec<_> = acks
        .iter()
        .map(|ack| {
            (
                ack["correlation_id"].clone(),
                ack["headers"]["msmq-class"].clone(),
            )
        })
        .collect();
    told.sort_by_key(|(id, _)| id.to_string());
    let wanted = [(json!("1"), json!(0xC004)), (json!("2"), json!(0x4000))];
    assert_eq!(told, wanted, "{acks:?}");
    assert_eq!(broker.take(OUT, 1).await[0]["body"], json!(good));
    gateway.drained(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_has_moved_is_told_by_its_reason() {
    let broker = Broker::start(&[IN, OUT, "acks"]).await;
    let arguments = json!({ "x-dead-letter-exchange": "", "x-dead-letter-routing-key": IN });
    let slow = json!({ "do": "declare", "queue": "slow", "arguments": arguments });
    broker.run(json!([slow])).await;
    // Nobody takes it from there in time.
    let asks = json!({
        "message_id": ID, "expiration": "1",
        "headers": { "msmq-acknowledge": 10, "msmq-admin-queue": "acks", "msmq-deadline": 1_000 },
    });
    broker.put("slow", "late", asks).await;
    let toml = broker.app("", "", "");
    let app = App::new(&toml.replace("msg.origin == 't.q.in'", "msmq.class == 49154"));
    let gateway = Node::new("node-a", app.path()).start().await;
    let ack = &broker.take("acks", 1).await[0];
    assert_eq!(ack["headers"]["msmq-class"], json!(0xC002), "{ack}");
    assert_eq!(ack["correlation_id"], json!(ID), "{ack}");
    assert_eq!(broker.take(OUT, 1).await[0]["body"], json!("late"));
    gateway.drained(PATIENCE).await;
}
