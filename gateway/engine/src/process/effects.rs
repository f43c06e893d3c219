//! What the machine wants done, as the members of one group commit.

use std::{sync::Arc, time::Duration};

use quayside_model::{Code, Content, DeliveryId, ExchangeId, Message, MessageId, Name, RunId};
use quayside_orchestration::{Commit, Destination, Effect, End, Failure, Outgoing, State, Status};
use quayside_store::{
    StoreError,
    commit::NewExchange,
    runs::{RunAnswer, RunStatus, Step},
    work::Ticket,
};

use super::{
    document,
    hand::Hand,
    inbox::{From, Started},
    work,
};
use crate::{
    codes,
    publish::{Extras, Prepared, places_until, prepare, prepare_for, prepare_kept, prepare_start},
    receive::body::{abandon_parts, copy_parts},
    shared::{Routes, Shared},
};

/// How long a request of an instance is kept: the instance closes it, or ends.
const KEPT: Duration = Duration::from_secs(100 * 365 * 86_400);
/// The property by which a partner sees all attempts of a call as one: see [`call_key`].
pub(crate) const CALL_KEY: &str = "orchestration.call";
/// The status of an answer that an orchestration gives.
const ANSWERED: u16 = 200;

/// How many bytes the messages of one step may have that go into its transaction. A store does not take more in the time that it
/// has, and while it tries nothing else is taken.
const STEP_BYTES: usize = 128 * 1024 * 1024;

/// A step with its publications.
pub(crate) struct Members {
    pub(crate) step: Step,
    pub(crate) publications: Vec<Prepared>,
    /// What was copied for them.
    pub(crate) copies: Vec<Arc<Message>>,
    /// How many bytes the bodies have that go into the transaction.
    bytes: usize,
}

/// Why a step cannot be made.
#[derive(Debug)]
pub(crate) enum Stuck {
    /// The store failed.
    Store(StoreError),
    /// It asks for what there is not: an operator has to look.
    Cannot(Code, String),
}

impl std::convert::From<StoreError> for Stuck {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The key that a partner sees with `message`, if it is a call of an orchestration: the same for all attempts of the
/// step, whichever message they are.
pub(crate) fn call_key(message: &Message) -> Option<DeliveryId> {
    let key = message.context.get(CALL_KEY)?.value.to_string();
    let key: quayside_orchestration::CallKey = key.parse().ok()?;
    Some(DeliveryId {
        message: MessageId::from_bytes(key.to_bytes()),
        no: 0,
    })
}

impl Members {
    /// What `commit` is. `hold`: the instance stays in hand after it, unless it rests.
    ///
    /// # Errors
    /// [`Stuck`]; nothing is left behind.
    pub(crate) async fn of(
        shared: &Shared,
        hand: &mut Hand,
        commit: &Commit,
        (ordered, hold): (bool, bool),
    ) -> Result<Self, Stuck> {
        let mut members = Self {
            step: resting(hand, &commit.state, ordered),
            publications: Vec::new(),
            copies: Vec::new(),
            bytes: 0,
        };
        members.step.state = Some(commit.state.encode().into());
        members.step.create = hand.create.clone();
        members.step.hold = commit.more && hold;
        // Whoever claims it next sees it at once.
        members.step.again |= commit.more;
        let routes = shared.routes();
        for effect in &commit.effects {
            if let Err(stuck) = members.add(shared, &routes, hand, commit, effect).await {
                give_up(shared, &members.copies).await;
                return Err(stuck);
            }
        }
        let named = commit.state.messages();
        // With a run that is over goes all that it has kept.
        if !matches!(members.step.status, RunStatus::Ended { .. }) {
            let gone = hand.kept.iter().filter(|(id, _)| !named.contains(id));
            members.step.consumed.extend(gone.map(|(_, id)| *id));
        }
        Ok(members)
    }

    async fn add(
        &mut self,
        shared: &Shared,
        routes: &Routes,
        hand: &mut Hand,
        commit: &Commit,
        effect: &Effect,
    ) -> Result<(), Stuck> {
        let run = hand.claim.run;
        match effect {
            Effect::Consume(id) => self.consume(routes, hand, &commit.state, *id),
            Effect::Keep(call) => {
                let named = commit.state.messages().contains(&call.id);
                if let (true, Some(Ok(made))) = (named, hand.at_hand.mapped.get(&call.id)) {
                    let made = Arc::clone(made);
                    self.keep(routes, &hand.plan.name, run, made);
                }
            }
            Effect::Publish {
                id,
                message,
                to: Destination::Answer(request),
                ..
            } => {
                let answer = self.content(shared, hand, *id, message).await?;
                self.answer(*request, &answer)?;
            }
            Effect::Publish {
                id,
                message,
                to,
                notify,
                ..
            } => {
                let message = self.content(shared, hand, *id, message).await?;
                let exchange = notify.then(|| asking(ExchangeId::from_bytes(id.to_bytes()), run));
                let port = match to {
                    Destination::Port(port) => Some(hand.plan.full(port)),
                    _ => None,
                };
                self.publish(shared, routes, message, port, exchange)
                    .await?;
            }
            Effect::Call {
                id,
                key,
                message,
                port,
                ..
            } => {
                let content = self.content(shared, hand, *id, message).await?;
                let mut message = Arc::unwrap_or_clone(content);
                if let Ok(name) = Name::new(CALL_KEY) {
                    message
                        .context
                        .write(name, quayside_model::Text::lossy(&key.to_string()));
                }
                let exchange = ExchangeId::from_bytes(key.to_bytes());
                let port = hand.plan.full(port);
                let asking = Some(asking(exchange, run));
                self.publish(shared, routes, Arc::new(message), Some(port), asking)
                    .await?;
            }
            Effect::Start {
                run,
                orchestration,
                message,
                id,
                ..
            } => {
                let message = self.content(shared, hand, *id, message).await?;
                let name = hand.plan.full(orchestration);
                let started = serde_json::to_string(&Started { run: *run }).expect("plain data");
                let rendered = quayside_model::Text::lossy(&started);
                self.publications
                    .push(prepare_start(routes, message, &name, rendered));
            }
            Effect::Work { .. } => self.give_work(shared, routes, hand, effect).await?,
            Effect::Abandon(key) => {
                let exchange = ExchangeId::from_bytes(key.to_bytes());
                self.step.closed.push(exchange);
            }
            Effect::Subscribe { key, .. } => self.step.subscribe.push(key.to_bytes()),
            Effect::Unsubscribe { key, .. } => self.step.unsubscribe.push(key.to_bytes()),
            // All of these are in the state.
            Effect::SetTimer(_) | Effect::CancelTimer | Effect::Suspend(_) | Effect::End { .. } => {
            }
        }
        Ok(())
    }

    /// Asks an outside program, under a lease.
    async fn give_work(
        &mut self,
        shared: &Shared,
        routes: &Routes,
        hand: &mut Hand,
        effect: &Effect,
    ) -> Result<(), Stuck> {
        let Effect::Work {
            id,
            key,
            attempt,
            worker,
            message,
            lease,
            ..
        } = effect
        else {
            return Ok(());
        };
        let content = self.content(shared, hand, *id, message).await?;
        let mut exchange = asking(ExchangeId::from_bytes(key.to_bytes()), hand.claim.run);
        let lease = hand.lease(shared, exchange.id, *attempt, *lease);
        exchange.lease = Some(lease);
        let ticket = Ticket {
            exchange: exchange.id,
            token: lease.token,
            attempt: *attempt,
        };
        let message = Arc::new(work::asking(content, *key, ticket, lease.length));
        let port = Some(hand.plan.worker(worker));
        self.publish(shared, routes, message, port, Some(exchange))
            .await
    }

    fn consume(&mut self, routes: &Routes, hand: &mut Hand, state: &State, id: MessageId) {
        let Some(at) = hand.inbox.iter().position(|w| w.arrived.message == id) else {
            return;
        };
        let named = state.messages().contains(&id);
        let run = hand.claim.run;
        match &hand.inbox[at].from {
            From::Delivery(delivery) if named => self.step.kept.push(*delivery),
            From::Delivery(delivery) => self.step.consumed.push(*delivery),
            From::Exchange(exchange, message) => {
                self.step.closed.push(*exchange);
                if let (true, Some(message)) = (named, message) {
                    let message = Arc::clone(message);
                    self.keep(routes, &hand.plan.name, run, message);
                }
            }
        }
    }

    fn keep(&mut self, routes: &Routes, orchestration: &Name, run: RunId, message: Arc<Message>) {
        let kept = prepare_kept(routes, message, orchestration, run);
        self.publications.push(kept);
    }

    /// A message with the content and properties that are wanted.
    async fn content(
        &mut self,
        shared: &Shared,
        hand: &mut Hand,
        id: MessageId,
        outgoing: &Outgoing,
    ) -> Result<Arc<Message>, Stuck> {
        let Some(content) = hand.message(shared, outgoing.content).await? else {
            let why = format!("the message {} is not kept any more", outgoing.content);
            return Err(Stuck::Cannot(codes::NOT_FOUND, why));
        };
        let parts = copy_parts(shared, &content).await?;
        let made = (id, hand.now(shared));
        let message = document::outgoing(&hand.plan, made, &content, outgoing, parts);
        if let Content::Inline(body) = &message.body().content {
            self.bytes += body.len();
        }
        let message = Arc::new(message);
        self.copies.push(Arc::clone(&message));
        if self.bytes > STEP_BYTES {
            let why = format!(
                "its messages have more than {} MiB together",
                STEP_BYTES / 1024 / 1024
            );
            return Err(Stuck::Cannot(codes::STEP_TOO_LARGE, why));
        }
        Ok(message)
    }

    fn answer(&mut self, request: MessageId, answer: &Message) -> Result<(), Stuck> {
        let body = answer.body().clone();
        if matches!(body.content, Content::Stored(_)) {
            let why = "an answer of more than 256 KiB cannot be given".to_owned();
            return Err(Stuck::Cannot(codes::ANSWER_TOO_LARGE, why));
        }
        self.step.answers.push(RunAnswer {
            message: request,
            status: ANSWERED,
            body,
        });
        Ok(())
    }

    /// Adds a publication to `port`, or to whoever subscribes.
    async fn publish(
        &mut self,
        shared: &Shared,
        routes: &Routes,
        message: Arc<Message>,
        port: Option<Name>,
        exchange: Option<NewExchange>,
    ) -> Result<(), Stuck> {
        let extras = Extras {
            exchange,
            ..Extras::default()
        };
        let until = places_until();
        let (prepared, lacks) = match port {
            None => {
                let prepared = prepare(shared, routes, Arc::clone(&message), extras, until).await;
                let of = message.message_type.as_deref().unwrap_or("(none)");
                (prepared, (codes::NO_SUBSCRIBER, of.to_owned()))
            }
            Some(port) => {
                let subscribers = routes.subscriber(&port).into_iter().collect();
                let prepared = prepare_for(shared, routes, message, subscribers, extras, until);
                (prepared.await, (codes::NO_PORT, port.to_string()))
            }
        };
        match prepared {
            Some(prepared) => {
                self.publications.push(prepared);
                Ok(())
            }
            None => {
                let why = match lacks.0 {
                    code if code == codes::NO_PORT => format!("there is no port `{}`", lacks.1),
                    _ => format!("nobody subscribes to a message of type {}", lacks.1),
                };
                Err(Stuck::Cannot(lacks.0, why))
            }
        }
    }
}

/// Gives up what was copied for publications that did not come to be.
pub(crate) async fn give_up(shared: &Shared, copies: &[Arc<Message>]) {
    for copy in copies {
        abandon_parts(shared, &copy.parts).await;
    }
}

fn asking(id: ExchangeId, run: RunId) -> NewExchange {
    NewExchange {
        id,
        keep: KEPT,
        run: Some(run),
        lease: None,
    }
}

/// A step after which the instance is as `state` says, in nobody's hand, and nothing else has changed.
pub(crate) fn resting(hand: &Hand, state: &State, ordered: bool) -> Step {
    Step {
        claim: hand.claim,
        create: None,
        state: None,
        status: status(state),
        due: state.timer(),
        wakes: hand.wakes,
        hold: false,
        again: hand.is_partial(),
        ordered,
        consumed: Vec::new(),
        kept: Vec::new(),
        subscribe: Vec::new(),
        unsubscribe: Vec::new(),
        closed: Vec::new(),
        answers: Vec::new(),
    }
}

fn status(state: &State) -> RunStatus {
    match state.status() {
        Status::Active => RunStatus::Active,
        Status::Suspended(Failure {
            code, detail, step, ..
        }) => RunStatus::Suspended {
            code: code.clone(),
            detail: detail.clone(),
            step: step.clone(),
        },
        Status::Ended(End::Completed) => RunStatus::Ended {
            completed: true,
            reason: quayside_model::Text::lossy(""),
        },
        Status::Ended(End::Terminated { reason }) => RunStatus::Ended {
            completed: false,
            reason: reason.clone(),
        },
    }
}
