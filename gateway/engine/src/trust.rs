//! Whether this process may act now, as one number that every effect reads.
//!
//! The session task sets the deadline; everyone else only looks. Reading it costs a clock and an atomic
//! load, so it is read right before each external effect.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quayside_model::{Clock, Monotonic};

/// The deadline of trust, shared.
#[derive(Debug, Clone)]
pub(crate) struct Trust {
    deadline_micros: Arc<AtomicU64>,
    clock: Arc<dyn Clock>,
}

impl Trust {
    /// Trust that has not begun.
    pub(crate) fn none(clock: Arc<dyn Clock>) -> Self {
        Self {
            deadline_micros: Arc::new(AtomicU64::new(0)),
            clock,
        }
    }

    /// Trusts until `deadline`.
    pub(crate) fn until(&self, deadline: Monotonic) {
        let micros = u64::try_from(deadline.since_boot().as_micros()).unwrap_or(u64::MAX);
        self.deadline_micros.store(micros, Ordering::SeqCst);
    }

    /// Ends trust at once.
    pub(crate) fn end(&self) {
        self.deadline_micros.store(0, Ordering::SeqCst);
    }

    /// Whether the process may act now.
    pub(crate) fn may_act(&self) -> bool {
        let deadline = Duration::from_micros(self.deadline_micros.load(Ordering::SeqCst));
        self.clock.monotonic().since_boot() < deadline
    }
}
