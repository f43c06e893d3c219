//! The one thread that writes. SQLite has one writer at a time anyway: a thread of its own with a bounded
//! queue makes callers wait their turn in order, instead of polling for a lock.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::JoinHandle,
};

use quayside_store::{StoreError, StoreErrorKind, measure::Transactions, model::Clock};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::{error::DbResult, tx::Tx};

/// How many jobs wait for the writer before callers are made to wait.
const QUEUE: usize = 1024;
/// After how many commits the checkpointer looks at the log.
const COMMITS_PER_LOOK: u32 = 8;

type Job = Box<dyn FnOnce(&mut Desk) + Send>;

/// The queue of the writer. Cheap to clone; the thread ends when the last one is gone.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    jobs: mpsc::Sender<Job>,
}

/// The queue of the writer for somebody who must not keep it alive.
#[derive(Debug)]
pub(crate) struct WeakWriter(mpsc::WeakSender<Job>);

/// What the writer's thread works with.
pub(crate) struct Desk {
    conn: Connection,
    clock: Arc<dyn Clock>,
    transactions: Arc<Transactions>,
    /// Wakes the checkpointer. Bounded at one: a look that is due is due once.
    look: mpsc::Sender<()>,
    commits: u32,
}

impl Writer {
    /// Starts the thread on `conn`.
    pub(crate) fn start(
        conn: Connection,
        clock: Arc<dyn Clock>,
        transactions: Arc<Transactions>,
        look: mpsc::Sender<()>,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        let mut desk = Desk {
            conn,
            clock,
            transactions,
            look,
            commits: 0,
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || {
                while let Some(job) = queue.blocking_recv() {
                    // A panic costs its own job, whose caller gets no answer, and no other.
                    if catch_unwind(AssertUnwindSafe(|| job(&mut desk))).is_err() {
                        tracing::error!("a job of the store's writer panicked");
                    }
                }
            })?;
        Ok((Self { jobs }, thread))
    }

    /// Runs `job` in its turn. It runs to its end even if the caller stops waiting.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        job: impl FnOnce(&mut Desk) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        // A caller that went away does not need its answer.
        let job: Job = Box::new(move |desk| drop(reply.send(job(desk))));
        self.jobs.send(job).await.map_err(|_| gone(operation))?;
        answer.await.map_err(|_| gone(operation))?
    }

    /// A queue that does not keep the thread alive.
    pub(crate) fn downgrade(&self) -> WeakWriter {
        WeakWriter(self.jobs.downgrade())
    }
}

impl WeakWriter {
    /// Runs `job` in its turn and waits for it, from a thread that is not a runtime's. `None`: the
    /// writer has ended.
    pub(crate) fn run_blocking<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Desk) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |desk| drop(reply.send(job(desk))));
        self.0.upgrade()?.blocking_send(job).ok()?;
        answer.blocking_recv().ok()
    }
}

fn gone(operation: &'static str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Unknown,
        operation,
        "the store's writer gave no answer",
    )
}

impl Desk {
    /// Runs `body` as the transaction `operation` and commits it. Durable when it returns `Ok`.
    pub(crate) fn transact<T>(
        &mut self,
        operation: &'static str,
        items: usize,
        body: impl FnOnce(&Tx<'_>) -> DbResult<T>,
    ) -> Result<T, StoreError> {
        let start = self.clock.monotonic();
        let result = self.attempt(operation, body);
        let time = self.clock.monotonic().since(start);
        self.transactions
            .record(operation, result.is_ok(), time, items);
        let full = matches!(&result, Err(error) if error.kind == StoreErrorKind::Full);
        self.commits = self.commits.wrapping_add(1);
        // A checkpoint may make room in the log of a full disk.
        if full || self.commits.is_multiple_of(COMMITS_PER_LOOK) {
            self.look.try_send(()).unwrap_or_default(); // Taken: a look is due already.
        }
        result
    }

    fn attempt<T>(
        &self,
        operation: &'static str,
        body: impl FnOnce(&Tx<'_>) -> DbResult<T>,
    ) -> Result<T, StoreError> {
        self.roll_back();
        let tx = Tx {
            conn: &self.conn,
            now: self.clock.now(),
        };
        let result = tx.execute("BEGIN IMMEDIATE", []).and_then(|_| body(&tx));
        let ended = match result {
            Ok(value) => match tx.execute("COMMIT", []) {
                Ok(_) => return Ok(value),
                Err(error) => error.into_store_at_commit(operation),
            },
            Err(error) => error.into_store(operation),
        };
        self.roll_back();
        Err(ended)
    }

    /// Ends what a failed or panicked job left open. SQLite may have rolled back by itself.
    fn roll_back(&self) {
        if self.conn.is_autocommit() {
            return;
        }
        if let Err(error) = self.conn.execute_batch("ROLLBACK") {
            tracing::error!(%error, "the store could not roll back");
        }
    }

    /// The connection, for what is not a transaction.
    pub(crate) fn conn(&self) -> &Connection {
        &self.conn
    }
}

/// Runs `item` inside a savepoint, so that an error undoes it alone.
pub(crate) fn apart<T>(tx: &Tx<'_>, item: impl FnOnce() -> DbResult<T>) -> DbResult<T> {
    tx.execute("SAVEPOINT item", [])?;
    let result = item();
    // A full disk or an I/O error ends the whole transaction, and the savepoint with it.
    if result.is_err() && !tx.conn.is_autocommit() {
        tx.execute("ROLLBACK TO item", [])?;
    }
    if !tx.conn.is_autocommit() {
        tx.execute("RELEASE item", [])?;
    }
    result
}
