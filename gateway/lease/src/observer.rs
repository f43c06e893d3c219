//! The others' half: when a session is silent for so long that it may be ended.

use std::{collections::HashMap, time::Duration};

use quayside_model::{Monotonic, SessionId};

/// A live session as it was just read from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// The session.
    pub session: SessionId,
    /// Counted up by each renewal.
    pub seq: i64,
    /// Its ttl.
    pub ttl: Duration,
    /// Whether its lease has run out by the store's clock.
    pub overdue: bool,
}

/// A session as it was seen.
#[derive(Debug, Clone, Copy)]
struct Seen {
    seq: i64,
    since: Monotonic,
    ttl: Duration,
}

/// Watches sessions over time. Start a new one after a look that failed: what was not looked at is not
/// known to have been silent.
#[derive(Debug, Default)]
pub struct Observer {
    seen: HashMap<SessionId, Seen>,
}

impl Observer {
    /// An observer that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a look at all live sessions and names those that may be ended, each with the sequence
    /// for which that holds. The look was `asked` for before the store read the rows and `answered`
    /// after: silence counts from an answer to a question, so that neither a slow store nor a pause of
    /// this process between the two is taken for the silence of another one.
    pub fn observe(
        &mut self,
        asked: Monotonic,
        answered: Monotonic,
        sightings: &[Sighting],
    ) -> Vec<(SessionId, i64)> {
        self.seen
            .retain(|session, _| sightings.iter().any(|s| s.session == *session));
        let mut silent = Vec::new();
        for sighting in sightings {
            let new = Seen {
                seq: sighting.seq,
                since: answered,
                ttl: sighting.ttl,
            };
            let seen = self.seen.entry(sighting.session).or_insert(new);
            if seen.seq != sighting.seq {
                *seen = new;
            }
            if sighting.overdue && asked.since(seen.since) >= sighting.ttl {
                silent.push((sighting.session, sighting.seq));
            }
        }
        silent
    }

    /// The first moment behind `now` at which a session may be ended unless it is renewed: who looks then loses
    /// nothing to the pace of its looks.
    #[must_use]
    pub fn next_due(&self, now: Monotonic) -> Option<Monotonic> {
        let due = self.seen.values().map(|seen| seen.since.plus(seen.ttl));
        due.filter(|due| *due > now).min()
    }
}
