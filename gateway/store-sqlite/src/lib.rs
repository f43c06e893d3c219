//! The embedded store: SQLite in one folder of one machine, with no set-up.
//!
//! [`SqliteStore`] keeps the contract of `quayside-store` for one process at a time: a lock on the folder
//! proves that no other one lives, so opening the store declares every earlier instance dead. Several
//! processes need the PostgreSQL store.
//!
//! # How it works
//! - One thread [writes](writer). Each call of the contract is one job and one named transaction; a batch
//!   is one `COMMIT` and one fsync (write-ahead log, `synchronous=FULL`). A call that was queued runs to
//!   its end even if the caller goes away.
//! - Two threads [read](readers) for people and for bodies; they see the last commit and stop nobody.
//! - One thread moves the log into the database file ([`checkpoint`]), so that commits do not pay for it.
//!
//! # What it does not do
//! It does not work on network file systems and refuses them. It never runs SQL that is not in `sql/`,
//! one statement per file under the same name as in the PostgreSQL store.

mod bodies;
mod browse;
mod checkpoint;
mod claims;
mod commit;
mod controls;
mod dedupe;
mod error;
mod history;
mod lock;
mod maintain;
mod migrate;
mod open;
mod operate;
mod order;
mod publish;
mod readers;
mod restored;
mod row;
mod runs;
mod sessions;
mod settle;
mod sources;
mod tx;
mod work;
mod writer;

pub use lock::FolderLock;
pub use open::{
    DATABASE_FILE, Options, SqliteStore, Synchronous, check_free, identity, make_folder,
    take_folder,
};
