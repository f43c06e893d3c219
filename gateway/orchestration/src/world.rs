//! What the machine needs of its surroundings while it runs: documents and maps. Both may be not there
//! yet; then nothing has changed, and the machine is asked again when they are.

use std::{collections::BTreeMap, sync::Arc};

use quayside_model::{MessageId, Name, Value};

use crate::Datum;

/// What is wanted of a place in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Want {
    /// Its text: one value, [`Value::Text`].
    Text,
    /// A decimal number.
    Decimal,
    /// A whole number.
    Integer,
    /// The texts of all places that the path leads to, in their order.
    Items,
    /// Whether the path leads anywhere: [`Value::Boolean`].
    Found,
}

/// Something that may not be there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup<T> {
    /// It is there.
    Ready(T),
    /// It never will be: why, for a person.
    Failed(String),
    /// Not yet: the machine says that it needs it and leaves everything as it is.
    Missing,
}

/// A map to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapCall {
    /// The id of the message that comes of it. The same call has the same id, whoever makes it.
    pub id: MessageId,
    /// The map.
    pub map: Name,
    /// The messages that it is made from.
    pub from: Vec<MessageId>,
    /// Its parameters.
    pub with: BTreeMap<Name, Datum>,
}

/// What a map has made. The caller keeps the content under [`MapCall::id`] until the commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapped {
    /// What is promoted of it.
    pub properties: BTreeMap<Name, Value>,
}

/// Something that the machine cannot go on without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// The body of this message.
    Body(MessageId),
    /// This map, applied. An error is an answer too.
    Map(MapCall),
}

/// Documents and maps, as far as they are there.
pub trait World {
    /// What stands in the body of `message` at `path`.
    fn read(&self, message: MessageId, path: &Arc<str>, want: Want) -> Lookup<Datum>;

    /// What comes of `call`. The same call comes to the same, whenever it is asked for.
    fn map(&self, call: &MapCall) -> Lookup<Mapped>;
}

/// A world without documents and maps.
#[derive(Debug, Clone, Copy, Default)]
pub struct Empty;

impl World for Empty {
    fn read(&self, _: MessageId, _: &Arc<str>, _: Want) -> Lookup<Datum> {
        Lookup::Failed("there are no documents".to_owned())
    }

    fn map(&self, _: &MapCall) -> Lookup<Mapped> {
        Lookup::Failed("there are no maps".to_owned())
    }
}
