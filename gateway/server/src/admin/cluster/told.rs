//! What `/cluster` answers, made from [`Facts`] alone.

use std::time::Duration;

use quayside_lease::{Epoch, Exclusion, Limit, State as OnNode};
use quayside_model::{InstanceId, Name, Timestamp};
use quayside_store::cluster::EventRow;
use serde::Serialize;

use super::{
    advice::{self, Advice},
    facts::{Facts, millis},
    state::{Case, State},
};

/// The whole answer.
#[derive(Debug, Serialize)]
pub(crate) struct Cluster {
    /// Whether several nodes share the store, so that orders can be given.
    shared: bool,
    hosts: Vec<Host>,
    nodes: Vec<Node>,
}

/// A clustered host.
#[derive(Debug, Serialize)]
pub(crate) struct Host {
    pub(super) host: Name,
    pub(super) state: State,
    /// Who has it; `None`: nobody that lives.
    pub(super) node: Option<Name>,
    instance: Option<InstanceId>,
    /// Whether that is the process that answers.
    here: bool,
    /// Whether an agent of a live node looks after it.
    agent: bool,
    /// `timeline.number` of the last take.
    epoch: String,
    since: Option<Since>,
    /// Why it is in its state, in words: the cause and evidence of `since`, with what led there.
    why: Option<String>,
    /// How many deliveries its owner holds.
    claims: Option<u64>,
    /// How many live deliveries of its ports may have been sent by an owner that died.
    in_doubt: Option<u64>,
    /// Of its owner: `renewed` or `overdue`.
    lease: Option<Lease>,
    /// Whether operators want it to run.
    online: bool,
    paused: bool,
    pinned: Option<Name>,
    /// The order to move that waits.
    order: Option<Order>,
    /// How the last order that was dealt with went.
    answered: Option<Answered>,
    /// How long ago it failed, if it has.
    failed_ms: Option<u64>,
    /// Moves because of a fault, over all nodes.
    moves: Option<Spent>,
    /// Restarts on its owner's node, as far as they are recorded.
    restarts: Option<Spent>,
    /// Who takes it next.
    next: Option<Name>,
    /// Who can take it, best first, its owner included.
    candidates: Vec<Name>,
    excluded: Vec<Excluded>,
    reports: Vec<Report>,
    /// What an operator should know, if it is not simply active.
    advice: Vec<Advice>,
}

/// Since when a host is in its state, and what was recorded then.
#[derive(Debug, Serialize)]
struct Since {
    at: Timestamp,
    ago_ms: u64,
    node: Name,
    cause: String,
    evidence: Vec<String>,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Lease {
    Renewed,
    Overdue,
}

#[derive(Debug, Serialize)]
struct Order {
    order: u64,
    to: Option<Name>,
    at: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Answered {
    order: u64,
    refused: Option<String>,
}

#[derive(Debug, Serialize)]
struct Spent {
    used: u32,
    allowed: u32,
    within_ms: u64,
}

#[derive(Debug, Serialize)]
struct Excluded {
    node: Name,
    why: String,
}

/// What a node says of its process of a host.
#[derive(Debug, Serialize)]
struct Report {
    node: Name,
    /// Whether it is ready to take over, or is the active one.
    warm: bool,
    /// How it ended, if none is kept.
    broken: Option<String>,
    adapters_down: Vec<Name>,
    adapters_up: Vec<Name>,
}

/// A node.
#[derive(Debug, Serialize)]
pub(crate) struct Node {
    node: Name,
    /// Of its agent.
    session: Session,
    /// How many processes on it work on the store, those of an agent included.
    processes: usize,
    drained: bool,
    /// How much longer it is left out, because it lost its session too often.
    quarantined_ms: Option<u64>,
    /// Sessions that it has lost and that count.
    lost: u32,
    /// How long ago it lost the last one.
    last_lost_ms: Option<u64>,
    /// The clustered hosts that it runs.
    runs: Vec<Name>,
    advice: Vec<Advice>,
}

/// Where an agent stands with its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Session {
    /// Live and renewed in time.
    Live,
    /// Not ended yet, but not renewed for longer than it lasts.
    Overdue,
    /// There is none: no agent runs, or it cannot reach the store.
    None,
}

/// Says everything.
pub(crate) fn tell(facts: &Facts) -> Cluster {
    let hosts = facts.hosts();
    let hosts: Vec<Host> = hosts.iter().map(|name| host(facts, name)).collect();
    // A store that is for one process knows of no nodes.
    let nodes = match facts.shared {
        true => facts.nodes(),
        false => Vec::new(),
    };
    Cluster {
        shared: facts.shared,
        nodes: nodes
            .iter()
            .map(|name| with_hosts(facts, name, &hosts))
            .collect(),
        hosts,
    }
}

impl Host {
    /// Why its takeover cannot be rehearsed, if it cannot: nobody would be left, or it would be no rehearsal.
    pub(super) fn undrillable(&self) -> Option<String> {
        let spent = self.moves.as_ref();
        let spent = spent.is_some_and(|moves| moves.used >= moves.allowed);
        if self.state != State::Active {
            Some(format!(
                "it is {}, and not simply active",
                self.state.in_words()
            ))
        } else if !self.agent {
            Some("no cluster agent looks after it".to_owned())
        } else if self.paused {
            Some("it is paused".to_owned())
        } else if let Some(node) = &self.pinned {
            Some(format!("it is pinned to {node}"))
        } else if self.order.is_some() {
            Some("an order to move it waits".to_owned())
        } else if self.next.is_none() {
            Some("no other node could take it over".to_owned())
        } else if spent {
            Some("its moves are used up".to_owned())
        } else {
            None
        }
    }
}

/// Where a clustered host stands, in figures.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) host: Name,
    pub(crate) state: State,
    /// Who has it.
    pub(crate) node: Option<Name>,
    /// Whether operators want it to run.
    pub(crate) online: bool,
    /// Why it is in its state.
    pub(crate) why: Option<String>,
    pub(crate) epoch: Epoch,
    pub(crate) in_doubt: Option<u64>,
    /// Moves because of a fault: used, and allowed.
    pub(crate) moves: Option<(u32, u32)>,
    /// How many nodes other than its owner could take it.
    pub(crate) candidates: usize,
}

/// Where every host stands.
pub(crate) fn standings(facts: &Facts) -> Vec<Standing> {
    let hosts = facts.hosts();
    let standing = |name: &Name| {
        let told = host(facts, name);
        let others = told.candidates.iter();
        let others = others.filter(|node| Some(*node) != told.node.as_ref());
        Standing {
            candidates: others.count(),
            epoch: facts.seen(name).epoch,
            in_doubt: told.in_doubt,
            moves: told.moves.map(|moves| (moves.used, moves.allowed)),
            node: told.node,
            online: told.online,
            why: told.why,
            state: told.state,
            host: told.host,
        }
    };
    hosts.iter().map(standing).collect()
}

/// Says what is known of the host `name`.
pub(crate) fn host(facts: &Facts, name: &Name) -> Host {
    let record = facts.records.get(name);
    let events = record.map_or(&[][..], |record| &record.events);
    let policy = facts.policies.get(name);
    let case = Case::new(name, policy, &facts.view, facts.seen(name), events);
    let doubts = facts.doubts.as_ref();
    let in_doubt = doubts.map(|doubts| doubts.get(name).copied().unwrap_or_default());
    let owner = case.seen.live_owner();
    let instance = owner.map(|owner| owner.instance);
    let of_owner = |id| facts.instances.iter().find(|row| row.instance == id);
    let answered = record.and_then(|record| record.answered.clone());
    Host {
        host: name.clone(),
        state: case.state,
        node: case.node().cloned(),
        instance,
        here: instance.is_some() && instance == facts.here,
        agent: case.has_agent(),
        epoch: case.seen.epoch.to_string(),
        since: case.since().map(|at| since(&events[at], facts.now)),
        why: case.reason(),
        claims: instance.map(|id| of_owner(id).map_or(0, |row| row.claims)),
        in_doubt,
        lease: case.is_overdue().map(|overdue| match overdue {
            true => Lease::Overdue,
            false => Lease::Renewed,
        }),
        online: case.seen.control.online,
        paused: case.seen.control.paused,
        pinned: case.seen.control.pinned.clone(),
        order: case.seen.control.order.as_ref().map(|order| Order {
            order: order.no,
            to: order.to.clone(),
            at: order.at,
        }),
        answered: answered.map(|answer| Answered {
            order: answer.order,
            refused: answer.refused,
        }),
        failed_ms: case.seen.failed.map(millis),
        moves: policy.map(|policy| {
            let limit = policy.limits.moves;
            spent(limit, &case.seen.moves)
        }),
        restarts: restarts(&case, facts.now),
        next: case.next().cloned(),
        candidates: case.placement.order.clone(),
        excluded: excluded(&case),
        reports: reports(&case),
        advice: advice::of_host(&case, in_doubt, facts.now),
    }
}

fn since(event: &EventRow, now: Timestamp) -> Since {
    Since {
        at: event.stored_at,
        ago_ms: millis(now.since(event.stored_at)),
        node: event.node.clone(),
        cause: event.cause.clone(),
        evidence: event.evidence.clone(),
    }
}

fn spent(limit: Limit, ages: &[Duration]) -> Spent {
    Spent {
        used: limit.used(ages),
        allowed: limit.times,
        within_ms: millis(limit.within),
    }
}

/// The agents keep these to themselves; what they have recorded tells of them.
fn restarts(case: &Case<'_>, now: Timestamp) -> Option<Spent> {
    let (policy, owner) = (case.policy?, case.seen.owner.as_ref()?);
    case.events.first()?;
    let restarted = case
        .events
        .iter()
        .filter(|event| event.node == owner.node && event.to == OnNode::Restarting.as_str());
    let ages: Vec<_> = restarted.map(|event| now.since(event.stored_at)).collect();
    Some(spent(policy.limits.restarts, &ages))
}

fn excluded(case: &Case<'_>) -> Vec<Excluded> {
    let excluded = case.placement.excluded.iter();
    excluded
        .map(|(node, why)| Excluded {
            node: node.clone(),
            why: why_not(case, node, why),
        })
        .collect()
}

/// Why `node` cannot take a host.
pub(super) fn why_not(case: &Case<'_>, node: &Name, why: &Exclusion) -> String {
    match why {
        Exclusion::NotWarm if case.report(node).is_none() => {
            "no agent of it reports a process of the host".to_owned()
        }
        Exclusion::Quarantined(left) => {
            let left = advice::lasting(*left);
            format!("it lost its lease too often and is left out for {left}")
        }
        Exclusion::NoSession => "no agent of it holds a lease".to_owned(),
        why => why.to_string(),
    }
}

fn reports(case: &Case<'_>) -> Vec<Report> {
    let reports = case.seen.standbys.iter();
    reports
        .map(|report| Report {
            node: report.node.clone(),
            warm: report.warm,
            broken: report.broken.map(|exit| exit.to_string()),
            adapters_down: report.adapters_down.clone(),
            adapters_up: report.adapters_up.clone(),
        })
        .collect()
}

/// Says what is known of the node `name`.
pub(crate) fn node(facts: &Facts, name: &Name) -> Node {
    let hosts = facts.hosts();
    let hosts: Vec<Host> = hosts.iter().map(|name| host(facts, name)).collect();
    with_hosts(facts, name, &hosts)
}

fn with_hosts(facts: &Facts, name: &Name, hosts: &[Host]) -> Node {
    let view = &facts.view;
    let mine = view.sessions.iter().filter(|seen| seen.node == *name);
    let overdue: Vec<bool> = mine.map(|seen| seen.sighting.overdue).collect();
    // Those of one that was started again are there beside each other for a moment.
    let session = match overdue.as_slice() {
        [] => Session::None,
        all if all.iter().all(|overdue| *overdue) => Session::Overdue,
        _ => Session::Live,
    };
    let row = view.nodes.iter().find(|seen| seen.node == *name);
    let lost = row.map_or(&[][..], |row| &row.lost);
    // The same for all hosts of a group.
    let quarantine = facts.policies.values().next().map(|p| p.limits.quarantine);
    let quarantined = quarantine.and_then(|quarantine| quarantine.left(lost));
    let runs = hosts
        .iter()
        .filter(|host| host.node.as_ref() == Some(name))
        .map(|host| host.host.clone());
    let runs: Vec<Name> = runs.collect();
    let drained = row.is_some_and(|row| row.drained);
    let processes = facts.instances.iter();
    let processes = processes
        .filter(|row| row.live && row.node == *name)
        .count();
    let case = advice::NodeCase {
        node: name,
        session,
        all_silent: advice::all_silent(&facts.view),
        processes,
        lost,
        drained,
        quarantine: quarantine.zip(quarantined),
        runs: &runs,
    };
    Node {
        node: name.clone(),
        session,
        processes,
        drained,
        quarantined_ms: quarantined.map(millis),
        lost: quarantine.map_or(0, |quarantine| quarantine.lost.used(lost)),
        last_lost_ms: lost.iter().min().copied().map(millis),
        advice: advice::of_node(&case),
        runs,
    }
}
