//! A request on its way to the engine, and the engine's word on its way back.

use std::sync::{Arc, atomic::Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header, request::Parts,
};
use http_body_util::Full;
use hyper::body::Incoming;
use quayside_adapter_api::{
    Accepted, AdapterError, Answer, Body, Delivery, ErrorKind, Incoming as Arrived, NaturalKey,
    RECEIPT_WITHIN, Receive, RejectKind, Rejected, Reply as Awaited, Resting, Settle,
    model::{Context, Text},
};
use serde_json::json;
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot::{self, error::RecvError},
    },
    time::timeout,
};

use crate::{
    admission::{Admitted, admit, full},
    body::{RequestBody, prefetch},
    cloudevents::{self, Content, Shape},
    config::Returns,
    connection::Connection,
    error::{BAD_KEY, CLOSED, NOT_SETTLED, OVERLOADED, invalid},
    form,
    location::Location,
    problem::{Problem, Reply},
    properties,
    queue::{Queued, Turn},
    routes::Routes,
    standing, work,
};

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Answers a request. Never fails: what goes wrong is an answer too.
pub(crate) async fn answer(connection: &Connection, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let mut reply = match head.uri.path() {
        "/livez" => probe(true),
        "/readyz" => probe(connection.life.is_ready()),
        path => match take(connection, &head, body).await {
            Ok(reply) => reply,
            Err(problem) => {
                connection.linger.store(true, Ordering::Relaxed);
                tracing::debug!(code = %problem.code, status = problem.status.as_u16(), path,
                    remote = %connection.remote, "request refused");
                problem.reply(path)
            }
        },
    };
    if connection.life.is_draining() && head.version <= Version::HTTP_11 {
        reply
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}

/// Probes say yes or no and nothing else: everybody can ask them.
fn probe(yes: bool) -> Reply {
    let (status, text) = if yes {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    };
    let mut reply = Response::new(Full::from(text));
    *reply.status_mut() = status;
    reply
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    reply
}

async fn take(connection: &Connection, head: &Parts, body: Incoming) -> Result<Reply, Problem> {
    let _serving = connection.shared.requests.try_acquire().map_err(|_| {
        let detail = "the listener serves as many requests as it may";
        Problem::busy(StatusCode::TOO_MANY_REQUESTS, OVERLOADED, detail)
    })?;
    if let Some(message) = standing::asked_for(head) {
        return standing::answer(connection, head, message).await;
    }
    if let (Some(workers), Some(said)) = (&connection.life.workers, work::said(head)) {
        return work::answer(connection, &**workers, said, head, body).await;
    }
    let mut admitted = admit(connection, head, &body)?;
    let (location, shape) = (Arc::clone(&admitted.location), admitted.shape);
    let body = content(head, body, &mut admitted).await?;
    let read = cloudevents::read(shape, head, body, &connection.shared.whole).await?;
    // What is whole in memory keeps its share of it until the engine has spoken.
    let _share = read.share;
    let (settle, settled) = oneshot::channel();
    let settle = HttpSettle(settle);
    let is_keyed = admitted.key.is_some();
    let sent = (read.contents, read.digest);
    let delivery = delivery(connection, head, admitted, sent, settle)?;
    let (queued, turn) = Queued::new(delivery);
    location
        .deliveries
        .try_send(queued)
        .map_err(|error| match error {
            TrySendError::Full(_) => full(),
            TrySendError::Closed(_) => location.closed().into(),
        })?;
    match word(settled, &turn).await? {
        Ok(Settled::Accepted(accepted)) => Ok(accepted_reply(&location, shape, accepted)),
        Ok(Settled::Rejected(mut rejected)) => {
            let is_about_event = match rejected.kind {
                RejectKind::Invalid | RejectKind::TooLarge => true,
                // The key of a request is that of no event.
                RejectKind::KeyReused => !is_keyed,
                _ => false,
            };
            if shape == Shape::Batch && is_about_event {
                // Of one event alone the engine does not say which.
                rejected.index.get_or_insert(0);
            }
            Err(rejected.into())
        }
        Err(_) => {
            let detail = "the request ended without a result; the message may be stored or not";
            Err(Problem::busy(
                StatusCode::SERVICE_UNAVAILABLE,
                NOT_SETTLED,
                detail,
            ))
        }
    }
}

/// The engine's word. A request whose turn does not come in time is told so.
async fn word(
    mut settled: oneshot::Receiver<Settled>,
    turn: &Turn,
) -> Result<Result<Settled, RecvError>, Problem> {
    if let Ok(settled) = timeout(RECEIPT_WITHIN, &mut settled).await {
        return Ok(settled);
    }
    if turn.claim() {
        let detail = "the request waited too long for its turn; nothing of it is stored";
        return Err(Problem::busy(
            StatusCode::SERVICE_UNAVAILABLE,
            OVERLOADED,
            detail,
        ));
    }
    Ok(settled.await)
}

/// The content; of a GET, the query, as BizTalk takes it.
async fn content(
    head: &Parts,
    body: Incoming,
    admitted: &mut Admitted,
) -> Result<Body, AdapterError> {
    let location = &admitted.location;
    let mut limits = location.limits();
    // An event without data is an event.
    limits.allow_empty |= admitted.shape == Shape::Binary;
    if head.method == Method::GET {
        let query = form::decode(head.uri.query().unwrap_or_default());
        let query = Full::new(Bytes::from(query));
        return prefetch(RequestBody::new(query, limits, None, None)).await;
    }
    let inflation = admitted.is_gzip.then(|| location.inflation());
    let digests = admitted.digests.take();
    prefetch(RequestBody::new(body, limits, digests, inflation)).await
}

fn delivery(
    connection: &Connection,
    head: &Parts,
    admitted: Admitted,
    sent: ((Content, Vec<Content>), Option<[u8; 32]>),
    settle: HttpSettle,
) -> Result<Delivery, Problem> {
    let Admitted {
        location,
        client,
        key,
        shape,
        ..
    } = admitted;
    let context = properties::context(connection, head, client.as_ref(), key.as_ref());
    let scope = client.unwrap_or_else(|| Text::lossy(""));
    let ((first, others), digest) = sent;
    let natural = |key| NaturalKey {
        scope: scope.clone(),
        key,
        covers: digest,
    };
    let event = |content, index: u16| {
        let mut context = context.clone();
        let key = key.as_ref().map(|key| key_of_event(key, index));
        let key = key
            .transpose()?
            .inspect(|key| properties::put_key(&mut context, key));
        arrived(content, context, key.map(natural), &scope, head)
            .map_err(|error| Problem::from(error).of_event(index))
    };
    let (message, others) = if shape == Shape::Batch {
        let others = others.into_iter().zip(1..);
        let others: Result<Vec<_>, Problem> = others.map(|(one, no)| event(one, no)).collect();
        (event(first, 0)?, others?)
    } else {
        let key = key.clone().map(natural);
        (arrived(first, context, key, &scope, head)?, Vec::new())
    };
    Ok(Delivery {
        arrived: location.clock.monotonic(),
        message,
        others,
        source: None,
        reply: match location.config.answer_within {
            Some(within) => Awaited::Answer(within.duration()),
            None => Awaited::Receipt,
        },
        resumable: true,
        settle: Box::new(settle),
    })
}

/// The key of a request of several events, for one of them. The first has the key itself, so that no other
/// request can have it. No key of a sender holds a line end, and the own key of no event begins with one,
/// because its source is not empty: neither can be taken for that of another.
fn key_of_event(key: &Text, index: u16) -> Result<Text, AdapterError> {
    if index == 0 {
        return Ok(key.clone());
    }
    Text::new(format!("\n{key}\n{index}")).map_err(|error| invalid(BAD_KEY, error.to_string()))
}

fn arrived(
    content: Content,
    mut context: Context,
    key: Option<NaturalKey>,
    scope: &Text,
    head: &Parts,
) -> Result<Arrived, AdapterError> {
    let Content { event, body } = content;
    let (mut content_type, mut event_key) = (None, None);
    if let Some(event) = event {
        event.promote(&mut context);
        event_key = Some(event.key()?);
        content_type = event.content_type;
    }
    // An event is the same in whatever request it comes.
    let of_event = |key| NaturalKey {
        scope: scope.clone(),
        key,
        covers: None,
    };
    Ok(Arrived {
        context,
        content_type: content_type.or_else(|| declared_type(head)),
        body,
        key: key.or_else(|| event_key.map(of_event)),
    })
}

fn declared_type(head: &Parts) -> Option<Text> {
    let value = head.headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Text::new(value).ok()
}

fn accepted_reply(location: &Location, shape: Shape, accepted: Accepted) -> Reply {
    let id = accepted.message.to_string();
    let mut reply = match accepted.answer {
        Some(answer) => answer_reply(location, answer),
        None if shape == Shape::Batch => {
            let ids = std::iter::once(accepted.message).chain(accepted.others);
            let ids: Vec<String> = ids.map(|id| id.to_string()).collect();
            receipt(location, json!({ "ids": ids }).to_string())
        }
        None => receipt(location, format!("{{\"id\":\"{id}\"}}")),
    };
    let headers = reply.headers_mut();
    // Several messages have no place in common.
    if shape != Shape::Batch
        && let Ok(place) = HeaderValue::from_str(&standing::place(&id))
    {
        headers.insert(header::LOCATION, place);
    }
    if accepted.replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    reply
}

fn receipt(location: &Location, document: String) -> Reply {
    let mut reply = match location.config.returns {
        Returns::Id => Response::new(Full::from(document)),
        Returns::Nothing => Response::new(Full::default()),
    };
    *reply.status_mut() = StatusCode::ACCEPTED;
    if location.config.returns == Returns::Id {
        let json = HeaderValue::from_static("application/json");
        reply.headers_mut().insert(header::CONTENT_TYPE, json);
    }
    reply
}

fn answer_reply(location: &Location, answer: Answer) -> Reply {
    let mut reply = Response::new(Full::new(answer.body));
    let given = answer.content_type.as_deref();
    let known = given.or(location.config.response_content_type.as_deref());
    if let Some(Ok(known)) = known.map(HeaderValue::from_str) {
        reply.headers_mut().insert(header::CONTENT_TYPE, known);
    }
    reply
}

/// What the engine said.
enum Settled {
    Accepted(Accepted),
    Rejected(Rejected),
}

/// Hands the engine's word to the request. A client that hung up took the other end with it: then
/// nobody reads the answer, and the message stays what it is.
struct HttpSettle(oneshot::Sender<Settled>);

#[async_trait]
impl Settle for HttpSettle {
    async fn accept(self: Box<Self>, accepted: Accepted) -> Result<(), AdapterError> {
        let _ = self.0.send(Settled::Accepted(accepted));
        Ok(())
    }

    async fn reject(self: Box<Self>, rejected: Rejected) {
        let _ = self.0.send(Settled::Rejected(rejected));
    }
}

/// An open receive location, as the engine holds it. Dropping it takes its path away.
#[derive(Debug)]
pub(crate) struct HttpReceive {
    location: Arc<Location>,
    routes: Arc<Routes>,
    deliveries: mpsc::Receiver<Queued>,
}

impl HttpReceive {
    pub(crate) fn new(
        location: Arc<Location>,
        routes: Arc<Routes>,
        deliveries: mpsc::Receiver<Queued>,
    ) -> Self {
        Self {
            location,
            routes,
            deliveries,
        }
    }
}

#[async_trait]
impl Receive for HttpReceive {
    async fn receive(&mut self) -> Result<Delivery, AdapterError> {
        while let Some(queued) = self.deliveries.recv().await {
            if let Some(delivery) = queued.take() {
                return Ok(delivery);
            }
        }
        let ended = "the location is closed";
        Err(AdapterError::new(ErrorKind::Ended, CLOSED, ended))
    }

    async fn close(&mut self) {
        self.deliveries.close();
        // What the engine did not take yet is told at once, and can go to another node.
        while let Some(queued) = self.deliveries.recv().await {
            let Some(delivery) = queued.take() else {
                continue;
            };
            delivery.settle.reject(self.location.closed()).await;
        }
    }

    fn rests(&mut self, why: Resting) {
        self.location.rest(why);
    }
}

impl Drop for HttpReceive {
    fn drop(&mut self) {
        self.routes.remove(&self.location);
    }
}
