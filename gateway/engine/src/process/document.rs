//! What orchestrations do with documents: values at paths, maps, and the type and properties of answers.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use quayside_model::{Content, Context, Message, MessageId, Part, Text, Timestamp, Value};
use quayside_orchestration::{Datum, Outgoing, Want};
use quayside_pipeline::{
    Kind, Limits, Scanner,
    map::{Selector, texts_of_each},
};
use quayside_store::StoreError;

use crate::{
    mapping::{self, Made},
    plan::{MessagePlan, OrchestrationPlan},
    send::decide::body_name,
    shared::Shared,
};

/// The bytes of the body of a message. `Err`: why there is none to be read, for a person.
pub(crate) async fn body(
    shared: &Shared,
    message: &Message,
) -> Result<Result<Bytes, String>, StoreError> {
    mapping::bytes(shared, &message.body().content).await
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
    // Of a document that lies in the row the paths into the whole of it take little.
    let whole = scanned.as_ref().ok().and_then(|scanned| scanned.expected);
    let whole = whole.and_then(|no| messages.get(no)).map(|m| &m.promotions);
    let whole =
        whole.filter(|promotions| kind == Kind::Xml && promotions.need_whole().next().is_some());
    let whole = whole.map_or(Ok(Vec::new()), |promotions| promotions.whole(bytes));
    if let (Ok(scanned), Ok(whole)) = (scanned, whole) {
        message.message_type = scanned.message_type;
        for (name, value) in scanned.properties.into_iter().chain(whole) {
            message.context.promote(name, value);
        }
    }
}

/// What stands in `body`, that of `message`, at each of `paths`, with the prefixes that the message of its type has. The
/// document is read once for each format of paths. `Err`: why nothing can be read there, for a person.
pub(crate) fn at(
    messages: &[Arc<MessagePlan>],
    message: &Message,
    body: &Bytes,
    paths: &[(Arc<str>, Want)],
) -> Vec<Result<Datum, String>> {
    let of_type =
        |plan: &&Arc<MessagePlan>| plan.message_type.as_deref() == message.message_type.as_deref();
    let none = BTreeMap::new();
    let plan = messages.iter().find(of_type);
    let namespaces = plan.map_or(&none, |plan| &plan.namespaces);
    let selectors = paths.iter();
    let selectors = selectors.map(|(path, _)| Selector::compile(path, namespaces));
    let selectors: Vec<_> = selectors.collect();
    let mut read: Vec<_> = selectors
        .iter()
        .map(|selector| {
            selector
                .as_ref()
                .err()
                .cloned()
                .map_or_else(|| Ok(Vec::new()), Err)
        })
        .collect();
    for kind in [Kind::Xml, Kind::Json] {
        let of_kind = selectors.iter().enumerate();
        let of_kind = of_kind.filter_map(|(no, selector)| Some((no, selector.as_ref().ok()?)));
        let (places, of_kind): (Vec<_>, Vec<_>) = of_kind
            .filter(|(_, selector)| selector.kind() == kind)
            .unzip();
        for (no, texts) in places.into_iter().zip(texts_of_each(&of_kind, body)) {
            read[no] = texts.map_err(|error| error.to_string());
        }
    }
    let wants = paths.iter().map(|(_, want)| *want);
    let read = read.into_iter().zip(wants);
    read.map(|(texts, want)| wanted(texts?, want)).collect()
}

/// What the texts at a path are to whoever wants them as `want`. `Err`: why nothing, for a person.
fn wanted(texts: Vec<String>, want: Want) -> Result<Datum, String> {
    match want {
        Want::Found => return Ok(Datum::One(Value::Boolean(!texts.is_empty()))),
        Want::Items => {
            let items = texts.iter().map(|text| Value::Text(Text::lossy(text)));
            return Ok(Datum::Many(items.collect()));
        }
        Want::Text | Want::Decimal | Want::Integer => {}
    }
    let text = match texts.as_slice() {
        [text] => text,
        [] => return Err("there is nothing at this path".to_owned()),
        several => return Err(format!("there are {} values at this path", several.len())),
    };
    let value = match want {
        Want::Decimal => text.trim().parse().ok().map(Value::Decimal),
        Want::Integer => text.trim().parse().ok().map(Value::Integer),
        _ => Some(Value::Text(Text::lossy(text))),
    };
    let value = value.ok_or_else(|| format!("`{text}` is no number"))?;
    Ok(Datum::One(value))
}

/// The message that `made` becomes in an instance of `plan`.
pub(crate) fn mapped(
    plan: &OrchestrationPlan,
    id: MessageId,
    now: Timestamp,
    made: Made,
) -> Message {
    let mut message = Message {
        id,
        received_at: now,
        origin: Text::lossy(&plan.name),
        message_type: None,
        context: Context::new(),
        parts: vec![Part {
            name: body_name(),
            content_type: Some(made.content_type),
            content: Content::Inline(made.body.into()),
        }],
    };
    promote(&plan.messages, &mut message);
    message
}

/// The message that an instance of `plan` sends, with `parts` of its own.
pub(crate) fn outgoing(
    plan: &OrchestrationPlan,
    (id, now): (MessageId, Timestamp),
    content: &Message,
    outgoing: &Outgoing,
    parts: Vec<Part>,
) -> Message {
    let mut context = content.context.clone();
    for (name, value) in &outgoing.properties {
        context.promote(name.clone(), value.clone());
    }
    Message {
        id,
        received_at: now,
        origin: Text::lossy(&plan.name),
        message_type: Some(outgoing.message_type.clone()),
        context,
        parts,
    }
}
