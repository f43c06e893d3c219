//! quayside-pipeline
