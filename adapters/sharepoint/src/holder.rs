//! What one open location holds: its library, the documents that it works on, what is left to be looked at again.

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quayside_adapter_api::{
    AdapterError, Services,
    model::{Monotonic, Name},
};

use crate::{config::ReceiveSettings, document::Document, library::Library, mark::lease_key};

/// The documents that this process works on. The store cannot tell them apart: to it, a location that was opened anew
/// and its predecessor that still settles are one live process.
pub(crate) type Claims = Arc<Mutex<HashSet<String>>>;

/// Versions that are remembered as refused; beyond, the remembering starts anew.
const MAX_REFUSED: usize = 10_000;

/// The state that a location shares with the deliveries that it gave out.
pub(crate) struct Holder {
    pub(crate) location: Name,
    pub(crate) settings: ReceiveSettings,
    pub(crate) library: Library,
    pub(crate) services: Services,
    claims: Claims,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    closed: bool,
    /// Documents whose delivery was dropped unanswered, or that could not be finished.
    lost: Vec<String>,
    /// The engine asked for a pause until then.
    not_before: Option<Monotonic>,
    /// Versions of documents that were refused for good.
    refused: HashSet<String>,
    /// Versions of documents whose message is stored, as the store said last.
    stored: HashSet<String>,
}

impl Holder {
    pub(crate) fn new(
        location: Name,
        settings: ReceiveSettings,
        library: Library,
        services: Services,
        claims: Claims,
    ) -> Self {
        Self {
            location,
            settings,
            library,
            services,
            claims,
            state: Mutex::default(),
        }
    }

    /// The documents to be looked at again. They stay until [`Holder::found`] tells of them.
    pub(crate) fn lost(&self) -> Vec<String> {
        self.state().lost.clone()
    }

    pub(crate) fn found(&self, id: &str) {
        self.state().lost.retain(|lost| lost != id);
    }

    /// Takes nothing before `wait` from now.
    pub(crate) fn pause(&self, wait: Duration) {
        let until = self.services.clock.monotonic().plus(wait);
        let mut state = self.state();
        state.not_before = state.not_before.max(Some(until));
    }

    /// How long the engine or the farm still wants peace.
    pub(crate) fn pause_left(&self) -> Duration {
        let now = self.services.clock.monotonic();
        let until = self.state().not_before;
        let engine = until.map_or(Duration::ZERO, |until| until.since(now));
        engine.max(self.library.client.pause())
    }

    /// A version that is not to be taken again. Says whether that is news.
    pub(crate) fn refuse(&self, version: &str) -> bool {
        let mut state = self.state();
        if state.refused.len() >= MAX_REFUSED {
            state.refused.clear();
        }
        state.refused.insert(version.to_owned())
    }

    /// The versions whose message is stored and which are not finished yet. They are not taken again, however long
    /// ago that was: the store forgets keys after a while.
    pub(crate) fn stored(&self, versions: HashSet<String>) {
        self.state().stored = versions;
    }

    /// Whether a version is not to be taken: it was refused, or is stored.
    pub(crate) fn is_done_with(&self, version: &str) -> bool {
        let state = self.state();
        state.refused.contains(version) || state.stored.contains(version)
    }

    pub(crate) fn close(&self) {
        self.state().closed = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed || self.services.stopping.is_cancelled()
    }

    fn claim_key(&self, id: &str) -> String {
        format!("{}/{id}", self.location)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holder")
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

/// The right of this part of the process to work on a document. With the lease in the store nobody else works on it.
/// Dropping it leaves the document to the next sweep.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) holder: Arc<Holder>,
    pub(crate) id: String,
    answered: bool,
}

impl Claim {
    /// Claims a document and takes its lease. `None`: somebody else works on it.
    pub(crate) async fn take(holder: &Arc<Holder>, id: &str) -> Result<Option<Self>, AdapterError> {
        if !locked(&holder.claims).insert(holder.claim_key(id)) {
            return Ok(None);
        }
        let mut claim = Self {
            holder: holder.clone(),
            id: id.to_owned(),
            // Nothing is done yet that would have to be looked at again.
            answered: true,
        };
        if !holder.services.sources.lease(&lease_key(id)).await? {
            return Ok(None);
        }
        claim.answered = false;
        Ok(Some(claim))
    }

    /// The document is as if it had never been taken, or is finished: gives the lease back.
    pub(crate) async fn release(mut self) -> Result<(), AdapterError> {
        self.answered = true;
        let released = self
            .holder
            .services
            .sources
            .release(&lease_key(&self.id))
            .await;
        self.holder.found(&self.id);
        released
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.answered {
            let mut state = self.holder.state();
            if !state.lost.contains(&self.id) {
                state.lost.push(self.id.clone());
            }
        }
        locked(&self.holder.claims).remove(&self.holder.claim_key(&self.id));
    }
}

/// A document that is claimed and checked out.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) claim: Claim,
    pub(crate) document: Document,
}

// No state of ours is half changed when a panic ends its lock.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
