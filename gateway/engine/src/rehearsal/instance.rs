//! An instance of an orchestration in a trial: its commits are made one by one, as a process makes them in the store.

use std::sync::Arc;

use quayside_model::{Code, DeliveryId, Message, MessageId, Name, RunId, Text, Timestamp};
use quayside_orchestration::{
    Advance, Arrived, CallKey, Commit, CorrelationKey, Destination, Effect, Event, Need, Outgoing,
    Rehearsal, Route, Status,
};

use super::{COMMITS, Delivered, InstanceView, Stopped, Trial, What, asked::Open, world::Sight};
use crate::{
    Order, codes,
    plan::OrchestrationPlan,
    process::{document, find, inbox},
};

/// The status of an answer that an orchestration gives.
const ANSWERED: u16 = 200;
/// How many things one step may lack, one after the other.
const FETCHES: usize = 1000;

/// An instance.
pub(super) struct Instance<'p> {
    pub(super) plan: &'p OrchestrationPlan,
    run: RunId,
    rehearsal: Rehearsal<'p>,
    consumed: Vec<MessageId>,
    left: Vec<MessageId>,
}

/// What a commit does to the world around its instance.
enum Act {
    Publish(Arc<Message>, Vec<Name>, Option<Open>),
    Send(Arc<Message>, Name, Option<Open>),
    Start(Arc<Message>, Name, RunId),
    Answer(MessageId, Arc<Message>),
    Work(Open, u32, Arc<Message>),
    Abandon(quayside_orchestration::CallKey),
    Halt(quayside_orchestration::Failure),
    End(Vec<MessageId>),
}

/// Why a step cannot be made.
type Stuck = (Code, String);

impl<'p> Instance<'p> {
    pub(super) fn view(&self) -> InstanceView {
        let (state, definition) = (self.rehearsal.state(), self.rehearsal.definition());
        let left = match state.status() {
            Status::Ended(_) => self.left.clone(),
            _ => self
                .rehearsal
                .inbox()
                .iter()
                .map(|one| one.message)
                .collect(),
        };
        InstanceView {
            orchestration: self.plan.name.clone(),
            run: self.run,
            status: state.status().clone(),
            positions: state.positions(definition),
            variables: state.variables(definition),
            consumed: self.consumed.clone(),
            left,
        }
    }

    /// When time wakes it.
    pub(super) fn timer(&self) -> Option<Timestamp> {
        let state = self.rehearsal.state();
        let active = *state.status() == Status::Active;
        state.timer().filter(|_| active)
    }

    pub(super) fn deliver(&mut self, arrived: Arrived) {
        self.rehearsal.deliver(arrived);
    }

    pub(super) fn renew(&mut self, key: CallKey, until: Timestamp) {
        self.rehearsal.renew(key, until);
    }

    fn has_ended(&self) -> bool {
        self.rehearsal.has_ended()
    }

    fn has_key(&self, key: CorrelationKey) -> bool {
        let mut keys = self.rehearsal.state().subscriptions();
        !self.has_ended() && keys.any(|(_, one)| one == key)
    }
}

impl<'p> Trial<'p> {
    /// The instance that `message` belongs to, with the key by which it does.
    pub(super) fn instance_for(
        &self,
        orchestration: &Name,
        message: &Message,
    ) -> Option<(usize, CorrelationKey)> {
        let plan = self.orchestration(orchestration)?;
        let find = |key| Some((self.with_key(orchestration, key)?, key));
        find::keys(plan, message).into_iter().find_map(find)
    }

    fn with_key(&self, orchestration: &Name, key: CorrelationKey) -> Option<usize> {
        let mut all = self.instances.iter();
        all.position(|one| one.plan.name == *orchestration && one.has_key(key))
    }

    /// Brings a message into an instance.
    pub(super) fn enter(
        &mut self,
        at: usize,
        message: &Message,
        route: Route,
    ) -> Result<(), Stopped> {
        let delivery = DeliveryId {
            message: message.id,
            no: 0,
        };
        let arrived = inbox::of(message, delivery, route).arrived;
        self.instances[at].deliver(arrived);
        self.drive(at, Event::Wake)
    }

    /// Starts an instance with a message. One that cannot be born leaves nothing, and the message is suspended.
    pub(super) fn start(
        &mut self,
        plan: &'p OrchestrationPlan,
        delivered: &Delivered,
        step: Name,
    ) -> Result<(), Stopped> {
        let message = &delivered.message;
        let delivery = DeliveryId {
            message: message.id,
            no: delivered.no,
        };
        let run = delivered.started;
        let run = run.unwrap_or_else(|| inbox::run_of(delivery, message.received_at));
        let mut rehearsal = Rehearsal::new(&plan.definition, run, message.received_at);
        rehearsal.set_clock(self.now);
        rehearsal.deliver(inbox::of(message, delivery, Route::Activation(step)).arrived);
        self.instances.push(Instance {
            plan,
            run,
            rehearsal,
            consumed: Vec::new(),
            left: Vec::new(),
        });
        let at = self.instances.len() - 1;
        match self.first_step(at) {
            Ok((commit, acts)) => {
                self.make(at, commit, acts)?;
                self.drive(at, Event::Wake)
            }
            Err((code, detail)) => {
                self.instances.pop();
                self.suspend(&plan.name, Arc::clone(message), code.code, &detail);
                Ok(())
            }
        }
    }

    fn first_step(&mut self, at: usize) -> Result<(Commit, Vec<Act>), Stuck> {
        let Some(commit) = self.propose(at, &Event::Wake)? else {
            return Err((codes::REFUSED, "it does nothing".to_owned()));
        };
        let acts = self.acts(at, &commit)?;
        Ok((commit, acts))
    }

    /// Wakes an instance whose time has come.
    pub(super) fn wake(&mut self, at: usize) -> Result<(), Stopped> {
        self.drive(at, Event::Wake)
    }

    /// Carries out an operator's order for an instance, by its number in the order of the starts.
    ///
    /// # Errors
    /// Why the instance does not take it; [`Stopped`] inside if what comes of it never rests.
    pub fn order(&mut self, at: usize, order: Order) -> Result<Result<(), Stopped>, String> {
        let event = order.event();
        self.instances[at].rehearsal.set_clock(self.now);
        match self.propose(at, &event) {
            Err((_, detail)) => return Err(detail),
            Ok(None) => return Err("there is nothing that it would change".to_owned()),
            Ok(_) => {}
        }
        Ok(self.drive(at, event).and_then(|()| self.settle()))
    }

    /// Runs an instance until it rests.
    pub(super) fn drive(&mut self, at: usize, event: Event) -> Result<(), Stopped> {
        let mut event = event;
        self.instances[at].rehearsal.set_clock(self.now);
        while !self.instances[at].has_ended() {
            let commit = match self.propose(at, &event) {
                Ok(commit) => commit,
                Err(_) if event != Event::Wake => {
                    event = Event::Wake;
                    continue;
                }
                Err((code, detail)) => {
                    let name = &self.instances[at].plan.name;
                    return Err(Stopped(format!("{name}: {code} {detail}")));
                }
            };
            let Some(commit) = commit else {
                if event == Event::Wake {
                    return Ok(());
                }
                event = Event::Wake;
                continue;
            };
            match self.acts(at, &commit) {
                Ok(acts) => {
                    self.make(at, commit, acts)?;
                    event = Event::Wake;
                }
                // As a process does with what cannot be published.
                Err((code, detail)) => {
                    let reason = Text::lossy(&format!("{code}: {detail}"));
                    event = Event::Suspend { reason };
                }
            }
        }
        Ok(())
    }

    /// What an instance would do next, with all that it lacks fetched. `None`: nothing.
    fn propose(&mut self, at: usize, event: &Event) -> Result<Option<Commit>, Stuck> {
        for _ in 0..FETCHES {
            let instance = &self.instances[at];
            let world = Sight {
                plan: instance.plan,
                documents: &self.documents,
            };
            let proposed = instance.rehearsal.propose(event, &world);
            let needs = match proposed.map_err(|refused| (refused.code, refused.detail))? {
                Advance::Unchanged => return Ok(None),
                Advance::Commit(commit) => return Ok(Some(*commit)),
                Advance::Needs(needs) => needs,
            };
            let plan = instance.plan;
            for need in needs {
                match need {
                    Need::Map(call) => self.documents.apply(plan, &call, self.now),
                    // Every body is at hand, so none is asked for.
                    Need::Body(_) => {}
                }
            }
        }
        Err((
            codes::REFUSED,
            format!("a step reads more than {FETCHES} documents"),
        ))
    }

    /// What `commit` does to the world around. Nothing has changed yet.
    fn acts(&mut self, at: usize, commit: &Commit) -> Result<Vec<Act>, Stuck> {
        let mut acts = Vec::new();
        for effect in &commit.effects {
            acts.extend(self.act(at, effect)?);
        }
        Ok(acts)
    }

    fn act(&self, at: usize, effect: &Effect) -> Result<Option<Act>, Stuck> {
        let plan = self.instances[at].plan;
        let act = match effect {
            Effect::Publish {
                id,
                message,
                to,
                notify,
                ..
            } => {
                let made = self.content(plan, *id, message)?;
                return self.publish(at, made, to, *notify).map(Some);
            }
            Effect::Call {
                id,
                key,
                message,
                port,
                ..
            } => {
                let made = self.content(plan, *id, message)?;
                let port = plan.full(port);
                self.known(&port)?;
                let open = Open::call(&port, *id, at, *key);
                Act::Send(made, port, Some(open))
            }
            Effect::Start {
                run,
                orchestration,
                message,
                id,
                ..
            } => {
                let made = self.content(plan, *id, message)?;
                Act::Start(made, plan.full(orchestration), *run)
            }
            Effect::Work {
                id,
                key,
                attempt,
                worker,
                message,
                lease,
                ..
            } => {
                let made = self.content(plan, *id, message)?;
                let open = Open::work(&plan.full(worker), *id, at, (*key, *lease));
                Act::Work(open, *attempt, made)
            }
            Effect::Abandon(key) => Act::Abandon(*key),
            Effect::Subscribe { key, .. } => {
                let other = self.with_key(&plan.name, *key);
                if other.is_some_and(|other| other != at) {
                    let why = "another instance has the same values".to_owned();
                    return Err((codes::KEY_TAKEN, why));
                }
                return Ok(None);
            }
            Effect::Suspend(failure) => Act::Halt(failure.clone()),
            Effect::End { discarded, .. } => Act::End(discarded.clone()),
            Effect::Consume(_)
            | Effect::Keep(_)
            | Effect::Unsubscribe { .. }
            | Effect::SetTimer(_)
            | Effect::CancelTimer => return Ok(None),
        };
        Ok(Some(act))
    }

    fn publish(
        &self,
        at: usize,
        message: Arc<Message>,
        to: &Destination,
        notify: bool,
    ) -> Result<Act, Stuck> {
        let plan = self.instances[at].plan;
        let open = |who: &Name| notify.then(|| Open::notify(who, message.id, at));
        match to {
            Destination::Answer(request) => {
                if message.body().content.len() > quayside_model::INLINE_MAX as u64 {
                    let why = "an answer of more than 256 KiB cannot be given".to_owned();
                    return Err((codes::ANSWER_TOO_LARGE, why));
                }
                Ok(Act::Answer(*request, message))
            }
            Destination::Port(port) => {
                let port = plan.full(port);
                self.known(&port)?;
                let open = open(&port);
                Ok(Act::Send(message, port, open))
            }
            Destination::Subscribers => {
                let subscribers = self.table.route(&message);
                let Some(first) = subscribers.first() else {
                    let of = message.message_type.as_deref().unwrap_or("(none)");
                    let why = format!("nobody subscribes to a message of type {of}");
                    return Err((codes::NO_SUBSCRIBER, why));
                };
                let open = open(first);
                Ok(Act::Publish(message, subscribers, open))
            }
        }
    }

    fn known(&self, port: &Name) -> Result<(), Stuck> {
        if self.plan.send.iter().any(|one| one.name == *port) {
            return Ok(());
        }
        Err((codes::NO_PORT, format!("there is no port `{port}`")))
    }

    fn content(
        &self,
        plan: &OrchestrationPlan,
        id: MessageId,
        outgoing: &Outgoing,
    ) -> Result<Arc<Message>, Stuck> {
        let Some(content) = self.documents.message(outgoing.content) else {
            let why = format!("the message {} is not there", outgoing.content);
            return Err((codes::NOT_FOUND, why));
        };
        let parts = content.parts.clone();
        let made = document::outgoing(plan, (id, self.now), content, outgoing, parts);
        Ok(Arc::new(made))
    }

    /// Makes a commit.
    fn make(&mut self, at: usize, commit: Commit, acts: Vec<Act>) -> Result<(), Stopped> {
        self.commits += 1;
        if self.commits > COMMITS {
            let name = &self.instances[at].plan.name;
            return Err(Stopped(format!(
                "{name} goes on and on: there are more than {COMMITS} commits"
            )));
        }
        let consumed = commit.effects.iter().filter_map(|effect| match effect {
            Effect::Consume(id) => Some(*id),
            _ => None,
        });
        // Word of a delivery or a refusal is no message.
        let consumed = consumed.filter(|id| self.documents.message(*id).is_some());
        let consumed: Vec<MessageId> = consumed.collect();
        let instance = &mut self.instances[at];
        instance.consumed.extend(consumed);
        instance.rehearsal.accept(commit);
        for act in acts {
            self.carry_out(at, act)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, at: usize, act: Act) -> Result<(), Stopped> {
        let plan = self.instances[at].plan;
        match act {
            Act::Publish(message, subscribers, open) => {
                self.count_message()?;
                let what = What::Published {
                    by: plan.name.clone(),
                    message: Arc::clone(&message),
                };
                self.note(what);
                self.deliver(&message, subscribers)?;
                if let Some(open) = open {
                    self.await_reply(open);
                }
            }
            Act::Send(message, port, open) => {
                self.count_message()?;
                self.documents.keep(Arc::clone(&message));
                self.send(&port, &message, 0, open)?;
            }
            Act::Start(message, orchestration, run) => {
                self.count_message()?;
                self.documents.keep(Arc::clone(&message));
                self.queue.push_back(Delivered {
                    orchestration,
                    message,
                    no: 0,
                    shared: false,
                    started: Some(run),
                });
            }
            Act::Answer(request, message) => {
                self.answer_sender(request, ANSWERED, message.body().clone())?;
            }
            Act::Work(open, attempt, message) => {
                self.count_message()?;
                self.documents.keep(Arc::clone(&message));
                let what = What::Worker {
                    worker: open.who().clone(),
                    by: plan.name.clone(),
                    attempt,
                    message,
                };
                self.note(what);
                self.await_reply(open);
            }
            Act::Abandon(key) => self.abandon(key),
            Act::Halt(failure) => {
                let what = What::Halted {
                    orchestration: plan.name.clone(),
                    run: self.instances[at].run,
                    failure,
                };
                self.note(what);
            }
            Act::End(left) => {
                self.instances[at].left = left;
                self.abandon_all(at);
            }
        }
        Ok(())
    }
}
