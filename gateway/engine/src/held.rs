//! The deliveries that this process holds, for comparison with what the store says it holds.
//!
//! A reply that was lost or a task that panicked leaves a claim in the store that nobody works on. Every
//! few seconds the claims that are in the store but not here are given back.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use quayside_model::{Claim, DeliveryId};

/// The set. A claim is put in before the store can have it, and taken out after it is settled.
#[derive(Debug, Default)]
pub(crate) struct Held {
    claims: Mutex<HashMap<DeliveryId, u32>>,
    /// Taken by whoever asks the store for claims, and by the comparison: a claim that the store has
    /// given but that has not been put in yet must not look like a lost one.
    pub(crate) asking: tokio::sync::Mutex<()>,
}

impl Held {
    /// Puts claims in.
    pub(crate) fn add(&self, claims: impl IntoIterator<Item = Claim>) {
        let mut held = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        held.extend(
            claims
                .into_iter()
                .map(|claim| (claim.delivery, claim.token)),
        );
    }

    /// Takes a claim out. A later claim of the same delivery, which may have come already, stays.
    pub(crate) fn remove(&self, claim: Claim) {
        let mut held = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        if held.get(&claim.delivery) == Some(&claim.token) {
            held.remove(&claim.delivery);
        }
    }

    /// Those of `stored` that are not here.
    pub(crate) fn missing(&self, stored: Vec<Claim>) -> Vec<Claim> {
        let held = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        stored
            .into_iter()
            .filter(|c| held.get(&c.delivery) != Some(&c.token))
            .collect()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.claims
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}
