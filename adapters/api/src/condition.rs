//! How that stands which a location or port works over. What an adapter mends by itself, such as a lost
//! connection, is no failure of a message and ends nothing; but somebody who is called at night has to see it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use quayside_model::{Code, Text, Timestamp};
use serde::{Deserialize, Serialize};

/// What keeps an open location or port from working, until its adapter has mended it or it mends itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What it comes to.
    pub kind: TroubleKind,
    /// The stable code.
    pub code: Text,
    /// The cause, for an operator.
    pub detail: Text,
    /// Since when.
    pub since: Timestamp,
}

/// What a trouble comes to. Of several the first in this order is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TroubleKind {
    /// It is open but not connected: nothing comes in, nothing goes out.
    Disconnected,
    /// It is connected, but the other side takes nothing now.
    BackPressure,
}

/// How all connections of one location or port stand.
#[derive(Clone, Default)]
pub struct Condition(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    parts: u64,
    troubles: BTreeMap<u64, Trouble>,
}

impl Condition {
    /// A place to tell of one connection, or of whatever else can be in trouble by itself.
    #[must_use]
    pub fn part(&self) -> Part {
        let mut state = self.state();
        state.parts += 1;
        Part {
            no: state.parts,
            of: self.clone(),
        }
    }

    /// The worst trouble, and of equal ones the oldest.
    #[must_use]
    pub fn trouble(&self) -> Option<Trouble> {
        let state = self.state();
        let worst = state.troubles.values().min_by_key(|it| (it.kind, it.since));
        worst.cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.trouble()).finish()
    }
}

/// One connection. With it goes what it told.
#[derive(Debug)]
pub struct Part {
    no: u64,
    of: Condition,
}

impl Part {
    /// It is in trouble, as seen at `now`. What is told again keeps its beginning.
    pub fn ill(&self, kind: TroubleKind, code: Code, detail: &str, now: Timestamp) {
        let (code, detail) = (Text::lossy(code.code), Text::lossy(detail));
        let mut state = self.of.state();
        let before = state.troubles.get(&self.no);
        let since = before.filter(|it| it.kind == kind).map(|it| it.since);
        let trouble = Trouble {
            kind,
            code,
            detail,
            since: since.unwrap_or(now),
        };
        state.troubles.insert(self.no, trouble);
    }

    /// It works, or it is not needed now.
    pub fn well(&self) {
        self.of.state().troubles.remove(&self.no);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.well();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::WRONG_VALUE;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn the_worst_is_shown_until_its_part_is_well_or_gone() {
        use TroubleKind::{BackPressure, Disconnected};
        let condition = Condition::default();
        let shown = || condition.trouble().map(|it| (it.kind, it.since));
        let (one, other) = (condition.part(), condition.part());
        assert_eq!(shown(), None);
        one.ill(BackPressure, WRONG_VALUE, "full", at(1));
        other.ill(Disconnected, WRONG_VALUE, "gone", at(2));
        assert_eq!(shown(), Some((Disconnected, at(2))));
        other.ill(Disconnected, WRONG_VALUE, "gone again", at(3));
        let trouble = condition.trouble().expect("a trouble");
        assert_eq!(
            (trouble.detail.as_str(), trouble.since),
            ("gone again", at(2))
        );
        other.well();
        assert_eq!(shown(), Some((BackPressure, at(1))));
        one.ill(Disconnected, WRONG_VALUE, "gone", at(4));
        assert_eq!(shown(), Some((Disconnected, at(4))), "another trouble");
        drop(one);
        assert_eq!(shown(), None);
    }
}
