//! Orchestrations: durable processes as text, and the machine that runs them.
//!
//! A [`Definition`] is read from `NAME.orchestration.yaml` and checked as a whole. [`advance`] is the machine:
//! definition, state and event in; a new [`State`] and [`Effect`]s out. It is pure: no clock, no store, no
//! randomness. What it promises:
//! - **A run can be thrown away.** Nothing has happened before the caller commits state and effects in one
//!   transaction. The same run made again asks for the same effects under the same keys and, within an hour,
//!   the same ids.
//! - **Points as in BizTalk.** A run ends where the instance has to be kept: after a send, a call, a start,
//!   the end of a transactional scope, a suspension, the end, and when it waits. Points that follow each
//!   other are one. An atomic scope has none inside: it is one commit, or did nothing.
//! - **It never waits.** When a document or a map is not at hand, the machine names it and has changed nothing.
//! - **Every message is consumed once**, in the commit of what came of it.
//! - **It ends.** Steps between two points, effects, nesting, values, the cost of an expression and the size
//!   of the state are bounded, and each bound is an error with a code.
//!
//! Reading order: [`Definition`], [`State`], [`Event`] and [`Effect`], then [`advance`] and [`World`];
//! [`Rehearsal`] runs an instance in virtual time.
//! It does not store, subscribe or send anything itself, and it draws no conclusions from silence but the
//! time-outs that a definition names.

mod check;
pub mod codes;
mod contents;
mod datum;
mod defect;
mod definition;
mod effect;
mod environment;
mod expression;
mod graph;
mod id;
pub mod limits;
mod machine;
mod read;
mod rehearsal;
mod retry;
mod span;
mod state;
mod world;
mod yaml;

pub use contents::{Contents, MessageHeld};
pub use datum::Datum;
pub use defect::{Defect, Place};
pub use definition::{Activation, Correlation, Definition, DocumentPath, Starts};
pub use effect::{
    Advance, Arrived, Commit, Destination, Effect, End, Event, Failure, Outgoing, Refused, Route,
};
pub use environment::{Environment, MapSpec, MessageSpec, PortSpec};
pub use id::{CallKey, CorrelationKey, Fingerprint, NotAKey};
pub use machine::{Input, advance};
pub use rehearsal::{Rehearsal, Tried};
pub use retry::{Retryable, Seen};
pub use state::{Position, State, Status, VERSION};
pub use world::{Empty, Lookup, MapCall, Mapped, Need, Want, World};
