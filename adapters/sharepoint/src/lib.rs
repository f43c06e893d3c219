//! Document libraries of SharePoint: a receive location takes documents out of one, a send port puts documents into one.
//!
//! **Sending** promises: readers of the library see whole documents with all their columns only, under a name that
//! is the same on every attempt, and an attempt whose outcome is not known is followed by a look, not by a second
//! document. **Receiving** promises: a document is archived or deleted only after its message is stored, one version
//! of one document is one message, and several nodes may take from one library with one account; what a crash
//! leaves checked out is freed. The README lists every setting and guarantee.
//!
//! What it does not do: it makes no libraries, columns or views, it writes no lists without documents, it speaks no
//! CSOM and no Graph, and it does not log in by Kerberos (`docs/decisions` says why).
//!
//! Reading order: [`config`], then `names`, `columns`, `odata` and `status` (all pure), `client` with `auth` and
//! `gate`, for NTLM `ntlm` (pure), `accounts`, `dial` and `sessions`, then `publish` (pure), `upload` and `send`, then `listing` and `mark` (pure), `library`, `document`,
//! `holder`, `take`, `settle`, `sweep` and `receive`.

mod accounts;
mod adapter;
mod auth;
mod body;
mod client;
pub mod codes;
mod columns;
pub mod config;
mod dial;
mod document;
mod entra;
mod error;
mod gate;
mod holder;
mod library;
mod listing;
mod mark;
mod names;
mod ntlm;
mod odata;
mod pem;
mod publish;
mod receive;
mod send;
mod sessions;
mod settle;
mod staging;
mod status;
mod sweep;
mod take;
#[cfg(test)]
mod testing_ntlm;
mod upload;

pub use adapter::SharePointAdapter;
