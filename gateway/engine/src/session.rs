//! Staying alive: opens the session, registers the instance, renews, watches the other nodes.
//!
//! The decisions are `quayside-lease`'s; the tasks here ask the store and move the deadline of [`Trust`].
//! Renewing and watching are two tasks, so that a slow look at the others never delays a renewal.
//!
//! A session that another node has ended is over for good: trust ends, everything of the engine is cut off
//! at once, and whoever runs the engine starts another one, with a session and an instance of its own.

use std::{sync::Arc, time::Duration};

use quayside_lease::{Observer, SessionLease, Sighting};
use quayside_model::{Clock, InstanceId, SessionId, Text};
use quayside_store::{AnyStore, StoreError, StoreErrorKind, sessions::NewInstance};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    codes,
    committer::chain,
    options::{EngineError, Options},
    outage::Outage,
    trust::Trust,
};

/// How often the other nodes' sessions are looked at.
const OBSERVE_EVERY: Duration = Duration::from_millis(250);

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
    pub(crate) fn watcher(&self) -> Watcher {
        Watcher {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            own: self.session,
            within: self.client_timeout * 3,
            observer: Observer::new(),
        }
    }

    /// Renews until `cut`, then ends the session; or until the session is lost, then cuts.
    pub(crate) async fn run(mut self, cut: CancellationToken) {
        loop {
            let next = self.lease.next_renewal().since(self.clock.monotonic());
            tokio::select! {
                () = tokio::time::sleep(next) => {}
                () = cut.cancelled() => break,
            }
            if !self.renew().await {
                self.trust.end();
                error!(code = %codes::SESSION_LOST, session = %self.session,
                    "the session was ended by another node");
                self.lost.send_replace(true);
                // Nothing of this instance can be stored any more: what is under way ends here.
                cut.cancel();
                return;
            }
        }
        if let Ok(Err(error)) =
            tokio::time::timeout(self.client_timeout, self.store.close_session(self.session)).await
        {
            info!(error = %chain(&error), "the session could not be closed; it will expire");
        }
    }

    /// `false`: the session is over for good.
    async fn renew(&mut self) -> bool {
        // Read before the renewal is sent, so that our deadline is earlier than the store's.
        let sent_at = self.clock.monotonic();
        self.lease.renewal_sent(sent_at);
        let renewal = self.store.renew_session(self.session);
        // A renewal that is late behind other work still counts from when it was sent, so it is waited for
        // longer than one that should have come; cut off, it would be lost although it succeeds.
        match tokio::time::timeout(self.client_timeout * 3, renewal).await {
            Ok(Ok(true)) => {
                self.lease.renewed(sent_at);
                self.trust.until(self.lease.deadline());
                if let Some(untold) = self.outage.over() {
                    info!(session = %self.session, untold, "the session is renewed again");
                }
            }
            Ok(Ok(false)) => return false,
            Ok(Err(error)) => {
                if let Some(untold) = self.outage.failed((), self.clock.monotonic()) {
                    warn!(code = %error.kind.code(), error = %chain(&error), untold,
                        "renewing the session failed");
                }
            }
            Err(_) => {
                let within_ms = (self.client_timeout * 3).as_millis();
                if let Some(untold) = self.outage.failed((), self.clock.monotonic()) {
                    warn!(code = %StoreErrorKind::Unavailable.code(), within_ms, untold,
                        "renewing the session took too long");
                }
            }
        }
        true
    }
}

impl Watcher {
    /// Looks at intervals until `cut`.
    pub(crate) async fn run(mut self, cut: CancellationToken) {
        let looks = async {
            loop {
                tokio::time::sleep(OBSERVE_EVERY).await;
                self.look().await;
            }
        };
        tokio::select! {
            () = looks => {}
            () = cut.cancelled() => {}
        }
    }

    /// Ends sessions that are silent. What was not looked at in between is not known to be silent.
    async fn look(&mut self) {
        let asked = self.clock.monotonic();
        let rows = tokio::time::timeout(self.within, self.store.live_sessions()).await;
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
                Ok(true) => info!(%session, "ended the session of a silent node"),
                Ok(false) => {}
                Err(error) => warn!(code = %error.kind.code(), error = %chain(&error),
                    "ending a silent session failed"),
            }
        }
    }
}
