//! One real agent beside a store that answers at once and peers that are only rows: what each policy decides.

use std::time::Duration;

use quayside_lease::{
    Action, AdapterHealth, Agent, Beat, Cause, Epoch, Event, Exclusion, Exit, Failback, GroupSeen,
    HostState, Incarnation, MoveOrder, NodeSeen, Now, OnDeath, Options, OwnerSeen, Policy, Refusal,
    Renewal, Replication, SessionSeen, Sighting, StandbySeen, State, Take, Timings, View,
};
use quayside_model::{GrantId, InstanceId, Monotonic, Name, SeededEntropy, SessionId, Timestamp};

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

/// The node `a` with its store and processes. Peers are `b` and `c`.
struct Rig {
    agent: Agent,
    entropy: SeededEntropy,
    millis: u64,
    view: View,
    epoch: i64,
    processes: Vec<(InstanceId, HostState)>,
    broker_up: bool,
    connected: bool,
    did: Vec<Action>,
}

impl Rig {
    fn new(change: impl FnOnce(&mut Policy)) -> Self {
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
            did: Vec::new(),
        }
    }

    fn group(&mut self) -> &mut GroupSeen {
        &mut self.view.groups[0]
    }

    /// A peer that is alive and warm.
    fn peer(&mut self, node: &str) -> SessionId {
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
    fn owned_by(&mut self, node: &str, live: bool) {
        let at = Timestamp::from_micros(0);
        self.group().owner = Some(OwnerSeen {
            node: name(node),
            instance: InstanceId::new(at, &self.entropy),
            session: SessionId::new(at, &self.entropy),
            grant: GrantId::new(at, &self.entropy),
            live,
        });
    }

    fn step(&mut self, event: Event) {
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
                self.processes.push((instance, HostState::Standby));
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
            Action::Release { group, grant } => {
                self.group().owner = None;
                Some(Event::Released { group, grant, done })
            }
            Action::Grant { instance, .. } => {
                self.processes.retain(|(id, _)| *id != instance);
                self.processes.push((instance, HostState::Online));
                None
            }
            Action::Drain { instance, .. } => Some(Event::Drained { instance }),
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
    fn pass(&mut self, millis: u64) {
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

    fn status(&self) -> quayside_lease::GroupStatus {
        self.agent.status(now(self.millis)).remove(0)
    }

    fn state(&self) -> State {
        self.status().state
    }

    /// The active process ends.
    fn crash(&mut self, code: i32) {
        let active = self
            .processes
            .iter()
            .position(|(_, s)| *s == HostState::Online);
        let (instance, _) = self.processes.remove(active.expect("one is active"));
        self.did.clear();
        let exit = Exit::Code(code);
        self.step(Event::Exited { instance, exit });
    }

    fn offered_to(&self) -> Option<Name> {
        self.did.iter().rev().find_map(|action| match action {
            Action::Offer { to, .. } => Some(to.clone()),
            _ => None,
        })
    }

    fn cause_of(&self, state: State) -> Option<Cause> {
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

#[test]
fn a_free_group_is_taken_in_order() {
    let mut rig = Rig::new(|_| {});
    rig.pass(1000);
    assert_eq!(rig.state(), State::Online, "{:#?}", rig.did);
    let mut second = Rig::new(|p| p.preferred = vec![name("b")]);
    second.peer("b");
    second.pass(100);
    assert_ne!(second.state(), State::Online, "b comes first");
    second.pass(900);
    assert_eq!(second.state(), State::Online, "b did not take it");
}

#[test]
fn a_dead_process_is_replaced_by_the_warm_one_elsewhere() {
    let mut rig = Rig::new(|_| {});
    rig.peer("b");
    rig.pass(1000);
    rig.crash(70);
    assert_eq!(rig.offered_to(), Some(name("b")));
    rig.pass(100);
    assert_eq!(rig.state(), State::Standby);
    let status = rig.status();
    assert_eq!(
        status.placement.why_not(&name("a")),
        Some(&Exclusion::JustLeft)
    );
    let told = rig.did.iter().find_map(|action| match action {
        Action::Record(t) if t.cause == Cause::ProcessEnded => Some(&t.evidence),
        _ => None,
    });
    let told = told.expect("it was told");
    let exit = told
        .iter()
        .find(|fact| fact.to_string() == "exit 70, panic");
    assert!(exit.is_some(), "{told:?}");
}

#[test]
fn restarts_in_place_come_first_if_asked_for_and_end() {
    let mut rig = Rig::new(|p| p.on_death = OnDeath::InPlace);
    rig.peer("b");
    rig.pass(1000);
    for restarts in 1..=2 {
        rig.crash(70);
        assert_eq!(rig.state(), State::Restarting);
        rig.pass(3000);
        assert_eq!(rig.state(), State::Online);
        assert_eq!(rig.status().restarts, (restarts, 2));
    }
    rig.crash(70);
    assert_eq!(rig.offered_to(), Some(name("b")));
}

#[test]
fn a_group_that_nobody_keeps_up_fails_and_is_tried_again() {
    let mut rig = Rig::new(|_| {});
    rig.pass(1000);
    for _ in 0..2 {
        rig.crash(70);
        rig.pass(3000);
        assert_eq!(rig.state(), State::Online);
    }
    rig.crash(70);
    assert_eq!(rig.state(), State::Failed);
    assert_eq!(rig.cause_of(State::Failed), Some(Cause::BudgetSpent));
    rig.pass(60_000);
    assert_eq!(rig.state(), State::Failed);
    rig.pass(15 * 60_000);
    assert_eq!(rig.state(), State::Online, "one start was tried");
    assert_eq!(rig.status().failed, None);
}

#[test]
fn an_operator_clears_a_failure_at_once() {
    let mut rig = Rig::new(|_| {});
    rig.pass(1000);
    rig.crash(10);
    assert_eq!(rig.cause_of(State::Failed), Some(Cause::Fatal));
    rig.pass(2000);
    assert_eq!(rig.state(), State::Failed);
    rig.group().failed = None;
    rig.group().control.clears += 1;
    rig.pass(2000);
    assert_eq!(rig.state(), State::Online);
}

#[test]
fn too_many_moves_fail_instead_of_moving() {
    let mut rig = Rig::new(|_| {});
    rig.owned_by("b", false);
    rig.group().moves = vec![Duration::from_secs(60); 3];
    rig.pass(2000);
    assert_eq!(rig.state(), State::Failed);
    assert_eq!(rig.cause_of(State::Failed), Some(Cause::BudgetSpent));
}

#[test]
fn an_order_to_move_is_followed_once_or_refused_with_the_reason() {
    let mut rig = Rig::new(|_| {});
    rig.peer("b");
    rig.pass(1000);
    let order = |no, to| {
        let to = Some(name(to));
        Some(MoveOrder { no, to, at: None })
    };
    rig.group().control.order = order(1, "c");
    rig.pass(500);
    let refused = Some(Refusal::Excluded(name("c"), Exclusion::NoSession));
    let answers = |rig: &Rig| {
        let answers = rig.did.iter().filter_map(|action| match action {
            Action::Answer { order, refused, .. } => Some((*order, refused.clone())),
            _ => None,
        });
        answers.collect::<Vec<_>>()
    };
    assert_eq!(answers(&rig), [(1, refused)]);
    assert_eq!(rig.state(), State::Online);
    rig.group().control.order = order(2, "b");
    rig.pass(500);
    assert_eq!(answers(&rig).last(), Some(&(2, None)));
    assert_eq!(rig.offered_to(), Some(name("b")));
    assert_eq!(rig.cause_of(State::Draining), Some(Cause::Ordered));
    assert_eq!(rig.state(), State::Standby);
}

#[test]
fn an_order_whose_owner_is_lost_is_answered_by_the_next_one() {
    for (to, refused) in [("c", Some(Refusal::OwnerLost)), ("a", None)] {
        let mut rig = Rig::new(|_| {});
        rig.owned_by("b", false);
        let to = Some(name(to));
        rig.group().control.order = Some(MoveOrder {
            no: 4,
            to,
            at: None,
        });
        rig.pass(2000);
        assert_eq!(rig.state(), State::Online);
        let answers: Vec<_> = rig
            .did
            .iter()
            .filter_map(|action| match action {
                Action::Answer { order, refused, .. } => Some((*order, refused.clone())),
                _ => None,
            })
            .collect();
        assert_eq!(answers, [(4, refused)]);
    }
}

#[test]
fn what_was_given_away_is_taken_back_at_once_when_its_new_owner_is_lost() {
    let mut rig = Rig::new(|_| {});
    rig.peer("b");
    rig.pass(1000);
    let to = Some(name("b"));
    rig.group().control.order = Some(MoveOrder {
        no: 1,
        to,
        at: None,
    });
    rig.pass(500);
    assert_eq!(rig.state(), State::Standby);
    rig.group().control.order = None;
    rig.group().offered = None;
    rig.owned_by("b", true);
    rig.pass(500);
    assert_eq!(rig.state(), State::Standby, "it is b's");
    rig.owned_by("b", false);
    rig.group().standbys.retain(|s| s.node != name("b"));
    rig.pass(300);
    assert_eq!(rig.state(), State::Online);
}

#[test]
fn a_drained_node_gives_its_groups_away_if_somebody_can_have_them() {
    let mut rig = Rig::new(|_| {});
    rig.pass(1000);
    let drained = NodeSeen {
        node: name("a"),
        drained: true,
        lost: vec![],
    };
    rig.view.nodes.push(drained);
    rig.pass(500);
    assert_eq!(rig.state(), State::Online, "nobody else can run it");
    rig.peer("b");
    rig.pass(500);
    assert_eq!(rig.cause_of(State::Draining), Some(Cause::NodeDrained));
}

#[test]
fn a_broker_that_is_down_for_all_moves_nothing_and_one_that_is_down_here_does() {
    let mut rig = Rig::new(|_| {});
    rig.peer("b");
    rig.group().standbys[0].adapters_up.clear();
    rig.pass(1000);
    rig.broker_up = false;
    rig.pass(30_000);
    assert_eq!(rig.state(), State::Degraded);
    rig.group().standbys[0].adapters_up.push(name("broker"));
    rig.pass(500);
    assert_eq!(rig.cause_of(State::Draining), Some(Cause::AdapterDown));
    assert_eq!(rig.offered_to(), Some(name("b")));
}

#[test]
fn failback_waits_until_the_preferred_node_is_stable_and_happens_only_if_asked_for() {
    for (failback, leaves) in [(Failback::Manual, false), (Failback::Always, true)] {
        let mut rig = Rig::new(|p| {
            p.preferred = vec![name("b")];
            p.failback = failback;
        });
        rig.pass(1000);
        assert_eq!(rig.state(), State::Online);
        rig.peer("b");
        rig.pass(4 * 60_000);
        assert_eq!(rig.state(), State::Online, "b is not stable yet");
        rig.pass(2 * 60_000);
        let cause = rig.cause_of(State::Draining);
        assert_eq!(cause, leaves.then_some(Cause::Failback), "{failback:?}");
    }
}

#[test]
fn a_paused_group_is_left_as_it_is() {
    let mut rig = Rig::new(|_| {});
    rig.peer("b");
    rig.pass(1000);
    rig.group().control.paused = true;
    rig.pass(500);
    rig.crash(70);
    assert_eq!(rig.offered_to(), None);
    rig.pass(5000);
    assert_eq!(rig.state(), State::Standby);
    rig.group().control.paused = false;
    rig.pass(1000);
    assert_eq!(rig.state(), State::Online);
}

#[test]
fn a_pinned_group_goes_where_it_is_pinned() {
    let mut rig = Rig::new(|_| {});
    rig.pass(1000);
    rig.group().control.pinned = Some(name("b"));
    rig.pass(500);
    assert_eq!(rig.state(), State::Online, "b cannot run it");
    rig.peer("b");
    rig.pass(500);
    assert_eq!(rig.cause_of(State::Draining), Some(Cause::Pinned));
}

#[test]
fn a_node_that_loses_its_sessions_is_left_out() {
    let mut rig = Rig::new(|_| {});
    let ages = [10, 20, 30].map(Duration::from_secs).to_vec();
    rig.view.nodes.push(NodeSeen {
        node: name("a"),
        drained: false,
        lost: ages,
    });
    rig.pass(2000);
    assert_eq!(rig.state(), State::Standby);
    let status = rig.status();
    let why = status
        .placement
        .why_not(&name("a"))
        .map(ToString::to_string);
    let told = "the node lost too many sessions, 1790 s left";
    assert_eq!(why.as_deref(), Some(told));
}

#[test]
fn a_process_without_beats_is_killed_and_an_agent_that_slept_kills_nobody() {
    let mut rig = Rig::new(|_| {});
    rig.pass(1000);
    // The agent itself was away: its renewals were late as well, but nothing was killed.
    rig.millis += 2000;
    rig.did.clear();
    rig.step(Event::Tick);
    let kills = |rig: &Rig| {
        rig.did
            .iter()
            .filter(|a| matches!(a, Action::Kill { .. }))
            .count()
    };
    assert_eq!(kills(&rig), 0);
    rig.pass(500);
    let beating = std::mem::take(&mut rig.processes);
    rig.pass(1500);
    assert_eq!(kills(&rig), 1, "{beating:?}");
}

#[test]
fn a_stop_drains_and_ends_the_session() {
    let mut rig = Rig::new(|_| {});
    rig.peer("b");
    rig.pass(1000);
    rig.did.clear();
    rig.step(Event::Shutdown);
    rig.pass(200);
    let place = |wanted: fn(&Action) -> bool| rig.did.iter().position(wanted);
    let drain = place(|a| matches!(a, Action::Drain { .. }));
    let release = place(|a| matches!(a, Action::Release { .. }));
    let close = place(|a| matches!(a, Action::Close { .. }));
    let stopped = place(|a| matches!(a, Action::Stopped));
    assert!(drain.is_some() && drain < release && release < close && close < stopped);
}
