//! Judging a run: what was accepted against what the partner got.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt,
};

use quayside_harness::{Effects, LoadReport, Seen, effects};

/// How many ids a verdict names of each fault.
const NAMED: usize = 5;

/// What a run was like. Only `repeats` and `unanswered` are no faults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How many ids were accepted.
    pub accepted: usize,
    /// Accepted ids without an effect.
    pub lost: Vec<String>,
    /// Ids with more than one effect, whether accepted or without an answer.
    pub doubled: Vec<String>,
    /// Ids that came with more than one key over all raw requests.
    pub several_keys: Vec<String>,
    /// Effects that came after a later one of their order key.
    pub out_of_order: Vec<String>,
    /// Ids that were sent and never accepted; they may have had an effect, or none.
    pub unanswered: usize,
    /// Requests at the partner beyond the first of each id.
    pub repeats: usize,
}

impl Verdict {
    /// Whether nothing was lost and nothing done twice.
    #[must_use]
    pub fn exactly_once(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.several_keys.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} accepted, {} unanswered, {} raw repeats",
            self.accepted, self.unanswered, self.repeats
        )?;
        for (name, ids) in [
            ("lost", &self.lost),
            ("done twice", &self.doubled),
            ("with several keys", &self.several_keys),
            ("out of order", &self.out_of_order),
        ] {
            write!(f, ", {} {name}", ids.len())?;
            if !ids.is_empty() {
                write!(f, " ({})", ids[..ids.len().min(NAMED)].join(" "))?;
            }
        }
        Ok(())
    }
}

/// Expects that no client noticed anything.
///
/// # Panics
/// When a request was not accepted: with the first ones.
pub fn all_accepted(report: &LoadReport) {
    let failed: Vec<_> = report.answers.iter().filter(|a| !a.accepted()).collect();
    assert!(
        failed.is_empty(),
        "{} of {} failed: {:?}",
        failed.len(),
        report.answers.len(),
        &failed[..failed.len().min(NAMED)]
    );
}

/// Judges what clients saw against the partner's log.
#[must_use]
pub fn judge(report: &LoadReport, log: &[Seen]) -> Verdict {
    let got = effects(log);
    let accepted: HashSet<&str> = report.accepted().iter().map(|a| a.id.as_str()).collect();
    let effects_of = |id: &str| got.get(id).map_or(0, |e| e.effects);
    let mut lost: Vec<_> = accepted.iter().filter(|id| effects_of(id) == 0).collect();
    lost.sort_unstable();
    let ids = |fault: &dyn Fn(&Effects) -> bool| {
        got.iter()
            .filter(|(_, e)| fault(e))
            .map(|(id, _)| id.clone())
            .collect::<Vec<_>>()
    };
    Verdict {
        accepted: accepted.len(),
        lost: lost.into_iter().map(|id| (*id).to_owned()).collect(),
        doubled: ids(&|e| e.effects > 1),
        several_keys: ids(&|e| e.keys.len() > 1),
        out_of_order: out_of_order(report, log),
        unanswered: report.unanswered().len(),
        repeats: got.values().map(|e| e.raw - 1).sum(),
    }
}

/// The ids whose effect came after the effect of a later request of the same client. A client waits for
/// each answer, so the order in which it sent is the order in which it was accepted.
fn out_of_order(report: &LoadReport, log: &[Seen]) -> Vec<String> {
    let number: HashMap<&str, u64> = report
        .answers
        .iter()
        .map(|a| (a.id.as_str(), a.no))
        .collect();
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    let mut wrong = Vec::new();
    for seen in log.iter().filter(|seen| seen.effect) {
        let Some(no) = number.get(seen.id.as_str()) else {
            continue;
        };
        let last = last.entry(&seen.order).or_default();
        if no < last {
            wrong.push(seen.id.clone());
        }
        *last = (*last).max(*no);
    }
    wrong
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quayside_harness::{Answer, Broken, Status};

    use super::*;

    fn answer(no: u64, accepted: bool) -> Answer {
        let status = Status {
            code: 202,
            retry_after: false,
            problem: String::new(),
        };
        let outcome = if accepted {
            Ok(status)
        } else {
            Err(Broken::Lost("reset".into()))
        };
        let (id, key) = (format!("m-0-{no}"), "m-0".to_owned());
        Answer {
            id,
            key,
            no,
            sent_at: 0,
            took: Duration::ZERO,
            outcome,
        }
    }

    fn seen(no: u64, key: &str, effect: bool) -> Seen {
        Seen {
            seq: 0,
            path: "/orders".to_owned(),
            key: key.to_owned(),
            id: format!("m-0-{no}"),
            order: "m-0".to_owned(),
            epoch: 0,
            at_us: 0,
            status: 200,
            effect,
        }
    }

    fn run(answers: Vec<Answer>, log: &[Seen]) -> Verdict {
        judge(&LoadReport { answers }, log)
    }

    #[test]
    fn a_repeat_under_the_same_key_is_no_fault() {
        let log = [seen(1, "a", true), seen(1, "a", false), seen(2, "b", true)];
        let verdict = run(vec![answer(1, true), answer(2, true)], &log);
        assert!(
            verdict.exactly_once() && verdict.out_of_order.is_empty(),
            "{verdict}"
        );
        assert_eq!((verdict.accepted, verdict.repeats), (2, 1));
    }

    #[test]
    fn every_fault_is_found() {
        let log = [
            seen(2, "b", true),
            seen(1, "a", true),
            seen(3, "c", true),
            seen(3, "d", true),
        ];
        let answers = vec![
            answer(1, true),
            answer(2, true),
            answer(3, false),
            answer(4, true),
        ];
        let verdict = run(answers, &log);
        assert_eq!(verdict.lost, ["m-0-4"]);
        assert_eq!(verdict.doubled, ["m-0-3"]);
        assert_eq!(verdict.several_keys, ["m-0-3"]);
        assert_eq!(verdict.out_of_order, ["m-0-1"]);
        assert_eq!(verdict.unanswered, 1);
        assert!(!verdict.exactly_once());
    }

    #[test]
    fn an_id_that_was_accepted_on_repeat_is_not_unanswered() {
        let verdict = run(
            vec![answer(1, false), answer(1, true)],
            &[seen(1, "a", true)],
        );
        assert_eq!((verdict.accepted, verdict.unanswered), (1, 0));
        assert!(verdict.exactly_once());
    }
}
