//! Messages that no decent sender writes, in a queue among good ones: each of them is stored once and comes out in
//! its turn, and whatever stands behind them too. And an operator who makes a queue anew, again and again. Both by a
//! client that is not ours.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use quayside_harness::{App, Node, RabbitMq, wait_for};
use quayside_tests::broker::{queue, wait_for_waiting};
use serde_json::{Value, json};

/// How long everything may take to come through.
const PATIENCE: Duration = Duration::from_secs(60);

/// The interpreter that sees Debian's packages.
const PYTHON: &str = "/usr/bin/python3";

/// The client.
const CLIENT: &str = include_str!("amqp_hostile/client.py");

/// Deletes and declares a queue many times, at once or a moment later, and prints how often another queue stood in its
/// place.
const REMAKER: &str = r"
import random, sys, time, pika
connection = pika.BlockingConnection(pika.ConnectionParameters('127.0.0.1', int(sys.argv[1])))
arguments = {'x-queue-type': 'quorum', 'x-single-active-consumer': True}
others = 0
for _ in range(60):
    connection.channel().queue_delete('in')
    time.sleep(random.random() * 0.12)
    while True:
        try:
            connection.channel().queue_declare('in', durable=True, arguments=arguments)
            break
        except pika.exceptions.ChannelClosedByBroker as refused:
            if 'inequivalent' in refused.reply_text:
                others += 1
                break
    time.sleep(random.random() * 0.012)
connection.channel().queue_delete('in')
connection.channel().queue_declare('in', durable=True, arguments=arguments)
print(others)
";

/// Puts messages into a queue, each confirmed.
async fn put(server: &RabbitMq, messages: &[Value]) {
    python(server, CLIENT, json!(messages).to_string()).await;
}

/// Runs a program of Python with this input. Gives what it prints.
async fn python(server: &RabbitMq, program: &str, input: String) -> String {
    let mut python = Command::new(PYTHON);
    python.args(["-c", program, &server.addr().port().to_string()]);
    python
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let run = tokio::task::spawn_blocking(move || {
        let mut child = python.spawn()?;
        let mut stdin = child.stdin.take().expect("standard input");
        stdin.write_all(input.as_bytes())?;
        drop(stdin);
        child.wait_with_output()
    });
    let out = run.await.expect("no panic").expect("python runs");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// An application that moves messages from the queue `in` to the queue `out`, all of one key.
fn mover(server: &RabbitMq) -> App {
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
ordered = {{ by = "amqp.queue" }}
retry = {{ attempts = 1000, first = "50ms", factor = 1.5, max = "1s" }}
[send.out.primary.amqp]
url = "{url}"
queue = "out"
properties = {{ carry = ["headers"], headers = {{ id = "{{amqp.message-id}}" }} }}
"#
    ))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A header with so long a text.
fn long_header(length: u32) -> Vec<u8> {
    let text = vec![b'x'; length as usize];
    [&b"\x01kS"[..], &length.to_be_bytes(), &text].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_that_the_protocol_forbids_stand_in_nobodys_way() {
    let server = RabbitMq::start().await;
    server.declare("in", true).await;
    server.declare("out", false).await;
    let app = mover(&server);
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;

    let odd = [
        // No UTF-8: an id, two that are alike but for one byte, the name of a header, a routing key.
        json!({ "id": hex(b"M\xfcller") }),
        json!({ "id": hex(&[0xe4; 255]) }),
        json!({ "id": hex(&[&[0xe4; 254][..], &[0xe5]].concat()) }),
        json!({ "id": hex(b"name"), "headers": hex(b"\x02\xff\xfet\x01") }),
        json!({ "id": hex(b"key"), "key": hex(b"\xfe.\xff") }),
        // Deeper than any stack.
        json!({ "id": hex(b"deep"), "deep": 15_000 }),
        // As long as the broker lets it, which is longer than a frame may be.
        json!({ "id": hex(b"long"), "headers": hex(&long_header(131_040)) }),
    ];
    let with = |mut message: Value, no: usize| {
        message["queue"] = json!("in");
        message["body"] = json!(no.to_string());
        message
    };
    let good = |no: usize| json!({ "id": hex(format!("good-{no}").as_bytes()) });
    let messages: Vec<Value> = odd
        .iter()
        .enumerate()
        .flat_map(|(no, odd)| [with(good(no), 2 * no), with(odd.clone(), 2 * no + 1)])
        .collect();
    put(&server, &messages).await;

    let count = messages.len();
    wait_for(
        "every message to come out",
        PATIENCE,
        async || match server.waiting("out").await {
            found if found == count as u64 => Ok(()),
            found => Err(format!(
                "{found} of {count}: {}",
                gateway.process.stderr_tail()
            )),
        },
    )
    .await;
    gateway.drained(PATIENCE).await;
    let out = server.take("out").await;
    let bodies: Vec<&str> = out.iter().map(|seen| seen.body.as_str()).collect();
    let expected: Vec<String> = (0..count).map(|no| no.to_string()).collect();
    assert_eq!(bodies, expected);
    let first = out[1].headers.get("id").map(String::as_str);
    assert_eq!(first, Some("Müller"), "as Latin-1");
    let log = gateway.process.stderr();
    assert!(log.contains("QS0925"), "it is told: {log}");
    assert!(!log.contains("is lost"), "no connection was lost: {log}");
    assert_eq!(server.waiting("in").await, 0);
}

/// A location looks what a queue is by declaring it; it must not make one by that, whatever moment it hits.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_made_anew_is_nobody_elses() {
    let server = RabbitMq::start().await;
    server.declare("in", true).await;
    server.declare("out", false).await;
    let app = mover(&server);
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    let others = python(&server, REMAKER, String::new()).await;
    assert_eq!(others.trim(), "0", "made by somebody else");
    let message = json!({ "queue": "in", "body": "0", "id": hex(b"one") });
    put(&server, &[message]).await;
    wait_for("the message to come out", PATIENCE, async || {
        match server.waiting("out").await {
            1 => Ok(()),
            found => Err(format!("{found}: {}", gateway.process.stderr_tail())),
        }
    })
    .await;
}

/// A location stops at what it cannot take: what came before it is stored, and however often an operator has it go on,
/// the broker gives nothing up that waits.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_location_stops_at_stays_with_all_behind_it() {
    const COUNT: usize = 10;
    const POISON: usize = 4;
    // More than a queue with a limit lets pass.
    const TIMES: usize = 22;
    let server = RabbitMq::start().await;
    let url = server.url();
    let app = App::new(&format!(
        r#"[app]
name = "t"

[message.order]
type = "urn:orders#Order"

[receive.q]
host = "edge"
ordered = true
message = "order"
[receive.q.location.in]
error_threshold = 1
[receive.q.location.in.amqp]
url = "{url}"
queue = "in"
on_failure = "stop"

[send.out]
host = "edge"
filter = "msg.origin == 't.q.in'"
[send.out.primary.amqp]
url = "{url}"
queue = "out"
"#
    ));
    let made = queue(&["declare", app.path().to_str().expect("a path")]).await;
    assert_eq!(made.code, 0, "{made:?}");
    let order = |no: usize| {
        let end = if no == POISON { "" } else { "</Order>" };
        let body = format!("<Order xmlns=\"urn:orders\">{no}{end}");
        json!({ "queue": "in", "body": body, "id": hex(format!("id-{no}").as_bytes()) })
    };
    put(&server, &(0..COUNT).map(order).collect::<Vec<_>>()).await;
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    for stops in 1..=TIMES {
        wait_for("the location to stop", PATIENCE, async || {
            let log = gateway.process.stderr();
            let found = log.matches("receive location disabled").count();
            if found >= stops { Ok(()) } else { Err(log) }
        })
        .await;
        let start = gateway.post("ports/t.q.in/start", &json!({})).await;
        start.expect("the location is started");
    }
    wait_for_waiting(&server, "out", POISON as u64).await;
    wait_for_waiting(&server, "in", (COUNT - POISON) as u64).await;
    assert_eq!(server.waiting("in.poison").await, 0);
}
