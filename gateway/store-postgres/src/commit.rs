//! The hot path: a batch of publications and settlements.
//!
//! [`Commit::commit`] runs the batch as one transaction. Only where that cannot give every item its own
//! outcome does it run further ones: a value that the database refuses takes the batch apart until the
//! guilty item stands alone; messages that an earlier run stored, and repeats of a key whose first item
//! was refused, go into another round. [`Commit::commit_group`] is apart from all that, in [`group`].

mod attempt;
mod columns;
mod dedupe;
mod events;
mod group;
mod next;
mod order;
mod plain;
mod runs;
mod settle;

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use quayside_store::{
    Commit, GroupOutcome, Op, Outcome, PublishOutcome, StoreError, StoreErrorKind,
    model::{InstanceId, MessageId, Text},
};

use crate::{PostgresStore, maintain};

pub(crate) use attempt::delivery_id;

const OPERATION: &str = "commit batch";
const GROUP: &str = "commit group";

#[async_trait]
impl Commit for PostgresStore {
    async fn commit(&self, instance: InstanceId, ops: &[Op]) -> Result<Vec<Outcome>, StoreError> {
        if ops
            .iter()
            .any(|op| matches!(op, Op::Step(_) | Op::Enter(_)))
        {
            let what = "a step of an orchestration instance is for a group";
            return Err(StoreError::new(StoreErrorKind::Data, OPERATION, what));
        }
        let sent = AtomicBool::new(false);
        let work = rounds(self, instance, ops, &sent);
        let result = self
            .run(OPERATION, ops.len(), self.commit_timeout(), work)
            .await;
        result.map_err(|e| unless_sent(e, &sent))
    }

    async fn commit_group(
        &self,
        instance: InstanceId,
        ops: &[Op],
    ) -> Result<GroupOutcome, StoreError> {
        if ops.is_empty() {
            return Ok(GroupOutcome::Done(Vec::new()));
        }
        let sent = AtomicBool::new(false);
        let work = group::run(self, instance, ops, &sent);
        let result = self
            .run(GROUP, ops.len(), self.commit_timeout(), work)
            .await;
        result.map_err(|e| unless_sent(e, &sent))
    }
}

/// Unavailable after some transaction of the batch was committed, or its COMMIT was on its way, is unknown.
fn unless_sent(e: StoreError, sent: &AtomicBool) -> StoreError {
    if sent.load(Ordering::Relaxed) && e.kind == StoreErrorKind::Unavailable {
        return StoreError {
            kind: StoreErrorKind::Unknown,
            ..e
        };
    }
    e
}

/// Why an attempt has to be made again in another way.
enum Trouble {
    /// Some of its messages were stored by an earlier run.
    StoredBefore,
    /// A row found no partition.
    DayMissing,
    /// Anything else.
    Store(StoreError),
}

impl From<StoreError> for Trouble {
    fn from(e: StoreError) -> Self {
        Self::Store(e)
    }
}

/// Runs transactions until every item has its outcome. `sent` becomes true with the first COMMIT and
/// false again when that one is known to have changed nothing.
async fn rounds(
    store: &PostgresStore,
    instance: InstanceId,
    ops: &[Op],
    sent: &AtomicBool,
) -> Result<Vec<Outcome>, StoreError> {
    let mut outcomes: Vec<Option<Outcome>> = vec![None; ops.len()];
    let mut known = HashSet::new();
    let mut committed = false;
    let mut days_added = false;
    let mut plain = true;
    let mut work = vec![(0..ops.len()).collect::<Vec<usize>>()];
    work.retain(|group| !group.is_empty());
    while let Some(group) = work.pop() {
        let done = match plain {
            true => plain::attempt(store, instance, ops, &group, sent).await,
            false => Ok(None),
        };
        let done = match done {
            Ok(None) => attempt::attempt(store, instance, ops, &group, &known, sent).await,
            Ok(Some(done)) => Ok(done),
            Err(trouble) => Err(trouble),
        };
        match done {
            Ok(done) => {
                committed = true;
                // What the short way left is for the other one, and so is what an earlier run stored.
                plain = plain && done.len() == group.len();
                for (at, outcome) in done {
                    outcomes[at] = Some(outcome);
                }
                work.push(
                    group
                        .into_iter()
                        .filter(|at| outcomes[*at].is_none())
                        .collect(),
                );
                work.retain(|group| !group.is_empty());
                continue;
            }
            Err(trouble) => {
                sent.store(committed, Ordering::Relaxed);
                plain = plain && !matches!(trouble, Trouble::StoredBefore);
                let again = recover(store, ops, trouble, group, &mut known, &mut days_added).await;
                match again? {
                    Again::Groups(groups) => work.extend(groups),
                    Again::Refused(at, outcome) => outcomes[at] = Some(outcome),
                }
            }
        }
    }
    Ok(outcomes
        .into_iter()
        .map(|o| o.expect("a group leaves the work only when its items have outcomes"))
        .collect())
}

enum Again {
    /// These groups are to be run, the last one first.
    Groups(Vec<Vec<usize>>),
    /// The item stands alone and is refused.
    Refused(usize, Outcome),
}

async fn recover(
    store: &PostgresStore,
    ops: &[Op],
    trouble: Trouble,
    group: Vec<usize>,
    known: &mut HashSet<MessageId>,
    days_added: &mut bool,
) -> Result<Again, StoreError> {
    match trouble {
        Trouble::StoredBefore => {
            let before = known.len();
            known.extend(attempt::existing(store, ops, &group).await?);
            if known.len() == before {
                let what = "a message was there and is gone";
                return Err(StoreError::new(StoreErrorKind::Contended, OPERATION, what));
            }
            Ok(Again::Groups(vec![group]))
        }
        Trouble::DayMissing if !*days_added => {
            *days_added = true;
            let ids = group.iter().filter_map(|at| message_of(&ops[*at]));
            maintain::add_days_of(store, ids.collect()).await?;
            Ok(Again::Groups(vec![group]))
        }
        Trouble::DayMissing => {
            let what = "no partition for the day of a message";
            Err(StoreError::new(StoreErrorKind::Contended, OPERATION, what))
        }
        Trouble::Store(e) if e.kind == StoreErrorKind::Data => take_apart(ops, group, e),
        Trouble::Store(e) => Err(e),
    }
}

fn take_apart(ops: &[Op], mut group: Vec<usize>, e: StoreError) -> Result<Again, StoreError> {
    if group.len() > 1 {
        let later = group.split_off(group.len() / 2);
        return Ok(Again::Groups(vec![later, group]));
    }
    match (group.first(), group.first().map(|at| &ops[*at])) {
        (Some(at), Some(Op::Publish(_))) => {
            let cause = Text::lossy(&e.source.to_string());
            let refused = Outcome::Published(PublishOutcome::Refused(cause));
            Ok(Again::Refused(*at, refused))
        }
        // The gateway builds what a settlement writes: there is nobody to refuse it to.
        _ => Err(e),
    }
}

fn message_of(op: &Op) -> Option<MessageId> {
    match op {
        Op::Publish(publish) => Some(publish.message.id),
        Op::Settle(..) | Op::Next(_) | Op::Step(_) | Op::Enter(_) => None,
    }
}
