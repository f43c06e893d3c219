//! Opening and closing the store, and copying it while it runs.

use std::{
    fs::{DirBuilder, File, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use quayside_store::{
    Store, StoreError, StoreErrorKind,
    measure::Transactions,
    model::{Clock, failpoint},
};
use rusqlite::{
    Connection,
    backup::{Backup, StepResult},
    config::DbConfig,
    ffi,
};
use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    io::Errno,
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    checkpoint,
    error::{DbError, DbResult},
    lock::{FolderLock, LOCK_FILE},
    migrate,
    readers::Readers,
    tx::Tx,
    writer::Writer,
};

/// The name of the database file in the store's folder.
pub const DATABASE_FILE: &str = "quayside.db";
const OPERATION: &str = "open the embedded store";
/// How many queries run side by side.
const READERS: usize = 2;
/// Prepared statements kept per connection: more than there are.
const STATEMENTS: usize = 128;
/// How long a connection waits for a lock that only a checkpoint at its end holds.
const BUSY: Duration = Duration::from_secs(5);

/// Every named transaction.
const TRANSACTIONS: &[&str] = &[
    "commit batch",
    "commit group",
    "claim deliveries",
    "list claims",
    "look what came before",
    "release dead claims",
    "release lanes",
    "fix lanes",
    "claim runs",
    "read inbox",
    "release runs",
    "keep definition",
    "read definition",
    "list definitions",
    "count runs",
    "list runs",
    "show run",
    "order run",
    "renew work",
    "read work",
    "answer work",
    "open session",
    "renew session",
    "list sessions",
    "expire session",
    "close session",
    "register instance",
    "end instance",
    "list instances",
    "take fence",
    "release fence",
    "list fences",
    "open body",
    "append chunk",
    "read chunk",
    "abandon body",
    "list sources",
    "settle sources",
    "take lease",
    "release lease",
    "read controls",
    "set control",
    "apply configuration",
    "resolve deliveries",
    "resume deliveries",
    "terminate deliveries",
    "note resubmission",
    "list doubts",
    "list messages",
    "show message",
    "load message",
    "list deliveries",
    "read answers",
    "count backlog",
    "sweep",
    "probe",
    "release restored store",
];

/// How the store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// What a commit waits for.
    pub synchronous: Synchronous,
}

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// Until the log is on the disk.
    #[default]
    Full,
    /// For nothing: a power failure loses commits. Exists so that the durability test can show that it
    /// would notice; nothing else may use it.
    Off,
}

/// The embedded store. Dropping it finishes what is queued, closes the files and gives the folder back.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    /// `None` only while it is being dropped.
    running: Option<Running>,
    threads: Vec<JoinHandle<()>>,
    transactions: Arc<Transactions>,
    /// Last, so that the folder is given back after everything else has ended.
    _lock: FolderLock,
}

#[derive(Debug)]
struct Running {
    writer: Writer,
    readers: Readers,
}

/// Makes the folder `dir` of a store for this user alone: it will hold contents of messages. One that is
/// there keeps its mode, and missing folders above it are made as usual.
///
/// # Errors
/// As the file system says.
pub fn make_folder(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        made => made,
    }
}

/// What tells the store in `dir` from every other one: the same for all processes that see it, under
/// whatever path, until a process opens it anew. A path alone would not do, because another machine or
/// container can have the same one.
///
/// # Errors
/// `NotFound`: there is no store in `dir`, or none that was ever opened. Others as the file system says.
pub fn identity(dir: &Path) -> io::Result<String> {
    let database = std::fs::metadata(dir.join(DATABASE_FILE))?;
    // Whoever opens the store writes the lock file.
    let lock = std::fs::metadata(dir.join(LOCK_FILE))?;
    Ok(format!(
        "{}-{}-{}.{:09}",
        database.dev(),
        database.ino(),
        lock.mtime(),
        lock.mtime_nsec()
    ))
}

/// Finds out whether a process has the store in the folder `dir` open, without opening it.
///
/// # Errors
/// `Occupied` names the process that has it; `Config` a network file system; `Unavailable`: as the file
/// system says.
pub fn check_free(dir: &Path) -> Result<(), StoreError> {
    FolderLock::take(dir).map(drop)
}

/// Takes the folder `dir`, in which a store is to be put: no process opens one there while the lock is held. What a
/// store that is gone has left beside its file is removed, its log above all, which would be read as one of the next.
///
/// # Errors
/// `Occupied` names the process that has it; `Config`: there is a store, or `dir` is on a network file system;
/// `Unavailable`: as the file system says.
pub fn take_folder(dir: &Path) -> Result<FolderLock, StoreError> {
    let lock = FolderLock::take(dir)?;
    let database = dir.join(DATABASE_FILE);
    if database.exists() {
        let cause = format!("{} is there already", database.display());
        return Err(StoreError::new(StoreErrorKind::Config, OPERATION, cause));
    }
    for end in ["-wal", "-shm", "-journal"] {
        let mut left = database.clone().into_os_string();
        left.push(end);
        match std::fs::remove_file(&left) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(unavailable(error));
            }
            _ => {}
        }
    }
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(unavailable)?;
    Ok(lock)
}

impl SqliteStore {
    /// Opens the store in `dir`, which is [made](make_folder) if it is missing, and declares every instance
    /// of an earlier process dead. Only this user can read its files from then on.
    ///
    /// # Errors
    /// `Occupied`: another process has it. `Config`: `dir` cannot be made, or is on a network file system.
    /// `Schema`: a newer
    /// program wrote it. `Corrupt`, `Full`, `Unavailable`: as SQLite says.
    pub fn open(dir: &Path, clock: Arc<dyn Clock>, options: Options) -> Result<Self, StoreError> {
        make_folder(dir).map_err(|error| {
            let why = format!("the data folder {} cannot be made: {error}", dir.display());
            StoreError::new(StoreErrorKind::Config, OPERATION, why)
        })?;
        let lock = FolderLock::take_from_the_dying(dir)?;
        let path = dir.join(DATABASE_FILE);
        keep_private(&path);
        let conn = prepare(&path, &*clock, options)?;
        let transactions = Arc::new(Transactions::new(TRANSACTIONS));
        let (look, looks) = mpsc::channel(1);
        let readers = (0..READERS).map(|_| connect(&path, options));
        let readers = readers.collect::<Result<Vec<_>, _>>().map_err(refused)?;
        let checkpoints = connect(&path, options).map_err(refused)?;
        let (writer, thread) =
            Writer::start(conn, Arc::clone(&clock), Arc::clone(&transactions), look)
                .map_err(unavailable)?;
        let mut threads = vec![thread];
        let checkpointer = checkpoint::start(checkpoints, writer.downgrade(), looks);
        threads.push(checkpointer.map_err(unavailable)?);
        let (readers, more) =
            Readers::start(readers, &clock, &transactions).map_err(unavailable)?;
        threads.extend(more);
        let running = Some(Running { writer, readers });
        Ok(Self {
            path,
            running,
            threads,
            transactions,
            _lock: lock,
        })
    }

    /// The folder of the store.
    pub fn folder(&self) -> &Path {
        self.path
            .parent()
            .expect("the database file is in the folder")
    }

    /// Writes a consistent copy of the store to the file `to`, which must not exist and is for this user
    /// alone, while the store goes on. The copy is on the disk when it returns.
    ///
    /// # Errors
    /// `Config`: `to` exists. `Full`, `Unavailable`: as the disk says; then there is no file `to`.
    pub async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        const OPERATION: &str = "back the store up";
        let (from, to) = (self.path.clone(), to.to_owned());
        let (reply, answer) = oneshot::channel();
        let failed =
            |error: std::io::Error| StoreError::new(StoreErrorKind::Unavailable, OPERATION, error);
        // A thread of its own: a copy takes long and must not hold up queries.
        let thread = std::thread::Builder::new()
            .name("store-backup".to_owned())
            // A caller that went away does not need its answer.
            .spawn(move || drop(reply.send(copy(&from, &to, OPERATION))))
            .map_err(failed)?;
        let result = answer.await;
        if thread.join().is_err() {
            return Err(failed(std::io::Error::other("the copying thread panicked")));
        }
        result.map_err(|error| failed(std::io::Error::other(error)))?
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.running().writer
    }

    fn running(&self) -> &Running {
        self.running
            .as_ref()
            .expect("taken only by drop, after which nobody can call")
    }

    /// Runs `body` as the transaction `operation` on the writer.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        body: impl FnOnce(&Tx<'_>) -> DbResult<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer()
            .run(operation, move |desk| desk.transact(operation, 1, body))
            .await
    }

    /// The same before everything that waits for the writer: for sessions, whose renewal must not be late
    /// because of load.
    pub(crate) async fn write_first<T: Send + 'static>(
        &self,
        operation: &'static str,
        body: impl FnOnce(&Tx<'_>) -> DbResult<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer()
            .run_first(operation, move |desk| desk.transact(operation, 1, body))
            .await
    }

    /// Runs `body` as the query `operation` on a reader.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        body: impl FnOnce(&Tx<'_>) -> DbResult<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.running().readers.read(operation, body).await
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        drop(self.running.take());
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}

impl Store for SqliteStore {
    fn dialect(&self) -> &'static str {
        "sqlite"
    }

    fn transactions(&self) -> &Transactions {
        &self.transactions
    }
}

/// Opens the first connection and makes the database this process's.
fn prepare(path: &Path, clock: &dyn Clock, options: Options) -> Result<Connection, StoreError> {
    let mut conn = connect(path, options).map_err(refused)?;
    match take_over(&mut conn, clock) {
        // Perhaps full of the log that a killed process has left. Not before the first try: moving the log
        // may take the last room, and that one needs little.
        Err(error) if error.kind == StoreErrorKind::Full => {
            checkpoint::give_back(&conn).map_err(refused)?;
            take_over(&mut conn, clock)?;
        }
        taken => taken?,
    }
    Ok(conn)
}

/// Brings the schema up to date and ends whoever lived in the store. Done again it changes nothing more.
fn take_over(conn: &mut Connection, clock: &dyn Clock) -> Result<(), StoreError> {
    migrate::migrate(conn, clock.now())?;
    let tx = conn.transaction().map_err(refused)?;
    tx.execute(include_str!("../sql/instance_end_all.sql"), [])
        .map_err(refused)?;
    tx.execute(include_str!("../sql/session_end_all.sql"), [])
        .map_err(refused)?;
    tx.commit().map_err(refused)
}

fn connect(path: &Path, options: Options) -> rusqlite::Result<Connection> {
    let conn = Connection::open(path)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    // Otherwise SQLite looks at the bound values to plan, and prepares some statements again at each run.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.busy_timeout(BUSY)?;
    let synchronous = match options.synchronous {
        Synchronous::Full if failpoint::enabled("no-sync") => "OFF",
        Synchronous::Full => "FULL",
        Synchronous::Off => "OFF",
    };
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", synchronous)?;
    // Checkpoints have a thread of their own.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    // In KiB, as the sign says: the pages that a queue of work touches, not the whole store.
    conn.pragma_update(None, "cache_size", -8192)?;
    Ok(conn)
}

/// Makes the database at `path` and what SQLite keeps beside it this user's alone; it gives these files the
/// mode of the database when it makes them. A store that somebody else owns can still be used.
fn keep_private(path: &Path) {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        narrow(Path::new(&name))
    };
    for kept in [make_private(path), beside("-wal"), beside("-shm")] {
        match kept {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, file = %path.display(), "other users may be able to read the store");
            }
            _ => {}
        }
    }
}

/// Makes an empty file for this user alone, or one that is there so. It is never opened here: closing it
/// would take away the locks that a connection of this process has on it.
fn make_private(path: &Path) -> io::Result<()> {
    match mknodat(CWD, path, FileType::RegularFile, Mode::RUSR | Mode::WUSR, 0) {
        Err(Errno::EXIST) => narrow(path),
        made => Ok(made?),
    }
}

/// Takes the rights of others on the file at `path` away, if they have any.
fn narrow(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path)?.mode() & 0o077 == 0 {
        return Ok(());
    }
    std::fs::set_permissions(path, Permissions::from_mode(0o600))
}

fn copy(from: &Path, to: &Path, operation: &'static str) -> Result<(), StoreError> {
    if to.exists() {
        let cause = format!("{} exists already; name a new file", to.display());
        return Err(StoreError::new(StoreErrorKind::Config, operation, cause));
    }
    // Under another name until it is whole, so that a broken copy is never taken for a backup.
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let failed = |error| StoreError::new(StoreErrorKind::Unavailable, operation, error);
    let result = make_private(&part).map_err(failed);
    let result = result.and_then(|()| {
        copy_pages(from, &part).map_err(|error| DbError::from(error).into_store(operation))
    });
    let result = result.and_then(|()| publish_file(&part, to).map_err(failed));
    if result.is_err()
        && let Err(error) = std::fs::remove_file(&part)
    {
        tracing::warn!(%error, file = %part.display(), "a broken copy could not be removed");
    }
    result
}

fn copy_pages(from: &Path, to: &Path) -> rusqlite::Result<()> {
    let source = Connection::open(from)?;
    source.busy_timeout(BUSY)?;
    let mut target = Connection::open(to)?;
    // All pages in one step: a copy in several starts again with every commit in between, and under load
    // never ends. One step reads one state, and in WAL mode stops no writer.
    match Backup::new(&source, &mut target)?.step(-1)? {
        StepResult::Done => {}
        // Somebody else writes the copy's file: it is not a copy.
        _ => {
            return Err(rusqlite::Error::SqliteFailure(
                ffi::Error::new(ffi::SQLITE_BUSY),
                None,
            ));
        }
    }
    // One file with everything in it, not a file and a log.
    target.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))?;
    target.close().map_err(|(_, error)| error)
}

fn publish_file(part: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::File::open(part)?.sync_all()?;
    std::fs::rename(part, to)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn unavailable(error: std::io::Error) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, OPERATION, error)
}

fn refused(error: rusqlite::Error) -> StoreError {
    DbError::from(error).into_store(OPERATION)
}
