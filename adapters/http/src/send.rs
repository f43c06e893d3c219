//! Sending one message: one request, and what its outcome means for the delivery.

use std::{error::Error as _, fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use quayside_adapter_api::{
    AdapterError, Answer, ErrorKind, Outbound, Secrets, Sent, Services, Transmit,
    model::{Clock, Content, INLINE_MAX, Name, Text},
};
use reqwest::{Body, Client, Response, Url};

use crate::{
    SendConfig,
    answer::{End, read_up_to, refusal},
    client,
    error::{
        ANSWER_TOO_LARGE, BAD_REDIRECT, BAD_RENDERING, BAD_URL, BODY_UNREADABLE,
        CREDENTIAL_REFUSED, NO_TARGET, NOT_REACHED, NOT_TRUSTED, OUTCOME_UNKNOWN, PARTNER_BUSY,
        PARTNER_GONE, chain, config as config_error, unreached,
    },
    headers::{Credential, Headers},
    target::Target,
};

/// How much of an unwanted answer is read, so that its connection can be used again.
const DRAIN: usize = 64 * 1024;

/// An open send transport.
pub(crate) struct HttpTransmit {
    name: Name,
    client: Client,
    target: Target,
    method: Method,
    headers: Headers,
    credential: Option<Credential>,
    /// Whether a partner recognises a repeat, by key or by the nature of the method.
    repeatable: bool,
    max_redirects: usize,
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for HttpTransmit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransmit")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A request on its way, which redirects may change.
struct Request {
    method: Method,
    url: Url,
    with_body: bool,
}

impl HttpTransmit {
    /// Prepares the transport of the port `name`; connects to nothing.
    ///
    /// # Errors
    /// `Config` if the block, a certificate or a key cannot be used.
    pub(crate) fn open(
        name: &Name,
        config: SendConfig,
        services: Services,
    ) -> Result<Self, AdapterError> {
        let client = client::build(&config, &*services.secrets)?;
        let target = Target::parse(&config.url).map_err(|why| config_error(BAD_URL, why))?;
        let method = Method::from_bytes(config.method.as_bytes())
            .map_err(|error| config_error(BAD_URL, error.to_string()))?;
        let headers = Headers::new(&config, &services)?;
        let repeatable = config.idempotency_key || method.is_idempotent();
        let credential = config
            .auth
            .map(|auth| Credential::new(auth, &client, &services));
        Ok(Self {
            name: name.clone(),
            client,
            target,
            method,
            headers,
            credential,
            repeatable,
            max_redirects: config.max_redirects,
            secrets: services.secrets,
            clock: services.clock,
        })
    }

    /// Sends until the partner's answer is none that this adapter itself acts on.
    async fn exchange(&self, outbound: &Outbound) -> Result<Response, AdapterError> {
        let mut headers = self.headers.of(outbound)?;
        let mut request = Request {
            method: self.method.clone(),
            url: self.target.render(&outbound.rendered)?,
            with_body: self.method != Method::GET,
        };
        let mut renewed = false;
        let mut redirects = 0;
        loop {
            let authorization = self.authorize(&mut headers).await?;
            let response = self.attempt(&request, &headers, outbound).await?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED
                && !renewed
                && let (Some(credential), Some(refused)) = (&self.credential, &authorization)
                && credential.renew(refused).await
            {
                renewed = true;
                continue;
            }
            if !is_redirect(status) || redirects == self.max_redirects {
                return Ok(response);
            }
            redirects += 1;
            follow(&mut request, &response)?;
        }
    }

    /// Where the message itself names the place, a place that is gone or has moved is the message's fault and
    /// says nothing about those of others.
    fn of_this_address(&self, error: AdapterError) -> AdapterError {
        let of_place = [PARTNER_GONE.code, BAD_REDIRECT.code].contains(&error.code.code);
        if self.target.is_fixed() || !of_place {
            return error;
        }
        AdapterError {
            kind: ErrorKind::Rejected,
            ..error
        }
    }

    async fn authorize(
        &self,
        headers: &mut HeaderMap,
    ) -> Result<Option<HeaderValue>, AdapterError> {
        let Some(credential) = &self.credential else {
            return Ok(None);
        };
        let value = credential.authorization(&*self.secrets).await?;
        headers.insert(header::AUTHORIZATION, value.clone());
        Ok(Some(value))
    }

    async fn attempt(
        &self,
        request: &Request,
        headers: &HeaderMap,
        outbound: &Outbound,
    ) -> Result<Response, AdapterError> {
        let mut builder = self
            .client
            .request(request.method.clone(), request.url.clone())
            .headers(headers.clone());
        if request.with_body {
            builder = match &outbound.message.body().content {
                Content::Inline(bytes) => builder.body(bytes.clone()),
                Content::Stored(stored) => builder
                    .header(header::CONTENT_LENGTH, stored.len)
                    .body(Body::wrap_stream(outbound.body())),
            };
        }
        let prepared = builder
            .build()
            .map_err(|error| failure(&request.url, &error.without_url()))?;
        if !outbound.may_act() {
            let detail = "the process is not trusted to act any more";
            return Err(AdapterError::new(
                ErrorKind::Retry(None),
                NOT_TRUSTED,
                detail,
            ));
        }
        let sent = self.client.execute(prepared).await;
        sent.map_err(|error| failure(&request.url, &error.without_url()))
    }

    async fn finish(&self, response: Response, wanted: bool) -> Result<Sent, AdapterError> {
        let status = response.status();
        let detail = Text::lossy(&status.to_string());
        if !wanted {
            // The status was the word; what becomes of the rest changes nothing.
            let known = response.content_length();
            if known.is_none_or(|len| len <= DRAIN as u64) {
                let _ = read_up_to(response, DRAIN).await;
            }
            return Ok(Sent {
                detail,
                answer: None,
            });
        }
        let content_type = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| Text::new(value).ok());
        let body = read_up_to(response, INLINE_MAX).await;
        match body.end {
            End::Complete => {
                let answer = Answer {
                    status: status.as_u16(),
                    content_type,
                    body: body.bytes,
                };
                Ok(Sent {
                    detail,
                    answer: Some(answer),
                })
            }
            End::TooLong => {
                let detail = format!("the partner answered {status} with more than 256 KiB");
                let error = AdapterError::new(ErrorKind::Rejected, ANSWER_TOO_LARGE, detail);
                Err(error.doubtful())
            }
            End::Broken => {
                let detail = format!("the partner answered {status}, then the connection broke");
                let error = AdapterError::new(ErrorKind::Retry(None), OUTCOME_UNKNOWN, detail);
                Err(error.doubtful())
            }
        }
    }

    /// Asks for something that changes nothing.
    async fn probe(&self, method: Method, url: Url) -> Result<StatusCode, AdapterError> {
        let mut headers = HeaderMap::new();
        self.authorize(&mut headers).await?;
        let shown = url.clone();
        let request = self
            .client
            .request(method, url)
            .headers(headers)
            .body(Bytes::new());
        let answered = request.send().await.map_err(|error| {
            let detail = unreached(&shown, &error.without_url());
            AdapterError::new(ErrorKind::Retry(None), NOT_REACHED, detail)
        })?;
        Ok(answered.status())
    }
}

#[async_trait]
impl Transmit for HttpTransmit {
    async fn send(&self, outbound: Outbound) -> Result<Sent, AdapterError> {
        let response = self.exchange(&outbound).await;
        let response = response.map_err(|error| self.of_this_address(error))?;
        let status = response.status();
        if status.is_success() {
            return self.finish(response, outbound.answer_wanted).await;
        }
        if is_redirect(status) {
            let detail = format!("the partner answered {status} once too often");
            return Err(AdapterError::new(ErrorKind::Rejected, BAD_REDIRECT, detail));
        }
        let refused = refusal(response, self.repeatable, &*self.clock).await;
        Err(self.of_this_address(refused))
    }

    async fn test(&self) -> Result<String, AdapterError> {
        let mut url = self.target.sample().clone();
        if !self.target.is_fixed() {
            url.set_path("/");
            url.set_query(None);
        }
        let shown = format!("{}{}", url.origin().ascii_serialization(), url.path());
        let mut method = Method::OPTIONS;
        let mut status = self.probe(method.clone(), url.clone()).await?;
        if matches!(status.as_u16(), 404 | 405 | 501) {
            method = Method::HEAD;
            status = self.probe(method.clone(), url).await?;
        }
        let seen = format!("{method} {shown} answered {status}");
        match status.as_u16() {
            401 | 403 | 407 => Err(config_error(CREDENTIAL_REFUSED, seen)),
            404 | 410 if self.target.is_fixed() => Err(config_error(NO_TARGET, seen)),
            502..=504 => Err(AdapterError::new(
                ErrorKind::Retry(None),
                PARTNER_BUSY,
                seen,
            )),
            _ => Ok(seen),
        }
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Turns the request to where the partner pointed.
///
/// 301 and 302 are not followed with content: most clients turn them into a GET, and a partner that
/// answers 200 to that has not taken the message.
fn follow(request: &mut Request, response: &Response) -> Result<(), AdapterError> {
    let status = response.status();
    let place = response
        .headers()
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok());
    let next = place.and_then(|place| request.url.join(place).ok());
    let Some(next) = next else {
        return Err(bad_redirect(format!("{status} without a usable Location")));
    };
    // Credentials and messages are for the host that was configured, and for no other.
    if next.origin() != request.url.origin() {
        let other = next.origin().ascii_serialization();
        return Err(bad_redirect(format!(
            "{status} leads to another host, {other}"
        )));
    }
    match status.as_u16() {
        303 => {
            request.method = Method::GET;
            request.with_body = false;
        }
        301 | 302 if request.with_body => {
            return Err(bad_redirect(format!("{status} to {}", next.path())));
        }
        _ => {}
    }
    request.url = next;
    Ok(())
}

fn bad_redirect(detail: String) -> AdapterError {
    config_error(BAD_REDIRECT, detail)
}

/// What a request that got no answer means.
fn failure(url: &Url, error: &reqwest::Error) -> AdapterError {
    let detail = unreached(url, error);
    if error.is_builder() {
        return AdapterError::new(ErrorKind::Rejected, BAD_RENDERING, chain(error));
    }
    if error.is_connect() {
        return AdapterError::new(ErrorKind::Retry(None), NOT_REACHED, detail);
    }
    if is_own_body(error) {
        // The content broke off before its end, which the partner sees and must not act on.
        return AdapterError::new(ErrorKind::Retry(None), BODY_UNREADABLE, detail);
    }
    AdapterError::new(ErrorKind::Retry(None), OUTCOME_UNKNOWN, detail).doubtful()
}

/// Whether the stream of the message's own content failed.
fn is_own_body(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.is::<AdapterError>() {
            return true;
        }
        source = cause.source();
    }
    false
}
