//! From a message to a commit: route it, render the templates, reserve places, publish, hand off.
//!
//! Whatever publishes uses this one way: receive locations, resubmission, failed messages.

use std::sync::Arc;

use quayside_model::{
    Claim, DedupeKey, DeliveryId, ExchangeId, Failure, FailureClass, Message, MessageId, Monotonic,
    Name, OnOrderFailure, Priority, RunId, Text, Transport, hash16,
};
use quayside_store::{
    Change, Claimed, GroupOutcome, Op, Outcome, Publish, PublishOutcome,
    commit::{Birth, NewDelivery, NewExchange, NewSource, OrderKey},
};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tracing::warn;

use crate::{
    codes,
    counters::count,
    send::{
        attempt::give,
        port::{PLACE_WITHIN, SendRuntime},
        work::{HANDED_OFF, Work},
    },
    shared::{PortSubscriber, Routes, Shared, Subscriber},
};

/// The slots of `reference/store.md` 5.
const SLOTS: u16 = 4096;

/// What goes with a message into its commit.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    pub(crate) priority: Priority,
    pub(crate) dedupe: Option<DedupeKey>,
    pub(crate) exchange: Option<NewExchange>,
    pub(crate) source: Option<NewSource>,
}

/// A message ready for its commit, with the places reserved for those of its deliveries that are handed
/// over in memory.
pub(crate) struct Prepared {
    message: Arc<Message>,
    publish: Publish,
    places: Vec<(u16, Arc<SendRuntime>, OwnedSemaphorePermit)>,
    remarks: Vec<Remark>,
    /// Whether its one delivery is for whoever commits it.
    keeps: bool,
}

/// What operators are told of a message when it is stored. A repeat of one that was stored before is not
/// stored, and nothing is said of it.
struct Remark {
    what: Remarkable,
    failure: Failure,
}

enum Remarkable {
    /// It is suspended under the name of the location that could not accept it.
    SuspendedOnReceipt(Name),
    /// It is published as a failed message because this location could not accept it.
    FailedOnReceipt(Name),
    /// Its delivery of this number, to this port, is suspended from birth.
    DeliverySuspended(u16, Name),
}

/// Until when a publication that begins now waits for places.
pub(crate) fn places_until() -> Instant {
    Instant::now() + PLACE_WITHIN
}

/// Routes `message`, waiting for places until `until`. `None`: nobody subscribes to it.
pub(crate) async fn prepare(
    shared: &Shared,
    routes: &Routes,
    message: Arc<Message>,
    extras: Extras,
    until: Instant,
) -> Option<Prepared> {
    let subscribers = routes.subscribers_of(&message);
    prepare_for(shared, routes, message, subscribers, extras, until).await
}

/// Prepares `message` for `subscribers`, whatever their filters say. `None`: there are none.
pub(crate) async fn prepare_for(
    shared: &Shared,
    routes: &Routes,
    message: Arc<Message>,
    subscribers: Vec<Subscriber>,
    extras: Extras,
    until: Instant,
) -> Option<Prepared> {
    if subscribers.is_empty() {
        return None;
    }
    let mut places = Vec::new();
    let mut remarks = Vec::new();
    let mut deliveries = Vec::with_capacity(subscribers.len());
    for (no, subscriber) in (0u16..).zip(subscribers) {
        let id = DeliveryId {
            message: message.id,
            no,
        };
        let mut delivery = match &subscriber {
            Subscriber::Port(port) => new_delivery(port, &message, id, extras.priority),
            Subscriber::Orchestration(name) => plain(name, extras.priority, Birth::Ready),
        };
        if matches!(delivery.birth, Birth::Ready)
            && let Subscriber::Port(port) = &subscriber
            && let Some(place) = place(shared, routes, &port.plan.name, until).await
        {
            delivery.birth = Birth::Claimed;
            places.push((no, place.0, place.1));
        }
        if let Birth::Suspended(failure) = &delivery.birth {
            remarks.push(Remark {
                what: Remarkable::DeliverySuspended(no, delivery.port.clone()),
                failure: failure.clone(),
            });
        }
        deliveries.push(delivery);
    }
    let publish = assemble(routes.version, &message, deliveries, extras);
    Some(Prepared {
        message,
        publish,
        places,
        remarks,
        keeps: false,
    })
}

/// A message that goes out of the flow at once, under the name of `port`: what an operator resumes there
/// is taken up by that receive location again.
pub(crate) fn prepare_suspended(
    routes: &Routes,
    message: Arc<Message>,
    port: &Name,
    failure: Failure,
    extras: Extras,
) -> Prepared {
    let remark = Remark {
        what: Remarkable::SuspendedOnReceipt(port.clone()),
        failure: failure.clone(),
    };
    let delivery = plain(port, extras.priority, Birth::Suspended(failure));
    let publish = assemble(routes.version, &message, vec![delivery], extras);
    Prepared {
        remarks: vec![remark],
        ..Prepared::of(message, publish)
    }
}

/// A message that the run `run` of an orchestration keeps, and nobody else gets.
pub(crate) fn prepare_kept(
    routes: &Routes,
    message: Arc<Message>,
    orchestration: &Name,
    run: RunId,
) -> Prepared {
    let extras = Extras::default();
    let delivery = plain(orchestration, extras.priority, Birth::Kept(run));
    prepare_one(routes, message, delivery, extras)
}

/// A message that starts an instance of `orchestration`, in the way that `rendered` says.
pub(crate) fn prepare_start(
    routes: &Routes,
    message: Arc<Message>,
    orchestration: &Name,
    rendered: Text,
) -> Prepared {
    let extras = Extras::default();
    let delivery = NewDelivery {
        rendered: Some(rendered),
        ..plain(orchestration, extras.priority, Birth::Ready)
    };
    prepare_one(routes, message, delivery, extras)
}

fn prepare_one(
    routes: &Routes,
    message: Arc<Message>,
    delivery: NewDelivery,
    extras: Extras,
) -> Prepared {
    let publish = assemble(routes.version, &message, vec![delivery], extras);
    Prepared::of(message, publish)
}

/// The way in which a delivery to a location is rendered that is to be split into its records.
const TO_SPLIT: &str = r#"{"split":true}"#;

/// Whether the delivery to a location is to be split into its records.
pub(crate) fn is_to_split(rendered: Option<&Text>) -> bool {
    rendered.is_some_and(|rendered| rendered.as_str() == TO_SPLIT)
}

/// A batch that came in at `location`, for whoever commits it: it splits what is stored then, and keeps the claim
/// of this delivery meanwhile. Should it die, another process of the location does so.
pub(crate) fn prepare_batch(
    routes: &Routes,
    message: Arc<Message>,
    location: &Name,
    extras: Extras,
) -> Prepared {
    let delivery = NewDelivery {
        rendered: Some(Text::lossy(TO_SPLIT)),
        ..plain(location, extras.priority, Birth::Claimed)
    };
    let publish = assemble(routes.version, &message, vec![delivery], extras);
    Prepared {
        keeps: true,
        ..Prepared::of(message, publish)
    }
}

/// A message that is kept, and that nobody gets.
pub(crate) fn prepare_for_nobody(
    routes: &Routes,
    message: Arc<Message>,
    extras: Extras,
) -> Prepared {
    let publish = assemble(routes.version, &message, Vec::new(), extras);
    Prepared::of(message, publish)
}

/// A delivery without order and templates.
fn plain(port: &Name, priority: Priority, birth: Birth) -> NewDelivery {
    NewDelivery {
        port: port.clone(),
        priority,
        birth,
        order: None,
        rendered: None,
    }
}

fn assemble(
    config_version: i64,
    message: &Arc<Message>,
    deliveries: Vec<NewDelivery>,
    extras: Extras,
) -> Publish {
    let key = extras
        .dedupe
        .map_or_else(|| message.id.to_bytes(), |dedupe| dedupe.hash);
    Publish {
        message: Arc::clone(message),
        config_version,
        slot: u16::from_le_bytes([key[14], key[15]]) % SLOTS,
        dedupe: extras.dedupe,
        deliveries,
        exchange: extras.exchange,
        source: extras.source,
    }
}

fn new_delivery(
    subscriber: &PortSubscriber,
    message: &Message,
    id: DeliveryId,
    priority: Priority,
) -> NewDelivery {
    let plan = &subscriber.plan;
    let (rendered, birth) = match subscriber.templates.render(message, id) {
        Ok(rendered) => (rendered, Birth::Ready),
        // One subscriber's template must not keep the message from the others.
        Err(detail) => {
            let failure = Failure::new(codes::TEMPLATE, FailureClass::GiveUp, &detail);
            (None, Birth::Suspended(failure))
        }
    };
    // What was never sendable does not hold its key where failures are skipped.
    let skipped = matches!(birth, Birth::Suspended(_));
    let ordered = plan.ordered.as_ref();
    let ordered = ordered.filter(|o| !(skipped && o.on_failure == OnOrderFailure::Skip));
    let order = ordered.map(|order| {
        let value = message
            .context
            .value(&order.by)
            .map(ToString::to_string)
            .unwrap_or_default();
        let hash = hash16(&[plan.name.as_bytes(), value.as_bytes()]);
        OrderKey {
            lane: u16::from_le_bytes([hash[0], hash[1]]) % order.lanes.max(1),
            hash,
        }
    });
    NewDelivery {
        port: plan.name.clone(),
        priority: plan.priority.unwrap_or(priority),
        birth,
        order,
        rendered,
    }
}

async fn place(
    shared: &Shared,
    routes: &Routes,
    port: &Name,
    until: Instant,
) -> Option<(Arc<SendRuntime>, OwnedSemaphorePermit)> {
    if shared.stopping.is_cancelled() || !shared.trust.may_act() {
        return None;
    }
    let runtime = routes.send.get(port)?;
    let now = shared.options.clock.monotonic();
    let place = runtime.place_for_hand_off(now, until).await?;
    Some((Arc::clone(runtime), place))
}

impl Prepared {
    /// A publication without places.
    fn of(message: Arc<Message>, publish: Publish) -> Self {
        Self {
            message,
            publish,
            places: Vec::new(),
            remarks: Vec::new(),
            keeps: false,
        }
    }

    /// The message that is stored: of a failure that is published instead, not the one that arrived.
    pub(crate) fn message(&self) -> MessageId {
        self.message.id
    }

    /// The claim that whoever commits it has then, if it is a batch.
    pub(crate) fn kept_claim(&self, shared: &Shared) -> Option<Claim> {
        let delivery = DeliveryId {
            message: self.message.id,
            no: 0,
        };
        self.keeps.then_some(Claim {
            delivery,
            instance: shared.instance,
            token: 1,
        })
    }

    /// The same, with something at the source to be cleaned up after it.
    pub(crate) fn with_source(mut self, source: Option<NewSource>) -> Self {
        self.publish.source = source;
        self
    }

    /// The same, of a message that `location` could not accept because of `failure` and that is published
    /// as a failed message.
    pub(crate) fn instead_of(mut self, location: &Name, failure: Failure) -> Self {
        let what = Remarkable::FailedOnReceipt(location.clone());
        self.remarks.push(Remark { what, failure });
        self
    }

    /// Commits by `deadline`, if there is one, and hands over what was born claimed. `None`: the store did
    /// not answer in time.
    pub(crate) async fn commit(
        self,
        shared: &Shared,
        deadline: Option<Monotonic>,
    ) -> Option<PublishOutcome> {
        let (publish, hand_over) = self.split();
        hand_over.hold(shared);
        let outcome = shared.committer.publish(publish, deadline).await;
        hand_over.finish(shared, outcome.as_ref()).await;
        outcome
    }

    fn split(self) -> (Publish, HandOver) {
        let publish = self.publish;
        let kept = publish.deliveries.iter();
        let hand_over = HandOver {
            kept: kept.map(Kept::of).collect(),
            exchange: publish.exchange.map(|exchange| exchange.id),
            message: self.message,
            places: self.places,
            remarks: self.remarks,
            keeps: self.keeps,
        };
        (publish, hand_over)
    }
}

/// Commits all of `prepared` and `settlements` or nothing, and hands over what was born claimed. The
/// members of the group are the publications and then the settlements, in their order. `None`: see
/// [`Committer::together`](crate::committer::Committer::together).
pub(crate) async fn commit_together(
    shared: &Shared,
    prepared: Vec<Prepared>,
    settlements: Vec<(Claim, Change)>,
    deadline: Option<Monotonic>,
) -> Option<GroupOutcome> {
    let settle = |(claim, change)| Op::Settle(claim, change);
    let after = settlements.into_iter().map(settle).collect();
    commit_group(shared, Vec::new(), prepared, after, deadline).await
}

/// Commits `before`, `prepared` and `after` as one group, in this order, and hands over what was born claimed.
pub(crate) async fn commit_group(
    shared: &Shared,
    before: Vec<Op>,
    prepared: Vec<Prepared>,
    after: Vec<Op>,
    deadline: Option<Monotonic>,
) -> Option<GroupOutcome> {
    let first = before.len();
    let mut ops = before;
    let mut hand_overs = Vec::with_capacity(prepared.len());
    for prepared in prepared {
        let (publish, hand_over) = prepared.split();
        hand_over.hold(shared);
        ops.push(Op::Publish(Box::new(publish)));
        hand_overs.push(hand_over);
    }
    ops.extend(after);
    let outcome = shared.committer.together(ops, deadline).await;
    let outcomes = match &outcome {
        Some(GroupOutcome::Done(outcomes)) => outcomes.as_slice(),
        _ => &[],
    };
    for (hand_over, member) in hand_overs.into_iter().zip(first..) {
        let stored = match outcomes.get(member) {
            Some(Outcome::Published(outcome)) => Some(outcome),
            _ => None,
        };
        hand_over.finish(shared, stored).await;
    }
    outcome
}

/// What the claim of a new delivery would bring.
struct Kept {
    port: Name,
    rendered: Option<Text>,
    order: Option<OrderKey>,
}

impl Kept {
    fn of(delivery: &NewDelivery) -> Self {
        Self {
            port: delivery.port.clone(),
            rendered: delivery.rendered.clone(),
            order: delivery.order,
        }
    }
}

/// What is to be handed over in memory when its publication is stored.
struct HandOver {
    message: Arc<Message>,
    /// Of each delivery, what its claim would bring.
    kept: Vec<Kept>,
    exchange: Option<ExchangeId>,
    places: Vec<(u16, Arc<SendRuntime>, OwnedSemaphorePermit)>,
    remarks: Vec<Remark>,
    keeps: bool,
}

impl HandOver {
    fn claim(&self, shared: &Shared, no: u16) -> Claim {
        Claim {
            delivery: DeliveryId {
                message: self.message.id,
                no,
            },
            instance: shared.instance,
            token: 1,
        }
    }

    /// Before the store has the claims: their comparison must not find them missing here.
    fn hold(&self, shared: &Shared) {
        let kept = self.keeps.then_some(0);
        let numbers = self.places.iter().map(|(no, ..)| *no).chain(kept);
        shared.held.add(numbers.map(|no| self.claim(shared, no)));
    }

    /// Hands over what was born claimed and forgets the rest.
    async fn finish(mut self, shared: &Shared, outcome: Option<&PublishOutcome>) {
        let claimed: &[u16] = match outcome {
            Some(PublishOutcome::Stored { claimed }) => {
                self.remark(shared);
                claimed
            }
            _ => &[],
        };
        if self.keeps && !claimed.contains(&0) {
            shared.held.remove(self.claim(shared, 0));
        }
        for (no, runtime, place) in std::mem::take(&mut self.places) {
            let claim = self.claim(shared, no);
            if !claimed.contains(&no) {
                shared.held.remove(claim);
                continue;
            }
            let kept = &self.kept[usize::from(no)];
            let (rendered, order) = (kept.rendered.clone(), kept.order);
            let claimed = Claimed {
                claim,
                port: runtime.plan.name.clone(),
                message: Arc::clone(&self.message),
                transport: Transport::Primary,
                attempts: 0,
                rendered,
                order,
                exchange: self.exchange,
                in_doubt: false,
                deaths: 0,
            };
            count(&shared.counters.handed_off);
            let work = Work::new(claimed, place, HANDED_OFF, &runtime.hand);
            give(shared, &runtime, work).await;
        }
        if self.leaves_work(shared, claimed) {
            shared.wake_claimer.notify_one();
        }
        if self.is_for_orchestrations(shared) {
            shared.process.wake.notify_one();
        }
    }

    /// Whether anything waits in the store that the claimer has to fetch: what stands behind a delivery of its
    /// key that is in hand here comes with the end of that one.
    fn leaves_work(&self, shared: &Shared, claimed: &[u16]) -> bool {
        let routes = shared.routes();
        let waits = |(no, kept): (u16, &Kept)| {
            let in_hand = || {
                let (order, runtime) = (kept.order?, routes.send.get(&kept.port)?);
                Some(runtime.has_in_hand(&order.hash))
            };
            !claimed.contains(&no) && in_hand() != Some(true)
        };
        (0..).zip(&self.kept).any(waits)
    }

    /// Whether an orchestration that runs here may have work by it.
    fn is_for_orchestrations(&self, shared: &Shared) -> bool {
        let routes = shared.routes();
        let mut kept = self.kept.iter();
        kept.any(|kept| routes.orchestrations.contains_key(&kept.port))
    }

    /// Tells operators of the stored message what they have to know.
    fn remark(&self, shared: &Shared) {
        let id = self.message.id;
        for Remark { what, failure } in &self.remarks {
            match what {
                Remarkable::SuspendedOnReceipt(location) => {
                    count(&shared.counters.suspended_on_receipt);
                    warn!(code = %failure.code, message.id = %id, location = %location,
                        detail = %failure.detail, "message suspended on receipt");
                }
                Remarkable::FailedOnReceipt(location) => {
                    count(&shared.counters.failed_on_receipt);
                    warn!(code = %failure.code, message.id = %id, location = %location,
                        detail = %failure.detail, "message not accepted, published as a failed message");
                }
                Remarkable::DeliverySuspended(no, port) => {
                    count(&shared.counters.suspended);
                    if let Some(runtime) = shared.routes().send.get(port) {
                        count(&runtime.tally.suspended);
                    }
                    let delivery = DeliveryId {
                        message: id,
                        no: *no,
                    };
                    warn!(code = %failure.code, delivery = %delivery, port = %port,
                        detail = %failure.detail, "delivery suspended");
                }
            }
        }
    }
}

impl Routes {
    /// Who subscribes to `message`, one entry for each subscription that matches.
    fn subscribers_of(&self, message: &Message) -> Vec<Subscriber> {
        let matches = self.table.route(message);
        matches
            .iter()
            .filter_map(|name| self.subscriber(name))
            .collect()
    }

    /// The send port or orchestration of this name.
    pub(crate) fn subscriber(&self, name: &Name) -> Option<Subscriber> {
        if self.orchestrations.contains_key(name) {
            return Some(Subscriber::Orchestration(name.clone()));
        }
        let port = self.subscribers.get(name)?;
        Some(Subscriber::Port(Arc::clone(port)))
    }
}
