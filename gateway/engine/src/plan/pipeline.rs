//! What is done to bodies on their way in.

use std::sync::Arc;

use quayside_pipeline::{Kind, decode::Decode, split::Split};

/// What is done to a body before it is routed, in this order.
#[derive(Debug, Clone, Default)]
pub struct ReceivePipeline {
    /// What is taken off.
    pub decode: Option<Arc<Decode>>,
    /// How it is taken apart into records, each a message of its own.
    pub split: Option<Arc<Split>>,
    /// What a message has to be then.
    pub expects: Expects,
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
