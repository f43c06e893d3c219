//! Housekeeping: partitions ahead, retention, dedupe keys and what crashes leave behind.

use async_trait::async_trait;
use quayside_store::{
    Maintain, StoreError,
    cluster::COUNTED_FOR,
    maintain::{Retention, Swept},
    model::MessageId,
};

use crate::{
    PostgresStore,
    pool::{Conn, Params, Use, lock},
    row::{Id, Reader, micros},
    sql::Sql,
};

const SWEEP: &str = "sweep";
const PROBE: &str = "probe store";
pub(crate) const READY: &str = "get connections ready";

/// How many days of partitions there are ahead of today.
const DAYS_AHEAD: i32 = 8;
/// How many messages or parts one step looks at: milliseconds, not more.
const WINDOW: i64 = 500;
/// How many dedupe keys, exchanges or bodies one step removes.
const BATCH: i64 = 2000;
/// How many chunks (of a mebibyte) one step removes.
const CHUNKS: i64 = 32;
/// By how much the clock of a node that makes ids may be ahead before retention is late for its messages. What
/// lies within is looked at in every walk, and in vain: a day of it kept the database busy without end.
const SKEW: i64 = 60_000_000;
const DAY_US: i64 = 86_400_000_000;

/// How far retention has walked; it begins anew when it reaches the end.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The last day, since 1970, with a partition.
    days_until: i32,
    messages: Option<Id>,
    parts: Option<Id>,
}

#[async_trait]
impl Maintain for PostgresStore {
    async fn sweep(&self, retention: &Retention) -> Result<Swept, StoreError> {
        let work = self.work(SWEEP, async |conn| sweep(self, conn, retention).await);
        self.run(SWEEP, 1, self.maintain_timeout(), work).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let work = self.work(PROBE, async |conn| {
            conn.rows(PROBE, Sql::StoreProbe, vec![]).await
        });
        self.run(PROBE, 1, self.work_timeout(), work).await?;
        Ok(())
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.pool().ready(&[Use::Commit, Use::Work], READY).await
    }
}

async fn sweep(
    store: &PostgresStore,
    conn: &Conn,
    retention: &Retention,
) -> Result<Swept, StoreError> {
    let now = now(conn).await?;
    add_days_ahead(store, conn, now).await?;
    let metadata_before = now.saturating_sub(micros(retention.metadata));
    let bodies_before = now.saturating_sub(micros(retention.bodies));
    let mut swept = drop_days(conn, metadata_before, bodies_before).await?;

    let from = lock(&store.progress).messages;
    let (messages, next) = walk(conn, Sql::MessageDelete, from, metadata_before).await?;
    lock(&store.progress).messages = next;
    let from = lock(&store.progress).parts;
    let (bodies, next_part) = walk(conn, Sql::PartDelete, from, bodies_before).await?;
    lock(&store.progress).parts = next_part;

    let keys = count(conn, Sql::DedupeDelete, BATCH).await?;
    let chunks = sweep_bodies(conn).await?;
    let exchanges = conn
        .change(SWEEP, Sql::ExchangeDelete, vec![&BATCH])
        .await?;
    conn.change(SWEEP, Sql::InstanceDelete, vec![]).await?;
    conn.change(SWEEP, Sql::SessionDelete, vec![]).await?;
    let events = sweep_cluster(conn, metadata_before).await?;
    let runs = sweep_runs(conn, metadata_before).await?;

    swept.messages += messages;
    swept.bodies += bodies;
    swept.keys = keys;
    swept.chunks = chunks;
    swept.more = next.is_some()
        || next_part.is_some()
        || keys >= BATCH.unsigned_abs()
        || chunks >= CHUNKS.unsigned_abs()
        || exchanges >= BATCH.unsigned_abs()
        || events >= BATCH.unsigned_abs()
        || runs >= BATCH.unsigned_abs();
    Ok(swept)
}

/// Removes moves that count no more, and events of the cluster from before `before`: how many of these.
async fn sweep_cluster(conn: &Conn, before: i64) -> Result<u64, StoreError> {
    let counted = micros(COUNTED_FOR);
    conn.change(SWEEP, Sql::MoveDelete, vec![&counted]).await?;
    let params: Params<'_> = vec![&before, &BATCH];
    conn.change(SWEEP, Sql::EventDelete, params).await
}

/// Removes runs that ended before `before`, and definitions that nobody needs any more: how many of the former.
async fn sweep_runs(conn: &Conn, before: i64) -> Result<u64, StoreError> {
    let params: Params<'_> = vec![&before, &BATCH];
    let runs = conn.change(SWEEP, Sql::RunDelete, params).await?;
    conn.change(SWEEP, Sql::DefinitionDelete, vec![]).await?;
    Ok(runs)
}

async fn now(conn: &Conn) -> Result<i64, StoreError> {
    let text = conn.text_rows("SELECT now_us()").await;
    let text = text.map_err(|e| crate::error::fail(SWEEP, e))?;
    let now = text
        .into_iter()
        .next()
        .flatten()
        .and_then(|text| text.parse().ok());
    now.ok_or_else(|| StoreError::corrupt(SWEEP, "function now_us: no number".to_owned()))
}

/// One window of retention. Gives how much was removed and where the next window starts, if there is one.
async fn walk(
    conn: &Conn,
    sql: Sql,
    from: Option<Id>,
    before: i64,
) -> Result<(u64, Option<Id>), StoreError> {
    let from = from.unwrap_or(Id([0; 16]));
    let until = first_id_at(before.saturating_add(SKEW));
    let params: Params<'_> = vec![&from, &until, &before, &WINDOW];
    let rows = conn.rows(SWEEP, sql, params).await?;
    let Some(row) = rows.first() else {
        return Ok((0, None));
    };
    let row = Reader::new(row, SWEEP, "message");
    Ok((row.number::<i64, _>("removed")?, row.get("last")?))
}

/// The first message id of a moment.
fn first_id_at(micros: i64) -> Id {
    let millis = u64::try_from(micros / 1000).unwrap_or(0);
    let mut id = [0; 16];
    id[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    Id(id)
}

async fn drop_days(
    conn: &Conn,
    metadata_before: i64,
    bodies_before: i64,
) -> Result<Swept, StoreError> {
    let mut swept = Swept::default();
    let rows = conn
        .rows(SWEEP, Sql::DayDrop, vec![&metadata_before, &bodies_before])
        .await?;
    if let Some(row) = rows.first() {
        let row = Reader::new(row, SWEEP, "message");
        swept.messages = row.number::<i64, _>("messages")?;
        swept.bodies = row.number::<i64, _>("bodies")?;
    }
    Ok(swept)
}

async fn sweep_bodies(conn: &Conn) -> Result<u64, StoreError> {
    conn.change(SWEEP, Sql::BodyOrphans, vec![&BATCH]).await?;
    let chunks = count(conn, Sql::ChunkDelete, CHUNKS).await?;
    conn.change(SWEEP, Sql::BodyDelete, vec![&BATCH]).await?;
    Ok(chunks)
}

async fn count(conn: &Conn, sql: Sql, limit: i64) -> Result<u64, StoreError> {
    let rows = conn.rows(SWEEP, sql, vec![&limit]).await?;
    rows.first().map_or(Ok(0), |row| {
        Reader::new(row, SWEEP, "count").number::<i64, _>("count")
    })
}

/// Adds the partitions of the days to come, once a day.
async fn add_days_ahead(store: &PostgresStore, conn: &Conn, now: i64) -> Result<(), StoreError> {
    let today = day_of(now);
    if lock(&store.progress).days_until >= today + DAYS_AHEAD {
        return Ok(());
    }
    add(conn, today - 1, today + DAYS_AHEAD).await?;
    lock(&store.progress).days_until = today + DAYS_AHEAD;
    Ok(())
}

/// Adds the partitions of today and the days to come.
pub(crate) async fn add_days(store: &PostgresStore) -> Result<(), StoreError> {
    let work = store.work(SWEEP, async |conn| {
        let now = now(conn).await?;
        add_days_ahead(store, conn, now).await
    });
    store.run(SWEEP, 1, store.maintain_timeout(), work).await
}

/// Adds the partitions of today and the days to come, within the transaction on `conn`, at the moment `now`.
pub(crate) async fn add_days_on(conn: &Conn, now: i64) -> Result<(), StoreError> {
    let today = day_of(now);
    add(conn, today - 1, today + DAYS_AHEAD).await
}

/// Adds the partitions for messages that found none: no sweep for a week, or a node whose clock is wrong.
pub(crate) async fn add_days_of(
    store: &PostgresStore,
    messages: Vec<MessageId>,
) -> Result<(), StoreError> {
    let mut days: Vec<i32> = messages.into_iter().map(day_of_id).collect();
    days.sort_unstable();
    days.dedup();
    let work = store.work(SWEEP, async |conn| {
        let today = day_of(now(conn).await?);
        add(conn, today - 1, today + DAYS_AHEAD).await?;
        for day in &days {
            add(conn, *day, *day).await?;
        }
        Ok(())
    });
    store.run(SWEEP, 1, store.maintain_timeout(), work).await
}

async fn add(conn: &Conn, first: i32, last: i32) -> Result<(), StoreError> {
    conn.rows(SWEEP, Sql::DayAdd, vec![&first, &last]).await?;
    Ok(())
}

fn day_of(micros: i64) -> i32 {
    i32::try_from(micros.div_euclid(DAY_US)).unwrap_or(0)
}

fn day_of_id(id: MessageId) -> i32 {
    let bytes = id.to_bytes();
    let millis = bytes[..6]
        .iter()
        .fold(0_i64, |all, byte| all << 8 | i64::from(*byte));
    day_of(millis.saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use quayside_store::model::{SeededEntropy, Timestamp};

    use super::*;

    #[test]
    fn ids_fall_into_the_day_that_they_were_made_on() {
        let entropy = SeededEntropy::new(3);
        for (time, day) in [
            (0, 0),
            (DAY_US - 1000, 0),
            (DAY_US, 1),
            (20_000 * DAY_US, 20_000),
        ] {
            let id = MessageId::new(Timestamp::from_micros(time), &entropy);
            assert_eq!(day_of_id(id), day, "{time}");
            assert!(first_id_at(time) <= Id::from(id), "{time}");
            assert!(first_id_at(time + 1000) > Id::from(id), "{time}");
        }
    }
}
