//! Messages against the schema of their type: refused, suspended, or passed on with what was found.

use std::{fs, time::Duration};

use quayside_harness::{App, Gateway, Node, Partner, client, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};

/// How long everything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// An order has an id of four digits, and lines that name what is ordered.
const SCHEMA: &str = r#"{"type": "object", "required": ["id", "lines"], "properties": {
    "id": {"$ref": "common/id.json"},
    "lines": {"type": "array", "items": {"type": "object", "required": ["sku"]}}}}"#;

const ID: &str = r#"{"type": "string", "pattern": "^[0-9]{4}$"}"#;

/// One port for each way to treat what does not fit, and one that takes from a folder.
fn app(partner: &Partner) -> App {
    let port = |name: &str, validate: &str| {
        format!(
            "[receive.{name}]\nhost = \"edge\"\nmessage = \"order\"\nunrouted = \"suspend\"\n{validate}\n\
             [receive.{name}.location.web.http]\npath = \"/in/{name}\"\nmax_body = \"20 MiB\"\n"
        )
    };
    let text = format!(
        r#"[app]
name = "t"
[message.order]
type = "order"
schema = "schemas/order.json"
[message.order.promote]
Id = {{ jsonpath = "$.id" }}
{}{}{}{}
[receive.drop]
host = "edge"
message = "order"
[receive.drop.location.in.file]
folder = "drop"
create = true
poll = "50ms"
stable_for = "0s"
[send.out]
host = "edge"
filter = "msg.type == 'order' && (validation.result == 'valid' || msg.origin == 't.unseen.web')"
[send.out.primary.http]
url = "http://{}/orders"
[send.odd]
host = "edge"
filter = "validation.result == 'invalid'"
[send.odd.primary.http]
url = "http://{}/odd"
"#,
        port("refused", ""),
        port("kept", "validate = \"suspend\""),
        port("marked", "validate = \"warn\""),
        port("unseen", "validate = \"off\""),
        partner.addr(),
        partner.addr()
    );
    let app = App::new(&text);
    fs::create_dir_all(app.path().join("schemas/common")).expect("a folder");
    fs::write(app.path().join("schemas/order.json"), SCHEMA).expect("a schema");
    fs::write(app.path().join("schemas/common/id.json"), ID).expect("a schema");
    app
}

async fn post(gateway: &Gateway, way: &str, body: impl Into<String>) -> client::Reply {
    let headers = [("content-type", "application/json")];
    let path = format!("/in/{way}");
    let request = client::request("POST", gateway.http, &path, &headers, body.into().into());
    let reply = client::once(gateway.http, request, PATIENCE).await;
    reply.unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The way of a message, once it satisfies `done`.
async fn way(gateway: &Gateway, message: &str, done: impl Fn(&Value) -> bool) -> Value {
    wait_for("the way of the message", PATIENCE, async || {
        let way = gateway.way(message).await?;
        if done(&way) {
            Ok(way)
        } else {
            Err(format!("{way:#}"))
        }
    })
    .await
}

fn id(reply: &client::Reply) -> String {
    assert_eq!(reply.status, 202, "{}", reply.text());
    reply.json()["id"].as_str().expect("an id").to_owned()
}

/// What suspended a message.
fn failure(way: &Value) -> &Value {
    &way["legs"][0]["failure"]
}

fn order(id: &str, lines: &str) -> String {
    format!(r#"{{"id": "{id}", "lines": [{lines}]}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_treated_as_the_port_says() {
    let partner = Partner::start().await;
    let app = app(&partner);
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;

    let good = order("1234", r#"{"sku": "a"}"#);
    let bad = order("12", r#"{"sku": "a"}, {}"#);
    for way in ["refused", "kept", "marked", "unseen"] {
        id(&post(&gateway, way, good.as_str()).await);
    }
    gateway.drained(PATIENCE).await;
    assert_eq!(partner.log().await.len(), 4);

    // Refused, with a line for each finding; nothing of it is stored.
    let reply = post(&gateway, "refused", bad.as_str()).await;
    assert_eq!(
        (reply.status.as_u16(), reply.code()),
        (422, "QS0228".to_owned())
    );
    let detail = reply.json()["detail"]
        .as_str()
        .expect("a detail")
        .to_owned();
    for line in ["/id: ", "/lines/1: "] {
        assert!(
            detail.lines().any(|found| found.starts_with(line)),
            "{detail}"
        );
    }

    // Suspended with them.
    let kept = id(&post(&gateway, "kept", bad.as_str()).await);
    let told = way(&gateway, &kept, |way| failure(way)["code"] == "QS0228").await;
    let detail = failure(&told)["detail"].to_string();
    assert!(detail.contains("/lines/1: "), "{told:#}");

    // Passed on, and routed by the result.
    let marked = id(&post(&gateway, "marked", bad.as_str()).await);
    let told = way(&gateway, &marked, |way| way["live"] == 0).await;
    assert_eq!(told["legs"][0]["port"], "t.odd", "{told:#}");
    let message = gateway
        .api(&format!("messages/{marked}"))
        .await
        .expect("it is there");
    assert!(message.to_string().contains("/lines/1: "), "{message:#}");

    // Nobody looks.
    id(&post(&gateway, "unseen", bad.as_str()).await);

    // From a folder nobody is there to be told: kept.
    fs::write(node.data_dir().join("drop/bad.json"), &bad).expect("a file");
    wait_for("the file to be suspended", PATIENCE, async || {
        let list = gateway.api("deliveries?state=suspended&limit=10").await?;
        let of_drop = |row: &&Value| row["port"] == "t.drop.in";
        let found = quayside_harness::items(&list).iter().find(of_drop).cloned();
        found.map(drop).ok_or_else(|| list.to_string())
    })
    .await;

    // A schema that is repaired, and a message that is resumed, which is judged anew.
    fs::write(app.path().join("schemas/common/id.json"), "{}").expect("a schema");
    let loose = SCHEMA.replace("\"required\": [\"sku\"]", "\"required\": []");
    fs::write(app.path().join("schemas/order.json"), loose).expect("a schema");
    let before = gateway.api("status").await.expect("a status")["config_version"].as_u64();
    gateway.process.signal(Signal::HUP);
    wait_for("the repaired schema", PATIENCE, async || {
        let now = gateway.api("status").await?["config_version"].as_u64();
        if now > before {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
    let ids = json!({ "ids": [format!("{kept}.0")] });
    let outcome = gateway
        .post("deliveries/resume", &ids)
        .await
        .expect("it answers");
    assert_eq!(outcome["outcomes"][0]["outcome"], "done");
    way(&gateway, &kept, |way| way["live"] == 0).await;
    wait_for("the resumed message at the partner", PATIENCE, async || {
        let seen = partner.log().await.len();
        if seen == 7 {
            Ok(())
        } else {
            Err(format!("{seen} effects"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_documents_are_judged_as_small_ones_and_too_large_ones_refused() {
    let partner = Partner::start().await;
    let app = app(&partner);
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    let lines = |count: usize, last: &str| {
        let line = format!(r#"{{"sku": "{}"}},"#, "a".repeat(90));
        order("1234", &format!("{}{last}", line.repeat(count)))
    };
    // On a thread of its own, and in chunks of the store.
    for count in [50, 400, 20_000] {
        id(&post(&gateway, "refused", lines(count, r#"{"sku": "b"}"#)).await);
        let reply = post(&gateway, "refused", lines(count, "{}")).await;
        assert_eq!(
            (reply.status.as_u16(), reply.code()),
            (422, "QS0228".to_owned()),
            "{count}"
        );
        // Of a short one the place is told.
        let told = if count == 50 {
            "/lines/50"
        } else {
            "it does not fit"
        };
        assert!(reply.text().contains(told), "{}", reply.text());
    }
    let reply = post(&gateway, "refused", lines(60_000, r#"{"sku": "b"}"#)).await;
    assert_eq!(
        (reply.status.as_u16(), reply.code()),
        (422, "QS0230".to_owned())
    );
    // What a library would take for something else than it is.
    let hidden = r#"{"$serde_json::private::RawValue": "{\"sku\": \"a\"}"}"#;
    let reply = post(&gateway, "refused", order("1234", hidden)).await;
    assert_eq!(
        (reply.status.as_u16(), reply.code()),
        (422, "QS0228".to_owned())
    );
    // Whoever sends what is no document hears of that, and not of the schema.
    let reply = post(&gateway, "refused", "{").await;
    assert_eq!(reply.code(), "QS0212");
    gateway.drained(PATIENCE).await;
    assert_eq!(partner.log().await.len(), 3);
}

/// What no stream can find is found in the whole document, and one that is too large for that is refused.
#[tokio::test(flavor = "multi_thread")]
async fn promotions_by_any_path_route_and_have_their_bounds() {
    let partner = Partner::start().await;
    let app = App::new(&format!(
        "[app]\nname = \"t\"\n[message.order]\ntype = \"urn:o#Order\"\nnamespaces = {{ o = \"urn:o\" }}\n\
         [message.order.promote]\nLines = {{ xpath = \"count(//o:Line)\", type = \"integer\", required = true }}\n\
         [receive.in]\nmessage = \"order\"\n[receive.in.location.web.http]\npath = \"/in/orders\"\nmax_body = \"20 MiB\"\n\
         [send.out]\nfilter = \"Lines == 2\"\n[send.out.primary.http]\nurl = \"http://{}/orders\"\n",
        partner.addr()
    ));
    let node = Node::new("node-a", app.path());
    let gateway = node.start().await;
    let send = async |body: String| {
        let headers = [("content-type", "application/xml")];
        let request = client::request("POST", gateway.http, "/in/orders", &headers, body.into());
        let reply = client::once(gateway.http, request, PATIENCE).await;
        reply.expect("an answer")
    };
    // In memory, in chunks, and too large.
    for (padding, code) in [(0, ""), (1 << 20, ""), (5 << 20, "QS0231")] {
        let note = "x".repeat(padding);
        let reply = send(format!(
            "<Order xmlns='urn:o'><Line/><a><Line/></a><Note>{note}</Note></Order>"
        ))
        .await;
        match code {
            "" => drop(id(&reply)),
            code => assert_eq!(reply.code(), code, "{}", reply.text()),
        }
    }
    let reply = send("<Order xmlns='urn:o'><Line/></Order>".to_owned()).await;
    assert_eq!(
        reply.code(),
        "QS0801",
        "another number of lines: {}",
        reply.text()
    );
    gateway.drained(PATIENCE).await;
    assert_eq!(partner.log().await.len(), 2);
}
