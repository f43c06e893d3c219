//! A keep-alive HTTP/1.1 client of one connection, with every failure as a value.

use std::{
    convert::Infallible,
    fmt,
    future::Future as _,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::{
    body::{Body, Frame, SizeHint},
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Sleep, sleep, timeout},
};

/// How long a connection may take to open.
const CONNECT: Duration = Duration::from_secs(2);

/// How long a body lets its head go first: long enough for two segments on the wire.
const APART: Duration = Duration::from_micros(500);

/// The body of a request, sent with its head or a moment after it.
#[derive(Debug)]
pub struct Content {
    /// What is still to be sent.
    bytes: Bytes,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Content {
    /// The same, sent after its head, as many clients do.
    #[must_use]
    pub fn apart(self) -> Self {
        Self {
            pause: Some(Box::pin(sleep(APART))),
            ..self
        }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if let Some(pause) = &mut this.pause {
            ready!(pause.as_mut().poll(cx));
            this.pause = None;
        }
        let bytes = std::mem::take(&mut this.bytes);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

/// One open connection.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Content>,
    /// Drives the connection; dropped with it.
    _driver: JoinSet<()>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Reply {
    /// Its body as JSON; `Null` if it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header as text; empty if it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or("")
    }

    /// Its body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The `code` of a problem document; empty if it is none.
    #[must_use]
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or("").to_owned()
    }
}

/// No answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broken {
    /// The connection could not be opened: nothing was sent.
    Connect(String),
    /// The connection ended before the answer: whether the request had an effect is not known.
    Lost(String),
    /// No answer in time.
    Late(Duration),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(e) => write!(f, "no connection: {e}"),
            Self::Lost(e) => write!(f, "no answer: {e}"),
            Self::Late(within) => write!(f, "no answer within {within:?}"),
        }
    }
}

impl Connection {
    /// Connects to `addr`.
    ///
    /// # Errors
    /// [`Broken::Connect`].
    pub async fn open(addr: SocketAddr) -> Result<Self, Broken> {
        let connect = |e: &dyn fmt::Display| Broken::Connect(e.to_string());
        let stream = timeout(CONNECT, TcpStream::connect(addr))
            .await
            .map_err(|e| connect(&e))?
            .map_err(|e| connect(&e))?;
        stream.set_nodelay(true).map_err(|e| connect(&e))?;
        let (sender, driver) = handshake(TokioIo::new(stream))
            .await
            .map_err(|e| connect(&e))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // Its failure is also the failure of the request that waits for it, where it is reported.
            let _reported = driver.await;
        });
        Ok(Self {
            sender,
            _driver: tasks,
        })
    }

    /// Sends `request` and reads the whole answer, at most `within`.
    ///
    /// # Errors
    /// [`Broken`]; the connection is of no use after it.
    pub async fn send(
        &mut self,
        request: Request<Content>,
        within: Duration,
    ) -> Result<Reply, Broken> {
        timeout(within, self.exchange(request))
            .await
            .unwrap_or(Err(Broken::Late(within)))
    }

    /// Whether the other side has closed it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    async fn exchange(&mut self, request: Request<Content>) -> Result<Reply, Broken> {
        let lost = |e: hyper::Error| Broken::Lost(e.to_string());
        // Not ready means: closed while idle, so this request never left.
        self.sender
            .ready()
            .await
            .map_err(|e| Broken::Connect(e.to_string()))?;
        let (head, body) = self
            .sender
            .send_request(request)
            .await
            .map_err(lost)?
            .into_parts();
        let body = body.collect().await.map_err(lost)?.to_bytes();
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            body,
        })
    }
}

/// One request on a connection of its own.
///
/// # Errors
/// [`Broken`].
pub async fn once(
    addr: SocketAddr,
    request: Request<Content>,
    within: Duration,
) -> Result<Reply, Broken> {
    Connection::open(addr).await?.send(request, within).await
}

/// A request with a body.
///
/// # Panics
/// When a header is no header.
#[must_use]
pub fn request(
    method: &str,
    addr: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Request<Content> {
    let mut builder = Request::builder()
        .method(method)
        .uri(path)
        .header("host", addr.to_string());
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder
        .body(Content {
            bytes: body,
            pause: None,
        })
        .expect("the test gives valid headers")
}

/// Gets a JSON document; an error says what came instead.
///
/// # Errors
/// No answer, or another than 200 with JSON.
pub async fn get_json(addr: SocketAddr, path: &str) -> Result<serde_json::Value, String> {
    let get = request("GET", addr, path, &[], Bytes::new());
    let reply = once(addr, get, Duration::from_secs(5))
        .await
        .map_err(|e| format!("{path}: {e}"))?;
    if reply.status != StatusCode::OK {
        return Err(format!(
            "{path}: {} {}",
            reply.status,
            String::from_utf8_lossy(&reply.body)
        ));
    }
    serde_json::from_slice(&reply.body).map_err(|e| format!("{path}: {e}"))
}
