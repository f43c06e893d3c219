//! What an engine is started with, and how it fails.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use quayside_adapter_api::{Adapter, AdapterError, Secrets};
use quayside_lease::{AdapterHealth, Timings};
use quayside_model::{Clock, Code, Entropy, InstanceId, Monotonic, Name};
use quayside_store::{StoreError, maintain::Retention};

use crate::{codes, outside};

/// What an engine is started with.
#[derive(Clone)]
pub struct Options {
    /// The node it runs on.
    pub node: Name,
    /// The hosts it runs; empty: every host of the plan.
    pub hosts: Vec<Name>,
    /// The clustered ones among them: each runs in one instance at a time, of all that share the store.
    pub clustered: Vec<Name>,
    /// What it does for them.
    pub roles: Roles,
    /// The timings of the session.
    pub timings: Timings,
    /// The agent that this process works for; without one it keeps a session of its own.
    pub agent: Option<Agency>,
    /// How long ended things are kept.
    pub retention: Retention,
    /// The adapters, by their keys.
    pub adapters: BTreeMap<&'static str, Arc<dyn Adapter>>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Where secrets are found.
    pub secrets: Arc<dyn Secrets>,
    /// How maps are run that have processes of their own.
    pub outside: outside::Settings,
}

/// What an agent decides for an engine. It keeps the session, has registered the instance and ends it, and
/// grants clustered hosts ([`Engine::grant`](crate::Engine::grant)).
#[derive(Clone)]
pub struct Agency {
    /// What this engine is to the store.
    pub instance: InstanceId,
    /// Until when it may act.
    pub gate: Arc<dyn Gate>,
    /// Called by the loop that claims, and by a stop, at least every 100 ms while they go on.
    pub beat: Arc<dyn Fn(Pulse) + Send + Sync>,
}

impl fmt::Debug for Agency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agency")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// Until when a process may act, as its agent has last written it.
pub trait Gate: Send + Sync {
    /// The deadline. Read right before each effect, so cheap, and never cached by the caller.
    fn deadline(&self) -> Monotonic;
}

/// What an engine reports with each beat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulse {
    /// The effects that are under way: sends that have begun and not come back.
    pub in_flight: usize,
    /// Whether the systems behind its adapters can be reached from here, as far as that is known: a few, however
    /// many ports there are, each by the first location or port that works with it.
    pub adapters: Vec<AdapterHealth>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("node", &self.node)
            .field("hosts", &self.hosts)
            .field("clustered", &self.clustered)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

impl Options {
    /// Whether `host` runs here.
    #[must_use]
    pub fn runs(&self, host: &Name) -> bool {
        self.hosts.is_empty() || self.hosts.contains(host)
    }
}

/// What a host instance does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// Opens receive locations.
    pub receive: bool,
    /// Runs orchestrations.
    pub process: bool,
    /// Sends.
    pub send: bool,
    /// Keeps house: retention and sweeps. One worker per message box, whoever has the fence.
    pub track: bool,
}

impl Default for Roles {
    fn default() -> Self {
        Self {
            receive: true,
            process: true,
            send: true,
            track: true,
        }
    }
}

/// How long a publication that nobody waits for may take before it is left to the next attempt.
pub(crate) const PUBLISH_WITHIN: Duration = Duration::from_millis(1000);

/// What goes wrong around the engine. Each has a code.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store failed.
    #[error("failed to use the store")]
    Store(#[from] StoreError),
    /// An adapter failed.
    #[error("failed to use the adapter")]
    Adapter(#[from] AdapterError),
    /// Something else, by its code.
    #[error("{code}: {detail}")]
    Coded {
        /// The code.
        code: Code,
        /// The cause.
        detail: String,
    },
}

impl EngineError {
    /// The code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Store(error) => error.kind.code(),
            Self::Adapter(error) => error.code,
            Self::Coded { code, .. } => *code,
        }
    }

    pub(crate) fn no_port(name: &Name) -> Self {
        Self::Coded {
            code: codes::NO_PORT,
            detail: format!("no port or location `{name}`"),
        }
    }
}
