//! Requests at the edges of HTTP: targets, trailers, zero bytes, resets, clients that do not read.

use quayside_adapter_http::error;

use crate::{
    gateway::{Gateway, within},
    raw::Raw,
};

async fn gateway() -> Gateway {
    Gateway::impatient(&["/in", "/all/*"]).await
}

async fn status(gateway: &Gateway, request: impl AsRef<[u8]>) -> String {
    let mut raw = Raw::connect(gateway.address).await;
    raw.send(request).await;
    raw.end().await;
    let answer = raw.rest().await;
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_target_is_what_it_says_and_nothing_else() {
    let gateway = gateway().await;
    for (target, want) in [
        ("/in", "202"),
        ("http://elsewhere.example/in", "202"),
        ("/all/a%20b", "202"),
        ("/all/a.b/..c", "202"),
        ("/%69n", "404"),
        ("//in", "404"),
        ("/in/", "404"),
        ("/in;a=b", "404"),
        ("/IN", "404"),
        ("*", "404"),
        ("/all/../in", "400"),
        ("/all/%2e%2E/in", "400"),
        ("/all/.%2e%2Fin", "400"),
        ("/all/..%5cin", "400"),
        ("/all/..", "400"),
        ("/all/./a", "400"),
        ("/all/a%00", "400"),
        // The form of an authority, which names no path.
        ("in", "404"),
        ("/in /in", "400"),
    ] {
        let request = format!("POST {target} HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx");
        assert_eq!(status(&gateway, request).await, want, "{target}");
    }
    assert_eq!(gateway.seen_count(), 4);
}

#[tokio::test]
async fn methods_that_are_none_of_a_location_are_refused() {
    let gateway = gateway().await;
    for request in [
        "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
        "TRACE /in HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /in HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        "PRI * HTTP/1.1\r\nhost: a\r\n\r\n",
    ] {
        let status = status(&gateway, request).await;
        assert!(
            status.starts_with('4') || status.is_empty(),
            "{request}: {status}"
        );
    }
    assert_eq!(gateway.seen_count(), 0);
}

#[tokio::test]
async fn zero_bytes_are_content_and_nothing_else() {
    let gateway = gateway().await;
    for (request, want) in [
        (&b"POST /in\0 HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx"[..], "400"),
        (b"POST /in HTTP/1.1\r\nhost: a\r\nx: a\0b\r\ncontent-length: 1\r\n\r\nx", "400"),
        (b"POST /in HTTP/1.1\r\nhost: a\r\nx\0: a\r\ncontent-length: 1\r\n\r\nx", "400"),
        (b"POST /in HTTP/1.1\r\nhost: a\r\nidempotency-key: \"a\0\"\r\ncontent-length: 1\r\n\r\nx", "400"),
        (b"POST /in HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\na\0b", "202"),
    ] {
        let shown = String::from_utf8_lossy(request);
        assert_eq!(status(&gateway, request).await, want, "{shown:?}");
    }
    let seen = gateway.seen.lock().unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].body, b"a\0b");
}

#[tokio::test]
async fn trailers_are_no_properties() {
    let gateway = gateway().await;
    let chunked =
        "POST /in HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-late\r\n\r\n";
    let small = format!("{chunked}1\r\nx\r\n0\r\nx-late: 1\r\nidempotency-key: late\r\n\r\n");
    assert_eq!(status(&gateway, small).await, "202");
    {
        let seen = gateway.seen.lock().unwrap();
        assert_eq!(seen[0].promoted("http.header.x-late"), None);
        assert!(seen[0].key.is_none());
    }
    let mut raw = Raw::connect(gateway.address).await;
    raw.send(format!("{chunked}1\r\nx\r\n0\r\n")).await;
    let line = format!("x-late: {}\r\n", "y".repeat(8000));
    for _ in 0..200 {
        if !raw.try_send(line.as_bytes()).await {
            break;
        }
    }
    let answer = raw.rest().await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
        "{answer}"
    );
    assert_eq!(gateway.seen_count(), 1);
}

#[tokio::test]
async fn who_is_asked_to_continue_and_sends_nothing_is_cut_off() {
    let gateway = gateway().await;
    let mut raw = Raw::connect(gateway.address).await;
    raw.send("POST /in HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n")
        .await;
    assert!(raw.head().await.starts_with("HTTP/1.1 100 "));
    let (head, body) = raw.answer().await;
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    assert!(body.contains(error::TOO_SLOW.code), "{body}");
    assert_eq!(gateway.seen_count(), 0);
}

#[tokio::test]
async fn who_takes_no_answers_is_cut_off() {
    let gateway = gateway().await;
    let mut raw = Raw::connect(gateway.address).await;
    let many = "GET /livez HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1000);
    // The answers fill every buffer, then the gateway stops to read, then it loses its patience.
    let cut_off = async { while raw.try_send(many.as_bytes()).await {} };
    within("the cut", cut_off).await;
    let mut next = Raw::connect(gateway.address).await;
    next.send("POST /in HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx")
        .await;
    assert!(next.answer().await.0.starts_with("HTTP/1.1 202 "));
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![len[1], len[2], len[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What a client of HTTP/2 says first.
fn preface() -> Vec<u8> {
    let mut start = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    start.extend(frame(SETTINGS, 0, 0, &[]));
    start
}

/// `POST http://a/in`, in the words of HPACK.
const POST_IN: &[u8] = b"\x83\x86\x41\x01a\x04\x03/in";

#[tokio::test]
async fn streams_that_are_reset_at_once_cost_nothing() {
    let gateway = gateway().await;
    let mut raw = Raw::connect(gateway.address).await;
    raw.send(preface()).await;
    for batch in 0..200 {
        let mut frames = Vec::new();
        for no in 0..100 {
            let stream = (batch * 100 + no) * 2 + 1;
            frames.extend(frame(HEADERS, END_HEADERS, stream, POST_IN));
            frames.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        }
        if !raw.try_send(&frames).await {
            break;
        }
    }
    raw.try_end().await;
    raw.rest().await;
    assert_eq!(gateway.seen_count(), 0);
    still_serves(&gateway).await;
}

#[tokio::test]
async fn who_grants_no_window_is_cut_off() {
    let gateway = gateway().await;
    let mut raw = Raw::connect(gateway.address).await;
    raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    // The initial window (4) is zero: the head of the answer may come, its body may not.
    raw.send(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await;
    let get_livez = b"\x82\x86\x41\x01a\x04\x06/livez";
    raw.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, get_livez))
        .await;
    // It ends although the client says nothing of an end.
    raw.rest().await;
    still_serves(&gateway).await;
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let gateway = gateway().await;
    let mut raw = Raw::connect(gateway.address).await;
    raw.send(preface()).await;
    raw.send(frame(HEADERS, 0, 1, POST_IN)).await;
    // A header `x` of 8,000 bytes that is kept in no table, over and over.
    let mut header = b"\x00\x01x\x7f\xc1\x3d".to_vec();
    header.extend([b'y'; 8000]);
    let more = frame(CONTINUATION, 0, 1, &header);
    let mut taken = 0;
    while taken < 1000 && raw.try_send(&more).await {
        taken += 1;
    }
    assert!(taken < 1000, "8 MB of one head were taken");
    still_serves(&gateway).await;
}

#[tokio::test]
async fn a_flood_of_pings_ends() {
    let gateway = gateway().await;
    let mut raw = Raw::connect(gateway.address).await;
    raw.send(preface()).await;
    let pings = frame(PING, 0, 0, &[7; 8]).repeat(1000);
    // Nobody reads the answers, so that they cannot be held for ever.
    let flood = async { while raw.try_send(&pings).await {} };
    within("the end of the flood", flood).await;
    still_serves(&gateway).await;
}

async fn still_serves(gateway: &Gateway) {
    let before = gateway.seen_count();
    let request = "POST /in HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx";
    assert_eq!(status(gateway, request).await, "202");
    assert_eq!(gateway.seen_count(), before + 1);
}
