//! The context of a message: its properties, promoted (routable) or only written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Name, Text, Value};

/// One property.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Property {
    /// Its value.
    #[serde(rename = "v")]
    pub value: Value,
    /// Whether filters see it. A property that is only written is kept and shown, but routes nothing.
    #[serde(rename = "p", default, skip_serializing_if = "std::ops::Not::not")]
    pub promoted: bool,
}

/// All properties of a message, by name.
///
/// A name is `namespace.name` for what the gateway and its adapters set (`msg.type`,
/// `http.header.x-request-id`, `file.name`) and a bare name for what an application promotes
/// (`CustomerId`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Context(BTreeMap<Name, Property>);

impl Context {
    /// The most properties one message carries. Adapters stop adding beyond it.
    pub const MAX_PROPERTIES: usize = 512;

    /// An empty context.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a property that filters see.
    pub fn promote(&mut self, name: Name, value: impl Into<Value>) {
        self.0.insert(
            name,
            Property {
                value: value.into(),
                promoted: true,
            },
        );
    }

    /// Sets a property that is kept and shown, but that filters do not see.
    pub fn write(&mut self, name: Name, value: impl Into<Value>) {
        self.0.insert(
            name,
            Property {
                value: value.into(),
                promoted: false,
            },
        );
    }

    /// [`Context::promote`] for a name known to be one and a text that may be anything: a name that does
    /// not fit is left out and a text is made storable.
    pub fn promote_text(&mut self, name: &str, text: &str) {
        if let Ok(name) = Name::new(name) {
            self.promote(name, Text::lossy(text));
        }
    }

    /// The property `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Property> {
        self.0.get(name)
    }

    /// The value of the property `name`, promoted or written.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name).map(|p| &p.value)
    }

    /// The value of the property `name` if filters see it.
    #[must_use]
    pub fn promoted(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|p| p.promoted).map(|p| &p.value)
    }

    /// Takes the property `name` away.
    pub fn remove(&mut self, name: &str) -> Option<Property> {
        self.0.remove(name)
    }

    /// All properties in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Property)> {
        self.0.iter()
    }

    /// How many properties there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
