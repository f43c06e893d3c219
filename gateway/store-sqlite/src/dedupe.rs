//! Dedupe keys in slices of one window length (`store.md` 6): a key lives in the slice of its moment and
//! is looked for in that one and the one before, so that whole slices can go without looking at rows.

use quayside_store::{
    commit::First,
    model::{DedupeKey, Timestamp},
};

use crate::{error::DbResult, publish::Statements, row::cell};

/// How near to a boundary of slices a key is written on both sides of it, in seconds: a clock that is
/// set back across the boundary still finds it.
const MARGIN: i64 = 60;

/// A key at a moment.
#[derive(Debug)]
pub(crate) struct Key {
    hash: [u8; 16],
    fingerprint: [u8; 16],
    slice: Slice,
    /// The slice on the other side of a near boundary.
    near: Option<Slice>,
}

/// Who has a key.
#[derive(Debug)]
pub(crate) struct Holder {
    /// What the key stood for.
    pub(crate) fingerprint: [u8; 16],
    /// The message that took it.
    pub(crate) first: First,
}

/// A slice of the time line, by window length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slice {
    /// In seconds, at least 1.
    pub(crate) window: i64,
    /// Counted from 1970.
    pub(crate) number: i64,
}

impl Slice {
    /// The slice of `now` for this window.
    pub(crate) fn at(window: i64, now: Timestamp) -> Self {
        Self {
            window,
            number: now.as_micros() / 1_000_000 / window,
        }
    }

    /// `dedupe.slice`.
    pub(crate) fn cell(self) -> i64 {
        self.window << 32 | self.number
    }

    fn moved(self, by: i64) -> Self {
        Self {
            number: self.number + by,
            ..self
        }
    }
}

impl Key {
    /// The slices of `key` at `now`.
    pub(crate) fn new(key: &DedupeKey, now: Timestamp) -> Self {
        // Rounded up: a key is remembered for its window at least. Bounded, so that it fits the cell.
        let window = key
            .window
            .as_micros()
            .div_ceil(1_000_000)
            .clamp(1, 0x7fff_ffff);
        let window = i64::try_from(window).expect("clamped to 31 bits");
        let slice = Slice::at(window, now);
        let margin = MARGIN.min(window / 4);
        let into = now.as_micros() / 1_000_000 - slice.number * window;
        let near = match into {
            into if into < margin => Some(slice.moved(-1)),
            into if into >= window - margin => Some(slice.moved(1)),
            _ => None,
        };
        Self {
            hash: key.hash,
            fingerprint: key.fingerprint,
            slice,
            near,
        }
    }

    /// The slices in which the key may be, but for its own.
    fn others(&self) -> impl Iterator<Item = Slice> {
        let before = self.slice.moved(-1);
        [Some(before), self.near.filter(|near| *near != before)]
            .into_iter()
            .flatten()
    }
}

/// Takes `key` for `first`; else says who has it.
pub(crate) fn take(
    statements: &mut Statements<'_>,
    key: &Key,
    first: &First,
) -> DbResult<Option<Holder>> {
    for slice in key.others() {
        if let Some(holder) = find(statements, slice, key)? {
            return Ok(Some(holder));
        }
    }
    if !insert(statements, key.slice, key, first)? {
        return find(statements, key.slice, key);
    }
    if let Some(near) = key.near {
        insert(statements, near, key, first)?;
    }
    Ok(None)
}

fn insert(
    statements: &mut Statements<'_>,
    slice: Slice,
    key: &Key,
    first: &First,
) -> DbResult<bool> {
    let rows = statements.dedupe_insert.execute((
        slice.cell(),
        key.hash,
        key.fingerprint,
        first.message.to_bytes(),
        first.stored_at.as_micros(),
        first.exchange.map(|exchange| exchange.to_bytes()),
    ))?;
    Ok(rows == 1)
}

fn find(statements: &mut Statements<'_>, slice: Slice, key: &Key) -> DbResult<Option<Holder>> {
    let mut rows = statements.dedupe_find.query((slice.cell(), key.hash))?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    Ok(Some(Holder {
        fingerprint: cell(row, 0, "dedupe.fingerprint")?,
        first: First {
            message: cell(row, 1, "dedupe.message")?,
            stored_at: cell(row, 2, "dedupe.stored_at")?,
            exchange: cell(row, 3, "dedupe.exchange")?,
        },
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn both_sides_of_a_boundary_are_written_near_it_only() {
        let near = |window: u64, now: i64| {
            let window = Duration::from_secs(window);
            let key = DedupeKey {
                hash: [0; 16],
                fingerprint: [0; 16],
                window,
            };
            let key = Key::new(&key, Timestamp::from_micros(now * 1_000_000));
            (key.slice.number, key.near.map(|slice| slice.number))
        };
        assert_eq!(near(3600, 3600 * 5), (5, Some(4)));
        assert_eq!(near(3600, 3600 * 5 + 59), (5, Some(4)));
        assert_eq!(near(3600, 3600 * 5 + 60), (5, None));
        assert_eq!(near(3600, 3600 * 6 - 61), (5, None));
        assert_eq!(near(3600, 3600 * 6 - 60), (5, Some(6)));
        assert_eq!(near(1, 7), (7, None), "the shortest window has no margin");
    }
}
