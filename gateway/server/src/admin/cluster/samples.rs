//! Clusters made by hand, one for everything that there is to tell. The guide for operators shows what becomes of them.

use std::{collections::BTreeMap, time::Duration};

use quayside_lease::{
    Cause, Epoch, Exit, Fact, GroupSeen, MoveOrder, NodeSeen, OwnerSeen, Policy, SessionSeen,
    Sighting, StandbySeen, State as OnNode, View,
};
use quayside_model::{GrantId, InstanceId, Name, SessionId, Text, Timestamp};
use quayside_store::{cluster::EventRow, sessions::InstanceRow};
use serde_json::{Value, json};

use super::{
    Policies,
    facts::{Facts, Record},
    told,
};

/// The host of all samples, and its nodes.
const HOST: &str = "queues";
const NODES: [&str; 3] = ["node-a", "node-b", "node-c"];

/// Every sample by its name, as the API answers it.
pub(crate) fn all() -> Vec<(&'static str, Value)> {
    let states = states().into_iter();
    states
        .chain(words())
        .map(|(name, facts)| (name, json!(told::tell(&facts))))
        .collect()
}

/// Where the host of each state stands.
pub(crate) fn standings() -> Vec<(&'static str, Vec<told::Standing>)> {
    let states = states().into_iter();
    states
        .map(|(word, facts)| (word, told::standings(&facts)))
        .collect()
}

/// Two nodes without agents, as one of them answers it.
pub(crate) fn without_agents() -> Value {
    let mut facts = cluster();
    facts.view.sessions.clear();
    facts.view.nodes.clear();
    facts.view.groups.clear();
    let mut policies = BTreeMap::new();
    for (host, node, number) in [("edge", "node-b", 2), ("lines", "node-a", 0)] {
        let policy = Policy::new(vec![name("node-a"), name("node-b")]);
        policies.insert(name(host), policy);
        facts.view.groups.insert(0, GroupSeen::unknown(name(host)));
        own(&mut facts, node, true);
        group(&mut facts).epoch = Epoch::new((1 << 40) + number);
        facts.instances.push(InstanceRow {
            instance: InstanceId::from_bytes([self::number(node); 16]),
            node: name(node),
            hosts: Text::lossy("edge, lines"),
            live: true,
            since: facts.now,
            claims: 0,
        });
    }
    facts.here = Some(InstanceId::from_bytes([self::number("node-a"); 16]));
    facts.policies = Policies::new(policies);
    json!(told::tell(&facts))
}

/// One for each state, by its word.
pub(super) fn states() -> Vec<(&'static str, Facts)> {
    vec![
        ("active", active()),
        ("adapter-down", adapter_down()),
        ("standing-still", standing_still()),
        ("starting", starting()),
        ("moving", moving()),
        ("stopping", stopping()),
        ("restarting", restarting()),
        ("owner-silent", owner_silent()),
        ("being-taken-over", being_taken_over()),
        ("nobody-can-run-it", nobody_can()),
        ("nobody-runs-it", nobody()),
        ("paused-and-down", paused_and_down()),
        ("offline", offline()),
        ("failed", failed()),
        ("not-in-configuration", not_in_configuration()),
    ]
}

/// One for everything else that an operator is told.
pub(super) fn words() -> Vec<(&'static str, Facts)> {
    vec![
        ("paused", with(|group| group.control.paused = true)),
        (
            "pinned",
            with(|group| group.control.pinned = Some(name("node-a"))),
        ),
        ("to be moved", with(to_be_moved)),
        (
            "moves used up",
            with(|group| group.moves = [30, 900, 2400].map(secs).to_vec()),
        ),
        ("nobody could take over", alone()),
        ("nobody follows", unfollowed()),
        ("in doubt", in_doubt()),
        ("drained", drained()),
        ("left out", left_out()),
        ("absent", absent()),
    ]
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn now() -> Timestamp {
    "2026-11-21T02:14:00Z".parse().expect("a moment")
}

fn number(node: &str) -> u8 {
    node.bytes().last().expect("a letter")
}

fn session(node: &str) -> SessionId {
    SessionId::from_bytes([number(node); 16])
}

/// Three nodes whose agents run, each with a warm process of a host that nobody has.
pub(super) fn cluster() -> Facts {
    let standby = |node: &str| StandbySeen {
        node: name(node),
        warm: true,
        broken: None,
        adapters_down: vec![],
        adapters_up: vec![name("shop.orders.mq")],
    };
    let mut group = GroupSeen::unknown(name(HOST));
    group.epoch = Epoch::new((1 << 40) + 7);
    group.standbys = NODES.map(standby).to_vec();
    let session = |node: &str| SessionSeen {
        node: name(node),
        sighting: Sighting {
            session: session(node),
            seq: 7,
            ttl: secs(3),
            overdue: false,
        },
    };
    let row = |node: &str| NodeSeen {
        node: name(node),
        drained: false,
        lost: vec![],
    };
    let policy = Policy::new(NODES.map(name).to_vec());
    Facts {
        shared: true,
        policies: Policies::new(BTreeMap::from([(name(HOST), policy)])),
        view: View {
            sessions: NODES.map(session).to_vec(),
            nodes: NODES.map(row).to_vec(),
            groups: vec![group],
        },
        records: BTreeMap::from([(name(HOST), Record::default())]),
        instances: vec![],
        doubts: Some(BTreeMap::new()),
        here: None,
        now: now(),
    }
}

pub(super) fn group(facts: &mut Facts) -> &mut GroupSeen {
    &mut facts.view.groups[0]
}

fn standby<'a>(facts: &'a mut Facts, node: &str) -> &'a mut StandbySeen {
    let mut standbys = group(facts).standbys.iter_mut();
    standbys.find(|seen| seen.node == node).expect("a report")
}

fn row<'a>(facts: &'a mut Facts, node: &str) -> &'a mut NodeSeen {
    let mut nodes = facts.view.nodes.iter_mut();
    nodes.find(|seen| seen.node == node).expect("a node")
}

/// The host is `node`'s.
pub(super) fn own(facts: &mut Facts, node: &str, live: bool) {
    group(facts).owner = Some(OwnerSeen {
        node: name(node),
        instance: InstanceId::from_bytes([number(node); 16]),
        session: session(node),
        grant: GrantId::from_bytes([number(node); 16]),
        live,
    });
}

/// The node has no session any more, and what it said has gone with that.
fn lose(facts: &mut Facts, node: &str) {
    facts.view.sessions.retain(|seen| seen.node != node);
    group(facts).standbys.retain(|seen| seen.node != node);
}

/// Something was recorded, so many milliseconds ago. To be told in the order in which it happened.
pub(super) fn happened(
    facts: &mut Facts,
    ago: u64,
    node: &str,
    (from, to): (OnNode, OnNode),
    cause: Cause,
    evidence: &[Fact],
) {
    let at = facts.now.minus(Duration::from_millis(ago));
    let record = facts.records.get_mut(&name(HOST)).expect("a record");
    let event = EventRow {
        no: record.events.len() as u64 + 1,
        group: Some(name(HOST)),
        node: name(node),
        from: from.as_str().to_owned(),
        to: to.as_str().to_owned(),
        cause: cause.as_str().to_owned(),
        evidence: evidence.iter().map(ToString::to_string).collect(),
        epoch: None,
        at,
        stored_at: at,
        lasted: secs(1),
    };
    record.events.insert(0, event);
}

/// `node` has taken it, and is at work since.
fn taken(facts: &mut Facts, ago: u64, node: &str, cause: Cause, evidence: &[Fact]) {
    use OnNode::{Online, Pending, Standby, Taking};
    happened(facts, ago + 40, node, (Standby, Taking), cause, evidence);
    happened(facts, ago + 30, node, (Taking, Pending), Cause::Taken, &[]);
    happened(facts, ago, node, (Pending, Online), Cause::Reported, &[]);
}

pub(super) fn active() -> Facts {
    let mut facts = cluster();
    own(&mut facts, "node-a", true);
    let free = Fact::Free(Duration::from_millis(12));
    let evidence = [free, Fact::Owner(name("node-b"))];
    taken(&mut facts, 7_500_000, "node-a", Cause::OwnerDead, &evidence);
    facts
}

/// The same, but for the group.
fn with(change: impl FnOnce(&mut GroupSeen)) -> Facts {
    let mut facts = active();
    change(group(&mut facts));
    facts
}

fn to_be_moved(group: &mut GroupSeen) {
    group.control.order = Some(MoveOrder {
        no: 4,
        to: Some(name("node-b")),
        at: Some("2026-11-21T22:00:00Z".parse().expect("a moment")),
    });
}

fn adapter_down() -> Facts {
    let mut facts = active();
    let here = standby(&mut facts, "node-a");
    here.adapters_up.clear();
    here.adapters_down = vec![name("shop.orders.mq")];
    let fact = Fact::Adapter(name("shop.orders.mq"));
    let change = (OnNode::Online, OnNode::Degraded);
    happened(
        &mut facts,
        6000,
        "node-a",
        change,
        Cause::AdapterDown,
        &[fact],
    );
    facts
}

fn standing_still() -> Facts {
    let mut facts = active();
    let change = (OnNode::Online, OnNode::Suspended);
    let evidence = [Fact::InFlight(3)];
    happened(
        &mut facts,
        900,
        "node-a",
        change,
        Cause::StoreSilent,
        &evidence,
    );
    facts
}

fn starting() -> Facts {
    let mut facts = cluster();
    own(&mut facts, "node-a", true);
    let evidence = [
        Fact::Free(Duration::from_millis(3)),
        Fact::Owner(name("node-b")),
    ];
    let taking = (OnNode::Standby, OnNode::Taking);
    happened(
        &mut facts,
        310,
        "node-a",
        taking,
        Cause::OwnerDead,
        &evidence,
    );
    let pending = (OnNode::Taking, OnNode::Pending);
    happened(&mut facts, 300, "node-a", pending, Cause::Taken, &[]);
    facts
}

fn moving() -> Facts {
    let mut facts = active();
    let change = (OnNode::Online, OnNode::Draining);
    let evidence = [Fact::To(name("node-b")), Fact::InFlight(3)];
    happened(&mut facts, 800, "node-a", change, Cause::Ordered, &evidence);
    facts
}

fn stopping() -> Facts {
    let mut facts = with(|group| group.control.online = false);
    let change = (OnNode::Online, OnNode::Draining);
    happened(
        &mut facts,
        800,
        "node-a",
        change,
        Cause::Desired,
        &[Fact::InFlight(3)],
    );
    facts
}

fn restarting() -> Facts {
    let mut facts = active();
    let change = (OnNode::Online, OnNode::Restarting);
    let evidence = [Fact::Exit(Exit::Code(70)), Fact::Restarts(1, 2)];
    happened(
        &mut facts,
        700,
        "node-a",
        change,
        Cause::ProcessEnded,
        &evidence,
    );
    facts
}

fn owner_silent() -> Facts {
    let mut facts = active();
    facts.view.sessions[0].sighting.overdue = true;
    facts
}

fn being_taken_over() -> Facts {
    let mut facts = active();
    own(&mut facts, "node-a", false);
    group(&mut facts).offered = Some((name("node-b"), Duration::from_millis(80)));
    let change = (OnNode::Online, OnNode::Standby);
    let evidence = [
        Fact::Exit(Exit::Signal(9)),
        Fact::To(name("node-b")),
        Fact::Moves(0, 3),
    ];
    happened(
        &mut facts,
        80,
        "node-a",
        change,
        Cause::ProcessEnded,
        &evidence,
    );
    facts
}

fn nobody_can() -> Facts {
    let mut facts = active();
    own(&mut facts, "node-a", false);
    lose(&mut facts, "node-a");
    row(&mut facts, "node-a").lost = vec![secs(95)];
    row(&mut facts, "node-b").drained = true;
    let there = standby(&mut facts, "node-c");
    (there.warm, there.broken) = (false, Some(Exit::Code(10)));
    facts
}

fn nobody() -> Facts {
    let mut facts = cluster();
    group(&mut facts).standbys.clear();
    facts
}

fn paused_and_down() -> Facts {
    let mut facts = active();
    own(&mut facts, "node-a", false);
    group(&mut facts).control.paused = true;
    let change = (OnNode::Online, OnNode::Standby);
    let evidence = [Fact::Exit(Exit::Code(70))];
    happened(
        &mut facts,
        3000,
        "node-a",
        change,
        Cause::ProcessEnded,
        &evidence,
    );
    facts
}

fn offline() -> Facts {
    let mut facts = stopping();
    group(&mut facts).owner = None;
    let change = (OnNode::Draining, OnNode::Offline);
    happened(&mut facts, 600, "node-a", change, Cause::Released, &[]);
    facts
}

fn failed() -> Facts {
    let mut facts = active();
    own(&mut facts, "node-a", false);
    group(&mut facts).failed = Some(secs(200));
    group(&mut facts).moves = [210, 220, 240].map(secs).to_vec();
    let change = (OnNode::Pending, OnNode::Failed);
    let evidence = [
        Fact::Exit(Exit::Code(31)),
        Fact::Restarts(2, 2),
        Fact::Moves(3, 3),
    ];
    happened(
        &mut facts,
        200_000,
        "node-a",
        change,
        Cause::BudgetSpent,
        &evidence,
    );
    facts
}

fn not_in_configuration() -> Facts {
    let mut facts = cluster();
    facts.policies = Policies::default();
    group(&mut facts).standbys.clear();
    facts
}

fn alone() -> Facts {
    let mut facts = active();
    standby(&mut facts, "node-b").warm = false;
    row(&mut facts, "node-c").lost = [60, 200, 500].map(secs).to_vec();
    facts
}

fn unfollowed() -> Facts {
    let mut facts = cluster();
    own(&mut facts, "node-a", true);
    group(&mut facts).standbys.clear();
    group(&mut facts).control.paused = true;
    facts
}

fn in_doubt() -> Facts {
    let mut facts = active();
    facts.doubts = Some(BTreeMap::from([(name(HOST), 3)]));
    facts
}

fn drained() -> Facts {
    let mut facts = active();
    row(&mut facts, "node-b").drained = true;
    facts
}

fn left_out() -> Facts {
    let mut facts = active();
    row(&mut facts, "node-b").lost = [60, 200, 500].map(secs).to_vec();
    facts
}

fn absent() -> Facts {
    let mut facts = active();
    lose(&mut facts, "node-b");
    row(&mut facts, "node-b").lost = vec![secs(95)];
    facts
}
