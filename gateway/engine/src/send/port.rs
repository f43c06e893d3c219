//! A send port at work: its window, its queue, and the task that runs its attempts.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use quayside_adapter_api::{Condition, Services};
use quayside_model::{
    Claim, Failure, FailureClass, Monotonic, OnOrderFailure, Timestamp, Transport,
    port::PortControl,
};
use quayside_store::{Change, Claimed};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc},
    task::{Id, JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    attempt::{self, Attempted, Ended},
    decide::suspend,
    moment::Moment,
    rest::{Admits, Pass, Rest},
    run,
    stop::Stop,
    transports::Transports,
    work::{Hand, Work},
};
use crate::{
    codes, committer::chain, options::Options, ownership::PREPARE_EVERY, plan::SendPort,
    shared::Shared, tally::Tally,
};

/// A send port that runs in this process.
#[derive(Debug)]
pub(crate) struct SendRuntime {
    pub(crate) plan: Arc<SendPort>,
    pub(crate) transports: Transports,
    /// Claimed, handed-off and in-flight deliveries together never exceed it (`reference/store.md` 2). See
    /// [`window_of`].
    window: Arc<Semaphore>,
    /// On an ordered port, for what goes with another delivery of its key in one run. Apart from the window,
    /// so that neither long runs nor whoever claims heads take the other's places.
    companions: Arc<Semaphore>,
    /// The deliveries that are in hand here.
    pub(crate) hand: Hand,
    /// The order keys that are in hand here.
    keys: Mutex<HashSet<OrderHash>>,
    queue: mpsc::Sender<Work>,
    /// Whether it may send now: started, not paused, inside its service window.
    open: AtomicBool,
    /// Wakes the port's task when that has ended.
    closed: Notify,
    /// Whether only that another instance runs its host is in the way.
    next: AtomicBool,
    /// Whether the store holds more than the window takes. Then nothing is handed off: older deliveries
    /// go first.
    backlogged: AtomicBool,
    /// Wakes who waits for the backlog to be gone.
    caught_up: Notify,
    pub(crate) tally: Tally,
    /// When a delivery last ended well.
    flowed: Moment,
    /// When the claimer last had a place to claim for.
    looked: Moment,
    pub(crate) stop: Stop,
    pub(crate) rest: Rest,
    /// How the connections of its transports stand.
    pub(crate) condition: Condition,
    /// Ends when another configuration has taken its place.
    pub(crate) retired: CancellationToken,
}

impl SendRuntime {
    /// A port and the receiving end of its queue.
    pub(crate) fn new(
        plan: Arc<SendPort>,
        services: Services,
    ) -> (Arc<Self>, mpsc::Receiver<Work>) {
        // The window bounds the queue: whoever sends into it holds a place.
        let (queue, works) = mpsc::channel(window_of(&plan));
        let rest = Rest::new(Arc::clone(&services.clock));
        let runtime = Self {
            condition: services.condition.clone(),
            transports: Transports::new(services),
            window: Arc::new(Semaphore::new(window_of(&plan))),
            companions: Arc::new(Semaphore::new(companions_of(&plan))),
            hand: Hand::default(),
            keys: Mutex::default(),
            plan,
            queue,
            open: AtomicBool::new(false),
            closed: Notify::new(),
            next: AtomicBool::new(false),
            // True until the first claim has shown that nothing older waits.
            backlogged: AtomicBool::new(true),
            caught_up: Notify::new(),
            tally: Tally::default(),
            flowed: Moment::default(),
            looked: Moment::default(),
            stop: Stop::default(),
            rest,
            retired: CancellationToken::new(),
        };
        (Arc::new(runtime), works)
    }

    /// Takes the operator's word and the service window into account, and whether another instance runs its
    /// host. Returns whether it may send now.
    pub(crate) fn refresh(
        &self,
        control: Option<&PortControl>,
        now: Timestamp,
        stands_by: bool,
    ) -> bool {
        let started = control.is_none_or(|control| control.lets_work(now));
        let window = self.plan.window.as_ref();
        let allowed =
            started && !self.stop.holds() && window.is_none_or(|window| window.is_open(now));
        self.next.store(allowed && stands_by, Ordering::SeqCst);
        let open = allowed && !stands_by;
        if self.open.swap(open, Ordering::SeqCst) && !open {
            self.closed.notify_one();
        }
        open
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst) && !self.retired.is_cancelled()
    }

    /// Keeps ready what takes time, for as long as it stands by and when its turn has come.
    async fn prepare(&self, options: &Options) {
        loop {
            if self.next.load(Ordering::SeqCst) {
                let primary = self.transports.get(&self.plan, options, Transport::Primary);
                // What is wrong with it is told when something is sent.
                if let Ok(transport) = primary.await {
                    transport.prepare().await;
                }
            }
            tokio::time::sleep(PREPARE_EVERY).await;
        }
    }

    /// Whether it may send now and messages pass, as far as it knows.
    pub(crate) fn is_flowing(&self) -> bool {
        self.is_open() && self.rest.is_none()
    }

    /// A place for a delivery that is handed over in memory, if that is fair now.
    ///
    /// A port that flows is waited for, at most `until`, when it is full or when older work in the store
    /// goes first: its sender then feels the pace of the partner, instead of the store filling with what
    /// could have gone straight through. A port that does not flow is not waited for.
    pub(crate) async fn place_for_hand_off(
        &self,
        now: Monotonic,
        until: tokio::time::Instant,
    ) -> Option<OwnedSemaphorePermit> {
        if !self.is_flowing() {
            return None;
        }
        let window = Arc::clone(&self.window);
        if !self.is_backlogged()
            && let Ok(place) = Arc::clone(&window).try_acquire_owned()
        {
            return Some(place);
        }
        if now.since(self.flowed.get()) > STILL_FLOWING {
            return None;
        }
        let wait = async {
            self.until_caught_up().await;
            window.acquire_owned().await
        };
        let place = tokio::time::timeout_at(until, wait).await.ok()?.ok()?;
        // The port may have been stopped or replaced during the wait.
        self.is_flowing().then_some(place)
    }

    async fn until_caught_up(&self) {
        loop {
            // Register before looking, so that a change between both is not missed.
            let caught_up = self.caught_up.notified();
            if !self.is_backlogged() {
                return;
            }
            caught_up.await;
        }
    }

    /// A delivery has ended well.
    pub(crate) fn note_flow(&self, now: Monotonic) {
        self.flowed.set(now);
    }

    /// The claimer looks at the port at `now` and found `free` places. A port that hands over without a
    /// gap would keep the claimer from what waits in the store, retries that are due included: after a
    /// while its hand-overs rest until the claimer has looked.
    ///
    /// Returns whether that is now, so that the next look should come soon.
    pub(crate) fn note_look(&self, now: Monotonic, free: usize) -> bool {
        if free > 0 {
            self.looked.set(now);
            return false;
        }
        let due = self.is_flowing() && now.since(self.looked.get()) > LOOK_WITHIN;
        if due {
            self.set_backlogged(true);
        }
        due
    }

    /// Whether the claimer should ask the store for so few as `free` deliveries. While the store holds more
    /// than the window takes, places come free one by one, and a claim for each would drain a backlog
    /// slower than senders fill it.
    pub(crate) fn is_worth_a_claim(&self, now: Monotonic, free: usize) -> bool {
        let many = free * 4 >= window_of(&self.plan);
        many || !self.is_backlogged() || now.since(self.looked.get()) >= CLAIM_WITHIN
    }

    /// All free places, for the claimer; one at a time while the port has to show that it works again.
    pub(crate) fn places_for_claims(&self) -> Vec<OwnedSemaphorePermit> {
        let idle = self.queue.capacity() == self.queue.max_capacity();
        let most = match self.rest.admits() {
            Admits::All => usize::MAX,
            // What was claimed before is tried first.
            Admits::One => usize::from(idle),
            Admits::None => 0,
        };
        let mut places = Vec::new();
        while places.len() < most && self.is_open() {
            match Arc::clone(&self.window).try_acquire_owned() {
                Ok(place) => places.push(place),
                Err(_) => break,
            }
        }
        places
    }

    pub(crate) fn set_backlogged(&self, backlogged: bool) {
        if self.backlogged.swap(backlogged, Ordering::SeqCst) && !backlogged {
            self.caught_up.notify_waiters();
        }
    }

    pub(crate) fn is_backlogged(&self) -> bool {
        self.backlogged.load(Ordering::SeqCst)
    }

    /// How many places are taken, by deliveries in hand and by those that may be soon.
    fn places_taken(&self) -> usize {
        let all = window_of(&self.plan) + companions_of(&self.plan);
        all - self.window.available_permits() - self.companions.available_permits()
    }

    /// Whether the next delivery of the key comes with the end of the one that is in hand here. If it does not,
    /// the claimer is woken then.
    pub(crate) fn has_in_hand(&self, key: &OrderHash) -> bool {
        self.keys().contains(key)
    }

    fn keys(&self) -> MutexGuard<'_, HashSet<OrderHash>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `room` and what is free beside it, for up to `wanted` more deliveries of a run.
    pub(crate) fn room_for(
        &self,
        room: Option<OwnedSemaphorePermit>,
        wanted: usize,
    ) -> Option<OwnedSemaphorePermit> {
        let has = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let free = self.companions.available_permits();
        let more = u32::try_from(wanted.saturating_sub(has).min(free)).ok()?;
        let more = Arc::clone(&self.companions).try_acquire_many_owned(more);
        match (room, more) {
            (Some(mut room), Ok(more)) => {
                room.merge(more);
                Some(room)
            }
            (room, more) => room.or(more.ok()),
        }
    }

    /// Gives work to the port's task.
    ///
    /// # Errors
    /// The work, if the task has stopped.
    pub(crate) async fn give(&self, work: Work) -> Result<(), Box<Work>> {
        self.queue
            .send(work)
            .await
            .map_err(|refused| Box::new(refused.0))
    }
}

/// How many deliveries a port has in hand at most. As many again as may be on their way to the partner: a
/// delivery has its place since before the commit that makes it, and sends would wait for commits if those
/// on their way into the store took the places of those on their way out. Not where each send is marked: a
/// delivery that is handed over is born with its mark, and after a crash those that had only waited would be
/// in doubt too.
fn window_of(plan: &SendPort) -> usize {
    let sends = plan.max_in_flight.max(1);
    if plan.marks_sends() { sends } else { sends * 2 }
}

/// How many deliveries an ordered port has in hand beside those of its window.
fn companions_of(plan: &SendPort) -> usize {
    match plan.ordered {
        Some(_) => plan.max_in_flight.max(1),
        None => 0,
    }
}

/// Waits until one of both ends.
async fn either(a: &CancellationToken, b: &CancellationToken) {
    tokio::select! {
        () = a.cancelled() => {}
        () = b.cancelled() => {}
    }
}

pub(crate) type OrderHash = [u8; 16];

/// How long a publication waits in all for places of ports that are full but flowing.
pub(crate) const PLACE_WITHIN: Duration = Duration::from_millis(50);
/// A port that ended a delivery well within this time is flowing.
const STILL_FLOWING: Duration = Duration::from_millis(250);
/// How long a port with a backlog gathers free places for one claim.
const CLAIM_WITHIN: Duration = Duration::from_millis(10);
/// How long hand-overs may keep the claimer from looking.
const LOOK_WITHIN: Duration = Duration::from_millis(200);

/// How many blocked keys are remembered before those that cannot matter any more are forgotten.
const MAX_BLOCKED: usize = 1024;
/// How often a stopping port looks whether the last publication has handed over.
const STOP_POLL: Duration = Duration::from_millis(5);

/// What a running task holds: claims with the attempts made before.
struct InHand {
    key: Option<OrderHash>,
    claim: Claim,
    attempts: u32,
    more: Vec<(Claim, u32)>,
}

/// The task of a port: runs attempts side by side, those of one order key one after the other.
pub(crate) struct Runner {
    shared: Arc<Shared>,
    runtime: Arc<SendRuntime>,
    running: JoinSet<Attempted>,
    /// What each running task holds, for the one that panics.
    in_hand: HashMap<Id, InHand>,
    /// What waits behind a running delivery of the same key, in order.
    behind: HashMap<OrderHash, VecDeque<Work>>,
    /// Keys whose head has failed, with the last round of claims that had begun by then. A claim of that
    /// round may have been answered before the failure was committed, so what it brings for the key
    /// could overtake the head and goes back. Later rounds are safe: the store holds the key.
    blocked: HashMap<OrderHash, u64>,
}

impl Runner {
    pub(crate) fn new(shared: Arc<Shared>, runtime: Arc<SendRuntime>) -> Self {
        Self {
            shared,
            runtime,
            running: JoinSet::new(),
            in_hand: HashMap::new(),
            behind: HashMap::new(),
            blocked: HashMap::new(),
        }
    }

    /// Runs until the engine stops or another port has taken its place and everything is settled, or
    /// until cut.
    pub(crate) async fn run(mut self, mut queue: mpsc::Receiver<Work>) {
        let cut = self.shared.cut.clone();
        let (stopping, retired) = (self.shared.stopping.clone(), self.runtime.retired.clone());
        let most = self.runtime.plan.max_in_flight.max(1);
        loop {
            let idle = self.running.is_empty();
            // What waits in the queue when the port closes goes back at once.
            let takes = self.running.len() < most || !self.begins();
            if self.blocked.len() > MAX_BLOCKED && queue.is_empty() {
                // Rounds before the newest have been handed out, and nothing of them waits any more.
                let begun = self.shared.claim_rounds.load(Ordering::SeqCst);
                self.blocked.retain(|_, round| *round == begun);
            }
            tokio::select! {
                biased;
                () = cut.cancelled() => break,
                Some(end) = self.running.join_next_with_id(), if !idle => self.ended(end).await,
                Some(work) = queue.recv(), if takes => self.take(work, &mut queue).await,
                () = either(&stopping, &retired), if !takes => {}
                () = self.runtime.closed.notified(), if !takes => {}
                () = either(&stopping, &retired), if idle => {
                    // A place without work is a publication under way that may still hand over.
                    if queue.is_empty() && self.runtime.places_taken() == 0 {
                        // Nobody gets a place from here on; who got the last one is waited for.
                        self.runtime.window.close();
                        if queue.is_empty() && self.runtime.places_taken() == 0 {
                            self.release_lanes().await;
                            break;
                        }
                    }
                    tokio::time::sleep(STOP_POLL).await;
                }
                // Never ends, and is left out as soon as there is work.
                () = self.runtime.prepare(&self.shared.options), if idle => {}
            }
        }
        self.running.shutdown().await;
    }

    /// Nothing of an ordered port is in hand any more: its lanes are for whoever serves it now. Those of a clustered host
    /// are given up with the host, by the agent.
    async fn release_lanes(&self) {
        let plan = &self.runtime.plan;
        let routes = self.shared.routes();
        let successor = routes.send.get(&plan.name);
        let serves_on = successor.is_some_and(|port| !Arc::ptr_eq(port, &self.runtime));
        let stopping = self.shared.stopping.is_cancelled();
        let with_host = stopping && plan.clustered && self.shared.options.agent.is_some();
        if plan.ordered.is_none() || (serves_on && !stopping) || with_host {
            return;
        }
        let (store, instance) = (&self.shared.store, self.shared.instance);
        let released = tokio::select! {
            released = store.release_lanes(instance, &plan.name) => released,
            () = self.shared.cut.cancelled() => return,
        };
        match released {
            Ok(released) => info!(port = %plan.name, released, "gave up the lanes of the port"),
            Err(error) => {
                warn!(code = %error.kind.code(), error = %chain(&error), port = %plan.name,
                "giving up lanes failed; they are free when this instance ends")
            }
        }
    }

    /// Whether what is taken from the queue is begun: not by an engine that stops, nor by a port that may
    /// not send or whose place another one has taken.
    fn begins(&self) -> bool {
        !self.shared.stopping.is_cancelled() && self.runtime.is_open()
    }

    async fn take(&mut self, work: Work, queue: &mut mpsc::Receiver<Work>) {
        if !self.begins() {
            // What has not begun is given back, so that whoever may send goes on with it now.
            let waiting = std::iter::from_fn(|| queue.try_recv().ok());
            self.give_back_all(std::iter::once(work).chain(waiting))
                .await;
            self.shared.wake_claimer.notify_one();
            return;
        }
        let Some(order) = work.claimed.order else {
            self.begin(work, None).await;
            return;
        };
        if let Some(round) = self.blocked.get(&order.hash) {
            if work.round <= *round {
                self.give_back(work).await;
                return;
            }
            self.blocked.remove(&order.hash);
        }
        if let Some(behind) = self.behind.get_mut(&order.hash) {
            behind.push_back(work);
        } else {
            self.behind.insert(order.hash, VecDeque::new());
            self.runtime.keys().insert(order.hash);
            self.begin(work, Some(order.hash)).await;
        }
    }

    /// Begins an attempt; while the port rests, `work` and what waits behind it go back.
    async fn begin(&mut self, work: Work, key: Option<OrderHash>) {
        if let Some(pass) = self.runtime.rest.begin() {
            self.start(work, pass, key);
            return;
        }
        self.give_back(work).await;
        if let Some(key) = key {
            self.key_waits(key).await;
        }
    }

    fn start(&mut self, work: Work, pass: Pass, key: Option<OrderHash>) {
        let held = |claimed: &Claimed| (claimed.claim, claimed.attempts);
        let (claim, attempts) = held(&work.claimed);
        let held = InHand {
            key,
            claim,
            attempts,
            more: work.more.iter().map(held).collect(),
        };
        let (shared, runtime) = (Arc::clone(&self.shared), Arc::clone(&self.runtime));
        let handle = self
            .running
            .spawn(attempt::run(shared, runtime, work, pass));
        self.in_hand.insert(handle.id(), held);
    }

    async fn ended(&mut self, end: Result<(Id, Attempted), JoinError>) {
        let (id, attempted) = match end {
            Ok(attempted) => attempted,
            Err(error) => {
                let ended = self.panicked(&error).await;
                (error.id(), Attempted { ended, next: None })
            }
        };
        let key = self.in_hand.remove(&id).and_then(|held| held.key);
        if let (Some(next), Some(key)) = (attempted.next, key) {
            // Its end brought it: the key stays in hand, and so does its place.
            self.go_on(*next, key).await;
            return;
        }
        if let Some(key) = key {
            self.next_of_key(key, attempted.ended).await;
        }
        // On an ordered port the end of a head makes the next of its key claimable.
        let waits = self.runtime.is_backlogged() || !self.runtime.rest.is_none();
        if waits || self.runtime.plan.ordered.is_some() {
            self.shared.wake_claimer.notify_one();
        }
    }

    async fn go_on(&mut self, next: Work, key: OrderHash) {
        if !self.begins() {
            self.give_back(next).await;
            self.next_of_key(key, Ended::Waits).await;
        } else {
            self.begin(next, Some(key)).await;
        }
    }

    /// An attempt panicked: it counts as made and failed.
    async fn panicked(&self, error: &JoinError) -> Ended {
        error!(port = %self.runtime.plan.name, %error, code = %codes::ADAPTER_PANICKED, "an attempt panicked");
        let Some(held) = self.in_hand.get(&error.id()) else {
            return Ended::Waits;
        };
        let detail = "the adapter panicked while it sent";
        let failure = Failure::new(codes::ADAPTER_PANICKED, FailureClass::GiveUp, detail);
        let plan = &self.runtime.plan;
        let mut changes: Vec<_> = held
            .more
            .iter()
            .map(|(claim, attempts)| (*claim, run::behind(plan, *attempts, &failure, true)))
            .collect();
        changes.push((held.claim, suspend(plan, held.attempts + 1, failure, true)));
        attempt::settle_all(&self.shared, &self.runtime, changes, None).await;
        Ended::Suspended
    }

    async fn next_of_key(&mut self, key: OrderHash, ended: Ended) {
        let on_failure = self
            .runtime
            .plan
            .ordered
            .as_ref()
            .map(|o| o.on_failure)
            .unwrap_or_default();
        let skips = ended == Ended::Suspended && on_failure == OnOrderFailure::Skip;
        let goes_on = (ended == Ended::Done || skips) && self.begins();
        let Some(behind) = self.behind.get_mut(&key) else {
            return;
        };
        if goes_on && let Some(next) = behind.pop_front() {
            self.begin(next, Some(key)).await;
            return;
        }
        if goes_on {
            self.behind.remove(&key);
            self.runtime.keys().remove(&key);
            return;
        }
        self.key_waits(key).await;
    }

    /// The key has a head that is not in hand.
    async fn key_waits(&mut self, key: OrderHash) {
        // The key waits behind its head: what is in hand goes back and comes again in order.
        let begun = self.shared.claim_rounds.load(Ordering::SeqCst);
        self.blocked.insert(key, begun);
        self.runtime.keys().remove(&key);
        let behind = self.behind.remove(&key).into_iter().flatten();
        self.give_back_all(behind).await;
    }

    /// Side by side, so that they share commits: one after the other would hold up the whole port.
    async fn give_back_all(&self, works: impl Iterator<Item = Work>) {
        join_all(works.map(|work| self.give_back(work))).await;
    }

    async fn give_back(&self, work: Work) {
        let all = work.all().map(|claimed| (claimed.claim, Change::Release));
        attempt::settle_all(&self.shared, &self.runtime, all.collect(), None).await;
    }
}
