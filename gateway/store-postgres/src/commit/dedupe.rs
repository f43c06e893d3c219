//! Dedupe keys: the first under a key is stored, later ones learn who that was.

use std::collections::HashMap;

use quayside_store::{
    StoreError, StoreErrorKind,
    commit::First,
    model::{DedupeKey, Timestamp, failpoint},
};
use tokio_postgres::Row;

use super::{
    OPERATION, Trouble,
    attempt::{Item, Verdict},
};
use crate::{
    pool::{Conn, Params},
    row::{Id, Reader},
    sql::Sql,
};

/// Shorter windows are kept for this long: two slices overlap for a minute on both sides of a boundary.
const SHORTEST_WINDOW_SECS: i64 = 120;

type Hash = [u8; 16];

/// The keys of a batch: the first item of each key tries it, the others follow that one.
#[derive(Debug, Default)]
pub(super) struct Keys<'a> {
    hashes: Vec<&'a [u8]>,
    fingerprints: Vec<&'a [u8]>,
    messages: Vec<Id>,
    exchanges: Vec<Option<Id>>,
    windows: Vec<i64>,
    /// Item numbers: of the leader and of those that follow it.
    leaders: Vec<(usize, Vec<usize>)>,
    /// The keys that somebody else has.
    taken: HashMap<Vec<u8>, Taken>,
    /// When the messages of this batch are stored.
    now: Option<Timestamp>,
}

/// What came of trying a key that somebody else has.
#[derive(Debug, Clone, Copy)]
struct Taken {
    /// The slice that the database's clock put it into.
    slice: i64,
    /// Whether it was written beside the other's, into a slice where that one is not.
    wrote: bool,
}

impl<'a> Keys<'a> {
    /// The keys of the items that are new so far, in ascending order.
    pub(super) fn of(items: &[Item<'a>]) -> Self {
        if failpoint::enabled("no-dedupe") {
            return Self::default();
        }
        let mut by_hash: HashMap<Hash, (usize, Vec<usize>)> = HashMap::new();
        for (place, item) in items
            .iter()
            .enumerate()
            .filter(|(_, i)| i.verdict == Verdict::New)
        {
            let Some(key) = &item.publish.dedupe else {
                continue;
            };
            by_hash
                .entry(key.hash)
                .and_modify(|(_, followers)| followers.push(place))
                .or_insert((place, Vec::new()));
        }
        let mut leaders: Vec<_> = by_hash.into_iter().collect();
        leaders.sort_by_key(|(hash, _)| *hash);
        let mut keys = Self::default();
        for (_, (place, followers)) in leaders {
            let publish = items[place].publish;
            let Some(key) = &publish.dedupe else { continue };
            keys.hashes.push(&key.hash);
            keys.fingerprints.push(&key.fingerprint);
            keys.messages.push(publish.message.id.into());
            keys.exchanges.push(publish.exchange.map(|x| x.id.into()));
            keys.windows.push(window_secs(key));
            keys.leaders.push((place, followers));
        }
        keys
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The messages that try a key.
    pub(super) fn messages(&self) -> &[Id] {
        &self.messages
    }

    /// The followers wait for what becomes of their leaders.
    pub(super) fn put_off_followers(&self, items: &mut [Item<'_>]) {
        for follower in self.leaders.iter().flat_map(|(_, followers)| followers) {
            items[*follower].verdict = Verdict::Later;
        }
    }

    /// The keys for the statement that commits messages without exchanges.
    pub(super) fn plain_params(&self) -> Params<'_> {
        vec![
            &self.hashes,
            &self.fingerprints,
            &self.messages,
            &self.windows,
        ]
    }

    pub(super) fn insert_params(&self) -> Params<'_> {
        vec![
            &self.hashes,
            &self.fingerprints,
            &self.messages,
            &self.exchanges,
            &self.windows,
        ]
    }

    /// Takes in what `dedupe_insert` found taken.
    pub(super) fn learn(&mut self, rows: &[Row]) -> Result<(), StoreError> {
        for row in rows {
            let row = Reader::new(row, OPERATION, "dedupe");
            let key = row.get::<&[u8]>("key")?.to_vec();
            let taken = Taken {
                slice: row.get("slice")?,
                wrote: row.get("wrote")?,
            };
            self.taken.insert(key, taken);
        }
        Ok(())
    }

    /// Judges the leaders that lost by a second statement: the first one's snapshot shows nothing of a
    /// winner that was committed while it waited.
    pub(super) async fn judge(
        &mut self,
        conn: &Conn,
        items: &mut [Item<'a>],
        now: Timestamp,
    ) -> Result<(), Trouble> {
        self.now = Some(now);
        let lost = self.lost();
        if lost.is_empty() {
            return Ok(());
        }
        let rows = conn.rows(OPERATION, Sql::DedupeFind, lost.params()).await?;
        let mut winners = HashMap::new();
        for row in &rows {
            let (key, winner) = winner(row)?;
            winners.insert(key, winner);
        }
        for (at, (leader, followers)) in self.leaders.iter().enumerate() {
            if self.won(at) {
                continue;
            }
            let winner = winners.get(self.hashes[at]).ok_or_else(|| {
                let what = "the winner of a dedupe key is gone";
                StoreError::new(StoreErrorKind::Contended, OPERATION, what)
            })?;
            for place in followers.iter().chain([leader]) {
                let verdict = winner.verdict(&items[*place]);
                items[*place].verdict = verdict;
            }
        }
        Ok(())
    }

    /// Judges the followers of leaders that won, by what became of these.
    pub(super) fn settle_followers(&self, items: &mut [Item<'a>]) {
        for (at, (leader, followers)) in self.leaders.iter().enumerate() {
            for follower in followers.iter().filter(|_| self.won(at)) {
                let verdict = self.follow(&items[*leader], &items[*follower]);
                items[*follower].verdict = verdict;
            }
        }
    }

    /// What the batch wrote for items that are not stored, neither by it nor by an earlier run of it.
    pub(super) fn retracted(&self, items: &[Item<'_>]) -> Losers<'_> {
        self.losers(|place, at| {
            let stored = matches!(items[place].verdict, Verdict::New | Verdict::StoredBefore);
            let wrote = self.taken.get(self.hashes[at]).is_none_or(|t| t.wrote);
            wrote && !stored
        })
    }

    fn won(&self, at: usize) -> bool {
        !self.taken.contains_key(self.hashes[at])
    }

    fn lost(&self) -> Losers<'_> {
        self.losers(|_, at| !self.won(at))
    }

    fn losers(&self, is_one: impl Fn(usize, usize) -> bool) -> Losers<'_> {
        let mut losers = Losers::default();
        for (at, (place, _)) in self.leaders.iter().enumerate() {
            if is_one(*place, at) {
                losers.keys.push(self.hashes[at]);
                losers.slices.push(self.slice(at));
                losers.messages.push(self.messages[at]);
            }
        }
        losers
    }

    /// The slice of a key. That of a key which was won is not told by the database and follows from the
    /// time of the batch, which may be one slice off: who looks there looks at both sides too.
    fn slice(&self, at: usize) -> i64 {
        let window = self.windows[at];
        let now = self.now.map_or(0, Timestamp::as_micros) / 1_000_000;
        let by_now = (window << 32) | (now / window);
        self.taken.get(self.hashes[at]).map_or(by_now, |t| t.slice)
    }

    fn follow(&self, leader: &Item<'_>, follower: &Item<'_>) -> Verdict {
        let same = |a: &Item<'_>, b: &Item<'_>| {
            a.publish.dedupe.map(|k| k.fingerprint) == b.publish.dedupe.map(|k| k.fingerprint)
        };
        match &leader.verdict {
            Verdict::New => {
                let first = First {
                    message: leader.publish.message.id,
                    stored_at: self.now.unwrap_or(Timestamp::from_micros(0)),
                    exchange: leader.publish.exchange.map(|x| x.id),
                };
                if same(leader, follower) {
                    Verdict::Duplicate(first)
                } else {
                    Verdict::Mismatch(first)
                }
            }
            // Another round finds the key taken, and by whom, or free.
            _ => Verdict::Later,
        }
    }
}

/// Keys that somebody else took first.
#[derive(Debug, Default)]
pub(super) struct Losers<'a> {
    keys: Vec<&'a [u8]>,
    slices: Vec<i64>,
    messages: Vec<Id>,
}

impl Losers<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn params(&self) -> Params<'_> {
        vec![&self.keys, &self.slices, &self.messages]
    }
}

#[derive(Debug)]
struct Winner {
    first: First,
    fingerprint: Vec<u8>,
}

impl Winner {
    fn verdict(&self, item: &Item<'_>) -> Verdict {
        if self.first.message == item.publish.message.id {
            return Verdict::StoredBefore;
        }
        let same = item
            .publish
            .dedupe
            .is_some_and(|key| self.fingerprint == key.fingerprint);
        if same {
            Verdict::Duplicate(self.first.clone())
        } else {
            Verdict::Mismatch(self.first.clone())
        }
    }
}

fn winner(row: &Row) -> Result<(Vec<u8>, Winner), StoreError> {
    let row = Reader::new(row, OPERATION, "dedupe");
    let first = First {
        message: row.id("message")?,
        stored_at: row.time("stored_at")?,
        exchange: row.id_opt("exchange")?,
    };
    let fingerprint = row.get::<&[u8]>("fingerprint")?.to_vec();
    Ok((
        row.get::<&[u8]>("key")?.to_vec(),
        Winner { first, fingerprint },
    ))
}

fn window_secs(key: &DedupeKey) -> i64 {
    // The window is the high half of the slice's number: 31 bits are 68 years.
    let secs = i64::try_from(key.window.as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
    secs.clamp(SHORTEST_WINDOW_SECS, i64::from(i32::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn windows_round_up_and_fit_the_slice() {
        for (window, secs) in [
            (Duration::from_millis(1), 120),
            (Duration::from_millis(120_001), 121),
            (Duration::from_secs(86_400), 86_400),
            (Duration::MAX, i64::from(i32::MAX)),
        ] {
            let key = DedupeKey {
                hash: [0; 16],
                fingerprint: [0; 16],
                window,
            };
            assert_eq!(window_secs(&key), secs, "{window:?}");
        }
    }
}
