//! Messages, variables and correlations.

use std::collections::{BTreeMap, BTreeSet};

use quayside_model::{Name, Text, Value, ValueType};

use super::{Reader, fields, fields::Fields};
use crate::{
    Datum, codes,
    datum::Holds,
    defect::{Place, shown},
    definition::{CorrelationSet, MessageVariable, Variable},
    expression::Names,
    limits,
    yaml::{Key, Node, Style, Yaml},
};

/// The types of variables, by the names that definitions use.
const TYPES: &[(&str, Holds)] = &[
    ("text", Holds::One(ValueType::String)),
    ("integer", Holds::One(ValueType::Integer)),
    ("decimal", Holds::One(ValueType::Decimal)),
    ("boolean", Holds::One(ValueType::Boolean)),
    ("time", Holds::One(ValueType::DateTime)),
    ("list", Holds::List),
];

impl Reader<'_> {
    /// `messages: { order: order, answer: approval-answer }`
    pub(super) fn message_variables(&mut self, node: &Node) {
        for (key, value) in fields::entries(node, "a map of messages", &mut self.defects) {
            let Some(name) = self.new_name(key, self.messages.len()) else {
                continue;
            };
            let Some(message) = fields::name(value, &mut self.defects) else {
                continue;
            };
            let spec = self.environment.messages.get(&message);
            if spec.is_none() {
                let known = self.environment.messages.keys();
                self.missing(value.place, codes::NO_MESSAGE, "message", &message, known);
            }
            self.messages.push(MessageVariable {
                name,
                message_type: spec
                    .map_or_else(|| Text::lossy(&message), |s| s.message_type.clone()),
                properties: spec.map_or_else(BTreeMap::new, |s| s.properties.clone()),
                message,
                kept: BTreeSet::new(),
            });
        }
    }

    /// `variables: { attempts: 0, limit: { type: decimal, value: 1000 } }`
    pub(super) fn plain_variables(&mut self, node: &Node) {
        for (key, value) in fields::entries(node, "a map of variables", &mut self.defects) {
            let Some(name) = self.new_name(key, self.variables.len()) else {
                continue;
            };
            let (holds, initial) = match &value.value {
                Yaml::Map(_) => self.typed(value),
                Yaml::Scalar(text, style) if !value.is_null() => {
                    self.by_its_look(value.place, text, *style)
                }
                _ => {
                    let message = format!(
                        "{} stands here, where a first value belongs",
                        value.in_words()
                    );
                    let help = "Write `attempts: 0`, or `limit: { type: decimal, value: 1000 }`.";
                    self.defects.help(value.place, codes::FORM, message, help);
                    (Holds::Element, None)
                }
            };
            self.variables.push(Variable {
                name,
                holds,
                initial,
            });
        }
    }

    /// The variable of an `each`, which exists from there on.
    pub(super) fn element_variable(&mut self, node: &Node) -> Option<u16> {
        let name = fields::name(node, &mut self.defects)?;
        let key = Key {
            place: node.place,
            text: name.to_string(),
        };
        let name = self.new_name(&key, self.variables.len())?;
        self.variables.push(Variable {
            name,
            holds: Holds::Element,
            initial: None,
        });
        u16::try_from(self.variables.len() - 1).ok()
    }

    fn typed(&mut self, node: &Node) -> (Holds, Option<Datum>) {
        let broken = (Holds::Element, None);
        let Some(mut fields) = Fields::of(node, "a type and a first value", &mut self.defects)
        else {
            return broken;
        };
        let (kind, value) = (fields.need("type", &mut self.defects), fields.get("value"));
        fields.finish(&mut self.defects);
        let Some(kind) = kind else { return broken };
        let written = kind.text().unwrap_or_default();
        let Some((_, holds)) = TYPES.iter().find(|(name, _)| *name == written) else {
            self.defects.unknown(
                kind.place,
                codes::FORM,
                "type",
                written,
                TYPES.iter().map(|t| t.0),
            );
            return broken;
        };
        let initial = match (holds, value) {
            (Holds::List, Some(value)) => {
                self.defects.add(
                    value.place,
                    codes::FORM,
                    "a list begins empty, without a first value",
                );
                None
            }
            (Holds::List, None) => Some(Datum::Many(Vec::new())),
            (Holds::One(ValueType::DateTime), None) => None,
            (Holds::One(wanted), value) => {
                let default = if *wanted == ValueType::Boolean {
                    "false"
                } else if *wanted == ValueType::String {
                    ""
                } else {
                    "0"
                };
                let (text, place) = value.map_or((default, kind.place), |v| {
                    (v.text().unwrap_or_default(), v.place)
                });
                self.first_value(text, *wanted, place)
            }
            (Holds::Element, _) => None,
        };
        (*holds, initial)
    }

    fn by_its_look(&mut self, place: Place, text: &str, style: Style) -> (Holds, Option<Datum>) {
        let plain = style == Style::Plain;
        let fits = |wanted| Value::parse(text, wanted).is_ok();
        let wanted = match text {
            "true" | "false" if plain => ValueType::Boolean,
            _ if plain && fits(ValueType::Integer) => ValueType::Integer,
            _ if plain && fits(ValueType::Decimal) => ValueType::Decimal,
            _ => ValueType::String,
        };
        (Holds::One(wanted), self.first_value(text, wanted, place))
    }

    fn first_value(&mut self, text: &str, wanted: ValueType, place: Place) -> Option<Datum> {
        let value = Value::parse(text, wanted);
        if value.is_err() {
            let message = format!("`{}` is not {}", shown(text), Holds::One(wanted).in_words());
            self.defects.add(place, codes::FORM, message);
        }
        value.ok().map(Datum::One)
    }

    /// `correlations: { by_order: OrderId, by_customer: [CustomerId, Country] }`
    pub(super) fn correlation_sets(&mut self, node: &Node) {
        for (key, value) in fields::entries(node, "a map of correlations", &mut self.defects) {
            let Some(name) = self.fresh(key, self.sets.len()) else {
                continue;
            };
            let properties: Vec<Name> = fields::names(value, &mut self.defects)
                .into_iter()
                .map(|(name, _)| name)
                .collect();
            if properties.is_empty() {
                self.defects.add(
                    value.place,
                    codes::FORM,
                    "a correlation needs a property at least",
                );
            }
            self.sets.push(CorrelationSet { name, properties });
        }
    }

    /// Tells where a message cannot give the values of a set.
    pub(super) fn gives(&mut self, message: u16, set: u16, place: Place) {
        let variable = &self.messages[usize::from(message)];
        for property in &self.sets[usize::from(set)].properties {
            let names = Names::Filter(&variable.properties);
            names.find(property, place, &mut self.defects);
        }
    }

    /// A name for expressions: without `-`, which is a sign there, and without dots.
    fn new_name(&mut self, key: &Key, count: usize) -> Option<Name> {
        let name = self.fresh(key, count)?;
        let identifier = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !identifier || crate::expression::RESERVED.contains(&&*name) {
            let message = format!("`{name}` cannot be the name of a message or variable");
            let help =
                "Begin with a letter, use letters, digits and `_`, and no word of the language.";
            self.defects.help(key.place, codes::FORM, message, help);
            return None;
        }
        Some(name)
    }

    fn fresh(&mut self, key: &Key, count: usize) -> Option<Name> {
        let Ok(name) = Name::new(key.text.as_str()) else {
            let message = format!("`{}` is no name", shown(&key.text));
            self.defects.add(key.place, codes::FORM, message);
            return None;
        };
        let taken = self.messages.iter().any(|m| m.name == name)
            || self.variables.iter().any(|v| v.name == name)
            || self.sets.iter().any(|s| s.name == name);
        if taken {
            self.defects.add(
                key.place,
                codes::DUPLICATE,
                format!("there is a `{name}` already"),
            );
            return None;
        }
        if count >= limits::NAMES {
            self.defects.add(
                key.place,
                codes::TOO_LARGE,
                format!("there are more than {} of these", limits::NAMES),
            );
            return None;
        }
        Some(name)
    }
}
