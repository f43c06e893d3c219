//! Access tokens by OAuth 2.0 client credentials: fetched once for all, renewed before they end.

use std::{sync::Arc, time::Duration};

use quayside_adapter_api::{
    AdapterError, ErrorKind, Secrets, Services,
    model::{Clock, Monotonic},
};
use reqwest::{Client, RequestBuilder, StatusCode, Url, header};
use serde::Deserialize;
use serde_json::error::Category;
use tokio::sync::Mutex;

use crate::{
    answer::read_up_to,
    config::{OAuth2, TokenAuth},
    error::{BAD_URL, NO_TOKEN, config as config_error, unreached},
    form,
};

/// How long a token is used if the endpoint does not say how long it lives.
const DEFAULT_LIFE: u64 = 300;

/// The largest answer of a token endpoint, in bytes.
const ANSWER_MAX: usize = 64 * 1024;

/// The tokens of a send port.
pub(crate) struct Tokens {
    config: OAuth2,
    client: Client,
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
    /// Held while a token is fetched, so that a hundred waiting sends fetch one.
    current: Mutex<Option<Token>>,
}

struct Token {
    value: Arc<str>,
    renew_at: Monotonic,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Tokens {
    pub(crate) fn new(config: OAuth2, client: Client, services: &Services) -> Self {
        Self {
            config,
            client,
            secrets: Arc::clone(&services.secrets),
            clock: Arc::clone(&services.clock),
            current: Mutex::new(None),
        }
    }

    /// A token that has at least a fifth of its life before it.
    ///
    /// # Errors
    /// `Retry` if the endpoint cannot be reached or fails, `Config` if it refuses.
    pub(crate) async fn token(&self) -> Result<Arc<str>, AdapterError> {
        let mut current = self.current.lock().await;
        if let Some(token) = &*current
            && self.clock.monotonic() < token.renew_at
        {
            return Ok(Arc::clone(&token.value));
        }
        let asked = self.clock.monotonic();
        let answer = self.fetch().await?;
        let life = Duration::from_secs(answer.expires_in.unwrap_or(DEFAULT_LIFE));
        let value: Arc<str> = answer.access_token.into();
        let renew_at = asked.plus(life.mul_f64(0.8));
        *current = Some(Token {
            value: Arc::clone(&value),
            renew_at,
        });
        Ok(value)
    }

    /// Forgets `refused`, unless another send has replaced it by now.
    pub(crate) async fn forget(&self, refused: &str) {
        let mut current = self.current.lock().await;
        if current
            .as_ref()
            .is_some_and(|token| &*token.value == refused)
        {
            *current = None;
        }
    }

    async fn fetch(&self) -> Result<TokenAnswer, AdapterError> {
        let (request, url) = self.request()?;
        let response = request.send().await.map_err(|error| {
            AdapterError::new(
                ErrorKind::Retry(None),
                NO_TOKEN,
                format!(
                    "the token endpoint: {}",
                    unreached(&url, &error.without_url())
                ),
            )
        })?;
        let status = response.status();
        let body = read_up_to(response, ANSWER_MAX).await;
        if !status.is_success() {
            // The body of a refusal names the fault (`invalid_client`); that of a success is a secret.
            let text = String::from_utf8_lossy(&body.bytes);
            let text: String = text.chars().take(256).collect();
            return Err(refused(status, &text));
        }
        serde_json::from_slice(&body.bytes).map_err(|error| {
            config_error(
                NO_TOKEN,
                format!("the answer is no token: {}", error.classify_text()),
            )
        })
    }

    fn request(&self) -> Result<(RequestBuilder, Url), AdapterError> {
        let url = Url::parse(&self.config.token_url)
            .map_err(|error| config_error(BAD_URL, format!("`token_url`: {error}")))?;
        let secret = self.secrets.resolve(&self.config.client_secret)?;
        let secret = secret.expose_text().ok_or_else(|| {
            config_error(
                NO_TOKEN,
                format!("`{}` is not text", self.config.client_secret.secret),
            )
        })?;
        let mut fields = vec![("grant_type", "client_credentials")];
        let optional = [
            ("scope", &self.config.scope),
            ("audience", &self.config.audience),
        ];
        for (name, value) in optional {
            fields.extend(value.as_deref().map(|value| (name, value)));
        }
        let request = self.client.post(url.clone());
        let request = match self.config.client_auth {
            // RFC 6749, 2.3.1: both parts are form-encoded before they become Basic.
            TokenAuth::Basic => request.basic_auth(
                form::encode(&self.config.client_id),
                Some(form::encode(secret)),
            ),
            TokenAuth::Post => {
                fields.push(("client_id", &self.config.client_id));
                fields.push(("client_secret", secret));
                request
            }
        };
        let request = request
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form::fields(&fields));
        Ok((request, url))
    }
}

fn refused(status: StatusCode, text: &str) -> AdapterError {
    let transient = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
    let kind = if transient {
        ErrorKind::Retry(None)
    } else {
        ErrorKind::Config
    };
    AdapterError::new(
        kind,
        NO_TOKEN,
        format!("the token endpoint answered {status}: {text}"),
    )
}

/// What is wrong with JSON, without the text of it.
trait ClassifyText {
    fn classify_text(&self) -> String;
}

impl ClassifyText for serde_json::Error {
    fn classify_text(&self) -> String {
        let what = match self.classify() {
            Category::Syntax => "a slip in the JSON",
            Category::Data => "a member is missing or of another type",
            Category::Eof | Category::Io => "the JSON ends too early",
        };
        format!("{what}, at column {}", self.column())
    }
}
