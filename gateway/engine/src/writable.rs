//! Whether the store takes commits, as the commits themselves tell.
//!
//! The lease says less than that: on a full disk a renewal still finds its place while no message does.
//! While commits fail the process is not ready. The next commit that succeeds ends that; because a process
//! that is not ready gets no work to commit, a probe writes as much as a small message meanwhile.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use quayside_model::{BodyId, Clock, InstanceId, Monotonic};
use quayside_store::{StoreError, StoreErrorKind};
use tracing::{info, warn};

use crate::{committer::chain, outage::Outage, shared::Shared};

/// How long commits fail before the process says so: one that is run again at once is no failure.
const FAILING_FOR: Duration = Duration::from_millis(1000);
/// How often the probe writes while commits fail.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// How much it writes: more than finds room in what a full store has left by chance.
const PROBE_BYTES: usize = 64 * 1024;

/// What the commits of this process say about the store. Reading it costs an atomic load while all is well.
#[derive(Debug)]
pub(crate) struct Writable {
    clock: Arc<dyn Clock>,
    /// Since when no commit has succeeded, in microseconds of boot time; 0: the last one did.
    failing_since: AtomicU64,
    outage: Mutex<Outage<StoreErrorKind>>,
}

impl Writable {
    /// Nothing is known against it.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            failing_since: AtomicU64::new(0),
            outage: Mutex::default(),
        }
    }

    /// A commit has succeeded.
    pub(crate) fn committed(&self) {
        if self.failing_since.load(Ordering::Relaxed) != 0
            && self.failing_since.swap(0, Ordering::Relaxed) != 0
        {
            let untold = self.outage().over().unwrap_or_default();
            info!(untold, "the store takes commits again");
        }
    }

    /// A commit has failed. Gives how many failures were not told before this one; `None`: this one need not
    /// be told either. Commits are tried many times a second, and an outage must not fill the log.
    pub(crate) fn failed(&self, kind: StoreErrorKind) -> Option<u64> {
        // These say something about the batch and nothing about the store.
        if matches!(kind, StoreErrorKind::Data | StoreErrorKind::Contended) {
            return Some(0);
        }
        let now = self.clock.monotonic();
        let micros = u64::try_from(now.since_boot().as_micros()).unwrap_or(u64::MAX);
        let mut outage = self.outage();
        // The first failure of several counts.
        let _since = self.failing_since.compare_exchange(
            0,
            micros.max(1),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        outage.failed(kind, now)
    }

    fn outage(&self) -> MutexGuard<'_, Outage<StoreErrorKind>> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why messages cannot be stored now, if they cannot.
    pub(crate) fn reason(&self) -> Option<String> {
        if self.failing_for()? < FAILING_FOR {
            return None;
        }
        let code = self.outage().kind()?.code();
        let meaning = code.meaning.trim_end_matches('.');
        Some(format!("commits fail: {meaning} ({code})"))
    }

    fn failing_for(&self) -> Option<Duration> {
        let since = match self.failing_since.load(Ordering::Relaxed) {
            0 => return None,
            micros => Monotonic::from_boot(Duration::from_micros(micros)),
        };
        Some(self.clock.monotonic().since(since))
    }
}

/// Finds out whether commits succeed again while they fail. Runs until the engine stops taking work.
pub(crate) async fn probe(shared: Arc<Shared>) {
    // The same body for every try of one outage: what they leave behind is one row at most.
    let mut body = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(PROBE_EVERY) => {}
            () = shared.stopping.cancelled() => return,
        }
        let failing = shared.writable.failing_for();
        if failing.is_none_or(|time| time < PROBE_EVERY) || !shared.trust.may_act() {
            continue;
        }
        let options = &shared.options;
        let id = *body.get_or_insert_with(|| BodyId::new(options.clock.now(), &*options.entropy));
        match write(&shared, id, shared.instance).await {
            Ok(()) => {
                body = None;
                shared.writable.committed();
            }
            Err(error) => {
                if let Some(untold) = shared.writable.failed(error.kind) {
                    warn!(code = %error.kind.code(), error = %chain(&error), untold, "probe of the store failed");
                }
            }
        }
    }
}

/// Writes what no message names and gives it up again.
async fn write(shared: &Shared, body: BodyId, instance: InstanceId) -> Result<(), StoreError> {
    let mut bytes = vec![0; PROBE_BYTES];
    // Zeros would be compressed to nothing.
    shared.options.entropy.fill(&mut bytes);
    let store = &shared.store;
    if store.open_body(body, instance).await? {
        store
            .append_chunk(body, instance, 0, Bytes::from(bytes))
            .await?;
        if let Err(error) = store.abandon_body(body, instance).await {
            warn!(code = %error.kind.code(), error = %chain(&error),
                "a probe of the store is left until this instance ends");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use quayside_model::ManualClock;

    use super::*;

    fn writable() -> (Arc<ManualClock>, Writable) {
        let clock = Arc::new(ManualClock::new(
            "2026-11-21T09:00:00Z".parse().expect("a time"),
        ));
        (Arc::clone(&clock), Writable::new(clock))
    }

    #[test]
    fn commits_that_go_on_failing_are_a_reason_and_one_that_succeeds_ends_it() {
        let (clock, writable) = writable();
        assert_eq!(writable.reason(), None);
        writable.failed(StoreErrorKind::Full);
        assert_eq!(writable.reason(), None, "it may succeed at once");
        clock.advance(FAILING_FOR);
        writable.failed(StoreErrorKind::Full);
        let reason = writable.reason().expect("a reason");
        assert!(
            reason.contains("no space") && reason.contains("QS0104"),
            "{reason}"
        );
        writable.committed();
        assert_eq!(writable.reason(), None);
        writable.failed(StoreErrorKind::Full);
        assert_eq!(writable.reason(), None, "it counts anew");
    }

    #[test]
    fn an_outage_is_told_once_a_minute_and_by_kind() {
        let (clock, writable) = writable();
        assert_eq!(writable.failed(StoreErrorKind::Full), Some(0));
        assert_eq!(writable.failed(StoreErrorKind::Full), None);
        assert_eq!(writable.failed(StoreErrorKind::Full), None);
        assert_eq!(writable.failed(StoreErrorKind::Unavailable), Some(2));
        assert_eq!(writable.failed(StoreErrorKind::Unavailable), None);
        clock.advance(Duration::from_secs(60));
        assert_eq!(writable.failed(StoreErrorKind::Unavailable), Some(1));
        writable.committed();
        assert_eq!(writable.failed(StoreErrorKind::Unavailable), Some(0));
    }

    #[test]
    fn what_is_wrong_with_a_batch_says_nothing_about_the_store() {
        let (clock, writable) = writable();
        writable.failed(StoreErrorKind::Data);
        writable.failed(StoreErrorKind::Contended);
        clock.advance(FAILING_FOR * 2);
        assert_eq!(writable.reason(), None);
    }
}
