//! Housekeeping in small steps, none of which holds the writer for long.
//!
//! Retention walks `history` by its ids, which rise with time, once for bodies and once for messages,
//! and remembers how far it came. Each message is met at its last event at the latest, so that nothing
//! is looked at twice and messages that live long cost nothing.

use async_trait::async_trait;
use quayside_store::{
    Maintain, StoreError,
    maintain::{Retention, Swept},
    model::{BodyId, MessageId, Timestamp},
};

use crate::{dedupe::Slice, error::DbResult, open::SqliteStore, row::cell, runs, tx::Tx};

/// How many events, keys or requests one step looks at: some milliseconds of the writer's time.
const STEP: u32 = 64;
/// How many chunks, of 1 MiB each, one step removes.
const CHUNKS: u32 = 4;

#[async_trait]
impl Maintain for SqliteStore {
    async fn sweep(&self, retention: &Retention) -> Result<Swept, StoreError> {
        let retention = *retention;
        self.write("sweep", move |tx| sweep(tx, &retention)).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.write("probe", |tx| {
            // A write that is committed, so that a full disk or one that became read-only shows.
            tx.first(
                include_str!("../sql/sequence_take.sql"),
                ("probe", 1),
                |_| Ok(()),
            )
            .map(drop)
        })
        .await
    }
}

fn sweep(tx: &Tx<'_>, retention: &Retention) -> DbResult<Swept> {
    let mut swept = Swept::default();
    sweep_bodies(tx, tx.now.minus(retention.bodies), &mut swept)?;
    sweep_messages(tx, tx.now.minus(retention.metadata), &mut swept)?;
    sweep_keys(tx, &mut swept)?;
    sweep_chunks(tx, &mut swept)?;
    sweep_rest(tx, tx.now.minus(retention.metadata), &mut swept)?;
    Ok(swept)
}

/// An event that retention has come to.
#[derive(Debug)]
struct Passed {
    id: i64,
    message: MessageId,
}

/// The next events that are older than `cutoff`, behind the mark `name`, which moves on.
fn pass(
    tx: &Tx<'_>,
    name: &'static str,
    cutoff: Timestamp,
    swept: &mut Swept,
) -> DbResult<Vec<Passed>> {
    let sql = include_str!("../sql/sequence_read.sql");
    let mark = tx
        .first(sql, [name], |row| cell::<i64>(row, 0, "sequence.value"))?
        .unwrap_or(0);
    let sql = include_str!("../sql/history_next.sql");
    let next = tx.all(sql, (mark, STEP), |row| {
        let passed = Passed {
            id: cell(row, 0, "history.id")?,
            message: cell(row, 1, "history.message")?,
        };
        Ok((passed, cell::<Timestamp>(row, 2, "history.at")?))
    })?;
    let met = next.len();
    let old = next
        .into_iter()
        .take_while(|(_, at)| *at < cutoff)
        .map(|(passed, _)| passed);
    let old: Vec<_> = old.collect();
    if let Some(last) = old.last() {
        tx.execute(include_str!("../sql/sequence_set.sql"), (name, last.id))?;
    }
    swept.more |= met == STEP as usize && old.len() == met;
    Ok(old)
}

/// Whether the last delivery of a message ended before `cutoff`.
fn is_over(tx: &Tx<'_>, message: MessageId, cutoff: Timestamp) -> DbResult<bool> {
    let sql = include_str!("../sql/message_is_over.sql");
    tx.exists(sql, (message.to_bytes(), cutoff.as_micros()))
}

fn sweep_bodies(tx: &Tx<'_>, cutoff: Timestamp, swept: &mut Swept) -> DbResult<()> {
    for passed in pass(tx, "swept_bodies", cutoff, swept)? {
        if is_over(tx, passed.message, cutoff)? && drop_bodies(tx, passed.message)? {
            swept.bodies += 1;
        }
    }
    Ok(())
}

/// Empties the parts of a message. Chunks go with their body, in steps of their own.
fn drop_bodies(tx: &Tx<'_>, message: MessageId) -> DbResult<bool> {
    let message = message.to_bytes();
    tx.execute(include_str!("../sql/body_orphan.sql"), [message])?;
    Ok(tx.execute(include_str!("../sql/part_empty.sql"), [message])? > 0)
}

fn sweep_messages(tx: &Tx<'_>, cutoff: Timestamp, swept: &mut Swept) -> DbResult<()> {
    for passed in pass(tx, "swept_messages", cutoff, swept)? {
        if !is_over(tx, passed.message, cutoff)? {
            continue;
        }
        let message = passed.message.to_bytes();
        tx.execute(include_str!("../sql/body_orphan.sql"), [message])?;
        tx.execute(include_str!("../sql/part_delete.sql"), [message])?;
        tx.execute(include_str!("../sql/history_delete.sql"), [message])?;
        let rows = tx.execute(include_str!("../sql/message_delete.sql"), [message])?;
        swept.messages += rows as u64;
    }
    Ok(())
}

/// Keys go by whole slices, each by its own window: the current one and the one before it are kept.
fn sweep_keys(tx: &Tx<'_>, swept: &mut Swept) -> DbResult<()> {
    let mut from = 0;
    let sql = include_str!("../sql/dedupe_next_window.sql");
    while let Some(window) = tx.first(sql, [from], |row| cell::<i64>(row, 0, "dedupe.slice"))? {
        let current = Slice::at(window, tx.now).cell();
        let sql = include_str!("../sql/dedupe_delete.sql");
        let rows = tx.execute(sql, (window << 32, current - 1, STEP))?;
        swept.keys += rows as u64;
        swept.more |= rows == STEP as usize;
        from = (window + 1) << 32;
    }
    Ok(())
}

/// Bodies whose instance died before it published them, and then the chunks of all that nobody needs.
fn sweep_chunks(tx: &Tx<'_>, swept: &mut Swept) -> DbResult<()> {
    tx.execute(include_str!("../sql/body_abandon_dead.sql"), [STEP])?;
    let sql = include_str!("../sql/body_abandoned.sql");
    let Some(body) = tx.first(sql, [], |row| cell::<BodyId>(row, 0, "body.id"))? else {
        return Ok(());
    };
    let sql = include_str!("../sql/chunk_delete.sql");
    let rows = tx.execute(sql, (body.to_bytes(), CHUNKS))?;
    swept.chunks += rows as u64;
    swept.more = true;
    if rows < CHUNKS as usize {
        tx.execute(include_str!("../sql/body_delete.sql"), [body.to_bytes()])?;
    }
    Ok(())
}

/// Requests past their time, and instances and sessions that nothing names any more.
fn sweep_rest(tx: &Tx<'_>, cutoff: Timestamp, swept: &mut Swept) -> DbResult<()> {
    let rows = tx.execute(
        include_str!("../sql/exchange_delete.sql"),
        (tx.now.as_micros(), STEP),
    )?;
    swept.more |= rows == STEP as usize;
    swept.more |= runs::sweep(tx, cutoff, STEP)? == STEP as usize;
    tx.execute(
        include_str!("../sql/instance_delete.sql"),
        (cutoff.as_micros(), STEP),
    )?;
    tx.execute(
        include_str!("../sql/session_delete.sql"),
        (cutoff.as_micros(), STEP),
    )?;
    Ok(())
}
