//! The built-in partner: takes everything, repeats nothing, shows each request as one block.

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Request},
    http::{Method, StatusCode, Uri},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cli::output::complain;

/// The longest body that it takes.
const MAX_BODY: usize = 64 * 1024 * 1024;
/// How much of a body it shows, in characters.
const SHOWN: usize = 2000;
/// Headers that every client sends and nobody asks for.
const DULL: [&str; 5] = [
    "host",
    "accept",
    "user-agent",
    "content-length",
    "connection",
];

/// Serves until it is over.
pub(super) async fn serve(listener: TcpListener, over: CancellationToken) -> &'static str {
    let router = Router::new()
        .fallback(show)
        .layer(DefaultBodyLimit::max(MAX_BODY));
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(over.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::warn!(%error, "the built-in partner failed");
    }
    "partner"
}

async fn show(method: Method, uri: Uri, request: Request) -> (StatusCode, &'static str) {
    let headers = request.headers().clone();
    let body = axum::body::to_bytes(request.into_body(), MAX_BODY).await;
    let Ok(body) = body else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "too large\n");
    };
    let mut block = format!(
        "\n── the partner got ── {method} {uri} ── {} bytes ──\n",
        body.len()
    );
    for (name, value) in &headers {
        if !DULL.contains(&name.as_str()) {
            let secret = ["authorization", "cookie"].contains(&name.as_str());
            let value = if secret {
                "***".into()
            } else {
                String::from_utf8_lossy(value.as_bytes())
            };
            block.push_str(&format!("{name}: {value}\n"));
        }
    }
    block.push('\n');
    block.push_str(&body_in_words(&body));
    block.push_str("\n──\n");
    complain(&block);
    (StatusCode::OK, "taken\n")
}

fn body_in_words(body: &Bytes) -> String {
    let Ok(text) = std::str::from_utf8(body) else {
        return format!("({} bytes that are no text)", body.len());
    };
    // What arrives is a stranger's: it must not steer the terminal.
    let printable = |c: char| {
        if c.is_control() && c != '\n' && c != '\t' {
            '·'
        } else {
            c
        }
    };
    let mut shown: String = text.chars().take(SHOWN).map(printable).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}
