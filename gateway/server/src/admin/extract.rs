//! Parameters of calls, read so that a wrong one gets a problem document.

use std::{fmt::Display, str::FromStr};

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::JsonRejection},
    http::request::Parts,
};
use quayside_model::{DeliveryId, MessageId, Name, RunId, Text, Timestamp};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};

use super::problem::Problem;
use crate::exit::root;

/// The parameters of the query.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|Query(value)| Self(value))
            .map_err(|error| Problem::bad_request(root(&error)))
    }
}

/// A value that callers write as text.
pub(super) trait Written: FromStr<Err: Display> {
    /// What it is, with an example: completes "`x` is not …".
    const FORM: &'static str;
}

impl Written for MessageId {
    const FORM: &'static str = "the id of a message, such as 01a1fede-77c6-7db1-9dcd-9af525813a70";
}

impl Written for RunId {
    const FORM: &'static str =
        "the id of an orchestration instance, such as 01a1fede-77c6-7db1-9dcd-9af525813a70";
}

impl Written for DeliveryId {
    const FORM: &'static str = "the id of a delivery: that of its message, a dot and its number, such as \
         01a1fede-77c6-7db1-9dcd-9af525813a70.0";
}

impl Written for Timestamp {
    const FORM: &'static str = "a moment, such as 2026-11-21T09:00:00Z";
}

impl Written for Name {
    const FORM: &'static str = "the full name of a port or location, such as orders.archive";
}

/// Reads `text`, or says what it should be.
fn read<T: Written>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not {}", T::FORM))
}

/// A field of a query or body that is written as text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given<T>(pub(super) T);

impl<'de, T: Written> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        read(&text).map(Self).map_err(D::Error::custom)
    }
}

/// A segment of the path, of the form of `T`.
pub(super) struct Segment<T>(pub(super) T);

impl<S: Send + Sync, T: Written> FromRequestParts<S> for Segment<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|error| Problem::bad_request(root(&error)))?;
        read(&text).map(Self).map_err(Problem::bad_request)
    }
}

/// The JSON body, an object. An empty one reads as an empty object, whatever its type is said to be.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let bytes = axum::body::Bytes::from_request(request, state).await;
        let bytes = bytes.map_err(|error| Problem::bad_request(root(&error)))?;
        let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        // The values of an array would be taken for those of the keys, in their order.
        if bytes.trim_ascii_start().starts_with(b"[") {
            return Err(Problem::bad_request(
                "the body is a JSON array, not an object".to_owned(),
            ));
        }
        Json::<T>::from_bytes(bytes)
            .map(|Json(value)| Self(value))
            .map_err(|error| Problem::bad_request(wrong_body(&error)))
    }
}

/// What is wrong with a body. A value of the wrong form is named by its key: its place in one line of JSON,
/// which a program wrote, helps nobody.
fn wrong_body(error: &JsonRejection) -> String {
    let text = root(error);
    match (error, text.rsplit_once(" at line 1 column ")) {
        (JsonRejection::JsonDataError(_), Some((said, _))) => said.to_owned(),
        _ => text,
    }
}

/// The header in which a caller names the person that acts.
pub(super) const OPERATOR: &str = "x-quayside-operator";

/// Who acts, in the caller's own words: a note for those who look later, not a proof. The token is the
/// proof, and everybody who may act has the same one.
#[derive(Debug)]
pub(super) struct Operator(Option<String>);

impl Operator {
    /// What is recorded with a deed.
    pub(super) fn note(&self, reason: Option<&str>) -> Text {
        let who = self.0.as_deref().unwrap_or("an operator");
        Text::lossy(&match reason {
            Some(reason) => format!("by {who}: {reason}"),
            None => format!("by {who}"),
        })
    }

    /// Why something rests, as it is shown beside it.
    pub(super) fn reason(&self, given: Option<&str>) -> Option<Text> {
        let text = match (given, self.0.as_deref()) {
            (Some(given), Some(who)) => format!("{given}, by {who}"),
            (Some(given), None) => given.to_owned(),
            (None, Some(who)) => format!("by {who}"),
            (None, None) => return None,
        };
        Some(Text::lossy(&text))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Operator {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let name = parts.headers.get(OPERATOR).map(|name| {
            let name = String::from_utf8_lossy(name.as_bytes());
            let name = name.chars().filter(|c| !c.is_control());
            name.take(MAX_OPERATOR).collect::<String>()
        });
        Ok(Self(name.filter(|name| !name.trim().is_empty())))
    }
}

/// The longest name of an operator, in characters.
const MAX_OPERATOR: usize = 128;
