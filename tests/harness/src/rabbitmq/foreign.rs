//! Producers and consumers that run beside the gateway and are not ours.
//!
//! They are the broker's own kind of client, with their own view of what was confirmed and what came. Both
//! come back by themselves after every fault.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    str::{FromStr, SplitWhitespace},
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{PYTHON, RabbitMq};
use crate::{Process, process::command};

const PRODUCER: &str = include_str!("producer.py");

const CONSUMER: &str = include_str!("consumer.py");

/// How long either may take to end what it has begun.
const END: Duration = Duration::from_secs(60);

/// What a producer does.
#[derive(Debug, Clone, Default)]
pub struct ProducerPlan {
    /// The queues, each with the order keys of the messages for it. A key belongs to one queue.
    pub queues: BTreeMap<String, Vec<String>>,
    /// How many messages a second it offers, to all queues together.
    pub rate: u32,
    /// How many bytes more than its names a body has.
    pub pad: usize,
}

/// A message that the broker has confirmed to the producer. Its business id is `KEY.SEQUENCE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed {
    /// When, in microseconds since the epoch.
    pub at_us: u64,
    /// Its order key.
    pub key: String,
    /// Its number in the key, from 0.
    pub sequence: u64,
}

impl Confirmed {
    /// Its business id.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}.{}", self.key, self.sequence)
    }
}

/// A message that the consumer got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// When, in microseconds since the epoch.
    pub at_us: u64,
    /// The queue.
    pub queue: String,
    /// Its property `message_id`.
    pub message_id: String,
    /// Whether the broker says that it delivered it before.
    pub redelivered: bool,
    /// The business id in its body.
    pub id: String,
    /// The order key in its body.
    pub key: String,
    /// The number in its key, from its body.
    pub sequence: u64,
    /// The epoch of the clustered host that sent it; 0 for none.
    pub epoch: i64,
}

/// A running producer.
#[derive(Debug)]
pub struct Producer {
    process: Process,
    log: Log,
    confirmed: Vec<Confirmed>,
    unblocked: Vec<u64>,
    _dir: TempDir,
}

/// A running consumer.
#[derive(Debug)]
pub struct Consumer {
    process: Process,
    log: Log,
    arrivals: Vec<Arrival>,
    _dir: TempDir,
}

impl RabbitMq {
    /// Starts a producer.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn producer(&self, plan: &ProducerPlan) -> Producer {
        Producer::start(self.port.number(), plan)
    }

    /// Starts a consumer of `queues`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn consumer(&self, queues: &[String]) -> Consumer {
        Consumer::start(self.port.number(), queues)
    }
}

fn client_beside(name: &str, text: &str, port: u16, more: &[String]) -> (Process, Log, TempDir) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("log");
    // There from the start, so that who reads it need not wait for it.
    File::create(&path).expect("creating the log");
    let mut python = command(Path::new(PYTHON));
    python.args(["-c", text, &port.to_string()]);
    python.arg(&path).args(more);
    let process = Process::spawn(name, python, dir.path());
    (process, Log { path, read: 0 }, dir)
}

impl Producer {
    /// Starts one at a broker, or at what stands before several of them, on this port of this machine.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(port: u16, plan: &ProducerPlan) -> Self {
        let plan = serde_json::json!({
            "queues": plan.queues, "rate": plan.rate, "pad": plan.pad,
        });
        let (process, log, dir) = client_beside("producer", PRODUCER, port, &[plan.to_string()]);
        Self {
            process,
            log,
            confirmed: Vec::new(),
            unblocked: Vec::new(),
            _dir: dir,
        }
    }

    /// What was confirmed so far, in that order.
    ///
    /// # Panics
    /// When it has ended.
    pub fn confirmed(&mut self) -> &[Confirmed] {
        self.read();
        alive(&mut self.process);
        &self.confirmed
    }

    /// When the broker told it that it takes messages again, each time.
    pub fn unblocked(&mut self) -> &[u64] {
        self.read();
        &self.unblocked
    }

    /// Offers nothing more, and returns what was confirmed in all when nothing is on its way.
    ///
    /// # Panics
    /// When it has failed or does not end.
    pub async fn finish(mut self) -> Vec<Confirmed> {
        end(&mut self.process).await;
        self.read();
        self.confirmed
    }

    fn read(&mut self) {
        for line in self.log.more().lines() {
            let mut words = line.split_whitespace();
            let what = words.next().unwrap_or_default();
            let at_us = word(&mut words, line);
            match what {
                "confirmed" => self.confirmed.push(Confirmed {
                    at_us,
                    key: word(&mut words, line),
                    sequence: word(&mut words, line),
                }),
                "unblocked" => self.unblocked.push(at_us),
                _ => {}
            }
        }
    }
}

impl Consumer {
    /// Starts one as [`Producer::start`] does.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(port: u16, queues: &[String]) -> Self {
        let (process, log, dir) = client_beside("consumer", CONSUMER, port, queues);
        Self {
            process,
            log,
            arrivals: Vec::new(),
            _dir: dir,
        }
    }

    /// What has come so far, in that order.
    ///
    /// # Panics
    /// When it has ended.
    pub fn arrivals(&mut self) -> &[Arrival] {
        self.read();
        alive(&mut self.process);
        &self.arrivals
    }

    /// Takes what still is in the queues, and returns all that came.
    ///
    /// # Panics
    /// When it has failed or does not end.
    pub async fn finish(mut self) -> Vec<Arrival> {
        end(&mut self.process).await;
        self.read();
        self.arrivals
    }

    fn read(&mut self) {
        for line in self.log.more().lines() {
            let mut words = line.split_whitespace();
            let words = &mut words;
            self.arrivals.push(Arrival {
                at_us: word(words, line),
                queue: word(words, line),
                message_id: word(words, line),
                redelivered: word::<u8>(words, line) == 1,
                id: word(words, line),
                key: word(words, line),
                sequence: word(words, line),
                epoch: word(words, line),
            });
        }
    }
}

/// A file that somebody writes at its end.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    /// How much of it was read: whole lines.
    read: u64,
}

impl Log {
    /// The whole lines behind those that were read.
    fn more(&mut self) -> String {
        let mut file = File::open(&self.path).expect("opening the log");
        file.seek(SeekFrom::Start(self.read))
            .expect("going on in the log");
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("reading the log");
        let whole = bytes.iter().rposition(|byte| *byte == b'\n');
        bytes.truncate(whole.map_or(0, |at| at + 1));
        self.read += bytes.len() as u64;
        String::from_utf8(bytes).expect("the log is text")
    }
}

fn word<T: FromStr>(words: &mut SplitWhitespace<'_>, line: &str) -> T {
    let word = words.next().unwrap_or_default();
    word.parse()
        .unwrap_or_else(|_| panic!("`{word}` in the line `{line}`"))
}

fn alive(process: &mut Process) {
    assert!(
        !process.has_ended(),
        "the client has ended: {}",
        process.stderr_tail()
    );
}

async fn end(process: &mut Process) {
    process.signal(Signal::TERM);
    let status = process.wait_exit(END).await;
    assert!(status.success(), "{status}: {}", process.stderr_tail());
}
