//! CloudEvents 1.0: attributes in headers (binary mode), around the data (structured mode), or several
//! events in one array (batched mode).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, StatusCode, header, request::Parts};
use quayside_adapter_api::{
    AdapterError, Body,
    model::{Context, INLINE_MAX, Text},
};
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    config::CloudEvents,
    error::{BAD_EVENT, EMPTY, OVERLOADED, WRONG_TYPE, invalid, too_large},
    form,
    problem::Problem,
};

/// The most bytes of a batch.
const BATCH_BYTES: usize = 1024 * 1024;

/// The most events of a batch: as many as the engine commits at once anyway.
const BATCH_EVENTS: usize = 256;

/// What an attribute takes in memory, in bytes, as a property of its message: far more than the few that it
/// may take in a document.
const ATTRIBUTE: usize = 256;

/// How a request carries an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// It carries none.
    Plain,
    /// Attributes are `ce-*` headers, the content is the data.
    Binary,
    /// The content is a JSON document with attributes and data.
    Structured,
    /// The content is a JSON array of such documents.
    Batch,
}

/// One message of a request: its data, and the event that it came in.
pub(crate) struct Content {
    pub(crate) event: Option<Event>,
    pub(crate) body: Body,
}

/// What a request holds.
pub(crate) struct Read<'a> {
    /// The message, and those that came with it.
    pub(crate) contents: (Content, Vec<Content>),
    /// The digest of what was taken apart: more of the request than the data of its events.
    pub(crate) digest: Option<[u8; 32]>,
    /// The memory that it takes.
    pub(crate) share: Option<SemaphorePermit<'a>>,
}

impl Read<'_> {
    /// A content that nothing is taken out of.
    fn streamed(event: Option<Event>, body: Body) -> Self {
        Self {
            contents: (Content { event, body }, Vec::new()),
            digest: None,
            share: None,
        }
    }
}

/// The attributes of an event, and what its data becomes.
#[derive(Debug)]
pub(crate) struct Event {
    attributes: BTreeMap<String, String>,
    /// The media type of the data, where the headers do not say it.
    pub(crate) content_type: Option<Text>,
}

/// Looks at the headers how a request carries an event.
///
/// # Errors
/// An unknown format; no event where one is required.
pub(crate) fn shape(headers: &HeaderMap, mode: CloudEvents) -> Result<Shape, Problem> {
    if mode == CloudEvents::Off {
        return Ok(Shape::Plain);
    }
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = content_type
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    if essence == "application/cloudevents-batch+json" {
        return Ok(Shape::Batch);
    }
    if essence == "application/cloudevents+json" {
        return Ok(Shape::Structured);
    }
    if essence.starts_with("application/cloudevents") {
        let detail = format!(
            "`{essence}` is not taken; application/cloudevents+json and \
             application/cloudevents-batch+json are"
        );
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            WRONG_TYPE,
            detail,
        ));
    }
    if headers.contains_key("ce-specversion") {
        return Ok(Shape::Binary);
    }
    if mode == CloudEvents::Require {
        let detail = "there is neither `ce-specversion` nor application/cloudevents+json";
        return Err(Problem::new(StatusCode::BAD_REQUEST, BAD_EVENT, detail));
    }
    Ok(Shape::Plain)
}

/// Takes the events out of a request; what is left is their data. `room` is the memory, in KiB, for
/// contents that have to be whole to be taken apart.
///
/// # Errors
/// `BAD_EVENT` if one is none of version 1.0, `TOO_LARGE` if one is above 256 KiB or a batch above its
/// limits, `OVERLOADED` if there is no room.
pub(crate) async fn read<'a>(
    shape: Shape,
    head: &Parts,
    body: Body,
    room: &'a Semaphore,
) -> Result<Read<'a>, Problem> {
    let max = match shape {
        Shape::Plain => return Ok(Read::streamed(None, body)),
        Shape::Binary => {
            let event = Event::new(attributes_of(&head.headers)?, None)?;
            return Ok(Read::streamed(Some(event), body));
        }
        Shape::Structured => INLINE_MAX,
        Shape::Batch => BATCH_BYTES,
    };
    let (document, mut share) = collect(body, max, room).await?;
    let contents = match shape {
        Shape::Batch => take_batch_apart(&document)?,
        _ => (content_of(&document)?, Vec::new()),
    };
    let others = contents
        .1
        .iter()
        .filter_map(|content| content.event.as_ref());
    let events = others.chain(&contents.0.event);
    let attributes: usize = events.map(|event| event.attributes.len()).sum();
    pay(&mut share, attributes * ATTRIBUTE / 1024, room)?;
    Ok(Read {
        contents,
        digest: Some(Sha256::digest(&document).into()),
        share,
    })
}

impl Event {
    fn new(
        attributes: BTreeMap<String, String>,
        content_type: Option<Text>,
    ) -> Result<Self, AdapterError> {
        for name in ["specversion", "id", "source", "type"] {
            if attributes.get(name).is_none_or(String::is_empty) {
                return Err(invalid(
                    BAD_EVENT,
                    format!("the attribute `{name}` is missing"),
                ));
            }
        }
        if attributes["specversion"] != "1.0" {
            let detail = format!("version `{}` is not 1.0", attributes["specversion"]);
            return Err(invalid(BAD_EVENT, detail));
        }
        Ok(Self {
            attributes,
            content_type,
        })
    }

    /// Makes properties of the attributes.
    pub(crate) fn promote(&self, context: &mut Context) {
        for (name, value) in &self.attributes {
            if context.len() < Context::MAX_PROPERTIES {
                context.promote_text(&format!("ce.{name}"), value);
            }
        }
    }

    /// What makes the event unique (section 3.1 of the specification). A line end, which no attribute
    /// holds, keeps two pairs from running into the same text.
    ///
    /// # Errors
    /// `BAD_EVENT` if it is too long to be kept.
    pub(crate) fn key(&self) -> Result<Text, AdapterError> {
        let (source, id) = (&self.attributes["source"], &self.attributes["id"]);
        Text::new(format!("{source}\n{id}"))
            .map_err(|error| invalid(BAD_EVENT, format!("source and id: {error}")))
    }
}

fn attributes_of(headers: &HeaderMap) -> Result<BTreeMap<String, String>, AdapterError> {
    let mut attributes = BTreeMap::new();
    for (header, value) in headers {
        let Some(name) = header.as_str().strip_prefix("ce-") else {
            continue;
        };
        let value = value.to_str().ok().and_then(|value| decode(value.trim()));
        let value = value.filter(|value| !value.contains(char::is_control));
        let value = value.ok_or_else(|| invalid(BAD_EVENT, format!("`ce-{name}` is malformed")))?;
        if attributes.insert(name.to_owned(), value).is_some() {
            return Err(invalid(BAD_EVENT, format!("`ce-{name}` is there twice")));
        }
    }
    Ok(attributes)
}

/// A header value: percent-encoded, and perhaps in double quotes (HTTP binding, 3.1.3.2).
fn decode(value: &str) -> Option<String> {
    let unquoted = match value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    {
        Some(quoted) => {
            let mut chars = quoted.chars();
            let mut text = String::with_capacity(quoted.len());
            while let Some(c) = chars.next() {
                text.push(if c == '\\' { chars.next()? } else { c });
            }
            text
        }
        None => value.to_owned(),
    };
    String::from_utf8(form::percent_decode(&unquoted)).ok()
}

/// Takes so many KiB of `room`.
fn pay<'a>(
    share: &mut Option<SemaphorePermit<'a>>,
    kib: usize,
    room: &'a Semaphore,
) -> Result<(), Problem> {
    let more = room.try_acquire_many(u32::try_from(kib).unwrap_or(u32::MAX));
    let more = more.map_err(|_| {
        let detail = "the listener takes as many events apart as it may";
        Problem::busy(StatusCode::TOO_MANY_REQUESTS, OVERLOADED, detail)
    })?;
    match share {
        Some(share) => share.merge(more),
        None => *share = Some(more),
    }
    Ok(())
}

/// Reads a content to its end, taking `room` for each KiB as it comes, so that who announces much and
/// sends little takes little.
async fn collect(
    mut body: Body,
    max: usize,
    room: &Semaphore,
) -> Result<(Bytes, Option<SemaphorePermit<'_>>), Problem> {
    let (mut whole, mut paid) = (BytesMut::new(), 0);
    let mut share: Option<SemaphorePermit<'_>> = None;
    while let Some(piece) = body.next().await.transpose()? {
        let len = whole.len() + piece.len();
        if len > max {
            let limit = format!("what is taken apart has at most {} KiB", max / 1024);
            return Err(too_large(limit).into());
        }
        let due = len.div_ceil(1024);
        pay(&mut share, due - paid, room)?;
        paid = due;
        whole.extend_from_slice(&piece);
    }
    Ok((whole.freeze(), share))
}

/// The documents of a batch, up to the limit, and how many there are.
struct Documents<'a> {
    taken: Vec<&'a RawValue>,
    count: usize,
}

impl<'de> Deserialize<'de> for Documents<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Array;
        impl<'de> Visitor<'de> for Array {
            type Value = Documents<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of events")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut taken = Vec::new();
                while taken.len() < BATCH_EVENTS
                    && let Some(document) = seq.next_element()?
                {
                    taken.push(document);
                }
                let mut count = taken.len();
                if count == BATCH_EVENTS {
                    while seq.next_element::<IgnoredAny>()?.is_some() {
                        count += 1;
                    }
                }
                Ok(Documents { taken, count })
            }
        }
        deserializer.deserialize_seq(Array)
    }
}

fn take_batch_apart(document: &[u8]) -> Result<(Content, Vec<Content>), Problem> {
    let documents: Documents<'_> = serde_json::from_slice(document)
        .map_err(|error| invalid(BAD_EVENT, format!("the batch: {error}")))?;
    if documents.count > BATCH_EVENTS {
        let count = documents.count;
        let detail = format!("the batch has {count} events and {BATCH_EVENTS} are allowed");
        return Err(too_large(detail).into());
    }
    let mut contents = Vec::with_capacity(documents.taken.len());
    for (document, index) in documents.taken.into_iter().zip(0..) {
        let document = document.get().as_bytes();
        let content = if document.len() > INLINE_MAX {
            Err(too_large("an event has at most 256 KiB"))
        } else {
            content_of(document)
        };
        contents.push(content.map_err(|error| Problem::from(error).of_event(index))?);
    }
    let mut contents = contents.into_iter();
    match contents.next() {
        Some(first) => Ok((first, contents.collect())),
        None => Err(invalid(EMPTY, "the batch has no event").into()),
    }
}

fn content_of(document: &[u8]) -> Result<Content, AdapterError> {
    let (event, data) = take_apart(document)?;
    Ok(Content {
        event: Some(event),
        body: Box::pin(stream::iter([Ok(data)])),
    })
}

/// The members of an event.
struct Members<'a>(BTreeMap<String, &'a RawValue>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut members, mut seen) = (BTreeMap::new(), BTreeSet::new());
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    // Of two the last counts for some and the first for others, and some do not look at
                    // the case: what one has checked must be what the other reads.
                    if !seen.insert(name.to_ascii_lowercase()) {
                        let what = format!("the member `{name}` is there twice");
                        return Err(de::Error::custom(what));
                    }
                    members.insert(name, value);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

fn take_apart(document: &[u8]) -> Result<(Event, Bytes), AdapterError> {
    let malformed = |error: serde_json::Error| invalid(BAD_EVENT, error.to_string());
    let Members(mut members) = serde_json::from_slice(document).map_err(malformed)?;
    let data = members.remove("data").filter(|data| data.get() != "null");
    let base64 = members
        .remove("data_base64")
        .filter(|data| data.get() != "null");
    let mut attributes = BTreeMap::new();
    for (name, value) in members {
        if let Some(text) = attribute(value) {
            attributes.insert(name, text);
        }
    }
    if attributes
        .values()
        .any(|value| value.contains(char::is_control))
    {
        return Err(invalid(BAD_EVENT, "an attribute holds a control character"));
    }
    let declared = attributes.get("datacontenttype").cloned();
    let content_type = declared.unwrap_or_else(|| "application/json".to_owned());
    let data = match (data, base64) {
        (Some(_), Some(_)) => {
            return Err(invalid(
                BAD_EVENT,
                "there are both `data` and `data_base64`",
            ));
        }
        (Some(data), None) => plain_data(data, &content_type),
        (None, Some(base64)) => binary_data(base64)?,
        (None, None) => Bytes::new(),
    };
    let content_type = Text::new(content_type)
        .map_err(|error| invalid(BAD_EVENT, format!("`datacontenttype`: {error}")))?;
    Ok((Event::new(attributes, Some(content_type))?, data))
}

/// An attribute as text: strings without their quotes, numbers and booleans as they stand.
fn attribute(value: &RawValue) -> Option<String> {
    match value.get().as_bytes().first()? {
        b'"' => serde_json::from_str(value.get()).ok(),
        b'{' | b'[' | b'n' => None,
        _ => Some(value.get().to_owned()),
    }
}

/// JSON data byte for byte, so that no number changes; text in a JSON string as the text.
fn plain_data(data: &RawValue, content_type: &str) -> Bytes {
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let is_json = essence.ends_with("/json") || essence.ends_with("+json");
    match serde_json::from_str::<String>(data.get()) {
        Ok(text) if !is_json => Bytes::from(text),
        _ => Bytes::copy_from_slice(data.get().as_bytes()),
    }
}

fn binary_data(base64: &RawValue) -> Result<Bytes, AdapterError> {
    serde_json::from_str::<String>(base64.get())
        .ok()
        .and_then(|text| STANDARD.decode(text).ok())
        .map(Bytes::from)
        .ok_or_else(|| invalid(BAD_EVENT, "`data_base64` is not base64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#""specversion":"1.0","id":"7","source":"/shop","type":"order""#;

    fn structured(rest: &str) -> Result<(Event, Bytes), AdapterError> {
        take_apart(format!("{{{HEAD}{rest}}}").as_bytes())
    }

    #[test]
    fn data_comes_out_as_it_is_meant() {
        for (rest, data, content_type) in [
            (
                r#","data":{"a": 1.10}"#,
                r#"{"a": 1.10}"#,
                "application/json",
            ),
            (r#","data":"x""#, r#""x""#, "application/json"),
            (
                r#","datacontenttype":"text/xml","data":"<a b=\"1\"/>""#,
                r#"<a b="1"/>"#,
                "text/xml",
            ),
            (
                r#","datacontenttype":"image/png","data_base64":"AAE=""#,
                "\0\u{1}",
                "image/png",
            ),
            ("", "", "application/json"),
        ] {
            let (event, bytes) = structured(rest).expect(rest);
            assert_eq!(&bytes[..], data.as_bytes(), "{rest}");
            assert_eq!(event.content_type.as_deref(), Some(content_type));
            assert_eq!(event.key().as_deref(), Ok("/shop\n7"));
        }
    }

    #[test]
    fn what_is_no_event_is_refused() {
        for document in [
            "",
            "[]",
            "{}",
            r#"{"specversion":"1.0","id":"","source":"/s","type":"t"}"#,
            r#"{"specversion":"0.3","id":"7","source":"/s","type":"t"}"#,
            r#"{"specversion":"1.0","id":{},"source":"/s","type":"t"}"#,
            r#"{"specversion":"1.0","id":"a\nb","source":"/s","type":"t"}"#,
            &format!(r#"{{{HEAD},"data":1,"data":2}}"#),
            &format!(r#"{{{HEAD},"id":"8"}}"#),
            &format!(r#"{{{HEAD},"ID":"8"}}"#),
            &format!(r#"{{{HEAD},"\u0069d":"8"}}"#),
            &format!(r#"{{{HEAD},"data":1,"data_base64":"AA=="}}"#),
            &format!(r#"{{{HEAD},"data_base64":"!"}}"#),
        ] {
            let error = take_apart(document.as_bytes())
                .map(drop)
                .expect_err(document);
            assert_eq!(error.code, BAD_EVENT);
        }
    }

    #[test]
    fn headers_are_decoded() {
        for (value, want) in [
            ("Euro%20%E2%82%AC", Some("Euro \u{20ac}")),
            ("a+b", Some("a+b")),
            (r#""a \"b\"""#, Some(r#"a "b""#)),
            ("%ff", None),
        ] {
            assert_eq!(decode(value).as_deref(), want, "{value}");
        }
    }
}
