//! What a run prints: a table for people and, last, one line for programs.

use serde::Serialize;

use crate::latency::Latency;

/// The result of `passthrough`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// `sqlite` or `postgres`.
    pub(crate) store: &'static str,
    /// How many gateway processes.
    pub(crate) processes: u8,
    /// Positive answers per second, in the measured window.
    pub(crate) accepted_per_s: f64,
    /// Distinct ids that arrived at the partner per second, in the measured window.
    pub(crate) delivered_per_s: f64,
    /// Accepted ids that never arrived.
    pub(crate) lost: u64,
    /// Requests at the partner beyond the first of each id.
    pub(crate) repeated: u64,
    /// Requests without a positive answer, in the whole run.
    pub(crate) refused: u64,
    /// From sending to arrival at the partner, at full rate.
    pub(crate) latency_ms: Latency,
    /// The same at half of the rate, from the moment at which each request should have been sent.
    pub(crate) half_rate: HalfRate,
    /// Processor seconds of the gateway's processes for 1,000 delivered messages.
    pub(crate) cpu_s_per_1000: f64,
    /// The most resident memory of the gateway's processes together, in MiB.
    pub(crate) rss_mib: f64,
    /// How many publishes and settlements one commit of the gateway held, on average.
    pub(crate) mean_batch: f64,
    /// Write-ahead log per delivered message in bytes, PostgreSQL only.
    pub(crate) wal_bytes_per_message: Option<f64>,
    /// Rows written per delivered message, PostgreSQL only.
    pub(crate) rows_per_message: Option<f64>,
    /// Messages per second through the same HTTP libraries without a store.
    pub(crate) http_ceiling_per_s: f64,
    /// Messages per second of the least durable work in batches of `mean_batch`.
    pub(crate) store_ceiling_per_s: f64,
    /// `1 / (1/http + 1/store)`.
    pub(crate) ceiling_per_s: f64,
    /// `delivered_per_s` or `accepted_per_s`, whichever is less, of `ceiling_per_s`.
    pub(crate) ratio: f64,
    /// HAProxy passing the same requests to the same partner.
    pub(crate) haproxy_per_s: f64,
    /// pgbench doing the work of the store ceiling, PostgreSQL only.
    pub(crate) pgbench_per_s: Option<f64>,
    /// Why the run does not count; empty for a run that counts.
    pub(crate) invalid: Vec<String>,
}

/// The run at half of the measured rate.
#[derive(Debug, Serialize)]
pub(crate) struct HalfRate {
    /// The rate that was asked for and reached.
    pub(crate) rate_per_s: f64,
    /// From the intended sending to the arrival at the partner.
    pub(crate) latency_ms: Latency,
}

impl Report {
    /// Prints the table and the line.
    pub(crate) fn print(&self) {
        let row = |name: &str, value: String| say(&format!("{name:<34} {value:>14}"));
        let rate = |r: f64| format!("{r:.0}/s");
        let optional = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.1}"));
        say(&format!(
            "\n{} with {} process(es)",
            self.store, self.processes
        ));
        row("accepted", rate(self.accepted_per_s));
        row("delivered", rate(self.delivered_per_s));
        row("lost", self.lost.to_string());
        row("repeated", self.repeated.to_string());
        row("refused", self.refused.to_string());
        row("latency p50 / p99, full rate", pair(&self.latency_ms));
        row(
            "latency p50 / p99, half rate",
            pair(&self.half_rate.latency_ms),
        );
        row("half rate", rate(self.half_rate.rate_per_s));
        row(
            "processor time per 1,000",
            format!("{:.3} s", self.cpu_s_per_1000),
        );
        row("resident memory, peak", format!("{:.1} MiB", self.rss_mib));
        row("operations per commit", format!("{:.1}", self.mean_batch));
        row(
            "WAL bytes per message",
            optional(self.wal_bytes_per_message),
        );
        row("rows written per message", optional(self.rows_per_message));
        row("HTTP ceiling", rate(self.http_ceiling_per_s));
        row("  HAProxy", rate(self.haproxy_per_s));
        row("store ceiling", rate(self.store_ceiling_per_s));
        row("  pgbench", self.pgbench_per_s.map_or("-".to_owned(), rate));
        row("ceiling", rate(self.ceiling_per_s));
        row("ratio", format!("{:.3}", self.ratio));
        for reason in &self.invalid {
            say(&format!("INVALID: {reason}"));
        }
        say(&serde_json::to_string(self).expect("numbers and names become JSON"));
    }
}

fn pair(latency: &Latency) -> String {
    format!("{:.1} / {:.1} ms", latency.p50, latency.p99)
}

/// Prints a line.
#[expect(clippy::print_stdout, reason = "the output of the program")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
