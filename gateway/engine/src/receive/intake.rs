//! One delivery on its way into the store: read, promote, key, route, commit, settle.

use std::{sync::Arc, time::Duration};

use quayside_adapter_api::{
    Accepted, AdapterError, Body, Delivery, ErrorKind, NaturalKey, RejectKind, Rejected, Reply,
    Source,
};
use quayside_model::{
    Code, Content, Context, DedupeKey, ExchangeId, Failure, FailureClass, Message, MessageId, Part,
    Text, hash16,
};
use quayside_pipeline::{Invalid, Scanned};
use quayside_store::{
    PublishOutcome,
    commit::{First, NewExchange, NewSource},
};
use tracing::{info, warn};

use super::body::{self, BodyError, ReadBody};
use crate::{
    codes,
    committer::chain,
    counters::count,
    plan::{DedupePlan, Location, ReceivePort, Unrouted},
    publish::{Extras, Prepared, prepare, prepare_suspended},
    send::{decide::body_name, failed::failed_message},
    shared::{Routes, Shared},
};

/// When a sender may come back after the store failed.
const STORE_RETRY_AFTER: Duration = Duration::from_secs(1);
/// A dedupe key may live this much longer than its window, and once more as long as that.
const KEY_SLACK: Duration = Duration::from_secs(300);

/// How long the key of a resumption is remembered: longer than any outage between its two commits.
const RESUMED_WINDOW: Duration = Duration::from_secs(30 * 86_400);

/// What arrived, apart from how to answer.
pub(crate) struct Arrival {
    pub(crate) context: Context,
    pub(crate) content_type: Option<Text>,
    pub(crate) body: Body,
    pub(crate) key: Option<NaturalKey>,
    pub(crate) source: Option<Source>,
    pub(crate) reply: Reply,
}

/// Takes one delivery in and answers its sender. Returns whether the location worked: a refusal of what
/// was sent is no failure of the location.
pub(crate) async fn take(
    shared: Arc<Shared>,
    port: Arc<ReceivePort>,
    location: Arc<Location>,
    delivery: Delivery,
) -> Result<(), AdapterError> {
    let Delivery {
        context,
        content_type,
        body,
        key,
        source,
        reply,
        settle,
    } = delivery;
    let arrival = Arrival {
        context,
        content_type,
        body,
        key,
        source,
        reply,
    };
    match accept(&shared, &port, &location, arrival).await {
        Ok(accepted) => settle.accept(accepted).await,
        Err(refused) => {
            let Refused { rejected, known } = refused;
            count(&shared.counters.rejected);
            info!(code = %rejected.code, location = %location.name, detail = %rejected.detail,
                kind = ?rejected.kind, "delivery refused");
            if known || reply != Reply::Nothing {
                settle.reject(rejected).await;
            }
            // Otherwise the settle handle is dropped unanswered: the adapter keeps what it has taken under
            // the same key until the store says whether it has it. Put back, it would come again under
            // another key.
            Ok(())
        }
    }
}

/// Why an arrival was not accepted.
#[derive(Debug)]
pub(crate) struct Refused {
    /// What its sender is told.
    pub(crate) rejected: Rejected,
    /// Whether nothing is stored for sure. The store may answer later than the sender can wait.
    pub(crate) known: bool,
}

impl From<Rejected> for Refused {
    fn from(rejected: Rejected) -> Self {
        Self {
            rejected,
            known: true,
        }
    }
}

/// Takes one arrival into the store.
///
/// # Errors
/// Why its sender has to be refused; then nothing is known to be stored.
pub(crate) async fn accept(
    shared: &Shared,
    port: &ReceivePort,
    location: &Location,
    arrival: Arrival,
) -> Result<Accepted, Refused> {
    if !shared.trust.may_act() {
        return Err(unavailable("the store does not answer").into());
    }
    let Arrival {
        context,
        content_type,
        body,
        key,
        source,
        reply,
    } = arrival;
    let read_on = reply == Reply::Nothing;
    let read = body::read(shared, port, content_type.as_deref(), body, read_on)
        .await
        .map_err(broken_body)?;
    let intake = Intake {
        shared,
        port,
        location,
        reply,
    };
    intake
        .publish(context, content_type, key, source, &read)
        .await
}

/// [`accept`] for a message that was suspended on receipt: its key is that of the resumption alone,
/// because the key that it came with stands for the suspended message already.
///
/// # Errors
/// As [`accept`].
pub(crate) async fn accept_resumed(
    shared: &Shared,
    port: &ReceivePort,
    location: &Location,
    arrival: Arrival,
) -> Result<Accepted, Refused> {
    let dedupe = DedupePlan {
        keys: Vec::new(),
        window: RESUMED_WINDOW,
    };
    let port = ReceivePort {
        dedupe,
        ..port.clone()
    };
    accept(shared, &port, location, arrival).await
}

struct Intake<'a> {
    shared: &'a Shared,
    port: &'a ReceivePort,
    location: &'a Location,
    reply: Reply,
}

impl Intake<'_> {
    async fn publish(
        &self,
        mut context: Context,
        content_type: Option<Text>,
        key: Option<NaturalKey>,
        source: Option<Source>,
        read: &ReadBody,
    ) -> Result<Accepted, Refused> {
        let invalid = match &read.scanned {
            Ok(scanned) => {
                add_properties(&mut context, scanned);
                None
            }
            Err(invalid) if self.reply == Reply::Nothing => Some(invalid),
            Err(invalid) => return Err(refused(invalid).into()),
        };
        let dedupe = self.dedupe_key(&context, key, read);
        let message_type = read
            .scanned
            .as_ref()
            .ok()
            .and_then(|s| s.message_type.clone());
        let message = Arc::new(self.message(context, content_type, message_type, read));
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
        let routes = self.shared.routes();
        let prepared = match invalid {
            Some(invalid) => {
                let failure = Failure::new(invalid.code, FailureClass::GiveUp, &invalid.detail);
                Ok(self.failed(&routes, &message, failure, &extras).await)
            }
            None => match prepare(self.shared, &routes, Arc::clone(&message), extras()).await {
                Some(prepared) => Ok(prepared),
                None => self.unrouted(&routes, &message, &extras).await,
            },
        };
        let outcome = match prepared {
            Ok(prepared) => prepared.commit(self.shared).await,
            Err(rejected) => {
                self.drop_body(read).await;
                return Err(rejected.into());
            }
        };
        if !matches!(outcome, Some(PublishOutcome::Stored { .. })) {
            self.drop_body(read).await;
        }
        self.conclude(message.id, exchange.map(|e| e.id), outcome)
            .await
    }

    /// A body in chunks that no message names. Had a commit in the dark named it all the same, it is
    /// sealed, and giving it up does nothing.
    async fn drop_body(&self, read: &ReadBody) {
        if let Content::Stored(body) = &read.content {
            body::abandon(self.shared, body.id).await;
        }
    }

    fn message(
        &self,
        context: Context,
        content_type: Option<Text>,
        message_type: Option<Text>,
        read: &ReadBody,
    ) -> Message {
        let now = self.shared.options.clock.now();
        Message {
            id: MessageId::new(now, &*self.shared.options.entropy),
            received_at: now,
            origin: Text::lossy(&self.location.name),
            message_type,
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
        })
    }

    /// The key under which the message is accepted once: the first named property that is present, else
    /// the protocol's own.
    fn dedupe_key(
        &self,
        context: &Context,
        natural: Option<NaturalKey>,
        read: &ReadBody,
    ) -> Option<DedupeKey> {
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
        Some(DedupeKey {
            hash: hash16(&[b"key", place, scope.as_bytes(), key.as_bytes()]),
            fingerprint: hash16(&[b"print", place, method.as_bytes(), &read.sha256]),
            window: plan.window,
        })
    }

    async fn unrouted(
        &self,
        routes: &Routes,
        message: &Arc<Message>,
        extras: &(dyn Fn() -> Extras + Sync),
    ) -> Result<Prepared, Rejected> {
        let detail = format!(
            "nobody subscribes to a message of type {} with its properties ({})",
            message.message_type.as_deref().unwrap_or("(none)"),
            promoted_names(&message.context),
        );
        if self.port.unrouted == Unrouted::Reject && self.reply != Reply::Nothing {
            return Err(rejected(
                RejectKind::Invalid,
                codes::NO_SUBSCRIBER,
                detail,
                None,
            ));
        }
        let failure = Failure::new(codes::NO_SUBSCRIBER, FailureClass::Stop, &detail);
        Ok(self.failed(routes, message, failure, extras).await)
    }

    /// What cannot go on: published as a failed message if the port says so and somebody wants it,
    /// suspended otherwise.
    async fn failed(
        &self,
        routes: &Routes,
        message: &Arc<Message>,
        failure: Failure,
        extras: &(dyn Fn() -> Extras + Sync),
    ) -> Prepared {
        if self.port.publish_failures {
            let names: [(&str, &str); 2] = [
                ("error.receive-port", &self.port.name),
                ("error.receive-location", &self.location.name),
            ];
            // The body is this message's own and not sealed yet: the failed message takes it over.
            let parts = message.parts.clone();
            let failed = failed_message(self.shared, message, parts, &failure, &names);
            if let Some(prepared) = prepare(self.shared, routes, Arc::new(failed), extras()).await {
                return prepared;
            }
        }
        count(&self.shared.counters.suspended_on_receipt);
        warn!(code = %failure.code, message = %message.id, location = %self.location.name,
            detail = %failure.detail, "message suspended on receipt");
        prepare_suspended(
            routes,
            Arc::clone(message),
            &self.location.name,
            failure,
            extras(),
        )
    }

    async fn conclude(
        &self,
        id: MessageId,
        exchange: Option<ExchangeId>,
        outcome: Option<PublishOutcome>,
    ) -> Result<Accepted, Refused> {
        match outcome {
            Some(PublishOutcome::Stored { .. }) => {
                count(&self.shared.counters.accepted);
                self.accepted(id, false, exchange).await
            }
            Some(PublishOutcome::Duplicate(first)) => {
                count(&self.shared.counters.duplicates);
                self.accepted(first.message, true, first.exchange).await
            }
            Some(PublishOutcome::Mismatch(first)) => Err(key_reused(&first).into()),
            Some(PublishOutcome::Refused(detail)) => {
                let detail = format!("the store refused the message: {detail}");
                let kind = RejectKind::Invalid;
                Err(rejected(kind, codes::REFUSED, detail, None).into())
            }
            Some(PublishOutcome::Fenced) => {
                Err(unavailable("this instance is being replaced").into())
            }
            None => Err(Refused {
                rejected: unavailable("the store did not answer in time"),
                known: false,
            }),
        }
    }

    async fn accepted(
        &self,
        message: MessageId,
        replayed: bool,
        exchange: Option<ExchangeId>,
    ) -> Result<Accepted, Refused> {
        let (Reply::Answer(within), Some(exchange)) = (self.reply, exchange) else {
            return Ok(Accepted {
                message,
                replayed,
                answer: None,
            });
        };
        match self.shared.exchanges.wait(exchange, within).await {
            Some(answer) => Ok(Accepted {
                message,
                replayed,
                answer: Some(answer),
            }),
            None => {
                let detail = format!("no subscriber answered message {message} within {within:?}");
                let after = Some(within);
                Err(rejected(RejectKind::NoAnswer, codes::NO_ANSWER, detail, after).into())
            }
        }
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
        "none promoted".to_owned()
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

fn rejected(
    kind: RejectKind,
    code: Code,
    detail: String,
    retry_after: Option<Duration>,
) -> Rejected {
    Rejected {
        kind,
        code,
        detail,
        retry_after,
    }
}

fn unavailable(detail: &str) -> Rejected {
    let after = Some(STORE_RETRY_AFTER);
    rejected(
        RejectKind::Unavailable,
        codes::STORE_UNAVAILABLE,
        detail.to_owned(),
        after,
    )
}

fn refused(invalid: &Invalid) -> Rejected {
    let detail = format!("{} (at byte {})", invalid.detail, invalid.offset);
    rejected(RejectKind::Invalid, invalid.code, detail, None)
}

fn key_reused(first: &First) -> Rejected {
    let detail = format!(
        "the key stood for another request, which became message {} at {}",
        first.message, first.stored_at
    );
    rejected(RejectKind::KeyReused, codes::KEY_REUSED, detail, None)
}

fn broken_body(error: BodyError) -> Rejected {
    match error {
        BodyError::Source(error) => {
            let kind = match error.kind {
                ErrorKind::TooLarge => RejectKind::TooLarge,
                ErrorKind::Retry(_) | ErrorKind::Disconnected => RejectKind::Unavailable,
                _ => RejectKind::Invalid,
            };
            rejected(kind, error.code, error.detail, None)
        }
        BodyError::Store(error) => {
            warn!(code = %error.kind.code(), error = %chain(&error), "storing a large body failed");
            unavailable("the store did not take the body")
        }
        BodyError::Fenced => unavailable("this instance is being replaced"),
    }
}
