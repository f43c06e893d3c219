//! A RabbitMQ server of one's own, in a temporary folder, and a client of it that is not ours.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

mod control;
mod foreign;

use rustix::process::Signal;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{
    Process, free_port,
    network::seen_from,
    port::Port,
    process::{children, command, has_ended, is_paused, signal_pid, unprivileged},
    wait_for,
};

pub use foreign::{Arrival, Confirmed, Consumer, Producer, ProducerPlan};

/// How long a server may take to start or to stop.
const START: Duration = Duration::from_secs(90);

/// What Debian installs: the programs themselves, not the wrapper that only root and one user may call.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// The port mapper of Erlang nodes.
const MAPPER: &str = "/usr/bin/epmd";

/// The interpreter that sees Debian's packages.
const PYTHON: &str = "/usr/bin/python3";

/// The client: reads one JSON command from its argument, prints one JSON answer.
const CLIENT: &str = include_str!("rabbitmq/client.py");

/// A running server, or one that was stopped by the test.
#[derive(Debug)]
pub struct RabbitMq {
    port: Port,
    distribution: Port,
    epmd: Port,
    management: Port,
    /// The server would start its port mapper as a daemon, which outlives it: this one is ours.
    _mapper: Process,
    run_as: Option<(u32, u32)>,
    /// The start script, which ends with the server.
    process: Option<Process>,
    dir: TempDir,
}

/// A message as the client saw it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Seen {
    /// Its body.
    pub body: String,
    /// Its property `message_id`.
    pub message_id: Option<String>,
    /// Its property `delivery_mode`: 2 is on the disk of the broker.
    pub delivery_mode: Option<u8>,
    /// Its property `content_type`.
    pub content_type: Option<String>,
    /// Its headers, as text.
    pub headers: std::collections::BTreeMap<String, String>,
}

impl RabbitMq {
    /// A server with its defaults.
    ///
    /// # Panics
    /// When RabbitMQ is not installed or does not start.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with plugins of those that come with it.
    ///
    /// # Panics
    /// When RabbitMQ is not installed or does not start.
    pub async fn start_with(plugins: &[&str]) -> Self {
        Self::start_at(plugins, &[]).await
    }

    /// The same listening on these loopback addresses too: the machines of a [network](crate::network).
    ///
    /// # Panics
    /// When RabbitMQ is not installed or does not start.
    pub async fn start_at(plugins: &[&str], machines: &[Ipv4Addr]) -> Self {
        assert!(
            Path::new(SERVER).exists(),
            "{SERVER} is missing: tests/run installs it"
        );
        let dir = tempfile::tempdir().expect("a temporary folder");
        let run_as = unprivileged().map(|(_, uid, gid)| (uid, gid));
        for name in ["home", "mnesia", "log"] {
            fs::create_dir(dir.path().join(name)).expect("a folder for the server");
        }
        let epmd = free_port();
        let mut mapper = command(Path::new(MAPPER));
        mapper.args(["-address", "127.0.0.1", "-port", &epmd.number().to_string()]);
        let mapper = Process::spawn("epmd", mapper, dir.path());
        let mut server = Self {
            port: free_port(),
            distribution: free_port(),
            epmd,
            management: free_port(),
            _mapper: mapper,
            run_as,
            process: None,
            dir,
        };
        let mut config = format!(
            "listeners.tcp.1 = {}\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {}\n",
            server.addr(),
            server.management.number()
        );
        for (no, machine) in machines.iter().enumerate() {
            let addr = seen_from(*machine, server.addr());
            writeln!(config, "listeners.tcp.{} = {addr}", no + 2).expect("writing to a string");
        }
        fs::write(server.path("rabbitmq.conf"), config).expect("writing rabbitmq.conf");
        server.plugins(plugins);
        if let Some((uid, gid)) = run_as {
            let names = [
                "",
                "home",
                "mnesia",
                "log",
                "rabbitmq.conf",
                "enabled_plugins",
            ];
            for name in names {
                let path = server.path(name);
                chown(path, Some(uid), Some(gid)).expect("root gives the folder away");
            }
        }
        server.run().await;
        server
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Its URL for the gateway's configuration.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://{}", self.addr())
    }

    /// The address of its management API, which it has with the plugin `rabbitmq_management`.
    #[must_use]
    pub fn management(&self) -> String {
        format!("http://{}", self.management.addr())
    }

    /// Kills the server at once.
    ///
    /// # Panics
    /// When it is stopped.
    pub async fn kill9(&mut self) {
        let process = self.process.take().expect("RabbitMQ is running");
        let killed = tree(&process);
        signal_all(&killed, Signal::KILL);
        ended(process, &killed).await;
    }

    /// Stops the server as its operators do.
    ///
    /// # Panics
    /// When it is stopped.
    pub async fn stop(&mut self) {
        let process = self.process.take().expect("RabbitMQ is running");
        let stopped = tree(&process);
        process.signal(Signal::TERM);
        ended(process, &stopped).await;
    }

    /// Stops the execution of the server (SIGSTOP): its connections stand and nothing answers.
    ///
    /// # Panics
    /// When it is stopped.
    pub async fn pause(&self) {
        let all = tree(self.process.as_ref().expect("RabbitMQ is running"));
        signal_all(&all, Signal::STOP);
        wait_for("RabbitMQ to be paused", START, async || {
            let running = all.iter().filter(|pid| !is_paused(**pid)).count();
            if running == 0 {
                Ok(())
            } else {
                Err(format!("{running} of its processes run"))
            }
        })
        .await;
    }

    /// Lets it run on (SIGCONT).
    ///
    /// # Panics
    /// When it is stopped.
    pub fn resume(&self) {
        let all = tree(self.process.as_ref().expect("RabbitMQ is running"));
        signal_all(&all, Signal::CONT);
    }

    /// Starts it again after a stop, and returns when it accepts connections.
    pub async fn start_again(&mut self) {
        self.run().await;
    }

    /// Declares a durable quorum queue; with `single` it has a single active consumer.
    pub async fn declare(&self, queue: &str, single: bool) {
        let command = serde_json::json!({ "do": "declare", "queue": queue, "single": single });
        self.client(&command).await;
        self.settle().await;
    }

    /// Puts messages into `queue`, each confirmed; `messages` are body, `message_id` and the header `key`.
    pub async fn put(&self, queue: &str, messages: &[(String, String, String)]) {
        let command = serde_json::json!({ "do": "put", "queue": queue, "messages": messages });
        self.client(&command).await;
    }

    /// How many messages of `queue` wait for a consumer.
    pub async fn waiting(&self, queue: &str) -> u64 {
        let command = serde_json::json!({ "do": "count", "queue": queue });
        self.client(&command).await.as_u64().expect("a number")
    }

    /// Takes everything out of `queue`.
    pub async fn take(&self, queue: &str) -> Vec<Seen> {
        let command = serde_json::json!({ "do": "take", "queue": queue });
        let answer = self.client(&command).await;
        serde_json::from_value(answer).expect("a list of messages")
    }

    async fn client(&self, command: &serde_json::Value) -> serde_json::Value {
        let file = self.path("command.json");
        fs::write(&file, command.to_string()).expect("writing the command");
        let mut python = Command::new(PYTHON);
        python
            .args(["-c", CLIENT, &self.port.number().to_string()])
            .arg(&file)
            .stdin(Stdio::null());
        let run = tokio::task::spawn_blocking(move || python.output()).await;
        let out = run
            .expect("running a program does not panic")
            .unwrap_or_else(|e| panic!("starting {PYTHON}: {e}"));
        assert!(
            out.status.success(),
            "{command:.300}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        serde_json::from_slice(&out.stdout).expect("the client answers with JSON")
    }

    async fn run(&mut self) {
        assert!(self.process.is_none(), "RabbitMQ already runs");
        let mut process = Process::spawn("rabbitmq", self.as_server(SERVER), self.dir.path());
        let addr = self.addr();
        wait_for("RabbitMQ to accept connections", START, async || {
            assert!(
                !process.has_ended(),
                "RabbitMQ ended:\n{}\n{}",
                process.lines().join("\n"),
                process.stderr_tail()
            );
            let connected = TcpStream::connect(addr).await;
            connected.map(drop).map_err(|e| e.to_string())
        })
        .await;
        self.process = Some(process);
    }

    /// A command of the server, in its environment and as its user.
    fn as_server(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        if let Some((uid, gid)) = self.run_as {
            command
                .arg(format!("--reuid={uid}"))
                .arg(format!("--regid={gid}"));
            command.arg("--clear-groups");
        }
        // To the start script, which then stops the virtual machine: a signal to it alone would leave that.
        command.args(["--pdeathsig", "TERM", "--"]).arg(program);
        let loopback = "-kernel inet_dist_use_interface {127,0,0,1}";
        command
            .current_dir("/")
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("LANG", "C.UTF-8")
            .env("HOME", self.path("home"))
            .env("RABBITMQ_NODENAME", self.node())
            .env("RABBITMQ_MNESIA_BASE", self.path("mnesia"))
            .env("RABBITMQ_LOG_BASE", self.path("log"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_CONFIG_FILE", self.path("rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", self.path("none.config"))
            .env("RABBITMQ_CONF_ENV_FILE", self.path("none"))
            .env(
                "RABBITMQ_ENABLED_PLUGINS_FILE",
                self.path("enabled_plugins"),
            )
            .env("RABBITMQ_DIST_PORT", self.distribution.number().to_string())
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", loopback)
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.epmd.number().to_string());
        command
    }

    /// Its name among Erlang nodes.
    fn node(&self) -> String {
        format!("test{}@localhost", self.port.number())
    }

    fn path(&self, name: &str) -> PathBuf {
        match name {
            "" => self.dir.path().to_owned(),
            name => self.dir.path().join(name),
        }
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            signal_all(&tree(process), Signal::KILL);
        }
    }
}

/// A process and all below it: the start script and the virtual machine, whichever is which, and its helpers.
fn tree(process: &Process) -> Vec<u32> {
    let mut all = vec![process.pid()];
    let mut next = 0;
    while let Some(pid) = all.get(next).copied() {
        all.extend(children(pid));
        next += 1;
    }
    all
}

fn signal_all(pids: &[u32], signal: Signal) {
    for pid in pids {
        signal_pid(*pid, signal);
    }
}

/// Returns when nothing is left of a server that was told to end.
async fn ended(mut process: Process, pids: &[u32]) {
    process.wait_exit(START).await;
    wait_for("the virtual machine to end", START, async || {
        let left = pids.iter().filter(|pid| !has_ended(**pid)).count();
        if left == 0 {
            Ok(())
        } else {
            Err(format!("{left} processes are left"))
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_keeps_its_messages_over_a_crash_and_its_shovel_moves_them() {
        let mut server = RabbitMq::start_with(&["rabbitmq_shovel"]).await;
        server.declare("q", false).await;
        server.declare("r", false).await;
        let message = ["one", "id-1", "k"].map(str::to_owned);
        server.put("q", &[message.into()]).await;
        server.kill9().await;
        server.start_again().await;
        holds_one(&server, "q").await;
        server.shovel("move", "q", "r", 10).await;
        holds_one(&server, "r").await;
        server.unshovel("move").await;
        assert_eq!(server.waiting("q").await, 0);
        let seen = server.take("r").await;
        assert_eq!(seen.len(), 1);
        assert_eq!(
            (seen[0].body.as_str(), seen[0].delivery_mode),
            ("one", Some(2))
        );
        assert_eq!(seen[0].message_id.as_deref(), Some("id-1"));
        assert_eq!(server.waiting("r").await, 0);
    }

    /// A queue that has no leader yet says that it has nothing.
    async fn holds_one(server: &RabbitMq, queue: &str) {
        wait_for("the message to be there", START, async || {
            match server.waiting(queue).await {
                1 => Ok(()),
                other => Err(format!("{other} messages in `{queue}`")),
            }
        })
        .await;
    }

    #[tokio::test]
    async fn clients_go_on_through_every_fault_and_lose_nothing() {
        let mut server = RabbitMq::start_with(&["rabbitmq_management"]).await;
        server.declare("q", true).await;
        let plan = ProducerPlan {
            queues: [("q".to_owned(), vec!["a".to_owned(), "b".to_owned()])].into(),
            rate: 200,
            pad: 10,
        };
        let mut producer = server.producer(&plan);
        let mut consumer = server.consumer(&["q".to_owned()]);
        more(&mut producer, &mut consumer).await;
        assert!(server.close_connections(2).await >= 2);
        more(&mut producer, &mut consumer).await;
        server.pause().await;
        server.resume();
        more(&mut producer, &mut consumer).await;
        server.memory_alarm(true).await;
        let blocked = producer.confirmed().len();
        server.memory_alarm(false).await;
        more(&mut producer, &mut consumer).await;
        assert!(producer.confirmed().len() > blocked);
        server.kill9().await;
        server.start_again().await;
        more(&mut producer, &mut consumer).await;
        let confirmed = producer.finish().await;
        let arrivals = consumer.finish().await;
        let ids: std::collections::BTreeSet<_> = arrivals.iter().map(|a| &a.id).collect();
        for one in &confirmed {
            assert!(ids.contains(&one.id()), "{one:?}");
        }
        let last = confirmed
            .iter()
            .rfind(|c| c.key == "a")
            .expect("of each key");
        let of_key = confirmed.iter().filter(|c| c.key == "a").count() as u64;
        assert_eq!(last.sequence + 1, of_key, "each once");
    }

    /// Both get on by ten messages.
    async fn more(producer: &mut Producer, consumer: &mut Consumer) {
        let (sent, seen) = (producer.confirmed().len(), consumer.arrivals().len());
        wait_for("ten more messages", START, async || {
            let (now_sent, now_seen) = (producer.confirmed().len(), consumer.arrivals().len());
            if now_sent >= sent + 10 && now_seen >= seen + 10 {
                Ok(())
            } else {
                Err(format!("{now_sent} confirmed, {now_seen} seen"))
            }
        })
        .await;
    }
}
