//! A broker, a client of it that is not ours, and applications that use it.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use quayside_harness::{App, Gateway, Node, RabbitMq, wait_for};
use serde_json::{Value, json};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The client of these tests.
const CLIENT: &str = include_str!("client.py");

/// A server and a client of it that knows every property.
pub(crate) struct Broker {
    pub(crate) server: RabbitMq,
}

impl Broker {
    /// With these queues.
    pub(crate) async fn start(queues: &[&str]) -> Self {
        let broker = Self {
            server: RabbitMq::start().await,
        };
        let declare = |queue: &&str| json!({ "do": "declare", "queue": queue });
        broker.run(queues.iter().map(declare).collect()).await;
        broker
    }

    /// Does these commands, and returns what comes of each.
    pub(crate) async fn run(&self, commands: Value) -> Vec<Value> {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("commands.json");
        fs::write(&file, commands.to_string()).expect("writing the commands");
        let mut python = Command::new("/usr/bin/python3");
        python
            .args(["-c", CLIENT, &self.server.addr().port().to_string()])
            .arg(&file)
            .stdin(Stdio::null());
        let run = tokio::task::spawn_blocking(move || python.output()).await;
        let out = run
            .expect("running a program does not panic")
            .unwrap_or_else(|e| panic!("starting python3: {e}"));
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{commands:.300}: {said}");
        serde_json::from_slice(&out.stdout).expect("the client answers with JSON")
    }

    pub(crate) async fn put(&self, queue: &str, body: &str, properties: Value) {
        let put = json!({ "do": "put", "queue": queue, "body": body, "properties": properties });
        self.run(json!([put])).await;
    }

    /// Waits until there are `count` messages in `queue`, and takes them.
    pub(crate) async fn take(&self, queue: &str, count: usize) -> Vec<Value> {
        let what = format!("{count} messages in `{queue}`");
        wait_for(&what, PATIENCE, async || {
            let said = self.run(json!([{ "do": "count", "queue": queue }])).await;
            if said[0] == json!(count) {
                Ok(())
            } else {
                Err(said[0].to_string())
            }
        })
        .await;
        let taken = self.run(json!([{ "do": "take", "queue": queue }])).await;
        let taken = taken[0].as_array().expect("a list").clone();
        assert_eq!(taken.len(), count, "{taken:?}");
        taken
    }

    /// Starts a gateway that moves messages from `in` to `out`.
    pub(crate) async fn mover(&self, receive: &str, send: &str) -> (App, Node, Gateway) {
        let app = App::new(&self.app(receive, send, "retry = { attempts = 1 }"));
        let node = Node::new("node-a", app.path());
        let gateway = node.start().await;
        (app, node, gateway)
    }

    pub(crate) fn app(&self, receive: &str, send: &str, port: &str) -> String {
        let url = self.server.url();
        format!(
            r#"[app]
name = "t"

[receive.q]
host = "edge"
[receive.q.location.in.amqp]
url = "{url}"
queue = 'DIRECT=OS:srv1\private$\in'
[receive.q.location.in.amqp.msmq]
{receive}

[send.out]
host = "edge"
filter = "msg.origin == 't.q.in'"
{port}
[send.out.primary.amqp]
url = "{url}"
queue = '.\private$\out'
[send.out.primary.amqp.msmq]
{send}
"#
        )
    }
}

/// The id and the correlation id of a message of MSMQ.
pub(crate) const ID: &str = r"9f0c1a2b-0001-4aaa-8bbb-0123456789ab\17";
pub(crate) const OTHER: &str = r"9f0c1a2b-0001-4aaa-8bbb-0123456789ab\4294967295";

pub(crate) const IN: &str = "msmq.private$.in";
pub(crate) const OUT: &str = "msmq.private$.out";

pub(crate) fn from_http(broker: &Broker, msmq: &str) -> App {
    let url = broker.server.url();
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
retry = {{ attempts = 1000, first = "50ms", factor = 1.5, max = "500ms" }}
[send.out.primary.amqp]
url = "{url}"
queue = '.\private$\out'
[send.out.primary.amqp.msmq]
{msmq}
"#
    ))
}

pub(crate) async fn post(node: &Node, body: &'static str) {
    let headers = [("x-label", "Order 17"), ("x-number", "4294967295")];
    let request =
        quayside_harness::client::request("POST", node.http(), "/in", &headers, body.into());
    let reply = quayside_harness::client::once(node.http(), request, PATIENCE).await;
    let reply = reply.expect("an answer");
    assert_eq!(reply.status, 202, "{}", reply.text());
}
