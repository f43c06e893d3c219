//! CloudEvents on the wire.

use serde_json::json;

use crate::{
    gateway::{Gateway, Verdict},
    receive::client,
};

#[tokio::test]
async fn events_are_taken_apart() {
    let mut gateway = Gateway::start().await;
    let block = |path, mode| json!({ "path": path, "cloudevents": mode });
    gateway
        .location(block("/off", "off"), |_| Verdict::Accept)
        .await;
    gateway
        .location(block("/accept", "accept"), |_| Verdict::Accept)
        .await;
    gateway
        .location(block("/require", "require"), |_| Verdict::Accept)
        .await;
    let binary = |path| {
        let request = client().post(gateway.url(path)).body("<a/>");
        let request = request.header("ce-specversion", "1.0").header("ce-id", "7");
        request
            .header("ce-source", "/shop%20a")
            .header("ce-type", "order")
    };
    let typed = |path, content_type: &str, body: &str| {
        client()
            .post(gateway.url(path))
            .header("content-type", content_type)
            .body(body.to_owned())
    };
    let document =
        r#"{"specversion":"1.0","id":"8","source":"/shop a","type":"order","data":{"n":1.10}}"#;
    let json_event = "application/cloudevents+json; charset=utf-8";
    let batch = "application/cloudevents-batch+json";
    for (request, status) in [
        (binary("/off"), 202),
        (binary("/accept"), 202),
        (binary("/accept").header("idempotency-key", "own"), 202),
        (binary("/require").body(""), 202),
        (typed("/accept", json_event, document), 202),
        (typed("/accept", "text/xml", "<a/>"), 202),
        (typed("/require", "text/xml", "<a/>"), 400),
        (typed("/accept", json_event, "{}"), 400),
        (typed("/accept", batch, "[]"), 415),
        (binary("/accept").header("ce-id", "9"), 400),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(
            response.status(),
            status,
            "{}",
            response.text().await.unwrap()
        );
    }
    let seen = gateway.seen.lock().unwrap();
    let keys: Vec<_> = seen
        .iter()
        .map(|s| s.key.as_ref().map(|key| key.key.to_string()))
        .collect();
    let (event, own) = (Some("/shop a\n7".to_owned()), Some("own".to_owned()));
    let structured = Some("/shop a\n8".to_owned());
    assert_eq!(keys, [None, event.clone(), own, event, structured, None]);
    assert_eq!(seen[1].promoted("ce.source").as_deref(), Some("/shop a"));
    assert_eq!(seen[4].promoted("ce.type").as_deref(), Some("order"));
    assert_eq!(seen[4].content_type.as_deref(), Some("application/json"));
    assert_eq!(seen[4].body, br#"{"n":1.10}"#);
}
