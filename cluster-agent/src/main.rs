//! The program `quayside-agent`: one per node of a cluster. It keeps the node's session at the store, runs one
//! `quayside` process for each host of the node, and makes the process of a clustered host the active one, or
//! has another node do that.
//!
//! It decides nothing itself: that is `quayside-lease`. Reading order: [`plan`] for what is to run, [`driver`] for
//! the loop between the pure core and the world, [`store`] for what the store is asked, [`hosts`] and
//! [`spawner`] for the processes, [`watchdog`] for what holds when the loop does not.
//!
//! # Threads
//! - **main** starts processes and does nothing else: the kernel kills a process whose parent *thread* ends.
//! - **lease** has a runtime and a connection to the store of its own, so that no other work delays a renewal.
//! - **watchdog** reads clocks and kills: it works while nothing else does.
//!
//! # Signals
//! TERM and INT drain everything and end the session; a second one kills. HUP has every process read its
//! configuration again.

mod codes;
mod driver;
mod formers;
mod hosts;
mod lock;
mod namesakes;
mod page;
mod plain;
mod plan;
mod spawner;
mod store;
mod watchdog;

use std::{io::Write as _, path::PathBuf, process::ExitCode, sync::Arc, sync::mpsc, thread};

use clap::Parser;
use tracing::{error, info};

use crate::{driver::Driver, lock::RunLock, plan::Plan, watchdog::Watchdog};

/// The agent of a node: runs its hosts, keeps its session, takes over from other nodes.
#[derive(Debug, Parser)]
#[command(name = "quayside-agent", version, after_help = EXITS)]
struct Args {
    /// The folder of an application, or of several
    dir: PathBuf,
    /// The file of the environment: hosts and variables
    #[arg(long, value_name = "FILE")]
    group: PathBuf,
    /// The file of this node: store, listeners, secrets
    #[arg(long, value_name = "FILE")]
    node: PathBuf,
    /// The program that runs the hosts; by default the one beside this one
    #[arg(long, value_name = "FILE", env = "QUAYSIDE_PROGRAM")]
    program: Option<PathBuf>,
}

const EXITS: &str = "\
Exit codes: 0 stopped, all is drained or with another node, 1 failed, 2 wrong usage, 10 the configuration has errors,
11 the store's schema is of another version.";

/// The exit code of a configuration that has errors.
const BAD_CONFIG: u8 = 10;

/// Why the agent cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}\n  help: {}", .code.remedy)]
pub(crate) struct Failure {
    pub(crate) code: quayside_model::Code,
    pub(crate) message: String,
    /// The exit code.
    pub(crate) exit: u8,
}

impl Failure {
    pub(crate) fn new(code: quayside_model::Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            exit: 1,
        }
    }

    /// A store that cannot be used: waiting does not mend it.
    pub(crate) fn store(error: &quayside_store::StoreError) -> Self {
        use quayside_store::StoreErrorKind as Kind;
        let mut failure = Self::new(error.kind.code(), store::chain(error));
        failure.exit = match error.kind {
            Kind::Config | Kind::Copied => BAD_CONFIG,
            Kind::Schema => 11,
            _ => 1,
        };
        failure
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // If nobody reads standard error there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "quayside-agent: {failure}");
            ExitCode::from(failure.exit)
        }
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    let program = plan::Program::find(args)?;
    let plan = Plan::ask(&program)?;
    let _log = plan.log.start();
    let lock = RunLock::take(&plan.run_dir)?;
    info!(node = %plan.node, hosts = plan.hosts.len(), "the agent starts");
    let watchdog = Arc::new(Watchdog::default());
    let (orders, spawns) = mpsc::sync_channel(spawner::ORDERS_MAX);
    let driver = Driver {
        plan,
        program,
        lock,
        spawner: orders,
        watchdog: Arc::clone(&watchdog),
    };
    let failed = |error: std::io::Error| Failure::new(codes::THREAD, error.to_string());
    let over = Arc::clone(&watchdog);
    let lease = thread::Builder::new().name("lease".to_owned());
    let lease = lease.spawn(move || {
        let result = driver.run();
        over.end();
        result
    });
    let lease = lease.map_err(failed)?;
    let guard = thread::Builder::new().name("watchdog".to_owned());
    let guard = guard.spawn(move || watchdog.run()).map_err(failed)?;
    // Until the lease thread drops its end.
    spawner::serve(&spawns);
    let joined = (lease.join(), guard.join());
    match joined {
        (Ok(result), Ok(())) => result,
        _ => {
            error!(code = %codes::THREAD, "a thread of the agent panicked");
            Err(Failure::new(
                codes::THREAD,
                "a thread of the agent panicked",
            ))
        }
    }
}
