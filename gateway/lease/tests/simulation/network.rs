//! Questions to the store, on their way there and back.

use quayside_lease::{Action, Epoch, Event, Exit, Incarnation, Renewal, Take};
use quayside_model::{InstanceId, Name};

use crate::{
    Kind, Mutation,
    process::Stage,
    store::{Store, Work, Worked},
    world::{What, World, micros},
};

#[derive(Debug, Clone)]
pub(crate) enum Request {
    Agent(Action),
    Work { process: usize, work: Work },
}

#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Agent(Event),
    Work(Work, Worked),
}

pub(crate) struct Flight {
    pub(crate) node: usize,
    pub(crate) generation: u32,
    pub(crate) request: Request,
}

impl World {
    /// How long a message takes: mostly short, now and then beyond every timeout.
    pub(crate) fn delay(&self) -> i64 {
        let slow = if self.now < self.store_slow_until {
            400_000
        } else {
            0
        };
        let base = match self.below(if self.healed { 1 } else { 60 }) {
            _ if self.healed => self.below(5_000),
            0 => self.below(if self.kind == Kind::Quiet {
                200_000
            } else {
                3_000_000
            }),
            1 | 2 => self.below(200_000),
            _ => self.below(5_000),
        };
        200 + base + slow
    }

    pub(crate) fn ask(&mut self, no: usize, request: Request) {
        self.no += 1;
        let id = self.no;
        let generation = self.nodes[no].generation;
        let timeout = micros(self.timings.client_timeout);
        let delay = self.delay();
        if self.connection(no) {
            self.after(delay, What::Arrive(id, no, request.clone()));
        }
        let flight = Flight {
            node: no,
            generation,
            request,
        };
        self.flights.insert(id, flight);
        self.after(timeout, What::TimedOut(id));
    }

    /// Whether the node has a connection to the store that runs now. Else it makes one.
    pub(crate) fn connection(&mut self, no: usize) -> bool {
        let same = self.nodes[no].connected == Some(self.incarnation());
        if !same && !self.nodes[no].connecting {
            self.nodes[no].connecting = true;
            self.after(20_000, What::Connect(no));
        }
        same
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        Incarnation {
            system: 1,
            timeline: self.store.timeline,
        }
    }

    pub(crate) fn connect(&mut self, no: usize) {
        let node = &self.nodes[no];
        let reached = self.now
            >= node
                .deaf_until
                .max(node.mute_until)
                .max(self.store_down_until);
        self.nodes[no].connecting = !reached;
        if !reached {
            self.after(100_000, What::Connect(no));
            return;
        }
        let incarnation = self.incarnation();
        self.nodes[no].connected = Some(incarnation);
        self.step(no, Event::Connected(incarnation));
    }

    pub(crate) fn arrive(&mut self, id: u64, no: usize, request: Request) {
        let node = &self.nodes[no];
        let incarnation = Some(self.incarnation());
        let lost = self.now < node.mute_until.max(self.store_down_until);
        if lost || node.connected != incarnation {
            return;
        }
        self.store.drop_idle(self.now);
        let answer = match request {
            Request::Work { process, work } => self.arrive_work(process, work),
            Request::Agent(action) => self.serve(no, action).map(Answer::Agent),
        };
        let deaf = self.now < self.nodes[no].deaf_until;
        if let Some(answer) = answer.filter(|_| !deaf) {
            let delay = self.delay();
            self.after(delay, What::Answered(id, answer));
        }
    }

    /// A statement of work: checked and done in one transaction, which now and then stays open in between.
    pub(crate) fn arrive_work(&mut self, process: usize, work: Work) -> Option<Answer> {
        if i64::from(self.store.timeline) != work.epoch.timeline()
            && self.mutation != Some(Mutation::NoTimeline)
        {
            // The process compares the connection with its grant before it uses it.
            return None;
        }
        if !self.store.passes(work) {
            return Some(Answer::Work(work, Worked::Fenced));
        }
        if !self.healed && self.chance(40) {
            self.no += 1;
            let id = self.no;
            self.store.begin(self.now, id, work);
            let wait = self.below(4_000_000);
            self.after(wait, What::Resume(id, process));
            return None;
        }
        let worked = self.commit(work);
        Some(Answer::Work(work, worked))
    }

    pub(crate) fn commit(&mut self, work: Work) -> Worked {
        if work.epoch != self.store.groups[work.group].epoch {
            let detail = format!("{work:?} at {:?}", self.store.groups[work.group].epoch);
            self.violate("no stale write", detail);
        }
        if let Some(no) = work.mark
            && !self.effected[work.group].1.contains_key(&no)
        {
            self.violate("nothing is marked that was not sent", format!("{work:?}"));
        }
        Worked::Done(self.store.apply(work))
    }

    pub(crate) fn serve(&mut self, no: usize, action: Action) -> Option<Event> {
        let now = self.now;
        let store = &mut self.store;
        Some(match action {
            Action::Open { session } => {
                let node = self.nodes[no].name.clone();
                store.open_session(now, session, &node, Store::ttl(&self.timings));
                Event::Opened {
                    session,
                    done: true,
                }
            }
            Action::Renew { session, sent_at } => {
                let live = store.renew(now, session);
                let renewal = if live { Renewal::Live } else { Renewal::Dead };
                Event::Renewed {
                    session,
                    sent_at,
                    renewal,
                }
            }
            Action::Look { asked, report } => {
                store.report(&report);
                let view = store.view(now);
                self.expire_hastily(&view);
                Event::Looked {
                    asked,
                    view: Some(view),
                }
            }
            Action::Expire { session, seq } => {
                let done = store.expire(now, session, seq);
                self.outcome.expired += u64::from(done);
                Event::Expired { session, done }
            }
            Action::Close { session } => {
                store.close(session);
                Event::Closed {
                    session,
                    done: true,
                }
            }
            Action::Spawn {
                instance, session, ..
            } => {
                let registered = store.register(instance, session);
                self.registered(instance, registered);
                return None;
            }
            Action::End { instance } => {
                let done = store.end(instance);
                Event::Ended { instance, done }
            }
            Action::Take {
                group,
                instance,
                grant,
                counted,
            } => {
                let before = store
                    .groups
                    .iter()
                    .find(|g| g.name == group)
                    .map(|g| g.epoch);
                let take = store.take(now, &group, (instance, grant), counted);
                if let Take::Taken(epoch) = take
                    && before != Some(epoch)
                {
                    self.taken(epoch);
                }
                Event::Took { group, grant, take }
            }
            Action::Release {
                group,
                grant,
                offer,
            } => {
                let done = store.release(&group, grant);
                if done && let Some(offer) = offer {
                    store.offer(now, &group, offer.to.clone(), offer.counted);
                    self.hint(&offer.to);
                }
                Event::Released { group, grant, done }
            }
            Action::BreakLocks { instance } => {
                store.break_locks(instance);
                return None;
            }
            Action::Offer { group, to, planned } => {
                store.offer(now, &group, to.clone(), false);
                store.plan(now, &group, planned);
                self.hint(&to);
                return None;
            }
            Action::Fail { group } => {
                store.fail(&group, Some(now));
                return None;
            }
            Action::Recover { group } => {
                store.fail(&group, None);
                return None;
            }
            Action::Answer { group, order, .. } => {
                store.answer_order(&group, order);
                return None;
            }
            other => unreachable!("not for the store: {other:?}"),
        })
    }

    pub(crate) fn expire_hastily(&mut self, view: &quayside_lease::View) {
        if self.mutation != Some(Mutation::NoSilence) {
            return;
        }
        for row in view.sessions.iter().filter(|s| s.sighting.overdue) {
            let sighting = row.sighting;
            self.store.expire(self.now, sighting.session, sighting.seq);
        }
    }

    pub(crate) fn hint(&mut self, to: &Name) {
        let no = self.nodes.iter().position(|n| n.name == *to);
        if let Some(no) = no {
            let generation = self.nodes[no].generation;
            self.after(2_000, What::ToAgent(no, generation, Event::Hint));
        }
    }

    pub(crate) fn registered(&mut self, instance: InstanceId, registered: bool) {
        if !registered {
            return self.end_process(instance, Exit::NotStarted);
        }
        let (now, takes) = (self.now, 50_000 + self.below(300_000));
        let place = self.processes.iter().rposition(|p| p.instance == instance);
        let Some(place) = place else { return };
        let process = &mut self.processes[place];
        if process.alive && !process.started {
            (process.started, process.ready_at) = (true, now + takes);
            self.after(takes, What::Beat(place));
            self.after(takes, What::Work(place));
        }
    }

    pub(crate) fn taken(&mut self, epoch: Epoch) {
        self.outcome.takes += 1;
        if self.kind == Kind::Quiet && self.now > 3_000_000 {
            self.violate("no move without a cause", format!("epoch {epoch}"));
        }
        let group_wide = self.store.groups.len() == 1;
        if group_wide && epoch <= self.highest {
            self.violate(
                "epochs never repeat or fall",
                format!("{epoch} after {}", self.highest),
            );
        }
        self.highest = self.highest.max(epoch);
    }

    pub(crate) fn answered(&mut self, flight: &Flight, answer: Answer) {
        match (answer, &flight.request) {
            (Answer::Work(work, worked), Request::Work { process, .. }) => {
                self.worked(*process, work, worked);
            }
            (Answer::Agent(event), _)
                if self.nodes[flight.node].generation == flight.generation =>
            {
                self.step(flight.node, event);
            }
            _ => {}
        }
    }

    pub(crate) fn unanswered(&mut self, flight: &Flight) {
        let request = match &flight.request {
            Request::Agent(action) => action.clone(),
            Request::Work { process, .. } => {
                let process = &mut self.processes[*process];
                if process.stage == Stage::Announcing {
                    process.stage = Stage::Idle;
                }
                return;
            }
        };
        if self.nodes[flight.node].generation != flight.generation {
            return;
        }
        let event = match request {
            Action::Open { session } => Event::Opened {
                session,
                done: false,
            },
            Action::Renew { session, sent_at } => Event::Renewed {
                session,
                sent_at,
                renewal: Renewal::Unknown,
            },
            Action::Look { asked, .. } => Event::Looked { asked, view: None },
            Action::Expire { session, .. } => Event::Expired {
                session,
                done: false,
            },
            Action::Close { session } => Event::Closed {
                session,
                done: false,
            },
            Action::End { instance } => Event::Ended {
                instance,
                done: false,
            },
            Action::Take { group, grant, .. } => Event::Took {
                group,
                grant,
                take: Take::Unknown,
            },
            Action::Release { group, grant, .. } => Event::Released {
                group,
                grant,
                done: false,
            },
            Action::Spawn { instance, .. } => {
                let started = self
                    .processes
                    .iter()
                    .any(|p| p.instance == instance && p.started);
                if !started {
                    self.end_process(instance, Exit::NotStarted);
                }
                return;
            }
            _ => return,
        };
        self.step(flight.node, event);
    }
}
