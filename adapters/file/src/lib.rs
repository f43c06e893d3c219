//! Folders: a receive location takes files out of one, a send port puts files into one.
//!
//! **Receiving** promises: a file is removed or archived only after its message is stored; several
//! instances may work on one folder; after a crash of any of them at any point each file is one message.
//! The exclusive take is a rename to `.taken-<owner>-<id>-<name>`: the id is the dedupe key of the file
//! and survives the crash, the owner says whose it is. **Sending** promises: a reader of the folder sees
//! whole files only, and a repeated send leaves one file. The README lists every setting and guarantee.
//!
//! What it does not do: it does not watch the folder (polling works on every file system, change events
//! do not), does not look into files and does not go into sub folders when it receives.
//!
//! Reading order: [`config`], then `watch`, `taken`, `recover` and `receive`, then `send`.

mod adapter;
mod body;
pub mod codes;
pub mod config;
mod error;
mod folder;
mod holder;
mod names;
mod receive;
mod recover;
mod send;
mod taken;
mod watch;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use adapter::FileAdapter;
