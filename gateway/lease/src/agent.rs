//! A node: its session, its eye on the others, and its groups.
//!
//! [`Agent::step`] takes one observation and says what is to be done. It reads no clock and asks nobody;
//! a task around it does both, in the order of the actions, and answers with events.

use std::{collections::BTreeMap, time::Duration};

use quayside_model::{Entropy, InstanceId, Monotonic, Name, SessionId};

use crate::{
    Action, Arrival, Event, Exit, GroupStatus, Incarnation, Now, Observer, Policy, Renewal,
    Replication, SessionLease, Timings, View,
    group::{Ctx, Group},
    status,
};

/// How often an agent wants to be woken at least.
const TICK: Duration = Duration::from_millis(100);
/// An agent that was away for longer than this has missed beats that were sent.
const AWAY: Duration = Duration::from_millis(400);
/// How long a question about a session waits before it is asked again.
const RETRY: Duration = Duration::from_millis(200);
/// Sessions of which it is not known whether the store has them.
const STRAYS_MAX: usize = 8;

/// How an agent runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// This node.
    pub node: Name,
    /// The timings of its session.
    pub timings: Timings,
    /// How often it looks at the store.
    pub poll: Duration,
    /// What a failover of the store may forget.
    pub replication: Replication,
    /// The groups, with their configuration.
    pub groups: Vec<(Name, Policy)>,
}

#[derive(Debug)]
enum Session {
    /// None; the next one is opened then.
    None {
        at: Monotonic,
    },
    Opening {
        session: SessionId,
        sent_at: Monotonic,
    },
    Live {
        session: SessionId,
        lease: SessionLease,
    },
    Closing {
        session: SessionId,
    },
    Over,
}

/// One node of the cluster.
#[derive(Debug)]
pub struct Agent {
    options: Options,
    groups: Vec<Group>,
    session: Session,
    observer: Observer,
    incarnation: Option<Incarnation>,
    settled_at: Monotonic,
    view: View,
    dead: Vec<SessionId>,
    up: Vec<(Name, SessionId, Monotonic)>,
    /// Own sessions that are to end, and when that is asked for; `None`: it was.
    strays: BTreeMap<SessionId, Option<Monotonic>>,
    looking: bool,
    looked_at: Option<Monotonic>,
    hinted: bool,
    /// What the last look has told the others of each group: whether a process is ready, and if not, why none is.
    told: Vec<(bool, Option<Exit>)>,
    awake: Monotonic,
    stopping: bool,
}

impl Agent {
    /// An agent that has just started. `previous` is the session of the run before on this node, *if it is
    /// certain that no process of that run lives*: it is closed at once then, and its groups are free.
    #[must_use]
    pub fn new(options: Options, now: Now, previous: Option<SessionId>) -> Self {
        let groups = options.groups.iter();
        let groups = groups
            .map(|(name, policy)| Group::new(name.clone(), policy.clone(), now.boot))
            .collect();
        Self {
            options,
            groups,
            session: Session::None { at: now.boot },
            observer: Observer::new(),
            incarnation: None,
            settled_at: now.boot,
            view: View::default(),
            dead: Vec::new(),
            up: Vec::new(),
            strays: previous
                .map(|id| (id, Some(now.boot)))
                .into_iter()
                .collect(),
            looking: false,
            looked_at: None,
            hinted: false,
            told: Vec::new(),
            awake: now.boot,
            stopping: false,
        }
    }

    /// Takes in `event` and says what is to be done.
    pub fn step(&mut self, now: Now, entropy: &dyn Entropy, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        if now.boot.since(self.awake) > AWAY {
            self.groups.iter_mut().for_each(|g| g.forgive(now.boot));
        }
        self.awake = now.boot;
        match event {
            Event::Tick => {}
            Event::Hint => self.hinted = true,
            Event::Shutdown => self.stopping = true,
            Event::Connected(incarnation) => self.connected(now, entropy, incarnation, &mut out),
            Event::Opened { session, done } => self.opened(now, session, done),
            Event::Renewed {
                session,
                sent_at,
                renewal,
            } => self.renewed(now, entropy, (session, sent_at, renewal), &mut out),
            Event::Closed { session, done } => self.closed(now, session, done, &mut out),
            Event::Looked { asked, view } => self.looked(now, entropy, asked, view, &mut out),
            Event::Expired { session, done } => {
                if done && !self.dead.contains(&session) {
                    self.dead.push(session);
                }
            }
            event => self.group_event(now, entropy, event, &mut out),
        }
        self.drive_session(now, entropy, &mut out);
        self.look(now, &mut out);
        self.each(now, entropy, &mut out, Group::advance);
        self.finish(&mut out);
        out
    }

    /// When to step again with [`Event::Tick`] if nothing happens before.
    #[must_use]
    pub fn next_wake(&self) -> Monotonic {
        let tick = self.awake.plus(TICK);
        let Session::Live { lease, .. } = &self.session else {
            return tick;
        };
        let looks = self.looked_at.map(|at| at.plus(self.options.poll));
        let later = |at: &Monotonic| *at > self.awake;
        let ends = [Some(lease.next_renewal()), Some(lease.deadline()), looks];
        let next = ends.into_iter().flatten().filter(later).min();
        next.map_or(tick, |next| next.min(tick))
    }

    /// Until when the processes of this node may act, and when those with effects under way are killed. For a
    /// watchdog that must work while nothing else does.
    #[must_use]
    pub fn deadline(&self) -> Option<(Monotonic, Monotonic)> {
        let Session::Live { lease, .. } = &self.session else {
            return None;
        };
        let gate = lease.deadline();
        Some((gate, gate.plus(self.options.timings.margin / 2)))
    }

    /// The session, to be remembered for [`Agent::new`] of the next run.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match &self.session {
            Session::Live { session, .. } | Session::Opening { session, .. } => Some(*session),
            _ => None,
        }
    }

    /// What an operator is told about each group, as this node sees it.
    #[must_use]
    pub fn status(&self, now: Now) -> Vec<GroupStatus> {
        let of = |group| status::of(group, &self.options.node, &self.view, &self.dead, now.boot);
        self.groups.iter().map(of).collect()
    }

    fn connected(
        &mut self,
        now: Now,
        entropy: &dyn Entropy,
        incarnation: Incarnation,
        out: &mut Vec<Action>,
    ) {
        match incarnation.after(self.incarnation) {
            Arrival::Same => return,
            Arrival::Stale => return out.push(Action::Disconnect),
            Arrival::New => {}
        }
        let replaced = self.incarnation.replace(incarnation).is_some();
        // What the former history said about silence and about owners proves nothing here.
        (self.observer, self.view) = (Observer::new(), View::default());
        self.dead.clear();
        self.settled_at = match self.options.replication {
            Replication::Synchronous => now.boot,
            Replication::Lossy => now.boot.plus(self.options.timings.ttl),
        };
        if replaced {
            self.each(now, entropy, out, Group::store_replaced);
        }
    }

    fn opened(&mut self, now: Now, opened: SessionId, done: bool) {
        let Session::Opening { session, sent_at } = self.session else {
            return;
        };
        if opened != session {
            return;
        }
        if done {
            let lease = SessionLease::opened(self.options.timings, sent_at);
            self.session = Session::Live { session, lease };
        } else {
            // Asked again for the same id, the store would keep the lease of the first time, and this node
            // would trust itself for longer than the store does.
            self.stray(now, session);
            let at = now.boot.plus(RETRY);
            self.session = Session::None { at };
        }
    }

    fn stray(&mut self, now: Now, session: SessionId) {
        if self.strays.len() < STRAYS_MAX {
            self.strays.insert(session, Some(now.boot));
        }
    }

    fn renewed(
        &mut self,
        now: Now,
        entropy: &dyn Entropy,
        (renewed, sent_at, renewal): (SessionId, Monotonic, Renewal),
        out: &mut Vec<Action>,
    ) {
        let Session::Live { session, lease } = &mut self.session else {
            return;
        };
        if *session != renewed {
            return;
        }
        match renewal {
            Renewal::Unknown => {}
            Renewal::Live => {
                lease.renewed(sent_at);
                let deadline = lease.deadline();
                self.each(now, entropy, out, |group, ctx| group.extend(ctx, deadline));
            }
            Renewal::Dead => {
                self.session = Session::None { at: now.boot };
                self.observer = Observer::new();
                self.each(now, entropy, out, Group::session_lost);
            }
        }
    }

    fn closed(&mut self, now: Now, closed: SessionId, done: bool, out: &mut Vec<Action>) {
        if let Session::Closing { session } = &self.session
            && *session == closed
        {
            // Without an answer it ends by itself; a stop does not wait for a store that is silent.
            self.session = Session::Over;
            out.push(Action::Stopped);
        } else if done {
            self.strays.remove(&closed);
        } else if let Some(stray) = self.strays.get_mut(&closed) {
            *stray = Some(now.boot.plus(RETRY));
        }
    }

    fn looked(
        &mut self,
        now: Now,
        entropy: &dyn Entropy,
        asked: Monotonic,
        view: Option<View>,
        out: &mut Vec<Action>,
    ) {
        self.looking = false;
        let Some(view) = view else {
            // What was not looked at in between is not known to be silent.
            self.observer = Observer::new();
            return;
        };
        self.dead
            .retain(|id| view.sessions.iter().any(|s| s.sighting.session == *id));
        self.note_nodes(now, &view);
        let own = self.session();
        let others = view.sessions.iter().map(|s| s.sighting);
        let others: Vec<_> = others.filter(|s| Some(s.session) != own).collect();
        let silent = self.observer.observe(asked, now.boot, &others);
        let trusted = self.deadline().is_some_and(|(gate, _)| now.boot < gate);
        for (session, seq) in silent.into_iter().filter(|_| trusted) {
            out.push(Action::Expire { session, seq });
        }
        self.view = view;
        let seen = self.view.groups.clone();
        self.each(now, entropy, out, |group, ctx| {
            let row = seen.iter().find(|row| row.group == group.name).cloned();
            let row = row.unwrap_or_else(|| crate::GroupSeen::unknown(group.name.clone()));
            group.observe(ctx, asked, row);
        });
    }

    fn note_nodes(&mut self, now: Now, view: &View) {
        let shown = |node: &Name, id: SessionId| {
            view.sessions
                .iter()
                .any(|s| s.node == *node && s.sighting.session == id)
        };
        self.up.retain(|(node, session, _)| shown(node, *session));
        for row in &view.sessions {
            let session = row.sighting.session;
            if !self.up.iter().any(|(_, id, _)| *id == session) {
                self.up.push((row.node.clone(), session, now.boot));
            }
        }
    }

    fn group_event(
        &mut self,
        now: Now,
        entropy: &dyn Entropy,
        event: Event,
        out: &mut Vec<Action>,
    ) {
        match event {
            Event::Took { group, grant, take } => {
                self.named(now, entropy, out, &group, |g, ctx| g.took(ctx, grant, take));
            }
            Event::Released { group, grant, done } => {
                self.named(now, entropy, out, &group, |g, ctx| {
                    g.released(ctx, grant, done)
                });
            }
            Event::Ended { instance, done } => {
                self.with(now, entropy, out, instance, |g, ctx| {
                    g.ended(ctx, instance, done)
                });
            }
            Event::Beat { instance, beat } => {
                self.with(now, entropy, out, instance, |g, ctx| {
                    g.heard(ctx, instance, beat)
                });
            }
            Event::Drained { instance } => {
                self.with(now, entropy, out, instance, |g, ctx| {
                    g.drained(ctx, instance)
                });
            }
            Event::Fenced { instance } => {
                self.with(now, entropy, out, instance, |g, ctx| {
                    g.fenced(ctx, instance)
                });
            }
            Event::Exited { instance, exit } => {
                self.with(now, entropy, out, instance, |g, ctx| {
                    g.exited(ctx, instance, exit)
                });
            }
            _ => {}
        }
    }

    fn drive_session(&mut self, now: Now, entropy: &dyn Entropy, out: &mut Vec<Action>) {
        if self.incarnation.is_none() {
            return;
        }
        for (session, at) in &mut self.strays {
            if at.is_some_and(|at| at <= now.boot) {
                *at = None;
                out.push(Action::Close { session: *session });
            }
        }
        match &mut self.session {
            Session::None { at } if *at <= now.boot && !self.stopping => {
                let session = SessionId::new(now.wall, entropy);
                let sent_at = now.boot;
                self.session = Session::Opening { session, sent_at };
                out.push(Action::Open { session });
            }
            Session::Live { session, lease } if lease.next_renewal() <= now.boot => {
                lease.renewal_sent(now.boot);
                out.push(Action::Renew {
                    session: *session,
                    sent_at: now.boot,
                });
            }
            _ => {}
        }
    }

    fn look(&mut self, now: Now, out: &mut Vec<Action>) {
        let due = self
            .looked_at
            .is_none_or(|at| now.boot.since(at) >= self.options.poll);
        let live = matches!(self.session, Session::Live { .. });
        // A standby that is ready is known to the others at once: they may be waiting for one.
        let ready: Vec<_> = self.groups.iter().map(Group::readiness).collect();
        if self.looking || !live || !(due || self.hinted || self.told != ready) {
            return;
        }
        self.told = ready;
        (self.looking, self.hinted, self.looked_at) = (true, false, Some(now.boot));
        let node = &self.options.node;
        let report = |g: &Group| (g.name.clone(), g.report(node, now.boot));
        out.push(Action::Look {
            asked: now.boot,
            report: self.groups.iter().map(report).collect(),
        });
    }

    /// Ends the session once nothing runs under it.
    fn finish(&mut self, out: &mut Vec<Action>) {
        if !self.stopping || !self.groups.iter().all(Group::is_stopped) {
            return;
        }
        match self.session {
            Session::Live { session, .. } => {
                out.push(Action::Close { session });
                self.session = Session::Closing { session };
            }
            Session::None { .. } => {
                self.session = Session::Over;
                out.push(Action::Stopped);
            }
            // Its answer decides.
            Session::Opening { .. } | Session::Closing { .. } | Session::Over => {}
        }
    }

    fn named(
        &mut self,
        now: Now,
        entropy: &dyn Entropy,
        out: &mut Vec<Action>,
        name: &Name,
        act: impl FnOnce(&mut Group, &mut Ctx<'_>),
    ) {
        let mut act = Some(act);
        self.each(now, entropy, out, |group, ctx| {
            if group.name == *name
                && let Some(act) = act.take()
            {
                act(group, ctx);
            }
        });
    }

    fn with(
        &mut self,
        now: Now,
        entropy: &dyn Entropy,
        out: &mut Vec<Action>,
        instance: InstanceId,
        act: impl FnOnce(&mut Group, &mut Ctx<'_>),
    ) {
        let mut act = Some(act);
        self.each(now, entropy, out, |group, ctx| {
            if group.has(instance)
                && let Some(act) = act.take()
            {
                act(group, ctx);
            }
        });
    }

    fn each(
        &mut self,
        now: Now,
        entropy: &dyn Entropy,
        out: &mut Vec<Action>,
        mut act: impl FnMut(&mut Group, &mut Ctx<'_>),
    ) {
        let (session, kill_at) = match &self.session {
            Session::Live { session, lease } => {
                let deadline = lease.deadline();
                let kill_at = deadline.plus(self.options.timings.margin / 2);
                (Some((*session, deadline)), kill_at)
            }
            _ => (None, now.boot),
        };
        for group in &mut self.groups {
            let mut ctx = Ctx {
                now,
                entropy,
                node: &self.options.node,
                session,
                kill_at,
                settled: now.boot >= self.settled_at,
                stopping: self.stopping,
                view: &self.view,
                dead: &self.dead,
                up: &self.up,
                out,
            };
            act(group, &mut ctx);
        }
    }
}
