//! Whether a request is let in, by its head alone.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, StatusCode, Version, header, request::Parts};
use http_body::Body as _;
use hyper::body::Incoming;
use quayside_adapter_api::model::Text;

use crate::{
    cloudevents::{self, Shape},
    connection::Connection,
    digest::Digests,
    error::{
        BAD_REQUEST, KEY_REQUIRED, NO_CERTIFICATE, NO_LOCATION, NOT_AUTHENTICATED, NOT_READY,
        OVERLOADED, TOO_LARGE, WRONG_ENCODING, WRONG_METHOD, WRONG_TYPE,
    },
    idempotency,
    location::Location,
    problem::Problem,
};

const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

/// Everything that is known of a request before its content is read.
pub(crate) struct Admitted {
    pub(crate) location: Arc<Location>,
    pub(crate) client: Option<Text>,
    pub(crate) key: Option<Text>,
    pub(crate) digests: Option<Digests>,
    pub(crate) is_gzip: bool,
    pub(crate) shape: Shape,
}

/// Decides by the head alone, so that `Expect: 100-continue` and large contents are refused unread.
pub(crate) fn admit(
    connection: &Connection,
    head: &Parts,
    body: &Incoming,
) -> Result<Admitted, Problem> {
    check_host(head)?;
    check_framing(head)?;
    let path = head.uri.path();
    check_path(path)?;
    let is_ready = (connection.life.readiness)().ready;
    let location = connection.shared.routes.find(path).ok_or_else(|| {
        // Locations open when the gateway is ready: until then nobody can say that there is no such place.
        if !is_ready {
            return not_ready();
        }
        Problem::new(
            StatusCode::NOT_FOUND,
            NO_LOCATION,
            format!("nothing listens at `{path}`"),
        )
    })?;
    if !location.methods.contains(&head.method) {
        let detail = format!("`{}` is not taken here", head.method);
        return Err(
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, WRONG_METHOD, detail)
                .header(header::ALLOW, location.allow.clone()),
        );
    }
    let client = authenticate(connection, head, &location)?;
    if location.is_closed() {
        return Err(location.closed().into());
    }
    if !is_ready {
        return Err(not_ready());
    }
    if location.deliveries.capacity() == 0 {
        return Err(full());
    }
    let is_gzip = check_content(head, body, &location)?;
    let key = idempotency::from_headers(&head.headers)?;
    if key.is_none() && location.config.require_idempotency_key {
        let detail = "this location takes requests with an Idempotency-Key only";
        return Err(Problem::new(StatusCode::BAD_REQUEST, KEY_REQUIRED, detail));
    }
    let digests = Digests::from_headers(&head.headers)?;
    let shape = cloudevents::shape(&head.headers, location.config.cloudevents)?;
    if shape == Shape::Batch && location.config.answer_within.is_some() {
        let detail = "this location answers each message, so it takes one event at a time";
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            WRONG_TYPE,
            detail,
        ));
    }
    Ok(Admitted {
        location,
        client,
        key,
        digests,
        is_gzip,
        shape,
    })
}

/// HTTP/1.1 wants exactly one Host (RFC 9112, 3.2); proxies that disagree about it can be misled.
fn check_host(head: &Parts) -> Result<(), Problem> {
    let hosts = head.headers.get_all(header::HOST).iter().count();
    if head.version == Version::HTTP_11 && hosts != 1 {
        let detail = format!("a request has one Host header, this one has {hosts}");
        // Who disagrees about the target may disagree about where the next request begins.
        return Err(Problem::new(StatusCode::BAD_REQUEST, BAD_REQUEST, detail)
            .header(header::CONNECTION, HeaderValue::from_static("close")));
    }
    Ok(())
}

/// How a content is framed has one reading: chunks, or a length. With another coding around the chunks, or
/// inside of them, what comes out of them is not the content, and a proxy may read it otherwise.
fn check_framing(head: &Parts) -> Result<(), Problem> {
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).iter();
    let plain = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    };
    if plain {
        return Ok(());
    }
    let detail = "the only transfer coding is `chunked`, once";
    Err(
        Problem::new(StatusCode::NOT_IMPLEMENTED, WRONG_ENCODING, detail)
            .header(header::CONNECTION, HeaderValue::from_static("close")),
    )
}

/// What stands for another path, for a file system or for a proxy, is no path of a location. Nothing here
/// resolves it, so that nothing here can disagree with a proxy about what it means.
fn check_path(path: &str) -> Result<(), Problem> {
    if !path.contains(['.', '%', '\\']) {
        return Ok(());
    }
    let turns = |segment: &str| matches!(segment, "." | "..");
    let plain = path
        .to_ascii_lowercase()
        .replace("%2e", ".")
        .replace("%2f", "/")
        .replace("%5c", "/");
    let hidden = plain.contains("%00") || path.contains('\\');
    if !hidden && !plain.split('/').any(turns) {
        return Ok(());
    }
    let detail = "the path holds a `.` or `..` segment, a backslash or a zero byte";
    Err(Problem::new(StatusCode::BAD_REQUEST, BAD_REQUEST, detail))
}

/// The name of who sends, if the location lets them.
pub(crate) fn authenticate(
    connection: &Connection,
    head: &Parts,
    location: &Location,
) -> Result<Option<Text>, Problem> {
    let subject = connection.certificate.as_ref().map(|shown| &shown.subject);
    if location.config.client_certificate && !subject.is_some_and(|s| location.takes_subject(s)) {
        let detail = "a client certificate that this location accepts is needed";
        return Err(Problem::new(StatusCode::FORBIDDEN, NO_CERTIFICATE, detail));
    }
    let Some(gate) = &location.gate else {
        return Ok(subject.cloned());
    };
    let admitted = gate.admit(&head.headers).map_err(|error| {
        tracing::error!(code = %error.code, location = %location.name, detail = error.detail,
            "a credential cannot be read");
        let detail = "credentials cannot be checked now";
        Problem::busy(StatusCode::SERVICE_UNAVAILABLE, NOT_READY, detail)
    })?;
    match admitted {
        Some(name) => Ok(Some(name)),
        None => {
            let detail = "the request carries no valid credential";
            Err(
                Problem::new(StatusCode::UNAUTHORIZED, NOT_AUTHENTICATED, detail)
                    .header(header::WWW_AUTHENTICATE, gate.challenge()),
            )
        }
    }
}

/// Whether the content is gzip.
fn check_content(head: &Parts, body: &Incoming, location: &Location) -> Result<bool, Problem> {
    if head.method == Method::GET {
        return Ok(false);
    }
    if !location.takes_type(&head.headers) {
        let detail = format!("this location takes {}", location.config.accept.join(", "));
        let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, WRONG_TYPE, detail);
        return Err(match location.accept_post() {
            Some(types) => problem.header(ACCEPT_POST, types),
            None => problem,
        });
    }
    let is_gzip = is_gzip(head, location)?;
    let max = location.config.max_body.bytes();
    let announced = body.size_hint().lower();
    if announced > max {
        let detail = format!("{announced} bytes are announced and {max} are allowed");
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            TOO_LARGE,
            detail,
        ));
    }
    Ok(is_gzip)
}

fn is_gzip(head: &Parts, location: &Location) -> Result<bool, Problem> {
    let enabled = location.config.gzip.enabled;
    let mut encodings = head.headers.get_all(header::CONTENT_ENCODING).iter();
    match (
        encodings.next().map(HeaderValue::as_bytes),
        encodings.next(),
    ) {
        (None, _) => Ok(false),
        (Some(one), None) if one.eq_ignore_ascii_case(b"identity") => Ok(false),
        (Some(one), None)
            if enabled
                && (one.eq_ignore_ascii_case(b"gzip") || one.eq_ignore_ascii_case(b"x-gzip")) =>
        {
            Ok(true)
        }
        _ => {
            let known = if enabled {
                "gzip, identity"
            } else {
                "identity"
            };
            let detail = format!("supported encodings: {known}");
            let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, WRONG_ENCODING, detail);
            Err(problem.header(header::ACCEPT_ENCODING, HeaderValue::from_static(known)))
        }
    }
}

fn not_ready() -> Problem {
    let detail = "messages cannot be stored now";
    Problem::busy(StatusCode::SERVICE_UNAVAILABLE, NOT_READY, detail)
}

pub(crate) fn full() -> Problem {
    let detail = "the receive location has as many requests in flight as it may";
    Problem::busy(StatusCode::TOO_MANY_REQUESTS, OVERLOADED, detail)
}
