//! `quayside-bench`: how fast the gateway is, as a ratio of what this machine can do at all.
//!
//! Absolute figures say more about a machine than about a program. So each run measures its own
//! ceilings on the same machine in the same minutes, and checks them against HAProxy and pgbench, so
//! that a ceiling cannot be low by our own fault. Clients, partner and gateway are processes of their
//! own; this program starts itself again for the clients and for the forwarder of the HTTP ceiling.
//!
//! Every command ends with one JSON line. Exit codes: 0 measured, 1 invalid or failed, 2 usage.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod broker;
mod ceiling;
mod client;
mod failover;
mod forward;
mod latency;
mod orchestration;
mod passthrough;
mod programs;
mod queue;
mod report;
mod store;

/// Measures the gateway against the ceilings of this machine.
#[derive(Debug, Parser)]
#[command(name = "quayside-bench")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// HTTP in, store, HTTP out: rate, latency, loss, repeats, and the ratio to the ceiling.
    Passthrough(passthrough::Options),
    /// HTTP in, an orchestration that is kept three times, HTTP out: the ratio to passing through.
    Orchestration(orchestration::Options),
    /// Queue in, store, queue out: rates as ratios to the broker's own shovel.
    Queue(queue::Options),
    /// Two nodes with agents: how long nothing comes out when the owner of a clustered host is lost or moved.
    Failover(failover::Options),
    /// The store ceiling alone, for batches of a given size.
    StoreCeiling(passthrough::StoreCeiling),
    /// The clients, as a process of their own.
    #[command(hide = true)]
    Client(client::Options),
    /// The HTTP ceiling's program: the same server and client library with no store between them.
    #[command(hide = true)]
    Forward(forward::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Passthrough(options) => run(passthrough::run(options)),
        Command::Orchestration(options) => run(orchestration::run(options)),
        Command::Queue(options) => run(queue::run(options)),
        Command::Failover(options) => run(failover::run(options)),
        Command::StoreCeiling(options) => run(passthrough::store_ceiling(options)),
        Command::Client(options) => client::run(options).map(|()| true),
        Command::Forward(options) => forward::run(options).map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::say(&format!("quayside-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(work)
}
