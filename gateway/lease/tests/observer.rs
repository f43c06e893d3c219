//! An observer is never hasty, whatever it is shown.

use std::time::Duration;

use proptest::prelude::*;
use quayside_lease::{Observer, Sighting};
use quayside_model::{Monotonic, SeededEntropy, SessionId, Timestamp};

const TTL_MS: u64 = 100;

fn at(millis: u64) -> Monotonic {
    Monotonic::from_boot(Duration::from_millis(millis))
}

/// One look: the wait before it, how long it takes, and of each session whether it is shown, whether it
/// was renewed since, whether it is overdue.
type Look = (u64, u64, Vec<(bool, bool, bool)>);

fn looks() -> impl Strategy<Value = Vec<Look>> {
    let session = (
        prop::bool::weighted(0.9),
        prop::bool::weighted(0.3),
        any::<bool>(),
    );
    let look = (0..60_u64, 0..40_u64, prop::collection::vec(session, 3));
    prop::collection::vec(look, 1..40)
}

proptest! {
    #[test]
    fn only_silent_and_overdue_sessions_are_named(looks in looks()) {
        let entropy = SeededEntropy::new(1);
        let new = |_| SessionId::new(Timestamp::from_micros(0), &entropy);
        let sessions: Vec<SessionId> = (0..3).map(new).collect();
        // Of each session: its sequence, and when the answer came that first showed it.
        let mut shown: Vec<(i64, Option<u64>)> = vec![(0, None); 3];
        let mut observer = Observer::new();
        let mut now = 0;
        for (wait, takes, states) in looks {
            let asked = now + wait;
            now = asked + takes;
            let mut sightings = Vec::new();
            for (no, &(present, renewed, overdue)) in states.iter().enumerate() {
                if renewed {
                    shown[no] = (shown[no].0 + 1, None);
                }
                if !present {
                    shown[no].1 = None;
                    continue;
                }
                shown[no].1.get_or_insert(now);
                let ttl = Duration::from_millis(TTL_MS);
                sightings.push(Sighting { session: sessions[no], seq: shown[no].0, ttl, overdue });
            }
            let named = observer.observe(at(asked), at(now), &sightings);
            let expected: Vec<_> = sightings
                .iter()
                .filter(|s| {
                    let no = sessions.iter().position(|id| *id == s.session).expect("one of three");
                    let since = shown[no].1.expect("it was just shown");
                    s.overdue && asked.saturating_sub(since) >= TTL_MS
                })
                .map(|s| (s.session, s.seq))
                .collect();
            prop_assert_eq!(named, expected);
            let due = sightings.iter().filter_map(|s| {
                let no = sessions.iter().position(|id| *id == s.session).expect("one of three");
                let due = shown[no].1.expect("it was just shown") + TTL_MS;
                (due > now).then(|| at(due))
            });
            prop_assert_eq!(observer.next_due(at(now)), due.min());
        }
    }
}
