//! The store goes away and comes back: every request is answered, nothing accepted is lost, and work
//! goes on at once without a restart of the gateway.

use std::{fs, path::Path, process::Command, time::Duration};

use bytes::Bytes;
use quayside_harness::{
    App, Gateway, Load, LoadPlan, LoadReport, Node, OnBreak, Partner, Postgres, client, lasts,
    pass_through, unix_micros, wait_for,
};
use quayside_tests::{Site, Store, Verdict, judge};
use tempfile::TempDir;

/// How long the store stays away.
const OUTAGE: Duration = Duration::from_secs(30);

/// Within this every request is answered, whatever the store does.
const ANSWER: Duration = Duration::from_secs(2);

/// From the return of the store to the first delivery, and to the usual rate.
const FIRST: u64 = 1_000_000;
const USUAL: u64 = 2_000_000;

/// A space of time that the rates of before and after are counted over, in microseconds.
const SPACE: u64 = 3_000_000;

struct Outage {
    site: Site,
    load: Load,
    pid: u32,
    began: u64,
}

impl Outage {
    /// A site under load, at its usual rate.
    async fn prepare() -> Self {
        let site = Site::with(Store::Postgres, 1, "", "").await;
        let mut plan = LoadPlan::new(&site.servers(), "/in/orders", 16);
        plan.on_break = OnBreak::Abandon;
        plan.patience = Duration::from_secs(10);
        let load = Load::start(plan);
        load.wait_accepted(1000, Duration::from_secs(60)).await;
        lasts(Duration::from_micros(SPACE)).await;
        let pid = site.gateway().process.pid();
        Self {
            site,
            load,
            pid,
            began: unix_micros(),
        }
    }

    /// Judges the whole run; `back` is the moment at which the store was there again.
    async fn judge(self, back: u64) {
        lasts(Duration::from_micros(USUAL + SPACE)).await;
        let report = self.load.finish().await;
        let gateway = self.site.gateway();
        assert_eq!(
            gateway.process.pid(),
            self.pid,
            "the gateway was not restarted"
        );
        gateway.drained(Duration::from_secs(60)).await;
        let log = self.site.partner.log().await;
        let verdict = judge(&report, &log);
        assert!(verdict.exactly_once(), "{verdict}");
        all_answered(&report, &verdict);

        let effects = || log.iter().filter(|s| s.effect).map(|s| s.at_us);
        let first = effects()
            .filter(|at| *at > back)
            .min()
            .expect("a delivery after the outage");
        assert!(
            first - back <= FIRST,
            "first delivery after {} ms",
            (first - back) / 1000
        );
        let count = |from: u64| {
            effects()
                .filter(|at| (from..from + SPACE).contains(at))
                .count()
        };
        let (before, after) = (count(self.began - SPACE), count(back + USUAL));
        // Half, because two short spaces of a shared machine differ by themselves.
        assert!(
            after * 2 >= before,
            "{before} deliveries before, {after} after, in the same time"
        );
    }
}

/// Every request had an answer in time, and every refusal said when to come back.
fn all_answered(report: &LoadReport, verdict: &Verdict) {
    let mut refused = 0;
    for answer in &report.answers {
        let status = answer
            .outcome
            .as_ref()
            .unwrap_or_else(|e| panic!("{}: {e}", answer.id));
        assert!(answer.took <= ANSWER, "{answer:?}");
        if status.code != 202 {
            refused += 1;
            assert!(status.code == 503 && status.retry_after, "{answer:?}");
        }
    }
    assert!(refused > 0, "the outage was not noticed: {verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_stopped_like_in_a_crash_for_half_a_minute() {
    let mut outage = Outage::prepare().await;
    outage
        .site
        .server
        .as_mut()
        .expect("a server")
        .stop_immediate()
        .await;
    lasts(OUTAGE).await;
    outage
        .site
        .server
        .as_mut()
        .expect("a server")
        .start_again()
        .await;
    outage.judge(unix_micros()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_paused_for_half_a_minute() {
    let outage = Outage::prepare().await;
    let server = outage.site.server.as_ref().expect("a server");
    server.pause();
    lasts(OUTAGE).await;
    server.resume();
    outage.judge(unix_micros()).await;
}

/// A small disk of its own, gone when dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new(mib: usize) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut mount = Command::new("mount");
        mount.args([
            "-t",
            "tmpfs",
            "-o",
            &format!("size={mib}m,mode=0755"),
            "tmpfs",
        ]);
        let done = mount.arg(dir.path()).status().expect("starting mount");
        assert!(done.success(), "mounting a small disk needs root");
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the space that is left.
    fn fill(&self) {
        let block = vec![0; 1 << 16];
        let mut ballast = fs::File::create(self.path().join("ballast")).expect("a ballast file");
        while std::io::Write::write_all(&mut ballast, &block).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.path().join("ballast")).expect("removing the ballast");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that still holds a file of it must not keep the mount in the tree.
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
        assert!(
            unmounted.is_ok_and(|s| s.success()) || std::thread::panicking(),
            "umount"
        );
    }
}

/// Waits until `/readyz` answers `status` on both listeners, so that a load balancer knows.
async fn readiness(gateway: &Gateway, status: u16) {
    let what = format!("/readyz to answer {status}");
    wait_for(&what, Duration::from_secs(20), async || {
        for addr in [gateway.http, gateway.admin] {
            let get = client::request("GET", addr, "/readyz", &[], Bytes::new());
            let reply = client::once(addr, get, Duration::from_secs(2)).await;
            let reply = reply.map_err(|e| e.to_string())?;
            if reply.status != status {
                return Err(format!("{} {}", reply.status, reply.text()));
            }
        }
        Ok(())
    })
    .await;
}

/// Load, a full disk, free space: refused meanwhile and not ready, accepted again after it, and nothing lost.
async fn full_disk(disk: &SmallDisk, partner: &Partner, node: &Node) {
    let gateway = &node.start().await;
    let mut plan = LoadPlan::new(&[gateway.http], "/in/orders", 8);
    plan.on_break = OnBreak::Abandon;
    plan.size = 2048;
    plan.patience = Duration::from_secs(10);
    let load = Load::start(plan);
    load.wait_accepted(200, Duration::from_secs(60)).await;
    disk.fill();
    load.wait_refused(100, Duration::from_secs(120)).await;
    readiness(gateway, 503).await;
    disk.free();
    load.wait_accepted(200, Duration::from_secs(30)).await;
    readiness(gateway, 200).await;
    let report = load.finish().await;
    gateway.drained(Duration::from_secs(60)).await;
    let verdict = judge(&report, &partner.log().await);
    assert!(verdict.exactly_once(), "{verdict}");
    all_answered(&report, &verdict);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_of_sqlite_is_full_for_a_while() {
    let disk = SmallDisk::new(96);
    let partner = Partner::start().await;
    let app = App::new(&pass_through(partner.addr(), "", ""));
    let node = Node::new("node-a", app.path()).with_data(&disk.path().join("data"));
    full_disk(&disk, &partner, &node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_of_postgres_is_full_for_a_while() {
    let disk = SmallDisk::new(192);
    let partner = Partner::start().await;
    let app = App::new(&pass_through(partner.addr(), "", ""));
    let server = Postgres::start_in(tempfile::tempdir_in(disk.path()).expect("a folder")).await;
    let url = server.create_database("quayside").await;
    let node = Node::new("node-a", app.path()).with_store(&url);
    full_disk(&disk, &partner, &node).await;
}
