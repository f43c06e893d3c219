//! What is done at intervals: gates that depend on time, lost claims, the claims of the dead, retention.
//! Each step takes no input, is idempotent, and is level-triggered.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use quayside_model::{GrantId, Monotonic, Name};
use quayside_store::{Change, StoreError, sessions::FenceOutcome};
use tracing::{info, warn};

use crate::{committer::chain, counters::count, runtime::Runtimes, send::attempt, shared::Shared};

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

/// Opens and shuts gates, gives back what the dead and the lost hold, watches the ports' tasks. Ends when
/// one of those has panicked: the engine is started anew then.
pub(crate) async fn sweep(shared: Arc<Shared>, runtimes: Arc<Runtimes>) {
    let mut compared = shared.options.clock.monotonic();
    while !runtimes.reap() {
        runtimes.refresh(&shared);
        if shared.trust.may_act() {
            note("reading controls", read_controls(&shared, &runtimes).await);
            note("releasing the dead's claims", release_dead(&shared).await);
            let now = shared.options.clock.monotonic();
            if now.since(compared) >= COMPARE_EVERY {
                compared = now;
                note("comparing claims", compare_claims(&shared).await);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shared.wake_sweeper.notified() => {}
            () = shared.stopping.cancelled() => return,
        }
    }
}

/// One failing step must not keep the others from their turn.
fn note(step: &'static str, result: Result<(), StoreError>) {
    if let Err(error) = result {
        warn!(code = %error.kind.code(), error = %chain(&error), step, "a sweep failed");
    }
}

/// Records the stops that ports gave themselves, and reads the operators' word.
async fn read_controls(shared: &Arc<Shared>, runtimes: &Runtimes) -> Result<(), StoreError> {
    let ports = runtimes.send_ports();
    for port in &ports {
        attempt::record_stop(shared, port).await?;
    }
    let recorded: Vec<_> = ports.iter().filter(|p| p.stop.is_recorded()).collect();
    runtimes.reload_controls(shared).await?;
    recorded
        .into_iter()
        .for_each(|port| port.stop.is_in_force());
    Ok(())
}

async fn release_dead(shared: &Shared) -> Result<(), StoreError> {
    while shared.trust.may_act() {
        let released = shared.store.release_dead(RELEASE_LIMIT).await?;
        if released > 0 {
            info!(released, "gave back deliveries of instances that are dead");
            let counter = &shared.counters.released;
            counter.fetch_add(released.into(), std::sync::atomic::Ordering::Relaxed);
            shared.wake_claimer.notify_one();
            shared.process.rescue(released);
        }
        if released < RELEASE_LIMIT {
            break;
        }
    }
    Ok(())
}

/// Keeps house while this instance has the fence for it: retention, in small steps.
pub(crate) struct Housekeeper {
    shared: Arc<Shared>,
    grant: GrantId,
    held: bool,
    retained: Monotonic,
}

impl Housekeeper {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let options = &shared.options;
        // Always the same one: a take whose answer was lost is met again.
        let grant = GrantId::new(options.clock.now(), &*options.entropy);
        let retained = options.clock.monotonic();
        Self {
            shared,
            grant,
            held: false,
            retained,
        }
    }

    /// Runs until the engine stops taking work, and gives the fence back then.
    pub(crate) async fn run(mut self) {
        let stopping = self.shared.stopping.clone();
        loop {
            if self.shared.trust.may_act() {
                note("keeping house", self.step().await);
            }
            tokio::select! {
                () = tokio::time::sleep(FENCE_EVERY) => {}
                () = stopping.cancelled() => break,
            }
        }
        let fence = tracking();
        let release = self.shared.store.release_fence(&fence, self.grant);
        if self.held
            && let Err(error) = release.await
        {
            warn!(code = %error.kind.code(), "giving the tracking fence back failed; it ends with this instance");
        }
    }

    async fn step(&mut self) -> Result<(), StoreError> {
        let store = &self.shared.store;
        if !self.held {
            let fence = tracking();
            let taken = store.take_fence(&fence, self.shared.instance, self.grant);
            let FenceOutcome::Taken(epoch) = taken.await? else {
                return Ok(());
            };
            info!(epoch, "this instance keeps house now");
            self.held = true;
        }
        let now = self.shared.options.clock.monotonic();
        if now.since(self.retained) < RETAIN_EVERY {
            return Ok(());
        }
        let swept = store.sweep(&self.shared.options.retention).await?;
        if !swept.more {
            self.retained = now;
        }
        Ok(())
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
        shared.held.lost(stored)
    };
    join_all(lost.into_iter().map(|claim| async move {
        count(&shared.counters.released);
        info!(delivery = %claim.delivery, "gave back a claim that nobody here works on");
        shared.committer.settle(claim, Change::Release).await;
    }))
    .await;
    Ok(())
}
