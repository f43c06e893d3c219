//! The way of deliveries from requests to the engine. Whoever waits in it too long for its turn leaves.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use quayside_adapter_api::Delivery;

/// A delivery that waits for its turn.
pub(crate) struct Queued {
    delivery: Delivery,
    turn: Turn,
}

/// Which of two is first: the engine that takes the delivery, or the request that gives it up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turn(Arc<AtomicBool>);

impl Turn {
    /// Whether nobody was first yet.
    pub(crate) fn claim(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

impl Queued {
    /// A delivery, and what its request can give it up with.
    pub(crate) fn new(delivery: Delivery) -> (Self, Turn) {
        let turn = Turn::default();
        let queued = Self {
            delivery,
            turn: turn.clone(),
        };
        (queued, turn)
    }

    /// The delivery, unless its request has gone.
    pub(crate) fn take(self) -> Option<Delivery> {
        self.turn.claim().then_some(self.delivery)
    }
}
