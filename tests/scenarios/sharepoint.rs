//! Documents go into a library and come out of one: each once, whole, with its columns, whatever becomes of answers;
//! nothing is left staged or checked out.

use std::{collections::BTreeSet, fs, net::SocketAddr, time::Duration};

use quayside_harness::{App, Document, Gateway, Haproxy, Node, SharePoint, client, wait_for};
use serde_json::{Value, json};

/// How long everything may take to come through.
const PATIENCE: Duration = Duration::from_secs(90);

/// A token that stands in a secret.
const BEARER: &str = r#"{ bearer = { secret = "farm" } }"#;

/// A Windows account whose connections log in.
const NTLM: &str = r#"{ ntlm = { user = 'FARM\bob', password = { secret = "farm" } } }"#;

async fn farm() -> SharePoint {
    farm_of(1).await
}

/// A farm of so many front ends.
async fn farm_of(front_ends: usize) -> SharePoint {
    let arguments = [
        "--library",
        "Orders=Orders",
        "--library",
        "Archive=Archive",
        "--column",
        "Total:Number",
        "--column",
        "Ref:Text,indexed",
        "--token",
        "t-app",
        "--account",
        "FARM\\bob:t-app",
    ];
    SharePoint::start(front_ends, &arguments).await
}

/// An application that puts what comes over HTTP into the library `Orders`, takes it out of there, archives it, and
/// puts a copy into a folder. It logs in as `auth` says; `send` is added to the send port.
fn app(farm: &SharePoint, auth: &str, send: &str) -> App {
    app_at(farm.front_ends()[0], auth, send)
}

/// The same with a farm that is reached here.
fn app_at(farm: SocketAddr, auth: &str, send: &str) -> App {
    let site = format!("http://{farm}/sites/team");
    App::new(&format!(
        r#"[app]
name = "t"

[message.order]
type = "urn:orders#Order"
[message.order.namespaces]
o = "urn:orders"
[message.order.promote]
OrderId = {{ xpath = "/o:Order/o:Id", required = true }}
Total = {{ xpath = "/o:Order/o:Total", type = "decimal", required = true }}

[receive.web]
host = "edge"
message = "order"
[receive.web.location.in.http]
path = "/in"

[send.out]
host = "edge"
filter = "msg.origin == 't.web.in'"
retry = {{ attempts = 1000, first = "50ms", factor = 1.5, max = "500ms" }}
[send.out.primary.sharepoint]
site = "{site}"
library = "Orders"
file_name = "po {{OrderId}} #%MessageID% 100\\%.xml"
columns = {{ Title = "{{OrderId}}", Total = {{ value = "{{Total}}", type = "number" }} }}
auth = {auth}
{send}

[receive.library]
host = "edge"
[receive.library.location.in.sharepoint]
site = "{site}"
library = "Orders"
auth = {auth}
poll = "100ms"
after = {{ archive = "Archive/Done" }}
promote = ["Title"]

[send.copy]
host = "edge"
filter = "msg.origin == 't.library.in'"
[send.copy.primary.file]
folder = "copies"
create = true
file_name = "{{sharepoint.column.Title}}-{{msg.id}}.xml"
"#
    ))
}

fn order(id: &str) -> String {
    format!("<Order xmlns=\"urn:orders\"><Id>{id}</Id><Total>12.50</Total></Order>")
}

/// Hands an order in and gives the id of its message.
async fn post(gateway: &Gateway, id: &str) -> String {
    let headers = [("content-type", "application/xml")];
    let request = client::request("POST", gateway.http, "/in", &headers, order(id).into());
    let reply = client::once(gateway.http, request, PATIENCE).await;
    let reply = reply.expect("an answer");
    assert_eq!(reply.status, 202, "{}", reply.text());
    let id = reply.json()["id"].as_str().map(str::to_owned);
    id.unwrap_or_else(|| panic!("{}", reply.text()))
}

/// The contents of the copies.
fn copies(node: &Node) -> Vec<String> {
    let Ok(folder) = fs::read_dir(node.data_dir().join("copies")) else {
        return Vec::new();
    };
    let mut copies: Vec<String> = folder
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|it| it == "xml"))
        .map(|path| fs::read_to_string(path).expect("a copy is text"))
        .collect();
    copies.sort();
    copies
}

/// The documents, when `count` of them are archived and nothing else is left.
async fn archived(farm: &SharePoint, count: usize) -> Vec<Document> {
    wait_for("the documents to be archived", PATIENCE, async || {
        let all = farm.documents().await;
        let files: Vec<Document> = all.into_iter().filter(|it| !it.folder).collect();
        let is_done = |it: &Document| it.path.starts_with("/sites/team/Archive/Done/");
        if files.len() == count && files.iter().all(is_done) {
            return Ok(files);
        }
        Err(format!("{files:?}"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_goes_in_with_its_columns_and_comes_out_with_them() {
    let farm = farm().await;
    let app = app(&farm, BEARER, "stamp = \"Ref\"");
    let node = Node::new("node-a", app.path()).with_secret("farm", "t-app");
    let gateway = node.start().await;
    let id = post(&gateway, "17").await;

    let done = archived(&farm, 1).await;
    let document = &done[0];
    let path = format!("/sites/team/Archive/Done/po 17 #{id} 100%.xml");
    assert_eq!(document.path, path);
    assert_eq!(document.fields["Title"], "17");
    assert_eq!(document.fields["Total"], json!(12.5));
    assert_eq!(document.fields["Ref"], format!("{id}.0"));
    assert_eq!(document.checked_out_by, None);
    gateway.drained(PATIENCE).await;
    assert_eq!(copies(&node), [order("17")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_lost_make_no_document_twice() {
    let farm = farm().await;
    let app = app(&farm, BEARER, "");
    let node = Node::new("node-a", app.path()).with_secret("farm", "t-app");
    let gateway = node.start().await;
    for call in [
        "AddFile",
        "MERGE Item",
        "MoveTo",
        "CheckOut",
        "UndoCheckOut",
    ] {
        for kind in ["reset-before", "reset-after"] {
            farm.fault(&json!({ "kind": kind, "call": call, "share": 0.2 }))
                .await;
        }
    }
    let orders: BTreeSet<String> = (0..25).map(|no| format!("{no:02}")).collect();
    for id in &orders {
        post(&gateway, id).await;
    }
    archived(&farm, orders.len()).await;
    farm.heal().await;
    gateway.drained(PATIENCE).await;
    let wanted: Vec<String> = orders.iter().map(|id| order(id)).collect();
    assert_eq!(copies(&node), wanted);
    let left: Vec<_> = farm.documents().await;
    let left: Vec<_> = left
        .iter()
        .filter(|it| it.stub || it.checked_out_by.is_some())
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let counts = farm.counts().await;
    assert!(counts.to_string().contains("reset-after"), "{counts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_farm_that_asks_to_wait_or_to_log_in_again_is_obeyed() {
    let farm = farm().await;
    let once = |kind: &str, call: &str, more: &Value| {
        let mut fault = json!({ "kind": kind, "call": call, "next": 1 });
        for (key, value) in more.as_object().into_iter().flatten() {
            fault[key] = value.clone();
        }
        fault
    };
    let throttle = json!({ "status": 429, "retry_after": 1 });
    let basic = r#"{ basic = { user = 'FARM\bob', password = { secret = "farm" } } }"#;
    let command = r#"{ command = ["echo", "t-app"] }"#;
    for (count, (auth, fault)) in [
        (command, once("status", "MoveTo", &json!({ "status": 401 }))),
        (basic, once("digest", "MoveTo", &json!({}))),
        (NTLM, once("digest", "MoveTo", &json!({}))),
    ]
    .into_iter()
    .enumerate()
    {
        let app = app(&farm, auth, "");
        let node = Node::new("node-a", app.path()).with_secret("farm", "t-app");
        let mut gateway = node.start().await;
        farm.fault(&fault).await;
        farm.fault(&once("status", "AddFile", &throttle)).await;
        farm.fault(&once("status", "CheckOut", &throttle)).await;
        post(&gateway, "17").await;
        archived(&farm, count + 1).await;
        gateway.drained(PATIENCE).await;
        assert_eq!(copies(&node), [order("17")], "{auth}");
        farm.heal().await;
        gateway.stop(PATIENCE).await;
    }
    let counts = farm.counts().await;
    assert_eq!(counts["faults"]["status"], 7, "{counts}");
    assert_eq!(counts["faults"]["digest"], 2, "{counts}");
}

/// What the farm has done, call by call; every one of them for the account of [`NTLM`].
async fn calls_of_bob(farm: &SharePoint) -> Vec<Value> {
    let log = farm.log_from(0).await;
    let others: Vec<_> = log
        .iter()
        .filter(|call| call["account"] != "i:0#.w|farm\\bob")
        .collect();
    assert!(others.is_empty(), "{others:#?}");
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_log_in_again_and_documents_go_once() {
    let farm = farm().await;
    let app = app(&farm, NTLM, "");
    let node = Node::new("node-a", app.path()).with_secret("farm", "t-app");
    let gateway = node.start().await;
    farm.fault(&json!({ "kind": "close-after", "share": 0.3 }))
        .await;
    for (kind, call) in [
        ("reset-after", "MoveTo"),
        ("reset-before", "MoveTo"),
        ("reset-after", "AddFile"),
        ("reset-early", "AddFile"),
    ] {
        farm.fault(&json!({ "kind": kind, "call": call, "share": 0.3 }))
            .await;
    }
    let login = json!({ "kind": "status", "status": 401, "call": "MERGE Item", "share": 0.1 });
    farm.fault(&login).await;
    let orders: BTreeSet<String> = (0..25).map(|no| format!("{no:02}")).collect();
    for id in &orders {
        post(&gateway, id).await;
    }
    archived(&farm, orders.len()).await;
    farm.heal().await;
    gateway.drained(PATIENCE).await;
    let wanted: Vec<String> = orders.iter().map(|id| order(id)).collect();
    assert_eq!(copies(&node), wanted);
    calls_of_bob(&farm).await;
    let counts = farm.counts().await;
    for kind in ["close-after", "reset-after", "reset-early", "status"] {
        assert_ne!(counts["faults"][kind], Value::Null, "{counts}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_go_on_at_once_have_a_session_each() {
    const DELAY_MS: u64 = 1_000;
    let farm = farm().await;
    let app = app(&farm, NTLM, "");
    let node = Node::new("node-a", app.path()).with_secret("farm", "t-app");
    let gateway = node.start().await;
    let slow = json!({ "kind": "slow", "call": "AddFile", "delay_ms": DELAY_MS });
    farm.fault(&slow).await;
    let orders: BTreeSet<String> = (0..8).map(|no| format!("{no:02}")).collect();
    for id in &orders {
        post(&gateway, id).await;
    }
    archived(&farm, orders.len()).await;
    farm.heal().await;
    gateway.drained(PATIENCE).await;
    let log = calls_of_bob(&farm).await;
    let mut added: Vec<u64> = log
        .iter()
        .filter(|call| call["call"] == "AddFile")
        .filter_map(|call| call["at_us"].as_u64())
        .collect();
    added.sort_unstable();
    // Each stays on its connection until it is answered.
    let between = added.windows(2).map(|pair| pair[1] - pair[0]);
    let at_once = between.filter(|gap| *gap < DELAY_MS * 1_000 / 2).count();
    assert!(at_once >= 4, "{added:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_and_a_new_one_is_taken_at_once() {
    let farm = farm().await;
    let app = app(&farm, NTLM, "");
    let node = Node::new("node-a", app.path()).with_secret("farm", "wrong");
    let gateway = node.start().await;
    post(&gateway, "17").await;
    for port in ["t.out", "t.library.in"] {
        wait_for("the port to tell what is wrong", PATIENCE, async || {
            let view = gateway.api(&format!("ports/{port}")).await?.to_string();
            let told = view.contains("QS1117") && view.contains(r"FARM\\bob");
            told.then_some(()).ok_or(view)
        })
        .await;
    }
    node.set_secret("farm", "t-app");
    archived(&farm, 1).await;
    gateway.drained(PATIENCE).await;
    assert_eq!(copies(&node), [order("17")]);
    calls_of_bob(&farm).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn front_ends_die_behind_a_balancer_that_knows_ntlm() {
    let farm = farm_of(2).await;
    let balancer = Haproxy::start(farm.front_ends(), true).await;
    let app = app_at(balancer.addr(), NTLM, "");
    let node = Node::new("node-a", app.path()).with_secret("farm", "t-app");
    let gateway = node.start().await;
    for kind in ["kill-before", "kill-after"] {
        let kill = json!({ "kind": kind, "call": "MoveTo", "share": 0.1, "down_ms": 300 });
        farm.fault(&kill).await;
    }
    let orders: BTreeSet<String> = (0..20).map(|no| format!("{no:02}")).collect();
    for id in &orders {
        post(&gateway, id).await;
    }
    archived(&farm, orders.len()).await;
    farm.heal().await;
    gateway.drained(PATIENCE).await;
    let wanted: Vec<String> = orders.iter().map(|id| order(id)).collect();
    assert_eq!(copies(&node), wanted);
    calls_of_bob(&farm).await;
    assert_ne!(farm.counts().await["kills"], 0);
}
