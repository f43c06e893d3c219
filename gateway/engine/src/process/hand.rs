//! An instance in hand: its state, its inbox, and what was fetched for it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use quayside_model::{
    Code, DeliveryId, ExchangeId, INLINE_MAX, Message, MessageId, Monotonic, Timestamp,
};
use quayside_orchestration::{
    Arrived, Datum, Definition, Lookup, MapCall, Mapped, Need, State, Want, World,
};
use quayside_pipeline::map::Given;
use quayside_store::{
    StoreError,
    runs::{Entered, NewRun, Page, RunClaim},
    work::NewLease,
};

use super::{
    document,
    inbox::{self, From, Waiting},
};
use crate::{
    committer::chain,
    mapping::{self, MapFault, Work},
    plan::OrchestrationPlan,
    shared::Shared,
};

/// An instance in hand.
pub(crate) struct Hand {
    pub(crate) claim: RunClaim,
    pub(crate) plan: Arc<OrchestrationPlan>,
    pub(crate) definition: Arc<Definition>,
    pub(crate) state: State,
    pub(crate) inbox: Vec<Waiting>,
    /// The deliveries of messages that it has consumed and keeps.
    pub(crate) kept: BTreeMap<MessageId, DeliveryId>,
    /// The tokens of the leases that it has given.
    pub(crate) tokens: BTreeMap<ExchangeId, [u8; 16]>,
    /// How often it was woken until its inbox was read.
    pub(crate) wakes: i64,
    /// Whether more waits in the store behind what is in hand.
    pub(crate) partial: bool,
    /// The last delivery of its inbox that is in hand, or was.
    pub(crate) last: Option<DeliveryId>,
    /// How often the next page of its inbox has come in the place of the one before.
    pub(crate) turned: u32,
    /// Whether it has taken something of what came along, so that another claim brings what stands behind.
    pub(crate) took: bool,
    /// The instance is born with the first step.
    pub(crate) create: Option<NewRun>,
    /// The store's clock when it was claimed, and this process's then.
    pub(crate) claimed: (Timestamp, Monotonic),
    pub(crate) at_hand: AtHand,
}

/// Why something that an instance needs could not be had now. It keeps its place and is taken up again.
pub(crate) enum Unfetched {
    /// The store did not give it.
    Store(StoreError),
    /// This machine could not run a map.
    Here(MapFault),
}

impl std::convert::From<StoreError> for Unfetched {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Unfetched {
    /// The code and the cause.
    pub(crate) fn told(&self) -> (Code, String) {
        match self {
            Self::Store(error) => (error.kind.code(), chain(error)),
            Self::Here(fault) => (fault.code, fault.detail.clone()),
        }
    }
}

/// What was read: of which message, where, and as what.
type Reading = (MessageId, Arc<str>, Want);

/// What was fetched or made for an instance.
#[derive(Default)]
pub(crate) struct AtHand {
    pub(crate) messages: HashMap<MessageId, Arc<Message>>,
    bodies: HashMap<MessageId, Result<Bytes, String>>,
    /// What was read in them: a run is made again whenever it lacks something, and a loop reads the same again.
    read: Mutex<HashMap<Reading, Result<Datum, String>>>,
    pub(crate) mapped: HashMap<MessageId, Result<Arc<Message>, String>>,
}

impl Hand {
    /// The time by the store's clock.
    pub(crate) fn now(&self, shared: &Shared) -> Timestamp {
        let (now, then) = self.claimed;
        now.plus(shared.options.clock.monotonic().since(then))
    }

    /// The lease of an attempt of the work `of`: all of its attempts have one token.
    pub(crate) fn lease(
        &mut self,
        shared: &Shared,
        of: ExchangeId,
        attempt: u32,
        length: Duration,
    ) -> NewLease {
        let token = self.tokens.entry(of).or_insert_with(|| {
            let mut token = [0; 16];
            shared.options.entropy.fill(&mut token);
            token
        });
        NewLease {
            length,
            token: *token,
            attempt,
        }
    }

    /// Whether more waits in the store than is in hand.
    pub(crate) fn is_partial(&self) -> bool {
        self.partial || self.turned > 0
    }

    /// Puts messages of its inbox in the place of those in hand. What has become of its own messages stays.
    pub(crate) fn lay(&mut self, messages: &[Entered]) {
        let asked = std::mem::take(&mut self.inbox).into_iter();
        let asked = asked.filter(|one| matches!(one.from, From::Exchange(..)));
        let laid = messages.iter().filter_map(inbox::entered);
        self.inbox = laid.chain(asked).collect();
        self.last = messages.last().map(|one| one.delivery).or(self.last);
        let messages = messages.iter().map(|one| &one.message);
        let messages = messages.map(|message| (message.id, Arc::clone(message)));
        self.at_hand.messages.extend(messages);
    }

    /// Puts the next page of its inbox in the place of the one in hand, of which it takes nothing.
    pub(crate) async fn turn(&mut self, shared: &Shared) -> Result<(), StoreError> {
        let page = match self.last {
            Some(last) => shared.store.inbox(self.claim.run, last).await?,
            None => Page::default(),
        };
        self.turned += 1;
        self.partial = page.partial;
        self.lay(&page.messages);
        self.forget();
        Ok(())
    }

    /// How much the machine has to look at, in bytes, roughly.
    pub(crate) fn weight(&self) -> usize {
        let bodies = self.at_hand.bodies.values();
        let bodies = bodies.filter_map(|body| Some(body.as_ref().ok()?.len()));
        self.state.weight() + bodies.sum::<usize>()
    }

    /// The inbox as the machine sees it.
    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        let arrived = self.inbox.iter().map(|waiting| waiting.arrived.clone());
        arrived.collect()
    }

    /// The content of a message that the instance names. `None`: it is not kept any more.
    pub(crate) async fn message(
        &mut self,
        shared: &Shared,
        id: MessageId,
    ) -> Result<Option<Arc<Message>>, StoreError> {
        if let Some(Ok(mapped)) = self.at_hand.mapped.get(&id) {
            return Ok(Some(Arc::clone(mapped)));
        }
        if let Some(found) = self.at_hand.messages.get(&id) {
            return Ok(Some(Arc::clone(found)));
        }
        let Some(message) = shared.store.load(id).await? else {
            return Ok(None);
        };
        let message = Arc::new(message);
        self.at_hand.messages.insert(id, Arc::clone(&message));
        Ok(Some(message))
    }

    /// Fetches what the machine lacks.
    pub(crate) async fn fetch(
        &mut self,
        shared: &Shared,
        needs: Vec<Need>,
    ) -> Result<(), Unfetched> {
        for need in needs {
            match need {
                Need::Body(id) => {
                    let body = match self.message(shared, id).await? {
                        Some(message) => document::body(shared, &message).await?,
                        None => Err("the message is not kept any more".to_owned()),
                    };
                    self.at_hand.bodies.insert(id, body);
                }
                Need::Map(call) => {
                    let made = self.apply(shared, &call).await?;
                    self.at_hand.mapped.insert(call.id, made.map(Arc::new));
                }
            }
        }
        Ok(())
    }

    /// Applies a map. `Err` inside: why it makes nothing, for a person.
    async fn apply(
        &mut self,
        shared: &Shared,
        call: &MapCall,
    ) -> Result<Result<Message, String>, Unfetched> {
        let Some(plan) = self
            .plan
            .maps
            .get(&self.plan.full(&call.map))
            .map(Arc::clone)
        else {
            return Ok(Err(format!("there is no map `{}`", call.map)));
        };
        let mut from = Vec::with_capacity(call.from.len());
        for id in &call.from {
            let Some(message) = self.message(shared, *id).await? else {
                return Ok(Err("a message is not kept any more".to_owned()));
            };
            match document::body(shared, &message).await? {
                Ok(body) => from.push((message, body)),
                Err(why) => return Ok(Err(why)),
            }
        }
        let made = mapping::apply(shared, &plan, work(&from, call)).await;
        let made = match made {
            // Nothing is wrong with the document or the map: no handler may take it for that.
            Err(fault) if fault.is_here => return Err(Unfetched::Here(fault)),
            made => made.map_err(|fault| fault.to_string()),
        };
        Ok(made.map(|made| document::mapped(&self.plan, call.id, self.now(shared), made)))
    }

    /// Forgets what the instance names no more.
    pub(crate) fn forget(&mut self) {
        let named = self.state.messages();
        let waits = |id: &MessageId| self.inbox.iter().any(|w| w.arrived.message == *id);
        let AtHand {
            messages,
            bodies,
            read,
            mapped,
        } = &mut self.at_hand;
        let read = read.get_mut().unwrap_or_else(PoisonError::into_inner);
        read.retain(|(id, ..), _| named.contains(id) || waits(id));
        messages.retain(|id, _| named.contains(id) || waits(id));
        bodies.retain(|id, _| named.contains(id) || waits(id));
        mapped.retain(|id, _| named.contains(id));
    }
}

/// What a map is asked for: what it makes is kept with the state, so it has to be small.
pub(crate) fn work(from: &[(Arc<Message>, Bytes)], call: &MapCall) -> Work {
    let inputs = from.iter();
    let inputs = inputs.map(|(message, body)| mapping::input(message, body.clone()));
    let params = call.with.iter().map(|(name, datum)| {
        let given = match datum {
            Datum::One(value) => Given::One(value.clone()),
            Datum::Many(values) => Given::Many(values.clone()),
        };
        (name.clone(), given)
    });
    let first = from.first().map(|(message, _)| &message.context);
    Work {
        inputs: inputs.collect(),
        params: params.collect(),
        properties: first.map(mapping::properties).unwrap_or_default(),
        most: INLINE_MAX,
    }
}

/// What the machine sees of it.
pub(crate) struct Sight<'a> {
    pub(crate) definition: &'a Definition,
    pub(crate) plan: &'a OrchestrationPlan,
    pub(crate) at_hand: &'a AtHand,
}

impl World for Sight<'_> {
    fn read(&self, id: MessageId, path: &Arc<str>, want: Want) -> Lookup<Datum> {
        let at_hand = self.at_hand;
        let message = match at_hand.mapped.get(&id) {
            Some(Ok(mapped)) => Some(mapped),
            _ => at_hand.messages.get(&id),
        };
        let (Some(message), Some(body)) = (message, at_hand.bodies.get(&id)) else {
            return match at_hand.bodies.get(&id) {
                Some(Err(why)) => Lookup::Failed(why.clone()),
                _ => Lookup::Missing,
            };
        };
        let body = match body {
            Ok(body) => body,
            Err(why) => return Lookup::Failed(why.clone()),
        };
        let reading = (id, Arc::clone(path), want);
        let done = at_hand.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(done) = done.get(&reading) {
            return lookup(done.clone());
        }
        drop(done);
        // Whoever reads one place of a document reads others, and to read it into memory is most of the work.
        let of = message.message_type.as_deref().unwrap_or_default();
        let mut paths = self.definition.paths_of(of);
        if !paths.contains(&(Arc::clone(path), want)) {
            paths = vec![(Arc::clone(path), want)];
        }
        let read = document::at(&self.plan.messages, message, body, &paths);
        let mut done = at_hand.read.lock().unwrap_or_else(PoisonError::into_inner);
        let read = paths.into_iter().zip(read);
        done.extend(read.map(|((path, want), read)| ((id, path, want), read)));
        lookup(done[&reading].clone())
    }

    fn map(&self, call: &MapCall) -> Lookup<Mapped> {
        match self.at_hand.mapped.get(&call.id) {
            None => Lookup::Missing,
            Some(Err(why)) => Lookup::Failed(why.clone()),
            Some(Ok(message)) => {
                let promoted = message.context.iter().filter(|(_, p)| p.promoted);
                let properties = promoted.map(|(name, p)| (name.clone(), p.value.clone()));
                Lookup::Ready(Mapped {
                    properties: properties.collect(),
                })
            }
        }
    }
}

fn lookup(read: Result<Datum, String>) -> Lookup<Datum> {
    match read {
        Ok(datum) => Lookup::Ready(datum),
        Err(why) => Lookup::Failed(why),
    }
}
