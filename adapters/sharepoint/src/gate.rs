//! A farm that asks for peace gets it from all calls of a port: whoever goes on is throttled for longer.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use quayside_adapter_api::model::Monotonic;

/// How long a call waits for the farm. A longer pause is for the engine to wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The first pause, if a farm that throttles does not say how long.
const FIRST: Duration = Duration::from_secs(1);

/// The longest one of that kind.
const LONGEST: Duration = Duration::from_secs(60);

/// The longest one of that kind while the farm is not there, or says that it is too busy: a load balancer without a
/// server says the same, and whoever comes back must not wait for long.
const LONGEST_AWAY: Duration = Duration::from_secs(10);

/// What stands between a port and its farm.
#[derive(Debug, Default)]
pub(crate) struct Gate(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Nothing passes before.
    until: Option<Monotonic>,
    /// When the farm asked last without saying how long.
    asked_at: Option<Monotonic>,
    /// How often in a row the farm asked without saying how long.
    unnamed: u32,
}

/// What a farm asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// So long a pause.
    For(Duration),
    /// A pause, and does not say how long.
    SlowDown,
    /// Nothing: it is too busy, or not there.
    Away,
}

/// Whether a call may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    /// Now.
    Now,
    /// After this long.
    After(Duration),
    /// Not in the time that a call waits; this long is left.
    TooLong(Duration),
}

impl Gate {
    /// Asks for a call at `now`.
    pub(crate) fn pass(&self, now: Monotonic) -> Pass {
        let until = self.state().until;
        match until.map(|until| until.since(now)) {
            None => Pass::Now,
            Some(left) if left.is_zero() => Pass::Now,
            Some(left) if left > PATIENCE => Pass::TooLong(left),
            Some(left) => Pass::After(left),
        }
    }

    /// The farm asked for peace, in answer to a call of `sent_at`. `fraction` from 0 to 1 spreads the calls of many ports.
    pub(crate) fn close(&self, asked: Asked, fraction: f64, sent_at: Monotonic, now: Monotonic) {
        let mut state = self.state();
        let pause = match asked {
            Asked::For(pause) => pause,
            // Calls that were under way together say one thing, however many they are.
            _ if state.asked_at.is_some_and(|at| sent_at < at) => return,
            Asked::SlowDown | Asked::Away => {
                state.asked_at = Some(now);
                state.unnamed += 1;
                let longest = if asked == Asked::Away {
                    LONGEST_AWAY
                } else {
                    LONGEST
                };
                let pause = FIRST.saturating_mul(1 << (state.unnamed - 1).min(6));
                pause.min(longest)
            }
        };
        let until = now.plus(pause.mul_f64(1.0 + fraction / 10.0));
        state.until = state.until.max(Some(until));
    }

    /// The farm answered.
    pub(crate) fn answered(&self) {
        self.state().unnamed = 0;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Monotonic {
        Monotonic::from_boot(Duration::from_secs(secs))
    }

    #[test]
    fn all_calls_wait_as_long_as_the_farm_said() {
        let gate = Gate::default();
        let asked = |secs| Asked::For(Duration::from_secs(secs));
        assert_eq!(gate.pass(at(0)), Pass::Now);
        gate.close(asked(10), 0.0, at(0), at(0));
        gate.close(asked(1), 0.0, at(0), at(0));
        assert_eq!(gate.pass(at(4)), Pass::After(Duration::from_secs(6)));
        assert_eq!(gate.pass(at(10)), Pass::Now);
        gate.close(asked(600), 0.0, at(10), at(10));
        assert_eq!(gate.pass(at(10)), Pass::TooLong(Duration::from_secs(600)));
    }

    #[test]
    fn a_pause_without_a_length_grows_until_the_farm_answers() {
        let gate = Gate::default();
        let mut now = 0;
        for want in [1, 2, 4, 8, 16] {
            gate.close(Asked::SlowDown, 0.0, at(now), at(now));
            assert_eq!(gate.pass(at(now)), Pass::After(Duration::from_secs(want)));
            now += want;
        }
        gate.answered();
        gate.close(Asked::SlowDown, 0.0, at(now), at(now));
        assert_eq!(gate.pass(at(now)), Pass::After(Duration::from_secs(1)));
        for (asked, longest) in [(Asked::Away, LONGEST_AWAY), (Asked::SlowDown, LONGEST)] {
            for _ in 0..10 {
                now += 100;
                gate.close(asked, 0.0, at(now), at(now));
            }
            let left = match gate.pass(at(now)) {
                Pass::After(left) | Pass::TooLong(left) => left,
                Pass::Now => Duration::ZERO,
            };
            assert_eq!(left, longest);
        }
    }

    #[test]
    fn calls_under_way_together_say_one_thing() {
        let gate = Gate::default();
        for answered in [5, 5, 6, 7] {
            gate.close(Asked::Away, 0.0, at(4), at(answered));
        }
        assert_eq!(gate.pass(at(5)), Pass::After(Duration::from_secs(1)));
        assert_eq!(gate.pass(at(6)), Pass::Now);
        gate.close(Asked::Away, 0.0, at(6), at(7));
        assert_eq!(gate.pass(at(7)), Pass::After(Duration::from_secs(2)));
    }
}
