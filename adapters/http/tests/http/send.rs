//! What a partner sees of a send, and what the engine learns of its outcome.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use quayside_adapter_api::{
    Adapter as _, AdapterError, ErrorKind, Outbound, SendTerms, Sent, Transmit,
    model::{
        BodyId, Clock as _, Content, Context, DeliveryId, Message, MessageId, Name, Part,
        StoredBody, SystemClock, SystemEntropy, Text,
    },
};
use quayside_adapter_http::{HttpAdapter, HttpOptions, Readiness, error};
use serde_json::{Value, json};

use crate::{
    gateway::{ID, Safe, services},
    partner::{Partner, reply, reply_with},
};

pub(crate) async fn transport(block: Value) -> Result<Arc<dyn Transmit>, AdapterError> {
    let adapter = HttpAdapter::new(HttpOptions {
        listeners: BTreeMap::new(),
        readiness: Arc::new(|| Readiness { ready: true }),
        secrets: Arc::new(Safe),
        workers: None,
    });
    assert_eq!(
        adapter.check_send(&block, &SendTerms::default()),
        [],
        "a good block"
    );
    adapter
        .open_send(&Name::new("app.port").unwrap(), &block, services())
        .await
}

pub(crate) fn outbound(body: &'static str) -> Outbound {
    let mut context = Context::new();
    context.promote_text("http.header.traceparent", "00-aa-bb-01");
    let part = Part {
        name: Name::new("body").unwrap(),
        content_type: Some(Text::new("application/xml").unwrap()),
        content: Content::Inline(Bytes::from(body)),
    };
    let message: MessageId = ID.parse().unwrap();
    Outbound {
        delivery: DeliveryId { message, no: 2 },
        message: Arc::new(Message {
            id: message,
            received_at: SystemClock.now(),
            origin: Text::lossy("app/port/location"),
            message_type: None,
            context,
            parts: vec![part],
        }),
        open: Arc::new(move || Box::pin(stream::iter([Ok(Bytes::from(body))]))),
        rendered: BTreeMap::new(),
        in_doubt: false,
        answer_wanted: false,
        epoch: None,
        guard: Arc::new(|| true),
    }
}

async fn send(block: Value) -> Result<Sent, AdapterError> {
    transport(block).await?.send(outbound("<a/>")).await
}

#[tokio::test]
async fn every_attempt_carries_the_same_key() {
    let partner = Partner::new(|no, _| reply(if no == 0 { 503 } else { 202 }, "")).await;
    let transport = transport(json!({
        "url": partner.url("/orders/{OrderId}?by={msg.id}"),
        "headers": { "x-order": "no {OrderId}", "x-fixed": "1", "x-api-key": { "secret": "key" } },
    }))
    .await
    .unwrap();
    for _ in 0..2 {
        let mut outbound = outbound("<a/>");
        for (key, value) in [
            ("url.0", "1/7"),
            ("url.1", "m"),
            ("headers.x-order", "no 1/7"),
        ] {
            outbound.rendered.insert(key.to_owned(), Text::lossy(value));
        }
        let _ = transport.send(outbound).await;
    }
    let got = partner.got();
    assert_eq!(got.len(), 2);
    for got in got {
        assert_eq!((&*got.method, &*got.target), ("POST", "/orders/1%2F7?by=m"));
        assert_eq!(&got.body[..], b"<a/>");
        for (name, want) in [
            ("idempotency-key", Some(&*format!("\"{ID}.2\""))),
            ("content-type", Some("application/xml")),
            ("content-length", Some("4")),
            ("traceparent", Some("00-aa-bb-01")),
            ("x-order", Some("no 1/7")),
            ("x-fixed", Some("1")),
            ("x-api-key", Some("the key")),
            ("authorization", None),
        ] {
            assert_eq!(got.header(name), want, "{name}");
        }
    }
}

#[tokio::test]
async fn every_status_has_its_consequence() {
    for (status, kind, doubtful) in [
        (400, ErrorKind::Rejected, false),
        (401, ErrorKind::Config, false),
        (403, ErrorKind::Rejected, false),
        (408, ErrorKind::Retry(None), false),
        (409, ErrorKind::Retry(None), false),
        (410, ErrorKind::Config, false),
        (422, ErrorKind::Rejected, false),
        (425, ErrorKind::Retry(None), false),
        (429, ErrorKind::Retry(None), false),
        (500, ErrorKind::Retry(None), true),
        (502, ErrorKind::Retry(None), true),
        (503, ErrorKind::Retry(None), false),
    ] {
        let partner = Partner::with(status, "because").await;
        for keyed in [true, false] {
            let block = json!({ "url": partner.url("/"), "idempotency_key": keyed });
            let failed = send(block).await.expect_err("a refusal");
            let want = (kind, doubtful && !keyed);
            assert_eq!(
                (failed.kind, failed.in_doubt),
                want,
                "{status}, keyed: {keyed}"
            );
            assert!(failed.detail.contains("because"), "{}", failed.detail);
        }
        let keys = partner
            .got()
            .iter()
            .filter(|got| got.header("idempotency-key").is_some())
            .count();
        assert_eq!(keys, 1, "only the port that asks for keys sends them");
    }
    for status in [200, 201, 202, 204] {
        let partner = Partner::with(status, "").await;
        let sent = send(json!({ "url": partner.url("/") })).await.unwrap();
        assert!(
            sent.detail.starts_with(&status.to_string()),
            "{}",
            sent.detail
        );
        assert_eq!(sent.answer, None);
    }
}

#[tokio::test]
async fn a_partner_says_when_to_come_back() {
    let partner = Partner::new(|_, _| reply_with(503, "retry-after", "17")).await;
    let failed = send(json!({ "url": partner.url("/") }))
        .await
        .expect_err("busy");
    assert_eq!(failed.kind, ErrorKind::Retry(Some(Duration::from_secs(17))));
}

#[tokio::test]
async fn what_may_have_happened_is_said() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let failed = send(json!({ "url": format!("http://{address}/") }))
        .await
        .expect_err("nobody");
    assert_eq!(
        (failed.code, failed.in_doubt),
        (error::NOT_REACHED, false),
        "{}",
        failed.detail
    );

    let partner = Partner::that_hangs_up().await;
    let failed = send(json!({ "url": partner.url("/") }))
        .await
        .expect_err("no answer");
    assert_eq!(
        (failed.code, failed.in_doubt),
        (error::OUTCOME_UNKNOWN, true),
        "{}",
        failed.detail
    );

    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let failed = send(json!({ "url": url, "timeout": "200ms" }))
        .await
        .expect_err("silence");
    assert_eq!(
        (failed.code, failed.in_doubt),
        (error::OUTCOME_UNKNOWN, true),
        "{}",
        failed.detail
    );
    assert_eq!(failed.kind, ErrorKind::Retry(None));
}

#[tokio::test]
async fn who_cannot_be_reached_is_named_with_the_cause() {
    // Bound and closed again: nobody listens there.
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let nobody = json!({ "url": format!("http://{address}/orders") });
    let error = send(nobody.clone()).await.expect_err("nobody is there");
    assert_eq!((error.code, error.in_doubt), (error::NOT_REACHED, false));
    assert!(
        error.detail.starts_with(&format!("{address}: ")) && error.detail.contains("refused"),
        "{}",
        error.detail
    );
    assert!(!error.detail.contains("(Connect)"), "{}", error.detail);
    let tested = transport(nobody).await.unwrap().test().await;
    let tested = tested.expect_err("nobody is there").detail;
    assert!(tested.starts_with(&format!("{address}: ")), "{tested}");

    let unknown = json!({ "url": "http://nobody.invalid/orders" });
    let error = send(unknown).await.expect_err("no such name");
    assert!(
        error.detail.starts_with("nobody.invalid:80: "),
        "{}",
        error.detail
    );

    let silent = Partner::that_hangs_up().await;
    let error = send(json!({ "url": silent.url("/") })).await;
    let error = error.expect_err("it hangs up");
    assert_eq!((error.code, error.in_doubt), (error::OUTCOME_UNKNOWN, true));
    let place = format!("{}: ", silent.address);
    assert!(error.detail.starts_with(&place), "{}", error.detail);
}

#[tokio::test]
async fn connections_are_kept_as_the_port_says() {
    for (kept, connections) in [(1, 1), (0, 4)] {
        let partner = Partner::with(200, "taken").await;
        let block = json!({ "url": partner.url("/"), "pool_max_idle": kept });
        let transport = transport(block).await.unwrap();
        for _ in 0..4 {
            transport.send(outbound("<a/>")).await.expect("taken");
        }
        assert_eq!(partner.got().len(), 4);
        assert_eq!(partner.connections(), connections, "{kept} are kept");
    }
}

#[tokio::test]
async fn a_process_that_is_not_trusted_sends_nothing() {
    let partner = Partner::with(200, "").await;
    let transport = transport(json!({ "url": partner.url("/") })).await.unwrap();
    let trusted = Arc::new(AtomicBool::new(false));
    let guard = Arc::clone(&trusted);
    let ask: Arc<dyn Fn() -> bool + Send + Sync> = Arc::new(move || guard.load(Ordering::SeqCst));
    let failed = transport
        .send(Outbound {
            guard: Arc::clone(&ask),
            ..outbound("x")
        })
        .await;
    let failed = failed.expect_err("not trusted");
    assert_eq!((failed.code, failed.in_doubt), (error::NOT_TRUSTED, false));
    assert!(partner.got().is_empty());
    trusted.store(true, Ordering::SeqCst);
    transport
        .send(Outbound {
            guard: ask,
            ..outbound("x")
        })
        .await
        .unwrap();
    assert_eq!(partner.got().len(), 1);
}

#[tokio::test]
async fn redirects_repeat_the_message_or_are_not_followed() {
    let other = Partner::with(200, "").await;
    let elsewhere = other.url("/");
    let partner = Partner::new(move |_, got| match &*got.target {
        "/307" => reply_with(307, "location", "/final"),
        "/303" => reply_with(303, "location", "/final"),
        "/302" => reply_with(302, "location", "/final"),
        "/loop" => reply_with(308, "location", "/loop"),
        "/other" => reply_with(307, "location", &elsewhere),
        _ => reply(200, ""),
    })
    .await;
    for (path, want) in [
        ("/307", Ok(("POST", "<a/>"))),
        ("/303", Ok(("GET", ""))),
        ("/302", Err(ErrorKind::Config)),
        ("/loop", Err(ErrorKind::Rejected)),
        ("/other", Err(ErrorKind::Config)),
    ] {
        let outcome = send(json!({ "url": partner.url(path), "max_redirects": 3 })).await;
        let last = partner.got().pop().unwrap();
        match (outcome, want) {
            (Ok(_), Ok((method, body))) => {
                assert_eq!((&*last.target, &*last.method), ("/final", method));
                assert_eq!(&last.body[..], body.as_bytes());
            }
            (Err(failed), Err(kind)) => {
                assert_eq!(
                    (failed.kind, failed.code),
                    (kind, error::BAD_REDIRECT),
                    "{path}"
                );
            }
            (outcome, _) => panic!("{path}: {outcome:?}"),
        }
    }
    assert!(other.got().is_empty(), "no message goes to another host");
    let loops = partner
        .got()
        .iter()
        .filter(|got| got.target == "/loop")
        .count();
    assert_eq!(loops, 4, "the first and three redirects");
}

#[tokio::test]
async fn tokens_are_fetched_once_and_renewed_once() {
    let endpoint = Partner::new(|no, _| {
        reply(
            200,
            &format!("{{\"access_token\":\"t{no}\",\"expires_in\":3600}}"),
        )
    })
    .await;
    let partner = Partner::new(|_, got| {
        let known = got.header("authorization") == Some("Bearer t1");
        reply(if known { 200 } else { 401 }, "")
    })
    .await;
    let oauth = json!({
        "token_url": endpoint.url("/token"),
        "client_id": "quay side",
        "client_secret": { "secret": "client" },
        "scope": "orders",
    });
    let block = json!({ "url": partner.url("/"), "auth": { "oauth2": oauth } });
    let transport = transport(block).await.unwrap();
    let sends = (0..10).map(|_| transport.send(outbound("x")));
    for sent in futures_util::future::join_all(sends).await {
        sent.expect("the second token is good");
    }
    let fetched = endpoint.got();
    assert_eq!(
        fetched.len(),
        2,
        "one for all, and one after it was refused"
    );
    assert_eq!(
        &fetched[0].body[..],
        b"grant_type=client_credentials&scope=orders"
    );
    // quay%20side:the%20client
    assert_eq!(
        fetched[0].header("authorization"),
        Some("Basic cXVheSUyMHNpZGU6dGhlJTIwY2xpZW50")
    );
}

#[tokio::test]
async fn a_token_that_is_always_refused_stops_the_port() {
    let endpoint = Partner::with(200, "{\"access_token\":\"t\"}").await;
    let partner = Partner::with(401, "").await;
    let oauth = |url: String| {
        json!({ "oauth2": {
            "token_url": url, "client_id": "c", "client_secret": { "secret": "s" }, "client_auth": "post",
        } })
    };
    let block = json!({ "url": partner.url("/"), "auth": oauth(endpoint.url("/")) });
    let failed = send(block).await.expect_err("refused");
    assert_eq!(
        (failed.kind, failed.code),
        (ErrorKind::Config, error::CREDENTIAL_REFUSED)
    );
    assert_eq!((partner.got().len(), endpoint.got().len()), (2, 2));
    assert!(
        endpoint.got()[0]
            .body
            .ends_with(b"&client_id=c&client_secret=the%20s")
    );

    for (status, kind) in [(400, ErrorKind::Config), (503, ErrorKind::Retry(None))] {
        let endpoint = Partner::with(status, "{\"error\":\"invalid_client\"}").await;
        let block = json!({ "url": partner.url("/"), "auth": oauth(endpoint.url("/")) });
        let failed = send(block).await.expect_err("no token");
        assert_eq!((failed.kind, failed.code), (kind, error::NO_TOKEN));
    }
    assert_eq!(partner.got().len(), 2, "without a token nothing is sent");
}

#[tokio::test]
async fn fixed_credentials_are_sent() {
    for (auth, want) in [
        (
            json!({ "basic": { "user": "u", "password": { "secret": "p" } } }),
            "Basic dTp0aGUgcA==",
        ),
        (json!({ "bearer": { "secret": "b" } }), "Bearer the b"),
    ] {
        let partner = Partner::with(200, "").await;
        send(json!({ "url": partner.url("/"), "auth": auth }))
            .await
            .unwrap();
        assert_eq!(partner.got()[0].header("authorization"), Some(want));
    }
}

#[tokio::test]
async fn an_answer_is_brought_back_if_it_fits() {
    let partner = Partner::new(|_, got| {
        let mut answer = reply(200, &"a".repeat(got.body.len() * 100_000));
        answer
            .headers_mut()
            .insert("content-type", "text/csv".parse().unwrap());
        answer
    })
    .await;
    let transport = transport(json!({ "url": partner.url("/") })).await.unwrap();
    let ask = |body| {
        transport.send(Outbound {
            answer_wanted: true,
            ..outbound(body)
        })
    };
    let answer = ask("x").await.unwrap().answer.expect("it was wanted");
    assert_eq!((answer.status, answer.body.len()), (200, 100_000));
    assert_eq!(answer.content_type.as_deref(), Some("text/csv"));
    let failed = ask("xxx").await.expect_err("300,000 bytes");
    assert_eq!(
        (failed.code, failed.in_doubt),
        (error::ANSWER_TOO_LARGE, true)
    );
}

fn stored(pieces: Vec<Result<Bytes, AdapterError>>, len: u64) -> Outbound {
    let mut outbound = outbound("");
    let message = Arc::get_mut(&mut outbound.message).unwrap();
    let id = BodyId::new(SystemClock.now(), &SystemEntropy);
    message.parts[0].content = Content::Stored(StoredBody {
        id,
        len,
        chunks: 1,
        sha256: [0; 32],
    });
    outbound.open = Arc::new(move || Box::pin(stream::iter(pieces.clone())));
    outbound
}

#[tokio::test]
async fn a_large_content_is_streamed_with_its_length() {
    let partner = Partner::with(200, "").await;
    let transport = transport(json!({ "url": partner.url("/") })).await.unwrap();
    let pieces: Vec<_> = (0..40)
        .map(|no| Ok(Bytes::from(vec![no; 10_000])))
        .collect();
    transport.send(stored(pieces, 400_000)).await.unwrap();
    let got = partner.got().pop().unwrap();
    assert_eq!(got.header("content-length"), Some("400000"));
    assert!(got.body.len() == 400_000 && got.body[399_999] == 39);

    let gone = AdapterError::new(
        ErrorKind::Retry(None),
        error::BODY_UNREADABLE,
        "a chunk is gone",
    );
    let pieces = vec![Ok(Bytes::from(vec![1; 10_000])), Err(gone)];
    let failed = transport
        .send(stored(pieces, 400_000))
        .await
        .expect_err("broken off");
    assert_eq!(
        (failed.code, failed.in_doubt),
        (error::BODY_UNREADABLE, false),
        "{}",
        failed.detail
    );
}

#[tokio::test]
async fn a_place_of_the_message_that_is_gone_is_the_messages_fault() {
    for (status, kind) in [
        (301, ErrorKind::Rejected),
        (401, ErrorKind::Config),
        (410, ErrorKind::Rejected),
    ] {
        let partner = Partner::with(status, "").await;
        let url = partner.url("/orders/{OrderId}");
        let transport = transport(json!({ "url": url })).await.expect("a transport");
        let mut outbound = outbound("x");
        outbound
            .rendered
            .insert("url.0".to_owned(), Text::lossy("1"));
        let failed = transport.send(outbound).await.expect_err("a refusal");
        assert_eq!(failed.kind, kind, "{status}: {}", failed.detail);
    }
}

#[tokio::test]
async fn a_rendered_value_that_cannot_be_sent_is_the_messages_fault() {
    let partner = Partner::with(200, "").await;
    let block = json!({ "url": partner.url("/{A}"), "headers": { "x-a": "{A}" } });
    let transport = transport(block).await.unwrap();
    for (url, header) in [("", "a"), ("..", "a"), ("a", "a\r\nx-evil: 1")] {
        let mut outbound = outbound("x");
        outbound
            .rendered
            .insert("url.0".to_owned(), Text::lossy(url));
        outbound
            .rendered
            .insert("headers.x-a".to_owned(), Text::lossy(header));
        let failed = transport.send(outbound).await.expect_err(url);
        assert_eq!(
            (failed.kind, failed.code),
            (ErrorKind::Rejected, error::BAD_RENDERING)
        );
    }
    assert!(partner.got().is_empty());
}

#[tokio::test]
async fn a_test_changes_nothing_and_says_what_it_saw() {
    for (status, code) in [
        (200, None),
        (204, None),
        (405, None),
        (401, Some(error::CREDENTIAL_REFUSED)),
        (404, Some(error::NO_TARGET)),
        (503, Some(error::PARTNER_BUSY)),
    ] {
        let partner = Partner::with(status, "").await;
        let outcome = transport(json!({ "url": partner.url("/a") }))
            .await
            .unwrap()
            .test()
            .await;
        let seen = format!("{outcome:?}");
        assert_eq!(outcome.err().map(|failed| failed.code), code, "{seen}");
        assert!(
            seen.contains(&status.to_string()) && seen.contains("/a"),
            "{seen}"
        );
        assert!(
            partner
                .got()
                .iter()
                .all(|got| matches!(&*got.method, "OPTIONS" | "HEAD"))
        );
    }
    let partner = Partner::with(404, "").await;
    let outcome = transport(json!({ "url": partner.url("/a/{X}") }))
        .await
        .unwrap()
        .test()
        .await;
    outcome.expect("only messages know the whole target");
    assert_eq!(partner.got()[0].target, "/");
}
