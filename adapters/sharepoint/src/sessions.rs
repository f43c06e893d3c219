//! Sessions by NTLM: a few connections, each logged in by itself and used by one call at a time, the body of its
//! answer included.
//!
//! A login asks with a read that changes nothing, and answers the question of the farm with the call itself: so
//! nothing is sent twice with effect, and a call needs no connection that outlives it. A farm that answers 401 has
//! done nothing.

use std::{
    fmt,
    future::Future,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, HOST, RETRY_AFTER, USER_AGENT},
    response::Parts,
};
use http_body_util::BodyExt as _;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, Connection, SendRequest},
};
use quayside_adapter_api::{
    AdapterError, ErrorKind, SecretRef, Secrets, Services,
    model::{Clock, Code, Monotonic},
};
use reqwest::Body;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

use crate::{
    accounts::{Account, Accounts, Trial},
    client::{AGENT, Failure, IDLE, REFUSAL_MAX},
    codes,
    config::Farm,
    dial::{Dial, Dialer, Io},
    error,
    ntlm::{self, Asked, Handshake},
    status::{Refusal, Verdict},
};

/// How many calls go on at once. More wait: a farm is not asked faster by more connections.
const CALLS: usize = 8;

/// How many documents are fetched at once: as many as a location may. They do not share the room of calls, which
/// are made while documents are read.
const DOCUMENTS: usize = 32;

/// How long a connection may take to show that it still is there.
const LOOK: Duration = Duration::from_secs(1);

/// What a login asks for.
const WHO: &str = "web/currentuser?$select=Id";

/// The sessions of a port or location.
pub(crate) struct Sessions {
    dial: Box<dyn Dial>,
    host: HeaderValue,
    /// The path that a login asks for.
    who: Uri,
    user: String,
    password: SecretRef,
    account: Arc<Account>,
    /// How long one step may take.
    silence: Duration,
    clock: Arc<dyn Clock>,
    secrets: Arc<dyn Secrets>,
    pool: Arc<Pool>,
    calls: Arc<Semaphore>,
    documents: Arc<Semaphore>,
}

/// The sessions that nobody uses.
struct Pool {
    idle: Mutex<Vec<(Session, Monotonic)>>,
    clock: Arc<dyn Clock>,
}

/// One connection.
struct Session {
    sender: SendRequest<Body>,
    /// Gone when the connection is. It is moved on by whoever waits for something of it.
    line: Option<Moving>,
}

/// A connection that goes on as long as it is polled.
type Moving = Pin<Box<Connection<Box<dyn Io>, Body>>>;

/// How long an answer may take.
#[derive(Debug, Clone, Copy)]
struct Limit {
    silence: Duration,
    until: Option<Instant>,
}

/// Why there is no answer.
enum Broken {
    /// Nothing was sent.
    NotSent(String),
    /// It was sent, and the answer did not come.
    Lost(String),
}

/// How a login stands.
enum Login {
    /// This goes along with the call.
    Answer(Session, HeaderValue, Trial),
    /// The farm has no time for it.
    Busy(reqwest::Response),
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sessions").field(&self.dial).finish()
    }
}

impl Sessions {
    /// Prepares to log in as `user`; connects to nothing.
    ///
    /// # Errors
    /// `Config` if the address or a certificate cannot be used.
    pub(crate) fn new(
        farm: &Farm,
        user: &str,
        password: &SecretRef,
        services: &Services,
        accounts: &Accounts,
    ) -> Result<Self, AdapterError> {
        let dial = Box::new(Dialer::new(farm, &*services.secrets)?);
        let account = accounts.of(farm.site.origin(), user);
        let (clock, secrets) = (services.clock.clone(), services.secrets.clone());
        Self::over(dial, farm, (user, password, account), clock, secrets)
    }

    fn over(
        dial: Box<dyn Dial>,
        farm: &Farm,
        (user, password, account): (&str, &SecretRef, Arc<Account>),
        clock: Arc<dyn Clock>,
        secrets: Arc<dyn Secrets>,
    ) -> Result<Self, AdapterError> {
        let wrong = || error::config(codes::BAD_SETTING, "the address of the site is no URI");
        let who: Uri = farm.site.api(WHO).parse().map_err(|_| wrong())?;
        let host = who.authority().map(|host| host.as_str());
        let host = host.and_then(|host| HeaderValue::from_str(host).ok());
        Ok(Self {
            dial,
            host: host.ok_or_else(wrong)?,
            who: path_of(&who),
            user: user.to_owned(),
            password: password.clone(),
            account,
            silence: farm.timeout.duration(),
            clock: clock.clone(),
            secrets,
            pool: Arc::new(Pool {
                idle: Mutex::default(),
                clock,
            }),
            calls: Arc::new(Semaphore::new(CALLS)),
            documents: Arc::new(Semaphore::new(DOCUMENTS)),
        })
    }

    /// Makes a call on a session that is logged in, or that logs in with it.
    ///
    /// # Errors
    /// `NotDone` if it was not made or the farm refused the account, `Unknown` if it got no answer.
    pub(crate) async fn send(
        &self,
        request: reqwest::Request,
        doing: &str,
    ) -> Result<reqwest::Response, Failure> {
        let whole = request.timeout().copied();
        let room = match whole {
            Some(_) => &self.calls,
            None => &self.documents,
        };
        let room = room.clone().acquire_owned().await;
        let room = room.map_err(|_| Failure::NotDone(error::closed()))?;
        let limit = Limit {
            silence: self.silence,
            until: whole.map(|whole| Instant::now() + whole),
        };
        while let Some(mut session) = self.pool.take().await {
            let call = self.request(&request, None).map_err(Failure::NotDone)?;
            match session.exchange(call, limit).await {
                Err(Broken::NotSent(_)) => {}
                Err(Broken::Lost(why)) => return Err(self.lost(doing, &why)),
                Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED => {
                    let (parts, body) = session.whole(answer, limit).await;
                    if refusal(&parts, &body).verdict() == Verdict::Throttled {
                        return Ok(made_of(parts, body));
                    }
                    // The farm has forgotten who the connection is, and has done nothing.
                    break;
                }
                Ok(answer) => return Ok(self.streamed(answer, session, limit, room, true)),
            }
        }
        let (mut session, authorization, trial) = match self.login(doing, limit).await? {
            Login::Answer(session, authorization, trial) => (session, authorization, trial),
            Login::Busy(answer) => return Ok(answer),
        };
        let call = self
            .request(&request, Some(authorization))
            .map_err(Failure::NotDone)?;
        let answer = match session.exchange(call, limit).await {
            Ok(answer) => answer,
            Err(Broken::NotSent(why)) => {
                let why = format!("the connection was closed in the middle of the login: {why}");
                return Err(Failure::NotDone(self.not_reached(doing, &why)));
            }
            Err(Broken::Lost(why)) => return Err(self.lost(doing, &why)),
        };
        let status = answer.status();
        if status == StatusCode::UNAUTHORIZED {
            let (parts, body) = session.whole(answer, limit).await;
            if refusal(&parts, &body).verdict() == Verdict::Throttled {
                return Ok(made_of(parts, body));
            }
            return Err(Failure::NotDone(self.refused(doing, trial, &parts.headers)));
        }
        // Whatever stands before the farm says such things as well, whoever calls.
        let is_in = !is_passing(status) || answer.headers().contains_key("sprequestguid");
        if is_in {
            self.account.accepted(trial);
        }
        Ok(self.streamed(answer, session, limit, room, is_in))
    }

    /// Begins a login on a connection of its own: asks, and prepares the answer to what the farm asks.
    async fn login(&self, doing: &str, limit: Limit) -> Result<Login, Failure> {
        let password = self.text().map_err(Failure::NotDone)?;
        let now = || self.clock.monotonic();
        let trial = self.account.turn(&password, now).await.map_err(|left| {
            let why = format!(
                "the farm refused its password; the same one is tried again in {} s",
                left.as_secs() + 1
            );
            Failure::NotDone(self.wrong(doing, &why))
        })?;
        let reached = |why: String| Failure::NotDone(self.not_reached(doing, &why));
        let line = self.dial.dial().await.map_err(reached)?;
        let begun = Handshake::begin(&self.user, &password, line.binding.as_deref());
        let (handshake, first) = begun.map_err(|why| Failure::NotDone(self.wrong(doing, &why)))?;
        let made = http1::handshake(line.io).await;
        let (sender, connection) = made.map_err(|why| reached(error::chain(&why)))?;
        let mut session = Session {
            sender,
            line: Some(Box::pin(connection)),
        };
        let mut ask = Request::new(Body::from(""));
        *ask.method_mut() = Method::GET;
        *ask.uri_mut() = self.who.clone();
        ask.headers_mut()
            .insert(ACCEPT, HeaderValue::from_static("application/json"));
        let forms = HeaderValue::from_static("f");
        ask.headers_mut()
            .insert("x-forms_based_auth_accepted", forms);
        self.complete(&mut ask, Some(first));
        let answer = session.exchange(ask, limit).await;
        let answer = answer.map_err(|broken| match broken {
            Broken::NotSent(why) | Broken::Lost(why) => reached(why),
        })?;
        let status = answer.status();
        let (parts, body) = session.whole(answer, limit).await;
        if is_passing(status) || refusal(&parts, &body).verdict() == Verdict::Throttled {
            return Ok(Login::Busy(made_of(parts, body)));
        }
        let why = match (status, ntlm::asked(&parts.headers)) {
            (StatusCode::UNAUTHORIZED, Asked::Challenge(challenge)) => {
                let third = handshake.answer(challenge).map_err(|why| {
                    let what = format!("the farm's challenge: {why}");
                    Failure::NotDone(error::bad_answer(doing, what))
                })?;
                return Ok(Login::Answer(session, third, trial));
            }
            (StatusCode::UNAUTHORIZED, Asked::Offered) => {
                "the farm offers NTLM and does not go on with it".to_owned()
            }
            (StatusCode::UNAUTHORIZED, Asked::Other(schemes)) => {
                format!("the farm takes no NTLM, but {}", schemes.join(", "))
            }
            _ => format!("the farm answered {status} and asked nobody to log in"),
        };
        Err(Failure::NotDone(self.wrong(doing, &why)))
    }

    /// What becomes of a call whose login was refused.
    fn refused(&self, doing: &str, trial: Trial, headers: &HeaderMap) -> AdapterError {
        let again = matches!(ntlm::asked(headers), Asked::Challenge(_));
        let believed = self.account.refused(trial, self.clock.monotonic());
        if again {
            let why = "the farm asked again in the middle of the login: something between shares its connections \
                       among clients, which NTLM does not allow";
            return self.wrong(doing, why);
        }
        if believed {
            return self.wrong(doing, "the farm refused the name or the password");
        }
        let detail = format!(
            "{doing}: `{}`: the farm refused what it took before",
            self.user
        );
        AdapterError::new(ErrorKind::Retry(None), codes::LOGIN_REFUSED, detail)
    }

    fn wrong(&self, doing: &str, why: &str) -> AdapterError {
        let detail = format!("{doing}: `{}`: {why}", self.user);
        error::config(codes::LOGIN_REFUSED, detail)
    }

    fn not_reached(&self, doing: &str, why: &str) -> AdapterError {
        self.passing(codes::NOT_REACHED, doing, why)
    }

    fn lost(&self, doing: &str, why: &str) -> Failure {
        Failure::Unknown(self.passing(codes::OUTCOME_UNKNOWN, doing, why))
    }

    fn passing(&self, code: Code, doing: &str, why: &str) -> AdapterError {
        let host = self.host.to_str().unwrap_or_default();
        let detail = if why.starts_with(host) {
            format!("{doing}: {why}")
        } else {
            format!("{doing}: {host}: {why}")
        };
        AdapterError::new(ErrorKind::Retry(None), code, detail)
    }

    /// A call as it goes over a connection.
    fn request(
        &self,
        request: &reqwest::Request,
        authorization: Option<HeaderValue>,
    ) -> Result<Request<Body>, AdapterError> {
        let unfit =
            |why: &str| AdapterError::new(ErrorKind::Rejected, codes::NAME_REFUSED, why.to_owned());
        let copy = request.try_clone();
        let copy = copy.ok_or_else(|| unfit("the content cannot be sent twice"))?;
        let mut call: Request<Body> = copy
            .try_into()
            .map_err(|why: reqwest::Error| unfit(&error::chain(&why)))?;
        *call.uri_mut() = path_of(call.uri());
        self.complete(&mut call, authorization);
        Ok(call)
    }

    /// Adds what every request has.
    fn complete(&self, call: &mut Request<Body>, authorization: Option<HeaderValue>) {
        let headers = call.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization);
        }
    }

    /// The password. It is looked up for each login, so that one that was changed is found.
    fn text(&self) -> Result<String, AdapterError> {
        let value = self.secrets.resolve(&self.password)?;
        let text = value.expose_text().map(str::to_owned);
        text.ok_or_else(|| {
            let detail = format!("`{}` is not text", self.password.secret);
            error::config(codes::BAD_CREDENTIAL, detail)
        })
    }

    /// An answer that holds its session until its end.
    fn streamed(
        &self,
        answer: Response<Incoming>,
        session: Session,
        limit: Limit,
        room: OwnedSemaphorePermit,
        is_in: bool,
    ) -> reqwest::Response {
        let (parts, body) = answer.into_parts();
        let reading = Reading {
            body,
            session,
            limit,
            pool: is_in.then(|| self.pool.clone()),
            _room: room,
        };
        let body = Body::wrap_stream(stream::try_unfold(reading, Reading::next));
        made_of(parts, body)
    }
}

impl Pool {
    /// The session that was used last, if it still is there.
    async fn take(&self) -> Option<Session> {
        loop {
            let (mut session, since) = self.all().pop()?;
            let idle = self.clock.monotonic().since(since);
            if idle < IDLE && session.is_there().await {
                return Some(session);
            }
        }
    }

    fn put(&self, session: Session) {
        if session.line.is_some() {
            let now = self.clock.monotonic();
            let mut all = self.all();
            all.retain(|(_, since)| now.since(*since) < IDLE);
            all.push((session, now));
        }
    }

    fn all(&self) -> std::sync::MutexGuard<'_, Vec<(Session, Monotonic)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    async fn is_there(&mut self) -> bool {
        let ready = self.line.drive(self.sender.ready());
        let ready = timeout(LOOK, ready).await;
        matches!(ready, Ok(Ok(()))) && self.line.is_some()
    }

    /// Sends a request, and waits for the head of its answer.
    async fn exchange(
        &mut self,
        request: Request<Body>,
        limit: Limit,
    ) -> Result<Response<Incoming>, Broken> {
        if !self.is_there().await {
            return Err(Broken::NotSent("the connection was closed".to_owned()));
        }
        let answer = self.line.drive(self.sender.try_send_request(request));
        match limit.bound(answer).await {
            Err(why) => Err(Broken::Lost(why)),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(mut failed)) => {
                let unsent = failed.take_message().is_some();
                let why = error::chain(failed.error());
                Err(match unsent {
                    true => Broken::NotSent(why),
                    false => Broken::Lost(why),
                })
            }
        }
    }

    /// Reads a short answer, or the beginning of one that is not: then the connection is not used again.
    async fn whole(&mut self, answer: Response<Incoming>, limit: Limit) -> (Parts, Bytes) {
        let (parts, mut body) = answer.into_parts();
        let mut all = BytesMut::new();
        while all.len() <= REFUSAL_MAX {
            match limit.bound(self.line.drive(body.frame())).await {
                Ok(None) => return (parts, all.freeze()),
                Ok(Some(Ok(frame))) => {
                    all.extend_from_slice(&frame.into_data().unwrap_or_default());
                }
                Ok(Some(Err(_))) | Err(_) => break,
            }
        }
        self.line = None;
        (parts, all.freeze())
    }
}

/// Moves a connection on while something of it is waited for.
trait Drive {
    fn drive<F: Future>(&mut self, work: F) -> impl Future<Output = F::Output>;
}

impl Drive for Option<Moving> {
    async fn drive<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| {
            if let Some(line) = self
                && line.as_mut().poll(cx).is_ready()
            {
                *self = None;
            }
            work.as_mut().poll(cx)
        })
        .await
    }
}

impl Limit {
    async fn bound<F: Future>(self, work: F) -> Result<F::Output, String> {
        let until = self.until.unwrap_or_else(|| Instant::now() + self.silence);
        let done = timeout_at(until, work).await;
        done.map_err(|_| "no answer in time".to_owned())
    }
}

/// The body of an answer, with its session.
struct Reading {
    body: Incoming,
    session: Session,
    limit: Limit,
    /// Where the session goes at the end; nowhere if it is not known to be logged in.
    pool: Option<Arc<Pool>>,
    _room: OwnedSemaphorePermit,
}

impl Reading {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        loop {
            let frame = self.session.line.drive(self.body.frame());
            let frame = self.limit.bound(frame).await.map_err(io::Error::other)?;
            match frame.transpose().map_err(io::Error::other)? {
                None => {
                    if let Some(pool) = self.pool {
                        pool.put(self.session);
                    }
                    return Ok(None);
                }
                Some(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some((data, self)));
                    }
                }
            }
        }
    }
}

/// What a request names behind the host.
fn path_of(uri: &Uri) -> Uri {
    let path = uri.path_and_query().cloned();
    path.map_or_else(Uri::default, Uri::from)
}

/// Whether an answer may be that of something before the farm.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

fn refusal(parts: &Parts, body: &[u8]) -> Refusal {
    let pause = parts.headers.get(RETRY_AFTER).map(|_| Duration::ZERO);
    Refusal::read(parts.status.as_u16(), body, pause)
}

fn made_of(parts: Parts, body: impl Into<Body>) -> reqwest::Response {
    Response::from_parts(parts, body.into()).into()
}

#[cfg(test)]
mod tests;
