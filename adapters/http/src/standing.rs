//! `GET /messages/ID`: where a message stands, for those who may send to where it came in.

use std::time::Duration;

use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};
use http_body_util::Full;
use quayside_adapter_api::model::MessageId;
use serde_json::json;
use tokio::time::timeout;

use crate::{
    admission::authenticate,
    connection::Connection,
    error::{NO_MESSAGE, NOT_READY, OVERLOADED},
    problem::{Problem, Reply},
};

/// What the path begins with.
const PREFIX: &str = "/messages/";

/// How long the store may take to say it.
const WITHIN: Duration = Duration::from_secs(1);

/// The path of a message.
pub(crate) fn place(id: &str) -> String {
    format!("{PREFIX}{id}")
}

/// The message that a request asks for, if it asks for one.
pub(crate) fn asked_for(head: &Parts) -> Option<MessageId> {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return None;
    }
    head.uri.path().strip_prefix(PREFIX)?.parse().ok()
}

/// Says whether the message is on its way or at its end, and nothing else of it. To who may not send to
/// its location it does not exist.
pub(crate) async fn answer(
    connection: &Connection,
    head: &Parts,
    message: MessageId,
) -> Result<Reply, Problem> {
    let mut open = connection.shared.routes.all();
    open.retain(|location| authenticate(connection, head, location).is_ok());
    let Some(any) = open.first() else {
        return Err(unknown(message));
    };
    if !(connection.life.readiness)().ready {
        return Err(away());
    }
    let _question = connection.shared.questions.try_acquire().map_err(|_| {
        let detail = "as many senders ask for messages as may";
        Problem::busy(StatusCode::TOO_MANY_REQUESTS, OVERLOADED, detail)
    })?;
    let standing = timeout(WITHIN, any.messages.standing(message)).await;
    let standing = match standing {
        Ok(Ok(standing)) => standing,
        Ok(Err(error)) => {
            tracing::warn!(code = %error.code, detail = error.detail, "looking for a message failed");
            return Err(away());
        }
        Err(_) => return Err(away()),
    };
    let may_know = |name: &str| open.iter().any(|location| *location.name == *name);
    match standing.filter(|standing| may_know(&standing.location)) {
        Some(standing) => Ok(reply(message, standing.ended)),
        None => Err(unknown(message)),
    }
}

fn reply(message: MessageId, ended: bool) -> Reply {
    let status = if ended { "ended" } else { "accepted" };
    let document = json!({ "id": message.to_string(), "status": status });
    let mut reply = Response::new(Full::from(document.to_string()));
    let headers = reply.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

fn unknown(message: MessageId) -> Problem {
    let detail = format!("there is no message {message} that you may ask for");
    Problem::new(StatusCode::NOT_FOUND, NO_MESSAGE, detail)
}

fn away() -> Problem {
    let detail = "the store does not answer";
    Problem::busy(StatusCode::SERVICE_UNAVAILABLE, NOT_READY, detail)
}
