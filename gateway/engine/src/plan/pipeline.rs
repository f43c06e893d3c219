//! What is done to bodies on their way in and out.

use std::sync::Arc;

use quayside_model::Text;
use quayside_pipeline::{Kind, assemble::Assemble, decode::Decode, encode::Encode, split::Split};

/// What is done to a body before it is routed, in this order.
#[derive(Debug, Clone, Default)]
pub struct ReceivePipeline {
    /// What is taken off.
    pub decode: Option<Arc<Decode>>,
    /// How it is taken apart into records, each a message of its own.
    pub split: Option<Arc<Split>>,
    /// What a message has to be then.
    pub expects: Expects,
    /// How it is found out which party sends.
    pub party: Option<Arc<Parties>>,
}

/// The parties among which a receive port looks for who sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parties {
    /// Whether a message of nobody among them is refused.
    pub required: bool,
    /// All of them. No two have a certificate or a name in common.
    pub known: Vec<Party>,
}

/// A partner that sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// Its name, without that of the application: partners are the same for all of them.
    pub name: Text,
    /// What its certificates are known by: the subject, or the SHA-256 in lower hexadecimal digits.
    pub certificates: Vec<Text>,
    /// The names of its credentials.
    pub clients: Vec<Text>,
}

/// What is done to a body before its transport sees it, in this order and behind the maps of the port.
#[derive(Debug, Clone, Default)]
pub struct SendPipeline {
    /// How a document becomes a file of lines.
    pub assemble: Option<Arc<Assemble>>,
    /// What is put around it.
    pub encode: Option<Arc<Encode>>,
}

/// What a message has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expects {
    /// What the messages of the port say; without any of them nobody looks.
    #[default]
    Messages,
    /// Well-formed content of this kind, of whatever type where the port has no messages.
    Kind(Kind),
    /// Anything: nobody looks.
    Anything,
}
