//! A request on its way to the engine, and the engine's word on its way back.

use std::sync::{Arc, atomic::Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header, request::Parts,
};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use quayside_adapter_api::{
    Accepted, AdapterError, Answer, Body, Delivery, ErrorKind, NaturalKey, Receive, RejectKind,
    Rejected, Reply as Awaited, Settle, model::Text,
};
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

use crate::{
    body::{RequestBody, prefetch},
    cloudevents::{self, Event, Shape},
    config::Returns,
    connection::Connection,
    digest::Digests,
    error::{
        BAD_REQUEST, CLOSED, KEY_REQUIRED, NO_CERTIFICATE, NO_LOCATION, NOT_AUTHENTICATED,
        NOT_READY, NOT_SETTLED, OVERLOADED, TOO_LARGE, WRONG_ENCODING, WRONG_METHOD, WRONG_TYPE,
    },
    form, idempotency,
    location::Location,
    problem::{Problem, Reply},
    properties,
    routes::Routes,
};

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

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

/// Everything that is known of a request before its content is read.
struct Admitted {
    location: Arc<Location>,
    client: Option<Text>,
    key: Option<Text>,
    digests: Option<Digests>,
    is_gzip: bool,
    shape: Shape,
}

async fn take(connection: &Connection, head: &Parts, body: Incoming) -> Result<Reply, Problem> {
    let _serving = connection.shared.requests.try_acquire().map_err(|_| {
        let detail = "the listener serves as many requests as it may";
        Problem::busy(StatusCode::TOO_MANY_REQUESTS, OVERLOADED, detail)
    })?;
    let mut admitted = admit(connection, head, &body)?;
    let location = Arc::clone(&admitted.location);
    let body = content(head, body, &mut admitted).await?;
    let (event, body) = cloudevents::read(admitted.shape, head, body).await?;
    let (settle, settled) = oneshot::channel();
    let settle = HttpSettle(settle);
    let delivery = delivery(connection, head, admitted, event, body, settle)?;
    location
        .deliveries
        .try_send(delivery)
        .map_err(|error| match error {
            TrySendError::Full(_) => full(),
            TrySendError::Closed(_) => closed(),
        })?;
    match settled.await {
        Ok(Settled::Accepted(accepted)) => Ok(accepted_reply(&location, accepted)),
        Ok(Settled::Rejected(rejected)) => Err(rejected.into()),
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

/// Decides by the head alone, so that `Expect: 100-continue` and large contents are refused unread.
fn admit(connection: &Connection, head: &Parts, body: &Incoming) -> Result<Admitted, Problem> {
    check_host(head)?;
    let path = head.uri.path();
    let location = connection.shared.routes.find(path).ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            NO_LOCATION,
            format!("nothing listens at `{path}`"),
        )
    })?;
    if !location.methods.contains(&head.method) {
        let detail = format!("`{}` is not taken here", head.method);
        return Err(
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, WRONG_METHOD, detail)
                .header(header::ALLOW, location.allow.clone()),
        );
    }
    let client = authenticate(connection, head, &location)?;
    if location.is_closed() {
        return Err(closed());
    }
    if !(connection.life.readiness)().ready {
        let detail = "messages cannot be stored now";
        return Err(Problem::busy(
            StatusCode::SERVICE_UNAVAILABLE,
            NOT_READY,
            detail,
        ));
    }
    if location.deliveries.capacity() == 0 {
        return Err(full());
    }
    let is_gzip = check_content(head, body, &location)?;
    let key = idempotency::from_headers(&head.headers)?;
    if key.is_none() && location.config.require_idempotency_key {
        let detail = "this location takes requests with an Idempotency-Key only";
        return Err(Problem::new(StatusCode::BAD_REQUEST, KEY_REQUIRED, detail));
    }
    let digests = Digests::from_headers(&head.headers)?;
    let shape = cloudevents::shape(&head.headers, location.config.cloudevents)?;
    Ok(Admitted {
        location,
        client,
        key,
        digests,
        is_gzip,
        shape,
    })
}

/// HTTP/1.1 wants exactly one Host (RFC 9112, 3.2); proxies that disagree about it can be misled.
fn check_host(head: &Parts) -> Result<(), Problem> {
    let hosts = head.headers.get_all(header::HOST).iter().count();
    if head.version == Version::HTTP_11 && hosts != 1 {
        let detail = format!("a request has one Host header, this one has {hosts}");
        // Who disagrees about the target may disagree about where the next request begins.
        return Err(Problem::new(StatusCode::BAD_REQUEST, BAD_REQUEST, detail)
            .header(header::CONNECTION, HeaderValue::from_static("close")));
    }
    Ok(())
}

fn authenticate(
    connection: &Connection,
    head: &Parts,
    location: &Location,
) -> Result<Option<Text>, Problem> {
    let subject = connection.certificate.as_ref().map(|shown| &shown.subject);
    if location.config.client_certificate && !subject.is_some_and(|s| location.takes_subject(s)) {
        let detail = "a client certificate that this location accepts is needed";
        return Err(Problem::new(StatusCode::FORBIDDEN, NO_CERTIFICATE, detail));
    }
    let Some(gate) = &location.gate else {
        return Ok(subject.cloned());
    };
    let admitted = gate.admit(&head.headers).map_err(|error| {
        tracing::error!(code = %error.code, location = %location.name, detail = error.detail,
            "a credential cannot be read");
        let detail = "credentials cannot be checked now";
        Problem::busy(StatusCode::SERVICE_UNAVAILABLE, NOT_READY, detail)
    })?;
    match admitted {
        Some(name) => Ok(Some(name)),
        None => {
            let detail = "the request carries no valid credential";
            Err(
                Problem::new(StatusCode::UNAUTHORIZED, NOT_AUTHENTICATED, detail)
                    .header(header::WWW_AUTHENTICATE, gate.challenge()),
            )
        }
    }
}

/// Whether the content is gzip.
fn check_content(head: &Parts, body: &Incoming, location: &Location) -> Result<bool, Problem> {
    if head.method == Method::GET {
        return Ok(false);
    }
    if !location.takes_type(&head.headers) {
        let detail = format!("this location takes {}", location.config.accept.join(", "));
        let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, WRONG_TYPE, detail);
        return Err(match location.accept_post() {
            Some(types) => problem.header(ACCEPT_POST, types),
            None => problem,
        });
    }
    let is_gzip = is_gzip(head, location)?;
    let max = location.config.max_body.bytes();
    let announced = body.size_hint().lower();
    if announced > max {
        let detail = format!("{announced} bytes are announced and {max} are allowed");
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            TOO_LARGE,
            detail,
        ));
    }
    Ok(is_gzip)
}

fn is_gzip(head: &Parts, location: &Location) -> Result<bool, Problem> {
    let enabled = location.config.gzip.enabled;
    let mut encodings = head.headers.get_all(header::CONTENT_ENCODING).iter();
    match (
        encodings.next().map(HeaderValue::as_bytes),
        encodings.next(),
    ) {
        (None, _) => Ok(false),
        (Some(one), None) if one.eq_ignore_ascii_case(b"identity") => Ok(false),
        (Some(one), None)
            if enabled
                && (one.eq_ignore_ascii_case(b"gzip") || one.eq_ignore_ascii_case(b"x-gzip")) =>
        {
            Ok(true)
        }
        _ => {
            let known = if enabled {
                "gzip, identity"
            } else {
                "identity"
            };
            let detail = format!("supported encodings: {known}");
            let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, WRONG_ENCODING, detail);
            Err(problem.header(header::ACCEPT_ENCODING, HeaderValue::from_static(known)))
        }
    }
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
    event: Option<Event>,
    body: Body,
    settle: HttpSettle,
) -> Result<Delivery, AdapterError> {
    let Admitted {
        location,
        client,
        key,
        ..
    } = admitted;
    let mut context = properties::context(connection, head, client.as_ref(), key.as_ref());
    let mut content_type = None;
    let mut event_key = None;
    if let Some(event) = event {
        event.promote(&mut context);
        event_key = Some(event.key()?);
        content_type = event.content_type;
    }
    let scope = client.unwrap_or_else(|| Text::lossy(""));
    Ok(Delivery {
        context,
        content_type: content_type.or_else(|| declared_type(head)),
        body,
        key: key.or(event_key).map(|key| NaturalKey { scope, key }),
        source: None,
        reply: match location.config.answer_within {
            Some(within) => Awaited::Answer(within.duration()),
            None => Awaited::Receipt,
        },
        settle: Box::new(settle),
    })
}

fn declared_type(head: &Parts) -> Option<Text> {
    let value = head.headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Text::new(value).ok()
}

fn full() -> Problem {
    let detail = "the receive location has as many requests in flight as it may";
    Problem::busy(StatusCode::TOO_MANY_REQUESTS, OVERLOADED, detail)
}

fn closed() -> Problem {
    let detail = "the receive location is being closed";
    Problem::busy(StatusCode::SERVICE_UNAVAILABLE, CLOSED, detail)
}

fn accepted_reply(location: &Location, accepted: Accepted) -> Reply {
    let id = accepted.message.to_string();
    let mut reply = match accepted.answer {
        Some(answer) => answer_reply(location, answer),
        None => receipt(location, &id),
    };
    let headers = reply.headers_mut();
    if let Ok(place) = HeaderValue::from_str(&format!("/messages/{id}")) {
        headers.insert(header::LOCATION, place);
    }
    if accepted.replayed {
        headers.insert(REPLAYED, HeaderValue::from_static("true"));
    }
    reply
}

fn receipt(location: &Location, id: &str) -> Reply {
    let mut reply = match location.config.returns {
        Returns::Id => Response::new(Full::from(format!("{{\"id\":\"{id}\"}}"))),
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
    deliveries: mpsc::Receiver<Delivery>,
}

impl HttpReceive {
    pub(crate) fn new(
        location: Arc<Location>,
        routes: Arc<Routes>,
        deliveries: mpsc::Receiver<Delivery>,
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
        let ended = || AdapterError::new(ErrorKind::Ended, CLOSED, "the location is closed");
        self.deliveries.recv().await.ok_or_else(ended)
    }

    async fn close(&mut self) {
        self.deliveries.close();
        // What the engine did not take yet is told at once, and can go to another node.
        while let Some(delivery) = self.deliveries.recv().await {
            let rejected = Rejected {
                kind: RejectKind::Unavailable,
                code: CLOSED,
                detail: "the receive location is being closed".to_owned(),
                retry_after: None,
            };
            delivery.settle.reject(rejected).await;
        }
    }
}

impl Drop for HttpReceive {
    fn drop(&mut self) {
        self.routes.remove(&self.location);
    }
}
