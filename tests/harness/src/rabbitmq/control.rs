//! Steering a running RabbitMQ: calls into its node, and its management API.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    process::{self, Command, Output, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use serde_json::Value;

use super::RabbitMq;
use crate::{Reply, client, wait_for};

/// Calls a function in an Erlang node: what `rabbitmqctl` does after seconds of starting itself.
const CALL: &str = "/usr/bin/erl_call";

/// How long an answer of the server may take.
const ANSWER: Duration = Duration::from_secs(10);

/// How long what it knows of its connections may take to be told.
const TOLD: Duration = Duration::from_secs(20);

/// The user and the password that a new server has, as HTTP carries them.
const GUEST: &str = "Basic Z3Vlc3Q6Z3Vlc3Q=";

impl RabbitMq {
    /// The plugins that it has from its next start on.
    ///
    /// # Panics
    /// When they cannot be written down.
    pub fn plugins(&self, names: &[&str]) {
        let list = format!("[{}].\n", names.join(","));
        fs::write(self.path("enabled_plugins"), list).expect("writing enabled_plugins");
    }

    /// Raises the alarm that memory is short, or ends it: while it lasts the server reads nothing from
    /// connections that publish.
    ///
    /// # Panics
    /// When the server does not do it.
    pub async fn memory_alarm(&self, on: bool) {
        let share = if on { "0.00001" } else { "0.4" };
        let set = format!("vm_memory_monitor:set_vm_memory_high_watermark({share}).");
        let answer = self.evaluate(&set).await;
        assert_eq!(answer, "{ok, ok}", "{set}");
    }

    /// Lets its user `guest` read from the queues whose names fit `pattern`, a regular expression, and no others; what
    /// else the user may do stays.
    ///
    /// # Panics
    /// When the server does not do it.
    pub async fn guest_reads(&self, pattern: &str) {
        let set = format!(
            "rabbit_auth_backend_internal:set_permissions(<<\"guest\">>, <<\"/\">>, <<\".*\">>, <<\".*\">>, \
             <<\"{pattern}\">>, <<\"test\">>)."
        );
        assert_eq!(self.evaluate(&set).await, "{ok, ok}", "{set}");
    }

    /// Makes a user who may do everything with queues.
    ///
    /// # Panics
    /// When the server does not do it.
    pub async fn add_user(&self, name: &str, password: &str) {
        for set in [
            format!(
                "rabbit_auth_backend_internal:add_user(<<\"{name}\">>, <<\"{password}\">>, <<\"test\">>)."
            ),
            format!(
                "rabbit_auth_backend_internal:set_permissions(<<\"{name}\">>, <<\"/\">>, <<\".*\">>, \
                 <<\".*\">>, <<\".*\">>, <<\"test\">>)."
            ),
        ] {
            assert_eq!(self.evaluate(&set).await, "{ok, ok}", "{set}");
        }
    }

    /// How many connections of the user `name` work. One that was closed from here is not among them: it has no
    /// channels any more, and stays until its client has answered.
    ///
    /// # Panics
    /// When the server does not tell.
    pub async fn connections_of(&self, name: &str) -> usize {
        let count = format!(
            "length([1 || [{{user, U}}, {{state, S}}] <- rabbit_networking:connection_info_all([user, state]), \
             U =:= <<\"{name}\">>, S =:= running])."
        );
        let answer = self.evaluate(&count).await;
        let number = answer
            .strip_prefix("{ok, ")
            .and_then(|rest| rest.strip_suffix('}'));
        let number = number.and_then(|number| number.parse().ok());
        number.unwrap_or_else(|| panic!("{count} {answer}"))
    }

    /// Gives consumers so long to acknowledge instead of half an hour, on channels that are opened from now on:
    /// then their channel is closed.
    ///
    /// # Panics
    /// When the server does not do it.
    pub async fn acknowledge_within(&self, limit: Duration) {
        let millis = limit.as_millis();
        for (key, value) in [
            ("consumer_timeout", millis),
            ("channel_tick_interval", millis / 2),
        ] {
            let set = format!("application:set_env(rabbit, {key}, {value}).");
            assert_eq!(self.evaluate(&set).await, "{ok, ok}", "{set}");
        }
    }

    /// Lets its shovel `name` move messages from one queue to another until [`Self::unshovel`]:
    /// each is acknowledged when its copy is confirmed. The server needs the plugin `rabbitmq_shovel`.
    ///
    /// # Panics
    /// When the server does not take it.
    pub async fn shovel(&self, name: &str, from: &str, to: &str, prefetch: u16) {
        let url = self.url();
        let definition = serde_json::json!({
            "src-protocol": "amqp091", "src-uri": url, "src-queue": from,
            "src-prefetch-count": prefetch,
            "dest-protocol": "amqp091", "dest-uri": url, "dest-queue": to,
            "ack-mode": "on-confirm",
        });
        let definition = definition.to_string().replace('"', "\\\"");
        let set = format!(
            "rabbit_runtime_parameters:parse_set(<<\"/\">>, <<\"shovel\">>, <<\"{name}\">>, \
             <<\"{definition}\">>, none)."
        );
        let answer = self.evaluate(&set).await;
        assert_eq!(answer, "{ok, ok}", "{set}");
    }

    /// Ends the shovel `name`.
    ///
    /// # Panics
    /// When there is none.
    pub async fn unshovel(&self, name: &str) {
        let clear = format!(
            "rabbit_runtime_parameters:clear(<<\"/\">>, <<\"shovel\">>, <<\"{name}\">>, <<\"guest\">>)."
        );
        let answer = self.evaluate(&clear).await;
        assert_eq!(answer, "{ok, ok}", "{clear}");
    }

    /// Closes every connection by its management API, and returns how many there were; waits until it knows
    /// at least `expected` of them. The server needs the plugin `rabbitmq_management`.
    ///
    /// # Panics
    /// When the server does not do it.
    pub async fn close_connections(&self, expected: usize) -> usize {
        let what = format!("the server to know of {expected} connections");
        let names = wait_for(&what, TOLD, async || {
            let list = self.manage("GET", "connections?columns=name").await?.json();
            let of = |item: &Value| Some(item["name"].as_str()?.to_owned());
            let names: Option<Vec<_>> = list.as_array().map(|l| l.iter().filter_map(of).collect());
            let names = names.ok_or_else(|| list.to_string())?;
            if names.len() >= expected {
                Ok(names)
            } else {
                Err(list.to_string())
            }
        })
        .await;
        for name in &names {
            let path = format!("connections/{}", escaped(name));
            let closed = self.manage("DELETE", &path).await;
            closed.unwrap_or_else(|error| panic!("closing {name}: {error}"));
        }
        names.len()
    }

    async fn manage(&self, method: &str, path: &str) -> Result<Reply, String> {
        let addr: SocketAddr = self.management.addr();
        let path = format!("/api/{path}");
        let headers = [("authorization", GUEST)];
        let request = client::request(method, addr, &path, &headers, Bytes::new());
        let reply = client::once(addr, request, ANSWER).await;
        let reply = reply.map_err(|e| format!("{path}: {e}"))?;
        // What is gone already needs no closing.
        if reply.status.is_success() || method == "DELETE" && reply.status == 404 {
            Ok(reply)
        } else {
            Err(format!("{path}: {} {}", reply.status, reply.text()))
        }
    }

    /// Returns when every queue that was declared outlives a crash: the server writes down later which queues there are
    /// and, up to half a second, which log belongs to which quorum queue. It comes back without the queue, or with an
    /// empty one, if it dies before.
    ///
    /// # Panics
    /// When the server does not do it.
    pub async fn settle(&self) {
        let sync = "{mnesia:sync_log(), lists:usort([dets:sync(Table) || Table <- dets:all()])}.";
        let answer = self.evaluate(sync).await;
        assert_eq!(answer, "{ok, {ok, [ok]}}", "{sync}");
    }

    /// What the server says of its queues and connections, for people who look for the cause of a failure.
    pub async fn state(&self) -> String {
        let queues = "rabbit_amqqueue:info_all(<<\"/\">>, [name, messages_ready, messages_unacknowledged, \
                      consumers, single_active_consumer_tag]).";
        let connections = "rabbit_networking:connection_info_all([name, state, channels, timeout, recv_oct, \
                           send_pend]).";
        let (queues, connections) = (
            self.evaluate(queues).await,
            self.evaluate(connections).await,
        );
        format!("queues {queues}\nconnections {connections}")
    }

    /// What `expression` comes to in the server.
    async fn evaluate(&self, expression: &str) -> String {
        let cookie = fs::read_to_string(self.path("home").join(".erlang.cookie"));
        let cookie = cookie.expect("reading the cookie of the server");
        // The server refuses a second caller of a name until it has noticed that the first is gone; without a name of
        // its own every call has the same one, and with `-r` all of one second have.
        static CALLS: AtomicU64 = AtomicU64::new(0);
        let caller = format!(
            "call-{}-{}",
            process::id(),
            CALLS.fetch_add(1, Ordering::Relaxed)
        );
        let mut call = Command::new(CALL);
        call.args(["-h", &caller, "-name", &self.node()])
            .args(["-c", cookie.trim(), "-e"])
            .env_clear()
            .env("ERL_EPMD_PORT", self.epmd.number().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let text = expression.to_owned();
        let run = tokio::task::spawn_blocking(move || {
            let mut child = call.spawn()?;
            let mut stdin = child.stdin.take().expect("standard input is a pipe");
            stdin.write_all(text.as_bytes())?;
            stdin.write_all(b"\n")?;
            drop(stdin);
            child.wait_with_output()
        });
        let run = run.await.expect("running a program does not panic");
        let Output {
            status,
            stdout,
            stderr,
        } = run.unwrap_or_else(|e| panic!("starting {CALL}: {e}"));
        let answer = String::from_utf8_lossy(&stdout).trim().to_owned();
        assert!(
            status.success(),
            "{expression}: {answer} {}",
            String::from_utf8_lossy(&stderr)
        );
        answer
    }
}

/// As a segment of a path.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_one_segment() {
        let name = "127.0.0.1:40120 -> 127.0.0.1:5672";
        assert_eq!(escaped(name), "127.0.0.1%3A40120%20-%3E%20127.0.0.1%3A5672");
    }
}
