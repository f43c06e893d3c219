//! `quayside check`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Show, output};
use crate::{
    config::{self, Defaults, Inputs, Purpose, Report},
    exit::{Exit, Failure},
    wiring,
};

/// Which configuration.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// The folder of an application, or of several
    dir: PathBuf,
    /// The file of the environment
    #[arg(long, value_name = "FILE")]
    group: Option<PathBuf>,
    /// The file of the node
    #[arg(long, value_name = "FILE")]
    node: Option<PathBuf>,
    /// Fail on warnings too
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    show: Show,
}

/// Prints every fault, and ends with 10 if one is an error, or a warning where it is to be strict.
pub(super) fn check(args: &CheckArgs) -> Result<Exit, Failure> {
    let inputs = Inputs {
        dir: args.dir.clone(),
        group: args.group.clone(),
        node: args.node.clone(),
        hosts: Vec::new(),
        defaults: Defaults::of_this_machine(PathBuf::from(config::DATA_DIR)),
        // A check is about all nodes of the group, unless one is named.
        purpose: match &args.node {
            None => Purpose::CheckAnyNode,
            Some(_) => Purpose::CheckNode,
        },
    };
    let report = Report::default();
    let loaded = config::load(&inputs, &wiring::adapters_for_checking(), &report);
    let ok = loaded.is_some() && !(args.strict && report.warnings() > 0);
    let value = json!({
        "ok": ok,
        "errors": report.errors(),
        "warnings": report.warnings(),
        "faults": report.entries(),
    });
    args.show.output().text(&value, &report.to_string())?;
    Ok(if ok { Exit::Ok } else { Exit::BadConfig })
}

/// Loads a configuration for running it; its faults go to standard error.
pub(crate) fn load(
    inputs: &Inputs,
    adapters: &config::transport::Adapters,
) -> Result<config::Loaded, Exit> {
    let report = Report::default();
    let loaded = config::load(inputs, adapters, &report);
    if report.errors() + report.warnings() > 0 {
        output::complain(&report.to_string());
    }
    loaded.ok_or(Exit::BadConfig)
}
