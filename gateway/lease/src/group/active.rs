//! Being active, and giving it up in good order.

use quayside_model::{GrantId, InstanceId, Monotonic, Name};

use super::{AFTER_YOU, Ctx, Group, Phase, Question, RETRY};
use crate::{
    Action, Beat, Cause, Fact, Grant, HostState, KillReason, Offer, Refusal, State,
    candidate::down_here_up_elsewhere,
};

/// The epoch is held for a process of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Active {
    pub(super) instance: InstanceId,
    pub(super) grant: GrantId,
    pub(super) taken_at: Monotonic,
    /// Whether the process was told.
    pub(super) granted: bool,
    pub(super) probe: bool,
    suspended: bool,
    stage: Stage,
    stage_since: Monotonic,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Pending,
    Online,
    Degraded,
    Draining { until: Monotonic, leave: Leave },
}

/// Why and where a group goes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Leave {
    cause: Cause,
    to: Option<Name>,
    evidence: Vec<Fact>,
}

impl Leave {
    fn new(cause: Cause, to: Option<Name>) -> Self {
        let evidence = to.iter().map(|to| Fact::To(to.clone())).collect();
        Self {
            cause,
            to,
            evidence,
        }
    }
}

impl Active {
    pub(super) fn new(now: Monotonic, instance: InstanceId, grant: GrantId, probe: bool) -> Self {
        Self {
            instance,
            grant,
            taken_at: now,
            granted: false,
            probe,
            suspended: false,
            stage: Stage::Pending,
            stage_since: now,
        }
    }

    pub(super) fn state(&self) -> State {
        match self.stage {
            Stage::Draining { .. } => State::Draining,
            _ if self.suspended => State::Suspended,
            Stage::Pending => State::Pending,
            Stage::Online => State::Online,
            Stage::Degraded => State::Degraded,
        }
    }

    /// Where it was to go, if it was draining.
    pub(super) fn leaving(&self) -> Option<Option<Name>> {
        match &self.stage {
            Stage::Draining { leave, .. } => Some(leave.to.clone()),
            _ => None,
        }
    }

    /// Whether it is draining because of a fault.
    pub(super) fn leaves_for_a_fault(&self) -> bool {
        matches!(&self.stage, Stage::Draining { leave, .. } if leave.cause == Cause::AdapterDown)
    }
}

impl Group {
    /// Keeps an ownership up, or begins to give it up.
    pub(super) fn keep(&mut self, ctx: &mut Ctx<'_>, mut active: Active) {
        let now = ctx.now.boot;
        let suspended = !ctx.may_act();
        if suspended != active.suspended {
            active.suspended = suspended;
            let cause = if suspended {
                Cause::StoreSilent
            } else {
                Cause::StoreBack
            };
            let evidence = vec![Fact::InFlight(self.in_flight())];
            self.enter(ctx, Phase::Active(active.clone()), cause, evidence);
        }
        if !suspended && !active.granted {
            self.grant(ctx, &mut active);
        }
        if let Stage::Draining { until, .. } = active.stage {
            if now >= until && !self.is_killed(active.instance) {
                // Before the store knows it to be dead: who takes it then knows that it was meant for somebody.
                let to = active.leaving().flatten();
                self.offer(ctx, to.as_ref(), !active.leaves_for_a_fault());
                self.kill(ctx, active.instance, KillReason::DrainTooLong);
            }
            return;
        }
        if suspended {
            if ctx.stopping {
                // Nobody can be asked to take it over. Its session ends by itself.
                self.kill(ctx, active.instance, KillReason::Unneeded);
            }
            return;
        }
        if let Some(leave) = self.reason_to_leave(ctx, &active) {
            self.drain(ctx, active, leave);
            return;
        }
        let patience = self.policy.limits.online_within;
        let late = now.since(active.stage_since) > patience && !self.seen.control.paused;
        if active.stage == Stage::Pending && late {
            self.kill(ctx, active.instance, KillReason::TooSlow);
        }
    }

    fn grant(&mut self, ctx: &mut Ctx<'_>, active: &mut Active) {
        let (Some((_, deadline)), Some(epoch)) = (ctx.session, self.epoch) else {
            return;
        };
        let instance = active.instance;
        if let Some(process) = self.processes.iter_mut().find(|p| p.instance == instance) {
            process.used = true;
        }
        (active.granted, active.stage_since) = (true, ctx.now.boot);
        self.phase = Phase::Active(active.clone());
        let grant = Grant {
            epoch,
            id: active.grant,
            deadline,
        };
        ctx.out.push(Action::Grant { instance, grant });
    }

    /// A process has reported.
    pub(crate) fn heard(&mut self, ctx: &mut Ctx<'_>, instance: InstanceId, beat: Beat) {
        let now = ctx.now.boot;
        let Some(process) = self.processes.iter_mut().find(|p| p.instance == instance) else {
            return;
        };
        process.heard(now, beat.clone());
        if beat.state == HostState::Standby {
            self.failed_starts = 0;
        }
        let mut active = match &self.phase {
            Phase::Active(active) if active.instance == instance && active.granted => {
                active.clone()
            }
            _ => return,
        };
        let down = beat.adapters.iter().find(|a| !a.healthy);
        let (stage, cause) = match (&active.stage, down) {
            (Stage::Pending, _) if beat.state != HostState::Online => return,
            (Stage::Pending, None) => (Stage::Online, Cause::Reported),
            (Stage::Pending | Stage::Online, Some(_)) => (Stage::Degraded, Cause::AdapterDown),
            (Stage::Degraded, None) => (Stage::Online, Cause::AdapterUp),
            _ => return,
        };
        let evidence = down.map(|a| Fact::Adapter(a.name.clone()));
        if std::mem::take(&mut active.probe) || self.seen.failed.is_some() {
            let group = self.name.clone();
            ctx.out.push(Action::Recover { group });
        }
        (active.stage, active.stage_since) = (stage, now);
        self.enter(
            ctx,
            Phase::Active(active),
            cause,
            evidence.into_iter().collect(),
        );
    }

    fn is_killed(&self, instance: InstanceId) -> bool {
        let process = self.processes.iter().find(|p| p.instance == instance);
        process.is_some_and(|process| !process.is_alive())
    }

    fn reason_to_leave(&mut self, ctx: &mut Ctx<'_>, active: &Active) -> Option<Leave> {
        let placement = self.place(ctx);
        let best = placement.best_but(ctx.node).cloned();
        if ctx.stopping {
            return Some(Leave::new(Cause::Shutdown, best));
        }
        if !self.seen.control.online {
            return Some(Leave::new(Cause::Desired, None));
        }
        if self.seen.control.paused || active.stage == Stage::Pending {
            return None;
        }
        if let Some(leave) = self.ordered(ctx, &placement) {
            return Some(leave);
        }
        if self.is_killed(active.instance) {
            // Nothing can be asked of it any more, and its end says what follows.
            return None;
        }
        let best = best?;
        let node = ctx.view.nodes.iter().find(|row| row.node == *ctx.node);
        if node.is_some_and(|row| row.drained) {
            return Some(Leave::new(Cause::NodeDrained, Some(best)));
        }
        match placement.why_not(ctx.node) {
            Some(crate::Exclusion::PinnedTo(_)) => {
                return Some(Leave::new(Cause::Pinned, Some(best)));
            }
            Some(crate::Exclusion::NotWith(_, Some(_))) => {
                return Some(Leave::new(Cause::Follows, Some(best)));
            }
            _ => {}
        }
        if active.stage == Stage::Degraded
            && let Some(leave) = self.adapter_elsewhere(ctx, active, &best)
        {
            return Some(leave);
        }
        let first = placement.order.first().filter(|first| *first != ctx.node)?;
        let up = ctx.up.iter().find(|(node, ..)| node == first)?;
        let stable = ctx.now.boot.since(up.2) >= self.policy.limits.failback_stable;
        let back = stable
            && placement.rank(ctx.node).is_some()
            && self.policy.failback.allowed(ctx.now.wall);
        back.then(|| Leave::new(Cause::Failback, Some(first.clone())))
    }

    /// What an order to move that is due asks for. Dealt with once.
    fn ordered(&mut self, ctx: &mut Ctx<'_>, placement: &crate::Placement) -> Option<Leave> {
        let order = self.seen.control.order.clone()?;
        let due = order.at.is_none_or(|at| at <= ctx.now.wall);
        if order.no <= self.order_served || !due {
            return None;
        }
        self.order_served = order.no;
        let to = order.to.or_else(|| placement.best_but(ctx.node).cloned());
        let refused = match &to {
            None => Some(Refusal::NoCandidate),
            Some(to) if to == ctx.node => Some(Refusal::AlreadyThere),
            Some(to) if placement.rank(to).is_some() => None,
            Some(to) => {
                let why = placement.why_not(to).cloned();
                let why = why.unwrap_or(crate::Exclusion::NotPossible);
                Some(Refusal::Excluded(to.clone(), why))
            }
        };
        let drill = self.seen.control.drill == Some(order.no);
        let leave = (refused.is_none() && !drill).then(|| Leave::new(Cause::Ordered, to));
        if drill
            && refused.is_none()
            && let Some(instance) = self.active_instance()
        {
            self.kill(ctx, instance, KillReason::Drill);
        }
        ctx.out.push(Action::Answer {
            group: self.name.clone(),
            order: order.no,
            refused,
        });
        leave
    }

    /// An order that was due before this node took the group was for its former owner. If that has answered it,
    /// this answer comes too late to count.
    pub(super) fn note_order(&mut self, ctx: &mut Ctx<'_>) {
        if let Some(order) = &self.seen.control.order
            && order.at.is_none_or(|at| at <= ctx.now.wall)
            && order.no > self.order_served
        {
            self.order_served = order.no;
            let here = order.to.as_ref().is_none_or(|to| to == ctx.node);
            ctx.out.push(Action::Answer {
                group: self.name.clone(),
                order: order.no,
                refused: (!here).then_some(Refusal::OwnerLost),
            });
        }
    }

    /// A local fault of an adapter that has lasted, if a move mends it and the budget allows one.
    fn adapter_elsewhere(&self, ctx: &Ctx<'_>, active: &Active, best: &Name) -> Option<Leave> {
        let process = self
            .processes
            .iter()
            .find(|p| p.instance == active.instance)?;
        let limits = &self.policy.limits;
        let down = process.adapters_for(ctx.now.boot, limits.adapter_patience, false);
        let mut seen = self.seen.clone();
        seen.standbys.retain(|s| s.node == *best);
        seen.standbys.push(crate::StandbySeen {
            adapters_down: down,
            ..self.report(ctx.node, ctx.now.boot)
        });
        let adapter = down_here_up_elsewhere(&seen, ctx.node)?;
        if !limits.moves.allows(&self.seen.moves) {
            return None;
        }
        let mut leave = Leave::new(Cause::AdapterDown, Some(best.clone()));
        leave
            .evidence
            .extend([Fact::Adapter(adapter), self.moves()]);
        Some(leave)
    }

    fn drain(&mut self, ctx: &mut Ctx<'_>, mut active: Active, leave: Leave) {
        let within = self.policy.limits.drain_within;
        let (cause, instance) = (leave.cause, active.instance);
        let mut evidence = leave.evidence.clone();
        evidence.push(Fact::InFlight(self.in_flight()));
        (active.stage, active.stage_since) = (
            Stage::Draining {
                until: ctx.now.boot.plus(within),
                leave,
            },
            ctx.now.boot,
        );
        ctx.out.push(Action::Drain { instance, within });
        self.enter(ctx, Phase::Active(active), cause, evidence);
    }

    /// A process has finished all work and shut its gate: its epoch is given back at once.
    pub(crate) fn drained(&mut self, ctx: &mut Ctx<'_>, instance: InstanceId) {
        let active = match &self.phase {
            Phase::Active(active) if active.instance == instance => active.clone(),
            _ => return,
        };
        ctx.out.push(Action::Shut { instance });
        let offer = active.leaving().flatten().map(|to| Offer {
            to,
            counted: active.leaves_for_a_fault(),
        });
        if offer.is_some() {
            self.yields(ctx);
            self.respawn_at = self.respawn_at.max(ctx.now.boot.plus(AFTER_YOU));
        }
        self.press_release(ctx, active.grant, offer, Question::At(ctx.now.boot));
        self.kill(ctx, instance, KillReason::Unneeded);
    }

    /// Offers the group of a process that is dead or about to be.
    pub(super) fn offer(&mut self, ctx: &mut Ctx<'_>, to: Option<&Name>, planned: bool) {
        if let Some(to) = to {
            ctx.out.push(Action::Offer {
                group: self.name.clone(),
                to: to.clone(),
                planned,
            });
            self.yields(ctx);
        }
    }

    fn yields(&mut self, ctx: &Ctx<'_>) {
        self.yields_until = ctx.now.boot.plus(self.policy.limits.offer_lasts * 2);
    }

    pub(super) fn press_release(
        &mut self,
        ctx: &mut Ctx<'_>,
        grant: GrantId,
        offer: Option<Offer>,
        question: Question,
    ) {
        if !question.due(ctx.now.boot) {
            return;
        }
        ctx.out.push(Action::Release {
            group: self.name.clone(),
            grant,
            offer: offer.clone(),
        });
        let question = Question::Asked;
        self.phase = Phase::Releasing {
            grant,
            offer,
            question,
        };
    }

    /// The store was asked to take a grant back.
    pub(crate) fn released(&mut self, ctx: &mut Ctx<'_>, grant: GrantId, done: bool) {
        let retry = Question::At(ctx.now.boot.plus(RETRY));
        match &mut self.phase {
            Phase::Releasing {
                grant: held,
                question,
                ..
            } if *held == grant => {
                if !done {
                    *question = retry;
                    return;
                }
                self.forget_owner(grant);
                self.enter(ctx, Phase::Idle, Cause::Released, vec![]);
            }
            Phase::Voided {
                instance,
                grant: held,
                question,
                ..
            } if *held == grant => {
                if !done {
                    *question = retry;
                    return;
                }
                let instance = *instance;
                self.forget_owner(grant);
                self.take(
                    ctx,
                    instance,
                    (false, false),
                    (Cause::StoreReplaced, vec![]),
                );
            }
            _ => {}
        }
    }

    fn forget_owner(&mut self, grant: GrantId) {
        if self.seen.owner.as_ref().is_some_and(|o| o.grant == grant) {
            self.seen.owner = None;
        }
    }

    /// Nothing under a void grant is under way any more: gives it up, to take the group anew.
    pub(super) fn give_up_void(
        &mut self,
        ctx: &mut Ctx<'_>,
        instance: InstanceId,
        grant: GrantId,
        (since, question): (Monotonic, Question),
    ) {
        let now = ctx.now.boot;
        let Some(process) = self.processes.iter().find(|p| p.instance == instance) else {
            return;
        };
        let quiet = process.beat.in_flight == 0 && process.beat_at.is_some_and(|at| at > since);
        if !quiet && now.since(since) > self.policy.limits.hang_after {
            self.kill(ctx, instance, KillReason::GrantVoid);
        }
        if quiet && question.due(now) && ctx.may_act() && ctx.settled {
            ctx.out.push(Action::Release {
                group: self.name.clone(),
                grant,
                offer: None,
            });
            self.phase = Phase::Voided {
                instance,
                grant,
                since,
                question: Question::Asked,
            };
        }
    }
}
