//! What an instance holds, by the names that its definition gives: for a person.

use quayside_model::{MessageId, Name, Value};
use serde::Serialize;

use crate::{Datum, Definition, State};

/// What an instance holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// The correlations that have values: the name, and the properties with their values.
    pub correlations: Vec<(Name, Vec<(Name, Value)>)>,
    /// The messages that it has, in the order of their declaration.
    pub messages: Vec<MessageHeld>,
    /// The variables, also those that hold what the definition says at first.
    pub variables: Vec<(Name, Datum)>,
}

/// A message that an instance has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MessageHeld {
    /// What the definition calls it.
    pub name: Name,
    /// Which one it is.
    pub id: MessageId,
}

impl State {
    /// What it holds.
    #[must_use]
    pub fn contents(&self, definition: &Definition) -> Contents {
        let sets = self.sets.iter().filter_map(|(set, values)| {
            let set = definition.sets.get(usize::from(*set))?;
            let properties = set.properties.iter().cloned();
            Some((
                set.name.clone(),
                properties.zip(values.iter().cloned()).collect(),
            ))
        });
        let messages = self.messages.iter().filter_map(|(slot, held)| {
            let message = definition.messages.get(usize::from(*slot))?;
            Some(MessageHeld {
                name: message.name.clone(),
                id: held.id,
            })
        });
        let variables = (0u16..).zip(&definition.variables);
        let variables = variables.filter_map(|(slot, variable)| {
            let assigned = self.variables.get(&slot).or(variable.initial.as_ref());
            Some((variable.name.clone(), assigned?.clone()))
        });
        Contents {
            correlations: sets.collect(),
            messages: messages.collect(),
            variables: variables.collect(),
        }
    }
}
