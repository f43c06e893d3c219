//! What a farm says no with: what passes is tried again and told, what does not ends suspended with the farm's code and a
//! remedy, and a credential that is refused stops the port until it is repaired.

use std::time::Duration;

use quayside_harness::{App, Gateway, Node, SharePoint, client, process, program, wait_for};
use serde_json::{Value, json};

/// How long a message may take to its end.
const PATIENCE: Duration = Duration::from_secs(60);

async fn farm() -> SharePoint {
    let arguments = [
        "--library",
        "Orders=Orders",
        "--column",
        "Total:Number",
        "--column",
        "Ref:Text,unique",
        "--token",
        "t-app",
    ];
    SharePoint::start(1, &arguments).await
}

/// Puts what comes over HTTP into the library, with what `port` adds to the settings of its transport.
fn app(farm: &SharePoint, port: &str) -> App {
    let site = format!("http://{}/sites/team", farm.front_ends()[0]);
    App::new(&format!(
        r#"[app]
name = "t"

[message.order]
type = "urn:orders#Order"
[message.order.namespaces]
o = "urn:orders"
[message.order.promote]
OrderId = {{ xpath = "/o:Order/o:Id", required = true }}

[receive.web]
host = "edge"
message = "order"
[receive.web.location.in.http]
path = "/in"

[send.out]
host = "edge"
filter = "msg.origin == 't.web.in'"
retry = {{ attempts = 100, first = "50ms", factor = 1.5, max = "500ms" }}
[send.out.primary.sharepoint]
site = "{site}"
library = "Orders"
auth = {{ bearer = {{ secret = "farm" }} }}
{port}
"#
    ))
}

struct Site {
    farm: SharePoint,
    gateway: Gateway,
    node: Node,
    _app: App,
}

impl Site {
    async fn start(port: &str) -> Self {
        let farm = farm().await;
        let app = app(&farm, port);
        let node = Node::new("node-a", app.path()).with_secret("farm", "t-app");
        Self {
            gateway: node.start().await,
            farm,
            node,
            _app: app,
        }
    }

    /// Hands an order in and gives the id of its message.
    async fn post(&self, id: &str) -> String {
        let body = format!("<Order xmlns=\"urn:orders\"><Id>{id}</Id></Order>");
        let headers = [("content-type", "application/xml")];
        let to = self.gateway.http;
        let request = client::request("POST", to, "/in", &headers, body.into());
        let reply = client::once(to, request, PATIENCE)
            .await
            .expect("an answer");
        assert_eq!(reply.status, 202, "{}", reply.text());
        reply.json()["id"].as_str().expect("an id").to_owned()
    }

    /// The way of a message, when its only delivery is in `state`.
    async fn way(&self, id: &str, state: &str) -> String {
        wait_for(&format!("{id} to be {state}"), PATIENCE, async || {
            let way = self.gateway.way(id).await?;
            if way["legs"][0]["state"] == state {
                Ok(way.to_string())
            } else {
                Err(way.to_string())
            }
        })
        .await
    }

    /// What an operator reads of a message.
    fn shown(&self, id: &str) -> String {
        let admin = format!("http://{}", self.node.admin());
        let mut show = process::command(&program("quayside"));
        let show = show
            .args(["messages", "show", id, "--admin", &admin])
            .output();
        String::from_utf8_lossy(&show.expect("starting the command line").stdout).into_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_is_tried_again() {
    let site = Site::start(
        "file_name = \"{OrderId}.xml\"\ncolumns = { Total = { value = \"1\", type = \"number\" } }",
    )
    .await;
    let throttled = |call: &str| json!({ "kind": "status", "status": 429, "retry_after": 1, "call": call, "next": 1 });
    let once = |status: u16, call: &str| json!({ "kind": "status", "status": status, "call": call, "next": 1 });
    let cases: [(&str, Vec<Value>, Option<&str>); 7] = [
        (
            "throttled",
            vec![throttled("AddFile"), throttled("MoveTo")],
            None,
        ),
        (
            "throttled without a time",
            vec![once(429, "MoveTo"), once(503, "AddFile")],
            None,
        ),
        (
            "conflict",
            vec![once(409, "MERGE Item"), once(409, "MoveTo")],
            None,
        ),
        ("locked", vec![once(423, "MoveTo")], Some("QS1124")),
        ("changed", vec![once(412, "MERGE Item")], Some("QS1125")),
        (
            "busy",
            vec![once(500, "AddFile"), once(502, "MoveTo")],
            None,
        ),
        (
            "done without saying so",
            vec![json!({ "kind": "status-after", "status": 503, "call": "MoveTo", "next": 1 })],
            None,
        ),
    ];
    for (no, (name, faults, code)) in cases.into_iter().enumerate() {
        for fault in &faults {
            site.farm.fault(fault).await;
        }
        let id = site.post(&no.to_string()).await;
        let way = site.way(&id, "sent").await;
        if let Some(code) = code {
            assert!(way.contains(code), "{name}: {way}");
        }
        let counts = site.farm.counts().await;
        assert_eq!(
            site.farm
                .documents()
                .await
                .iter()
                .filter(|it| !it.folder)
                .count(),
            no + 1,
            "{name}: {counts}"
        );
        site.farm.heal().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_pass_ends_suspended_with_the_farms_code_and_a_remedy() {
    let name = "file_name = \"{OrderId}.xml\"";
    let columns = |columns: &str| format!("{name}\ncolumns = {{ {columns} }}");
    let missing = columns("Colour = 'red'");
    let number = columns("Total = '{OrderId}'");
    let typed = columns("Total = { value = '{OrderId}', type = 'number' }");
    let unique = "file_name = '{OrderId}-{msg.id}.xml'\ncolumns = { Ref = '{OrderId}' }";
    let query = "InvalidClientQueryException";
    for (port, order, code, farms, remedy) in [
        (name, "a:b", "QS1120", "-2130575245", "Correct the template"),
        (&missing, "1", "QS1122", query, "Correct the internal name"),
        (
            &number,
            "many",
            "QS1122",
            query,
            "Correct the internal name",
        ),
        (&typed, "many", "QS1122", query, "Correct the internal name"),
        (
            name,
            "taken",
            "QS1121",
            "-2130575257",
            "Make the names differ",
        ),
        (unique, "twice", "QS1123", "-2130575169", "If it is not"),
    ] {
        let site = Site::start(port).await;
        if ["taken", "twice"].contains(&order) {
            let first = site.post(order).await;
            site.way(&first, "sent").await;
        }
        let id = site.post(order).await;
        let way = site.way(&id, "suspended").await;
        assert!(way.contains(code) && way.contains(farms), "{port}: {way}");
        let shown = site.shown(&id);
        let remedy = format!("{code}: {remedy}");
        assert!(shown.contains(&remedy), "{port}: {shown}");
        let left: Vec<_> = site.farm.documents().await;
        let left: Vec<_> = left
            .iter()
            .filter(|it| it.path.ends_with(".part"))
            .collect();
        assert!(left.is_empty(), "{port}: {left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_is_refused_stops_the_port_until_it_is_repaired() {
    let site = Site::start("file_name = \"{OrderId}.xml\"").await;
    site.node.set_secret("farm", "t-wrong");
    let id = site.post("1").await;
    wait_for("the port to say what is wrong", PATIENCE, async || {
        let way = site.gateway.way(&id).await?.to_string();
        if way.contains("QS1117") && way.contains("401") {
            Ok(())
        } else {
            Err(way)
        }
    })
    .await;
    site.node.set_secret("farm", "t-app");
    site.way(&id, "sent").await;
}
