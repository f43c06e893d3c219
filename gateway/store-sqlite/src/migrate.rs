//! Brings a store to this program's schema, one numbered step after the other, and refuses what it does
//! not know.

use quayside_store::{StoreError, StoreErrorKind, model::Timestamp};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use crate::error::DbError;

const OPERATION: &str = "migrate the store";

/// Every step, in order; the number of a step is its place, from 1. Never edited after a release.
const MIGRATIONS: [&str; 4] = [
    include_str!("../migrations/0001_initial.sql"),
    include_str!("../migrations/0002_intent.sql"),
    include_str!("../migrations/0003_runs.sql"),
    include_str!("../migrations/0004_deaths.sql"),
];

/// Applies what is missing. Each step and the note of it are one transaction.
pub(crate) fn migrate(conn: &mut Connection, now: Timestamp) -> Result<(), StoreError> {
    let version = version(conn).map_err(|error| DbError::from(error).into_store(OPERATION))?;
    let known = MIGRATIONS.len();
    let missing = usize::try_from(version)
        .ok()
        .filter(|version| *version <= known);
    let Some(done) = missing else {
        let cause = format!("the store has schema version {version}, this program knows {known}");
        return Err(StoreError::new(StoreErrorKind::Schema, OPERATION, cause));
    };
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(done) {
        apply(conn, step + 1, sql, now)
            .map_err(|error| DbError::from(error).into_store(OPERATION))?;
    }
    Ok(())
}

fn apply(conn: &mut Connection, step: usize, sql: &str, now: Timestamp) -> rusqlite::Result<()> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute_batch(sql)?;
    tx.execute(
        include_str!("../sql/schema_version_insert.sql"),
        (i64::try_from(step).unwrap_or(i64::MAX), now.as_micros()),
    )?;
    tx.commit()
}

/// The newest step that was applied; 0 in an empty store.
fn version(conn: &Connection) -> rusqlite::Result<i64> {
    let exists = conn
        .query_row(include_str!("../sql/schema_version_exists.sql"), [], |_| {
            Ok(())
        })
        .optional()?;
    match exists {
        None => Ok(0),
        Some(()) => conn.query_row(include_str!("../sql/schema_version_read.sql"), [], |row| {
            row.get(0)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_store_is_migrated_once_and_a_newer_one_is_refused() {
        let mut conn = Connection::open_in_memory().unwrap();
        let now = Timestamp::from_micros(1);
        migrate(&mut conn, now).unwrap();
        migrate(&mut conn, now).unwrap();
        let known = i64::try_from(MIGRATIONS.len()).unwrap();
        assert_eq!(version(&conn).unwrap(), known);
        conn.execute("INSERT INTO schema_version VALUES (?1, 0)", [known + 1])
            .unwrap();
        let error = migrate(&mut conn, now).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Schema);
        assert!(
            error
                .source
                .to_string()
                .contains(&format!("version {}", known + 1)),
            "{}",
            error.source
        );
    }
}
