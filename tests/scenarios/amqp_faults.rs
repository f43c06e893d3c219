//! A broker that is killed, stopped, paused, short of memory, or that closes every connection, under load:
//! nothing is lost, nothing is stored twice, the order of each key is kept, and the gateway goes on by itself.
//!
//! A producer and a consumer that are not ours judge by the ids in the bodies. How soon work goes on is
//! measured and printed, not judged: `tests/run --queue-faults` does it often enough to speak of.

use std::{fmt, time::Duration};

use quayside_harness::{
    RabbitMq, lasts,
    rabbitmq::{Arrival, Consumer, Producer},
    unix_micros, wait_for,
};
use quayside_tests::{
    Site, Store, judge_move, judge_one, note,
    queues::{MOVES, all_moves, declare_moves, in_order, three_moves},
};

/// How often the broker suffers each fault, unless `QUAYSIDE_QUEUE_FAULTS` says otherwise.
const TIMES: usize = 4;

/// How long a pause and a shortage of memory last.
const PAUSE: Duration = Duration::from_secs(8);
const SHORTAGE: Duration = Duration::from_secs(3);

/// How many messages a second the producer offers, to all moves together.
const OFFERED: u32 = 600;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The space of time that rates are counted over, and the part of the usual rate that is one again.
const SPACE: u64 = 1_000_000;
const AGAIN: f64 = 0.9;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Paused,
    ShortOfMemory,
    Killed,
    Stopped,
    Closed,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Paused => "paused for 8 s",
            Self::ShortOfMemory => "short of memory for 3 s",
            Self::Killed => "killed",
            Self::Stopped => "stopped",
            Self::Closed => "connections closed",
        })
    }
}

/// One fault that is over.
struct Suffered {
    fault: Fault,
    /// When the broker was there again, in microseconds since the epoch.
    back: u64,
    /// How long after it the first message came to the consumer, and the usual rate began, in microseconds.
    first: u64,
    usual: u64,
}

/// From queue to queue, in order and without; the fields end in this order.
struct Move {
    site: Site,
    producer: Producer,
    consumer: Consumer,
    server: RabbitMq,
    /// Messages in a [`SPACE`].
    usual: f64,
}

impl Move {
    async fn start() -> Self {
        let server = RabbitMq::start().await;
        let out = declare_moves(&server).await;
        let url = server.url();
        let site = Site::new(Store::Sqlite, 1, &|_| three_moves(&url), &[]).await;
        let consumer = server.consumer(&out);
        let producer = server.producer(&all_moves(OFFERED));
        let mut this = Self {
            site,
            producer,
            consumer,
            server,
            usual: 0.0,
        };
        this.usual = this.rate().await;
        note(&format!("{:.0} messages a second", this.usual));
        this
    }

    /// How many messages come in a [`SPACE`] when nothing is wrong.
    async fn rate(&mut self) -> f64 {
        let warm = usize::try_from(OFFERED).expect("a small number");
        let first = self.arrived(warm).await;
        let last = self.arrived(first + 3 * warm).await;
        let arrivals = &self.consumer.arrivals()[first..last];
        let took = arrivals[arrivals.len() - 1].at_us - arrivals[0].at_us;
        per_space(arrivals.len() - 1, took)
    }

    /// Waits until `count` messages have come, and returns how many it were then.
    async fn arrived(&mut self, count: usize) -> usize {
        wait_for("messages to come out", PATIENCE, async || {
            let arrived = self.consumer.arrivals().len();
            if arrived >= count {
                Ok(arrived)
            } else {
                Err(format!("{arrived} of {count}"))
            }
        })
        .await
    }

    async fn suffer(&mut self, fault: Fault) -> Suffered {
        let back = self.strike(fault).await;
        let usual = self.usual;
        let what = format!("the usual rate after the broker was {fault}");
        let (first, usual) = wait_for(&what, PATIENCE, async || {
            let arrivals = self.consumer.arrivals();
            returned(arrivals, back, unix_micros(), usual * AGAIN)
        })
        .await;
        Suffered {
            fault,
            back,
            first,
            usual,
        }
    }

    /// Does it, and returns when the broker was there again.
    async fn strike(&mut self, fault: Fault) -> u64 {
        match fault {
            Fault::Paused => {
                self.server.pause().await;
                lasts(PAUSE).await;
                let back = unix_micros();
                self.server.resume();
                return back;
            }
            Fault::ShortOfMemory => {
                self.server.memory_alarm(true).await;
                lasts(SHORTAGE).await;
                let back = unix_micros();
                self.server.memory_alarm(false).await;
                return back;
            }
            Fault::Killed => self.server.kill9().await,
            Fault::Stopped => self.server.stop().await,
            Fault::Closed => {
                // Each move's location and port, the producer and the consumer.
                let expected = 2 * MOVES.len() + 2;
                self.server.close_connections(expected).await;
                return unix_micros();
            }
        }
        self.server.start_again().await;
        unix_micros()
    }

    /// Judges the whole run.
    async fn judge(mut self, suffered: &[Suffered]) {
        let confirmed = self.producer.finish().await;
        let all = confirmed.len();
        wait_for("every message to come out", PATIENCE, async || {
            let arrived = judge_move(&confirmed, self.consumer.arrivals());
            if arrived.lost.is_empty() {
                Ok(())
            } else {
                Err(arrived.to_string())
            }
        })
        .await;
        self.site.gateway().drained(PATIENCE).await;
        let arrivals = self.consumer.finish().await;
        for (name, _) in MOVES {
            let moved = judge_one(name, &confirmed, &arrivals);
            note(&format!("{name}: {moved}"));
            assert!(moved.exactly_once(), "{name}: {moved}");
            let kept = !in_order(name) || moved.out_of_order.is_empty();
            assert!(kept, "{name}: {moved}");
        }
        let (stored, repeats) = self.site.stored_bodies().await;
        assert_eq!(repeats, 0, "stored twice, of {stored}");
        assert!(stored >= all, "{stored} are stored, {all} were confirmed");
        for fault in FAULTS {
            tell(&self.site, fault, suffered).await;
        }
    }
}

/// Prints how soon work went on after `fault`.
async fn tell(site: &Site, fault: Fault, suffered: &[Suffered]) {
    let of: Vec<_> = suffered.iter().filter(|s| s.fault == fault).collect();
    let mut stored = Vec::new();
    let mut sent = Vec::new();
    for one in &of {
        let back = i64::try_from(one.back).expect("a time");
        for (times, query) in [
            (
                &mut stored,
                "SELECT min(stored_at) FROM message WHERE stored_at >",
            ),
            (
                &mut sent,
                "SELECT min(at) FROM history WHERE event = 'sent' AND at >",
            ),
        ] {
            let at = site.number(&format!("{query} {back}")).await;
            times.push(u64::try_from(at - back).expect("after it"));
        }
    }
    let first = of.iter().map(|s| s.first).collect();
    let usual = of.iter().map(|s| s.usual).collect();
    note(&format!(
        "{fault}, {} times: first message stored after {}, sent after {}, at the consumer after {}, \
         the usual rate after {} (median, longest)",
        of.len(),
        Times(stored),
        Times(sent),
        Times(first),
        Times(usual),
    ));
}

/// How long after `back` the first message came, and the first [`SPACE`] from then on began in which `rate` of
/// them came.
fn returned(arrivals: &[Arrival], back: u64, now: u64, rate: f64) -> Result<(u64, u64), String> {
    let after: Vec<_> = arrivals
        .iter()
        .filter(|a| a.at_us > back && !a.redelivered)
        .map(|a| a.at_us - back)
        .collect();
    let first = *after.first().ok_or("no message has come")?;
    let begins = (first..)
        .step_by(20_000)
        .take_while(|t| back + t + SPACE < now);
    for begin in begins {
        let within = after.iter().filter(|t| (begin..begin + SPACE).contains(t));
        if within.count() as f64 >= rate {
            return Ok((first, begin));
        }
    }
    Err(format!(
        "{} messages in {} ms",
        after.len(),
        (now - back) / 1000
    ))
}

fn per_space(count: usize, micros: u64) -> f64 {
    count as f64 * SPACE as f64 / micros as f64
}

/// Microseconds, shown as the median and the longest in milliseconds.
struct Times(Vec<u64>);

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = |index: usize| sorted.get(index).map_or(0, |micros| micros / 1000);
        write!(
            f,
            "{}, {} ms",
            at(sorted.len() / 2),
            at(sorted.len().max(1) - 1)
        )
    }
}

/// In this order: the management API, which only the last one needs, stops slowly.
const FAULTS: [Fault; 5] = [
    Fault::Paused,
    Fault::ShortOfMemory,
    Fault::Killed,
    Fault::Stopped,
    Fault::Closed,
];

fn times() -> usize {
    match std::env::var("QUAYSIDE_QUEUE_FAULTS") {
        Ok(count) => count.parse().expect("QUAYSIDE_QUEUE_FAULTS is a number"),
        Err(_) => TIMES,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_a_broker_is_lived_through() {
    let mut all = Move::start().await;
    let pid = all.site.gateway().process.pid();
    let began = all
        .site
        .number("SELECT since FROM instance WHERE state = 0")
        .await;
    let mut suffered = Vec::new();
    let times = times();
    for fault in FAULTS {
        for time in 1..=times {
            if fault == Fault::Stopped && time == times {
                all.server.plugins(&["rabbitmq_management"]);
            }
            suffered.push(all.suffer(fault).await);
        }
    }
    // One process, one instance of its engine, from the first message to the last.
    let gateway = &mut all.site.gateways[0].process;
    assert!(!gateway.has_ended(), "{}", gateway.stderr_tail());
    assert_eq!(gateway.pid(), pid);
    let instance = all
        .site
        .number("SELECT since FROM instance WHERE state = 0")
        .await;
    assert_eq!(instance, began, "another instance took over");
    all.judge(&suffered).await;
}
