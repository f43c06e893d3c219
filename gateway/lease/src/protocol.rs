//! What an agent and its hosts say to each other.
//!
//! The deadline itself stands in a page that both see, so that it is read right before each effect; a
//! [`Grant`] opens it and [`crate::Action::Shut`] closes it.

use quayside_model::{GrantId, Monotonic, Name};

use crate::Epoch;

/// The right to be the active process of a group, until its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Orders the owners.
    pub epoch: Epoch,
    /// Names this ownership; every work statement presents it beside the epoch.
    pub id: GrantId,
    /// Until when the process may act. Moved on by each renewal of the session.
    pub deadline: Monotonic,
}

/// What a process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostState {
    /// Not ready yet.
    #[default]
    Starting,
    /// Warm: configuration read, store and broker connected, no consumer.
    Standby,
    /// Active, its ports and locations run.
    Online,
    /// Takes nothing new.
    Draining,
}

/// Sent by the work loop of a process every 100 ms, not by a side thread: no beat means no work.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Beat {
    /// What it is doing.
    pub state: HostState,
    /// Effects that were begun and are not marked yet.
    pub in_flight: u32,
    /// Its adapters. A fault of one message is not a fault of its adapter.
    pub adapters: Vec<AdapterHealth>,
}

/// Whether the system behind an adapter can be reached from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterHealth {
    /// Its name in the configuration.
    pub name: Name,
    /// What its last probe said.
    pub healthy: bool,
}
