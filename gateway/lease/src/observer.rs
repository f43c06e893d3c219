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

/// Watches sessions over time. Start a new one after a look that failed: what was not looked at is not
/// known to have been silent.
#[derive(Debug, Default)]
pub struct Observer {
    seen: HashMap<SessionId, (i64, Monotonic)>,
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
            let (seq, since) = self
                .seen
                .entry(sighting.session)
                .or_insert((sighting.seq, answered));
            if *seq != sighting.seq {
                (*seq, *since) = (sighting.seq, answered);
            }
            if sighting.overdue && asked.since(*since) >= sighting.ttl {
                silent.push((sighting.session, sighting.seq));
            }
        }
        silent
    }
}
