//! `docs/operations.md` is true: the metrics and exit codes that it names are those of the program, and its
//! commands do what it says. Its `haproxy.cfg` is what `p11_stopping` runs.

use std::{collections::BTreeSet, env, process::Command, time::Duration};

use quayside_harness::{Postgres, guide_block, operations_guide, program, wait_for};
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

/// Runs commands of the guide as they stand there, with this database in the place of the example's.
fn run(commands: &str, server: &Postgres) {
    let example = "postgres://quayside@db.example/quayside?sslmode=verify-full";
    assert!(commands.contains(example), "{commands}");
    let commands = commands.replace(example, &server.url(DATABASE));
    let folder = server.data_dir().parent().expect("a folder of its own");
    let path = env::var("PATH").unwrap_or_default();
    let out = Command::new("sh")
        .args(["-euc", &commands])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", Postgres::bin_dir().display()))
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
    run(&guide_block("# back up"), server);
    assert_eq!(site.gateways[0].stop(SOON).await, Some(0));
    let server = site.server.as_ref().expect("a server");
    let session = server.connect("postgres").await;
    let drop = format!("DROP DATABASE \"{DATABASE}\" WITH (FORCE)");
    session.batch_execute(&drop).await.expect("it is lost");
    server.create_database(DATABASE).await;
    run(&guide_block("# restore"), server);

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
