//! The threads that read for people and for bodies, so that no query waits for the writer or stops it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use quayside_store::{StoreError, StoreErrorKind, measure::Transactions, model::Clock};
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::{error::DbResult, tx::Tx};

/// How many queries wait before callers are made to wait.
const QUEUE: usize = 64;

type Job = Box<dyn FnOnce(&Desk) + Send>;
type Queue = Arc<Mutex<mpsc::Receiver<Job>>>;

/// The queue of the readers; the threads end when it is gone.
#[derive(Debug)]
pub(crate) struct Readers {
    jobs: mpsc::Sender<Job>,
}

/// What a reader's thread works with.
struct Desk {
    conn: Connection,
    clock: Arc<dyn Clock>,
    transactions: Arc<Transactions>,
}

impl Readers {
    /// Starts one thread for each of `conns`.
    pub(crate) fn start(
        conns: Vec<Connection>,
        clock: &Arc<dyn Clock>,
        transactions: &Arc<Transactions>,
    ) -> std::io::Result<(Self, Vec<JoinHandle<()>>)> {
        let (jobs, queue) = mpsc::channel::<Job>(QUEUE);
        let queue: Queue = Arc::new(Mutex::new(queue));
        let mut threads = Vec::new();
        for conn in conns {
            let (clock, transactions) = (Arc::clone(clock), Arc::clone(transactions));
            let desk = Desk {
                conn,
                clock,
                transactions,
            };
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new().name("store-reader".to_owned());
            threads.push(thread.spawn(move || desk.work(&queue))?);
        }
        Ok((Self { jobs }, threads))
    }

    /// Runs `body` in a transaction of its own that sees one state of the store.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        body: impl FnOnce(&Tx<'_>) -> DbResult<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        // A caller that went away does not need its answer.
        let job: Job = Box::new(move |desk| drop(reply.send(desk.read(operation, body))));
        self.jobs.send(job).await.map_err(|_| gone(operation))?;
        answer.await.map_err(|_| gone(operation))?
    }
}

fn gone(operation: &'static str) -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        operation,
        "the store's reader gave no answer",
    )
}

impl Desk {
    fn work(&self, queue: &Queue) {
        loop {
            // One thread waits in the channel, the other for the lock: whoever is free is next.
            let next = queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .blocking_recv();
            let Some(job) = next else { return };
            // A panic costs its own query, whose caller gets no answer, and no other.
            if catch_unwind(AssertUnwindSafe(|| job(self))).is_err() {
                tracing::error!("a query of the store panicked");
            }
        }
    }

    fn read<T>(
        &self,
        operation: &'static str,
        body: impl FnOnce(&Tx<'_>) -> DbResult<T>,
    ) -> Result<T, StoreError> {
        let start = self.clock.monotonic();
        let tx = Tx {
            conn: &self.conn,
            now: self.clock.now(),
        };
        self.end();
        let result = tx.execute("BEGIN", []).and_then(|_| body(&tx));
        self.end();
        let time = self.clock.monotonic().since(start);
        self.transactions.record(operation, result.is_ok(), time, 1);
        result.map_err(|error| error.into_store(operation))
    }

    /// Ends the transaction: this query's, or that of a query that panicked.
    fn end(&self) {
        if self.conn.is_autocommit() {
            return;
        }
        if let Err(error) = self.conn.execute_batch("ROLLBACK") {
            tracing::error!(%error, "the store could not end a query");
        }
    }
}
