//! What programs say of their work, at any listener.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use quayside_adapter_api::{
    AdapterError, ErrorKind,
    model::{Text, Timestamp},
};
use quayside_adapter_http::{
    DEFAULT_LISTENER, HttpAdapter, HttpOptions, Readiness, Workers, error,
};

use crate::{
    gateway::{Gateway, Safe, problem},
    receive::client,
};

/// Knows the tickets `1.1` to `9.9`, of which `7.7` is away.
#[derive(Default)]
struct Desk(Mutex<Vec<Said>>);

/// Ticket, status, type and content.
type Said = (String, u16, Option<Text>, Bytes);

fn known(ticket: &str) -> Result<bool, AdapterError> {
    match ticket {
        "7.7" => Err(AdapterError::new(
            ErrorKind::Retry(None),
            error::NOT_READY,
            "away",
        )),
        _ => Ok(ticket.len() == 3),
    }
}

#[async_trait]
impl Workers for Desk {
    async fn heartbeat(&self, ticket: &str) -> Result<Option<Timestamp>, AdapterError> {
        Ok(known(ticket)?.then(|| Timestamp::from_micros(1_000_000)))
    }

    async fn answer(
        &self,
        ticket: &str,
        status: u16,
        content_type: Option<Text>,
        body: Bytes,
    ) -> Result<bool, AdapterError> {
        let known = known(ticket)?;
        if known {
            let said = (ticket.to_owned(), status, content_type, body);
            self.0.lock().unwrap().push(said);
        }
        Ok(known)
    }
}

#[tokio::test]
async fn programs_speak_at_any_listener() {
    let desk = Arc::new(Desk::default());
    let mut options = HttpOptions::plain(
        "127.0.0.1:0",
        Arc::new(|| Readiness { ready: true }),
        Arc::new(Safe),
    );
    options.workers = Some(Arc::clone(&desk) as _);
    let adapter = HttpAdapter::new(options);
    let address = adapter.bind().await.unwrap()[DEFAULT_LISTENER];
    let say = async |path: &str, body: &'static str| {
        let request = client().post(format!("http://{address}/works/{path}"));
        let request = request.header("content-type", "text/plain").body(body);
        request.send().await.unwrap()
    };
    let heard = say("1.1/heartbeat", "").await;
    assert_eq!(heard.status(), 200);
    assert_eq!(heard.headers()["cache-control"], "no-store");
    assert_eq!(
        heard.text().await.unwrap(),
        "{\"until\":\"1970-01-01T00:00:01.000000Z\"}"
    );
    for (path, body) in [
        ("2.2/complete", "done"),
        ("3.3/fail", "no"),
        ("4.4/complete", ""),
    ] {
        let kept = say(path, body).await;
        assert_eq!(kept.status(), 200, "{path}");
        assert_eq!(kept.text().await.unwrap(), "{\"kept\":true}");
    }
    let plain = Some(Text::lossy("text/plain"));
    let said = |ticket: &str, status, body: &'static str| {
        (
            ticket.to_owned(),
            status,
            plain.clone(),
            Bytes::from_static(body.as_bytes()),
        )
    };
    let all = [
        said("2.2", 200, "done"),
        said("3.3", 422, "no"),
        said("4.4", 200, ""),
    ];
    assert_eq!(*desk.0.lock().unwrap(), all);
    for word in ["heartbeat", "complete", "fail"] {
        let over = say(&format!("11.1/{word}"), "x").await;
        assert_eq!(over.status(), 410, "{word}");
        assert_eq!(problem(over).await["code"], error::WORK_OVER.code);
        let away = say(&format!("7.7/{word}"), "x").await;
        assert_eq!(away.status(), 503, "{word}");
        assert!(away.headers().contains_key("retry-after"));
    }
    // None of these is a word of a program.
    let long = format!("{}/complete", "1".repeat(129));
    for path in ["1.1/dance", "1.1", "1.1/fail/1", "G.1/fail", "/fail", &long] {
        assert_eq!(say(path, "x").await.status(), 404, "{path}");
    }
    let get = client().get(format!("http://{address}/works/1.1/heartbeat"));
    assert_eq!(get.send().await.unwrap().status(), 404);
    let large = client()
        .post(format!("http://{address}/works/2.2/complete"))
        .body("x".repeat(256 * 1024 + 1));
    assert_eq!(large.send().await.unwrap().status(), 413);
    assert_eq!(desk.0.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn without_workers_there_is_nothing() {
    let gateway = Gateway::start().await;
    let said = client().post(gateway.url("/works/1.1/complete")).body("x");
    let nothing = said.send().await.unwrap();
    assert_eq!(nothing.status(), 404);
    assert_eq!(problem(nothing).await["code"], error::NO_LOCATION.code);
}
