//! One connection to a broker, rebuilt when it is lost: does what [`Supervisor`] decides.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt as _;
use lapin::{
    Channel, Connection, Consumer, Event, Queue,
    options::{BasicQosOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::{FieldTable, ShortString},
};
use quayside_adapter_api::{
    AdapterError, ErrorKind, Services, TroubleKind, condition::Part, model::Monotonic,
};
use tokio::{
    sync::{Mutex as AsyncMutex, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{
    codes,
    config::Broker,
    dial::dial,
    error,
    supervise::{Step, Supervisor},
    wire,
};

/// AMQP's code for a connection that ends because it is not needed any more.
const CLOSED_WELL: u16 = 200;

/// How long the broker may take to say that a connection is closed.
const END_WITHIN: Duration = Duration::from_secs(2);

/// How long a broker may take for an answer over a connection that stands. It does so in a millisecond; one that
/// needs longer than this is not of use.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// What a connection is for. Each has one of its own: a broker that is short of memory stops reading from
/// those that publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Publish,
    Consume,
}

/// A connection, standing or to be built.
#[derive(Debug)]
pub(crate) struct Link {
    broker: Broker,
    role: Role,
    /// The location or port, for the log and for the broker's list of connections.
    name: String,
    services: Services,
    /// How it stands, for people.
    part: Arc<Part>,
    inner: AsyncMutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    supervisor: Supervisor,
    live: Option<Arc<Live>>,
}

/// A connection that stands, with its one channel.
///
/// One that consumes is to be closed by [`Live::end`], which keeps the consumer until the broker has said that the
/// connection is over: a consumer that is cancelled before that lets a queue with a single active consumer go on with
/// the next one, before the queue has back, in their order, the messages that this one holds. Dropped before, the
/// connection is cut, because what the library does for each field then may overtake each other.
pub(crate) struct Live {
    pub(crate) channel: Channel,
    connection: Connection,
    plug: wire::Plug,
    /// Why the broker takes nothing now, if so.
    blocked: watch::Receiver<Option<String>>,
    lost: AtomicBool,
    /// Listens to the connection for as long as it stands.
    _events: JoinSet<()>,
    consumer: OnceLock<Consumer>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live")
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

impl Live {
    /// Whether it is known not to stand any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst) || !self.connection.status().connected()
    }

    /// The longest frame that the broker takes, in bytes.
    pub(crate) fn frame_max(&self) -> usize {
        match self.connection.configuration().frame_max() {
            0 => usize::MAX,
            bytes => bytes as usize,
        }
    }

    /// Another channel, for what may fail without harm.
    pub(crate) async fn channel_aside(&self) -> lapin::Result<Channel> {
        self.connection.create_channel().await
    }

    /// What the broker says of a queue, over a channel of its own: it closes the one on which it is asked for a
    /// queue that is not there.
    pub(crate) async fn look(&self, queue: ShortString) -> lapin::Result<Queue> {
        let options = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let channel = self.channel_aside().await?;
        channel
            .queue_declare(queue, options, FieldTable::default())
            .await
    }

    /// Returns when the broker has answered a question that changes nothing for who takes nothing from it.
    pub(crate) async fn answers(&self) -> lapin::Result<()> {
        let options = BasicQosOptions::default();
        self.channel.basic_qos(1, options).await
    }

    /// Why the broker takes nothing now, if so.
    pub(crate) fn blocked(&self) -> Option<String> {
        self.blocked.borrow().clone()
    }

    /// Waits until the broker takes messages.
    pub(crate) async fn unblocked(&self) {
        let mut blocked = self.blocked.clone();
        // The sender lives as long as the connection; without it the next use says what is wrong.
        let _gone = blocked.wait_for(Option::is_none).await;
    }

    /// Closes the connection, with all that was said over it before. Bounded in time; what is not closed then is cut.
    pub(crate) async fn end(&self) {
        let closing = self.connection.close(CLOSED_WELL, "OK".into());
        if !matches!(timeout(END_WITHIN, closing).await, Ok(Ok(()))) {
            self.plug.pull();
        }
    }

    /// Keeps `consumer` until the connection ends.
    pub(crate) fn keep(&self, consumer: Consumer) {
        let kept = self.consumer.set(consumer);
        debug_assert!(kept.is_ok(), "a connection has one consumer");
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if self.consumer.get().is_some() && self.connection.status().connected() {
            self.plug.pull();
        }
    }
}

impl Link {
    pub(crate) fn new(broker: Broker, role: Role, name: String, services: Services) -> Self {
        let supervisor = Supervisor::new(broker.uris.len(), services.entropy.fraction());
        Self {
            part: Arc::new(services.condition.part()),
            broker: broker.of_node(&services.node),
            role,
            name,
            services,
            inner: AsyncMutex::new(Inner {
                supervisor,
                live: None,
            }),
        }
    }

    /// The connection, built if need be. Waits as long as no broker can be reached.
    ///
    /// # Errors
    /// What waiting does not mend, such as a refused login; and that the host stops.
    pub(crate) async fn live(&self) -> Result<Arc<Live>, AdapterError> {
        // Whoever comes first connects for all.
        let mut inner = self.inner.lock().await;
        if let Some(live) = &inner.live {
            if !live.is_lost() {
                return Ok(Arc::clone(live));
            }
            self.forget(&mut inner, "the connection is lost");
        }
        loop {
            match inner.supervisor.next(self.services.clock.monotonic()) {
                Step::Rest(rest) => tokio::select! {
                    () = tokio::time::sleep(rest) => {}
                    () = self.services.stopping.cancelled() => return Err(error::closed()),
                },
                Step::Connect(at) => {
                    if let Some(live) = self.try_connect(&mut inner.supervisor, at).await? {
                        inner.live = Some(Arc::clone(&live));
                        return Ok(live);
                    }
                }
            }
        }
    }

    /// The connection, built if need be, if the broker answers over it: one that stands idle may lead nowhere.
    pub(crate) async fn ready(&self) -> Option<Arc<Live>> {
        let live = self.live().await.ok()?;
        let why = match timeout(ANSWER_WITHIN, live.answers()).await {
            Ok(Ok(())) => return Some(live),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("the broker did not answer within {ANSWER_WITHIN:?}"),
        };
        self.fail(&live, &why);
        None
    }

    /// `live` does not work any more: it is cut, and the next one who asks gets another connection.
    pub(crate) fn fail(&self, live: &Arc<Live>, why: &str) {
        live.lost.store(true, Ordering::SeqCst);
        live.plug.pull();
        // Whoever builds a connection now has the lock, for an outage maybe: nobody waits for that here.
        if let Ok(mut inner) = self.inner.try_lock()
            && let Some(current) = &inner.live
            && Arc::ptr_eq(current, live)
        {
            self.forget(&mut inner, why);
        }
    }

    /// The time by which it goes.
    pub(crate) fn now(&self) -> Monotonic {
        self.services.clock.monotonic()
    }

    /// Lets the connection go: it ends in order when the last one who uses it lets go too.
    pub(crate) fn release(&self) {
        // Who builds a connection now has let the one before it go.
        if let Ok(mut inner) = self.inner.try_lock() {
            inner.live = None;
        }
        self.part.well();
    }

    /// Why it does not stand, if that is known: as the location or port tells it.
    pub(crate) fn why(&self) -> Option<String> {
        let trouble = self.services.condition.trouble()?;
        let disconnected = trouble.kind == TroubleKind::Disconnected;
        disconnected.then(|| trouble.detail.to_string())
    }

    /// Tells people why it does not stand.
    fn tell(&self, error: &AdapterError) {
        let now = self.services.clock.now();
        let kind = TroubleKind::Disconnected;
        self.part.ill(kind, error.code, &error.detail, now);
    }

    fn forget(&self, inner: &mut Inner, why: &str) {
        inner.live = None;
        tracing::warn!(name = self.name, code = %codes::UNREACHABLE, detail = why,
            "the connection to the broker is lost; it is built anew");
        self.tell(&error::unreachable(why));
        let roll = self.services.entropy.fraction();
        let now = self.services.clock.monotonic();
        inner.supervisor.lost(now, roll);
    }

    async fn try_connect(
        &self,
        supervisor: &mut Supervisor,
        at: usize,
    ) -> Result<Option<Arc<Live>>, AdapterError> {
        let connected = self.connect(at).await;
        let now = self.services.clock.monotonic();
        match connected {
            Ok(live) => {
                if supervisor.is_failing() {
                    tracing::info!(name = self.name, "the broker can be reached again");
                }
                supervisor.connected(now);
                self.part.well();
                Ok(Some(Arc::new(live)))
            }
            Err(error) => {
                // Once for an outage, not once for each look; what ends the location or the attempt is told there.
                if !supervisor.is_failing() && error.kind == ErrorKind::Disconnected {
                    tracing::warn!(name = self.name, code = %error.code, detail = %error.detail,
                        "the broker cannot be reached; it is tried again");
                }
                self.tell(&error);
                supervisor.failed(now, self.services.entropy.fraction());
                match error.kind {
                    ErrorKind::Disconnected => Ok(None),
                    _ => Err(error),
                }
            }
        }
    }

    async fn connect(&self, at: usize) -> Result<Live, AdapterError> {
        let secrets = &*self.services.secrets;
        let (connection, plug) = dial(&self.broker, at, &self.name, secrets).await?;
        let channel = timeout(self.broker.connect_timeout, self.open(&connection)).await;
        match channel {
            Ok(Ok(channel)) => Ok(self.listen(connection, channel, plug.leave())),
            Ok(Err(error)) => Err(error::of_broker("opening a channel", &error)),
            Err(_) => Err(error::unreachable("the broker opens no channel")),
        }
    }

    async fn open(&self, connection: &Connection) -> lapin::Result<Channel> {
        let channel = connection.create_channel().await?;
        if self.role == Role::Publish {
            let options = ConfirmSelectOptions::default();
            channel.confirm_select(options).await?;
        }
        Ok(channel)
    }

    fn listen(&self, connection: Connection, channel: Channel, plug: wire::Plug) -> Live {
        let (part, clock) = (Arc::clone(&self.part), Arc::clone(&self.services.clock));
        let mut events = Box::pin(connection.events_listener());
        let (said, blocked) = watch::channel(None);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Some(event) = events.next().await {
                match event {
                    Event::ConnectionBlocked(reason) => {
                        tracing::warn!(code = %codes::BLOCKED, reason, "the broker takes nothing now");
                        let kind = TroubleKind::BackPressure;
                        part.ill(kind, codes::BLOCKED, &reason, clock.now());
                        said.send_replace(Some(reason));
                    }
                    Event::ConnectionUnblocked => {
                        tracing::info!("the broker takes messages again");
                        part.well();
                        said.send_replace(None);
                    }
                    _ => {}
                }
            }
        });
        Live {
            channel,
            connection,
            plug,
            blocked,
            lost: AtomicBool::new(false),
            _events: tasks,
            consumer: OnceLock::new(),
        }
    }
}
