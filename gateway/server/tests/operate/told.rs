//! What an operator is told about messages and ports that do not get through.

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
