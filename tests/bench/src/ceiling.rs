//! The HTTP ceiling, and HAProxy beside it: the same clients, the same partner, no store.

use std::time::Duration;

use anyhow::ensure;
use quayside_harness::{Haproxy, Partner, Process};

use crate::{
    client::{Accepted, Options, Summary},
    programs,
};

/// How long the clients run before a measured time.
pub(crate) const WARMUP: Duration = Duration::from_secs(2);

/// How long one ceiling is measured, in all rounds together.
pub(crate) const MEASURE: Duration = Duration::from_secs(5);

/// How long clients may take beyond their time: the patience of one request.
const LINGER: Duration = Duration::from_secs(60);

/// Requests per second through the forwarder, measured for `time`.
pub(crate) async fn http(base: &Options, time: Duration) -> anyhow::Result<f64> {
    let partner = Partner::start().await;
    let mut forward = programs::own()?;
    forward.args(["forward", "--to", &partner.addr().to_string()]);
    let dir = tempfile::tempdir()?;
    let mut process = Process::spawn("forward", forward, dir.path());
    let server = process
        .wait_line("ready ", Duration::from_secs(10))
        .await
        .trim()
        .parse()?;
    rate(&Options {
        server,
        prefix: "http".to_owned(),
        ..short(base, time)
    })
    .await
}

/// Requests per second through HAProxy, measured for `time`.
pub(crate) async fn haproxy(base: &Options, time: Duration) -> anyhow::Result<f64> {
    let partner = Partner::start().await;
    let haproxy = Haproxy::start(&[partner.addr()], false).await;
    rate(&Options {
        server: haproxy.addr(),
        prefix: "haproxy".to_owned(),
        ..short(base, time)
    })
    .await
}

/// Runs clients as a process of their own and returns what they saw.
pub(crate) async fn clients(options: &Options) -> anyhow::Result<(Summary, Vec<Accepted>)> {
    let dir = tempfile::tempdir()?;
    let log = dir.path().join("accepted");
    let mut client = programs::own()?;
    client.arg("client");
    client.args([
        "--server",
        &options.server.to_string(),
        "--path",
        &options.path,
    ]);
    client.args([
        "--conns",
        &options.conns.to_string(),
        "--size",
        &options.size.to_string(),
    ]);
    client
        .args(["--prefix", &options.prefix, "--log"])
        .arg(&log);
    client.args(["--warmup-ms", &options.warmup_ms.to_string()]);
    client.args(["--measure-ms", &options.measure_ms.to_string()]);
    if let Some(rate) = options.rate {
        client.args(["--rate", &rate.to_string()]);
    }
    let mut process = Process::spawn("client", client, dir.path());
    let time = Duration::from_millis(options.warmup_ms + options.measure_ms) + LINGER;
    let summary: Summary = serde_json::from_str(&process.wait_line("done ", time).await)?;
    let status = process.wait_exit(Duration::from_secs(10)).await;
    ensure!(
        status.success(),
        "the clients ended with {status}: {}",
        process.stderr_tail()
    );
    Ok((summary, Accepted::read(&log)?))
}

/// How many moments lie in the measured time, per second of it.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts and microseconds are far below 2^52"
)]
pub(crate) fn per_second(summary: &Summary, moments: impl Iterator<Item = u64>) -> f64 {
    let count = moments
        .filter(|m| (summary.from..summary.to).contains(m))
        .count();
    count as f64 * 1e6 / (summary.to - summary.from) as f64
}

fn short(base: &Options, time: Duration) -> Options {
    let millis = |d: Duration| u64::try_from(d.as_millis()).expect("a few seconds");
    Options {
        warmup_ms: millis(WARMUP),
        measure_ms: millis(time),
        rate: None,
        ..base.clone()
    }
}

async fn rate(options: &Options) -> anyhow::Result<f64> {
    let (summary, accepted) = clients(options).await?;
    let refusal = summary.first_refusal.as_deref().unwrap_or("");
    ensure!(
        summary.refused == 0,
        "{} requests failed: {refusal}",
        summary.refused
    );
    Ok(per_second(&summary, accepted.iter().map(|a| a.answered)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_measured_time_counts() {
        let summary = Summary {
            from: 1_000_000,
            to: 3_000_000,
            refused: 0,
            first_refusal: None,
        };
        let moments = [0, 999_999, 1_000_000, 2_000_000, 2_999_999, 3_000_000];
        assert!((per_second(&summary, moments.into_iter()) - 1.5).abs() < 1e-9);
    }
}
