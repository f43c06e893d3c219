//! Releasing a store that was restored from a backup: what came after the backup is unknown, and must not be done or
//! granted as if it had never been.

use std::time::Duration;

use quayside_store::{
    StoreError, StoreErrorKind,
    lease::Epoch,
    model::{Name, Timestamp},
};

use crate::{
    PostgresStore,
    error::fail,
    maintain,
    pool::{Conn, Use},
    row::Reader,
    sql::Sql,
};

const OPERATION: &str = "release restored store";

/// How long it may take to mark what is open: as many deliveries as disks hold, and nobody waits for the store.
const MARK: Duration = Duration::from_secs(3600);

/// Nobody opens or renews a session meanwhile.
const ALONE: &str = "BEGIN; LOCK TABLE session IN SHARE ROW EXCLUSIVE MODE";

/// The floor of epochs is a second of the clock. Each release waits for one to begin, so that it has that one alone.
const NEXT_SECOND: &str = "SELECT pg_sleep(1 - extract(epoch FROM clock_timestamp())::numeric % 1)";

/// What was done with messages since the backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhatWasSent {
    /// Whatever was open may have been sent.
    Unknown,
    /// Nothing: all processes stood still from before the backup on.
    Nothing,
}

/// What came of releasing a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restored {
    /// Processes may start.
    Released {
        /// How many deliveries are in doubt now.
        in_doubt: u64,
        /// What the next owner of each clustered host has at least.
        epoch: Epoch,
    },
    /// Nothing is changed: processes of these nodes work on the store.
    InUse(Vec<Name>),
    /// Nothing is changed: the clock of the database is wrong, and epochs could repeat. Why that is known.
    WrongClock(&'static str),
}

impl PostgresStore {
    /// Releases a store that was restored: ends everybody who lived in it, raises the epochs above all that were ever
    /// granted, as [`Epoch::after_restore`] says, and puts what is open in doubt. Waits until the sessions of the
    /// backup have run out. Durable when it returns; calling it again does no harm.
    ///
    /// # Errors
    /// `Schema` if the store is of a version that this program does not know.
    pub async fn restored(&self, sent: WhatWasSent) -> Result<Restored, StoreError> {
        self.bring_up().await?;
        let work = async {
            let held = self.pool().bare(Use::Work, OPERATION).await?;
            let released = release(held.conn(), sent).await?;
            held.keep();
            Ok(released)
        };
        self.run(OPERATION, 1, MARK, work).await
    }
}

async fn release(conn: &Conn, sent: WhatWasSent) -> Result<Restored, StoreError> {
    let sessions = Sessions::look(conn).await?;
    if !sessions.ahead && !sessions.nodes.is_empty() {
        // They are in use if they last longer than that.
        tokio::time::sleep(sessions.last).await;
    }
    simple(conn, ALONE).await?;
    let released = change(conn, sent).await?;
    let end = match released {
        Restored::Released { .. } => "COMMIT",
        _ => "ROLLBACK",
    };
    simple(conn, end).await?;
    Ok(released)
}

/// The transaction.
async fn change(conn: &Conn, sent: WhatWasSent) -> Result<Restored, StoreError> {
    let sessions = Sessions::look(conn).await?;
    if sessions.ahead {
        return Ok(Restored::WrongClock(
            "sessions of the store end later than they could",
        ));
    }
    if !sessions.nodes.is_empty() {
        return Ok(Restored::InUse(sessions.nodes));
    }
    conn.rows(OPERATION, Sql::RestoredEnd, vec![]).await?;
    simple(conn, NEXT_SECOND).await?;
    let row = one(conn, Sql::RestoredEpochs).await?;
    let row = Reader::new(&row, OPERATION, "lineage");
    let (now, timeline): (i64, i64) = (row.get("now")?, row.get("timeline")?);
    let highest = Epoch::new(row.get("highest")?);
    let Some(floor) = Epoch::after_restore(Timestamp::from_micros(now), highest) else {
        return Ok(Restored::WrongClock("it is before 2026, or after 2057"));
    };
    let (more, least) = (floor.timeline() - timeline, floor.raw());
    conn.rows(OPERATION, Sql::RestoredLineage, vec![&more, &least])
        .await?;
    if sent == WhatWasSent::Unknown {
        maintain::add_days_on(conn, now).await?;
        conn.rows(OPERATION, Sql::RestoredDoubt, vec![]).await?;
    }
    let row = one(conn, Sql::RestoredDoubts).await?;
    let row = Reader::new(&row, OPERATION, "delivery");
    Ok(Restored::Released {
        in_doubt: row.number::<i64, _>("count")?,
        epoch: Epoch::new(floor.raw() + 1),
    })
}

/// The sessions that the store tells of.
struct Sessions {
    /// Of which nodes some may be in use.
    nodes: Vec<Name>,
    /// How long the last of those lasts.
    last: Duration,
    /// Whether some last longer than sessions can.
    ahead: bool,
}

impl Sessions {
    async fn look(conn: &Conn) -> Result<Self, StoreError> {
        let row = one(conn, Sql::RestoredSessions).await?;
        let row = Reader::new(&row, OPERATION, "session");
        let nodes: Vec<String> = row.get("nodes")?;
        let nodes = nodes.into_iter().map(|node| {
            Name::new(node.as_str())
                .map_err(|_| StoreError::corrupt(OPERATION, format!("session.node {node}")))
        });
        Ok(Self {
            nodes: nodes.collect::<Result<_, _>>()?,
            last: Duration::from_micros(row.number::<i64, _>("lasts")?),
            ahead: row.get("ahead")?,
        })
    }
}

async fn simple(conn: &Conn, text: &str) -> Result<(), StoreError> {
    let done = conn.simple(text).await;
    done.map(drop).map_err(|e| fail(OPERATION, e))
}

/// The one row of a query.
async fn one(conn: &Conn, sql: Sql) -> Result<tokio_postgres::Row, StoreError> {
    let rows = conn.rows(OPERATION, sql, vec![]).await?;
    rows.into_iter().next().ok_or_else(|| {
        let what = "it holds no lineage: it is no whole copy of a store";
        StoreError::new(StoreErrorKind::Corrupt, OPERATION, what)
    })
}
