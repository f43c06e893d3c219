//! Requests and answers over queues, in both directions, with a client that is not ours on the other side:
//! answered, not answered in time, and with a broker that dies in between.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use quayside_harness::{App, Gateway, Node, Partner, RabbitMq, Reply, client, wait_for};
use serde_json::Value;

/// How long everything may take to come through.
const PATIENCE: Duration = Duration::from_secs(90);

/// The interpreter that sees Debian's packages.
const PYTHON: &str = "/usr/bin/python3";

/// Answers what comes into `requests`, but not `silent`.
const RESPONDER: &str = r"
import sys, time, pika

def answer(channel):
    channel.basic_qos(prefetch_count=1)
    for method, asked, body in channel.consume('requests'):
        if body != b'silent':
            properties = pika.BasicProperties(
                correlation_id=asked.correlation_id, content_type='text/plain', delivery_mode=2)
            channel.basic_publish('', asked.reply_to, b'answer to ' + body, properties)
        channel.basic_ack(method.delivery_tag)

while True:
    try:
        parameters = pika.ConnectionParameters('127.0.0.1', int(sys.argv[1]), heartbeat=4)
        answer(pika.BlockingConnection(parameters).channel())
    except pika.exceptions.AMQPError:
        time.sleep(0.1)
";

/// A program that ends with the test.
struct Responder(Child);

impl Responder {
    fn start(server: &RabbitMq) -> Self {
        let port = server.addr().port().to_string();
        let mut python = Command::new(PYTHON);
        python.args(["-c", RESPONDER, &port]).stdin(Stdio::null());
        Self(python.spawn().expect("python runs"))
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

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

async fn declare(server: &RabbitMq, queue: &str) {
    let code = format!("channel.queue_declare('{queue}', durable=True, arguments={{}})");
    broker(server, &code).await;
    server.settle().await;
}

/// An application that asks over the queue `requests` what is asked over HTTP.
fn asker(server: &RabbitMq, within: &str, answer: &str) -> App {
    let url = server.url();
    App::new(&format!(
        r#"[app]
name = "t"

[receive.web]
host = "edge"
answer_within = "{within}"
[receive.web.location.in.http]
path = "/in"

[send.ask]
host = "edge"
answers = true
filter = "msg.origin == 't.web.in'"
retry = {{ attempts = 1000, first = "50ms", factor = 1.5, max = "200ms" }}
[send.ask.primary.amqp]
url = "{url}"
queue = "requests"
{answer}
"#
    ))
}

async fn ask(gateway: &Gateway, body: &str) -> Reply {
    let headers = [("content-type", "text/plain")];
    let body = body.to_owned().into();
    let request = client::request("POST", gateway.http, "/in", &headers, body);
    let reply = client::once(gateway.http, request, PATIENCE).await;
    reply.expect("an answer")
}

async fn waiting(server: &RabbitMq, queue: &str, at_least: u64) {
    wait_for("messages in the queue", PATIENCE, async || {
        let waiting = server.waiting(queue).await;
        match waiting >= at_least {
            true => Ok(()),
            false => Err(waiting.to_string()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_over_a_queue_brings_its_answer() {
    for answer in ["", "answer = { queue = \"answers\" }"] {
        let server = RabbitMq::start().await;
        declare(&server, "requests").await;
        declare(&server, "answers").await;
        let _responder = Responder::start(&server);
        let app = asker(&server, "30s", answer);
        let node = Node::new("node-a", app.path());
        let gateway = node.start().await;
        for body in ["one", "two", "three"] {
            let reply = ask(&gateway, body).await;
            let said = (reply.status.as_u16(), reply.text());
            assert_eq!(said, (200, format!("answer to {body}")), "{answer}");
            assert_eq!(reply.header("content-type"), "text/plain");
        }
        gateway.drained(PATIENCE).await;
        assert_eq!(server.waiting("answers").await, 0, "each is taken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_not_answered_in_time_has_failed() {
    let server = RabbitMq::start().await;
    declare(&server, "requests").await;
    let _responder = Responder::start(&server);
    let app = asker(&server, "3s", "answer = { within = \"1s\" }");
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    let late = ask(&gateway, "silent").await;
    assert_eq!((late.status.as_u16(), &*late.code()), (504, "QS0805"));
    wait_for("the failure to be told", PATIENCE, async || {
        let list = gateway.api("deliveries?limit=3").await?;
        match list.to_string().contains("QS0932") {
            true => Ok(()),
            false => Err(list.to_string()),
        }
    })
    .await;
    let reply = ask(&gateway, "loud").await;
    assert_eq!(reply.text(), "answer to loud");
}

/// The request is in its queue when the broker dies; the answer comes over another connection.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_waits_in_its_queue_for_who_asked() {
    let mut server = RabbitMq::start().await;
    declare(&server, "requests").await;
    declare(&server, "answers").await;
    let app = asker(
        &server,
        "60s",
        "answer = { queue = \"answers\", within = \"60s\" }",
    );
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    let restart = async {
        waiting(&server, "requests", 1).await;
        server.kill9().await;
        server.start_again().await;
        Responder::start(&server)
    };
    let (reply, _responder) = tokio::join!(ask(&gateway, "one"), restart);
    assert_eq!(reply.text(), "answer to one");
    gateway.drained(PATIENCE).await;
}

/// The broker refuses the consumer of answers, which ends its channel; later it would not.
#[tokio::test(flavor = "multi_thread")]
async fn answers_come_once_they_may_be_read() {
    let server = RabbitMq::start().await;
    declare(&server, "requests").await;
    declare(&server, "answers").await;
    server.guest_reads("^requests$").await;
    let _responder = Responder::start(&server);
    let app = asker(&server, "60s", "answer = { queue = \"answers\" }");
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    let allow = async {
        wait_for("the refusal", PATIENCE, async || {
            let log = gateway.process.stderr();
            match log.contains("answers cannot be taken in") {
                true => Ok(()),
                false => Err(log),
            }
        })
        .await;
        server.guest_reads(".*").await;
    };
    let (reply, ()) = tokio::join!(ask(&gateway, "one"), allow);
    assert_eq!(reply.text(), "answer to one");
    gateway.drained(PATIENCE).await;
}

/// An application that has requests of the queue `requests` answered over HTTP.
fn answerer(server: &RabbitMq, partner: &Partner, within: &str) -> App {
    let (url, partner) = (server.url(), partner.addr());
    App::new(&format!(
        r#"[app]
name = "t"

[receive.q]
host = "edge"
answer_within = "{within}"
[receive.q.location.in.amqp]
url = "{url}"
queue = "requests"

[send.partner]
host = "edge"
answers = true
filter = "msg.origin == 't.q.in'"
retry = {{ attempts = 1000, first = "50ms", factor = 1.5, max = "200ms" }}
[send.partner.primary.http]
url = "http://{partner}/orders"
"#
    ))
}

async fn request(server: &RabbitMq, id: &str) {
    let code = format!(
        "channel.confirm_delivery()\n\
         properties = pika.BasicProperties(message_id='{id}', correlation_id='c-{id}', reply_to='replies',\n    \
         delivery_mode=2, content_type='text/plain')\n\
         channel.basic_publish('', 'requests', b'bid:{id}', properties, mandatory=True)"
    );
    broker(server, &code).await;
}

/// The next answer, as the other side sees it.
async fn reply(server: &RabbitMq) -> Value {
    waiting(server, "replies", 1).await;
    let code = "_, p, body = channel.basic_get('replies', auto_ack=True)\n\
                print(json.dumps({'body': body.decode(), 'id': p.correlation_id, 'headers': p.headers}))";
    serde_json::from_str(&broker(server, code).await).expect("an answer")
}

async fn answer_with(partner: &Partner, text: &'static str) {
    let (headers, path) = (
        [("content-type", "text/plain")],
        "/_control/reply?status=200",
    );
    let put = client::request("PUT", partner.addr(), path, &headers, text.into());
    let told = client::once(partner.addr(), put, PATIENCE).await;
    assert!(told.expect("an answer").status.is_success());
}

async fn two_way(within: &str) -> (RabbitMq, Partner, App, Node) {
    let server = RabbitMq::start().await;
    for queue in ["requests", "replies"] {
        declare(&server, queue).await;
    }
    let partner = Partner::start().await;
    answer_with(&partner, "done").await;
    let app = answerer(&server, &partner, within);
    let node = Node::new("node-a", app.path());
    (server, partner, app, node)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_from_a_queue_is_answered_where_it_asks_for_it() {
    let (server, _partner, _app, node) = two_way("30s").await;
    let gateway = node.start().await;
    for id in ["a", "b"] {
        request(&server, id).await;
        let answer = reply(&server).await;
        assert_eq!(answer["body"], "done", "{answer:#}");
        assert_eq!(answer["id"], format!("c-{id}"), "{answer:#}");
        assert_eq!(answer["headers"]["quayside-status"], 200, "{answer:#}");
    }
    // A repeat gets the first answer, and is asked of nobody.
    request(&server, "a").await;
    let again = reply(&server).await;
    assert_eq!(
        (&again["body"], &again["id"]),
        (&"done".into(), &"c-a".into())
    );
    gateway.drained(PATIENCE).await;
    assert_eq!(server.waiting("requests").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waited_too_long_is_told_and_may_ask_again() {
    let (server, partner, _app, node) = two_way("1s").await;
    let gateway = node.start().await;
    partner.process.pause().await;
    request(&server, "a").await;
    let late = reply(&server).await;
    assert_eq!(late["headers"]["quayside-code"], "QS0805", "{late:#}");
    assert_eq!(late["headers"]["quayside-retry"], true, "{late:#}");
    assert_eq!((&late["id"], &late["body"]), (&"c-a".into(), &"".into()));
    partner.process.resume();
    gateway.drained(PATIENCE).await;
    request(&server, "a").await;
    assert_eq!(reply(&server).await["body"], "done");
    let effects = partner
        .log()
        .await
        .iter()
        .filter(|seen| seen.effect)
        .count();
    assert_eq!(effects, 1, "it was done once");
}

/// The request is under way when the broker dies: it is delivered again, known, and answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered_over_the_death_of_the_broker() {
    let (mut server, partner, _app, node) = two_way("60s").await;
    let gateway = node.start().await;
    partner.process.pause().await;
    request(&server, "a").await;
    wait_for("the request to be stored", PATIENCE, async || {
        let metrics = gateway.metrics().await?;
        match metrics.sum("quayside_accepted_total", "") >= 1.0 {
            true => Ok(()),
            false => Err("not yet".to_owned()),
        }
    })
    .await;
    server.kill9().await;
    server.start_again().await;
    partner.process.resume();
    let answer = reply(&server).await;
    assert_eq!(
        (&answer["body"], &answer["id"]),
        (&"done".into(), &"c-a".into())
    );
    gateway.drained(PATIENCE).await;
    let effects = partner
        .log()
        .await
        .iter()
        .filter(|seen| seen.effect)
        .count();
    assert_eq!(effects, 1, "it was done once");
}
