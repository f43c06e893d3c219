//! The address of the database, as the driver takes it.

use std::time::Duration;

use quayside_store::{StoreError, StoreErrorKind};
use tokio_postgres::{
    Config, Error,
    config::{Host, SslMode, TargetSessionAttrs},
};

use crate::Options;

/// One configuration for each host of the address, so that each can be given its own time.
pub(crate) fn hosts(options: &Options) -> Result<Vec<Config>, StoreError> {
    let wrong = |what: String| StoreError::new(StoreErrorKind::Config, "read store url", what);
    let url = for_driver(&options.url);
    let all: Config = url.parse().map_err(|e: Error| {
        let cause = std::error::Error::source(&e).map_or_else(String::new, |s| format!(": {s}"));
        wrong(format!(
            "`[store] url` is not a PostgreSQL address: {e}{cause}"
        ))
    })?;
    if options.tls.is_none() && all.get_ssl_mode() == SslMode::Require {
        return Err(wrong(
            "`[store] url` asks for TLS, but no TLS settings are given".to_owned(),
        ));
    }
    let count = all.get_hosts().len().max(all.get_hostaddrs().len());
    if count == 0 {
        return Err(wrong("`[store] url` names no host".to_owned()));
    }
    Ok((0..count).map(|at| one_host(&all, at, options)).collect())
}

/// The driver knows nothing of `verify-ca` and `verify-full`: what is verified is up to the TLS settings.
fn for_driver(url: &str) -> String {
    url.replace("sslmode=verify-full", "sslmode=require")
        .replace("sslmode=verify-ca", "sslmode=require")
}

fn one_host(all: &Config, at: usize, options: &Options) -> Config {
    let mut one = Config::new();
    match all.get_hosts().get(at) {
        Some(Host::Tcp(name)) => {
            one.host(name);
        }
        Some(Host::Unix(path)) => {
            one.host_path(path);
        }
        None => {}
    }
    if let Some(address) = all.get_hostaddrs().get(at) {
        one.hostaddr(*address);
    }
    let ports = all.get_ports();
    if let Some(port) = ports.get(at).or_else(|| ports.first()) {
        one.port(*port);
    }
    if let Some(user) = all.get_user() {
        one.user(user);
    }
    if let Some(name) = all.get_dbname() {
        one.dbname(name);
    }
    if let Some(text) = all.get_options() {
        one.options(text);
    }
    if let Some(password) = all.get_password() {
        one.password(password);
    }
    one.ssl_mode(all.get_ssl_mode())
        .ssl_negotiation(all.get_ssl_negotiation())
        .channel_binding(all.get_channel_binding())
        .application_name("quayside")
        .connect_timeout(options.connect_timeout)
        .tcp_user_timeout(options.commit_timeout)
        .keepalives_idle(Duration::from_secs(2))
        .keepalives_interval(Duration::from_secs(2))
        .target_session_attrs(TargetSessionAttrs::ReadWrite);
    one
}
