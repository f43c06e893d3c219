//! What an operator is told about a change of state.

use std::{fmt, time::Duration};

use quayside_model::{Name, Timestamp};

use crate::{Epoch, Exclusion, Exit};

/// The state of a group on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing runs here: not wanted, or this node may not.
    Offline,
    /// A process is kept ready, or is becoming so; another node may be active.
    Standby,
    /// The store is asked for the next epoch.
    Taking,
    /// The epoch is taken; the process is not online yet.
    Pending,
    /// Active, all adapters work.
    Online,
    /// Active, some adapter does not.
    Degraded,
    /// Active, and the store has been silent for too long: no effects, all is kept warm.
    Suspended,
    /// Takes nothing new; the epoch is given back when all is finished.
    Draining,
    /// The active process has died and another one takes its place on this node.
    Restarting,
    /// The budgets are spent. Tried again after a while, or when an operator clears it.
    Failed,
}

impl State {
    /// As it stands in tables and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Standby => "standby",
            Self::Taking => "taking",
            Self::Pending => "pending",
            Self::Online => "online",
            Self::Degraded => "degraded",
            Self::Suspended => "suspended",
            Self::Draining => "draining",
            Self::Restarting => "restarting",
            Self::Failed => "failed",
        }
    }
}

/// Why a state changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The agent has started.
    Started,
    /// The agent stops.
    Shutdown,
    /// An operator wants it online, or offline.
    Desired,
    /// An operator's order to move.
    Ordered,
    /// An operator drains the node.
    NodeDrained,
    /// An operator pinned it to another node.
    Pinned,
    /// An operator cleared it.
    Cleared,
    /// It goes back to a preferred node.
    Failback,
    /// It follows the group it runs with.
    Follows,
    /// Nobody owned it.
    Unowned,
    /// The owner's session or process was dead.
    OwnerDead,
    /// The former owner gave it to this node.
    Offered,
    /// The store gave the epoch.
    Taken,
    /// Another node was faster.
    HeldElsewhere,
    /// The process reports that it is online.
    Reported,
    /// The process has drained, and the store has the epoch back.
    Released,
    /// The process has ended.
    ProcessEnded,
    /// The process was killed to rehearse that.
    Drill,
    /// The process was told by the store that it is not the owner.
    Fenced,
    /// An adapter stopped working.
    AdapterDown,
    /// All adapters work again.
    AdapterUp,
    /// The store did not answer until trust ended.
    StoreSilent,
    /// The store has answered again, and the session had held.
    StoreBack,
    /// The store has another history: what was granted before is void.
    StoreReplaced,
    /// The session of this node was ended.
    SessionLost,
    /// The budgets of restarts and moves are spent.
    BudgetSpent,
    /// The process cannot run with this configuration or schema.
    Fatal,
    /// A failed group is tried again.
    Retry,
}

impl Cause {
    /// As it stands in tables and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "agent started",
            Self::Shutdown => "agent stops",
            Self::Desired => "wanted so by an operator",
            Self::Ordered => "ordered by an operator",
            Self::NodeDrained => "node drained",
            Self::Pinned => "pinned to another node",
            Self::Cleared => "cleared by an operator",
            Self::Failback => "failback",
            Self::Follows => "follows its group",
            Self::Unowned => "nobody owned it",
            Self::OwnerDead => "owner dead",
            Self::Offered => "offered by its owner",
            Self::Taken => "epoch taken",
            Self::HeldElsewhere => "another node has it",
            Self::Reported => "reported by the process",
            Self::Released => "epoch given back",
            Self::ProcessEnded => "process ended",
            Self::Drill => "drill",
            Self::Fenced => "fenced",
            Self::AdapterDown => "adapter down",
            Self::AdapterUp => "adapters up",
            Self::StoreSilent => "store silent",
            Self::StoreBack => "store back",
            Self::StoreReplaced => "store replaced",
            Self::SessionLost => "session lost",
            Self::BudgetSpent => "budget spent",
            Self::Fatal => "cannot run",
            Self::Retry => "retry after failure",
        }
    }
}

/// A fact that speaks for a cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// How the process ended.
    Exit(Exit),
    /// Effects that were under way.
    InFlight(u32),
    /// The owner before.
    Owner(Name),
    /// Where it is to go.
    To(Name),
    /// The adapter.
    Adapter(Name),
    /// How long it was silent: the store, or the owner.
    Silent(Duration),
    /// How long nobody owned it, as this node saw it.
    Free(Duration),
    /// Restarts used and allowed.
    Restarts(u32, u32),
    /// Moves used and allowed.
    Moves(u32, u32),
    /// Why not there.
    Excluded(Name, Exclusion),
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(exit) => write!(f, "{exit}"),
            Self::InFlight(count) => write!(f, "{count} in flight"),
            Self::Owner(node) => write!(f, "owner was {node}"),
            Self::To(node) => write!(f, "to {node}"),
            Self::Adapter(name) => write!(f, "adapter {name}"),
            Self::Silent(time) => write!(f, "silent for {} ms", time.as_millis()),
            Self::Free(time) => write!(f, "free for {} ms", time.as_millis()),
            Self::Restarts(used, of) => write!(f, "{used} of {of} restarts used"),
            Self::Moves(used, of) => write!(f, "{used} of {of} moves used"),
            Self::Excluded(node, why) => write!(f, "not {node}: {why}"),
        }
    }
}

/// One change of state, with what speaks for it and how long it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The group.
    pub group: Name,
    /// The node it happened on.
    pub node: Name,
    /// Before.
    pub from: State,
    /// After.
    pub to: State,
    /// Why.
    pub cause: Cause,
    /// What speaks for it.
    pub evidence: Vec<Fact>,
    /// The epoch held before or after.
    pub epoch: Option<Epoch>,
    /// When, by this node's wall clock.
    pub at: Timestamp,
    /// How long the state before had lasted.
    pub lasted: Duration,
}
