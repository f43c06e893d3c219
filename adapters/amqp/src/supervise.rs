//! When to connect, to which broker, and how long to rest before: pure. `link` acts by it.

use std::time::Duration;

use quayside_adapter_api::model::Monotonic;

/// The longest rest after the first round of failures, and after any. A broker that comes back is seen
/// within the second one.
const REST: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(800));

/// A connection that is lost sooner counts as a failure to connect: a broker that accepts and hangs up must
/// not be asked without a pause.
const STABLE: Duration = Duration::from_secs(1);

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Connect to the broker of this number.
    Connect(usize),
    /// Rest so long, then ask again.
    Rest(Duration),
}

/// The state of one connection and of what is known about its brokers.
#[derive(Debug)]
pub(crate) struct Supervisor {
    brokers: usize,
    at: usize,
    /// How many of the brokers failed in this round.
    failed: usize,
    /// How many rounds failed in a row.
    rounds: u32,
    rest_until: Option<Monotonic>,
    connected_at: Option<Monotonic>,
}

impl Supervisor {
    /// Of a connection to one of `brokers` brokers, beginning at the one that `roll` (below 1) chooses, so
    /// that the processes of a group spread over them.
    pub(crate) fn new(brokers: usize, roll: f64) -> Self {
        let brokers = brokers.max(1);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a handful of brokers times a number from 0 to 1"
        )]
        let at = (brokers as f64 * roll) as usize % brokers;
        Self {
            brokers,
            at,
            failed: 0,
            rounds: 0,
            rest_until: None,
            connected_at: None,
        }
    }

    /// What to do at `now` to be connected.
    pub(crate) fn next(&self, now: Monotonic) -> Step {
        match self.rest_until {
            Some(until) if until > now => Step::Rest(until.since(now)),
            _ => Step::Connect(self.at),
        }
    }

    /// The connection stands.
    pub(crate) fn connected(&mut self, now: Monotonic) {
        self.connected_at = Some(now);
        self.rest_until = None;
    }

    /// A broker could not be connected to: the next one is asked, and when all have failed there is a rest.
    pub(crate) fn failed(&mut self, now: Monotonic, roll: f64) {
        self.at = (self.at + 1) % self.brokers;
        self.failed += 1;
        if self.failed < self.brokers {
            return;
        }
        let longest = REST.0.saturating_mul(1 << self.rounds.min(8)).min(REST.1);
        // From half of it to all of it: those who lost the same broker do not come back together.
        self.rest_until = Some(now.plus(longest.mul_f64(0.5 + roll / 2.0)));
        self.rounds += 1;
        self.failed = 0;
    }

    /// A connection that stood is lost.
    pub(crate) fn lost(&mut self, now: Monotonic, roll: f64) {
        let stood = self.connected_at.take();
        if stood.is_some_and(|since| now.since(since) < STABLE) {
            self.failed(now, roll);
            return;
        }
        (self.failed, self.rounds, self.rest_until) = (0, 0, None);
    }

    /// Whether the last thing that happened is a failure.
    pub(crate) fn is_failing(&self) -> bool {
        self.failed > 0 || self.rounds > 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Monotonic {
        Monotonic::from_boot(Duration::from_millis(millis))
    }

    #[test]
    fn a_lost_connection_is_rebuilt_at_once_and_one_that_hangs_up_is_not() {
        let mut supervisor = Supervisor::new(1, 0.0);
        supervisor.connected(at(0));
        supervisor.lost(at(5000), 0.0);
        assert_eq!(supervisor.next(at(5000)), Step::Connect(0));
        supervisor.connected(at(5000));
        supervisor.lost(at(5010), 0.0);
        let half = Duration::from_millis(50);
        assert_eq!(supervisor.next(at(5010)), Step::Rest(half));
        assert_eq!(supervisor.next(at(5060)), Step::Connect(0));
    }

    #[test]
    fn every_broker_is_asked_before_a_rest() {
        let mut supervisor = Supervisor::new(3, 0.5);
        for broker in [1, 2, 0] {
            assert_eq!(supervisor.next(at(0)), Step::Connect(broker));
            supervisor.failed(at(0), 0.0);
        }
        assert!(matches!(supervisor.next(at(0)), Step::Rest(_)));
        assert!(supervisor.is_failing());
    }

    proptest! {
        #[test]
        fn a_rest_is_never_nothing_and_never_long(
            brokers in 1usize..4, rolls in prop::collection::vec(0.0f64..1.0, 1..60)
        ) {
            let mut supervisor = Supervisor::new(brokers, rolls[0]);
            let mut now = at(0);
            let mut asked = 0;
            for roll in rolls {
                match supervisor.next(now) {
                    Step::Connect(broker) => {
                        prop_assert!(broker < brokers);
                        asked += 1;
                        prop_assert!(asked <= brokers, "no rest after {asked} failures");
                        supervisor.failed(now, roll);
                    }
                    Step::Rest(rest) => {
                        prop_assert!(rest >= REST.0 / 2 && rest <= REST.1);
                        asked = 0;
                        now = now.plus(rest);
                    }
                }
            }
        }
    }
}
