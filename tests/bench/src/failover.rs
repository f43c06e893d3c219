//! How long nothing comes out when something fails or is moved, against the bounds that the product promises.
//!
//! Real nodes with agents share a PostgreSQL store. Most faults meet a clustered host that moves messages between two
//! queues in the order of their keys ([`line`](self::line)); one meets a host that runs on both nodes
//! ([`web`](self::web)). Clients that are not ours tell what was accepted and when each message came out.

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::{programs, report::say};

mod judge;
mod line;
mod watch;
mod web;

use line::Line;
use web::Web;

/// What is measured.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// What happens; each of them unless one is named.
    #[arg(long = "fault", value_enum)]
    faults: Vec<Fault>,
    /// How often each happens.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    injections: u32,
    /// Messages per second.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(50..=2000))]
    rate: u32,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Fault {
    /// The owner's process is killed.
    KillHost,
    /// The owner's process is paused.
    PauseHost,
    /// The owner's agent is killed, and with it every process of the node.
    NodeLoss,
    /// The agent and every process of the owner's node are paused.
    NodePause,
    /// Nothing comes through between the owner's node and the store.
    PartitionStore,
    /// An operator moves the host.
    PlannedMove,
    /// An operator drains the owner's node.
    Drain,
    /// The agent of one node after the other is told to stop, and started again.
    RollingRestart,
    /// PostgreSQL is stopped and started.
    StoreRestart,
    /// The broker is stopped and started.
    BrokerRestart,
    /// A process of a host that runs on both nodes is killed.
    ReleaseStateless,
}

impl Fault {
    /// What p99 must not exceed, in milliseconds: 3 s of lease are in those of seconds.
    fn bound_ms(self) -> f64 {
        match self {
            Self::PlannedMove | Self::Drain | Self::RollingRestart => 100.0,
            Self::KillHost => 300.0,
            Self::StoreRestart | Self::BrokerRestart => 1000.0,
            Self::PauseHost => 1600.0,
            Self::NodeLoss | Self::NodePause | Self::PartitionStore | Self::ReleaseStateless => {
                3500.0
            }
        }
    }

    /// From where to where it is timed.
    fn timed(self) -> &'static str {
        match self {
            Self::PlannedMove | Self::Drain | Self::RollingRestart => "the longest gap",
            Self::StoreRestart => "from the store's return to the next message",
            Self::BrokerRestart => "from the broker's return to the next message",
            Self::ReleaseStateless => "from the fault until the last of its deliveries is done",
            _ => "from the fault to the next message of another process",
        }
    }

    /// Whether it must leave the host where it is.
    fn moves_nothing(self) -> bool {
        matches!(self, Self::StoreRestart | Self::BrokerRestart)
    }
}

/// The result.
#[derive(Debug, Serialize)]
struct Report {
    faults: Vec<Row>,
}

/// What one kind of fault did.
#[derive(Debug, Serialize)]
struct Row {
    fault: Fault,
    n: usize,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// Accepted, and never came out.
    lost: usize,
    /// Came out again, under the same id.
    repeated: usize,
    /// Came out for the first time behind a later one of their key, or a second time under another key: what an
    /// owner does that does not know that it is none any more.
    stale: usize,
    /// How often the host moved although nothing called for it.
    #[serde(skip)]
    moved: usize,
}

impl Row {
    fn new(fault: Fault, mut times: Vec<f64>, counted: judge::Counted, moved: usize) -> Self {
        times.sort_by(f64::total_cmp);
        Self {
            fault,
            n: times.len(),
            p50_ms: judge::percentile(&times, 50),
            p99_ms: judge::percentile(&times, 99),
            max_ms: judge::percentile(&times, 100),
            lost: counted.lost,
            repeated: counted.repeated,
            stale: counted.stale,
            moved,
        }
    }

    /// What is wrong, one sentence each.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let bound = self.fault.bound_ms();
        // Without any time there is no number.
        if self.p99_ms.is_nan() || self.p99_ms > bound {
            faults.push(format!("p99 is over the bound of {bound:.0} ms"));
        }
        for (count, what) in [
            (self.lost, "lost"),
            (self.stale, "out of order or done twice"),
            (self.moved, "moves without a cause"),
        ] {
            if count > 0 {
                faults.push(format!("{count} {what}"));
            }
        }
        faults
    }

    fn say(&self) {
        let name = self.fault.to_possible_value();
        let name = name.map_or_else(String::new, |value| value.get_name().to_owned());
        say(&format!(
            "{name}, {} times, {}: {:.0} ms in the middle, {:.0} ms at p99 (bound {:.0} ms), {:.0} ms at most; {} \
             lost, {} repeated, {} stale",
            self.n,
            self.fault.timed(),
            self.p50_ms,
            self.p99_ms,
            self.fault.bound_ms(),
            self.max_ms,
            self.lost,
            self.repeated,
            self.stale
        ));
        for fault in self.faults() {
            say(&format!("FAILED: {name}: {fault}"));
        }
    }
}

/// What faults happen to.
enum Site {
    Line(Line),
    Web(Web),
}

impl Site {
    async fn start(fault: Fault, rate: u32) -> Self {
        match fault {
            Fault::ReleaseStateless => Self::Web(Web::start(rate).await),
            // Elsewhere a proxy would only cost time.
            Fault::PartitionStore => Self::Line(Line::start(rate, true).await),
            _ => Self::Line(Line::start(rate, false).await),
        }
    }

    fn serves(&self, fault: Fault) -> bool {
        match (self, fault) {
            (Self::Web(_), fault) => fault == Fault::ReleaseStateless,
            (Self::Line(_), Fault::ReleaseStateless) => false,
            (Self::Line(line), fault) => line.has_proxies() == (fault == Fault::PartitionStore),
        }
    }

    async fn measure(&mut self, fault: Fault, injections: u32) -> anyhow::Result<Row> {
        match self {
            Self::Line(line) => line.measure(fault, injections).await,
            Self::Web(web) => web.measure(injections).await,
        }
    }
}

/// Measures and prints. `false`: a bound is missed, or something was lost, out of order or moved for nothing.
pub(crate) async fn run(options: Options) -> anyhow::Result<bool> {
    programs::build()?;
    let faults = if options.faults.is_empty() {
        Fault::value_variants().to_vec()
    } else {
        options.faults
    };
    let mut site: Option<Site> = None;
    let mut rows = Vec::new();
    for fault in faults {
        let served = site.take().filter(|site| site.serves(fault));
        let mut now = match served {
            Some(site) => site,
            None => Site::start(fault, options.rate).await,
        };
        let row = now.measure(fault, options.injections).await?;
        row.say();
        rows.push(row);
        site = Some(now);
    }
    let good = rows.iter().all(|row| row.faults().is_empty());
    let report = Report { faults: rows };
    say(&serde_json::to_string(&report)?);
    Ok(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fault: Fault, times: &[f64]) -> Row {
        Row::new(fault, times.to_vec(), judge::Counted::default(), 0)
    }

    #[test]
    fn every_miss_and_every_loss_is_a_fault() {
        assert!(row(Fault::KillHost, &[300.0, 1.0]).faults().is_empty());
        for bad in [
            row(Fault::KillHost, &[300.1, 1.0]),
            row(Fault::KillHost, &[]),
            Row {
                lost: 1,
                ..row(Fault::Drain, &[1.0])
            },
            Row {
                stale: 1,
                ..row(Fault::Drain, &[1.0])
            },
            Row {
                moved: 1,
                ..row(Fault::StoreRestart, &[1.0])
            },
        ] {
            assert_eq!(bad.faults().len(), 1, "{bad:?}");
        }
        let repeated = Row {
            repeated: 3,
            ..row(Fault::NodeLoss, &[3500.0])
        };
        assert!(repeated.faults().is_empty(), "they are listed in doubt");
    }

    #[test]
    fn a_report_names_faults_as_the_command_line_does() {
        for fault in Fault::value_variants() {
            let name = fault.to_possible_value().expect("none is hidden");
            let told = serde_json::to_value(row(*fault, &[1.0])).expect("JSON");
            assert_eq!(told["fault"], name.get_name());
            assert_eq!(told.as_object().map(serde_json::Map::len), Some(8));
        }
    }
}
