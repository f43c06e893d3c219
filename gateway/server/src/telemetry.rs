//! Logs: to standard error, one line each, text or JSON.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use crate::config::log::LogConfig;

/// Sends all logs of the process to standard error. The first call of a process counts.
pub(crate) fn start(config: &LogConfig) {
    // What its connections meet is told by the adapter, once and with a code.
    let level = format!("lapin=off,{}", config.level);
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colors = !plain && std::io::stderr().is_terminal();
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr);
    // An error says that the process logs already, which is what is wanted.
    let _ = if config.json {
        registry.with(layer.json().flatten_event(true)).try_init()
    } else {
        registry
            .with(layer.with_ansi(colors).with_target(false))
            .try_init()
    };
}
