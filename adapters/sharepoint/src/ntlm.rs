//! The three messages of NTLM, without a connection: what is sent, what is asked, and who is meant.
//!
//! The messages themselves are made by `sspi`: the second version of the protocol with its integrity code, and
//! with the binding to the TLS channel where there is one.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use sha2::{Digest, Sha256, Sha384, Sha512};
use sspi::{
    AuthIdentity, AuthIdentityBuffers, BufferType, ClientRequestFlags, CredentialUse,
    DataRepresentation, Ntlm, SecurityBuffer, Sspi, SspiImpl, Username,
};
use x509_cert::der::Decode as _;

/// The scheme of HTTP.
const SCHEME: &str = "NTLM";

/// The kind of the binding to the channel: the certificate of the server (RFC 5929).
const BINDING: &[u8] = b"tls-server-end-point:";

/// The largest second message that is read, in bytes. Farms send a few hundred.
const CHALLENGE_MAX: usize = 16 * 1024;

/// Says what is wrong with the name of an account.
///
/// # Errors
/// It is neither `DOMAIN\NAME` nor `NAME@DOMAIN`.
pub(crate) fn check_user(user: &str) -> Result<(), &'static str> {
    let both = |(first, second): (&str, &str)| !first.is_empty() && !second.is_empty();
    let right = match user.split_once('\\') {
        Some(parts) => both(parts) && !parts.1.contains('\\') && !parts.0.contains('@'),
        None => user.rsplit_once('@').is_some_and(both),
    };
    if right {
        Ok(())
    } else {
        Err("write DOMAIN\\NAME or NAME@DOMAIN")
    }
}

/// What an answer says about NTLM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// This is the second message.
    Challenge(Vec<u8>),
    /// It would take a first message.
    Offered,
    /// It takes these schemes only.
    Other(Vec<String>),
}

/// Reads what the headers of a 401 ask for.
pub(crate) fn asked(headers: &HeaderMap) -> Asked {
    let mut others = Vec::new();
    let mut offered = false;
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let value = value.to_str().unwrap_or_default().trim();
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            others.push(scheme.to_owned());
            continue;
        }
        offered = true;
        if let Some(message) = STANDARD
            .decode(rest.trim())
            .ok()
            .filter(|it| !it.is_empty())
        {
            return Asked::Challenge(message);
        }
    }
    if offered {
        Asked::Offered
    } else {
        Asked::Other(others)
    }
}

/// A login that has begun.
pub(crate) struct Handshake {
    ntlm: Ntlm,
    identity: Option<AuthIdentityBuffers>,
}

impl Handshake {
    /// Begins a login, and gives the header of the first message. `binding` is what the channel is bound to.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn begin(
        user: &str,
        password: &str,
        binding: Option<&[u8]>,
    ) -> Result<(Self, HeaderValue), String> {
        let username = Username::parse(user).map_err(|why| why.to_string())?;
        let identity = AuthIdentity {
            username,
            password: password.to_owned().into(),
        };
        let mut ntlm = Ntlm::new();
        if let Some(binding) = binding {
            ntlm.set_channel_bindings(binding);
        }
        let credentials = ntlm
            .acquire_credentials_handle()
            .with_credential_use(CredentialUse::Outbound)
            .with_auth_data(&identity)
            .execute(&mut ntlm)
            .map_err(|why| why.to_string())?;
        let mut begun = Self {
            ntlm,
            identity: credentials.credentials_handle,
        };
        let first = begun.step(Vec::new())?;
        Ok((begun, first))
    }

    /// The header of the third message, which answers the second one.
    ///
    /// # Errors
    /// Why the second message cannot be answered.
    pub(crate) fn answer(mut self, challenge: Vec<u8>) -> Result<HeaderValue, String> {
        if challenge.len() > CHALLENGE_MAX {
            return Err(format!("{} bytes are no NTLM challenge", challenge.len()));
        }
        self.step(challenge)
    }

    fn step(&mut self, message: Vec<u8>) -> Result<HeaderValue, String> {
        let mut input = [SecurityBuffer::new(message, BufferType::Token)];
        let mut output = [SecurityBuffer::new(Vec::new(), BufferType::Token)];
        let mut builder = self
            .ntlm
            .initialize_security_context()
            .with_credentials_handle(&mut self.identity)
            .with_context_requirements(ClientRequestFlags::empty())
            .with_target_data_representation(DataRepresentation::Native)
            .with_input(&mut input)
            .with_output(&mut output);
        self.ntlm
            .initialize_security_context_impl(&mut builder)
            .and_then(|mut made| made.resolve_to_result())
            .map_err(|why| why.to_string())?;
        let message = STANDARD.encode(&output[0].buffer);
        let mut header =
            HeaderValue::from_str(&format!("{SCHEME} {message}")).map_err(|why| why.to_string())?;
        header.set_sensitive(true);
        Ok(header)
    }
}

/// What a login over TLS is bound to: the certificate of the server, by the hash of its signature. `None` if that
/// is not defined for it.
pub(crate) fn binding(certificate: &[u8]) -> Option<Vec<u8>> {
    let parsed = x509_cert::Certificate::from_der(certificate).ok()?;
    let hash = match parsed.signature_algorithm.oid.to_string().as_str() {
        // RSA and ECDSA with SHA-384 and SHA-512.
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Sha384::digest(certificate).to_vec(),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Sha512::digest(certificate).to_vec(),
        // With MD5, SHA-1 and SHA-256; the first two are to be taken for SHA-256.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => Sha256::digest(certificate).to_vec(),
        _ => return None,
    };
    Some([BINDING, &hash].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing_ntlm::{kind, question};

    #[test]
    fn an_account_has_a_domain() {
        for right in [
            "CORP\\svc",
            "CORP\\svc@x",
            "svc@corp.example",
            "a.b@c",
            ".\\svc",
        ] {
            assert_eq!(check_user(right), Ok(()), "{right}");
        }
        for wrong in [
            "", "svc", "\\svc", "CORP\\", "@corp", "svc@", "A\\B\\c", "a@b\\c",
        ] {
            assert!(check_user(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn headers_tell_what_is_asked() {
        let read = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(value));
            }
            asked(&headers)
        };
        assert_eq!(read(&["Negotiate", "NTLM"]), Asked::Offered);
        assert_eq!(
            read(&["Negotiate", "ntlm  AQI="]),
            Asked::Challenge(vec![1, 2])
        );
        assert_eq!(read(&["NTLM ???"]), Asked::Offered);
        let others = vec!["Bearer".to_owned(), "Basic".to_owned()];
        assert_eq!(
            read(&["Bearer realm=\"x\"", "Basic realm=\"y\""]),
            Asked::Other(others)
        );
        assert_eq!(read(&[]), Asked::Other(Vec::new()));
    }

    fn bytes(header: &HeaderValue) -> Vec<u8> {
        assert!(header.is_sensitive());
        let text = header.to_str().expect("text");
        STANDARD
            .decode(text.strip_prefix("NTLM ").expect("NTLM"))
            .expect("base64")
    }

    fn third(user: &str, binding: Option<&[u8]>) -> Vec<u8> {
        let (handshake, first) = Handshake::begin(user, "Password", binding).expect("begun");
        assert_eq!(kind(&bytes(&first)), Some(1));
        let third = bytes(&handshake.answer(question()).expect("answered"));
        assert_eq!(kind(&third), Some(3));
        third
    }

    /// What a field of a third message holds.
    fn field(message: &[u8], at: usize) -> &[u8] {
        let length = u16::from_le_bytes([message[at], message[at + 1]]);
        let offset = u32::from_le_bytes(message[at + 4..at + 8].try_into().expect("four"));
        let start = usize::try_from(offset).expect("small");
        &message[start..start + usize::from(length)]
    }

    fn text(wide: &[u8]) -> String {
        let units = wide
            .chunks_exact(2)
            .map(|it| u16::from_le_bytes([it[0], it[1]]));
        String::from_utf16_lossy(&units.collect::<Vec<_>>())
    }

    #[test]
    fn the_second_message_is_answered_for_the_account() {
        for (user, domain, name) in [
            ("CORP\\svc", "CORP", "svc"),
            ("svc@corp.example", "", "svc@corp.example"),
        ] {
            let third = third(user, None);
            let found = (text(field(&third, 28)), text(field(&third, 36)));
            assert_eq!(found, (domain.to_owned(), name.to_owned()));
            // The second version: a proof and what it proves.
            assert!(field(&third, 20).len() > 44);
        }
    }

    #[test]
    fn a_login_over_tls_is_bound_to_the_certificate() {
        // Pair 10 of 16 bytes, in the part that the proof covers.
        let bound = |message: &[u8]| {
            let response = field(message, 20);
            let at = response.windows(4).position(|it| it == [10, 0, 16, 0]);
            at.map(|at| response[at + 4..at + 20].to_vec())
        };
        assert_eq!(bound(&third("CORP\\svc", None)), None);
        // The example of the vendor: a certificate's hash, and what goes into the message for it.
        let hash = [
            0xea, 0x05, 0xfe, 0xfe, 0xcc, 0x6b, 0x0b, 0xd5, 0x71, 0xdb, 0xbc, 0x5b, 0xaa, 0x3e,
            0xd4, 0x53, 0x86, 0xd0, 0x44, 0x68, 0x35, 0xf7, 0xb7, 0x4c, 0x85, 0x62, 0x1b, 0x99,
            0x83, 0x47, 0x5f, 0x95,
        ];
        let found = bound(&third("CORP\\svc", Some(&[BINDING, &hash].concat())));
        let expected = [
            0x65, 0x86, 0xe9, 0x9d, 0x81, 0xc2, 0xfc, 0x98, 0x4e, 0x47, 0x17, 0x2f, 0xd4, 0xdd,
            0x03, 0x10,
        ];
        assert_eq!(found, Some(expected.to_vec()));
    }

    #[test]
    fn nonsense_is_no_challenge_and_no_certificate() {
        let whole = question();
        for length in 0..whole.len() {
            let (handshake, _) = Handshake::begin("CORP\\svc", "x", None).expect("begun");
            let answered = handshake.answer(whole[..length].to_vec());
            assert!(answered.is_err(), "{length}");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] = !changed[at];
            let (handshake, _) = Handshake::begin("CORP\\svc", "x", None).expect("begun");
            // Whatever it is, it is no panic.
            drop(handshake.answer(changed));
        }
        assert_eq!(binding(b"no certificate"), None);
    }
}
