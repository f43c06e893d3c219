//! The store as the nodes meet it: what its statements do, each as one step.

use std::collections::{BTreeMap, BTreeSet};

use quayside_lease::{
    Control, Epoch, GroupSeen, NodeSeen, OwnerSeen, PLANNED_FOR, SessionSeen, Sighting,
    StandbySeen, Take, View,
};
use quayside_model::{GrantId, InstanceId, Name, SessionId};

use crate::{
    Mutation,
    world::{duration, micros},
};

/// After so long the server ends a transaction whose client does nothing.
const IDLE_TIMEOUT: i64 = 2_000_000;

#[derive(Debug, Clone)]
struct SessionRow {
    node: Name,
    seq: i64,
    lease_until: i64,
    ttl: i64,
    live: bool,
}

#[derive(Debug, Clone)]
struct InstanceRow {
    node: Name,
    session: SessionId,
    live: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct GroupRow {
    pub(crate) name: Name,
    pub(crate) epoch: Epoch,
    pub(crate) owner: Option<(InstanceId, GrantId)>,
    pub(crate) control: Control,
    offered: Option<(Name, i64)>,
    /// When its end was planned.
    planned: Option<i64>,
    pub(crate) moves: Vec<i64>,
    pub(crate) failed: Option<i64>,
    standbys: BTreeMap<Name, StandbySeen>,
    /// Messages are sent in order: so many are.
    pub(crate) sent: u64,
    /// The message behind the sent ones, if its sending was announced, and by whom.
    pub(crate) sending: Option<Epoch>,
    /// Messages that were announced by one epoch and met so by another.
    pub(crate) in_doubt: BTreeSet<u64>,
}

/// A statement of work, by a process under a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) group: usize,
    pub(crate) instance: InstanceId,
    pub(crate) epoch: Epoch,
    pub(crate) grant: GrantId,
    /// `None`: announces the next message. Else marks this one as sent.
    pub(crate) mark: Option<u64>,
}

/// What came of a statement of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worked {
    /// Done, for this message.
    Done(u64),
    Fenced,
}

/// A transaction that has its locks and waits for its client.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    pub(crate) id: u64,
    pub(crate) work: Work,
    until: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub(crate) timeline: u32,
    /// How far its clock has stepped.
    pub(crate) step: i64,
    sessions: BTreeMap<SessionId, SessionRow>,
    instances: BTreeMap<InstanceId, InstanceRow>,
    pub(crate) groups: Vec<GroupRow>,
    pub(crate) drained: BTreeSet<Name>,
    nodes: Vec<Name>,
    lost: Vec<(Name, i64)>,
    pub(crate) open: Vec<Open>,
    pub(crate) mutation: Option<Mutation>,
}

impl Store {
    pub(crate) fn new(nodes: &[Name], groups: &[Name], mutation: Option<Mutation>) -> Self {
        let row = |name: &Name| GroupRow {
            name: name.clone(),
            epoch: Epoch::new(0),
            owner: None,
            control: Control::default(),
            offered: None,
            planned: None,
            moves: Vec::new(),
            failed: None,
            standbys: BTreeMap::new(),
            sent: 0,
            sending: None,
            in_doubt: BTreeSet::new(),
        };
        Self {
            timeline: 1,
            step: 0,
            sessions: BTreeMap::new(),
            instances: BTreeMap::new(),
            groups: groups.iter().map(row).collect(),
            drained: BTreeSet::new(),
            nodes: nodes.to_vec(),
            lost: Vec::new(),
            open: Vec::new(),
            mutation,
        }
    }

    fn group(&mut self, name: &Name) -> &mut GroupRow {
        let found = self.groups.iter_mut().find(|g| g.name == *name);
        found.expect("a known group")
    }

    pub(crate) fn is_live(&self, instance: InstanceId) -> bool {
        let row = self.instances.get(&instance).filter(|row| row.live);
        row.is_some_and(|row| self.sessions.get(&row.session).is_some_and(|s| s.live))
    }

    pub(crate) fn node_of(&self, instance: InstanceId) -> Option<&Name> {
        self.instances.get(&instance).map(|row| &row.node)
    }

    pub(crate) fn open_session(&mut self, now: i64, session: SessionId, node: &Name, ttl: i64) {
        self.sessions.entry(session).or_insert(SessionRow {
            node: node.clone(),
            seq: 0,
            lease_until: now + self.step + ttl,
            ttl,
            live: true,
        });
    }

    pub(crate) fn renew(&mut self, now: i64, session: SessionId) -> bool {
        let step = self.step;
        let found = self.sessions.get_mut(&session).filter(|s| s.live);
        found.is_some_and(|row| {
            (row.seq, row.lease_until) = (row.seq + 1, now + step + row.ttl);
            true
        })
    }

    pub(crate) fn expire(&mut self, now: i64, session: SessionId, seq: i64) -> bool {
        let step = self.step;
        let found = self.sessions.get_mut(&session).filter(|s| s.live);
        let fits = |s: &&mut SessionRow| s.seq == seq && s.lease_until < now + step;
        let Some(row) = found.filter(fits) else {
            return false;
        };
        row.live = false;
        let node = row.node.clone();
        self.lost.push((node, now));
        true
    }

    pub(crate) fn close(&mut self, session: SessionId) {
        if let Some(row) = self.sessions.get_mut(&session) {
            row.live = false;
        }
    }

    pub(crate) fn register(&mut self, instance: InstanceId, session: SessionId) -> bool {
        let Some(row) = self.sessions.get(&session).filter(|s| s.live) else {
            return false;
        };
        let node = row.node.clone();
        let row = InstanceRow {
            node,
            session,
            live: true,
        };
        self.instances.entry(instance).or_insert(row);
        true
    }

    /// `false`: an open transaction holds the row.
    pub(crate) fn end(&mut self, instance: InstanceId) -> bool {
        if self.open.iter().any(|o| o.work.instance == instance) {
            return false;
        }
        if let Some(row) = self.instances.get_mut(&instance) {
            row.live = false;
        }
        true
    }

    pub(crate) fn take(
        &mut self,
        now: i64,
        group: &Name,
        (instance, grant): (InstanceId, GrantId),
        counted: bool,
    ) -> Take {
        if !self.is_live(instance) {
            return Take::Refused;
        }
        let place = self.groups.iter().position(|g| g.name == *group);
        let place = place.expect("a known group");
        let owner = self.groups[place].owner;
        if owner == Some((instance, grant)) {
            return Take::Taken(self.groups[place].epoch);
        }
        if owner.is_some_and(|(owner, _)| self.is_live(owner)) {
            return Take::Held;
        }
        let locks = self.mutation != Some(Mutation::FenceWithoutLock);
        if locks && self.open.iter().any(|o| o.work.group == place) {
            return Take::Locked;
        }
        let timeline = match self.mutation {
            Some(Mutation::NoTimeline) => 0,
            _ => self.timeline,
        };
        let row = &mut self.groups[place];
        row.epoch = row.epoch.next(timeline);
        row.owner = Some((instance, grant));
        let soon = i64::try_from(PLANNED_FOR.as_micros()).expect("a minute");
        let planned = row.planned.take().is_some_and(|at| now - at < soon);
        if counted && !planned {
            row.moves.push(now);
        }
        Take::Taken(row.epoch)
    }

    /// `false`: an open transaction holds the row.
    pub(crate) fn release(&mut self, group: &Name, grant: GrantId) -> bool {
        let place = self.groups.iter().position(|g| g.name == *group);
        let place = place.expect("a known group");
        if self.groups[place].owner.is_some_and(|(_, g)| g == grant) {
            if self.open.iter().any(|o| o.work.group == place) {
                return false;
            }
            self.groups[place].owner = None;
        }
        true
    }

    pub(crate) fn offer(&mut self, now: i64, group: &Name, to: Name, counted: bool) {
        let row = self.group(group);
        row.offered = Some((to, now));
        if counted {
            row.moves.push(now);
        }
    }

    /// What follows soon is no fault.
    pub(crate) fn plan(&mut self, now: i64, group: &Name, planned: bool) {
        if planned {
            self.group(group).planned = Some(now);
        }
    }

    pub(crate) fn fail(&mut self, group: &Name, failed: Option<i64>) {
        self.group(group).failed = failed;
    }

    pub(crate) fn answer_order(&mut self, group: &Name, no: u64) {
        let control = &mut self.group(group).control;
        if control.order.as_ref().is_some_and(|order| order.no == no) {
            control.order = None;
        }
    }

    pub(crate) fn break_locks(&mut self, instance: InstanceId) {
        self.open.retain(|o| o.work.instance != instance);
    }

    /// Whether the fence lets `work` through at this moment.
    pub(crate) fn passes(&self, work: Work) -> bool {
        if self.mutation == Some(Mutation::FenceIgnored) {
            return true;
        }
        let row = &self.groups[work.group];
        row.epoch == work.epoch
            && row.owner == Some((work.instance, work.grant))
            && self.is_live(work.instance)
    }

    /// Begins a transaction whose client pauses.
    pub(crate) fn begin(&mut self, now: i64, id: u64, work: Work) {
        let until = now + IDLE_TIMEOUT;
        self.open.push(Open { id, work, until });
    }

    /// The client of transaction `id` goes on: its work, if the server still has it.
    pub(crate) fn resume(&mut self, now: i64, id: u64) -> Option<Work> {
        self.drop_idle(now);
        let place = self.open.iter().position(|o| o.id == id)?;
        Some(self.open.remove(place).work)
    }

    pub(crate) fn drop_idle(&mut self, now: i64) {
        if self.mutation != Some(Mutation::FenceWithoutLock) {
            self.open.retain(|o| now < o.until);
        }
    }

    /// Does what `work` says, fence or not.
    pub(crate) fn apply(&mut self, work: Work) -> u64 {
        let row = &mut self.groups[work.group];
        match work.mark {
            Some(no) => {
                if row.sent == no && row.sending.is_some() {
                    (row.sent, row.sending) = (no + 1, None);
                }
                no
            }
            None => {
                if row.sending.is_some() {
                    row.in_doubt.insert(row.sent);
                }
                row.sending = Some(work.epoch);
                row.sent
            }
        }
    }

    pub(crate) fn report(&mut self, report: &[(Name, StandbySeen)]) {
        for (group, standby) in report {
            let standbys = &mut self.group(group).standbys;
            standbys.insert(standby.node.clone(), standby.clone());
        }
    }

    pub(crate) fn view(&self, now: i64) -> View {
        let sessions = self.sessions.iter().filter(|(_, row)| row.live);
        let sessions = sessions.map(|(id, row)| SessionSeen {
            node: row.node.clone(),
            sighting: Sighting {
                session: *id,
                seq: row.seq,
                ttl: duration(row.ttl),
                overdue: row.lease_until < now + self.step,
            },
        });
        let age = |at: i64| duration(now - at);
        let nodes = self.nodes.iter().map(|node| NodeSeen {
            node: node.clone(),
            drained: self.drained.contains(node),
            lost: self
                .lost
                .iter()
                .filter(|(n, _)| n == node)
                .map(|(_, at)| age(*at))
                .collect(),
        });
        let groups = self.groups.iter().map(|row| GroupSeen {
            group: row.name.clone(),
            epoch: row.epoch,
            owner: row
                .owner
                .map(|(instance, grant)| self.owner(instance, grant)),
            offered: row.offered.clone().map(|(to, at)| (to, age(at))),
            control: row.control.clone(),
            moves: row.moves.iter().map(|at| age(*at)).collect(),
            failed: row.failed.map(age),
            standbys: row.standbys.values().cloned().collect(),
        });
        View {
            sessions: sessions.collect(),
            nodes: nodes.collect(),
            groups: groups.collect(),
        }
    }

    fn owner(&self, instance: InstanceId, grant: GrantId) -> OwnerSeen {
        let row = &self.instances[&instance];
        OwnerSeen {
            node: row.node.clone(),
            instance,
            session: row.session,
            grant,
            live: self.is_live(instance),
        }
    }

    /// An operator forgives everything.
    pub(crate) fn clear(&mut self) {
        self.lost.clear();
        self.drained.clear();
        for row in &mut self.groups {
            row.control = Control {
                clears: row.control.clears + 1,
                ..Control::default()
            };
            row.moves.clear();
            row.failed = None;
        }
    }

    pub(crate) fn ttl(timings: &quayside_lease::Timings) -> i64 {
        micros(timings.ttl)
    }
}
