//! quayside-store-postgres
