//! What a queue is, found out from the broker that has it, over AMQP alone.
//!
//! AMQP has no question for the arguments of a queue, but a declaration that differs from the queue is
//! refused with the first difference, and changes nothing. So the queue is declared as it is believed to be,
//! corrected by each refusal, until the broker agrees. It costs one channel and one line in the broker's log
//! for each argument, so it is done only where a promise depends on it.

use lapin::{
    options::QueueDeclareOptions,
    types::{AMQPValue, FieldTable, ShortString},
};
use quayside_adapter_api::{AdapterError, ErrorKind, model::Code};

use crate::{codes, error::of_broker, link::Live};

/// More corrections than a queue can need.
const MAX_CORRECTIONS: usize = 40;

/// An argument that only streams have, with a value that none can have. A queue that is there and is no stream is
/// not compared by it; where none is any more, a declaration with it is refused instead of making one.
const NEVER_MADE: (&str, i64) = ("x-stream-max-segment-size-bytes", -1);

/// The argument by which one consumer at a time is served.
const SINGLE_ACTIVE: &str = "x-single-active-consumer";

/// The argument by which a message is delivered so often and no more.
const DELIVERY_LIMIT: &str = "x-delivery-limit";

/// What a queue is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Nature {
    durable: bool,
    auto_delete: bool,
    arguments: FieldTable,
}

impl Nature {
    /// The first guess: what it should be.
    fn guess() -> Self {
        let mut arguments = FieldTable::default();
        let (name, value) = NEVER_MADE;
        arguments.insert(name.into(), AMQPValue::LongLongInt(value));
        arguments.insert(SINGLE_ACTIVE.into(), AMQPValue::Boolean(true));
        Self {
            durable: true,
            auto_delete: false,
            arguments,
        }
    }

    fn argument(&self, name: &str) -> Option<&AMQPValue> {
        self.arguments.inner().get(name)
    }

    fn is_single_active(&self) -> bool {
        self.argument(SINGLE_ACTIVE) == Some(&AMQPValue::Boolean(true))
    }

    fn has_copies(&self) -> bool {
        let kind = self.argument("x-queue-type");
        matches!(kind, Some(AMQPValue::LongString(kind)) if kind.as_bytes() != b"classic")
    }

    /// Why a location that is `ordered` or `exclusive` must not take from it.
    pub(crate) fn unfit(&self, ordered: bool, exclusive: bool) -> Option<(Code, &'static str)> {
        if ordered && !self.is_single_active() {
            let why = "it has no single active consumer, so that another process would take messages out of turn";
            return Some((codes::UNORDERED, why));
        }
        if exclusive && self.has_copies() {
            let why = "it is no classic queue, and the others serve further consumers all the same";
            return Some((codes::NOT_EXCLUSIVE, why));
        }
        None
    }

    /// What somebody should know who takes from it all the same, and `stops` at what cannot be taken or does not.
    pub(crate) fn remark(&self, ordered: bool, stops: bool) -> Option<(Code, &'static str)> {
        if stops && self.argument(DELIVERY_LIMIT).is_some() {
            let why = "it has a delivery limit, beyond which the broker gives up what the location stops at, and all \
                       behind it";
            return Some((codes::UNSAFE_STOP, why));
        }
        if !self.durable || self.auto_delete {
            return Some((codes::VOLATILE, "what waits in it can go with it"));
        }
        let priorities = self.argument("x-max-priority").is_some();
        (ordered && priorities)
            .then_some((codes::UNORDERED, "messages of a higher priority overtake"))
    }

    /// Corrects the guess by what the broker refused it with. `false`: the text tells nothing new.
    fn correct(&mut self, refusal: &str) -> bool {
        let Some((name, current)) = difference(refusal) else {
            return false;
        };
        match (name, current) {
            ("durable", Current::Plain(is)) if self.durable != is => self.durable = is,
            ("auto_delete", Current::Plain(is)) if self.auto_delete != is => self.auto_delete = is,
            (name, Current::Nothing) if self.argument(name).is_some() => {
                let rest = self.arguments.inner().iter();
                let rest = rest.filter(|(key, _)| key.as_str() != name);
                self.arguments = rest
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect::<std::collections::BTreeMap<_, _>>()
                    .into();
            }
            (name, Current::Value(value)) if self.argument(name) != Some(&value) => {
                self.arguments.insert(name.into(), value);
            }
            _ => return false,
        }
        true
    }
}

/// What the queue has where the declaration differs.
#[derive(Debug, PartialEq)]
enum Current {
    Nothing,
    Plain(bool),
    Value(AMQPValue),
}

/// The name of what differs, and what the queue has there.
fn difference(refusal: &str) -> Option<(&str, Current)> {
    let (_, rest) = refusal.split_once("inequivalent arg '")?;
    let (name, rest) = rest.split_once("' for queue '")?;
    // The name of the queue may hold anything; what the queue has stands last.
    let (_, current) = rest.rsplit_once(" but current is ")?;
    let current = match current {
        "none" => Current::Nothing,
        "'true'" => Current::Plain(true),
        "'false'" => Current::Plain(false),
        value => {
            let (value, kind) = value
                .strip_prefix("the value '")?
                .rsplit_once("' of type '")?;
            Current::Value(match kind.strip_suffix('\'')? {
                "longstr" => AMQPValue::LongString(value.as_bytes().to_vec().into()),
                "bool" => AMQPValue::Boolean(value == "true"),
                // The broker compares whole numbers by their value.
                _ => AMQPValue::LongLongInt(value.parse().ok()?),
            })
        }
    };
    Some((name, current))
}

/// Finds out what `queue` is; `was`, what it was before, saves questions. `None`: the broker does not let this user
/// ask.
///
/// # Errors
/// That there is no such queue, or that the connection is lost.
pub(crate) async fn nature(
    live: &Live,
    queue: &str,
    was: Option<Nature>,
) -> Result<Option<Nature>, AdapterError> {
    exists(live, queue).await?;
    let mut nature = was.unwrap_or_else(Nature::guess);
    for _ in 0..MAX_CORRECTIONS {
        let options = QueueDeclareOptions {
            durable: nature.durable,
            auto_delete: nature.auto_delete,
            ..QueueDeclareOptions::default()
        };
        let refused = match declare(live, queue, options, nature.arguments.clone()).await? {
            Ok(()) => return Ok(Some(nature)),
            Err(refused) => refused,
        };
        if of_broker("", &refused).kind == ErrorKind::Disconnected && live.is_lost() {
            return Err(of_broker(&format!("looking at `{queue}`"), &refused));
        }
        if !nature.correct(&refused.to_string()) {
            exists(live, queue).await?;
            return Ok(None);
        }
    }
    Ok(None)
}

/// Looks whether there is a queue of this name.
///
/// # Errors
/// That there is none, or that the connection is lost.
pub(crate) async fn exists(live: &Live, queue: &str) -> Result<(), AdapterError> {
    let looked = live.look(name(queue)?).await;
    looked
        .map(drop)
        .map_err(|error| of_broker(&format!("looking for `{queue}`"), &error))
}

fn name(queue: &str) -> Result<ShortString, AdapterError> {
    ShortString::try_new(queue).map_err(|error| {
        AdapterError::new(ErrorKind::Config, codes::QUEUE_REFUSED, error.to_string())
    })
}

/// Declares over a channel of its own, because the broker closes that with its refusal.
async fn declare(
    live: &Live,
    queue: &str,
    options: QueueDeclareOptions,
    arguments: FieldTable,
) -> Result<lapin::Result<()>, AdapterError> {
    let name = name(queue)?;
    let channel = match live.channel_aside().await {
        Ok(channel) => channel,
        Err(error) => return Ok(Err(error)),
    };
    let declared = channel.queue_declare(name, options, arguments).await;
    Ok(declared.map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the broker says that has `queue` with `arguments`.
    fn refusal(name: &str, current: &str) -> String {
        format!(
            "AMQP soft error: PRECONDITION-FAILED: PRECONDITION_FAILED - inequivalent arg '{name}' for queue \
             'it's but current is none' in vhost '/': received none but current is {current}"
        )
    }

    fn text(text: &str) -> AMQPValue {
        AMQPValue::LongString(text.as_bytes().to_vec().into())
    }

    #[test]
    fn a_refusal_tells_what_the_queue_has() {
        for (current, found) in [
            ("none", Current::Nothing),
            ("'false'", Current::Plain(false)),
            (
                "the value 'quorum' of type 'longstr'",
                Current::Value(text("quorum")),
            ),
            (
                "the value 'it's' of type 'longstr'",
                Current::Value(text("it's")),
            ),
            ("the value '' of type 'longstr'", Current::Value(text(""))),
            (
                "the value 'true' of type 'bool'",
                Current::Value(AMQPValue::Boolean(true)),
            ),
            (
                "the value '60000' of type 'signedint'",
                Current::Value(AMQPValue::LongLongInt(60_000)),
            ),
        ] {
            assert_eq!(
                difference(&refusal("x", current)),
                Some(("x", found)),
                "{current}"
            );
        }
        for nothing in ["ACCESS_REFUSED - no", "inequivalent arg 'x' for queue 'q'"] {
            assert_eq!(difference(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn the_guess_is_corrected_until_nothing_new_is_told() {
        let mut nature = Nature::guess();
        assert!(nature.is_single_active() && !nature.has_copies());
        assert!(nature.argument(NEVER_MADE.0).is_some());
        let kind = "the value 'quorum' of type 'longstr'";
        assert!(nature.correct(&refusal("x-queue-type", kind)));
        assert!(nature.has_copies());
        assert!(
            !nature.correct(&refusal("x-queue-type", kind)),
            "told before"
        );
        assert!(nature.correct(&refusal(SINGLE_ACTIVE, "none")));
        assert!(!nature.is_single_active());
        assert!(
            !nature.correct(&refusal(SINGLE_ACTIVE, "none")),
            "told before"
        );
        assert!(nature.correct(&refusal("durable", "'false'")));
        // A stream.
        assert!(nature.correct(&refusal(NEVER_MADE.0, "none")));
        let code = |found: Option<(Code, &str)>| found.map(|(code, _)| code);
        assert_eq!(code(nature.remark(false, false)), Some(codes::VOLATILE));
        assert_eq!(code(nature.unfit(true, false)), Some(codes::UNORDERED));
        assert_eq!(code(nature.unfit(false, true)), Some(codes::NOT_EXCLUSIVE));
        assert_eq!(nature.unfit(false, false), None);
    }

    #[test]
    fn what_is_right_is_fit() {
        let mut nature = Nature::guess();
        let stops = nature.remark(true, true).map(|(code, _)| code);
        assert_eq!(stops, None);
        let limit = "the value '20' of type 'signedint'";
        assert!(nature.correct(&refusal(DELIVERY_LIMIT, limit)));
        let stops = nature.remark(true, true).map(|(code, _)| code);
        assert_eq!(stops, Some(codes::UNSAFE_STOP));
        assert_eq!(nature.unfit(true, true), None);
        assert_eq!(nature.remark(true, false), None);
        let priorities = "the value '7' of type 'signedint'";
        assert!(nature.correct(&refusal("x-max-priority", priorities)));
        assert!(nature.remark(true, false).is_some() && nature.remark(false, false).is_none());
    }
}
