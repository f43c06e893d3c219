//! Connections: a few, each driven by a task that the pool owns. Statements are prepared on each when it needs them first;
//! those that work must not wait for are prepared before it comes.

mod connect;

use std::{
    fmt,
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::{join_all, try_join, try_join_all};
use quayside_store::{StoreError, StoreErrorKind, lease::Incarnation, model::InstanceId};
use tokio::{
    sync::{OnceCell, Semaphore, SemaphorePermit, watch},
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tokio_postgres::{
    AsyncMessage, Client, Config, Connection, Error, Row, SimpleQueryMessage, Statement,
    error::SqlState, tls::TlsStream, types::ToSql,
};

use self::connect::Seen;
use crate::{
    Options, Password,
    address::hosts,
    error::{fail, too_slow},
    migrate,
    refused::explain,
    sql::Sql,
};

/// One to open and end sessions, one to look at the others: a slow look must not hold the end of a silent one.
const SESSION_CONNECTIONS: usize = 2;

/// One to renew, and two for the next tries while nothing has come of the last: over a network that loses much, one
/// answer may take longer than two renewals are apart.
const RENEWAL_CONNECTIONS: usize = 3;

/// How long one connection may take until it is ready, over a network that loses much.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// What every change that an agent may wait for notifies. The statements name it too.
const CHANNEL: &str = "quayside_cluster";

/// Which work a connection is kept for, so that neither waits for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Publishing and settling.
    Commit,
    /// Opening and ending sessions, and looking at the others': never late because of load.
    Session,
    /// Renewing the session of this process or node: late for nothing else.
    Renewal,
    /// Everything else.
    Work,
}

impl Use {
    /// What is prepared before its turn comes: over a network that loses much, or while messages wait, to
    /// prepare all would take longer than there is time.
    const fn soon(self) -> &'static [Sql] {
        match self {
            Self::Commit => &[
                Sql::BodySeal,
                Sql::CommitPlain,
                Sql::DedupeFind,
                Sql::DedupeInsert,
                Sql::DeliveryBorn,
                Sql::DeliveryEnd,
                Sql::DeliveryGiveback,
                Sql::DeliveryRetry,
                Sql::DeliverySending,
                Sql::DeliverySettled,
                Sql::HistoryInsert,
                Sql::InstanceCheck,
                Sql::LaneLock,
                Sql::MessageExisting,
                Sql::MessageInsert,
                Sql::OrderAdvance,
                Sql::OrderBusy,
                Sql::OrderKeys,
                Sql::OrderNext,
            ],
            Self::Session => &[],
            Self::Renewal => &[Sql::ClusterRenew, Sql::ClusterWho, Sql::SessionRenew],
            Self::Work => &[
                Sql::DeliveryClaim,
                Sql::DeliveryClaimOrdered,
                Sql::FenceAdd,
                Sql::FenceLock,
                Sql::GroupRelease,
                Sql::GroupTake,
                Sql::LaneHold,
                Sql::LaneReady,
                Sql::LaneTake,
                Sql::MessageGet,
                Sql::OwnerEnd,
                Sql::PartGet,
            ],
        }
    }
}

/// The connections of a store.
pub(crate) struct Pool {
    hosts: Vec<Config>,
    seen: Mutex<Seen>,
    password: Option<Password>,
    /// Whether the database has ever let this process in.
    let_in: AtomicBool,
    tls: Option<rustls::ClientConfig>,
    connect_timeout: Duration,
    commit: Shelf,
    session: Shelf,
    renewal: Shelf,
    work: Shelf,
    instance: OnceLock<InstanceId>,
    tasks: Mutex<JoinSet<()>>,
}

/// Idle connections, and how many there may be in all.
struct Shelf {
    permits: Semaphore,
    idle: Mutex<Vec<Conn>>,
}

impl Pool {
    /// Reads the address; connects to nothing yet.
    pub(crate) fn new(options: &Options) -> Result<Self, StoreError> {
        let shelf = |size: usize| Shelf {
            permits: Semaphore::new(size.max(1)),
            idle: Mutex::new(Vec::new()),
        };
        Ok(Self {
            hosts: hosts(options)?,
            seen: Mutex::default(),
            password: options.password.clone(),
            let_in: AtomicBool::new(false),
            tls: options.tls.clone(),
            connect_timeout: options.connect_timeout,
            commit: shelf(options.commit_connections),
            session: shelf(SESSION_CONNECTIONS),
            renewal: shelf(RENEWAL_CONNECTIONS),
            work: shelf(options.work_connections),
            instance: OnceLock::new(),
            tasks: Mutex::new(JoinSet::new()),
        })
    }

    /// From now on connections carry the name of this instance, so that an operator (and whoever has to
    /// break its locks) can tell them apart. The first one stays.
    pub(crate) fn name(&self, instance: InstanceId) {
        // A second instance in one process happens in tests only; its connections keep the first name.
        let _ = self.instance.set(instance);
    }

    /// A connection to a database with the schema of this program.
    pub(crate) async fn get(
        &self,
        wanted: Use,
        operation: &'static str,
    ) -> Result<Held<'_>, StoreError> {
        let mut held = self.bare(wanted, operation).await?;
        self.equip(wanted, &mut held, operation).await?;
        Ok(held)
    }

    /// Opens what is missing of the connections for `uses`: a process of the server and all its plans are no time that
    /// the first work after a move or an outage should have to wait for.
    pub(crate) async fn ready(
        &self,
        uses: &[Use],
        operation: &'static str,
    ) -> Result<(), StoreError> {
        for wanted in uses {
            let shelf = self.shelf(*wanted);
            while shelf.lacks(|conn| self.is_current(conn))
                && let Ok(permit) = shelf.permits.try_acquire()
            {
                let made = async {
                    let conn = Some(self.connect(operation, None, READY_WITHIN).await?);
                    let mut held = Held {
                        shelf,
                        conn,
                        _permit: permit,
                    };
                    self.equip(*wanted, &mut held, operation).await?;
                    held.keep();
                    Ok(())
                };
                // A server that is stopped keeps its connections, and no place may wait for it.
                let made = timeout(READY_WITHIN, made).await;
                made.unwrap_or_else(|_| Err(too_slow(operation)))?;
            }
        }
        Ok(())
    }

    /// Looks at the schema behind a connection for `wanted`, prepares what it needs soon, and gives it its name.
    async fn equip(
        &self,
        wanted: Use,
        held: &mut Held<'_>,
        operation: &'static str,
    ) -> Result<(), StoreError> {
        let prepare = async {
            let prepared = held.conn().prepare(wanted.soon()).await;
            prepared.map_err(|e| fail(operation, e))
        };
        try_join(held.conn().check(operation), prepare).await?;
        if !held.conn().named
            && let Some(instance) = self.instance.get()
        {
            let name = format!("SET application_name = '{}'", name_of(*instance));
            held.conn()
                .client
                .batch_execute(&name)
                .await
                .map_err(|e| fail(operation, e))?;
            held.conn_mut().named = true;
        }
        Ok(())
    }

    /// Whether it leads to the latest history of the database that is known.
    fn is_current(&self, conn: &Conn) -> bool {
        !lock(&self.seen).is_later_than(conn.incarnation)
    }

    /// A connection as it is: for the migration, which makes what statements need.
    pub(crate) async fn bare(
        &self,
        wanted: Use,
        operation: &'static str,
    ) -> Result<Held<'_>, StoreError> {
        let shelf = self.shelf(wanted);
        let closed = |_| {
            StoreError::new(
                StoreErrorKind::Unavailable,
                operation,
                "the store is closed",
            )
        };
        let permit = shelf.permits.acquire().await.map_err(closed)?;
        let idle = shelf.take(|conn| self.is_current(conn));
        let conn = match idle {
            Some(conn) => conn,
            None => self.connect(operation, None, self.connect_timeout).await?,
        };
        Ok(Held {
            shelf,
            conn: Some(conn),
            _permit: permit,
        })
    }

    /// Closes every connection and waits for its task; connections in use are cut when `grace` is over.
    pub(crate) async fn close(&self, grace: Duration) {
        for shelf in self.shelves() {
            shelf.permits.close();
            while let Some(mut conn) = shelf.take(|_| true) {
                conn.cut.armed = false;
            }
        }
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        let all_gone = async { while tasks.join_next().await.is_some() {} };
        if timeout(grace, all_gone).await.is_err() {
            tasks.shutdown().await;
        }
    }

    /// Drops what is idle.
    pub(crate) fn leave(&self) {
        for shelf in self.shelves() {
            lock(&shelf.idle).clear();
        }
    }

    fn shelf(&self, wanted: Use) -> &Shelf {
        match wanted {
            Use::Commit => &self.commit,
            Use::Session => &self.session,
            Use::Renewal => &self.renewal,
            Use::Work => &self.work,
        }
    }

    fn shelves(&self) -> [&Shelf; 4] {
        [&self.commit, &self.session, &self.renewal, &self.work]
    }

    /// A connection that is told of changes. The receiver fails when the connection is over.
    pub(crate) async fn listen(
        &self,
        operation: &'static str,
    ) -> Result<(Conn, watch::Receiver<()>), StoreError> {
        let (told, hears) = watch::channel(());
        let conn = self
            .connect(operation, Some(told), self.connect_timeout)
            .await?;
        let listen = format!("LISTEN {CHANNEL}");
        let listens = conn.client.batch_execute(&listen).await;
        listens.map_err(|e| fail(operation, e))?;
        Ok((conn, hears))
    }

    /// What `error` means for whoever configured this store.
    pub(crate) fn explain(&self, operation: &'static str, error: Error) -> StoreError {
        let at = lock(&self.seen).host;
        explain(&self.hosts[at], operation, error)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("hosts", &self.hosts.len())
            .field("commit_free", &self.commit.permits.available_permits())
            .field("work_free", &self.work.permits.available_permits())
            .finish_non_exhaustive()
    }
}

impl Shelf {
    /// Whether a place is neither in use nor has a connection that is open and good.
    fn lacks(&self, is_good: impl Fn(&Conn) -> bool) -> bool {
        let mut idle = lock(&self.idle);
        idle.retain(|conn| !conn.client.is_closed() && is_good(conn));
        // Whoever comes with a place takes its connection behind that, and gives it back before: there may seem to be
        // fewer places than there are, and never more.
        idle.len() < self.permits.available_permits()
    }

    /// The first one that is open and good; others are dropped.
    fn take(&self, is_good: impl Fn(&Conn) -> bool) -> Option<Conn> {
        let mut idle = lock(&self.idle);
        while let Some(conn) = idle.pop() {
            if !conn.client.is_closed() && is_good(&conn) {
                return Some(conn);
            }
        }
        None
    }
}

/// A connection in use. Unless it is [kept](Held::keep), it is cut when dropped: whoever was cancelled in
/// the middle of a transaction leaves nothing behind that another one would continue.
pub(crate) struct Held<'p> {
    shelf: &'p Shelf,
    conn: Option<Conn>,
    _permit: SemaphorePermit<'p>,
}

impl Held<'_> {
    pub(crate) fn conn(&self) -> &Conn {
        self.conn
            .as_ref()
            .expect("it is taken by `keep` alone, which consumes self")
    }

    fn conn_mut(&mut self) -> &mut Conn {
        self.conn
            .as_mut()
            .expect("it is taken by `keep` alone, which consumes self")
    }

    /// Puts the connection back: it is in no transaction and waits for no answer.
    pub(crate) fn keep(mut self) {
        if let Some(conn) = self.conn.take() {
            lock(&self.shelf.idle).push(conn);
        }
    }

    /// Undoes the transaction that a refusal of the server has broken off, and puts the connection back. Another
    /// one would cost a process of the server and all plans, out of the time that the next try has.
    pub(crate) async fn undo(self) {
        if self.conn().client.batch_execute("ROLLBACK").await.is_ok() {
            self.keep();
        }
    }
}

/// One step of a round trip: answers with rows.
pub(crate) struct Step<'a> {
    /// The statement, which has to be prepared.
    needs: Option<Sql>,
    run: Answer<'a>,
}

/// The answer to a step.
type Answer<'a> = Pin<Box<dyn Future<Output = Result<Vec<Row>, Error>> + Send + 'a>>;

/// The arguments of a statement, in the order of their numbers.
pub(crate) type Params<'a> = Vec<&'a (dyn ToSql + Sync)>;

/// One connection.
pub(crate) struct Conn {
    client: Client,
    /// By their numbers, those that are prepared.
    statements: Vec<OnceCell<Statement>>,
    /// Whether the schema and the place of the store were looked at.
    checked: OnceCell<()>,
    warned: Arc<AtomicBool>,
    named: bool,
    incarnation: Incarnation,
    cut: Cut,
}

/// Ends the task of a connection that is dropped in the middle of something: the socket closes at once.
struct Cut {
    task: AbortHandle,
    armed: bool,
}

impl Drop for Cut {
    fn drop(&mut self) {
        if self.armed {
            self.task.abort();
        }
    }
}

impl Conn {
    /// A step of plain SQL.
    pub(crate) fn text<'a>(&'a self, text: &'a str) -> Step<'a> {
        Step {
            needs: None,
            run: Box::pin(self.simple(text)),
        }
    }

    /// Runs plain SQL.
    pub(crate) async fn simple(&self, text: &str) -> Result<Vec<Row>, Error> {
        self.client.batch_execute(text).await.map(|()| Vec::new())
    }

    /// The first column of what a plain query gives, as text.
    pub(crate) async fn text_rows(&self, text: &str) -> Result<Vec<Option<String>>, Error> {
        let messages = self.client.simple_query(text).await?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).map(str::to_owned)),
            _ => None,
        });
        Ok(rows.collect())
    }

    /// A step of a statement.
    pub(crate) fn step<'a>(&'a self, sql: Sql, params: Params<'a>) -> Step<'a> {
        let run = async move {
            let statement = self.prepared(sql).await?;
            self.client.query(statement, &params).await
        };
        Step {
            needs: Some(sql),
            run: Box::pin(run),
        }
    }

    /// Runs one statement by itself.
    pub(crate) async fn rows(
        &self,
        operation: &'static str,
        sql: Sql,
        params: Params<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        let rows = self.step(sql, params).run.await;
        rows.map_err(|e| fail(operation, e))
    }

    /// Runs one statement by itself and says how many rows it changed or gave.
    pub(crate) async fn change(
        &self,
        operation: &'static str,
        sql: Sql,
        params: Params<'_>,
    ) -> Result<u64, StoreError> {
        let change = async {
            let statement = self.prepared(sql).await?;
            self.client.execute(statement, &params).await
        };
        change.await.map_err(|e| fail(operation, e))
    }

    /// Sends all steps at once and then waits for all answers: one round trip. After an error the others
    /// fail too; the first one is the cause.
    pub(crate) async fn trip(&self, steps: Vec<Step<'_>>) -> Result<Vec<Vec<Row>>, Error> {
        // Before the first step is sent: none may overtake another one that waits for its plan.
        self.plan(&steps).await?;
        let mut rows = Vec::with_capacity(steps.len());
        for answer in join_all(steps.into_iter().map(|step| step.run)).await {
            rows.push(answer?);
        }
        Ok(rows)
    }

    /// Forgets warnings; [`Conn::was_warned`] tells of later ones only.
    pub(crate) fn clear_warning(&self) {
        self.warned.store(false, Ordering::SeqCst);
    }

    /// Whether the server warned (01000): a commit is then not known to be replicated.
    pub(crate) fn was_warned(&self) -> bool {
        self.warned.load(Ordering::SeqCst)
    }

    /// Refuses a database with the schema of another program, and a copy of a store that nobody has released.
    async fn check(&self, operation: &'static str) -> Result<(), StoreError> {
        let check = || async {
            let version = self.client.query_one(Sql::SchemaGet.text(), &[]).await;
            let version = version.and_then(|row| row.try_get::<_, Option<i32>>(0));
            migrate::check(version.map_err(|e| fail(operation, e))?, operation)?;
            let is_here = self.client.query_opt(Sql::LineageCheck.text(), &[]).await;
            let is_here = is_here.and_then(|row| row.map(|row| row.try_get(0)).transpose());
            migrate::check_place(is_here.map_err(|e| fail(operation, e))?, operation)
        };
        self.checked.get_or_try_init(check).await?;
        Ok(())
    }

    /// Prepares what `steps` need. Changes nothing; an error breaks an open transaction off.
    pub(crate) fn plan(
        &self,
        steps: &[Step<'_>],
    ) -> impl Future<Output = Result<(), Error>> + use<'_> {
        let needs: Vec<_> = steps.iter().filter_map(|step| step.needs).collect();
        async move { self.prepare(&needs).await }
    }

    async fn prepared(&self, sql: Sql) -> Result<&Statement, Error> {
        let prepare = || self.client.prepare(sql.text());
        self.statements[sql as usize].get_or_try_init(prepare).await
    }

    /// Prepares those of `statements` that are not, in one round trip.
    async fn prepare(&self, statements: &[Sql]) -> Result<(), Error> {
        let missing = statements
            .iter()
            .filter(|sql| self.statements[**sql as usize].get().is_none());
        try_join_all(missing.map(|sql| self.prepared(*sql))).await?;
        Ok(())
    }
}

async fn drive<T>(
    mut connection: Connection<tokio_postgres::Socket, T>,
    warned: Arc<AtomicBool>,
    told: Option<watch::Sender<()>>,
) where
    T: TlsStream + Unpin,
{
    loop {
        let message = pin!(std::future::poll_fn(|cx| connection.poll_message(cx))).await;
        match message {
            Some(Ok(AsyncMessage::Notice(notice))) if *notice.code() == SqlState::WARNING => {
                // Before the answer to the statement is passed on: the order of the wire is kept.
                warned.store(true, Ordering::SeqCst);
                tracing::warn!(notice = notice.message(), "the database warns");
            }
            Some(Ok(AsyncMessage::Notification(_))) => {
                if let Some(told) = &told {
                    told.send_replace(());
                }
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "connection lost");
                return;
            }
            None => return,
        }
    }
}

/// What the connections of `instance` are called at the server.
pub(crate) fn name_of(instance: InstanceId) -> String {
    format!("qs:{instance}")
}

/// A lock that outlives a panic of another holder: what it guards is consistent between any two lines.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
