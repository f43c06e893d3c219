//! A host's process as the store, its node and its partner meet it.

use quayside_lease::{AdapterHealth, Beat, Grant, HostState};
use quayside_model::{InstanceId, Monotonic};

/// How far one message has come. One at a time: what is in flight is one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Idle,
    /// The store is asked to record the intent.
    Announcing,
    /// The store has it; the effect comes next.
    Announced(u64),
    /// The effect was had; the store is asked to record that.
    Marking(u64),
}

#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) node: usize,
    pub(crate) group: usize,
    pub(crate) instance: InstanceId,
    pub(crate) alive: bool,
    /// Whether its work loop runs; set when it is registered.
    pub(crate) started: bool,
    pub(crate) ready_at: i64,
    pub(crate) paused_until: i64,
    pub(crate) grant: Option<Grant>,
    /// The page that it shares with its agent.
    pub(crate) deadline: Monotonic,
    pub(crate) draining: bool,
    pub(crate) stage: Stage,
}

impl Process {
    pub(crate) fn new(node: usize, group: usize, instance: InstanceId) -> Self {
        Self {
            node,
            group,
            instance,
            alive: true,
            started: false,
            ready_at: 0,
            paused_until: 0,
            grant: None,
            deadline: Monotonic::from_boot(std::time::Duration::ZERO),
            draining: false,
            stage: Stage::Idle,
        }
    }

    /// Whether it may have an effect when its node's clock shows `clock`.
    pub(crate) fn may_act(&self, clock: Monotonic) -> bool {
        self.alive && self.grant.is_some() && clock < self.deadline
    }

    pub(crate) fn beat(&self, now: i64, adapter: AdapterHealth) -> Beat {
        let state = match self.grant {
            _ if now < self.ready_at => HostState::Starting,
            Some(_) if self.draining => HostState::Draining,
            Some(_) => HostState::Online,
            None => HostState::Standby,
        };
        Beat {
            state,
            in_flight: u32::from(self.stage != Stage::Idle),
            adapters: vec![adapter],
        }
    }
}
