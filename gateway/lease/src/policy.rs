//! What the configuration and the operators want of a group.

use std::time::Duration;

use quayside_model::{Name, Timestamp};

use crate::{Limit, budget::Quarantine};

/// The limits and patience of a group. [`Limits::default`] is the profile of `reference/high-availability.md` 3c.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Restarts on the same node.
    pub restarts: Limit,
    /// How long the first, the second and every further start in a row waits.
    pub backoff: [Duration; 3],
    /// Moves because of a fault, over all nodes.
    pub moves: Limit,
    /// After this long in Failed one start is tried.
    pub retry_failed: Duration,
    /// When a node is left out.
    pub quarantine: Quarantine,
    /// How long a process may take to become ready, and a granted one to come online.
    pub online_within: Duration,
    /// How long a drain may take before the process is killed.
    pub drain_within: Duration,
    /// Without a beat for this long a process counts as hung.
    pub hang_after: Duration,
    /// So long an adapter must fail here, and work elsewhere, before the group moves for it.
    pub adapter_patience: Duration,
    /// How long a preferred node must have been up before a group moves back to it.
    pub failback_stable: Duration,
    /// Each place in the order of candidates waits this much longer before it takes a free group.
    pub rank_delay: Duration,
    /// How long the others leave a free group to the node it is offered to.
    pub offer_lasts: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const fn minutes(n: u64) -> Duration {
            Duration::from_secs(60 * n)
        }
        let limit = |times, within| Limit { times, within };
        Self {
            restarts: limit(2, minutes(15)),
            backoff: [
                Duration::ZERO,
                Duration::from_secs(1),
                Duration::from_secs(5),
            ],
            moves: limit(3, minutes(60)),
            retry_failed: minutes(15),
            quarantine: Quarantine {
                lost: limit(3, minutes(60)),
                lasts: minutes(30),
            },
            online_within: Duration::from_secs(10),
            drain_within: Duration::from_secs(30),
            hang_after: Duration::from_secs(1),
            adapter_patience: Duration::from_secs(10),
            failback_stable: minutes(5),
            rank_delay: Duration::from_millis(150),
            offer_lasts: Duration::from_secs(1),
        }
    }
}

/// What happens first when the active process dies on a healthy node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDeath {
    /// A warm process takes over, here or on another node; a cold start only if there is none.
    #[default]
    Warm,
    /// Restarts in place as long as the budget lasts, then a move.
    InPlace,
}

/// Whether a group goes back to a more preferred node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Failback {
    /// Only by an operator's word.
    #[default]
    Manual,
    /// At any time.
    Always,
    /// From this minute of the day (UTC) to before that one; it may span midnight.
    Within {
        /// 0 to 1439.
        from: u16,
        /// 0 to 1439.
        until: u16,
    },
}

impl Failback {
    /// Whether a group may go back at `wall`.
    #[must_use]
    pub fn allowed(self, wall: Timestamp) -> bool {
        match self {
            Self::Manual => false,
            Self::Always => true,
            Self::Within { from, until } => {
                let minute = wall.as_micros().div_euclid(60_000_000).rem_euclid(1440);
                let (from, until) = (i64::from(from), i64::from(until));
                if from <= until {
                    (from..until).contains(&minute)
                } else {
                    minute >= from || minute < until
                }
            }
        }
    }
}

/// The configuration of a group: a clustered host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The nodes that may run it.
    pub possible: Vec<Name>,
    /// The order in which they should; those that are not named come last, as in `possible`.
    pub preferred: Vec<Name>,
    /// It runs only where this other group runs.
    pub with: Option<Name>,
    /// Whether the active node keeps a warm process beside the active one.
    pub spare: bool,
    /// What happens first when the process dies.
    pub on_death: OnDeath,
    /// Whether it goes back.
    pub failback: Failback,
    /// Limits and patience.
    pub limits: Limits,
}

impl Policy {
    /// A group that `possible` may run, in this order, with the defaults.
    #[must_use]
    pub fn new(possible: Vec<Name>) -> Self {
        Self {
            preferred: possible.clone(),
            possible,
            with: None,
            spare: false,
            on_death: OnDeath::default(),
            failback: Failback::default(),
            limits: Limits::default(),
        }
    }

    /// The nodes that may run it, most preferred first.
    pub fn order(&self) -> impl Iterator<Item = &Name> {
        let named = self.preferred.iter().filter(|n| self.possible.contains(n));
        let others = self.possible.iter();
        named.chain(others.filter(|n| !self.preferred.contains(n)))
    }
}

/// An operator's wish to move a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveOrder {
    /// Rises with each order of the group; each is served or refused once.
    pub no: u64,
    /// Where to; `None`: to the best other node.
    pub to: Option<Name>,
    /// Not before this moment.
    pub at: Option<Timestamp>,
}

/// What the operators last said about a group, as it stands in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Whether it is to run at all.
    pub online: bool,
    /// Maintenance: no restart, no move, no failback. The session is renewed and the fence holds.
    pub paused: bool,
    /// It may run on this node only.
    pub pinned: Option<Name>,
    /// The last order to move.
    pub order: Option<MoveOrder>,
    /// The number of that order, if it is to be followed by killing the process, as if that had died: a drill.
    pub drill: Option<u64>,
    /// Counted up by each `clear`, which forgets failures and budgets.
    pub clears: u64,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            online: true,
            paused: false,
            pinned: None,
            order: None,
            drill: None,
            clears: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_may_span_midnight() {
        let at = |hour: i64| Timestamp::from_micros((hour * 60 + 30) * 60_000_000);
        let day = Failback::Within {
            from: 480,
            until: 1020,
        };
        let night = Failback::Within {
            from: 1320,
            until: 240,
        };
        assert_eq!(
            [7, 8, 16, 17].map(|h| day.allowed(at(h))),
            [false, true, true, false]
        );
        assert_eq!(
            [21, 22, 3, 4].map(|h| night.allowed(at(h))),
            [false, true, true, false]
        );
        assert!(!Failback::Manual.allowed(at(1)) && Failback::Always.allowed(at(1)));
    }

    #[test]
    fn preferred_nodes_come_first_and_only_possible_ones_count() {
        let name = |n: &str| Name::new(n).expect("a name");
        let policy = Policy {
            preferred: vec![name("c"), name("x")],
            ..Policy::new(["a", "b", "c"].map(name).to_vec())
        };
        let order: Vec<&str> = policy.order().map(|n| &**n).collect();
        assert_eq!(order, ["c", "a", "b"]);
    }
}
