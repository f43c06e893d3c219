//! The operators' word about ports and locations, and the configuration in force.

use async_trait::async_trait;
use quayside_model::{Name, Timestamp, port::PortControl};

use crate::StoreError;

/// Controls and configuration versions.
#[async_trait]
pub trait Controls: Send + Sync {
    /// The control of every port and location that an operator ever touched, with a version that rises
    /// with each change.
    async fn controls(&self) -> Result<ControlSet, StoreError>;

    /// Sets the control of `name`. Durable when it returns.
    async fn set_control(&self, name: &Name, control: &PortControl) -> Result<(), StoreError>;

    /// Records the configuration with this hash and text as applied and returns its version; applying
    /// the newest one again gives the same version.
    async fn apply_config(&self, hash: &str, text: &str) -> Result<i64, StoreError>;
}

/// All controls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControlSet {
    /// Rises with each change.
    pub version: i64,
    /// By name of port or location.
    pub controls: Vec<(Name, PortControl, Timestamp)>,
}
