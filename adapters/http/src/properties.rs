//! The context of a request: what filters, dedupe and templates can see of it.

use std::{borrow::Cow, collections::HashMap, sync::LazyLock};

use http::{HeaderName, HeaderValue, request::Parts};
use quayside_adapter_api::model::{Context, Name, Text};

use crate::{connection::Connection, form};

/// Headers that never become properties: credentials, which must not be stored, and what belongs to
/// the connection and not to the message.
const LEFT_OUT: [&str; 14] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Property names of headers that most requests have, so that they are built once.
static COMMON: LazyLock<HashMap<&'static str, Name>> = LazyLock::new(|| {
    [
        "accept",
        "accept-encoding",
        "accept-language",
        "content-digest",
        "content-type",
        "date",
        "forwarded",
        "host",
        "idempotency-key",
        "traceparent",
        "tracestate",
        "user-agent",
        "via",
        "x-correlation-id",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-request-id",
    ]
    .into_iter()
    .filter_map(|header| Some((header, Name::new(format!("http.header.{header}")).ok()?)))
    .collect()
});

/// Names that every request has.
static FIXED: LazyLock<[Name; 6]> = LazyLock::new(|| {
    [
        "http.method",
        "http.path",
        "http.remote",
        "http.client",
        "http.client_certificate",
        "http.client_subject",
    ]
    .map(|name| Name::new(name).expect("letters, dots and a dash"))
});

/// The context of a request by `client`, a credential or the subject of a certificate, with this
/// idempotency key.
pub(crate) fn context(
    connection: &Connection,
    head: &Parts,
    client: Option<&Text>,
    key: Option<&Text>,
) -> Context {
    let [method, path, remote, client_name, certificate, subject] = &*FIXED;
    let mut context = Context::new();
    context.promote(method.clone(), Text::lossy(head.method.as_str()));
    context.promote(path.clone(), Text::lossy(head.uri.path()));
    context.write(remote.clone(), connection.remote.clone());
    if let Some(client) = client {
        context.promote(client_name.clone(), client.clone());
    }
    if let Some(shown) = &connection.certificate {
        context.write(certificate.clone(), shown.thumbprint.clone());
        context.write(subject.clone(), shown.subject.clone());
    }
    add_headers(&mut context, head);
    if let Some(key) = key {
        put_key(&mut context, key);
    }
    if let Some(query) = head.uri.query() {
        add_query(&mut context, query);
    }
    context
}

/// Puts a key in as it is meant and not as it is written: one with and one without quotes are the same.
pub(crate) fn put_key(context: &mut Context, key: &Text) {
    if let Some(name) = COMMON.get("idempotency-key") {
        context.promote(name.clone(), key.clone());
    }
}

fn add_headers(context: &mut Context, head: &Parts) {
    let mut last: Option<&HeaderName> = None;
    for (header, value) in &head.headers {
        if LEFT_OUT.contains(&header.as_str()) || context.len() >= Context::MAX_PROPERTIES {
            continue;
        }
        let name = match COMMON.get(header.as_str()) {
            Some(name) => name.clone(),
            None => match Name::new(format!("http.header.{header}")) {
                Ok(name) => name,
                Err(_) => continue,
            },
        };
        let text = readable(value);
        // Repeats of a header follow each other; joined by commas they mean the same (RFC 9110, 5.3).
        let before = if last == Some(header) {
            context.value(&name)
        } else {
            None
        };
        let text = match before {
            Some(before) => Text::lossy(&format!("{before}, {text}")),
            None => Text::lossy(&text),
        };
        context.promote(name, text);
        last = Some(header);
    }
}

/// A header as text; what is not UTF-8 is read as Latin-1, as HTTP once said.
fn readable(value: &HeaderValue) -> Cow<'_, str> {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => value
            .as_bytes()
            .iter()
            .copied()
            .map(char::from)
            .collect::<String>()
            .into(),
    }
}

/// The first value of each parameter.
fn add_query(context: &mut Context, query: &str) {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        if context.len() >= Context::MAX_PROPERTIES {
            return;
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = format!("http.query.{}", decode_text(name));
        if context.get(&name).is_none() {
            context.promote_text(&name, &decode_text(value));
        }
    }
}

fn decode_text(text: &str) -> String {
    String::from_utf8_lossy(&form::decode(text)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_of_a_parameter_counts() {
        let mut context = Context::new();
        add_query(&mut context, "a=1&a=2&b&c%20d=3&=4");
        assert_eq!(
            context
                .value("http.query.a")
                .map(ToString::to_string)
                .as_deref(),
            Some("1")
        );
        assert_eq!(
            context
                .value("http.query.b")
                .map(ToString::to_string)
                .as_deref(),
            Some("")
        );
        assert!(
            context.len() <= 3,
            "names that are none are left out: {context:?}"
        );
    }
}
