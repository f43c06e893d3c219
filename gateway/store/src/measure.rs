//! Named, measured transactions.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Counters of each named transaction of a store.
#[derive(Debug)]
pub struct Transactions {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: &'static str,
    done: AtomicU64,
    failed: AtomicU64,
    micros: AtomicU64,
    items: AtomicU64,
}

/// What is known of one named transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct TransactionStats {
    /// Its name.
    pub name: &'static str,
    /// How many were committed.
    pub done: u64,
    /// How many failed.
    pub failed: u64,
    /// The time of both together, in microseconds.
    pub micros: u64,
    /// How many items the committed ones held in all.
    pub items: u64,
}

impl Transactions {
    /// Counters for `names`, which are all that [`Transactions::record`] will know.
    #[must_use]
    pub fn new(names: &[&'static str]) -> Self {
        let entry = |&name| Entry {
            name,
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            micros: AtomicU64::new(0),
            items: AtomicU64::new(0),
        };
        Self {
            entries: names.iter().map(entry).collect(),
        }
    }

    /// Counts one run of the transaction `name` that took `time` and held `items`.
    pub fn record(&self, name: &'static str, ok: bool, time: Duration, items: usize) {
        let Some(entry) = self.entries.iter().find(|e| e.name == name) else {
            debug_assert!(false, "unnamed transaction {name}");
            return;
        };
        let count = if ok { &entry.done } else { &entry.failed };
        count.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        entry.micros.fetch_add(micros, Ordering::Relaxed);
        if ok {
            entry.items.fetch_add(items as u64, Ordering::Relaxed);
        }
    }

    /// All counters.
    #[must_use]
    pub fn stats(&self) -> Vec<TransactionStats> {
        let stats = |e: &Entry| TransactionStats {
            name: e.name,
            done: e.done.load(Ordering::Relaxed),
            failed: e.failed.load(Ordering::Relaxed),
            micros: e.micros.load(Ordering::Relaxed),
            items: e.items.load(Ordering::Relaxed),
        };
        self.entries.iter().map(stats).collect()
    }
}
