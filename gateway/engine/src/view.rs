//! What people see of the engine: health and ports.

use quayside_adapter_api::Trouble;
use quayside_model::{Failure, Name, PortStatus, Text, Timestamp};
use quayside_store::browse::PortBacklog;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::tally::Tallied;

/// Whether the process can do its work now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether it can accept messages.
    pub ready: bool,
    /// Whether it stands by, as it should: its hosts are clustered, and another process runs them or may.
    #[serde(default)]
    pub standby: bool,
    /// Why not.
    pub reasons: Vec<String>,
}

/// A word of the program. By this name, because what is read into a plain reference would have to live as long.
type Kind = &'static str;

/// A port or location as people see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PortView {
    /// Its full name.
    pub name: Name,
    /// `send`, `location`, `orchestration`, or `removed`: nothing of the configuration, but deliveries for it are left. Of
    /// orchestrations only those that have deliveries are told of.
    #[serde(deserialize_with = "kind")]
    pub kind: Kind,
    /// The host that runs it.
    pub host: Name,
    /// The key of its adapter; of a send port, that of its primary transport.
    pub adapter: String,
    /// What an operator last asked of it.
    pub status: PortStatus,
    /// Until when it rests.
    pub paused_until: Option<Timestamp>,
    /// Why, in the operator's words; of a port that rests by itself, what has to be repaired.
    pub reason: Option<Text>,
    /// Whether it rests by itself in this process, because no message would pass.
    pub resting: bool,
    /// Whether it works in this process right now.
    pub running: bool,
    /// Whether its host, which is clustered, runs in another process, and this one stands by.
    pub standby: bool,
    /// What keeps it from working although it is open here: its partner cannot be reached, or takes nothing.
    /// Its adapter goes on by itself when that is over.
    pub trouble: Option<Trouble>,
    /// How many deliveries it has in hand in this process.
    pub in_flight: usize,
    /// What waits for it in the store.
    pub backlog: Option<PortBacklog>,
    /// Its last failure in this process, if nothing has succeeded since.
    pub last_failure: Option<Failure>,
    /// When that was.
    pub last_failure_at: Option<Timestamp>,
    /// When its service window opens, if that is shut.
    pub opens_at: Option<Timestamp>,
    /// What it has done in this process since it runs there with these settings.
    pub tally: Tallied,
}

/// What was left when an engine had stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StopReport {
    /// Whether every task has ended. If not, what one of them still does is fenced by the store, but it may
    /// act outside: end the process.
    pub ended: bool,
    /// Deliveries that were under way and had to be cut: in doubt until another instance goes on.
    pub unfinished: usize,
}

/// Reads one of the kinds of a port.
fn kind<'de, D: Deserializer<'de>>(from: D) -> Result<Kind, D::Error> {
    let told = String::deserialize(from)?;
    let mut kinds = ["send", "location", "orchestration", "removed"].into_iter();
    let known = kinds.find(|kind| *kind == told);
    known.ok_or_else(|| D::Error::custom(format!("`{told}` is no kind of port")))
}
