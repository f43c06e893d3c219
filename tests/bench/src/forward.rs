//! The HTTP ceiling: the gateway's server library and client library with nothing between them.
//!
//! It reads a request, sends its body on and answers 202 when the partner has answered. Whatever the
//! gateway does beside that, the store included, is what the ratio shows.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use http::{Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

/// Where to send what arrives.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// The partner's address.
    #[arg(long)]
    pub(crate) to: SocketAddr,
}

struct Forwarder {
    client: reqwest::Client,
    url: reqwest::Url,
}

/// Serves until it is killed. On one thread: client and partner need the other core, and a ceiling has to
/// be as fast as its libraries allow.
pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(options))
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let provider = rustls::crypto::ring::default_provider();
    provider
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider is installed"))?;
    let client = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(30))
        .no_proxy()
        .build()
        .context("building the HTTP client")?;
    // Parsed once, as the gateway does with an address that holds no template.
    let url = format!("http://{}/orders", options.to).parse()?;
    let forwarder = Arc::new(Forwarder { client, url });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    crate::report::say(&format!("ready {}", listener.local_addr()?));
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let forwarder = Arc::clone(&forwarder);
        connections.spawn(async move {
            let serve = service_fn(move |request| forward(Arc::clone(&forwarder), request));
            let server = http1::Builder::new();
            // A client that hangs up ends its connection; the measurement ends all of them so.
            let _ended = server.serve_connection(TokioIo::new(stream), serve).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn forward(
    forwarder: Arc<Forwarder>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let status = match pass(&forwarder, request).await {
        Ok(()) => StatusCode::ACCEPTED,
        Err(_) => StatusCode::BAD_GATEWAY,
    };
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status;
    Ok(response)
}

async fn pass(forwarder: &Forwarder, request: Request<Incoming>) -> anyhow::Result<()> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let mut out = forwarder.client.post(forwarder.url.clone()).body(body);
    for name in [CONTENT_TYPE.as_str(), "idempotency-key"] {
        if let Some(value) = head.headers.get(name) {
            out = out.header(name, value);
        }
    }
    let answer = out.send().await?.error_for_status()?;
    answer.bytes().await?;
    Ok(())
}
