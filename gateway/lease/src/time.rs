//! The two times of a moment, as one parameter.

use quayside_model::{Monotonic, Timestamp};

/// A moment as this node's clocks show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Boot time: every duration and deadline is counted in it.
    pub boot: Monotonic,
    /// Wall time: for records, failback windows and moves at a set time; it decides nothing about trust.
    pub wall: Timestamp,
}
