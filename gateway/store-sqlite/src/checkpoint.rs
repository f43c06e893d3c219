//! Moves the log into the database file, beside the writer.
//!
//! A passive checkpoint takes nothing from the writer, but under constant load it never meets an end of
//! the log, so the log would grow for ever. Hence two steps: passive ones keep the distance small, and
//! when the log is long the writer itself does the rest, which by then is little, and begins the log anew.

use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::mpsc;

use crate::writer::WeakWriter;

/// From how many pages (of 4 KiB) not yet in the database file on a checkpoint is worth its fsync.
const PASSIVE_PAGES: i64 = 4096;
/// From how many pages on the log is begun anew.
const RESTART_PAGES: i64 = 16_384;
/// From how many pages on the log's file is given back as well: a slow reader made it grow.
const TRUNCATE_PAGES: i64 = 65_536;

/// How long the log is, and how much of it is in the database file, in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Log {
    pages: i64,
    moved: i64,
}

/// Starts the thread. It ends when the writer, which holds the sender of `looks`, has ended.
pub(crate) fn start(
    conn: Connection,
    writer: WeakWriter,
    mut looks: mpsc::Receiver<()>,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("store-checkpoint".to_owned())
        .spawn(move || {
            while looks.blocking_recv().is_some() {
                if let Err(error) = look(&conn, &writer) {
                    tracing::warn!(%error, "the store's log could not be checkpointed");
                }
            }
        })
}

fn look(conn: &Connection, writer: &WeakWriter) -> rusqlite::Result<()> {
    let log = checkpoint(conn, "PRAGMA wal_checkpoint(NOOP)")?;
    if log.pages - log.moved < PASSIVE_PAGES && log.pages < RESTART_PAGES {
        return Ok(());
    }
    let log = checkpoint(conn, "PRAGMA wal_checkpoint(PASSIVE)")?;
    let Some(restart) = restart_of(log) else {
        return Ok(());
    };
    match writer.run_blocking(move |desk| checkpoint(desk.conn(), restart)) {
        // Busy: a reader still needs the log. The next look tries again.
        Some(Err(error))
            if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) =>
        {
            Ok(())
        }
        Some(result) => result.map(drop),
        None => Ok(()),
    }
}

/// How the log is begun anew, if it is time.
fn restart_of(log: Log) -> Option<&'static str> {
    // A reader in the middle of the log stops every checkpoint there: asking the writer is no use.
    let reachable = log.pages - log.moved < PASSIVE_PAGES;
    match log.pages {
        pages if !reachable || pages < RESTART_PAGES => None,
        pages if pages < TRUNCATE_PAGES => Some("PRAGMA wal_checkpoint(RESTART)"),
        _ => Some("PRAGMA wal_checkpoint(TRUNCATE)"),
    }
}

fn checkpoint(conn: &Connection, pragma: &str) -> rusqlite::Result<Log> {
    conn.prepare_cached(pragma)?.query_row([], |row| {
        Ok(Log {
            pages: row.get(1)?,
            moved: row.get(2)?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_begins_anew_only_when_it_is_long_and_nearly_moved() {
        for (pages, moved, restart) in [
            (RESTART_PAGES - 1, RESTART_PAGES - 1, None),
            (RESTART_PAGES, 0, None),
            (
                RESTART_PAGES,
                RESTART_PAGES - 1,
                Some("PRAGMA wal_checkpoint(RESTART)"),
            ),
            (
                TRUNCATE_PAGES,
                TRUNCATE_PAGES,
                Some("PRAGMA wal_checkpoint(TRUNCATE)"),
            ),
        ] {
            assert_eq!(restart_of(Log { pages, moved }), restart, "{pages} {moved}");
        }
    }
}
