//! In which state a clustered host is, and what brought it there.

use quayside_lease::{
    Cause, GroupSeen, Placement, Policy, StandbySeen, State as OnNode, View, candidate,
};
use quayside_model::Name;
use quayside_store::cluster::EventRow;
use serde::Serialize;

use super::lasting;

/// The state of a clustered host, over all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// It runs.
    Active,
    /// It runs, and its process cannot use some adapter.
    AdapterDown,
    /// Its owner does nothing, because the store did not answer it in time.
    StandingStill,
    /// Its owner is not at work yet.
    Starting,
    /// Its owner finishes, and gives it to another node.
    Moving,
    /// Its owner finishes, and nobody runs it then.
    Stopping,
    /// Its process has died, and another one takes its place on the same node.
    Restarting,
    /// Its owner has not renewed its lease in time.
    OwnerSilent,
    /// Nobody has it, and some node can take it.
    BeingTakenOver,
    /// Nobody has it, and no node can take it.
    NobodyCanRunIt,
    /// Nobody has it, and no agent looks after it.
    NobodyRunsIt,
    /// Nobody has it, and it is paused.
    PausedAndDown,
    /// An operator does not want it to run.
    Offline,
    /// It failed too often.
    Failed,
    /// Nobody has it, and the configuration of this node does not know it.
    NotInConfiguration,
}

impl State {
    /// As programs read it, and people without the hyphens.
    pub(crate) const ALL: [(Self, &str); 15] = [
        (Self::Active, "active"),
        (Self::AdapterDown, "adapter-down"),
        (Self::StandingStill, "standing-still"),
        (Self::Starting, "starting"),
        (Self::Moving, "moving"),
        (Self::Stopping, "stopping"),
        (Self::Restarting, "restarting"),
        (Self::OwnerSilent, "owner-silent"),
        (Self::BeingTakenOver, "being-taken-over"),
        (Self::NobodyCanRunIt, "nobody-can-run-it"),
        (Self::NobodyRunsIt, "nobody-runs-it"),
        (Self::PausedAndDown, "paused-and-down"),
        (Self::Offline, "offline"),
        (Self::Failed, "failed"),
        (Self::NotInConfiguration, "not-in-configuration"),
    ];

    /// For people.
    pub(crate) fn in_words(self) -> String {
        let slug = Self::ALL.iter().find(|(state, _)| *state == self);
        slug.map_or("", |(_, slug)| slug).replace('-', " ")
    }
}

/// A host with all that its state follows from.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) host: &'a Name,
    pub(super) policy: Option<&'a Policy>,
    pub(super) view: &'a View,
    pub(super) seen: GroupSeen,
    /// Its last changes, newest first.
    pub(super) events: &'a [EventRow],
    /// Who can take it. Empty for a host that the configuration does not know.
    pub(super) placement: Placement,
    pub(super) state: State,
}

impl<'a> Case<'a> {
    pub(super) fn new(
        host: &'a Name,
        policy: Option<&'a Policy>,
        view: &'a View,
        seen: GroupSeen,
        events: &'a [EventRow],
    ) -> Self {
        let placement = policy.map(|policy| candidate::place(policy, &seen, view, &[]));
        let mut case = Self {
            host,
            policy,
            view,
            seen,
            events,
            placement: placement.unwrap_or_default(),
            state: State::Active,
        };
        case.state = case.decide();
        case
    }

    /// The node of the live owner.
    pub(super) fn node(&self) -> Option<&Name> {
        self.seen.live_owner().map(|owner| &owner.node)
    }

    /// Whether an agent of a live node looks after it.
    pub(super) fn has_agent(&self) -> bool {
        !self.seen.standbys.is_empty()
    }

    pub(super) fn report(&self, node: &Name) -> Option<&StandbySeen> {
        self.seen.standbys.iter().find(|seen| seen.node == *node)
    }

    /// Who is next: the best candidate other than the owner, or the one to whom it was just offered.
    pub(super) fn next(&self) -> Option<&Name> {
        let order = &self.placement.order;
        match (self.node(), self.policy, &self.seen.offered) {
            (Some(node), ..) => self.placement.best_but(node),
            (None, Some(policy), Some((to, ago)))
                if *ago < policy.limits.offer_lasts && order.contains(to) =>
            {
                Some(to)
            }
            (None, ..) => order.first(),
        }
    }

    /// Whether the owner has renewed its lease in time. `None`: nobody knows.
    pub(super) fn is_overdue(&self) -> Option<bool> {
        let owner = self.seen.live_owner()?;
        let mut sessions = self.view.sessions.iter();
        let session = sessions.find(|seen| seen.sighting.session == owner.session)?;
        Some(session.sighting.overdue)
    }

    fn decide(&self) -> State {
        match self.node() {
            Some(node) => self.owned(node),
            None => self.unowned(),
        }
    }

    fn owned(&self, node: &Name) -> State {
        if self.is_overdue() == Some(true) {
            return State::OwnerSilent;
        }
        let Some(report) = self.report(node) else {
            // Only agents record what happens; without one it works as soon as it has the epoch.
            return State::Active;
        };
        let last = self.events.iter().find(|event| event.node == *node);
        let is = |state: OnNode| last.is_some_and(|event| event.to == state.as_str());
        let on_its_way = [
            OnNode::Taking,
            OnNode::Pending,
            OnNode::Standby,
            OnNode::Offline,
        ];
        if is(OnNode::Draining) {
            let target = last.and_then(target);
            target.map_or(State::Stopping, |_| State::Moving)
        } else if is(OnNode::Failed) {
            State::Failed
        } else if is(OnNode::Restarting) {
            State::Restarting
        } else if is(OnNode::Suspended) {
            State::StandingStill
        } else if on_its_way.into_iter().any(is) {
            // Whatever was recorded last was before the take, or is its first half.
            State::Starting
        } else if !self.seen.control.online {
            State::Stopping
        } else if is(OnNode::Degraded) || !report.adapters_down.is_empty() {
            State::AdapterDown
        } else {
            State::Active
        }
    }

    fn unowned(&self) -> State {
        let (control, last) = (&self.seen.control, self.events.first());
        let restarts = last.is_some_and(|last| last.to == OnNode::Restarting.as_str());
        if self.policy.is_none() {
            State::NotInConfiguration
        } else if !control.online {
            State::Offline
        } else if self.seen.failed.is_some() {
            State::Failed
        } else if control.paused {
            State::PausedAndDown
        } else if !self.has_agent() {
            State::NobodyRunsIt
        } else if restarts {
            State::Restarting
        } else if self.placement.order.is_empty() {
            State::NobodyCanRunIt
        } else {
            State::BeingTakenOver
        }
    }

    /// Which of the events brought the host into its state: the last one of its owner, or else the one by which it lost
    /// that. `None`: nobody was there to record it.
    pub(super) fn since(&self) -> Option<usize> {
        let position = |fits: &dyn Fn(&EventRow) -> bool| self.events.iter().position(fits);
        let is = |state: &str, states: &[OnNode]| states.iter().any(|s| s.as_str() == state);
        match self.node() {
            _ if self.state == State::OwnerSilent => None,
            // What an agent recorded before a process without one took it says nothing.
            Some(node) if self.report(node).is_none() => None,
            Some(node) => position(&|event| event.node == *node),
            None if self.state == State::Failed => {
                position(&|event| is(&event.to, &[OnNode::Failed]))
            }
            None => {
                let left = position(&|event| is(&event.from, HAS_IT) || is(&event.to, HAS_IT))?;
                let silently = is(&self.events[left].to, HAS_IT) && self.state != State::Restarting;
                let began = &self.events[origin(self.events, left)];
                // It may have stopped for another reason before an operator said so.
                let unrelated =
                    self.state == State::Offline && began.cause != Cause::Desired.as_str();
                (!silently && !unrelated).then_some(left)
            }
        }
    }

    /// Why the host is in its state, in words.
    pub(super) fn reason(&self) -> Option<String> {
        if let Some(at) = self.since() {
            return Some(why(self.events, at));
        }
        if self.state == State::Offline {
            return Some(Cause::Desired.as_str().to_owned());
        }
        let owner = self.seen.owner.as_ref()?;
        let mut sessions = self.view.sessions.iter();
        let session = sessions.find(|seen| seen.sighting.session == owner.session);
        match session {
            Some(session) if self.state == State::OwnerSilent => {
                let ttl = lasting(session.sighting.ttl);
                Some(format!("lease not renewed for more than {ttl}"))
            }
            _ if !owner.live => Some(format!("{}, which had it, is lost", owner.node)),
            _ => None,
        }
    }
}

/// The states of a node that has the host.
const HAS_IT: &[OnNode] = &[
    OnNode::Pending,
    OnNode::Online,
    OnNode::Degraded,
    OnNode::Suspended,
    OnNode::Draining,
    OnNode::Restarting,
];

/// Where a host goes that drains.
pub(super) fn target(event: &EventRow) -> Option<&str> {
    let mut evidence = event.evidence.iter();
    evidence.find_map(|fact| fact.strip_prefix("to "))
}

/// Which of the events, newest first, began what the one at `at` belongs to: some only tell that something went as it
/// should.
fn origin(events: &[EventRow], at: usize) -> usize {
    let event = &events[at];
    let is = |cause: Cause| event.cause == cause.as_str();
    let goes_on = is(Cause::Reported)
        || is(Cause::Taken)
        || is(Cause::Released)
        || (is(Cause::ProcessEnded) && event.evidence.is_empty());
    let mut older = events[at + 1..].iter();
    let before = older.position(|other| other.node == event.node);
    match before.filter(|_| goes_on) {
        Some(before) => origin(events, at + 1 + before),
        None => at,
    }
}

/// The reason for the event at `at` of `events`, newest first, in words.
fn why(events: &[EventRow], at: usize) -> String {
    let at = origin(events, at);
    let event = &events[at];
    let gave_it_up = |other: &&EventRow| {
        other.node != event.node
            && (other.to == OnNode::Draining.as_str()
                || other.cause == Cause::Drill.as_str()
                || other.cause == Cause::ProcessEnded.as_str() && !other.evidence.is_empty())
    };
    if event.cause == Cause::Offered.as_str()
        && let Some(other) = events[at + 1..].iter().find(gave_it_up)
    {
        return format!("moved from {}: {}", other.node, in_words(other));
    }
    in_words(event)
}

/// `cause: evidence, evidence`.
fn in_words(event: &EventRow) -> String {
    match event.evidence.as_slice() {
        [] => event.cause.clone(),
        evidence => format!("{}: {}", event.cause, evidence.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quayside_lease::{Exit, Fact};
    use serde_json::json;

    use super::{
        super::{
            facts::Facts,
            samples::{active, cluster, group, happened, name, own, states, words},
            told,
        },
        *,
    };

    fn of(facts: &Facts) -> serde_json::Value {
        json!(told::tell(facts))["hosts"][0].clone()
    }

    #[test]
    fn a_store_that_takes_no_writes_is_not_told_as_a_dead_owner() {
        let mut facts = active();
        for seen in &mut facts.view.sessions {
            seen.sighting.overdue = true;
        }
        let told = of(&facts);
        assert_eq!(told["state"], "owner-silent");
        let then = told["advice"][0]["then"].as_str().expect("advice");
        assert!(then.starts_with("Nobody takes over meanwhile"), "{then}");
    }

    #[test]
    fn every_state_has_its_word_and_its_sample() {
        for (state, word) in State::ALL {
            assert_eq!(json!(state), word);
        }
        let samples = states();
        for (word, facts) in &samples {
            assert_eq!(of(facts)["state"], *word, "{:#}", of(facts));
        }
        assert_eq!(samples.len(), State::ALL.len());
    }

    #[test]
    fn whatever_is_not_simply_active_is_explained() {
        for (word, facts) in states().into_iter().chain(words()) {
            let all = json!(told::tell(&facts));
            let titles: Vec<&str> = [&all["hosts"], &all["nodes"]]
                .into_iter()
                .flat_map(|list| list.as_array().expect("a list"))
                .flat_map(|told| told["advice"].as_array().expect("a list"))
                .filter_map(|advice| advice["title"].as_str())
                .collect();
            let word = word.replace('-', " ");
            let told = titles
                .iter()
                .any(|title| title.ends_with(&format!(": {word}")));
            assert_eq!(told, word != "active", "{word}: {titles:?}");
            assert_eq!(titles.is_empty(), word == "active", "{word}: {titles:?}");
        }
    }

    #[test]
    fn the_reason_is_that_of_what_began_it() {
        let moved = |cause, evidence: &[Fact]| {
            let mut facts = cluster();
            own(&mut facts, "node-b", true);
            let (online, draining) = (OnNode::Online, OnNode::Draining);
            happened(
                &mut facts,
                500,
                "node-a",
                (online, draining),
                cause,
                evidence,
            );
            let gone = (OnNode::Draining, OnNode::Standby);
            happened(&mut facts, 400, "node-a", gone, Cause::Released, &[]);
            let taking = (OnNode::Standby, OnNode::Taking);
            let free = [Fact::Free(Duration::from_millis(4))];
            happened(&mut facts, 390, "node-b", taking, Cause::Offered, &free);
            let pending = (OnNode::Taking, OnNode::Pending);
            happened(&mut facts, 380, "node-b", pending, Cause::Taken, &[]);
            happened(
                &mut facts,
                370,
                "node-b",
                (OnNode::Pending, online),
                Cause::Reported,
                &[],
            );
            facts
        };
        let evidence = [Fact::To(name("node-b")), Fact::InFlight(2)];
        let facts = moved(Cause::Ordered, &evidence);
        let told = of(&facts);
        let since = &told["since"];
        let why = "moved from node-a: ordered by an operator: to node-b, 2 in flight";
        assert_eq!((&told["why"], &since["ago_ms"]), (&json!(why), &json!(370)));
        assert_eq!(since["cause"], "reported by the process");

        // Once released the host is free, and the drain still is the reason.
        let mut released = moved(Cause::NodeDrained, &evidence);
        released
            .records
            .get_mut(&name("queues"))
            .expect("a record")
            .events
            .drain(..3);
        group(&mut released).owner = None;
        let told = of(&released);
        assert_eq!(told["state"], "being-taken-over");
        assert_eq!(told["why"], "node drained: to node-b, 2 in flight");

        // It had stopped before somebody wanted that.
        group(&mut released).control.online = false;
        let told = of(&released);
        assert_eq!(
            (&told["state"], &told["since"]),
            (&json!("offline"), &json!(null))
        );
        assert_eq!(told["why"], "wanted so by an operator");

        // A later event of its own is nearer.
        let mut mended = active();
        let down = (OnNode::Online, OnNode::Degraded);
        happened(&mut mended, 90, "node-a", down, Cause::AdapterDown, &[]);
        let up = (OnNode::Degraded, OnNode::Online);
        happened(&mut mended, 50, "node-a", up, Cause::AdapterUp, &[]);
        assert_eq!(of(&mended)["why"], "adapters up");
    }

    #[test]
    fn a_restart_is_the_reason_of_what_follows_it() {
        let mut facts = active();
        let exit = [Fact::Exit(Exit::Signal(9)), Fact::Restarts(1, 2)];
        let dead = (OnNode::Online, OnNode::Restarting);
        happened(&mut facts, 90, "node-a", dead, Cause::ProcessEnded, &exit);
        let again = (OnNode::Restarting, OnNode::Taking);
        happened(&mut facts, 50, "node-a", again, Cause::ProcessEnded, &[]);
        let pending = (OnNode::Taking, OnNode::Pending);
        happened(&mut facts, 40, "node-a", pending, Cause::Taken, &[]);
        let online = (OnNode::Pending, OnNode::Online);
        happened(&mut facts, 30, "node-a", online, Cause::Reported, &[]);
        let told = of(&facts);
        let why = "process ended: signal 9, 1 of 2 restarts used";
        assert_eq!(told["why"], why);
        assert_eq!(told["restarts"]["used"], 1);
    }

    #[test]
    fn without_an_agent_nothing_old_is_told() {
        let mut facts = active();
        group(&mut facts).standbys.clear();
        let told = of(&facts);
        assert_eq!(told["state"], "active");
        assert!(
            told["since"].is_null() && told["agent"] == false,
            "{told:#}"
        );
        assert_eq!(told["advice"], json!([]), "{told:#}");
    }

    #[test]
    fn each_node_is_a_candidate_or_told_why_not() {
        let told = of(&active());
        assert_eq!(told["next"], "node-b");
        assert_eq!(told["candidates"], json!(["node-a", "node-b", "node-c"]));
        let samples = states();
        let (_, facts) = samples
            .iter()
            .find(|(word, _)| *word == "nobody-can-run-it")
            .expect("it");
        let expected = json!([
            { "node": "node-a", "why": "no agent of it holds a lease" },
            { "node": "node-b", "why": "the node is drained" },
            { "node": "node-c", "why": "its process cannot run there (exit 10, wrong configuration)" },
        ]);
        assert_eq!(of(facts)["excluded"], expected);
    }
}
