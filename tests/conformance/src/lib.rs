//! The suite that every store passes: one `async fn` per case, by noun.
//!
//! A store's crate runs it from its own `tests/conformance.rs`:
//!
//! ```ignore
//! async fn fresh() -> impl quayside_conformance::Backend { ... }   // an empty store of its own
//! quayside_conformance::store_conformance!(fresh);
//! ```
//!
//! The macro makes one `#[tokio::test]` per case, so that a failure names it; the crate needs `tokio`
//! with `macros` and `rt-multi-thread` among its dev-dependencies. Cases use the contract only, never a
//! dialect, and never sleep: time passes through [`Backend::pass`]. A case that is about hours returns at
//! once where [`Backend::virtual_time`] is `false`.

use std::time::Duration;

use async_trait::async_trait;
use quayside_store::{AnyStore, model::Timestamp};

pub mod publish;
pub mod scene;

pub use scene::Scene;

/// An empty store with all that keeps it alive: a temporary folder, a database, a clock.
#[async_trait]
pub trait Backend: Send + Sync {
    /// The store. Every call gives the same one.
    fn store(&self) -> AnyStore;

    /// The store's clock, near enough to make ids with.
    fn now(&self) -> Timestamp;

    /// Lets at least `time` pass on the store's clock. The one place where a suite may really wait.
    async fn pass(&self, time: Duration);

    /// Whether [`Backend::pass`] moves a clock instead of waiting, so that days pass at once.
    fn virtual_time(&self) -> bool;

    /// A time that is long for the store and short for the suite: an hour of virtual time, some
    /// hundredths of a second of real time.
    fn moment(&self) -> Duration;
}

/// Runs the suite: `store_conformance!(fresh)`, where `async fn fresh() -> impl Backend`.
#[macro_export]
macro_rules! store_conformance {
    ($fresh:ident) => {
        $crate::store_conformance! { @nouns $fresh;
            publish { stores_what_load_gives_back all_or_none_of_the_fan_out
                a_dead_instance_is_fenced the_same_batch_again_is_stored_once
                a_bad_item_leaves_the_others births_decide_who_gets_it }
        }
    };
    (@nouns $fresh:ident; $($noun:ident { $($case:ident)+ })+) => { $(
        mod $noun {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let backend = super::$fresh().await;
                    $crate::$noun::$case(&backend).await;
                }
            )+
        }
    )+ };
}
