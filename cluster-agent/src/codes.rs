//! The error codes of the agent, `QS10nn`: shared with `quayside`, which prints the page of all codes.

pub(crate) use quayside_lease::codes::*;
