//! What becomes of a batch that was not stored: pure.

use std::time::Duration;

use quayside_adapter_api::{RejectKind, Rejected};

use crate::config::OnFailure;

/// The longest pause after a refusal, and the one if the engine names none.
const MAX_PAUSE: Duration = Duration::from_secs(60);
pub(crate) const DEFAULT_PAUSE: Duration = Duration::from_millis(250);

/// What to do with a batch that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// All of it comes again after a pause.
    Again(Duration),
    /// Each of its messages comes again alone: then it shows which one is to blame.
    Alone,
    /// The message of this number comes again as one of its own, because its id stood for another one.
    Apart(usize),
    /// The message of this number goes into the dead letter queue, the others come again.
    DeadLetter(usize),
    /// The location cannot go on.
    Stop,
}

/// What to do with a batch of `count` messages that was `rejected`.
pub(crate) fn then(
    count: usize,
    rejected: &Rejected,
    on_failure: OnFailure,
    has_dead_letter: bool,
) -> Then {
    let for_good = matches!(
        rejected.kind,
        RejectKind::Invalid | RejectKind::Forbidden | RejectKind::TooLarge | RejectKind::KeyReused
    );
    if !for_good {
        let pause = rejected.retry_after.unwrap_or(DEFAULT_PAUSE);
        return Then::Again(pause.min(MAX_PAUSE));
    }
    let guilty = match rejected.index {
        Some(index) if usize::from(index) < count => usize::from(index),
        _ if count == 1 => 0,
        _ => return Then::Alone,
    };
    match on_failure {
        OnFailure::Stop => Then::Stop,
        _ if has_dead_letter => Then::DeadLetter(guilty),
        // Nobody is there to refuse it to, and it must be kept.
        _ if rejected.kind == RejectKind::KeyReused => Then::Apart(guilty),
        _ => Then::Stop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes;

    fn rejected(kind: RejectKind, index: Option<u16>) -> Rejected {
        Rejected {
            kind,
            code: codes::REFUSED,
            detail: String::new(),
            index,
            retry_after: None,
        }
    }

    #[test]
    fn each_refusal_has_its_end() {
        use OnFailure::{DeadLetter, Stop, Suspend};
        use RejectKind::{Invalid, KeyReused, Overloaded, Unavailable};
        for (kind, index, count, on_failure, dead_letter, expected) in [
            (
                Unavailable,
                None,
                3,
                Suspend,
                false,
                Then::Again(DEFAULT_PAUSE),
            ),
            (
                Overloaded,
                Some(1),
                3,
                Stop,
                false,
                Then::Again(DEFAULT_PAUSE),
            ),
            (Invalid, None, 3, DeadLetter, true, Then::Alone),
            (Invalid, None, 1, DeadLetter, true, Then::DeadLetter(0)),
            (Invalid, Some(2), 3, DeadLetter, true, Then::DeadLetter(2)),
            (Invalid, Some(2), 3, Stop, true, Then::Stop),
            (KeyReused, Some(2), 3, Suspend, false, Then::Apart(2)),
            (KeyReused, Some(2), 3, Suspend, true, Then::DeadLetter(2)),
            (Invalid, Some(0), 1, Suspend, false, Then::Stop),
            (Invalid, Some(9), 3, Suspend, false, Then::Alone),
        ] {
            let found = then(count, &rejected(kind, index), on_failure, dead_letter);
            assert_eq!(
                found, expected,
                "{kind:?} {index:?} of {count} {on_failure:?}"
            );
        }
    }

    #[test]
    fn a_pause_that_the_engine_asks_for_is_kept_within_bounds() {
        let mut refusal = rejected(RejectKind::Unavailable, None);
        refusal.retry_after = Some(Duration::from_secs(3600));
        assert_eq!(
            then(1, &refusal, OnFailure::Suspend, false),
            Then::Again(MAX_PAUSE)
        );
    }
}
