//! How an engine starts, becomes the active one of a clustered host, and stops.

use std::{collections::HashMap, sync::Arc, time::Duration};

use quayside_lease::Epoch;
use quayside_model::{InstanceId, Name};
use quayside_store::AnyStore;
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{MissedTickBehavior, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::Engine;
use crate::{
    claimer, codes,
    committer::Committer,
    options::{EngineError, Options, Pulse},
    ownership::{Keeper, PREPARE_EVERY},
    partners::{self, Watcher},
    plan::Plan,
    process,
    routing::Table,
    runtime::{self, Runtimes},
    session::Session,
    shared::{Routes, Shared},
    sweep::{self, Housekeeper},
    trust::Trust,
    view::StopReport,
    writable::{self, Writable},
};

impl Engine {
    /// Opens a session, registers an instance, records `plan` and runs it; or runs it as the instance that an
    /// agent has registered. When it returns, the configuration is in force, and its locations are open but for
    /// those that fail or take long, or stand by.
    ///
    /// # Errors
    /// [`EngineError`] if the plan cannot run, which changes nothing, or if the store fails.
    pub async fn start(store: AnyStore, plan: Plan, options: Options) -> Result<Self, EngineError> {
        runtime::check(&plan, &options)?;
        let (stopping, cut) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        let Member {
            instance,
            trust,
            session,
        } = join(&store, &options).await?;
        let clock = Arc::clone(&options.clock);
        let writable = Arc::new(Writable::new(Arc::clone(&clock)));
        let committer = Committer::start(
            &mut tasks,
            Arc::clone(&store),
            instance,
            Arc::clone(&writable),
            clock,
            cut.clone(),
        );
        let shared = Arc::new(Shared::new(
            store,
            instance,
            options,
            committer,
            trust,
            writable,
            empty_routes(),
            stopping,
            cut,
        ));
        let runtimes = Runtimes::new();
        let (lost, keeper) = match session {
            Some(session) => {
                let mut keeper = Keeper::new(Arc::clone(&shared));
                // What nobody has is ours from the start, as all hosts are on a single machine.
                keeper.ask().await;
                let (lost, cut) = (session.lost(), &shared.cut);
                let watcher = session.watcher(Arc::clone(&shared.wake_sweeper));
                spawn(&mut tasks, "watcher", watcher.run(cut.clone()));
                spawn(&mut tasks, "session", session.run(cut.clone()));
                (Some(lost), Some(keeper))
            }
            // An agent that has lost the session kills its processes.
            None => (None, None),
        };
        let version = match runtimes.apply(&shared, plan).await {
            Ok(version) => version,
            Err(error) => {
                shared.trust.end();
                shared.cut.cancel();
                drain(&mut tasks).await;
                return Err(error);
            }
        };
        if shared.options.agent.is_some() {
            // Its beats begin with its work, and say that it is ready to take over.
            let _ = timeout(READY_WITHIN, shared.store.ready()).await;
        }
        spawn_work(&mut tasks, &shared, &runtimes);
        if let Some(keeper) = keeper {
            spawn(&mut tasks, "keeper", keeper.run(Arc::clone(&runtimes)));
        }
        runtimes.begun().await;
        info!(%instance, version, "engine started");
        Ok(Self {
            shared,
            runtimes,
            tasks: Mutex::new(tasks),
            lost,
        })
    }

    /// Makes this instance the active one of the clustered `host`: its agent has taken `epoch` for it.
    pub fn grant(&self, host: &Name, epoch: Epoch) {
        self.shared.ownership.grant(host, epoch.raw());
        self.runtimes.refresh(&self.shared);
        self.shared.wake_claimer.notify_one();
    }

    /// Has ended, at the systems that the clustered hosts of this instance work with, what the processes of the node
    /// `former` have open there. For a new owner, before it is [granted](Self::grant) the host. Waits for that for at
    /// most `within`; it goes on after that, and what hinders it is a warning.
    pub async fn follow(&self, former: &Name, within: Duration) {
        partners::follow(&self.shared, former, within).await;
    }

    /// Gives up at once whatever is under way: no effect begins after it. [`Engine::stop`] still has to
    /// end what is left.
    pub fn cut_off(&self) {
        self.shared.trust.end();
        self.shared.stopping.cancel();
        self.shared.cut.cancel();
    }

    /// Stops in stages: takes no work, finishes what is under way within `grace`, cuts the rest, ends
    /// the instance unless that is an agent's.
    pub async fn stop(self, grace: Duration) -> StopReport {
        self.finish(grace, || {}).await
    }

    /// [Stops](Self::stop), and calls `finished` as soon as all that was under way has come to its end in time: nothing
    /// acts or writes for its hosts any more, and only its own house is left to be put in order.
    pub async fn finish(self, grace: Duration, finished: impl FnOnce()) -> StopReport {
        let shared = Arc::clone(&self.shared);
        beating(&shared, self.stop_in_stages(grace, finished)).await
    }

    async fn stop_in_stages(self, grace: Duration, tell: impl FnOnce()) -> StopReport {
        let mut tasks = self.tasks.into_inner();
        let mut ports = self.runtimes.take_tasks();
        self.shared.stopping.cancel();
        let work = async {
            drain(&mut ports).await;
            end_of_workers(&mut tasks).await;
        };
        let finished = timeout(grace, work).await.is_ok();
        let unfinished = if finished { 0 } else { self.shared.held.len() };
        if finished {
            if self.shared.options.agent.is_some() {
                // Before anybody else may act.
                self.shared.trust.end();
            }
            tell();
            // The sweeper gives its fence back while the instance still is live.
            while tasks.len() > lasting_tasks(&self.shared)
                && timeout(grace, tasks.join_next())
                    .await
                    .is_ok_and(|e| e.is_some())
            {}
        }
        self.shared.trust.end();
        self.shared.cut.cancel();
        // Ports may be in the middle of a send; what they would still do needs the trust that has ended.
        ports.abort_all();
        let over = async {
            drain(&mut ports).await;
            drain(&mut tasks).await;
        };
        let ended = timeout(CUT_WITHIN, over).await.is_ok();
        if !ended {
            error!(code = %codes::SESSION_LOST, "tasks of the engine did not end after the cut");
        }
        if self.shared.options.agent.is_none() {
            end_instance(&self.shared).await;
        }
        StopReport { ended, unfinished }
    }
}

/// What claims, settles or publishes without being a port.
const WORKERS: [&str; 3] = ["claimer", "processor", "sweeper"];

/// Waits until none of those does anything any more. One that has panicked has ended as well.
async fn end_of_workers(tasks: &mut JoinSet<&'static str>) {
    let mut left = WORKERS.len();
    while left > 0 {
        match tasks.join_next().await {
            Some(Ok(name)) if !WORKERS.contains(&name) => {}
            Some(_) => left -= 1,
            None => return,
        }
    }
}

async fn end_instance(shared: &Shared) {
    let ended = shared.store.end_instance(shared.instance);
    match timeout(CUT_WITHIN, ended).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            error!(code = %error.kind.code(), "the instance could not be ended; its session will expire")
        }
        Err(_) => error!("the instance could not be ended in time; its session will expire"),
    }
}

/// What makes an engine a member of its group.
struct Member {
    instance: InstanceId,
    trust: Trust,
    /// Its own; an agent keeps one for all its processes.
    session: Option<Session>,
}

async fn join(store: &AnyStore, options: &Options) -> Result<Member, EngineError> {
    let clock = Arc::clone(&options.clock);
    if let Some(agent) = &options.agent {
        store.work_as(agent.instance);
        return Ok(Member {
            instance: agent.instance,
            trust: Trust::granted(clock, Arc::clone(&agent.gate)),
            session: None,
        });
    }
    let instance = InstanceId::new(clock.now(), &*options.entropy);
    let trust = Trust::none(clock);
    let session = Session::open(Arc::clone(store), options, instance, trust.clone()).await?;
    Ok(Member {
        instance,
        trust,
        session: Some(session),
    })
}

/// How often a beat is due.
const BEAT_EVERY: Duration = Duration::from_millis(100);

/// Does `work`, and says to the agent that it goes on. Both in one task on purpose: a loop that hangs is
/// silent.
pub(crate) async fn beating<T>(shared: &Shared, work: impl Future<Output = T>) -> T {
    let Some(agent) = &shared.options.agent else {
        return work.await;
    };
    let mut beats = tokio::time::interval(BEAT_EVERY);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = beats.tick() => (agent.beat)(Pulse {
                in_flight: shared.effects.count(),
                adapters: shared.partners.health(),
            }),
        }
    }
}

/// How many tasks run until the cut: both committers and exchanges, and without an agent session and watcher.
fn lasting_tasks(shared: &Shared) -> usize {
    if shared.options.agent.is_some() { 3 } else { 5 }
}

/// How long a process that begins to stand by waits until its connections are ready.
const READY_WITHIN: Duration = Duration::from_secs(1);

/// How long tasks may take to end after the cut.
const CUT_WITHIN: Duration = Duration::from_secs(2);

/// Starts what works, once a configuration is in force.
fn spawn_work(tasks: &mut JoinSet<&'static str>, shared: &Arc<Shared>, runtimes: &Arc<Runtimes>) {
    spawn(tasks, "claimer", claimer::run(Arc::clone(shared)));
    spawn(tasks, "processor", process::run(Arc::clone(shared)));
    let sweeper = sweep::sweep(Arc::clone(shared), Arc::clone(runtimes));
    spawn(tasks, "sweeper", sweeper);
    spawn(tasks, "probe", writable::probe(Arc::clone(shared)));
    spawn(tasks, "ready", keep_ready(Arc::clone(shared)));
    let outside = Arc::clone(shared);
    let outside = async move { outside.outside.keep(&outside.stopping).await };
    spawn(tasks, "outside", outside);
    if shared.options.agent.is_some() && !shared.options.clustered.is_empty() {
        let watcher = Watcher::new(Arc::clone(shared), Arc::clone(runtimes));
        spawn(tasks, "partners", watcher.run());
    }
    if shared.options.roles.track {
        let housekeeper = Housekeeper::new(Arc::clone(shared));
        spawn(tasks, "housekeeper", housekeeper.run());
    }
    let polling = Arc::clone(shared);
    let polling = async move { polling.exchanges.poll(&polling).await };
    spawn(tasks, "exchanges", polling);
}

/// The longest pause between two tries to have connections ready.
const PREPARE_AT_LAST: Duration = Duration::from_secs(60);

/// Keeps ready what the first work would wait for: the store's connections are made when they are needed, and an instance
/// that stands by needs none until it is granted its host.
async fn keep_ready(shared: Arc<Shared>) {
    let mut pause = PREPARE_EVERY;
    loop {
        let ready = async {
            // What keeps it from that is told by whoever has work for the store. A server that has no room, or a network
            // that hardly lets a connection through, is not pressed: each try may leave something behind there.
            pause = match shared.store.ready().await {
                Ok(()) => PREPARE_EVERY,
                Err(_) => (pause * 2).min(PREPARE_AT_LAST),
            };
            tokio::time::sleep(pause).await;
        };
        tokio::select! {
            () = ready => {}
            () = shared.stopping.cancelled() => return,
        }
    }
}

async fn drain<T: 'static>(tasks: &mut JoinSet<T>) {
    while tasks.join_next().await.is_some() {}
}

fn spawn(
    tasks: &mut JoinSet<&'static str>,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    tasks.spawn(async move {
        task.await;
        name
    });
}

fn empty_routes() -> Routes {
    Routes {
        version: 0,
        table: Table::compile(&Plan::default(), &std::collections::HashSet::new()),
        receive: HashMap::new(),
        send: HashMap::new(),
        subscribers: HashMap::new(),
        orchestrations: HashMap::new(),
        controls: HashMap::new(),
    }
}
