//! What goes wrong, and what operators do meanwhile.

use quayside_lease::{Event, Exit, MoveOrder};

use crate::{
    Kind, Mutation,
    world::{What, World},
};

impl World {
    /// One fault now, the next one after a while.
    pub(crate) fn fault(&mut self) {
        if self.healed {
            return;
        }
        let quiet = self.kind == Kind::Quiet;
        let least = if quiet { 2_000_000 } else { 300_000 };
        let again = least + self.below(3_000_000);
        self.after(again, What::Fault);
        self.outcome.faults += 1;
        if self.kind == Kind::Quiet {
            return self.disturb();
        }
        let no = self.below(self.nodes.len() as i64) as usize;
        let long = self.now + 100_000 + self.below(6_000_000);
        let forgets = self.kind == Kind::Lossy && self.chance(4);
        let which = if forgets { 14 } else { self.below(24) };
        self.note(|| format!("fault {which} at node-{no} until {:.3}", long as f64 / 1e6));
        match which {
            0 => self.crash_node(no),
            1 | 2 => self.nodes[no].paused_until = long,
            3 => self.crash_agent(no),
            4 => self.nodes[no].agent_paused_until = long,
            5 | 6 => self.hit_process(no, None),
            7 | 8 => self.hit_process(no, Some(long)),
            9 => self.nodes[no].mute_until = long,
            10 => self.nodes[no].deaf_until = long,
            11 => {
                self.nodes[no].mute_until = long;
                self.nodes[no].deaf_until = long;
            }
            12 => self.store_slow_until = long,
            13 => self.store_down_until = long,
            14 => self.fail_over(),
            15 => self.store.step += self.below(20_000_000) - 10_000_000,
            16 => self.nodes[no].wall += self.below(7_200_000_000) - 3_600_000_000,
            17 | 18 => self.order_move(no),
            19 => self.drain(no),
            20 => self.step(no, Event::Shutdown),
            21 => self.nodes[no].adapter_down_until = long,
            22 => self.nodes[no].crashes_until = self.now + self.below(1_000_000),
            _ => self.control(no),
        }
    }

    /// What a healthy cluster has to bear without a move.
    fn disturb(&mut self) {
        match self.below(4) {
            0 => self.store_slow_until = self.now + self.below(1_000_000),
            1 => self.store_down_until = self.now + self.below(900_000),
            2 => self.store.step += self.below(20_000_000) - 10_000_000,
            _ => {
                // The broker is down for all.
                let until = self.now + self.below(4_000_000);
                self.nodes
                    .iter_mut()
                    .for_each(|n| n.adapter_down_until = until);
            }
        }
    }

    fn crash_node(&mut self, no: usize) {
        self.crash(no, 500_000 + self.below(4_000_000));
    }

    fn crash_agent(&mut self, no: usize) {
        self.crash(no, 100_000);
    }

    fn crash(&mut self, no: usize, back_in: i64) {
        if self.nodes[no].agent.is_none() {
            return;
        }
        self.stop(no);
        // The next run may know the session of this one, or not.
        let previous = self.nodes[no].session;
        let sure = self.chance(2) || self.mutation == Some(Mutation::ProcessesOutliveAgent);
        self.after(back_in, What::Start(no, previous.filter(|_| sure)));
    }

    fn hit_process(&mut self, no: usize, paused_until: Option<i64>) {
        let mut alive: Vec<usize> = Vec::new();
        for (place, process) in self.processes.iter().enumerate() {
            let active = process.grant.is_some();
            if process.alive && process.node == no {
                alive.push(place);
            } else if process.alive && active {
                // The active one is hit more often than its share.
                alive.push(place);
            }
        }
        if alive.is_empty() {
            return;
        }
        let place = alive[self.below(alive.len() as i64) as usize];
        match paused_until {
            Some(until) => self.processes[place].paused_until = until,
            None => {
                let instance = self.processes[place].instance;
                let exits = [
                    Exit::Signal(9),
                    Exit::Code(70),
                    Exit::Code(31),
                    Exit::Code(0),
                ];
                let exit = exits[self.below(4) as usize];
                self.end_process(instance, exit);
            }
        }
    }

    /// A standby of the store takes over; one that lags if the store is asynchronous.
    fn fail_over(&mut self) {
        let timeline = self.store.timeline + 1;
        let step = self.store.step;
        if self.kind == Kind::Lossy {
            self.store = self.standby.clone();
        }
        self.store.open.clear();
        (self.store.timeline, self.store.step) = (timeline, step);
        self.store_down_until = self.now + self.below(1_000_000);
        if self.kind == Kind::Lossy && self.chance(2) {
            let no = self.below(self.nodes.len() as i64) as usize;
            let until = self.store_down_until + self.below(3_000_000);
            (self.nodes[no].mute_until, self.nodes[no].deaf_until) = (until, until);
        }
    }

    /// What the lagging standby knows from now on.
    pub(crate) fn replicate(&mut self) {
        self.standby = self.store.clone();
        self.after(1_000_000, What::Replicate);
    }

    fn order_move(&mut self, no: usize) {
        let group = self.below(self.store.groups.len() as i64) as usize;
        let to = (!self.chance(3)).then(|| self.nodes[no].name.clone());
        let control = &mut self.store.groups[group].control;
        let order = MoveOrder {
            no: u64::try_from(self.now).expect("time goes on"),
            to,
            at: None,
        };
        control.order = Some(order);
    }

    fn drain(&mut self, no: usize) {
        let name = self.nodes[no].name.clone();
        if !self.store.drained.remove(&name) {
            self.store.drained.insert(name);
        }
    }

    fn control(&mut self, no: usize) {
        let which = self.below(4);
        let name = self.nodes[no].name.clone();
        let group = self.below(self.store.groups.len() as i64) as usize;
        let control = &mut self.store.groups[group].control;
        match which {
            0 => control.paused = !control.paused,
            1 => control.online = !control.online,
            2 => control.pinned = control.pinned.is_none().then_some(name),
            _ => control.clears += 1,
        }
    }

    /// All faults end.
    pub(crate) fn heal(&mut self) {
        self.note(|| "healed".to_owned());
        self.healed = true;
        (self.store_down_until, self.store_slow_until) = (0, 0);
        self.store.clear();
        for no in 0..self.nodes.len() {
            let node = &mut self.nodes[no];
            (node.deaf_until, node.mute_until) = (0, 0);
            (node.adapter_down_until, node.crashes_until) = (0, 0);
        }
    }
}
