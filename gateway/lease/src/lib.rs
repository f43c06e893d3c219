//! Who may act, until when, and who comes next.
//!
//! Pure: events and times in, decisions out. No clock, no store, no task. [`SessionLease`] and [`Observer`] are
//! the two halves of a lease on being alive; every process that has no agent uses them alone. [`Agent`] is a
//! node of several: it keeps the session and decides for each group (a clustered host) whether a process of
//! this node is the active one. Nodes never vote among themselves. The store is the only arbiter, and what it
//! checks in each transaction is what holds when everything else is late.
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
//! - **Nothing is given away that may still act.** A process is declared dead after it was waited for, an epoch
//!   is given back after its process has drained, a session is closed when nothing lives under it.
//! - **No move without a cause.** Every change of state is a [`Transition`] that names its cause and what
//!   speaks for it. A store that is silent moves nothing, and neither does a broker that is down for all.
//!
//! What it does not promise: that a frozen process will not wake between a look at its deadline and the
//! effect. The fence in every store transaction is what holds alone there, and what was sending is listed.

pub mod agent;
pub mod budget;
pub mod candidate;
pub mod codes;
pub mod epoch;
pub mod exit;
mod group;
pub mod observer;
pub mod page;
pub mod policy;
pub mod protocol;
pub mod session;
pub mod status;
pub mod step;
pub mod time;
pub mod timings;
pub mod transition;
pub mod view;

pub use agent::{Agent, Options};
pub use budget::{Budget, Limit, Quarantine};
pub use candidate::{Exclusion, Placement};
pub use epoch::{Arrival, Epoch, Incarnation, Replication};
pub use exit::{Exit, KillReason, Verdict};
pub use observer::{Observer, Sighting};
pub use policy::{Control, Failback, Limits, MoveOrder, OnDeath, Policy};
pub use protocol::{AdapterHealth, Beat, Former, Grant, HostState, Member, ToAgent, ToHost};
pub use session::SessionLease;
pub use status::GroupStatus;
pub use step::{Action, Event, Offer, PLANNED_FOR, Refusal, Renewal, Take};
pub use time::Now;
pub use timings::Timings;
pub use transition::{Cause, Fact, State, Transition};
pub use view::{GroupSeen, NodeSeen, OwnerSeen, SessionSeen, StandbySeen, View};
