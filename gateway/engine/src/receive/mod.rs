//! The receiving side: a location's loop, one delivery on its way into the store, its body.

pub(crate) mod again;
pub(crate) mod body;
pub(crate) mod intake;
pub(crate) mod location;
mod patience;
mod ready;
mod refusal;
mod resting;
pub(crate) mod sources;
mod validate;
