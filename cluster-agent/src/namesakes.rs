//! Other agents under the name of this node, which nobody meant: each takes part in every election, and what one of
//! them loses is put down to both.

use std::collections::BTreeMap;

use quayside_lease::View;
use quayside_model::{Name, SessionId};

/// The sessions of this node's name that are not its own.
#[derive(Debug)]
pub(crate) struct Namesakes {
    node: Name,
    /// How far each had been renewed when it was seen first; `None` once it was told of.
    seen: BTreeMap<SessionId, Option<i64>>,
}

impl Namesakes {
    /// Of the node `node`.
    pub(crate) fn new(node: Name) -> Self {
        Self {
            node,
            seen: BTreeMap::new(),
        }
    }

    /// What a look at the store has shown, by an agent whose session is `own`. Returns whom to tell of: a session that
    /// is renewed. One that is not is what an earlier run of this agent has left.
    pub(crate) fn looked(&mut self, view: &View, own: Option<SessionId>) -> Vec<SessionId> {
        let others = view.sessions.iter().filter(|seen| seen.node == self.node);
        let others: BTreeMap<_, _> = others
            .map(|seen| (seen.sighting.session, seen.sighting.seq))
            .filter(|(session, _)| Some(*session) != own)
            .collect();
        self.seen.retain(|session, _| others.contains_key(session));
        let mut renewed = Vec::new();
        for (session, seq) in others {
            let first = self.seen.entry(session).or_insert(Some(seq));
            if first.is_some_and(|first| first < seq) {
                *first = None;
                renewed.push(session);
            }
        }
        renewed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quayside_lease::{SessionSeen, Sighting};

    use super::*;

    #[test]
    fn a_session_of_the_same_name_is_told_of_once_when_it_is_renewed() {
        let name = |text: &str| Name::new(text).expect("a name");
        let session = |no: u8| SessionId::from_bytes([no; 16]);
        let seen = |node: &str, no: u8, seq: i64| SessionSeen {
            node: name(node),
            sighting: Sighting {
                session: session(no),
                seq,
                ttl: Duration::from_secs(3),
                overdue: false,
            },
        };
        let mut namesakes = Namesakes::new(name("a"));
        let mut looked = |sessions: Vec<SessionSeen>| {
            let view = View {
                sessions,
                ..View::default()
            };
            namesakes.looked(&view, Some(session(1)))
        };
        let none: [SessionId; 0] = [];
        assert_eq!(looked(vec![seen("a", 1, 1), seen("b", 2, 1)]), none);
        assert_eq!(
            looked(vec![seen("a", 1, 2), seen("a", 3, 7), seen("b", 2, 2)]),
            none
        );
        assert_eq!(
            looked(vec![seen("a", 3, 7)]),
            none,
            "left by an earlier run"
        );
        assert_eq!(looked(vec![seen("a", 3, 8)]), [session(3)]);
        assert_eq!(looked(vec![seen("a", 3, 9)]), none);
        assert_eq!(looked(vec![]), none);
        assert_eq!(looked(vec![seen("a", 3, 9)]), none);
        assert_eq!(looked(vec![seen("a", 3, 10)]), [session(3)]);
    }
}
