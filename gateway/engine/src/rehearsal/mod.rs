//! A plan in virtual time: what would happen to messages, without a store, a network or an adapter.
//!
//! The tests that an application has of itself run on it. It decides nothing itself: messages are read, validated and
//! routed by what receives them, orchestrations run by their machine, and this puts the one behind the other, in one
//! order, at a time that is set. A [`Trial`] does the same whenever it is told the same.
//!
//! What it leaves out: attempts and their schedules, service windows, order, dedupe keys, and what is lost in a crash.
//! Messages are sent when they are published, and what partners say is told to it.

mod asked;
mod happened;
mod instance;
mod intake;
mod world;

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use quayside_adapter_api::Adapter;
use quayside_model::{
    Content, DeliveryId, Message, MessageId, Name, Part, RunId, SeededEntropy, Text, Timestamp,
};

use self::{asked::Open, instance::Instance, world::Documents};
pub use self::{
    asked::{NobodyAsked, Reply},
    happened::{Happened, InstanceView, Stopped, What},
    intake::{Incoming, Refusal, TakenIn, take_in},
};
use crate::{
    codes,
    plan::{OrchestrationPlan, Plan},
    process::entry::LOOKED_FOR,
    process::find,
    routing::Table,
    send::rendered::Templates,
};

/// How many commits the instances of a trial may make, all together.
pub const COMMITS: usize = 10_000;
/// How many messages may come into a trial or be made in it.
pub const MESSAGES: usize = 10_000;

/// A plan in virtual time.
pub struct Trial<'p> {
    plan: &'p Plan,
    table: Table,
    templates: BTreeMap<Name, Templates>,
    now: Timestamp,
    entropy: SeededEntropy,
    documents: Documents,
    instances: Vec<Instance<'p>>,
    log: Vec<Happened>,
    /// Who waits for an answer.
    open: Vec<Open>,
    queue: VecDeque<Delivered>,
    /// Messages that no instance waits for yet.
    unplaced: Vec<Unplaced>,
    /// Requests whose sender waits for an answer.
    requests: HashSet<MessageId>,
    commits: usize,
    messages: usize,
}

/// A message for an orchestration.
struct Delivered {
    orchestration: Name,
    message: Arc<Message>,
    no: u16,
    /// Whether others subscribe to it, too.
    shared: bool,
    /// The instance that another one starts with it.
    started: Option<RunId>,
}

struct Unplaced {
    until: Timestamp,
    delivered: Delivered,
}

impl<'p> Trial<'p> {
    /// A trial of `plan` that begins at `now`. `adapter` gives the adapter of a key, of which only the templates are
    /// asked for.
    ///
    /// # Errors
    /// A template of a port cannot be read.
    pub fn new(
        plan: &'p Plan,
        adapter: impl Fn(&str) -> Option<Arc<dyn Adapter>>,
        now: Timestamp,
    ) -> Result<Self, Stopped> {
        let mut templates = BTreeMap::new();
        for port in &plan.send {
            let parsed = Templates::parse(port, &adapter);
            let parsed = parsed.map_err(|why| Stopped(format!("{}: {why}", port.name)))?;
            templates.insert(port.name.clone(), parsed);
        }
        Ok(Self {
            plan,
            table: Table::compile(plan, &HashSet::new()),
            templates,
            now,
            entropy: SeededEntropy::new(1),
            documents: Documents::default(),
            instances: Vec::new(),
            log: Vec::new(),
            open: Vec::new(),
            queue: VecDeque::new(),
            unplaced: Vec::new(),
            requests: HashSet::new(),
            commits: 0,
            messages: 0,
        })
    }

    /// The time on the clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Everything that has happened, in its order.
    #[must_use]
    pub fn log(&self) -> &[Happened] {
        &self.log
    }

    /// A message of the trial.
    #[must_use]
    pub fn message(&self, id: MessageId) -> Option<&Arc<Message>> {
        self.documents.message(id)
    }

    /// The instances that were started, in their order.
    #[must_use]
    pub fn instances(&self) -> Vec<InstanceView> {
        self.instances.iter().map(Instance::view).collect()
    }

    /// Takes a message in, and has everything happen that comes of it now.
    ///
    /// # Errors
    /// [`Stopped`] if it never comes to rest, or the plan has no such location.
    pub fn receive(&mut self, incoming: Incoming) -> Result<(), Stopped> {
        self.count_message()?;
        let (location, two_way) = (incoming.location.clone(), incoming.two_way(self.plan));
        let id = MessageId::new(self.now, &self.entropy);
        match take_in(self.plan, incoming, id, self.now)? {
            TakenIn::Refused(refusal) => {
                self.note(What::Refused {
                    location,
                    refusal,
                    message: None,
                });
            }
            TakenIn::Suspended(message, refusal) => {
                self.not_taken(&location, *message, &refusal)?;
            }
            TakenIn::Message {
                message,
                came,
                told,
            } => {
                let message = Arc::new(*message);
                let subscribers = self.table.route(&message);
                if subscribers.is_empty() {
                    self.unrouted(&location, &message, *came, told)?;
                } else {
                    if two_way {
                        self.requests.insert(message.id);
                    }
                    let what = What::Received {
                        location,
                        message: Arc::clone(&message),
                    };
                    self.note(what);
                    self.deliver(&message, subscribers)?;
                }
            }
        }
        self.settle()
    }

    /// Sets the clock forward to `time`: everything happens that is due until then, in its order.
    ///
    /// # Errors
    /// [`Stopped`] if it never comes to rest.
    pub fn advance(&mut self, time: Timestamp) -> Result<(), Stopped> {
        loop {
            let timers = self.instances.iter().filter_map(Instance::timer);
            let ends = self.unplaced.iter().map(|one| one.until);
            let Some(next) = timers.chain(ends).min().filter(|next| *next <= time) else {
                break;
            };
            self.now = self.now.max(next);
            let due = |instance: &Instance<'_>| instance.timer().is_some_and(|at| at <= next);
            let due = self.instances.iter().position(due);
            match due {
                Some(at) => {
                    let timer = self.instances[at].timer();
                    self.wake(at)?;
                    if self.instances[at].timer() == timer {
                        let name = &self.instances[at].plan.name;
                        return Err(Stopped(format!("{name} does nothing when its time comes")));
                    }
                }
                None => self.give_up_unplaced()?,
            }
            self.settle()?;
        }
        self.now = self.now.max(time);
        Ok(())
    }

    /// Lets the time pass for which messages are kept that no instance waits for, so that none of them is overlooked.
    ///
    /// # Errors
    /// [`Stopped`] if it never comes to rest.
    pub fn finish(&mut self) -> Result<(), Stopped> {
        while let Some(until) = self.unplaced.iter().map(|one| one.until).max() {
            self.advance(until)?;
        }
        Ok(())
    }

    fn note(&mut self, what: What) {
        self.log.push(Happened { at: self.now, what });
    }

    fn count_message(&mut self) -> Result<(), Stopped> {
        self.messages += 1;
        if self.messages > MESSAGES {
            return Err(Stopped(format!("there are more than {MESSAGES} messages")));
        }
        Ok(())
    }

    /// Does everything that is to be done now.
    fn settle(&mut self) -> Result<(), Stopped> {
        loop {
            if let Some(delivered) = self.queue.pop_front() {
                self.place(delivered)?;
                continue;
            }
            // What found no instance may have one by now.
            let found = self.unplaced.iter().position(|one| {
                let delivered = &one.delivered;
                self.instance_for(&delivered.orchestration, &delivered.message)
                    .is_some()
            });
            match found {
                Some(at) => {
                    let unplaced = self.unplaced.remove(at);
                    self.queue.push_back(unplaced.delivered);
                }
                None => return Ok(()),
            }
        }
    }

    /// A message that `location` could not take in: published as a failed message if the port says so and somebody wants
    /// it, suspended otherwise.
    fn not_taken(
        &mut self,
        location: &Name,
        message: Message,
        refusal: &Refusal,
    ) -> Result<(), Stopped> {
        let message = Arc::new(message);
        let failure = quayside_model::Failure::new(
            refusal.code,
            quayside_model::FailureClass::GiveUp,
            &refusal.detail,
        );
        let port = intake::port_of(self.plan, location);
        if let Some((port, _)) = port.filter(|(port, _)| port.publish_failures) {
            let names = [
                ("error.receive-port", port.name.as_str()),
                ("error.receive-location", location.as_str()),
            ];
            if self.publish_failure(&message, None, &failure, &names, location)? {
                return Ok(());
            }
        }
        self.suspend(location, message, &failure.code, &failure.detail);
        Ok(())
    }

    /// Publishes a failed message. `false`: nobody wants it.
    fn publish_failure(
        &mut self,
        message: &Arc<Message>,
        stored: Option<MessageId>,
        failure: &quayside_model::Failure,
        names: &[(&str, &str)],
        by: &Name,
    ) -> Result<bool, Stopped> {
        let id = MessageId::new(self.now, &self.entropy);
        let parts = message.parts.clone();
        let made = (id, self.now);
        let failed = crate::send::failed::failure_of(made, message, stored, parts, failure, names);
        let failed = Arc::new(failed);
        let subscribers = self.table.route(&failed);
        if subscribers.is_empty() {
            return Ok(false);
        }
        self.count_message()?;
        let what = What::Published {
            by: by.clone(),
            message: Arc::clone(&failed),
        };
        self.note(what);
        self.deliver(&failed, subscribers)?;
        Ok(true)
    }

    fn unrouted(
        &mut self,
        location: &Name,
        message: &Message,
        came: Message,
        told: bool,
    ) -> Result<(), Stopped> {
        let of = message.message_type.as_deref().unwrap_or("(none)");
        let refusal = Refusal {
            code: codes::NO_SUBSCRIBER,
            detail: format!("nobody subscribes to a message of type {of} with its properties"),
        };
        let port = intake::port_of(self.plan, location).map(|(port, _)| port);
        let rejects = port.is_some_and(|port| port.unrouted == crate::plan::Unrouted::Reject);
        if rejects && told {
            self.note(What::Refused {
                location: location.clone(),
                refusal,
                message: Some(Arc::new(came)),
            });
            return Ok(());
        }
        self.not_taken(location, came, &refusal)
    }

    fn suspend(&mut self, place: &Name, message: Arc<Message>, code: &str, detail: &str) {
        self.documents.keep(Arc::clone(&message));
        let what = What::Suspended {
            place: place.clone(),
            message,
            code: Text::lossy(code),
            detail: Text::lossy(detail),
        };
        self.note(what);
    }

    /// Gives a message to everybody who gets it.
    fn deliver(&mut self, message: &Arc<Message>, subscribers: Vec<Name>) -> Result<(), Stopped> {
        self.documents.keep(Arc::clone(message));
        let shared = subscribers.len() > 1;
        for (name, no) in subscribers.into_iter().zip(0u16..) {
            if self.orchestration(&name).is_some() {
                self.queue.push_back(Delivered {
                    orchestration: name,
                    message: Arc::clone(message),
                    no,
                    shared,
                    started: None,
                });
            } else {
                self.send(&name, message, no, None)?;
            }
        }
        Ok(())
    }

    /// Sends a message to a port, for `asks` if somebody wants to know what became of it.
    fn send(
        &mut self,
        port: &Name,
        message: &Arc<Message>,
        no: u16,
        asks: Option<Open>,
    ) -> Result<(), Stopped> {
        let id = DeliveryId {
            message: message.id,
            no,
        };
        let rendered = self.templates.get(port).map(|all| all.render(message, id));
        if let Some(Err(why)) = rendered {
            let code = codes::TEMPLATE.code;
            self.suspend(port, Arc::clone(message), code, &why);
            self.fail_open(asks, code, &why);
            return Ok(());
        }
        let plan = self.plan.send.iter().find(|one| one.name == *port);
        let maps = plan.map(|plan| plan.maps.as_slice()).unwrap_or_default();
        // The transport alone sees what a map or an assembler makes: the message stays as it was published.
        let seen = intake::mapped(maps, message)?.and_then(|mapped| {
            let seen = mapped.map(|seen| Message {
                context: message.context.clone(),
                ..seen
            });
            intake::assembled(plan, seen.unwrap_or_else(|| Message::clone(message)))
        });
        let seen = match (seen, plan) {
            (Ok(seen), _) => Arc::new(seen),
            (Err(Refusal { code, detail }), Some(plan)) => {
                let (of, why) = (Text::lossy(code.code), Text::lossy(&detail));
                self.not_sent(plan, Arc::clone(message), &of, &why)?;
                self.fail_open(asks, code.code, &detail);
                return Ok(());
            }
            (Err(_), None) => Arc::clone(message),
        };
        let what = What::Sent {
            port: port.clone(),
            message: seen,
        };
        self.note(what);
        let answers = plan.is_some_and(|plan| plan.answers);
        match asks {
            Some(open) => self.await_reply(open),
            None if answers && self.requests.contains(&message.id) => {
                self.await_reply(Open::sender(port, message.id));
            }
            None => {}
        }
        Ok(())
    }

    /// Takes a message to the instance that has its key, or starts one with it.
    fn place(&mut self, delivered: Delivered) -> Result<(), Stopped> {
        let Some(plan) = self.orchestration(&delivered.orchestration) else {
            return Ok(());
        };
        if delivered.started.is_none()
            && let Some((at, key)) = self.instance_for(&plan.name, &delivered.message)
        {
            let route = quayside_orchestration::Route::Correlated(key);
            return self.enter(at, &delivered.message, route);
        }
        let message = &delivered.message;
        let step = match delivered.started {
            Some(_) => find::started(plan, message),
            None => find::activation(plan, message),
        };
        match step {
            Some(activation) => self.start(plan, &delivered, activation.step.clone()),
            None => {
                self.unplaced.push(Unplaced {
                    until: self.now.plus(LOOKED_FOR),
                    delivered,
                });
                Ok(())
            }
        }
    }

    /// Ends the wait of messages that no instance has come for.
    fn give_up_unplaced(&mut self) -> Result<(), Stopped> {
        let now = self.now;
        while let Some(at) = self.unplaced.iter().position(|one| one.until <= now) {
            let Delivered {
                orchestration,
                message,
                shared,
                ..
            } = self.unplaced.remove(at).delivered;
            // Somebody else has it, for whom alone it may have been meant.
            if !shared {
                let detail =
                    "no instance waits for a message with its properties, and it starts none";
                self.suspend(&orchestration, message, codes::NO_INSTANCE.code, detail);
            }
        }
        Ok(())
    }

    fn orchestration(&self, name: &Name) -> Option<&'p OrchestrationPlan> {
        let mut all = self.plan.orchestrations.iter();
        all.find(|one| one.name == *name)
    }
}

/// The bytes of the body of a message of a trial, which are always at hand.
#[must_use]
pub fn bytes_of(message: &Message) -> bytes::Bytes {
    part_bytes(message.body())
}

/// The bytes of a part of a trial.
#[must_use]
pub fn part_bytes(part: &Part) -> bytes::Bytes {
    match &part.content {
        Content::Inline(bytes) => bytes.clone(),
        Content::Stored(_) => bytes::Bytes::new(),
    }
}

impl std::fmt::Debug for Trial<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trial")
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// Where documents are looked up.
type Bodies = HashMap<MessageId, Arc<Message>>;
