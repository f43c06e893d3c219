//! Templates such as `{OrderId}-{msg.id}.xml`: parsed once, rendered when a message is published.

use quayside_model::{DeliveryId, Message, Text, TextError};

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Property(String),
}

/// The text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace is never closed, or closes nothing.
    #[error("the brace at character {0} has no partner; write {{{{ or }}}} for a brace itself")]
    Unbalanced(usize),
    /// Nothing stands between the braces, or what stands there is no property name.
    #[error("`{{{0}}}` names no property")]
    NotAName(String),
}

/// The message does not have what the template names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// No property of this name, or it has no value.
    #[error("the message has no property `{0}`")]
    Missing(String),
    /// The result cannot be kept.
    #[error("the result cannot be used")]
    Text(#[from] TextError),
}

impl Template {
    /// Parses `{name}` pieces between literal text; `{{` and `}}` stand for the braces themselves.
    ///
    /// # Errors
    /// [`TemplateError`] with the place.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut chars = text.chars().enumerate().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '{' | '}' if chars.peek().is_some_and(|(_, next)| *next == c) => {
                    chars.next();
                    literal.push(c);
                }
                '{' => {
                    let mut name = String::new();
                    loop {
                        match chars.next() {
                            Some((_, '}')) => break,
                            Some((_, c)) if c != '{' => name.push(c),
                            _ => return Err(TemplateError::Unbalanced(at)),
                        }
                    }
                    if quayside_model::Name::new(name.as_str()).is_err() {
                        return Err(TemplateError::NotAName(name));
                    }
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    pieces.push(Piece::Property(name));
                }
                '}' => return Err(TemplateError::Unbalanced(at)),
                c => literal.push(c),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { pieces })
    }

    /// The properties that it names.
    pub fn references(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Property(name) => Some(name.as_str()),
            Piece::Literal(_) => None,
        })
    }

    /// Puts the values of `message` in. Beside its properties: `msg.id`, `msg.type`, `msg.origin`,
    /// `msg.received` (UTC, `20261121T090000Z`) and `delivery.id`.
    ///
    /// # Errors
    /// [`RenderError`] if a property is missing.
    pub fn render(&self, message: &Message, delivery: DeliveryId) -> Result<Text, RenderError> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Property(name) => {
                    let value = value(name, message, delivery);
                    text.push_str(&value.ok_or_else(|| RenderError::Missing(name.clone()))?);
                }
            }
        }
        Ok(Text::new(text)?)
    }
}

fn value(name: &str, message: &Message, delivery: DeliveryId) -> Option<String> {
    match name {
        "msg.id" => Some(message.id.to_string()),
        "msg.type" => message.message_type.as_ref().map(ToString::to_string),
        "msg.origin" => Some(message.origin.to_string()),
        "msg.received" => Some(basic(&message.received_at.to_string())),
        "delivery.id" => Some(delivery.to_string()),
        name => message.context.value(name).map(ToString::to_string),
    }
}

/// RFC 3339 without what file names cannot hold: the basic form of ISO 8601, to the second.
fn basic(time: &str) -> String {
    let seconds = time.split('.').next().unwrap_or(time);
    let digits: String = seconds
        .chars()
        .filter(|c| !matches!(c, '-' | ':'))
        .collect();
    format!("{}Z", digits.trim_end_matches('Z'))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quayside_model::{
        Content, Context, MessageId, Name, Part, SeededEntropy, Timestamp, Value,
    };

    use super::*;

    fn message() -> Message {
        let received_at: Timestamp = "2026-11-21T09:08:07.654321Z".parse().expect("a time");
        let mut context = Context::new();
        context.promote_text("OrderId", "17");
        context.promote(Name::new("Total").expect("a name"), Value::Integer(5));
        Message {
            id: MessageId::new(received_at, &SeededEntropy::new(1)),
            received_at,
            origin: Text::lossy("orders.in.web"),
            message_type: None,
            context,
            parts: vec![Part {
                name: Name::new("body").expect("a name"),
                content_type: None,
                content: Content::Inline(Bytes::new()),
            }],
        }
    }

    fn render(text: &str) -> Result<String, String> {
        let message = message();
        let delivery = DeliveryId {
            message: message.id,
            no: 2,
        };
        let template = Template::parse(text).map_err(|e| e.to_string())?;
        let rendered = template
            .render(&message, delivery)
            .map_err(|e| e.to_string())?;
        Ok(rendered.replace(&message.id.to_string(), "ID"))
    }

    #[test]
    fn pieces_are_put_in() {
        for (template, expected) in [
            ("{OrderId}-{msg.id}.xml", "17-ID.xml"),
            ("{Total}/{delivery.id}", "5/ID.2"),
            ("{{{OrderId}}}", "{17}"),
            ("{msg.received}", "20261121T090807Z"),
            ("plain", "plain"),
            ("", ""),
        ] {
            assert_eq!(render(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn faults_say_what_and_where() {
        for (template, fault) in [
            (
                "a{b",
                "the brace at character 1 has no partner; write {{ or }} for a brace itself",
            ),
            (
                "a}b",
                "the brace at character 1 has no partner; write {{ or }} for a brace itself",
            ),
            ("{}", "`{}` names no property"),
            ("{a b}", "`{a b}` names no property"),
            ("{Nothing}", "the message has no property `Nothing`"),
            ("{msg.type}", "the message has no property `msg.type`"),
        ] {
            assert_eq!(render(template), Err(fault.to_owned()), "{template}");
        }
    }
}
