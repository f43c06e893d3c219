//! How often something may happen before something else must.

use std::{collections::VecDeque, time::Duration};

use quayside_model::Monotonic;

/// So many times within so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How many times.
    pub times: u32,
    /// Within which sliding time.
    pub within: Duration,
}

impl Limit {
    /// How many of these `ages` count. For what the store has recorded: it tells ages by its own clock, so
    /// that no two nodes' clocks are compared.
    #[must_use]
    pub fn used(&self, ages: &[Duration]) -> u32 {
        let used = ages.iter().filter(|age| **age < self.within).count();
        u32::try_from(used).unwrap_or(u32::MAX)
    }

    /// Whether one more is allowed after these `ages`.
    #[must_use]
    pub fn allows(&self, ages: &[Duration]) -> bool {
        self.used(ages) < self.times
    }
}

/// What was spent of a limit on this node. Holds at most as many moments as the limit allows.
#[derive(Debug, Clone)]
pub struct Budget {
    limit: Limit,
    spent: VecDeque<Monotonic>,
}

impl Budget {
    /// Nothing is spent yet.
    #[must_use]
    pub fn new(limit: Limit) -> Self {
        Self {
            limit,
            spent: VecDeque::new(),
        }
    }

    /// Spends one at `now`. `false`: none was left, and none is spent.
    pub fn spend(&mut self, now: Monotonic) -> bool {
        self.spent.retain(|at| now.since(*at) < self.limit.within);
        let left = self.used(now) < self.limit.times;
        if left {
            self.spent.push_back(now);
        }
        left
    }

    /// Takes back the last one that was spent: it was not needed.
    pub fn give_back(&mut self) {
        self.spent.pop_back();
    }

    /// How many are spent at `now`.
    #[must_use]
    pub fn used(&self, now: Monotonic) -> u32 {
        let ages: Vec<Duration> = self.spent.iter().map(|at| now.since(*at)).collect();
        self.limit.used(&ages)
    }

    /// Whether one is left at `now`.
    #[must_use]
    pub fn left(&self, now: Monotonic) -> bool {
        self.used(now) < self.limit.times
    }

    /// How many are allowed.
    #[must_use]
    pub fn allowed(&self) -> u32 {
        self.limit.times
    }

    /// Forgets what was spent: an operator's word.
    pub fn clear(&mut self) {
        self.spent.clear();
    }
}

/// When a node that loses its sessions again and again is left out for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quarantine {
    /// So many lost sessions are too many.
    pub lost: Limit,
    /// How long it is left out after the last one.
    pub lasts: Duration,
}

impl Quarantine {
    /// How much longer a node is left out that lost sessions these `ages` ago.
    #[must_use]
    pub fn left(&self, ages: &[Duration]) -> Option<Duration> {
        let newest = ages.iter().min()?;
        let left = self.lasts.saturating_sub(*newest);
        (!self.lost.allows(ages) && !left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(secs: u64) -> Monotonic {
        Monotonic::from_boot(Duration::from_secs(secs))
    }

    proptest! {
        #[test]
        fn no_window_ever_holds_more_than_the_limit(
            times in 0..4_u32,
            within in 1..20_u64,
            steps in prop::collection::vec(0..10_u64, 1..60),
        ) {
            let limit = Limit { times, within: Duration::from_secs(within) };
            let mut budget = Budget::new(limit);
            let (mut now, mut spent) = (0, Vec::new());
            for step in steps {
                now += step;
                let recent = |spent: &[u64]| spent.iter().filter(|t| now - **t < within).count();
                let room = recent(&spent) < times as usize;
                prop_assert_eq!(budget.left(at(now)), room);
                prop_assert_eq!(budget.spend(at(now)), room);
                if room {
                    spent.push(now);
                }
                prop_assert!(recent(&spent) <= times as usize);
                prop_assert_eq!(budget.used(at(now)) as usize, recent(&spent));
            }
        }
    }

    #[test]
    fn a_node_is_left_out_after_the_last_loss_and_not_for_ever() {
        let quarantine = Quarantine {
            lost: Limit {
                times: 3,
                within: Duration::from_secs(3600),
            },
            lasts: Duration::from_secs(1800),
        };
        let ages = |ages: &[u64]| {
            ages.iter()
                .map(|s| Duration::from_secs(*s))
                .collect::<Vec<_>>()
        };
        assert_eq!(quarantine.left(&[]), None);
        assert_eq!(quarantine.left(&ages(&[1, 2])), None);
        let left = quarantine.left(&ages(&[600, 700, 800]));
        assert_eq!(left, Some(Duration::from_secs(1200)));
        assert_eq!(quarantine.left(&ages(&[1, 700, 3600])), None);
        assert_eq!(quarantine.left(&ages(&[1800, 1900, 2000])), None);
    }
}
