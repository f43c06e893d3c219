//! What is asked of the store for `/cluster`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use quayside_lease::{Epoch, GroupSeen, OwnerSeen, View};
use quayside_model::{GrantId, InstanceId, Name, SessionId, Timestamp};
use quayside_store::{
    AnyStore, Cluster,
    browse::{DeliveryFilter, MAX_PAGE},
    cluster::{EventRow, MoveAnswer},
    sessions::{FenceRow, InstanceRow},
};

use super::Policies;
use crate::admin::{Admin, problem::Answer};

/// What the fences of clustered hosts begin with.
const HOST: &str = "host.";
/// How many of the last changes of a host are looked at.
const EVENTS: u32 = 100;

/// Everything that is known of the cluster at one moment.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Whether several nodes share the store.
    pub(crate) shared: bool,
    /// What this process's configuration says of the hosts.
    pub(crate) policies: Policies,
    /// What the store shows.
    pub(crate) view: View,
    /// What is recorded of each host.
    pub(crate) records: BTreeMap<Name, Record>,
    /// The processes that work on the store.
    pub(crate) instances: Vec<InstanceRow>,
    /// How many live deliveries of each host are in doubt, counted up to [`MAX_PAGE`] in all. `None`: the engine is
    /// not there to say which port belongs to which host.
    pub(crate) doubts: Option<BTreeMap<Name, u64>>,
    /// This process, if its engine runs.
    pub(crate) here: Option<InstanceId>,
    /// Now, by this node's clock.
    pub(crate) now: Timestamp,
}

/// What is recorded of a host.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Its last changes, newest first.
    pub(crate) events: Vec<EventRow>,
    /// How the last order to move it went.
    pub(crate) answered: Option<MoveAnswer>,
}

impl Facts {
    /// Asks the store and the engine.
    pub(super) async fn ask(admin: &Admin) -> Answer<Self> {
        let (gateway, store) = (&admin.gateway, &admin.gateway.store);
        let (here, hosts_of_ports) = match gateway.engine().await.as_ref() {
            Some(engine) => {
                let ports = engine.ports_here().into_iter();
                let hosts: HashMap<Name, Name> = ports.map(|port| (port.name, port.host)).collect();
                (Some(engine.instance()), Some(hosts))
            }
            None => (None, None),
        };
        let view = match store.cluster() {
            Some(cluster) => cluster.view().await?.view,
            None => view_of(&store.fences().await?),
        };
        let doubts = match hosts_of_ports {
            Some(hosts) => Some(doubts(store, &hosts).await?),
            None => None,
        };
        let mut facts = Self {
            shared: store.cluster().is_some(),
            policies: Policies::clone(&admin.policies),
            view,
            records: BTreeMap::new(),
            instances: store.instances().await?,
            doubts,
            here,
            now: gateway.clock.now(),
        };
        if let Some(cluster) = store.cluster() {
            facts.records = records(cluster, facts.hosts()).await?;
        }
        Ok(facts)
    }

    /// The clustered hosts: those of the configuration, and those that were ever run or spoken of.
    pub(super) fn hosts(&self) -> Vec<Name> {
        let known = self.view.groups.iter().map(|seen| &seen.group);
        let all: BTreeSet<&Name> = self.policies.keys().chain(known).collect();
        all.into_iter().cloned().collect()
    }

    /// The nodes: those that may run a clustered host, and those that were seen or spoken of.
    pub(super) fn nodes(&self) -> Vec<Name> {
        let possible = self.policies.values().flat_map(|policy| &policy.possible);
        let spoken_of = self.view.nodes.iter().map(|seen| &seen.node);
        let agents = self.view.sessions.iter().map(|seen| &seen.node);
        let processes = self.instances.iter().filter(|row| row.live);
        let processes = processes.map(|row| &row.node);
        let all = possible.chain(spoken_of).chain(agents).chain(processes);
        let all: BTreeSet<&Name> = all.collect();
        all.into_iter().cloned().collect()
    }

    /// What the store shows of `host`.
    pub(super) fn seen(&self, host: &Name) -> GroupSeen {
        let seen = self.view.groups.iter().find(|seen| seen.group == *host);
        seen.cloned()
            .unwrap_or_else(|| GroupSeen::unknown(host.clone()))
    }
}

/// The fences of a store that is for one process, in the form that a shared store has. It knows no session and no
/// grant; the ids that stand for them are never shown.
fn view_of(fences: &[FenceRow]) -> View {
    let groups = fences.iter().filter_map(|fence| {
        let group = Name::new(fence.group.strip_prefix(HOST)?).ok()?;
        let owner = fence.owner.clone().map(|(instance, node)| OwnerSeen {
            node,
            instance,
            session: SessionId::from_bytes([0; 16]),
            grant: GrantId::from_bytes([0; 16]),
            live: true,
        });
        Some(GroupSeen {
            epoch: Epoch::new(fence.epoch),
            owner,
            ..GroupSeen::unknown(group)
        })
    });
    View {
        groups: groups.collect(),
        ..View::default()
    }
}

async fn records(cluster: &dyn Cluster, hosts: Vec<Name>) -> Answer<BTreeMap<Name, Record>> {
    let mut records = BTreeMap::new();
    for host in hosts {
        let mut events = cluster.events(Some(&host), None, EVENTS).await?;
        events.retain(|event| !event.is_word());
        let record = Record {
            events,
            answered: cluster.move_answer(&host).await?,
        };
        records.insert(host, record);
    }
    Ok(records)
}

/// How many deliveries in doubt each host has.
async fn doubts(
    store: &AnyStore,
    hosts_of_ports: &HashMap<Name, Name>,
) -> Answer<BTreeMap<Name, u64>> {
    let filter = DeliveryFilter {
        in_doubt: Some(true),
        ..DeliveryFilter::default()
    };
    let mut doubts = BTreeMap::new();
    for row in store.deliveries(&filter, None, MAX_PAGE).await? {
        if let Some(host) = hosts_of_ports.get(&row.port) {
            *doubts.entry(host.clone()).or_default() += 1;
        }
    }
    Ok(doubts)
}

/// A duration in an answer.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
