//! HTTP in, an orchestration instance for each message, HTTP out, in turn with messages that only pass through.

use std::{fs, time::Duration};

use anyhow::Context;
use clap::Args;
use quayside_harness::{Gateway, Partner, Postgres, scenario::App};
use serde::Serialize;

use crate::{
    ceiling::WARMUP,
    client,
    latency::Latency,
    passthrough::{Measured, Set, Store, average},
    programs,
    report::say,
};

/// How often both are measured in turn: see the rounds of `passthrough`.
const ROUNDS: u32 = 4;

/// How often an instance is kept: at the end of each scope with a time-out, and where it sends and ends, which is one.
const POINTS: f64 = 3.0;

/// The whole names of the locations, by which each message finds its way.
const PASSING: &str = "t.orders.web";

/// One message in, one out, as without it: what an instance costs is nothing but the instance. A point that another one
/// follows at once is kept with that: so there is something to do between them.
const KEPT_THREE_TIMES: &str = "
messages:
  order: order
variables:
  scopes: 0
steps:
  - receive: order
    activate: true
    filter: msg.origin == 't.processed.web'
  - scope: first
    timeout: 1h
    steps:
      - assign: { scopes: scopes + 1 }
  - scope: second
    timeout: 1h
    steps:
      - assign: { scopes: scopes + 1 }
  - assign: { scopes: scopes + 1 }
  - send: order
    to: out
";

/// What is measured.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// The store.
    #[arg(long, value_enum, default_value = "sqlite")]
    store: Store,
    /// The length of a body in bytes.
    #[arg(long, default_value_t = 2048)]
    size: usize,
    /// How many connections the clients hold.
    #[arg(long, default_value_t = 64)]
    conns: usize,
    /// For how many seconds each of both is measured, in all rounds together.
    #[arg(long, default_value_t = 20)]
    secs: u64,
}

/// The result.
#[derive(Debug, Serialize)]
struct Report {
    store: Store,
    /// Distinct ids that arrived at the partner per second, without an orchestration.
    pass_through_per_s: f64,
    /// The same with an instance for each.
    orchestrated_per_s: f64,
    /// Of pass-through.
    ratio: f64,
    /// From sending to arrival at the partner, with an instance for each.
    latency_ms: Latency,
    lost: u64,
    repeated: u64,
    refused: u64,
    /// How many transactions the steps of an instance took: below the number of points where they share some.
    transactions_per_instance: f64,
    /// How often an instance was kept.
    steps_per_instance: f64,
    /// Why the run does not count; empty for a run that counts.
    invalid: Vec<String>,
}

/// Measures and prints. `false`: the run does not count.
pub(crate) async fn run(options: Options) -> anyhow::Result<bool> {
    programs::build()?;
    let server = match options.store {
        Store::Sqlite => None,
        Store::Postgres => Some(Postgres::start().await),
    };
    let partner = Partner::start().await;
    let app = App::new(&application(&partner));
    let path = app.path().join("kept.orchestration.yaml");
    fs::write(path, KEPT_THREE_TIMES).context("the definition")?;
    let set = Set::of(app, &["edge"], partner, server).await;
    let mut rounds = Vec::new();
    for no in 0..ROUNDS {
        let passed = set
            .measure(&format!("pass{no}"), &clients(&options, "/in/orders"), None)
            .await?;
        let before = transactions(&set.gateways[0]).await?;
        let made = set
            .measure(
                &format!("run{no}"),
                &clients(&options, "/in/processed"),
                None,
            )
            .await?;
        let after = transactions(&set.gateways[0]).await?;
        rounds.push((passed, made, (after.0 - before.0, after.1 - before.1)));
    }
    set.stop().await?;
    let report = Report::new(&options, &rounds);
    report.print();
    Ok(report.invalid.is_empty())
}

fn application(partner: &Partner) -> String {
    let addr = partner.addr();
    let receive = |name: &str| {
        format!(
            r#"
[receive.{name}]
host = "edge"
message = "order"
dedupe = {{ key = "http.header.idempotency-key", window = "24h" }}
[receive.{name}.location.web.http]
path = "/in/{name}"
"#
        )
    };
    format!(
        r#"[app]
name = "t"
[message.order]
type = "urn:orders#Order"
[message.order.namespaces]
o = "urn:orders"
[message.order.promote]
OrderId = {{ xpath = "/o:Order/o:Id" }}
CustomerId = {{ xpath = "/o:Order/o:Customer/@id", required = true }}
{}{}
[orchestration.kept]
host = "edge"
[send.out]
host = "edge"
filter = "msg.type == 'urn:orders#Order' && msg.origin == '{PASSING}'"
retry = {{ attempts = 1000, first = "50ms", factor = 1.5, max = "1s" }}
[send.out.primary.http]
url = "http://{addr}/orders"
"#,
        receive("orders"),
        receive("processed"),
    )
}

fn clients(options: &Options, path: &str) -> client::Options {
    let millis = |d: Duration| u64::try_from(d.as_millis()).expect("a few seconds");
    client::Options {
        server: ([127, 0, 0, 1], 0).into(),
        path: path.to_owned(),
        conns: options.conns,
        size: options.size,
        prefix: String::new(),
        warmup_ms: millis(WARMUP),
        measure_ms: options.secs * 1000 / u64::from(ROUNDS),
        rate: None,
        log: std::path::PathBuf::new(),
    }
}

/// The transactions of groups until now, and what they held.
async fn transactions(gateway: &Gateway) -> anyhow::Result<(f64, f64)> {
    let metrics = gateway.metrics().await.map_err(anyhow::Error::msg)?;
    Ok((
        metrics.sum(
            "quayside_store_transactions_total",
            "name=\"commit group\",end=\"done\"",
        ),
        metrics.sum(
            "quayside_store_transaction_items_total",
            "name=\"commit group\"",
        ),
    ))
}

impl Report {
    fn new(options: &Options, rounds: &[(Measured, Measured, (f64, f64))]) -> Self {
        let both = || rounds.iter().flat_map(|(passed, made, _)| [passed, made]);
        let sum = |of: fn(&Measured) -> u64| both().map(of).sum::<u64>();
        let passed: Vec<f64> = rounds.iter().map(|r| r.0.slowest_per_s()).collect();
        let made: Vec<f64> = rounds.iter().map(|r| r.1.slowest_per_s()).collect();
        #[expect(clippy::cast_precision_loss, reason = "messages are far below 2^52")]
        let instances = rounds.iter().map(|r| r.1.delivered as f64).sum::<f64>();
        let latencies = rounds.iter().flat_map(|r| r.1.latencies.iter().copied());
        let (passed, made) = (average(&passed), average(&made));
        let each = |of: fn(&(f64, f64)) -> f64| {
            rounds.iter().map(|r| of(&r.2)).sum::<f64>() / instances.max(1.0)
        };
        let (transactions_per_instance, items) = (each(|t| t.0), each(|t| t.1));
        let mut report = Self {
            store: options.store,
            pass_through_per_s: passed,
            orchestrated_per_s: made,
            ratio: made / passed.max(1.0),
            latency_ms: Latency::of(latencies),
            lost: sum(|m| m.lost),
            repeated: sum(|m| m.repeated),
            refused: sum(|m| m.refused),
            transactions_per_instance,
            // Its steps, its message's entrance, and its publication.
            steps_per_instance: items - 2.0,
            invalid: Vec::new(),
        };
        report.invalid = report.faults();
        report
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.lost > 0 {
            faults.push(format!("{} accepted messages were lost", self.lost));
        }
        if self.steps_per_instance < POINTS - 0.01 {
            let steps = self.steps_per_instance;
            faults.push(format!(
                "an instance was kept {steps:.2} times, not {POINTS}"
            ));
        }
        faults
    }

    fn print(&self) {
        let row = |name: &str, value: String| say(&format!("{name:<34} {value:>14}"));
        row(
            "passing through",
            format!("{:.0}/s", self.pass_through_per_s),
        );
        row(
            "with an instance for each",
            format!("{:.0}/s", self.orchestrated_per_s),
        );
        row(
            "latency p50 / p99",
            format!("{:.1} / {:.1} ms", self.latency_ms.p50, self.latency_ms.p99),
        );
        row("lost", self.lost.to_string());
        row("repeated", self.repeated.to_string());
        row("refused", self.refused.to_string());
        row(
            "points per instance",
            format!("{:.2}", self.steps_per_instance),
        );
        row(
            "transactions per instance",
            format!("{:.2}", self.transactions_per_instance),
        );
        row("ratio", format!("{:.3}", self.ratio));
        for reason in &self.invalid {
            say(&format!("INVALID: {reason}"));
        }
        say(&serde_json::to_string(self).expect("numbers and names become JSON"));
    }
}
