//! Group commit: every publication and settlement of the process queues here, and whatever waits goes
//! into one transaction, bounded by count and bytes. The first never waits; one that would run beside
//! another waits a moment to be worth it.
//!
//! A settlement is tried until the store has answered it. A publication is given up at the deadline that
//! comes with it: its sender is told to come back, and whether the store has it is unknown. When a
//! COMMIT is in the dark the same items run again with the same ids (`reference/store.md` 3).
//!
//! What must not come apart is a group ([`Committer::together`]), which has a transaction of its own. Steps of
//! orchestration instances are groups too, many small ones: they have a queue of their own, and those that wait there
//! share a transaction for as long as the store undoes none of them. One that it does is tried by itself, because what
//! undid it may be what another one was about to write.

mod items;

use std::{pin::pin, sync::Arc, time::Duration};

use quayside_model::{Claim, Clock, InstanceId, Monotonic};
use quayside_store::{
    AnyStore, Change, Claimed, GroupOutcome, Next, Op, Outcome, Publish, PublishOutcome,
    SettleOutcome, StoreErrorKind,
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use items::{Item, Load, answer, group_of, inline_bytes, put_ops, take_ops};

use crate::writable::Writable;

/// The most items of one transaction.
const MAX_ITEMS: usize = 256;
/// The most operations of one transaction, beside the item that goes over it.
const MAX_OPS: usize = 1024;
/// The most body bytes of one transaction.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// How long a batch waits to become as large as the commit that runs beside it.
const BESIDE_WITHIN: Duration = Duration::from_millis(10);
/// How many KiB of bodies wait before senders are made to wait: the queue's memory, whatever its items.
const MAX_WAITING: u32 = 64 * 1024;
/// How many items wait before senders are made to wait.
const QUEUE: usize = 4096;
/// The first and the longest pause before a failed transaction is tried again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));
/// How many groups of one transaction may be undone before all of the others go by themselves.
const UNDONE: usize = 4;

/// The front of the committer. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Committer {
    queue: mpsc::Sender<Item>,
    /// Groups that may share a transaction.
    steps: mpsc::Sender<Item>,
    /// Kibibytes of bodies that may still wait.
    room: Arc<Semaphore>,
    clock: Arc<dyn Clock>,
}

impl Committer {
    /// Starts the committer as two tasks of `tasks`. They end when every front is gone and the queues are
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
        let (steps, groups) = mpsc::channel(QUEUE);
        let worker = Worker {
            store,
            instance,
            writable,
            clock: Arc::clone(&clock),
            cut,
            shares: false,
        };
        let of_steps = Worker {
            shares: true,
            ..worker.clone()
        };
        tasks.spawn(async move {
            worker.run(items).await;
            "committer"
        });
        tasks.spawn(async move {
            of_steps.run(groups).await;
            "committer of steps"
        });
        let room = Arc::new(Semaphore::new(MAX_WAITING as usize));
        Self {
            queue,
            steps,
            room,
            clock,
        }
    }

    /// Publishes, by `deadline` if there is one. `None`: the store did not take it in time; it may still
    /// come to be stored. Without a deadline: the store failed for good, or the process is cut off.
    pub(crate) async fn publish(
        &self,
        publish: Publish,
        deadline: Option<Monotonic>,
    ) -> Option<PublishOutcome> {
        let bytes = inline_bytes(&publish);
        let (reply, answer) = oneshot::channel();
        let load = Load::One(Op::Publish(Box::new(publish)), reply);
        match self.submit(load, bytes, deadline, answer).await? {
            Outcome::Published(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Settles, however long it takes. `None`: the process is being cut off.
    pub(crate) async fn settle(&self, claim: Claim, change: Change) -> Option<SettleOutcome> {
        let (reply, answer) = oneshot::channel();
        let load = Load::One(Op::Settle(claim, change), reply);
        match self.submit(load, 0, None, answer).await? {
            Outcome::Settled(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Settles deliveries, and claims what comes next of their key with the same commit, however long it takes.
    /// One outcome for each settlement. `None`: the process is being cut off.
    pub(crate) async fn settle_and_next(
        &self,
        settlements: Vec<(Claim, Change)>,
        next: Option<Next>,
    ) -> Option<(Vec<SettleOutcome>, Vec<Claimed>)> {
        let settle = |(claim, change)| Op::Settle(claim, change);
        let mut ops: Vec<Op> = settlements.into_iter().map(settle).collect();
        ops.extend(next.map(Op::Next));
        let (reply, answer) = oneshot::channel();
        let outcomes = self.submit(Load::Row(ops, reply), 0, None, answer).await?;
        let (mut settled, mut claimed) = (Vec::with_capacity(outcomes.len()), Vec::new());
        for outcome in outcomes {
            match outcome {
                Outcome::Settled(outcome) => settled.push(outcome),
                Outcome::Next(next) => claimed = next,
                _ => {}
            }
        }
        Some((settled, claimed))
    }

    /// Commits all of `ops` or none, by `deadline` if there is one. `None`: the store did not take the
    /// group in time; it may still come to be stored. Without a deadline: the store failed for good and
    /// nothing of it is stored, or the process is cut off.
    pub(crate) async fn together(
        &self,
        ops: Vec<Op>,
        deadline: Option<Monotonic>,
    ) -> Option<GroupOutcome> {
        let bytes = ops.iter().map(|op| match op {
            Op::Publish(publish) => inline_bytes(publish),
            Op::Step(step) => step.state.as_ref().map_or(0, bytes::Bytes::len),
            Op::Settle(..) | Op::Next(_) | Op::Enter(_) => 0,
        });
        let bytes = bytes.sum();
        let (reply, answer) = oneshot::channel();
        self.submit(Load::Group(ops, reply), bytes, deadline, answer)
            .await
    }

    async fn submit<T>(
        &self,
        load: Load,
        bytes: usize,
        deadline: Option<Monotonic>,
        answer: oneshot::Receiver<T>,
    ) -> Option<T> {
        let submitted = async {
            let room = match bytes {
                0 => None,
                _ => {
                    let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
                    let room = Arc::clone(&self.room);
                    Some(room.acquire_many_owned(kib.min(MAX_WAITING)).await.ok()?)
                }
            };
            let item = Item {
                load,
                bytes,
                deadline,
                room,
            };
            let queue = match item.is_step() {
                true => &self.steps,
                false => &self.queue,
            };
            queue.send(item).await.ok()?;
            answer.await.ok()
        };
        // The committer answers by the deadline too, but only between two tries: a try that hangs in a
        // paused database must not hold the sender's answer.
        let Some(deadline) = deadline else {
            return submitted.await;
        };
        let left = deadline.since(self.clock.monotonic());
        tokio::time::timeout(left, submitted).await.ok().flatten()
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
    /// Whether groups share transactions.
    shares: bool,
}

impl Worker {
    async fn run(self, mut items: mpsc::Receiver<Item>) {
        let mut running = JoinSet::new();
        let parallel = self.store.parallel_commits().max(1);
        let mut batch = Vec::with_capacity(MAX_ITEMS);
        // A group that was met behind the last batch.
        let mut group = None;
        // How many items the newest commit has.
        let mut under_way = 0;
        loop {
            while running.len() >= parallel {
                note_end(running.join_next().await);
            }
            let first = match group.take() {
                Some(group) => Some(group),
                None => tokio::select! {
                    first = items.recv() => first,
                    () = self.cut.cancelled() => break,
                },
            };
            let Some(first) = first else { break };
            let worker = self.clone();
            if self.is_alone(&first) {
                running.spawn(async move { worker.commit_group(first).await });
                continue;
            }
            batch.push(first);
            group = self
                .fill(&mut batch, &mut items, &mut running, under_way)
                .await;
            under_way = batch.len();
            let full = std::mem::replace(&mut batch, Vec::with_capacity(MAX_ITEMS));
            running.spawn(async move {
                match worker.shares {
                    true => worker.commit_groups(full).await,
                    false => worker.commit(full).await,
                }
            });
        }
        while let Some(end) = running.join_next().await {
            note_end(Some(end));
        }
    }

    /// Whether an item has a transaction for itself.
    fn is_alone(&self, item: &Item) -> bool {
        item.is_group() && !self.shares
    }

    /// Adds what waits to a batch that was begun. Gives back a group that was met: it goes by itself.
    ///
    /// A commit beside another one is worth its cost only if it is about as large: smaller ones would take
    /// the items from each other, and each costs the database the same again. So the batch waits for
    /// `under_way` items, for the other commit to end, or for [`BESIDE_WITHIN`].
    async fn fill(
        &self,
        batch: &mut Vec<Item>,
        items: &mut mpsc::Receiver<Item>,
        running: &mut JoinSet<()>,
        under_way: usize,
    ) -> Option<Item> {
        let mut bytes = batch.iter().map(|item| item.bytes).sum::<usize>();
        let mut ops = batch.iter().map(Item::ops).sum::<usize>();
        let mut patience = pin!(tokio::time::sleep(BESIDE_WITHIN));
        loop {
            while batch.len() < MAX_ITEMS && ops < MAX_OPS && bytes < MAX_BYTES {
                let Ok(item) = items.try_recv() else { break };
                if self.is_alone(&item) {
                    return Some(item);
                }
                bytes += item.bytes;
                ops += item.ops();
                batch.push(item);
            }
            let enough = batch.len() >= under_way || ops >= MAX_OPS || bytes >= MAX_BYTES;
            if running.is_empty() || enough {
                return None;
            }
            tokio::select! {
                end = running.join_next() => note_end(end),
                item = items.recv() => match item {
                    Some(item) if self.is_alone(&item) => return Some(item),
                    Some(item) => {
                        bytes += item.bytes;
                        ops += item.ops();
                        batch.push(item);
                    }
                    None => return None,
                },
                () = &mut patience => return None,
                () = self.cut.cancelled() => return None,
            }
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
                error!(load = ?item.load, "a settlement cannot be stored; its delivery stays held until \
                    this process ends, and is in doubt then");
            }
        }
    }

    /// Runs items as one batch until the store has answered, or returns the settlements among them when
    /// it fails in a way that trying again does not mend.
    async fn commit_together(&self, mut items: Vec<Item>) -> Option<Vec<Item>> {
        let mut pause = PAUSE.0;
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
                    answer(rest, outcomes);
                    return None;
                }
                Err(error) => error,
            };
            let untold = self.writable.failed(error.kind);
            items = put_ops(ops, rest);
            let lasting = !error.kind.is_transient();
            if let Some(untold) = untold {
                warn!(code = %error.kind.code(), error = %chain(&error), items = items.len(), lasting, untold,
                    "batch failed");
            }
            if lasting {
                items.retain(Item::is_settlement);
                return Some(items);
            }
            self.pause(&mut pause).await?;
        }
    }

    /// Runs groups as one transaction. One that the store undoes goes by itself, and the others together again.
    async fn commit_groups(&self, mut items: Vec<Item>) {
        let mut pause = PAUSE.0;
        let mut undone = 0;
        while items.len() > 1 && undone < UNDONE {
            let now = self.clock.monotonic();
            items.retain(|item| !item.is_given_up(now));
            let (ops, rest) = take_ops(items);
            match self.store.commit_group(self.instance, &ops).await {
                Ok(GroupOutcome::Done(outcomes)) => {
                    self.writable.committed();
                    answer(rest, outcomes);
                    return;
                }
                Ok(GroupOutcome::Undone { member, .. }) => {
                    self.writable.committed();
                    undone += 1;
                    items = put_ops(ops, rest);
                    let guilty = items.remove(group_of(&items, member));
                    self.commit_group(guilty).await;
                }
                Err(error) => {
                    items = put_ops(ops, rest);
                    let untold = self.writable.failed(error.kind);
                    if let Some(untold) = untold {
                        warn!(code = %error.kind.code(), error = %chain(&error), groups = items.len(), untold,
                            "groups failed");
                    }
                    // Groups that were in each other's way, and one that the database does not take: each finds out.
                    let apart = matches!(error.kind, StoreErrorKind::Contended)
                        || !error.kind.is_transient();
                    if apart {
                        break;
                    }
                    if self.pause(&mut pause).await.is_none() {
                        return;
                    }
                }
            }
        }
        for item in items {
            self.commit_group(item).await;
        }
    }

    /// Runs a group until the store has answered, or drops it when nobody wants an answer any more or
    /// trying again does not mend it.
    async fn commit_group(&self, item: Item) {
        let mut pause = PAUSE.0;
        while !item.is_given_up(self.clock.monotonic()) {
            let Load::Group(ops, _) = &item.load else {
                return;
            };
            let error = match self.store.commit_group(self.instance, ops).await {
                Ok(outcome) => {
                    self.writable.committed();
                    if let Load::Group(_, reply) = item.load {
                        // A closed channel is a sender that was told to come back.
                        drop(reply.send(outcome));
                    }
                    return;
                }
                Err(error) => error,
            };
            let untold = self.writable.failed(error.kind);
            let lasting = !error.kind.is_transient();
            if let Some(untold) = untold {
                warn!(code = %error.kind.code(), error = %chain(&error), lasting, untold, "group failed");
            }
            if lasting || self.pause(&mut pause).await.is_none() {
                return;
            }
        }
    }

    /// Waits before the next try. `None`: the process is being cut off.
    async fn pause(&self, pause: &mut Duration) -> Option<()> {
        tokio::select! {
            () = tokio::time::sleep(*pause) => {}
            () = self.cut.cancelled() => return None,
        }
        *pause = (*pause * 2).min(PAUSE.1);
        Some(())
    }
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
