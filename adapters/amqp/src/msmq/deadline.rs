//! Whether a message is still in time: pure.
//!
//! MSMQ counts both times from when a message was sent, which is when the store had it.

use std::time::Duration;

use quayside_adapter_api::model::Timestamp;

use super::class::Class;

/// How long a message may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Times {
    /// Until a queue has it.
    pub(crate) to_reach_queue: Option<Duration>,
    /// Until somebody takes it from there.
    pub(crate) to_be_received: Option<Duration>,
}

/// Where a message stands that is about to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is in time. A broker may keep it for this many milliseconds.
    InTime { expiration: Option<u64> },
    /// It is too late, for this reason.
    Late(Class),
}

impl Times {
    /// Where a message stands `now` that was `sent` then. Of two times that are over the shorter one counts.
    pub(crate) fn standing(self, sent: Timestamp, now: Timestamp) -> Standing {
        let elapsed = now.since(sent);
        let is_over = |time: Option<Duration>| time.filter(|time| elapsed >= *time);
        let over = match (is_over(self.to_reach_queue), is_over(self.to_be_received)) {
            (None, None) => None,
            (Some(reach), Some(receive)) if reach < receive => Some(Class::REACH_QUEUE_TIMEOUT),
            (Some(_), None) => Some(Class::REACH_QUEUE_TIMEOUT),
            (_, Some(_)) => Some(Class::RECEIVE_TIMEOUT_AT_SENDER),
        };
        if let Some(class) = over {
            return Standing::Late(class);
        }
        let left = self.to_be_received.map(|time| time.saturating_sub(elapsed));
        // Never nothing: that would be a message that is there for nobody.
        let millis = |left: Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
        Standing::InTime {
            expiration: left.map(millis),
        }
    }

    /// When it is too late to receive a message that was `sent` then: the same for every attempt.
    pub(crate) fn deadline(self, sent: Timestamp) -> Option<Timestamp> {
        self.to_be_received.map(|time| sent.plus(time))
    }
}

/// Whether a message with this deadline is too late to be received `now`.
pub(crate) fn is_over(deadline: Option<Timestamp>, now: Timestamp) -> bool {
    deadline.is_some_and(|deadline| now >= deadline)
}

#[cfg(test)]
mod tests {
    use proptest::{option::of, prelude::*};

    use super::*;

    fn times(reach: Option<u64>, receive: Option<u64>) -> Times {
        Times {
            to_reach_queue: reach.map(Duration::from_secs),
            to_be_received: receive.map(Duration::from_secs),
        }
    }

    fn after(secs: u64) -> Timestamp {
        Timestamp::from_micros(1_000_000_000).plus(Duration::from_secs(secs))
    }

    #[test]
    fn the_time_that_is_over_first_is_the_reason() {
        let late = |times: Times, secs| match times.standing(after(0), after(secs)) {
            Standing::Late(class) => Some(class),
            Standing::InTime { .. } => None,
        };
        let both = times(Some(10), Some(20));
        assert_eq!(late(both, 9), None);
        assert_eq!(late(both, 10), Some(Class::REACH_QUEUE_TIMEOUT));
        assert_eq!(late(both, 99), Some(Class::REACH_QUEUE_TIMEOUT));
        let both = times(Some(20), Some(10));
        assert_eq!(late(both, 99), Some(Class::RECEIVE_TIMEOUT_AT_SENDER));
        assert_eq!(late(times(None, None), u64::from(u32::MAX)), None);
    }

    #[test]
    fn what_has_elapsed_is_taken_off() {
        let receive = times(None, Some(20));
        let left = |secs| receive.standing(after(0), after(secs));
        assert_eq!(
            left(0),
            Standing::InTime {
                expiration: Some(20_000)
            }
        );
        assert_eq!(
            left(15),
            Standing::InTime {
                expiration: Some(5_000)
            }
        );
        assert_eq!(receive.deadline(after(0)), Some(after(20)));
        assert_eq!(
            times(Some(1), None).standing(after(0), after(0)),
            Standing::InTime { expiration: None }
        );
    }

    proptest! {
        #[test]
        fn the_broker_never_keeps_it_beyond_its_deadline(
            reach in of(1u64..100), receive in of(1u64..100), elapsed in 0u64..200
        ) {
            let times = times(reach, receive);
            let (sent, now) = (after(0), after(elapsed));
            match times.standing(sent, now) {
                Standing::Late(_) => {
                    let shortest = reach.into_iter().chain(receive).min();
                    prop_assert!(shortest.is_some_and(|shortest| elapsed >= shortest));
                }
                Standing::InTime { expiration } => {
                    prop_assert!(!is_over(times.deadline(sent), now));
                    let ends = expiration.map(|ms| now.plus(Duration::from_millis(ms)));
                    prop_assert_eq!(ends, times.deadline(sent));
                }
            }
        }
    }
}
