//! quayside-adapter-http
