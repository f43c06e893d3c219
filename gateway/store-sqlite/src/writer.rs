//! The one thread that writes. SQLite has one writer at a time anyway: a thread of its own with a bounded
//! queue makes callers wait their turn in order, instead of polling for a lock.
//!
//! What keeps the process alive goes before everything that waits, so that it is late by one job at most.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use quayside_store::{StoreError, StoreErrorKind, measure::Transactions, model::Clock};
use rusqlite::Connection;
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

use crate::{checkpoint::Look, error::DbResult, tx::Tx};

/// How many jobs wait for the writer before callers are made to wait.
const QUEUE: usize = 1024;
/// How many urgent jobs go before the others; more than that wait in the queue.
const URGENT: usize = 16;
/// After how many commits the checkpointer looks at the log.
const COMMITS_PER_LOOK: u32 = 8;

type Job = Box<dyn FnOnce(&mut Desk) + Send>;

/// The queue of the writer. Cheap to clone; the thread ends when the last one is gone.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    jobs: mpsc::Sender<Job>,
    urgent: Lane,
}

/// Jobs that go before the queue. The thread looks here before each job of the queue.
#[derive(Clone, Default)]
struct Lane(Arc<Mutex<VecDeque<Job>>>);

impl Lane {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the job back if the lane is full.
    fn push(&self, job: Job) -> Result<(), Job> {
        let mut lane = self.lock();
        if lane.len() >= URGENT {
            return Err(job);
        }
        lane.push_back(job);
        Ok(())
    }

    fn pop(&self) -> Option<Job> {
        self.lock().pop_front()
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lane({})", self.lock().len())
    }
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
    look: mpsc::Sender<Look>,
    commits: u32,
}

impl Writer {
    /// Starts the thread on `conn`.
    pub(crate) fn start(
        conn: Connection,
        clock: Arc<dyn Clock>,
        transactions: Arc<Transactions>,
        look: mpsc::Sender<Look>,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        let urgent = Lane::default();
        let lane = urgent.clone();
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
                    while let Some(urgent) = lane.pop() {
                        work(&mut desk, urgent);
                    }
                    work(&mut desk, job);
                }
            })?;
        Ok((Self { jobs, urgent }, thread))
    }

    /// Runs `job` before everything that waits, after what runs. For the few short jobs that keep the
    /// process alive. It runs to its end even if the caller stops waiting.
    pub(crate) async fn run_first<T: Send + 'static>(
        &self,
        operation: &'static str,
        job: impl FnOnce(&mut Desk) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, answer) = answered(job);
        match self.urgent.push(job) {
            // Wakes a thread that waits. A full queue needs none: it looks before its next job.
            Ok(()) => match self.jobs.try_send(Box::new(|_| {})) {
                Ok(()) | Err(TrySendError::Full(_)) => {}
                Err(TrySendError::Closed(_)) => return Err(gone(operation)),
            },
            Err(job) => self.jobs.send(job).await.map_err(|_| gone(operation))?,
        }
        answer.await.map_err(|_| gone(operation))?
    }

    /// Runs `job` in its turn. It runs to its end even if the caller stops waiting.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        job: impl FnOnce(&mut Desk) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (job, answer) = answered(job);
        self.jobs.send(job).await.map_err(|_| gone(operation))?;
        answer.await.map_err(|_| gone(operation))?
    }

    /// A queue that does not keep the thread alive.
    pub(crate) fn downgrade(&self) -> WeakWriter {
        WeakWriter(self.jobs.downgrade())
    }
}

/// `job` for the queue, and where its answer arrives.
fn answered<T: Send + 'static>(
    job: impl FnOnce(&mut Desk) -> T + Send + 'static,
) -> (Job, oneshot::Receiver<T>) {
    let (reply, answer) = oneshot::channel();
    // A caller that went away does not need its answer.
    (Box::new(move |desk| drop(reply.send(job(desk)))), answer)
}

fn work(desk: &mut Desk, job: Job) {
    // A panic costs its own job, whose caller gets no answer, and no other.
    if catch_unwind(AssertUnwindSafe(|| job(desk))).is_err() {
        tracing::error!("a job of the store's writer panicked");
    }
}

impl WeakWriter {
    /// Runs `job` in its turn and waits for it, from a thread that is not a runtime's. `None`: the
    /// writer has ended.
    pub(crate) fn run_blocking<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Desk) -> T + Send + 'static,
    ) -> Option<T> {
        let (job, answer) = answered(job);
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
        self.commits = self.commits.wrapping_add(1);
        let look = match &result {
            Err(error) if error.kind == StoreErrorKind::Full => Some(Look::Full),
            _ => self
                .commits
                .is_multiple_of(COMMITS_PER_LOOK)
                .then_some(Look::Due),
        };
        if let Some(look) = look {
            // A look that is due already is enough. On a full disk the next failure asks again.
            let _due = self.look.try_send(look);
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

/// Runs `items` inside a savepoint; an inner `Err` undoes them and is the answer all the same.
pub(crate) fn undoable<T>(
    tx: &Tx<'_>,
    items: impl FnOnce() -> DbResult<Result<T, T>>,
) -> DbResult<T> {
    tx.execute("SAVEPOINT item", [])?;
    let result = items();
    end_savepoint(tx, !matches!(result, Ok(Ok(_))))?;
    result.map(|result| result.unwrap_or_else(|undone| undone))
}

fn end_savepoint(tx: &Tx<'_>, undo: bool) -> DbResult<()> {
    // A full disk or an I/O error ends the whole transaction, and the savepoint with it.
    if undo && !tx.conn.is_autocommit() {
        tx.execute("ROLLBACK TO item", [])?;
    }
    if !tx.conn.is_autocommit() {
        tx.execute("RELEASE item", [])?;
    }
    Ok(())
}

/// Runs `item` inside a savepoint, so that an error undoes it alone.
pub(crate) fn apart<T>(tx: &Tx<'_>, item: impl FnOnce() -> DbResult<T>) -> DbResult<T> {
    tx.execute("SAVEPOINT item", [])?;
    let result = item();
    end_savepoint(tx, result.is_err())?;
    result
}

#[cfg(test)]
mod tests {
    use quayside_store::model::SystemClock;

    use super::*;

    #[tokio::test]
    async fn an_urgent_job_goes_before_a_full_queue() {
        let conn = Connection::open_in_memory().expect("a database");
        let (look, _looks) = mpsc::channel(1);
        let transactions = Arc::new(Transactions::new(&[]));
        let (writer, thread) =
            Writer::start(conn, Arc::new(SystemClock), transactions, look).expect("a thread");
        let (release, held) = std::sync::mpsc::sync_channel::<()>(1);
        let ran = Arc::new(Mutex::new(Vec::new()));
        let job = |name: usize| -> Job {
            let ran = Arc::clone(&ran);
            Box::new(move |_| ran.lock().unwrap().push(name))
        };
        let block: Job = Box::new(move |_| held.recv().unwrap_or_default());
        writer.jobs.send(block).await.expect("it runs");
        let mut waiting = 0;
        while writer.jobs.capacity() > 0 {
            writer.jobs.send(job(waiting)).await.expect("there is room");
            waiting += 1;
        }
        let ran_first = Arc::clone(&ran);
        let urgent = writer.run_first("renew", move |_| Ok(ran_first.lock().unwrap().len()));
        let release = async move {
            // The lane is filled by the first poll of the other branch, before this one runs.
            release.send(()).expect("the writer waits for it");
        };
        let (before, ()) = tokio::join!(urgent, release);
        // The writer may have taken the job that held it before the queue was full, and no other.
        assert_eq!(before.expect("an answer"), 0, "of {waiting} that waited");
        drop(writer);
        thread.join().expect("it ends");
        assert_eq!(ran.lock().unwrap().len(), waiting, "nothing was dropped");
    }
}
