//! The deliveries that this process holds, for comparison with what the store says it holds.
//!
//! A reply that was lost or a task that panicked leaves a claim in the store that nobody works on. Every
//! few seconds the claims that are in the store but not here are given back.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use quayside_model::{Claim, DeliveryId};

/// The set. A claim is put in before the store can have it, and taken out after it is settled.
#[derive(Debug, Default)]
pub(crate) struct Held {
    claims: Mutex<HashMap<DeliveryId, u32>>,
    /// Taken by whoever asks the store for claims, and by the comparison: a claim that the store has
    /// given but that has not been put in yet must not look like a lost one.
    pub(crate) asking: tokio::sync::Mutex<()>,
    bringing: Mutex<Bringing>,
}

/// The settlements under way that may bring a claim, which is put in when they are answered only.
#[derive(Debug, Default)]
struct Bringing {
    begun: u64,
    under_way: BTreeSet<u64>,
    /// What was missing at the last comparison, and how many settlements had begun by then.
    missing: (u64, Vec<Claim>),
}

/// A settlement that may bring a claim: dropped when that has been put in.
#[derive(Debug)]
pub(crate) struct Brings<'a> {
    held: &'a Held,
    number: u64,
}

impl Drop for Brings<'_> {
    fn drop(&mut self) {
        self.held.bringing().under_way.remove(&self.number);
    }
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

    /// A settlement begins that may bring a claim.
    pub(crate) fn brings(&self) -> Brings<'_> {
        let mut bringing = self.bringing();
        let number = bringing.begun;
        bringing.begun += 1;
        bringing.under_way.insert(number);
        Brings { held: self, number }
    }

    /// Those of `stored`, which the store has just named, that are lost: they are not here, and no
    /// settlement that was under way can still bring them. While some are, one has to be missing twice.
    pub(crate) fn lost(&self, stored: Vec<Claim>) -> Vec<Claim> {
        let mut bringing = self.bringing();
        // After the settlements: one that has ended meanwhile has put its claim in.
        let missing = self.missing(stored);
        let last = (bringing.begun, missing.clone());
        let (begun, before) = std::mem::replace(&mut bringing.missing, last);
        match bringing.under_way.first() {
            None => missing,
            Some(oldest) if *oldest < begun => Vec::new(),
            Some(_) => {
                let twice = |claim: &Claim| before.contains(claim);
                missing.into_iter().filter(twice).collect()
            }
        }
    }

    fn missing(&self, stored: Vec<Claim>) -> Vec<Claim> {
        let held = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        stored
            .into_iter()
            .filter(|c| held.get(&c.delivery) != Some(&c.token))
            .collect()
    }

    fn bringing(&self) -> MutexGuard<'_, Bringing> {
        self.bringing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.claims
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }
}

#[cfg(test)]
mod tests {
    use quayside_model::{InstanceId, MessageId, SeededEntropy, Timestamp};

    use super::*;

    fn claim(no: u16) -> Claim {
        let entropy = SeededEntropy::new(1);
        let now = Timestamp::from_micros(0);
        Claim {
            delivery: DeliveryId {
                message: MessageId::new(now, &entropy),
                no,
            },
            instance: InstanceId::new(now, &entropy),
            token: 1,
        }
    }

    #[test]
    fn what_a_settlement_may_still_bring_is_not_lost() {
        let held = Held::default();
        held.add([claim(1)]);
        assert_eq!(held.lost(vec![claim(1), claim(2)]), [claim(2)], "at once");
        let brings = held.brings();
        // The store has it by the settlement, which is not answered yet; and another lost one.
        assert_eq!(held.lost(vec![claim(3), claim(4)]), []);
        assert_eq!(held.lost(vec![claim(3), claim(4)]), [], "it still may");
        held.add([claim(3)]);
        drop(brings);
        let _later = held.brings();
        assert_eq!(held.lost(vec![claim(3), claim(4)]), [claim(4)], "twice");
    }
}
