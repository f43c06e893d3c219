//! The number of an ownership, and the history of the store that gave it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Bits of an epoch below the timeline.
const NUMBER_BITS: u32 = 40;

/// The number of one ownership of a group. Rises with each take and never repeats, also across a failover
/// of the store that lost the last takes, because the timeline stands in the high bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(i64);

impl Epoch {
    /// The epoch that the store wrote as `raw`.
    #[must_use]
    pub const fn new(raw: i64) -> Self {
        Self(raw)
    }

    /// As the store writes it.
    #[must_use]
    pub const fn raw(self) -> i64 {
        self.0
    }

    /// The timeline of the store at the take, 0 for a store without timelines.
    #[must_use]
    pub const fn timeline(self) -> i64 {
        self.0 >> NUMBER_BITS
    }

    /// The number within the timeline.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0 & ((1 << NUMBER_BITS) - 1)
    }

    /// What a take on `timeline` makes of it: `greatest(epoch + 1, timeline << 40)`.
    #[must_use]
    pub fn next(self, timeline: u32) -> Self {
        Self((self.0 + 1).max(i64::from(timeline) << NUMBER_BITS))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.timeline(), self.number())
    }
}

/// Which database answered, and which of its histories. Read once per new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Incarnation {
    /// The system identifier of the database cluster.
    pub system: u64,
    /// Its timeline: raised by each promotion.
    pub timeline: u32,
}

/// How an answering store stands to the one that answered before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The same history goes on.
    Same,
    /// A later history, or another database: grants of the former are void.
    New,
    /// An earlier history, such as an old primary that has come back: its answers count for nothing.
    Stale,
}

impl Incarnation {
    /// How this one stands to the one `seen` last.
    #[must_use]
    pub fn after(self, seen: Option<Self>) -> Arrival {
        match seen {
            Some(seen) if seen == self => Arrival::Same,
            Some(seen) if seen.system == self.system && self.timeline < seen.timeline => {
                Arrival::Stale
            }
            _ => Arrival::New,
        }
    }
}

/// What a failover of the store may forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replication {
    /// Nothing that was answered: a new history begins where the old one ended.
    #[default]
    Synchronous,
    /// The last commits (`allow_loss = true`). An end of a session and the take after it may be forgotten,
    /// so nothing is granted on a new history before every trust of the old one has run out: one ttl.
    Lossy,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_timeline_raises_every_epoch_and_a_lower_one_none() {
        let first = Epoch::new(0).next(1);
        assert_eq!(first.to_string(), "1.0");
        assert_eq!(first.next(1).to_string(), "1.1");
        let lost = first.next(1).next(1);
        let promoted = first.next(2);
        assert!(promoted > lost, "{promoted} {lost}");
        assert_eq!(promoted.next(1).to_string(), "2.1");
        assert_eq!(Epoch::new(7).next(0).raw(), 8);
    }

    #[test]
    fn an_old_primary_is_stale_and_another_database_new() {
        let at = |system, timeline| Incarnation { system, timeline };
        assert_eq!(at(1, 1).after(None), Arrival::New);
        assert_eq!(at(1, 2).after(Some(at(1, 2))), Arrival::Same);
        assert_eq!(at(1, 3).after(Some(at(1, 2))), Arrival::New);
        assert_eq!(at(1, 1).after(Some(at(1, 2))), Arrival::Stale);
        assert_eq!(at(2, 1).after(Some(at(1, 2))), Arrival::New);
    }
}
