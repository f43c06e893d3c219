//! The agent of a policy test, with its store and processes.

use std::time::Duration;

use quayside_lease::{
    Action, AdapterHealth, Agent, Beat, Cause, Epoch, Event, Exit, GroupSeen, HostState,
    Incarnation, Now, Offer, Options, OwnerSeen, Policy, Renewal, Replication, SessionSeen,
    Sighting, StandbySeen, State, Take, Timings, View,
};
use quayside_model::{GrantId, InstanceId, Monotonic, Name, SeededEntropy, SessionId, Timestamp};

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

/// The node `a` with its store and processes. Peers are `b` and `c`.
pub(crate) struct Rig {
    agent: Agent,
    entropy: SeededEntropy,
    pub(crate) millis: u64,
    pub(crate) view: View,
    epoch: i64,
    pub(crate) processes: Vec<(InstanceId, HostState)>,
    pub(crate) broker_up: bool,
    connected: bool,
    /// Somebody else has what the view shows as free.
    pub(crate) held_elsewhere: bool,
    /// The store answers nothing.
    pub(crate) silent: bool,
    /// Processes do not finish their work.
    pub(crate) hangs: bool,
    /// What a process is from its start on.
    pub(crate) born: HostState,
    pub(crate) did: Vec<Action>,
}

impl Rig {
    pub(crate) fn new(change: impl FnOnce(&mut Policy)) -> Self {
        let mut policy = Policy::new(["a", "b", "c"].map(name).to_vec());
        change(&mut policy);
        let options = Options {
            node: name("a"),
            timings: Timings::LAN,
            poll: Duration::from_millis(250),
            replication: Replication::Synchronous,
            groups: vec![(name("g"), policy)],
        };
        Self {
            agent: Agent::new(options, now(0), None),
            entropy: SeededEntropy::new(7),
            millis: 0,
            view: View {
                groups: vec![GroupSeen::unknown(name("g"))],
                ..View::default()
            },
            epoch: 0,
            processes: Vec::new(),
            broker_up: true,
            connected: false,
            held_elsewhere: false,
            silent: false,
            hangs: false,
            born: HostState::Standby,
            did: Vec::new(),
        }
    }

    pub(crate) fn group(&mut self) -> &mut GroupSeen {
        &mut self.view.groups[0]
    }

    /// A peer that is alive and warm.
    pub(crate) fn peer(&mut self, node: &str) -> SessionId {
        let session = SessionId::new(Timestamp::from_micros(0), &self.entropy);
        self.view.sessions.push(SessionSeen {
            node: name(node),
            sighting: Sighting {
                session,
                seq: 0,
                ttl: Timings::LAN.ttl,
                overdue: false,
            },
        });
        self.group().standbys.push(StandbySeen {
            node: name(node),
            warm: true,
            broken: None,
            adapters_down: vec![],
            adapters_up: vec![name("broker")],
        });
        session
    }

    /// `node` owns the group, alive or not.
    pub(crate) fn owned_by(&mut self, node: &str, live: bool) {
        let at = Timestamp::from_micros(0);
        self.group().owner = Some(OwnerSeen {
            node: name(node),
            instance: InstanceId::new(at, &self.entropy),
            session: SessionId::new(at, &self.entropy),
            grant: GrantId::new(at, &self.entropy),
            live,
        });
    }

    pub(crate) fn step(&mut self, event: Event) {
        let mut events = vec![event];
        while !events.is_empty() {
            let mut next = Vec::new();
            for event in events {
                for action in self.agent.step(now(self.millis), &self.entropy, event) {
                    next.extend(self.answer(&action));
                    self.did.push(action);
                }
            }
            events = next;
        }
    }

    fn answer(&mut self, action: &Action) -> Option<Event> {
        let done = true;
        let of_a_process = matches!(
            action,
            Action::Drain { .. } | Action::Kill { .. } | Action::Spawn { .. }
        );
        if self.silent && !of_a_process {
            // Nobody waits longer for that than for an answer.
            let Action::Close { session } = *action else {
                return None;
            };
            let done = false;
            return Some(Event::Closed { session, done });
        }
        match action.clone() {
            Action::Open { session } => {
                let sighting = Sighting {
                    session,
                    seq: 0,
                    ttl: Timings::LAN.ttl,
                    overdue: false,
                };
                let node = name("a");
                self.view.sessions.push(SessionSeen { node, sighting });
                Some(Event::Opened { session, done })
            }
            Action::Renew { session, sent_at } => Some(Event::Renewed {
                session,
                sent_at,
                renewal: Renewal::Live,
            }),
            Action::Look { asked, .. } => Some(Event::Looked {
                asked,
                view: Some(self.view.clone()),
            }),
            Action::Close { session } => Some(Event::Closed { session, done }),
            Action::Spawn { instance, .. } => {
                self.processes.push((instance, self.born));
                None
            }
            Action::Kill { instance, .. } => {
                self.processes.retain(|(id, _)| *id != instance);
                let exit = Exit::Signal(9);
                Some(Event::Exited { instance, exit })
            }
            Action::End { instance } => {
                let owner = self.group().owner.as_mut();
                if let Some(owner) = owner.filter(|o| o.instance == instance) {
                    owner.live = false;
                }
                Some(Event::Ended { instance, done })
            }
            Action::Take { group, grant, .. } if self.held_elsewhere => Some(Event::Took {
                group,
                grant,
                take: Take::Held,
            }),
            Action::Take {
                group,
                instance,
                grant,
                counted,
            } => {
                self.epoch += 1;
                self.owned_by("a", true);
                let owner = self.group().owner.as_mut().expect("just set");
                (owner.instance, owner.grant) = (instance, grant);
                if counted {
                    self.group().moves.push(Duration::ZERO);
                }
                let take = Take::Taken(Epoch::new(self.epoch));
                Some(Event::Took { group, grant, take })
            }
            Action::Release { group, grant, .. } => {
                self.group().owner = None;
                Some(Event::Released { group, grant, done })
            }
            Action::Grant { instance, .. } => {
                self.processes.retain(|(id, _)| *id != instance);
                self.processes.push((instance, HostState::Online));
                None
            }
            Action::Drain { instance, .. } => (!self.hangs).then_some(Event::Drained { instance }),
            Action::Fail { .. } => {
                self.group().failed = Some(Duration::ZERO);
                None
            }
            Action::Recover { .. } => {
                self.group().failed = None;
                None
            }
            _ => None,
        }
    }

    /// Time passes; processes beat, the agent ticks.
    pub(crate) fn pass(&mut self, millis: u64) {
        if !std::mem::replace(&mut self.connected, true) {
            self.step(Event::Connected(Incarnation {
                system: 1,
                timeline: 1,
            }));
        }
        for _ in 0..millis / 50 {
            self.millis += 50;
            for (instance, state) in self.processes.clone() {
                let adapters = vec![AdapterHealth {
                    name: name("broker"),
                    healthy: self.broker_up,
                }];
                let beat = Beat {
                    state,
                    in_flight: 0,
                    adapters,
                };
                self.step(Event::Beat { instance, beat });
            }
            if let Some(failed) = &mut self.group().failed {
                *failed += Duration::from_millis(50);
            }
            self.step(Event::Tick);
        }
    }

    pub(crate) fn status(&self) -> quayside_lease::GroupStatus {
        self.agent.status(now(self.millis)).remove(0)
    }

    pub(crate) fn state(&self) -> State {
        self.status().state
    }

    /// The active process ends.
    pub(crate) fn crash(&mut self, code: i32) {
        let active = self
            .processes
            .iter()
            .position(|(_, s)| *s == HostState::Online);
        let (instance, _) = self.processes.remove(active.expect("one is active"));
        self.did.clear();
        let exit = Exit::Code(code);
        self.step(Event::Exited { instance, exit });
    }

    pub(crate) fn offered_to(&self) -> Option<Name> {
        self.did.iter().rev().find_map(|action| match action {
            Action::Offer { to, .. }
            | Action::Release {
                offer: Some(Offer { to, .. }),
                ..
            } => Some(to.clone()),
            _ => None,
        })
    }

    pub(crate) fn cause_of(&self, state: State) -> Option<Cause> {
        self.did.iter().rev().find_map(|action| match action {
            Action::Record(t) if t.to == state => Some(t.cause),
            _ => None,
        })
    }
}

fn now(millis: u64) -> Now {
    let micros = i64::try_from(millis * 1000).expect("small");
    Now {
        boot: Monotonic::from_boot(Duration::from_millis(millis)),
        wall: Timestamp::from_micros(micros),
    }
}
