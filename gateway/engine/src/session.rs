//! Staying alive: opens the session, registers the instance, renews, watches the other nodes.
//!
//! The decisions are `quayside-lease`'s; the tasks here ask the store and move the deadline of [`Trust`].
//! Renewing and watching are two tasks, so that a slow look at the others never delays a renewal.
//!
//! A session that another node has ended is over for good: trust ends, everything of the engine is cut off
//! at once, and whoever runs the engine starts another one, with a session and an instance of its own.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use quayside_lease::{Observer, SessionLease, Sighting};
use quayside_model::{Clock, InstanceId, Monotonic, SessionId, Text};
use quayside_store::{AnyStore, StoreError, StoreErrorKind, sessions::NewInstance};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    codes,
    committer::chain,
    options::{EngineError, Options},
    outage::Outage,
    trust::Trust,
};

/// How often the other nodes' sessions are looked at, beside the moments at which one of them may be over.
const OBSERVE_EVERY: Duration = Duration::from_millis(100);

/// How many renewals are under way at once, of which all but the last are late.
const RENEWALS_MAX: usize = 3;

/// How often it is looked whether connections for renewals are missing.
const READY_EVERY: Duration = Duration::from_millis(200);

/// The longest pause after one could not be made, which doubles.
const READY_AT_LAST: Duration = Duration::from_secs(3);

/// What the store says of a renewal: whether the session is live.
type Renewed = Result<bool, StoreError>;

/// The session of this process.
pub(crate) struct Session {
    store: AnyStore,
    clock: Arc<dyn Clock>,
    session: SessionId,
    lease: SessionLease,
    /// The renewals that failed since the last one that succeeded.
    outage: Outage<()>,
    client_timeout: Duration,
    trust: Trust,
    lost: watch::Sender<bool>,
}

/// Looks for other nodes' sessions that are silent, and ends them.
pub(crate) struct Watcher {
    store: AnyStore,
    clock: Arc<dyn Clock>,
    own: SessionId,
    within: Duration,
    observer: Observer,
    /// Told when a session was ended: what its processes had in hand can be given back.
    ended: Arc<Notify>,
}

impl Session {
    /// Opens a session and registers `instance` under it.
    pub(crate) async fn open(
        store: AnyStore,
        options: &Options,
        instance: InstanceId,
        trust: Trust,
    ) -> Result<Self, EngineError> {
        let clock = Arc::clone(&options.clock);
        let session = SessionId::new(clock.now(), &*options.entropy);
        let timings = options.timings;
        let sent_at = clock.monotonic();
        store
            .open_session(session, &options.node, timings.ttl)
            .await?;
        let hosts: Vec<&str> = options.hosts.iter().map(|host| &**host).collect();
        let hosts = if hosts.is_empty() {
            "(all)".to_owned()
        } else {
            hosts.join(", ")
        };
        let new = NewInstance {
            instance,
            session,
            node: options.node.clone(),
            hosts: Text::lossy(&hosts),
        };
        if !store.register_instance(&new).await? {
            let detail = "the session had expired before the instance was registered";
            return Err(StoreError::new(
                StoreErrorKind::Unavailable,
                "register the instance",
                detail,
            )
            .into());
        }
        let lease = SessionLease::opened(timings, sent_at);
        trust.until(lease.deadline());
        let (lost, _) = watch::channel(false);
        let client_timeout = timings.client_timeout;
        Ok(Self {
            store,
            clock,
            session,
            lease,
            outage: Outage::default(),
            client_timeout,
            trust,
            lost,
        })
    }

    /// Becomes `true` when the session was ended by another node.
    pub(crate) fn lost(&self) -> watch::Receiver<bool> {
        self.lost.subscribe()
    }

    /// The other half of staying alive.
    pub(crate) fn watcher(&self, ended: Arc<Notify>) -> Watcher {
        Watcher {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            own: self.session,
            within: self.client_timeout * 3,
            observer: Observer::new(),
            ended,
        }
    }

    /// Renews until `cut`, then ends the session; or until the session is lost, then cuts.
    pub(crate) async fn run(mut self, cut: CancellationToken) {
        let (store, session, within) = (Arc::clone(&self.store), self.session, self.within());
        let renew = move || {
            let store = Arc::clone(&store);
            async move { timeout(within, store.renew_session(session)).await.ok() }
        };
        let mut renewals = Renewals::default();
        let mut ready = pin!(keep_ready(Arc::clone(&self.store)));
        loop {
            let (sent_at, answer) = tokio::select! {
                answered = renewals.next(&mut self.lease, &*self.clock, &renew) => answered,
                never = &mut ready => match never {},
                () = cut.cancelled() => break,
            };
            if !self.renewed(sent_at, answer) {
                self.trust.end();
                error!(code = %codes::SESSION_LOST, session = %self.session,
                    "the session was ended by another node");
                self.lost.send_replace(true);
                // Nothing of this instance can be stored any more: what is under way ends here.
                cut.cancel();
                return;
            }
        }
        drop(renewals);
        if let Ok(Err(error)) =
            timeout(self.client_timeout, self.store.close_session(self.session)).await
        {
            info!(error = %chain(&error), "the session could not be closed; it will expire");
        }
    }

    /// How long a renewal is waited for: one that is late behind other work still counts from when it was sent, so it is
    /// waited for longer than one that should have come; cut off, it would be lost although it succeeds.
    fn within(&self) -> Duration {
        self.client_timeout * 3
    }

    /// `false`: the session is over for good.
    fn renewed(&mut self, sent_at: Monotonic, answer: Option<Renewed>) -> bool {
        match answer {
            Some(Ok(true)) => {
                self.lease.renewed(sent_at);
                self.trust.until(self.lease.deadline());
                if let Some(untold) = self.outage.over() {
                    info!(session = %self.session, untold, "the session is renewed again");
                }
            }
            Some(Ok(false)) => return false,
            Some(Err(error)) => {
                if let Some(untold) = self.outage.failed((), self.clock.monotonic()) {
                    warn!(code = %error.kind.code(), error = %chain(&error), untold,
                        "renewing the session failed");
                }
            }
            None => {
                let within_ms = self.within().as_millis();
                if let Some(untold) = self.outage.failed((), self.clock.monotonic()) {
                    warn!(code = %StoreErrorKind::Unavailable.code(), within_ms, untold,
                        "renewing the session took too long");
                }
            }
        }
        true
    }
}

/// Renewals under way, with when each was sent.
///
/// One goes out when it is due, whatever became of the ones before: over a network that loses much the answer to one may
/// be late while the next one's comes at once, and a lease that waited for the first would run out.
struct Renewals<R>(FuturesUnordered<BoxFuture<'static, (Monotonic, R)>>);

impl<R> Default for Renewals<R> {
    fn default() -> Self {
        Self(FuturesUnordered::new())
    }
}

impl<R: Send> Renewals<R> {
    /// The next answer, and when its renewal was sent. Nothing is lost when it is dropped: those under way are, until
    /// it is called again.
    async fn next<F: Future<Output = R> + Send + 'static>(
        &mut self,
        lease: &mut SessionLease,
        clock: &dyn Clock,
        renew: impl Fn() -> F,
    ) -> (Monotonic, R) {
        loop {
            let due = lease.next_renewal().since(clock.monotonic());
            tokio::select! {
                () = tokio::time::sleep(due), if self.0.len() < RENEWALS_MAX => {
                    // Read before the renewal is sent, so that our deadline is earlier than the store's.
                    let sent_at = clock.monotonic();
                    lease.renewal_sent(sent_at);
                    let renewal = renew();
                    self.0.push(async move { (sent_at, renewal.await) }.boxed());
                }
                Some(answered) = self.0.next() => return answered,
                // Neither is ready only while as many as may be are under way, and then there is one to wait for.
            }
        }
    }
}

/// Keeps connections ready that renewals go over.
async fn keep_ready(store: AnyStore) -> Infallible {
    let mut pause = READY_EVERY;
    loop {
        // What keeps it from that is told by the renewals themselves. A server that has no room is not pressed.
        pause = match store.ready_to_renew().await {
            Ok(()) => READY_EVERY,
            Err(_) => (pause * 2).min(READY_AT_LAST),
        };
        tokio::time::sleep(pause).await;
    }
}

impl Watcher {
    /// Looks at intervals until `cut`.
    pub(crate) async fn run(mut self, cut: CancellationToken) {
        let looks = async {
            loop {
                tokio::time::sleep(self.pause()).await;
                self.look().await;
            }
        };
        tokio::select! {
            () = looks => {}
            () = cut.cancelled() => {}
        }
    }

    fn pause(&self) -> Duration {
        let now = self.clock.monotonic();
        let due = self.observer.next_due(now).map(|due| due.since(now));
        due.map_or(OBSERVE_EVERY, |due| due.min(OBSERVE_EVERY))
    }

    /// Ends sessions that are silent. What was not looked at in between is not known to be silent.
    async fn look(&mut self) {
        let asked = self.clock.monotonic();
        let rows = timeout(self.within, self.store.live_sessions()).await;
        let Ok(Ok(rows)) = rows else {
            self.observer = Observer::new();
            return;
        };
        let answered = self.clock.monotonic();
        let others = rows.into_iter().filter(|row| row.session != self.own);
        let sightings: Vec<Sighting> = others
            .map(|row| Sighting {
                session: row.session,
                seq: row.seq,
                ttl: row.ttl,
                overdue: row.overdue,
            })
            .collect();
        for (session, seq) in self.observer.observe(asked, answered, &sightings) {
            match self.store.expire_session(session, seq).await {
                Ok(true) => {
                    info!(%session, "ended the session of a silent node");
                    self.ended.notify_one();
                }
                Ok(false) => {}
                Err(error) => warn!(code = %error.kind.code(), error = %chain(&error),
                    "ending a silent session failed"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use quayside_lease::Timings;
    use quayside_model::SystemClock;

    use super::*;

    fn lease() -> SessionLease {
        let ms = Duration::from_millis;
        let timings = Timings {
            ttl: ms(100),
            renew_every: ms(1),
            margin: ms(10),
            client_timeout: ms(1),
        };
        SessionLease::opened(timings, SystemClock.monotonic())
    }

    #[tokio::test]
    async fn a_renewal_that_is_not_answered_delays_none() {
        let (mut lease, mut renewals) = (lease(), Renewals::default());
        let sent = Arc::new(AtomicUsize::new(0));
        let renew = || {
            let no = sent.fetch_add(1, Ordering::Relaxed);
            async move { if no == 0 { pending().await } else { no } }
        };
        let before = lease.next_renewal();
        for no in 1..10 {
            let (sent_at, answered) = renewals.next(&mut lease, &SystemClock, renew).await;
            assert_eq!(answered, no);
            assert!(sent_at > before, "counts from when it was sent itself");
        }
    }

    #[tokio::test]
    async fn no_more_than_a_few_are_under_way() {
        let (mut lease, mut renewals) = (lease(), Renewals::default());
        let under_way = Arc::new(AtomicUsize::new(0));
        let renew = || {
            let now = under_way.fetch_add(1, Ordering::Relaxed) + 1;
            let under_way = Arc::clone(&under_way);
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                under_way.fetch_sub(1, Ordering::Relaxed);
                now
            }
        };
        let mut most = 0;
        for _ in 0..12 {
            most = most.max(renewals.next(&mut lease, &SystemClock, renew).await.1);
        }
        assert!(most <= RENEWALS_MAX, "{most} at once");
    }
}
