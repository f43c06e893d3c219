//! The admin API as programs meet it: real answers fit the schemas of its own description.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::dev::{APP, Dev, ORDER};

/// A port that fails, so that answers hold failures too.
const LOST: &str = r#"
[send.lost]
filter = "msg.type == 'urn:orders#Order'"
retry = { attempts = 2, first = "1ms" }
primary.http = { url = "http://127.0.0.1:1/" }
"#;

/// Holds `value` against `schema`; the faults name their places. The keywords that the description uses,
/// and no others: one that is not known is a fault.
fn faults(document: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (keyword, wanted) in schema.as_object().expect("a schema is an object") {
        match keyword.as_str() {
            "$ref" => {
                let name = wanted.as_str().and_then(|name| name.rsplit('/').next());
                let schema = &document["components"]["schemas"][name.expect("a name")];
                found.extend(faults(document, schema, value, place));
            }
            "type" if !has_type(wanted, value) => {
                found.push(format!("{place}: {value} is not of type {wanted}"));
            }
            "enum" if !wanted.as_array().expect("a list").contains(value) => {
                found.push(format!("{place}: {value} is none of {wanted}"));
            }
            "minimum" if value.is_number() && value.as_f64() < wanted.as_f64() => {
                found.push(format!("{place}: {value} is below {wanted}"));
            }
            "anyOf" => {
                let ways = wanted.as_array().expect("a list").iter();
                let ways: Vec<_> = ways.map(|s| faults(document, s, value, place)).collect();
                if ways.iter().all(|way| !way.is_empty()) {
                    found.extend(ways.into_iter().flatten());
                }
            }
            "required" if value.is_object() => {
                let names = wanted.as_array().expect("a list").iter();
                let missing = names.filter(|name| value.get(name.as_str().unwrap_or("")).is_none());
                found.extend(missing.map(|name| format!("{place}: {name} is missing")));
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(faults(document, wanted, item, &format!("{place}[{index}]")));
                }
            }
            "properties" | "additionalProperties" => {}
            "type" | "enum" | "minimum" | "required" | "format" | "description" => {}
            other => found.push(format!("{place}: the keyword {other} is not known here")),
        }
    }
    for (name, item) in value.as_object().into_iter().flatten() {
        let place = format!("{place}.{name}");
        match (
            schema["properties"].get(name),
            schema.get("additionalProperties"),
        ) {
            (Some(schema), _) => found.extend(faults(document, schema, item, &place)),
            (None, Some(Value::Bool(false))) => found.push(format!("{place} is not described")),
            (None, Some(schema @ Value::Object(_))) => {
                found.extend(faults(document, schema, item, &place));
            }
            (None, _) => {}
        }
    }
    found
}

fn has_type(wanted: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    match wanted {
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        name => name.as_str().is_some_and(is),
    }
}

#[test]
fn the_check_of_schemas_notices_what_is_wrong() {
    let document =
        json!({ "components": { "schemas": { "N": { "type": "integer", "minimum": 0 } } } });
    let schema = json!({
        "type": "object",
        "properties": {
            "n": { "$ref": "#/components/schemas/N" },
            "w": { "type": "string", "enum": ["a"] },
            "m": { "anyOf": [{ "type": "null" }, { "type": "array", "items": { "type": "string" } }] },
        },
        "required": ["n"],
        "additionalProperties": false,
    });
    for (value, wrong) in [
        (json!({ "n": 1, "w": "a", "m": ["x"] }), ""),
        (json!({ "n": 1, "m": null }), ""),
        (json!({ "n": -1 }), "$.n: -1 is below 0"),
        (json!({ "n": "1" }), "$.n: \"1\" is not of type \"integer\""),
        (json!({ "n": 1, "w": "b" }), "$.w: \"b\" is none of [\"a\"]"),
        (
            json!({ "n": 1, "m": [1] }),
            "$.m: [1] is not of type \"null\"",
        ),
        (json!({}), "$: \"n\" is missing"),
        (json!({ "n": 1, "x": 1 }), "$.x is not described"),
        (json!([]), "$: [] is not of type \"object\""),
    ] {
        let found = faults(&document, &schema, &value, "$");
        assert_eq!(found.first().map_or("", String::as_str), wrong, "{value}");
    }
}

/// Calls that succeed, but for the last one: method, path, body. `ID` stands for the id of a message.
const CALLS: &str = r#"
get /messages?limit=1
get /messages?state=suspended&limit=1
get /messages/ID
get /messages/ID/routing
get /deliveries
get /ports
get /ports/orders.lost
get /ports/orders.orders.web
post /ports/orders.archive/pause {"for":"1h","reason":"x"}
post /ports/orders.archive/resume
post /ports/orders.archive/stop
post /ports/orders.archive/start
post /ports/orders.archive/test
post /ports/orders.lost/unenlist
post /messages/ID/resubmit
post /deliveries/resume {"ids":["ID.7"]}
post /deliveries/terminate {"ids":["ID.0","ID.1"]}
post /ports/orders.lost/enlist
get /messages/ID
get /instances
get /cluster
get /status
get /openapi.json
post /store/backup {"to":"/nowhere/at/all.db"}
"#;

/// The path by which the description knows `path`.
pub(crate) fn known(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let mut segments: Vec<&str> = path.split('/').collect();
    match &mut segments[..] {
        [_, "cluster", "hosts", named, ..] => *named = "{host}",
        [_, "cluster", "nodes", named, ..] => *named = "{node}",
        [_, "messages", named, ..] => *named = "{id}",
        [_, "orchestrations", "instances", named, ..] | [_, "orchestrations", named, "graph"] => {
            *named = "{id}";
        }
        [_, "ports" | "locations", named, ..] => *named = "{name}",
        _ => {}
    }
    segments.join("/")
}

/// Calls of the API, each of whose answers is held against the description.
pub(crate) struct Calls<'a> {
    dev: &'a Dev,
    document: Value,
    asked: BTreeSet<String>,
}

impl<'a> Calls<'a> {
    pub(crate) fn new(dev: &'a Dev) -> Self {
        let document = dev.call("GET", "/api/v1/openapi.json", "");
        Self {
            dev,
            document: serde_json::from_str(&document.body).expect("JSON"),
            asked: BTreeSet::new(),
        }
    }

    /// Makes a call: method, path and body. Its status and what was answered.
    pub(crate) fn make(&mut self, call: &str) -> (u16, Value) {
        let mut words = call.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default();
        let (method, path, body) = (word(), word(), word());
        let path_of_all = format!("/api/v1{path}");
        let answer = self.dev.call(&method.to_uppercase(), &path_of_all, body);
        let known = known(path);
        self.asked.insert(format!("{method} {known}"));
        let responses = &self.document["paths"][format!("/api/v1{known}")][method]["responses"];
        let described = responses.get(answer.status.to_string());
        let described = described.unwrap_or(&responses["default"]);
        let (kind, content) = described["content"]
            .as_object()
            .and_then(|content| content.iter().next())
            .unwrap_or_else(|| panic!("{method} {known} is not described"));
        let said = format!("{method} {known}: {answer:?}");
        assert!(
            answer.head.contains(&format!("content-type: {kind}")),
            "{said}"
        );
        let value: Value = serde_json::from_str(&answer.body).expect(&said);
        let found = faults(&self.document, &content["schema"], &value, "$");
        assert!(found.is_empty(), "{said}\n{found:#?}");
        (answer.status, value)
    }

    /// The routes of the description, of those that `of`, that no call was made to.
    pub(crate) fn left(&self, of: impl Fn(&str) -> bool) -> Vec<String> {
        let paths = self.document["paths"].as_object().expect("paths");
        let routes = paths.iter().flat_map(|(path, methods)| {
            let path = path.trim_start_matches("/api/v1");
            let methods = methods.as_object().expect("methods").keys();
            methods.map(move |method| format!("{method} {path}"))
        });
        routes
            .filter(|route| of(route) && !self.asked.contains(route))
            .collect()
    }
}

#[test]
fn real_answers_fit_the_description() {
    let dev = Dev::with(&format!("{APP}{LOST}"));
    let mut calls = Calls::new(&dev);
    let (status, sent) = calls.make(&format!(
        "post /locations/orders.orders.web/messages {ORDER}"
    ));
    assert_eq!(status, 202, "{sent}");
    let id = sent["id"].as_str().expect("an id").to_owned();
    dev.wait_for("suspension", |dev| {
        let way = dev.json(&["messages", "show", &id]);
        (way["suspended"] == 1 && way["live"] == 1).then_some(())
    });
    for call in CALLS.trim().lines() {
        let (status, value) = calls.make(&call.replace("ID", &id));
        let refused = call.contains("/store/backup");
        assert_eq!(status >= 300, refused, "{call}: {value}");
    }
    for (path, wanted) in [
        ("/messages/x", 400),
        ("/messages?colour=red", 400),
        ("/messages?state=lost", 400),
        ("/messages?since=yesterday", 400),
        ("/messages/01a1fd9f-bda8-7aaa-8980-a336a86d5cba", 404),
        (
            "/messages/01a1fd9f-bda8-7aaa-8980-a336a86d5cba/routing",
            404,
        ),
        ("/ports/none", 404),
        // One process keeps no cluster; `cluster.rs` makes these calls where there is one.
        ("/cluster/history", 409),
        ("/cluster/hosts/none", 404),
    ] {
        let (status, value) = calls.make(&format!("get {path}"));
        assert_eq!(status, wanted, "{path}: {value}");
    }
    assert_eq!(
        // `cluster.rs` and `orchestrations.rs` make the calls that need a cluster or an orchestration.
        calls.left(|route| !route.contains(" /cluster") && !route.contains(" /orchestrations")),
        ["get /messages/{id}/body"],
        "bytes of a partner have no schema"
    );
}

#[test]
fn what_nobody_serves_is_a_problem_document_too() {
    let dev = Dev::start();
    for (method, path, status) in [
        ("GET", "/nowhere", 404),
        ("GET", "/api/v1/nowhere", 404),
        ("DELETE", "/api/v1/ports", 405),
        ("POST", "/api/v1/deliveries/resume", 400),
    ] {
        let answer = dev.call(method, path, "");
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(
            answer.head.contains("application/problem+json"),
            "{answer:?}"
        );
        let problem: Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!(problem["status"], status);
        assert!(
            problem["help"].is_string() && problem["code"].is_string(),
            "{problem}"
        );
    }
}

#[test]
fn metrics_keep_to_the_format_and_count_each_port() {
    let dev = Dev::with(&format!("{APP}{LOST}"));
    let sent = dev.call(
        "POST",
        "/api/v1/locations/orders.orders.web/messages",
        ORDER,
    );
    assert_eq!(sent.status, 202, "{sent:?}");
    let wanted = [
        "quayside_port_done_total{port=\"orders.archive\",kind=\"send\"} 1",
        "quayside_port_failed_attempts_total{port=\"orders.lost\",kind=\"send\"} 1",
        "quayside_port_suspensions_total{port=\"orders.lost\",kind=\"send\"} 1",
        "quayside_port_suspended{port=\"orders.lost\",kind=\"send\"} 1",
        "quayside_port_waiting{port=\"orders.archive\",kind=\"send\"} 0",
        "quayside_port_up{port=\"orders.orders.web\",kind=\"location\"} 1",
    ];
    let page = dev.wait_for("counts of each port", |dev| {
        let page = dev.call("GET", "/metrics", "").body;
        wanted
            .iter()
            .all(|line| page.lines().any(|l| l == *line))
            .then_some(page)
    });
    assert!(page.contains("quayside_port_last_success_timestamp_seconds{port=\"orders.archive\""));
    let mut typed = BTreeSet::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a kind");
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(typed.insert(name.to_owned()), "{line} twice");
            assert!(page.contains(&format!("# HELP {name} ")), "{line}");
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().expect("a name");
            assert!(typed.contains(name), "{line}");
            let value = line.rsplit(' ').next().expect("a value");
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
}
