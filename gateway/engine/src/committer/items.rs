//! What waits at the committer: operations with who waits for their outcomes, and the way of a batch of them into
//! a flat list of operations and back.

use quayside_model::{Content, Monotonic};
use quayside_store::{GroupOutcome, Op, Outcome, Publish};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

#[derive(Debug)]
pub(super) struct Item {
    pub(super) load: Load,
    pub(super) bytes: usize,
    /// When a publication is given up, if ever; settlements never are.
    pub(super) deadline: Option<Monotonic>,
    /// Its share of the queue's memory, given back with the item.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

/// What an item wants to be committed, with who waits for the answer.
#[derive(Debug)]
pub(super) enum Load {
    One(Op, oneshot::Sender<Outcome>),
    /// All in one batch, but each with its own outcome.
    Row(Vec<Op>, oneshot::Sender<Vec<Outcome>>),
    /// All or none.
    Group(Vec<Op>, oneshot::Sender<GroupOutcome>),
}

impl Item {
    pub(super) fn is_given_up(&self, now: Monotonic) -> bool {
        let gone = match &self.load {
            Load::One(_, reply) => reply.is_closed(),
            Load::Row(_, reply) => reply.is_closed(),
            Load::Group(_, reply) => reply.is_closed(),
        };
        self.deadline
            .is_some_and(|deadline| now >= deadline || gone)
    }

    /// How many operations it is.
    pub(super) fn ops(&self) -> usize {
        match &self.load {
            Load::One(..) => 1,
            Load::Row(ops, _) | Load::Group(ops, _) => ops.len(),
        }
    }

    pub(super) fn is_group(&self) -> bool {
        matches!(self.load, Load::Group(..))
    }

    /// Whether it is a group of an orchestration instance.
    pub(super) fn is_step(&self) -> bool {
        let of_run = |op: &Op| matches!(op, Op::Step(_) | Op::Enter(_));
        matches!(&self.load, Load::Group(ops, _) if ops.iter().any(of_run))
    }

    pub(super) fn is_settlement(&self) -> bool {
        match &self.load {
            Load::One(op, _) => matches!(op, Op::Settle(..)),
            Load::Row(ops, _) | Load::Group(ops, _) => {
                ops.iter().any(|op| matches!(op, Op::Settle(..)))
            }
        }
    }
}

/// How many bytes of `publish` wait in memory.
pub(super) fn inline_bytes(publish: &Publish) -> usize {
    let parts = publish.message.parts.iter();
    let bytes = parts.map(|part| match &part.content {
        Content::Inline(bytes) => bytes.len(),
        Content::Stored(_) => 0,
    });
    bytes.sum()
}

/// Who waits for how many of the outcomes of a batch.
pub(super) struct Waiter {
    reply: Reply,
    deadline: Option<Monotonic>,
    room: Option<OwnedSemaphorePermit>,
}

pub(super) enum Reply {
    One(oneshot::Sender<Outcome>),
    Row(usize, oneshot::Sender<Vec<Outcome>>),
    Group(usize, oneshot::Sender<GroupOutcome>),
}

/// Which of `items` has the operation `member`, counted over all of them.
pub(super) fn group_of(items: &[Item], member: usize) -> usize {
    let mut end = 0;
    let found = items.iter().position(|item| {
        end += item.ops();
        member < end
    });
    found.unwrap_or_default()
}

/// The operations of a batch, flat, and who waits for them.
pub(super) fn take_ops(items: Vec<Item>) -> (Vec<Op>, Vec<Waiter>) {
    let mut ops = Vec::with_capacity(items.len());
    let mut waiters = Vec::with_capacity(items.len());
    for item in items {
        let reply = match item.load {
            Load::One(op, reply) => {
                ops.push(op);
                Reply::One(reply)
            }
            Load::Row(row, reply) => {
                let count = row.len();
                ops.extend(row);
                Reply::Row(count, reply)
            }
            Load::Group(group, reply) => {
                let count = group.len();
                ops.extend(group);
                Reply::Group(count, reply)
            }
        };
        let (deadline, room) = (item.deadline, item.room);
        waiters.push(Waiter {
            reply,
            deadline,
            room,
        });
    }
    (ops, waiters)
}

/// The items again, after a batch that failed.
pub(super) fn put_ops(ops: Vec<Op>, waiters: Vec<Waiter>) -> Vec<Item> {
    let mut ops = ops.into_iter();
    let item = |waiter: Waiter| {
        let load = match waiter.reply {
            Reply::One(reply) => Load::One(ops.next()?, reply),
            Reply::Row(count, reply) => Load::Row(ops.by_ref().take(count).collect(), reply),
            Reply::Group(count, reply) => Load::Group(ops.by_ref().take(count).collect(), reply),
        };
        Some(Item {
            load,
            bytes: 0,
            deadline: waiter.deadline,
            room: waiter.room,
        })
    };
    waiters.into_iter().filter_map(item).collect()
}

pub(super) fn answer(waiters: Vec<Waiter>, outcomes: Vec<Outcome>) {
    let mut outcomes = outcomes.into_iter();
    for waiter in waiters {
        // A closed channel is a sender that was told to come back.
        match waiter.reply {
            Reply::One(reply) => drop(outcomes.next().map(|outcome| reply.send(outcome))),
            Reply::Row(count, reply) => {
                drop(reply.send(outcomes.by_ref().take(count).collect()));
            }
            Reply::Group(count, reply) => {
                let done = GroupOutcome::Done(outcomes.by_ref().take(count).collect());
                drop(reply.send(done));
            }
        }
    }
}
