//! `quayside queue`, on a real RabbitMQ and judged by a client that is not ours: queues are made with the right
//! arguments and never changed, looking harms nothing, and what was given up comes back as it was sent.

use std::collections::BTreeMap;

use quayside_harness::{Process, RabbitMq};
use quayside_tests::broker::{
    command, consume, declare, fixture, hold, ids, judge, put, queue, wait_for_waiting, waiting,
};
use serde_json::{Value, json};

/// What a client that is not ours would declare for the queue of a location that has to keep the order.
fn transactional(poison: &str, limit: u32, more: &Value) -> Value {
    let mut arguments = json!({
        "x-queue-type": "quorum",
        "x-single-active-consumer": true,
        "x-delivery-limit": limit,
        "x-overflow": "reject-publish",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": poison,
        "x-dead-letter-strategy": "at-least-once",
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        arguments[name] = value.clone();
    }
    arguments
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_are_made_once_and_never_changed() {
    let mut server = RabbitMq::start().await;
    let app = fixture(&server, None);
    let dir = app.path().to_str().expect("a path");
    let dry = queue(&["declare", dir, "--dry-run", "-o", "json"]).await;
    assert_eq!(dry.code, 0, "{dry:?}");
    assert!(
        dry.states()
            .values()
            .all(|state| state == "would be created"),
        "{dry:?}"
    );
    let names: Vec<String> = dry.states().into_keys().collect();
    assert_eq!(
        names,
        [
            "bank.payments",
            "bank.payments.poison",
            "erp.orders",
            "erp.orders.journal$",
            "erp.orders.poison",
            "shop.orders",
            "shop.orders.poison",
            "shop.returns",
            "shop.returns.poison",
        ]
    );
    for name in &names {
        assert_eq!(
            waiting(&server, name).await,
            None,
            "a dry run made `{name}`"
        );
    }
    let made = queue(&["declare", dir, "-o", "json"]).await;
    assert_eq!(made.code, 0, "{made:?}");
    assert!(
        made.states().values().all(|state| state == "created"),
        "{made:?}"
    );
    let again = queue(&["declare", dir]).await;
    assert_eq!(again.code, 0, "{again:?}");
    assert!(
        !again.out.contains("created") && again.out.contains("equal"),
        "{again:?}"
    );

    let kept = json!({ "x-queue-type": "quorum" });
    let quota = json!({ "x-max-length-bytes": 1_073_741_824_u64 });
    let erp = transactional("erp.orders.poison", 50, &json!({}));
    let returns = json!({
        "x-max-priority": 7, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "shop.returns.poison",
    });
    for (name, arguments) in [
        (
            "shop.orders",
            transactional("shop.orders.poison", 20, &quota),
        ),
        ("shop.orders.poison", kept.clone()),
        ("erp.orders", erp.clone()),
        ("erp.orders.journal$", kept),
        ("shop.returns", returns),
    ] {
        let judged = declare(&server, name, arguments).await;
        assert_eq!(judged, json!({ "ready": 0 }), "{name}");
    }
    // The judge would see a difference.
    let other = transactional("erp.orders.poison", 51, &json!({}));
    assert_eq!(declare(&server, "erp.orders", other).await["refused"], 406);

    // Whatever else is there is told, argument by argument, and left as it is.
    judge(&server, json!({ "do": "delete", "queue": "erp.orders" })).await;
    let other =
        json!({ "x-max-priority": 3, "x-max-length": 5, "x-dead-letter-exchange": "amq.direct" });
    declare(&server, "erp.orders", other.clone()).await;
    put(&server, "erp.orders", 0..1).await;
    let found = queue(&["declare", dir, "-o", "json"]).await;
    assert_eq!(found.code, 1, "{found:?}");
    assert!(
        found.err.contains("QS0950") && found.err.contains("1 queue is there"),
        "{found:?}"
    );
    let list = found.json()["queues"].clone();
    let differing = list
        .as_array()
        .expect("a list")
        .iter()
        .find(|queue| queue["state"] == "differs");
    let differences = differing.expect("one that differs")["differences"].clone();
    let shown: BTreeMap<String, (Value, Value)> = differences
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| {
            let name = one["argument"].as_str().expect("a name").to_owned();
            (name, (one["there"].clone(), one["wanted"].clone()))
        })
        .collect();
    // A classic queue has no place for the others, and the broker does not compare them.
    let expected = BTreeMap::from(
        [
            ("x-dead-letter-exchange", json!("amq.direct"), json!("")),
            (
                "x-dead-letter-routing-key",
                Value::Null,
                json!("erp.orders.poison"),
            ),
            ("x-max-length", json!(5), Value::Null),
            ("x-max-priority", json!(3), Value::Null),
            ("x-overflow", Value::Null, json!("reject-publish")),
            ("x-queue-type", Value::Null, json!("quorum")),
            ("x-single-active-consumer", Value::Null, json!(true)),
        ]
        .map(|(name, there, wanted)| (name.to_owned(), (there, wanted))),
    );
    assert_eq!(shown, expected);
    assert_eq!(
        declare(&server, "erp.orders", other).await,
        json!({ "ready": 1 }),
        "unchanged"
    );
    let text = queue(&["declare", dir]).await;
    assert!(
        text.out.contains("x-max-priority is 3, should not be set"),
        "{text:?}"
    );

    server.kill9().await;
    let away = queue(&["declare", dir]).await;
    assert_eq!(away.code, 4, "{away:?}");
    assert!(away.err.contains("QS0901"), "{away:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_comes_back_as_it_was_sent() {
    let server = RabbitMq::start().await;
    let app = fixture(&server, None);
    let dir = app.path().to_str().expect("a path");
    let made = queue(&["declare", dir]).await;
    assert_eq!(made.code, 0, "{made:?}");
    put(&server, "erp.orders", 1..=5).await;
    let refused = consume(&server, "erp.orders", true).await;
    assert_eq!(ids(&refused), ["id-1", "id-2", "id-3", "id-4", "id-5"]);
    wait_for_waiting(&server, "erp.orders.poison", 5).await;

    let list = queue(&["list", "--app", dir]).await;
    assert_eq!(list.code, 0, "{list:?}");
    let line = list
        .out
        .lines()
        .find(|line| line.starts_with("erp.orders.poison"));
    let words: Vec<&str> = line.expect("a line").split_whitespace().collect();
    assert_eq!(
        words,
        [
            "erp.orders.poison",
            "poison",
            "5",
            "?",
            "0",
            "dead",
            "letters",
            "of",
            "erp.orders"
        ]
    );

    let peeked = queue(&[
        "peek",
        "erp.orders.poison",
        "-n",
        "2",
        "--body",
        "-o",
        "json",
        "--app",
        dir,
    ])
    .await;
    let peeked = peeked.json();
    assert_eq!(peeked["ready"], 5);
    let first = &peeked["messages"][0];
    assert_eq!(first["message_id"], "id-1", "{first}");
    assert_eq!(
        (&first["from"], &first["reason"]),
        (&json!("erp.orders"), &json!("rejected by a consumer"))
    );
    assert_eq!(
        (&first["body"], &first["size"]),
        (&json!("body 1"), &json!(6))
    );
    let text = queue(&["peek", "erp.orders.poison", "--app", dir]).await;
    assert!(
        text.out.contains("id-5") && text.out.contains("rejected by a consumer"),
        "{text:?}"
    );

    let back = |more: &[&'static str]| {
        let mut arguments = vec!["return", "erp.orders.poison"];
        arguments.extend(more);
        let (arguments, dir) = (arguments.clone(), dir.to_owned());
        async move {
            let mut all = arguments;
            all.extend(["--app", dir.as_str()]);
            queue(&all).await
        }
    };
    let nothing = back(&["--id", "id-9"]).await;
    assert_eq!(nothing.code, 3, "{nothing:?}");
    let one = back(&["--id", "id-3"]).await;
    assert_eq!(
        (one.code, one.out.as_str()),
        (0, "Returned 1 message to `erp.orders`.\n"),
        "{one:?}"
    );
    let two = back(&["--count", "2"]).await;
    assert_eq!(two.out, "Returned 2 messages to `erp.orders`.\n", "{two:?}");
    let nowhere = back(&["--to", "nowhere"]).await;
    assert_eq!(nowhere.code, 1, "{nowhere:?}");
    assert!(nowhere.err.contains("QS0904"), "{nowhere:?}");
    assert_eq!(
        waiting(&server, "erp.orders.poison").await,
        Some(2),
        "lost: {nowhere:?}"
    );
    let rest = back(&[]).await;
    assert_eq!(
        rest.out, "Returned 2 messages to `erp.orders`.\n",
        "{rest:?}"
    );
    let came = consume(&server, "erp.orders", false).await;
    assert_eq!(
        ids(&came),
        ["id-3", "id-1", "id-2", "id-4", "id-5"],
        "in their order"
    );
    for message in &came {
        let no = message["message_id"]
            .as_str()
            .expect("an id")
            .trim_start_matches("id-");
        assert_eq!(message["body"], format!("body {no}"));
        let headers = message["headers"].as_object().expect("headers");
        let names: Vec<&str> = headers.keys().map(String::as_str).collect();
        assert_eq!(names, ["key", "quayside-returned"], "{message}");
        assert_eq!(headers["quayside-returned"], 1);
        assert_eq!(
            (&message["correlation_id"], &message["priority"]),
            (&json!("c-1"), &json!(4))
        );
        assert_eq!(message["delivery_mode"], 2);
    }

    // Nothing tells where this one came from.
    put(&server, "erp.orders.poison", 7..8).await;
    let homeless = back(&[]).await;
    assert_eq!(homeless.code, 1, "{homeless:?}");
    assert!(homeless.err.contains("QS0954"), "{homeless:?}");
    let named = back(&["--to", "shop.orders"]).await;
    assert_eq!(named.code, 0, "{named:?}");
    assert_eq!(waiting(&server, "shop.orders").await, Some(1));

    let asked = queue(&["purge", "shop.orders", "--app", dir]).await;
    assert_eq!(asked.code, 2, "{asked:?}");
    assert!(
        asked.err.contains("1 message would be deleted"),
        "{asked:?}"
    );
    assert_eq!(waiting(&server, "shop.orders").await, Some(1));
    let purged = queue(&["purge", "shop.orders", "--yes", "--app", dir]).await;
    assert_eq!(
        purged.out, "Deleted 1 message from `shop.orders`.\n",
        "{purged:?}"
    );
    assert_eq!(waiting(&server, "shop.orders").await, Some(0));
    let gone = queue(&["purge", "nowhere", "--yes", "--url", &server.url()]).await;
    assert_eq!(gone.code, 3, "{gone:?}");
    let slip = queue(&["peek", "erp.order", "--app", dir]).await;
    assert_eq!(slip.code, 3, "{slip:?}");
    assert!(slip.err.contains("did you mean `erp.orders`?"), "{slip:?}");
    let closed = ["--management", "http://127.0.0.1:1"];
    let url = server.url();
    let untold = queue(&["list", "--url", &url, closed[0], closed[1]]).await;
    assert_eq!(untold.code, 4, "nothing is known: {untold:?}");
    look_again_and_again(&server).await;
}

/// A quorum queue has back what was looked at only after the broker has seen that nobody holds it any more: whoever
/// looks next must find it there.
async fn look_again_and_again(server: &RabbitMq) {
    declare(
        server,
        "msmq.private$.lost",
        json!({ "x-queue-type": "quorum" }),
    )
    .await;
    let labelled = json!({
        "body": "late",
        "properties": {
            "message_id": "id-1",
            "headers": { "msmq-label": "Order 1", "msmq-class": 0xC002, "quayside-queue": "in" },
        },
    });
    let queues = "msmq.private$.lost";
    judge(
        server,
        json!({ "do": "put", "queue": queues, "messages": [labelled] }),
    )
    .await;
    let url = server.url();
    for round in 1..=15 {
        let seen = queue(&["peek", r"srv\private$\lost", "--url", &url]).await;
        assert_eq!(seen.code, 0, "round {round}: {seen:?}");
        for told in ["id-1", "Order 1", "0xc002 was not received in time"] {
            assert!(seen.out.contains(told), "round {round}, {told}: {seen:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_return_that_is_cut_off_repeats_and_loses_nothing() {
    let server = RabbitMq::start().await;
    for name in ["work", "work.poison"] {
        declare(&server, name, json!({ "x-queue-type": "quorum" })).await;
    }
    put(&server, "work.poison", 1..=4).await;
    let url = server.url();
    let arguments = ["return", "work.poison", "--to", "work", "--url", &url];
    let mut held = command(&arguments);
    held.env("QUAYSIDE_FAIL_POINTS", "hold-before-ack@2");
    let logs = tempfile::tempdir().expect("a folder");
    let mut held = Process::spawn("quayside queue return", held, logs.path());
    wait_for_waiting(&server, "work", 2).await;
    held.kill9();
    // What was not acknowledged is back when the broker has seen the connection end.
    wait_for_waiting(&server, "work.poison", 3).await;
    let again = queue(&arguments).await;
    assert_eq!(again.out, "Returned 3 messages to `work`.\n", "{again:?}");
    let came = consume(&server, "work", false).await;
    assert_eq!(ids(&came), ["id-1", "id-2", "id-2", "id-3", "id-4"]);
    assert_eq!(came[1]["body"], came[2]["body"]);
    assert_eq!(waiting(&server, "work.poison").await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_leaves_the_order_and_refuses_to_do_harm() {
    let server = RabbitMq::start().await;
    let url = server.url();
    declare(&server, "q.poison", json!({ "x-queue-type": "quorum" })).await;
    let quorum = json!({ "x-queue-type": "quorum" });
    let classic = json!({ "x-max-priority": 7 });
    let single = transactional("q.poison", 3, &json!({}));
    let mut limited = single.clone();
    limited
        .as_object_mut()
        .expect("a table")
        .remove("x-single-active-consumer");
    // How often each of six counts as delivered after looks at three and then at two of them: a second look takes
    // all that came back from the first, and one more. As a consumer it takes all there is.
    for (name, arguments, traces) in [
        ("quorum", &quorum, [2, 2, 2, 1, 0, 0]),
        ("classic", &classic, [0; 6]),
        ("single", &single, [2; 6]),
        ("limited", &limited, [2, 2, 2, 1, 0, 0]),
    ] {
        declare(&server, name, arguments.clone()).await;
        put(&server, name, 1..=6).await;
        for (number, expected) in [
            ("3", vec!["id-1", "id-2", "id-3"]),
            ("2", vec!["id-1", "id-2"]),
        ] {
            let peeked = queue(&["peek", name, "-n", number, "-o", "json", "--url", &url]).await;
            assert_eq!(peeked.code, 0, "{name}: {peeked:?}");
            let messages = peeked.json()["messages"].clone();
            assert_eq!(
                ids(messages.as_array().expect("a list")),
                expected,
                "{name}"
            );
            wait_for_waiting(&server, name, 6).await;
        }
        let came = consume(&server, name, false).await;
        let order = ["id-1", "id-2", "id-3", "id-4", "id-5", "id-6"];
        assert_eq!(ids(&came), order, "{name}");
        let count = |m: &Value| m["headers"]["x-delivery-count"].as_i64().unwrap_or(0);
        assert_eq!(came.iter().map(count).collect::<Vec<_>>(), traces, "{name}");
    }
    // Beside a consumer messages would overtake.
    put(&server, "classic", 1..=3).await;
    let consumer = hold(&server, "classic").await;
    let refused = queue(&["peek", "classic", "--url", &url]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.err.contains("QS0953") && refused.err.contains("consumers"),
        "{refused:?}"
    );
    let forced = queue(&["peek", "classic", "--force", "--url", &url]).await;
    assert!(
        forced.out.contains("id-2") && !forced.out.contains("id-1"),
        "{forced:?}"
    );
    drop(consumer);
    // A look is a delivery: at the limit, and with nowhere to go, the broker would drop the message.
    declare(
        &server,
        "loses",
        json!({ "x-queue-type": "quorum", "x-delivery-limit": 3 }),
    )
    .await;
    put(&server, "loses", 1..=1).await;
    let refused = queue(&["peek", "loses", "--url", &url]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.err.contains("QS0953") && refused.err.contains("--force"),
        "{refused:?}"
    );
    let forced = queue(&["peek", "loses", "--force", "--url", &url]).await;
    assert!(forced.out.contains("one of 3 deliveries"), "{forced:?}");
    let missing = queue(&["peek", "nowhere", "--url", &url]).await;
    assert_eq!(missing.code, 3, "{missing:?}");
    let empty = queue(&["peek", "q.poison", "--url", &url]).await;
    assert_eq!(
        (empty.code, empty.out.as_str()),
        (0, "No message waits in `q.poison`.\n"),
        "{empty:?}"
    );
}
