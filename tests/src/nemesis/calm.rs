//! Troubles that nobody may be taken for dead because of, and a machine that does not know that it was paused.

use std::{fmt, path::Path, time::Duration};

use quayside_harness::{
    Cut, Process, Stopwatch, Way, lasts,
    network::machine,
    process::{command, cpu_seconds},
    signal_all,
};
use rustix::process::Signal;
use serde::Deserialize;

use super::arena::{Arena, HOST, NODES};
use crate::DATABASE;

/// How long each stall of the store lasts.
const STALL: Duration = Duration::from_secs(2);

/// How many of a hundred packets between the nodes and the store are lost, in each direction.
const LOST: u8 = 20;

/// So many messages are put in after a paused process goes on and before its agent does.
const LATE: usize = 100;

/// A trouble of the whole site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// The store answers nothing for 2 s, again and again.
    Stalls,
    /// As many processes as there are processors do nothing but use them.
    Busy,
    /// One packet of five between nodes and store is lost, in each direction.
    Loss,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Stalls, Self::Busy, Self::Loss];
}

/// What came of a trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lived {
    /// Which one it was.
    pub trouble: Trouble,
    /// How long it lasted.
    pub lasted: Duration,
    /// How often the host got another owner.
    pub taken: i64,
    /// The nodes whose sessions were ended by others, each time.
    pub expired: Vec<String>,
    /// What it did, in words.
    pub detail: String,
}

impl fmt::Display for Lived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trouble,
            lasted,
            taken,
            expired,
            detail,
        } = self;
        let seconds = lasted.as_secs();
        let (count, nodes) = (expired.len(), expired.join(" "));
        write!(
            f,
            "{trouble:?} for {seconds} s ({detail}): {taken} takes, {count} sessions ended {nodes}"
        )
    }
}

impl Arena {
    /// Lives through `trouble` for about `time`, under load.
    pub async fn live_through(&mut self, trouble: Trouble, time: Duration) -> Lived {
        let before = self.settled().await;
        let expired = self.expired().await.len();
        self.works().await;
        let watch = Stopwatch::start();
        let detail = match trouble {
            Trouble::Stalls => self.stall(time).await,
            Trouble::Busy => busy(time).await,
            Trouble::Loss => self.lose(time).await,
        };
        let lasted = watch.elapsed();
        self.works().await;
        let after = self.settled().await;
        Lived {
            trouble,
            lasted,
            taken: after.epoch - before.epoch,
            expired: self.expired().await.split_off(expired),
            detail,
        }
    }

    async fn stall(&mut self, time: Duration) -> String {
        let watch = Stopwatch::start();
        let mut stalls = 0;
        while watch.elapsed() < time {
            self.store().pause();
            lasts(STALL).await;
            self.store().resume();
            stalls += 1;
            self.works().await;
        }
        format!("{stalls} stalls")
    }

    async fn lose(&mut self, time: Duration) -> String {
        let port = self.store_port();
        for no in 0..NODES {
            self.network.cut(Cut {
                machine: machine(no),
                port,
                way: Way::Both,
                share: LOST,
            });
        }
        lasts(time).await;
        self.network.heal();
        format!("{LOST} % of all packets, each way")
    }

    /// The nodes whose sessions others have ended, one for each time, in that order.
    async fn expired(&self) -> Vec<String> {
        let session = self.store().connect(DATABASE).await;
        let query = "SELECT node FROM session WHERE expired_at IS NOT NULL ORDER BY expired_at";
        let rows = session.query(query, &[]).await;
        let rows = rows.unwrap_or_else(|e| panic!("{query}: {e}"));
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Pauses the owner's node until another one has the host and works. Then its process goes on before its agent
    /// does, and does what it was about to do.
    pub async fn pause_unknowing(&mut self) {
        let owner = self.settled().await;
        self.works().await;
        let gateway = &self.site.gateways[owner.node];
        let process = gateway.process_of(HOST).expect("a process of the host");
        let family = gateway.family();
        signal_all(&family, Signal::STOP);
        self.another_owner(&"a pause of its node", &owner).await;
        self.works().await;
        signal_all(&[process], Signal::CONT);
        self.more(LATE).await;
        signal_all(&family, Signal::CONT);
        self.works().await;
    }
}

async fn busy(time: Duration) -> String {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let burners: Vec<_> = (0..cores)
        .map(|no| {
            let mut shell = command(Path::new("/bin/sh"));
            shell.args(["-c", "while :; do :; done"]);
            Process::spawn(&format!("burner{no}"), shell, dir.path())
        })
        .collect();
    lasts(time).await;
    let used: f64 = burners.iter().map(|burner| cpu_seconds(burner.pid())).sum();
    let of = time.as_secs_f64() * f64::from(u32::try_from(cores).unwrap_or(u32::MAX));
    format!(
        "{cores} processes that took {:.0} % of all processors",
        100.0 * used / of
    )
}
