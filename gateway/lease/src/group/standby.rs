//! Taking a group that nobody has, and failing one that nobody can keep up.

use std::time::Duration;

use quayside_model::{GrantId, InstanceId, Monotonic};

use super::{Ctx, Group, Phase, Process, Question, RETRY, Taking, active::Active};
use crate::{Action, Cause, Fact, KillReason, Placement, Take};

/// How long a take waits behind an open transaction that was told to end.
const UNLOCK: Duration = Duration::from_millis(50);
/// How often a failure is written again that no view has shown yet.
const TELL_FAILURE: Duration = Duration::from_secs(1);

impl Group {
    /// Takes the group if it is free and this node's turn has come.
    pub(super) fn consider(&mut self, ctx: &mut Ctx<'_>) {
        let control = &self.seen.control;
        let Some(seen_at) = self.seen_at else { return };
        if self.outdated.is_some() {
            return;
        }
        if !ctx.may_act() || !ctx.settled || ctx.stopping || !control.online || control.paused {
            return;
        }
        let dead = |session| ctx.dead.contains(&session);
        if self
            .seen
            .live_owner()
            .is_some_and(|owner| !dead(owner.session))
        {
            self.free_since = None;
            return;
        }
        let free_since = *self.free_since.get_or_insert(ctx.now.boot);
        let age = ctx.now.boot.since(seen_at);
        let retry = self.policy.limits.retry_failed;
        let probe = match self.seen.failed {
            Some(failed) if failed + age < retry => return,
            failed => failed.is_some(),
        };
        let Some(instance) = self
            .processes
            .iter()
            .find(|p| p.is_warm())
            .map(|p| p.instance)
        else {
            return;
        };
        let placement = self.place(ctx);
        let Some(rank) = placement.rank(ctx.node) else {
            return;
        };
        let free = ctx.now.boot.since(free_since);
        if free < self.patience(ctx, &placement, rank, age) {
            return;
        }
        let owner = self.seen.owner.as_ref();
        let counted = owner.is_some_and(|owner| owner.node != *ctx.node);
        // Who offered it has looked at the budget, unless the move is none of those that count.
        let offered = self.offered_to(ctx, age);
        let spent = !self.policy.limits.moves.allows(&self.seen.moves);
        if counted && !probe && !offered && spent {
            // Its own node may still replace the process.
            let alive = owner.is_some_and(|owner| ctx.lives(owner.session));
            if alive && free < self.policy.limits.offer_lasts {
                return;
            }
            let evidence = vec![self.moves()];
            self.fail(ctx, Cause::BudgetSpent, evidence);
            return;
        }
        let cause = match (owner, probe) {
            (_, true) => Cause::Retry,
            _ if offered => Cause::Offered,
            (Some(_), _) => Cause::OwnerDead,
            (None, _) => Cause::Unowned,
        };
        let mut evidence = vec![Fact::Free(free)];
        evidence.extend(owner.map(|owner| Fact::Owner(owner.node.clone())));
        self.take(ctx, instance, (counted, probe), (cause, evidence));
    }

    fn offered_to(&self, ctx: &Ctx<'_>, age: Duration) -> bool {
        let offered = self.seen.offered.as_ref();
        offered.is_some_and(|(to, made)| {
            to == ctx.node && *made + age < self.policy.limits.offer_lasts
        })
    }

    /// How long this node leaves a free group to others. An offer to a node that can take it no more counts for
    /// nothing.
    fn patience(&self, ctx: &Ctx<'_>, placement: &Placement, rank: u32, age: Duration) -> Duration {
        let limits = &self.policy.limits;
        let in_order = limits.rank_delay * rank;
        match &self.seen.offered {
            Some((to, made)) if *made + age < limits.offer_lasts => {
                if to == ctx.node {
                    Duration::ZERO
                } else if placement.rank(to).is_some() {
                    limits.offer_lasts + in_order
                } else {
                    in_order
                }
            }
            _ => in_order,
        }
    }

    pub(super) fn take(
        &mut self,
        ctx: &mut Ctx<'_>,
        instance: InstanceId,
        (counted, probe): (bool, bool),
        (cause, evidence): (Cause, Vec<Fact>),
    ) {
        let taking = Taking {
            instance,
            grant: GrantId::new(ctx.now.wall, ctx.entropy),
            counted,
            probe,
            question: Question::At(ctx.now.boot),
        };
        self.enter(ctx, Phase::Taking(taking.clone()), cause, evidence);
        self.press(ctx, taking);
    }

    /// Asks for the epoch until there is an answer. Always with the same grant: a take whose answer was lost
    /// is met again.
    pub(super) fn press(&mut self, ctx: &mut Ctx<'_>, taking: Taking) {
        if !taking.question.due(ctx.now.boot) || !ctx.may_act() {
            return;
        }
        ctx.out.push(Action::Take {
            group: self.name.clone(),
            instance: taking.instance,
            grant: taking.grant,
            counted: taking.counted,
        });
        let question = Question::Asked;
        self.phase = Phase::Taking(Taking { question, ..taking });
    }

    /// The store has answered a take, or not.
    pub(crate) fn took(&mut self, ctx: &mut Ctx<'_>, grant: GrantId, take: Take) {
        let taking = match &self.phase {
            Phase::Taking(taking) if taking.grant == grant => taking.clone(),
            _ => {
                // It was given up meanwhile; what came through late is given back.
                let held = matches!(&self.phase, Phase::Active(active) if active.grant == grant);
                if matches!(take, Take::Taken(_)) && !held {
                    ctx.out.push(Action::Release {
                        group: self.name.clone(),
                        grant,
                        offer: None,
                    });
                }
                return;
            }
        };
        match take {
            Take::Taken(epoch) => {
                self.epoch = Some(epoch);
                self.note_order(ctx);
                let active = Active::new(ctx.now.boot, taking.instance, grant, taking.probe);
                self.enter(ctx, Phase::Active(active), Cause::Taken, vec![]);
            }
            Take::Held => {
                self.free_since = None;
                // Asked again before the next look, it would be asked again and again.
                self.outdated = Some(ctx.now.boot);
                self.discard_used(ctx, taking.instance);
                self.enter(ctx, Phase::Idle, Cause::HeldElsewhere, vec![]);
            }
            Take::Refused => {
                self.kill(ctx, taking.instance, KillReason::GrantVoid);
                self.enter(ctx, Phase::Idle, Cause::Fenced, vec![]);
            }
            Take::Locked => {
                let owner = self.seen.owner.as_ref();
                if let Some(owner) = owner.filter(|o| !o.live || ctx.dead.contains(&o.session)) {
                    let instance = owner.instance;
                    ctx.out.push(Action::BreakLocks { instance });
                }
                self.ask_again(taking, ctx.now.boot.plus(UNLOCK));
            }
            Take::Unknown => self.ask_again(taking, ctx.now.boot.plus(RETRY)),
        }
    }

    fn ask_again(&mut self, taking: Taking, at: Monotonic) {
        let question = Question::At(at);
        self.phase = Phase::Taking(Taking { question, ..taking });
    }

    /// A process that was active once never becomes so again under another ownership.
    fn discard_used(&mut self, ctx: &mut Ctx<'_>, instance: InstanceId) {
        let used = |p: &Process| p.instance == instance && p.used;
        if self.processes.iter().any(used) {
            self.kill(ctx, instance, KillReason::GrantVoid);
        }
    }

    pub(super) fn fail(&mut self, ctx: &mut Ctx<'_>, cause: Cause, evidence: Vec<Fact>) {
        let group = self.name.clone();
        ctx.out.push(Action::Fail { group });
        let failed = Phase::Failed {
            since: ctx.now.boot,
            told_at: ctx.now.boot,
            known: false,
        };
        self.enter(ctx, failed, cause, evidence);
    }

    /// Waits for the retry, or for the word of an operator.
    pub(super) fn stay_failed(
        &mut self,
        ctx: &mut Ctx<'_>,
        since: Monotonic,
        told_at: Monotonic,
        known: bool,
    ) {
        let now = ctx.now.boot;
        if !known {
            if now.since(told_at) >= TELL_FAILURE && ctx.may_act() {
                let group = self.name.clone();
                ctx.out.push(Action::Fail { group });
                self.phase = Phase::Failed {
                    since,
                    told_at: now,
                    known,
                };
            }
        } else if now.since(since) >= self.policy.limits.retry_failed {
            self.enter(ctx, Phase::Idle, Cause::Retry, vec![]);
        } else if self.seen.failed.is_none() {
            // Not the word of an operator, which is met with the look: another node has it at work again.
            self.enter(ctx, Phase::Idle, Cause::HeldElsewhere, vec![]);
        }
    }
}
