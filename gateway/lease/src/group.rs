//! One group as one node sees it: the machine that decides who is active here.
//!
//! Level-triggered: events change what is known, then [`Group::advance`] does whatever follows from all that
//! is known. A lost or late answer therefore changes when something happens and never whether.

mod active;
mod death;
mod process;
mod standby;

use std::time::Duration;

use quayside_model::{Entropy, GrantId, InstanceId, Monotonic, Name, SessionId};

use self::{active::Active, process::Process};
use crate::{
    Action, Budget, Cause, Epoch, Exit, Fact, GroupSeen, Now, Offer, Placement, Policy,
    StandbySeen, State, Transition, View, candidate,
};

/// How long an unanswered question to the store waits before it is asked again.
const RETRY: Duration = Duration::from_millis(100);

/// A process that takes the place of one that has handed its group over starts so much later: to start is much work, also
/// for the store and the broker, and the new owner has messages that wait.
const AFTER_YOU: Duration = Duration::from_millis(300);

/// What a group needs to know of its node, and where its actions go.
pub(crate) struct Ctx<'a> {
    pub(crate) now: Now,
    pub(crate) entropy: &'a dyn Entropy,
    pub(crate) node: &'a Name,
    /// The node's session and until when it is trusted.
    pub(crate) session: Option<(SessionId, Monotonic)>,
    /// When processes with effects under way are killed.
    pub(crate) kill_at: Monotonic,
    /// Whether every trust of an earlier history of the store has run out.
    pub(crate) settled: bool,
    pub(crate) stopping: bool,
    pub(crate) view: &'a View,
    /// Sessions that were ended since the view was read.
    pub(crate) dead: &'a [SessionId],
    /// Since when each node is up.
    pub(crate) up: &'a [(Name, SessionId, Monotonic)],
    pub(crate) out: &'a mut Vec<Action>,
}

impl Ctx<'_> {
    pub(crate) fn may_act(&self) -> bool {
        self.session
            .is_some_and(|(_, deadline)| self.now.boot < deadline)
    }

    /// Whether the node of `session` is alive, as far as the last view shows.
    pub(crate) fn lives(&self, session: SessionId) -> bool {
        let mut live = self.view.sessions.iter();
        live.any(|seen| seen.sighting.session == session) && !self.dead.contains(&session)
    }
}

/// Where this node stands with a group.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// It has no part in it, but for a warm process.
    Idle,
    Taking(Taking),
    Active(Active),
    /// It was active until the store was replaced: what is under way ends, then it is taken anew.
    Voided {
        instance: InstanceId,
        grant: GrantId,
        since: Monotonic,
        question: Question,
    },
    Releasing {
        grant: GrantId,
        offer: Option<Offer>,
        question: Question,
    },
    /// The active process `old` has died; another one takes over here when it is warm.
    Restarting {
        old: InstanceId,
        at: Monotonic,
    },
    Failed {
        since: Monotonic,
        told_at: Monotonic,
        /// Whether a view has shown it.
        known: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Taking {
    instance: InstanceId,
    grant: GrantId,
    counted: bool,
    /// One try after a failure.
    probe: bool,
    question: Question,
}

/// Whether the store was asked, and if not, when it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Asked,
    At(Monotonic),
}

impl Question {
    fn due(self, now: Monotonic) -> bool {
        matches!(self, Self::At(at) if at <= now)
    }
}

/// One group on one node.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: Name,
    pub(crate) policy: Policy,
    phase: Phase,
    processes: Vec<Process>,
    /// When the next process may be started, and how many failed in a row.
    respawn_at: Monotonic,
    failed_starts: usize,
    /// Why no process is kept, and since when.
    broken: Option<(Exit, Monotonic)>,
    restarts: Budget,
    seen: GroupSeen,
    /// When the view that `seen` is from was answered.
    seen_at: Option<Monotonic>,
    free_since: Option<Monotonic>,
    /// Since when it is known that `seen` is not true any more: it shows as free what somebody has.
    outdated: Option<Monotonic>,
    /// Not a candidate until then, because it has just given the group away.
    yields_until: Monotonic,
    order_served: u64,
    epoch: Option<Epoch>,
    told: State,
    told_at: Monotonic,
    last: Option<Transition>,
}

impl Group {
    pub(crate) fn new(name: Name, policy: Policy, now: Monotonic) -> Self {
        Self {
            restarts: Budget::new(policy.limits.restarts),
            seen: GroupSeen::unknown(name.clone()),
            name,
            policy,
            phase: Phase::Idle,
            processes: Vec::new(),
            respawn_at: now,
            failed_starts: 0,
            broken: None,
            seen_at: None,
            free_since: None,
            outdated: None,
            yields_until: now,
            order_served: 0,
            epoch: None,
            told: State::Offline,
            told_at: now,
            last: None,
        }
    }

    /// Does what follows from all that is known.
    pub(crate) fn advance(&mut self, ctx: &mut Ctx<'_>) {
        self.tend(ctx);
        match self.phase.clone() {
            Phase::Idle => self.consider(ctx),
            Phase::Taking(taking) => self.press(ctx, taking),
            Phase::Active(active) => self.keep(ctx, active),
            Phase::Voided {
                instance,
                grant,
                since,
                question,
            } => self.give_up_void(ctx, instance, grant, (since, question)),
            Phase::Releasing {
                grant,
                offer,
                question,
            } => self.press_release(ctx, grant, offer, question),
            Phase::Restarting { old, at } => self.restart(ctx, old, at),
            Phase::Failed {
                since,
                told_at,
                known,
            } => self.stay_failed(ctx, since, told_at, known),
        }
        self.tell(ctx);
    }

    /// Takes in what a look at the store has shown.
    pub(crate) fn observe(&mut self, ctx: &mut Ctx<'_>, asked: Monotonic, seen: GroupSeen) {
        let cleared = self.seen_at.is_some() && seen.control.clears != self.seen.control.clears;
        self.seen = seen;
        self.seen_at = Some(ctx.now.boot);
        self.outdated = self.outdated.filter(|since| asked < *since);
        self.end_unknown(ctx);
        if let Some(owner) = self.seen.live_owner() {
            self.free_since = None;
            if owner.node != *ctx.node {
                // Somebody took what was given away: if that one is lost it is as any other owner.
                self.yields_until = ctx.now.boot;
            }
        }
        if cleared {
            self.restarts.clear();
            self.broken = None;
            self.failed_starts = 0;
            if matches!(self.phase, Phase::Failed { .. }) {
                self.enter(ctx, Phase::Idle, Cause::Cleared, vec![]);
            }
        }
        if let Phase::Failed { since, known, .. } = &mut self.phase
            && asked >= *since
            && self.seen.failed.is_some()
        {
            *known = true;
        }
        self.compare_holds(ctx, asked);
    }

    /// Everything that lives under this node's session is known here. An owner that is not is a process that
    /// has ended: the view is older than that, or a failover of the store has forgotten it.
    fn end_unknown(&mut self, ctx: &mut Ctx<'_>) {
        let Some(instance) = self.seen.live_owner().map(|owner| owner.instance) else {
            return;
        };
        let Some(owner) = &mut self.seen.owner else {
            return;
        };
        let own = ctx
            .session
            .is_some_and(|(session, _)| session == owner.session);
        if own && !self.processes.iter().any(|p| p.instance == instance) {
            owner.live = false;
            ctx.out.push(Action::End { instance });
        }
    }

    /// Compares what the store says this node holds with what it knows to hold, if the store was asked
    /// after the last change here.
    fn compare_holds(&mut self, ctx: &mut Ctx<'_>, asked: Monotonic) {
        if asked < self.told_at {
            return;
        }
        let owner = self.seen.owner.clone();
        if let Phase::Active(active) = &self.phase {
            let mine = owner.is_some_and(|owner| owner.grant == active.grant);
            let (instance, taken_at) = (active.instance, active.taken_at);
            if !mine && asked >= taken_at {
                self.kill(ctx, instance, crate::KillReason::GrantVoid);
            }
        } else if let (Phase::Idle, Some(owner)) = (&self.phase, owner)
            && owner.live
            && self
                .processes
                .iter()
                .any(|p| p.instance == owner.instance && !p.exited)
        {
            // A take whose answer was lost, and that came through after it was given up.
            ctx.out.push(Action::Release {
                group: self.name.clone(),
                grant: owner.grant,
                offer: None,
            });
        }
    }

    /// The node's session was ended: nothing that lives under it may go on.
    pub(crate) fn session_lost(&mut self, ctx: &mut Ctx<'_>) {
        for instance in self.instances() {
            self.kill(ctx, instance, crate::KillReason::SessionLost);
        }
        // Their rows die with the session.
        for process in &mut self.processes {
            process.orphan = true;
        }
        self.processes.retain(|p| !p.exited);
        self.respawn_at = ctx.now.boot;
        if !matches!(self.phase, Phase::Failed { .. }) {
            self.enter(ctx, Phase::Idle, Cause::SessionLost, vec![]);
        }
    }

    /// The store has another history: a grant of the former one is void, and so is an answer to a take.
    pub(crate) fn store_replaced(&mut self, ctx: &mut Ctx<'_>) {
        match self.phase.clone() {
            Phase::Active(active) => {
                let (instance, grant) = (active.instance, active.grant);
                ctx.out.push(Action::Shut { instance });
                let since = ctx.now.boot;
                let question = Question::At(since);
                let voided = Phase::Voided {
                    instance,
                    grant,
                    since,
                    question,
                };
                self.enter(ctx, voided, Cause::StoreReplaced, vec![]);
                if !ctx.settled {
                    // The new history may not know the claims that it holds, and would give them out again.
                    self.kill(ctx, instance, crate::KillReason::GrantVoid);
                }
            }
            Phase::Taking(_) => self.enter(ctx, Phase::Idle, Cause::StoreReplaced, vec![]),
            _ => {}
        }
    }

    /// Trust was moved on by a renewal.
    pub(crate) fn extend(&self, ctx: &mut Ctx<'_>, deadline: Monotonic) {
        if let Phase::Active(Active {
            instance,
            granted: true,
            ..
        }) = self.phase
        {
            ctx.out.push(Action::Extend { instance, deadline });
        }
    }

    /// This node was paused itself: nobody was silent because of that.
    pub(crate) fn forgive(&mut self, now: Monotonic) {
        for process in &mut self.processes {
            process.beat_at = process.beat_at.map(|_| now);
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.processes.is_empty() && matches!(self.phase, Phase::Idle | Phase::Failed { .. })
    }

    pub(crate) fn has(&self, instance: InstanceId) -> bool {
        self.processes.iter().any(|p| p.instance == instance)
    }

    /// Who may take it, as this node sees it: what it knows of itself is newer than the view.
    pub(crate) fn placement(
        &self,
        node: &Name,
        view: &View,
        dead: &[SessionId],
        now: Monotonic,
    ) -> Placement {
        let mut seen = self.seen.clone();
        seen.standbys.retain(|s| s.node != *node);
        seen.standbys.push(self.report(node, now));
        let mut placement = candidate::place(&self.policy, &seen, view, dead);
        // Only to somebody: a group that nobody else can take is not left alone.
        if now < self.yields_until
            && placement.best_but(node).is_some()
            && let Some(place) = placement.rank(node)
        {
            placement.order.remove(place as usize);
            let entry = (node.clone(), crate::Exclusion::JustLeft);
            placement.excluded.push(entry);
        }
        placement
    }

    fn place(&self, ctx: &Ctx<'_>) -> Placement {
        self.placement(ctx.node, ctx.view, ctx.dead, ctx.now.boot)
    }

    /// The process that acts or could.
    fn best(&self) -> Option<&Process> {
        let active = self.active_instance();
        let mut alive = self.processes.iter().filter(|p| p.is_alive());
        alive.find(|p| Some(p.instance) == active || p.is_warm())
    }

    /// Whether there is one, and if none is kept, why.
    pub(crate) fn readiness(&self) -> (bool, Option<Exit>) {
        (self.best().is_some(), self.broken.map(|(exit, _)| exit))
    }

    /// What the other nodes should know about this one.
    pub(crate) fn report(&self, node: &Name, now: Monotonic) -> StandbySeen {
        let best = self.best();
        let (warm, broken) = self.readiness();
        let patience = self.policy.limits.adapter_patience;
        StandbySeen {
            node: node.clone(),
            warm,
            broken,
            adapters_down: best.map(Process::adapters_down).unwrap_or_default(),
            adapters_up: best
                .map(|p| p.adapters_up(now, patience))
                .unwrap_or_default(),
        }
    }

    pub(crate) fn state(&self) -> State {
        match &self.phase {
            Phase::Idle if self.processes.iter().any(Process::is_alive) => State::Standby,
            Phase::Idle => State::Offline,
            Phase::Taking(_) => State::Taking,
            Phase::Active(active) => active.state(),
            Phase::Voided { .. } => State::Suspended,
            Phase::Releasing { .. } => State::Draining,
            Phase::Restarting { .. } => State::Restarting,
            Phase::Failed { .. } => State::Failed,
        }
    }

    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    pub(crate) fn seen(&self) -> &GroupSeen {
        &self.seen
    }

    pub(crate) fn last(&self) -> Option<&Transition> {
        self.last.as_ref()
    }

    pub(crate) fn restarts(&self) -> &Budget {
        &self.restarts
    }

    pub(crate) fn in_flight(&self) -> u32 {
        self.processes.iter().map(|p| p.beat.in_flight).sum()
    }

    fn instances(&self) -> Vec<InstanceId> {
        self.processes.iter().map(|p| p.instance).collect()
    }

    /// The process that acts or is about to.
    fn active_instance(&self) -> Option<InstanceId> {
        match &self.phase {
            Phase::Active(active) => Some(active.instance),
            Phase::Taking(taking) => Some(taking.instance),
            Phase::Voided { instance, .. } => Some(*instance),
            _ => None,
        }
    }

    /// Goes to `phase` and tells why.
    fn enter(&mut self, ctx: &mut Ctx<'_>, phase: Phase, cause: Cause, evidence: Vec<Fact>) {
        self.phase = phase;
        self.record(ctx, cause, evidence);
        let holds = matches!(
            self.phase,
            Phase::Active(_) | Phase::Voided { .. } | Phase::Releasing { .. }
        );
        if !holds {
            self.epoch = None;
        }
    }

    fn record(&mut self, ctx: &mut Ctx<'_>, cause: Cause, evidence: Vec<Fact>) {
        let to = self.state();
        if to == self.told {
            return;
        }
        let transition = Transition {
            group: self.name.clone(),
            node: ctx.node.clone(),
            from: self.told,
            to,
            cause,
            evidence,
            epoch: self.epoch,
            at: ctx.now.wall,
            lasted: ctx.now.boot.since(self.told_at),
        };
        (self.told, self.told_at) = (to, ctx.now.boot);
        self.last = Some(transition.clone());
        ctx.out.push(Action::Record(transition));
    }

    /// Tells of a change that no decision brought about: a process that came or went.
    fn tell(&mut self, ctx: &mut Ctx<'_>) {
        let cause = if ctx.stopping {
            Cause::Shutdown
        } else if ctx.session.is_none() {
            Cause::SessionLost
        } else if !self.seen.control.online {
            Cause::Desired
        } else if self.last.is_none() {
            Cause::Started
        } else if self.state() == State::Offline {
            Cause::ProcessEnded
        } else {
            Cause::Reported
        };
        let evidence = self.broken.map(|(exit, _)| Fact::Exit(exit));
        self.record(ctx, cause, evidence.into_iter().collect());
    }

    fn moves(&self) -> Fact {
        let limit = self.policy.limits.moves;
        Fact::Moves(limit.used(&self.seen.moves), limit.times)
    }
}
