//! The holder's half: until when this process may act.

use quayside_model::Monotonic;

use crate::Timings;

/// The lease of a session, as its holder may believe in it.
#[derive(Debug, Clone)]
pub struct SessionLease {
    timings: Timings,
    deadline: Monotonic,
    last_sent: Monotonic,
}

impl SessionLease {
    /// A session whose opening was sent at `sent_at` and has succeeded.
    #[must_use]
    pub fn opened(timings: Timings, sent_at: Monotonic) -> Self {
        Self {
            timings,
            deadline: sent_at.plus(timings.trusted()),
            last_sent: sent_at,
        }
    }

    /// A renewal is about to be sent, successful or not.
    pub fn renewal_sent(&mut self, at: Monotonic) {
        self.last_sent = at;
    }

    /// The renewal that was sent at `sent_at` has succeeded. Answers may come late or out of order: the
    /// deadline never falls.
    pub fn renewed(&mut self, sent_at: Monotonic) {
        self.deadline = self.deadline.max(sent_at.plus(self.timings.trusted()));
    }

    /// Until when this process may act.
    #[must_use]
    pub fn deadline(&self) -> Monotonic {
        self.deadline
    }

    /// Whether this process may act at `now`.
    #[must_use]
    pub fn may_act(&self, now: Monotonic) -> bool {
        now < self.deadline
    }

    /// When the next renewal is due.
    #[must_use]
    pub fn next_renewal(&self) -> Monotonic {
        self.last_sent.plus(self.timings.renew_every)
    }
}
