//! The programs of a run: built in the profile of this program, started as processes of their own.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use quayside_harness::process::command;

/// Builds the gateway and the partner in the profile of the running program, so that none is stale.
pub(crate) fn build() -> anyhow::Result<()> {
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args([
        "build",
        "--quiet",
        "-p",
        "quayside-server",
        "-p",
        "quayside-cluster-agent",
        "-p",
        "mock-partner",
    ]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let status = build.current_dir(root).status().context("starting cargo")?;
    if !status.success() {
        bail!("the gateway, its agent or the partner does not build");
    }
    Ok(())
}

/// This program again, for another command of it.
pub(crate) fn own() -> anyhow::Result<Command> {
    let path: PathBuf = std::env::current_exe().context("finding the running program")?;
    Ok(command(&path))
}
