//! What one open location holds: its library, the documents that it works on, what is left to be looked at again.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quayside_adapter_api::{
    AdapterError, Services,
    model::{Monotonic, Name},
};

use tokio::sync::Notify;

use crate::{config::ReceiveSettings, document::Document, library::Library, mark::lease_key};

/// The documents that this process works on. The store cannot tell them apart: to it, a location that was opened anew
/// and its predecessor that still settles are one live process.
pub(crate) type Claims = Arc<Mutex<HashSet<String>>>;

/// Versions that are remembered as refused; beyond, the remembering starts anew.
const MAX_REFUSED: usize = 10_000;

/// How long a document of the archive is checked out before its checkout is taken for left behind. The archive may be where
/// another location takes from, whose leases this one does not see.
const HELD: Duration = Duration::from_secs(25);

/// How long a document that could not be mended is left alone at first, and at last.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The state that a location shares with the deliveries that it gave out.
pub(crate) struct Holder {
    pub(crate) location: Name,
    pub(crate) settings: ReceiveSettings,
    pub(crate) library: Library,
    pub(crate) services: Services,
    claims: Claims,
    answered: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    closed: bool,
    /// Documents whose delivery was dropped unanswered, or that could not be finished.
    lost: Vec<String>,
    /// When each document that could not be mended is looked at again, and how long it waited for that.
    later: HashMap<String, (Monotonic, Duration)>,
    /// Of an ordered location: whether a delivery is unanswered.
    in_hand: bool,
    /// Of an ordered location: whether one was not stored, so that all begins anew with it.
    anew: bool,
    /// The engine asked for a pause until then.
    not_before: Option<Monotonic>,
    /// Versions of documents that were refused for good.
    refused: HashSet<String>,
    /// Versions of documents whose message is stored, as the store said last.
    stored: HashSet<String>,
    /// Since when each document that lies in the archive was seen checked out there.
    held_in_archive: HashMap<String, Monotonic>,
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
            answered: Notify::new(),
            state: Mutex::default(),
        }
    }

    /// The documents to be looked at again by now. They stay until [`Holder::found`] tells of them.
    pub(crate) fn lost(&self) -> Vec<String> {
        let now = self.services.clock.monotonic();
        let state = self.state();
        let due = |id: &&String| state.later.get(*id).is_none_or(|(at, _)| *at <= now);
        state.lost.iter().filter(due).cloned().collect()
    }

    pub(crate) fn found(&self, id: &str) {
        let mut state = self.state();
        state.lost.retain(|lost| lost != id);
        state.later.remove(id);
    }

    /// Whether a document that is left behind is to be looked at by now.
    pub(crate) fn is_due(&self, id: &str) -> bool {
        let now = self.services.clock.monotonic();
        let state = self.state();
        state.later.get(id).is_none_or(|(at, _)| *at <= now)
    }

    /// A document could not be mended: it is left alone for a while, which doubles.
    pub(crate) fn put_off(&self, id: &str) {
        let now = self.services.clock.monotonic();
        let mut state = self.state();
        if state.later.len() >= MAX_REFUSED {
            state.later.clear();
        }
        let waited = state.later.get(id).map(|(_, waited)| *waited);
        let wait = waited.map_or(FIRST_WAIT, |waited| (waited * 2).min(LONGEST_WAIT));
        state.later.insert(id.to_owned(), (now.plus(wait), wait));
    }

    /// Of an ordered location: a document goes out, and nothing else before it is answered.
    pub(crate) fn hand_out(self: &Arc<Self>) -> InHand {
        self.state().in_hand = true;
        InHand {
            holder: self.clone(),
            done: false,
        }
    }

    /// Waits until the document that went out is answered.
    pub(crate) async fn answered(&self) {
        loop {
            let mut answered = std::pin::pin!(self.answered.notified());
            // Before the look: an answer between both would be told to nobody.
            answered.as_mut().enable();
            if !self.state().in_hand {
                return;
            }
            answered.await;
        }
    }

    /// Everything behind a document that was not stored waits for it.
    pub(crate) fn begin_anew(&self) {
        self.state().anew = true;
    }

    /// Whether all is to begin anew. Asked once.
    pub(crate) fn begins_anew(&self) -> bool {
        std::mem::take(&mut self.state().anew)
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

    /// Takes note of the documents of the archive that are checked out now. Those that have been for so long that nobody can be
    /// at work on them any more.
    pub(crate) fn held_too_long(&self, ids: &HashSet<&str>) -> HashSet<String> {
        let now = self.services.clock.monotonic();
        let mut state = self.state();
        let held = &mut state.held_in_archive;
        held.retain(|id, _| ids.contains(id.as_str()));
        for id in ids {
            held.entry((*id).to_owned()).or_insert(now);
        }
        let long = held.iter().filter(|(_, since)| now.since(**since) >= HELD);
        long.map(|(id, _)| id.clone()).collect()
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

/// A document of an ordered location that is out.
#[derive(Debug)]
pub(crate) struct InHand {
    holder: Arc<Holder>,
    /// Whether the next one may follow.
    pub(crate) done: bool,
}

impl Drop for InHand {
    fn drop(&mut self) {
        {
            let mut state = self.holder.state();
            state.in_hand = false;
            state.anew |= !self.done;
        }
        self.holder.answered.notify_waiters();
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
        self.give_lease_back().await?;
        self.answered = true;
        self.holder.found(&self.id);
        Ok(())
    }

    /// Ends the claim after work on the document: gives it back if that is `done`, else leaves the document to the
    /// next sweep. The lease goes in any case: a node that has lost its way to the farm keeps a document from no other.
    /// What the document is by then stands in its mark and in its checkout.
    pub(crate) async fn end<T>(self, done: Result<T, AdapterError>) -> Result<T, AdapterError> {
        match done {
            Ok(done) => self.release().await.map(|()| done),
            Err(error) => {
                if let Err(kept) = self.give_lease_back().await {
                    tracing::debug!(id = self.id, error = %kept, "a lease could not be given back");
                }
                Err(error)
            }
        }
    }

    async fn give_lease_back(&self) -> Result<(), AdapterError> {
        let sources = &self.holder.services.sources;
        sources.release(&lease_key(&self.id)).await
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
