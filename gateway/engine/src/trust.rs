//! Whether this process may act now, as one number that every effect reads.
//!
//! The session task sets the deadline, or an agent that keeps the session for this process; everyone else
//! only looks. Reading it costs a clock and a load, so it is read right before each external effect.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quayside_model::{Clock, Monotonic, failpoint};

use crate::options::Gate;

/// The deadline of trust, shared.
#[derive(Clone)]
pub(crate) struct Trust {
    deadline_micros: Arc<AtomicU64>,
    /// The agent's word, if there is an agent: both have to allow it.
    gate: Option<Arc<dyn Gate>>,
    clock: Arc<dyn Clock>,
}

impl Trust {
    /// Trust that has not begun.
    pub(crate) fn none(clock: Arc<dyn Clock>) -> Self {
        Self {
            deadline_micros: Arc::new(AtomicU64::new(0)),
            gate: None,
            clock,
        }
    }

    /// Trusts for as long as `gate` says, until it is [ended](Self::end).
    pub(crate) fn granted(clock: Arc<dyn Clock>, gate: Arc<dyn Gate>) -> Self {
        Self {
            deadline_micros: Arc::new(AtomicU64::new(u64::MAX)),
            gate: Some(gate),
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
        let gate = self.gate.as_ref().map(|gate| gate.deadline().since_boot());
        if failpoint::enabled("no-gate") {
            return !deadline.is_zero();
        }
        // The clock comes last: nothing is between it and the answer.
        self.clock.monotonic().since_boot() < gate.map_or(deadline, |gate| gate.min(deadline))
    }
}
