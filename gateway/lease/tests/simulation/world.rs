//! Nodes, their processes, the network and the store, in true time.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use quayside_lease::{
    Action, Agent, Epoch, Event, Exit, Incarnation, Limits, Now, OnDeath, Options, Policy,
    Replication, Timings, Transition,
};
use quayside_model::{Entropy, InstanceId, Monotonic, Name, SeededEntropy, SessionId, Timestamp};

use crate::{
    Kind, Mutation,
    network::{Answer, Flight, Request},
    process::Process,
    store::Store,
};

/// How often a process reports and works.
pub(crate) const BEAT: i64 = 200_000;
pub(crate) const WORK: i64 = 100_000;

pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).expect("durations are short")
}

pub(crate) fn duration(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// A named invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) name: &'static str,
    pub(crate) detail: String,
}

/// What one schedule came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) violation: Option<Violation>,
    pub(crate) takes: u64,
    pub(crate) effects: u64,
    pub(crate) in_doubt: u64,
    pub(crate) expired: u64,
    pub(crate) faults: u64,
    pub(crate) steps: u64,
    pub(crate) log: Vec<String>,
}

pub(crate) struct Node {
    pub(crate) name: Name,
    /// Parts per thousand by which its clock is fast, and what it shows at the start.
    pub(crate) fast: i64,
    pub(crate) offset: i64,
    /// How far its wall clock is off.
    pub(crate) wall: i64,
    pub(crate) agent: Option<Agent>,
    /// Tells the agent that asked from the one that runs.
    pub(crate) generation: u32,
    pub(crate) session: Option<SessionId>,
    pub(crate) paused_until: i64,
    /// The agent alone is paused until then; its processes go on.
    pub(crate) agent_paused_until: i64,
    /// Messages to and from the store are lost until then.
    pub(crate) deaf_until: i64,
    pub(crate) mute_until: i64,
    pub(crate) adapter_down_until: i64,
    /// Every process that starts here ends at once, until then.
    pub(crate) crashes_until: i64,
    pub(crate) connected: Option<Incarnation>,
    pub(crate) connecting: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    Wake(usize, u32),
    Connect(usize),
    Arrive(u64, usize, Request),
    Answered(u64, Answer),
    TimedOut(u64),
    ToAgent(usize, u32, Event),
    Beat(usize),
    Work(usize),
    Effect(usize, u64),
    /// The paused client of a transaction goes on.
    Resume(u64, usize),
    Start(usize, Option<SessionId>),
    Killed(InstanceId, Exit),
    Fault,
    Heal,
    /// An asynchronous standby of the store has caught up.
    Replicate,
}

pub(crate) struct World {
    pub(crate) kind: Kind,
    pub(crate) mutation: Option<Mutation>,
    pub(crate) entropy: SeededEntropy,
    pub(crate) timings: Timings,
    pub(crate) now: i64,
    pub(crate) queue: BTreeMap<(i64, u64), What>,
    pub(crate) no: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) processes: Vec<Process>,
    pub(crate) flights: HashMap<u64, Flight>,
    pub(crate) store: Store,
    pub(crate) store_down_until: i64,
    pub(crate) store_slow_until: i64,
    /// What an asynchronous standby would know.
    pub(crate) standby: Store,
    pub(crate) replication: Replication,
    pub(crate) highest: Epoch,
    pub(crate) effected: Vec<(Epoch, HashMap<u64, u32>)>,
    pub(crate) healed: bool,
    /// Whether it keeps a log.
    pub(crate) tells: bool,
    pub(crate) outcome: Outcome,
}

impl World {
    pub(crate) fn new(seed: u64, kind: Kind, mutation: Option<Mutation>, tells: bool) -> Self {
        let entropy = SeededEntropy::new(seed);
        let small = [2, 3, 2, 3, 4, 3, 2, 5];
        let count = if seed.is_multiple_of(50) {
            7
        } else {
            small[below(&entropy, 8) as usize]
        };
        let timings = [Timings::LAN, Timings::FAST][below(&entropy, 2) as usize];
        let name = |text: String| Name::new(text).expect("a name");
        let names: Vec<Name> = (0..count).map(|no| name(format!("node-{no}"))).collect();
        let groups: Vec<Name> = (0..1 + below(&entropy, 2))
            .map(|no| name(format!("group-{no}")))
            .collect();
        let store = Store::new(&names, &groups, mutation);
        let lossy = kind == Kind::Lossy && mutation != Some(Mutation::NoSettling);
        let node = |name: &Name| Node {
            name: name.clone(),
            fast: below(&entropy, 60) - 30,
            offset: below(&entropy, 1_000_000_000),
            wall: 0,
            agent: None,
            generation: 0,
            session: None,
            paused_until: 0,
            agent_paused_until: 0,
            deaf_until: 0,
            mute_until: 0,
            adapter_down_until: 0,
            crashes_until: 0,
            connected: None,
            connecting: false,
        };
        let nodes: Vec<Node> = names.iter().map(node).collect();
        let mut world = Self {
            kind,
            mutation,
            timings,
            now: 0,
            queue: BTreeMap::new(),
            no: 0,
            nodes,
            processes: Vec::new(),
            flights: HashMap::new(),
            standby: store.clone(),
            store,
            store_down_until: 0,
            store_slow_until: 0,
            replication: if lossy {
                Replication::Lossy
            } else {
                Replication::Synchronous
            },
            highest: Epoch::new(-1),
            effected: groups
                .iter()
                .map(|_| (Epoch::new(-1), HashMap::new()))
                .collect(),
            healed: false,
            tells,
            outcome: Outcome::default(),
            entropy,
        };
        for node in 0..world.nodes.len() {
            let at = world.below(400_000);
            world.at(at, What::Start(node, None));
        }
        world.at(3_000_000, What::Fault);
        world.at(kind.heals_at(), What::Heal);
        if kind == Kind::Lossy {
            world.at(0, What::Replicate);
        }
        world
    }

    pub(crate) fn below(&self, bound: i64) -> i64 {
        below(&self.entropy, bound)
    }

    pub(crate) fn chance(&self, one_in: i64) -> bool {
        self.below(one_in) == 0
    }

    pub(crate) fn at(&mut self, time: i64, what: What) {
        self.no += 1;
        self.queue.insert((time.max(self.now), self.no), what);
    }

    pub(crate) fn after(&mut self, delay: i64, what: What) {
        self.at(self.now + delay, what);
    }

    pub(crate) fn clock(&self, node: usize) -> Monotonic {
        let node = &self.nodes[node];
        Monotonic::from_boot(duration(
            node.offset + self.now + self.now * node.fast / 1000,
        ))
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if self.tells {
            let text = format!("{:>9.3} {}", self.now as f64 / 1e6, text());
            self.outcome.log.push(text);
        }
    }

    pub(crate) fn violate(&mut self, name: &'static str, detail: String) {
        self.outcome
            .violation
            .get_or_insert(Violation { name, detail });
    }

    /// Runs to the end, or to the first violation.
    pub(crate) fn run(mut self) -> Outcome {
        while let Some(((now, _), what)) = self.queue.pop_first() {
            if now > self.kind.ends_at() || self.outcome.violation.is_some() {
                break;
            }
            self.now = now;
            if let Some(until) = self.frozen_until(&what) {
                self.at(until, what);
                continue;
            }
            self.outcome.steps += 1;
            self.happen(what);
            self.check_owners();
        }
        if self.outcome.violation.is_none() {
            self.check_end();
        }
        let groups = &self.store.groups;
        self.outcome.in_doubt = groups.iter().map(|g| g.in_doubt.len() as u64).sum();
        self.outcome
    }

    /// A paused node or process does nothing until it goes on; what reaches it waits.
    pub(crate) fn frozen_until(&self, what: &What) -> Option<i64> {
        let later = |until: i64| (until > self.now).then_some(until);
        let process = |no: usize| {
            let process = &self.processes[no];
            later(
                process
                    .paused_until
                    .max(self.nodes[process.node].paused_until),
            )
        };
        match what {
            What::Wake(node, _) | What::ToAgent(node, ..) | What::Connect(node) => {
                let node = &self.nodes[*node];
                later(node.paused_until.max(node.agent_paused_until))
            }
            What::Beat(no) | What::Work(no) | What::Effect(no, _) | What::Resume(_, no) => {
                process(*no)
            }
            What::Answered(id, _) | What::TimedOut(id) => match &self.flights.get(id)?.request {
                Request::Work { process: no, .. } => process(*no),
                Request::Agent(_) => {
                    let node = &self.nodes[self.flights[id].node];
                    later(node.paused_until.max(node.agent_paused_until))
                }
            },
            _ => None,
        }
    }

    pub(crate) fn happen(&mut self, what: What) {
        match what {
            What::Start(node, previous) => self.start(node, previous),
            What::Wake(node, generation) => {
                if self.nodes[node].generation == generation {
                    self.step(node, Event::Tick);
                    self.schedule_wake(node);
                }
            }
            What::Connect(node) => self.connect(node),
            What::Arrive(id, node, request) => self.arrive(id, node, request),
            What::Answered(id, answer) => {
                if let Some(flight) = self.flights.remove(&id) {
                    self.answered(&flight, answer);
                }
            }
            What::TimedOut(id) => {
                if let Some(flight) = self.flights.remove(&id) {
                    self.unanswered(&flight);
                }
            }
            What::ToAgent(node, generation, event) => {
                if self.nodes[node].generation == generation {
                    self.step(node, event);
                }
            }
            What::Beat(no) => self.beat(no),
            What::Work(no) => self.work(no),
            What::Effect(no, message) => self.effect(no, message),
            What::Resume(id, no) => {
                let work = self.store.resume(self.now, id);
                if let Some(work) = work.filter(|_| self.processes[no].alive) {
                    let worked = self.commit(work);
                    self.worked(no, work, worked);
                }
            }
            What::Killed(instance, exit) => self.end_process(instance, exit),
            What::Fault => self.fault(),
            What::Heal => self.heal(),
            What::Replicate => self.replicate(),
        }
    }

    pub(crate) fn start(&mut self, no: usize, previous: Option<SessionId>) {
        if self.nodes[no].agent.is_some() {
            return;
        }
        let names: Vec<Name> = self.nodes.iter().map(|n| n.name.clone()).collect();
        let limits = Limits {
            moves: quayside_lease::Limit {
                times: 6,
                within: Duration::from_secs(20),
            },
            retry_failed: Duration::from_secs(4),
            drain_within: Duration::from_secs(2),
            online_within: Duration::from_secs(2),
            adapter_patience: Duration::from_secs(1),
            failback_stable: Duration::from_secs(3),
            ..Limits::default()
        };
        let policy = |place: usize| Policy {
            preferred: vec![names[place % names.len()].clone()],
            limits: limits.clone(),
            spare: place == 1,
            on_death: [OnDeath::Warm, OnDeath::InPlace][place % 2],
            ..Policy::new(names.clone())
        };
        let groups = self.store.groups.iter().enumerate();
        let options = Options {
            node: self.nodes[no].name.clone(),
            timings: self.timings,
            poll: Duration::from_millis(250),
            replication: self.replication,
            groups: groups
                .map(|(place, g)| (g.name.clone(), policy(place)))
                .collect(),
        };
        let now = self.shown(no);
        let node = &mut self.nodes[no];
        node.agent = Some(Agent::new(options, now, previous));
        (node.connected, node.connecting) = (None, true);
        self.after(5_000, What::Connect(no));
        self.schedule_wake(no);
    }

    /// The agent is gone, and with it every process of the node.
    pub(crate) fn stop(&mut self, no: usize) {
        self.nodes[no].agent = None;
        self.nodes[no].generation += 1;
        if self.mutation == Some(Mutation::ProcessesOutliveAgent) {
            return;
        }
        for process in self.processes.iter_mut().filter(|p| p.node == no) {
            process.alive = false;
        }
    }

    pub(crate) fn shown(&self, node: usize) -> Now {
        Now {
            boot: self.clock(node),
            wall: Timestamp::from_micros(self.now + self.nodes[node].wall),
        }
    }

    pub(crate) fn schedule_wake(&mut self, no: usize) {
        let clock = self.clock(no);
        let node = &self.nodes[no];
        if let Some(agent) = &node.agent {
            let wait = micros(agent.next_wake().since(clock)).max(1_000);
            self.after(wait, What::Wake(no, node.generation));
        }
    }

    pub(crate) fn step(&mut self, no: usize, event: Event) {
        let now = self.shown(no);
        let Some(mut agent) = self.nodes[no].agent.take() else {
            return;
        };
        let actions = agent.step(now, &self.entropy, event);
        self.nodes[no].session = agent.session().or(self.nodes[no].session);
        self.nodes[no].agent = Some(agent);
        for action in actions {
            self.act(no, action);
        }
    }

    pub(crate) fn act(&mut self, no: usize, action: Action) {
        match action {
            Action::Record(transition) => self.recorded(no, &transition),
            Action::Disconnect => self.nodes[no].connected = None,
            Action::Stopped => {
                self.stop(no);
                let wait = 200_000 + self.below(2_000_000);
                self.after(wait, What::Start(no, None));
            }
            Action::Spawn {
                ref group,
                instance,
                ..
            } => {
                let place = self.store.groups.iter().position(|g| g.name == *group);
                let process = Process::new(no, place.expect("a known group"), instance);
                self.processes.push(process);
                self.ask(no, Request::Agent(action));
            }
            Action::Kill { instance, .. } => {
                let killed = What::Killed(instance, Exit::Signal(9));
                let late = self.mutation == Some(Mutation::DrainedTooEarly);
                self.after(if late { 500_000 } else { 0 }, killed);
            }
            Action::Grant { instance, grant } => {
                if let Some(process) = self.process_mut(instance) {
                    process.grant = Some(grant);
                    process.deadline = grant.deadline;
                }
            }
            Action::Extend { instance, deadline } => {
                if let Some(process) = self.process_mut(instance) {
                    process.deadline = deadline;
                }
            }
            Action::Shut { instance } => {
                let ignored = self.mutation == Some(Mutation::DrainedTooEarly);
                if let Some(process) = self.process_mut(instance).filter(|_| !ignored) {
                    process.deadline = Monotonic::from_boot(Duration::ZERO);
                }
            }
            Action::Drain { instance, .. } => {
                let early = self.mutation == Some(Mutation::DrainedTooEarly);
                if let Some(process) = self.process_mut(instance) {
                    process.draining = !early;
                }
                if early {
                    let generation = self.nodes[no].generation;
                    let drained = Event::Drained { instance };
                    self.after(1_000, What::ToAgent(no, generation, drained));
                }
            }
            asked => self.ask(no, Request::Agent(asked)),
        }
    }

    pub(crate) fn recorded(&mut self, no: usize, transition: &Transition) {
        let t = transition;
        let what = format!(
            "{} {} {} -> {}: {}",
            self.nodes[no].name,
            t.group,
            t.from.as_str(),
            t.to.as_str(),
            t.cause.as_str()
        );
        if t.from == t.to {
            self.violate("every transition changes something", what.clone());
        }
        self.note(|| what);
    }

    pub(crate) fn process_mut(&mut self, instance: InstanceId) -> Option<&mut Process> {
        let found = self
            .processes
            .iter_mut()
            .rev()
            .find(|p| p.instance == instance);
        found.filter(|p| p.alive)
    }

    /// A process has ended, and its agent is told.
    pub(crate) fn end_process(&mut self, instance: InstanceId, exit: Exit) {
        let survives = self.mutation == Some(Mutation::DeadBeforeKilled);
        let Some(process) = self.process_mut(instance) else {
            return;
        };
        process.alive = survives;
        let no = process.node;
        if self.now >= self.nodes[no].mute_until {
            // Its connections end with it.
            self.store.open.retain(|o| o.work.instance != instance);
        }
        let generation = self.nodes[no].generation;
        let exited = Event::Exited { instance, exit };
        self.after(500, What::ToAgent(no, generation, exited));
    }
}

pub(crate) fn below(entropy: &SeededEntropy, bound: i64) -> i64 {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    i64::from_le_bytes(bytes).rem_euclid(bound)
}
