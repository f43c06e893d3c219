//! How many messages a process takes in hand.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// The most. Their steps share transactions, so that many at once are what makes each of them cheap.
pub(crate) const MOST: usize = 224;
/// The least, and what a process begins with.
const LEAST: usize = 32;
/// How long a message may take from its claim to its end. What a process has in hand when it dies waits for a whole lease, so
/// that it takes no more than it is done with soon: on a slow disk one that takes as much as it can hold is not done with
/// any of it for seconds.
const SOON: Duration = Duration::from_millis(500);

/// The room for messages. It grows by one with each that was done soon, and shrinks by one with each that was not, so that
/// about half of them are.
#[derive(Debug)]
pub(crate) struct Room(AtomicUsize);

impl Default for Room {
    fn default() -> Self {
        Self(AtomicUsize::new(LEAST))
    }
}

impl Room {
    /// A message has ended, which was in hand for so long.
    pub(crate) fn ended(&self, took: Duration) {
        let change = |room: usize| {
            let room = if took <= SOON { room + 1 } else { room - 1 };
            Some(room.clamp(LEAST, MOST))
        };
        // The closure always gives a value.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    /// How many more there is room for beside those in hand.
    pub(crate) fn beside(&self, in_hand: usize) -> usize {
        self.0.load(Ordering::Relaxed).saturating_sub(in_hand)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The room after so many messages, each of which takes its share of `work` of all in hand.
    fn settled(room: &Room, work: Duration) -> usize {
        for _ in 0..2000 {
            let in_hand = u32::try_from(room.beside(0)).expect("a small number");
            room.ended(work * in_hand);
        }
        room.beside(0)
    }

    #[test]
    fn it_is_as_much_as_is_done_soon() {
        let room = Room::default();
        assert_eq!(room.beside(0), LEAST);
        assert_eq!(settled(&room, Duration::from_millis(1)), MOST);
        let slow = settled(&room, Duration::from_millis(5));
        assert!((99..=101).contains(&slow), "{slow}");
        assert_eq!(settled(&room, Duration::from_millis(100)), LEAST);
        assert_eq!(room.beside(LEAST - 2), 2);
        assert_eq!(room.beside(LEAST + 9), 0);
    }
}
