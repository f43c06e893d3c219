//! What a run came to: how long nothing came out, and what was lost, repeated or done by one who should not.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use quayside_harness::{
    LoadReport, Seen, effects,
    rabbitmq::{Arrival, Confirmed},
};

const MICROS_PER_MS: f64 = 1000.0;

/// How many messages did what they should not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counted {
    pub(super) lost: usize,
    pub(super) repeated: usize,
    pub(super) stale: usize,
}

/// Messages between queues, in the order of their keys.
pub(super) fn moved(confirmed: &[Confirmed], arrivals: &[Arrival]) -> Counted {
    let (mut seen, mut newest) = (BTreeSet::new(), BTreeMap::<&str, u64>::new());
    let mut counted = Counted::default();
    for arrival in arrivals {
        if !seen.insert(arrival.id.clone()) {
            // What the broker gives its consumer again came out once.
            counted.repeated += usize::from(!arrival.redelivered);
            continue;
        }
        let newest = newest.entry(&arrival.key).or_default();
        counted.stale += usize::from(arrival.sequence < *newest);
        *newest = arrival.sequence.max(*newest);
    }
    let lost = confirmed
        .iter()
        .filter(|message| !seen.contains(&message.id()));
    counted.lost = lost.count();
    counted
}

/// Requests to a partner that tells repeats by their key.
pub(super) fn posted(report: &LoadReport, log: &[Seen]) -> Counted {
    let got = effects(log);
    let accepted = report.accepted();
    let arrived = |id: &str| got.get(id).is_some_and(|got| got.effects > 0);
    let lost = accepted.iter().filter(|answer| !arrived(&answer.id));
    Counted {
        lost: lost.count(),
        repeated: got.values().map(|got| got.raw - 1).sum(),
        stale: got.values().filter(|got| got.keys.len() > 1).count(),
    }
}

/// The longest time without a message in `arrivals`, which came after `at`.
pub(super) fn longest_gap(arrivals: &[Arrival], at: u64) -> anyhow::Result<(u64, u64)> {
    let mut times: Vec<u64> = arrivals
        .iter()
        .map(|arrival| arrival.at_us.max(at))
        .collect();
    times.insert(0, at);
    times.sort_unstable();
    let gaps = times.windows(2).map(|pair| (pair[0], pair[1]));
    let longest = gaps.max_by_key(|(begun, ended)| ended - begun);
    longest.context("nothing came out")
}

/// When the first of `arrivals` came that came not before `at`.
pub(super) fn first_since(arrivals: &[Arrival], at: u64) -> Option<u64> {
    let times = arrivals.iter().map(|arrival| arrival.at_us);
    times.filter(|came| *came >= at).min()
}

/// The value that so many per cent of `sorted` do not exceed; no number without any.
pub(super) fn percentile(sorted: &[f64], per_cent: usize) -> f64 {
    let place = (sorted.len() * per_cent).div_ceil(100);
    sorted
        .get(place.saturating_sub(1))
        .copied()
        .unwrap_or(f64::NAN)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "times are far below 2^52 microseconds"
)]
pub(super) fn millis(micros: u64) -> f64 {
    micros as f64 / MICROS_PER_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(at_us: u64, sequence: u64) -> Arrival {
        Arrival {
            at_us,
            queue: "out".to_owned(),
            message_id: String::new(),
            redelivered: false,
            id: format!("k.{sequence}"),
            key: "k".to_owned(),
            sequence,
            epoch: 0,
        }
    }

    #[test]
    fn what_is_missing_comes_again_or_comes_late_is_counted() {
        let confirmed: Vec<_> = (0..5)
            .map(|sequence| Confirmed {
                at_us: 0,
                key: "k".to_owned(),
                sequence,
            })
            .collect();
        let arrivals = [0, 2, 1, 1, 3].map(|sequence| came(sequence, sequence));
        let counted = moved(&confirmed, &arrivals);
        let (lost, repeated, stale) = (1, 1, 1);
        assert_eq!(
            counted,
            Counted {
                lost,
                repeated,
                stale
            }
        );
    }

    #[test]
    fn a_gap_begins_at_the_fault_or_between_two_messages() {
        let arrivals = [5, 12, 19, 60, 61].map(|at| came(at, at));
        let gap = longest_gap(&arrivals, 10).expect("a gap");
        assert_eq!(gap, (19, 60));
        assert_eq!(
            longest_gap(&arrivals[3..], 10).expect("a gap"),
            (10, 60),
            "nothing came before it"
        );
        assert_eq!(first_since(&arrivals, 20), Some(60));
        assert_eq!(first_since(&arrivals, 62), None);
    }

    #[test]
    fn a_percentile_is_the_value_that_so_many_do_not_exceed() {
        let values = [1.0, 2.0, 3.0, 4.0];
        let of = |per_cent| percentile(&values, per_cent);
        assert_eq!(
            [of(50), of(99), of(100)].map(|v| v.to_bits()),
            [2.0, 4.0, 4.0].map(f64::to_bits)
        );
        assert!(percentile(&[], 50).is_nan());
    }
}
