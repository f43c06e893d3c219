//! What a port has in hand.

use quayside_store::Claimed;
use tokio::sync::OwnedSemaphorePermit;

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
}

/// The round of work that was handed over in memory: newer than any claim, because it was born claimed
/// only as the store saw nothing earlier of its key alive.
pub(crate) const HANDED_OFF: u64 = u64::MAX;

impl Work {
    /// One delivery.
    pub(crate) fn new(claimed: Claimed, place: OwnedSemaphorePermit, round: u64) -> Self {
        Self {
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
