//! What is done at intervals: gates that depend on time, lost claims, the claims of the dead, retention.
//! Each step takes no input, is idempotent, and is level-triggered.

use std::{sync::Arc, time::Duration};

use quayside_model::{GrantId, Monotonic, Name};
use quayside_store::{Change, StoreError, sessions::FenceOutcome};
use tracing::{info, warn};

use crate::{committer::chain, counters::count, runtime::Runtimes, shared::Shared};

/// How often gates are looked at and dead instances are looked for.
const EVERY: Duration = Duration::from_millis(200);
/// How often this instance compares its claims with the store's (`reference/store.md` 1).
const COMPARE_EVERY: Duration = Duration::from_secs(5);
/// How often a step of retention is due.
const RETAIN_EVERY: Duration = Duration::from_secs(10);
/// How often the tracking fence is asked for by an instance that does not have it.
const FENCE_EVERY: Duration = Duration::from_millis(400);
/// How many claims of the dead one statement gives back.
const RELEASE_LIMIT: u32 = 500;

/// The sweeper of one engine.
pub(crate) struct Sweeper {
    shared: Arc<Shared>,
    runtimes: Arc<Runtimes>,
    compared: Monotonic,
    retained: Monotonic,
    fence: Fence,
}

/// Whether this instance is the one that keeps house.
enum Fence {
    Asked(Option<Monotonic>),
    Held(GrantId),
}

impl Sweeper {
    pub(crate) fn new(shared: Arc<Shared>, runtimes: Arc<Runtimes>) -> Self {
        let now = shared.options.clock.monotonic();
        Self {
            shared,
            runtimes,
            compared: now,
            retained: now,
            fence: Fence::Asked(None),
        }
    }

    /// Runs until the engine stops taking work.
    pub(crate) async fn run(mut self) {
        let stopping = self.shared.stopping.clone();
        loop {
            self.runtimes.refresh(&self.shared);
            if self.shared.trust.may_act()
                && let Err(error) = self.step().await
            {
                warn!(code = %error.kind.code(), error = %chain(&error), "a sweep failed");
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stopping.cancelled() => break,
            }
        }
        self.give_fence_back().await;
    }

    async fn step(&mut self) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let now = shared.options.clock.monotonic();
        self.runtimes.reload_controls(&shared).await?;
        while shared.trust.may_act() {
            let released = shared.store.release_dead(RELEASE_LIMIT).await?;
            if released > 0 {
                info!(released, "gave back deliveries of instances that are dead");
                shared
                    .counters
                    .released
                    .fetch_add(released.into(), std::sync::atomic::Ordering::Relaxed);
                shared.wake_claimer.notify_one();
            }
            if released < RELEASE_LIMIT {
                break;
            }
        }
        if now.since(self.compared) >= COMPARE_EVERY {
            self.compared = now;
            compare_claims(&shared).await?;
        }
        if shared.options.roles.track {
            self.keep_house(now).await?;
        }
        Ok(())
    }

    async fn keep_house(&mut self, now: Monotonic) -> Result<(), StoreError> {
        let store = &self.shared.store;
        if let Fence::Asked(at) = self.fence {
            if at.is_some_and(|at| now.since(at) < FENCE_EVERY) {
                return Ok(());
            }
            self.fence = Fence::Asked(Some(now));
            let options = &self.shared.options;
            let grant = GrantId::new(options.clock.now(), &*options.entropy);
            let taken = store
                .take_fence(&tracking(), self.shared.instance, grant)
                .await?;
            let FenceOutcome::Taken(epoch) = taken else {
                return Ok(());
            };
            info!(epoch, "this instance keeps house now");
            self.fence = Fence::Held(grant);
            self.retained = now;
        }
        if now.since(self.retained) < RETAIN_EVERY {
            return Ok(());
        }
        let swept = store.sweep(&self.shared.options.retention).await?;
        if !swept.more {
            self.retained = now;
        }
        Ok(())
    }

    async fn give_fence_back(&self) {
        let Fence::Held(grant) = self.fence else {
            return;
        };
        if let Err(error) = self.shared.store.release_fence(&tracking(), grant).await {
            warn!(code = %error.kind.code(), "giving the tracking fence back failed; it ends with this instance");
        }
    }
}

/// The fence of the one that keeps house in the first box.
fn tracking() -> Name {
    Name::new("track.box0").expect("a name")
}

/// Gives back claims that the store has for this instance and that nobody here works on.
async fn compare_claims(shared: &Shared) -> Result<(), StoreError> {
    let lost = {
        let _asking = shared.held.asking.lock().await;
        let stored = shared.store.claims_of(shared.instance).await?;
        shared.held.missing(stored)
    };
    for claim in lost {
        count(&shared.counters.released);
        info!(delivery = %claim.delivery, "gave back a claim that nobody here works on");
        shared.committer.settle(claim, Change::Release).await;
    }
    Ok(())
}
