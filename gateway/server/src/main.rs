//! The program `quayside`: reads a configuration, wires adapters and stores to an engine, runs it, and
//! is the operator's tool for all of that.
//!
//! It does not move a message itself: that is the engine's work. Reading order: [`cli`] for the verbs,
//! [`config`] for what the files mean, [`wiring`] for who is connected to whom, [`lifecycle`] for how a
//! process starts, reloads and stops, [`admin`] for the API.

mod admin;
mod agency;
mod cases;
mod cli;
mod config;
mod dev;
mod exit;
mod gateway;
mod lifecycle;
mod map_worker;
mod remedies;
mod secrets;
mod telemetry;
mod tls;
mod wiring;
mod workers;

use std::process::ExitCode;

/// Of all processor time of the hot path a seventh was the C library's allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Before anything else: it is started for single documents.
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|verb| verb == map_worker::VERB) {
        return map_worker::run(args);
    }
    cli::main().into()
}
