//! `quayside run` and `quayside dev`.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use crate::{
    config::{self, Defaults, Inputs, Purpose, codes::NOT_LOOPBACK},
    dev::DevOptions,
    exit::{Exit, Failure},
    lifecycle::{self, Work},
};

/// What to run, and where its settings are.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The folder of an application, or of several
    dir: PathBuf,
    /// The file of the environment: hosts and variables
    #[arg(long, value_name = "FILE")]
    group: Option<PathBuf>,
    /// The file of this node: store, listeners, secrets
    #[arg(long, value_name = "FILE")]
    node: Option<PathBuf>,
    /// Run this host only; may be repeated
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
}

/// What to try out.
#[derive(Debug, Args)]
pub(super) struct DevArgs {
    /// The folder of an application, or of several
    dir: PathBuf,
    /// Where the store and relative folders lie
    #[arg(long, value_name = "DIR", default_value = ".quayside-dev")]
    data_dir: PathBuf,
    /// Where HTTP receive locations listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    http_listen: SocketAddr,
    /// Where the admin API listens; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9470")]
    admin_listen: SocketAddr,
    /// Where the built-in partner listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9471")]
    partner_listen: SocketAddr,
}

/// Runs until it is told to stop.
pub(super) fn run(args: &RunArgs) -> Result<Exit, Failure> {
    lifecycle::run(&inputs_of(args), Work::Hosts, None)
}

/// Answers for the processes of an agent's node until it is told to stop.
pub(super) fn admin(args: &RunArgs) -> Result<Exit, Failure> {
    lifecycle::run(&inputs_of(args), Work::Api, None)
}

fn inputs_of(args: &RunArgs) -> Inputs {
    Inputs {
        dir: args.dir.clone(),
        group: args.group.clone(),
        node: args.node.clone(),
        hosts: args.hosts.clone(),
        purpose: Purpose::Run,
        defaults: Defaults::of_this_machine(PathBuf::from(config::DATA_DIR)),
    }
}

/// Runs an application with everything it needs until it is told to stop.
pub(super) fn dev(args: &DevArgs) -> Result<Exit, Failure> {
    if !args.admin_listen.ip().is_loopback() {
        let detail = format!(
            "`--admin-listen {}`: dev protects nothing",
            args.admin_listen
        );
        return Err(Failure::new(NOT_LOOPBACK, detail));
    }
    let inputs = Inputs {
        dir: args.dir.clone(),
        group: None,
        node: None,
        hosts: Vec::new(),
        purpose: Purpose::Run,
        defaults: Defaults {
            http: args.http_listen,
            admin: args.admin_listen,
            ..Defaults::of_this_machine(args.data_dir.clone())
        },
    };
    lifecycle::run(
        &inputs,
        Work::Hosts,
        Some(DevOptions {
            partner: args.partner_listen,
        }),
    )
}
