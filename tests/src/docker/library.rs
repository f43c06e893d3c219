//! The farm of a topology: people who drop documents into a library of it, and what lies there.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use quayside_harness::{Document, client, scenario::parcel_json, unix_micros};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    history::{Arrived, Parcel},
    topology::PATIENCE,
};

/// The key of all documents, and how long people rest between two of them.
pub const KEY: &str = "shelf-0";
const REST: Duration = Duration::from_millis(150);

/// Who they are.
const PEOPLE: &str = "Bearer t-people";

/// Where the gateway puts documents, and where those go that it has taken.
const OUT: &str = "/sites/team/Out/";
const ARCHIVE: &str = "/sites/team/Archive/In/";

/// The farm.
#[derive(Debug, Clone, Copy)]
pub struct Library {
    /// Where clients reach it: its load balancer.
    pub clients: SocketAddr,
    /// Where it takes orders of a test.
    pub control: SocketAddr,
}

/// People who drop documents until they are told to stop.
#[derive(Debug)]
pub struct People {
    task: JoinSet<Vec<Parcel>>,
    stop: Arc<AtomicBool>,
}

impl People {
    /// Lets them begin.
    #[must_use]
    pub fn start(library: Library) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut task = JoinSet::new();
        task.spawn(drop_documents(library, Arc::clone(&stop)));
        Self { task, stop }
    }

    /// Lets them end, and returns what the farm has said that it has. What broke off is nobody's: the farm may have it, and
    /// the gateway may have taken it, so it is not dropped again.
    ///
    /// # Panics
    /// When they do not end.
    pub async fn finish(mut self) -> Vec<Parcel> {
        self.stop.store(true, Ordering::Relaxed);
        let end = tokio::time::timeout(PATIENCE, self.task.join_next()).await;
        let end = end.expect("people end").expect("a task");
        end.expect("people do not panic")
    }
}

async fn drop_documents(library: Library, stop: Arc<AtomicBool>) -> Vec<Parcel> {
    let mut dropped = Vec::new();
    let mut sequence = 0;
    while !stop.load(Ordering::Relaxed) {
        sequence += 1;
        let id = format!("{KEY}.{sequence}");
        let path = format!(
            "/sites/team/_api/web/GetFolderByServerRelativeUrl('/sites/team/In')\
             /Files/add(url='{id}.json',overwrite=false)"
        );
        let body = parcel_json(&id, KEY, sequence, 400);
        let headers = [("authorization", PEOPLE)];
        let post = client::request("POST", library.clients, &path, &headers, body);
        let reply = client::once(library.clients, post, Duration::from_secs(10)).await;
        if reply.is_ok_and(|reply| reply.status == 200) {
            dropped.push(Parcel {
                at_us: unix_micros(),
                id,
                key: KEY.to_owned(),
                sequence,
            });
        }
        tokio::time::sleep(REST).await;
    }
    dropped
}

impl Library {
    /// Kills a front end in the middle of the next document that comes to it, and returns when it is dead.
    ///
    /// # Errors
    /// The farm does not answer.
    pub async fn kill_in_upload(&self, front_end: usize) -> Result<(), String> {
        let fault = json!({
            "kind": "kill-early", "call": "AddFile", "front_end": front_end, "next": 1,
            "down_ms": 3_600_000,
        });
        self.order("POST", "faults", &fault.to_string()).await?;
        quayside_harness::look_for(PATIENCE, async || {
            let all: Value = self.json("front-ends").await?;
            if all[front_end]["runs"] == false {
                Ok(())
            } else {
                Err(all.to_string())
            }
        })
        .await
    }

    /// Starts a front end again.
    ///
    /// # Errors
    /// The farm does not answer.
    pub async fn start(&self, front_end: usize) -> Result<(), String> {
        self.order("DELETE", "faults", "").await?;
        let start = format!("front-ends/{front_end}/start");
        self.order("POST", &start, "").await.map(drop)
    }

    /// How many documents were moved: published or archived.
    ///
    /// # Errors
    /// The farm does not answer.
    pub async fn moved(&self) -> Result<u64, String> {
        let counts: Value = self.json("counts").await?;
        Ok(counts["changes"]["moved"].as_u64().unwrap_or(0))
    }

    /// The documents that the gateway put there, and what is wrong with any document of the farm.
    ///
    /// # Errors
    /// The farm does not answer.
    pub async fn documents(&self) -> Result<(Vec<Arrived>, Vec<String>), String> {
        let all = self.order("GET", "items", "").await?;
        let all: Vec<Document> = serde_json::from_slice(&all).map_err(|e| e.to_string())?;
        let mut arrived = Vec::new();
        let mut wrong = Vec::new();
        for document in all.iter().filter(|document| !document.folder) {
            let id = document.path.strip_prefix(OUT).and_then(business_id);
            let stamped = document
                .fields
                .get("Ref")
                .is_some_and(|it| it.as_str().is_some_and(|it| !it.is_empty()));
            match id {
                Some(id) if !document.stub && stamped && document.checked_out_by.is_none() => {
                    arrived.push(Arrived {
                        parcel: Parcel {
                            at_us: 0,
                            id,
                            key: String::new(),
                            sequence: 0,
                        },
                        known_by: document.path.clone(),
                        again: false,
                    });
                }
                None if document.path.starts_with(ARCHIVE) && document.checked_out_by.is_none() => {
                }
                // What people have not finished is theirs.
                None if document.stub && !document.path.starts_with(OUT) => {}
                _ => wrong.push(format!("{document:?}")),
            }
        }
        Ok((arrived, wrong))
    }

    async fn json(&self, what: &str) -> Result<Value, String> {
        let text = self.order("GET", what, "").await?;
        serde_json::from_slice(&text).map_err(|e| format!("{what}: {e}"))
    }

    async fn order(&self, method: &str, what: &str, body: &str) -> Result<Bytes, String> {
        let path = format!("/_control/{what}");
        let body = Bytes::from(body.to_owned());
        let request = client::request(method, self.control, &path, &[], body);
        let reply = client::once(self.control, request, Duration::from_secs(20)).await;
        let reply = reply.map_err(|e| format!("{method} {path}: {e}"))?;
        if reply.status.is_success() {
            Ok(reply.body)
        } else {
            Err(format!(
                "{method} {path}: {} {}",
                reply.status,
                reply.text()
            ))
        }
    }
}

/// The business id in the name of a document, `ID-MESSAGE.json`, where MESSAGE is the id that the gateway gave it.
fn business_id(name: &str) -> Option<String> {
    let stem = name.strip_suffix(".json")?;
    let (id, message) = stem.split_at_checked(stem.len().checked_sub(36)?)?;
    let plain = !id.contains('/') && message.bytes().filter(|byte| *byte == b'-').count() == 4;
    plain
        .then(|| id.strip_suffix('-').map(str::to_owned))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_business_id_is_what_stands_before_the_message() {
        let message = "01a22c22-4e6c-7222-bde1-8ad75d67a484";
        let id = |name: &str| business_id(&name.replace('M', message));
        assert_eq!(id("free-0-12-M.json").as_deref(), Some("free-0-12"));
        assert_eq!(id("shelf-0.7-M.json").as_deref(), Some("shelf-0.7"));
        for other in ["M.json", "quayside-staging/x-M.json", "x-M.part", "x.json"] {
            assert_eq!(id(other), None, "{other}");
        }
    }
}
