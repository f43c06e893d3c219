//! The sending side: a port's window and queue, one attempt, and what becomes of a delivery after it.

pub(crate) mod assembled;
pub(crate) mod attempt;
pub(crate) mod decide;
mod encode;
pub(crate) mod failed;
pub(crate) mod lanes;
mod mapped;
mod moment;
pub(crate) mod port;
pub(crate) mod rendered;
pub(crate) mod rest;
pub(crate) mod run;
pub(crate) mod stop;
pub(crate) mod transports;
pub(crate) mod work;
