//! `quayside queue` as it is called, and a client of RabbitMQ that is not ours, which judges queues and messages.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use quayside_harness::{App, Partner, Process, RabbitMq, program, wait_for};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long what takes a moment may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The interpreter that sees Debian's packages.
const PYTHON: &str = "/usr/bin/python3";

/// The judge.
const JUDGE: &str = include_str!("broker.py");

/// What a run of the command line came to.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it complained of.
    pub err: String,
}

impl Ran {
    /// What it printed, as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The state of each queue, by its name.
    #[must_use]
    pub fn states(&self) -> BTreeMap<String, String> {
        let text = |queue: &Value, key: &str| queue[key].as_str().unwrap_or_default().to_owned();
        let queues = self.json()["queues"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let of = |queue: &Value| (text(queue, "queue"), text(queue, "state"));
        queues.iter().map(of).collect()
    }
}

/// Runs `quayside queue` with these arguments.
pub async fn queue(arguments: &[&str]) -> Ran {
    let mut command = command(arguments);
    command.stdin(Stdio::null());
    let run = tokio::task::spawn_blocking(move || command.output()).await;
    let out = run.expect("no panic").expect("quayside starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran {
        code: out.status.code().expect("an exit code"),
        out: text(&out.stdout),
        err: text(&out.stderr),
    }
}

/// A run of `quayside queue` with these arguments.
#[must_use]
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(program("quayside"));
    command.arg("queue").args(arguments);
    for variable in ["QUAYSIDE_BROKER", "QUAYSIDE_BROKER_MANAGEMENT"] {
        command.env_remove(variable);
    }
    command
}

/// Lets the foreign client do one command.
pub async fn judge(server: &RabbitMq, command: Value) -> Value {
    let mut python = Command::new(PYTHON);
    python.args(["-c", JUDGE, &server.addr().port().to_string()]);
    python
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let run = tokio::task::spawn_blocking(move || {
        let mut child = python.spawn()?;
        let mut stdin = child.stdin.take().expect("standard input");
        stdin.write_all(command.to_string().as_bytes())?;
        drop(stdin);
        child.wait_with_output()
    });
    let out = run.await.expect("no panic").expect("python runs");
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{err}");
    serde_json::from_slice(&out.stdout).expect("an answer in JSON")
}

/// A foreign consumer that takes one message of `queue` and keeps it until it is dropped.
///
/// # Panics
/// When it gets none.
pub async fn hold(server: &RabbitMq, queue: &str) -> (Process, TempDir) {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("command.json");
    let command = json!({ "do": "hold", "queue": queue });
    fs::write(&file, command.to_string()).expect("written");
    let mut python = Command::new("sh");
    let port = server.addr().port().to_string();
    python.args([
        "-c",
        "exec \"$1\" -c \"$2\" \"$3\" < \"$4\"",
        "sh",
        PYTHON,
        JUDGE,
        &port,
    ]);
    python.arg(&file);
    let mut process = Process::spawn("consumer", python, dir.path());
    process.wait_line("holding", PATIENCE).await;
    (process, dir)
}

/// What it says when a queue is declared with these arguments.
pub async fn declare(server: &RabbitMq, queue: &str, arguments: Value) -> Value {
    judge(
        server,
        json!({ "do": "declare", "queue": queue, "arguments": arguments }),
    )
    .await
}

/// The messages that wait in `queue`; `None` if it is not there.
pub async fn waiting(server: &RabbitMq, queue: &str) -> Option<u64> {
    let look = json!({ "do": "declare", "queue": queue, "passive": true });
    judge(server, look).await["ready"].as_u64()
}

/// Waits until so many messages wait in `queue`.
pub async fn wait_for_waiting(server: &RabbitMq, queue: &str, count: u64) {
    let what = format!("{count} messages in `{queue}`");
    wait_for(&what, PATIENCE, async || {
        match waiting(server, queue).await {
            Some(found) if found == count => Ok(()),
            found => Err(format!("{found:?}")),
        }
    })
    .await;
}

/// Puts messages of these numbers, with what a returned message has to keep and what it must lose.
pub async fn put(server: &RabbitMq, queue: &str, numbers: impl IntoIterator<Item = u64>) {
    let message = |no: u64| {
        json!({
            "body": format!("body {no}"),
            "properties": {
                "message_id": format!("id-{no}"),
                "correlation_id": "c-1",
                "priority": 4,
                "user_id": "guest",
                "headers": { "key": format!("k{}", no % 2) },
            },
        })
    };
    let messages: Vec<Value> = numbers.into_iter().map(message).collect();
    judge(
        server,
        json!({ "do": "put", "queue": queue, "messages": messages }),
    )
    .await;
}

/// Takes what is there, one by one; with `refuse` none is accepted.
pub async fn consume(server: &RabbitMq, queue: &str, refuse: bool) -> Vec<Value> {
    let command = json!({ "do": "consume", "queue": queue, "refuse": refuse });
    let answer = judge(server, command).await;
    answer.as_array().expect("a list").clone()
}

/// Their ids.
///
/// # Panics
/// When one has none.
#[must_use]
pub fn ids(messages: &[Value]) -> Vec<&str> {
    let has_id = |message: &Value| message["message_id"].is_string();
    assert!(messages.iter().all(has_id), "{messages:?}");
    let ids = messages
        .iter()
        .filter_map(|message| message["message_id"].as_str());
    ids.collect()
}

/// The application of `fixtures/apps/queues`, on this broker.
#[must_use]
pub fn fixture(server: &RabbitMq, partner: Option<&Partner>) -> App {
    let from = original();
    let read = |name: &str| {
        let text = fs::read_to_string(from.join(name)).expect("a file of the fixture");
        let text = text.replace("amqp://127.0.0.1:5672", &server.url());
        match partner {
            Some(partner) => text.replace("127.0.0.1:9471", &partner.addr().to_string()),
            None => text,
        }
    };
    let app = App::new(&read("app.toml"));
    fs::write(app.path().join("queues.toml"), read("queues.toml")).expect("written");
    app
}

/// Its folder.
#[must_use]
pub fn original() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/apps/queues")
}
