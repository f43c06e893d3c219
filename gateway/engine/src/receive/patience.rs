//! How long a sender may still wait for its receipt: one deadline for all waits of one delivery.

use std::{sync::Arc, time::Duration};

use quayside_adapter_api::RECEIPT_WITHIN;
use quayside_model::{Clock, Monotonic};

/// The patience of a sender. It counts from the arrival of its delivery and stands still while its
/// content comes in.
#[derive(Debug)]
pub(crate) struct Patience {
    clock: Arc<dyn Clock>,
    until: Monotonic,
}

impl Patience {
    /// Of a delivery that arrived at `arrived`.
    pub(crate) fn from(arrived: Monotonic, clock: &Arc<dyn Clock>) -> Self {
        Self {
            clock: Arc::clone(clock),
            until: arrived.plus(RECEIPT_WITHIN),
        }
    }

    /// When it ends.
    pub(crate) fn until(&self) -> Monotonic {
        self.until
    }

    /// How long it still lasts.
    pub(crate) fn left(&self) -> Duration {
        self.until.since(self.clock.monotonic())
    }

    /// Waits at the sender's own expense.
    pub(crate) async fn lend<F: Future>(&mut self, sender: F) -> F::Output {
        let began = self.clock.monotonic();
        let output = sender.await;
        self.until = self.until.plus(self.clock.monotonic().since(began));
        output
    }
}

#[cfg(test)]
mod tests {
    use quayside_model::{ManualClock, Timestamp};

    use super::*;

    #[tokio::test]
    async fn it_ends_after_all_waits_but_those_for_the_sender() {
        let manual = Arc::new(ManualClock::new(Timestamp::from_micros(0)));
        let clock: Arc<dyn Clock> = Arc::clone(&manual) as _;
        let mut patience = Patience::from(clock.monotonic(), &clock);
        manual.advance(Duration::from_millis(500));
        assert_eq!(patience.left(), RECEIPT_WITHIN - Duration::from_millis(500));
        let slow = async { manual.advance(Duration::from_secs(60)) };
        patience.lend(slow).await;
        assert_eq!(patience.left(), RECEIPT_WITHIN - Duration::from_millis(500));
        manual.advance(Duration::from_secs(1));
        assert_eq!(patience.left(), Duration::ZERO);
    }
}
