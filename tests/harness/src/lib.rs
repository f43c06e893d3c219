//! quayside-harness
