//! Queue to store to queue, beside the same move by the broker's own shovel.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use quayside_harness::{App, Node, Postgres, RabbitMq, Stopwatch, look_for};
use serde::Serialize;

use crate::{broker::Client, passthrough::Store, programs, report::say};

/// How many messages the shovel has unacknowledged at once: its default.
const SHOVEL_PREFETCH: u16 = 1000;

/// The first part of the messages, one in so many, is not measured: whoever moves them is starting.
const WARM_UP: u32 = 20;

/// How long the first messages may take.
const START: Duration = Duration::from_secs(60);

/// What is measured.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// The store.
    #[arg(long, value_enum, default_value = "sqlite")]
    store: Store,
    /// The length of a body in bytes.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// How many messages wait in the queue when a move begins.
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u32).range(1000..))]
    messages: u32,
    /// For how many seconds a move is measured at most.
    #[arg(long, default_value_t = 20)]
    secs: u64,
    /// `prefetch` of the receive location.
    #[arg(long, default_value_t = 2000)]
    prefetch: u16,
    /// `batch` of the receive location.
    #[arg(long, default_value_t = 200)]
    batch: u16,
    /// `max_in_flight` of the send port.
    #[arg(long, default_value_t = 1024)]
    in_flight: u16,
}

/// In which order the gateway moves messages.
#[derive(Debug, Clone, Copy)]
enum Order {
    /// In none.
    Any,
    /// In that of so many keys, with so many messages of each unconfirmed at once.
    Keys { keys: u32, pipeline: u32 },
}

/// What is measured of the gateway.
const ORDERS: [Order; 5] = [
    Order::Any,
    Order::Keys {
        keys: 1,
        pipeline: 1,
    },
    Order::Keys {
        keys: 64,
        pipeline: 1,
    },
    Order::Keys {
        keys: 1,
        pipeline: 64,
    },
    Order::Keys {
        keys: 64,
        pipeline: 64,
    },
];

/// The result.
#[derive(Debug, Serialize)]
struct Report {
    /// `sqlite` or `postgres`.
    store: &'static str,
    /// The length of a body in bytes.
    size: usize,
    /// Messages per second that a publisher with a window of confirmations puts into one queue.
    ceiling_per_s: f64,
    /// Messages per second of the shovel, before and behind the gateway's turns.
    shovel_per_s: [f64; 2],
    /// Of a program that only takes messages from one queue and puts them into another, with the gateway's
    /// client library: what is left of the shovel's rate outside of the broker, without a store.
    relay: Rate,
    /// Without order.
    unordered: Rate,
    /// In the order of keys.
    ordered: Vec<OrderedRate>,
    /// Processor seconds of the gateway for 1,000 messages without order.
    cpu_s_per_1000: f64,
    /// Why the run does not count; empty for a run that counts.
    invalid: Vec<String>,
}

/// One rate of the gateway.
#[derive(Debug, Clone, Copy, Serialize)]
struct Rate {
    /// Messages per second.
    per_s: f64,
    /// Of the shovel's mean rate.
    ratio: f64,
}

#[derive(Debug, Serialize)]
struct OrderedRate {
    keys: u32,
    pipeline: u32,
    #[serde(flatten)]
    rate: Rate,
}

/// What all moves of a run share; the order of the fields is the order in which they end.
struct Bench {
    options: Options,
    client: Client,
    postgres: Option<Postgres>,
    broker: RabbitMq,
    /// The rate of each fill.
    fills: Vec<f64>,
    invalid: Vec<String>,
    moves: u32,
}

/// Measures and prints. `false`: the run does not count.
pub(crate) async fn run(options: Options) -> anyhow::Result<bool> {
    programs::build()?;
    let broker = RabbitMq::start_with(&["rabbitmq_shovel"]).await;
    let postgres = match options.store {
        Store::Sqlite => None,
        Store::Postgres => Some(Postgres::start().await),
    };
    let mut bench = Bench {
        client: Client::connect(&broker).await?,
        options,
        postgres,
        broker,
        fills: Vec::new(),
        invalid: Vec::new(),
        moves: 0,
    };
    let before = bench.shovel().await?;
    let mut rates = Vec::new();
    for order in ORDERS {
        rates.push(bench.gateway(order).await?);
    }
    let relay = bench.relay().await?;
    let after = bench.shovel().await?;
    let report = bench.report([before, after], relay, &rates);
    report.print();
    Ok(report.invalid.is_empty())
}

impl Bench {
    /// Declares two queues and fills the first one.
    async fn prepare(&mut self, keys: u32, single: bool) -> anyhow::Result<(String, String)> {
        self.moves += 1;
        let names = (format!("in{}", self.moves), format!("out{}", self.moves));
        self.broker.declare(&names.0, single).await;
        self.broker.declare(&names.1, false).await;
        let Options { messages, size, .. } = self.options;
        let rate = self.client.fill(&names.0, messages, size, keys).await?;
        self.fills.push(rate);
        Ok(names)
    }

    async fn shovel(&mut self) -> anyhow::Result<f64> {
        let (from, to) = self.prepare(64, false).await?;
        self.broker
            .shovel("move", &from, &to, SHOVEL_PREFETCH)
            .await;
        let (rate, through) = self.rate("the shovel", &to).await?;
        self.broker.unshovel("move").await;
        self.end(&from, &to, through).await?;
        say(&format!("the shovel: {rate:.0}/s"));
        Ok(rate)
    }

    async fn relay(&mut self) -> anyhow::Result<f64> {
        let (from, to) = self.prepare(64, false).await?;
        let relay = Client::connect(&self.broker).await?;
        let out = Client::connect(&self.broker).await?;
        let (rate, through) = tokio::select! {
            rate = self.rate("the relay", &to) => rate?,
            ended = relay.relay(&from, &out, &to) => {
                ended?;
                bail!("the relay ended");
            }
        };
        self.end(&from, &to, through).await?;
        // What it has not acknowledged would have come back before the judgement.
        drop(relay);
        say(&format!("a relay without a store: {rate:.0}/s"));
        Ok(rate)
    }

    /// The rate, and the processor seconds for 1,000 messages.
    async fn gateway(&mut self, order: Order) -> anyhow::Result<(f64, f64)> {
        let keys = match order {
            Order::Any => 64,
            Order::Keys { keys, .. } => keys,
        };
        let (from, to) = self
            .prepare(keys, matches!(order, Order::Keys { .. }))
            .await?;
        let app = App::new(&self.application(order, &from, &to));
        let node = Node::new("node-a", app.path());
        let node = match &self.postgres {
            Some(server) => node.with_store(&server.create_database(&from).await),
            None => node,
        };
        let mut gateway = node.start().await;
        let (rate, through) = self.rate(&format!("{order:?}"), &to).await?;
        let moved = self.client.count(&to).await?;
        let cpu = gateway.process.cpu_seconds() * 1000.0 / f64::from(moved);
        let code = gateway.stop(Duration::from_secs(30)).await;
        ensure!(code == Some(0), "the gateway ended with {code:?}");
        self.end(&from, &to, through).await?;
        say(&format!("{order:?}: {rate:.0}/s"));
        Ok((rate, cpu))
    }

    fn application(&self, order: Order, from: &str, to: &str) -> String {
        let url = self.broker.url();
        let Options {
            prefetch,
            batch,
            in_flight,
            ..
        } = self.options;
        let (receive, send, transport) = match order {
            Order::Any => ("", "", String::new()),
            Order::Keys { pipeline, .. } => (
                "ordered = true",
                "ordered = { by = \"amqp.header.key\" }",
                format!("pipeline = {pipeline}"),
            ),
        };
        format!(
            r#"[app]
name = "t"

[receive.q]
host = "edge"
{receive}
[receive.q.location.in.amqp]
url = "{url}"
queue = "{from}"
prefetch = {prefetch}
batch = {batch}

[send.out]
host = "edge"
filter = "msg.origin == 't.q.in'"
max_in_flight = {in_flight}
{send}
[send.out.primary.amqp]
url = "{url}"
queue = "{to}"
{transport}
"#
        )
    }

    /// How many messages come into the queue `to` in a second, from the end of the warm-up until all are there
    /// or the time is up; and whether all are.
    async fn rate(&self, mover: &str, to: &str) -> anyhow::Result<(f64, bool)> {
        let all = self.options.messages;
        let at_least = async |least: u32| {
            let count = self.client.count(to).await.map_err(|e| e.to_string())?;
            if count >= least {
                Ok(count)
            } else {
                Err(count.to_string())
            }
        };
        let first = look_for(START, async || at_least(all / WARM_UP).await).await;
        let first = first
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("{mover} does not move messages"))?;
        let watch = Stopwatch::start();
        let within = Duration::from_secs(self.options.secs);
        // Whoever is not through when the time is up is measured up to then.
        let through = look_for(within, async || at_least(all).await).await;
        let (last, took) = (self.client.count(to).await?, watch.elapsed());
        Ok((
            f64::from(last - first) / took.as_secs_f64(),
            through.is_ok(),
        ))
    }

    /// Judges and removes the queues of a move.
    async fn end(&mut self, from: &str, to: &str, through: bool) -> anyhow::Result<()> {
        let (left, moved) = (self.client.count(from).await?, self.client.count(to).await?);
        let all = self.options.messages;
        // Of a move that was cut off the rest is in the queue or in the store.
        if moved > all || through && (moved != all || left > 0) {
            let why = format!("{moved} of {all} messages came out of `{from}`, {left} are left");
            self.invalid.push(why);
        }
        self.client.delete(from).await?;
        self.client.delete(to).await
    }

    fn report(mut self, shovel: [f64; 2], relay: f64, rates: &[(f64, f64)]) -> Report {
        let beside = f64::midpoint(shovel[0], shovel[1]);
        let of = |rate: f64| Rate {
            per_s: rate,
            ratio: rate / beside,
        };
        self.fills.sort_by(f64::total_cmp);
        let ordered = ORDERS.iter().zip(rates).filter_map(|(order, (rate, _))| {
            let Order::Keys { keys, pipeline } = *order else {
                return None;
            };
            let rate = of(*rate);
            Some(OrderedRate {
                keys,
                pipeline,
                rate,
            })
        });
        Report {
            store: match self.options.store {
                Store::Sqlite => "sqlite",
                Store::Postgres => "postgres",
            },
            size: self.options.size,
            ceiling_per_s: self.fills[self.fills.len() / 2],
            shovel_per_s: shovel,
            relay: of(relay),
            unordered: of(rates[0].0),
            ordered: ordered.collect(),
            cpu_s_per_1000: rates[0].1,
            invalid: self.invalid,
        }
    }
}

impl Report {
    /// Prints the table and the line.
    fn print(&self) {
        let row = |name: &str, per_s: f64, ratio: Option<f64>| {
            let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
            let rate = format!("{per_s:.0}/s");
            say(&format!("{name:<34} {rate:>14} {ratio:>8}"));
        };
        say(&format!(
            "\n{}, {} bytes, rates of the shovel's",
            self.store, self.size
        ));
        row("publisher with a window", self.ceiling_per_s, None);
        row("shovel before", self.shovel_per_s[0], None);
        row("shovel behind", self.shovel_per_s[1], None);
        let Rate { per_s, ratio } = self.relay;
        row("relay without a store", per_s, Some(ratio));
        let Rate { per_s, ratio } = self.unordered;
        row("without order", per_s, Some(ratio));
        for one in &self.ordered {
            let name = format!("{} keys, pipeline {}", one.keys, one.pipeline);
            row(&name, one.rate.per_s, Some(one.rate.ratio));
        }
        say(&format!(
            "{:<34} {:>14}",
            "processor time per 1,000",
            format!("{:.3} s", self.cpu_s_per_1000)
        ));
        for reason in &self.invalid {
            say(&format!("INVALID: {reason}"));
        }
        say(&serde_json::to_string(self).expect("numbers and names become JSON"));
    }
}
