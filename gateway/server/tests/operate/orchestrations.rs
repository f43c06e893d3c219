//! Instances of orchestrations as operators and programs see them, and what orders make of them.

use serde_json::Value;

use crate::{
    api::Calls,
    dev::{APP, Dev, text},
};

/// It waits for a word that never comes.
const WAITING: &str = "\
about: Waits for a word.
messages:
  order: order
  word: word
variables:
  tries: 3
correlations:
  by_order: OrderId
steps:
  - receive: order
    activate: true
    initialise: by_order
  - receive: word
    follow: by_order
    name: wait
";

const WORD: &str = r#"
[message.word]
type = "urn:orders#Word"
namespaces = { o = "urn:orders" }
promote.OrderId = { xpath = "/o:Word/o:Id" }
"#;

/// A process with an instance that waits, and its id.
fn waiting() -> (Dev, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("waiting.orchestration.yaml");
    std::fs::write(file, WAITING).expect("written");
    let dev = Dev::in_folder(folder, &format!("{APP}{WORD}"));
    let sent = dev.run(&["send", "orders.orders.web", "order.xml"]);
    assert!(sent.status.success(), "{}", text(&sent));
    let id = state(&dev, "waiting");
    (dev, id)
}

/// The id of the only instance, once it stands so.
fn state(dev: &Dev, wanted: &str) -> String {
    dev.wait_for(wanted, |dev| {
        let all = dev.json(&["orchestrations", "list"]);
        let one = &all["instances"][0];
        (one["state"] == wanted).then(|| one["id"].as_str().expect("an id").to_owned())
    })
}

#[test]
fn answers_fit_the_description_and_orders_are_carried_out() {
    let (dev, id) = waiting();
    let mut calls = Calls::new(&dev);
    for call in [
        "get /orchestrations",
        "get /orchestrations/instances?orchestration=orders&limit=5",
        "get /orchestrations/orders.waiting/graph",
    ] {
        assert_eq!(calls.make(call).0, 200, "{call}");
    }
    let one = format!("/orchestrations/instances/{id}");
    let (status, shown) = calls.make(&format!("get {one}"));
    assert_eq!(
        (status, &shown["positions"][0]["step"]),
        (200, &Value::from("wait"))
    );
    for call in [
        "resume {}",
        "retry-step {}",
        r#"retry-step {"step":"wait"}"#,
    ] {
        let (status, said) = calls.make(&format!("post {one}/{call}"));
        assert_eq!(
            (status, &said["code"]),
            (409, &Value::from("QS0733")),
            "{call}: {said}"
        );
    }
    for (verb, body, then) in [
        ("suspend", r#"{"reason":"holiday"}"#, "suspended"),
        ("resume", "{}", "waiting"),
        ("terminate", "{}", "terminated"),
    ] {
        let (status, said) = calls.make(&format!("post {one}/{verb} {body}"));
        assert_eq!(status, 200, "{verb}: {said}");
        state(&dev, then);
    }
    for (call, wanted) in [
        (format!("post {one}/resume {{}}"), 409),
        (format!("post {one}/retry-step {{}}"), 409),
        (
            "get /orchestrations/instances?orchestration=orders.none".to_owned(),
            404,
        ),
        ("get /orchestrations/none/graph".to_owned(), 404),
        ("get /orchestrations/instances?state=asleep".to_owned(), 400),
        (
            "get /orchestrations/instances/01a1fd9f-bda8-7aaa-8980-a336a86d5cba".to_owned(),
            404,
        ),
    ] {
        let (status, said) = calls.make(&call);
        assert_eq!(status, wanted, "{call}: {said}");
    }
    let left = calls.left(|route| route.contains("/orchestrations"));
    assert_eq!(left, [""; 0]);
}

#[test]
fn the_command_line_tells_where_an_instance_is_and_leaves_orders() {
    let (dev, id) = waiting();
    let listed = text(&dev.run(&["orchestrations", "list"]));
    assert!(
        listed.contains(&id) && listed.contains("orders.waiting"),
        "{listed}"
    );
    let shown = text(&dev.run(&["orchestrations", "show", &id]));
    assert!(
        shown.contains("at step        wait, waits (receive)"),
        "{shown}"
    );
    for held in [
        "correlation    by_order: OrderId = ",
        "message        order ",
        "variable       tries = 3",
    ] {
        assert!(shown.contains(held), "{shown}");
    }
    let metrics = dev.call("GET", "/metrics", "").body;
    let counted =
        "quayside_orchestration_instances{orchestration=\"orders.waiting\",state=\"waiting\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    let graph = dev.run(&["orchestrations", "graph", "orders.waiting", "--svg"]);
    assert!(text(&graph).starts_with("<svg"), "{}", text(&graph));
    let ordered = dev.run(&["orchestrations", "terminate", &id, "--reason", "obsolete"]);
    assert!(ordered.status.success(), "{}", text(&ordered));
    state(&dev, "terminated");
    let shown = text(&dev.run(&["orchestrations", "show", &id]));
    assert!(shown.contains("obsolete"), "{shown}");
}

#[test]
fn several_instances_are_ordered_at_once() {
    let (dev, id) = waiting();
    let of_all = ["orchestrations", "resume", "--orchestration", "orders."];
    let none = dev.run(&of_all);
    assert!(
        none.status.success() && text(&none).contains("No suspended instances."),
        "{}",
        text(&none)
    );
    assert!(
        dev.run(&["orchestrations", "suspend", &id])
            .status
            .success()
    );
    state(&dev, "suspended");
    let resumed = dev.run(&of_all);
    let told = text(&resumed);
    assert!(resumed.status.success(), "{told}");
    assert!(told.contains(&id) && told.contains("ordered"), "{told}");
    state(&dev, "waiting");
    for (name, code) in [("orders.none", "QS0704"), ("orders", "QS0705")] {
        let ended = dev.run(&["orchestrations", "terminate", "--orchestration", name]);
        let told = text(&ended);
        assert!(!ended.status.success() && told.contains(code), "{told}");
        assert!(told.contains("orders."), "{told}");
    }
    // One of them never was: the other one is ended all the same, and the command says so.
    let never = "01a1fd9f-bda8-7aaa-8980-a336a86d5cba";
    let ended = dev.run(&["orchestrations", "terminate", never, &id]);
    let told = text(&ended);
    assert!(!ended.status.success(), "{told}");
    assert!(told.contains("QS0718") && told.contains("1 of 2"), "{told}");
    state(&dev, "terminated");
}
