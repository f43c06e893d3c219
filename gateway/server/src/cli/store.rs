//! `quayside store`.

use std::{
    fs::{File, OpenOptions, Permissions},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{Args, Subcommand};
use quayside_store::{StoreError, StoreErrorKind, lease::Epoch};
use quayside_store_postgres::{Restored, WhatWasSent};
use quayside_store_sqlite::{DATABASE_FILE, check_free, identity, make_folder, take_folder};
use serde_json::json;

use super::{DEFAULT_ADMIN, Remote, Show, client::Client, codes, output};
use crate::{
    config::{self, Defaults, NodeConfig, Report},
    exit::{Exit, Failure, root},
    secrets::FolderSecrets,
    wiring::{self, OpenStore, StoreFailure},
};

/// The folder in the data folder in which a backup becomes a store.
const RESTORING: &str = "restoring";
const SECOND_US: i64 = 1_000_000;

/// What to do with the store.
#[derive(Debug, Subcommand)]
pub(super) enum StoreVerb {
    /// Bring the schema to the version of this program
    Migrate(NodeArgs),
    /// Copy the embedded store: through the running node with `--admin`, or while it stands still
    Backup(BackupArgs),
    /// Put a backup into the place of an embedded store that does not exist yet
    Restore(RestoreArgs),
    /// Release a PostgreSQL store that was restored, before anything starts on it: new epochs, and what was open in doubt
    Restored(RestoredArgs),
}

/// Whose store.
#[derive(Debug, Args)]
pub(super) struct NodeArgs {
    /// The file of the node
    #[arg(long, value_name = "FILE")]
    node: Option<PathBuf>,
    /// The data folder, for a node without a file; .quayside if absent
    #[arg(long, value_name = "DIR", conflicts_with = "node")]
    data_dir: Option<PathBuf>,
}

/// From where and to where.
#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// The file to write, on the machine of the node; it must not exist
    to: PathBuf,
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    remote: Remote,
}

/// From where and to where.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The backup
    from: PathBuf,
    #[command(flatten)]
    node: NodeArgs,
}

/// What happened since the backup.
#[derive(Debug, Args)]
pub(super) struct RestoredArgs {
    /// Everything stood still from before the backup on, as in a planned move: nothing is in doubt because of it
    #[arg(long)]
    nothing_sent: bool,
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    show: Show,
}

/// Runs the verb.
pub(super) async fn store(verb: &StoreVerb) -> Result<Exit, Failure> {
    match verb {
        StoreVerb::Migrate(args) => migrate(args).await,
        StoreVerb::Backup(args) => backup(args).await,
        StoreVerb::Restore(args) => restore(args).await,
        StoreVerb::Restored(args) => restored(args).await,
    }
}

impl NodeArgs {
    /// Whether the operator said whose store is meant.
    fn is_named(&self) -> bool {
        self.node.is_some() || self.data_dir.is_some()
    }

    fn load(&self) -> Result<NodeConfig, Failure> {
        let report = Report::default();
        let data_dir = self.data_dir.clone();
        let data_dir = data_dir.unwrap_or_else(|| PathBuf::from(config::DATA_DIR));
        let defaults = Defaults::of_this_machine(data_dir);
        config::load_node(self.node.as_deref(), &defaults, &report).ok_or_else(|| {
            let message = format!("the file of the node has errors\n{report}");
            Failure::new(config::codes::WRONG_VALUE, message).exiting(Exit::BadConfig)
        })
    }
}

/// As [`open`], as a failure of a verb.
async fn open_in(node: &NodeConfig) -> Result<OpenStore, Failure> {
    open(node).await.map_err(Failure::from)
}

async fn open(node: &NodeConfig) -> Result<OpenStore, StoreFailure> {
    let secrets = Arc::new(FolderSecrets::new(&node.secrets));
    wiring::open_store(node, secrets, wiring::clock()).await
}

async fn migrate(args: &NodeArgs) -> Result<Exit, Failure> {
    let node = args.load()?;
    if node.store.url.is_none() && !may_hold_a_store(&node) {
        return Err(no_store(&node));
    }
    // Opening migrates: an empty or older store is brought up, a newer one is refused.
    let store = open(&node).await?;
    let message = format!(
        "The {} store has the schema of this program.\n",
        store.store.dialect()
    );
    store.close().await;
    output::print(&message)
}

/// A folder with a store, or an empty one that is to get it. Whatever else is there, its name was probably
/// not meant: a store that nobody will look for would be made in it.
fn may_hold_a_store(node: &NodeConfig) -> bool {
    node.data_dir.join(DATABASE_FILE).is_file()
        || std::fs::read_dir(&node.data_dir).is_ok_and(|mut entries| entries.next().is_none())
}

async fn backup(args: &BackupArgs) -> Result<Exit, Failure> {
    let to = std::path::absolute(&args.to).unwrap_or_else(|_| args.to.clone());
    // Who names a node and no store means the store of that node, wherever it is.
    if args.remote.names_a_node() && !args.node.is_named() {
        ask(&args.remote.client()?, &to, None).await?;
        return backed_up(args, &to);
    }
    let node = args.node.load()?;
    if let Some(url) = &node.store.url {
        return Err(Failure::new(codes::POSTGRES_TOOLS, pg_dump(url, &args.to)));
    }
    expect_a_store(&node)?;
    let outcome = if args.remote.names_a_node() {
        // Looked at only: a store that is refused is neither opened nor migrated.
        check_free(&node.data_dir)
            .map_err(StoreFailure::Store)
            .and_then(|()| Err(StoreFailure::Other(of_no_process(args, &node))))
    } else {
        copy_myself(&node, &to).await
    };
    match outcome {
        Ok(()) => {}
        // The gateway has it open: the gateway copies it.
        Err(StoreFailure::Store(error)) if error.kind == StoreErrorKind::Occupied => {
            ask_its_process(args, &node, &to, &error).await?;
        }
        Err(failure) => return Err(failure.into()),
    }
    backed_up(args, &to)
}

fn expect_a_store(node: &NodeConfig) -> Result<(), Failure> {
    let database = node.data_dir.join(DATABASE_FILE);
    match database.try_exists() {
        Ok(true) => Ok(()),
        Ok(false) => Err(no_store(node).with_help(
            "Name the running node with `--admin URL`, its file with `--node FILE`, or its data folder \
             with `--data-dir DIR`.",
        )),
        Err(error) => Err(unreadable(&database, &error)),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(codes::FILE, format!("{}: {error}", path.display()))
}

/// Copies a store that no process has open.
async fn copy_myself(node: &NodeConfig, to: &Path) -> Result<(), StoreFailure> {
    // The store itself refuses to overwrite too, but says no more than that it cannot.
    if let Some(message) = taken(to) {
        return Err(StoreFailure::Other(Failure::new(codes::EXISTS, message)));
    }
    let store = open(node).await?;
    let embedded = store
        .embedded
        .as_ref()
        .expect("a store without a URL is embedded");
    embedded
        .backup(to)
        .await
        .map_err(|error| StoreFailure::Other(wiring::store_failure(&error)))
}

/// The node writes the copy, on its own machine: of the `store` of this identity, or of whichever it has.
async fn ask(client: &Client, to: &Path, store: Option<&str>) -> Result<(), Failure> {
    let mut call = json!({ "to": to });
    if let Some(store) = store {
        call["store"] = store.into();
    }
    client.post("/store/backup", &call).await.map(drop)
}

/// Has the store copied by the process that has it open, if that is the node at the admin address. Any
/// other node refuses, because the call says which store is meant.
async fn ask_its_process(
    args: &BackupArgs,
    node: &NodeConfig,
    to: &Path,
    occupied: &StoreError,
) -> Result<(), Failure> {
    let store = identity(&node.data_dir).map_err(|error| unreadable(&node.data_dir, &error))?;
    let client = args.remote.client()?;
    let Err(failure) = ask(&client, to, Some(&store)).await else {
        return Ok(());
    };
    let message = format!(
        "{}; the node at {} was asked to copy it: {}",
        root(occupied),
        admin(args),
        failure.message
    );
    let exit = match failure.code {
        codes::NO_NODE => failure.exit,
        codes::BAD_REQUEST => Exit::Failed,
        // It is the right one, or wants to know first who asks: its own code and remedy lead on.
        _ => return Err(Failure { message, ..failure }),
    };
    let help = "Give the admin address of that process with `--admin URL`, or stop the process.";
    Err(Failure::new(occupied.kind.code(), message)
        .exiting(exit)
        .with_help(help))
}

/// A node and a folder are named, and the node cannot have the store of that folder.
fn of_no_process(args: &BackupArgs, node: &NodeConfig) -> Failure {
    let message = format!(
        "no process has the store in {} open, so it is not that of the node at {}",
        node.data_dir.display(),
        admin(args)
    );
    Failure::new(codes::BAD_REQUEST, message)
        .exiting(Exit::Usage)
        .with_help(
            "Leave `--admin` and QUAYSIDE_ADMIN out to copy the store in the folder, or `--data-dir` and \
             `--node` to copy that of the node.",
        )
}

fn admin(args: &BackupArgs) -> &str {
    args.remote.admin.as_deref().unwrap_or(DEFAULT_ADMIN)
}

fn backed_up(args: &BackupArgs, to: &Path) -> Result<Exit, Failure> {
    args.remote.output().text(
        &json!({ "file": to }),
        &format!("Backed up to {}.\n", to.display()),
    )
}

fn no_store(node: &NodeConfig) -> Failure {
    let message = format!("there is no embedded store in {}", node.data_dir.display());
    Failure::new(codes::NOT_FOUND, message)
        .exiting(Exit::NotFound)
        .with_help("Name the file of the node with `--node FILE`, or its data folder with `--data-dir DIR`.")
}

async fn restore(args: &RestoreArgs) -> Result<Exit, Failure> {
    let node = args.node.load()?;
    if let Some(url) = &node.store.url {
        return Err(Failure::new(
            codes::POSTGRES_TOOLS,
            pg_restore(url, &args.from),
        ));
    }
    let target = node.data_dir.join(DATABASE_FILE);
    if target.exists() {
        let message = format!("{} is there already", target.display());
        return Err(Failure::new(codes::EXISTS, message));
    }
    // First of all, so that what cannot be read leaves no folder.
    let unreadable = |error: std::io::Error| {
        let message = format!("{}: {error}", args.from.display());
        Failure::new(codes::FILE, message)
    };
    drop(File::open(&args.from).map_err(unreadable)?);
    // A process that starts meanwhile would make a store of its own here, accept messages, and lose them to this one.
    let _kept = make_folder(&node.data_dir)
        .map_err(|error| StoreError::new(StoreErrorKind::Unavailable, "restore", error))
        .and_then(|()| take_folder(&node.data_dir))
        .map_err(|error| wiring::store_failure(&error))?;
    // In a folder beside it, so that nobody can find it before it knows that it was restored.
    let beside = node.data_dir.join(RESTORING);
    let restored = restore_in(&beside, args, &node, &target).await;
    if let Err(error) = remove(&beside) {
        tracing::warn!(%error, folder = %beside.display(), "the folder of a restore could not be removed");
    }
    let (in_doubt, epoch) = restored?;
    let text = released(in_doubt, epoch);
    output::print(&format!("Restored {}.\n{text}", target.display()))
}

/// Removes a folder with all that is in it, if it is there.
fn remove(folder: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a store of the backup in the folder `beside`, and copies it to `target`.
async fn restore_in(
    beside: &Path,
    args: &RestoreArgs,
    node: &NodeConfig,
    target: &Path,
) -> Result<(u64, Epoch), Failure> {
    let copied = || {
        let backup = File::open(&args.from)?;
        // What a restore that was cut off has left, its log above all: that would be read as one of this copy.
        remove(beside)?;
        // Both for this user alone, as the store itself makes its folder.
        make_folder(&node.data_dir)?;
        copy(backup, &beside.join(DATABASE_FILE))
    };
    copied().map_err(|error| {
        let message = format!("{} to {}: {error}", args.from.display(), target.display());
        Failure::new(codes::FILE, message)
    })?;
    // Opening says whether the file is a store that this program can use.
    let folder = beside.to_owned();
    let store = open_in(&NodeConfig {
        data_dir: folder,
        ..node.clone()
    })
    .await?;
    let embedded = store
        .embedded
        .as_ref()
        .expect("a store without a URL is embedded");
    // The floor of epochs is a second of the clock: each restore has one alone.
    let now = wiring::clock().now().as_micros().rem_euclid(SECOND_US);
    tokio::time::sleep(Duration::from_micros((SECOND_US - now).unsigned_abs())).await;
    let failed = |error: StoreError| wiring::store_failure(&error);
    let released = embedded.restored().await.map_err(failed)?;
    let released = released.ok_or_else(|| wrong_clock("it is before 2026, or after 2057"))?;
    embedded.backup(target).await.map_err(failed)?;
    store.close().await;
    Ok(released)
}

async fn restored(args: &RestoredArgs) -> Result<Exit, Failure> {
    let node = args.node.load()?;
    if node.store.url.is_none() {
        let message = "the store of this node is the embedded one, which `quayside store restore FILE` releases itself";
        return Err(Failure::new(codes::BAD_REQUEST, message)
            .exiting(Exit::Usage)
            .with_help("Name the file of a node on PostgreSQL with `--node FILE`."));
    }
    let secrets = Arc::new(FolderSecrets::new(&node.secrets));
    let store = wiring::prepare_store(&node, secrets, wiring::clock()).await?;
    let postgres = store
        .postgres
        .as_ref()
        .expect("a store with a URL is PostgreSQL");
    let sent = match args.nothing_sent {
        true => WhatWasSent::Nothing,
        false => WhatWasSent::Unknown,
    };
    let outcome = match postgres.reach().await {
        Ok(()) => postgres.restored(sent).await,
        Err(error) => Err(error),
    };
    store.close().await;
    match outcome.map_err(|error| wiring::store_failure(&error))? {
        Restored::Released { in_doubt, epoch } => args.show.output().text(
            &json!({ "in_doubt": in_doubt, "epoch": epoch.to_string() }),
            &released(in_doubt, epoch),
        ),
        Restored::InUse(nodes) => {
            let nodes: Vec<&str> = nodes.iter().map(|node| node.as_str()).collect();
            let message = format!("sessions are renewed: of {}", nodes.join(", "));
            Err(Failure::new(codes::STORE_IN_USE, message))
        }
        Restored::WrongClock(why) => Err(wrong_clock(why)),
    }
}

fn wrong_clock(why: &str) -> Failure {
    Failure::new(codes::STORE_CLOCK, why)
}

/// What an operator has to know about a store that is released.
fn released(in_doubt: u64, epoch: Epoch) -> String {
    let doubt = match in_doubt {
        0 => "No delivery is in doubt.".to_owned(),
        1 => "1 delivery is in doubt: it may have been sent since the backup.".to_owned(),
        many => {
            format!("{many} deliveries are in doubt: they may have been sent since the backup.")
        }
    };
    let then = match in_doubt {
        0 => "",
        _ => {
            "\n  Once processes run: ports with in_doubt = \"resend\" send theirs again under the same key;\n  \
              those with \"hold\" keep theirs for you, in `quayside cluster in-doubt list`."
        }
    };
    format!(
        "{doubt}{then}\nOwners of clustered hosts count from epoch {epoch} on.\nProcesses may start now.\n"
    )
}

/// Copies under another name first, so that a broken copy is never opened as the store. What it makes is for
/// this user alone, however the backup was kept.
fn copy(mut backup: File, target: &Path) -> std::io::Result<()> {
    let folder = target
        .parent()
        .expect("the database file is in the data folder");
    make_folder(folder)?;
    let name = target.with_extension("restoring");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut part = options.open(&name)?;
    // It may be there since a restore that was cut off.
    part.set_permissions(Permissions::from_mode(0o600))?;
    std::io::copy(&mut backup, &mut part)?;
    part.sync_all()?;
    std::fs::rename(&name, target)?;
    File::open(folder)?.sync_all()
}

/// What is in the way of a backup to `to`.
pub(crate) fn taken(to: &Path) -> Option<String> {
    let is_there = to.symlink_metadata().is_ok();
    is_there.then(|| format!("{} exists already", to.display()))
}

/// PostgreSQL has its own tools, which know more than this program would.
pub(crate) fn pg_dump(url: &str, to: &Path) -> String {
    format!(
        "the store of this node is PostgreSQL: run `pg_dump --format=custom --file={} '{url}'`",
        to.display()
    )
}

fn pg_restore(url: &str, from: &Path) -> String {
    format!(
        "the store of this node is PostgreSQL: stop all processes, make the database anew and run \
         `pg_restore --exit-on-error --single-transaction --no-owner {} --dbname='{url}'`, then `quayside store restored`",
        from.display()
    )
}
