//! Putting messages into queues: what a queue refuses or a broker does not confirm is a failure and comes again
//! under the same id; a run of one key keeps its order across deaths; a message chooses no queue that is not
//! listed, and carries the properties that its port gives it. Judged by a client that is not ours.

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
    time::Duration,
};

use quayside_harness::{App, Gateway, Node, RabbitMq, client, items, rabbitmq::Seen, wait_for};
use serde_json::Value;

/// How long everything may take to come through.
const PATIENCE: Duration = Duration::from_secs(90);

/// The interpreter that sees Debian's packages.
const PYTHON: &str = "/usr/bin/python3";

/// Queues: to be taken from by the gateway, and by the test.
const ORDERED: &str =
    r#"{"x-queue-type": "quorum", "x-delivery-limit": 20, "x-single-active-consumer": True}"#;
const QUORUM: &str = r#"{"x-queue-type": "quorum"}"#;
const CLASSIC: &str = "{}";

/// Does `code` with a `channel` of the broker. Gives what it prints.
async fn broker(server: &RabbitMq, code: &str) -> String {
    let port = server.addr().port();
    let script = format!(
        "import json, pika\n\
         channel = pika.BlockingConnection(pika.ConnectionParameters('127.0.0.1', {port})).channel()\n\
         {code}\n"
    );
    // A queue with several copies may not be ready the moment that its server listens.
    wait_for("the broker to do it", PATIENCE, async || {
        let mut python = Command::new(PYTHON);
        python.args(["-c", &script]).stdin(Stdio::null());
        let run = tokio::task::spawn_blocking(move || python.output()).await;
        let out = run.expect("no panic").expect("python runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if out.status.success() {
            return Ok(text(&out.stdout));
        }
        Err(text(&out.stderr))
    })
    .await
}

async fn declare(server: &RabbitMq, queue: &str, arguments: &str) {
    let code = format!("channel.queue_declare('{queue}', durable=True, arguments={arguments})");
    broker(server, &code).await;
}

/// An application that puts what comes over HTTP into a queue, with the settings `amqp`.
fn sender(server: &RabbitMq, amqp: &str) -> App {
    let url = server.url();
    App::new(&format!(
        r#"[app]
name = "t"

[receive.web]
host = "edge"
[receive.web.location.in.http]
path = "/in"

[send.out]
host = "edge"
filter = "msg.origin == 't.web.in'"
retry = {{ attempts = 1000, first = "50ms", factor = 1.5, max = "200ms" }}
[send.out.primary.amqp]
url = "{url}"
{amqp}
"#
    ))
}

/// Hands a message in and gives its id.
async fn post(gateway: &Gateway, body: &str) -> String {
    let headers = [("content-type", "text/plain")];
    let body = body.to_owned().into();
    let request = client::request("POST", gateway.http, "/in", &headers, body);
    let reply = client::once(gateway.http, request, PATIENCE).await;
    let reply = reply.expect("an answer");
    assert_eq!(reply.status, 202, "{}", reply.text());
    let id = reply.json()["id"].as_str().map(str::to_owned);
    id.unwrap_or_else(|| panic!("{}", reply.text()))
}

/// Waits until history of the message tells of a failure with `code`.
async fn failed(gateway: &Gateway, id: &str, code: &str) {
    wait_for("the failure to be told", PATIENCE, async || {
        let way = gateway.way(id).await?;
        match way.to_string().contains(code) {
            true => Ok(()),
            false => Err(format!("{way:#}")),
        }
    })
    .await;
}

fn bodies(seen: &[Seen]) -> Vec<&str> {
    seen.iter().map(|seen| seen.body.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_queue_refuses_comes_again() {
    let server = RabbitMq::start().await;
    let full = r#"{"x-max-length": 2, "x-overflow": "reject-publish"}"#;
    declare(&server, "out", full).await;
    let app = sender(&server, "queue = \"out\"");
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    let mut refused = None;
    for body in ["1", "2", "3", "4"] {
        refused = Some(post(&gateway, body).await);
    }
    failed(&gateway, &refused.expect("an id"), "QS0905").await;
    let mut seen = server.take("out").await;
    wait_for("the rest", PATIENCE, async || {
        seen.extend(server.take("out").await);
        match seen.len() >= 4 {
            true => Ok(()),
            false => Err(format!("{seen:?}")),
        }
    })
    .await;
    gateway.drained(PATIENCE).await;
    let mut all = bodies(&seen);
    all.sort_unstable();
    assert_eq!(all, ["1", "2", "3", "4"], "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_queue_takes_comes_again() {
    let server = RabbitMq::start().await;
    let app = sender(&server, "queue = \"out\"");
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    let id = post(&gateway, "1").await;
    failed(&gateway, &id, "QS0904").await;
    declare(&server, "out", CLASSIC).await;
    gateway.drained(PATIENCE).await;
    assert_eq!(bodies(&server.take("out").await), ["1"]);
}

/// The connection stands and nothing is confirmed: the attempt ends, is in doubt, and is made again.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_confirmed_in_time_comes_again_under_its_id() {
    let server = RabbitMq::start().await;
    declare(&server, "out", CLASSIC).await;
    let settings = "queue = \"out\"\nheartbeat = \"60s\"\nconfirm_timeout = \"1s\"";
    let app = sender(&server, settings);
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    post(&gateway, "first").await;
    gateway.drained(PATIENCE).await;
    server.pause().await;
    let id = post(&gateway, "second").await;
    failed(&gateway, &id, "QS0906").await;
    server.resume();
    gateway.drained(PATIENCE).await;
    let seen = server.take("out").await;
    let ids: BTreeSet<_> = seen.iter().map(|seen| &seen.message_id).collect();
    let known: BTreeSet<_> = bodies(&seen).into_iter().collect();
    assert_eq!(known, BTreeSet::from(["first", "second"]));
    assert_eq!(ids.len(), 2, "{seen:?}");
}

/// An application that moves messages from `in` to `out`, all of one key, with the settings `amqp`.
fn mover(server: &RabbitMq, amqp: &str) -> App {
    let url = server.url();
    App::new(&format!(
        r#"[app]
name = "t"

[receive.q]
host = "edge"
ordered = true
[receive.q.location.in.amqp]
url = "{url}"
queue = "in"

[send.out]
host = "edge"
filter = "msg.origin == 't.q.in'"
retry = {{ attempts = 1000, first = "50ms", factor = 1.5, max = "1s" }}
ordered = {{ by = "amqp.header.key", on_failure = "hold-key" }}
max_in_flight = 64
[send.out.primary.amqp]
url = "{url}"
{amqp}
"#
    ))
}

/// What came out: numbers, each once, as they first came. One content has one id.
fn firsts(seen: &[Seen]) -> Vec<usize> {
    let mut known = BTreeSet::new();
    let mut ids = BTreeSet::new();
    let mut firsts = Vec::new();
    for seen in seen {
        ids.insert(seen.message_id.clone());
        if known.insert(&seen.body) {
            firsts.push(seen.body.parse().expect("a number"));
        }
    }
    assert_eq!(ids.len(), known.len(), "a message came out under two ids");
    firsts
}

async fn out(server: &RabbitMq, at_least: u64) {
    wait_for("messages in `out`", PATIENCE, async || {
        let waiting = server.waiting("out").await;
        match waiting >= at_least {
            true => Ok(()),
            false => Err(waiting.to_string()),
        }
    })
    .await;
}

async fn one_key(count: usize) -> (RabbitMq, App, Node) {
    let server = RabbitMq::start().await;
    declare(&server, "in", ORDERED).await;
    declare(&server, "out", QUORUM).await;
    let message = |no| (format!("{no}"), format!("id-{no}"), "k".to_owned());
    let all: Vec<_> = (0..count).map(message).collect();
    server.put("in", &all).await;
    let app = mover(&server, "queue = \"out\"\npipeline = 64");
    let node = Node::new("node-a", app.path());
    (server, app, node)
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_a_key_keep_their_order_when_the_gateway_dies() {
    const COUNT: usize = 2000;
    let (server, _app, node) = one_key(COUNT).await;
    let mut gateway = node.start().await;
    for deaths in 1..4 {
        out(&server, deaths * 300).await;
        gateway.kill9();
        gateway = node.start().await;
    }
    out(&server, COUNT as u64).await;
    gateway.drained(PATIENCE).await;
    let seen = server.take("out").await;
    assert_eq!(firsts(&seen), (0..COUNT).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_a_key_keep_their_order_when_the_broker_dies() {
    const COUNT: usize = 2000;
    let (mut server, _app, node) = one_key(COUNT).await;
    let gateway = node.start().await;
    for deaths in 1..3 {
        out(&server, deaths * 300).await;
        server.kill9().await;
        server.start_again().await;
    }
    out(&server, COUNT as u64).await;
    gateway.drained(PATIENCE).await;
    let seen = server.take("out").await;
    assert_eq!(firsts(&seen), (0..COUNT).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_chooses_only_queues_that_are_listed() {
    let server = RabbitMq::start().await;
    declare(&server, "in", ORDERED).await;
    for queue in ["erp.a", "erp.b", "other"] {
        declare(&server, queue, CLASSIC).await;
    }
    let put = "for no, queue in enumerate(['erp.a', 'other', 'erp.b', 'erp.a']):\n    \
               properties = pika.BasicProperties(message_id=f'm{no}', headers={'queue': queue})\n    \
               channel.basic_publish('', 'in', str(no).encode(), properties)\n\
               channel.connection.close()";
    broker(&server, put).await;
    let app = mover(
        &server,
        "queue = \"{amqp.header.queue}\"\nqueues = [\"erp.*\"]\npipeline = 8",
    );
    // Of keys of their own, so that what is suspended holds nobody.
    let text = std::fs::read_to_string(app.path().join("app.toml")).expect("the application");
    app.rewrite(&text.replace("amqp.header.key", "amqp.header.queue"));
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    wait_for("all to be stored", PATIENCE, async || {
        let metrics = gateway.metrics().await?;
        let stored = metrics.sum("quayside_accepted_total", "");
        match stored >= 4.0 {
            true => Ok(()),
            false => Err(stored.to_string()),
        }
    })
    .await;
    let suspended = wait_for("one to be suspended", PATIENCE, async || {
        let list = gateway.api("deliveries?limit=9").await?;
        match items(&list) {
            [only] if only["state"] == "suspended" => Ok(only.clone()),
            _ => Err(list.to_string()),
        }
    })
    .await;
    assert_eq!(suspended["failure"]["code"], "QS0912", "{suspended:#}");
    assert_eq!(bodies(&server.take("erp.a").await), ["0", "3"]);
    assert_eq!(bodies(&server.take("erp.b").await), ["2"]);
    assert_eq!(server.waiting("other").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_carries_what_its_port_gives_it() {
    let server = RabbitMq::start().await;
    declare(&server, "in", ORDERED).await;
    declare(&server, "out", CLASSIC).await;
    let put = "properties = pika.BasicProperties(message_id='m', correlation_id='c', reply_to='r', type='t',\n    \
               priority=3, headers={'Key': 'k', 'count': 7, 'flag': True})\n\
               channel.basic_publish('', 'in', b'body', properties)\n\
               channel.connection.close()";
    broker(&server, put).await;
    let amqp = r#"queue = "out"
[send.out.primary.amqp.properties]
carry = ["correlation-id", "priority", "headers"]
content_type = "text/x-{amqp.type}"
reply_to = "answers.{amqp.reply-to}"
expiration = "1h"
[send.out.primary.amqp.properties.headers]
from = "{amqp.queue}"
attempt = 1
"#;
    let app = mover(&server, amqp);
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    out(&server, 1).await;
    gateway.drained(PATIENCE).await;
    let take = "_, p, body = channel.basic_get('out', auto_ack=True)\n\
                print(json.dumps({'body': body.decode(), 'headers': p.headers, 'type': p.type,\n    \
                'correlation_id': p.correlation_id, 'reply_to': p.reply_to, 'priority': p.priority,\n    \
                'content_type': p.content_type, 'expiration': p.expiration, 'mode': p.delivery_mode}))";
    let seen: Value = serde_json::from_str(&broker(&server, take).await).expect("a message");
    let expected = serde_json::json!({
        "body": "body",
        "headers": { "key": "k", "count": 7, "flag": true, "from": "in", "attempt": 1 },
        "type": null,
        "correlation_id": "c",
        "reply_to": "answers.r",
        "priority": 3,
        "content_type": "text/x-t",
        "expiration": "3600000",
        "mode": 2,
    });
    assert_eq!(seen, expected);
}
