//! What one open location holds: its owner id, the files given out, what is left to tell the store.

use std::{
    collections::{BTreeMap, HashSet},
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quayside_adapter_api::{
    AdapterError, ErrorKind, Services,
    model::{Entropy, Monotonic, Name, Text, hash16},
};

use crate::{
    codes,
    config::{After, ReceiveSettings},
    error,
    folder::Folder,
    taken::TakenName,
};

/// The owners of this process that still hold something. The store cannot tell them apart: to it, a
/// location that was opened anew and its predecessor that still settles are one live process.
pub(crate) type Owners = Arc<Mutex<HashSet<String>>>;

/// This many cleaned files are told to the store at once; a crash before only repeats harmless work.
const SETTLE_AT_ONCE: usize = 64;

/// Names whose failed reads are counted; beyond, the counting starts anew.
const MAX_COUNTED: usize = 1_024;

/// The state that a location shares with the deliveries that it gave out.
pub(crate) struct Holder {
    pub(crate) location: Name,
    /// The tag of the location and a random part for each opening; it is in the name of each file taken.
    pub(crate) owner: String,
    pub(crate) settings: ReceiveSettings,
    pub(crate) services: Services,
    owners: Owners,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How many taken files are not answered yet.
    out: usize,
    closed: bool,
    /// Files whose delivery was dropped unanswered, or that could not be cleaned up.
    lost: Vec<TakenName>,
    /// Keys of files that are cleaned up, for the store.
    cleaned: Vec<Text>,
    /// The engine asked for a pause until then.
    not_before: Option<Monotonic>,
    read_failures: BTreeMap<String, u32>,
}

impl Holder {
    pub(crate) fn new(
        location: Name,
        settings: ReceiveSettings,
        services: Services,
        owners: Owners,
    ) -> Self {
        let owner = location_tag(&location) + &random_hex(&*services.entropy, 8);
        locked(&owners).insert(owner.clone());
        Self {
            location,
            owner,
            settings,
            services,
            owners,
            state: Mutex::default(),
        }
    }

    /// The key of the lease that says that `owner` lives.
    pub(crate) fn lease_key(owner: &str) -> String {
        format!("taken:{owner}")
    }

    /// Whether an opening of this process, this one or another, is `owner`.
    pub(crate) fn is_own(&self, owner: &str) -> bool {
        locked(&self.owners).contains(owner)
    }

    /// Whether `owner` is an opening of this location, in any process. The store knows leases and marks
    /// by location: what another one took from the same folder is not for this one to judge.
    pub(crate) fn is_of_location(&self, owner: &str) -> bool {
        owner.starts_with(&location_tag(&self.location))
    }

    /// Takes the lease that says that this owner lives, or keeps it.
    pub(crate) async fn keep_lease(&self) -> Result<(), AdapterError> {
        let key = Self::lease_key(&self.owner);
        if self.services.sources.lease(&key).await? {
            return Ok(());
        }
        // This process was taken for dead, and another one adopts its files: go on as a new owner.
        Err(AdapterError::new(
            ErrorKind::Disconnected,
            codes::OWNER_LOST,
            "another process took over the files of this one",
        ))
    }

    /// The folder that stored files are moved to, if they are.
    pub(crate) fn archive(&self) -> Option<PathBuf> {
        match &self.settings.after {
            After::Delete => None,
            After::Archive(archive) => Some(self.settings.folder.join(archive)),
        }
    }

    /// Opens the location's folder.
    pub(crate) fn open_folder(&self) -> Result<Folder, AdapterError> {
        let path = &self.settings.folder;
        Folder::open(path).map_err(|cause| error::of_folder(path, "open", &cause))
    }

    /// A file was taken.
    pub(crate) fn took(&self) {
        self.state().out += 1;
    }

    /// A taken file was answered, or its delivery was dropped and `lost` names it.
    pub(crate) fn gave_up(&self, lost: Option<TakenName>) {
        let mut state = self.state();
        state.out = state.out.saturating_sub(1);
        if let Some(name) = lost.filter(|name| !state.lost.contains(name)) {
            state.lost.push(name);
        }
    }

    /// The files to be looked at again. They stay until [`Holder::found`] tells of them.
    pub(crate) fn lost(&self) -> Vec<TakenName> {
        self.state().lost.clone()
    }

    pub(crate) fn found(&self, name: &TakenName) {
        self.state().lost.retain(|lost| lost != name);
    }

    /// A stored file is cleaned up: the mark about it can go.
    pub(crate) fn cleaned(&self, key: Text) {
        self.state().cleaned.push(key);
    }

    /// Tells the store about cleaned files if there are many, or if nobody comes after this one.
    pub(crate) async fn flush_if_due(&self) -> Result<(), AdapterError> {
        let (waiting, last) = {
            let state = self.state();
            (state.cleaned.len(), state.closed && state.out == 0)
        };
        if waiting >= SETTLE_AT_ONCE || last {
            self.flush().await?;
        }
        if last {
            let key = Self::lease_key(&self.owner);
            self.services.sources.release(&key).await?;
        }
        Ok(())
    }

    /// Tells the store about all cleaned files, after their removal is durable.
    pub(crate) async fn flush(&self) -> Result<(), AdapterError> {
        let keys = self.state().cleaned.clone();
        if keys.is_empty() {
            return Ok(());
        }
        // A mark that goes before the removal is durable would let a power failure bring the file back
        // with nothing left that says it is stored.
        let mut paths = vec![self.settings.folder.clone()];
        paths.extend(self.archive());
        blocking(move || paths.iter().try_for_each(|path| sync(path))).await?;
        self.services.sources.settled(&keys).await?;
        self.state().cleaned.retain(|key| !keys.contains(key));
        Ok(())
    }

    /// Takes nothing before `wait` from now.
    pub(crate) fn pause(&self, wait: Duration) {
        let until = self.services.clock.monotonic().plus(wait);
        let mut state = self.state();
        state.not_before = state.not_before.max(Some(until));
    }

    /// How long the engine still wants peace.
    pub(crate) fn pause_left(&self) -> Duration {
        let now = self.services.clock.monotonic();
        let until = self.state().not_before;
        until.map_or(Duration::ZERO, |until| until.since(now))
    }

    /// Counts a failed read of the file `name`.
    pub(crate) fn read_failed(&self, name: &str) {
        let mut state = self.state();
        if state.read_failures.len() >= MAX_COUNTED {
            state.read_failures.clear();
        }
        *state.read_failures.entry(name.to_owned()).or_default() += 1;
    }

    pub(crate) fn read_failures(&self, name: &str) -> u32 {
        self.state().read_failures.get(name).copied().unwrap_or(0)
    }

    pub(crate) fn forget_failures(&self, name: &str) {
        self.state().read_failures.remove(name);
    }

    pub(crate) fn close(&self) {
        self.state().closed = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed || self.services.stopping.is_cancelled()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        locked(&self.owners).remove(&self.owner);
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holder")
            .field("location", &self.location)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

/// Eight digits that stand for a location.
fn location_tag(location: &str) -> String {
    hex(&hash16(&[location.as_bytes()])[..4])
}

/// `bytes` random bytes in hexadecimal digits.
pub(crate) fn random_hex(entropy: &dyn Entropy, bytes: usize) -> String {
    let mut random = vec![0; bytes];
    entropy.fill(&mut random);
    hex(&random)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs `work` where blocking is allowed. A panic in it goes on here.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    joined(tokio::task::spawn_blocking(work)).await
}

/// The outcome of blocking work that goes on while nobody waits for it.
pub(crate) async fn joined<T>(work: impl Future<Output = Result<T, tokio::task::JoinError>>) -> T {
    match work.await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that shuts down cancels blocking work; it drops this future next.
            Err(_) => std::future::pending().await,
        },
    }
}

fn sync(path: &Path) -> Result<(), AdapterError> {
    let synced = Folder::open(path).and_then(|folder| folder.sync());
    synced.map_err(|cause: io::Error| error::of_folder(path, "make durable", &cause))
}

// No state of ours is half changed when a panic ends its lock.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
