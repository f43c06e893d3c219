//! A transaction as the statements see it: a connection, the moment, and short forms of rusqlite's calls.

use quayside_store::model::Timestamp;
use rusqlite::{Connection, Params, Row};

use crate::error::DbResult;

/// A transaction under way. All statements come from the connection's cache.
#[derive(Debug)]
pub(crate) struct Tx<'c> {
    /// The connection.
    pub(crate) conn: &'c Connection,
    /// The moment of the transaction by the store's clock: one for all that it writes.
    pub(crate) now: Timestamp,
}

impl Tx<'_> {
    /// Runs a statement without rows and gives the number of rows that it changed.
    pub(crate) fn execute(&self, sql: &str, params: impl Params) -> DbResult<usize> {
        Ok(self.conn.prepare_cached(sql)?.execute(params)?)
    }

    /// Whether a query has a row.
    pub(crate) fn exists(&self, sql: &str, params: impl Params) -> DbResult<bool> {
        Ok(self.conn.prepare_cached(sql)?.exists(params)?)
    }

    /// The first row, if there is one. A statement that changes rows and returns them is run to its end.
    pub(crate) fn first<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl Fn(&Row<'_>) -> DbResult<T>,
    ) -> DbResult<Option<T>> {
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        let first = rows.next()?.map(read).transpose()?;
        if first.is_some() {
            rows.next()?;
        }
        Ok(first)
    }

    /// Every row.
    pub(crate) fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl Fn(&Row<'_>) -> DbResult<T>,
    ) -> DbResult<Vec<T>> {
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(read(row)?);
        }
        Ok(all)
    }
}
