//! What an attack on the SharePoint adapter found, as it must not be again: farms that do late what they were given up
//! for, that write names in their own way, and people who work on a document at the wrong moment.

use std::{collections::BTreeSet, time::Duration};

use quayside_harness::{
    App, Document, Gateway, Node, Partner, SharePoint, client, effects, order_xml, wait_for,
};
use serde_json::json;

/// How long everything may take.
const PATIENCE: Duration = Duration::from_secs(60);

async fn farm() -> SharePoint {
    let arguments = [
        "--library",
        "Orders=Orders",
        "--library",
        "Aufträge=Aufträge",
        "--library",
        "Archive=Archive",
        "--folder",
        "Archive/Done",
        "--column",
        "Ref:Text",
        "--token",
        "t-app",
        "--token",
        "t-people=i:0#.f|membership|ann",
    ];
    SharePoint::start(1, &arguments).await
}

/// What comes over HTTP goes into `library`, with what `port` adds to its transport.
fn sends(farm: &SharePoint, library: &str, port: &str) -> App {
    let site = format!("http://{}/sites/team", farm.front_ends()[0]);
    App::new(&format!(
        r#"[app]
name = "t"
[receive.web]
host = "edge"
[receive.web.location.in.http]
path = "/in"
[send.out]
host = "edge"
filter = "msg.origin == 't.web.in'"
retry = {{ attempts = 100, first = "50ms", factor = 1.5, max = "500ms" }}
[send.out.primary.sharepoint]
site = "{site}"
library = "{library}"
auth = {{ bearer = {{ secret = "farm" }} }}
timeout = "1s"
{port}
"#
    ))
}

/// What lies in `Orders` goes to the partner and into the archive.
fn takes(farm: &SharePoint, partner: &Partner, port: &str) -> App {
    let (site, partner) = (farm.front_ends()[0], partner.addr());
    App::new(&format!(
        r#"[app]
name = "t"
[receive.library]
host = "edge"
{port}
[receive.library.location.in.sharepoint]
site = "http://{site}/sites/team"
library = "Orders"
auth = {{ bearer = {{ secret = "farm" }} }}
poll = "50ms"
after = {{ archive = "Archive/Done" }}
[send.out]
host = "edge"
filter = "msg.origin == 't.library.in'"
ordered = {{ by = "sharepoint.library" }}
retry = {{ attempts = 1000, first = "50ms", factor = 1.5, max = "1s" }}
[send.out.primary.http]
url = "http://{partner}/orders"
"#
    ))
}

async fn node(app: &App) -> (Node, Gateway) {
    let node = Node::new("node-a", app.path()).with_secret("farm", "t-app");
    let gateway = node.start().await;
    (node, gateway)
}

async fn post(gateway: &Gateway, body: String) -> String {
    let headers = [("content-type", "application/xml")];
    let request = client::request("POST", gateway.http, "/in", &headers, body.into());
    let reply = client::once(gateway.http, request, PATIENCE)
        .await
        .expect("an answer");
    assert_eq!(reply.status, 202, "{}", reply.text());
    reply.json()["id"].as_str().expect("an id").to_owned()
}

/// The files, once each of them lies in `folder` and there are `count`.
async fn files(farm: &SharePoint, folder: &str, count: usize) -> Vec<Document> {
    wait_for("the documents to be there", PATIENCE, async || {
        let all = farm.documents().await;
        let files: Vec<Document> = all.into_iter().filter(|it| !it.folder).collect();
        let there = files.iter().all(|it| it.path.starts_with(folder));
        if there && files.len() == count {
            Ok(files)
        } else {
            Err(format!("{files:?}"))
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beginning_that_is_done_late_empties_nothing() {
    let farm = farm().await;
    let app = sends(
        &farm,
        "Orders",
        "file_name = \"%MessageID%.xml\"\nchunk = \"256 KiB\"",
    );
    let (_node, gateway) = node(&app).await;
    farm.fault(&json!({ "kind": "late", "call": "AddFile", "delay_ms": 1500, "next": 1 }))
        .await;
    // Uploaded and published while the first call is still to be done.
    farm.fault(&json!({ "kind": "slow", "call": "FinishUpload", "delay_ms": 700 }))
        .await;
    let body = format!("<a>{}</a>", "x".repeat(900_000));
    let id = post(&gateway, body.clone()).await;
    gateway.drained(PATIENCE).await;
    wait_for("the late call to be done", PATIENCE, async || {
        let log = farm.log_from(0).await;
        let added = log.iter().filter(|it| it["call"] == "AddFile").count();
        if added >= 2 {
            Ok(())
        } else {
            Err(format!("{added} are done"))
        }
    })
    .await;
    let path = format!("/sites/team/Orders/{id}.xml");
    assert_eq!(farm.content(&path).await, body.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_in_other_letters_is_the_same() {
    let farm = farm().await;
    let app = sends(&farm, "AUFTRÄGE", "file_name = \"%MessageID%.xml\"");
    let (_node, gateway) = node(&app).await;
    farm.fault(&json!({ "kind": "status", "status": 423, "call": "MoveTo", "next": 2 }))
        .await;
    let id = post(&gateway, "<a/>".to_owned()).await;
    gateway.drained(PATIENCE).await;
    let files = files(&farm, "/sites/team/Aufträge/", 1).await;
    assert!(files[0].path.ends_with(&format!("/{id}.xml")), "{files:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_while_it_is_archived_is_taken_anew() {
    let farm = farm().await;
    let partner = Partner::start().await;
    let app = takes(&farm, &partner, "");
    let people = farm.visitor(0, "t-people");
    people
        .put("Orders", "a.xml", order_xml("one", "k", 300))
        .await;
    farm.fault(&json!({ "kind": "late", "call": "MoveTo", "delay_ms": 1500, "next": 1 }))
        .await;
    let (_node, gateway) = node(&app).await;
    // The look behind it is the last before the document is moved.
    wait_for("the look behind the checkout", PATIENCE, async || {
        let log = farm.log_from(0).await;
        let mut behind = log
            .iter()
            .skip_while(|it| it["call"] != "UndoCheckOut")
            .skip(1);
        if behind.any(|it| it["method"] == "GET") {
            Ok(())
        } else {
            Err(format!("{log:?}"))
        }
    })
    .await;
    people
        .replace("Orders", "a.xml", order_xml("two", "k", 300))
        .await;
    partner.wait_for_ids(&["one", "two"], PATIENCE).await;
    gateway.drained(PATIENCE).await;
    files(&farm, "/sites/team/Archive/Done/", 1).await;
    let found: BTreeSet<_> = effects(&partner.log().await).into_keys().collect();
    assert_eq!(found, ["one", "two"].map(str::to_owned).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_document_that_nobody_may_have_stops_no_other() {
    let farm = farm().await;
    let partner = Partner::start().await;
    let app = takes(&farm, &partner, "");
    let people = farm.visitor(0, "t-people");
    for id in ["a", "b", "c"] {
        people
            .put("Orders", &format!("{id}.xml"), order_xml(id, "k", 300))
            .await;
    }
    // The first one that is tried, whichever that is.
    farm.fault(&json!({ "kind": "status", "status": 403, "call": "CheckOut", "next": 1 }))
        .await;
    let (_node, gateway) = node(&app).await;
    wait_for("the others to be archived", PATIENCE, async || {
        let all = farm.documents().await;
        let done = all
            .iter()
            .filter(|it| it.path.starts_with("/sites/team/Archive/Done/"))
            .count();
        if done == 2 {
            Ok(())
        } else {
            Err(format!("{all:?}"))
        }
    })
    .await;
    gateway.drained(PATIENCE).await;
    assert_eq!(effects(&partner.log().await).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_an_ordered_port_nothing_overtakes_what_failed_for_a_moment() {
    let farm = farm().await;
    let partner = Partner::start().await;
    let app = takes(&farm, &partner, "ordered = true");
    let people = farm.visitor(0, "t-people");
    let ids: Vec<String> = (0..8).map(|no| format!("d{no}")).collect();
    for id in &ids {
        people
            .put("Orders", &format!("{id}.xml"), order_xml(id, "k", 300))
            .await;
    }
    for (call, status, after) in [
        ("GET Content", 500, 0),
        ("CheckOut", 500, 2),
        ("GET Content", 403, 3),
    ] {
        farm.fault(
            &json!({ "kind": "status", "status": status, "call": call, "after": after, "next": 1 }),
        )
        .await;
    }
    let (_node, gateway) = node(&app).await;
    files(&farm, "/sites/team/Archive/Done/", ids.len()).await;
    gateway.drained(PATIENCE).await;
    let log = partner.log().await;
    let order: Vec<String> = log
        .iter()
        .filter(|it| it.effect)
        .map(|it| it.id.clone())
        .collect();
    assert_eq!(order, ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_came_back_for_is_swept_out_of_staging_and_nothing_else() {
    let farm = farm().await;
    let app = sends(
        &farm,
        "Orders",
        "file_name = \"{msg.id}.xml\"\nsweep_after = \"1m\"",
    );
    let (_node, gateway) = node(&app).await;
    // The folder is there from the first message on.
    post(&gateway, "<a/>".to_owned()).await;
    gateway.drained(PATIENCE).await;
    let people = farm.visitor(0, "t-people");
    let staging = "Orders/quayside-staging";
    for name in ["old.part", "fresh.part", "notes.txt"] {
        people.put(staging, name, order_xml(name, "k", 300)).await;
    }
    for name in ["old.part", "notes.txt"] {
        let path = format!("/sites/team/{staging}/{name}");
        farm.age(&path, Duration::from_secs(3600)).await;
    }
    let left = wait_for("the old one to go", PATIENCE, async || {
        let all = farm.documents().await;
        let there = all
            .iter()
            .filter(|it| it.path.contains(staging) && !it.folder);
        let names: BTreeSet<String> = there
            .filter_map(|it| Some(it.path.rsplit_once('/')?.1.to_owned()))
            .collect();
        if names.contains("old.part") {
            Err(format!("{names:?}"))
        } else {
            Ok(names)
        }
    })
    .await;
    let kept = ["fresh.part", "notes.txt"].map(str::to_owned);
    assert_eq!(left, kept.into());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_checked_out_too_late_and_died_is_freed_in_the_archive() {
    let farm = farm().await;
    let partner = Partner::start().await;
    // A process that was late for a document has found it by its id in the archive, and has died with its checkout.
    let late = farm.visitor(0, "t-app");
    for folder in ["Archive", "Archive/Done"] {
        late.put(folder, "late.xml", order_xml("late", "k", 300))
            .await;
        late.check_out(folder, "late.xml").await;
    }
    let (_node, _gateway) = node(&takes(&farm, &partner, "")).await;
    // Two sweeps: who else is at work there is not known.
    wait_for("the checkout to end", PATIENCE, async || {
        let held: Vec<_> = farm.documents().await;
        let held: Vec<_> = held
            .iter()
            .filter(|it| it.checked_out_by.is_some())
            .collect();
        // Beside the archive nothing is this location's.
        match held[..] {
            [other] if other.path == "/sites/team/Archive/late.xml" => Ok(()),
            _ => Err(format!("{held:?}")),
        }
    })
    .await;
    assert_eq!(files(&farm, "/sites/team/Archive", 2).await.len(), 2);
}
