//! What a port or location has done since it runs in this process: for people and metrics.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use quayside_model::{Failure, Timestamp};
use serde::{Deserialize, Serialize};

/// The live counts of a port.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Deliveries that ended well; of a location, deliveries taken in.
    pub(crate) done: AtomicU64,
    /// Attempts that failed and are made again; of a location, failures to open or receive.
    pub(crate) failed: AtomicU64,
    /// Deliveries that were suspended.
    pub(crate) suspended: AtomicU64,
    /// Microseconds since the epoch; 0 before the first one.
    last_done: AtomicI64,
    last_failure: Mutex<Option<(Timestamp, Failure)>>,
}

/// The counts of a port at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tallied {
    /// Deliveries that ended well; of a location, deliveries taken in.
    pub done: u64,
    /// Attempts that failed and are made again; of a location, failures to open or receive.
    pub failed: u64,
    /// Deliveries that were suspended.
    pub suspended: u64,
    /// When the last one ended well.
    pub last_done_at: Option<Timestamp>,
}

impl Tally {
    /// One ended well at `now`.
    pub(crate) fn note_done(&self, now: Timestamp) {
        self.done.fetch_add(1, Ordering::Relaxed);
        self.last_done.fetch_max(now.as_micros(), Ordering::Relaxed);
    }

    /// The last attempt failed, at `now`.
    pub(crate) fn note_failure(&self, now: Timestamp, failure: Failure) {
        *self.failure() = Some((now, failure));
    }

    /// The last attempt went well.
    pub(crate) fn forget_failure(&self) {
        *self.failure() = None;
    }

    /// The last failure and when it was, if nothing has succeeded since.
    pub(crate) fn last_failure(&self) -> Option<(Timestamp, Failure)> {
        self.failure().clone()
    }

    /// The counts now.
    pub(crate) fn read(&self) -> Tallied {
        let last = self.last_done.load(Ordering::Relaxed);
        Tallied {
            done: self.done.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            suspended: self.suspended.load(Ordering::Relaxed),
            last_done_at: (last != 0).then(|| Timestamp::from_micros(last)),
        }
    }

    fn failure(&self) -> std::sync::MutexGuard<'_, Option<(Timestamp, Failure)>> {
        self.last_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use quayside_model::{FailureClass, Text};

    use super::*;

    #[test]
    fn a_failure_stands_until_something_succeeds() {
        let tally = Tally::default();
        assert_eq!(tally.read(), Tallied::default());
        let failure = Failure {
            code: Text::lossy("QS9999"),
            class: FailureClass::Retry,
            detail: Text::lossy("down"),
            resumable: true,
        };
        let at = Timestamp::from_micros(5);
        tally.note_failure(at, failure.clone());
        assert_eq!(tally.last_failure(), Some((at, failure)));
        tally.forget_failure();
        assert_eq!(tally.last_failure(), None);
    }

    #[test]
    fn the_last_success_never_goes_back() {
        let tally = Tally::default();
        tally.note_done(Timestamp::from_micros(9));
        tally.note_done(Timestamp::from_micros(7));
        let read = tally.read();
        assert_eq!(
            (read.done, read.last_done_at),
            (2, Some(Timestamp::from_micros(9)))
        );
    }
}
