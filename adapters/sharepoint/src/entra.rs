//! The assertion by which an app of Entra ID proves that it has its certificate (RFC 7523).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use quayside_adapter_api::{AdapterError, Secrets, model::Timestamp};
use ring::{
    rand::SystemRandom,
    signature::{RSA_PSS_SHA256, RsaKeyPair},
};
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{config::Entra, pem};

/// How long an assertion is good, in seconds. It is used at once.
const LIFE: i64 = 600;

/// How far the clocks of both sides may be apart, in seconds.
const SKEW: i64 = 60;

/// The endpoint that gives the tokens.
pub(crate) fn endpoint(entra: &Entra) -> String {
    let authority = entra.authority.trim_end_matches('/');
    format!("{authority}/{}/oauth2/v2.0/token", entra.tenant)
}

/// The form of a request for a token. `id` is unique for each request.
///
/// # Errors
/// `Config` if the certificate or key cannot be used.
pub(crate) fn form(
    entra: &Entra,
    origin: &str,
    secrets: &dyn Secrets,
    id: &str,
    now: Timestamp,
) -> Result<Vec<(&'static str, String)>, AdapterError> {
    let scope = entra.scope.clone();
    let scope = scope.unwrap_or_else(|| format!("{origin}/.default"));
    let certificates = pem::certificates(&entra.certificate, secrets)?;
    let certificate = certificates.first().map_or(&[][..], |first| &first[..]);
    let unsigned = unsigned(entra, certificate, id, now);
    let signature = sign(entra, &pem::key(&entra.key, secrets)?, unsigned.as_bytes())?;
    let assertion = format!("{unsigned}.{}", URL_SAFE_NO_PAD.encode(signature));
    Ok(vec![
        ("grant_type", "client_credentials".to_owned()),
        ("client_id", entra.client_id.clone()),
        ("scope", scope),
        (
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned(),
        ),
        ("client_assertion", assertion),
    ])
}

/// Head and claims of the assertion.
fn unsigned(entra: &Entra, certificate: &[u8], id: &str, now: Timestamp) -> String {
    let second = now.as_micros() / 1_000_000;
    let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(certificate));
    let head = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint });
    let claims = json!({
        "aud": endpoint(entra),
        "iss": entra.client_id,
        "sub": entra.client_id,
        "jti": id,
        "nbf": second - SKEW,
        "exp": second + LIFE - SKEW,
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(&head), part(&claims))
}

fn sign(entra: &Entra, key: &PrivateKeyDer<'_>, bytes: &[u8]) -> Result<Vec<u8>, AdapterError> {
    let pair = match key {
        PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
        _ => return Err(pem::unusable(&entra.key, "an RSA key is wanted")),
    };
    let pair = pair.map_err(|why| pem::unusable(&entra.key, &format!("no RSA key: {why}")))?;
    let mut signature = vec![0; pair.public().modulus_len()];
    let signed = pair.sign(&RSA_PSS_SHA256, &SystemRandom::new(), bytes, &mut signature);
    signed.map_err(|_| pem::unusable(&entra.key, "it signs nothing"))?;
    Ok(signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PathOrSecret;

    #[test]
    fn the_claims_are_those_that_entra_asks_for() {
        let entra = Entra {
            tenant: "contoso.example".into(),
            client_id: "app-1".into(),
            certificate: PathOrSecret::Path("c.pem".into()),
            key: PathOrSecret::Path("k.pem".into()),
            authority: "https://login.example/".into(),
            scope: None,
        };
        let now = Timestamp::from_micros(1_790_000_000_000_000);
        let assertion = unsigned(&entra, b"certificate", "id-1", now);
        let read = |part: &str| -> Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
        };
        let (head, claims) = assertion.split_once('.').expect("two parts");
        assert_eq!(read(head)["alg"], "PS256");
        assert_eq!(
            read(claims),
            json!({
                "aud": "https://login.example/contoso.example/oauth2/v2.0/token",
                "iss": "app-1", "sub": "app-1", "jti": "id-1",
                "nbf": 1_789_999_940, "exp": 1_790_000_540,
            })
        );
    }
}
