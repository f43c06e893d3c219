//! Policies of ports.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Entropy, Text, Timestamp};

/// 1 (first) to 10 (last). Default 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Priority(u8);

impl Priority {
    /// How much earlier one step of priority puts a delivery. Bounded, so that the last priority waits
    /// at most nine steps longer than the first and never starves.
    pub const STEP: Duration = Duration::from_secs(10);

    /// Takes 1 to 10.
    #[must_use]
    pub fn new(priority: u8) -> Option<Self> {
        (1..=10).contains(&priority).then_some(Self(priority))
    }

    /// The rank of a delivery due at `due`: deliveries are taken in the order of their ranks.
    #[must_use]
    pub fn rank(self, due: Timestamp) -> i64 {
        let step = i64::try_from(Self::STEP.as_micros()).expect("ten seconds fit");
        due.as_micros()
            .saturating_add((i64::from(self.0) - 5) * step)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(5)
    }
}

impl TryFrom<u8> for Priority {
    type Error = &'static str;
    fn try_from(priority: u8) -> Result<Self, &'static str> {
        Self::new(priority).ok_or("a priority is a number from 1 to 10")
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> u8 {
        priority.0
    }
}

/// When a failed attempt is made again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// How many attempts a transport makes in all, the first included. At least 1.
    pub attempts: u32,
    /// The wait before the second attempt.
    pub first: Duration,
    /// By how much each wait is longer than the one before it. At least 1.
    pub factor: f64,
    /// The longest wait.
    pub max: Duration,
}

impl RetryPolicy {
    /// The part of a wait that is random, so that failures of one moment do not come back in one.
    const JITTER: f64 = 0.2;

    /// The wait after the attempt with number `attempt` (from 1) failed, or `None` when it was the last.
    /// Jitter shortens it by up to a fifth.
    #[must_use]
    pub fn wait_after(&self, attempt: u32, entropy: &dyn Entropy) -> Option<Duration> {
        (attempt < self.attempts).then(|| self.wait(attempt, entropy))
    }

    /// The wait after so many failures in a row (from 1), however many the schedule has. Jitter shortens it
    /// by up to a fifth.
    #[must_use]
    pub fn wait(&self, attempt: u32, entropy: &dyn Entropy) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let wait =
            (self.first.as_secs_f64() * self.factor.powi(exponent)).min(self.max.as_secs_f64());
        Duration::from_secs_f64(wait * (1.0 - Self::JITTER * entropy.fraction()))
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 4,
            first: Duration::from_secs(10),
            factor: 2.0,
            max: Duration::from_secs(600),
        }
    }
}

/// What an ordered port does behind a delivery that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnOrderFailure {
    /// The key waits behind its head; other keys go on.
    #[default]
    HoldKey,
    /// The whole port stops.
    StopPort,
    /// The failed one is suspended and the next one goes.
    Skip,
}

/// What an operator last asked of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortStatus {
    /// Subscribes and sends.
    #[default]
    Started,
    /// Subscribes, but sends nothing: deliveries wait.
    Stopped,
    /// Does not subscribe: messages pass it by.
    Unenlisted,
}

/// The operator's word about one port or location, kept in the store.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PortControl {
    /// Started, stopped or unenlisted. For a receive location: started (enabled) or stopped (disabled).
    pub status: PortStatus,
    /// Sending rests until this moment; the subscription stays.
    pub paused_until: Option<Timestamp>,
    /// Why, in the operator's words.
    pub reason: Option<Text>,
}

impl PortControl {
    /// Whether the operator lets the port work at `now`.
    #[must_use]
    pub fn lets_work(&self, now: Timestamp) -> bool {
        self.status == PortStatus::Started && self.paused_until.is_none_or(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededEntropy;

    #[test]
    fn waits_grow_to_the_maximum_and_end() {
        let policy = RetryPolicy {
            attempts: 5,
            first: Duration::from_secs(10),
            factor: 3.0,
            max: Duration::from_secs(60),
        };
        let entropy = SeededEntropy::new(1);
        for (attempt, longest) in [(1, 10.0), (2, 30.0), (3, 60.0), (4, 60.0)] {
            let wait = policy
                .wait_after(attempt, &entropy)
                .expect("not the last")
                .as_secs_f64();
            assert!(
                wait <= longest && wait >= longest * 0.8,
                "attempt {attempt}: {wait}"
            );
        }
        assert_eq!(policy.wait_after(5, &entropy), None);
    }

    #[test]
    fn a_low_priority_waits_but_not_for_ever() {
        let now = Timestamp::from_micros(0);
        let (high, low) = (Priority::new(1).expect("1"), Priority::new(10).expect("10"));
        assert!(high.rank(now) < low.rank(now));
        assert!(low.rank(now) < high.rank(now.plus(Priority::STEP * 10)));
        assert_eq!(Priority::new(0), None);
        assert_eq!(Priority::new(11), None);
    }
}
