//! The lease on being alive: when this process may act, and when another one may be declared dead.
//!
//! Pure: events and times in, decisions out. No clock, no store, no task.
//!
//! # Promises
//! - **A holder stops before the store lets go.** Its deadline is counted from the moment *before* its
//!   renewal was sent and ends a margin before the lease that the store wrote, so no delay of the
//!   answer can make it trust longer than the store does. This needs clocks whose rates differ by less
//!   than margin / ttl; it needs no agreement on what time it is.
//! - **A pause ends trust by itself.** The deadline is in boot time, which goes on during a pause.
//! - **An observer is never hasty.** It names a session only when the store says that its lease has run
//!   out *and* its sequence has stood still for a full ttl of the observer's own clock, so a database
//!   clock that steps cannot end healthy sessions.
//!
//! What it does not promise: that a frozen process will not wake between a look at its deadline and the
//! effect. The fence in every store transaction is what holds alone there.

pub mod observer;
pub mod session;
pub mod timings;

pub use observer::{Observer, Sighting};
pub use session::SessionLease;
pub use timings::Timings;
