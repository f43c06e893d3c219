//! Whether the systems behind the adapters of clustered hosts can be reached from this node.
//!
//! The process that has a host asks, and so do those that stand by: only when both are known can a fault of one node
//! be told from one of the system itself. Each system is asked once, however many ports work with it, and goes by
//! the name of the first of them in the order of the alphabet, so that every node gives it the same name. What becomes
//! of single messages says nothing here: a message that nobody can take is a fault of that message.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quayside_adapter_api::{AdapterError, Block, Condition, Partner};
use quayside_lease::AdapterHealth;
use quayside_model::{Name, PortStatus, port::PortControl};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    codes,
    plan::Plan,
    runtime::{self, Runtimes},
    shared::{Routes, Shared},
};

/// How long after an answer a system is asked again, and how often it is looked which ones there are.
const EVERY: Duration = Duration::from_secs(1);
/// A system that does not answer within this time counts as one that cannot be reached.
const LATE: Duration = Duration::from_secs(2);
/// A probe that has not ended by then is given up and made anew.
const LONGEST: Duration = Duration::from_secs(60);
/// The most systems that are watched: all of them have to fit into one packet to the agent
/// ([`quayside_lease::protocol::PACKET_MAX`]), with names of the greatest length.
const WATCHED_MAX: usize = 64;

/// What is known of the systems.
#[derive(Default)]
pub(crate) struct Partners {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    watched: BTreeMap<Name, Watched>,
}

/// A system that is watched.
struct Watched {
    adapter: String,
    partner: Arc<dyn Partner>,
    /// `None` until it has answered for the first time, or has not.
    healthy: Option<bool>,
    task: AbortHandle,
}

impl Partners {
    /// How each system stands that is known, by its name.
    pub(crate) fn health(&self) -> Vec<AdapterHealth> {
        let state = self.lock();
        let known = state.watched.iter().filter_map(|(name, watched)| {
            let (name, healthy) = (name.clone(), watched.healthy?);
            Some(AdapterHealth { name, healthy })
        });
        known.collect()
    }

    /// Notes how `name` stands, and returns how it stood.
    fn note(&self, name: &Name, healthy: bool) -> Option<bool> {
        let mut state = self.lock();
        state.watched.get_mut(name)?.healthy.replace(healthy)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Partners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.health()).finish()
    }
}

/// Watches them until the engine stops taking work.
pub(crate) async fn watch(shared: Arc<Shared>, runtimes: Arc<Runtimes>) {
    let mut probes = JoinSet::new();
    let mut before = Used::default();
    loop {
        let plan = runtimes.plan();
        let now = Used::of(&plan, &shared.routes(), &shared.options.clustered);
        if now != before {
            replace(&shared, &plan, &now, &mut probes);
            before = now;
        }
        while probes.try_join_next().is_some() {}
        tokio::select! {
            () = sleep(EVERY) => {}
            () = shared.stopping.cancelled() => return,
        }
    }
}

/// The locations and ports of the clustered hosts that are in use, in the order of their names, each with the hash of
/// the configuration that it is of.
#[derive(Debug, Default, PartialEq, Eq)]
struct Used {
    hash: String,
    names: BTreeSet<Name>,
}

impl Used {
    fn of(plan: &Plan, routes: &Routes, clustered: &[Name]) -> Self {
        let mut names = BTreeSet::new();
        let works = |name: &Name, unless_said: bool| {
            let said = routes.controls.get(name).map(works);
            said.unwrap_or(unless_said)
        };
        for port in plan
            .receive
            .iter()
            .filter(|port| clustered.contains(&port.host))
        {
            let locations = port.locations.iter();
            let used = locations.filter(|location| works(&location.name, location.enabled));
            names.extend(used.map(|location| location.name.clone()));
        }
        let send = plan.send.iter();
        let send = send.filter(|port| clustered.contains(&port.host) && works(&port.name, true));
        names.extend(send.map(|port| port.name.clone()));
        Self {
            hash: plan.hash.clone(),
            names,
        }
    }
}

/// Whether an operator lets a port work, now or later: a pause is no reason to forget what is behind it.
fn works(control: &PortControl) -> bool {
    control.status == PortStatus::Started
}

/// The adapter and the block of each that is used. The backup of a port is none of them: it is there for the
/// case that the primary cannot be reached.
fn blocks<'a>(plan: &'a Plan, used: &Used) -> BTreeMap<&'a Name, (&'a str, &'a Block)> {
    let locations = plan.receive.iter().flat_map(|port| &port.locations);
    let locations = locations.map(|l| (&l.name, (l.adapter.as_str(), &l.block)));
    let send = plan.send.iter();
    let send = send.map(|p| (&p.name, (p.primary.adapter.as_str(), &p.primary.block)));
    let all = locations.chain(send);
    all.filter(|(name, _)| used.names.contains(*name)).collect()
}

/// Watches what is used now. What was watched already goes on with what is known of it.
fn replace(shared: &Arc<Shared>, plan: &Plan, used: &Used, probes: &mut JoinSet<()>) {
    let blocks = blocks(plan, used).into_iter();
    let all = blocks.filter_map(|(name, (key, block))| {
        let adapter = shared.options.adapters.get(key)?;
        let services = runtime::services(shared, name, Condition::default());
        let partner = adapter.partner(name, block, services)?;
        Some((name.clone(), key, partner))
    });
    let (different, unwatched) = different(all);
    if unwatched > 0 {
        let watched = different.len();
        warn!(code = %codes::PARTNERS_MANY, watched, unwatched, "not every system is watched");
    }
    let mut state = shared.partners.lock();
    let mut old = std::mem::take(&mut state.watched);
    for (name, adapter, partner) in different {
        let kept = old.remove(&name);
        let same = |kept: &Watched| kept.adapter == adapter && kept.partner.key() == partner.key();
        let watched = match kept {
            Some(kept) if same(&kept) => kept,
            kept => {
                kept.iter().for_each(|kept| kept.task.abort());
                let probe = probe(Arc::clone(shared), name.clone(), Arc::clone(&partner));
                Watched {
                    adapter: adapter.to_owned(),
                    partner,
                    healthy: None,
                    task: probes.spawn(probe),
                }
            }
        };
        state.watched.insert(name, watched);
    }
    old.values().for_each(|gone| gone.task.abort());
}

/// A system, by the name of the first that works with it, with the key of its adapter.
type Named<'a> = (Name, &'a str, Arc<dyn Partner>);

/// The different ones among `all`, which come in the order of their names, and how many more there would be.
fn different<'a>(all: impl Iterator<Item = Named<'a>>) -> (Vec<Named<'a>>, usize) {
    let mut keys = BTreeSet::new();
    let is_new = |(_, adapter, partner): &Named<'a>| {
        keys.insert((adapter.to_owned(), partner.key().to_owned()))
    };
    let mut different: Vec<_> = all.filter(is_new).collect();
    let left = different.len().saturating_sub(WATCHED_MAX);
    different.truncate(WATCHED_MAX);
    (different, left)
}

/// Asks one system again and again, one question at a time.
async fn probe(shared: Arc<Shared>, name: Name, partner: Arc<dyn Partner>) {
    loop {
        let mut probe = partner.probe();
        let answer = match timeout(LATE, &mut probe).await {
            Ok(answer) => answer,
            Err(_) => {
                tell(&shared, &name, Err("it does not answer".to_owned()));
                match timeout(LONGEST, &mut probe).await {
                    Ok(answer) => answer,
                    // Nobody waits for it any more: what it holds ends with it.
                    Err(_) => continue,
                }
            }
        };
        tell(&shared, &name, answer.map_err(|error| in_words(&error)));
        sleep(EVERY).await;
    }
}

fn in_words(error: &AdapterError) -> String {
    format!("{}: {}", error.code, error.detail)
}

fn tell(shared: &Shared, name: &Name, answer: Result<(), String>) {
    let before = shared.partners.note(name, answer.is_ok());
    match answer {
        Ok(()) if before == Some(false) => {
            info!(of = %name, "what the clustered host works with can be reached from here again");
        }
        Err(why) if before != Some(false) => {
            warn!(code = %codes::PARTNER_LOST, of = %name, why,
                "what the clustered host works with cannot be reached from here");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use quayside_lease::{Beat, HostState, ToAgent, protocol};

    use super::*;

    /// A system that is at a place.
    struct At(&'static str);

    #[async_trait]
    impl Partner for At {
        fn key(&self) -> &str {
            self.0
        }

        async fn probe(&self) -> Result<(), AdapterError> {
            Ok(())
        }
    }

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    fn used(name: &Name, adapter: &'static str, place: &'static str) -> Named<'static> {
        (name.clone(), adapter, Arc::new(At(place)))
    }

    #[test]
    fn a_system_goes_by_the_first_that_works_with_it() {
        let all = [
            used(&name("a.erp"), "amqp", "mq1"),
            used(&name("a.orders.in"), "amqp", "mq2"),
            used(&name("a.returns.in"), "amqp", "mq1"),
            used(&name("a.web"), "http", "mq1"),
        ];
        let (different, left) = different(all.into_iter());
        let names: Vec<&str> = different.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["a.erp", "a.orders.in", "a.web"]);
        assert_eq!(left, 0);
    }

    #[test]
    fn what_is_watched_fits_into_a_packet_however_long_its_names_are() {
        let places: Vec<&'static str> = (0..300).map(|no| &*format!("{no}").leak()).collect();
        let all = places.iter().map(|place| {
            let long = format!("{place}.{}", "x".repeat(Name::MAX - place.len() - 1));
            used(&name(&long), "amqp", place)
        });
        let (different, left) = different(all);
        assert_eq!((different.len(), left), (WATCHED_MAX, 300 - WATCHED_MAX));
        let adapters = different.into_iter().map(|(name, ..)| AdapterHealth {
            name,
            healthy: false,
        });
        let packet = protocol::encode(&ToAgent::Beat(Beat {
            state: HostState::Draining,
            in_flight: u32::MAX,
            adapters: adapters.collect(),
        }));
        assert!(packet.len() < protocol::PACKET_MAX, "{}", packet.len());
    }
}
