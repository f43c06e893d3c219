//! The partner behind the gateway: judges by the business id in each body.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Process, client,
    process::{command, program},
    wait_for,
};

/// A running `mock-partner`.
#[derive(Debug)]
pub struct Partner {
    /// Its process.
    pub process: Process,
    addr: SocketAddr,
    _dir: TempDir,
}

/// One request that it got; a text that was not there is empty.
#[derive(Debug, Clone, Deserialize)]
pub struct Seen {
    /// Its place among all requests, from 0.
    pub seq: u64,
    /// Its path.
    pub path: String,
    /// Its `Idempotency-Key`.
    pub key: String,
    /// The business id in its body.
    pub id: String,
    /// The order key in its body.
    pub order: String,
    /// The epoch of the clustered host that sent it; 0 for none.
    #[serde(default)]
    pub epoch: i64,
    /// When its body was read, in microseconds since the epoch.
    pub at_us: u64,
    /// What was answered; 0 for nothing.
    pub status: u16,
    /// Whether it had an effect: it was acted on, and no earlier one of its key was.
    pub effect: bool,
}

impl Partner {
    /// Starts one that answers 200 to everything.
    pub async fn start() -> Self {
        Self::start_from(&program("mock-partner")).await
    }

    /// Starts one from another build.
    pub async fn start_from(binary: &std::path::Path) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut partner = command(binary);
        partner.args(["--listen", "127.0.0.1:0"]);
        let mut process = Process::spawn("mock-partner", partner, dir.path());
        let addr = process.wait_line("ready ", Duration::from_secs(10)).await;
        let addr = addr
            .trim()
            .parse()
            .unwrap_or_else(|e| panic!("the partner said `{addr}`: {e}"));
        Self {
            process,
            addr,
            _dir: dir,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Every request so far, in the order of arrival.
    ///
    /// # Panics
    /// When the partner does not answer.
    pub async fn log(&self) -> Vec<Seen> {
        self.log_from(0).await
    }

    /// The requests from place `from` on, in the order of arrival.
    ///
    /// # Panics
    /// When the partner does not answer.
    pub async fn log_from(&self, from: usize) -> Vec<Seen> {
        let mut log: Vec<Seen> = Vec::new();
        loop {
            let path = format!("log?from={}", from + log.len());
            let page = self.control("GET", &path, "").await;
            let before = log.len();
            log.extend(String::from_utf8_lossy(&page).lines().map(parse));
            if log.len() == before {
                return log;
            }
        }
    }

    /// Its counts over all requests.
    ///
    /// # Panics
    /// When the partner does not answer with JSON.
    pub async fn counts(&self) -> Value {
        let text = self.control("GET", "counts", "").await;
        serde_json::from_slice(&text).expect("counts are JSON")
    }

    /// Makes it fail as `fault` says, from now on.
    pub async fn fault(&self, fault: &Value) {
        self.control("POST", "faults", &fault.to_string()).await;
    }

    /// Lets it answer as before.
    pub async fn heal(&self) {
        self.control("DELETE", "faults", "").await;
    }

    /// Waits until it got every id of `ids` at least once.
    pub async fn wait_for_ids(&self, ids: &[&str], within: Duration) {
        wait_for(
            &format!("{} ids at the partner", ids.len()),
            within,
            async || {
                let effects = effects(&self.log().await);
                let arrived = |id: &str| effects.get(id).is_some_and(|e| e.effects > 0);
                let missing: Vec<_> = ids.iter().filter(|id| !arrived(id)).collect();
                if missing.is_empty() {
                    return Ok(());
                }
                Err(format!(
                    "{} are missing, such as {:?}",
                    missing.len(),
                    &missing[..missing.len().min(5)]
                ))
            },
        )
        .await;
    }

    async fn control(&self, method: &str, what: &str, body: &str) -> Bytes {
        let path = format!("/_control/{what}");
        let body = Bytes::from(body.to_owned());
        let headers = [("content-type", "application/json")];
        let request = client::request(method, self.addr, &path, &headers, body);
        let reply = client::once(self.addr, request, Duration::from_secs(20))
            .await
            .unwrap_or_else(|e| panic!("{method} {path}: {e}\n{}", self.process.stderr_tail()));
        assert!(
            reply.status.is_success(),
            "{method} {path}: {}",
            reply.status
        );
        reply.body
    }
}

fn parse(line: &str) -> Seen {
    serde_json::from_str(line).unwrap_or_else(|e| panic!("log line {line}: {e}"))
}

/// What the partner got for one business id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    /// All requests, refused ones included.
    pub raw: usize,
    /// The effects: requests that were acted on and whose key was new.
    pub effects: usize,
    /// The distinct keys of all requests.
    pub keys: BTreeSet<String>,
}

/// The requests by business id; those that the partner broke off before their body do not appear.
#[must_use]
pub fn effects(log: &[Seen]) -> BTreeMap<String, Effects> {
    let mut effects: BTreeMap<String, Effects> = BTreeMap::new();
    for seen in log.iter().filter(|seen| !seen.id.is_empty()) {
        let entry = effects.entry(seen.id.clone()).or_default();
        entry.raw += 1;
        entry.effects += usize::from(seen.effect);
        entry.keys.insert(seen.key.clone());
    }
    effects
}
