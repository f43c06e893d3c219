//! The life of a process: listen, reach the store, run, reload, replace a lost engine, stop in stages.
//!
//! It listens before anything else: while the store cannot be reached probes are told so, senders are told to
//! come back, and nobody takes the machine for dead.
//!
//! An engine is lost when another node has ended its session (this process was paused or cut off for longer
//! than its lease), or when one of its tasks has failed. It is cut off in that moment, and another one takes
//! its place, with a session and an instance of its own: the store refuses whatever the old one still wants.
//! That is safe as long as every task of the old one has ended. If one has not, or if engines are lost one
//! after the other, the process ends with exit code 12, and its supervisor starts a new one.
//!
//! With an agent ([`Agency`]) the process runs one host of the node. It serves its API on a socket, is lost only with its
//! process, and where the host is clustered it stands by until the agent makes it the active one.
//!
//! Signals: TERM and INT stop it, a second one hastens that; HUP reads the configuration again. The
//! process prints one line when it is ready, so that whoever started it knows its ports:
//! `ready http=IP:PORT admin=IP:PORT pid=N`.

use std::{sync::Arc, time::Duration};

use quayside_adapter_api::Secrets;
use quayside_adapter_http::{HttpAdapter, Readiness, ReadinessCheck};
use quayside_engine::{Engine, EngineError, Options, Roles, StopReport};
use quayside_model::{Entropy, Monotonic, Name};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    agency::{Adopted, Agency, Word},
    cli::{check, codes, output},
    config::{Inputs, Loaded},
    dev::{self, DevOptions},
    exit::{Exit, Failure, chain},
    gateway::Gateway,
    secrets::FolderSecrets,
    telemetry,
    wiring::{self, OpenStore, Wired},
    workers::Desk,
};

mod agent;
mod listen;
mod signals;

pub(crate) use listen::bind;
use signals::Signals;

/// How long requests and sends under way may take once the process stops.
const GRACE: Duration = Duration::from_secs(20);
/// How long the admin listener may take to end its calls.
const ADMIN_GRACE: Duration = Duration::from_secs(2);
/// The waits between attempts to reach the store or to start the engine.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// So many lost engines within this time are too many.
const MAX_LOSSES: usize = 5;
const LOSS_SPAN: Duration = Duration::from_secs(60);

/// What a process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// It runs hosts.
    Hosts,
    /// It answers for the other processes of its node, and moves no message.
    Api,
}

/// The name of what a process runs that runs no host; no host of a configuration can have it.
const NO_HOST: &str = "quayside.admin";

/// Runs the configuration of `inputs` until a signal ends it.
pub(crate) fn run(inputs: &Inputs, work: Work, dev: Option<DevOptions>) -> Result<Exit, Failure> {
    let adopted = Adopted::here()?;
    let mut loaded = match check::load(inputs, &wiring::adapters_for_checking()) {
        Ok(loaded) => loaded,
        Err(exit) => return Ok(exit),
    };
    if work == Work::Api {
        loaded.hosts = Name::new(NO_HOST).into_iter().collect();
        loaded.clustered = Vec::new();
        loaded.roles = Roles {
            receive: false,
            process: false,
            send: false,
            track: false,
        };
    }
    let _log = telemetry::start(&loaded.node.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::new(codes::INTERNAL, error.to_string()))?;
    let result = runtime.block_on(live(inputs, work, loaded, dev, adopted));
    // Threads that wait for a disk must not keep a process that has stopped.
    runtime.shutdown_timeout(ADMIN_GRACE);
    if let Err(failure) = &result {
        error!(code = %failure.code, error = %failure.message, "the process ends");
    }
    result
}

/// Everything that runs in a process.
struct Process<'a> {
    agency: Option<Agency>,
    work: Work,
    inputs: &'a Inputs,
    loaded: Loaded,
    dev: bool,
    store: OpenStore,
    gateway: Arc<Gateway>,
    wired: Wired,
    secrets: Arc<dyn Secrets>,
    signals: Signals,
    /// When engines were lost lately.
    losses: Vec<Monotonic>,
    /// Ends the tasks.
    over: CancellationToken,
    tasks: JoinSet<&'static str>,
}

async fn live(
    inputs: &Inputs,
    work: Work,
    loaded: Loaded,
    dev: Option<DevOptions>,
    adopted: Option<Adopted>,
) -> Result<Exit, Failure> {
    let agency = adopted.map(Adopted::join).transpose()?;
    let mut signals = Signals::new()?;
    let secrets: Arc<dyn Secrets> = Arc::new(FolderSecrets::new(&loaded.node.secrets));
    let Some(store) = prepare_store(&loaded, &secrets, &mut signals).await? else {
        return Ok(Exit::Ok);
    };
    let clock = wiring::clock();
    let embedded = store.embedded.clone();
    let gateway = Arc::new(Gateway::new(
        loaded.node.name.clone(),
        store.store.clone(),
        embedded,
        clock,
    ));
    // Of the processes of an agent's node only those with HTTP locations listen.
    let listens = agency.is_none() || listen::takes_requests(&loaded);
    let http = (listens && work == Work::Hosts).then_some(&loaded.http);
    let workers = Arc::new(Desk(gateway.store.clone()));
    let wired = wiring::adapters(http, readiness(&gateway), workers, Arc::clone(&secrets));
    let (over, tasks) = (CancellationToken::new(), JoinSet::new());
    let mut process = Process {
        agency,
        work,
        inputs,
        loaded,
        dev: dev.is_some(),
        store,
        gateway,
        wired,
        secrets,
        signals,
        losses: Vec::new(),
        over,
        tasks,
    };
    let result = process.serve(dev).await;
    process.close().await;
    result
}

/// What the HTTP adapter asks before it takes a request.
fn readiness(gateway: &Arc<Gateway>) -> ReadinessCheck {
    let gateway = Arc::clone(gateway);
    Arc::new(move || Readiness {
        ready: gateway.intake().ready,
    })
}

/// Prepares the store: opens the embedded one, waiting for a disk that is full, say; the database is reached
/// later, when everybody can see that it is waited for. `None`: told to stop while waiting.
async fn prepare_store(
    loaded: &Loaded,
    secrets: &Arc<dyn Secrets>,
    signals: &mut Signals,
) -> Result<Option<OpenStore>, Failure> {
    let mut waits = Waits::new();
    loop {
        let failure =
            match wiring::prepare_store(&loaded.node, Arc::clone(secrets), wiring::clock()).await {
                Ok(store) => return Ok(Some(store)),
                Err(failure) => failure,
            };
        let transient = failure.is_transient();
        let failure = Failure::from(failure);
        if !transient {
            return Err(failure);
        }
        warn!(code = %failure.code, error = %failure.message, "the store cannot be opened yet");
        if signals.stop_within(waits.next()).await {
            return Ok(None);
        }
    }
}

/// Waits that double up to the longest, each shortened by chance, so that the processes of a group do not
/// come back to a store that starts all at once.
struct Waits {
    next: Duration,
    entropy: Arc<dyn Entropy>,
}

impl Waits {
    fn new() -> Self {
        Self {
            next: FIRST_WAIT,
            entropy: wiring::entropy(),
        }
    }

    fn next(&mut self) -> Duration {
        let wait = self.next.mul_f64(0.5 + self.entropy.fraction() / 2.0);
        self.next = (self.next * 2).min(LONGEST_WAIT);
        wait
    }
}

/// What happens to a running process.
enum Event {
    Stop,
    Reload,
    Lost(EngineError),
    TaskEnded(String),
    Agent(Word),
}

impl Process<'_> {
    async fn serve(&mut self, dev: Option<DevOptions>) -> Result<Exit, Failure> {
        if self.work == Work::Api {
            return self.serve_api().await;
        }
        if self.agency.is_some() {
            return self.serve_agent().await;
        }
        let admin = self.start_admin().await?;
        let http = self.bind_http().await?;
        let (mut saved, mut partner) = (None, None);
        if let Some(options) = &dev {
            saved = Some(dev::watch(&self.loaded.files));
            partner = dev::start_partner(options, &mut self.tasks, self.over.clone()).await;
        }
        if !self.reach_store().await? || !self.start_engine().await? {
            return Ok(Exit::Ok);
        }
        if dev.is_some() {
            dev::explain(&self.loaded, http, admin, partner);
        }
        let pid = std::process::id();
        output::print(&format!("ready http={http} admin={admin} pid={pid}\n"))?;
        self.live_on(saved).await
    }

    /// The same for a process that answers for the others of its node.
    async fn serve_api(&mut self) -> Result<Exit, Failure> {
        let admin = self.start_admin().await?;
        if !self.reach_store().await? || !self.start_engine().await? {
            return Ok(Exit::Ok);
        }
        let pid = std::process::id();
        output::print(&format!("ready admin={admin} pid={pid}\n"))?;
        self.live_on(None).await
    }

    /// Goes on until the process is to end.
    async fn live_on(&mut self, mut saved: Option<dev::Watch>) -> Result<Exit, Failure> {
        loop {
            match self.next(saved.as_mut()).await {
                Event::Stop => return Ok(self.stop().await),
                Event::Agent(Word::Gone) => {
                    // Trust ends by itself, and nobody is there to move it on.
                    self.drop_engine(Duration::ZERO, || {}).await;
                    return Ok(Exit::Orphan);
                }
                Event::Agent(Word::Drain(within)) => return Ok(self.drain(within).await),
                Event::Agent(Word::Grant(epoch, former)) => {
                    self.become_active(epoch, former).await?;
                }
                Event::Reload => self.reload().await,
                Event::Lost(error) => {
                    if !self.replace_engine(&error).await? {
                        return Ok(self.stop().await);
                    }
                }
                Event::TaskEnded(what) => {
                    error!(code = %codes::INTERNAL, error = %what, "a part of the process has ended");
                    self.stop().await;
                    return Ok(Exit::Failed);
                }
            }
        }
    }

    /// Reaches the store, waiting for a database that is not there yet. `false`: told to stop meanwhile.
    async fn reach_store(&mut self) -> Result<bool, Failure> {
        let mut waits = Waits::new();
        loop {
            let reached = tokio::select! {
                reached = self.store.reach() => reached,
                () = self.signals.stop() => return Ok(false),
            };
            let Err(failure) = reached else {
                return Ok(true);
            };
            let transient = failure.is_transient();
            let failure = Failure::from(failure);
            if !transient {
                return Err(failure);
            }
            warn!(code = %failure.code, error = %failure.message, "the store cannot be reached yet");
            self.gateway.explain(format!(
                "the store cannot be reached ({}): {}",
                failure.code, failure.message
            ));
            if self.signals.stop_within(waits.next()).await {
                return Ok(false);
            }
        }
    }

    /// Starts an engine, waiting for a store that does not answer. `false`: told to stop meanwhile.
    async fn start_engine(&mut self) -> Result<bool, Failure> {
        let mut waits = Waits::new();
        loop {
            let plan = self.loaded.plan.clone();
            let start = Engine::start(self.store.store.clone(), plan, self.options());
            let started = tokio::select! {
                started = start => started,
                () = self.signals.stop() => return Ok(false),
            };
            let error = match started {
                Ok(engine) => {
                    self.gateway.put(engine).await;
                    self.gateway.explain("the engine is stopping");
                    return Ok(true);
                }
                Err(error) => error,
            };
            match &error {
                EngineError::Store(error) if error.kind.is_transient() => {}
                EngineError::Store(error) => return Err(wiring::store_failure(error)),
                EngineError::Coded { code, detail } => {
                    let failure = Failure::new(*code, detail.as_str());
                    let exit = match *code == quayside_engine::codes::ORCHESTRATION_LIVES {
                        true => Exit::BadConfig,
                        false => Exit::Failed,
                    };
                    return Err(failure.exiting(exit));
                }
                other => {
                    let message = format!("{}: {}", other.code(), chain(other));
                    return Err(Failure::new(codes::START, message));
                }
            }
            warn!(code = %error.code(), error = %chain(&error), "the engine cannot start yet");
            self.gateway.explain(format!(
                "the engine cannot start yet ({}): {}",
                error.code(),
                chain(&error)
            ));
            if self.signals.stop_within(waits.next()).await {
                return Ok(false);
            }
        }
    }

    /// Puts another engine in the place of a lost one. `false`: told to stop meanwhile.
    ///
    /// # Errors
    /// That it would not be safe, or does not last: the process has to end.
    async fn replace_engine(&mut self, error: &EngineError) -> Result<bool, Failure> {
        if self.agency.is_some() {
            // Another process costs the agent little, and is sure to have nothing of this one.
            let failure = Failure::new(codes::GIVEN_UP, error.to_string());
            return Err(failure.exiting(Exit::Broken));
        }
        error!(code = %codes::RESTARTED, cause = %error.code(), error = %chain(error),
            "the engine is lost and starts again");
        self.gateway
            .explain(format!("the engine was lost and starts again: {error}"));
        let now = self.gateway.clock.monotonic();
        self.losses.retain(|at| now.since(*at) < LOSS_SPAN);
        self.losses.push(now);
        let report = self.drop_engine(Duration::ZERO, || {}).await;
        let given_up = |why: String| {
            let message = format!("{error}; {why}");
            Err(Failure::new(codes::GIVEN_UP, message).exiting(Exit::Lost))
        };
        if !report.ended {
            return given_up("a task of the lost engine does not end".to_owned());
        }
        if self.losses.len() >= MAX_LOSSES {
            let (count, span) = (self.losses.len(), LOSS_SPAN.as_secs());
            return given_up(format!("that was number {count} within {span} s"));
        }
        self.start_engine().await
    }

    fn options(&self) -> Options {
        Options {
            node: self.loaded.node.name.clone(),
            hosts: self.loaded.hosts.clone(),
            clustered: self.loaded.clustered.clone(),
            roles: self.loaded.roles,
            timings: self.loaded.node.timings,
            agent: self.agency.as_ref().and_then(Agency::for_engine),
            retention: self.loaded.node.retention,
            adapters: self.wired.adapters.clone(),
            clock: wiring::clock(),
            entropy: wiring::entropy(),
            secrets: Arc::clone(&self.secrets),
            outside: self.loaded.node.maps.clone(),
        }
    }

    async fn next(&mut self, saved: Option<&mut dev::Watch>) -> Event {
        let saved = async {
            match saved {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        let gateway = Arc::clone(&self.gateway);
        let lost = async {
            match gateway.engine().await.as_ref() {
                Some(engine) => engine.fatal().await,
                None => std::future::pending().await,
            }
        };
        let agency = self.agency.as_ref();
        let told = async {
            match agency {
                Some(agency) => agency.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            word = told => Event::Agent(word),
            event = self.signals.next() => event,
            () = saved => Event::Reload,
            error = lost => Event::Lost(error),
            Some(task) = self.tasks.join_next() => Event::TaskEnded(match task {
                Ok(name) => format!("`{name}` ended"),
                Err(error) => error.to_string(),
            }),
        }
    }

    /// Reads the configuration again and puts it into force if it is sound.
    async fn reload(&mut self) {
        let Ok(loaded) = check::load(self.inputs, &self.wired.adapters) else {
            error!(code = %codes::RELOAD, "the configuration has errors; the old one stays in force");
            return;
        };
        for setting in self.loaded.fixed_settings_that_differ(&loaded) {
            warn!(setting, "the changed setting counts from the next start on");
        }
        let engine = self.gateway.engine().await;
        let Some(engine) = engine.as_ref() else {
            return;
        };
        match engine.apply(loaded.plan.clone()).await {
            Ok(version) => {
                info!(version, "configuration applied");
                if self.dev {
                    output::complain(&format!("reloaded: version {version} is in force\n"));
                }
                self.loaded.plan = loaded.plan;
            }
            Err(error) => {
                error!(code = %codes::RELOAD, cause = %error.code(), error = %chain(&error),
                    "the configuration is not applied; the old one stays in force");
                if self.dev {
                    output::complain("not reloaded: the old configuration stays in force\n");
                }
            }
        }
    }

    /// Stops in stages: says that it is not ready, finishes what it took, ends.
    async fn stop(&mut self) -> Exit {
        info!("stopping");
        self.gateway.drain();
        self.wired.http.drain();
        let drain = if self.dev {
            Duration::ZERO
        } else {
            self.loaded.node.drain
        };
        // Load balancers need a moment to see it; whoever is in a hurry signals again.
        let mut hurry = self.signals.stop_within(drain).await;
        hurry |= self
            .stop_http(if hurry { Duration::ZERO } else { GRACE })
            .await;
        let unfinished = self
            .drop_engine(if hurry { Duration::ZERO } else { GRACE }, || {})
            .await
            .unfinished;
        if unfinished > 0 {
            warn!(code = %codes::UNFINISHED, unfinished, "work was still under way");
        }
        info!("stopped");
        Exit::Ok
    }

    /// Ends the HTTP listener. Whether a second signal came meanwhile.
    async fn stop_http(&mut self, grace: Duration) -> bool {
        let http: Arc<HttpAdapter> = Arc::clone(&self.wired.http);
        let hurried = tokio::select! {
            shutdown = http.shutdown(grace) => {
                if shutdown.cut > 0 {
                    warn!(code = %codes::UNFINISHED, connections = shutdown.cut, "connections were cut");
                }
                false
            }
            () = self.signals.stop() => true,
        };
        if hurried {
            http.shutdown(Duration::ZERO).await;
        }
        hurried
    }

    /// Stops the engine, and calls `finished` when nothing of it acts any more, if that is so in time.
    async fn drop_engine(&mut self, grace: Duration, finished: impl FnOnce()) -> StopReport {
        // A call of the admin API that waits for a partner's answer keeps the engine. Cutting the engine off
        // ends the call.
        let mut taken = None;
        if !grace.is_zero() {
            taken = timeout(grace, self.gateway.take()).await.ok();
        }
        if taken.is_none() {
            if let Some(engine) = self.gateway.engine().await.as_ref() {
                engine.cut_off();
            }
            taken = timeout(ADMIN_GRACE, self.gateway.take()).await.ok();
        }
        match taken {
            Some(Some(engine)) => engine.finish(grace, finished).await,
            Some(None) => StopReport {
                ended: true,
                unfinished: 0,
            },
            None => {
                warn!(code = %codes::UNFINISHED, "a call of the admin API keeps the engine");
                StopReport {
                    ended: false,
                    unfinished: 0,
                }
            }
        }
    }

    /// Ends what is left: the admin listener, the partner, the store.
    async fn close(mut self) {
        self.wired.http.shutdown(Duration::ZERO).await;
        self.drop_engine(Duration::ZERO, || {}).await;
        self.over.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(ADMIN_GRACE, ended).await.is_err() {
            self.tasks.shutdown().await;
        }
        drop(self.gateway);
        self.store.close().await;
    }
}
