//! One call to the farm: with the credential, the form digest where one is needed, and the peace that it asks for.
//!
//! It repeats a call only when the farm surely did nothing: for an old digest and for an old token, once each. All
//! else is for the caller, who knows what a repeat would do.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use quayside_adapter_api::{AdapterError, ErrorKind, Services, model::Monotonic};
use reqwest::{
    Certificate, Method, RequestBuilder, Response, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, IF_MATCH, RETRY_AFTER},
    redirect,
};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::{
    accounts::Accounts,
    auth::Login,
    codes,
    config::{Auth, Farm},
    error,
    gate::{Gate, Pass},
    odata::Site,
    pem,
    publish::Trouble,
    sessions::Sessions,
    status::{Refusal, Verdict, pause},
};

/// The largest answer that is no document, in bytes.
const ANSWER_MAX: usize = 8 * 1024 * 1024;

/// How much of a refusal is read, in bytes.
pub(crate) const REFUSAL_MAX: usize = 48 * 1024;

/// How long a connection that nobody uses is kept.
pub(crate) const IDLE: Duration = Duration::from_secs(20);

/// The form that farms ask for, so that they throttle by name and not by guess.
pub(crate) const AGENT: &str = concat!("NONISV|Quayside|Gateway/", env!("CARGO_PKG_VERSION"));

/// The form of JSON without addresses and types.
const JSON: &str = "application/json;odata=nometadata";

/// A farm as one port or location sees it.
pub(crate) struct Client {
    pub(crate) site: Site,
    http: reqwest::Client,
    timeout: Duration,
    login: Login,
    /// Where connections log in and not calls.
    sessions: Option<Sessions>,
    gate: Gate,
    services: Services,
    /// Held while one is fetched.
    digest: Mutex<Option<(String, Monotonic)>>,
}

/// A call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    method: Method,
    target: String,
    /// The method that is meant: proxies let POST through.
    tunnelled: Option<&'static str>,
    if_match: Option<String>,
    payload: Payload,
    /// Whether the answer is a document, which takes as long as it takes.
    streams: bool,
    /// What it does, for people.
    doing: &'static str,
}

#[derive(Debug, Clone)]
enum Payload {
    None,
    Json(Bytes),
    Bytes(Bytes),
}

/// Why a call did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was not made, or the farm surely did nothing.
    NotDone(AdapterError),
    /// It was made and got no answer.
    Unknown(AdapterError),
    /// The farm said no.
    Refused(Refusal, &'static str),
}

impl Failure {
    /// What the farm meant, if it said something.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::Refused(refusal, _) => Some(refusal.verdict()),
            _ => None,
        }
    }

    /// Whether the same step can be made again soon.
    pub(crate) fn trouble(&self) -> Trouble {
        match self {
            Self::NotDone(_) => Trouble::NotAsked,
            Self::Unknown(_) => Trouble::Unknown,
            Self::Refused(refusal, _) if refusal.verdict() == Verdict::Exists => Trouble::Taken,
            Self::Refused(refusal, _) if refusal.is_passing() => Trouble::Unknown,
            Self::Refused(..) => Trouble::Lasting,
        }
    }

    /// What the engine is told if nothing better is known.
    pub(crate) fn error(&self) -> AdapterError {
        match self {
            Self::NotDone(error) | Self::Unknown(error) => error.clone(),
            Self::Refused(refusal, doing) => refusal.error(doing),
        }
    }
}

impl Call {
    /// Reads something.
    pub(crate) fn get(doing: &'static str, target: impl Into<String>) -> Self {
        Self::new(Method::GET, doing, target.into(), Payload::None)
    }

    /// Reads a document.
    pub(crate) fn document(doing: &'static str, target: impl Into<String>) -> Self {
        let mut call = Self::get(doing, target);
        call.streams = true;
        call
    }

    /// Does something.
    pub(crate) fn post(doing: &'static str, target: impl Into<String>) -> Self {
        Self::new(Method::POST, doing, target.into(), Payload::None)
    }

    /// Does something with values.
    pub(crate) fn json(doing: &'static str, target: impl Into<String>, value: &Value) -> Self {
        let json = Payload::Json(value.to_string().into());
        Self::new(Method::POST, doing, target.into(), json)
    }

    /// Does something with bytes.
    pub(crate) fn bytes(doing: &'static str, target: impl Into<String>, bytes: Bytes) -> Self {
        Self::new(Method::POST, doing, target.into(), Payload::Bytes(bytes))
    }

    /// Means another method than POST, whatever the state of what it is made on.
    pub(crate) fn meaning(mut self, method: &'static str) -> Self {
        self.tunnelled = Some(method);
        self.if_match = Some("*".to_owned());
        self
    }

    fn new(method: Method, doing: &'static str, target: String, payload: Payload) -> Self {
        Self {
            method,
            target,
            tunnelled: None,
            if_match: None,
            payload,
            streams: false,
            doing,
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("site", &self.site)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Prepares to call a farm; connects to nothing.
    ///
    /// # Errors
    /// `Config` if a certificate cannot be used.
    pub(crate) fn new(
        farm: Farm,
        services: &Services,
        accounts: &Accounts,
    ) -> Result<Arc<Self>, AdapterError> {
        let http = build(&farm, services)?;
        let sessions = match &farm.auth {
            Auth::Ntlm { user, password } => {
                Some(Sessions::new(&farm, user, password, services, accounts)?)
            }
            _ => None,
        };
        let timeout = farm.timeout.duration();
        let login = Login::new(farm.auth, farm.site.origin(), http.clone(), services);
        Ok(Arc::new(Self {
            site: farm.site,
            http,
            timeout,
            login,
            sessions,
            gate: Gate::default(),
            services: services.clone(),
            digest: Mutex::new(None),
        }))
    }

    /// Makes a call whose answer is JSON or nothing.
    pub(crate) async fn call(&self, call: &Call) -> Result<Value, Failure> {
        let response = self.exchange(call).await?;
        let status = response.status().as_u16();
        let bytes = read_up_to(response, ANSWER_MAX).await;
        let bytes = bytes.map_err(|why| Failure::Unknown(unknown(call.doing, &why)))?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        let answer: Value = serde_json::from_slice(&bytes).map_err(|_| {
            let what = "the answer is no JSON";
            Failure::Unknown(error::bad_answer(call.doing, what))
        })?;
        // Seen of proxies: an error with the status of a success.
        let said = answer.get("odata.error").or_else(|| answer.get("error"));
        if said.is_some_and(|error| error.get("code").is_some()) {
            let refusal = Refusal::read(status, &bytes, None);
            return Err(Failure::Refused(refusal, call.doing));
        }
        Ok(answer)
    }

    /// Makes a call whose answer is a document, to be read in pieces.
    pub(crate) async fn open(&self, call: &Call) -> Result<Response, Failure> {
        self.exchange(call).await
    }

    /// How much longer the farm wants peace.
    pub(crate) fn pause(&self) -> Duration {
        match self.gate.pass(self.services.clock.monotonic()) {
            Pass::Now => Duration::ZERO,
            Pass::After(left) | Pass::TooLong(left) => left,
        }
    }

    async fn exchange(&self, call: &Call) -> Result<Response, Failure> {
        let (mut new_token, mut new_digest) = (false, false);
        loop {
            self.pass().await.map_err(Failure::NotDone)?;
            let authorization = self.login.authorization().await.map_err(Failure::NotDone)?;
            let mut request = self.request(call)?;
            if let Some(authorization) = &authorization {
                request = request.header(AUTHORIZATION, authorization);
            }
            let digest = if call.method != Method::GET && self.login.needs_digest() {
                Some(self.digest().await?)
            } else {
                None
            };
            if let Some(digest) = &digest {
                request = request.header("X-RequestDigest", digest);
            }
            let sent_at = self.services.clock.monotonic();
            let response = self.send(request, call.doing).await?;
            let Some(refusal) = self.judge(&response) else {
                self.gate.answered();
                return Ok(response);
            };
            let refusal = read_refusal(refusal, response).await;
            match refusal.verdict() {
                Verdict::Unauthorized
                    if !new_token && self.login.refused(authorization.as_ref()).await =>
                {
                    new_token = true;
                }
                Verdict::Digest if !new_digest && digest.is_some() => {
                    new_digest = true;
                    self.forget_digest(digest.as_deref()).await;
                }
                Verdict::Throttled => {
                    let fraction = self.services.entropy.fraction();
                    let now = self.services.clock.monotonic();
                    self.gate.close(refusal.asked(), fraction, sent_at, now);
                    return Err(Failure::Refused(refusal, call.doing));
                }
                _ => return Err(Failure::Refused(refusal, call.doing)),
            }
        }
    }

    fn request(&self, call: &Call) -> Result<RequestBuilder, Failure> {
        let url = Url::parse(&self.site.api(&call.target)).map_err(|why| {
            let detail = format!("{}: {why}", call.doing);
            Failure::NotDone(AdapterError::new(
                ErrorKind::Rejected,
                codes::NAME_REFUSED,
                detail,
            ))
        })?;
        let mut request = self
            .http
            .request(call.method.clone(), url)
            .header(ACCEPT, JSON);
        if !call.streams {
            request = request.timeout(self.timeout);
        }
        if self.login.needs_digest() {
            // Zones with several ways to log in otherwise answer with a page that asks for a name.
            request = request.header("X-FORMS_BASED_AUTH_ACCEPTED", "f");
        }
        if let Some(method) = call.tunnelled {
            request = request.header("X-HTTP-Method", method);
        }
        if let Some(etag) = &call.if_match {
            request = request.header(IF_MATCH, etag);
        }
        Ok(match &call.payload {
            Payload::None if call.method == Method::GET => request,
            // Some servers refuse a POST that says nothing of its length.
            Payload::None => request.header(CONTENT_LENGTH, 0),
            Payload::Json(json) => request.header(CONTENT_TYPE, JSON).body(json.clone()),
            Payload::Bytes(bytes) => request
                .header(CONTENT_TYPE, "application/octet-stream")
                .body(bytes.clone()),
        })
    }

    async fn send(&self, request: RequestBuilder, doing: &str) -> Result<Response, Failure> {
        let sent = match (&self.sessions, request.build()) {
            (_, Err(unfit)) => Err(unfit),
            (Some(sessions), Ok(request)) => return sessions.send(request, doing).await,
            (None, Ok(request)) => self.http.execute(request).await,
        };
        sent.map_err(|error| {
            let shown = error.url().cloned();
            let error = error.without_url();
            let detail = match shown {
                Some(url) => format!("{doing}: {}", error::unreached(&url, &error)),
                None => format!("{doing}: {}", error::chain(&error)),
            };
            if error.is_builder() {
                let error = AdapterError::new(ErrorKind::Rejected, codes::NAME_REFUSED, detail);
                return Failure::NotDone(error);
            }
            if error.is_connect() {
                let kind = ErrorKind::Retry(None);
                return Failure::NotDone(AdapterError::new(kind, codes::NOT_REACHED, detail));
            }
            let kind = ErrorKind::Retry(None);
            Failure::Unknown(AdapterError::new(kind, codes::OUTCOME_UNKNOWN, detail))
        })
    }

    /// The status and the pause of an answer that is an error.
    fn judge(&self, response: &Response) -> Option<(u16, Option<Duration>)> {
        let status = response.status();
        if status.is_success() {
            return None;
        }
        let text = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let pause = pause(
            text(RETRY_AFTER.as_str()),
            text("ratelimit-reset"),
            self.services.clock.now(),
        );
        Some((status.as_u16(), pause))
    }

    /// Waits as long as the farm wants peace, if that is not too long.
    async fn pass(&self) -> Result<(), AdapterError> {
        loop {
            let left = match self.gate.pass(self.services.clock.monotonic()) {
                Pass::Now => return Ok(()),
                Pass::After(left) => left,
                Pass::TooLong(left) => {
                    let detail = format!("the farm wants peace for {} s more", left.as_secs());
                    let kind = ErrorKind::Retry(Some(left));
                    return Err(AdapterError::new(kind, codes::THROTTLED, detail));
                }
            };
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                () = self.services.stopping.cancelled() => {
                    let kind = ErrorKind::Retry(Some(left));
                    return Err(AdapterError::new(kind, codes::THROTTLED, "the host stops"));
                }
            }
        }
    }

    /// A form digest that has a fifth of its life before it.
    async fn digest(&self) -> Result<String, Failure> {
        let mut digest = self.digest.lock().await;
        let now = self.services.clock.monotonic();
        if let Some((digest, _)) = digest.as_ref().filter(|(_, until)| now < *until) {
            return Ok(digest.clone());
        }
        let doing = "asking for a form digest";
        let authorization = self.login.authorization().await.map_err(Failure::NotDone)?;
        let call = Call::post(doing, "contextinfo");
        let mut request = self.request(&call)?;
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        // Nothing is done by it, so nothing of what it is for is done either.
        let not_done = |failure: Failure| Failure::NotDone(failure.error());
        let response = self.send(request, doing).await.map_err(not_done)?;
        if let Some(refusal) = self.judge(&response) {
            let refusal = read_refusal(refusal, response).await;
            return Err(Failure::Refused(refusal, doing));
        }
        let bytes = read_up_to(response, ANSWER_MAX).await.unwrap_or_default();
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let Some(value) = answer["FormDigestValue"].as_str() else {
            let what = "there is no digest in the answer";
            return Err(Failure::NotDone(error::bad_answer(doing, what)));
        };
        let life = answer["FormDigestTimeoutSeconds"].as_u64().unwrap_or(60);
        let life = Duration::from_secs(life).mul_f64(0.8);
        *digest = Some((value.to_owned(), now.plus(life)));
        Ok(value.to_owned())
    }

    /// Forgets a digest that was refused, unless another call has replaced it by now.
    async fn forget_digest(&self, refused: Option<&str>) {
        let mut digest = self.digest.lock().await;
        if digest.as_ref().map(|(value, _)| value.as_str()) == refused {
            *digest = None;
        }
    }
}

async fn read_refusal((status, pause): (u16, Option<Duration>), response: Response) -> Refusal {
    let body = read_up_to(response, REFUSAL_MAX).await.unwrap_or_default();
    Refusal::read(status, &body, pause)
}

/// Reads an answer.
///
/// # Errors
/// What is wrong: it broke off, or it is longer than `max`.
async fn read_up_to(mut response: Response, max: usize) -> Result<Bytes, String> {
    let mut all = bytes::BytesMut::new();
    while let Some(piece) = response
        .chunk()
        .await
        .map_err(|why| error::chain(&why.without_url()))?
    {
        if all.len() + piece.len() > max {
            return Err(format!("the answer is longer than {max} bytes"));
        }
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

fn unknown(doing: &str, why: &str) -> AdapterError {
    let detail = format!("{doing}: {why}");
    AdapterError::new(ErrorKind::Retry(None), codes::OUTCOME_UNKNOWN, detail)
}

fn build(farm: &Farm, services: &Services) -> Result<reqwest::Client, AdapterError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(AGENT)
        .connect_timeout(farm.connect_timeout.duration())
        .read_timeout(farm.timeout.duration())
        .pool_idle_timeout(IDLE)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(15))
        // A redirect leads to a page for people to log in.
        .redirect(redirect::Policy::none())
        .no_proxy();
    if let Some(ca) = &farm.ca {
        let roots = pem::certificates(ca, &*services.secrets)?;
        let roots: Result<Vec<_>, _> = roots.iter().map(|der| Certificate::from_der(der)).collect();
        let roots = roots.map_err(|why| pem::unusable(ca, &error::chain(&why)))?;
        builder = builder.tls_certs_only(roots);
    }
    builder
        .build()
        .map_err(|why| error::config(codes::BAD_CREDENTIAL, error::chain(&why)))
}
