//! What the store is asked, and its answers as events of the pure core.
//!
//! Every answer comes within a bound; one that does not is unknown, and may still take effect.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use quayside_lease::{Action, Event, Exit, Incarnation, Renewal, Take, Transition};
use quayside_model::{Clock as _, InstanceId, Monotonic, Name, SessionId, SystemClock, Text};
use quayside_store::{
    Sessions as _, StoreError,
    cluster::{Cluster as _, Ending, Hints},
    sessions::NewInstance,
};
use quayside_store_postgres::{Options, PostgresStore, client_tls, password_file};
use tokio::{sync::mpsc, time::timeout};
use tracing::{error, info, warn};

use crate::{Failure, codes, plan::Plan};

/// How long a question may wait for its answer, in client timeouts: one that is late behind other work counts
/// from when it was sent, so it is waited for longer than one that should have come.
const PATIENCE: u32 = 3;
/// How long the listener for hints waits before it connects again.
const HINTS_AGAIN: Duration = Duration::from_secs(1);
/// How often it is looked whether connections are missing.
const READY_EVERY: Duration = Duration::from_millis(200);
/// The longest pause after one could not be made, which doubles: each try may leave something behind at a server that the
/// network hardly lets anybody through to.
const READY_AT_LAST: Duration = Duration::from_secs(30);
/// The same of one that renewals go over: a lease is at stake.
const RENEWAL_AT_LAST: Duration = Duration::from_secs(3);
/// How often the failure of one question is told of while it goes on.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How long a transition waits before it is recorded again.
const RECORD_AGAIN: Duration = Duration::from_millis(500);

/// An answer, and who gave it where that was asked for.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) from: Option<Incarnation>,
    pub(crate) event: Event,
}

impl From<Event> for Answer {
    fn from(event: Event) -> Self {
        Self { from: None, event }
    }
}

/// Asks the store.
#[derive(Clone)]
pub(crate) struct Asker {
    store: Arc<PostgresStore>,
    node: Name,
    ttl: Duration,
    within: Duration,
    /// Whether a failover may lose something: it is allowed, or nobody else would take over.
    may_be_lossy: bool,
    /// When each question that failed was told of last, and how many were not told since.
    told: Arc<Mutex<BTreeMap<&'static str, (Monotonic, u32)>>>,
}

impl Asker {
    /// Opens the store of the plan, which need not answer yet.
    pub(crate) fn open(plan: &Plan) -> Result<Self, Failure> {
        let failed = |error: String| Failure::new(codes::STORE_CALL, error);
        let url = plan.store.url.clone().unwrap_or_default();
        let tls = client_tls(&url, plan.store.ca.as_deref());
        let tls = tls.map_err(|error| failed(chain(&error)))?;
        let options = Options {
            password: plan.store.password_file.clone().map(password_file),
            tls,
            commit_connections: 1,
            ..Options::new(url)
        };
        if let Some(password) = &options.password {
            // One that is not there is not waited for.
            password().map_err(|error| failed(format!("the password of the store: {error}")))?;
        }
        let store = PostgresStore::new(options).map_err(|error| Failure::store(&error))?;
        let timings = plan.options().timings;
        Ok(Self {
            store: Arc::new(store),
            node: plan.node.clone(),
            ttl: timings.ttl,
            within: timings.client_timeout * PATIENCE,
            may_be_lossy: plan.allow_loss || !plan.is_shared(),
            told: Arc::default(),
        })
    }

    /// Brings the schema of the store to this program's.
    pub(crate) async fn migrate(&self) -> Result<(), StoreError> {
        self.store.reach().await?;
        self.store.migrate().await
    }

    /// What a failover of the database may lose, if it may and nobody has allowed it.
    pub(crate) async fn may_lose(&self) -> Result<Option<String>, StoreError> {
        if self.may_be_lossy {
            return Ok(None);
        }
        let replicas = self.store.replicas().await?;
        Ok(replicas.may_lose().then(|| {
            let standbys = replicas.standbys.join(", ");
            format!("no commit waits for the standbys of PostgreSQL ({standbys}), and several nodes share a host")
        }))
    }

    /// Tells of a failover that may lose something, now that another database answers.
    pub(crate) async fn tell_of_loss(&self) {
        if let Some(Some(loss)) = self.known("look at standbys", self.may_lose()).await {
            error!(code = %codes::ASYNCHRONOUS, "{loss}");
        }
    }

    /// Who answers.
    pub(crate) async fn incarnation(&self) -> Option<Incarnation> {
        let asked = self.store.incarnation();
        self.known("who answers", asked).await
    }

    /// Ends connections that lead to an old primary.
    pub(crate) fn disconnect(&self) {
        self.store.disconnect();
    }

    /// Closes all connections.
    pub(crate) async fn close(&self) {
        self.store.close().await;
    }

    /// Asks what `action` wants to know. `None`: the action is none of the store's, or nobody waits.
    pub(crate) async fn ask(&self, action: Action) -> Option<Answer> {
        let store = &self.store;
        Some(match action {
            Action::Open { session } => {
                let opened = store.open(session, &self.node, self.ttl);
                let done = self.known("open the session", opened).await.is_some();
                Event::Opened { session, done }.into()
            }
            Action::Renew { session, sent_at } => {
                let renewed = self.known("renew the session", store.renew(session)).await;
                let renewal = match &renewed {
                    Some(renewed) if renewed.live => Renewal::Live,
                    Some(_) => Renewal::Dead,
                    None => Renewal::Unknown,
                };
                Answer {
                    from: renewed.map(|renewed| renewed.incarnation),
                    event: Event::Renewed {
                        session,
                        sent_at,
                        renewal,
                    },
                }
            }
            Action::Look { asked, report } => {
                let look = self.known("look", store.look(&self.node, &report)).await;
                let (from, view) = look.map(|look| (look.incarnation, look.view)).unzip();
                Answer {
                    from,
                    event: Event::Looked { asked, view },
                }
            }
            Action::Expire { session, seq } => {
                let expired = store.expire_session(session, seq);
                let done = self.known("end a silent session", expired).await == Some(true);
                if done {
                    info!(%session, "ended the session of a silent node");
                }
                Event::Expired { session, done }.into()
            }
            Action::Close { session } => {
                let closed = store.close_session(session);
                let done = self.known("close the session", closed).await.is_some();
                Event::Closed { session, done }.into()
            }
            Action::End { instance } => self.end(instance).await.into(),
            Action::Take {
                group,
                instance,
                grant,
                counted,
            } => {
                let taken = store.take_group(&group, instance, grant, counted);
                let take = self.known("take a group", taken).await;
                let take = take.unwrap_or(Take::Unknown);
                Event::Took { group, grant, take }.into()
            }
            Action::Release {
                group,
                grant,
                offer,
            } => {
                let released = store.release_group(&group, grant, offer.as_ref());
                let done = self.known("give a group back", released).await.is_some();
                Event::Released { group, grant, done }.into()
            }
            action => {
                self.write(action).await;
                return None;
            }
        })
    }

    /// Declares a process dead that has ended. What it left open at the store ends with it.
    async fn end(&self, instance: InstanceId) -> Event {
        let ending = self.known("end a process", self.store.end(instance)).await;
        if ending == Some(Ending::Locked) {
            self.break_locks(instance).await;
        }
        Event::Ended {
            instance,
            done: ending == Some(Ending::Ended),
        }
    }

    async fn break_locks(&self, instance: InstanceId) {
        let broken = self.store.break_locks(instance);
        if let Some(connections) = self.known("break locks", broken).await {
            warn!(%instance, connections, "ended what a former process had open at the store");
        }
    }

    /// Writes what nobody waits for.
    async fn write(&self, action: Action) {
        let store = &self.store;
        match action {
            Action::BreakLocks { instance } => self.break_locks(instance).await,
            Action::Offer { group, to, planned } => {
                self.known("offer a group", store.offer(&group, &to, planned))
                    .await;
            }
            Action::Fail { group } => {
                self.known("write a failure", store.fail(&group)).await;
            }
            Action::Recover { group } => {
                self.known("write the end of a failure", store.recover(&group))
                    .await;
            }
            Action::Answer {
                group,
                order,
                refused,
            } => {
                let refused = refused.map(|refusal| refusal.to_string());
                let answered = store.answer_move(&group, order, refused.as_deref());
                self.known("answer an order", answered).await;
            }
            _ => {}
        }
    }

    /// Registers the process of `host`. `false`: it must not start.
    pub(crate) async fn register(
        &self,
        instance: InstanceId,
        session: SessionId,
        host: &Name,
    ) -> bool {
        let new = NewInstance {
            instance,
            session,
            node: self.node.clone(),
            hosts: Text::lossy(host),
        };
        self.known("register a process", self.store.register(&new))
            .await
            == Some(true)
    }

    /// Records transitions in their order, each until the store has it.
    pub(crate) async fn record_all(self, mut transitions: mpsc::Receiver<Transition>) {
        while let Some(transition) = transitions.recv().await {
            while self
                .known("record a change", self.store.record(&transition))
                .await
                .is_none()
            {
                tokio::time::sleep(RECORD_AGAIN).await;
            }
        }
    }

    /// Keeps connections ready that other questions than renewals go over: a move must not wait for one.
    pub(crate) async fn keep_ready(self) {
        let mut pause = READY_EVERY;
        loop {
            // What keeps it from that is told by the questions themselves.
            pause = match self.store.ready_to_lead().await {
                Ok(()) => READY_EVERY,
                Err(_) => (pause * 2).min(READY_AT_LAST),
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Keeps connections ready that renewals go over. A renewal gives up before a connection is made over a network
    /// that loses much, and the next one would begin anew.
    pub(crate) async fn keep_renewing(self) {
        let mut pause = READY_EVERY;
        loop {
            pause = match self.store.ready_to_renew().await {
                Ok(()) => READY_EVERY,
                Err(_) => (pause * 2).min(RENEWAL_AT_LAST),
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Tells of hints for as long as somebody wants to know.
    pub(crate) async fn listen(self, hinted: mpsc::Sender<()>) {
        while !hinted.is_closed() {
            if let Some(mut hints) = self.known("listen", self.store.hints()).await {
                // What happened before it listened was not told.
                while hinted.send(()).await.is_ok() && next(&mut *hints).await {}
            }
            tokio::time::sleep(HINTS_AGAIN).await;
        }
    }

    async fn known<T>(
        &self,
        what: &'static str,
        asked: impl Future<Output = Result<T, StoreError>>,
    ) -> Option<T> {
        match timeout(self.within, asked).await {
            Ok(Ok(answer)) => {
                let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                told.remove(what);
                Some(answer)
            }
            Ok(Err(error)) => {
                if let Some(untold) = self.untold(what) {
                    warn!(code = %error.kind.code(), what, error = %chain(&error), untold, "the store was asked in vain");
                }
                None
            }
            Err(_) => {
                let within_ms = self.within.as_millis();
                if let Some(untold) = self.untold(what) {
                    warn!(code = %codes::STORE_CALL, what, within_ms, untold, "the store did not answer in time");
                }
                None
            }
        }
    }

    /// How many failures of the question `what` were not told of, if this one is to be.
    fn untold(&self, what: &'static str) -> Option<u32> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemClock.monotonic();
        let (last, untold) = told.entry(what).or_insert((now, 0));
        let is_first = *last == now;
        if !is_first && now.since(*last) < TELL_EVERY {
            *untold += 1;
            return None;
        }
        *last = now;
        Some(std::mem::take(untold))
    }
}

async fn next(hints: &mut dyn Hints) -> bool {
    match hints.next().await {
        Ok(()) => true,
        Err(error) => {
            info!(code = %error.kind.code(), error = %chain(&error), "hints are interrupted");
            false
        }
    }
}

/// What the core takes an exit for that was none.
pub(crate) const NOT_STARTED: Exit = Exit::NotStarted;

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
