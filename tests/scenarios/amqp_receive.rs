//! What a receive location over queues survives, and what it says meanwhile: poison among a thousand messages,
//! a queue that is deleted or is not what it should be, channels that the broker closes, a broker that is away
//! or short of memory. Judged by a client that is not ours.

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
    time::Duration,
};

use quayside_harness::{App, Gateway, Node, RabbitMq, items, wait_for};
use serde_json::{Value, json};

/// How long everything may take to come through.
const PATIENCE: Duration = Duration::from_secs(90);

/// The interpreter that sees Debian's packages.
const PYTHON: &str = "/usr/bin/python3";

/// The queues as the scenarios need them.
const ORDERED: &str =
    r#"{"x-queue-type": "quorum", "x-delivery-limit": 20, "x-single-active-consumer": True}"#;
const CLASSIC: &str = "{}";

/// Does `code` with a `channel` of the broker.
async fn broker(server: &RabbitMq, code: &str) {
    let port = server.addr().port();
    let script = format!(
        "import pika\n\
         channel = pika.BlockingConnection(pika.ConnectionParameters('127.0.0.1', {port})).channel()\n\
         {code}\n"
    );
    // A queue with several copies may not be ready the moment that its server listens.
    wait_for("the broker to do it", PATIENCE, async || {
        let mut python = Command::new(PYTHON);
        python.args(["-c", &script]).stdin(Stdio::null());
        let run = tokio::task::spawn_blocking(move || python.output()).await;
        let out = run.expect("no panic").expect("python runs");
        if out.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&out.stderr).into_owned())
    })
    .await;
}

async fn declare(server: &RabbitMq, queue: &str, arguments: &str) {
    let code = format!("channel.queue_declare('{queue}', durable=True, arguments={arguments})");
    broker(server, &code).await;
}

async fn delete(server: &RabbitMq, queue: &str) {
    broker(server, &format!("channel.queue_delete('{queue}')")).await;
}

/// An application that moves orders from the queue `in` to the queue `out`, all of one key.
fn mover(server: &RabbitMq, ordered: bool, location: &str) -> App {
    let url = server.url();
    let order = if ordered {
        "ordered = { by = \"amqp.header.key\" }"
    } else {
        ""
    };
    App::new(&format!(
        r#"[app]
name = "t"

[message.order]
type = "urn:orders#Order"

[receive.q]
host = "edge"
message = "order"
ordered = {ordered}
[receive.q.location.in.amqp]
url = "{url}"
queue = "in"
{location}

[send.out]
host = "edge"
filter = "msg.origin == 't.q.in'"
retry = {{ attempts = 1000, first = "50ms", factor = 1.5, max = "1s" }}
{order}
[send.out.primary.amqp]
url = "{url}"
queue = "out"
"#
    ))
}

fn order(no: usize) -> (String, String, String) {
    let body = format!("<Order xmlns=\"urn:orders\">{no}</Order>");
    (body, format!("id-{no}"), "k".to_owned())
}

fn poison(no: usize) -> (String, String, String) {
    let body = format!("<Order xmlns=\"urn:orders\">{no}");
    (body, format!("id-{no}"), "k".to_owned())
}

/// The numbers of the orders that came out, each once, as they first came.
async fn came_out(server: &RabbitMq) -> Vec<usize> {
    let mut known = BTreeSet::new();
    let seen = server.take("out").await.into_iter();
    let number = |body: String| {
        let text = body.split(['>', '<']).nth(2).expect("an order").to_owned();
        text.parse().expect("a number")
    };
    seen.map(|seen| number(seen.body))
        .filter(|no: &usize| known.insert(*no))
        .collect()
}

async fn accepted(gateway: &Gateway, count: usize) {
    wait_for("the messages to be stored", PATIENCE, async || {
        let stored = gateway.metrics().await?;
        let stored = stored.sum("quayside_accepted_total", "");
        if stored >= count as f64 {
            Ok(())
        } else {
            Err(format!("{stored} of {count}"))
        }
    })
    .await;
}

/// Waits until the trouble of `port` fits.
async fn trouble(gateway: &Gateway, port: &str, fits: impl Fn(&Value) -> bool) -> Value {
    wait_for("the port to tell how it stands", PATIENCE, async || {
        let view = gateway.api(&format!("ports/{port}")).await?;
        if fits(&view["trouble"]) {
            Ok(view["trouble"].clone())
        } else {
            Err(view.to_string())
        }
    })
    .await
}

fn has_code(code: &'static str) -> impl Fn(&Value) -> bool {
    move |trouble| trouble["code"] == code
}

/// A thousand orders and one poison in their middle: it is suspended once, with its reason, and the thousand
/// come out; `ordered` ones in their order.
async fn poison_among_a_thousand(ordered: bool, location: &str) -> (Node, Gateway, Value) {
    const COUNT: usize = 1001;
    const POISON: usize = 500;
    let server = RabbitMq::start().await;
    declare(&server, "in", ORDERED).await;
    declare(&server, "out", CLASSIC).await;
    let all: Vec<_> = (0..COUNT)
        .map(|no| if no == POISON { poison(no) } else { order(no) })
        .collect();
    server.put("in", &all).await;
    let app = mover(&server, ordered, location);
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    accepted(&gateway, COUNT).await;
    wait_for("all but the poison to end", PATIENCE, async || {
        let list = gateway.api("deliveries?limit=3").await?;
        match items(&list) {
            [only] if only["state"] == "suspended" => Ok(()),
            _ => Err(list.to_string()),
        }
    })
    .await;
    let mut numbers = came_out(&server).await;
    if !ordered {
        numbers.sort_unstable();
    }
    let expected: Vec<_> = (0..COUNT).filter(|no| *no != POISON).collect();
    assert_eq!(numbers, expected);
    let suspended = gateway.api("deliveries?state=suspended").await;
    let suspended = suspended.expect("a list");
    let [row] = suspended["deliveries"]
        .as_array()
        .expect("a list")
        .as_slice()
    else {
        panic!("{suspended:#}");
    };
    let code = row["failure"]["code"].as_str().expect("a reason");
    assert!(code.starts_with("QS02"), "{row:#}");
    let stored = gateway.metrics().await.expect("metrics");
    assert_eq!(stored.sum("quayside_suspended_on_receipt_total", ""), 1.0);
    assert_eq!(stored.sum("quayside_accepted_total", ""), COUNT as f64);
    assert_eq!(server.waiting("in").await, 0, "nothing comes again");
    let row = row.clone();
    (node, gateway, row)
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_in_an_ordered_queue_is_suspended_once() {
    let (_node, gateway, row) = poison_among_a_thousand(true, "").await;
    assert_eq!(row["failure"]["resumable"], true);
    let ids = json!({ "ids": [row["id"]] });
    let outcome = gateway
        .post("deliveries/resume", &ids)
        .await
        .expect("it answers");
    assert_eq!(outcome["outcomes"][0]["outcome"], "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_suspended_for_good_if_the_location_says_so() {
    let location = "on_failure = \"suspend-non-resumable\"";
    let (_node, gateway, row) = poison_among_a_thousand(false, location).await;
    assert_eq!(row["failure"]["resumable"], false);
    let id = row["id"].as_str().expect("an id");
    let ids = json!({ "ids": [id] });
    let resume = async || {
        let outcome = gateway
            .post("deliveries/resume", &ids)
            .await
            .expect("it answers");
        outcome["outcomes"][0]["outcome"].clone()
    };
    assert_eq!(resume().await, "not-resumable");
    let message = id.split('.').next().expect("a message");
    let way = gateway.way(message).await.expect("its way");
    let waits = way["legs"][0]["waits"].to_string();
    assert!(waits.contains("it cannot be resumed"), "{way:#}");
    let ended = gateway
        .post("deliveries/terminate", &ids)
        .await
        .expect("it answers");
    assert_eq!(ended["outcomes"][0]["outcome"], "done");
    assert_eq!(resume().await, "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_deleted_is_looked_for_and_taken_from_again() {
    let server = RabbitMq::start().await;
    declare(&server, "in", ORDERED).await;
    declare(&server, "out", CLASSIC).await;
    let app = mover(&server, true, "");
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    server.put("in", &[order(0)]).await;
    accepted(&gateway, 1).await;
    delete(&server, "in").await;
    let missing = trouble(&gateway, "t.q.in", has_code("QS0903")).await;
    assert_eq!(missing["kind"], "disconnected", "{missing:#}");
    let metrics = gateway.metrics().await.expect("metrics");
    let named = "port=\"t.q.in\"";
    assert_eq!(metrics.sum("quayside_port_disconnected", named), 1.0);
    assert_eq!(metrics.sum("quayside_port_up", named), 1.0, "it stays open");

    // In its place stands a queue that would serve two processes at once: nothing is taken from it.
    declare(&server, "in", CLASSIC).await;
    server.put("in", &[order(1), order(2)]).await;
    let unfit = trouble(&gateway, "t.q.in", has_code("QS0920")).await;
    let detail = unfit["detail"].as_str().expect("a text");
    assert!(detail.contains("x-single-active-consumer"), "{detail}");
    assert_eq!(server.waiting("in").await, 2, "{unfit:#}");

    delete(&server, "in").await;
    declare(&server, "in", ORDERED).await;
    server.put("in", &[order(3), order(4)]).await;
    trouble(&gateway, "t.q.in", Value::is_null).await;
    accepted(&gateway, 3).await;
    gateway.drained(PATIENCE).await;
    assert_eq!(came_out(&server).await, [0, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_location_without_its_dead_letter_queue_takes_nothing() {
    let server = RabbitMq::start().await;
    declare(&server, "in", CLASSIC).await;
    declare(&server, "out", CLASSIC).await;
    server.put("in", &[order(0), poison(1), order(2)]).await;
    let location = "on_failure = \"dead-letter\"\ndead_letter = \"poison\"";
    let app = mover(&server, false, location);
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    let missing = trouble(&gateway, "t.q.in", has_code("QS0903")).await;
    let detail = missing["detail"].as_str().expect("a text");
    assert!(detail.contains("poison"), "{detail}");
    assert_eq!(server.waiting("in").await, 3);
    declare(&server, "poison", CLASSIC).await;
    accepted(&gateway, 2).await;
    gateway.drained(PATIENCE).await;
    let mut numbers = came_out(&server).await;
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 2]);
    assert_eq!(server.take("poison").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exclusive_location_takes_only_what_it_has_alone() {
    let server = RabbitMq::start().await;
    declare(&server, "in", ORDERED).await;
    declare(&server, "out", CLASSIC).await;
    server.put("in", &[order(0)]).await;
    let app = mover(&server, false, "exclusive = true");
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    trouble(&gateway, "t.q.in", has_code("QS0921")).await;
    assert_eq!(server.waiting("in").await, 1);
    delete(&server, "in").await;
    declare(&server, "in", CLASSIC).await;
    server.put("in", &[order(1)]).await;
    accepted(&gateway, 1).await;
    gateway.drained(PATIENCE).await;
    assert_eq!(came_out(&server).await, [1]);
    let log = gateway.process.stderr();
    assert_eq!(
        log.matches("QS0921").count(),
        1,
        "once, not at each look: {log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_told_of() {
    let mut server = RabbitMq::start().await;
    declare(&server, "in", ORDERED).await;
    declare(&server, "out", CLASSIC).await;
    let app = mover(&server, true, "");
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    server.put("in", &[order(0)]).await;
    accepted(&gateway, 1).await;
    gateway.drained(PATIENCE).await;
    server.kill9().await;
    let away = trouble(&gateway, "t.q.in", has_code("QS0901")).await;
    assert_eq!(away["kind"], "disconnected", "{away:#}");
    server.start_again().await;
    trouble(&gateway, "t.q.in", Value::is_null).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_short_of_memory_holds_the_port_back() {
    let server = RabbitMq::start().await;
    declare(&server, "in", ORDERED).await;
    declare(&server, "out", CLASSIC).await;
    server.put("in", &[order(0)]).await;
    server.memory_alarm(true).await;
    let app = mover(&server, true, "");
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    let held = trouble(&gateway, "t.out", has_code("QS0907")).await;
    assert_eq!(held["kind"], "back-pressure", "{held:#}");
    let metrics = gateway.metrics().await.expect("metrics");
    let named = "port=\"t.out\"";
    assert_eq!(metrics.sum("quayside_port_held_back", named), 1.0);
    assert_eq!(metrics.sum("quayside_port_disconnected", named), 0.0);
    server.memory_alarm(false).await;
    trouble(&gateway, "t.out", Value::is_null).await;
    gateway.drained(PATIENCE).await;
    assert_eq!(came_out(&server).await, [0]);
}

/// Whoever holds back an acknowledgement for too long is cut off by the broker: its messages come again.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_the_broker_closes_is_opened_again() {
    const COUNT: usize = 100;
    let server = RabbitMq::start().await;
    declare(&server, "in", ORDERED).await;
    declare(&server, "out", CLASSIC).await;
    server.acknowledge_within(Duration::from_millis(1000)).await;
    let app = mover(&server, true, "");
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    let store = node.data_dir().join("quayside.db");
    let held = rusqlite::Connection::open(&store).expect("the store opens");
    held.execute_batch("BEGIN IMMEDIATE")
        .expect("the store is locked");
    let all: Vec<_> = (0..COUNT).map(order).collect();
    server.put("in", &all).await;
    // The broker has closed the channel: nobody consumes. The location cannot know yet, it waits for its commit.
    let count = "channel.queue_declare('in', passive=True).method.consumer_count";
    broker(&server, &format!("assert {count} == 0")).await;
    held.execute_batch("ROLLBACK").expect("the store is free");
    accepted(&gateway, COUNT).await;
    gateway.drained(PATIENCE).await;
    let expected: Vec<_> = (0..COUNT).collect();
    assert_eq!(came_out(&server).await, expected);
    let list = gateway.api("messages?limit=1000").await.expect("a list");
    assert_eq!(items(&list).len(), COUNT, "each is stored once");
}
