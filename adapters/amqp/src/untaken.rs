//! When a connection is given up over which the broker takes nothing for a queue: pure.
//!
//! A queue that is full refuses each message, and any connection to it is as good as another. But RabbitMQ 3.10 also refuses
//! every message of a channel that first published while the queue had no leader, and whose broker then learnt of a leader
//! that was dead: until that one is back, although the queue has another leader and takes messages over other channels. From
//! outside the two look alike, so a new connection is tried, less and less often as long as that changes nothing.

use std::{collections::BTreeMap, time::Duration};

use quayside_adapter_api::model::Monotonic;

/// How long everything for a queue is refused before another connection is tried, at first and at most.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What the broker refuses.
#[derive(Debug, Default)]
pub(crate) struct Untaken {
    /// Since when nothing was taken for a queue over the connection at hand.
    since: BTreeMap<String, Monotonic>,
    /// How many connections were given up since something was taken.
    given_up: u32,
}

impl Untaken {
    /// The broker has taken a message for `queue`.
    pub(crate) fn taken(&mut self, queue: &str) {
        if self.since.remove(queue).is_some() {
            self.given_up = 0;
        }
    }

    /// The broker has refused a message for `queue` at `now`: whether the connection is to be given up.
    pub(crate) fn refused(&mut self, queue: &str, now: Monotonic) -> bool {
        let since = *self.since.entry(queue.to_owned()).or_insert(now);
        let patience = PATIENCE.0.saturating_mul(1 << self.given_up.min(8));
        if now.since(since) < patience.min(PATIENCE.1) {
            return false;
        }
        self.given_up += 1;
        for since in self.since.values_mut() {
            *since = now;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Monotonic {
        Monotonic::from_boot(Duration::from_millis(millis))
    }

    /// Refuses everything for `queue` from `from` on, every 100 ms, and tells when connections are given up.
    fn given_up(untaken: &mut Untaken, queue: &str, from: u64, to: u64) -> Vec<u64> {
        let times = (from..=to).step_by(100);
        times
            .filter(|time| untaken.refused(queue, at(*time)))
            .collect()
    }

    #[test]
    fn a_connection_that_takes_nothing_is_given_up_and_the_next_later() {
        let mut untaken = Untaken::default();
        assert_eq!(given_up(&mut untaken, "q", 0, 7_500), [1_000, 3_000, 7_000]);
        let late = given_up(&mut untaken, "q", 7_600, 400_000);
        let last = &late[late.len() - 2..];
        assert_eq!(last[1] - last[0], 60_000, "at most");
    }

    #[test]
    fn a_message_that_is_taken_ends_the_count_of_its_queue_alone() {
        let mut untaken = Untaken::default();
        assert!(!untaken.refused("q", at(0)) && !untaken.refused("r", at(0)));
        untaken.taken("q");
        assert!(!untaken.refused("q", at(1_500)));
        assert!(untaken.refused("r", at(1_500)));
        untaken.taken("r");
        assert_eq!(
            given_up(&mut untaken, "r", 2_000, 3_500),
            [3_000],
            "as at first"
        );
    }
}
