//! What was seen from outside during a run, and what may not have happened.
//!
//! The invariants have the numbers of the plan of faults: 1 nothing acknowledged is lost, 2 partners that know keys or
//! ids take everything once, 3 whatever else came twice is listed, 4 order is kept, 5 nothing of an epoch comes after
//! the first of a later one, 6 nobody but the owner writes to the store, 8 the host moves when it must and only then.
//! (7, that ownerships do not overlap, is what 5 and 6 see of it from outside.)

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use quayside_harness::{
    LoadReport, Seen,
    rabbitmq::{Arrival, Confirmed},
};
use serde_json::{Value, json};

use super::faults::Fault;
use crate::{
    judge, judge_one,
    queues::{MOVES, in_order},
};

/// How many of each violation are named.
const NAMED: usize = 5;

/// What was seen of a run.
#[derive(Debug, Default)]
pub struct History {
    /// What the broker confirmed to the producer.
    pub confirmed: Vec<Confirmed>,
    /// What came out of queues.
    pub arrivals: Vec<Arrival>,
    /// What clients saw.
    pub report: LoadReport,
    /// What the partner got.
    pub log: Vec<Seen>,
    /// The ids of the deliveries that the store lists as sent more than once, or in doubt.
    pub listed: BTreeSet<String>,
    /// What the store's audit noted.
    pub stale_writes: Vec<String>,
    /// How many messages are stored.
    pub stored: usize,
    /// How many of them have the body of another one.
    pub stored_twice: usize,
    /// How many were left in queues that the gateway takes from.
    pub left: u64,
    /// How long each fault left the host without an owner, in milliseconds.
    pub times: BTreeMap<Fault, Vec<u64>>,
    /// Steps after which the host was not where it had to be.
    pub unexplained: Vec<String>,
}

/// What is wrong, by invariant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruling {
    /// 1: acknowledged, and never came out.
    pub lost: Vec<String>,
    /// 2: done twice by somebody who knows keys or ids.
    pub doubled: Vec<String>,
    /// 3: came twice, and the store does not list it.
    pub unlisted: Vec<String>,
    /// 4: first came after a later one of its key.
    pub out_of_order: Vec<String>,
    /// 5: of an epoch that was over.
    pub late: Vec<String>,
    /// 6: written by somebody who did not own the host.
    pub stale_writes: Vec<String>,
    /// 8: moves without a cause, and causes without a move.
    pub unexplained: Vec<String>,
    /// What came twice and is listed: no violation.
    pub repeats: usize,
}

impl Ruling {
    /// Each invariant and what violates it.
    fn all(&self) -> [(&'static str, &Vec<String>); 7] {
        [
            ("lost", &self.lost),
            ("done twice", &self.doubled),
            ("repeated and not listed", &self.unlisted),
            ("out of order", &self.out_of_order),
            ("of an epoch that was over", &self.late),
            ("stale writes", &self.stale_writes),
            ("moves without a cause", &self.unexplained),
        ]
    }

    /// Whether every invariant held.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.all()
            .iter()
            .all(|(_, violations)| violations.is_empty())
    }
}

impl fmt::Display for Ruling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} repeated and listed", self.repeats)?;
        for (name, violations) in self.all() {
            write!(f, ", {} {name}", violations.len())?;
            if !violations.is_empty() {
                let named = &violations[..violations.len().min(NAMED)];
                write!(f, " ({})", named.join("; "))?;
            }
        }
        Ok(())
    }
}

impl History {
    /// Judges it.
    #[must_use]
    pub fn rule(&self) -> Ruling {
        let mut ruling = Ruling {
            stale_writes: self.stale_writes.clone(),
            unexplained: self.unexplained.clone(),
            ..Ruling::default()
        };
        self.rule_moves(&mut ruling);
        self.rule_orders(&mut ruling);
        for (queue, effects) in self.effects() {
            ruling.late.extend(late(&queue, &effects));
        }
        if self.stored_twice > 0 {
            let twice = format!(
                "{} of {} bodies are stored twice",
                self.stored_twice, self.stored
            );
            ruling.doubled.push(twice);
        }
        if self.left > 0 {
            let left = format!("{} are left where they were to be taken from", self.left);
            ruling.lost.push(left);
        }
        ruling
    }

    fn rule_moves(&self, ruling: &mut Ruling) {
        for (name, _) in MOVES {
            let moved = judge_one(name, &self.confirmed, &self.arrivals);
            ruling.lost.extend(moved.lost);
            ruling.doubled.extend(moved.doubled);
            if in_order(name) {
                ruling.out_of_order.extend(moved.out_of_order);
            }
            ruling.repeats += moved.repeats.len();
            let unlisted = moved.repeated.difference(&self.listed);
            ruling.unlisted.extend(unlisted.cloned());
        }
    }

    fn rule_orders(&self, ruling: &mut Ruling) {
        for path in ["/orders", "/sequence"] {
            let log: Vec<_> = self
                .log
                .iter()
                .filter(|s| s.path == path)
                .cloned()
                .collect();
            let verdict = judge(&self.report, &log);
            ruling.lost.extend(verdict.lost);
            ruling.doubled.extend(verdict.doubled);
            ruling.doubled.extend(verdict.several_keys);
            if path == "/sequence" {
                ruling.out_of_order.extend(verdict.out_of_order);
            }
            let mut keys = BTreeSet::new();
            for seen in &log {
                if !keys.insert(seen.key.as_str()) {
                    ruling.repeats += 1;
                    let delivery = seen.key.trim_matches('"');
                    if !self.listed.contains(delivery) {
                        ruling.unlisted.push(format!("{path} {delivery}"));
                    }
                }
            }
        }
    }

    /// What clustered hosts did outside, by place, in the order in which it happened there. What the broker gives out
    /// again says nothing of when it was put in.
    fn effects(&self) -> BTreeMap<String, Vec<(i64, &str)>> {
        let mut effects: BTreeMap<String, Vec<(i64, &str)>> = BTreeMap::new();
        for arrival in self.arrivals.iter().filter(|a| !a.redelivered) {
            let place = effects.entry(arrival.queue.clone()).or_default();
            place.push((arrival.epoch, &arrival.message_id));
        }
        for seen in self.log.iter().filter(|seen| seen.epoch != 0) {
            let place = effects.entry(seen.path.clone()).or_default();
            place.push((seen.epoch, &seen.key));
        }
        effects
    }

    /// The result of a run in one line, for a page that collects them.
    #[must_use]
    pub fn line(&self, seed: u64, ruling: &Ruling) -> Value {
        let times = self.times.iter().map(|(fault, millis)| {
            let mut millis = millis.clone();
            millis.sort_unstable();
            let name = serde_json::to_value(fault).expect("a name");
            let of = |share: usize| millis[(millis.len() * share).div_ceil(100).max(1) - 1];
            json!({
                "fault": name, "n": millis.len(), "p50_ms": of(50), "p99_ms": of(99), "max_ms": of(100),
            })
        });
        let violations: BTreeMap<_, _> = ruling.all().iter().map(|(n, v)| (*n, v.len())).collect();
        json!({
            "seed": seed, "confirmed": self.confirmed.len(), "accepted": self.report.accepted().len(),
            "stored": self.stored, "repeated": ruling.repeats, "violations": violations,
            "faults": times.collect::<Vec<_>>(),
        })
    }
}

/// The effects at `place` of epochs that were over.
fn late(place: &str, effects: &[(i64, &str)]) -> Vec<String> {
    let mut newest = 0;
    let mut late = Vec::new();
    for (epoch, id) in effects {
        if *epoch < newest {
            late.push(format!("{place} {id} of epoch {epoch}, after {newest}"));
        }
        newest = newest.max(*epoch);
    }
    late
}

#[cfg(test)]
mod tests {
    use quayside_harness::{Answer, Status};

    use super::*;

    fn arrival(sequence: u64, message_id: &str, epoch: i64) -> Arrival {
        Arrival {
            at_us: 0,
            queue: "single-out".to_owned(),
            message_id: message_id.to_owned(),
            redelivered: false,
            id: format!("single0.{sequence}"),
            key: "single0".to_owned(),
            sequence,
            epoch,
        }
    }

    fn seen(id: &str, key: &str, epoch: i64, effect: bool) -> Seen {
        Seen {
            seq: 0,
            path: "/sequence".to_owned(),
            key: format!("\"{key}\""),
            id: id.to_owned(),
            order: "k".to_owned(),
            epoch,
            at_us: 0,
            status: 200,
            effect,
        }
    }

    fn good() -> History {
        let confirmed = (0..2).map(|sequence| Confirmed {
            at_us: 0,
            key: "single0".to_owned(),
            sequence,
        });
        let status = Status {
            code: 202,
            retry_after: false,
            problem: String::new(),
        };
        let answer = Answer {
            id: "m-0-0".to_owned(),
            key: "m-0".to_owned(),
            no: 0,
            sent_at: 0,
            took: std::time::Duration::ZERO,
            outcome: Ok(status),
        };
        let mut plain = seen("m-0-0", "b", 0, true);
        "/orders".clone_into(&mut plain.path);
        History {
            confirmed: confirmed.collect(),
            arrivals: vec![arrival(0, "x", 1), arrival(1, "y", 2)],
            report: LoadReport {
                answers: vec![answer],
            },
            log: vec![plain, seen("m-0-0", "a", 1, true)],
            ..History::default()
        }
    }

    #[test]
    fn a_run_without_a_fault_is_found_good() {
        let ruling = good().rule();
        assert!(ruling.holds(), "{ruling}");
    }

    /// A name, what spoils a good run, and what of its ruling that must add to.
    type Case = (&'static str, fn(&mut History), fn(&Ruling) -> &Vec<String>);

    #[test]
    fn each_violation_is_found_and_no_other() {
        let cases: [Case; 11] = [
            ("moved", |h| drop(h.arrivals.pop()), |r| &r.lost),
            ("sent", |h| drop(h.log.pop()), |r| &r.lost),
            ("left", |h| h.left = 1, |r| &r.lost),
            ("stored", |h| h.stored_twice = 1, |r| &r.doubled),
            (
                "two ids",
                |h| h.arrivals.push(arrival(1, "z", 2)),
                |r| &r.doubled,
            ),
            (
                "unlisted move",
                |h| h.arrivals.push(arrival(1, "y", 2)),
                |r| &r.unlisted,
            ),
            (
                "unlisted order",
                |h| h.log.push(seen("m-0-0", "a", 1, false)),
                |r| &r.unlisted,
            ),
            (
                "order",
                |h| {
                    h.arrivals.swap(0, 1);
                    h.arrivals[0].epoch = 1;
                },
                |r| &r.out_of_order,
            ),
            (
                "late",
                |h| {
                    h.listed.insert("a".to_owned());
                    h.log.push(seen("m-0-0", "a", 3, false));
                    h.log.push(seen("m-0-0", "a", 1, false));
                },
                |r| &r.late,
            ),
            (
                "write",
                |h| h.stale_writes.push("UPDATE".to_owned()),
                |r| &r.stale_writes,
            ),
            (
                "move",
                |h| h.unexplained.push("moved".to_owned()),
                |r| &r.unexplained,
            ),
        ];
        for (name, spoil, found) in cases {
            let mut history = good();
            spoil(&mut history);
            let ruling = history.rule();
            let all: usize = ruling.all().iter().map(|(_, v)| v.len()).sum();
            assert_eq!((found(&ruling).len(), all), (1, 1), "{name}: {ruling}");
        }
    }

    #[test]
    fn a_repeat_that_is_listed_is_counted() {
        let mut history = good();
        history.listed.insert("y".to_owned());
        history.arrivals.push(arrival(1, "y", 2));
        let ruling = history.rule();
        assert!(ruling.holds() && ruling.repeats == 1, "{ruling}");
    }
}
