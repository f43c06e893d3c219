//! Latencies as percentiles.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest latency that is told apart, in microseconds: ten minutes.
const LONGEST: u64 = 600_000_000;

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// Half of all were faster.
    pub(crate) p50: f64,
    /// 95 of 100 were faster.
    pub(crate) p95: f64,
    /// 99 of 100 were faster.
    pub(crate) p99: f64,
    /// The slowest.
    pub(crate) max: f64,
}

impl Latency {
    /// The percentiles of latencies in microseconds; all 0 without any.
    pub(crate) fn of(micros: impl IntoIterator<Item = u64>) -> Self {
        let mut histogram =
            Histogram::<u64>::new_with_bounds(1, LONGEST, 3).expect("the bounds are in order");
        micros
            .into_iter()
            .for_each(|m| histogram.saturating_record(m.max(1)));
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |percentile| millis(histogram.value_at_percentile(percentile));
        Self {
            p50: at(50.0),
            p95: at(95.0),
            p99: at(99.0),
            max: millis(histogram.max()),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "ten minutes of microseconds are far below 2^52"
)]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_thousand() {
        let latency = Latency::of((1..=1000).map(|n| n * 1000));
        assert!((latency.p50 - 500.0).abs() < 1.0, "{latency:?}");
        assert!((latency.p99 - 990.0).abs() < 1.0, "{latency:?}");
        assert!((latency.max - 1000.0).abs() < 1.0, "{latency:?}");
        assert_eq!(Latency::of([]), Latency::default());
    }
}
