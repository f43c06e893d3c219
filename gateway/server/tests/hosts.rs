//! `quayside hosts`: the document that an agent goes by, and the table for people.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};
use tempfile::TempDir;

const APP: &str = r#"
[app]
name = "orders"
[receive.web]
host = "edge"
location.in.http = { path = "/in" }
[receive.late]
host = "queues"
location.in.amqp = { url = "amqp://mq.example/erp", queue = "late" }
[send.erp]
host = "lines"
filter = "true"
primary.file = { folder = "out", file_name = "{msg.id}" }
"#;
const GROUP: &str = r#"
[host.edge]
members = ["node-a", "node-b"]
[host.queues]
members = ["node-a", "node-b", "node-c"]
roles = ["receive", "send"]
[host.queues.clustered]
preferred = ["node-b", "node-a"]
spare = true
on_death = "restart"
failback = "22:00-04:00"
restarts = "1 per 1m"
moves = "4 per 2h"
retry_failed = "10m"
online_within = "20s"
drain_within = "1m"
hang_after = "2s"
adapter_patience = "15s"
failback_stable = "10m"
[host.lines]
members = ["node-a", "node-b", "node-c"]
clustered = { with = "queues" }
[host.elsewhere]
members = ["node-b"]
[quarantine]
lost = "5 per 1h"
lasts = "10m"
"#;
const NODE: &str = r#"
[node]
name = "node-a"
data_dir = "data"
[store]
url = "postgres://quayside@db.example/quayside?sslmode=verify-full"
password = { secret = "store-password" }
ca = "ca.pem"
[session]
profile = "fast"
[cluster]
allow_loss = true
[log]
format = "json"
level = "info,quayside_lease=debug"
"#;

fn quayside(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quayside"))
        .args(args)
        .current_dir(dir)
        .env("NO_COLOR", "1")
        .env_remove("CREDENTIALS_DIRECTORY")
        .output()
        .expect("the program runs")
}

/// A folder with these files, a secret and a certificate.
fn site(app: &str, group: &str, node: &str) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let put = |name: &str, text: &str, mode: u32| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("made");
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("set");
    };
    put("app.toml", app, 0o644);
    put("group.toml", group, 0o644);
    put("node.toml", node, 0o644);
    put("data/secrets/store-password", "hunter2\n", 0o600);
    let pair = rcgen::generate_simple_self_signed(["db.example".to_owned()]);
    put("ca.pem", &pair.expect("a certificate").cert.pem(), 0o644);
    dir
}

fn hosts(dir: &TempDir, more: &[&str]) -> (Option<i32>, String, String) {
    let args = ["hosts", ".", "--group", "group.toml", "--node", "node.toml"];
    let output = quayside(dir.path(), &[&args, more].concat());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn an_agent_reads_everything_that_it_needs() {
    let dir = site(APP, GROUP, NODE);
    let (code, printed, complaints) = hosts(&dir, &["-o", "json"]);
    assert_eq!((code, complaints.as_str()), (Some(0), ""), "{printed}");
    assert!(!printed.contains("hunter2"), "{printed}");
    let read: Value = serde_json::from_str(&printed).expect("JSON");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let limits = json!({
        "quarantine": { "lost": { "times": 5, "within_ms": 3_600_000 }, "lasts_ms": 600_000 },
        "backoff_ms": [0, 1000, 5000],
        "rank_delay_ms": 150,
        "offer_lasts_ms": 1000,
    });
    let with_limits = |mut policy: Value| {
        let limits = limits.as_object().cloned().expect("an object");
        policy.as_object_mut().expect("an object").extend(limits);
        policy
    };
    let expected = json!({
        "node": "node-a",
        "data_dir": path("data"),
        "run_dir": path("data/run"),
        "store": {
            "url": "postgres://quayside@db.example/quayside?sslmode=verify-full",
            "password_file": path("data/secrets/store-password"),
            "ca": path("ca.pem"),
        },
        "session": {
            "ttl_ms": 2000,
            "renew_every_ms": 300,
            "margin_ms": 400,
            "client_timeout_ms": 300,
            "poll_ms": 100,
        },
        "allow_loss": true,
        "log": { "format": "json", "level": "info,quayside_lease=debug" },
        "hosts": [
            {
                "name": "edge",
                "roles": ["receive", "process", "send", "track"],
                "http": true,
                "clustered": null,
            },
            {
                "name": "lines",
                "roles": ["receive", "process", "send", "track"],
                "http": false,
                "clustered": with_limits(json!({
                    "possible": ["node-a", "node-b", "node-c"],
                    "preferred": ["node-a", "node-b", "node-c"],
                    "with": "queues",
                    "spare": false,
                    "on_death": "warm",
                    "failback": { "mode": "manual" },
                    "restarts": { "times": 2, "within_ms": 900_000 },
                    "moves": { "times": 3, "within_ms": 3_600_000 },
                    "retry_failed_ms": 900_000,
                    "online_within_ms": 10_000,
                    "drain_within_ms": 30_000,
                    "hang_after_ms": 1000,
                    "adapter_patience_ms": 10_000,
                    "failback_stable_ms": 300_000,
                })),
            },
            {
                "name": "queues",
                "roles": ["receive", "send"],
                "http": false,
                "clustered": with_limits(json!({
                    "possible": ["node-a", "node-b", "node-c"],
                    "preferred": ["node-b", "node-a"],
                    "with": null,
                    "spare": true,
                    "on_death": "restart",
                    "failback": { "mode": "within", "from_minute": 1320, "until_minute": 240 },
                    "restarts": { "times": 1, "within_ms": 60_000 },
                    "moves": { "times": 4, "within_ms": 7_200_000 },
                    "retry_failed_ms": 600_000,
                    "online_within_ms": 20_000,
                    "drain_within_ms": 60_000,
                    "hang_after_ms": 2000,
                    "adapter_patience_ms": 15_000,
                    "failback_stable_ms": 600_000,
                })),
            },
        ],
    });
    assert_eq!(read, expected, "{printed}");
}

#[test]
fn an_operator_reads_a_table() {
    let dir = site(APP, GROUP, NODE);
    let (code, printed, complaints) = hosts(&dir, &[]);
    assert_eq!((code, complaints.as_str()), (Some(0), ""), "{printed}");
    let expected = "\
HOST    RUNS                   MEMBERS                 PREFERRED               FAILBACK         ROLES
edge    on each member         node-a, node-b                                                   receive, process, send, track
lines   on one, beside queues  node-a, node-b, node-c                                           receive, process, send, track
queues  on one                 node-a, node-b, node-c  node-b, node-a, node-c  22:00-04:00 UTC  receive, send
";
    assert_eq!(printed, expected, "{printed}");
}

#[test]
fn without_files_everything_runs_here_on_the_embedded_store() {
    let dir = site(APP, GROUP, NODE);
    let output = quayside(dir.path(), &["hosts", ".", "-o", "json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let read: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let absent = json!({ "url": null, "password_file": null, "ca": null });
    assert_eq!(read["store"], absent, "{read}");
    let run_dir = dir.path().join(".quayside/run").display().to_string();
    assert_eq!(read["run_dir"], run_dir, "{read}");
    assert_eq!(read["session"]["poll_ms"], 250, "{read}");
    assert_eq!(read["allow_loss"], false, "{read}");
    let names: Vec<&Value> = read["hosts"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|host| &host["name"])
        .collect();
    assert_eq!(names, ["edge", "lines", "queues"], "{read}");
}

/// What is refused: the group's and the node's file, and what is said.
#[test]
fn what_is_wrong_is_told_and_nothing_is_printed() {
    let deep = format!("{NODE}[http.host.lines]\nlisten = \"127.0.0.1:8081\"\n").replace(
        "data_dir = \"data\"",
        &format!("data_dir = \"data\"\nrun_dir = \"/{}\"", "r".repeat(84)),
    );
    let one_more = APP.replace(
        "[send.erp]",
        "[receive.lines]\nhost = \"lines\"\nlocation.in.http = { path = \"/lines\" }\n[send.erp]",
    );
    let outside = NODE.replace("\"store-password\"", "\"../store-password\"");
    for (app, group, node, said) in [
        (
            APP,
            &GROUP.replace("\"node-b\", \"node-a\"", "\"node-d\""),
            NODE,
            "error[QS0642] `host.queues.clustered.preferred` names `node-d`, but the members of the host are `node-a`, `node-b` and `node-c`",
        ),
        (
            one_more.as_str(),
            &GROUP.to_owned(),
            NODE,
            "error[QS0622] the hosts `edge` and `lines` both have HTTP locations, and both would listen on \
             127.0.0.1:8080 (`http.listen`)\n  --> node.toml:",
        ),
        (
            APP,
            &GROUP.to_owned(),
            &NODE.replace("\nurl = ", "\n# url = "),
            "error[QS0645] `host.lines` is clustered and has several members, but the node `node-a` has the embedded \
             store\n  --> group.toml:",
        ),
        (
            one_more.as_str(),
            &GROUP.to_owned(),
            deep.as_str(),
            "bytes, which leaves no room for the names of sockets",
        ),
        (
            APP,
            &GROUP.to_owned(),
            outside.as_str(),
            "error[QS0711] the secret `../store-password`",
        ),
        (
            APP,
            &GROUP.to_owned(),
            &NODE.replace("node-a", "node-d"),
            "error[QS0617] the node `node-d` is a member of no host of the group",
        ),
    ] {
        let dir = site(app, group, node);
        let (code, printed, complaints) = hosts(&dir, &["-o", "json"]);
        assert_eq!((code, printed.as_str()), (Some(10), ""), "{complaints}");
        assert!(complaints.contains(said), "{said}\n{complaints}");
        assert!(
            !complaints.contains("QS0622") || said.contains("QS0622"),
            "{complaints}"
        );
    }
    // Each with its own address they may listen.
    let own = format!("{NODE}[http.host.lines]\nlisten = \"127.0.0.1:8081\"\n");
    let (code, _, complaints) = hosts(&site(&one_more, GROUP, &own), &[]);
    assert_eq!((code, complaints.as_str()), (Some(0), ""));
}
