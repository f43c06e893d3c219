//! Why a database does not let this process in, for the person who configured it: where, as whom, and what
//! to look at. Never the password.

use std::error::Error as _;

use quayside_store::{StoreError, StoreErrorKind};
use tokio_postgres::{
    Config, Error,
    config::Host,
    error::{DbError, SqlState},
};

use crate::error::{fail, kind_of};

/// Where PostgreSQL listens unless an address says otherwise.
const PORT: u16 = 5432;

/// The error of `operation` with who asked, which server, and what to do about a refusal.
pub(crate) fn explain(config: &Config, operation: &'static str, error: Error) -> StoreError {
    let lacks_password = lacks_password(&error);
    let kind = if lacks_password {
        StoreErrorKind::Config
    } else {
        kind_of(&error)
    };
    let advice = if lacks_password {
        Some("name the secret that holds its password by `[store] password`")
    } else {
        error.as_db_error().map(DbError::code).and_then(advice)
    };
    let told = fail(operation, error).source;
    let mut text = format!("{told}; {}", place(config));
    if let Some(advice) = advice {
        text = format!("{text}: {advice}");
    }
    StoreError::new(kind, operation, text)
}

/// Whether the server wants a password and none was given. It is the driver that says so, before it sends
/// anything, and in words only.
fn lacks_password(error: &Error) -> bool {
    error
        .source()
        .is_some_and(|cause| cause.to_string() == "password missing")
}

/// Which setting, or which right at the server, a refusal is about.
fn advice(state: &SqlState) -> Option<&'static str> {
    match (state.code(), state.code().get(..2).unwrap_or("")) {
        ("28P01", _) => {
            Some("correct the secret that `[store] password` names, or the user in `[store] url`")
        }
        (_, "28") => Some("correct `[store] url`, or let this user in by the server's pg_hba.conf"),
        ("3D000", _) => {
            Some("create this database with this user as its owner, or correct `[store] url`")
        }
        ("42501", _) => Some("make this user the owner of this database and of all that is in it"),
        _ => None,
    }
}

/// Who wants what, and where.
pub(crate) fn place(config: &Config) -> String {
    let host = match (config.get_hosts().first(), config.get_hostaddrs().first()) {
        (Some(Host::Tcp(name)), _) => name.clone(),
        (Some(Host::Unix(path)), _) => path.display().to_string(),
        (None, Some(address)) => address.to_string(),
        (None, None) => "of no name".to_owned(),
    };
    let port = config.get_ports().first().copied().unwrap_or(PORT);
    let user = config.get_user().map_or_else(
        || "the user that runs this process".to_owned(),
        |name| format!("user `{name}`"),
    );
    let database = config.get_dbname().map_or_else(
        || "the database of that name".to_owned(),
        |name| format!("database `{name}`"),
    );
    format!("{user}, {database}, host {host}, port {port}")
}
