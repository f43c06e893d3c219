//! Who the gateway is to the farm: a token, fetched once for all calls and renewed before it ends, or an account.

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use quayside_adapter_api::{
    AdapterError, ErrorKind, SecretRef, Services,
    model::{Entropy, Monotonic},
};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use tokio::{process::Command, sync::Mutex, time::timeout};

use crate::{
    codes::{BAD_CREDENTIAL, NO_TOKEN},
    config::{Auth, Entra},
    entra, error, odata,
};

/// How long a token is used if nothing says how long it lives.
const DEFAULT_LIFE: u64 = 300;

/// How long a program may take to print a token.
const COMMAND_TIME: Duration = Duration::from_secs(30);

/// The largest answer that can be a token, in bytes.
const ANSWER_MAX: usize = 64 * 1024;

/// The credential of a port or location.
pub(crate) struct Login {
    auth: Auth,
    /// What tokens are for.
    origin: String,
    http: reqwest::Client,
    services: Services,
    /// Held while a token is fetched, so that a hundred waiting calls fetch one.
    token: Mutex<Option<Token>>,
}

struct Token {
    value: HeaderValue,
    renew_at: Monotonic,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(alias = "accessToken")]
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(***)")
    }
}

impl Login {
    pub(crate) fn new(
        auth: Auth,
        origin: &str,
        http: reqwest::Client,
        services: &Services,
    ) -> Self {
        Self {
            auth,
            origin: origin.to_owned(),
            http,
            services: services.clone(),
            token: Mutex::new(None),
        }
    }

    /// Whether writes need a form digest: a token proves by itself that no form was forged.
    pub(crate) fn needs_digest(&self) -> bool {
        matches!(self.auth, Auth::Basic { .. } | Auth::Ntlm { .. })
    }

    /// The value of the Authorization header; none where connections log in.
    ///
    /// # Errors
    /// `Retry` if tokens cannot be fetched now, `Config` if they are refused or a secret cannot be used.
    pub(crate) async fn authorization(&self) -> Result<Option<HeaderValue>, AdapterError> {
        let value = match &self.auth {
            Auth::Ntlm { .. } => return Ok(None),
            Auth::Bearer(secret) => bearer(&self.text(secret)?),
            Auth::Basic { user, password } => {
                let password = self.text(password)?;
                let pair = STANDARD.encode(format!("{user}:{password}"));
                header(&format!("Basic {pair}"))
            }
            Auth::Command(_) | Auth::Entra(_) => self.token().await,
        };
        value.map(Some)
    }

    /// The farm refused `value`. Says whether another one may be better.
    pub(crate) async fn refused(&self, value: Option<&HeaderValue>) -> bool {
        match &self.auth {
            // The session has done what can be done.
            Auth::Ntlm { .. } => false,
            Auth::Command(_) | Auth::Entra(_) => {
                let mut token = self.token.lock().await;
                if token.as_ref().map(|token| &token.value) == value {
                    *token = None;
                }
                true
            }
            // Rotated in between: another look at the secret shows it.
            Auth::Bearer(_) | Auth::Basic { .. } => {
                let now = self.authorization().await;
                now.is_ok_and(|now| now.as_ref() != value)
            }
        }
    }

    async fn token(&self) -> Result<HeaderValue, AdapterError> {
        let mut token = self.token.lock().await;
        let asked = self.services.clock.monotonic();
        if let Some(token) = token.as_ref().filter(|token| asked < token.renew_at) {
            return Ok(token.value.clone());
        }
        let answer = match &self.auth {
            Auth::Command(command) => run(command).await?,
            Auth::Entra(entra) => self.fetch(entra).await?,
            Auth::Bearer(_) | Auth::Basic { .. } | Auth::Ntlm { .. } => {
                return Err(error::config(
                    BAD_CREDENTIAL,
                    "no token is fetched for this",
                ));
            }
        };
        let value = bearer(&answer.access_token)?;
        let life = Duration::from_secs(answer.expires_in.unwrap_or(DEFAULT_LIFE));
        let renew_at = asked.plus(life.mul_f64(0.8));
        *token = Some(Token {
            value: value.clone(),
            renew_at,
        });
        Ok(value)
    }

    async fn fetch(&self, entra: &Entra) -> Result<TokenAnswer, AdapterError> {
        let id = random_hex(&*self.services.entropy);
        let now = self.services.clock.now();
        let form = entra::form(entra, &self.origin, &*self.services.secrets, &id, now)?;
        let form: Vec<String> = form
            .iter()
            .map(|(name, value)| format!("{name}={}", odata::encode(value).replace('\'', "%27")))
            .collect();
        let request = self
            .http
            .post(entra::endpoint(entra))
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.join("&"));
        let failed = |error: reqwest::Error| {
            let detail = format!("the token endpoint: {}", error::chain(&error.without_url()));
            AdapterError::new(ErrorKind::Retry(None), NO_TOKEN, detail)
        };
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let body = response.bytes().await.map_err(failed)?;
        if !status.is_success() {
            // The body of a refusal names the fault (`invalid_client`); that of a success is a secret.
            let text: String = String::from_utf8_lossy(&body).chars().take(300).collect();
            let passing = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
            let kind = if passing {
                ErrorKind::Retry(None)
            } else {
                ErrorKind::Config
            };
            let detail = format!("the token endpoint answered {status}: {text}");
            return Err(AdapterError::new(kind, NO_TOKEN, detail));
        }
        read(&body)
            .ok_or_else(|| error::config(NO_TOKEN, "the token endpoint's answer is no token"))
    }

    fn text(&self, secret: &SecretRef) -> Result<String, AdapterError> {
        let value = self.services.secrets.resolve(secret)?;
        let text = value.expose_text().map(str::to_owned);
        text.ok_or_else(|| {
            error::config(BAD_CREDENTIAL, format!("`{}` is not text", secret.secret))
        })
    }
}

/// Runs a program that prints a token.
async fn run(command: &[String]) -> Result<TokenAnswer, AdapterError> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| error::config(NO_TOKEN, "`auth.command` is empty"))?;
    let output = Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let failed = |why: String| {
        let detail = format!("`{program}`: {why}");
        AdapterError::new(ErrorKind::Retry(None), NO_TOKEN, detail)
    };
    let output = timeout(COMMAND_TIME, output)
        .await
        .map_err(|_| failed(format!("no token within {} s", COMMAND_TIME.as_secs())))?
        .map_err(|cause| error::config(NO_TOKEN, format!("`{program}`: {cause}")))?;
    if !output.status.success() {
        let said: String = String::from_utf8_lossy(&output.stderr)
            .chars()
            .take(300)
            .collect();
        return Err(failed(format!("{}: {}", output.status, said.trim())));
    }
    read(&output.stdout).ok_or_else(|| failed("it printed no token".to_owned()))
}

/// A token, bare or in JSON.
fn read(bytes: &[u8]) -> Option<TokenAnswer> {
    if bytes.len() > ANSWER_MAX {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?.trim();
    if text.starts_with('{') {
        return serde_json::from_str(text).ok();
    }
    let bare = !text.is_empty() && !text.contains(char::is_whitespace);
    bare.then(|| TokenAnswer {
        access_token: text.to_owned(),
        expires_in: None,
    })
}

fn bearer(token: &str) -> Result<HeaderValue, AdapterError> {
    header(&format!("Bearer {}", token.trim()))
}

fn header(text: &str) -> Result<HeaderValue, AdapterError> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| error::config(BAD_CREDENTIAL, "the credential cannot stand in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn random_hex(entropy: &dyn Entropy) -> String {
    let mut random = [0; 16];
    entropy.fill(&mut random);
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_bare_or_json() {
        let found = |text: &str| read(text.as_bytes()).map(|it| (it.access_token, it.expires_in));
        assert_eq!(found("abc.def\n"), Some(("abc.def".to_owned(), None)));
        assert_eq!(
            found(r#"{"token_type":"Bearer","access_token":"a","expires_in":3599}"#),
            Some(("a".to_owned(), Some(3599)))
        );
        assert_eq!(
            found(r#"{"accessToken":"a"}"#),
            Some(("a".to_owned(), None))
        );
        for none in ["", "please log in", r#"{"error":"x"}"#] {
            assert_eq!(found(none), None, "{none}");
        }
    }

    #[tokio::test]
    async fn a_program_gives_a_token_or_says_why_not() {
        let shell = |script: &str| ["sh", "-c", script].map(str::to_owned);
        let token = run(&shell("echo t0ken")).await.map(|it| it.access_token);
        assert_eq!(token, Ok("t0ken".to_owned()));
        let failed = run(&shell("echo log in first >&2; exit 3")).await;
        let failed = failed.map(|it| it.access_token).expect_err("it failed");
        assert!(failed.detail.contains("log in first"), "{failed}");
        let missing = run(&["/no/such/program".to_owned()]).await;
        let missing = missing.map(|it| it.access_token).expect_err("not there");
        assert_eq!(missing.kind, ErrorKind::Config);
    }
}
