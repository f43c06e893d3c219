//! Queue to store to queue on a real RabbitMQ, judged by a client that is not ours: nothing lost, nothing
//! stored twice, repeats known by their `message_id`, order of each key kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use quayside_harness::{App, Gateway, Node, RabbitMq, items, rabbitmq::Seen, wait_for};

/// How long everything may take to come through.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many messages have keys each.
const KEYS: usize = 10;

/// An application that moves messages from the queue `in` to the queue `out`, in the order of their key.
fn mover(server: &RabbitMq, receive: &str, location: &str) -> App {
    let url = server.url();
    App::new(&format!(
        r#"[app]
name = "t"

[receive.q]
host = "edge"
ordered = true
{receive}
[receive.q.location.in.amqp]
url = "{url}"
queue = "in"
{location}

[send.out]
host = "edge"
filter = "msg.origin == 't.q.in'"
retry = {{ attempts = 1000, first = "50ms", factor = 1.5, max = "1s" }}
ordered = {{ by = "amqp.header.key", on_failure = "hold-key" }}
[send.out.primary.amqp]
url = "{url}"
queue = "out"
"#
    ))
}

fn message(no: usize) -> (String, String, String) {
    let key = format!("k{}", no % KEYS);
    (format!("{no}"), format!("id-{no}"), key)
}

/// What came out: bodies as numbers, each once, in the order of their first arrival.
fn firsts(seen: &[Seen]) -> Vec<usize> {
    let mut known = BTreeSet::new();
    let numbers = seen.iter().map(|seen| seen.body.parse().expect("a number"));
    numbers.filter(|no| known.insert(*no)).collect()
}

fn assert_each_once_in_order(seen: &[Seen], count: usize) {
    let firsts = firsts(seen);
    let missing: Vec<_> = (0..count).filter(|no| !firsts.contains(no)).collect();
    assert_eq!(missing, [0; 0], "lost of {count}");
    assert_eq!(firsts.len(), count, "more messages than there were");
    let mut last = BTreeMap::new();
    for no in &firsts {
        let before = last.insert(no % KEYS, *no);
        assert!(before < Some(*no), "{no} came after {before:?}: {firsts:?}");
    }
    // Whoever takes them knows a repeat: one content, one id.
    let mut ids = BTreeMap::new();
    for seen in seen {
        let id = seen.message_id.as_ref().expect("every message has an id");
        let body = ids.entry(id).or_insert(&seen.body);
        assert_eq!(*body, &seen.body, "{id} stands for two messages");
        assert_eq!(
            seen.delivery_mode,
            Some(2),
            "it is on the disk of the broker"
        );
    }
    assert_eq!(ids.len(), count, "a message came out under two ids");
}

async fn wait_for_waiting(server: &RabbitMq, queue: &str, at_least: u64) {
    let what = format!("{at_least} messages in `{queue}`");
    wait_for(&what, PATIENCE, async || {
        let waiting = server.waiting(queue).await;
        if waiting >= at_least {
            Ok(())
        } else {
            Err(format!("{waiting}"))
        }
    })
    .await;
}

/// Waits until the gateway has stored `at_least` messages.
async fn accepted(gateway: &Gateway, at_least: usize) {
    wait_for("the first messages to be stored", PATIENCE, async || {
        let stored = gateway.metrics().await?;
        let stored = stored.sum("quayside_accepted_total", "");
        if stored >= at_least as f64 {
            Ok(())
        } else {
            Err(format!("{stored}"))
        }
    })
    .await;
}

/// Waits until `count` messages are stored and every delivery of them has ended; there must be no more.
async fn settled(gateway: &Gateway, count: usize) {
    let stored = async || {
        let list = gateway.api("messages?limit=1000").await?;
        Ok::<_, String>(items(&list).len())
    };
    wait_for("every message to be stored", PATIENCE, async || {
        let stored = stored().await?;
        if stored >= count {
            Ok(())
        } else {
            Err(format!("{stored} of {count} are stored"))
        }
    })
    .await;
    gateway.drained(PATIENCE).await;
    let stored = stored().await.expect("a list");
    assert_eq!(stored, count, "more is stored than there was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_messages_survive_the_death_of_the_gateway() {
    const COUNT: usize = 1000;
    let server = RabbitMq::start().await;
    server.declare("in", true).await;
    server.declare("out", false).await;
    let all: Vec<_> = (0..COUNT).map(message).collect();
    server.put("in", &all).await;
    let app = mover(&server, "", "");
    let node = Node::new("node-a", app.path());
    let mut gateway = node.start().await;
    accepted(&gateway, COUNT / 10).await;
    gateway.kill9();
    // It was in the middle of it.
    wait_for_waiting(&server, "in", 1).await;
    let gateway = node.start().await;
    settled(&gateway, COUNT).await;
    assert_each_once_in_order(&server.take("out").await, COUNT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_is_come_back_to() {
    const COUNT: usize = 1000;
    let mut server = RabbitMq::start().await;
    server.declare("in", true).await;
    server.declare("out", false).await;
    let all: Vec<_> = (0..COUNT).map(message).collect();
    server.put("in", &all).await;
    let app = mover(&server, "", "");
    // The node is the folder of its gateway: what that logs is there.
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    accepted(&gateway, COUNT / 10).await;
    server.kill9().await;
    server.start_again().await;
    settled(&gateway, COUNT).await;
    assert_each_once_in_order(&server.take("out").await, COUNT);
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_goes_into_its_queue_once_and_harms_no_other() {
    const COUNT: usize = 50;
    let server = RabbitMq::start().await;
    for queue in ["in", "poison"] {
        server.declare(queue, queue == "in").await;
    }
    server.declare("out", false).await;
    let typed = "message = \"order\"\n";
    let location = "on_failure = \"dead-letter\"\ndead_letter = \"poison\"";
    let app = mover(&server, typed, location);
    let order = "\n[message.order]\ntype = \"urn:orders#Order\"\n";
    let toml = std::fs::read_to_string(app.path().join("app.toml")).expect("app.toml");
    app.rewrite(&format!("{toml}{order}"));
    let xml = |no: usize| {
        let (_, id, key) = message(no);
        let body = if no == COUNT / 2 {
            "<Order xmlns=\"urn:orders\">".to_owned()
        } else {
            format!("<Order xmlns=\"urn:orders\">{no}</Order>")
        };
        (body, id, key)
    };
    let all: Vec<_> = (0..COUNT).map(xml).collect();
    server.put("in", &all).await;
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    wait_for_waiting(&server, "poison", 1).await;
    settled(&gateway, COUNT - 1).await;
    let poison = server.take("poison").await;
    assert_eq!(poison.len(), 1, "{poison:?}");
    assert_eq!(poison[0].body, "<Order xmlns=\"urn:orders\">");
    assert_eq!(poison[0].message_id, Some(format!("id-{}", COUNT / 2)));
    assert!(
        poison[0].headers["quayside-code"].starts_with("QS"),
        "{poison:?}"
    );
    let bodies: BTreeSet<_> = server
        .take("out")
        .await
        .into_iter()
        .map(|s| s.body)
        .collect();
    assert_eq!(bodies.len(), COUNT - 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_is_one_message_a_reused_id_is_two_and_what_is_returned_waits() {
    let server = RabbitMq::start().await;
    server.declare("in", true).await;
    let app = mover(&server, "", "");
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    let of = |body: &str| (body.to_owned(), "id-0".to_owned(), "k0".to_owned());
    server.put("in", &[of("0"), of("1"), of("0")]).await;
    // There is no queue `out`: the broker returns the message, which is no success.
    wait_for("the message to be returned", PATIENCE, async || {
        let live = gateway.api("deliveries").await?.to_string();
        if live.contains("QS0904") {
            Ok(())
        } else {
            Err(live)
        }
    })
    .await;
    server.declare("out", false).await;
    settled(&gateway, 2).await;
    let seen = server.take("out").await;
    assert_eq!(firsts(&seen), [0, 1]);
    assert_ne!(seen[0].message_id, seen[1].message_id, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_short_of_memory_is_waited_for() {
    const COUNT: usize = 300;
    let server = RabbitMq::start().await;
    server.declare("in", true).await;
    server.declare("out", false).await;
    let all: Vec<_> = (0..COUNT).map(message).collect();
    server.put("in", &all).await;
    server.memory_alarm(true).await;
    let app = mover(&server, "", "");
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    // It takes messages all the same, over a connection that does not publish.
    accepted(&gateway, COUNT).await;
    wait_for("the log to say so", PATIENCE, async || {
        let log = gateway.process.stderr();
        if log.contains("QS0907") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    server.memory_alarm(false).await;
    settled(&gateway, COUNT).await;
    let seen = server.take("out").await;
    assert_each_once_in_order(&seen, COUNT);
    assert_eq!(seen.len(), COUNT, "what the broker had was sent again");
}
