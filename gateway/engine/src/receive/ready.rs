//! From what arrived to what only has to be committed: read, promote, key, route.

use std::{sync::Arc, time::Duration};

use quayside_adapter_api::{Incoming, NaturalKey, RejectKind, Rejected, Reply, Source};
use quayside_model::{
    BodyId, Content, Context, DedupeKey, ExchangeId, Failure, FailureClass, Message, MessageId,
    Name, Part, Text, Value, hash16,
};
use quayside_pipeline::{Invalid, Scanned};
use quayside_store::commit::{NewExchange, NewSource};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tracing::warn;

use super::{
    body::{self, ReadBody},
    intake::Arrival,
    mapped::{self, Forms, Unmapped},
    party,
    patience::Patience,
    refusal::{Refused, broken_body, rejected, unavailable},
    validate::{Fault, validate},
    whole,
};
use crate::{
    codes,
    plan::{Location, ReceivePort, Unrouted, Validate},
    publish::{Extras, Prepared, places_until, prepare, prepare_suspended},
    send::{decide::body_name, failed::failed_message},
    shared::{Routes, Shared},
};

/// A dedupe key may live this much longer than its window, and once more as long as that.
const KEY_SLACK: Duration = Duration::from_secs(300);

/// What every message of one delivery is taken in by.
pub(crate) struct Intake<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) port: &'a ReceivePort,
    pub(crate) location: &'a Location,
    pub(crate) reply: Reply,
    /// Whether an operator may resume what has to be suspended.
    pub(crate) resumable: bool,
}

/// A message that only has to be committed.
pub(crate) struct Ready {
    pub(crate) member: Member,
    /// Its body, if it is in chunks.
    pub(crate) stored_body: Option<BodyId>,
    pub(crate) prepared: Prepared,
    /// What is split into its records when it is stored.
    pub(crate) batch: Option<Arc<Message>>,
    /// The room that it has, with all that came with it, until it is stored.
    pub(crate) room: Option<OwnedSemaphorePermit>,
}

/// What a message is known by while it is committed.
pub(crate) struct Member {
    pub(crate) message: MessageId,
    pub(crate) exchange: Option<ExchangeId>,
    /// Whether its key stands for all that came with it.
    pub(crate) of_all: bool,
    /// The place among all that came at once of what it came in, if that was not alone.
    pub(crate) index: Option<u16>,
    /// Whether it is the first of what it came in.
    pub(crate) is_first: bool,
}

impl Member {
    /// The message of this id.
    pub(super) fn new(message: MessageId, of_all: bool) -> Self {
        Self {
            message,
            exchange: None,
            of_all,
            index: None,
            is_first: true,
        }
    }
}

impl Intake<'_> {
    /// Reads and routes everything that arrived.
    ///
    /// # Errors
    /// Why nothing of it can be taken.
    pub(crate) async fn prepare(
        &self,
        arrival: Arrival,
    ) -> Result<(Vec<Ready>, Patience), Refused> {
        if !self.shared.trust.may_act() {
            return Err(unavailable("the store does not answer").into());
        }
        let mut patience = Patience::from(arrival.arrived, &self.shared.options.clock);
        if patience.left().is_zero() && self.reply != Reply::Nothing {
            return Err(unavailable("the request waited too long for its turn").into());
        }
        let several = !arrival.others.is_empty();
        let mut source = arrival.source;
        let mut all = Vec::with_capacity(1 + arrival.others.len());
        let mut until = None;
        let messages = std::iter::once(arrival.message).chain(arrival.others);
        for (mut incoming, index) in messages.zip(0..) {
            let parties = self.port.pipeline.party.as_deref();
            let sender = party::resolve(parties, &mut incoming.context);
            let split = self.port.pipeline.split.as_deref();
            let split = split.filter(|_| !is_through(&incoming.context));
            let first = all.len();
            let source = source.take();
            let wait = (&mut patience, &mut until);
            let taken = match (sender, split) {
                (Err(unknown), _) => {
                    // Rare, and a batch in it is large.
                    Box::pin(self.stranger(&unknown, incoming, source, wait, &mut all)).await
                }
                (Ok(()), None) => {
                    let one = self.ready(incoming, source, wait.0, wait.1);
                    one.await.map(|ready| all.push(ready))
                }
                (Ok(()), Some(split)) => {
                    let batch = self.batch(split, incoming, source, wait, &mut all);
                    Box::pin(batch).await
                }
            };
            if let Err(mut refused) = taken {
                let read = all.iter().filter_map(|ready| ready.stored_body);
                refused.leftover.extend(read);
                return Err(if several { refused.of(index) } else { refused });
            }
            for (ready, place) in all[first..].iter_mut().zip(0..) {
                ready.member.index = several.then_some(index);
                ready.member.is_first = place == 0;
            }
        }
        Ok((all, patience))
    }

    /// Reads and routes one message. All of one delivery wait for places until the same moment.
    async fn ready(
        &self,
        incoming: Incoming,
        source: Option<Source>,
        patience: &mut Patience,
        until: &mut Option<Instant>,
    ) -> Result<Ready, Refused> {
        let Incoming {
            mut context,
            content_type,
            body,
            key,
        } = incoming;
        let read_on = self.reply == Reply::Nothing;
        let decode = self.port.pipeline.decode.as_deref();
        let decode = decode.filter(|_| !is_through(&context));
        let read = body::read(
            self.shared,
            self.port,
            content_type.as_deref(),
            body,
            patience,
            read_on,
            decode,
        );
        let read = read.await.map_err(broken_body)?;
        let content_type = match &read.decoded {
            Some(inner) => {
                mark_decoded(&mut context);
                inner.content_type.clone()
            }
            None => content_type,
        };
        let judged = self.judge(&read, &mut context);
        let fault = match patience.lend(judged).await {
            Ok(()) => None,
            Err(Fault::Content(invalid)) if self.reply == Reply::Nothing => Some(invalid),
            Err(Fault::Invalid(invalid)) if !self.refuses() => Some(invalid),
            Err(fault) => {
                let told = match fault {
                    Fault::Content(Invalid { code, detail, .. })
                    | Fault::Invalid(Invalid { code, detail, .. }) => {
                        rejected(RejectKind::Invalid, code, detail, None)
                    }
                    Fault::Store(why) => {
                        warn!(location = %self.location.name, why, "a large body could not be validated");
                        unavailable("the store did not give the body")
                    }
                };
                return Err(Refused {
                    leftover: stored_body(&read).into_iter().collect(),
                    ..told.into()
                });
            }
        };
        let (dedupe, of_all) = self.dedupe_key(&context, key, &read).unzip();
        let came = Arc::new(self.message(context, content_type, &read));
        let (forms, fault) = self.mapped(came, fault, patience).await?;
        let exchange = self.exchange();
        let extras = || Extras {
            priority: self.port.priority,
            dedupe,
            exchange,
            source: source.as_ref().map(|source| NewSource {
                location: self.location.name.clone(),
                key: source.key.clone(),
                state: source.state.clone(),
            }),
        };
        let until =
            *until.get_or_insert_with(|| places_until().min(Instant::now() + patience.left()));
        match self.route(&forms, fault, &extras, until).await {
            Ok((prepared, stored_body)) => {
                forms.keep(self.shared, stored_body).await;
                Ok(Ready {
                    member: Member {
                        exchange: exchange.map(|exchange| exchange.id),
                        ..Member::new(prepared.message(), of_all.unwrap_or(false))
                    },
                    stored_body,
                    prepared,
                    batch: None,
                    room: None,
                })
            }
            Err(rejected) => Err(Refused {
                leftover: forms.bodies(),
                ..rejected.into()
            }),
        }
    }

    /// Promotes what the content says of itself, and validates it.
    ///
    /// # Errors
    /// Why the message must not go on.
    pub(super) async fn judge(&self, read: &ReadBody, context: &mut Context) -> Result<(), Fault> {
        match &read.scanned {
            Ok(scanned) => add_properties(context, scanned),
            Err(invalid) => return Err(Fault::Content(invalid.clone())),
        }
        whole::promote(self.shared, self.port, read, context).await?;
        validate(self.shared, self.port, read, context).await
    }

    /// What the maps of the port make of a message that has no fault, or the fault that they find.
    async fn mapped(
        &self,
        came: Arc<Message>,
        fault: Option<Invalid>,
        patience: &mut Patience,
    ) -> Result<(Forms, Option<Invalid>), Refused> {
        if fault.is_some() {
            return Ok((Forms::as_it_came(came), fault));
        }
        let mapped = mapped::map(self.shared, self.port, &came);
        let told = match patience.lend(mapped).await {
            Ok(mapped) => return Ok((Forms { came, mapped }, None)),
            // Nobody is there to be told.
            Err(Unmapped::Fault(invalid)) if self.reply == Reply::Nothing => {
                return Ok((Forms::as_it_came(came), Some(invalid)));
            }
            Err(Unmapped::Fault(Invalid { code, detail, .. })) => {
                rejected(RejectKind::Invalid, code, detail, None)
            }
            Err(Unmapped::NotNow(rejected)) => *rejected,
        };
        Err(Refused {
            leftover: mapped::stored(&came).into_iter().collect(),
            ..told.into()
        })
    }

    /// Routes a message, in the form that a map has given it if there is one. What cannot go on is kept in the form in which
    /// it came, so that it can be taken in again. Beside it: the body in chunks that goes with it.
    async fn route(
        &self,
        forms: &Forms,
        fault: Option<Invalid>,
        extras: &(dyn Fn() -> Extras + Sync),
        until: Instant,
    ) -> Result<(Prepared, Option<BodyId>), Rejected> {
        let (came, goes) = (&forms.came, forms.goes());
        let routes = self.shared.routes();
        if let Some(invalid) = fault {
            let failure = Failure::new(invalid.code, FailureClass::GiveUp, &invalid.detail);
            let failed = self.failed(&routes, came, failure, extras, until).await;
            return Ok((failed, mapped::stored(came)));
        }
        let prepared = prepare(self.shared, &routes, Arc::clone(goes), extras(), until);
        if let Some(prepared) = prepared.await {
            return Ok((prepared, mapped::stored(goes)));
        }
        let unrouted = self.unrouted(&routes, forms, extras, until).await?;
        Ok((unrouted, mapped::stored(came)))
    }

    /// Whether a message that does not fit its schema is refused to its sender.
    pub(super) fn refuses(&self) -> bool {
        self.port.validate == Validate::Reject && self.reply != Reply::Nothing
    }

    pub(super) fn message(
        &self,
        context: Context,
        content_type: Option<Text>,
        read: &ReadBody,
    ) -> Message {
        let now = self.shared.options.clock.now();
        let scanned = read.scanned.as_ref().ok();
        Message {
            id: MessageId::new(now, &*self.shared.options.entropy),
            received_at: now,
            origin: Text::lossy(&self.location.name),
            message_type: scanned.and_then(|scanned| scanned.message_type.clone()),
            context,
            parts: vec![Part {
                name: body_name(),
                content_type,
                content: read.content.clone(),
            }],
        }
    }

    fn exchange(&self) -> Option<NewExchange> {
        let Reply::Answer(within) = self.reply else {
            return None;
        };
        let options = &self.shared.options;
        let id = ExchangeId::new(options.clock.now(), &*options.entropy);
        Some(NewExchange {
            id,
            // As long as a repeat may find the key, it has to find the answer.
            keep: within + (self.port.dedupe.window + KEY_SLACK) * 2,
            run: None,
            lease: None,
        })
    }

    /// The key under which the message is accepted once: the first named property that is present, else
    /// the protocol's own. Says beside it whether it stands for all that came with the message.
    pub(super) fn dedupe_key(
        &self,
        context: &Context,
        natural: Option<NaturalKey>,
        read: &ReadBody,
    ) -> Option<(DedupeKey, bool)> {
        let plan = &self.port.dedupe;
        let named = plan.keys.iter().find_map(|name| match name.as_str() {
            "msg.sha256" => Some(hex(&read.sha256)),
            name => context.value(name).map(ToString::to_string),
        });
        let client = || {
            context
                .value("http.client")
                .map(ToString::to_string)
                .unwrap_or_default()
        };
        // A port may name the property that the protocol takes its key from.
        let fits = |key: &NaturalKey| named.as_deref().is_none_or(|named| *key.key == *named);
        let covers = natural.as_ref().filter(|key| fits(key));
        let covers = covers.and_then(|key| key.covers);
        let (scope, key) = match (named, natural) {
            (Some(key), _) => (client(), key),
            (None, Some(natural)) => (natural.scope.to_string(), natural.key.to_string()),
            (None, None) => return None,
        };
        let place = self.location.name.as_bytes();
        let method = context
            .value("http.method")
            .map(ToString::to_string)
            .unwrap_or_default();
        let mut print: Vec<&[u8]> = vec![b"print", place, method.as_bytes(), &read.sha256];
        print.extend(covers.as_ref().map(<[u8; 32]>::as_slice));
        let dedupe = DedupeKey {
            hash: hash16(&[b"key", place, scope.as_bytes(), key.as_bytes()]),
            fingerprint: hash16(&print),
            window: plan.window,
        };
        Some((dedupe, covers.is_some()))
    }

    async fn unrouted(
        &self,
        routes: &Routes,
        forms: &Forms,
        extras: &(dyn Fn() -> Extras + Sync),
        until: Instant,
    ) -> Result<Prepared, Rejected> {
        let detail = nobody(forms.goes());
        if self.rejects_unrouted() {
            return Err(rejected(
                RejectKind::Invalid,
                codes::NO_SUBSCRIBER,
                detail,
                None,
            ));
        }
        let failure = Failure::new(codes::NO_SUBSCRIBER, FailureClass::Stop, &detail);
        Ok(self
            .failed(routes, &forms.came, failure, extras, until)
            .await)
    }

    /// Whether a message that nobody subscribes to is refused to its sender.
    pub(super) fn rejects_unrouted(&self) -> bool {
        self.port.unrouted == Unrouted::Reject && self.reply != Reply::Nothing
    }

    /// What cannot go on: published as a failed message if the port says so and somebody wants it,
    /// suspended otherwise.
    pub(super) async fn failed(
        &self,
        routes: &Routes,
        message: &Arc<Message>,
        failure: Failure,
        extras: &(dyn Fn() -> Extras + Sync),
        until: Instant,
    ) -> Prepared {
        let failure = Failure {
            resumable: self.resumable,
            ..failure
        };
        if self.port.publish_failures {
            let names: [(&str, &str); 2] = [
                ("error.receive-port", &self.port.name),
                ("error.receive-location", &self.location.name),
            ];
            // The body is this message's own and not sealed yet: the failed message takes it over.
            let parts = message.parts.clone();
            let failed = failed_message(self.shared, message, None, parts, &failure, &names);
            let failed = Arc::new(failed);
            let prepared = prepare(self.shared, routes, failed, extras(), until).await;
            if let Some(prepared) = prepared {
                return prepared.instead_of(&self.location.name, failure);
            }
        }
        prepare_suspended(
            routes,
            Arc::clone(message),
            &self.location.name,
            failure,
            extras(),
        )
    }
}

/// The property of a message whose body has come out of something that was around it.
const DECODED: &str = "msg.decoded";

/// Whether a message has been decoded and split already, and waited since for somebody to resume it.
fn is_through(context: &Context) -> bool {
    context.get(DECODED).is_some() || context.get(super::records::NUMBER).is_some()
}

/// Notes that a message is decoded.
pub(super) fn mark_decoded(context: &mut Context) {
    if let Ok(name) = Name::new(DECODED) {
        context.write(name, Value::Boolean(true));
    }
}

/// Why a message that nobody subscribes to goes nowhere.
pub(super) fn nobody(message: &Message) -> String {
    format!(
        "nobody subscribes to a message of type {} with its properties ({})",
        message.message_type.as_deref().unwrap_or("(none)"),
        promoted_names(&message.context),
    )
}

pub(super) fn stored_body(read: &ReadBody) -> Option<BodyId> {
    match &read.content {
        Content::Stored(body) => Some(body.id),
        Content::Inline(_) => None,
    }
}

fn add_properties(context: &mut Context, scanned: &Scanned) {
    for (name, value) in &scanned.properties {
        context.promote(name.clone(), value.clone());
    }
}

fn promoted_names(context: &Context) -> String {
    let promoted = context
        .iter()
        .filter(|(name, p)| p.promoted && !name.contains('.'));
    let names: Vec<&str> = promoted.map(|(name, _)| name.as_str()).collect();
    if names.is_empty() {
        "none promoted from its content".to_owned()
    } else {
        names.join(", ")
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes any text");
        text
    })
}
