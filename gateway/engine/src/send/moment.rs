//! A moment that tasks share.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use quayside_model::Monotonic;

/// A moment that tasks share.
#[derive(Debug, Default)]
pub(super) struct Moment(AtomicU64);

impl Moment {
    pub(super) fn set(&self, now: Monotonic) {
        let micros = u64::try_from(now.since_boot().as_micros()).unwrap_or(u64::MAX);
        self.0.store(micros, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Monotonic {
        Monotonic::from_boot(Duration::from_micros(self.0.load(Ordering::Relaxed)))
    }
}
