//! The SharePoint farm behind the gateway: front ends that can be killed before one content.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::{
    Process, client,
    process::{command, program},
};

/// A running `mock-sharepoint` with the site `/sites/team`.
#[derive(Debug)]
pub struct SharePoint {
    /// Its process.
    pub process: Process,
    front_ends: Vec<SocketAddr>,
    control: SocketAddr,
    _dir: TempDir,
}

/// A document or folder of its libraries.
#[derive(Debug, Clone, Deserialize)]
pub struct Document {
    /// The path from the root of the server.
    pub path: String,
    /// The id that stays when it moves.
    pub unique_id: String,
    /// Whether it is a folder.
    pub folder: bool,
    /// Its length in bytes.
    pub length: u64,
    /// Its version.
    pub version: String,
    /// Whether it is what an upload that broke off leaves.
    pub stub: bool,
    /// Who has it checked out.
    pub checked_out_by: Option<String>,
    /// The values of its columns.
    pub fields: Map<String, Value>,
}

impl SharePoint {
    /// Starts one with so many front ends, and with more arguments.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(front_ends: usize, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut farm = command(&program("mock-sharepoint"));
        for _ in 0..front_ends {
            farm.args(["--listen", "127.0.0.1:0"]);
        }
        farm.args(["--control", "127.0.0.1:0", "--data"])
            .arg(dir.path().join("data"))
            .args(arguments);
        let mut process = Process::spawn("mock-sharepoint", farm, dir.path());
        let ready = process.wait_line("ready ", Duration::from_secs(10)).await;
        let control = process.wait_line("control ", Duration::from_secs(10)).await;
        Self {
            front_ends: ready.split_whitespace().map(address).collect(),
            control: address(&control),
            process,
            _dir: dir,
        }
    }

    /// Where its front ends listen.
    #[must_use]
    pub fn front_ends(&self) -> &[SocketAddr] {
        &self.front_ends
    }

    /// Where it takes orders, whatever happens to its front ends.
    #[must_use]
    pub fn control(&self) -> SocketAddr {
        self.control
    }

    /// Everything in its libraries, by path.
    pub async fn documents(&self) -> Vec<Document> {
        let list = self.order("GET", "items", "").await;
        serde_json::from_slice(&list).expect("a list of documents")
    }

    /// The bytes of a document, by its path from the root of the server.
    pub async fn content(&self, path: &str) -> Bytes {
        let what = format!("content?path={}", encoded(path));
        self.order("GET", &what, "").await
    }

    /// Has the document at `path` look as if it had been changed last so long ago.
    pub async fn age(&self, path: &str, age: Duration) {
        let what = format!("age?path={}&seconds={}", encoded(path), age.as_secs());
        self.order("PUT", &what, "").await;
    }

    /// Somebody beside the gateway, who has `token` and goes to the front end `no`.
    #[must_use]
    pub fn visitor(&self, no: usize, token: &str) -> Visitor {
        Visitor {
            front_end: self.front_ends[no],
            bearer: format!("Bearer {token}"),
        }
    }

    /// The calls from a place on: at most 20,000.
    pub async fn log_from(&self, place: usize) -> Vec<Value> {
        let lines = self.order("GET", &format!("log?from={place}"), "").await;
        let lines = String::from_utf8_lossy(&lines).into_owned();
        let entry = |line| serde_json::from_str(line).expect("an entry of the log");
        lines.lines().map(entry).collect()
    }

    /// What the calls add up to.
    pub async fn counts(&self) -> Value {
        let counts = self.order("GET", "counts", "").await;
        serde_json::from_slice(&counts).expect("counts are JSON")
    }

    /// Makes it fail as `fault` says, from now on.
    pub async fn fault(&self, fault: &Value) {
        self.order("POST", "faults", &fault.to_string()).await;
    }

    /// Ends all faults.
    pub async fn heal(&self) {
        self.order("DELETE", "faults", "").await;
    }

    /// Sets switches.
    pub async fn switch(&self, switches: &Value) {
        self.order("PUT", "switches", &switches.to_string()).await;
    }

    async fn order(&self, method: &str, what: &str, body: &str) -> Bytes {
        let path = format!("/_control/{what}");
        let body = Bytes::from(body.to_owned());
        let request = client::request(method, self.control, &path, &[], body);
        let reply = client::once(self.control, request, Duration::from_secs(20))
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

/// Somebody who works with the libraries, beside the gateway.
#[derive(Debug, Clone)]
pub struct Visitor {
    front_end: SocketAddr,
    bearer: String,
}

impl Visitor {
    /// Drops a document into a library of `/sites/team`.
    ///
    /// # Panics
    /// When the farm does not take it.
    pub async fn put(&self, library: &str, name: &str, content: Bytes) {
        self.add(library, name, false, content).await;
    }

    /// Gives a document of a library of `/sites/team` another content.
    ///
    /// # Panics
    /// When the farm does not take it.
    pub async fn replace(&self, library: &str, name: &str, content: Bytes) {
        self.add(library, name, true, content).await;
    }

    /// Checks a document of a library of `/sites/team` out.
    ///
    /// # Panics
    /// When the farm does not let it.
    pub async fn check_out(&self, library: &str, name: &str) {
        let what = format!("GetFileByServerRelativeUrl('/sites/team/{library}/{name}')/CheckOut()");
        self.call(name, &what, Bytes::new()).await;
    }

    async fn add(&self, library: &str, name: &str, over: bool, content: Bytes) {
        let what = format!(
            "GetFolderByServerRelativeUrl('/sites/team/{library}')\
             /Files/add(url='{name}',overwrite={over})"
        );
        self.call(name, &what, content).await;
    }

    async fn call(&self, name: &str, what: &str, content: Bytes) {
        let path = format!("/sites/team/_api/web/{what}");
        let headers = [("authorization", self.bearer.as_str())];
        let request = client::request("POST", self.front_end, &path, &headers, content);
        let reply = client::once(self.front_end, request, Duration::from_secs(20)).await;
        let reply = reply.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(reply.status, 200, "{name}: {}", reply.text());
    }
}

fn encoded(path: &str) -> String {
    path.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn address(text: &str) -> SocketAddr {
    let text = text.trim();
    text.parse()
        .unwrap_or_else(|e| panic!("the farm said `{text}`: {e}"))
}
