//! quayside-conformance
