//! A nemesis: three nodes under load, faults of every kind one after the other, and a judge of what came of it.
//!
//! [`arena`] holds what runs, [`faults`] what is done to it, [`history`] what may not have happened meanwhile, and
//! [`calm`] troubles that nobody may be taken for dead because of. Each
//! machine reaches store and broker by an address of its own, so that it can be cut off from either.

pub mod arena;
pub mod calm;
pub mod faults;
pub mod history;

pub use arena::{Arena, Owner};
pub use faults::{Fault, Schedule, Step};
pub use history::{History, Ruling};
