//! A receive location at work: opens its adapter when it may, takes deliveries while there is room,
//! opens again with a pause after a failure, and stops in stages.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use quayside_adapter_api::{AdapterError, Condition, ErrorKind, Receive, Resting, Services, Terms};
use quayside_model::{Failure, FailureClass, Text, Timestamp, port::PortControl};
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{intake, resting};
use crate::{
    codes,
    counters::count,
    ownership::PREPARE_EVERY,
    plan::{Location, ReceivePort},
    shared::Shared,
    tally::Tally,
};

/// The pause after a failure to open or receive: doubles up to the second.
const REOPEN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// The next pause after a failure.
#[derive(Debug)]
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(REOPEN.0)
    }
}

impl Pause {
    /// The pause after one more failure; `worked`: something was taken in since the one before.
    fn next(&mut self, worked: bool) -> Duration {
        if worked {
            *self = Self::default();
        }
        let pause = self.0;
        self.0 = (pause * 2).min(REOPEN.1);
        pause
    }
}

/// How long the old self of a location goes on while the new one may not open.
const TAKE_OVER: Duration = Duration::from_secs(1);

/// A location that runs in this process.
#[derive(Debug)]
pub(crate) struct LocationRuntime {
    pub(crate) port: Arc<ReceivePort>,
    pub(crate) location: Arc<Location>,
    /// Whether it may receive now: enabled, between its dates, inside its service window.
    open: AtomicBool,
    /// Why it may not.
    why: Mutex<Option<Resting>>,
    /// Whether nothing is in the way, or only that another instance runs its host.
    next: AtomicBool,
    changed: Notify,
    /// Ends when another configuration has taken its place.
    pub(crate) retired: CancellationToken,
    /// Places for deliveries on their way into the store. It outlives each opening, so that an ordered
    /// port has at most one commit in flight (`reference/store.md` 4), reopened or not.
    room: Arc<Semaphore>,
    in_flight: AtomicUsize,
    failures_in_a_row: AtomicU32,
    running: AtomicBool,
    pub(crate) tally: Tally,
    /// How its connections stand.
    pub(crate) condition: Condition,
    /// What ran under this name by the configuration before: retired when this one has opened or failed
    /// to, so that there is no moment in which nobody listens.
    predecessor: Mutex<Option<Arc<LocationRuntime>>>,
}

impl LocationRuntime {
    pub(crate) fn new(
        port: Arc<ReceivePort>,
        location: Arc<Location>,
        predecessor: Option<Arc<Self>>,
    ) -> Arc<Self> {
        // What the old self has in flight goes before what the new one takes.
        let room = match &predecessor {
            Some(old) if port.ordered && old.port.ordered => Arc::clone(&old.room),
            _ if port.ordered => Arc::new(Semaphore::new(1)),
            _ => Arc::new(Semaphore::new(location.max_in_flight.max(1))),
        };
        Arc::new(Self {
            room,
            port,
            location,
            open: AtomicBool::new(false),
            why: Mutex::default(),
            next: AtomicBool::new(false),
            changed: Notify::new(),
            retired: CancellationToken::new(),
            in_flight: AtomicUsize::new(0),
            failures_in_a_row: AtomicU32::new(0),
            running: AtomicBool::new(false),
            tally: Tally::default(),
            condition: Condition::default(),
            predecessor: Mutex::new(predecessor),
        })
    }

    /// Takes the operator's word, the dates and the service window into account.
    /// `stands_by`: another instance runs its host.
    pub(crate) fn refresh(&self, control: Option<&PortControl>, now: Timestamp, stands_by: bool) {
        let why = resting::why(&self.location, control, now);
        let next = why.is_none() && stands_by && !self.is_over_threshold();
        let why = why.or_else(|| stands_by.then(resting::standby));
        let why = why.or_else(|| self.is_over_threshold().then(resting::failed));
        let open = why.is_none();
        *self.why() = why;
        let changed = self.open.swap(open, Ordering::SeqCst) != open;
        // Behind that: what is ready must not be let go of by one whose turn has just come.
        self.next.store(next || open, Ordering::SeqCst);
        if changed {
            self.changed.notify_waiters();
        }
    }

    fn why(&self) -> MutexGuard<'_, Option<Resting>> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells `resting` why it rests, if it is meant to.
    fn tell(&self, resting: &mut dyn Receive) {
        let why = self.why().clone();
        if let Some(why) = why {
            resting.rests(why);
        }
    }

    /// An operator started it: failures of the past do not count any more.
    pub(crate) fn forgive(&self) {
        self.failures_in_a_row.store(0, Ordering::SeqCst);
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::SeqCst)
    }

    /// Whether it has opened, has failed to, or may not open now.
    pub(crate) fn has_begun(&self) -> bool {
        !self.open.load(Ordering::SeqCst)
            || self.is_running()
            || self.failures_in_a_row.load(Ordering::SeqCst) > 0
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    fn is_over_threshold(&self) -> bool {
        let failures = self.failures_in_a_row.load(Ordering::SeqCst);
        self.location
            .error_threshold
            .is_some_and(|threshold| failures >= threshold)
    }

    fn note(&self, error: &AdapterError, now: Timestamp) {
        let class = match error.kind {
            ErrorKind::Config => FailureClass::Stop,
            _ => FailureClass::Retry,
        };
        let (code, detail) = (Text::lossy(error.code.code), Text::lossy(&error.detail));
        let failure = Failure {
            code,
            class,
            detail,
            resumable: true,
        };
        self.tally.note_failure(now, failure);
        count(&self.tally.failed);
        warn!(code = %error.code, location = %self.location.name, detail = %error.detail,
            "receive location failed");
        self.failures_in_a_row.fetch_add(1, Ordering::SeqCst);
        if self.is_over_threshold() && self.open.swap(false, Ordering::SeqCst) {
            *self.why() = Some(resting::failed());
            error!(code = %codes::LOCATION_STOPPED, location = %self.location.name,
                "receive location disabled here after too many failures in a row");
            self.changed.notify_waiters();
        }
    }

    fn note_success(&self, now: Timestamp) {
        self.tally.note_done(now);
        if self.failures_in_a_row.swap(0, Ordering::SeqCst) > 0 {
            self.tally.forget_failure();
        }
    }

    fn predecessor(&self) -> MutexGuard<'_, Option<Arc<Self>>> {
        let predecessor = self.predecessor.lock();
        predecessor.unwrap_or_else(PoisonError::into_inner)
    }

    fn retire_predecessor(&self) {
        if let Some(predecessor) = self.predecessor().take() {
            predecessor.retired.cancel();
        }
    }

    /// Whether it may not open, and nobody else answers under its name.
    fn is_mute(&self) -> bool {
        !self.open.load(Ordering::SeqCst) && self.predecessor().is_none()
    }

    async fn until_open(&self) {
        loop {
            // Register before looking, so that a change between both is not missed.
            let changed = self.changed.notified();
            if self.open.load(Ordering::SeqCst) {
                return;
            }
            changed.await;
        }
    }

    async fn until_shut(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.open.load(Ordering::SeqCst) {
                return;
            }
            changed.await;
        }
    }
}

/// Runs a location until the engine stops or another configuration takes its place.
pub(crate) async fn run(shared: Arc<Shared>, runtime: Arc<LocationRuntime>, services: Services) {
    let mut pause = Pause::default();
    let mut intakes = JoinSet::new();
    // A location that rests keeps its closed adapter: over HTTP its senders are then told to come back
    // later, and not that there is no such place.
    let mut resting: Option<Box<dyn Receive>> = None;
    // One that stands by is opened as far as that takes nothing.
    let mut prepared: Option<Box<dyn Receive>> = None;
    // A new future for each wait: one that has ended must not be polled again, and both tokens stay
    // cancelled once they are.
    let over = async || {
        tokio::select! {
            () = shared.stopping.cancelled() => {}
            () = runtime.retired.cancelled() => {}
        }
    };
    loop {
        tokio::select! {
            // The end comes first: a location that may be open must not be opened once more.
            biased;
            () = over() => break,
            () = runtime.until_open() => {}
            // Both go on for as long as it may not open.
            _ = async { tokio::join!(
                rest(&shared, &runtime, &services, &mut resting),
                prepare(&shared, &runtime, &services, &mut prepared),
            ) } => {}
        }
        let result = match prepared.take() {
            Some(prepared) => Ok(prepared),
            None => tokio::select! {
                result = open(&shared, &runtime, &services) => result,
                () = over() => break,
            },
        };
        runtime.retire_predecessor();
        let mut receive = match result {
            Ok(receive) => receive,
            Err(error) => {
                runtime.note(&error, shared.options.clock.now());
                tokio::select! {
                    () = tokio::time::sleep(pause.next(false)) => {}
                    // Disabled: whoever starts it does not wait.
                    () = runtime.until_shut() => {}
                    () = over() => break,
                }
                continue;
            }
        };
        drop(resting.take());
        info!(location = %runtime.location.name, "receive location open");
        runtime.running.store(true, Ordering::SeqCst);
        let done = runtime.tally.read().done;
        let ended = tokio::select! {
            ended = receive_all(&shared, &runtime, &mut *receive, &mut intakes) => Some(ended),
            () = runtime.until_shut() => None,
            () = over() => None,
        };
        runtime.tell(&mut *receive);
        receive.close().await;
        resting = Some(receive);
        runtime.running.store(false, Ordering::SeqCst);
        info!(location = %runtime.location.name, "receive location closed");
        // An adapter may see the stop before this loop does, and that its source has ended is no failure then.
        let is_over = shared.stopping.is_cancelled() || runtime.retired.is_cancelled();
        let failed = ended.filter(|error| !(is_over && error.kind == ErrorKind::Ended));
        if let Some(error) = failed {
            runtime.note(&error, shared.options.clock.now());
            let worked = runtime.tally.read().done > done;
            tokio::select! {
                () = tokio::time::sleep(pause.next(worked)) => {}
                () = runtime.until_shut() => {}
                () = over() => break,
            }
        } else {
            pause = Pause::default();
        }
    }
    runtime.retire_predecessor();
    drop(resting);
    // What was taken is settled, unless the engine is cut off.
    tokio::select! {
        () = async { while intakes.join_next().await.is_some() {} } => {}
        () = shared.cut.cancelled() => intakes.shutdown().await,
    }
}

async fn open(
    shared: &Shared,
    runtime: &LocationRuntime,
    services: &Services,
) -> Result<Box<dyn Receive>, AdapterError> {
    let location = &runtime.location;
    let Some(adapter) = shared.options.adapters.get(location.adapter.as_str()) else {
        let detail = format!("no adapter `{}`", location.adapter);
        return Err(AdapterError::new(
            ErrorKind::Config,
            codes::NO_ADAPTER,
            detail,
        ));
    };
    let terms = Terms {
        ordered: runtime.port.ordered,
        error_threshold: location.error_threshold,
        answer_within: runtime.port.answer_within,
    };
    adapter
        .open_receive(&location.name, &location.block, &terms, services.clone())
        .await
}

/// What a location does that may not open: tells why to whom its adapter can tell it.
async fn rest(
    shared: &Shared,
    runtime: &LocationRuntime,
    services: &Services,
    resting: &mut Option<Box<dyn Receive>>,
) {
    loop {
        if resting.is_none() && runtime.is_mute() {
            *resting = open_to_rest(shared, runtime, services).await;
        }
        if let Some(resting) = resting {
            runtime.tell(&mut **resting);
        }
        tokio::time::sleep(TAKE_OVER).await;
        // It may not open by the new configuration, and its old self must not go on either.
        runtime.retire_predecessor();
    }
}

/// Opens a location that stands by and keeps ready what takes time. Goes on for ever.
async fn prepare(
    shared: &Shared,
    runtime: &LocationRuntime,
    services: &Services,
    prepared: &mut Option<Box<dyn Receive>>,
) {
    let adapter = shared.options.adapters.get(&*runtime.location.adapter);
    if !adapter.is_some_and(|adapter| adapter.prepares()) {
        return std::future::pending().await;
    }
    loop {
        if !runtime.next.load(Ordering::SeqCst) {
            *prepared = None;
        } else if let Some(prepared) = prepared {
            prepared.prepare().await;
        } else {
            // What keeps it from opening is told when it may.
            *prepared = open(shared, runtime, services).await.ok();
            if let Some(prepared) = prepared {
                prepared.prepare().await;
            }
        }
        tokio::time::sleep(PREPARE_EVERY).await;
    }
}

/// Opens and closes a location that may not receive, if its adapter can tell its partners so. What keeps it
/// from opening is noted when it may.
async fn open_to_rest(
    shared: &Shared,
    runtime: &LocationRuntime,
    services: &Services,
) -> Option<Box<dyn Receive>> {
    let adapter = shared.options.adapters.get(&*runtime.location.adapter)?;
    if !adapter.speaks_at_rest() {
        return None;
    }
    let mut receive = open(shared, runtime, services).await.ok()?;
    runtime.tell(&mut *receive);
    receive.close().await;
    Some(receive)
}

/// Takes deliveries until the adapter fails.
async fn receive_all(
    shared: &Arc<Shared>,
    runtime: &Arc<LocationRuntime>,
    receive: &mut dyn Receive,
    intakes: &mut JoinSet<()>,
) -> AdapterError {
    let room = Arc::clone(&runtime.room);
    loop {
        let place = Arc::clone(&room)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let delivery = match receive.receive().await {
            Ok(delivery) => delivery,
            Err(error) => return error,
        };
        while let Some(end) = intakes.try_join_next() {
            note_panic(runtime, end);
        }
        let (shared, runtime) = (Arc::clone(shared), Arc::clone(runtime));
        intakes.spawn(async move {
            runtime.in_flight.fetch_add(1, Ordering::SeqCst);
            let (port, location) = (Arc::clone(&runtime.port), Arc::clone(&runtime.location));
            let clock = Arc::clone(&shared.options.clock);
            match intake::take(shared, port, location, delivery).await {
                Ok(()) => runtime.note_success(clock.now()),
                Err(error) => runtime.note(&error, clock.now()),
            }
            runtime.in_flight.fetch_sub(1, Ordering::SeqCst);
            drop(place);
        });
    }
}

fn note_panic(runtime: &LocationRuntime, end: Result<(), tokio::task::JoinError>) {
    if let Err(error) = end {
        error!(location = %runtime.location.name, %error, "taking a delivery in panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_grows_until_something_worked() {
        let mut pause = Pause::default();
        let mut next = |worked| pause.next(worked).as_millis();
        assert_eq!([next(false), next(false), next(false)], [100, 200, 400]);
        assert_eq!([next(true), next(false)], [100, 200]);
        let longest = (0..20).map(|_| next(false)).max();
        assert_eq!(longest, Some(REOPEN.1.as_millis()));
    }
}
