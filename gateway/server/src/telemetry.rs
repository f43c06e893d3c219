//! Logs: to standard error, one line each, text or JSON.

use std::io::IsTerminal as _;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use crate::config::log::LogConfig;

/// So many lines wait to be read; more are dropped.
const LINES_MAX: usize = 16_384;

/// Sends all logs of the process to standard error. The first call of a process counts. Whoever reads them may stop
/// reading: what is not taken then is dropped, and the work goes on. What is returned writes what is left when it goes.
pub(crate) fn start(config: &LogConfig) -> WorkerGuard {
    // What its connections meet is told by the adapter, once and with a code.
    let level = format!("lapin=off,{}", config.level);
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colors = !plain && std::io::stderr().is_terminal();
    let registry = tracing_subscriber::registry().with(filter);
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_MAX)
        .thread_name("log")
        .finish(std::io::stderr());
    let layer = fmt::layer().with_writer(writer);
    // An error says that the process logs already, which is what is wanted.
    let _ = if config.json {
        registry.with(layer.json().flatten_event(true)).try_init()
    } else {
        registry
            .with(layer.with_ansi(colors).with_target(false))
            .try_init()
    };
    guard
}
