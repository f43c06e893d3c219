//! Group commit: every publication and settlement of the process queues here, and whatever waits goes
//! into one transaction, bounded by count and bytes, with no artificial delay.
//!
//! A settlement is tried until the store has answered it. A publication is given up at the deadline that
//! comes with it: its sender is told to come back, and whether the store has it is unknown. When a
//! COMMIT is in the dark the same items run again with the same ids (`reference/store.md` 3).

use std::{sync::Arc, time::Duration};

use quayside_model::{Claim, Clock, Content, InstanceId, Monotonic};
use quayside_store::{AnyStore, Change, Op, Outcome, Publish, PublishOutcome, SettleOutcome};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::writable::Writable;

/// The most items of one transaction.
const MAX_ITEMS: usize = 256;
/// The most body bytes of one transaction.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// How many KiB of bodies wait before senders are made to wait: the queue's memory, whatever its items.
const MAX_WAITING: u32 = 64 * 1024;
/// How many items wait before senders are made to wait.
const QUEUE: usize = 4096;

/// The front of the committer. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Committer {
    queue: mpsc::Sender<Item>,
    /// Kibibytes of bodies that may still wait.
    room: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Item {
    op: Op,
    bytes: usize,
    /// When a publication is given up, if ever; settlements never are.
    deadline: Option<Monotonic>,
    reply: oneshot::Sender<Outcome>,
    /// Its share of [`MAX_WAITING`], given back with the item.
    room: Option<OwnedSemaphorePermit>,
}

impl Item {
    fn is_given_up(&self, now: Monotonic) -> bool {
        self.deadline
            .is_some_and(|deadline| now >= deadline || self.reply.is_closed())
    }
}

impl Committer {
    /// Starts the committer as a task of `tasks`. It ends when every front is gone and the queue is
    /// empty, or at once with `cut`.
    pub(crate) fn start(
        tasks: &mut JoinSet<&'static str>,
        store: AnyStore,
        instance: InstanceId,
        writable: Arc<Writable>,
        clock: Arc<dyn Clock>,
        cut: CancellationToken,
    ) -> Self {
        let (queue, items) = mpsc::channel(QUEUE);
        let worker = Worker {
            store,
            instance,
            writable,
            clock: Arc::clone(&clock),
            cut,
        };
        tasks.spawn(async move {
            worker.run(items).await;
            "committer"
        });
        let room = Arc::new(Semaphore::new(MAX_WAITING as usize));
        Self { queue, room, clock }
    }

    /// Publishes, by `deadline` if there is one. `None`: the store did not take it in time; it may still
    /// come to be stored. Without a deadline: the store failed for good, or the process is cut off.
    pub(crate) async fn publish(
        &self,
        publish: Publish,
        deadline: Option<Monotonic>,
    ) -> Option<PublishOutcome> {
        let bytes = publish
            .message
            .parts
            .iter()
            .map(|part| match &part.content {
                Content::Inline(bytes) => bytes.len(),
                Content::Stored(_) => 0,
            });
        let bytes = bytes.sum();
        let answer = async {
            match self
                .submit(Op::Publish(Box::new(publish)), bytes, deadline)
                .await?
            {
                Outcome::Published(outcome) => Some(outcome),
                Outcome::Settled(_) => None,
            }
        };
        // The committer answers by the deadline too, but only between two tries: a try that hangs in a
        // paused database must not hold the sender's answer.
        let Some(deadline) = deadline else {
            return answer.await;
        };
        let left = deadline.since(self.clock.monotonic());
        tokio::time::timeout(left, answer).await.ok().flatten()
    }

    /// Settles, however long it takes. `None`: the process is being cut off.
    pub(crate) async fn settle(&self, claim: Claim, change: Change) -> Option<SettleOutcome> {
        match self.submit(Op::Settle(claim, change), 0, None).await? {
            Outcome::Settled(outcome) => Some(outcome),
            Outcome::Published(_) => None,
        }
    }

    async fn submit(&self, op: Op, bytes: usize, deadline: Option<Monotonic>) -> Option<Outcome> {
        let room = match bytes {
            0 => None,
            _ => {
                let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
                let room = Arc::clone(&self.room);
                Some(room.acquire_many_owned(kib.min(MAX_WAITING)).await.ok()?)
            }
        };
        let (reply, answer) = oneshot::channel();
        let item = Item {
            op,
            bytes,
            deadline,
            reply,
            room,
        };
        self.queue.send(item).await.ok()?;
        answer.await.ok()
    }
}

#[derive(Clone)]
struct Worker {
    store: AnyStore,
    instance: InstanceId,
    /// Told how each try went.
    writable: Arc<Writable>,
    clock: Arc<dyn Clock>,
    cut: CancellationToken,
}

impl Worker {
    async fn run(self, mut items: mpsc::Receiver<Item>) {
        let mut running = JoinSet::new();
        let parallel = self.store.parallel_commits().max(1);
        let mut batch = Vec::with_capacity(MAX_ITEMS);
        loop {
            while running.len() >= parallel {
                note_end(running.join_next().await);
            }
            let first = tokio::select! {
                first = items.recv() => first,
                () = self.cut.cancelled() => break,
            };
            let Some(first) = first else { break };
            let mut bytes = first.bytes;
            batch.push(first);
            while batch.len() < MAX_ITEMS && bytes < MAX_BYTES {
                let Ok(item) = items.try_recv() else { break };
                bytes += item.bytes;
                batch.push(item);
            }
            let worker = self.clone();
            let full = std::mem::replace(&mut batch, Vec::with_capacity(MAX_ITEMS));
            running.spawn(async move { worker.commit(full).await });
        }
        while let Some(end) = running.join_next().await {
            note_end(Some(end));
        }
    }

    /// Runs one batch until the store has answered every item that still wants an answer.
    async fn commit(&self, items: Vec<Item>) {
        let Some(poisoned) = self.commit_together(items).await else {
            return;
        };
        // Something in the batch makes the store fail for good. Alone, only the guilty one does.
        for item in poisoned {
            if let Some(item) = self
                .commit_together(vec![item])
                .await
                .into_iter()
                .flatten()
                .next()
            {
                error!(op = ?item.op, "a settlement cannot be stored; its delivery stays held until \
                    this process ends, and is in doubt then");
            }
        }
    }

    /// Runs items as one batch until the store has answered, or returns the settlements among them when
    /// it fails in a way that trying again does not mend.
    async fn commit_together(&self, mut items: Vec<Item>) -> Option<Vec<Item>> {
        let mut pause = Duration::from_millis(5);
        loop {
            let now = self.clock.monotonic();
            items.retain(|item| !item.is_given_up(now));
            if items.is_empty() {
                return None;
            }
            let (ops, rest) = take_ops(items);
            let error = match self.store.commit(self.instance, &ops).await {
                Ok(outcomes) => {
                    self.writable.committed();
                    for ((reply, ..), outcome) in rest.into_iter().zip(outcomes) {
                        // A closed channel is a sender that was told to come back.
                        drop(reply.send(outcome));
                    }
                    return None;
                }
                Err(error) => error,
            };
            self.writable.failed(error.kind);
            items = put_ops(ops, rest);
            let lasting = !error.kind.is_transient();
            warn!(code = %error.kind.code(), error = %chain(&error), items = items.len(), lasting,
                "batch failed");
            if lasting {
                items.retain(|item| matches!(item.op, Op::Settle(..)));
                return Some(items);
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.cut.cancelled() => return None,
            }
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}

type Rest = (
    oneshot::Sender<Outcome>,
    Option<Monotonic>,
    Option<OwnedSemaphorePermit>,
);

fn take_ops(items: Vec<Item>) -> (Vec<Op>, Vec<Rest>) {
    let part = |item: Item| (item.op, (item.reply, item.deadline, item.room));
    items.into_iter().map(part).unzip()
}

fn put_ops(ops: Vec<Op>, rest: Vec<Rest>) -> Vec<Item> {
    let join = |(op, (reply, deadline, room))| Item {
        op,
        bytes: 0,
        deadline,
        reply,
        room,
    };
    ops.into_iter().zip(rest).map(join).collect()
}

fn note_end(end: Option<Result<(), tokio::task::JoinError>>) {
    if let Some(Err(error)) = end {
        error!(%error, "a commit panicked");
    }
}

/// An error with all its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
