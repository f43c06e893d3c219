//! The names of MSMQ queues: every spelling of one queue comes to one key, and each to a queue of AMQP.

use std::fmt;

use quayside_adapter_api::model::fault::Code;

use super::spelling::{impossible, read};
use crate::codes;

/// What every queue of AMQP that stands for one of MSMQ begins with.
const PREFIX: &str = "msmq.";

/// How a format name may begin, in lower case. A text with none of these and no backslash is no name of MSMQ.
const BEGINNINGS: [&str; 9] = [
    "formatname:",
    "direct=",
    "public=",
    "private=",
    "machine=",
    "multicast=",
    "dl=",
    "label:",
    "queue:",
];

/// What a queue is named for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Messages are put into it.
    Send,
    /// Messages are taken out of it.
    Receive,
}

/// A queue of MSMQ. Two spellings of one queue are equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum QueueName {
    /// A queue that is found by its machine, which is `.` for the own one.
    Direct {
        machine: String,
        private: bool,
        queue: String,
        part: Part,
    },
    /// A queue that Active Directory knows by this id.
    Public { id: String, part: Part },
    /// A private queue by the id of its machine and its number there.
    Private {
        machine: String,
        number: u32,
        part: Part,
    },
    /// A queue that every machine has.
    System { machine: String, which: System },
}

/// Which part of a queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    Messages,
    /// The copies of what was taken out.
    Journal,
    Sub(String),
}

/// The queues that every machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum System {
    Journal,
    DeadLetter,
    XactDeadLetter,
}

/// Why a text names no queue that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NameError {
    /// It has no form of a name.
    Malformed(String),
    /// It is a name, but there is nothing in AMQP that it could stand for.
    Impossible {
        what: &'static str,
        remedy: &'static str,
    },
}

impl NameError {
    /// The stable code.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Malformed(_) => codes::MSMQ_NAME,
            Self::Impossible { .. } => codes::MSMQ_NO_QUEUE,
        }
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => f.write_str(why),
            Self::Impossible { what, remedy } => write!(f, "{what}: {remedy}"),
        }
    }
}

impl System {
    /// The queue of AMQP that stands for this one of `machine`.
    pub(crate) fn queue(self, machine: &str) -> String {
        let name = match self {
            Self::Journal => "journal$",
            Self::DeadLetter => "deadletter$",
            Self::XactDeadLetter => "xactdeadletter$",
        };
        format!("{}.{name}", machine.to_lowercase())
    }

    pub(super) fn of_path(name: &str) -> Option<Self> {
        Some(match name {
            "journal$" => Self::Journal,
            "deadletter$" => Self::DeadLetter,
            "xactdeadletter$" => Self::XactDeadLetter,
            _ => return None,
        })
    }

    pub(super) fn of_format(name: &str) -> Option<Self> {
        Some(match name {
            "journal" => Self::Journal,
            "deadletter" => Self::DeadLetter,
            "deadxact" => Self::XactDeadLetter,
            _ => return None,
        })
    }
}

/// The journal of a queue of AMQP.
pub(crate) fn journal_of(queue: &str) -> String {
    format!("{queue}.journal$")
}

/// Whether `text` is meant as a name of MSMQ rather than one of AMQP.
pub(crate) fn is_msmq(text: &str) -> bool {
    let lower = text.trim_start().to_lowercase();
    lower.contains('\\') || BEGINNINGS.iter().any(|begin| lower.starts_with(begin))
}

/// The queue of AMQP that `text` names: a name of MSMQ in any spelling, or the name itself.
///
/// # Errors
/// A name of MSMQ that is none, or that cannot be used for `purpose`.
pub(crate) fn resolve(text: &str, machine: &str, purpose: Purpose) -> Result<String, NameError> {
    if !is_msmq(text) {
        return Ok(text.to_owned());
    }
    Ok(QueueName::parse(text, purpose)?.queue(machine))
}

impl QueueName {
    /// Reads a path or a format name, whatever its case.
    ///
    /// # Errors
    /// [`NameError`]: it is none, or AMQP has nothing that it could stand for when it is used so.
    pub(crate) fn parse(text: &str, purpose: Purpose) -> Result<Self, NameError> {
        let lower = text.trim().to_lowercase();
        let name = lower.strip_prefix("formatname:").unwrap_or(&lower).trim();
        if let Some(error) = impossible(name) {
            return Err(error);
        }
        let found = read(name, purpose)?;
        let only_taken = match &found {
            Self::System { .. } => true,
            Self::Direct { part, .. } | Self::Public { part, .. } | Self::Private { part, .. } => {
                *part != Part::Messages
            }
        };
        if only_taken && purpose == Purpose::Send {
            return Err(NameError::Impossible {
                what: "a journal, a dead letter queue or a subqueue is filled by the system alone",
                remedy: "name an ordinary queue to send to",
            });
        }
        Ok(found)
    }

    /// The queue of AMQP, for somebody on `machine`.
    pub(crate) fn queue(&self, machine: &str) -> String {
        let (base, part) = match self {
            Self::System { machine: of, which } => {
                return which.queue(if of == "." { machine } else { of });
            }
            Self::Direct {
                private,
                queue,
                part,
                ..
            } => {
                let group = if *private { "private$." } else { "" };
                (format!("{PREFIX}{group}{queue}"), part)
            }
            Self::Public { id, part } => (format!("{PREFIX}public.{id}"), part),
            Self::Private {
                machine,
                number,
                part,
            } => (format!("{PREFIX}private.{machine}.{number:08x}"), part),
        };
        match part {
            Part::Messages => base,
            Part::Journal => journal_of(&base),
            Part::Sub(name) => format!("{base};{name}"),
        }
    }

    /// The virtual host that stands for its machine, if the name tells another one than the own.
    #[cfg(test)]
    fn vhost(&self) -> Option<&str> {
        match self {
            Self::Direct { machine, .. } | Self::System { machine, .. } if machine != "." => {
                Some(machine)
            }
            _ => None,
        }
    }
}

/// The key: the one spelling of a name that all others come to.
impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self {
            Self::System { machine, which } => {
                let which = match which {
                    System::Journal => "JOURNAL",
                    System::DeadLetter => "DEADLETTER",
                    System::XactDeadLetter => "DEADXACT",
                };
                return write!(f, "DIRECT=OS:{machine}\\SYSTEM$;{which}");
            }
            Self::Direct {
                machine,
                private,
                queue,
                part,
            } => {
                let group = if *private { "private$\\" } else { "" };
                write!(f, "DIRECT=OS:{machine}\\{group}{queue}")?;
                part
            }
            Self::Public { id, part } => {
                write!(f, "PUBLIC={id}")?;
                part
            }
            Self::Private {
                machine,
                number,
                part,
            } => {
                write!(f, "PRIVATE={machine}\\{number:08x}")?;
                part
            }
        };
        match part {
            Part::Messages => Ok(()),
            Part::Journal => f.write_str(";JOURNAL"),
            Part::Sub(name) => write!(f, ";{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "9f0c1a2b-0001-4aaa-8bbb-0123456789ab";

    fn send(text: &str) -> Result<QueueName, NameError> {
        QueueName::parse(text, Purpose::Send)
    }

    fn receive(text: &str) -> Result<QueueName, NameError> {
        QueueName::parse(text, Purpose::Receive)
    }

    #[test]
    fn spellings_of_one_queue_have_one_key_and_one_queue() {
        let key = r"DIRECT=OS:srv1\private$\orders";
        for text in [
            r"srv1\private$\orders",
            r"SRV1\Private$\Orders",
            r"DIRECT=OS:srv1\private$\orders",
            r"FormatName:Direct=OS:srv1\PRIVATE$\orders",
            r"  FORMATNAME:DIRECT=os:Srv1\private$\ORDERS ",
            "DIRECT=HTTP://srv1/msmq/private$/orders",
            "Direct=https://srv1:8443/MSMQ/Private$/Orders",
        ] {
            let name = send(text).expect(text);
            assert_eq!(name.to_string(), key, "{text}");
            assert_eq!(name.queue("here"), "msmq.private$.orders", "{text}");
            assert_eq!(name.vhost(), Some("srv1"), "{text}");
        }
    }

    #[test]
    fn every_kind_of_queue_has_its_own() {
        for (text, key, queue) in [
            (
                r".\private$\q",
                r"DIRECT=OS:.\private$\q",
                "msmq.private$.q",
            ),
            (r"srv1\q", r"DIRECT=OS:srv1\q", "msmq.q"),
            (
                r"DIRECT=TCP:10.1.2.3\private$\q",
                r"DIRECT=OS:10.1.2.3\private$\q",
                "msmq.private$.q",
            ),
            (
                r"srv1\private$\q\Journal$",
                r"DIRECT=OS:srv1\private$\q;JOURNAL",
                "msmq.private$.q.journal$",
            ),
            (
                r"DIRECT=OS:srv1\private$\q;journal",
                r"DIRECT=OS:srv1\private$\q;JOURNAL",
                "msmq.private$.q.journal$",
            ),
            (
                r"DIRECT=OS:srv1\private$\q;Retry",
                r"DIRECT=OS:srv1\private$\q;retry",
                "msmq.private$.q;retry",
            ),
            (
                r"srv1\XactDeadLetter$",
                r"DIRECT=OS:srv1\SYSTEM$;DEADXACT",
                "srv1.xactdeadletter$",
            ),
            (
                r"DIRECT=OS:srv1\SYSTEM$;DEADXACT",
                r"DIRECT=OS:srv1\SYSTEM$;DEADXACT",
                "srv1.xactdeadletter$",
            ),
            (
                r".\Deadletter$",
                r"DIRECT=OS:.\SYSTEM$;DEADLETTER",
                "here.deadletter$",
            ),
            (
                r".\Journal$",
                r"DIRECT=OS:.\SYSTEM$;JOURNAL",
                "here.journal$",
            ),
        ] {
            let name = receive(text).expect(text);
            assert_eq!(
                (name.to_string().as_str(), name.queue("here").as_str()),
                (key, queue)
            );
        }
        for (text, key, queue) in [
            (
                format!("PUBLIC={ID}"),
                format!("PUBLIC={ID}"),
                format!("msmq.public.{ID}"),
            ),
            (
                format!("Private={{{}}}\\F", ID.to_uppercase()),
                format!("PRIVATE={ID}\\0000000f"),
                format!("msmq.private.{ID}.0000000f"),
            ),
            (
                format!("MACHINE={ID};DEADLETTER"),
                format!("DIRECT=OS:{ID}\\SYSTEM$;DEADLETTER"),
                format!("{ID}.deadletter$"),
            ),
        ] {
            let name = receive(&text).expect("a name");
            assert_eq!((name.to_string(), name.queue("here")), (key, queue));
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_remedy() {
        for text in [
            "DL=9f0c1a2b-0001-4aaa-8bbb-0123456789ab",
            "LABEL:Orders",
            r"DIRECT=SPX:00000012:00a0234f7500\q",
            "MULTICAST=234.1.1.1:8001",
            r"DIRECT=OS:a\q,DIRECT=OS:b\q",
            r"srv1\private$\q\journal$",
            r"srv1\deadletter$",
            r"DIRECT=OS:srv1\q;poison",
        ] {
            let error = send(text).expect_err(text);
            assert_eq!(error.code(), codes::MSMQ_NO_QUEUE, "{text}: {error}");
            assert!(error.to_string().contains(": "), "{error}");
        }
        let error = receive("DIRECT=HTTP://srv1/msmq/q").expect_err("send only");
        assert_eq!(error.code(), codes::MSMQ_NO_QUEUE);
        for text in [
            r"\private$\q",
            r"srv1\private$",
            r"srv1\private$\",
            r"srv1\a\b",
            "DIRECT=OS:srv1",
            r"DIRECT=TCP:srv1\q",
            r"DIRECT=MAIL:srv1\q",
            "PUBLIC=12",
            r"PRIVATE=9f0c1a2b-0001-4aaa-8bbb-0123456789ab\+f",
            "PRIVATE=9f0c1a2b-0001-4aaa-8bbb-0123456789ab",
            "MACHINE=9f0c1a2b-0001-4aaa-8bbb-0123456789ab",
            r"srv1\SYSTEM$;OUTBOX",
            r"srv 1\q",
            "",
        ] {
            let error = receive(text).expect_err(text);
            assert_eq!(error.code(), codes::MSMQ_NAME, "{text}: {error}");
        }
    }

    #[test]
    fn names_of_amqp_are_left_alone() {
        for name in ["orders", "a.b-c", "Direct", "q;x"] {
            assert_eq!(resolve(name, "here", Purpose::Send).as_deref(), Ok(name));
        }
    }

    /// Any case for each letter of `text`.
    fn spelled(text: String) -> impl Strategy<Value = (String, String)> {
        let cases = proptest::collection::vec(any::<bool>(), text.len());
        cases.prop_map(move |upper| {
            let case = |(c, upper): (char, bool)| match upper {
                true => c.to_ascii_uppercase(),
                false => c,
            };
            (text.clone(), text.chars().zip(upper).map(case).collect())
        })
    }

    fn a_name() -> impl Strategy<Value = String> {
        let begin = prop_oneof![Just(""), Just("direct=os:"), Just("formatname:direct=os:")];
        let group = prop_oneof![Just(""), Just("private$\\")];
        let end = prop_oneof![Just(""), Just(";journal"), Just(";retry")];
        (
            begin,
            "[a-z][a-z0-9.-]{0,9}",
            group,
            "[a-z0-9_.-]{1,12}",
            end,
        )
            .prop_map(|(begin, machine, group, queue, end)| {
                format!("{begin}{machine}\\{group}{queue}{end}")
            })
    }

    proptest! {
        #[test]
        fn the_case_makes_no_difference((plain, wild) in a_name().prop_flat_map(spelled)) {
            prop_assert_eq!(receive(&plain)?, receive(&wild)?);
        }

        #[test]
        fn a_key_is_its_own_key_and_names_the_same_queue(text in a_name()) {
            let name = receive(&text)?;
            let again = receive(&name.to_string())?;
            prop_assert_eq!(again.to_string(), name.to_string());
            prop_assert_eq!(again.queue("m"), name.queue("m"));
            prop_assert_eq!(again, name);
        }

        #[test]
        fn no_text_breaks_it(text in r"(?i)(direct=(os|tcp|http)[:/]*)?[a-zéİΣ$\\;/{}.,]{0,20}") {
            if let Ok(name) = receive(&text) {
                prop_assert_eq!(receive(&name.to_string())?, name);
            }
        }
    }

    impl std::error::Error for NameError {}
}
