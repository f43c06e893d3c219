//! Moves the log into the database file, beside the writer.
//!
//! A passive checkpoint takes nothing from the writer, but under constant load it never meets an end of
//! the log, so the log would grow for ever. Hence two steps: passive ones keep the distance small, and
//! when the log is long the writer itself does the rest, which by then is little, and begins the log anew.
//!
//! On a full disk that is done however short the log is: it may be the log that has filled the disk, and
//! pages that are in the database file already need no room there.

use std::thread::JoinHandle;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::mpsc;

use crate::writer::WeakWriter;

/// From how many pages (of 4 KiB) not yet in the database file on a checkpoint is worth its fsync.
const PASSIVE_PAGES: i64 = 4096;
/// From how many pages on the log is begun anew.
const RESTART_PAGES: i64 = 16_384;
/// From how many pages on the log's file is given back as well: a slow reader made it grow.
const TRUNCATE_PAGES: i64 = 65_536;

const RESTART: &str = "PRAGMA wal_checkpoint(RESTART)";
const TRUNCATE: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

/// Why the log is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Some commits were made.
    Due,
    /// The disk is full.
    Full,
}

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
    mut looks: mpsc::Receiver<Look>,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("store-checkpoint".to_owned())
        .spawn(move || {
            while let Some(why) = looks.blocking_recv() {
                match look(&conn, &writer, why) {
                    // The transaction that met the full disk has said so.
                    Err(error) if why == Look::Full && is(&error, ErrorCode::DiskFull) => {}
                    Err(error) => {
                        tracing::warn!(%error, "the store's log could not be checkpointed");
                    }
                    Ok(()) => {}
                }
            }
        })
}

fn look(conn: &Connection, writer: &WeakWriter, why: Look) -> rusqlite::Result<()> {
    let log = checkpoint(conn, "PRAGMA wal_checkpoint(NOOP)")?;
    let short = log.pages - log.moved < PASSIVE_PAGES && log.pages < RESTART_PAGES;
    if short && why == Look::Due {
        return Ok(());
    }
    let log = checkpoint(conn, "PRAGMA wal_checkpoint(PASSIVE)")?;
    let Some(restart) = restart_of(log, why) else {
        return Ok(());
    };
    match writer.run_blocking(move |desk| checkpoint(desk.conn(), restart)) {
        // A reader still needs the log. The next look tries again.
        Some(Err(error)) if is(&error, ErrorCode::DatabaseBusy) => Ok(()),
        Some(result) => result.map(drop),
        None => Ok(()),
    }
}

/// Moves the whole log into the database file and gives its file back. For an opening store that has no
/// other connection.
pub(crate) fn give_back(conn: &Connection) -> rusqlite::Result<()> {
    checkpoint(conn, TRUNCATE).map(drop)
}

fn is(error: &rusqlite::Error, code: ErrorCode) -> bool {
    error.sqlite_error_code() == Some(code)
}

/// How the log is begun anew, if it is time.
fn restart_of(log: Log, why: Look) -> Option<&'static str> {
    // A reader in the middle of the log stops every checkpoint there: asking the writer is no use.
    let reachable = log.pages - log.moved < PASSIVE_PAGES;
    match log.pages {
        0 => None,
        _ if !reachable => None,
        // The room of the log may be what the database file lacks.
        _ if why == Look::Full => Some(TRUNCATE),
        pages if pages < RESTART_PAGES => None,
        pages if pages < TRUNCATE_PAGES => Some(RESTART),
        _ => Some(TRUNCATE),
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
        let far = RESTART_PAGES - PASSIVE_PAGES;
        for (pages, moved, due, full) in [
            (0, 0, None, None),
            (1, 1, None, Some(TRUNCATE)),
            (RESTART_PAGES - 1, RESTART_PAGES - 1, None, Some(TRUNCATE)),
            (RESTART_PAGES, far, None, None),
            (RESTART_PAGES, far + 1, Some(RESTART), Some(TRUNCATE)),
            (
                TRUNCATE_PAGES,
                TRUNCATE_PAGES,
                Some(TRUNCATE),
                Some(TRUNCATE),
            ),
        ] {
            let log = Log { pages, moved };
            let found = (restart_of(log, Look::Due), restart_of(log, Look::Full));
            assert_eq!(found, (due, full), "{pages} {moved}");
        }
    }
}
