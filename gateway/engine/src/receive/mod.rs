//! The receiving side: a location's loop, one delivery on its way into the store, its body.

pub(crate) mod again;
pub(crate) mod body;
pub(crate) mod intake;
mod interchange;
pub(crate) mod location;
mod mapped;
pub(crate) mod party;
mod patience;
pub(crate) mod pieces;
mod ready;
mod records;
mod refusal;
mod resting;
pub(crate) mod sources;
pub(crate) mod split;
mod validate;
mod whole;
