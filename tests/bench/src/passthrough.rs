//! HTTP in, store, HTTP out.

use std::{collections::HashMap, time::Duration};

use anyhow::ensure;
use clap::{Args, ValueEnum};
use quayside_harness::{
    Gateway, Node, Partner, Postgres, Seen,
    scenario::{App, pass_through},
    wait_for,
};

use crate::{
    ceiling::{self, WARMUP, clients, per_second},
    client::{self, Accepted, Summary},
    latency::Latency,
    programs,
    report::{HalfRate, Report, say},
    store,
};

/// How often the full rate and both ceilings are measured in turn. A machine that others use too changes its
/// speed within a minute by a third; measured one after the other, the ratio would compare two machines.
const ROUNDS: u32 = 4;

/// How long the run at half of the rate is measured.
const HALF_RATE: Duration = Duration::from_secs(10);

/// How long accepted messages may take to arrive when the clients have ended.
const DRAIN: Duration = Duration::from_secs(60);

/// Below these parts of HAProxy's and pgbench's rates a ceiling of ours does not count.
const VALID: (f64, f64) = (0.5, 0.8);

/// Where messages are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Store {
    /// The embedded one.
    Sqlite,
    /// A server, started for the run.
    Postgres,
}

/// What is measured.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// The store.
    #[arg(long, value_enum, default_value = "sqlite")]
    store: Store,
    /// Gateway processes: 1, or 2 of which one receives and the other sends (PostgreSQL only).
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    processes: u8,
    /// The length of a body in bytes.
    #[arg(long, default_value_t = 2048)]
    size: usize,
    /// How many connections the clients hold.
    #[arg(long, default_value_t = 64)]
    conns: usize,
    /// For how many seconds the full rate is measured, in all rounds together.
    #[arg(long, default_value_t = 20)]
    secs: u64,
}

/// The processes of a run; the order of the fields is the order in which they end.
pub(crate) struct Set {
    pub(crate) gateways: Vec<Gateway>,
    _nodes: Vec<Node>,
    _app: App,
    partner: Partner,
    server: Option<Postgres>,
}

/// One measurement of the gateway.
pub(crate) struct Measured {
    pub(crate) accepted_per_s: f64,
    pub(crate) delivered_per_s: f64,
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) refused: u64,
    /// Of each message, in microseconds.
    pub(crate) latencies: Vec<u64>,
    pub(crate) delivered: u64,
}

/// The rounds at full rate, with the ceilings of the same rounds.
#[derive(Default)]
struct Rounds {
    full: Vec<Measured>,
    http: Vec<f64>,
    store: Vec<f64>,
    pgbench: Vec<f64>,
    spent: Usage,
}

/// What the gateway had used or done at a moment, or between two.
#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    cpu: f64,
    commits: f64,
    items: f64,
    wal: Option<f64>,
    rows: Option<f64>,
}

/// Measures and prints. `false`: the run does not count.
pub(crate) async fn run(options: Options) -> anyhow::Result<bool> {
    ensure!(
        options.processes == 1 || options.store == Store::Postgres,
        "SQLite belongs to one process: use --store postgres for two"
    );
    programs::build()?;
    let scratch = tempfile::tempdir()?;
    let clients = base(&options);
    let server = match options.store {
        Store::Sqlite => None,
        Store::Postgres => Some(Postgres::start().await),
    };
    match &server {
        Some(server) => store::durability(server)
            .await?
            .iter()
            .for_each(|(k, v)| setting(k, v)),
        None => setting("synchronous", &store::sqlite_synchronous(scratch.path())?),
    }
    let haproxy = ceiling::haproxy(&clients, ceiling::MEASURE).await?;
    let set = Set::start(&options, server).await?;
    let rounds = set.rounds(&options, &clients, scratch.path()).await?;
    let rss = set
        .gateways
        .iter()
        .map(|g| g.process.peak_rss())
        .sum::<u64>();
    let rate = rounds.full().slowest_per_s() / 2.0;
    let half = set.measure("half", &clients, Some(rate)).await?;
    set.stop().await?;
    let report = Report::new(&options, &rounds, &half, rate, rss, haproxy);
    report.print();
    Ok(report.invalid.is_empty())
}

fn base(options: &Options) -> client::Options {
    client::Options {
        server: ([127, 0, 0, 1], 0).into(),
        path: "/in/orders".to_owned(),
        conns: options.conns,
        size: options.size,
        prefix: String::new(),
        warmup_ms: u64::try_from(WARMUP.as_millis()).expect("a few seconds"),
        measure_ms: options.secs * 1000 / u64::from(ROUNDS),
        rate: None,
        log: std::path::PathBuf::new(),
    }
}

fn setting(name: &str, value: &str) {
    say(&format!("{name} = {value}"));
}

/// What `store-ceiling` measures.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreCeiling {
    #[command(flatten)]
    options: Options,
    /// How many publishes and settlements one commit holds.
    #[arg(long, default_value_t = 100)]
    batch: u32,
}

/// Measures the store ceiling alone and prints it as a line of JSON.
pub(crate) async fn store_ceiling(asked: StoreCeiling) -> anyhow::Result<bool> {
    let server = match asked.options.store {
        Store::Sqlite => None,
        Store::Postgres => Some(Postgres::start().await),
    };
    let dir = tempfile::tempdir()?;
    let batch = f64::from(asked.batch);
    let (server, time) = (server.as_ref(), ceiling::MEASURE);
    let (ceiling, pgbench) =
        store_ceilings(&asked.options, server, dir.path(), batch, time).await?;
    say(&serde_json::json!({
        "batch": asked.batch, "store_ceiling_per_s": ceiling, "pgbench_per_s": pgbench,
    })
    .to_string());
    Ok(true)
}

async fn store_ceilings(
    options: &Options,
    server: Option<&Postgres>,
    dir: &std::path::Path,
    batch: f64,
    time: Duration,
) -> anyhow::Result<(f64, Option<f64>)> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small count"
    )]
    let batch = batch.round() as usize;
    let size = options.size;
    let Some(server) = server else {
        let dir = dir.to_owned();
        let work = move || store::sqlite_ceiling(&dir, batch, size, time);
        return Ok((tokio::task::spawn_blocking(work).await??, None));
    };
    let pgbench = store::pgbench(server, dir, batch, size, time).await?;
    Ok((
        store::postgres_ceiling(server, batch, size, time).await?,
        Some(pgbench),
    ))
}

impl Set {
    async fn start(options: &Options, server: Option<Postgres>) -> anyhow::Result<Self> {
        let partner = Partner::start().await;
        let two = options.processes == 2;
        let text = pass_through(partner.addr(), "", "");
        let text = if two {
            let (receive, send) = text
                .split_once("[send.out]")
                .expect("the application sends");
            format!(
                "{receive}[send.out]{}",
                send.replacen("\"edge\"", "\"out\"", 1)
            )
        } else {
            text
        };
        let hosts: &[&str] = if two { &["edge", "out"] } else { &["edge"] };
        Ok(Self::of(App::new(&text), hosts, partner, server).await)
    }

    /// Starts a process for each of `hosts` of an application.
    pub(crate) async fn of(
        app: App,
        hosts: &[&str],
        partner: Partner,
        server: Option<Postgres>,
    ) -> Self {
        let mut nodes = Vec::new();
        if let Some(server) = &server {
            server.create_database("quayside").await;
        }
        for host in hosts {
            let node = Node::new(&format!("node-{host}"), app.path()).with_host(host);
            let url = server.as_ref().map(|s| s.url("quayside"));
            nodes.push(match url {
                Some(url) => node.with_store(&url),
                None => node,
            });
        }
        let mut gateways = Vec::new();
        for node in &nodes {
            gateways.push(node.start().await);
        }
        Self {
            gateways,
            _nodes: nodes,
            _app: app,
            partner,
            server,
        }
    }

    /// Measures in turn, while the gateway idles beside the ceilings.
    async fn rounds(
        &self,
        options: &Options,
        clients: &client::Options,
        scratch: &std::path::Path,
    ) -> anyhow::Result<Rounds> {
        let time = ceiling::MEASURE / ROUNDS;
        let mut rounds = Rounds::default();
        for no in 0..ROUNDS {
            rounds.http.push(ceiling::http(clients, time).await?);
            let before = self.usage().await?;
            let full = self.measure(&format!("full{no}"), clients, None).await?;
            let spent = self.usage().await?.since(&before);
            let batch = mean(spent.items, spent.commits).max(1.0);
            rounds.full.push(full);
            rounds.spent.add(&spent);
            let server = self.server.as_ref();
            let (store, pgbench) = store_ceilings(options, server, scratch, batch, time).await?;
            rounds.store.push(store);
            rounds.pgbench.extend(pgbench);
        }
        Ok(rounds)
    }

    pub(crate) async fn measure(
        &self,
        prefix: &str,
        base: &client::Options,
        rate: Option<f64>,
    ) -> anyhow::Result<Measured> {
        let mut options = client::Options {
            rate,
            prefix: prefix.to_owned(),
            ..base.clone()
        };
        options.server = self.gateways[0].http;
        if rate.is_some() {
            options.measure_ms = u64::try_from(HALF_RATE.as_millis()).expect("a few seconds");
        }
        let before = self.arrived().await;
        let (summary, accepted) = clients(&options).await?;
        if let Some(refusal) = &summary.first_refusal {
            say(&format!(
                "{} requests were refused, the first: {refusal}",
                summary.refused
            ));
        }
        let seen = self.arrivals(prefix, before + accepted.len() as u64).await;
        Ok(judge(&summary, &accepted, &seen))
    }

    /// How many ids the partner has seen.
    async fn arrived(&self) -> u64 {
        let counts = self.partner.counts().await;
        counts["distinct_ids"].as_u64().unwrap_or(0)
    }

    /// Every request of this prefix at the partner, when it has seen `expected` ids of all prefixes, or
    /// when no more come.
    async fn arrivals(&self, prefix: &str, expected: u64) -> Vec<(u64, u64)> {
        let mut last = (0, 0);
        wait_for("the last message to arrive", DRAIN, async || {
            let now = self.arrived().await;
            // Still for a second's worth of looks: whatever is missing then is lost.
            last = if now == last.0 {
                (now, last.1 + 1)
            } else {
                (now, 0)
            };
            let log_is_whole = last.1 >= 20 || now >= expected && last.1 >= 2;
            if log_is_whole {
                Ok(())
            } else {
                Err(format!("{now} ids have arrived"))
            }
        })
        .await;
        self.partner
            .log()
            .await
            .iter()
            .filter_map(|seen| arrival(prefix, seen))
            .collect()
    }

    async fn usage(&self) -> anyhow::Result<Usage> {
        let mut usage = Usage::default();
        for gateway in &self.gateways {
            usage.cpu += gateway.process.cpu_seconds();
            let metrics = gateway.metrics().await.map_err(anyhow::Error::msg)?;
            usage.commits += metrics.sum(
                "quayside_store_transactions_total",
                "name=\"commit batch\",end=\"done\"",
            );
            usage.items += metrics.sum(
                "quayside_store_transaction_items_total",
                "name=\"commit batch\"",
            );
        }
        if let Some(server) = &self.server {
            let session = server.connect("quayside").await;
            let work = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8, \
                (tup_inserted + tup_updated + tup_deleted)::float8 \
                FROM pg_stat_database WHERE datname = current_database()";
            let row = session.query_one(work, &[]).await?;
            usage.wal = Some(row.get(0));
            usage.rows = Some(row.get(1));
        }
        Ok(usage)
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        for gateway in &mut self.gateways {
            let code = gateway.stop(Duration::from_secs(30)).await;
            ensure!(code == Some(0), "the gateway ended with {code:?}");
        }
        Ok(())
    }
}

impl Usage {
    fn since(&self, before: &Self) -> Self {
        let each = |now: Option<f64>, then: Option<f64>| Some(now? - then?);
        Self {
            cpu: self.cpu - before.cpu,
            commits: self.commits - before.commits,
            items: self.items - before.items,
            wal: each(self.wal, before.wal),
            rows: each(self.rows, before.rows),
        }
    }

    fn add(&mut self, more: &Self) {
        let each = |sum: Option<f64>, more: Option<f64>| Some(sum.unwrap_or(0.0) + more?);
        self.cpu += more.cpu;
        self.commits += more.commits;
        self.items += more.items;
        self.wal = each(self.wal, more.wal);
        self.rows = each(self.rows, more.rows);
    }
}

impl Rounds {
    /// All rounds at full rate as one.
    fn full(&self) -> Measured {
        let all = &self.full;
        let sum = |of: fn(&Measured) -> u64| all.iter().map(of).sum();
        Measured {
            accepted_per_s: average(&all.iter().map(|m| m.accepted_per_s).collect::<Vec<_>>()),
            delivered_per_s: average(&all.iter().map(|m| m.delivered_per_s).collect::<Vec<_>>()),
            lost: sum(|m| m.lost),
            repeated: sum(|m| m.repeated),
            refused: sum(|m| m.refused),
            latencies: all.iter().flat_map(|m| m.latencies.clone()).collect(),
            delivered: sum(|m| m.delivered),
        }
    }
}

impl Measured {
    /// Messages per second, in or out.
    pub(crate) fn slowest_per_s(&self) -> f64 {
        self.accepted_per_s.min(self.delivered_per_s)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few rounds")]
pub(crate) fn average(all: &[f64]) -> f64 {
    mean(all.iter().sum(), all.len() as f64)
}

/// The number in the id and the time of arrival, of a request with this prefix.
fn arrival(prefix: &str, seen: &Seen) -> Option<(u64, u64)> {
    let no = seen.id.strip_prefix(prefix)?.strip_prefix('-')?;
    Some((no.parse().ok()?, seen.at_us))
}

fn judge(summary: &Summary, accepted: &[Accepted], seen: &[(u64, u64)]) -> Measured {
    let mut arrivals: HashMap<u64, u64> = HashMap::with_capacity(seen.len());
    for (no, at) in seen {
        arrivals.entry(*no).or_insert(*at);
    }
    let lost = accepted
        .iter()
        .filter(|a| !arrivals.contains_key(&a.no))
        .count();
    let measured = |a: &&Accepted| (summary.from..summary.to).contains(&a.intended);
    let latency = accepted.iter().filter(measured).filter_map(|a| {
        let arrived = arrivals.get(&a.no)?;
        Some(arrived.saturating_sub(a.intended))
    });
    Measured {
        accepted_per_s: per_second(summary, accepted.iter().map(|a| a.answered)),
        delivered_per_s: per_second(summary, arrivals.values().copied()),
        lost: lost as u64,
        repeated: (seen.len() - arrivals.len()) as u64,
        refused: summary.refused,
        latencies: latency.collect(),
        delivered: arrivals.len() as u64,
    }
}

fn mean(sum: f64, count: f64) -> f64 {
    if count > 0.0 { sum / count } else { 0.0 }
}

impl Report {
    fn new(
        options: &Options,
        rounds: &Rounds,
        half: &Measured,
        rate: f64,
        rss: u64,
        haproxy: f64,
    ) -> Self {
        let (full, spent) = (rounds.full(), &rounds.spent);
        let (http, store) = (average(&rounds.http), average(&rounds.store));
        let pgbench = (!rounds.pgbench.is_empty()).then(|| average(&rounds.pgbench));
        let ceiling = 1.0 / (1.0 / http + 1.0 / store);
        #[expect(
            clippy::cast_precision_loss,
            reason = "messages and bytes are far below 2^52"
        )]
        let (delivered, rss) = (full.delivered as f64, rss as f64);
        let each = |spent: Option<f64>| Some(mean(spent?, delivered));
        let mut report = Self {
            store: match options.store {
                Store::Sqlite => "sqlite",
                Store::Postgres => "postgres",
            },
            processes: options.processes,
            accepted_per_s: full.accepted_per_s,
            delivered_per_s: full.delivered_per_s,
            lost: full.lost + half.lost,
            repeated: full.repeated + half.repeated,
            refused: full.refused + half.refused,
            latency_ms: Latency::of(full.latencies.iter().copied()),
            half_rate: HalfRate {
                rate_per_s: rate,
                latency_ms: Latency::of(half.latencies.iter().copied()),
            },
            cpu_s_per_1000: mean(spent.cpu * 1000.0, delivered),
            rss_mib: rss / 1024.0 / 1024.0,
            mean_batch: mean(spent.items, spent.commits),
            wal_bytes_per_message: each(spent.wal),
            rows_per_message: each(spent.rows),
            http_ceiling_per_s: http,
            store_ceiling_per_s: store,
            ceiling_per_s: ceiling,
            ratio: full.slowest_per_s() / ceiling,
            haproxy_per_s: haproxy,
            pgbench_per_s: pgbench,
            invalid: Vec::new(),
        };
        report.invalid = report.faults();
        report
    }

    /// Why the run does not count.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.http_ceiling_per_s < VALID.0 * self.haproxy_per_s {
            faults.push("the HTTP ceiling is below half of HAProxy's rate".to_owned());
        }
        if self
            .pgbench_per_s
            .is_some_and(|p| self.store_ceiling_per_s < VALID.1 * p)
        {
            faults.push("the store ceiling is below 0.8 of pgbench's rate".to_owned());
        }
        if self.lost > 0 {
            faults.push(format!("{} accepted messages were lost", self.lost));
        }
        if self.mean_batch <= 0.0 {
            faults.push("the gateway does not say how large its commits were".to_owned());
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        Summary {
            from: 0,
            to: 1_000_000,
            refused: 0,
            first_refusal: None,
        }
    }

    fn accepted(no: u64) -> Accepted {
        Accepted {
            no,
            intended: no * 1000,
            answered: no * 1000 + 500,
        }
    }

    #[test]
    fn losses_and_repeats_are_counted_by_id() {
        let accepted: Vec<_> = (0..4).map(accepted).collect();
        // Number 2 is lost, 1 came twice, and 9 came though its answer was lost on the way.
        let seen = [(0, 2000), (1, 3000), (1, 9000), (3, 5000), (9, 7000)];
        let measured = judge(&summary(), &accepted, &seen);
        assert_eq!(
            (measured.lost, measured.repeated, measured.delivered),
            (1, 1, 4)
        );
        assert!((measured.accepted_per_s - 4.0).abs() < 1e-9);
        assert!(
            measured.latencies.iter().max() == Some(&2000),
            "{:?}",
            measured.latencies
        );
    }

    #[test]
    fn only_ids_of_the_prefix_are_arrivals() {
        let seen = |id: &str| Seen {
            seq: 1,
            path: String::new(),
            key: String::new(),
            id: id.to_owned(),
            order: String::new(),
            epoch: 0,
            at_us: 5,
            status: 200,
            effect: true,
        };
        assert_eq!(arrival("full", &seen("full-12")), Some((12, 5)));
        for other in ["half-12", "full12", "full-x", ""] {
            assert_eq!(arrival("full", &seen(other)), None, "{other}");
        }
    }
}
