//! What a port has in hand.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use quayside_store::Claimed;
use tokio::sync::OwnedSemaphorePermit;

/// How many deliveries a port has in hand: those in its queue, those behind another one of their key, and those under
/// way, each with what goes with it. Not places in its window: who looks for work holds those for a moment as well.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hand(Arc<AtomicUsize>);

impl Hand {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn holds(&self, count: usize) -> Counted {
        self.0.fetch_add(count, Ordering::Relaxed);
        let hand = self.clone();
        Counted { hand, count }
    }
}

/// Deliveries that count as in hand for as long as it lives.
#[derive(Debug)]
struct Counted {
    hand: Hand,
    count: usize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.hand.0.fetch_sub(self.count, Ordering::Relaxed);
    }
}

/// A delivery in hand with its place in the port's window.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) claimed: Claimed,
    pub(crate) place: OwnedSemaphorePermit,
    /// The round of claims that it came with; see `Runner::blocked`.
    pub(crate) round: u64,
    /// How many rounds of its key went before it without giving their place up.
    pub(crate) run: u8,
    /// What goes with it in one run, in their order.
    pub(crate) more: Vec<Claimed>,
    /// The places of those.
    pub(crate) room: Option<OwnedSemaphorePermit>,
    counted: Counted,
}

/// The round of work that was handed over in memory: newer than any claim, because it was born claimed
/// only as the store saw nothing earlier of its key alive.
pub(crate) const HANDED_OFF: u64 = u64::MAX;

impl Work {
    /// One delivery, in the hand of its port.
    pub(crate) fn new(
        claimed: Claimed,
        place: OwnedSemaphorePermit,
        round: u64,
        hand: &Hand,
    ) -> Self {
        Self {
            counted: hand.holds(1),
            claimed,
            place,
            round,
            run: 0,
            more: Vec::new(),
            room: None,
        }
    }

    /// All deliveries of it, in their order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Claimed> {
        std::iter::once(&self.claimed).chain(&self.more)
    }

    /// Takes out what does not belong to the first `count` of it.
    pub(crate) fn split_off(&mut self, count: usize) -> Vec<Claimed> {
        let apart = self.more.split_off(count.saturating_sub(1));
        self.counted = self.counted.hand.holds(1 + self.more.len());
        apart
    }

    /// Only `claimed` is left of it, in its place.
    pub(crate) fn left_with(self, claimed: Claimed) -> Self {
        Self::new(claimed, self.place, self.round, &self.counted.hand)
    }

    /// What its end brought of its key, in its place.
    pub(crate) fn followed_by(
        self,
        next: Vec<Claimed>,
        room: Option<OwnedSemaphorePermit>,
    ) -> Option<Box<Self>> {
        let mut next = next.into_iter();
        let claimed = next.next()?;
        let more: Vec<_> = next.collect();
        Some(Box::new(Self {
            counted: self.counted.hand.holds(1 + more.len()),
            claimed,
            place: self.place,
            // As what is handed over: claimed by the commit that ended the one before it, with its mark.
            round: HANDED_OFF,
            run: self.run.saturating_add(1),
            room: room.and_then(|mut room| room.split(more.len())),
            more,
        }))
    }
}
