//! How much work has been done, and why it stops.

use quayside_model::Code;

use super::limits;
use crate::codes;

/// Why a document is not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) code: Code,
    pub(crate) detail: String,
}

impl Stop {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }
}

/// What is left of the work that one document may be.
#[derive(Debug)]
pub(crate) struct Work {
    left: u64,
}

impl Default for Work {
    fn default() -> Self {
        Self { left: limits::WORK }
    }
}

impl Work {
    /// Takes `units` off.
    ///
    /// # Errors
    /// That there are not so many left.
    pub(crate) fn charge(&mut self, units: u64) -> Result<(), Stop> {
        let left = self.left.checked_sub(units).ok_or_else(|| {
            let detail = format!("it would take more than {} steps", limits::WORK);
            Stop::new(codes::MAP_WORK, detail)
        })?;
        self.left = left;
        Ok(())
    }
}
