//! Processes that were started ahead: each has read its map and waits for a document.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quayside_model::Monotonic;

use super::process::Worker;

/// How many wait for one program: one serves who comes next, one who comes at the same time.
const EACH: usize = 2;
/// How long one waits for a document before it is ended.
const IDLE: Duration = Duration::from_secs(300);

/// The processes that wait.
#[derive(Debug)]
pub(super) struct Spares {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The oldest first.
    waiting: Vec<Spare>,
    closed: bool,
}

#[derive(Debug)]
struct Spare {
    hash: String,
    worker: Worker,
    since: Monotonic,
}

impl Spares {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that waits for the longest time: it has read its map for sure.
    pub(super) fn take(&self, hash: &str) -> Option<Worker> {
        let mut state = self.lock();
        let at = state.waiting.iter().position(|one| one.hash == hash)?;
        Some(state.waiting.remove(at).worker)
    }

    /// Whether another one for this program has its place.
    pub(super) fn wants(&self, hash: &str) -> bool {
        let state = self.lock();
        !state.closed && self.most > 0 && of(&state, hash) < EACH
    }

    /// Keeps one. Returns what has no place, to be ended: this one, or the oldest of another program.
    pub(super) fn put(&self, hash: &str, worker: Worker, now: Monotonic) -> Option<Worker> {
        let mut state = self.lock();
        if state.closed || self.most == 0 || of(&state, hash) >= EACH {
            return Some(worker);
        }
        let full = state.waiting.len() >= self.most;
        let oldest = full.then(|| state.waiting.remove(0).worker);
        state.waiting.push(Spare {
            hash: hash.to_owned(),
            worker,
            since: now,
        });
        oldest
    }

    /// Takes out those that have waited for long, or have ended.
    pub(super) fn idle(&self, now: Monotonic) -> Vec<Worker> {
        let mut state = self.lock();
        let all = std::mem::take(&mut state.waiting);
        let mut gone = Vec::new();
        for mut one in all {
            if now.since(one.since) >= IDLE || !one.worker.waits() {
                gone.push(one.worker);
            } else {
                state.waiting.push(one);
            }
        }
        gone
    }

    /// Takes all of them out, and keeps none from now on.
    pub(super) fn close(&self) -> Vec<Worker> {
        let mut state = self.lock();
        state.closed = true;
        let all = std::mem::take(&mut state.waiting).into_iter();
        all.map(|one| one.worker).collect()
    }
}

fn of(state: &State, hash: &str) -> usize {
    let waiting = state.waiting.iter();
    waiting.filter(|one| one.hash == hash).count()
}
