//! Probes, draining and the end.

use std::{sync::atomic::Ordering, time::Duration};

use quayside_adapter_api::{ErrorKind, Resting};
use quayside_adapter_http::{ListenerOptions, Shutdown, error};
use reqwest::{Client, StatusCode};
use serde_json::json;
use tokio::net::TcpStream;

use crate::{
    gateway::{Gateway, Verdict, within},
    raw::Raw,
};

const POST: &str = "POST /in HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx";

async fn status(gateway: &Gateway, path: &str) -> StatusCode {
    let client = Client::builder().no_proxy().build().unwrap();
    client.get(gateway.url(path)).send().await.unwrap().status()
}

#[tokio::test]
async fn probes_tell_what_the_gateway_says() {
    let mut gateway = Gateway::start().await;
    gateway
        .location(json!({ "path": "/in" }), |_| Verdict::Accept)
        .await;
    assert_eq!(status(&gateway, "/livez").await, 200);
    assert_eq!(status(&gateway, "/readyz").await, 200);
    gateway.ready.store(false, Ordering::SeqCst);
    assert_eq!(status(&gateway, "/livez").await, 200);
    assert_eq!(status(&gateway, "/readyz").await, 503);
    let mut raw = Raw::connect(gateway.address).await;
    raw.send(POST).await;
    let (head, body) = raw.answer().await;
    assert!(
        head.starts_with("HTTP/1.1 503 ") && head.contains("retry-after: 1"),
        "{head}"
    );
    assert!(body.contains(error::NOT_READY.code), "{body}");
    assert_eq!(gateway.seen_count(), 0);
}

#[tokio::test]
async fn a_location_that_rests_says_why_and_when_to_come_back() {
    let gateway = Gateway::start().await;
    let mut receive = gateway.open(json!({ "path": "/in" })).await.unwrap();
    let answer = async || {
        let mut raw = Raw::connect(gateway.address).await;
        raw.send(POST).await;
        raw.answer().await
    };
    receive.rests(Resting {
        why: "was stopped by an operator".to_owned(),
        retry_after: Duration::from_millis(59_001),
    });
    receive.close().await;
    let (head, body) = answer().await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(head.contains("retry-after: 60\r\n"), "{head}");
    assert!(body.contains(error::RESTING.code), "{body}");
    assert!(
        body.contains("the receive location was stopped by an operator"),
        "{body}"
    );

    // Its new self is open at once, and nobody stands in its way.
    let mut next = gateway.open(json!({ "path": "/in" })).await.unwrap();
    drop(receive);
    next.close().await;
    let (head, body) = answer().await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(body.contains(error::CLOSED.code), "nobody said why: {body}");
}

#[tokio::test]
async fn draining_serves_and_sends_clients_elsewhere() {
    let mut gateway = Gateway::start().await;
    gateway
        .location(json!({ "path": "/in" }), |_| Verdict::Accept)
        .await;
    let mut raw = Raw::connect(gateway.address).await;
    raw.send(POST).await;
    assert!(!raw.answer().await.0.contains("connection: close"));
    gateway.adapter.drain();
    assert_eq!(status(&gateway, "/readyz").await, 503);
    raw.send(POST).await;
    let (head, _) = raw.answer().await;
    assert!(
        head.starts_with("HTTP/1.1 202 ") && head.contains("connection: close"),
        "{head}"
    );
    assert_eq!(raw.rest().await, "", "closed after the answer");
}

#[tokio::test]
async fn a_shutdown_lets_requests_in_flight_end() {
    let mut gateway = Gateway::start().await;
    gateway
        .location(json!({ "path": "/in" }), |_| Verdict::Hold)
        .await;
    let idle = Raw::connect(gateway.address).await;
    let mut raw = Raw::connect(gateway.address).await;
    raw.send(POST).await;
    let h2 = Client::builder()
        .http2_prior_knowledge()
        .no_proxy()
        .build()
        .unwrap();
    let h2 = h2.post(gateway.url("/in")).body("x").send();
    let shutdown = async {
        gateway.wait_seen(2).await;
        let release = async {
            assert_eq!(idle.rest().await, "", "an idle connection ends at once");
            assert!(
                TcpStream::connect(gateway.address).await.is_err(),
                "nothing listens"
            );
            gateway.release.send_replace(true);
        };
        tokio::join!(gateway.adapter.shutdown(Duration::from_secs(20)), release).0
    };
    let (h2, shutdown) = within("the end", async { tokio::join!(h2, shutdown) }).await;
    assert_eq!(shutdown, Shutdown { cut: 0 });
    assert_eq!(h2.unwrap().status(), 202);
    assert!(raw.answer().await.0.starts_with("HTTP/1.1 202 "));
}

#[tokio::test]
async fn a_shutdown_cuts_what_does_not_end() {
    let mut gateway = Gateway::start().await;
    gateway
        .location(json!({ "path": "/in" }), |_| Verdict::Hold)
        .await;
    let mut raw = Raw::connect(gateway.address).await;
    raw.send(POST).await;
    gateway.wait_seen(1).await;
    let shutdown = gateway.adapter.shutdown(Duration::from_millis(50));
    assert_eq!(within("the cut", shutdown).await, Shutdown { cut: 1 });
    assert_eq!(raw.rest().await, "");
}

#[tokio::test]
async fn a_taken_address_is_a_clear_error() {
    let gateway = Gateway::start().await;
    let taken = ListenerOptions::plain(gateway.address.to_string());
    let second = quayside_adapter_http::HttpAdapter::new(quayside_adapter_http::HttpOptions {
        listeners: [("default".to_owned(), taken)].into(),
        readiness: std::sync::Arc::new(|| quayside_adapter_http::Readiness { ready: true }),
        secrets: std::sync::Arc::new(crate::gateway::Safe),
        workers: None,
    });
    let failed = second.bind().await.expect_err("taken");
    assert_eq!(
        (failed.kind, failed.code),
        (ErrorKind::Config, error::BIND_FAILED)
    );
    assert!(
        failed.detail.contains(&gateway.address.to_string()),
        "{}",
        failed.detail
    );
}
