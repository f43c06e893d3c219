//! quayside-adapter-file
