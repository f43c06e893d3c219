//! Clients outside the gateway: each writes a business id into every body and logs every answer.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::{
    Broken, Connection, Reply, Stopwatch,
    client::{Content, request},
    scenario::{order_xml, parcel_json},
    unix_micros, wait_for,
};

/// How long a refused or cut-off client rests, so that it does not spin.
const REST: Duration = Duration::from_millis(20);

/// What a client does with a request that got no answer, or was refused for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBreak {
    /// It sends the same request with the same key until it is accepted.
    Repeat,
    /// It never speaks of it again: the request has had an effect, or none.
    Abandon,
    /// Every second client does the one, the others the other.
    Mixed,
}

/// What clients send, and where.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// The servers; a client goes to the next one when a connection breaks.
    pub servers: Vec<SocketAddr>,
    /// The path of the receive location.
    pub path: String,
    /// How many clients, each with a connection and an order key of its own.
    pub clients: usize,
    /// About how long each body is, in bytes.
    pub size: usize,
    /// What they do without an answer.
    pub on_break: OnBreak,
    /// How long they wait for one.
    pub patience: Duration,
    /// The beginning of every business id, so that several loads of a test are told apart.
    pub prefix: String,
    /// A client rests this long between two requests; none by default.
    pub rest: Option<Duration>,
    /// Whether they send each body a moment after its head; by default both go together.
    pub apart: bool,
    /// Whether bodies are JSON with `id`, `key` and `seq`, as those of producers; orders in XML by default.
    pub json: bool,
}

impl LoadPlan {
    /// Clients that post 512 bytes to `path` and repeat what breaks.
    #[must_use]
    pub fn new(servers: &[SocketAddr], path: &str, clients: usize) -> Self {
        Self {
            servers: servers.to_vec(),
            path: path.to_owned(),
            clients,
            size: 512,
            on_break: OnBreak::Repeat,
            patience: Duration::from_secs(30),
            prefix: "m".to_owned(),
            rest: None,
            apart: false,
            json: false,
        }
    }
}

/// What became of one request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The business id in its body.
    pub id: String,
    /// The order key in its body.
    pub key: String,
    /// The number of the request in its client.
    pub no: u64,
    /// When it was sent, in microseconds since the epoch.
    pub sent_at: u64,
    /// How long the answer took.
    pub took: Duration,
    /// The status, whether `Retry-After` was there, and the problem's code; or why there is none.
    pub outcome: Result<Status, Broken>,
}

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The status.
    pub code: u16,
    /// Whether `Retry-After` was there.
    pub retry_after: bool,
    /// The problem's code, of a refusal.
    pub problem: String,
}

impl Answer {
    /// Whether it says that the message is accepted.
    #[must_use]
    pub fn accepted(&self) -> bool {
        self.outcome
            .as_ref()
            .is_ok_and(|s| (200..300).contains(&s.code))
    }
}

/// Running clients.
#[derive(Debug)]
pub struct Load {
    tasks: JoinSet<Vec<Answer>>,
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
}

/// All answers, in the order of each client.
#[derive(Debug, Clone, Default)]
pub struct LoadReport {
    /// Every request.
    pub answers: Vec<Answer>,
}

impl LoadReport {
    /// The ids that were accepted, once each.
    #[must_use]
    pub fn accepted(&self) -> Vec<&Answer> {
        let mut seen = std::collections::HashSet::new();
        self.answers
            .iter()
            .filter(|a| a.accepted() && seen.insert(&a.id))
            .collect()
    }

    /// The ids of requests of which no repeat was accepted either.
    #[must_use]
    pub fn unanswered(&self) -> Vec<&str> {
        let accepted: std::collections::HashSet<_> =
            self.accepted().iter().map(|a| a.id.as_str()).collect();
        let ids: std::collections::BTreeSet<_> =
            self.answers.iter().map(|a| a.id.as_str()).collect();
        ids.into_iter()
            .filter(|id| !accepted.contains(id))
            .collect()
    }

    /// The longest time that a request waited for its answer, or for the loss of its connection.
    #[must_use]
    pub fn slowest(&self) -> Duration {
        self.answers
            .iter()
            .map(|a| a.took)
            .max()
            .unwrap_or_default()
    }
}

impl Load {
    /// Starts the clients of `plan`.
    #[must_use]
    pub fn start(plan: LoadPlan) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (accepted, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let plan = Arc::new(plan);
        let mut tasks = JoinSet::new();
        for no in 0..plan.clients {
            let client = Client {
                plan: Arc::clone(&plan),
                no,
                server: no,
                connection: None,
                stop: Arc::clone(&stop),
                accepted: Arc::clone(&accepted),
                refused: Arc::clone(&refused),
                answers: Vec::new(),
            };
            tasks.spawn(client.run());
        }
        Self {
            tasks,
            stop,
            accepted,
            refused,
        }
    }

    /// How many requests were accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Waits until `more` requests were refused from now on, or got no answer.
    pub async fn wait_refused(&self, more: u64, within: Duration) {
        let goal = self.refused.load(Ordering::Relaxed) + more;
        wait_for(&format!("{more} more refusals"), within, async || {
            let left = goal.saturating_sub(self.refused.load(Ordering::Relaxed));
            if left == 0 {
                Ok(())
            } else {
                Err(format!("{left} are missing"))
            }
        })
        .await;
    }

    /// Waits until `more` requests were accepted from now on.
    pub async fn wait_accepted(&self, more: u64, within: Duration) {
        let goal = self.accepted() + more;
        wait_for(
            &format!("{more} more accepted requests"),
            within,
            async || {
                let left = goal.saturating_sub(self.accepted());
                if left == 0 {
                    Ok(())
                } else {
                    Err(format!("{left} are missing"))
                }
            },
        )
        .await;
    }

    /// Lets every client finish the request at hand and returns what they saw.
    ///
    /// # Panics
    /// When a client panicked, or does not finish within a minute.
    pub async fn finish(mut self) -> LoadReport {
        self.stop.store(true, Ordering::Relaxed);
        let mut report = LoadReport::default();
        let all = async {
            while let Some(client) = self.tasks.join_next().await {
                report
                    .answers
                    .extend(client.expect("a client does not panic"));
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all)
            .await
            .expect("clients finish in a minute");
        report
    }
}

struct Client {
    plan: Arc<LoadPlan>,
    no: usize,
    server: usize,
    connection: Option<Connection>,
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
    refused: Arc<AtomicU64>,
    answers: Vec<Answer>,
}

impl Client {
    async fn run(mut self) -> Vec<Answer> {
        let mut no = 0;
        while !self.stopped() {
            no += 1;
            self.deliver(no).await;
            if let Some(rest) = self.plan.rest {
                tokio::time::sleep(rest).await;
            }
        }
        self.answers
    }

    /// One request, and its repeats if this client makes some.
    async fn deliver(&mut self, no: u64) {
        loop {
            let answer = self.attempt(no).await;
            let done = answer.accepted();
            let broken = answer.outcome.is_err();
            self.answers.push(answer);
            if done {
                self.accepted.fetch_add(1, Ordering::Relaxed);
                return;
            }
            self.refused.fetch_add(1, Ordering::Relaxed);
            if broken {
                self.connection = None;
                self.server += 1;
            }
            tokio::time::sleep(REST).await;
            if self.abandons() || self.stopped() {
                return;
            }
        }
    }

    async fn attempt(&mut self, no: u64) -> Answer {
        let (id, key) = (format!("{}-{}-{no}", self.plan.prefix, self.no), self.key());
        let body = if self.plan.json {
            parcel_json(&id, &key, no, self.plan.size)
        } else {
            order_xml(&id, &key, self.plan.size)
        };
        let (sent_at, watch) = (unix_micros(), Stopwatch::start());
        let outcome = self.post(&id, body).await.map(|reply| Status {
            code: reply.status.as_u16(),
            retry_after: reply.headers.contains_key("retry-after"),
            problem: if reply.status.is_success() {
                String::new()
            } else {
                reply.code()
            },
        });
        Answer {
            id,
            key,
            no,
            sent_at,
            took: watch.elapsed(),
            outcome,
        }
    }

    async fn post(&mut self, id: &str, body: Bytes) -> Result<Reply, Broken> {
        let addr = self.plan.servers[self.server % self.plan.servers.len()];
        let quoted = format!("\"{id}\"");
        let kind = if self.plan.json { "json" } else { "xml" };
        let kind = format!("application/{kind}");
        let headers = [
            ("content-type", kind.as_str()),
            ("idempotency-key", quoted.as_str()),
        ];
        let request = request("POST", addr, &self.plan.path, &headers, body);
        let request = if self.plan.apart {
            request.map(Content::apart)
        } else {
            request
        };
        if self.connection.as_ref().is_none_or(Connection::is_closed) {
            self.connection = Some(Connection::open(addr).await?);
        }
        let connection = self
            .connection
            .as_mut()
            .expect("opened just now, if it was not open");
        let reply = connection.send(request, self.plan.patience).await;
        if !reply
            .as_ref()
            .is_ok_and(|r| r.header("connection") != "close")
        {
            self.connection = None;
        }
        reply
    }

    fn key(&self) -> String {
        format!("{}-{}", self.plan.prefix, self.no)
    }

    fn abandons(&self) -> bool {
        match self.plan.on_break {
            OnBreak::Repeat => false,
            OnBreak::Abandon => true,
            OnBreak::Mixed => self.no % 2 == 1,
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
