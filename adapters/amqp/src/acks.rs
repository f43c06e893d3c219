//! Which acknowledgements a batch needs: pure.
//!
//! One acknowledgement may stand for all that was delivered before it. It does so only when nothing before
//! it is still on its way into the store.

use std::collections::BTreeSet;

/// The deliveries of one channel that the broker waits for.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    open: BTreeSet<u64>,
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

    /// The deliveries `tags` are stored: what to say.
    pub(crate) fn done(&mut self, tags: &[u64]) -> Vec<Ack> {
        let mut done: Vec<u64> = tags.to_vec();
        done.retain(|tag| self.open.remove(tag));
        let Some(last) = done.iter().copied().max() else {
            return Vec::new();
        };
        if self.open.first().is_none_or(|first| *first > last) {
            let multiple = done.len() > 1;
            return vec![Ack {
                tag: last,
                multiple,
            }];
        }
        let one = |tag| Ack {
            tag,
            multiple: false,
        };
        done.into_iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_word_stands_for_a_batch_that_nothing_is_before() {
        let mut acks = Acks::default();
        (1..=4).for_each(|tag| acks.opened(tag));
        let one = |tag, multiple| Ack { tag, multiple };
        assert_eq!(acks.done(&[3]), [one(3, false)]);
        assert_eq!(acks.done(&[1, 2]), [one(2, true)]);
        assert_eq!(acks.done(&[2]), []);
        assert_eq!(acks.done(&[4]), [one(4, false)]);
    }

    proptest! {
        #[test]
        fn exactly_what_is_done_is_acknowledged(
            batches in Just((1u64..40).collect::<Vec<_>>()).prop_shuffle(), size in 1usize..7
        ) {
            let mut acks = Acks::default();
            (1..40).for_each(|tag| acks.opened(tag));
            let mut at_broker: BTreeSet<u64> = (1..40).collect();
            let mut open = at_broker.clone();
            for batch in batches.chunks(size) {
                batch.iter().for_each(|tag| { open.remove(tag); });
                for ack in acks.done(batch) {
                    prop_assert!(at_broker.contains(&ack.tag), "acknowledged twice: {ack:?}");
                    at_broker.retain(|tag| if ack.multiple { *tag > ack.tag } else { *tag != ack.tag });
                }
                prop_assert_eq!(&at_broker, &open);
            }
        }
    }
}
