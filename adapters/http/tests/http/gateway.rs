//! A gateway in small: the adapter, and an engine that settles deliveries as a test says.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::BytesMut;
use futures_util::StreamExt as _;
use quayside_adapter_api::{
    Accepted, Adapter as _, AdapterError, Answer, Condition, Delivery, ErrorKind, Incoming,
    Messages, NaturalKey, PendingSource, Receive, RejectKind, Rejected, Reply, SecretRef, Secrets,
    Services, Settle, Sources, Span, Standing, Terms,
    model::{Code, Context, MessageId, Name, SystemClock, SystemEntropy, Text},
    services::{CancellationToken, Secret},
};
use quayside_adapter_http::{
    DEFAULT_LISTENER, HttpAdapter, HttpOptions, ListenerOptions, Readiness,
};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Duration, timeout},
};

/// The id of every message: the engine here stores nothing.
pub(crate) const ID: &str = "01890000-0000-7000-8000-000000000001";

/// The id of every message that comes with another one.
pub(crate) const OTHER: &str = "01890000-0000-7000-8000-000000000002";

/// A code of the engine.
pub(crate) const ENGINE: Code = Code {
    code: "QS0999",
    meaning: "The engine of the tests refuses.",
    remedy: "Look at the test.",
};

/// What the engine saw of a delivery.
pub(crate) struct Seen {
    pub(crate) context: Context,
    pub(crate) content_type: Option<Text>,
    pub(crate) body: Vec<u8>,
    pub(crate) pieces: usize,
    pub(crate) key: Option<NaturalKey>,
    pub(crate) reply: Reply,
}

impl Seen {
    pub(crate) fn promoted(&self, name: &str) -> Option<String> {
        self.context.promoted(name).map(ToString::to_string)
    }
}

/// What the engine does with a delivery.
pub(crate) enum Verdict {
    Accept,
    Replay,
    Answer(Answer),
    Reject(RejectKind),
    Drop,
    /// Until the test lets it go.
    Hold,
}

/// The gateway.
pub(crate) struct Gateway {
    pub(crate) adapter: Arc<HttpAdapter>,
    pub(crate) address: SocketAddr,
    pub(crate) ready: Arc<AtomicBool>,
    pub(crate) seen: Arc<Mutex<Vec<Seen>>>,
    count: watch::Sender<usize>,
    /// How many deliveries were accepted without an error.
    settled: watch::Sender<usize>,
    pub(crate) release: watch::Sender<bool>,
    engines: JoinSet<()>,
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        Self::with(ListenerOptions::plain("127.0.0.1:0")).await
    }

    pub(crate) async fn with(listener: ListenerOptions) -> Self {
        let ready = Arc::new(AtomicBool::new(true));
        let readiness = Arc::clone(&ready);
        let adapter = HttpAdapter::new(HttpOptions {
            listeners: [(DEFAULT_LISTENER.to_owned(), listener)].into(),
            readiness: Arc::new(move || Readiness {
                ready: readiness.load(Ordering::SeqCst),
            }),
            secrets: Arc::new(Safe),
            workers: None,
        });
        let address = adapter.bind().await.expect("a free port")[DEFAULT_LISTENER];
        Self {
            adapter,
            address,
            ready,
            seen: Arc::default(),
            count: watch::Sender::new(0),
            settled: watch::Sender::new(0),
            release: watch::Sender::new(false),
            engines: JoinSet::new(),
        }
    }

    /// One that takes at `paths` and loses its patience early.
    pub(crate) async fn impatient(paths: &[&str]) -> Self {
        let listener = ListenerOptions {
            header_timeout: Span::millis(300),
            ..ListenerOptions::plain("127.0.0.1:0")
        };
        let mut gateway = Self::with(listener).await;
        for path in paths {
            let block = json!({ "path": path, "body_timeout": "300ms", "max_body": "256 KiB" });
            gateway.location(block, |_| Verdict::Accept).await;
        }
        gateway
    }

    /// Opens a location without an engine behind it.
    pub(crate) async fn open(&self, block: Value) -> Result<Box<dyn Receive>, AdapterError> {
        self.open_as("app.port.location", block).await
    }

    pub(crate) async fn open_as(
        &self,
        name: &str,
        block: Value,
    ) -> Result<Box<dyn Receive>, AdapterError> {
        let name = Name::new(name).unwrap();
        let terms = Terms::default();
        let opening = self.adapter.open_receive(&name, &block, &terms, services());
        opening.await
    }

    /// Opens a location whose deliveries get this verdict.
    pub(crate) async fn location(
        &mut self,
        block: Value,
        verdict: impl Fn(&Seen) -> Verdict + Send + Sync + 'static,
    ) {
        let mut receive = self.open(block).await.expect("a good block");
        let (seen, count) = (Arc::clone(&self.seen), self.count.clone());
        let (release, settled) = (self.release.clone(), self.settled.clone());
        let verdict = Arc::new(verdict);
        self.engines.spawn(async move {
            let mut settling = JoinSet::new();
            while let Ok(delivery) = receive.receive().await {
                let (seen, count) = (Arc::clone(&seen), count.clone());
                let (verdict, release) = (Arc::clone(&verdict), release.subscribe());
                let settled = settled.clone();
                settling.spawn(async move {
                    settle(delivery, &seen, &count, &*verdict, release).await;
                    settled.send_modify(|count| *count += 1);
                });
            }
            settling.join_all().await;
        });
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Waits until the engine has taken this many deliveries.
    pub(crate) async fn wait_seen(&self, count: usize) {
        let mut counted = self.count.subscribe();
        let waiting = counted.wait_for(|seen| *seen >= count);
        within(&format!("{count} deliveries"), waiting)
            .await
            .expect("the gateway lives");
    }

    /// Waits until the engine has settled this many deliveries without a failure.
    pub(crate) async fn wait_settled(&self, count: usize) {
        let mut settled = self.settled.subscribe();
        let waiting = settled.wait_for(|settled| *settled >= count);
        within(&format!("{count} settlements"), waiting)
            .await
            .expect("the gateway lives");
    }

    pub(crate) fn seen_count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

async fn settle(
    delivery: Delivery,
    all: &Mutex<Vec<Seen>>,
    count: &watch::Sender<usize>,
    verdict: &(dyn Fn(&Seen) -> Verdict + Send + Sync),
    mut release: watch::Receiver<bool>,
) {
    let Delivery {
        message,
        others,
        reply,
        settle,
        ..
    } = delivery;
    let mut together = Vec::new();
    for message in std::iter::once(message).chain(others) {
        match see(message, reply).await {
            Ok(seen) => together.push(seen),
            Err(error) => return refuse(settle, error).await,
        }
    }
    // The engine speaks of all in one word; the last one's is as good as any.
    let last = together.last().map(verdict).unwrap();
    let others = together.len() - 1;
    all.lock().unwrap().extend(together);
    count.send_modify(|count| *count += 1 + others);
    if matches!(last, Verdict::Hold) {
        let _ = release.wait_for(|released| *released).await;
    }
    conclude(settle, last, others).await;
}

async fn see(message: Incoming, reply: Reply) -> Result<Seen, AdapterError> {
    let Incoming {
        context,
        content_type,
        mut body,
        key,
    } = message;
    let (mut bytes, mut pieces) = (BytesMut::new(), 0);
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece?);
        pieces += 1;
    }
    Ok(Seen {
        context,
        content_type,
        body: bytes.into(),
        pieces,
        key,
        reply,
    })
}

async fn conclude(settle: Box<dyn Settle>, verdict: Verdict, others: usize) {
    let message: MessageId = ID.parse().unwrap();
    let accepted = |replayed, answer| Accepted {
        message,
        others: vec![OTHER.parse().unwrap(); others],
        replayed,
        answer,
    };
    match verdict {
        Verdict::Accept | Verdict::Hold => {
            settle
                .accept(accepted(false, None))
                .await
                .expect("nothing to clean up");
        }
        Verdict::Replay => settle.accept(accepted(true, None)).await.unwrap(),
        Verdict::Answer(answer) => settle.accept(accepted(false, Some(answer))).await.unwrap(),
        Verdict::Reject(kind) => {
            let detail = "because the test says so".to_owned();
            settle
                .reject(Rejected {
                    kind,
                    code: ENGINE,
                    detail,
                    index: (others > 0).then_some(u16::try_from(others).unwrap()),
                    retry_after: None,
                })
                .await;
        }
        Verdict::Drop => drop(settle),
    }
}

async fn refuse(settle: Box<dyn Settle>, error: AdapterError) {
    let kind = match error.kind {
        ErrorKind::TooLarge => RejectKind::TooLarge,
        _ => RejectKind::Invalid,
    };
    let rejected = Rejected {
        kind,
        code: error.code,
        detail: error.detail,
        index: None,
        retry_after: None,
    };
    settle.reject(rejected).await;
}

/// What an engine lends.
pub(crate) fn services() -> Services {
    Services {
        node: Name::new("node-a").expect("a name"),
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        secrets: Arc::new(Safe),
        sources: Arc::new(NoSources),
        messages: Arc::new(NoSources),
        condition: Condition::default(),
        stopping: CancellationToken::new(),
    }
}

/// Secrets whose text is their name behind `the `.
pub(crate) struct Safe;

impl Secrets for Safe {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, AdapterError> {
        if reference.secret == "missing" {
            return Err(AdapterError::new(
                ErrorKind::Config,
                ENGINE,
                "no such secret",
            ));
        }
        Ok(Secret::new(
            format!("the {}\n", reference.secret).as_bytes(),
        ))
    }
}

#[async_trait]
impl Messages for NoSources {
    async fn standing(&self, message: MessageId) -> Result<Option<Standing>, AdapterError> {
        Ok((message.to_string() == ID).then(|| Standing {
            location: Text::lossy("app.port.location"),
            ended: false,
        }))
    }
}

/// HTTP leaves nothing behind at its sources.
struct NoSources;

#[async_trait]
impl Sources for NoSources {
    async fn lease(&self, _: &str) -> Result<bool, AdapterError> {
        Ok(true)
    }
    async fn release(&self, _: &str) -> Result<(), AdapterError> {
        Ok(())
    }
    async fn pending(&self) -> Result<Vec<PendingSource>, AdapterError> {
        Ok(Vec::new())
    }
    async fn settled(&self, _: &[Text]) -> Result<(), AdapterError> {
        Ok(())
    }
}

/// Ends a test with a word instead of letting it hang.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match timeout(Duration::from_secs(20), future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} did not come within 20 s"),
    }
}

/// The document of a refusal, checked for what every one has.
pub(crate) async fn problem(response: reqwest::Response) -> BTreeMap<String, Value> {
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let document: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap();
    for member in [
        "type",
        "title",
        "status",
        "detail",
        "code",
        "instance",
        "retryable",
    ] {
        assert!(
            document.contains_key(member),
            "`{member}` is missing in {text}"
        );
    }
    assert_eq!(document["status"], status);
    document
}
