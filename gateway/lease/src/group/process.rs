//! The processes of a group on this node: kept warm, watched, ended.

use std::time::Duration;

use quayside_model::{InstanceId, Monotonic, Name};

use super::{Ctx, Group, Phase, RETRY};
use crate::{Action, Beat, Cause, Exit, Fact, HostState, KillReason, Verdict};

/// Of one group at one moment, those that are still dying included.
const PROCESSES_MAX: usize = 4;

/// A process of a host, from its start until the store knows that it is dead.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) instance: InstanceId,
    pub(super) since: Monotonic,
    /// When it was last heard of, if ever.
    pub(super) beat_at: Option<Monotonic>,
    pub(super) beat: Beat,
    /// Since when each adapter is as it is.
    adapters_since: Vec<(Name, bool, Monotonic)>,
    pub(super) killed: Option<KillReason>,
    pub(super) exited: bool,
    /// Was granted an epoch once, and is never used for another ownership.
    pub(super) used: bool,
    /// Its session is dead, and its row with it.
    pub(super) orphan: bool,
    end_asked: bool,
    end_at: Monotonic,
}

impl Process {
    pub(super) fn is_alive(&self) -> bool {
        !self.exited && self.killed.is_none()
    }

    /// Ready to take over.
    pub(super) fn is_warm(&self) -> bool {
        self.is_alive() && !self.used && self.beat.state == HostState::Standby
    }

    pub(super) fn adapters_down(&self) -> Vec<Name> {
        let down = self.beat.adapters.iter().filter(|a| !a.healthy);
        down.map(|a| a.name.clone()).collect()
    }

    /// The adapters that have worked for `patience`.
    pub(super) fn adapters_up(&self, now: Monotonic, patience: Duration) -> Vec<Name> {
        self.adapters_for(now, patience, true)
    }

    /// The adapters that have been `healthy` or not for `patience`.
    pub(super) fn adapters_for(
        &self,
        now: Monotonic,
        patience: Duration,
        healthy: bool,
    ) -> Vec<Name> {
        let mut names = Vec::new();
        for (name, is, since) in &self.adapters_since {
            if *is == healthy && now.since(*since) >= patience {
                names.push(name.clone());
            }
        }
        names
    }

    pub(super) fn heard(&mut self, now: Monotonic, beat: Beat) {
        let before = std::mem::take(&mut self.adapters_since);
        for adapter in &beat.adapters {
            let same = |(name, healthy, _): &&(Name, bool, Monotonic)| {
                *name == adapter.name && *healthy == adapter.healthy
            };
            let since = before.iter().find(same).map_or(now, |(_, _, since)| *since);
            let entry = (adapter.name.clone(), adapter.healthy, since);
            self.adapters_since.push(entry);
        }
        (self.beat_at, self.beat) = (Some(now), beat);
    }
}

impl Group {
    /// Watches the processes, declares the dead, starts what is missing.
    pub(super) fn tend(&mut self, ctx: &mut Ctx<'_>) {
        if ctx.stopping && !ctx.may_act() {
            // A stop waits for no store: what it was not told goes with the session.
            self.processes.retain(|process| !process.exited);
            if matches!(self.phase, Phase::Releasing { .. }) {
                self.enter(ctx, Phase::Idle, Cause::Shutdown, vec![]);
            }
        }
        self.watch(ctx);
        self.declare_dead(ctx);
        let wanted = self.wants_processes(ctx);
        if !wanted {
            let busy = match &self.phase {
                Phase::Active(_) | Phase::Voided { .. } => self.active_instance(),
                _ => None,
            };
            for instance in self.instances() {
                if Some(instance) != busy {
                    self.kill(ctx, instance, KillReason::Unneeded);
                }
            }
            return;
        }
        let active = matches!(self.phase, Phase::Active(_));
        let target = if active && self.policy.spare { 2 } else { 1 };
        let alive = self.processes.iter().filter(|p| p.is_alive()).count();
        let room = self.processes.len() < PROCESSES_MAX;
        let due = ctx.now.boot >= self.respawn_at;
        if let Some((session, _)) = ctx.session
            && ctx.may_act()
            && alive < target
            && room
            && due
        {
            self.spawn(ctx, session);
        }
    }

    fn wants_processes(&mut self, ctx: &Ctx<'_>) -> bool {
        if let Some((_, since)) = self.broken
            && ctx.now.boot.since(since) >= self.policy.limits.retry_failed
        {
            self.broken = None;
        }
        !ctx.stopping
            && self.seen.control.online
            && self.broken.is_none()
            && self.policy.possible.contains(ctx.node)
    }

    fn spawn(&mut self, ctx: &mut Ctx<'_>, session: quayside_model::SessionId) {
        let instance = InstanceId::new(ctx.now.wall, ctx.entropy);
        self.processes.push(Process {
            instance,
            since: ctx.now.boot,
            beat_at: None,
            beat: Beat::default(),
            adapters_since: Vec::new(),
            killed: None,
            exited: false,
            used: false,
            orphan: false,
            end_asked: false,
            end_at: ctx.now.boot,
        });
        let group = self.name.clone();
        ctx.out.push(Action::Spawn {
            group,
            instance,
            session,
        });
    }

    fn watch(&mut self, ctx: &mut Ctx<'_>) {
        let (now, limits) = (ctx.now.boot, &self.policy.limits);
        let mut kills = Vec::new();
        for process in self.processes.iter().filter(|p| p.is_alive()) {
            let reason = if now >= ctx.kill_at && process.beat.in_flight > 0 {
                Some(KillReason::TrustEnded)
            } else if self.seen.control.paused {
                None
            } else {
                match process.beat_at {
                    Some(at) if now.since(at) > limits.hang_after => Some(KillReason::Hang),
                    None if now.since(process.since) > limits.online_within => {
                        Some(KillReason::TooSlow)
                    }
                    _ => None,
                }
            };
            kills.extend(reason.map(|reason| (process.instance, reason)));
        }
        for (instance, reason) in kills {
            self.kill(ctx, instance, reason);
        }
    }

    /// Has the store told of processes that have exited, except of one whose place is kept until another one is
    /// ready here.
    pub(super) fn declare_dead(&mut self, ctx: &mut Ctx<'_>) {
        // A process that has finished and is killed must not look like one that has died: the group is given back first.
        if !ctx.may_act() || matches!(self.phase, Phase::Releasing { .. }) {
            return;
        }
        let kept = match self.phase {
            Phase::Restarting { old, .. } => (!self.has_warm()).then_some(old),
            _ => None,
        };
        for process in &mut self.processes {
            let due = process.exited && !process.end_asked && ctx.now.boot >= process.end_at;
            if due && Some(process.instance) != kept {
                process.end_asked = true;
                let instance = process.instance;
                ctx.out.push(Action::End { instance });
            }
        }
    }

    pub(super) fn has_warm(&self) -> bool {
        self.processes.iter().any(Process::is_warm)
    }

    pub(super) fn kill(&mut self, ctx: &mut Ctx<'_>, instance: InstanceId, reason: KillReason) {
        let found = self.processes.iter_mut().find(|p| p.instance == instance);
        if let Some(process) = found.filter(|p| p.is_alive()) {
            process.killed = Some(reason);
            ctx.out.push(Action::Kill { instance, reason });
        }
    }

    /// The store was asked to declare `instance` dead.
    pub(crate) fn ended(&mut self, ctx: &mut Ctx<'_>, instance: InstanceId, done: bool) {
        if !done {
            let found = self.processes.iter_mut().find(|p| p.instance == instance);
            if let Some(process) = found {
                process.end_asked = false;
                process.end_at = ctx.now.boot.plus(RETRY);
            }
            return;
        }
        self.processes.retain(|p| p.instance != instance);
        if let Some(owner) = &mut self.seen.owner
            && owner.instance == instance
        {
            owner.live = false;
        }
        self.take_after_restart(ctx, instance);
    }

    /// A process has ended.
    pub(crate) fn exited(&mut self, ctx: &mut Ctx<'_>, instance: InstanceId, exit: Exit) {
        let found = self.processes.iter_mut().find(|p| p.instance == instance);
        let Some(process) = found.filter(|p| !p.exited) else {
            return;
        };
        let exit = process.killed.map_or(exit, Exit::Killed);
        let trusted = ctx.may_act();
        process.exited = true;
        process.beat.in_flight = 0;
        if process.orphan || (ctx.stopping && !trusted) {
            // The store learns of it with the end of the session.
            self.processes.retain(|p| p.instance != instance);
            if self.active_instance() == Some(instance) {
                self.enter(
                    ctx,
                    Phase::Idle,
                    Cause::ProcessEnded,
                    vec![Fact::Exit(exit)],
                );
            }
        } else if self.active_instance() == Some(instance) {
            self.died(ctx, exit);
        } else if matches!(self.phase, Phase::Restarting { old, .. } if old != instance) {
            self.died_restarting(ctx, exit);
        } else {
            self.died_idle(ctx, exit);
        }
    }

    /// A warm process, or one that was on its way to be, has ended.
    fn died_idle(&mut self, ctx: &mut Ctx<'_>, exit: Exit) {
        match exit.verdict() {
            Verdict::Fatal => self.broken = Some((exit, ctx.now.boot)),
            Verdict::Failure => self.back_off(ctx.now.boot),
            Verdict::Done | Verdict::Respawn => {}
        }
    }

    pub(super) fn back_off(&mut self, now: Monotonic) {
        let backoff = self.policy.limits.backoff;
        self.respawn_at = now.plus(backoff[self.failed_starts.min(backoff.len() - 1)]);
        self.failed_starts += 1;
    }
}
