//! The clocks of measuring code: the one place in the tests that reads them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Measures a time span.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "measures real processes; decides nothing"
    )]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Microseconds since the epoch by the machine's clock, which all processes of a run share.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "compares moments across processes of one machine"
)]
pub fn unix_micros() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
