//! quayside-bench
