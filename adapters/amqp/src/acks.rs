//! Which acknowledgements batches need: pure.
//!
//! One acknowledgement may stand for all that was delivered before it, and is cheaper for the broker than one
//! for each. It does so only when nothing before it is still on its way into the store; what is stored behind
//! that is held for a while, because the way is short.

use std::collections::BTreeSet;

/// The deliveries of one channel that the broker waits for.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    /// On their way into the store.
    open: BTreeSet<u64>,
    /// Stored, and not said yet.
    held: BTreeSet<u64>,
}

/// One acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) tag: u64,
    /// Whether it stands for all before it too.
    pub(crate) multiple: bool,
}

impl Acks {
    /// The delivery `tag` arrived.
    pub(crate) fn opened(&mut self, tag: u64) {
        self.open.insert(tag);
    }

    /// The deliveries `tags` are stored: what to say now, of them and of those that were held.
    pub(crate) fn done(&mut self, tags: &[u64]) -> Option<Ack> {
        for tag in tags {
            if self.open.remove(tag) {
                self.held.insert(*tag);
            }
        }
        let behind = match self.open.first() {
            Some(first) => self.held.split_off(first),
            None => BTreeSet::new(),
        };
        let said = std::mem::replace(&mut self.held, behind);
        let tag = *said.last()?;
        let multiple = said.len() > 1;
        Some(Ack { tag, multiple })
    }

    /// Whether any of `tags` is held.
    pub(crate) fn hold(&self, tags: &[u64]) -> bool {
        tags.iter().any(|tag| self.held.contains(tag))
    }

    /// Holds `tags` no longer: what to say of those that are held.
    pub(crate) fn release(&mut self, tags: &[u64]) -> Vec<Ack> {
        let held = tags.iter().filter(|tag| self.held.remove(tag));
        let one = |tag: &u64| Ack {
            tag: *tag,
            multiple: false,
        };
        held.map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_word_stands_for_all_that_nothing_is_before() {
        let mut acks = Acks::default();
        (1..=6).for_each(|tag| acks.opened(tag));
        let one = |tag, multiple| Ack { tag, multiple };
        assert_eq!(acks.done(&[3, 4]), None);
        assert!(acks.hold(&[3, 4]) && !acks.hold(&[1, 5]));
        assert_eq!(acks.done(&[1, 2]), Some(one(4, true)));
        assert!(!acks.hold(&[3, 4]));
        assert_eq!(acks.done(&[2]), None, "said before");
        assert_eq!(acks.done(&[6]), None);
        assert_eq!(acks.release(&[6]), [one(6, false)]);
        assert_eq!(acks.release(&[6]), []);
        assert_eq!(acks.done(&[5]), Some(one(5, false)));
    }

    proptest! {
        #[test]
        fn exactly_what_is_done_is_acknowledged_in_the_end(
            batches in Just((1u64..40).collect::<Vec<_>>()).prop_shuffle(), size in 1usize..7,
            patience in prop::collection::vec(any::<bool>(), 40)
        ) {
            let mut acks = Acks::default();
            (1..40).for_each(|tag| acks.opened(tag));
            let mut at_broker: BTreeSet<u64> = (1..40).collect();
            let mut open = at_broker.clone();
            for (batch, patient) in batches.chunks(size).zip(patience) {
                batch.iter().for_each(|tag| { open.remove(tag); });
                let mut said: Vec<Ack> = acks.done(batch).into_iter().collect();
                if !patient {
                    said.extend(acks.release(batch));
                    prop_assert!(!acks.hold(batch));
                }
                for ack in said {
                    prop_assert!(at_broker.contains(&ack.tag), "acknowledged twice: {ack:?}");
                    at_broker.retain(|tag| if ack.multiple { *tag > ack.tag } else { *tag != ack.tag });
                }
                let waits: BTreeSet<u64> = open.union(&acks.held).copied().collect();
                prop_assert_eq!(&at_broker, &waits);
            }
            prop_assert!(at_broker.is_empty(), "all are done, so nothing is before any of them");
        }
    }
}
