//! The number of an ownership, and the history of the store that gave it.

use std::fmt;

use quayside_model::Timestamp;
use serde::{Deserialize, Serialize};

/// Bits of an epoch below the timeline.
const NUMBER_BITS: u32 = 40;

/// The first timeline that does not fit above them.
const TIMELINES: i64 = 1 << (63 - NUMBER_BITS);

/// From when on the time of a restore is counted: 2026-01-01, in seconds.
const RESTORES_SINCE: i64 = 1_767_225_600;

/// The seconds of one timeline of restores, which are good for 31 years.
const SECONDS_OF_A_TIMELINE: i64 = 120;

/// How many takes have room between a restore and one a second later.
const TAKES_OF_A_SECOND: i64 = 1_000_000;

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

    /// The floor of all epochs after a restore at `now`, of a copy that knows of none above `highest`. What was granted
    /// after the copy was made is not in it, and may be lost, so that only the clock can tell what is later: the floor
    /// is above every epoch that was granted before, unless the database was promoted more than once in each
    /// two minutes since its own last restore. Two restores a second apart have floors that takes of one cannot reach
    /// from the other. `None`: the clock stands before 2026 or after 2057.
    #[must_use]
    pub fn after_restore(now: Timestamp, highest: Self) -> Option<Self> {
        let seconds = now.as_micros().div_euclid(1_000_000) - RESTORES_SINCE;
        let number = seconds.rem_euclid(SECONDS_OF_A_TIMELINE) * TAKES_OF_A_SECOND;
        let by_clock = seconds.div_euclid(SECONDS_OF_A_TIMELINE);
        if !(0..TIMELINES).contains(&by_clock) {
            return None;
        }
        let at = |timeline: i64| Self((timeline << NUMBER_BITS) | number);
        let timeline = match at(by_clock) > highest {
            true => by_clock,
            false => highest.timeline() + 1,
        };
        (timeline < TIMELINES).then(|| at(timeline))
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
    fn a_restore_is_above_whatever_came_before_it_known_or_not() {
        let at = |second: i64| Timestamp::from_micros((RESTORES_SINCE + second) * 1_000_000 + 17);
        let restored = |second, highest| Epoch::after_restore(at(second), highest);
        let backup = Epoch::new(0).next(3);
        let first = restored(1_199, backup).expect("a floor");
        assert_eq!(first.to_string(), "9.119000000");
        // The same backup again, in a second that follows: the first life may have taken and promoted meanwhile.
        let again = restored(1_200, backup).expect("a floor");
        assert!(again > (0..999_999).fold(first, |epoch, _| epoch.next(9)));
        let promoted = first.next(10).next(10);
        assert!(restored(1_201, backup).expect("a floor") > promoted);
        // A copy that knows more than the clock, because it was promoted often, or because the clock is behind.
        let ahead = Epoch::new(0).next(77).next(77);
        let floor = restored(1_199, ahead).expect("a floor");
        assert_eq!(floor.to_string(), "78.119000000");
        assert_eq!(restored(1_199, first).map(Epoch::timeline), Some(10));
    }

    #[test]
    fn a_clock_that_cannot_be_gives_no_floor() {
        let none = Epoch::new(0);
        let last_second = RESTORES_SINCE + TIMELINES * SECONDS_OF_A_TIMELINE - 1;
        for (second, is_some) in [
            (0, false),
            (RESTORES_SINCE - 1, false),
            (RESTORES_SINCE, true),
            (last_second, true),
            (last_second + 1, false),
        ] {
            let now = Timestamp::from_micros(second * 1_000_000);
            let floor = Epoch::after_restore(now, none);
            assert_eq!(floor.is_some(), is_some, "{second}: {floor:?}");
        }
        let last = Epoch::new(i64::MAX);
        let now = Timestamp::from_micros(RESTORES_SINCE * 1_000_000);
        assert_eq!(Epoch::after_restore(now, last), None);
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
