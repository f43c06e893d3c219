//! `quayside explain` for a message that a node has stored.

use crate::dev::{APP, Dev, text};

/// A port for orders of another country.
const ABROAD: &str = r#"
[send.abroad]
filter = "msg.type == 'urn:orders#Order' && (http.method == 'PUT' || http.header['x-lane'] == 'far')"
primary.file = { folder = "abroad", create = true, file_name = "{msg.id}.xml" }
"#;

#[test]
fn a_stored_message_is_held_against_every_subscription() {
    let dev = Dev::with(&format!("{APP}{ABROAD}"));
    let sent = dev.run(&["send", "orders.orders.web", "order.xml"]);
    assert!(sent.status.success(), "{}", text(&sent));
    let id = String::from_utf8_lossy(&sent.stdout).trim().to_owned();
    let told = dev.json(&["explain", &id]);
    let all = told["subscriptions"].as_array().expect("subscriptions");
    let verdicts: Vec<(&str, bool)> = all
        .iter()
        .map(|one| {
            let name = one["name"].as_str().expect("a name");
            (name, one["matched"].as_bool().expect("a verdict"))
        })
        .collect();
    assert_eq!(
        verdicts,
        [("orders.abroad", false), ("orders.archive", true)]
    );
    let shown = dev.run(&["explain", &id, "--port", "abroad"]);
    let shown = text(&shown);
    for line in [
        "orders.abroad (send port) does not get it",
        "  absent all of:",
        "    true   msg.type == 'urn:orders#Order'   [msg.type is 'urn:orders#Order']",
        "    absent any of:",
        "      absent http.header['x-lane'] == 'far'   [it has no http.header.x-lane]",
    ] {
        assert!(shown.lines().any(|l| l == line), "{line}:\n{shown}");
    }
    let unenlisted = dev.run(&["ports", "unenlist", "orders.archive"]);
    assert!(unenlisted.status.success(), "{}", text(&unenlisted));
    let shown = dev.wait_for("an unenlisted port", |dev| {
        let shown = text(&dev.run(&["explain", &id, "--port", "archive"]));
        shown.contains("the port is unenlisted").then_some(shown)
    });
    assert!(shown.contains("Nobody gets it."), "{shown}");
    let none = dev.run(&["explain", "01a1fd9f-bda8-7aaa-8980-a336a86d5cba"]);
    assert_eq!(none.status.code(), Some(3), "{}", text(&none));
}
