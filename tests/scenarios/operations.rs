//! `docs/operations.md` is true: the metrics and exit codes that it names are those of the program, and its
//! commands do what it says. Its `haproxy.cfg` is what `p11_stopping` runs.

use std::{
    cell::RefCell, collections::BTreeSet, env, net::TcpListener, process::Command, time::Duration,
};

use bytes::Bytes;
use quayside_harness::{
    Gateway, Node, Postgres, client, guide_block, operations_guide, pass_through, program, wait_for,
};
use quayside_tests::{DATABASE, Site, Store};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);

/// The words of `text` that begin with `prefix`.
fn words(text: &str, prefix: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with(prefix))
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_that_the_guide_names_is_measured() {
    let site = Site::start(Store::Sqlite).await;
    assert_eq!(site.order("one").await.status, 202);
    site.gateway().drained(SOON).await;
    let metrics = site.gateway().metrics().await.expect("metrics");
    let measured = metrics.names();
    let named = words(&operations_guide(), "quayside_");
    assert!(named.len() > 5, "the guide names metrics: {named:?}");
    let unknown: Vec<_> = named.difference(&measured).collect();
    assert!(
        unknown.is_empty(),
        "not in /metrics: {unknown:?}; there are {measured:?}"
    );
    let commits = "name=\"commit batch\",end=\"done\"";
    assert!(operations_guide().contains(commits));
    assert!(metrics.sum("quayside_store_transactions_total", commits) >= 1.0);
}

/// Numbers that stand before their meaning: `0 done, 1 failed`.
fn exit_codes_of_the_program() -> BTreeSet<u8> {
    let help = Command::new(program("quayside")).arg("--help").output();
    let help = String::from_utf8(help.expect("running it").stdout).expect("text");
    let (_, codes) = help.split_once("Exit codes:").expect("it tells them");
    codes
        .split(',')
        .filter_map(|part| part.split_whitespace().next()?.parse().ok())
        .collect()
}

#[test]
fn the_exit_codes_of_the_guide_are_those_of_the_program() {
    let guide = operations_guide();
    let (_, table) = guide.split_once("## Exit codes").expect("the section");
    let (table, _) = table.split_once("\n## ").expect("a section behind it");
    let told: BTreeSet<u8> = table
        .lines()
        .filter_map(|row| row.strip_prefix("| ")?.split(' ').next()?.parse().ok())
        .collect();
    assert_eq!(told, exit_codes_of_the_program());

    let unit = guide_block("# /etc/systemd/system/quayside.service");
    let (_, stays_down) = unit
        .split_once("RestartPreventExitStatus=")
        .expect("a rule");
    let stays_down = stays_down.lines().next().expect("its line");
    for code in stays_down.split_whitespace() {
        let code = code.parse().expect("a code");
        assert!(told.contains(&code), "{code} is no exit code: {told:?}");
    }
}

/// Runs commands of the guide as they stand there, with this database and node in the place of the example's.
fn run(commands: &str, server: &Postgres, node: &Node) {
    let example = "postgres://quayside@db.example/quayside?sslmode=verify-full";
    assert!(commands.contains(example), "{commands}");
    let commands = commands.replace(example, &server.url(DATABASE));
    let commands = commands.replace(
        "/etc/quayside/node.toml",
        &node.file().display().to_string(),
    );
    let folder = server.data_dir().parent().expect("a folder of its own");
    let path = env::var("PATH").unwrap_or_default();
    let quayside = program("quayside");
    let beside = quayside.parent().expect("the folder of the program");
    let (postgres, beside) = (Postgres::bin_dir(), beside.display());
    let out = Command::new("sh")
        .args(["-euc", &commands])
        .current_dir(folder)
        .env("PATH", format!("{}:{beside}:{path}", postgres.display()))
        .output()
        .expect("starting a shell");
    assert!(
        out.status.success(),
        "{commands}\n{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_postgres_comes_back_by_the_commands_of_the_guide() {
    let mut site = Site::start(Store::Postgres).await;
    let stop = site.gateway().post("ports/t.out/stop", &json!({})).await;
    stop.expect("the port stops");
    for id in ["one", "two", "three"] {
        assert_eq!(site.order(id).await.status, 202);
    }
    // While it works, as the guide says.
    let server = site.server.as_ref().expect("a server");
    run(&guide_block("# back up"), server, &site.nodes[0]);
    assert_eq!(site.gateways[0].stop(SOON).await, Some(0));
    let server = site.server.as_ref().expect("a server");
    let session = server.connect("postgres").await;
    let drop = format!("DROP DATABASE \"{DATABASE}\" WITH (FORCE)");
    session.batch_execute(&drop).await.expect("it is lost");
    server.create_database(DATABASE).await;
    run(&guide_block("# restore"), server, &site.nodes[0]);

    site.restart(0).await;
    let start = site.gateway().post("ports/t.out/start", &json!({})).await;
    start.expect("the port starts");
    site.gateway().drained(SOON).await;
    wait_for("the orders of the backup", SOON, async || {
        let counts = site.partner.counts().await;
        let whole = counts["effective_ids"] == 3 && counts["max_effects_per_id"] == 1;
        whole.then_some(()).ok_or_else(|| counts.to_string())
    })
    .await;
    // Its keys came along: what was accepted is not accepted twice.
    assert_eq!(site.order("two").await.status, 202);
    site.gateway().drained(SOON).await;
    let counts = site.partner.counts().await;
    assert_eq!(counts["effects"], 3, "{counts}");
}

/// Each node takes requests, and one of them sends.
const WEB_AND_EDGE: &str = r#"
[host.web]
members = ["node-a", "node-b"]

[host.edge]
members = ["node-a", "node-b"]
clustered = true
"#;

/// What the admin address answers at `path`, whatever its status.
async fn asked(gateway: &Gateway, path: &str) -> Result<(u16, String), String> {
    let get = client::request("GET", gateway.admin, path, &[], Bytes::new());
    let reply = client::once(gateway.admin, get, SOON).await;
    let reply = reply.map_err(|error| error.to_string())?;
    Ok((reply.status.as_u16(), reply.text()))
}

/// Waits until `/readyz` of the node answers `status`, and returns what it says.
async fn readiness(gateway: &Gateway, status: u16) -> String {
    let what = format!("/readyz to answer {status}");
    wait_for(&what, SOON, async || {
        match asked(gateway, "/readyz").await? {
            (now, said) if now == status => Ok(said),
            (now, said) => Err(format!("{now} {said}")),
        }
    })
    .await
}

/// Waits until the alert on what is not ready stands as told for the processes of both hosts.
async fn ready(gateway: &Gateway, web: f64) {
    wait_for("what is ready", SOON, async || {
        let metrics = gateway.metrics().await?;
        let of = |host: &str| metrics.value("quayside_ready", &format!("host=\"{host}\""));
        let now = [of("web"), of("edge")];
        match now == [Some(web), Some(1.0)] {
            true => Ok(()),
            false => Err(format!("{now:?}")),
        }
    })
    .await;
}

/// The admin address of a node under an agent answers for all its processes: it tells which one is not there, takes a
/// standby for what it is, and shows what all of them do.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_under_an_agent_tells_what_its_processes_do() {
    assert!(operations_guide().contains("`quayside_ready == 0` for a minute"));
    // The process of `web` on the second node cannot listen.
    let taken = RefCell::new(None);
    let made = |node: Node| {
        if node.name() == "node-b" {
            *taken.borrow_mut() = Some(TcpListener::bind(node.http()).expect("it is free"));
        }
        node.with_group(WEB_AND_EDGE).with_agent()
    };
    let app = |partner| {
        // The first host of the application is that of its location.
        pass_through(partner, "", "").replacen("host = \"edge\"", "host = \"web\"", 1)
    };
    let site = Site::of(Some(Postgres::start().await), 2, &app, &made).await;
    let [a, b] = &site.gateways[..] else {
        panic!("two nodes");
    };
    let said = readiness(b, 503).await;
    let why = "no process of `web` answers here";
    assert!(said.contains(why), "{said}");
    readiness(a, 200).await;
    ready(a, 1.0).await;
    ready(b, 0.0).await;
    let location = async |gateway: &Gateway| {
        let port = gateway
            .api("ports/t.orders.web")
            .await
            .expect("it is known");
        (port["running"] == true, port["reason"].to_string())
    };
    let (running, reason) = location(b).await;
    assert!(!running && reason.contains(why), "{reason}");
    assert_eq!(location(a).await, (true, "null".to_owned()));

    for id in ["one", "two", "three"] {
        assert_eq!(site.order(id).await.status, 202);
    }
    a.drained(SOON).await;
    let (status, page) = asked(a, "/").await.expect("the page");
    assert_eq!(status, 200);
    for part in [
        "<b class=\"\">3</b>accepted",
        "<td class=\"t\">web</td><td class=\"good\">works</td>",
        "<td class=\"t\">edge</td><td class=\"good\">active</td>",
        "<td class=\"good\">started</td>",
    ] {
        assert!(page.contains(part), "`{part}` is missing:\n{page}");
    }
    let (_, page) = asked(b, "/").await.expect("the page");
    assert!(page.contains(why), "{page}");

    taken.take();
    readiness(b, 200).await;
    ready(b, 1.0).await;
    wait_for("the location to open", SOON, async || {
        match location(b).await {
            (true, reason) if reason == "null" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    finishes(&site).await;
}

/// What the process of a clustered host has in hand is told while it finishes, and another one takes over after it.
async fn finishes(site: &Site) {
    let owner = wait_for("a node that could take over", SOON, async || {
        let told = site.gateway().api("cluster").await?;
        let host = &told["hosts"][0];
        let owner = host["node"].as_str().filter(|_| host["next"].is_string());
        owner.map(str::to_owned).ok_or_else(|| told.to_string())
    })
    .await;
    let no = usize::from(owner == "node-b");
    let slow = json!({ "kind": "slow", "delay_ms": 10_000, "next": 3 });
    site.partner.fault(&slow).await;
    for id in ["four", "five", "six"] {
        assert_eq!(site.order(id).await.status, 202);
    }
    let shows = async |no: usize, running: bool, in_hand: u64, reason: &str| {
        wait_for(&format!("{in_hand} in hand, {reason}"), SOON, async || {
            let port = site.gateways[no].api("ports/t.out").await?;
            let is = port["running"] == running && port["in_flight"] == in_hand;
            let said = port["reason"].as_str().unwrap_or_default();
            match is && said == reason {
                true => Ok(()),
                false => Err(port.to_string()),
            }
        })
        .await;
    };
    shows(no, true, 3, "").await;
    let drain = format!("cluster/nodes/{owner}/drain");
    let drained = site.gateway().post(&drain, &json!({})).await;
    drained.expect("the order is taken");
    shows(no, false, 3, "the process of `edge` is not ready: stopping").await;
    shows(1 - no, true, 0, "").await;
    assert_eq!(site.partner.log().await.len(), 6, "each once");
}
