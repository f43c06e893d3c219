//! How many effects outside are under way.
//!
//! An agent kills a process whose trust has ended while it is in the middle of one. What it holds and waits with,
//! because the store is away, say, is none: it stays warm with that.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts sends that adapters have begun and that have not come back.
#[derive(Debug, Default)]
pub(crate) struct Effects(AtomicUsize);

/// Some of them. They are over when it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay<'a> {
    effects: &'a Effects,
    count: usize,
}

impl Effects {
    /// `count` begin.
    pub(crate) fn begin(&self, count: usize) -> UnderWay<'_> {
        self.0.fetch_add(count, Ordering::SeqCst);
        UnderWay {
            effects: self,
            count,
        }
    }

    /// How many there are now.
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.effects.0.fetch_sub(self.count, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_counts_no_more() {
        let effects = Effects::default();
        let run = effects.begin(16);
        let one = effects.begin(1);
        assert_eq!(effects.count(), 17);
        drop(run);
        assert_eq!(effects.count(), 1);
        drop(one);
        assert_eq!(effects.count(), 0);
    }
}
