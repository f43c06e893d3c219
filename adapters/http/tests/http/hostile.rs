//! Senders that mean harm, or are broken: each gets a clear end, and the engine sees nothing of them.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use quayside_adapter_http::error;
use serde_json::json;

use crate::{
    gateway::{Gateway, Verdict},
    raw::Raw,
};

async fn gateway() -> Gateway {
    Gateway::impatient(&["/in"]).await
}

#[tokio::test]
async fn a_slow_head_is_cut_off() {
    let gateway = gateway().await;
    for start in [
        "",
        "POST",
        "POST /in HTTP/1.1\r\nhost: a\r\nx: ",
        "PRI * HTTP/2.0\r\n",
    ] {
        let mut raw = Raw::connect(gateway.address).await;
        raw.send(start).await;
        let answer = raw.rest().await;
        assert!(!answer.starts_with("HTTP/1.1 2"), "{start:?}: {answer}");
    }
    assert_eq!(gateway.seen_count(), 0);
}

#[tokio::test]
async fn a_slow_content_is_cut_off() {
    let gateway = gateway().await;
    for content in [
        "content-length: 10\r\n\r\nabc",
        "transfer-encoding: chunked\r\n\r\n5\r\nab",
    ] {
        let mut raw = Raw::connect(gateway.address).await;
        raw.send(format!("POST /in HTTP/1.1\r\nhost: a\r\n{content}"))
            .await;
        let (head, body) = raw.answer().await;
        assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
        assert!(body.contains(error::TOO_SLOW.code), "{body}");
    }
    assert_eq!(gateway.seen_count(), 0);
}

#[tokio::test]
async fn a_content_that_breaks_off_is_no_message() {
    let gateway = gateway().await;
    let large = "x".repeat(100_000);
    for content in [
        "content-length: 10\r\n\r\nabc".to_owned(),
        "transfer-encoding: chunked\r\n\r\n5\r\nab".to_owned(),
        "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n".to_owned(),
        // This one breaks off when the engine already reads.
        format!("content-length: 200000\r\n\r\n{large}"),
    ] {
        let mut raw = Raw::connect(gateway.address).await;
        raw.send(format!("POST /in HTTP/1.1\r\nhost: a\r\n{content}"))
            .await;
        raw.end().await;
        let answer = raw.rest().await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400 "),
            "{answer}"
        );
    }
    assert_eq!(gateway.seen_count(), 0);
}

#[tokio::test]
async fn a_content_that_hides_its_size_is_cut_at_the_limit() {
    let gateway = gateway().await;
    let mut raw = Raw::connect(gateway.address).await;
    raw.send("POST /in HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x1_0000));
    for _ in 0..16 {
        // The gateway may stop to read before all is sent: that is what is wanted.
        if !raw.try_send(chunk.as_bytes()).await {
            break;
        }
    }
    let answer = raw.rest().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(gateway.seen_count(), 0);
}

#[tokio::test]
async fn a_refusal_reaches_a_sender_that_does_not_stop_to_send() {
    let gateway = gateway().await;
    let mut raw = Raw::connect(gateway.address).await;
    raw.send("POST /in HTTP/1.1\r\nhost: a\r\ncontent-length: 3000000\r\n\r\n")
        .await;
    for _ in 0..30 {
        if !raw.try_send(&[b'x'; 100_000]).await {
            break;
        }
    }
    let answer = raw.rest().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_bomb_does_not_go_off() {
    let gateway = gateway().await;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..64 {
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    let response = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(gateway.url("/in"))
        .header("content-encoding", "gzip")
        .body(bomb)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(gateway.seen_count(), 0);
}

#[tokio::test]
async fn nobody_smuggles_a_request() {
    let gateway = gateway().await;
    let smuggled = "POST /in HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nsmuggled";
    for (framing, why) in [
        (
            "content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            "both",
        ),
        (
            "transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            "both",
        ),
        (
            "content-length: 1\r\ncontent-length: 2\r\n\r\nx",
            "two lengths",
        ),
        ("content-length: +1\r\n\r\nx", "a signed length"),
        ("content-length: 1, 1\r\n\r\nx", "a list"),
        (
            "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            "chunked not last",
        ),
        (
            "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
            "unknown coding",
        ),
        (
            "transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
            "space before the colon",
        ),
        (
            "transfer-encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
            "a prefixed size",
        ),
        (
            "transfer-encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n",
            "a negative size",
        ),
        (
            "transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nx\r\n",
            "a huge size",
        ),
        (
            "x: a\r\n b\r\ncontent-length: 1\r\n\r\nx",
            "a folded header",
        ),
        ("host: b\r\ncontent-length: 1\r\n\r\nx", "two hosts"),
    ] {
        let mut raw = Raw::connect(gateway.address).await;
        raw.send(format!(
            "POST /in HTTP/1.1\r\nhost: a\r\n{framing}{smuggled}"
        ))
        .await;
        raw.end().await;
        let answer = raw.rest().await;
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{why}: {answer}");
    }
    let seen = gateway.seen.lock().unwrap();
    assert!(
        seen.iter().all(|seen| seen.body == b"x"),
        "a smuggled request was taken"
    );
}

/// What is inside of another coding, or of two layers of chunks, is not the content.
#[tokio::test]
async fn a_content_in_another_transfer_coding_is_no_content() {
    let gateway = gateway().await;
    for (codings, want) in [
        ("gzip, chunked", "501"),
        ("identity, chunked", "501"),
        ("chunked\r\ntransfer-encoding: chunked", "501"),
        ("Chunked", "202"),
    ] {
        let mut raw = Raw::connect(gateway.address).await;
        let head = format!("POST /in HTTP/1.1\r\nhost: a\r\ntransfer-encoding: {codings}\r\n\r\n");
        raw.send(format!("{head}1\r\nx\r\n0\r\n\r\n")).await;
        let (head, _) = raw.answer().await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {want} ")),
            "{codings}: {head}"
        );
        assert_eq!(head.contains("connection: close"), want == "501", "{head}");
    }
    assert_eq!(gateway.seen_count(), 1);
}

#[tokio::test]
async fn heads_beyond_the_limits_are_refused() {
    let gateway = gateway().await;
    let many: String = (0..500).map(|no| format!("x-{no}: 1\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(200_000));
    for headers in [many, long] {
        let mut raw = Raw::connect(gateway.address).await;
        let head = format!("POST /in HTTP/1.1\r\nhost: a\r\n{headers}content-length: 1\r\n\r\nx");
        raw.try_send(head.as_bytes()).await;
        let answer = raw.rest().await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
    }
    assert_eq!(gateway.seen_count(), 0);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let mut gateway = gateway().await;
    gateway
        .location(json!({ "path": "/twice" }), |_| Verdict::Replay)
        .await;
    let mut raw = Raw::connect(gateway.address).await;
    let post =
        |path: &str| format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx");
    raw.send(post("/in") + &post("/nowhere") + &post("/twice"))
        .await;
    let first = raw.answer().await.0;
    let second = raw.answer().await.0;
    assert!(
        first.starts_with("HTTP/1.1 202 ") && !first.contains("replayed"),
        "{first}"
    );
    assert!(second.starts_with("HTTP/1.1 404 "), "{second}");
    // The refused request was not read, so its connection may end here; it must not go astray.
    let third = raw.rest().await;
    assert!(
        third.is_empty() || third.contains("idempotency-replayed"),
        "{third}"
    );
}

#[tokio::test]
async fn slow_senders_of_short_contents_take_nobodys_place() {
    let gateway = Gateway::start().await;
    let mut receive = gateway
        .open(json!({ "path": "/in", "max_in_flight": 1 }))
        .await
        .expect("a good block");
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut raw = Raw::connect(gateway.address).await;
        raw.send(
            "POST /in HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n",
        )
        .await;
        assert!(
            raw.head().await.starts_with("HTTP/1.1 100 "),
            "the content is awaited"
        );
        slow.push(raw);
    }
    let mut quick = Raw::connect(gateway.address).await;
    quick
        .send("POST /in HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx")
        .await;
    let delivery = crate::gateway::within("the quick one", receive.receive())
        .await
        .unwrap();
    assert_eq!(delivery.message.context.value("http.header.expect"), None);
}
