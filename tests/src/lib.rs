//! Scenario tests: one file per promise under `scenarios/`, and what they judge by.
//!
//! Scenarios see the gateway from outside only: its command line, its listeners, its folders, its
//! store's tables where a promise speaks of the store, and what the partner got.
