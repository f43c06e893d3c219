//! P8 while the database fails: a clustered host stays where it is, or is taken over, but never because the database
//! was silent, and nobody writes to a primary whose place another one has taken.
//!
//! Two nodes with agents work on a primary with a standby, named in one address. Under load the primary stalls, its
//! backends are ended, its standby freezes, it is killed and the standby promoted, and it comes back taking writes.
//! Then the owner is paused in the middle of a transaction. A producer and a consumer that are not ours judge.

use std::{net::SocketAddr, time::Duration};

use quayside_harness::{
    App, FakeClock, Node, Partner, Postgres, Stopwatch, lasts, program, signal_all, wait_for,
};
use quayside_tests::{
    Site,
    cluster::{Cluster, PATIENCE, becomes_active, settled},
    note,
    site::DATABASE,
};
use rustix::process::Signal;
use serde_json::json;

/// Budgets are for nodes that are sick, and not for a test.
const GROUP: &str = r#"
[quarantine]
lost = "100 per 1h"

[host.edge]
members = ["node-a", "node-b"]
clustered = { restarts = "100 per 15m", moves = "100 per 1h" }
"#;

/// The clustered host.
const HOST: &str = "edge";

/// How long the database stalls: less than the trust of an owner, which ends after 2.5 s.
const STALL: Duration = Duration::from_secs(2);

/// How often all backends are ended.
const STORMS: usize = 5;

/// So many renewals after a clock was stepped every observer would have lost its patience.
const RENEWALS: i64 = 8;

/// Who owns the host, by the database itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owner {
    node: String,
    instance: String,
    epoch: i64,
}

impl Owner {
    /// The history of the database under which it was taken.
    fn timeline(&self) -> i64 {
        self.epoch >> 40
    }
}

async fn owner(server: &Postgres) -> Result<Owner, String> {
    let client = server.connect(DATABASE).await;
    let owner = "SELECT i.node, i.id::text, f.epoch FROM fence f
                 JOIN instance i ON i.id = f.instance JOIN session s ON s.id = i.session
                 WHERE f.grp = 'host.edge' AND i.state = 0 AND s.live";
    let row = client.query_opt(owner, &[]).await;
    let row = row.map_err(|e| e.to_string())?.ok_or("nobody owns it")?;
    Ok(Owner {
        node: row.get(0),
        instance: row.get(1),
        epoch: row.get(2),
    })
}

fn server(site: &Site) -> &Postgres {
    site.server.as_ref().expect("a server")
}

async fn moves(site: &Site) -> i64 {
    site.number("SELECT count(*) FROM cluster_move").await
}

/// The primary stalls, its backends are ended, its standby freezes: nothing changes.
async fn nothing_changes(cluster: &mut Cluster, standby: &Postgres) {
    let before = owner(server(&cluster.site)).await.expect("an owner");
    server(&cluster.site).pause();
    lasts(STALL).await;
    server(&cluster.site).resume();
    cluster.works().await;
    let after = owner(server(&cluster.site)).await;
    assert_eq!(after.as_ref(), Ok(&before), "a stall");
    for _ in 0..STORMS {
        let client = server(&cluster.site).connect(DATABASE).await;
        let storm = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                     WHERE application_name LIKE 'q%'";
        let ended = client.query_one(storm, &[]).await.expect("a storm");
        assert!(ended.get::<_, i64>(0) > 0, "nobody was connected");
        cluster.works().await;
    }
    let after = owner(server(&cluster.site)).await;
    assert_eq!(after.as_ref(), Ok(&before), "storms");
    standby.pause();
    lasts(STALL).await;
    standby.resume();
    cluster.works().await;
    let after = owner(server(&cluster.site)).await;
    assert_eq!(after.as_ref(), Ok(&before), "a frozen standby");
    assert_eq!(moves(&cluster.site).await, 0);
}

/// The primary is killed and the standby promoted. The old primary.
async fn fail_over(cluster: &mut Cluster, standby: Postgres) -> Postgres {
    let before = owner(server(&cluster.site)).await.expect("an owner");
    let mut old = cluster.site.server.take().expect("a server");
    old.kill9().await;
    standby.promote().await;
    let watch = Stopwatch::start();
    cluster.site.server = Some(standby);
    let new = server(&cluster.site);
    let after = wait_for(
        "the host to be owned under the new history",
        PATIENCE,
        async || {
            let now = owner(new).await?;
            if now.timeline() > before.timeline() {
                Ok(now)
            } else {
                Err(format!("{now:?}"))
            }
        },
    )
    .await;
    let owned_ms = watch.elapsed().as_millis();
    cluster.works().await;
    note(&format!(
        "promoted: owned after {owned_ms} ms, went on within {} ms",
        watch.elapsed().as_millis()
    ));
    assert_eq!(after.node, before.node, "it stays where it was");
    assert!(after.epoch > before.epoch, "{after:?} after {before:?}");
    assert_eq!(moves(&cluster.site).await, 0);
    old
}

/// What would have changed if anybody had written to it.
async fn traces(server: &Postgres) -> (i64, i64, i64) {
    let client = server.connect(DATABASE).await;
    let all = "SELECT (SELECT count(*) FROM message), (SELECT sum(seq)::bigint FROM session),
                      (SELECT sum(epoch)::bigint FROM fence)";
    let row = client.query_one(all, &[]).await.expect("traces");
    (row.get(0), row.get(1), row.get(2))
}

/// The old primary takes writes again, while the new one says nothing: nobody writes to the old one.
async fn old_primary_comes_back(cluster: &mut Cluster, mut old: Postgres) {
    old.start_alone().await;
    let (before, untouched) = (owner(server(&cluster.site)).await, traces(&old).await);
    server(&cluster.site).pause();
    let gateways = &cluster.site.gateways;
    wait_for("both nodes to tell of it", PATIENCE, async || {
        let told = |no: usize| gateways[no].process.stderr().contains("QS1009");
        match (told(0), told(1)) {
            (true, true) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    server(&cluster.site).resume();
    cluster.works().await;
    assert_eq!(traces(&old).await, untouched, "somebody has written to it");
    let node = |owner: Result<Owner, String>| owner.expect("an owner").node;
    let after = owner(server(&cluster.site)).await;
    assert_eq!(node(after), node(before));
    assert_eq!(moves(&cluster.site).await, 0);
}

/// Gives node 0 other fail points and starts it again.
async fn restart_with(cluster: &mut Cluster, fail_points: &str) {
    let node = cluster.site.nodes.remove(0);
    let node = node.with_env("QUAYSIDE_FAIL_POINTS", fail_points);
    cluster.site.nodes.insert(0, node);
    cluster.site.restart(0).await;
    settled(&cluster.site).await;
}

/// The backends that the owner has left within a transaction, at least one: its commits go side by side.
async fn open_transactions(server: &Postgres, owner: &Owner) -> Result<Vec<i32>, String> {
    let client = server.connect(DATABASE).await;
    let open = "SELECT pid FROM pg_stat_activity
                WHERE application_name = $1 AND state = 'idle in transaction'";
    let name = format!("qs:{}", owner.instance);
    let rows = client.query(open, &[&name]).await;
    let open: Vec<i32> = rows
        .map_err(|e| e.to_string())?
        .iter()
        .map(|row| row.get(0))
        .collect();
    if open.is_empty() {
        return Err(format!("none of {owner:?}"));
    }
    Ok(open)
}

/// The owner's node is paused while a transaction of its process is open, which the database would leave open for
/// ever: the other node ends that, and takes over.
async fn paused_in_a_transaction(cluster: &mut Cluster) {
    let code = cluster.site.gateways[0].stop(PATIENCE).await;
    assert_eq!(code, Some(0), "a stop is clean");
    restart_with(cluster, "hold-in-transaction@1,no-idle-limit").await;
    let path = format!("cluster/hosts/{HOST}/move");
    let moved = cluster.site.gateways[1]
        .post(&path, &json!({ "to": "node-a" }))
        .await;
    moved.expect("the order is taken");
    let server = server(&cluster.site);
    let gateways = &cluster.site.gateways;
    let (held, backends) = wait_for(
        "the owner to be paused in a transaction",
        PATIENCE,
        async || {
            let held = owner(server).await?;
            if held.node != "node-a" {
                return Err(format!("{held:?}"));
            }
            open_transactions(server, &held).await?;
            let family = gateways[0].family();
            signal_all(&family, Signal::STOP);
            // It may have given that transaction up just before.
            let open = open_transactions(server, &held).await;
            if open.is_err() {
                signal_all(&family, Signal::CONT);
            }
            Ok((held.clone(), open?))
        },
    )
    .await;
    let watch = Stopwatch::start();
    let taken = wait_for(
        "the other node to take over",
        PATIENCE,
        async || match owner(server).await? {
            now if now.node == "node-b" => Ok(now),
            now => Err(format!("{now:?}")),
        },
    )
    .await;
    note(&format!(
        "paused within a transaction: taken over after {} ms",
        watch.elapsed().as_millis()
    ));
    assert!(taken.epoch > held.epoch, "{taken:?} after {held:?}");
    let client = server.connect(DATABASE).await;
    let left = client
        .query(
            "SELECT FROM pg_stat_activity WHERE pid = ANY($1)",
            &[&backends],
        )
        .await;
    assert_eq!(left.expect("activity").len(), 0, "its backends were ended");
    let told = gateways[1].process.stderr();
    assert!(told.contains("had open at the store"), "{told}");
    cluster.site.gateways[0].kill9();
    restart_with(cluster, "").await;
    cluster.works().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_outlives_whatever_happens_to_its_database() {
    let first = Postgres::start().await;
    let second = first.standby("second").await;
    first.wait_for_one_of(&["second"]).await;
    let url = Postgres::url_of(&[&first, &second], DATABASE);
    let made = |node: Node| node.with_store(&url).with_agent();
    let mut cluster = Cluster::start_on(first, GROUP, &made).await;
    settled(&cluster.site).await;
    cluster.works().await;
    nothing_changes(&mut cluster, &second).await;
    let old = fail_over(&mut cluster, second).await;
    old_primary_comes_back(&mut cluster, old).await;
    paused_in_a_transaction(&mut cluster).await;
    cluster.judge().await;
}

/// What each session was renewed, once all of them were renewed often since `before`.
async fn renewed_often(site: &Site, before: i64) {
    wait_for("many renewals", PATIENCE, async || {
        let slowest = "SELECT min(seq) FROM session WHERE live AND agent";
        let now = site.number(slowest).await;
        if now >= before + RENEWALS {
            Ok(())
        } else {
            Err(format!("{before}, then {now}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_steps_moves_nothing() {
    let (clock, of_node) = (FakeClock::new(), FakeClock::new());
    let app = |partner: SocketAddr| quayside_harness::pass_through(partner, "", "");
    let made = |node: Node| {
        let node = node.with_group(GROUP).with_agent();
        if node.name() != "node-a" {
            return node;
        }
        let node = node.with_binary(&of_node.outside(&program("quayside")));
        let env = of_node.env();
        env.iter()
            .fold(node, |node, (name, value)| node.with_env(name, value))
    };
    let mut site = Site::of(Some(Postgres::start_by(&clock).await), 2, &app, &made).await;
    let active = settled(&site).await;
    let before = owner(server(&site)).await.expect("an owner");
    for (clock, step) in [
        (&clock, 3600),
        (&clock, -3600),
        (&of_node, 3600),
        (&of_node, -3600),
        (&clock, 0),
        (&clock, -3600),
    ] {
        let seq = site
            .number("SELECT max(seq) FROM session WHERE live AND agent")
            .await;
        clock.step_to(step);
        renewed_often(&site, seq).await;
        assert_eq!(owner(server(&site)).await.as_ref(), Ok(&before), "{step}");
    }
    assert_eq!(moves(&site).await, 0);
    // What is silent is taken over whatever the clocks say.
    site.gateways[active].kill9();
    becomes_active(&site, 1 - active).await;
    let after = owner(server(&site)).await.expect("an owner");
    assert!(
        after.epoch > before.epoch && after.node != before.node,
        "{after:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn standbys_that_no_commit_waits_for_are_refused_unless_loss_is_allowed() {
    let mut first = Postgres::start().await;
    first.create_database(DATABASE).await;
    let second = first.standby("second").await;
    let partner = Partner::start().await;
    let app = App::pass_through(partner.addr(), "", "");
    let url = Postgres::url_of(&[&first, &second], DATABASE);
    let made = |name: &str| {
        let node = Node::new(name, app.path()).with_store(&url);
        node.with_group(GROUP).with_agent()
    };
    let node = made("node-a");
    let mut refused = node.spawn();
    let exit = refused.process.wait_exit(PATIENCE).await;
    let told = refused.process.stderr();
    assert_eq!(exit.code(), Some(10), "{told}");
    for said in ["QS1011", "(second)", "allow_loss = true"] {
        assert!(told.contains(said), "{said}: {told}");
    }
    let nodes =
        ["node-a", "node-b"].map(|name| made(name).with_config("[cluster]\nallow_loss = true\n"));
    let gateways = [nodes[0].start().await, nodes[1].start().await];
    let is_owned = async |server: &Postgres, after: i64| {
        wait_for("the host to be owned", PATIENCE, async || {
            match owner(server).await? {
                now if now.epoch > after => Ok(now),
                now => Err(format!("{now:?}")),
            }
        })
        .await
    };
    let before = is_owned(&first, 0).await;
    // Whatever is taken from now on, the standby does not know it.
    second.follow_nobody().await;
    let no = usize::from(before.node == "node-b");
    let process = gateways[no].process_of(HOST).expect("the owner runs");
    signal_all(&[process], Signal::KILL);
    let lost = is_owned(&first, before.epoch).await;
    first.kill9().await;
    second.promote().await;
    let after = is_owned(&second, lost.epoch).await;
    assert!(
        after.timeline() > lost.timeline(),
        "{after:?} after {lost:?}"
    );
    note(&format!("{before:?}, forgotten {lost:?}, then {after:?}"));
}
