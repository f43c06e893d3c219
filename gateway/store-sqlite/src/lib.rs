//! quayside-store-sqlite
