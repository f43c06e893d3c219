//! Which party sends a message, by what its transport has verified.
//!
//! A certificate counts first, and alone where one was shown: who comes with a certificate that is nobody's is nobody,
//! whatever name comes beside it. Otherwise a stolen name would do.

use quayside_model::{Context, Name, Text};
use quayside_pipeline::Invalid;

use crate::{codes, plan::Parties};

/// The party that sends a message.
pub(crate) const PARTY: &str = "msg.party";

/// By which properties a certificate is known.
const CERTIFICATE: [&str; 2] = ["http.client_certificate", "http.client_subject"];

/// The name of a credential.
const CLIENT: &str = "http.client";

/// Promotes the party that sends, if there is one.
///
/// # Errors
/// There is none, and the port wants one.
pub(crate) fn resolve(parties: Option<&Parties>, context: &mut Context) -> Result<(), Invalid> {
    let Some(parties) = parties else {
        return Ok(());
    };
    let Ok(property) = Name::new(PARTY) else {
        return Ok(());
    };
    // A message that was kept carries what was found then.
    context.remove(&property);
    if let Some(name) = find(parties, context) {
        context.promote(property, name);
        return Ok(());
    }
    if !parties.required {
        return Ok(());
    }
    Err(Invalid {
        code: codes::PARTY_UNKNOWN,
        detail: format!("the message came from {}", shown(context)),
        offset: 0,
    })
}

fn find(parties: &Parties, context: &Context) -> Option<Text> {
    let value = |name: &str| context.value(name).map(ToString::to_string);
    let certificate: Vec<String> = CERTIFICATE.into_iter().filter_map(value).collect();
    let client = value(CLIENT);
    let found = parties.known.iter().find(|party| {
        let is = |known: &[Text], it: &String| known.iter().any(|known| **known == **it);
        match certificate.is_empty() {
            false => certificate.iter().any(|it| is(&party.certificates, it)),
            true => client.iter().any(|it| is(&party.clients, it)),
        }
    });
    found.map(|party| party.name.clone())
}

fn shown(context: &Context) -> String {
    let value = |name: &str| context.value(name);
    let [thumbprint, subject] = CERTIFICATE.map(value);
    match (thumbprint, subject, value(CLIENT)) {
        (Some(thumbprint), Some(subject), _) => {
            format!("the holder of the certificate {thumbprint} of {subject}")
        }
        (Some(thumbprint), None, _) => format!("the holder of the certificate {thumbprint}"),
        (None, _, Some(client)) => format!("`{client}`"),
        (None, _, None) => "somebody without certificate and credential".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Party;

    fn resolved(required: bool, properties: &[(&str, &str)]) -> Result<Option<String>, Invalid> {
        let text = |text: &&str| Text::lossy(text);
        let party = |name: &str, certificates: &[&str], clients: &[&str]| Party {
            name: Text::lossy(name),
            certificates: certificates.iter().map(text).collect(),
            clients: clients.iter().map(text).collect(),
        };
        let parties = Parties {
            required,
            known: vec![
                party("acme", &["aa11", "CN=acme,O=Acme"], &["acme-erp"]),
                party("brown", &[], &["brown"]),
            ],
        };
        let mut context = Context::new();
        for (name, value) in properties {
            context.write(Name::new(*name).expect("a name"), Text::lossy(value));
        }
        resolve(Some(&parties), &mut context)?;
        let party = context.get(PARTY);
        assert!(party.is_none_or(|party| party.promoted));
        Ok(party.map(|party| party.value.to_string()))
    }

    #[test]
    fn a_certificate_counts_alone_and_a_name_where_none_was_shown() {
        let acme = Ok(Some("acme".to_owned()));
        let (shown, of) = ("http.client_certificate", "http.client_subject");
        for (properties, wanted) in [
            (&[(shown, "aa11"), (of, "CN=x")][..], acme.clone()),
            (&[(shown, "bb22"), (of, "CN=acme,O=Acme")], acme.clone()),
            (&[("http.client", "acme-erp")], acme),
            (&[("http.client", "brown")], Ok(Some("brown".to_owned()))),
            // Neither a name beside a certificate of nobody, nor a name that looks like a certificate.
            (&[(shown, "bb22"), ("http.client", "brown")], Ok(None)),
            (&[("http.client", "aa11")], Ok(None)),
            (&[], Ok(None)),
        ] {
            assert_eq!(resolved(false, properties), wanted, "{properties:?}");
        }
    }

    #[test]
    fn a_party_that_is_wanted_and_not_there_is_told_with_what_came() {
        for (properties, word) in [
            (&[("http.client_certificate", "bb22")][..], "bb22"),
            (&[("http.client", "eve")], "`eve`"),
            (&[], "without certificate"),
            // What was found before is not believed again.
            (&[(PARTY, "acme")], "without certificate"),
        ] {
            let fault = resolved(true, properties).expect_err("nobody");
            assert_eq!(fault.code, codes::PARTY_UNKNOWN);
            assert!(fault.detail.contains(word), "{}", fault.detail);
        }
    }
}
