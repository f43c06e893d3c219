//! What a sender sees, and what the engine sees of a sender.

use std::{io::Write as _, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::StreamExt as _;
use quayside_adapter_api::{Answer, ErrorKind, RejectKind, Reply, model::Text};
use quayside_adapter_http::{ListenerOptions, error};
use reqwest::{Client, RequestBuilder};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{
    gateway::{Gateway, ID, Verdict, problem, within},
    raw::Raw,
};

pub(crate) fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_stored_message_is_accepted_with_its_id() {
    let mut gateway = Gateway::start().await;
    gateway
        .location(json!({ "path": "/in/orders" }), |_| Verdict::Accept)
        .await;
    let response = client()
        .post(gateway.url("/in/orders?tenant=a%20b&tenant=c"))
        .header("content-type", "application/xml")
        .header("idempotency-key", "\"k-1\"")
        .header("x-part", "1")
        .header("x-part", "2")
        .header("authorization", "Basic secret")
        .header("cookie", "secret")
        .body("<order/>")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 202);
    assert_eq!(response.headers()["location"], format!("/messages/{ID}"));
    assert!(!response.headers().contains_key("idempotency-replayed"));
    assert_eq!(
        response.text().await.unwrap(),
        format!("{{\"id\":\"{ID}\"}}")
    );

    let seen = gateway.seen.lock().unwrap().pop().expect("one delivery");
    assert_eq!(seen.body, b"<order/>");
    assert_eq!(seen.content_type.as_deref(), Some("application/xml"));
    assert_eq!(seen.reply, Reply::Receipt);
    let key = seen.key.as_ref().expect("a key");
    assert_eq!((&*key.scope, &*key.key), ("", "k-1"));
    assert_eq!(
        seen.promoted("http.header.idempotency-key").as_deref(),
        Some("k-1")
    );
    for (name, want) in [
        ("http.method", Some("POST")),
        ("http.path", Some("/in/orders")),
        ("http.query.tenant", Some("a b")),
        ("http.header.content-type", Some("application/xml")),
        ("http.header.x-part", Some("1, 2")),
        ("http.header.authorization", None),
        ("http.header.cookie", None),
        ("http.client", None),
        ("http.remote", None),
    ] {
        assert_eq!(seen.promoted(name).as_deref(), want, "{name}");
    }
    assert!(
        seen.context.value("http.remote").is_some(),
        "kept, but routes nothing"
    );
}

#[tokio::test]
async fn a_repeat_and_a_location_that_returns_nothing() {
    let mut gateway = Gateway::start().await;
    let block = json!({ "path": "/in", "returns": "nothing" });
    gateway.location(block, |_| Verdict::Replay).await;
    let response = client()
        .post(gateway.url("/in"))
        .body("x")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 202);
    assert_eq!(response.headers()["idempotency-replayed"], "true");
    assert_eq!(response.text().await.unwrap(), "");
}

#[tokio::test]
async fn an_answer_comes_back_with_its_type() {
    let mut gateway = Gateway::start().await;
    let block =
        json!({ "path": "/ask", "answer_within": "20s", "response_content_type": "text/xml" });
    gateway
        .location(block, |seen| {
            assert_eq!(seen.reply, Reply::Answer(Duration::from_secs(20)));
            let content_type = (seen.body == b"typed").then(|| Text::new("text/csv").unwrap());
            Verdict::Answer(Answer {
                status: 201,
                content_type,
                body: Bytes::from("a;b"),
            })
        })
        .await;
    for (body, want) in [("typed", "text/csv"), ("untyped", "text/xml")] {
        let response = client()
            .post(gateway.url("/ask"))
            .body(body)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], want);
        assert_eq!(response.text().await.unwrap(), "a;b");
    }
}

#[tokio::test]
async fn a_query_is_the_content_of_a_get() {
    let mut gateway = Gateway::start().await;
    let block = json!({ "path": "/get", "methods": ["GET", "POST"] });
    gateway.location(block, |_| Verdict::Accept).await;
    let response = client()
        .get(gateway.url("/get?a=1&b=x%2By"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 202);
    assert_eq!(gateway.seen.lock().unwrap()[0].body, b"a=1&b=x+y");
    let empty = client().get(gateway.url("/get")).send().await.unwrap();
    assert_eq!(empty.status(), 400);
}

#[tokio::test]
async fn a_wildcard_takes_what_is_below_it() {
    let mut gateway = Gateway::start().await;
    gateway
        .location(json!({ "path": "/in/*" }), |_| Verdict::Accept)
        .await;
    gateway
        .location(json!({ "path": "/in/deep/*" }), |_| Verdict::Replay)
        .await;
    for (path, status, replayed) in [
        ("/in/a", 202, false),
        ("/in/a/b", 202, false),
        ("/in/deep/a", 202, true),
        ("/in", 404, false),
        ("/other/in/a", 404, false),
    ] {
        let response = client()
            .post(gateway.url(path))
            .body("x")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{path}");
        let header = response.headers().contains_key("idempotency-replayed");
        assert_eq!(header, replayed, "{path}");
    }
}

#[tokio::test]
async fn every_refusal_is_a_problem_with_its_code() {
    let mut gateway = Gateway::start().await;
    let block = json!({
        "path": "/in",
        "max_body": "1 KiB",
        "accept": ["application/xml", "text/*"],
        "require_idempotency_key": true,
    });
    gateway.location(block, |_| Verdict::Accept).await;
    let url = gateway.url("/in");
    let good = || {
        let request = client()
            .post(&url)
            .body("<a/>")
            .header("content-type", "text/xml");
        request.header("idempotency-key", "k")
    };
    let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(b"<b/>")));
    let cases: Vec<(RequestBuilder, u16, &str)> = vec![
        (
            client().post(gateway.url("/nowhere")).body("x"),
            404,
            error::NO_LOCATION.code,
        ),
        (client().put(&url).body("x"), 405, error::WRONG_METHOD.code),
        (client().post(&url).body("x"), 415, error::WRONG_TYPE.code),
        (
            good().header("content-encoding", "br"),
            415,
            error::WRONG_ENCODING.code,
        ),
        (
            good().header("idempotency-key", "k2"),
            400,
            error::BAD_KEY.code,
        ),
        (
            client()
                .post(&url)
                .body("x")
                .header("content-type", "text/xml"),
            400,
            error::KEY_REQUIRED.code,
        ),
        (
            good().header("content-digest", "sha-256=abc"),
            400,
            error::BAD_DIGEST.code,
        ),
        (
            good().header("content-digest", digest),
            400,
            error::DIGEST_MISMATCH.code,
        ),
        (
            good().header("content-encoding", "gzip"),
            400,
            error::BAD_GZIP.code,
        ),
        (good().body(vec![b'x'; 1025]), 413, error::TOO_LARGE.code),
        (good().body(""), 400, error::EMPTY.code),
    ];
    for (request, status, code) in cases {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{code}");
        let problem = problem(response).await;
        assert_eq!(problem["code"], code);
        assert_eq!(problem["retryable"], false);
    }
    assert_eq!(gateway.seen_count(), 0, "the engine saw none of them");
    let response = client().put(&url).body("x").send().await.unwrap();
    assert_eq!(response.headers()["allow"], "POST");
    let response = client().post(&url).body("x").send().await.unwrap();
    assert_eq!(response.headers()["accept-post"], "application/xml, text/*");
    assert_eq!(good().send().await.unwrap().status(), 202);
}

#[tokio::test]
async fn the_words_of_the_engine_become_statuses() {
    for (kind, status, retry) in [
        (RejectKind::Invalid, 422, false),
        (RejectKind::Forbidden, 403, false),
        (RejectKind::TooLarge, 413, false),
        (RejectKind::KeyReused, 422, false),
        (RejectKind::InProgress, 409, false),
        (RejectKind::Overloaded, 429, true),
        (RejectKind::Unavailable, 503, true),
        (RejectKind::NoAnswer, 504, false),
        (RejectKind::NotAnswered, 502, false),
    ] {
        let mut gateway = Gateway::start().await;
        gateway
            .location(json!({ "path": "/in" }), move |_| Verdict::Reject(kind))
            .await;
        let response = client()
            .post(gateway.url("/in"))
            .body("x")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{kind:?}");
        assert_eq!(
            response.headers().contains_key("retry-after"),
            retry,
            "{kind:?}"
        );
        assert_eq!(problem(response).await["code"], "QS0999");
    }
}

#[tokio::test]
async fn encodings_and_digests_are_checked_and_undone() {
    let mut gateway = Gateway::start().await;
    gateway
        .location(json!({ "path": "/in", "max_body": "1 MiB" }), |_| {
            Verdict::Accept
        })
        .await;
    let content: Vec<u8> = (0..200_000_u32)
        .map(|i| (i.wrapping_mul(i) >> 9) as u8)
        .collect();
    let wire = gzip(&content);
    let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(&wire)));
    let response = client()
        .post(gateway.url("/in"))
        .header("content-encoding", "gzip")
        .header("content-digest", digest)
        .body(wire)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 202);
    assert!(
        gateway.seen.lock().unwrap()[0].body == content,
        "inflated as it was"
    );
}

#[tokio::test]
async fn a_large_content_is_a_stream() {
    let mut gateway = Gateway::start().await;
    gateway
        .location(json!({ "path": "/in", "max_body": "8 MiB" }), |_| {
            Verdict::Accept
        })
        .await;
    let content: Vec<u8> = (0..5_000_000_u32).map(|i| (i >> 5) as u8).collect();
    let response = client()
        .post(gateway.url("/in"))
        .body(content.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 202);
    let seen = gateway.seen.lock().unwrap();
    assert!(seen[0].body == content, "whole and in order");
    assert!(seen[0].pieces > 10, "in {} pieces", seen[0].pieces);
}

#[tokio::test]
async fn one_path_has_one_location() {
    let gateway = Gateway::start().await;
    let mut first = gateway.open(json!({ "path": "/in" })).await.unwrap();
    let block = json!({ "path": "/in" });
    let second = gateway.open_as("app.port.other", block).await.map(drop);
    let second = second.expect_err("taken");
    assert_eq!(
        (second.kind, second.code),
        (ErrorKind::Config, error::PATH_TAKEN)
    );
    first.close().await;
    let next = gateway
        .open(json!({ "path": "/in" }))
        .await
        .expect("the closed one gives way");
    drop(first);
    drop(next);
    let response = client()
        .post(gateway.url("/in"))
        .body("x")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 404);
}

#[tokio::test]
async fn a_request_that_nobody_settles_is_not_accepted() {
    let mut gateway = Gateway::start().await;
    gateway
        .location(json!({ "path": "/in" }), |_| Verdict::Drop)
        .await;
    let response = client()
        .post(gateway.url("/in"))
        .body("x")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(problem(response).await["code"], error::NOT_SETTLED.code);
}

#[tokio::test]
async fn a_full_queue_says_so_at_once() {
    let gateway = Gateway::start().await;
    let mut receive = gateway
        .open(json!({ "path": "/in", "max_in_flight": 1 }))
        .await
        .expect("a good block");
    let post = || client().post(gateway.url("/in")).body("x").send();
    let both = async { tokio::join!(post(), post()) };
    let close = async {
        // One of the two waits for the engine; it is told when the location closes.
        let mut refused = post().await.unwrap();
        while refused.status() != 429 {
            refused = post().await.unwrap();
        }
        receive.close().await;
        refused
    };
    let ((one, two), refused) = within("the answers", async { tokio::join!(both, close) }).await;
    let mut statuses = [
        one.unwrap().status().as_u16(),
        two.unwrap().status().as_u16(),
    ];
    statuses.sort_unstable();
    assert!(statuses == [429, 503] || statuses == [429, 429] || statuses == [503, 503]);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(problem(refused).await["retryable"], true);
}

#[tokio::test]
async fn a_request_whose_turn_does_not_come_is_told_so() {
    let gateway = Gateway::start().await;
    let mut receive = gateway.open(json!({ "path": "/in" })).await.unwrap();
    // The engine takes nothing: as an ordered location does while a commit is in the dark.
    let late = client().post(gateway.url("/in")).body("late").send();
    let late = within("the refusal", late).await.unwrap();
    assert_eq!(late.status(), 503);
    assert!(late.headers().contains_key("retry-after"));
    assert_eq!(problem(late).await["code"], error::OVERLOADED.code);
    let post = client().post(gateway.url("/in")).body("in time").send();
    let take = async {
        let delivery = receive.receive().await.unwrap();
        // Not the one that was told to come back.
        let body: Vec<_> = delivery.message.body.collect().await;
        assert_eq!(body, [Ok(Bytes::from("in time"))]);
        drop(delivery.settle);
    };
    let (answer, ()) = within("the answer", async { tokio::join!(post, take) }).await;
    assert_eq!(answer.unwrap().status(), 503);
}

#[tokio::test]
async fn more_requests_than_the_listener_takes_are_refused() {
    let listener = ListenerOptions {
        max_requests: 1,
        ..ListenerOptions::plain("127.0.0.1:0")
    };
    let mut gateway = Gateway::with(listener).await;
    gateway
        .location(json!({ "path": "/in" }), |_| Verdict::Hold)
        .await;
    let first = client().post(gateway.url("/in")).body("x").send();
    let second = async {
        gateway.wait_seen(1).await;
        let second = client()
            .post(gateway.url("/in"))
            .body("x")
            .send()
            .await
            .unwrap();
        gateway.release.send_replace(true);
        second
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(
        (first.unwrap().status().as_u16(), second.status().as_u16()),
        (202, 429)
    );
}

#[tokio::test]
async fn a_client_that_hangs_up_cancels_nothing() {
    let mut gateway = Gateway::start().await;
    gateway
        .location(json!({ "path": "/in" }), |_| Verdict::Hold)
        .await;
    let mut raw = Raw::connect(gateway.address).await;
    raw.send("POST /in HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx")
        .await;
    gateway.wait_seen(1).await;
    drop(raw);
    gateway.release.send_replace(true);
    gateway.wait_settled(1).await;
    let next = client().post(gateway.url("/in")).body("y").send();
    assert_eq!(within("the next answer", next).await.unwrap().status(), 202);
    assert_eq!(gateway.seen_count(), 2);
}

#[tokio::test]
async fn continue_comes_only_after_admission() {
    let mut gateway = Gateway::start().await;
    let block = json!({ "path": "/in", "max_body": "1 KiB" });
    gateway.location(block, |_| Verdict::Accept).await;
    let head = |length| {
        format!(
            "POST /in HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let mut good = Raw::connect(gateway.address).await;
    good.send(head(4)).await;
    assert!(good.head().await.starts_with("HTTP/1.1 100 "));
    good.send("<a/>").await;
    assert!(good.answer().await.0.starts_with("HTTP/1.1 202 "));

    let mut bad = Raw::connect(gateway.address).await;
    bad.send(head(1_000_000)).await;
    let (refused, problem) = bad.answer().await;
    assert!(refused.starts_with("HTTP/1.1 413 "), "{refused}");
    assert!(problem.contains(error::TOO_LARGE.code));
}

#[tokio::test]
async fn http_2_works_without_tls() {
    let mut gateway = Gateway::start().await;
    gateway
        .location(json!({ "path": "/in" }), |_| Verdict::Accept)
        .await;
    let client = Client::builder()
        .http2_prior_knowledge()
        .no_proxy()
        .build()
        .unwrap();
    let posts = (0..50).map(|_| client.post(gateway.url("/in")).body("x").send());
    for response in futures_util::future::join_all(posts).await {
        let response = response.unwrap();
        assert_eq!(response.version(), reqwest::Version::HTTP_2);
        assert_eq!(response.status(), 202);
    }
    assert_eq!(gateway.seen_count(), 50);
}
