//! What a send port writes on a message beside its body.

use std::collections::BTreeMap;

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, LongString, ShortString},
};
use quayside_adapter_api::{
    AdapterError, Block, ErrorKind, Outbound,
    model::{Fault, Message, Text, Value},
    units::Span,
};
use serde::Deserialize;

use crate::{codes, properties::ROUTING, publish::PERSISTENT};

/// The longest text of a property, in bytes: AMQP carries them in short strings.
const MAX_TEXT: usize = 255;
/// The settings that are templates.
const TEMPLATES: [&str; 5] = [
    "content_type",
    "correlation_id",
    "reply_to",
    "type",
    "priority",
];
/// Of a message that came from a queue, its headers.
const HEADER: &str = "amqp.header.";
/// The epoch of the clustered host that sends, by which a consumer can tell a late owner. That of a message that
/// came from another gateway says nothing of this one.
const EPOCH: &str = "quayside-epoch";

/// `[send.PORT.primary.amqp.properties]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// What goes along of a message that came from a queue.
    #[serde(default)]
    pub carry: Vec<Carried>,
    /// The template of its media type; without it that of its body.
    #[serde(default)]
    pub content_type: Option<String>,
    /// A template.
    #[serde(default)]
    pub correlation_id: Option<String>,
    /// A template.
    #[serde(default)]
    pub reply_to: Option<String>,
    /// A template.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// A number from 0 to 255, or a template that comes to one.
    #[serde(default)]
    pub priority: Option<Given>,
    /// After which time in its queue the broker drops it or puts it into its dead letter exchange.
    #[serde(default)]
    pub expiration: Option<Span>,
    /// Headers by their names: texts are templates.
    #[serde(default)]
    pub headers: BTreeMap<String, Given>,
}

/// What goes along of a message that came from a queue, where it has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Carried {
    /// Its `correlation_id`.
    CorrelationId,
    /// Its `reply_to`.
    ReplyTo,
    /// Its `type`.
    Type,
    /// Its `priority`.
    Priority,
    /// Its headers, their names in lower case.
    Headers,
}

/// A value as it is given.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Given {
    /// As it is.
    Flag(bool),
    /// As it is.
    Number(i64),
    /// A template.
    Text(String),
}

/// The settings of `block`, which is that of [`Written`], whose values are templates.
pub(crate) fn templates(block: &Block) -> BTreeMap<String, String> {
    let text = |key: &str| block.get(key).and_then(Block::as_str);
    let own = TEMPLATES
        .iter()
        .filter_map(|key| Some((name(key), text(key)?.to_owned())));
    let headers = block.get("headers").and_then(Block::as_object);
    let headers = headers.into_iter().flatten();
    let headers =
        headers.filter_map(|(key, value)| Some((header(key), value.as_str()?.to_owned())));
    own.chain(headers).collect()
}

fn name(key: &str) -> String {
    format!("properties.{key}")
}

fn header(key: &str) -> String {
    format!("properties.headers.{key}")
}

impl Written {
    /// What is wrong, each at its key below `properties`.
    pub(crate) fn faults(&self, faults: &mut Vec<Fault>) {
        let mut say = |path: &[&str], message: String| {
            faults.push(Fault::error(codes::BAD_PROPERTY, path, message));
        };
        match &self.priority {
            Some(Given::Number(0..=255) | Given::Text(_)) | None => {}
            Some(_) => {
                let message = "`priority` is a number from 0 to 255, or a template".to_owned();
                say(&["properties", "priority"], message);
            }
        }
        if self
            .expiration
            .is_some_and(|span| span.duration().is_zero())
        {
            let message =
                "the message would be gone at once: give a time such as \"1h\"".to_owned();
            say(&["properties", "expiration"], message);
        }
        for name in self.headers.keys() {
            let path = ["properties", "headers", name];
            if name.is_empty() || name.len() > MAX_TEXT {
                say(
                    &path,
                    format!("the name of a header has 1 to {MAX_TEXT} bytes"),
                );
            }
            if ROUTING.contains(&name.as_str()) {
                let message = "RabbitMQ would take it as the names of further queues; send into those by ports \
                     of their own";
                say(&path, message.to_owned());
            }
        }
    }

    /// The properties of one message, the same for every attempt on every node.
    ///
    /// # Errors
    /// `Rejected`: a value that AMQP cannot carry.
    pub(crate) fn properties(&self, outbound: &Outbound) -> Result<BasicProperties, AdapterError> {
        let message = &*outbound.message;
        let received = message.received_at.as_micros() / 1_000_000;
        let mut properties = BasicProperties::default()
            .with_delivery_mode(PERSISTENT)
            .with_timestamp(u64::try_from(received).unwrap_or_default())
            .with_app_id("quayside".into())
            .with_message_id(short("message_id", &outbound.delivery.to_string())?);
        let body_type = message.body().content_type.as_deref();
        let rendered = |key: &str| outbound.rendered.get(&name(key)).map(Text::as_str);
        let content_type = rendered("content_type").or(body_type);
        if let Some(text) = content_type {
            properties = properties.with_content_type(short("content_type", text)?);
        }
        let text = |key: &str, carried: Carried, own: &str| {
            let text = rendered(key).map(str::to_owned);
            let text = text.or_else(|| self.carried(carried, message, own)?.to_string().into());
            text.map(|text| short(key, &text)).transpose()
        };
        let correlation_id = text(
            "correlation_id",
            Carried::CorrelationId,
            "amqp.correlation-id",
        )?;
        if let Some(text) = correlation_id {
            properties = properties.with_correlation_id(text);
        }
        if let Some(text) = text("reply_to", Carried::ReplyTo, "amqp.reply-to")? {
            properties = properties.with_reply_to(text);
        }
        if let Some(text) = text("type", Carried::Type, "amqp.type")? {
            properties = properties.with_type(text);
        }
        if let Some(priority) = self.priority(outbound)? {
            properties = properties.with_priority(priority);
        }
        if let Some(expiration) = self.expiration {
            let millis = expiration.duration().as_millis().to_string();
            properties = properties.with_expiration(short("expiration", &millis)?);
        }
        let headers = self.headers(outbound)?;
        if !headers.inner().is_empty() {
            properties = properties.with_headers(headers);
        }
        Ok(properties)
    }

    fn carried<'a>(&self, what: Carried, message: &'a Message, own: &str) -> Option<&'a Value> {
        let carries = self.carry.contains(&what);
        message.context.value(own).filter(|_| carries)
    }

    fn priority(&self, outbound: &Outbound) -> Result<Option<u8>, AdapterError> {
        let refused = |what: &str| {
            refused(format!(
                "`priority` is {what:?}, not a number from 0 to 255"
            ))
        };
        match &self.priority {
            Some(Given::Number(number)) => {
                let number = u8::try_from(*number).map_err(|_| refused(&number.to_string()))?;
                Ok(Some(number))
            }
            Some(_) => {
                let text = outbound.rendered.get(&name("priority"));
                let text = text.map(Text::as_str).unwrap_or_default();
                text.parse().map(Some).map_err(|_| refused(text))
            }
            None => {
                let own = "amqp.priority";
                let carried = self.carried(Carried::Priority, &outbound.message, own);
                Ok(carried.and_then(|value| value.to_string().parse().ok()))
            }
        }
    }

    fn headers(&self, outbound: &Outbound) -> Result<FieldTable, AdapterError> {
        let mut headers = FieldTable::default();
        if self.carry.contains(&Carried::Headers) {
            for (name, property) in outbound.message.context.iter() {
                if let Some(name) = name.strip_prefix(HEADER).filter(|name| *name != EPOCH) {
                    headers.insert(short("headers", name)?, own(&property.value));
                }
            }
        }
        for (name, given) in &self.headers {
            let value = match given {
                Given::Flag(flag) => AMQPValue::Boolean(*flag),
                Given::Number(number) => AMQPValue::LongLongInt(*number),
                Given::Text(_) => {
                    let text = outbound.rendered.get(&header(name));
                    long(text.map(Text::as_str).unwrap_or_default())
                }
            };
            headers.insert(short("headers", name)?, value);
        }
        if let Some(epoch) = outbound.epoch {
            headers.insert(EPOCH.into(), AMQPValue::LongLongInt(epoch));
        }
        Ok(headers)
    }
}

/// A value of a property as a header.
fn own(value: &Value) -> AMQPValue {
    match value {
        Value::Boolean(flag) => AMQPValue::Boolean(*flag),
        Value::Integer(number) => AMQPValue::LongLongInt(*number),
        other => long(&other.to_string()),
    }
}

fn long(text: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(text.as_bytes().to_vec()))
}

fn short(key: &str, text: &str) -> Result<ShortString, AdapterError> {
    let wrong = |_| {
        refused(format!(
            "`{key}` has {} bytes, more than {MAX_TEXT}",
            text.len()
        ))
    };
    ShortString::try_new(text).map_err(wrong)
}

fn refused(detail: String) -> AdapterError {
    AdapterError::new(ErrorKind::Rejected, codes::BAD_PROPERTY, detail)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn places(block: &Block) -> Vec<String> {
        let written: Written = serde_json::from_value(block.clone()).expect("settings");
        let mut faults = Vec::new();
        written.faults(&mut faults);
        faults.iter().map(|fault| fault.path.join(".")).collect()
    }

    #[test]
    fn texts_are_templates_and_the_rest_is_not() {
        let block = json!({
            "type": "{msg.type}", "priority": 5, "expiration": "1h", "carry": ["headers"],
            "headers": { "from": "{amqp.queue}", "attempt": 1, "flag": true },
        });
        let templates = templates(&block);
        let keys: Vec<_> = templates.keys().map(String::as_str).collect();
        assert_eq!(keys, ["properties.headers.from", "properties.type"]);
        assert_eq!(places(&block), [""; 0]);
    }

    #[test]
    fn each_fault_stands_at_its_key() {
        for (block, expected) in [
            (json!({ "priority": 256 }), "properties.priority"),
            (json!({ "priority": true }), "properties.priority"),
            (json!({ "expiration": "0s" }), "properties.expiration"),
            (json!({ "headers": { "": 1 } }), "properties.headers."),
            (json!({ "headers": { "CC": "q" } }), "properties.headers.CC"),
        ] {
            assert_eq!(places(&block), [expected], "{block}");
        }
    }

    #[test]
    fn what_amqp_cannot_carry_is_refused() {
        assert!(short("type", &"x".repeat(MAX_TEXT)).is_ok());
        let error = short("type", &"x".repeat(MAX_TEXT + 1)).expect_err("too long");
        let told = (error.kind, error.code);
        assert_eq!(told, (ErrorKind::Rejected, codes::BAD_PROPERTY));
    }
}
