//! Which clustered hosts this instance runs: of each, one instance at a time among all that share the store.
//!
//! A host is owned by who has its fence. The fence is taken when nobody live has it, and it goes with the
//! instance: a session that another node has ended fences every write of this one, and its effects have ended
//! before that, with its trust. So an owner never loses a host while it may act, and whoever does not own one
//! stands by: its ports have their configuration and rest.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quayside_model::{GrantId, InstanceId, Name};
use quayside_store::{StoreError, StoreErrorKind, fence_of, sessions::FenceOutcome};
use tracing::{info, warn};

use crate::{committer::chain, outage::Outage, runtime::Runtimes, shared::Shared};

/// How often a host that another instance has is asked for.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// How often ports and locations that stand by look after what they keep ready.
pub(crate) const PREPARE_EVERY: Duration = Duration::from_secs(1);

/// Where this instance stands with a clustered host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It runs the host.
    Active {
        /// The number of this ownership. It rises with each one and never repeats.
        epoch: i64,
    },
    /// It stands by.
    Standby {
        /// Who runs the host, as far as is known.
        owner: Option<InstanceId>,
    },
}

/// The clustered hosts of this process.
#[derive(Debug, Default)]
pub(crate) struct Ownership {
    standings: Mutex<BTreeMap<Name, Standing>>,
}

impl Ownership {
    /// Stands by for each of `clustered`.
    pub(crate) fn of(clustered: &[Name]) -> Self {
        let standby = Standing::Standby { owner: None };
        let standings = clustered.iter().map(|host| (host.clone(), standby));
        Self {
            standings: Mutex::new(standings.collect()),
        }
    }

    /// Whether the ports of `host` rest because another instance runs it, or may.
    pub(crate) fn stands_by(&self, host: &Name) -> bool {
        matches!(self.lock().get(host), Some(Standing::Standby { .. }))
    }

    /// The epoch of `host`, if it is clustered and this instance runs it.
    pub(crate) fn epoch(&self, host: &Name) -> Option<i64> {
        match self.lock().get(host) {
            Some(Standing::Active { epoch }) => Some(*epoch),
            _ => None,
        }
    }

    /// An agent has made this instance the active one of `host`.
    pub(crate) fn grant(&self, host: &Name, epoch: i64) {
        self.set(host, Standing::Active { epoch });
        info!(%host, epoch, "this instance is the active one of the clustered host now");
    }

    fn set(&self, host: &Name, standing: Standing) -> Option<Standing> {
        self.lock().insert(host.clone(), standing)
    }

    /// The hosts that are not owned here.
    fn wanted(&self) -> Vec<Name> {
        let standings = self.lock();
        let standby = standings
            .iter()
            .filter(|(_, standing)| matches!(standing, Standing::Standby { .. }));
        standby.map(|(host, _)| host.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Standing>> {
        self.standings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for the hosts that others have.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    /// Always the same one for all: a take whose answer was lost is met again.
    grant: GrantId,
    outage: Outage<()>,
}

impl Keeper {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let options = &shared.options;
        let grant = GrantId::new(options.clock.now(), &*options.entropy);
        Self {
            shared,
            grant,
            outage: Outage::default(),
        }
    }

    /// Asks until the engine stops taking work. What it has goes with the instance, after its work has ended.
    pub(crate) async fn run(mut self, runtimes: Arc<Runtimes>) {
        let stopping = self.shared.stopping.clone();
        loop {
            tokio::select! {
                () = tokio::time::sleep(ASK_EVERY) => {}
                () = stopping.cancelled() => break,
            }
            if self.shared.trust.may_act() && self.ask().await {
                runtimes.refresh(&self.shared);
                self.shared.wake_claimer.notify_one();
            }
        }
    }

    /// Takes what is free. Returns whether there was anything.
    pub(crate) async fn ask(&mut self) -> bool {
        let mut taken = false;
        for host in self.shared.ownership.wanted() {
            match self.take(&host).await {
                Ok(now) => {
                    taken |= now;
                    if let Some(untold) = self.outage.over() {
                        info!(%host, untold, "clustered hosts can be asked for again");
                    }
                }
                // Somebody gave it back at this moment: the next round takes it.
                Err(error) if error.kind == StoreErrorKind::Contended => {}
                Err(error) => {
                    let now = self.shared.options.clock.monotonic();
                    if let Some(untold) = self.outage.failed((), now) {
                        warn!(%host, code = %error.kind.code(), error = %chain(&error), untold,
                            "asking for a clustered host failed");
                    }
                }
            }
        }
        taken
    }

    async fn take(&self, host: &Name) -> Result<bool, StoreError> {
        let Shared {
            store,
            instance,
            ownership,
            ..
        } = &*self.shared;
        let fence = fence_of(host).map_err(|error| {
            let detail = format!("the name of the host {host}: {error}");
            StoreError::new(StoreErrorKind::Data, "take the fence of a host", detail)
        })?;
        match store.take_fence(&fence, *instance, self.grant).await? {
            FenceOutcome::Taken(epoch) => {
                ownership.set(host, Standing::Active { epoch });
                info!(%host, epoch, "this instance runs the clustered host now");
                Ok(true)
            }
            FenceOutcome::HeldBy(owner) => {
                let owner = Some(owner);
                let before = ownership.set(host, Standing::Standby { owner });
                if before != Some(Standing::Standby { owner }) {
                    info!(%host, owner = ?owner, "another instance runs the clustered host; this one stands by");
                }
                Ok(false)
            }
            // The session is over: the engine ends by itself.
            FenceOutcome::Fenced => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    #[test]
    fn a_host_that_is_not_clustered_never_stands_by() {
        let ownership = Ownership::of(&[name("queues")]);
        assert!(!ownership.stands_by(&name("edge")));
        assert!(ownership.stands_by(&name("queues")));
        assert_eq!(ownership.wanted(), [name("queues")]);
    }

    #[test]
    fn an_owned_host_is_not_asked_for_again() {
        let ownership = Ownership::of(&[name("a"), name("b")]);
        ownership.set(&name("a"), Standing::Active { epoch: 3 });
        assert!(!ownership.stands_by(&name("a")));
        let epochs = ["a", "b", "c"].map(|host| ownership.epoch(&name(host)));
        assert_eq!(epochs, [Some(3), None, None]);
        assert_eq!(ownership.wanted(), [name("b")]);
    }
}
