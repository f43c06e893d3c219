//! Maps that run in processes of their own: XSLT, and other languages whose programs know no limits.
//!
//! What such a program does with a document is its own: it may never end, take all memory or write without end. So it has a
//! process, with limits that the operating system keeps; the gateway gives it one document, takes one back and forgets it.
//! Whatever happens, the caller has a result or a code within a bounded time, and nothing else notices.
//!
//! A process serves once. So that nobody waits until a program has been started and has read its map, some are started
//! ahead ([`spares`]): such a process has done that already and waits for its document.

mod kept;
mod process;
mod program;
mod settings;
mod spares;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use quayside_model::{Clock, Code};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

pub(crate) use self::settings::MAX_OUTPUT;
use self::{process::Worker, spares::Spares};
pub use self::{
    program::{Language, Program},
    settings::{Command, FILE, NAME, PARAMS, Settings, VALUE},
};
use crate::codes;

/// How long a document waits for a process, where others have all of them.
const PLACE_WITHIN: Duration = Duration::from_secs(30);
/// How often it is looked for processes that nobody needs any more.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// For how many programs it is known who waits for them; beyond, those that nobody uses are forgotten.
const KNOWN: usize = 256;

/// Why a program has made nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OutsideError {
    pub(crate) code: Code,
    pub(crate) detail: String,
    /// Whether it has to do with this machine alone, so that the same document may go through elsewhere or later.
    pub(crate) is_here: bool,
}

impl OutsideError {
    fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            is_here: false,
        }
    }

    fn here(code: Code, detail: impl Into<String>) -> Self {
        Self {
            is_here: true,
            ..Self::new(code, detail)
        }
    }
}

/// The processes of maps.
pub(crate) struct Outside {
    settings: Arc<Settings>,
    clock: Arc<dyn Clock>,
    /// One for each process that works.
    places: Arc<Semaphore>,
    /// The same for each program: one that hangs must leave places to the others.
    shares: Mutex<HashMap<String, Arc<Semaphore>>>,
    spares: Spares,
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside").finish_non_exhaustive()
    }
}

impl Outside {
    pub(crate) fn new(settings: Settings, clock: Arc<dyn Clock>) -> Self {
        Self {
            places: Arc::new(Semaphore::new(settings.processes.max(1))),
            shares: Mutex::default(),
            spares: Spares::new(settings.spares),
            settings: Arc::new(settings),
            clock,
        }
    }

    /// What a document that goes to a port may be, in bytes.
    pub(crate) fn max_output(&self) -> usize {
        self.settings.max_output
    }

    /// Makes a document of at most `most` bytes from `input`, with parameters by their names.
    ///
    /// # Errors
    /// Why there is none. The process is gone in any case.
    pub(crate) async fn make(
        &self,
        program: &Arc<Program>,
        input: Bytes,
        params: Vec<(String, String)>,
        most: usize,
    ) -> Result<Vec<u8>, OutsideError> {
        let unknown = params
            .iter()
            .find(|(name, _)| !program.params.contains(name));
        if let Some((name, _)) = unknown {
            let detail = format!("it has no parameter `{name}`");
            return Err(OutsideError::new(codes::OUTSIDE_PARAMETER, detail));
        }
        let _place = self.place(program).await?;
        // What stands on its command line cannot be given to one that runs already.
        let is_plain = params.is_empty();
        let ready = if is_plain {
            self.ready(program).await
        } else {
            None
        };
        let worker = match ready {
            Some(worker) => worker,
            None => self.start(program, params).await?,
        };
        let renew = async {
            if is_plain {
                self.renew(program).await;
            }
        };
        let work = worker.run(input, most, &self.settings);
        let (made, ()) = tokio::join!(work, renew);
        made
    }

    /// A place among all processes, and among those of this program.
    async fn place(
        &self,
        program: &Program,
    ) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), OutsideError> {
        let share = self.share(&program.hash);
        let both = async {
            // None of them is ever closed. The share comes first: who waits for it keeps nobody from a place.
            let share = share.acquire_owned().await.ok()?;
            let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
            Some((share, place))
        };
        match timeout(PLACE_WITHIN, both).await {
            Ok(Some(both)) => Ok(both),
            _ => {
                let detail = format!("all processes for maps were busy for {PLACE_WITHIN:?}");
                Err(OutsideError::here(codes::OUTSIDE_BUSY, detail))
            }
        }
    }

    fn share(&self, hash: &str) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(hash) {
            return Arc::clone(share);
        }
        if shares.len() >= KNOWN {
            shares.retain(|_, share| Arc::strong_count(share) > 1);
        }
        let share = Arc::new(Semaphore::new((self.settings.processes / 2).max(1)));
        shares.insert(hash.to_owned(), Arc::clone(&share));
        share
    }

    /// One that was started ahead and still waits.
    async fn ready(&self, program: &Program) -> Option<Worker> {
        while let Some(mut worker) = self.spares.take(&program.hash) {
            if worker.waits() {
                return Some(worker);
            }
            // Why it has ended is told by the next one, which is started by a caller.
            worker.end().await;
        }
        None
    }

    async fn start(
        &self,
        program: &Arc<Program>,
        params: Vec<(String, String)>,
    ) -> Result<Worker, OutsideError> {
        let (settings, program) = (Arc::clone(&self.settings), Arc::clone(program));
        let started = spawn_blocking(move || process::start(&settings, &program, &params)).await;
        started.unwrap_or_else(|_| {
            let detail = "starting it failed";
            Err(OutsideError::here(codes::OUTSIDE_START, detail))
        })
    }

    /// Starts one ahead for the next document.
    async fn renew(&self, program: &Arc<Program>) {
        if !self.spares.wants(&program.hash) {
            return;
        }
        match self.start(program, Vec::new()).await {
            Ok(worker) => {
                let now = self.clock.monotonic();
                if let Some(extra) = self.spares.put(&program.hash, worker, now) {
                    extra.end().await;
                }
            }
            // It is told to the next caller, who finds none.
            Err(error) => debug!(code = %error.code, "no process could be started ahead"),
        }
    }

    /// Ends what nobody needs, from time to time, and everything that waits when the engine stops taking work. What works
    /// then is its caller's.
    pub(crate) async fn keep(&self, stopping: &CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stopping.cancelled() => break,
            }
            for worker in self.spares.idle(self.clock.monotonic()) {
                worker.end().await;
            }
        }
        for worker in self.spares.close() {
            worker.end().await;
        }
    }
}

#[cfg(test)]
mod tests;
