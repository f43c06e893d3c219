//! What processes do, and the invariants that are looked at meanwhile.

use quayside_lease::{AdapterHealth, Epoch, Event, Exit, State};
use quayside_model::Name;

use crate::{
    Kind, Mutation,
    network::Request,
    process::Stage,
    store::{Work, Worked},
    world::{BEAT, WORK, What, World},
};

impl World {
    pub(crate) fn beat(&mut self, no: usize) {
        let process = &self.processes[no];
        if !process.alive {
            return;
        }
        let node = &self.nodes[process.node];
        let adapter = AdapterHealth {
            name: Name::new("broker").expect("a name"),
            healthy: self.now >= node.adapter_down_until,
        };
        let (instance, place) = (process.instance, process.node);
        if self.now < node.crashes_until {
            return self.end_process(instance, Exit::Code(70));
        }
        let beat = process.beat(self.now, adapter);
        let event = Event::Beat { instance, beat };
        let generation = node.generation;
        self.after(BEAT, What::Beat(no));
        self.after(200, What::ToAgent(place, generation, event));
    }

    pub(crate) fn work(&mut self, no: usize) {
        let process = &self.processes[no];
        if !process.alive {
            return;
        }
        self.after(WORK, What::Work(no));
        let process = &self.processes[no];
        let (node, instance) = (process.node, process.instance);
        let may_act = process.may_act(self.clock(node)) || self.mutation == Some(Mutation::NoGate);
        let Some(grant) = process.grant else { return };
        let mark = match process.stage {
            Stage::Idle if process.draining => {
                let generation = self.nodes[node].generation;
                self.processes[no].grant = None;
                let event = Event::Drained { instance };
                return self.after(200, What::ToAgent(node, generation, event));
            }
            Stage::Idle if may_act => None,
            Stage::Marking(message) => Some(message),
            _ => return,
        };
        let work = Work {
            group: process.group,
            instance,
            epoch: grant.epoch,
            grant: grant.id,
            mark,
        };
        if mark.is_none() {
            self.processes[no].stage = Stage::Announcing;
        }
        self.ask(node, Request::Work { process: no, work });
    }

    pub(crate) fn worked(&mut self, no: usize, work: Work, worked: Worked) {
        let process = &mut self.processes[no];
        if !process.alive {
            return;
        }
        match (worked, process.stage) {
            (Worked::Done(message), Stage::Announcing) if work.mark.is_none() => {
                process.stage = Stage::Announced(message);
                let wait = self.below(30_000);
                self.after(wait, What::Effect(no, message));
            }
            (Worked::Done(_), Stage::Marking(message)) if work.mark == Some(message) => {
                process.stage = Stage::Idle;
            }
            (Worked::Fenced, _) => {
                let instance = process.instance;
                self.end_process(instance, Exit::Code(20));
            }
            (Worked::Done(_), _) => {}
        }
    }

    /// The message goes out, if the process may act in this very moment.
    pub(crate) fn effect(&mut self, no: usize, message: u64) {
        let process = &self.processes[no];
        let (node, group) = (process.node, process.group);
        let may_act = process.may_act(self.clock(node)) || self.mutation == Some(Mutation::NoGate);
        let (true, Stage::Announced(_), Some(grant)) =
            (process.alive, process.stage, process.grant)
        else {
            return;
        };
        if !may_act {
            // It gives it up, or keeps it in hand until it may act again: then the effect is of the epoch by which
            // it was announced, however much later.
            if self.below(2) == 0 {
                self.processes[no].stage = Stage::Idle;
            } else {
                let wait = self.below(300_000);
                self.after(wait, What::Effect(no, message));
            }
            return;
        }
        self.processes[no].stage = Stage::Marking(message);
        self.outcome.effects += 1;
        let (highest, sent) = &mut self.effected[group];
        let (before, count) = (*highest, sent.entry(message).or_insert(0));
        *count += 1;
        let repeated = *count > 1;
        *highest = before.max(grant.epoch);
        if grant.epoch < before {
            let detail = format!("{} after {before}, message {message}", grant.epoch);
            self.violate("no effect after a later epoch's first", detail);
        }
        let listed = self.store.groups[group].in_doubt.contains(&message);
        if repeated && !listed && self.kind != Kind::Lossy {
            self.violate(
                "every repeat is listed in doubt",
                format!("message {message}"),
            );
        }
    }

    /// Never two owners: whoever may act holds the epoch that the store gave last.
    pub(crate) fn check_owners(&mut self) {
        let mut acting: Vec<(usize, Epoch)> = Vec::new();
        let mut fault = None;
        for process in self.processes.iter().filter(|p| p.alive) {
            let Some(grant) = process.grant else { continue };
            if !process.may_act(self.clock(process.node)) {
                continue;
            }
            let row = &self.store.groups[process.group];
            let owns = row.owner == Some((process.instance, grant.id)) && row.epoch == grant.epoch;
            // A failover that forgets may forget the newest owner, who acts on until it hears of it.
            let owns = owns || self.kind == Kind::Lossy;
            if !owns || acting.iter().any(|(group, _)| *group == process.group) {
                let live = self.store.is_live(process.instance);
                fault = Some(format!(
                    "{} acts under {} (live in the store: {live}) beside {acting:?}; the store says {} of {:?}",
                    self.nodes[process.node].name,
                    grant.epoch,
                    row.epoch,
                    row.owner.and_then(|(owner, _)| self.store.node_of(owner)),
                ));
            }
            acting.push((process.group, grant.epoch));
        }
        if let Some(detail) = fault {
            self.violate("never two owners", detail);
        }
    }

    /// Everything is healed since a while: every group is online and goes on.
    pub(crate) fn check_end(&mut self) {
        for place in 0..self.store.groups.len() {
            let name = self.store.groups[place].name.clone();
            let mut states = Vec::new();
            for no in 0..self.nodes.len() {
                let now = self.shown(no);
                let status = self.nodes[no].agent.as_ref().map(|agent| agent.status(now));
                let status = status.into_iter().flatten().find(|s| s.group == name);
                states.extend(status.map(|s| (no, s.state, s.placement)));
            }
            let online = states
                .iter()
                .filter(|(_, state, _)| *state == State::Online);
            if online.count() != 1 {
                self.violate(
                    "back online once all is healed",
                    format!("{name}: {states:?}"),
                );
            }
            if self.store.groups[place].sent < 20 {
                let sent = self.store.groups[place].sent;
                self.violate("work goes on", format!("{name}: {sent} messages"));
            }
        }
    }
}
