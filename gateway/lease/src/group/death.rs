//! What follows when the process that was active has died: another one here, another node, or a failure.

use quayside_model::{InstanceId, Monotonic, Name};

use super::{Ctx, Group, Phase, process::Process};
use crate::{Cause, Exit, Fact, KillReason, OnDeath, Verdict};

impl Group {
    /// The process that acted or was about to has ended.
    pub(super) fn died(&mut self, ctx: &mut Ctx<'_>, exit: Exit) {
        let evidence = vec![Fact::Exit(exit)];
        let Phase::Active(active) = self.phase.clone() else {
            // What it was taking, or had to give up, dies with it.
            if exit.verdict() == Verdict::Failure {
                self.back_off(ctx.now.boot);
            }
            self.enter(ctx, Phase::Idle, Cause::ProcessEnded, evidence);
            return;
        };
        if let Some(to) = active.leaving() {
            // It was on its way out anyway. Its row is declared dead, which frees the group.
            let planned = !active.leaves_for_a_fault();
            self.offer(ctx, to.as_ref(), planned);
            self.enter(ctx, Phase::Idle, Cause::ProcessEnded, evidence);
            return;
        }
        match exit.verdict() {
            Verdict::Done | Verdict::Respawn => {
                self.enter(ctx, Phase::Idle, Cause::ProcessEnded, evidence);
            }
            Verdict::Fatal => self.fail(ctx, Cause::Fatal, evidence),
            Verdict::Failure if self.seen.control.paused => {
                self.enter(ctx, Phase::Idle, Cause::ProcessEnded, evidence);
            }
            Verdict::Failure if active.probe => self.fail(ctx, Cause::BudgetSpent, evidence),
            Verdict::Failure => self.replace(ctx, active.instance, evidence),
        }
    }

    /// A process was told by the store that it is not the owner.
    pub(crate) fn fenced(&mut self, ctx: &mut Ctx<'_>, instance: InstanceId) {
        self.kill(ctx, instance, KillReason::GrantVoid);
    }

    /// A process that was to replace a dead one has died as well.
    pub(super) fn died_restarting(&mut self, ctx: &mut Ctx<'_>, exit: Exit) {
        let Phase::Restarting { old, .. } = self.phase else {
            return;
        };
        let evidence = vec![Fact::Exit(exit)];
        match exit.verdict() {
            Verdict::Fatal => self.fail(ctx, Cause::Fatal, evidence),
            Verdict::Failure => self.replace(ctx, old, evidence),
            Verdict::Done | Verdict::Respawn => {}
        }
    }

    /// Finds a successor for the dead process `old`.
    fn replace(&mut self, ctx: &mut Ctx<'_>, old: InstanceId, mut evidence: Vec<Fact>) {
        let now = ctx.now.boot;
        // Who rehearses a death does not pay for it.
        let drill = evidence.contains(&Fact::Exit(Exit::Killed(KillReason::Drill)));
        let cause = if drill {
            Cause::Drill
        } else {
            Cause::ProcessEnded
        };
        let spare = self.processes.iter().any(Process::is_warm);
        let elsewhere = self.standby_elsewhere(ctx);
        let here_first = self.policy.on_death == OnDeath::InPlace || spare || elsewhere.is_none();
        if here_first && (drill || self.restarts.spend(now)) {
            // A warm process goes on at once; a cold one waits the longer the more of them failed.
            let used = self.restarts.used(now);
            evidence.push(Fact::Restarts(used, self.restarts.allowed()));
            let backoff = self.policy.limits.backoff;
            let tries = (used as usize).saturating_sub(1).min(backoff.len() - 1);
            let at = if spare { now } else { now.plus(backoff[tries]) };
            self.respawn_at = at;
            let restarting = Phase::Restarting { old, at };
            self.enter(ctx, restarting, cause, evidence);
        } else if let Some(to) = elsewhere {
            self.leave_to(ctx, &to, (cause, evidence));
        } else {
            evidence.push(Fact::Restarts(
                self.restarts.used(now),
                self.restarts.allowed(),
            ));
            evidence.push(self.moves());
            self.fail(ctx, Cause::BudgetSpent, evidence);
        }
    }

    /// The best other node that is ready, if a move there is allowed.
    fn standby_elsewhere(&self, ctx: &Ctx<'_>) -> Option<Name> {
        let best = self.place(ctx).best_but(ctx.node).cloned();
        best.filter(|_| self.policy.limits.moves.allows(&self.seen.moves))
    }

    /// Leaves the group of a dead process to the node `to`.
    fn leave_to(
        &mut self,
        ctx: &mut Ctx<'_>,
        to: &Name,
        (cause, mut evidence): (Cause, Vec<Fact>),
    ) {
        evidence.push(Fact::To(to.clone()));
        evidence.push(self.moves());
        // Not counted here: the node that takes it counts the move.
        self.offer(ctx, Some(to), false);
        self.enter(ctx, Phase::Idle, cause, evidence);
    }

    /// Waits for a process here, unless a standby of another node is ready before. The place of the dead process
    /// is kept no longer when that is so, when the restart takes too long or when nobody wants it any more: whoever
    /// can may take the group.
    pub(super) fn restart(&mut self, ctx: &mut Ctx<'_>, old: InstanceId, at: Monotonic) {
        let late = ctx.now.boot.since(at) > self.policy.limits.online_within;
        let control = &self.seen.control;
        let unwanted = ctx.stopping || !control.online || control.paused;
        if late || unwanted || !self.has(old) {
            self.enter(ctx, Phase::Idle, Cause::ProcessEnded, vec![]);
        } else if self.policy.on_death == OnDeath::Warm
            && ctx.may_act()
            && !self.has_warm()
            && let Some(to) = self.standby_elsewhere(ctx)
        {
            // Nothing was restarted. A drill has spent nothing.
            let drilled = |p: &Process| p.instance == old && p.killed == Some(KillReason::Drill);
            if !self.processes.iter().any(drilled) {
                self.restarts.give_back();
            }
            self.leave_to(ctx, &to, (Cause::ProcessEnded, vec![]));
        }
        // Now, and not with the next beat or tick: others wait for it.
        self.declare_dead(ctx);
    }

    /// The store knows that `old` is dead: the epoch is free for its successor.
    pub(super) fn take_after_restart(&mut self, ctx: &mut Ctx<'_>, ended: InstanceId) {
        if !matches!(self.phase, Phase::Restarting { old, .. } if old == ended) {
            return;
        }
        let warm = self.processes.iter().find(|p| p.is_warm());
        match warm.map(|p| p.instance) {
            Some(instance) if ctx.may_act() && ctx.settled && !ctx.stopping => {
                self.take(ctx, instance, (false, false), (Cause::ProcessEnded, vec![]));
            }
            _ => self.enter(ctx, Phase::Idle, Cause::ProcessEnded, vec![]),
        }
    }
}
