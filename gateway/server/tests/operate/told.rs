//! What an operator is told about messages and ports that do not get through.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::dev::{APP, Dev, text};

/// Beside the archive, a partner that nobody is: two attempts, then an operator, in the order of the ids.
const LOST: &str = r#"
[send.lost]
filter = "msg.type == 'urn:orders#Order'"
ordered = { by = "OrderId" }
retry = { attempts = 2, first = "1ms" }
primary.http = { url = "http://127.0.0.1:1/" }
"#;

impl Dev {
    fn send(&self) -> String {
        let sent = self.json(&["send", "orders.orders.web", "order.xml"]);
        sent["id"].as_str().expect("an id").to_owned()
    }

    fn way(&self, id: &str) -> Value {
        self.json(&["messages", "show", id])
    }

    fn suspended(&self, id: &str) -> Value {
        self.wait_for("suspension", |dev| {
            let way = dev.way(id);
            (way["suspended"] == 1 && way["live"] == 1).then_some(way)
        })
    }
}

fn leg<'a>(way: &'a Value, port: &str) -> &'a Value {
    let legs = way["legs"].as_array().expect("legs");
    let leg = legs.iter().find(|leg| leg["port"] == port);
    leg.unwrap_or_else(|| panic!("no leg to {port}: {way:#}"))
}

fn events<'a>(way: &'a Value, port: &str) -> Vec<&'a str> {
    let history = way["history"].as_array().expect("history");
    let of_port = history.iter().filter(|event| event["port"] == port);
    of_port
        .filter_map(|event| event["event"].as_str())
        .collect()
}

#[test]
fn a_message_tells_its_whole_way() {
    let dev = Dev::with(&format!("{APP}{LOST}"));
    let id = dev.send();
    let way = dev.suspended(&id);
    assert_eq!(way["state"], "suspended");
    let sent = leg(&way, "orders.archive");
    assert_eq!(
        (&sent["state"], &sent["attempts"]),
        (&"sent".into(), &1.into())
    );
    assert!(sent["ended_at"].is_string(), "{way:#}");
    let lost = leg(&way, "orders.lost");
    assert_eq!(
        (&lost["state"], &lost["attempts"]),
        (&"suspended".into(), &2.into())
    );
    assert!(lost["failure"]["at"].is_string(), "{way:#}");
    let resume = format!(
        "quayside messages resume {}",
        lost["id"].as_str().expect("an id")
    );
    assert!(
        lost["waits"][0].as_str().expect("why").contains(&resume),
        "{way:#}"
    );
    assert_eq!(events(&way, "orders.lost"), ["attempt-failed", "suspended"]);

    // The next one of the same order id waits behind it, and says so.
    let behind = dev.send();
    let reason = format!("it waits behind message {id}");
    dev.wait_for("delivery that names what it waits behind", |dev| {
        let way = dev.way(&behind);
        let waits = leg(&way, "orders.lost")["waits"].to_string();
        waits.contains(&reason).then_some(())
    });

    // Who ends it, and why, is recorded; what is published again names where it comes from.
    let ended = [
        "messages",
        "terminate",
        &id,
        "--as",
        "alice",
        "--reason",
        "no such partner",
    ];
    assert!(dev.run(&ended).status.success());
    dev.json(&["ports", "unenlist", "orders.lost"]);
    let again = dev.json(&["messages", "resubmit", &id, "--reason", "lost"]);
    let again = again["id"].as_str().expect("an id");
    let way = dev.way(&id);
    assert_eq!(way["state"], "partly-terminated");
    assert_eq!(way["resubmitted_as"][0], again);
    assert_eq!(dev.way(again)["resubmitted_from"], id.as_str());
    let shown = text(&dev.run(&["messages", "show", &id]));
    for part in [
        "partly-terminated",
        "attempt-failed",
        "by alice: no such partner",
        "by tester: lost",
        again,
        "received",
        "to 2 subscribers by configuration 1",
    ] {
        assert!(shown.contains(part), "`{part}` is missing:\n{shown}");
    }
}

#[test]
fn a_port_tells_why_it_rests_and_what_it_did() {
    let dev = Dev::with(&format!("{APP}{LOST}"));
    let id = dev.send();
    dev.suspended(&id);
    let pause = [
        "ports",
        "pause",
        "orders.archive",
        "--for",
        "1h",
        "--reason",
        "disk",
    ];
    assert!(dev.run(&pause).status.success());
    let listed = text(&dev.run(&["ports", "list"]));
    let line = |name: &str| {
        let line = listed.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no {name}:\n{listed}"))
            .to_owned()
    };
    let archive = line("orders.archive");
    assert!(
        archive.contains("paused until 2") && archive.contains("disk, by tester"),
        "{archive}"
    );
    // Code, cause and time of the last failure.
    let lost = line("orders.lost");
    assert!(lost.contains("QS") && lost.contains(", at 2"), "{lost}");
    let shown = dev.json(&["ports", "show", "orders.lost"]);
    assert_eq!(
        (&shown["tally"]["failed"], &shown["tally"]["suspended"]),
        (&1.into(), &1.into())
    );
    assert!(text(&dev.run(&["ports", "show", "orders.lost"])).contains("suspended"));

    let behind = dev.send();
    dev.wait_for("delivery that waits for the paused port", |dev| {
        let way = dev.way(&behind);
        let waits = leg(&way, "orders.archive")["waits"].to_string();
        waits.contains("the port is paused until").then_some(())
    });
}

/// Beside the archive, a folder that is not there.
const GONE: &str = r#"
[send.gone]
filter = "msg.type == 'urn:orders#Order'"
retry = { attempts = 1, first = "20ms", max = "20ms" }
primary.file = { folder = "gone", file_name = "{msg.id}.xml" }
"#;

#[test]
fn a_port_that_must_be_repaired_says_so_and_its_messages_wait() {
    let dev = Dev::with(&format!("{APP}{GONE}"));
    let ids = [dev.send(), dev.send()];
    let shown = dev.wait_for("port that rests", |dev| {
        let shown = dev.json(&["ports", "show", "orders.gone"]);
        (shown["resting"] == true).then_some(shown)
    });
    assert_eq!(shown["running"], false, "{shown:#}");
    let reason = shown["reason"].as_str().expect("a reason");
    assert!(reason.contains("QS05"), "{reason}");
    let listed = text(&dev.run(&["ports", "list"]));
    assert!(listed.contains("started, not working"), "{listed}");
    let metrics = dev.call("GET", "/metrics", "").body;
    let down = "quayside_port_up{port=\"orders.gone\",kind=\"send\"} 0";
    assert!(metrics.contains(down), "{metrics}");
    dev.wait_for("delivery that names what it waits for", |dev| {
        let way = dev.way(&ids[0]);
        assert_eq!(way["suspended"], 0, "{way:#}");
        let waits = leg(&way, "orders.gone")["waits"].to_string();
        waits.contains("the port ").then_some(())
    });

    std::fs::create_dir(dev.dir.join("data/gone")).expect("the folder");
    for id in &ids {
        dev.wait_for("delivery after the repair", |dev| {
            (dev.way(id)["live"] == 0).then_some(())
        });
    }
    let shown = dev.json(&["ports", "show", "orders.gone"]);
    assert_eq!(
        (&shown["running"], &shown["resting"]),
        (&true.into(), &false.into())
    );
    let log = std::fs::read_to_string(dev.dir.join("log")).expect("the log");
    let said = |what: &str| log.matches(what).count();
    assert_eq!(
        (said("the port rests"), said("the port works again")),
        (1, 1),
        "{log}"
    );
}

/// A port that publishes its failures, and who wants them.
const PUBLISHED: &str = r#"
[send.published]
filter = "msg.type == 'urn:orders#Order'"
on_failure = "publish"
retry = { attempts = 1, first = "1ms" }
primary.http = { url = "http://127.0.0.1:1/" }
[send.failures]
filter = "has(error.code)"
primary.file = { folder = "failures", create = true, file_name = "{msg.id}.xml" }
"#;

fn listed(dev: &Dev, state: &str) -> Vec<String> {
    let list = dev.json(&["messages", "list", "--state", state]);
    let rows = list["messages"].as_array().expect("messages").iter();
    let rows = rows.inspect(|row| assert_eq!(row["state"], state, "{list:#}"));
    rows.map(|row| row["id"].as_str().expect("an id").to_owned())
        .collect()
}

#[test]
fn a_message_whose_failure_was_published_has_failed() {
    let dev = Dev::with(&format!("{APP}{PUBLISHED}"));
    let id = dev.send();
    let way = dev.wait_for("end of the message", |dev| {
        let way = dev.way(&id);
        (way["live"] == 0).then_some(way)
    });
    assert_eq!(
        (&way["state"], &way["failed"]),
        (&"failed".into(), &1.into())
    );
    let failed = leg(&way, "orders.published");
    assert_eq!(failed["state"], "failed", "{way:#}");
    // Its end names the message that tells of it.
    let told = failed["detail"].as_str().expect("a detail");
    let (_, failure) = told.rsplit_once(' ').expect("an id");
    let failure = failure.to_owned();
    dev.wait_for("end of the failure", |dev| {
        listed(dev, "delivered").contains(&failure).then_some(())
    });
    assert_eq!(listed(&dev, "failed"), [id.as_str()]);
    let list = text(&dev.run(&["messages", "list"]));
    let line = list.lines().find(|line| line.starts_with(&id));
    assert!(line.is_some_and(|line| line.contains(" failed ")), "{list}");
}

#[test]
fn what_the_list_shows_can_be_asked_for() {
    let dev = Dev::with(&format!("{APP}{LOST}"));
    let suspended = dev.send();
    dev.suspended(&suspended);
    let behind = dev.send();
    dev.wait_for("held delivery", |dev| {
        let open = dev.json(&["messages", "list", "--delivery-state", "held"]);
        (open["messages"][0]["id"] == behind.as_str()).then_some(())
    });
    assert_eq!(listed(&dev, "suspended"), [suspended.as_str()]);
    assert_eq!(listed(&dev, "open"), [behind.as_str()]);
    assert!(
        dev.run(&["messages", "terminate", &suspended])
            .status
            .success()
    );
    assert_eq!(listed(&dev, "partly-terminated"), [suspended.as_str()]);
    for state in ["unrouted", "failed", "delivered", "terminated"] {
        assert!(listed(&dev, state).is_empty(), "{state}");
    }
    let help = text(&dev.run(&["messages", "list", "--help"]));
    assert!(help.contains("partly-terminated"), "{help}");
    // A while ago is a moment too.
    let since = |while_ago: &str| dev.json(&["messages", "list", "--since", while_ago]);
    assert_eq!(since("1h")["messages"].as_array().map(Vec::len), Some(2));
}

#[test]
fn one_delivery_of_a_message_can_be_looked_at() {
    let dev = Dev::with(&format!("{APP}{LOST}"));
    let id = dev.send();
    dev.suspended(&id);
    let way = dev.way(&id);
    let lost = leg(&way, "orders.lost")["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let focused = dev.way(&lost);
    assert_eq!(focused["id"], id.as_str());
    assert_eq!(
        focused["legs"],
        serde_json::json!([leg(&way, "orders.lost")])
    );
    assert!(events(&focused, "orders.archive").is_empty(), "{focused:#}");
    let shown = text(&dev.run(&["messages", "show", &lost]));
    assert!(
        shown.contains("orders.lost") && !shown.contains("orders.archive"),
        "{shown}"
    );
    let none = dev.run(&["messages", "show", &format!("{id}.9")]);
    assert_eq!(none.status.code(), Some(3), "{none:?}");
    assert!(
        text(&none).contains("has no delivery 9, only 0, 1"),
        "{none:?}"
    );
    let again = dev.run(&["messages", "resubmit", &lost]);
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    assert!(dev.run(&["messages", "terminate", &lost]).status.success());
}

#[test]
fn a_template_that_fails_is_named_until_it_is_mended() {
    let noted = "\n[send.noted]\nfilter = \"msg.type == 'urn:orders#Order'\"\n\
                 primary.file = { folder = \"noted\", create = true, file_name = \"{Note}.xml\" }\n";
    let promote = "promote.Note = { xpath = \"/o:Order/o:Note\" }\n[receive.orders]";
    let app = APP.replace("[receive.orders]", promote) + noted;
    let dev = Dev::with(&app);
    let id = dev.send();
    let cause = |way: &Value| {
        let failure = &leg(way, "orders.noted")["failure"];
        assert_eq!(failure["code"], "QS0807", "{way:#}");
        assert!(
            failure["detail"].to_string().contains("no property `Note`"),
            "{way:#}"
        );
    };
    let way = dev.suspended(&id);
    cause(&way);
    let since = &leg(&way, "orders.noted")["failure"]["at"];
    assert!(since.is_string(), "{way:#}");
    assert!(dev.run(&["messages", "resume", &id]).status.success());
    let way = dev.wait_for("second suspension", |dev| {
        let way = dev.way(&id);
        let told = events(&way, "orders.noted");
        (told == ["suspended", "resumed", "suspended"]).then_some(way)
    });
    cause(&way);
    // With a template that can be filled the same delivery goes on.
    let mended = app.replace("{Note}", "{OrderId}");
    std::fs::write(dev.dir.join("app.toml"), mended).expect("written");
    dev.wait_for("mended port that sends", |dev| {
        let way = dev.way(&id);
        if way["live"] == 0 {
            return Some(());
        }
        if way["suspended"] == 1 {
            dev.run(&["messages", "resume", &id]);
        }
        None
    });
    assert!(dev.dir.join("data/noted/7.xml").is_file());
}

#[test]
fn a_list_can_be_watched() {
    let dev = Dev::start();
    let id = dev.send();
    let mut watching = Command::new(env!("CARGO_BIN_EXE_quayside"))
        .args(["messages", "list", "--watch", "1", "--admin", &dev.admin])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut lines = BufReader::new(watching.stdout.take().expect("piped")).lines();
    // Once for each look; elsewhere than on a terminal nothing is drawn over.
    for _ in 0..2 {
        let line = lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with(&id)));
        let line = line.expect("it goes on").expect("text");
        assert!(!line.contains('\u{1b}'), "{line}");
    }
    let pid = watching.id().to_string();
    let told = Command::new("kill").args(["-INT", &pid]).status();
    assert!(told.expect("kill runs").success());
    let status = watching.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
    let never = dev.run(&["ports", "list", "--watch", "0"]);
    assert_eq!(never.status.code(), Some(2), "{never:?}");
}

#[test]
fn a_page_names_the_next_one() {
    let dev = Dev::start();
    let ids: Vec<String> = (0..3).map(|_| dev.send()).collect();
    let first = ["messages", "list", "--origin", "orders", "--limit", "2"];
    let page = text(&dev.run(&first));
    let command = page.lines().last().expect("lines");
    let (_, command) = command.split_once(": quayside ").expect("a command");
    assert!(page.contains(&ids[2]) && !page.contains(&ids[0]), "{page}");
    let words: Vec<&str> = command.split(' ').collect();
    let next = text(&dev.run(&words));
    assert!(next.contains(&ids[0]) && !next.contains(&ids[1]), "{next}");
    assert!(!next.contains("next page"), "{next}");
}

#[test]
fn results_come_in_the_form_that_was_asked_for() {
    let dev = Dev::start();
    let id = dev.send();
    let yaml = text(&dev.run(&["messages", "list", "-o", "yaml"]));
    assert!(yaml.starts_with("messages:\n  - body_len: "), "{yaml}");
    assert!(yaml.contains(&format!("    id: \"{id}\"\n")), "{yaml}");
    let help = text(&dev.run(&["ports", "pause", "--help"]));
    assert!(help.contains("Exit codes: 0 done"), "{help}");
}
