//! What the process has done since it started, for metrics and the status page.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// The live counters.
        #[derive(Debug, Default)]
        pub(crate) struct Live {
            $($(#[$doc])* pub(crate) $name: AtomicU64,)+
        }

        /// The counters at one moment.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Live {
            pub(crate) fn read(&self) -> Counters {
                Counters { $($name: self.$name.load(Ordering::Relaxed),)+ }
            }
        }

        impl Counters {
            /// Each counter with its name.
            #[must_use]
            pub fn each(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)+]
            }
        }
    };
}

counters! {
    /// Messages stored.
    accepted,
    /// Repeats answered with the first message.
    duplicates,
    /// Deliveries refused to their senders.
    rejected,
    /// Messages stored as suspended because they could not be accepted and nobody could be told.
    suspended_on_receipt,
    /// Messages published as failed messages because they could not be accepted.
    failed_on_receipt,
    /// Deliveries handed to a send port in memory, without a claim.
    handed_off,
    /// Deliveries claimed from the store.
    claimed,
    /// Deliveries that ended as sent.
    delivered,
    /// Attempts that failed and are made again.
    retried,
    /// Deliveries suspended after an attempt, or because what they are sent by could not be made.
    suspended,
    /// Settlements that came too late: the delivery was no longer this process's.
    fenced,
    /// Claims of dead instances given back.
    released,
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
