//! Moves from queue to queue, judged by what clients that are not ours put in and got out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use quayside_harness::{
    RabbitMq,
    rabbitmq::{Arrival, Confirmed, ProducerPlan},
};

/// How many of each fault are named.
const NAMED: usize = 5;

/// The moves of [`three_moves`], and how many order keys each has; a key begins with the name of its move.
pub const MOVES: [(&str, usize); 3] = [("single", 24), ("piped", 4), ("free", 24)];

/// Whether a move keeps the order of its keys.
#[must_use]
pub fn in_order(name: &str) -> bool {
    name != "free"
}

/// An application that moves messages from `NAME-in` to `NAME-out`: in the order of their keys with one message of
/// a key unconfirmed at a time, in the same order with several, and as they come.
#[must_use]
pub fn three_moves(url: &str) -> String {
    format!("[app]\nname = \"t\"\n{}", moves_at(&format!("\"{url}\"")))
}

/// The ports of [`three_moves`]; `url` is the setting as it stands in the file.
#[must_use]
pub fn moves_at(url: &str) -> String {
    let one = |(name, _): (&str, usize)| {
        let (receive, send) = if in_order(name) {
            let send = "ordered = { by = \"amqp.header.key\", on_failure = \"hold-key\" }";
            ("ordered = true", send)
        } else {
            ("", "")
        };
        let pipeline = if name == "piped" { 16 } else { 1 };
        format!(
            r#"
[receive.{name}]
host = "edge"
{receive}
[receive.{name}.location.in.amqp]
url = {url}
queue = "{name}-in"

[send.{name}]
host = "edge"
filter = "msg.origin == 't.{name}.in'"
retry = {{ attempts = 1000, first = "50ms", factor = 1.5, max = "500ms" }}
{send}
[send.{name}.primary.amqp]
url = {url}
queue = "{name}-out"
pipeline = {pipeline}
"#
        )
    };
    MOVES.map(one).concat()
}

/// Declares the queues of [`three_moves`], and returns those that messages come out of.
pub async fn declare_moves(server: &RabbitMq) -> Vec<String> {
    let mut out = Vec::new();
    for (name, _) in MOVES {
        server.declare(&format!("{name}-in"), in_order(name)).await;
        // What comes out has one consumer too, or faults of its own would turn the order around.
        out.push(format!("{name}-out"));
        server.declare(&out[out.len() - 1], true).await;
    }
    out
}

/// What a producer puts into [`three_moves`]: `rate` messages a second.
#[must_use]
pub fn all_moves(rate: u32) -> ProducerPlan {
    let of = |(name, keys): (&str, usize)| {
        let keys = (0..keys).map(|no| format!("{name}{no}"));
        (format!("{name}-in"), keys.collect())
    };
    ProducerPlan {
        queues: MOVES.map(of).into(),
        rate,
        pad: 200,
    }
}

/// What a run was like. Only `repeats` are no fault.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moved {
    /// How many messages were confirmed to the producer.
    pub confirmed: usize,
    /// How many business ids came out; those that were put in and never confirmed may be among them.
    pub arrived: usize,
    /// Business ids that were confirmed and never came out.
    pub lost: Vec<String>,
    /// Business ids that came out again with the `message_id` of their first arrival, once for each time. A
    /// message that the broker marks as redelivered is not among them: the consumer did not acknowledge it.
    pub repeats: Vec<String>,
    /// The values of `message_id` of those.
    pub repeated: BTreeSet<String>,
    /// Business ids that came out under several values of `message_id`: the consumer takes them for two.
    pub doubled: Vec<String>,
    /// Business ids that first came after a later one of their key.
    pub out_of_order: Vec<String>,
}

impl Moved {
    /// Whether nothing was lost, and whoever knows ids takes everything once.
    #[must_use]
    pub fn exactly_once(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty()
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} confirmed, {} arrived", self.confirmed, self.arrived)?;
        for (name, ids) in [
            ("lost", &self.lost),
            ("repeated with the same message_id", &self.repeats),
            ("under several message_ids", &self.doubled),
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

/// Judges one of the [`MOVES`] alone.
#[must_use]
pub fn judge_one(name: &str, confirmed: &[Confirmed], arrivals: &[Arrival]) -> Moved {
    let confirmed = confirmed.iter().filter(|c| c.key.starts_with(name));
    let arrivals = arrivals.iter().filter(|a| a.key.starts_with(name));
    let (confirmed, arrivals): (Vec<_>, Vec<_>) =
        (confirmed.cloned().collect(), arrivals.cloned().collect());
    judge_move(&confirmed, &arrivals)
}

/// Judges what `confirmed` says was put in against what came out.
#[must_use]
pub fn judge_move(confirmed: &[Confirmed], arrivals: &[Arrival]) -> Moved {
    let mut moved = Moved {
        confirmed: confirmed.len(),
        ..Moved::default()
    };
    let mut ids: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for arrival in arrivals {
        let known = ids.entry(&arrival.id).or_default();
        let first = known.is_empty();
        if !known.insert(&arrival.message_id) && !arrival.redelivered {
            moved.repeats.push(arrival.id.clone());
            moved.repeated.insert(arrival.message_id.clone());
        }
        if first {
            let last = last.entry(&arrival.key).or_default();
            if arrival.sequence < *last {
                moved.out_of_order.push(arrival.id.clone());
            }
            *last = arrival.sequence.max(*last);
        }
    }
    moved.arrived = ids.len();
    let several = ids.iter().filter(|(_, ids)| ids.len() > 1);
    moved.doubled = several.map(|(id, _)| (*id).to_owned()).collect();
    let missing = confirmed.iter().map(Confirmed::id);
    moved.lost = missing
        .filter(|id| !ids.contains_key(id.as_str()))
        .collect();
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confirmed(count: u64) -> Vec<Confirmed> {
        let of = |sequence| Confirmed {
            at_us: 0,
            key: "k".to_owned(),
            sequence,
        };
        (0..count).map(of).collect()
    }

    fn arrival(sequence: u64, message_id: &str, redelivered: bool) -> Arrival {
        Arrival {
            at_us: 0,
            queue: "out".to_owned(),
            message_id: message_id.to_owned(),
            redelivered,
            id: format!("k.{sequence}"),
            key: "k".to_owned(),
            sequence,
            epoch: 0,
        }
    }

    #[test]
    fn a_repeat_with_the_same_id_is_listed_and_no_fault() {
        let seen = [
            arrival(0, "a", false),
            arrival(1, "b", false),
            arrival(0, "a", false),
            arrival(1, "b", true),
        ];
        let moved = judge_move(&confirmed(2), &seen);
        assert!(moved.exactly_once(), "{moved}");
        assert_eq!(moved.repeats, ["k.0"]);
        assert_eq!(moved.repeated, BTreeSet::from(["a".to_owned()]));
        assert!(moved.out_of_order.is_empty(), "{moved}");
        assert_eq!((moved.confirmed, moved.arrived), (2, 2));
    }

    #[test]
    fn every_fault_is_found() {
        let seen = [
            arrival(2, "c", false),
            arrival(1, "b", false),
            arrival(2, "d", false),
            arrival(3, "e", false),
        ];
        let moved = judge_move(&confirmed(3), &seen);
        assert_eq!(moved.lost, ["k.0"]);
        assert_eq!(moved.doubled, ["k.2"]);
        assert_eq!(moved.out_of_order, ["k.1"]);
        assert!(!moved.exactly_once());
    }
}
