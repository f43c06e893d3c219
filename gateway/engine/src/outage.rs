//! An outage told with measure: what is tried many times a second and fails must not fill the log.

use std::time::Duration;

use quayside_model::Monotonic;

/// How often a failure that goes on is told again.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The failures since the last success, each of a kind; failures of another kind are news.
#[derive(Debug)]
pub(crate) struct Outage<Kind> {
    /// What was told last, and when.
    told: Option<(Kind, Monotonic)>,
    /// How many were not told since then.
    untold: u64,
}

impl<Kind> Default for Outage<Kind> {
    fn default() -> Self {
        Self {
            told: None,
            untold: 0,
        }
    }
}

impl<Kind: Copy + PartialEq> Outage<Kind> {
    /// One more has failed. Gives how many failures were not told before it; `None`: it need not be told
    /// either.
    pub(crate) fn failed(&mut self, kind: Kind, now: Monotonic) -> Option<u64> {
        let known = self
            .told
            .is_some_and(|(told, at)| told == kind && now.since(at) < TELL_EVERY);
        if known {
            self.untold += 1;
            return None;
        }
        self.told = Some((kind, now));
        Some(std::mem::take(&mut self.untold))
    }

    /// One has succeeded. If the one before had failed: how many failures were not told.
    pub(crate) fn over(&mut self) -> Option<u64> {
        let outage = std::mem::take(self);
        outage.told.map(|_| outage.untold)
    }

    /// The kind of the newest failure.
    pub(crate) fn kind(&self) -> Option<Kind> {
        self.told.map(|(kind, _)| kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_a_minute_and_by_kind_and_its_end_once() {
        let at = |secs| Monotonic::from_boot(Duration::from_secs(secs));
        let mut outage = Outage::default();
        assert_eq!(outage.over(), None, "nothing had failed");
        assert_eq!(outage.failed('a', at(10)), Some(0));
        assert_eq!(outage.failed('a', at(11)), None);
        assert_eq!(outage.failed('a', at(69)), None);
        assert_eq!(outage.failed('a', at(70)), Some(2));
        assert_eq!(outage.failed('a', at(71)), None);
        assert_eq!(outage.failed('b', at(72)), Some(1), "of another kind");
        assert_eq!((outage.kind(), outage.over()), (Some('b'), Some(0)));
        assert_eq!(outage.over(), None, "its end is told once");
        assert_eq!(outage.failed('b', at(73)), Some(0), "another outage");
    }
}
