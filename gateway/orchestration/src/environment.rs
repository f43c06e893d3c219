//! What the application of an orchestration has: what a definition may name. It can be written down beside the text
//! of a definition, so that both can be compiled again when the application has changed.

use std::collections::{BTreeMap, BTreeSet};

use quayside_model::{Name, Text, ValueType};
use serde::{Deserialize, Serialize};

/// What the application has.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Environment {
    /// `[message.NAME]`.
    pub messages: BTreeMap<Name, MessageSpec>,
    /// `[map.NAME]`.
    pub maps: BTreeMap<Name, MapSpec>,
    /// `[send.NAME]`.
    pub ports: BTreeMap<Name, PortSpec>,
    /// The orchestrations of the application, this one too.
    pub orchestrations: BTreeSet<Name>,
    /// `[worker.NAME]`.
    pub workers: BTreeSet<Name>,
}

/// A message of the application.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MessageSpec {
    /// `namespace#root`.
    pub message_type: Text,
    /// What it promotes, with the types. Properties of transports have a dot in their names and may come
    /// beside these.
    pub properties: BTreeMap<Name, ValueType>,
}

/// A map of the application.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct MapSpec {
    /// The messages that it is made from, where it says so.
    pub from: Option<Vec<Name>>,
    /// The message that it makes, where it says so.
    pub to: Option<Name>,
    /// Its parameters, and whether each has to be given, where it says so.
    #[serde(default)]
    pub params: Option<BTreeMap<Name, bool>>,
}

/// A send port of the application.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct PortSpec {
    /// Whether it gives answers, so that it can be called.
    pub two_way: bool,
}
