//! quayside-lease
