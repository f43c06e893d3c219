//! Classes of messages and the acknowledgments that a sender may ask for, by MSMQ's numbers.

use std::fmt;

/// What a message is: an ordinary one, an acknowledgment, or one that failed for this reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Class(pub(crate) u16);

impl Class {
    pub(crate) const NORMAL: Self = Self(0);
    pub(crate) const REACH_QUEUE: Self = Self(2);
    pub(crate) const RECEIVE: Self = Self(0x4000);
    pub(crate) const BAD_QUEUE: Self = Self(0x8000);
    pub(crate) const REACH_QUEUE_TIMEOUT: Self = Self(0x8002);
    pub(crate) const QUOTA_EXCEEDED: Self = Self(0x8003);
    pub(crate) const NOT_TRANSACTIONAL_QUEUE: Self = Self(0x8009);
    pub(crate) const NOT_TRANSACTIONAL_MESSAGE: Self = Self(0x800A);
    pub(crate) const RECEIVE_TIMEOUT: Self = Self(0xC002);
    pub(crate) const RECEIVE_TIMEOUT_AT_SENDER: Self = Self(0xC003);
    pub(crate) const RECEIVE_REJECTED: Self = Self(0xC004);

    /// The class of a message that a broker has moved for this reason of its header `x-death`.
    pub(crate) fn of_death(reason: &str) -> Option<Self> {
        Some(match reason {
            "expired" => Self::RECEIVE_TIMEOUT,
            "maxlen" => Self::QUOTA_EXCEEDED,
            "rejected" | "delivery_limit" => Self::RECEIVE_REJECTED,
            _ => return None,
        })
    }

    /// What it says, for people; nothing of an ordinary message, or of a number that is not known.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::REACH_QUEUE => "reached its queue",
            Self::RECEIVE => "was received",
            Self::BAD_QUEUE => "there was no such queue",
            Self::REACH_QUEUE_TIMEOUT => "did not reach its queue in time",
            Self::QUOTA_EXCEEDED => "its queue was full",
            Self::NOT_TRANSACTIONAL_QUEUE => "is transactional, and its queue is not",
            Self::NOT_TRANSACTIONAL_MESSAGE => "is not transactional, and its queue is",
            Self::RECEIVE_TIMEOUT => "was not received in time",
            Self::RECEIVE_TIMEOUT_AT_SENDER => "could not be received in time any more",
            Self::RECEIVE_REJECTED => "was not acceptable to its receiver",
            _ => "",
        }
    }

    /// What has to be asked for so that an acknowledgment of this class is sent; `None`: it is none.
    pub(crate) fn wanted_by(self) -> Option<Acks> {
        Some(match self {
            Self::REACH_QUEUE => Acks::POSITIVE_ARRIVAL,
            Self::RECEIVE => Acks::POSITIVE_RECEIVE,
            Self(0x8000..=0x80FF) => Acks::NEGATIVE_ARRIVAL,
            Self(0xC000..=0xC0FF) => Acks::NEGATIVE_RECEIVE,
            _ => return None,
        })
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:04x}", self.0)
    }
}

/// Which acknowledgments a sender asks for: bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Acks(pub(crate) u8);

impl Acks {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const POSITIVE_ARRIVAL: Self = Self(1);
    pub(crate) const POSITIVE_RECEIVE: Self = Self(2);
    pub(crate) const NEGATIVE_ARRIVAL: Self = Self(4);
    pub(crate) const NEGATIVE_RECEIVE: Self = Self(8);

    /// Every name that a setting may give, with what it stands for.
    pub(crate) const NAMES: [(&'static str, Self); 9] = [
        ("none", Self::NONE),
        ("positive-arrival", Self::POSITIVE_ARRIVAL),
        ("positive-receive", Self::POSITIVE_RECEIVE),
        ("negative-arrival", Self::NEGATIVE_ARRIVAL),
        ("negative-receive", Self::NEGATIVE_RECEIVE),
        ("full-reach-queue", Self(1 | 4)),
        ("full-receive", Self(2 | 4 | 8)),
        ("not-acknowledge-reach-queue", Self(4)),
        ("not-acknowledge-receive", Self(4 | 8)),
    ];

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let mut names = Self::NAMES.iter();
        names
            .find(|(known, _)| *known == name)
            .map(|(_, acks)| *acks)
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Whether an acknowledgment of `class` is asked for.
    pub(crate) fn want(self, class: Class) -> bool {
        class.wanted_by().is_some_and(|bit| self.0 & bit.0 != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_is_asked_for_by_its_bit() {
        let full = Acks::of_name("full-receive").expect("a name");
        assert_eq!(full, Acks(14));
        for (class, wanted) in [
            (Class::NORMAL, false),
            (Class::REACH_QUEUE, false),
            (Class::RECEIVE, true),
            (Class::REACH_QUEUE_TIMEOUT, true),
            (Class::RECEIVE_TIMEOUT, true),
        ] {
            assert_eq!(full.want(class), wanted, "{class}");
        }
        let arrival = Acks::of_name("full-reach-queue").expect("a name");
        assert!(arrival.want(Class::REACH_QUEUE) && arrival.want(Class::QUOTA_EXCEEDED));
        assert!(!arrival.want(Class::RECEIVE_REJECTED));
        assert!(!Acks::NONE.want(Class::RECEIVE));
    }

    #[test]
    fn the_brokers_reasons_have_classes() {
        assert_eq!(Class::of_death("expired"), Some(Class(0xC002)));
        assert_eq!(Class::of_death("maxlen"), Some(Class(0x8003)));
        assert_eq!(
            Class::of_death("delivery_limit"),
            Class::of_death("rejected")
        );
        assert_eq!(Class::of_death("moved"), None);
    }
}
