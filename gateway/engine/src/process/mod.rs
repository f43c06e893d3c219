//! Orchestrations: their messages and their instances, fetched from the store and worked on.
//!
//! A message for an orchestration is a delivery like any other one. It is claimed here, and then either starts
//! an instance or enters the one that has its key ([`entry`]). An instance is claimed when something has come for
//! it or its time has come ([`worker`]): the pure machine of `quayside-orchestration` says what it does, and
//! one group commit makes it so, state, consumed messages, publications and timer together ([`effects`]).
//!
//! Whoever dies in between leaves a claim that the sweep gives back; what it had not committed did not happen.
//! Nothing of an instance that waits is in memory here.

pub(crate) mod document;
mod effects;
pub(crate) mod entry;
pub(crate) mod find;
pub(crate) mod hand;
pub(crate) mod inbox;
mod order;
mod pinned;
mod room;
pub(crate) mod work;
mod worker;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use quayside_model::{Claim, Monotonic, Name, RunId, failpoint};
use quayside_store::{
    Claimed, Deaths, StoreError, Want,
    runs::{ClaimedRun, RunClaim, RunWant},
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};
use tracing::{info, warn};

pub(crate) use effects::{CALL_KEY, call_key};
pub use order::Order;
pub(crate) use pinned::{Newer, definition, keep_definitions};

use crate::{committer::chain, shared::Shared};

/// How many instances that go on: each comes with the first page of its inbox. They have places of their own, because what
/// comes anew would not leave them any.
const RUNS: usize = 64;
/// How many instances of the dead, beside these: as many as a process has in hand of both kinds. Whoever waits for one of
/// them has waited for as long as it took to see that its process is dead, and in a flood all other places are taken.
const RESCUED: usize = room::MOST + RUNS;
/// The pace of polling. Closer than that of send ports: an answer that came over another process is waited for.
const PACE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(40));
/// After how many deaths over something it is worked on by itself: a process that dies takes all that it has in hand with it,
/// and most of that is innocent.
const SUSPECT: u32 = 4;
/// After how many it is suspended. The last of them were deaths while it was the only such thing in hand.
const DEADLY: u32 = 7;
/// How old a process is before it works on what others have died over. One that dies young dies of something else: with two
/// seconds, and both processes of a host killed every four, an innocent instance of 12,000 was suspended.
const GROWN: Duration = Duration::from_secs(10);
/// How often it looks for that when nobody has died lately.
const SUSPECTS_EVERY: Duration = Duration::from_secs(1);
/// Of how many orchestrations at a time, one after the other.
const SUSPECTED: usize = 8;
/// How often the instances in hand are compared with those that the store has for this process.
const COMPARE_EVERY: Duration = Duration::from_secs(5);

/// The instances in hand.
#[derive(Debug, Default)]
pub(crate) struct Process {
    /// With how many tasks have each: one that was given back may be claimed again before its first task has ended.
    held: Mutex<HashMap<RunId, usize>>,
    pinned: pinned::Book,
    /// The tokens of the claims here, while the fail point `steps-elsewhere` wants each claim at another process.
    seen: Mutex<HashMap<RunId, u32>>,
    /// Something may have come for an instance or orchestration.
    pub(crate) wake: Notify,
    /// How many messages there is room for, each with the instance that it starts.
    room: room::Room,
    /// How much this process has given back of the dead since it fetched work last. It is first in the queue.
    rescued: AtomicUsize,
}

impl Process {
    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of work of the dead that was given back, and has it fetched.
    pub(crate) fn rescue(&self, count: u32) {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.rescued.fetch_add(count, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Takes note of an instance in hand, before the store can have it.
    fn hold(&self, run: RunId) {
        *self.lock().entry(run).or_default() += 1;
    }

    fn drop(&self, run: RunId) {
        let mut held = self.lock();
        if let Some(tasks) = held.get_mut(&run) {
            *tasks -= 1;
            if *tasks == 0 {
                held.remove(&run);
            }
        }
    }

    /// Takes note of a claim. Whether it is to be given back, because the one before it was here, too.
    fn belongs_elsewhere(&self, claim: RunClaim) -> bool {
        if !failpoint::enabled("steps-elsewhere") {
            return false;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen.insert(claim.run, claim.token);
        before.is_some_and(|token| token + 1 == claim.token)
    }

    fn held(&self) -> Vec<RunId> {
        self.lock().keys().copied().collect()
    }
}

/// Fetches work for the orchestrations of this process until the engine stops taking work, and finishes what is in
/// hand then: up to the next point at which an instance is kept.
pub(crate) async fn run(shared: Arc<Shared>) {
    if !shared.options.roles.process {
        shared.stopping.cancelled().await;
        return;
    }
    let mut round = Round {
        messages: Arc::new(Semaphore::new(room::MOST)),
        runs: Arc::new(Semaphore::new(RUNS)),
        rescues: Arc::new(Semaphore::new(RESCUED)),
        works: JoinSet::new(),
        compared: shared.options.clock.monotonic(),
        suspect: Arc::new(Semaphore::new(1)),
        asked: 0,
        suspected: shared.options.clock.monotonic(),
        grown: shared.options.clock.monotonic().plus(GROWN),
        turn: 0,
        shared: Arc::clone(&shared),
    };
    let mut pace = PACE.0;
    loop {
        let found = if shared.trust.may_act() {
            round.make().await
        } else {
            Ok(0)
        };
        pace = match found {
            Ok(0) => (pace * 2).min(PACE.1),
            Ok(_) => PACE.0,
            Err(error) => {
                warn!(code = %error.kind.code(), error = %chain(&error),
                    "fetching work for orchestrations failed");
                PACE.1
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pace) => {}
            () = shared.process.wake.notified() => pace = PACE.0,
            () = shared.stopping.cancelled() => break,
        }
    }
    round.finish().await;
}

struct Round {
    shared: Arc<Shared>,
    messages: Arc<Semaphore>,
    runs: Arc<Semaphore>,
    rescues: Arc<Semaphore>,
    works: JoinSet<()>,
    compared: Monotonic,
    /// The one place for what others have died over, so that the one which is to blame is found.
    suspect: Arc<Semaphore>,
    /// How many orchestrations were asked for that.
    asked: usize,
    /// When that is looked for next, though nobody has died.
    suspected: Monotonic,
    /// From when on it is looked for at all.
    grown: Monotonic,
    /// Which orchestration is asked for first.
    turn: usize,
}

impl Round {
    /// Claims what there is room for. Returns how much that was.
    async fn make(&mut self) -> Result<usize, StoreError> {
        while let Some(end) = self.works.try_join_next() {
            note_end(end);
        }
        let now = self.shared.options.clock.monotonic();
        if now.since(self.compared) >= COMPARE_EVERY {
            self.compared = now;
            self.compare().await?;
        }
        let mut names = self.orchestrations();
        if names.is_empty() {
            return Ok(0);
        }
        // Where there is not room for all of them, each has its turn.
        names.sort();
        self.turn = (self.turn + 1) % names.len();
        names.rotate_left(self.turn);
        let died = self.shared.process.rescued.load(Ordering::Relaxed) > 0;
        let due = now >= self.grown && (died || now >= self.suspected);
        if due && self.suspect.available_permits() > 0 {
            let found = self.claim_suspect(&names).await;
            // It may be one of many.
            let pause = match found {
                Ok(1..) => Duration::ZERO,
                _ => SUSPECTS_EVERY,
            };
            self.suspected = self.shared.options.clock.monotonic().plus(pause);
            // Whatever is wrong with it keeps nothing else from being had.
            if let Err(error) = found {
                warn!(code = %error.kind.code(), error = %chain(&error),
                    "looking for what processes have died over failed");
            }
        }
        // Instances first: what is begun is finished before more is begun.
        let runs = self.claim_runs(&names).await;
        let messages = self.claim_messages(&names).await;
        Ok(runs? + messages?)
    }

    /// Claims one thing over which others have died.
    async fn claim_suspect(&mut self, names: &[Name]) -> Result<usize, StoreError> {
        let from = self.asked;
        self.asked = from.wrapping_add(SUSPECTED);
        let mut names = names.to_vec();
        names.sort();
        for name in names
            .iter()
            .cycle()
            .skip(from % names.len())
            .take(SUSPECTED.min(names.len()))
        {
            let want = RunWant {
                deaths: Deaths::From(SUSPECT),
                ..self.run_want(name.clone(), 1)
            };
            let shared = &self.shared;
            let mut runs = shared.store.claim_runs(shared.instance, &[want]).await?;
            if let Some(run) = runs.pop() {
                let place = place(&self.suspect).await;
                self.begin_run(run, place);
                return Ok(1);
            }
            let want = Want {
                deaths: Deaths::From(SUSPECT),
                ..message_want(name.clone(), 1)
            };
            if let Some(message) = self.claimed_messages(&[want]).await?.pop() {
                let place = place(&self.suspect).await;
                self.begin_message(message, place);
                return Ok(1);
            }
        }
        Ok(0)
    }

    /// Up to `room` instances of an orchestration, but for those that are left to others.
    fn run_want(&self, orchestration: Name, room: u32) -> RunWant {
        let routes = self.shared.routes();
        let plan = routes.orchestrations.get(&orchestration);
        let now = self.shared.options.clock.monotonic();
        RunWant {
            except: plan.map(|plan| plan.newer.left(now)).unwrap_or_default(),
            orchestration,
            room,
            deaths: Deaths::Below(SUSPECT),
        }
    }

    /// Works on a claimed instance while it has the place.
    fn begin_run(&mut self, run: ClaimedRun, place: OwnedSemaphorePermit) {
        let shared = Arc::clone(&self.shared);
        shared.process.hold(run.claim.run);
        self.works.spawn(async move {
            let _in_hand = InHand(&shared, InHandOf::Run(run.claim.run));
            worker::work(&shared, run).await;
            drop(place);
            shared.process.wake.notify_one();
        });
    }

    /// Works on a claimed message while it has the place.
    fn begin_message(&mut self, claimed: Claimed, place: OwnedSemaphorePermit) {
        let shared = Arc::clone(&self.shared);
        let began = shared.options.clock.monotonic();
        self.works.spawn(async move {
            let _in_hand = InHand(&shared, InHandOf::Message(claimed.claim));
            entry::take(&shared, claimed).await;
            let took = shared.options.clock.monotonic().since(began);
            shared.process.room.ended(took);
            drop(place);
            shared.process.wake.notify_one();
        });
    }

    async fn claimed_messages(&self, wants: &[Want]) -> Result<Vec<Claimed>, StoreError> {
        let shared = &self.shared;
        let _asking = shared.held.asking.lock().await;
        let claimed = shared.store.claim(shared.instance, wants).await?;
        shared.held.add(claimed.iter().map(|c| c.claim));
        Ok(claimed)
    }

    /// The orchestrations that run here now.
    fn orchestrations(&self) -> Vec<Name> {
        let shared = &self.shared;
        let routes = shared.routes();
        let ours = routes.orchestrations.values().filter(|plan| {
            shared.options.runs(&plan.host) && !shared.ownership.stands_by(&plan.host)
        });
        ours.map(|plan| plan.name.clone()).collect()
    }

    async fn claim_runs(&mut self, names: &[Name]) -> Result<usize, StoreError> {
        let shared = Arc::clone(&self.shared);
        let rescued = shared.process.rescued.swap(0, Ordering::Relaxed);
        let more = rescued.min(self.rescues.available_permits());
        let wants = shares(names, self.runs.available_permits() + more);
        if wants.is_empty() {
            shared.process.rescued.fetch_add(rescued, Ordering::Relaxed);
            return Ok(0);
        }
        let wanted = wants.iter().map(|(_, room)| *room as usize).sum::<usize>();
        let wants = wants.into_iter();
        let wants: Vec<RunWant> = wants
            .map(|(name, room)| self.run_want(name, room))
            .collect();
        let claimed = shared.store.claim_runs(shared.instance, &wants).await;
        let claimed = claimed.inspect_err(|_| {
            shared.process.rescued.fetch_add(rescued, Ordering::Relaxed);
        })?;
        let found = claimed.len();
        if found >= wanted {
            // There is more: it has its turn when a place for it is free.
            let left = rescued.saturating_sub(found);
            shared.process.rescued.fetch_add(left, Ordering::Relaxed);
        }
        for run in claimed {
            let place = match Arc::clone(&self.runs).try_acquire_owned() {
                Ok(place) => place,
                Err(_) => place(&self.rescues).await,
            };
            self.begin_run(run, place);
        }
        Ok(found)
    }

    async fn claim_messages(&mut self, names: &[Name]) -> Result<usize, StoreError> {
        let free = self.messages.available_permits();
        let room = self.shared.process.room.beside(room::MOST - free);
        let wants = shares(names, room).into_iter();
        let wants: Vec<Want> = wants.map(|(name, room)| message_want(name, room)).collect();
        if wants.is_empty() {
            return Ok(0);
        }
        let claimed = self.claimed_messages(&wants).await?;
        let found = claimed.len();
        for claimed in claimed {
            let place = place(&self.messages).await;
            self.begin_message(claimed, place);
        }
        Ok(found)
    }

    /// Gives back instances that the store has for this process and that nobody here works on: a claim whose answer
    /// was lost, a task that panicked.
    async fn compare(&self) -> Result<(), StoreError> {
        let (store, held) = (&self.shared.store, self.shared.process.held());
        let released = store.release_runs(self.shared.instance, &held).await?;
        if released > 0 {
            info!(
                released,
                "gave back orchestration instances that nobody here works on"
            );
        }
        Ok(())
    }

    async fn finish(&mut self) {
        let shared = Arc::clone(&self.shared);
        let all = async {
            while let Some(end) = self.works.join_next().await {
                note_end(end);
            }
        };
        tokio::select! {
            () = all => {}
            () = shared.cut.cancelled() => {}
        }
    }
}

/// Up to `room` messages of an orchestration.
fn message_want(port: Name, room: u32) -> Want {
    Want {
        port,
        room,
        ordered: false,
        // A message that enters an instance has no effect outside: the death of its owner leaves nothing in doubt.
        marks: true,
        deaths: Deaths::Below(SUSPECT),
    }
}

/// A place for what was claimed: there is one, because only one task takes them.
async fn place(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let place = Arc::clone(places).acquire_owned().await;
    place.expect("the semaphore is never closed")
}

/// Something that a task has in hand: until it ends, also if it panics, so that what it leaves is found and given back.
struct InHand<'a>(&'a Shared, InHandOf);

enum InHandOf {
    Run(RunId),
    Message(Claim),
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        match self.1 {
            InHandOf::Run(run) => self.0.process.drop(run),
            InHandOf::Message(claim) => self.0.held.remove(claim),
        }
    }
}

fn note_end(end: Result<(), tokio::task::JoinError>) {
    if let Err(error) = end {
        // Its claims are given back by the next comparison.
        warn!(%error, "a task of an orchestration ended early");
    }
}

/// An equal share of `room` for each of `names`, and at least one while there is any.
fn shares(names: &[Name], room: usize) -> Vec<(Name, u32)> {
    let share = (room / names.len().max(1)).max(1);
    let share = u32::try_from(share).unwrap_or(u32::MAX);
    let fit = names.iter().take(room);
    fit.map(|name| (name.clone(), share)).collect()
}
