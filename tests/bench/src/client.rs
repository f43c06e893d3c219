//! The clients: keep-alive connections that send as fast as answers come, or at a given rate.
//!
//! One thread: it must not take more of the machine from the gateway than it has to.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    net::SocketAddr,
    path::PathBuf,
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use quayside_harness::{Connection, client::request, scenario::order_xml, unix_micros};
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

/// How long one request may take before its connection is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the clients do.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// The server.
    #[arg(long)]
    pub(crate) server: SocketAddr,
    /// The path to post to.
    #[arg(long)]
    pub(crate) path: String,
    /// How many connections.
    #[arg(long)]
    pub(crate) conns: usize,
    /// How long each body is, in bytes.
    #[arg(long)]
    pub(crate) size: usize,
    /// The beginning of every business id.
    #[arg(long)]
    pub(crate) prefix: String,
    /// How long they run before the measured time, in milliseconds.
    #[arg(long)]
    pub(crate) warmup_ms: u64,
    /// How long is measured, in milliseconds.
    #[arg(long)]
    pub(crate) measure_ms: u64,
    /// Requests per second; as fast as answers come, if it is not given.
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Where to write one line per accepted request: number, intended time, time of the answer.
    #[arg(long)]
    pub(crate) log: PathBuf,
}

/// What the clients saw; printed as one line of JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// When the measured time began, in microseconds since the epoch.
    pub(crate) from: u64,
    /// When it ended.
    pub(crate) to: u64,
    /// Requests without a positive answer.
    pub(crate) refused: u64,
    /// The first of them, for a person.
    pub(crate) first_refusal: Option<String>,
}

/// An accepted request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Its number, which is the end of its id.
    pub(crate) no: u64,
    /// When it was to be sent, in microseconds since the epoch.
    pub(crate) intended: u64,
    /// When the answer was there.
    pub(crate) answered: u64,
}

impl Accepted {
    /// Reads the log that the clients wrote.
    pub(crate) fn read(log: &std::path::Path) -> anyhow::Result<Vec<Self>> {
        let text = std::fs::read_to_string(log).context("reading the clients' log")?;
        text.lines()
            .map(|l| Self::parse(l).with_context(|| format!("log line `{l}`")))
            .collect()
    }

    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(' ').map(str::parse::<u64>);
        let mut next = || fields.next()?.ok();
        Some(Self {
            no: next()?,
            intended: next()?,
            answered: next()?,
        })
    }
}

struct Shared {
    options: Options,
    next: AtomicU64,
    begin: u64,
    to: u64,
}

#[derive(Default)]
struct Outcome {
    accepted: Vec<Accepted>,
    refused: u64,
    first_refusal: Option<String>,
}

/// Runs the clients to their end.
pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let begin = unix_micros();
    let from = begin + options.warmup_ms * 1000;
    let to = from + options.measure_ms * 1000;
    let shared = Rc::new(Shared {
        options,
        next: AtomicU64::new(0),
        begin,
        to,
    });
    let outcome = LocalSet::new().block_on(&runtime, all(Rc::clone(&shared)))?;
    let mut log = BufWriter::new(File::create(&shared.options.log).context("creating the log")?);
    for a in &outcome.accepted {
        writeln!(log, "{} {} {}", a.no, a.intended, a.answered)?;
    }
    log.flush()?;
    let (refused, first_refusal) = (outcome.refused, outcome.first_refusal);
    let summary = Summary {
        from,
        to,
        refused,
        first_refusal,
    };
    crate::report::say(&format!("done {}", serde_json::to_string(&summary)?));
    Ok(())
}

async fn all(shared: Rc<Shared>) -> anyhow::Result<Outcome> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..shared.options.conns {
        tasks.spawn_local(one(Rc::clone(&shared)));
    }
    let mut all = Outcome::default();
    while let Some(outcome) = tasks.join_next().await {
        let outcome = outcome.context("a client")?;
        all.accepted.extend(outcome.accepted);
        all.refused += outcome.refused;
        all.first_refusal = all.first_refusal.or(outcome.first_refusal);
    }
    Ok(all)
}

/// One connection. With a rate, the next free connection takes the next moment of the schedule, and
/// the latency counts from that moment: a server that stalls is not asked less (no coordinated omission).
async fn one(shared: Rc<Shared>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut connection = None;
    loop {
        let no = shared.next.fetch_add(1, Ordering::Relaxed);
        let intended = shared.intended(no);
        if intended >= shared.to {
            return outcome;
        }
        wait_until(intended).await;
        match post(&mut connection, &shared.options, no).await {
            Ok(()) => {
                let answered = unix_micros();
                outcome.accepted.push(Accepted {
                    no,
                    intended,
                    answered,
                });
            }
            Err(refusal) => {
                outcome.refused += 1;
                outcome.first_refusal.get_or_insert(refusal);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

impl Shared {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "numbers of requests and microseconds of a run are far below 2^52"
    )]
    fn intended(&self, no: u64) -> u64 {
        match self.options.rate {
            Some(rate) => self.begin + (no as f64 / rate * 1e6) as u64,
            None => unix_micros(),
        }
    }
}

async fn wait_until(micros: u64) {
    let now = unix_micros();
    if micros > now {
        tokio::time::sleep(Duration::from_micros(micros - now)).await;
    }
}

async fn post(
    connection: &mut Option<Connection>,
    options: &Options,
    no: u64,
) -> Result<(), String> {
    let id = format!("{}-{no}", options.prefix);
    let key = format!("\"{id}\"");
    let headers = [
        ("content-type", "application/xml"),
        ("idempotency-key", key.as_str()),
    ];
    let body = order_xml(&id, "all", options.size);
    let request = request("POST", options.server, &options.path, &headers, body);
    let mut open = match connection.take() {
        Some(open) if !open.is_closed() => open,
        _ => Connection::open(options.server)
            .await
            .map_err(|e| e.to_string())?,
    };
    let reply = open
        .send(request, PATIENCE)
        .await
        .map_err(|e| e.to_string())?;
    *connection = Some(open);
    if reply.status.is_success() {
        return Ok(());
    }
    Err(format!(
        "{} {}",
        reply.status,
        String::from_utf8_lossy(&reply.body)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_is_read_as_it_was_written() {
        let expected = Accepted {
            no: 7,
            intended: 100,
            answered: 250,
        };
        assert_eq!(Accepted::parse("7 100 250"), Some(expected));
        for wrong in ["", "7", "7 100", "7 100 x"] {
            assert_eq!(Accepted::parse(wrong), None, "{wrong}");
        }
    }
}
