//! What the broker is told about a queue: its arguments, and what stands beside them.

use std::{collections::BTreeMap, fmt};

use lapin::types::{AMQPValue, FieldTable, ShortString};
use serde_json::{Value, json};

use super::definition::{DeadLetter, Definition, Kind};
use crate::msmq::journal_of;

/// One argument of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    /// Text.
    Text(String),
    /// A whole number; the broker compares them whatever their width.
    Number(i64),
    /// True or false.
    Flag(bool),
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) if text.is_empty() => f.write_str("\"\""),
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
        }
    }
}

impl Argument {
    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Number(number) => json!(number),
            Self::Flag(flag) => json!(flag),
        }
    }

    /// From JSON, as the management API has it.
    pub(crate) fn from_json(value: &Value) -> Self {
        match value {
            Value::Bool(flag) => Self::Flag(*flag),
            Value::Number(number) if number.is_i64() => {
                Self::Number(number.as_i64().unwrap_or_default())
            }
            Value::String(text) => Self::Text(text.clone()),
            other => Self::Text(other.to_string()),
        }
    }
}

/// The arguments of a queue by their names.
pub type Arguments = BTreeMap<String, Argument>;

/// As the protocol carries them.
pub(crate) fn table(arguments: &Arguments) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, argument) in arguments {
        let value = match argument {
            Argument::Text(text) => AMQPValue::LongString(text.as_bytes().to_vec().into()),
            Argument::Number(number) => AMQPValue::LongLongInt(*number),
            Argument::Flag(flag) => AMQPValue::Boolean(*flag),
        };
        if let Ok(name) = ShortString::try_new(name.as_str()) {
            table.insert(name, value);
        }
    }
    table
}

/// A queue as it should be. All of them are durable, none is exclusive or deleted by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// Its arguments.
    pub arguments: Arguments,
}

/// The queue of a worked queue for what nobody could take.
pub(crate) fn poison_of(queue: &str) -> String {
    format!("{queue}.poison")
}

impl Definition {
    /// The queue that takes what the broker gives up in `queue`.
    pub(crate) fn gives_up_into(&self, queue: &str) -> Option<String> {
        match &self.dead_letter {
            _ if !self.kind.is_worked() => None,
            DeadLetter::Own => Some(poison_of(queue)),
            DeadLetter::Into(other) => Some(other.clone()),
            DeadLetter::None => None,
        }
    }

    /// The queue `name` of this definition.
    pub(crate) fn wanted(&self, name: &str) -> Wanted {
        let mut arguments = Arguments::new();
        let mut text = |key: &str, text: &str| {
            arguments.insert(key.to_owned(), Argument::Text(text.to_owned()));
        };
        let classic = self.kind == Kind::Express;
        text("x-queue-type", if classic { "classic" } else { "quorum" });
        let dead_letter = self.gives_up_into(name);
        if let Some(queue) = &dead_letter {
            text("x-dead-letter-exchange", "");
            text("x-dead-letter-routing-key", queue);
        }
        // The dead lettering of a quorum queue is confirmed, but only beside this overflow.
        if dead_letter.is_some() && !classic {
            text("x-dead-letter-strategy", "at-least-once");
        }
        if self.quota.is_some() || (dead_letter.is_some() && !classic) {
            text("x-overflow", "reject-publish");
        }
        let mut number = |key: &str, number: i64| {
            arguments.insert(key.to_owned(), Argument::Number(number));
        };
        if let Some(quota) = self.quota {
            let bytes = i64::try_from(quota.bytes()).unwrap_or(i64::MAX);
            number("x-max-length-bytes", bytes);
        }
        if self.kind == Kind::Transactional
            && let Some(limit) = self.limit()
        {
            number("x-delivery-limit", limit.into());
        }
        if classic && self.priorities() > 0 {
            number("x-max-priority", self.priorities().into());
        }
        if self.is_single() {
            let key = "x-single-active-consumer".to_owned();
            arguments.insert(key, Argument::Flag(true));
        }
        Wanted {
            name: name.to_owned(),
            kind: self.kind,
            arguments,
        }
    }
}

/// All queues of `definitions`, those first that others give messages up into. What stands beside a queue
/// without a definition of its own gets one.
pub(crate) fn expand(definitions: &BTreeMap<String, Definition>) -> Vec<Wanted> {
    let mut all = definitions.clone();
    for (name, definition) in definitions {
        let kept = |kind| Definition::of(kind);
        if let Some(queue) = definition.gives_up_into(name) {
            let kind = match definition.dead_letter {
                DeadLetter::Own => Kind::Poison,
                _ => Kind::DeadLetter,
            };
            all.entry(queue).or_insert_with(|| kept(kind));
        }
        if definition.journal {
            all.entry(journal_of(name))
                .or_insert_with(|| kept(Kind::Journal));
        }
    }
    let mut wanted: Vec<Wanted> = all.iter().map(|(name, d)| d.wanted(name)).collect();
    wanted.sort_by_key(|queue| queue.kind.is_worked());
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(wanted: &Wanted) -> Vec<String> {
        let argument = |(name, value): (&String, &Argument)| format!("{name}={value}");
        wanted.arguments.iter().map(argument).collect()
    }

    fn read(block: &Value) -> Definition {
        Definition::read("q", block).0.expect("a definition")
    }

    #[test]
    fn each_kind_has_the_arguments_that_it_needs() {
        let transactional = read(&json!({ "kind": "transactional", "quota": "1 MiB" }));
        assert_eq!(
            shown(&transactional.wanted("q")),
            [
                "x-dead-letter-exchange=\"\"",
                "x-dead-letter-routing-key=q.poison",
                "x-dead-letter-strategy=at-least-once",
                "x-delivery-limit=20",
                "x-max-length-bytes=1048576",
                "x-overflow=reject-publish",
                "x-queue-type=quorum",
                "x-single-active-consumer=true",
            ]
        );
        let express = read(&json!({ "kind": "express" }));
        assert_eq!(
            shown(&express.wanted("q")),
            [
                "x-dead-letter-exchange=\"\"",
                "x-dead-letter-routing-key=q.poison",
                "x-max-priority=7",
                "x-queue-type=classic",
            ]
        );
        let bare = read(
            &json!({ "kind": "express", "dead_letter": false, "max_priority": 0, "quota": "2 KiB" }),
        );
        assert_eq!(
            shown(&bare.wanted("q")),
            [
                "x-max-length-bytes=2048",
                "x-overflow=reject-publish",
                "x-queue-type=classic",
            ]
        );
        for kind in [Kind::Poison, Kind::Journal, Kind::DeadLetter, Kind::Admin] {
            let kept = Definition::of(kind).wanted("q");
            assert_eq!(shown(&kept), ["x-queue-type=quorum"]);
        }
    }

    #[test]
    fn what_stands_beside_a_queue_comes_before_it() {
        let definitions = BTreeMap::from([
            (
                "a".to_owned(),
                read(&json!({ "kind": "transactional", "journal": true })),
            ),
            (
                "b".to_owned(),
                read(&json!({ "kind": "express", "dead_letter": "lost" })),
            ),
            (
                "a.poison".to_owned(),
                read(&json!({ "kind": "poison", "quota": "1 KiB" })),
            ),
        ]);
        let all: Vec<(String, &str)> = expand(&definitions)
            .into_iter()
            .map(|wanted| (wanted.name, wanted.kind.word()))
            .collect();
        let expected = [
            ("a.journal$", "journal"),
            ("a.poison", "poison"),
            ("lost", "dead-letter"),
            ("a", "transactional"),
            ("b", "express"),
        ];
        assert_eq!(all, expected.map(|(name, kind)| (name.to_owned(), kind)));
        let poison = &expand(&definitions)[1];
        assert!(
            poison.arguments.contains_key("x-max-length-bytes"),
            "{poison:?}"
        );
    }
}
