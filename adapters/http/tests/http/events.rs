//! CloudEvents on the wire.

use quayside_adapter_api::RejectKind;
use quayside_adapter_http::error;
use serde_json::{Value, json};

use crate::{
    gateway::{Gateway, ID, OTHER, Verdict, problem, within},
    receive::client,
};

const BATCH: &str = "application/cloudevents-batch+json";

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
    let batch = BATCH;
    for (request, status) in [
        (binary("/off"), 202),
        (binary("/accept"), 202),
        (binary("/accept").header("idempotency-key", "own"), 202),
        (binary("/require").body(""), 202),
        (typed("/accept", json_event, document), 202),
        (typed("/accept", "text/xml", "<a/>"), 202),
        (typed("/require", "text/xml", "<a/>"), 400),
        (typed("/accept", json_event, "{}"), 400),
        (typed("/accept", "application/cloudevents+avro", "x"), 415),
        (typed("/off", batch, "[]"), 202),
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
    assert_eq!(
        keys,
        [None, event.clone(), own, event, structured, None, None]
    );
    assert_eq!(seen[1].promoted("ce.source").as_deref(), Some("/shop a"));
    assert_eq!(seen[4].promoted("ce.type").as_deref(), Some("order"));
    assert_eq!(seen[4].content_type.as_deref(), Some("application/json"));
    assert_eq!(seen[4].body, br#"{"n":1.10}"#);
}

fn event(id: usize) -> Value {
    json!({ "specversion": "1.0", "id": id.to_string(), "source": "/s", "type": "t", "data": id })
}

/// A gateway that takes events at `/in`.
async fn taking_events(verdict: fn() -> Verdict) -> Gateway {
    let mut gateway = Gateway::start().await;
    let block = json!({ "path": "/in", "cloudevents": "require" });
    gateway.location(block, move |_| verdict()).await;
    gateway
}

async fn post_batch(gateway: &Gateway, body: String) -> reqwest::Response {
    let request = client().post(gateway.url("/in")).body(body);
    request.header("content-type", BATCH).send().await.unwrap()
}

#[tokio::test]
async fn a_batch_is_one_delivery_of_many_messages() {
    let gateway = taking_events(|| Verdict::Accept).await;
    let batch = Value::from_iter((0..3).map(event));
    let response = post_batch(&gateway, batch.to_string()).await;
    assert_eq!(response.status(), 202);
    assert!(!response.headers().contains_key("location"));
    let text = response.text().await.unwrap();
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer, json!({ "ids": [ID, OTHER, OTHER] }));

    let keyed = client().post(gateway.url("/in")).body(batch.to_string());
    let keyed = keyed.header("content-type", BATCH);
    let keyed = keyed.header("idempotency-key", "k").send().await.unwrap();
    assert_eq!(keyed.status(), 202);

    let seen = gateway.seen.lock().unwrap();
    let all: Vec<_> = seen
        .iter()
        .map(|seen| {
            let key = seen.key.as_ref().unwrap().key.to_string();
            (String::from_utf8(seen.body.clone()).unwrap(), key)
        })
        .collect();
    // Never what an event of its own would have, of source `k` and id `1`, say.
    let want = ["/s\n0", "/s\n1", "/s\n2", "k", "\nk\n1", "\nk\n2"];
    let bodies = ["0", "1", "2", "0", "1", "2"];
    let want: Vec<_> = bodies
        .iter()
        .zip(want)
        .map(|(body, key)| ((*body).to_owned(), key.to_owned()))
        .collect();
    assert_eq!(all, want);
    // The key of a request stands for all of it; that of an event for the event in whatever request.
    let covers: Vec<_> = seen.iter().map(|s| s.key.as_ref()?.covers).collect();
    assert_eq!(covers[..3], [None; 3]);
    assert!(covers[3].is_some() && covers[3..] == [covers[3]; 3]);
    let header = |no: usize| seen[no].promoted("http.header.idempotency-key");
    assert_eq!(header(1), None);
    // A port that names the header as its key must not take the events for repeats of each other.
    assert_eq!(header(4).as_deref(), Some("\nk\n1"));
    assert_eq!(seen[2].promoted("ce.id").as_deref(), Some("2"));
    assert_eq!(seen[2].content_type.as_deref(), Some("application/json"));
}

#[tokio::test]
async fn one_event_alone_is_a_batch_too() {
    let gateway = taking_events(|| Verdict::Replay).await;
    let response = post_batch(&gateway, json!([event(7)]).to_string()).await;
    assert_eq!(response.status(), 202);
    assert_eq!(response.headers()["idempotency-replayed"], "true");
    assert_eq!(
        response.text().await.unwrap(),
        format!("{{\"ids\":[\"{ID}\"]}}")
    );
}

#[tokio::test]
async fn a_batch_that_cannot_be_taken_is_refused_as_a_whole() {
    let gateway = taking_events(|| Verdict::Accept).await;
    let large = |len: usize| json!({ "id": "x".repeat(len) });
    let cases = [
        ("{}".to_owned(), 400, error::BAD_EVENT.code, None),
        ("[".to_owned(), 400, error::BAD_EVENT.code, None),
        ("[]".to_owned(), 400, error::EMPTY.code, None),
        (
            json!([event(0), 1, event(2)]).to_string(),
            400,
            error::BAD_EVENT.code,
            Some(1),
        ),
        (
            json!([event(0), event(1)])
                .to_string()
                .replace("\"id\":\"1\"", "\"id\":\"1\",\"id\":\"2\""),
            400,
            error::BAD_EVENT.code,
            Some(1),
        ),
        (
            json!([event(0), event(1), { "specversion": "1.0" }]).to_string(),
            400,
            error::BAD_EVENT.code,
            Some(2),
        ),
        (
            Value::from_iter((0..257).map(event)).to_string(),
            413,
            error::TOO_LARGE.code,
            None,
        ),
        (
            json!([event(0), large(262_200)]).to_string(),
            413,
            error::TOO_LARGE.code,
            Some(1),
        ),
        (
            Value::from_iter((0..5).map(|_| large(250_000))).to_string(),
            413,
            error::TOO_LARGE.code,
            None,
        ),
    ];
    for (body, status, code, index) in cases {
        let start: String = body.chars().take(60).collect();
        let response = post_batch(&gateway, body).await;
        assert_eq!(response.status(), status, "{start}");
        let problem = problem(response).await;
        assert_eq!(problem["code"], code, "{start}: {problem:?}");
        let named = problem.get("index").and_then(Value::as_u64);
        assert_eq!(named, index, "{start}: {problem:?}");
    }
    assert_eq!(gateway.seen_count(), 0, "the engine saw none of them");
    let full = Value::from_iter((0..256).map(event)).to_string();
    assert_eq!(post_batch(&gateway, full).await.status(), 202);
    assert_eq!(gateway.seen_count(), 256);
}

/// What a short attribute becomes is many times as long.
#[tokio::test]
async fn attributes_count_by_what_they_take() {
    let gateway = taking_events(|| Verdict::Hold).await;
    let mut wide = event(0);
    for no in 0..420 {
        wide[format!("a{no}")] = json!(1);
    }
    let batch = Value::from_iter((0..240).map(|_| &wide).cloned()).to_string();
    let held = async {
        tokio::join!(
            post_batch(&gateway, batch.clone()),
            post_batch(&gateway, batch.clone())
        )
    };
    let third = async {
        gateway.wait_seen(480).await;
        let third = within("the third", post_batch(&gateway, batch.clone())).await;
        gateway.release.send_replace(true);
        third
    };
    let ((first, second), third) = tokio::join!(held, third);
    let status = |reply: reqwest::Response| reply.status().as_u16();
    assert_eq!((status(first), status(second)), (202, 202));
    assert_eq!(problem(third).await["code"], error::OVERLOADED.code);
    assert_eq!(
        post_batch(&gateway, batch).await.status(),
        202,
        "there is room again"
    );
}

#[tokio::test]
async fn the_engine_names_the_event_that_it_refuses() {
    let gateway = taking_events(|| Verdict::Reject(RejectKind::Invalid)).await;
    let response = post_batch(&gateway, json!([event(0), event(1)]).to_string()).await;
    assert_eq!(response.status(), 422);
    let problem = problem(response).await;
    assert_eq!(
        (&problem["code"], &problem["index"]),
        (&json!("QS0999"), &json!(1))
    );
    let detail = problem["detail"].as_str().unwrap();
    assert_eq!(detail, "event 1 of the batch: because the test says so");
}

#[tokio::test]
async fn a_location_that_answers_takes_no_batch() {
    let mut gateway = Gateway::start().await;
    let block = json!({ "path": "/in", "cloudevents": "accept", "answer_within": "5s" });
    gateway.location(block, |_| Verdict::Accept).await;
    let response = post_batch(&gateway, json!([event(0)]).to_string()).await;
    assert_eq!(response.status(), 415);
}
