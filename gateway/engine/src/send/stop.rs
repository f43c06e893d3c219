//! A stop that a port gives itself.

use std::sync::atomic::{AtomicU8, Ordering};

/// A stop that the port gives itself: it holds here until the store has it and its controls were read
/// again, so that neither a store that fails nor an older control opens the port in between.
#[derive(Debug, Default)]
pub(crate) struct Stop(AtomicU8);

impl Stop {
    const NONE: u8 = 0;
    const WANTED: u8 = 1;
    const RECORDED: u8 = 2;

    /// Holds the port from now on.
    pub(crate) fn want(&self) {
        self.0.store(Self::WANTED, Ordering::SeqCst);
    }

    /// Whether it is still to be recorded.
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.load(Ordering::SeqCst) == Self::WANTED
    }

    /// The store has it.
    pub(crate) fn recorded(&self) {
        self.swap(Self::WANTED, Self::RECORDED);
    }

    /// Whether the store had it before its controls were read, to be asked before that.
    pub(crate) fn is_recorded(&self) -> bool {
        self.0.load(Ordering::SeqCst) == Self::RECORDED
    }

    /// The controls that were read after it was recorded are in force: they rule from now on.
    pub(crate) fn is_in_force(&self) {
        self.swap(Self::RECORDED, Self::NONE);
    }

    /// Whether the port may not send because of it.
    pub(crate) fn holds(&self) -> bool {
        self.0.load(Ordering::SeqCst) != Self::NONE
    }

    /// A stop that is wanted again meanwhile stays.
    fn swap(&self, from: u8, to: u8) {
        let ordering = Ordering::SeqCst;
        let _found = self.0.compare_exchange(from, to, ordering, ordering);
    }
}
