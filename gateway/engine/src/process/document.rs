//! What orchestrations read in documents: values at paths, and the type and properties of answers.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use quayside_model::{Content, Message, Text, Value};
use quayside_orchestration::{Datum, Want};
use quayside_pipeline::{Kind, Limits, Promotions, Rule, Scanner};
use quayside_store::StoreError;

use crate::{plan::MessagePlan, shared::Shared};

/// The largest document that is read, in bytes.
pub(crate) const MOST: u64 = 4 * 1024 * 1024;

/// The bytes of the body of a message. `Err`: why there is none to be read, for a person.
pub(crate) async fn body(
    shared: &Shared,
    message: &Message,
) -> Result<Result<Bytes, String>, StoreError> {
    let stored = match &message.body().content {
        Content::Inline(bytes) => return Ok(Ok(bytes.clone())),
        Content::Stored(stored) => stored,
    };
    if stored.len > MOST {
        let why = format!(
            "the document has {} bytes, and at most {MOST} are read",
            stored.len
        );
        return Ok(Err(why));
    }
    let mut all = Vec::with_capacity(usize::try_from(stored.len).unwrap_or_default());
    for no in 0..stored.chunks {
        match shared.store.read_chunk(stored.id, no).await? {
            Some(chunk) => all.extend_from_slice(&chunk),
            None => return Ok(Err("the document is not kept any more".to_owned())),
        }
    }
    Ok(Ok(all.into()))
}

/// Gives an answer the type and properties that it has among `messages`. Without a fitting one it has none.
pub(crate) fn promote(messages: &[Arc<MessagePlan>], message: &mut Message) {
    let Content::Inline(bytes) = &message.body().content else {
        return;
    };
    let kind = Kind::sniff(message.body().content_type.as_deref(), bytes);
    let expected = messages.iter();
    let expected = expected
        .map(|m| (m.message_type.as_deref(), &m.promotions))
        .collect();
    let mut scanner = Scanner::new(kind, expected, Limits::default());
    let scanned = scanner.push(bytes).and_then(|()| scanner.finish());
    if let Ok(scanned) = scanned {
        message.message_type = scanned.message_type;
        for (name, value) in scanned.properties {
            message.context.promote(name, value);
        }
    }
}

/// What stands in `body` at `path`. `Err`: why nothing can be read there, for a person.
pub(crate) fn read(
    body: &Bytes,
    content_type: Option<&str>,
    namespaces: &BTreeMap<String, String>,
    path: &str,
    want: Want,
) -> Result<Datum, String> {
    let promotions = promotions(namespaces, path)?;
    let kind = Kind::sniff(content_type, body);
    let mut scanner = Scanner::new(kind, vec![(None, &promotions)], Limits::default());
    let scanned = scanner.push(body).and_then(|()| scanner.finish());
    let scanned = scanned.map_err(|invalid| format!("{}: {}", invalid.code, invalid.detail))?;
    let found = scanned.properties.into_iter().next();
    let found = found.map(|(_, value)| value.to_string());
    if want == Want::Found {
        return Ok(Datum::One(Value::Boolean(found.is_some())));
    }
    let text = found.ok_or_else(|| format!("there is nothing at `{path}`"))?;
    let value = match want {
        Want::Text | Want::Items | Want::Found => Some(Value::Text(Text::lossy(&text))),
        Want::Decimal => text.trim().parse().ok().map(Value::Decimal),
        Want::Integer => text.trim().parse().ok().map(Value::Integer),
    };
    let value = value.ok_or_else(|| format!("`{text}` at `{path}` is no number"))?;
    Ok(match want {
        Want::Items => Datum::Many(vec![value]),
        _ => Datum::One(value),
    })
}

/// Whether `path` can be read.
///
/// # Errors
/// Why not, for a person.
pub(crate) fn check(
    namespaces: &BTreeMap<String, String>,
    path: &str,
    want: Want,
) -> Result<(), String> {
    if want == Want::Items {
        return Err("lists of a document cannot be read yet: promote what you need".to_owned());
    }
    promotions(namespaces, path).map(drop)
}

/// The path as the one promotion of a message.
fn promotions(namespaces: &BTreeMap<String, String>, path: &str) -> Result<Promotions, String> {
    let rule = match path.starts_with('$') {
        true => Rule::jsonpath(path),
        false => Rule::xpath(path),
    };
    let rules = BTreeMap::from([("value".to_owned(), rule)]);
    Promotions::compile(namespaces, &rules).map_err(|faults| {
        let first = faults.into_iter().next();
        first.map_or_else(String::new, |fault| fault.message)
    })
}
