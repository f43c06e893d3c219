//! The store on PostgreSQL 14 and later: for several processes on several machines.
//!
//! [`PostgresStore`] keeps the contract of `quayside-store`. Its own replication and failover are the
//! database's (Patroni, a cloud service); this crate makes sure that what it reports as durable survives
//! them: a COMMIT that broke, or that the server warned about, is [`Unknown`], never assumed.
//!
//! # How it works
//! - **Few connections**, each with the statements prepared that it needs. Two commit, two claim, read and keep house.
//! - **A batch is two round trips**: the fence and the dedupe keys, then everything else and COMMIT, with
//!   one multi-row statement per table. The steps of a trip are pipelined.
//! - **The database's clock decides** everything about time.
//! - **Every answer has a deadline.** A connection that missed it is cut, not put back.
//! - SQL is in `sql/`, one statement per file under the name of the same statement of `store-sqlite`.
//!
//! # What it does not do
//! It does not apply the schema by itself: call [`PostgresStore::migrate`] on an empty store. It runs no
//! task but those that move the bytes of its connections, and [`PostgresStore::close`] awaits these.
//!
//! [`Unknown`]: quayside_store::StoreErrorKind::Unknown

mod access;
mod address;
mod bodies;
mod browse;
mod claims;
mod cluster;
mod commit;
mod controls;
mod error;
mod maintain;
mod migrate;
mod operate;
mod pool;
mod refused;
mod restored;
mod row;
mod runs;
mod sessions;
mod sources;
mod sql;
mod store;
mod work;

pub use access::{client_tls, password_file, private_file};
pub use restored::{Restored, WhatWasSent};
pub use store::{Options, Password, PostgresStore};
