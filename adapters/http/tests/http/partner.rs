//! A partner in small: answers as a test says and remembers what it got.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{io::AsyncReadExt as _, net::TcpListener, task::JoinSet};

/// A request as the partner got it.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// The partner.
pub(crate) struct Partner {
    pub(crate) address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    connections: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Partner {
    /// A partner that answers each request with what `answer` says; the number counts from 0.
    pub(crate) async fn new(
        answer: impl Fn(usize, &Got) -> Response<String> + Send + Sync + 'static,
    ) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let got = Arc::new(Mutex::new(Vec::new()));
        let state = (Arc::clone(&got), Arc::new(answer));
        let connected = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connected);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = socket.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let state = state.clone();
                connections.spawn(async move {
                    let service = service_fn(|request: Request<Incoming>| {
                        let (got, answer) = state.clone();
                        async move {
                            let request = read(request).await;
                            let no = {
                                let mut got = got.lock().unwrap();
                                got.push(request.clone());
                                got.len() - 1
                            };
                            let response = answer(no, &request);
                            Ok::<_, Infallible>(response.map(|body| Full::new(Bytes::from(body))))
                        }
                    });
                    let builder = auto::Builder::new(TokioExecutor::new());
                    // A client that goes away is a case of the tests and no failure of the partner.
                    let _ = builder
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            address,
            got,
            connections: connected,
            _serving: serving,
        }
    }

    /// A partner that always answers this.
    pub(crate) async fn with(status: u16, body: &'static str) -> Self {
        Self::new(move |_, _| reply(status, body)).await
    }

    /// A partner that reads something of each request and hangs up.
    pub(crate) async fn that_hangs_up() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            while let Ok((mut stream, _)) = socket.accept().await {
                let mut buffer = [0; 4096];
                let _ = stream.read(&mut buffer).await;
            }
        });
        Self {
            address,
            got: Arc::default(),
            connections: Arc::default(),
            _serving: serving,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many connections it has accepted.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

async fn read(request: Request<Incoming>) -> Got {
    let (head, body) = request.into_parts();
    Got {
        method: head.method.to_string(),
        target: head
            .uri
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default(),
        headers: head.headers,
        body: body
            .collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default(),
    }
}

/// An answer.
pub(crate) fn reply(status: u16, body: &str) -> Response<String> {
    Response::builder()
        .status(status)
        .body(body.to_owned())
        .unwrap()
}

/// An answer with a header.
pub(crate) fn reply_with(status: u16, name: &str, value: &str) -> Response<String> {
    Response::builder()
        .status(status)
        .header(name, value)
        .body(String::new())
        .unwrap()
}
