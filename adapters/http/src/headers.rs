//! The headers of what is sent: fixed ones, rendered ones, secrets and the credential.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use quayside_adapter_api::{
    AdapterError, ErrorKind, Outbound, SecretRef, Secrets, Services,
    model::{Entropy, failpoint},
};
use reqwest::Client;

use crate::{
    SendAuth, SendConfig, TextOrSecret,
    config::header_key,
    error::{BAD_HEADER, BAD_RENDERING, config as config_error},
    fresh::Fresh,
    idempotency,
    oauth::Tokens,
};

/// The epoch of the clustered host that sends, by which a partner can tell a late owner.
const EPOCH: HeaderName = HeaderName::from_static("quayside-epoch");

/// Headers that go on from the message to the partner, so that one trace spans both.
const TRACE: [(&str, HeaderName); 2] = [
    (
        "http.header.traceparent",
        HeaderName::from_static("traceparent"),
    ),
    (
        "http.header.tracestate",
        HeaderName::from_static("tracestate"),
    ),
];

/// The headers of a send port.
pub(crate) struct Headers {
    fixed: HeaderMap,
    /// Header and key of the rendered value.
    rendered: Vec<(HeaderName, String)>,
    secret: Vec<(HeaderName, SecretHeader)>,
    content_type: Option<HeaderValue>,
    idempotency_key: bool,
    secrets: Arc<dyn Secrets>,
    entropy: Arc<dyn Entropy>,
}

struct SecretHeader {
    reference: SecretRef,
    value: Fresh<HeaderValue>,
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Headers")
            .field("fixed", &self.fixed)
            .finish_non_exhaustive()
    }
}

impl Headers {
    /// Prepares the headers of a port.
    ///
    /// # Errors
    /// `Config` for what the check of the configuration refuses too.
    pub(crate) fn new(config: &SendConfig, services: &Services) -> Result<Self, AdapterError> {
        let mut headers = Self {
            fixed: HeaderMap::new(),
            rendered: Vec::new(),
            secret: Vec::new(),
            content_type: config.content_type.as_deref().map(value).transpose()?,
            idempotency_key: config.idempotency_key,
            secrets: Arc::clone(&services.secrets),
            entropy: Arc::clone(&services.entropy),
        };
        for (name, setting) in &config.headers {
            let header = HeaderName::from_bytes(name.as_bytes())
                .map_err(|error| config_error(BAD_HEADER, format!("`{name}`: {error}")))?;
            match setting {
                TextOrSecret::Secret(reference) => {
                    let value = Fresh::new(Arc::clone(&services.clock));
                    let reference = reference.clone();
                    headers
                        .secret
                        .push((header, SecretHeader { reference, value }));
                }
                TextOrSecret::Text(text) if text.contains(['{', '}']) => {
                    headers.rendered.push((header, header_key(name)));
                }
                TextOrSecret::Text(text) => {
                    headers.fixed.insert(header, value(text)?);
                }
            }
        }
        Ok(headers)
    }

    /// The headers of one message, the credential excepted.
    ///
    /// # Errors
    /// `Rejected` if a rendered value is no header value, `Config` if a secret cannot be read.
    pub(crate) fn of(&self, outbound: &Outbound) -> Result<HeaderMap, AdapterError> {
        let mut headers = self.fixed.clone();
        let context = &outbound.message.context;
        for (property, name) in TRACE {
            if let Some(text) = context.value(property)
                && let Ok(value) = HeaderValue::from_str(&text.to_string())
            {
                headers.entry(name).or_insert(value);
            }
        }
        if let Some(content_type) = self.content_type(outbound) {
            headers.insert(header::CONTENT_TYPE, content_type);
        }
        for (name, key) in &self.rendered {
            headers.insert(name.clone(), rendered(outbound, key)?);
        }
        for (name, secret) in &self.secret {
            let value = secret
                .value
                .get(|| secret_value(&*self.secrets, &secret.reference, ""))?;
            headers.insert(name.clone(), value);
        }
        if self.idempotency_key {
            headers.insert(idempotency::HEADER, self.key(outbound)?);
        }
        if let Some(epoch) = outbound.epoch {
            headers.insert(EPOCH, epoch.into());
        }
        Ok(headers)
    }

    fn content_type(&self, outbound: &Outbound) -> Option<HeaderValue> {
        let own = || {
            let own = outbound.message.body().content_type.as_ref()?;
            HeaderValue::from_str(own).ok()
        };
        self.content_type.clone().or_else(own)
    }

    /// The delivery's id: the same on every attempt, by every node, in every epoch.
    fn key(&self, outbound: &Outbound) -> Result<HeaderValue, AdapterError> {
        if failpoint::enabled("no-idempotency-key") {
            let mut random = [0; 16];
            self.entropy.fill(&mut random);
            return value(&idempotency::quoted(&format!(
                "{:032x}",
                u128::from_ne_bytes(random)
            )));
        }
        value(&idempotency::quoted(&outbound.delivery.to_string()))
    }
}

fn rendered(outbound: &Outbound, key: &str) -> Result<HeaderValue, AdapterError> {
    let text = outbound.rendered.get(key).map_or("", |text| text.as_str());
    HeaderValue::from_str(text).map_err(|_| {
        let detail = format!("`{key}` gave a text that is no header value");
        AdapterError::new(ErrorKind::Rejected, BAD_RENDERING, detail)
    })
}

fn value(text: &str) -> Result<HeaderValue, AdapterError> {
    HeaderValue::from_str(text)
        .map_err(|_| config_error(BAD_HEADER, format!("`{text}` is no header value")))
}

/// A secret behind `prefix`, marked so that no log shows it.
fn secret_value(
    secrets: &dyn Secrets,
    reference: &SecretRef,
    prefix: &str,
) -> Result<HeaderValue, AdapterError> {
    let secret = secrets.resolve(reference)?;
    let unusable = || {
        config_error(
            BAD_HEADER,
            format!("`{}` is no header value", reference.secret),
        )
    };
    let text = secret.expose_text().ok_or_else(unusable)?;
    let mut value = HeaderValue::from_str(&format!("{prefix}{text}")).map_err(|_| unusable())?;
    value.set_sensitive(true);
    Ok(value)
}

/// The credential of a send port.
pub(crate) enum Credential {
    /// User, password and the header that they make.
    Basic {
        user: String,
        password: SecretRef,
        value: Fresh<HeaderValue>,
    },
    /// The token and its header.
    Bearer {
        token: SecretRef,
        value: Fresh<HeaderValue>,
    },
    /// Tokens of an endpoint.
    Tokens(Tokens),
}

impl Credential {
    pub(crate) fn new(auth: SendAuth, client: &Client, services: &Services) -> Self {
        let value = Fresh::new(Arc::clone(&services.clock));
        match auth {
            SendAuth::Basic { user, password } => Self::Basic {
                user,
                password,
                value,
            },
            SendAuth::Bearer(token) => Self::Bearer { token, value },
            SendAuth::OAuth2(config) => Self::Tokens(Tokens::new(config, client.clone(), services)),
        }
    }

    /// The value of the Authorization header.
    ///
    /// # Errors
    /// If the secret or the token cannot be had.
    pub(crate) async fn authorization(
        &self,
        secrets: &dyn Secrets,
    ) -> Result<HeaderValue, AdapterError> {
        match self {
            Self::Basic {
                user,
                password,
                value,
            } => value.get(|| basic(secrets, user, password)),
            Self::Bearer { token, value } => value.get(|| secret_value(secrets, token, "Bearer ")),
            Self::Tokens(tokens) => {
                let mut bearer = value_of_token(&tokens.token().await?)?;
                bearer.set_sensitive(true);
                Ok(bearer)
            }
        }
    }

    /// Whether another try with a new credential makes sense after `refused` was refused.
    pub(crate) async fn renew(&self, refused: &HeaderValue) -> bool {
        let Self::Tokens(tokens) = self else {
            return false;
        };
        let token = refused
            .to_str()
            .ok()
            .and_then(|value| value.strip_prefix("Bearer "));
        tokens.forget(token.unwrap_or_default()).await;
        true
    }
}

fn basic(
    secrets: &dyn Secrets,
    user: &str,
    password: &SecretRef,
) -> Result<HeaderValue, AdapterError> {
    let secret = secrets.resolve(password)?;
    let text = secret
        .expose_text()
        .ok_or_else(|| config_error(BAD_HEADER, format!("`{}` is not text", password.secret)))?;
    let mut basic = value(&format!(
        "Basic {}",
        STANDARD.encode(format!("{user}:{text}"))
    ))?;
    basic.set_sensitive(true);
    Ok(basic)
}

fn value_of_token(token: &str) -> Result<HeaderValue, AdapterError> {
    HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| config_error(BAD_HEADER, "the access token is no header value"))
}
