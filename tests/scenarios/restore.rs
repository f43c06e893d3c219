//! A backup of an earlier time comes back in another database server, after the one that it is of is lost: what was sent
//! since the backup has no second effect, what may have been is an exact list, and no epoch is granted twice.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use quayside_harness::{Node, Postgres, Seen, items, order_xml, pass_through, program, wait_for};
use quayside_tests::{
    DATABASE, Site,
    cluster::{GROUP, PATIENCE, settled},
    note, post,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a gateway may take to stop.
const STOP: Duration = Duration::from_secs(30);

/// Orders of each kind.
const ORDERS: usize = 5;

/// Orders go to `/orders`, whose partner knows keys, and to `/held`, whose partner has to be asked.
fn app(partner: SocketAddr) -> String {
    let held = format!(
        "[send.held]\nhost = \"edge\"\nfilter = \"msg.type == 'urn:orders#Order'\"\nin_doubt = \"hold\"\n\
         retry = {{ attempts = 1000, first = \"50ms\", factor = 1.5, max = \"1s\" }}\n\
         [send.held.primary.http]\nurl = \"http://{partner}/held\"\n"
    );
    pass_through(partner, "", &held)
}

/// Runs a program of PostgreSQL.
fn tool(name: &str, args: &[&str]) {
    let program = Postgres::bin_dir().join(name);
    let done = Command::new(&program).args(args).output();
    let done = done.unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{name} {args:?}: {said}");
}

/// A new server with what the backup holds.
async fn restored(backup: &Path) -> Postgres {
    let server = Postgres::start().await;
    let url = server.create_database(DATABASE).await;
    let backup = backup.display().to_string();
    let all = [
        "--exit-on-error",
        "--single-transaction",
        "--no-owner",
        "--dbname",
    ];
    tool("pg_restore", &[&all[..], &[&url, &backup]].concat());
    server
}

/// `quayside store restored`, for the store of the node with this file.
fn release(node: &Path) -> Output {
    let mut release = Command::new(program("quayside"));
    release
        .args(["store", "restored", "-o", "json", "--node"])
        .arg(node);
    release.output().expect("the program runs")
}

/// The store of that node is released: how many deliveries are in doubt, and from which epoch on owners count.
fn released(node: &Path) -> (u64, i64) {
    let out = release(node);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    let told: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let epoch = told["epoch"]
        .as_str()
        .and_then(|epoch| epoch.split_once('.'));
    let (timeline, number) = epoch.unwrap_or_else(|| panic!("{told}"));
    let part = |text: &str| text.parse::<i64>().expect("a number");
    let doubts = told["in_doubt"].as_u64().expect("a count");
    (doubts, (part(timeline) << 40) | part(number))
}

/// An epoch as people read it.
fn told(epoch: i64) -> String {
    format!("{}.{}", epoch >> 40, epoch & ((1 << 40) - 1))
}

async fn epoch(site: &Site) -> i64 {
    site.number("SELECT max(epoch) FROM fence").await
}

/// Posts orders to the active node: their ids.
async fn orders(site: &Site, active: usize, kind: &str) -> Vec<String> {
    let ids: Vec<_> = (0..ORDERS).map(|no| format!("{kind}-{no}")).collect();
    for id in &ids {
        let reply = post(site.gateways[active].http, id, order_xml(id, "k", 300)).await;
        assert_eq!(reply.expect("an answer").status, 202, "{id}");
    }
    ids
}

/// The requests for `ids` at `path`, in the order of arrival.
fn requests<'a>(log: &'a [Seen], path: &str, ids: &[String]) -> Vec<&'a Seen> {
    let wanted = |seen: &&Seen| seen.path == path && ids.contains(&seen.id);
    log.iter().filter(wanted).collect()
}

/// Waits until each of `ids` had its effect at both paths.
async fn effective(site: &Site, ids: &[String]) {
    wait_for("every order to have its effects", PATIENCE, async || {
        let log = site.partner.log().await;
        let count = |path| {
            requests(&log, path, ids)
                .iter()
                .filter(|seen| seen.effect)
                .count()
        };
        match [count("/orders"), count("/held")] {
            counts if counts == [ids.len(); 2] => Ok(()),
            counts => Err(format!("{counts:?} of {}", ids.len())),
        }
    })
    .await;
}

/// The active node stops, the other one takes over, and it starts again. The epoch rises.
async fn hand_over(site: &mut Site) {
    let (active, before) = (settled(site).await, epoch(site).await);
    assert_eq!(site.gateways[active].stop(STOP).await, Some(0));
    wait_for(
        "the other node to take over",
        PATIENCE,
        async || match epoch(site).await {
            now if now > before => Ok(()),
            now => Err(now.to_string()),
        },
    )
    .await;
    site.restart(active).await;
    settled(site).await;
}

/// The life after what was open has been sent: more comes, the host moves, the database fails over. The highest
/// epoch.
async fn lives_on(site: &mut Site, standby: Postgres) -> i64 {
    hand_over(site).await;
    let active = settled(site).await;
    let late = orders(site, active, "late").await;
    effective(site, &late).await;
    let before = epoch(site).await;
    let mut old = site.server.take().expect("a server");
    old.kill9().await;
    standby.promote().await;
    site.server = Some(standby);
    for _ in 0..2 {
        hand_over(site).await;
    }
    let highest = epoch(site).await;
    assert!(highest >> 40 > before >> 40, "{highest} after {before}");
    highest
}

/// Nobody starts on the copy, with an agent or without.
async fn start_is_refused(site: &Site, url: &str) {
    let agent = Node::new("node-a", site.app.path());
    let agent = agent.with_store(url).with_group(GROUP).with_agent();
    for node in [&site.nodes[0], &agent] {
        let mut refused = node.spawn();
        let exit = refused.process.wait_exit(PATIENCE).await;
        let told = refused.process.stderr();
        assert_eq!(exit.code(), Some(10), "{told}");
        assert!(told.contains("QS0110"), "{told}");
        assert!(told.contains("quayside store restored"), "{told}");
    }
}

/// Of what is in doubt that is left which somebody has to decide about: exactly `open` of the port that holds.
async fn doubts_are(site: &Site, open: &BTreeSet<String>) {
    wait_for(
        "the doubts to be those of the backup",
        PATIENCE,
        async || {
            let told = site.gateway().api("cluster/in-doubt?limit=1000").await?;
            let rows = items(&told["deliveries"]);
            let ids: BTreeSet<_> = rows
                .iter()
                .filter_map(|row| row["id"].as_str().map(str::to_owned))
                .collect();
            let kept = rows.iter().all(|row| {
                row["port"] == "t.held"
                    && row["state"] == "suspended"
                    && row["restored_at"].is_string()
            });
            match kept && ids == *open {
                true => Ok(()),
                false => Err(told.to_string()),
            }
        },
    )
    .await;
}

/// What was sent is sent again under its key alone, and without a second effect.
fn nothing_is_done_twice(log: &[Seen], since: usize, open: &[String]) {
    for id in open {
        let one = std::slice::from_ref(id);
        for path in ["/orders", "/held"] {
            let all = requests(log, path, one);
            let keys: BTreeSet<_> = all.iter().map(|seen| &seen.key).collect();
            assert_eq!(keys.len(), 1, "{id} at {path}: {all:?}");
            assert_eq!(
                all.iter().filter(|seen| seen.effect).count(),
                1,
                "{id} at {path}"
            );
        }
        let later = &log[since..];
        assert!(
            !requests(later, "/orders", one).is_empty(),
            "{id} is sent again"
        );
        assert!(requests(later, "/held", one).is_empty(), "{id} is held");
    }
}

/// What was open when the backup was made.
struct Backup {
    file: PathBuf,
    /// The ids of orders that had been sent, and of those that had not.
    sent: Vec<String>,
    open: Vec<String>,
    /// The deliveries of the latter at the port that holds.
    held: BTreeSet<String>,
    _folder: TempDir,
}

/// Orders are sent, the partner fails, more orders wait, and a backup is made.
async fn back_up(site: &mut Site) -> Backup {
    hand_over(site).await;
    let active = settled(site).await;
    let sent = orders(site, active, "sent").await;
    effective(site, &sent).await;
    site.gateways[active].drained(PATIENCE).await;
    let refuses = json!({ "kind": "status", "status": 503 });
    site.partner.fault(&refuses).await;
    let open = orders(site, active, "open").await;
    let server = site.server.as_ref().expect("a server");
    let session = server.connect(DATABASE).await;
    let held = "SELECT message || '.' || no FROM delivery WHERE port = 't.held'";
    let held = session.query(held, &[]).await.expect("what is open");
    let held: BTreeSet<String> = held.iter().map(|row| row.get(0)).collect();
    assert_eq!(held.len(), ORDERS);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("quayside.dump");
    let to = format!("--file={}", file.display());
    tool("pg_dump", &["--format=custom", &to, &server.url(DATABASE)]);
    Backup {
        file,
        sent,
        open,
        held,
        _folder: folder,
    }
}

/// All stop, the server is lost, and the backup comes back in another one, which is released. The epoch from which
/// owners count there, and how many deliveries are in doubt.
async fn restore(site: &mut Site, backup: &Backup) -> (u64, i64) {
    for gateway in &mut site.gateways {
        assert_eq!(gateway.stop(STOP).await, Some(0));
    }
    site.server = Some(restored(&backup.file).await);
    let url = site.server.as_ref().expect("a server").url(DATABASE);
    let nodes = std::mem::take(&mut site.nodes);
    let moved = nodes.into_iter().map(|node| node.with_store(&url));
    site.nodes = moved.collect();
    start_is_refused(site, &url).await;
    released(&site.nodes[0].file())
}

/// A store that is worked on is not released.
fn release_is_refused(site: &Site) {
    let busy = release(&site.nodes[0].file());
    let said = String::from_utf8_lossy(&busy.stderr);
    assert_eq!(busy.status.code(), Some(1), "{said}");
    assert!(said.contains("QS0729") && said.contains("node-a"), "{said}");
}

/// The operator has asked the partner, which has them all.
async fn decide(site: &Site, held: &BTreeSet<String>) {
    let ids: Vec<_> = held.iter().collect();
    let done = json!({ "ids": ids, "reason": "they have it" });
    let done = site.gateway().post("cluster/in-doubt/done", &done).await;
    done.expect("the verdict is taken");
    doubts_are(site, &BTreeSet::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_backup_in_another_server_repeats_no_effect_and_no_epoch() {
    let first = Postgres::start().await;
    let second = first.standby("second").await;
    first.wait_for_one_of(&["second"]).await;
    let url = Postgres::url_of(&[&first, &second], DATABASE);
    let made = |node: Node| node.with_store(&url).with_group(GROUP);
    let mut site = Site::of(Some(first), 2, &app, &made).await;
    let backup = back_up(&mut site).await;
    site.partner.heal().await;
    effective(&site, &backup.open).await;
    let highest = lives_on(&mut site, second).await;
    let since = site.partner.log().await.len();

    let (in_doubt, least) = restore(&mut site, &backup).await;
    assert_eq!(in_doubt, 2 * ORDERS as u64);
    assert!(least > highest, "{least} after {highest}");
    for no in 0..2 {
        site.restart(no).await;
    }
    let active = settled(&site).await;
    let now = epoch(&site).await;
    assert!(now >= least, "{now} from {least} on");
    note(&format!(
        "{in_doubt} in doubt; epochs up to {}, after the restore {}",
        told(highest),
        told(now)
    ));
    doubts_are(&site, &backup.held).await;
    nothing_is_done_twice(&site.partner.log().await, since, &backup.open);
    let after = orders(&site, active, "after").await;
    effective(&site, &after).await;
    let log = site.partner.log().await;
    let again = requests(&log[since..], "/orders", &backup.sent);
    assert!(again.is_empty(), "it had ended: {again:?}");
    release_is_refused(&site);
    decide(&site, &backup.held).await;

    // The same backup once more, because this server is lost too.
    hand_over(&mut site).await;
    let highest = epoch(&site).await;
    let (_, least) = restore(&mut site, &backup).await;
    assert!(least > highest, "{least} after {highest}");
    note(&format!(
        "epochs up to {}, after the second restore {}",
        told(highest),
        told(least)
    ));
}
