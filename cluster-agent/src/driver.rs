//! The loop between the pure core and the world, on the lease thread: events in, actions out.
//!
//! It waits for nothing but the next event. What takes time is a task that answers with an event.

use std::{
    sync::{Arc, mpsc::SyncSender},
    time::Duration,
};

use quayside_lease::{
    Action, Agent, Arrival, Event, Exit, HostState, Incarnation, Member, Now, Renewal, Take,
    ToHost, Transition,
};
use quayside_model::{Clock as _, InstanceId, Name, SessionId, SystemClock, SystemEntropy};
use quayside_store::StoreErrorKind;
use rustix::process::Signal as ToProcess;
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{error, info, warn};

use crate::{
    BAD_CONFIG, Failure, codes,
    formers::Formers,
    hosts::{News, Processes, Spawn},
    lock::RunLock,
    namesakes::Namesakes,
    plain::Plain,
    plan::{Plan, Program},
    spawner::Order,
    store::{Answer, Asker, NOT_STARTED},
    watchdog::Watchdog,
};

/// How much may wait for the loop: beats, mostly.
const QUEUE: usize = 1024;
/// How many changes of state wait for a store that is silent.
const UNRECORDED_MAX: usize = 4096;
/// So much of the id of a process stands in the name of its socket.
const SHORT: usize = 8;
/// How long a store that is not there yet is waited for before it is asked again.
const STORE_AGAIN: Duration = Duration::from_millis(500);
/// How long the last changes of state may take to be recorded, and connections to end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What the lease thread is given.
pub(crate) struct Driver {
    pub(crate) plan: Plan,
    pub(crate) program: Program,
    pub(crate) lock: RunLock,
    pub(crate) spawner: SyncSender<Order>,
    pub(crate) watchdog: Arc<Watchdog>,
}

impl Driver {
    /// Runs until the agent is told to stop and everything is drained.
    pub(crate) fn run(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let failed = |error: std::io::Error| Failure::new(codes::THREAD, error.to_string());
        runtime.map_err(failed)?.block_on(async {
            let mut signals = Signals::new().map_err(failed)?;
            let asker = Asker::open(&self.plan)?;
            if reach(&asker, &mut signals).await? {
                Lease::new(self, asker)?.drive(&mut signals).await;
            }
            Ok(())
        })
    }
}

/// Waits for a store that is there. `false`: told to stop meanwhile.
async fn reach(asker: &Asker, signals: &mut Signals) -> Result<bool, Failure> {
    loop {
        let reached = match asker.migrate().await {
            Ok(()) => asker.may_lose().await,
            Err(error) => Err(error),
        };
        match reached {
            Ok(None) => return Ok(true),
            Ok(Some(loss)) => {
                let mut failure = Failure::new(codes::ASYNCHRONOUS, loss);
                failure.exit = BAD_CONFIG;
                return Err(failure);
            }
            Err(error) if error.kind.is_transient() => {
                warn!(code = %error.kind.code(), error = %crate::store::chain(&error),
                    "the store cannot be reached yet");
            }
            Err(error) => {
                let mut failure = Failure::store(&error);
                if error.kind == StoreErrorKind::Config {
                    // It is the database that says so, and it may say something else in a minute: whoever starts the
                    // agent is to try again.
                    failure.exit = 1;
                }
                return Err(failure);
            }
        }
        tokio::select! {
            _ = signals.next() => return Ok(false),
            () = sleep(STORE_AGAIN) => {}
        }
    }
}

/// What tells the sockets of a host's processes apart.
fn short(instance: InstanceId) -> String {
    let id = instance.to_string();
    id[id.len() - SHORT..].to_owned()
}

/// What comes to the loop.
enum Input {
    Tick,
    Hint,
    Process(News),
    Answer(Answer),
    /// A process may start: the store knows it.
    Registered(Spawn),
    Connected(Incarnation),
    Told(Told),
}

/// A signal, by its meaning.
enum Told {
    Stop,
    Reload,
}

/// Everything of the loop.
struct Lease {
    agent: Agent,
    asker: Asker,
    program: Program,
    lock: Arc<RunLock>,
    watchdog: Arc<Watchdog>,
    processes: Processes,
    formers: Formers,
    namesakes: Namesakes,
    plain: Plain,
    /// The newest history of the store that has answered.
    incarnation: Option<Incarnation>,
    /// Whether a task asks who answers.
    asking: bool,
    /// The session that the next run would find.
    remembered: Option<SessionId>,
    news: mpsc::Receiver<News>,
    hints: mpsc::Receiver<()>,
    transitions: mpsc::Sender<Transition>,
    /// Questions to the store.
    questions: JoinSet<Option<Input>>,
    /// What listens for hints and keeps connections ready.
    helpers: JoinSet<()>,
    recorder: JoinSet<()>,
    stopping: bool,
    /// The core has stopped.
    stopped: bool,
}

impl Lease {
    fn new(driver: Driver, asker: Asker) -> Result<Self, Failure> {
        let now = now();
        let previous = driver.lock.previous_session();
        let agent = Agent::new(driver.plan.options(), now, previous);
        let (news_to, news) = mpsc::channel(QUEUE);
        let (transitions, recorded) = mpsc::channel(UNRECORDED_MAX);
        let (hinted, hints) = mpsc::channel(1);
        let mut helpers = JoinSet::new();
        helpers.spawn(asker.clone().listen(hinted));
        helpers.spawn(asker.clone().keep_ready());
        helpers.spawn(asker.clone().keep_renewing());
        let mut recorder = JoinSet::new();
        recorder.spawn(asker.clone().record_all(recorded));
        for host in &driver.plan.hosts {
            // Refused before anything runs.
            driver.lock.socket(&host.name)?;
        }
        let mut lease = Self {
            agent,
            program: driver.program,
            lock: Arc::new(driver.lock),
            processes: Processes::new(driver.spawner, news_to, driver.watchdog.clone()),
            watchdog: driver.watchdog,
            formers: Formers::new(driver.plan.node.clone()),
            namesakes: Namesakes::new(driver.plan.node.clone()),
            plain: Plain::new(driver.plan.plain(), now.boot),
            incarnation: None,
            asking: false,
            remembered: previous,
            news,
            hints,
            transitions,
            questions: JoinSet::new(),
            helpers,
            recorder,
            stopping: false,
            stopped: false,
            asker,
        };
        lease.ask_who_answers(Duration::ZERO);
        Ok(lease)
    }

    async fn drive(mut self, signals: &mut Signals) {
        while !self.is_over() {
            let input = self.next(signals).await;
            match input {
                Input::Told(Told::Stop) if self.stopping => {
                    warn!("told to stop twice: what still runs is killed");
                    break;
                }
                input => self.take(input),
            }
        }
        self.end().await;
    }

    fn is_over(&self) -> bool {
        self.stopped && self.plain.instances().is_empty()
    }

    async fn next(&mut self, signals: &mut Signals) -> Input {
        let wake = self.agent.next_wake();
        let wake = self.plain.next().map_or(wake, |next| wake.min(next));
        let wait = wake.since(SystemClock.monotonic());
        // Processes first: what they say is older than what follows from it.
        tokio::select! {
            biased;
            told = signals.next() => Input::Told(told),
            Some(news) = self.news.recv() => Input::Process(news),
            Some(answer) = self.questions.join_next() => match answer {
                Ok(Some(input)) => input,
                Ok(None) => Input::Tick,
                Err(error) => {
                    error!(code = %codes::THREAD, %error, "a question to the store failed");
                    Input::Tick
                }
            },
            Some(()) = self.hints.recv() => Input::Hint,
            () = sleep(wait) => Input::Tick,
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Tick => self.step(Event::Tick),
            Input::Hint => self.step(Event::Hint),
            Input::Connected(incarnation) => {
                self.asking = false;
                self.connected(incarnation);
            }
            Input::Answer(Answer { from, event }) => {
                let event = match from {
                    Some(incarnation) if self.is_stale(incarnation) => unknown(event),
                    Some(incarnation) => {
                        self.connected(incarnation);
                        event
                    }
                    None => event,
                };
                if let Event::Looked {
                    view: Some(view), ..
                } = &event
                {
                    self.formers.looked(view);
                    let own = self.agent.session();
                    for session in self.namesakes.looked(view, own) {
                        error!(code = %codes::NAMESAKE, %session, "another agent runs under the name of this node");
                    }
                }
                self.step(event);
            }
            Input::Process(news) => self.hear(news),
            Input::Registered(spawn) => {
                let instance = spawn.instance;
                if !self.processes.start(spawn) {
                    self.ended(instance, NOT_STARTED);
                }
            }
            Input::Told(Told::Reload) => {
                info!("every process reads its configuration again");
                for instance in self.processes.instances() {
                    self.processes.signal(instance, ToProcess::HUP);
                }
            }
            Input::Told(Told::Stop) => {
                info!("stopping: everything is drained");
                drop(sd_notify::notify(&[NotifyState::Stopping]));
                self.stopping = true;
                self.plain.stop();
                for instance in self.plain.instances().into_keys() {
                    self.processes.signal(instance, ToProcess::TERM);
                }
                self.step(Event::Shutdown);
            }
        }
        self.start_plain();
    }

    /// Whether an old primary answers; then the core has its connections dropped.
    fn is_stale(&mut self, incarnation: Incarnation) -> bool {
        if incarnation.after(self.incarnation) != Arrival::Stale {
            return false;
        }
        error!(code = %codes::STALE_STORE, timeline = incarnation.timeline, "an old primary has answered");
        self.step(Event::Connected(incarnation));
        true
    }

    fn connected(&mut self, incarnation: Incarnation) {
        if self.incarnation == Some(incarnation) || self.is_stale(incarnation) {
            return;
        }
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        info!(
            system = incarnation.system,
            timeline = incarnation.timeline,
            "connected to the store"
        );
        if self.incarnation.replace(incarnation).is_some() {
            let asker = self.asker.clone();
            self.questions.spawn(async move {
                asker.tell_of_loss().await;
                None
            });
        }
        self.step(Event::Connected(incarnation));
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Started(instance, result) => {
                if !self.processes.started(instance, result) {
                    self.ended(instance, NOT_STARTED);
                } else if self.stopping && self.plain.instances().contains_key(&instance) {
                    self.processes.signal(instance, ToProcess::TERM);
                }
            }
            News::Beat(instance, beat) => {
                if !self.plain.instances().contains_key(&instance) {
                    if beat.state == HostState::Online {
                        self.formers.works(instance);
                    }
                    self.step(Event::Beat { instance, beat });
                }
            }
            News::Drained(instance) => self.step(Event::Drained { instance }),
            News::Fenced(instance) => self.step(Event::Fenced { instance }),
            News::Ended(instance, exit) => self.ended(instance, exit),
        }
    }

    fn ended(&mut self, instance: InstanceId, exit: Exit) {
        self.processes.ended(instance);
        // The disk is not waited for.
        let (lock, end) = (Arc::clone(&self.lock), short(instance));
        drop(tokio::task::spawn_blocking(move || lock.forget(&end)));
        self.formers.ended(instance);
        let now = SystemClock.monotonic();
        if let Some((host, wait)) = self.plain.ended(instance, exit, now) {
            let wait_ms = wait.as_millis();
            if exit == Exit::Code(0) && self.stopping {
                info!(%host, "the process of a host has stopped");
            } else {
                error!(code = %codes::HOST_ENDED, %host, %exit, wait_ms, "the process of a host has ended");
            }
        } else {
            info!(%instance, %exit, "the process of a clustered host has ended");
            self.step(Event::Exited { instance, exit });
        }
    }

    fn step(&mut self, event: Event) {
        let now = now();
        let actions = self.agent.step(now, &SystemEntropy, event);
        for action in actions {
            self.act(action);
        }
        let kill_at = self.agent.deadline().map(|(_, kill_at)| kill_at);
        self.watchdog.moved(now.boot, kill_at);
        self.remember();
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Spawn {
                group,
                instance,
                session,
            } => self.spawn(group, instance, session),
            Action::Kill { instance, reason } => self.processes.kill(instance, reason),
            Action::Grant { instance, grant } => {
                let former = self.formers.before(instance);
                self.processes.grant(instance, grant, former);
            }
            Action::Extend { instance, deadline } => self.processes.extend(instance, deadline),
            Action::Shut { instance } => self.processes.shut(instance),
            Action::Drain { instance, within } => self.processes.drain(instance, within),
            Action::Record(transition) => self.record(transition),
            Action::Disconnect => {
                self.asker.disconnect();
                self.ask_who_answers(STORE_AGAIN);
            }
            Action::Stopped => self.stopped = true,
            action => {
                let asker = self.asker.clone();
                self.questions
                    .spawn(async move { asker.ask(action).await.map(Input::Answer) });
            }
        }
    }

    /// Registers and starts the process of a clustered host.
    fn spawn(&mut self, group: Name, instance: InstanceId, session: SessionId) {
        let member = Some(Member { session, instance });
        // Two processes of one host may live for a moment: each has its own socket.
        let socket = format!("{group}.{}", short(instance));
        let Some(spawn) = self.order(&group, instance, member, &socket) else {
            return self.step(Event::Exited {
                instance,
                exit: NOT_STARTED,
            });
        };
        self.processes.expect(instance);
        self.formers.started(instance, &group);
        let asker = self.asker.clone();
        // Registered first: a process that nobody knows could not be declared dead.
        self.questions.spawn(async move {
            Some(if asker.register(instance, session, &group).await {
                Input::Registered(spawn)
            } else {
                Input::Process(News::Ended(instance, NOT_STARTED))
            })
        });
    }

    fn order(
        &self,
        host: &Name,
        instance: InstanceId,
        member: Option<Member>,
        socket: &str,
    ) -> Option<Spawn> {
        let api = match self.lock.socket(socket) {
            Ok(api) => api,
            Err(failure) => {
                error!(code = %failure.code, %host, error = %failure.message, "a host cannot be started");
                return None;
            }
        };
        Some(Spawn {
            instance,
            program: self.program.path().to_owned(),
            args: self.program.args(host),
            welcome: ToHost::Welcome {
                agent: std::process::id(),
                api,
                member,
            },
        })
    }
}

impl Lease {
    /// Starts what is due of the hosts that are not clustered.
    fn start_plain(&mut self) {
        let Now { boot, wall } = now();
        let due = self
            .plain
            .due(boot, || InstanceId::new(wall, &SystemEntropy));
        for (host, instance) in due {
            match self.order(&host, instance, None, &host) {
                Some(spawn) => {
                    self.processes.start(spawn);
                }
                None => self.ended(instance, NOT_STARTED),
            }
        }
    }

    fn record(&mut self, transition: Transition) {
        let Transition {
            group,
            from,
            to,
            cause,
            evidence,
            epoch,
            lasted,
            ..
        } = &transition;
        let evidence: Vec<String> = evidence.iter().map(ToString::to_string).collect();
        let epoch = epoch.map(|epoch| epoch.to_string());
        info!(host = %group, from = from.as_str(), to = to.as_str(), cause = cause.as_str(),
            evidence = evidence.join(", "), epoch, lasted_ms = lasted.as_millis(), "changed");
        if self.transitions.try_send(transition).is_err() {
            warn!(code = %codes::STORE_CALL, "a change of state is not recorded: too many wait for the store");
        }
    }

    /// Asks until somebody answers; one task at a time does.
    fn ask_who_answers(&mut self, wait: Duration) {
        if std::mem::replace(&mut self.asking, true) {
            return;
        }
        let asker = self.asker.clone();
        self.questions.spawn(async move {
            sleep(wait).await;
            loop {
                if let Some(incarnation) = asker.incarnation().await {
                    return Some(Input::Connected(incarnation));
                }
                sleep(STORE_AGAIN).await;
            }
        });
    }

    /// Has the next run find the session of this one. The disk is not waited for.
    fn remember(&mut self) {
        let session = self.agent.session();
        if self.remembered != session {
            self.remembered = session;
            let lock = Arc::clone(&self.lock);
            drop(tokio::task::spawn_blocking(move || lock.remember(session)));
        }
    }

    /// Ends what is left.
    async fn end(mut self) {
        self.questions.shutdown().await;
        for instance in self.processes.instances() {
            self.processes.signal(instance, ToProcess::KILL);
        }
        self.helpers.shutdown().await;
        drop(self.transitions);
        if timeout(LAST_WORDS, self.recorder.join_next())
            .await
            .is_err()
        {
            self.recorder.shutdown().await;
            warn!(code = %codes::STORE_CALL, "the last changes of state are not recorded");
        }
        drop(timeout(LAST_WORDS, self.asker.close()).await);
        info!("stopped");
    }
}

/// The signals of the agent.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.reload.recv() => Told::Reload,
        }
    }
}

/// The clocks of the machine.
fn now() -> Now {
    Now {
        boot: SystemClock.monotonic(),
        wall: SystemClock.now(),
    }
}

/// The same event as one that nobody can believe.
fn unknown(event: Event) -> Event {
    match event {
        Event::Renewed {
            session, sent_at, ..
        } => Event::Renewed {
            session,
            sent_at,
            renewal: Renewal::Unknown,
        },
        Event::Looked { asked, .. } => Event::Looked { asked, view: None },
        Event::Took { group, grant, .. } => Event::Took {
            group,
            grant,
            take: Take::Unknown,
        },
        event => event,
    }
}
