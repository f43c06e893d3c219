//! The verbs of an operator against a running gateway: each does what its help says.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use quayside_model::{Clock as _, SystemClock};
use serde_json::Value;

const APP: &str = r#"
[app]
name = "orders"
[message.order]
type = "urn:orders#Order"
namespaces = { o = "urn:orders" }
promote.OrderId = { xpath = "/o:Order/o:Id", required = true }
[receive.orders]
message = "order"
location.web.http = { path = "/in/orders" }
[send.archive]
filter = "msg.type == 'urn:orders#Order'"
primary.file = { folder = "archive", create = true, file_name = "{OrderId}-{msg.id}.xml" }
"#;
const ORDER: &str = "<Order xmlns=\"urn:orders\"><Id>7</Id></Order>";
/// Far longer than anything takes; reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running `quayside dev`, ended with the test.
struct Dev {
    process: Child,
    admin: String,
    dir: PathBuf,
    _folder: tempfile::TempDir,
}

impl Dev {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().to_owned();
        std::fs::write(dir.join("app.toml"), APP).expect("written");
        std::fs::write(dir.join("order.xml"), ORDER).expect("written");
        let mut process = Command::new(env!("CARGO_BIN_EXE_quayside"))
            .args([
                "dev",
                ".",
                "--data-dir",
                "data",
                "--http-listen",
                "127.0.0.1:0",
            ])
            .args([
                "--admin-listen",
                "127.0.0.1:0",
                "--partner-listen",
                "127.0.0.1:0",
            ])
            .current_dir(&dir)
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(dir.join("log")).expect("a log"))
            .spawn()
            .expect("the program runs");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let admin = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix("admin="));
        let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
        let admin = admin.unwrap_or_else(|| panic!("not ready: {line}\n{log}"));
        Self {
            process,
            admin: format!("http://{admin}"),
            dir,
            _folder: folder,
        }
    }

    fn run(&self, args: &[&str]) -> Output {
        quayside(&self.dir, &self.admin, args)
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["-o", "json"]].concat());
        assert!(output.status.success(), "{args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Waits until `look` gives something.
    fn wait_for<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let begun = SystemClock.monotonic();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            let log = || std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
            assert!(
                SystemClock.monotonic().since(begun) < PATIENCE,
                "no {what}:\n{}",
                log()
            );
            // Between two looks at the condition, to leave the processor to what is waited for.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn port(&self) -> Value {
        let ports = self.json(&["ports", "list"]);
        let ports = ports["ports"].as_array().expect("ports").clone();
        ports
            .into_iter()
            .find(|port| port["name"] == "orders.archive")
            .expect("the port")
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It may have ended already, as the test wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn quayside(dir: &Path, admin: &str, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quayside"))
        .args(args)
        .current_dir(dir)
        .env("QUAYSIDE_ADMIN", admin)
        .env("NO_COLOR", "1")
        .output()
        .expect("the program runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[test]
fn a_message_is_sent_shown_and_sent_again() {
    let dev = Dev::start();
    let sent = dev.json(&["send", "orders.orders.web", "order.xml"]);
    let id = sent["id"].as_str().expect("an id").to_owned();
    let way = dev.wait_for("end of the delivery", |dev| {
        let way = dev.json(&["messages", "show", &id]);
        (way["live"] == 0).then_some(way)
    });
    assert_eq!(way["context"]["OrderId"]["v"]["text"], "7");
    assert_eq!(way["history"][0]["event"], "sent");
    let body = dev.run(&["messages", "body", &id]);
    assert_eq!(String::from_utf8_lossy(&body.stdout), ORDER);
    let archived = || std::fs::read_dir(dev.dir.join("data/archive")).map_or(0, Iterator::count);
    assert_eq!(archived(), 1);

    let again = dev.json(&["messages", "resubmit", &id]);
    assert_ne!(again["id"], sent["id"]);
    dev.wait_for("second file", |_| (archived() == 2).then_some(()));
    let listed = dev.json(&["messages", "list"]);
    assert_eq!(listed["messages"].as_array().map(Vec::len), Some(2));
    assert!(text(&dev.run(&["messages", "show", &id])).contains("orders.archive"));
}

#[test]
fn a_stopped_port_keeps_its_deliveries_until_it_starts() {
    let dev = Dev::start();
    let stopped = dev.json(&["ports", "stop", "orders.archive", "--reason", "at night"]);
    assert_eq!(
        (&stopped["status"], &stopped["reason"]),
        (&"stopped".into(), &"at night".into())
    );
    dev.json(&["send", "orders.orders.web", "order.xml"]);
    dev.wait_for("waiting delivery", |dev| {
        (dev.port()["backlog"]["ready"] == 1).then_some(())
    });
    assert!(text(&dev.run(&["ports", "list"])).contains("stopped"));
    dev.json(&["ports", "start", "orders.archive"]);
    dev.wait_for("empty backlog", |dev| {
        dev.port()["backlog"].is_null().then_some(())
    });

    let paused = dev.json(&["ports", "pause", "orders.archive", "--for", "10m"]);
    assert!(paused["paused_until"].is_string(), "{paused}");
    let resumed = dev.json(&["ports", "resume", "orders.archive"]);
    assert!(resumed["paused_until"].is_null(), "{resumed}");

    // Nobody subscribes any more: the sender is told.
    dev.json(&["ports", "unenlist", "orders.archive"]);
    let refused = dev.run(&["send", "orders.orders.web", "order.xml"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(text(&refused).contains("QS0801"), "{refused:?}");
}

#[test]
fn a_delivery_can_be_ended() {
    let dev = Dev::start();
    dev.json(&["ports", "stop", "orders.archive"]);
    let id = dev.json(&["send", "orders.orders.web", "order.xml"])["id"].clone();
    let id = id.as_str().expect("an id");
    dev.wait_for("waiting delivery", |dev| {
        (dev.port()["backlog"]["ready"] == 1).then_some(())
    });
    let ended = dev.json(&["messages", "terminate", id]);
    assert_eq!(ended["outcomes"][0]["outcome"], "done");
    let way = dev.json(&["messages", "show", id]);
    assert_eq!(
        (&way["live"], &way["history"][0]["event"]),
        (&0.into(), &"terminated".into())
    );
    assert_eq!(
        dev.run(&["messages", "terminate", id]).status.code(),
        Some(3)
    );
}

#[test]
fn failures_have_codes_and_exit_codes() {
    let dev = Dev::start();
    let unknown = "01a1fd9f-bda8-7aaa-8980-a336a86d5cba";
    for (args, exit, code) in [
        (&["messages", "show", unknown][..], 3, "QS0704"),
        (&["messages", "show", "x"], 2, "QS0705"),
        (&["ports", "stop", "orders.none"], 3, "QS0704"),
        (&["ports", "test", "orders.orders.web"], 2, "QS0705"),
        (&["send", "orders.none", "order.xml"], 3, "QS0704"),
        (&["send", "orders.orders.web", "none.xml"], 1, "QS0707"),
    ] {
        let output = dev.run(args);
        assert_eq!(output.status.code(), Some(exit), "{args:?}: {output:?}");
        assert!(
            text(&output).starts_with(&format!("error[{code}]")),
            "{args:?}: {output:?}"
        );
    }
    let nobody = quayside(&dev.dir, "http://127.0.0.1:1", &["ports", "list"]);
    assert_eq!(nobody.status.code(), Some(4), "{nobody:?}");
    assert_eq!(dev.run(&["ports", "lst"]).status.code(), Some(2));
}

#[test]
fn a_store_is_copied_while_it_runs_and_put_back() {
    let dev = Dev::start();
    let id = dev.json(&["send", "orders.orders.web", "order.xml"])["id"].clone();
    dev.wait_for("empty backlog", |dev| {
        dev.port()["backlog"].is_null().then_some(())
    });
    let copied = dev.run(&["store", "backup", "copy.db", "--data-dir", "data"]);
    assert!(copied.status.success(), "{copied:?}");
    assert_eq!(
        dev.run(&["store", "backup", "copy.db", "--data-dir", "data"])
            .status
            .code(),
        Some(1)
    );

    let restored = dev.run(&["store", "restore", "copy.db", "--data-dir", "other"]);
    assert!(restored.status.success(), "{restored:?}");
    assert!(dev.dir.join("other/quayside.db").is_file());
    let over = dev.run(&["store", "restore", "copy.db", "--data-dir", "other"]);
    assert!(text(&over).starts_with("error[QS0708]"), "{over:?}");
    std::fs::write(dev.dir.join("no.db"), "no database").expect("written");
    let bad = dev.run(&["store", "restore", "no.db", "--data-dir", "third"]);
    assert!(
        !bad.status.success() && !dev.dir.join("third/quayside.db").exists(),
        "{bad:?}"
    );
    assert!(id.is_string());
}

#[test]
fn a_saved_change_is_taken_up_and_a_wrong_one_is_not() {
    let dev = Dev::start();
    let save = |text: &str| std::fs::write(dev.dir.join("app.toml"), text).expect("written");
    let log = |dev: &Dev| std::fs::read_to_string(dev.dir.join("log")).unwrap_or_default();
    save(&APP.replace("[send.archive]", "[send.archives]"));
    let names = |dev: &Dev| dev.json(&["ports", "list"]).to_string();
    dev.wait_for("new port", |dev| {
        names(dev).contains("orders.archives").then_some(())
    });
    save(&APP.replace("filter =", "fliter ="));
    dev.wait_for("fault", |dev| {
        log(dev).contains("did you mean `filter`?").then_some(())
    });
    assert!(
        names(&dev).contains("orders.archives"),
        "the old one stays in force"
    );
}

#[test]
fn told_to_stop_it_stops_with_nothing_to_complain_about() {
    let mut dev = Dev::start();
    dev.json(&["send", "orders.orders.web", "order.xml"]);
    let pid = dev.process.id().to_string();
    let told = Command::new("kill")
        .args(["-TERM", &pid])
        .status()
        .expect("kill runs");
    assert!(told.success());
    let status = dev.process.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
    let log = std::fs::read_to_string(dev.dir.join("log")).expect("a log");
    assert!(
        log.contains("stopped") && !log.contains("panicked"),
        "{log}"
    );
}
