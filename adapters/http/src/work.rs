//! `POST /works/TICKET/WORD`: what outside programs say of the work that the gateway has given them.
//!
//! The ticket is all that a program has to show: it is given to the program alone, with the work, and nobody can guess
//! it. Every listener of every node takes the word.

use std::{future::Future, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};
use http_body_util::Full;
use hyper::body::Incoming;
use quayside_adapter_api::{
    AdapterError,
    model::{INLINE_MAX, Text, Timestamp},
};
use serde_json::{Value, json};
use tokio::{sync::SemaphorePermit, time::timeout};

use crate::{
    body::{Limits, RequestBody},
    connection::Connection,
    error::{NOT_READY, OVERLOADED, WORK_OVER},
    problem::{Problem, Reply},
};

/// What the path begins with.
const PREFIX: &str = "/works/";
/// The longest ticket.
const TICKET_MAX: usize = 128;
/// Within which 16 KiB of a result, or its end, must come.
const PACE: Duration = Duration::from_secs(30);
/// How long the store may take.
const WITHIN: Duration = Duration::from_secs(5);
/// The status of a result.
const DONE: u16 = 200;
/// The status of a failure.
const FAILED: u16 = 422;

/// Who keeps what programs say of their work.
#[async_trait]
pub trait Workers: Send + Sync {
    /// The program that has `ticket` works on. Until when its lease runs now; `None`: it is over.
    ///
    /// # Errors
    /// It cannot be said now.
    async fn heartbeat(&self, ticket: &str) -> Result<Option<Timestamp>, AdapterError>;

    /// The program that has `ticket` has ended its work, with a result, or with a status from 400 on and why. `false`: another
    /// answer counts, or nobody waits for one.
    ///
    /// # Errors
    /// It cannot be kept now.
    async fn answer(
        &self,
        ticket: &str,
        status: u16,
        content_type: Option<Text>,
        body: Bytes,
    ) -> Result<bool, AdapterError>;
}

/// What a program says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// It works on.
    Heartbeat,
    /// The content is the result.
    Complete,
    /// The content says why there is none.
    Fail,
}

/// The ticket and the word of a request, if it is one of a program.
pub(crate) fn said(head: &Parts) -> Option<(&str, Word)> {
    if head.method != Method::POST {
        return None;
    }
    let (ticket, word) = head.uri.path().strip_prefix(PREFIX)?.split_once('/')?;
    let word = match word {
        "heartbeat" => Word::Heartbeat,
        "complete" => Word::Complete,
        "fail" => Word::Fail,
        _ => return None,
    };
    let is_one = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b'.';
    let fits = (1..=TICKET_MAX).contains(&ticket.len()) && ticket.bytes().all(is_one);
    fits.then_some((ticket, word))
}

/// Takes the word of a program.
pub(crate) async fn answer(
    connection: &Connection,
    workers: &dyn Workers,
    (ticket, word): (&str, Word),
    head: &Parts,
    body: Incoming,
) -> Result<Reply, Problem> {
    let (content, _share) = content(connection, body).await?;
    if word == Word::Heartbeat {
        return match in_time(workers.heartbeat(ticket)).await? {
            Some(until) => Ok(reply(&json!({ "until": until.to_string() }))),
            None => Err(over("the lease is over, or the work is done")),
        };
    }
    let content_type = head.headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| Text::new(value.to_str().ok()?).ok());
    let status = if word == Word::Complete { DONE } else { FAILED };
    match in_time(workers.answer(ticket, status, content_type, content)).await? {
        true => Ok(reply(&json!({ "kept": true }))),
        false => Err(over("another answer counts, or nobody waits for one")),
    }
}

/// The whole content, for which memory is taken as it comes.
async fn content(
    connection: &Connection,
    body: Incoming,
) -> Result<(Bytes, Option<SemaphorePermit<'_>>), Problem> {
    let limits = Limits {
        max: INLINE_MAX as u64,
        timeout: PACE,
        allow_empty: true,
    };
    let mut body = RequestBody::new(body, limits, None, None);
    let (mut whole, mut paid, mut share) = (BytesMut::new(), 0, None::<SemaphorePermit<'_>>);
    while let Some(piece) = body.next().await.transpose()? {
        whole.extend_from_slice(&piece);
        let due = whole.len().div_ceil(1024);
        let more = u32::try_from(due - paid).unwrap_or(u32::MAX);
        let more = connection.shared.whole.try_acquire_many(more);
        let more = more.map_err(|_| {
            let detail = "the listener takes as many results as it may";
            Problem::busy(StatusCode::TOO_MANY_REQUESTS, OVERLOADED, detail)
        })?;
        match &mut share {
            Some(share) => share.merge(more),
            None => share = Some(more),
        }
        paid = due;
    }
    Ok((whole.freeze(), share))
}

async fn in_time<T>(asked: impl Future<Output = Result<T, AdapterError>>) -> Result<T, Problem> {
    let away = || {
        let detail = "the store does not answer: say it again";
        Problem::busy(StatusCode::SERVICE_UNAVAILABLE, NOT_READY, detail)
    };
    match timeout(WITHIN, asked).await {
        Ok(Ok(said)) => Ok(said),
        Ok(Err(error)) => {
            tracing::warn!(code = %error.code, detail = error.detail, "what a program said could not be kept");
            Err(away())
        }
        Err(_) => Err(away()),
    }
}

fn reply(document: &Value) -> Reply {
    let mut reply = Response::new(Full::from(document.to_string()));
    let headers = reply.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

fn over(why: &str) -> Problem {
    Problem::new(StatusCode::GONE, WORK_OVER, why)
}
