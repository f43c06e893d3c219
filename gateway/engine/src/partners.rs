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
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    codes,
    plan::Plan,
    runtime::{self, Runtimes},
    shared::{Routes, Shared},
    trust::Trust,
};

/// How long after an answer a system is asked again, and how often it is looked which ones there are.
const EVERY: Duration = Duration::from_secs(1);
/// A system that does not answer within this time counts as one that cannot be reached.
const LATE: Duration = Duration::from_secs(2);
/// A probe that has not ended by then is given up and made anew.
const LONGEST: Duration = Duration::from_secs(60);
/// How long one attempt to close what a former owner has open may take, and how often it is tried: for longer than
/// the slowest heartbeat needs to show that it is gone.
const EVICT_WITHIN: Duration = Duration::from_secs(5);
const EVICTIONS: u32 = 200;
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
    /// Every different system, those of backups and of stopped ports too.
    all: Vec<Arc<dyn Partner>>,
    /// Closes there what a former owner left open.
    evictions: JoinSet<()>,
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

    /// Begins to end what the processes of the node `former`, which had a clustered host of this one, have open at the
    /// systems, and goes on with that until it is done or the engine stops: a former owner may be paused for hours.
    /// What is returned ends when all is done.
    fn evict(&self, shared: &Shared, former: &Name) -> mpsc::Receiver<()> {
        let (done, all_done) = mpsc::channel(1);
        let mut state = self.lock();
        let State { all, evictions, .. } = &mut *state;
        while evictions.try_join_next().is_some() {}
        for partner in all {
            let (partner, former, done) = (Arc::clone(partner), former.clone(), done.clone());
            let (stopping, trust) = (shared.stopping.clone(), shared.trust.clone());
            evictions.spawn(async move {
                tokio::select! {
                    () = evict(&*partner, &former, &trust) => {}
                    () = stopping.cancelled() => {}
                }
                drop(done);
            });
        }
        all_done
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

/// Has what the processes of the node `former` have open at the systems ended, and waits for that for at most
/// `within`. It goes on after that.
pub(crate) async fn follow(shared: &Shared, former: &Name, within: Duration) {
    let mut all_done = shared.partners.evict(shared, former);
    // Nothing is ever sent: it ends with the last sender.
    let late = timeout(within, all_done.recv()).await.is_err();
    if late && !within.is_zero() {
        warn!(code = %codes::FORMER_LEFT, %former,
            "goes on although what the former owner has open is not closed yet");
    }
}

/// Watches the systems.
pub(crate) struct Watcher {
    shared: Arc<Shared>,
    runtimes: Arc<Runtimes>,
    used: Used,
    probes: JoinSet<()>,
}

impl Watcher {
    /// Knows from the start which ones there are.
    pub(crate) fn new(shared: Arc<Shared>, runtimes: Arc<Runtimes>) -> Self {
        let mut watcher = Self {
            shared,
            runtimes,
            used: Used::default(),
            probes: JoinSet::new(),
        };
        watcher.look();
        watcher
    }

    /// Watches until the engine stops taking work.
    pub(crate) async fn run(mut self) {
        let stopping = self.shared.stopping.clone();
        loop {
            tokio::select! {
                () = sleep(EVERY) => self.look(),
                () = stopping.cancelled() => return,
            }
        }
    }

    /// Looks which ones there are now.
    fn look(&mut self) {
        while let Some(end) = self.probes.try_join_next() {
            if let Err(error) = end
                && error.is_panic()
            {
                // What it said last is no verdict any more, and the next look begins anew.
                warn!(code = %codes::ADAPTER_PANICKED, %error, "asking a system panicked");
                let mut state = self.shared.partners.lock();
                state
                    .watched
                    .retain(|_, watched| watched.task.id() != error.id());
                self.used = Used::default();
            }
        }
        let (shared, plan) = (&self.shared, self.runtimes.plan());
        let used = Used::of(&plan, &shared.routes(), &shared.options.clustered);
        if used != self.used {
            replace(shared, &plan, &used, &mut self.probes);
            self.used = used;
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

/// Name, adapter and block of whatever can be sent or received by the clustered hosts.
fn everywhere<'a>(
    plan: &'a Plan,
    clustered: &'a [Name],
) -> impl Iterator<Item = (&'a Name, (&'a str, &'a Block))> {
    let receive = plan.receive.iter();
    let receive = receive.filter(|port| clustered.contains(&port.host));
    let locations = receive.flat_map(|port| &port.locations);
    let locations = locations.map(|l| (&l.name, (l.adapter.as_str(), &l.block)));
    let send = plan.send.iter();
    let send = send.filter(|port| clustered.contains(&port.host));
    let send = send.flat_map(|port| {
        let transports = [Some(&port.primary), port.backup.as_ref()];
        let transports = transports.into_iter().flatten();
        transports.map(|t| (&port.name, (t.adapter.as_str(), &t.block)))
    });
    locations.chain(send)
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

/// The system behind a block.
fn open<'a>(
    shared: &Arc<Shared>,
    name: &Name,
    (key, block): (&'a str, &Block),
) -> Option<Named<'a>> {
    let adapter = shared.options.adapters.get(key)?;
    let services = runtime::services(shared, name, Condition::default());
    let partner = adapter.partner(name, block, services)?;
    Some((name.clone(), key, partner))
}

/// Watches what is used now. What was watched already goes on with what is known of it.
fn replace(shared: &Arc<Shared>, plan: &Plan, used: &Used, probes: &mut JoinSet<()>) {
    let blocks = blocks(plan, used).into_iter();
    let all = blocks.filter_map(|(name, block)| open(shared, name, block));
    let mut different = distinct(all);
    let unwatched = different.len().saturating_sub(WATCHED_MAX);
    different.truncate(WATCHED_MAX);
    if unwatched > 0 {
        let watched = different.len();
        warn!(code = %codes::PARTNERS_MANY, watched, unwatched, "not every system is watched");
    }
    let everywhere = everywhere(plan, &shared.options.clustered);
    let everywhere = everywhere.filter_map(|(name, block)| open(shared, name, block));
    let everywhere = distinct(everywhere).into_iter();
    let mut state = shared.partners.lock();
    state.all = everywhere.map(|(.., partner)| partner).collect();
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

/// The different ones among `all`, each by the first name that it comes with.
fn distinct<'a>(all: impl Iterator<Item = Named<'a>>) -> Vec<Named<'a>> {
    let mut keys = BTreeSet::new();
    let is_new = |(_, adapter, partner): &Named<'a>| {
        keys.insert((adapter.to_owned(), partner.key().to_owned()))
    };
    all.filter(is_new).collect()
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

/// Tries until it is done, or for so long that the system has noticed by itself. Not while this process may not act:
/// who is paused or cut off may have a successor by then, and that may be the former owner.
async fn evict(partner: &dyn Partner, former: &Name, trust: &Trust) {
    let mut told = false;
    for attempt in 1..=EVICTIONS {
        if !trust.may_act() {
            sleep(EVERY).await;
            continue;
        }
        let why = match timeout(EVICT_WITHIN, partner.evict(former)).await {
            Ok(Ok(())) => {
                if attempt > 1 {
                    info!(%former, attempt, "what the former owner had open is closed");
                }
                return;
            }
            Ok(Err(error)) => in_words(&error),
            Err(_) => "it does not answer".to_owned(),
        };
        if !told {
            told = true;
            warn!(code = %codes::FORMER_LEFT, %former, why,
                "what the former owner has open cannot be closed yet; it is tried again");
        }
        sleep(EVERY).await;
    }
    warn!(code = %codes::FORMER_LEFT, %former, "what the former owner has open was not closed, and is left to the system");
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

        async fn evict(&self, _: &Name) -> Result<(), AdapterError> {
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
        let different = distinct(all.into_iter());
        let names: Vec<&str> = different.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["a.erp", "a.orders.in", "a.web"]);
    }

    #[test]
    fn what_is_watched_fits_into_a_packet_however_long_its_names_are() {
        let adapters = (0..WATCHED_MAX).map(|no| AdapterHealth {
            name: name(&format!("{no:x>width$}", width = Name::MAX)),
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
