//! The schema: numbered migrations, applied to an empty store; any version that this program does not
//! know is refused.

use std::time::Duration;

use quayside_store::{StoreError, StoreErrorKind};
use tokio_postgres::error::SqlState;

use crate::{
    PostgresStore,
    error::fail,
    maintain,
    pool::{Conn, Use},
};

/// The migrations, from version 1.
const MIGRATIONS: [&str; 5] = [
    include_str!("../migrations/0001_initial.sql"),
    include_str!("../migrations/0002_intent.sql"),
    include_str!("../migrations/0003_cluster.sql"),
    include_str!("../migrations/0004_lineage_and_runs.sql"),
    include_str!("../migrations/0005_deaths.sql"),
];

/// The version that this program works by. It also runs on the next one, which by rule only adds.
const VERSION: i32 = 5;

/// Two starters of one empty store take turns. The number is that of the word, for whoever looks at locks.
const TURN: &str = "SELECT pg_advisory_xact_lock(hashtext('quayside migrate'))";

/// All traffic of programs that run on the old version queues behind a change of a table that waits for
/// whoever has it, a vacuum, say: so it waits this long only, and is tried again.
const TABLES: &str = "SET LOCAL lock_timeout = '100ms'";
/// The pause before that, in which the traffic goes on.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

impl PostgresStore {
    /// Brings an empty store to this program's version, and an older one up to it. Durable when it
    /// returns. Idempotent; several processes may call it at once.
    ///
    /// # Errors
    /// `Schema` if the store is of a version that this program does not know; `Copied` if it is a copy.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.bring_up().await?;
        // Whether it is a copy is looked at with each connection that is to work.
        self.work("open the store", async |_| Ok(())).await?;
        maintain::add_days(self).await
    }

    /// As [`migrate`](Self::migrate), for whoever may work on a copy.
    pub(crate) async fn bring_up(&self) -> Result<(), StoreError> {
        const OPERATION: &str = "migrate store";
        self.run(OPERATION, 1, self.maintain_timeout(), async {
            let held = self.pool().bare(Use::Work, OPERATION).await?;
            let mut run = apply(held.conn()).await;
            while run.as_ref().is_err_and(Wrong::is_in_the_way) {
                let back = held.conn().simple("ROLLBACK").await;
                back.map_err(|e| fail(OPERATION, e))?;
                tokio::time::sleep(BETWEEN_TRIES).await;
                run = apply(held.conn()).await;
            }
            run.map_err(|e| match e {
                Wrong::Driver(e) => self.pool().explain(OPERATION, e),
                Wrong::Store(e) => e,
            })?;
            held.keep();
            Ok(())
        })
        .await
    }
}

enum Wrong {
    Driver(tokio_postgres::Error),
    Store(StoreError),
}

impl Wrong {
    /// Whether a table is in use for longer than traffic may be made to wait.
    fn is_in_the_way(&self) -> bool {
        matches!(self, Self::Driver(e) if e.code() == Some(&SqlState::LOCK_NOT_AVAILABLE))
    }
}

impl From<tokio_postgres::Error> for Wrong {
    fn from(e: tokio_postgres::Error) -> Self {
        Self::Driver(e)
    }
}

async fn apply(conn: &Conn) -> Result<(), Wrong> {
    // The server's own notices about waiting are not for here: another starter may need longer than the
    // lock timeout of a work connection.
    conn.simple("BEGIN; SET LOCAL lock_timeout = '30s'").await?;
    conn.simple(TURN).await?;
    let known = conn
        .text_rows("SELECT to_regclass('schema_version') IS NOT NULL AS known")
        .await?;
    let current = if known.first().is_some_and(|v| v.as_deref() == Some("t")) {
        let version = conn
            .text_rows("SELECT max(version) FROM schema_version")
            .await?;
        version
            .into_iter()
            .next()
            .flatten()
            .and_then(|v| v.parse().ok())
            .unwrap_or(0)
    } else {
        0
    };
    conn.simple(TABLES).await?;
    if current > VERSION {
        conn.simple("ROLLBACK").await?;
        return check(Some(current), "migrate store").map_err(Wrong::Store);
    }
    for (version, text) in (1..)
        .zip(MIGRATIONS)
        .filter(|(version, _)| *version > current)
    {
        conn.simple(text).await?;
        let record = format!("INSERT INTO schema_version VALUES ({version}, now_us())");
        conn.simple(&record).await?;
    }
    conn.simple("COMMIT").await?;
    Ok(())
}

/// Whether this program works on a store of this version.
pub(crate) fn check(version: Option<i32>, operation: &'static str) -> Result<(), StoreError> {
    match version {
        Some(version) if version == VERSION || version == VERSION + 1 => Ok(()),
        other => {
            let found = other.map_or_else(|| "none".to_owned(), |v| v.to_string());
            let what = format!("the store is of version {found}, this program is of {VERSION}");
            Err(StoreError::new(StoreErrorKind::Schema, operation, what))
        }
    }
}

/// Whether the store lies where it was made, or last released.
pub(crate) fn check_place(
    is_here: Option<bool>,
    operation: &'static str,
) -> Result<(), StoreError> {
    match is_here {
        Some(true) => Ok(()),
        _ => {
            let what =
                "the store was made in another database: it was restored from a backup, or copied";
            Err(StoreError::new(StoreErrorKind::Copied, operation, what))
        }
    }
}
