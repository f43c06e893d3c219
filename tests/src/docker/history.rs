//! What senders were told, what arrived where, and what may not have happened in between.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

/// How many ids a ruling names of each fault.
const NAMED: usize = 5;

/// A message, by what stands in its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// When its sender was told that it is accepted, or when it arrived, in microseconds since the epoch.
    pub at_us: u64,
    /// Its business id.
    pub id: String,
    /// Its order key.
    pub key: String,
    /// Its number among those of its key.
    pub sequence: u64,
}

/// A message at a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// The message.
    pub parcel: Parcel,
    /// What the target knows repeats by: an `Idempotency-Key`, or a `message_id`.
    pub known_by: String,
    /// Whether the target says itself that it gave it out before.
    pub again: bool,
}

/// What one target got of one way in. Only `again` is no fault.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruling {
    /// How many messages were accepted.
    pub accepted: usize,
    /// How many messages arrived; those whose sender was told nothing may be among them.
    pub delivered: usize,
    /// Accepted, and never arrived.
    pub lost: Vec<String>,
    /// Arrived under several names, so that the target takes them for different ones.
    pub repeated: Vec<String>,
    /// First arrived after a later one of their key.
    pub inversions: Vec<String>,
    /// How often something came once more under the name of its first arrival, which the target drops.
    pub again: usize,
}

impl Ruling {
    /// Judges what `arrived`, in the order in which it did, against what was `accepted`; order only if it is `ordered`.
    #[must_use]
    pub fn of(accepted: &[Parcel], arrived: &[Arrived], ordered: bool) -> Self {
        let mut ruling = Self {
            accepted: accepted.len(),
            ..Self::default()
        };
        let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for seen in arrived {
            let parcel = &seen.parcel;
            let known = names.entry(&parcel.id).or_default();
            let first = known.is_empty();
            if !known.insert(&seen.known_by) && !seen.again {
                ruling.again += 1;
            }
            if first && ordered {
                let last = last.entry(&parcel.key).or_default();
                if parcel.sequence < *last {
                    ruling.inversions.push(parcel.id.clone());
                }
                *last = parcel.sequence.max(*last);
            }
        }
        ruling.delivered = names.len();
        let several = names.iter().filter(|(_, names)| names.len() > 1);
        ruling.repeated = several.map(|(id, _)| (*id).to_owned()).collect();
        let lost = accepted.iter().map(|parcel| parcel.id.as_str());
        let lost = lost.filter(|id| !names.contains_key(id));
        ruling.lost = lost.map(str::to_owned).collect();
        ruling
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.lost.is_empty() && self.repeated.is_empty() && self.inversions.is_empty()
    }
}

impl fmt::Display for Ruling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (accepted, delivered) = (self.accepted, self.delivered);
        write!(f, "accepted {accepted}, delivered {delivered}")?;
        for (name, ids) in [
            ("lost", &self.lost),
            ("repeated", &self.repeated),
            ("order inversions", &self.inversions),
        ] {
            write!(f, ", {name} {}", ids.len())?;
            if !ids.is_empty() {
                write!(f, " ({})", ids[..ids.len().min(NAMED)].join(" "))?;
            }
        }
        write!(f, " ({} came again under their name)", self.again)
    }
}

/// The longest time between `from` and `to` in which none of `moments` lies, all in microseconds since the epoch.
#[must_use]
pub fn longest_gap(moments: &[u64], from: u64, to: u64) -> Duration {
    let mut inside: Vec<_> = moments
        .iter()
        .copied()
        .filter(|at| (from..=to).contains(at))
        .collect();
    inside.sort_unstable();
    inside.push(to);
    let mut before = from;
    let mut longest = 0;
    for at in inside {
        longest = longest.max(at - before);
        before = at;
    }
    Duration::from_micros(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(sequence: u64) -> Parcel {
        Parcel {
            at_us: 0,
            id: format!("k.{sequence}"),
            key: "k".to_owned(),
            sequence,
        }
    }

    fn arrived(sequence: u64, name: &str) -> Arrived {
        Arrived {
            parcel: parcel(sequence),
            known_by: name.to_owned(),
            again: false,
        }
    }

    #[test]
    fn what_comes_again_under_its_name_is_counted_and_no_fault() {
        let mut given_out_again = arrived(2, "b");
        given_out_again.again = true;
        let seen = [
            arrived(1, "a"),
            arrived(2, "b"),
            arrived(1, "a"),
            given_out_again,
        ];
        let ruling = Ruling::of(&[parcel(1), parcel(2)], &seen, true);
        assert!(ruling.holds(), "{ruling}");
        assert_eq!((ruling.accepted, ruling.delivered, ruling.again), (2, 2, 1));
    }

    #[test]
    fn every_fault_is_found() {
        let seen = [
            arrived(3, "c"),
            arrived(2, "b"),
            arrived(3, "d"),
            arrived(4, "e"),
        ];
        let ruling = Ruling::of(&[parcel(1), parcel(2), parcel(3)], &seen, true);
        assert_eq!(ruling.lost, ["k.1"]);
        assert_eq!(ruling.repeated, ["k.3"]);
        assert_eq!(ruling.inversions, ["k.2"]);
        assert!(!ruling.holds());
        let free = Ruling::of(&[parcel(2)], &seen, false);
        assert!(free.inversions.is_empty(), "{free}");
    }

    #[test]
    fn a_gap_counts_from_the_begin_and_to_the_end() {
        let millis = |moments: &[u64]| longest_gap(moments, 1_000, 9_000).as_micros();
        assert_eq!(millis(&[]), 8_000);
        assert_eq!(millis(&[500, 2_000, 3_000, 9_500]), 6_000);
        assert_eq!(millis(&[6_000, 2_000]), 4_000);
    }
}
