//! The partner behind the gateway: judges by the business id in each body.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

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

/// One request that it got.
#[derive(Debug, Clone, Deserialize)]
pub struct Seen {
    /// Its place among all requests, from 1.
    pub seq: u64,
    /// Its path.
    pub path: String,
    /// Its `Idempotency-Key`; empty without one.
    #[serde(default)]
    pub key: Option<String>,
    /// The business id in its body.
    #[serde(default)]
    pub id: Option<String>,
    /// The order key in its body.
    #[serde(default)]
    pub order: Option<String>,
    /// When it was complete, in microseconds since the epoch.
    pub at: u64,
    /// What was answered.
    pub status: u16,
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
        let text = self.control("GET", "log", "").await;
        let line = |l| serde_json::from_str(l).unwrap_or_else(|e| panic!("log line {l}: {e}"));
        String::from_utf8_lossy(&text).lines().map(line).collect()
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
                let missing: Vec<_> = ids
                    .iter()
                    .filter(|id| !effects.contains_key(**id))
                    .collect();
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

/// What the partner got for one business id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    /// All requests.
    pub raw: usize,
    /// The distinct keys among them: each is an effect at a partner that honours `Idempotency-Key`.
    pub keys: std::collections::BTreeSet<String>,
}

/// The requests by business id; those that the partner made fail before reading them do not appear.
#[must_use]
pub fn effects(log: &[Seen]) -> BTreeMap<String, Effects> {
    let mut effects: BTreeMap<String, Effects> = BTreeMap::new();
    for seen in log {
        let Some(id) = &seen.id else { continue };
        let entry = effects.entry(id.clone()).or_default();
        entry.raw += 1;
        entry.keys.insert(seen.key.clone().unwrap_or_default());
    }
    effects
}
