//! The hot path: a batch of publications and settlements as one transaction.

use std::sync::Arc;

use async_trait::async_trait;
use quayside_store::{
    Change, Commit, GroupOutcome, Next, Op, Outcome, Publish, PublishOutcome, SettleOutcome,
    StoreError, StoreErrorKind,
    commit::Birth,
    model::{Claim, InstanceId, RunId, Text},
    runs::{Enter, EnterOutcome, RunStatus, Step, StepOutcome},
};

use crate::{
    claims,
    error::{DbError, DbResult},
    open::SqliteStore,
    publish::{self, Statements},
    row::{cell, context_cell, failure_cell},
    runs::step,
    sessions::is_live,
    settle,
    tx::Tx,
    work,
    writer::{apart, undoable},
};

const OPERATION: &str = "commit batch";
const GROUP: &str = "commit group";

#[async_trait]
impl Commit for SqliteStore {
    async fn commit(&self, instance: InstanceId, ops: &[Op]) -> Result<Vec<Outcome>, StoreError> {
        if ops.is_empty() {
            return Ok(Vec::new());
        }
        let items: Arc<[Item]> = ops.iter().map(Item::prepare).collect();
        let job = move |desk: &mut crate::writer::Desk| {
            let together = desk.transact(OPERATION, items.len(), |tx| {
                run(tx, instance, &items, Mode::Together)
            });
            match together {
                // Some value is at fault. The batch runs again with each item apart, so that only the
                // guilty one is refused: dearer, so only then.
                Err(error) if error.kind == StoreErrorKind::Data => {
                    desk.transact(OPERATION, items.len(), |tx| {
                        run(tx, instance, &items, Mode::Apart)
                    })
                }
                result => result,
            }
        };
        self.writer().run(OPERATION, job).await
    }

    async fn commit_group(
        &self,
        instance: InstanceId,
        ops: &[Op],
    ) -> Result<GroupOutcome, StoreError> {
        if ops.is_empty() {
            return Ok(GroupOutcome::Done(Vec::new()));
        }
        let items: Vec<Item> = ops.iter().map(Item::prepare).collect();
        let job = move |desk: &mut crate::writer::Desk| {
            desk.transact(GROUP, items.len(), |tx| run_group(tx, instance, &items))
        };
        self.writer().run(GROUP, job).await
    }
}

/// An item with the cells that cost time to make: made by the caller, so that the writer's thread, of
/// which there is one, does not have to.
#[derive(Debug)]
pub(crate) enum Item {
    /// A publication.
    Publish {
        /// What is published.
        publish: Box<Publish>,
        /// `message.context`.
        context: String,
        /// `delivery.failure` of each delivery.
        failures: Vec<Option<String>>,
    },
    /// A settlement.
    Settle {
        /// Of what.
        claim: Claim,
        /// What becomes of it.
        change: Change,
        /// `delivery.failure`.
        failure: Option<String>,
    },
    /// First deliveries of a key that are wanted.
    Next(Next),
    /// A step of a run.
    Step(Box<Step>),
    /// The entrance of a message into a run.
    Enter(Enter),
}

impl Item {
    fn prepare(op: &Op) -> Self {
        match op {
            Op::Publish(publish) => Self::Publish {
                context: context_cell(&publish.message.context),
                failures: publish
                    .deliveries
                    .iter()
                    .map(|d| birth_failure(&d.birth))
                    .collect(),
                publish: publish.clone(),
            },
            Op::Settle(claim, change) => Self::Settle {
                claim: *claim,
                failure: change_failure(change),
                change: change.clone(),
            },
            Op::Next(next) => Self::Next(next.clone()),
            Op::Step(step) => Self::Step(step.clone()),
            Op::Enter(enter) => Self::Enter(enter.clone()),
        }
    }

    /// How many numbers of the sequence it needs at most: one per delivery and one per event.
    fn numbers(&self) -> usize {
        match self {
            Self::Publish { publish, .. } => publish.deliveries.len() + 1,
            Self::Settle { .. } => 1,
            // A step takes its own: it does not know before how many it needs.
            Self::Next(_) | Self::Step(_) | Self::Enter(_) => 0,
        }
    }

    fn fenced(&self) -> Outcome {
        match self {
            Self::Publish { .. } => Outcome::Published(PublishOutcome::Fenced),
            Self::Settle { .. } => Outcome::Settled(SettleOutcome::Fenced),
            Self::Next(_) => Outcome::Next(Vec::new()),
            Self::Step(_) => Outcome::Stepped(StepOutcome::Fenced),
            Self::Enter(_) => Outcome::Entered(EnterOutcome::Fenced),
        }
    }
}

fn birth_failure(birth: &Birth) -> Option<String> {
    match birth {
        Birth::Suspended(failure) => Some(failure_cell(failure)),
        Birth::Ready | Birth::Claimed | Birth::Kept(_) => None,
    }
}

fn change_failure(change: &Change) -> Option<String> {
    match change {
        Change::Retry { failure, .. } | Change::Suspend { failure, .. } => {
            Some(failure_cell(failure))
        }
        Change::End { .. } | Change::Release | Change::Sending => None,
    }
}

/// Numbers of the sequence `box`, taken for a whole transaction at once.
#[derive(Debug)]
pub(crate) struct Numbers(std::ops::RangeInclusive<i64>);

impl Numbers {
    /// Takes `count` numbers.
    pub(crate) fn take(tx: &Tx<'_>, count: usize) -> DbResult<Self> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let sql = include_str!("../sql/sequence_take.sql");
        let last = tx.first(sql, ("box", count), |row| {
            cell::<i64>(row, 0, "sequence.value")
        })?;
        let last =
            last.ok_or_else(|| DbError::Corrupt("sequence.value in the row box".to_owned()))?;
        Ok(Self(last - count + 1..=last))
    }

    /// The next one.
    pub(crate) fn next(&mut self) -> i64 {
        self.0
            .next()
            .expect("every caller takes as many as its items may need")
    }
}

/// How a batch is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The first error ends it.
    Together,
    /// Each item in a savepoint of its own; a value at fault refuses its item.
    Apart,
}

fn run(tx: &Tx<'_>, instance: InstanceId, items: &[Item], mode: Mode) -> DbResult<Vec<Outcome>> {
    if !is_live(tx, instance)? {
        return Ok(items.iter().map(Item::fenced).collect());
    }
    let mut numbers = Numbers::take(tx, items.iter().map(Item::numbers).sum())?;
    let mut statements = Statements::prepare(tx)?;
    let mut one = |item: &Item| run_item(tx, &mut statements, &mut numbers, instance, (item, &[]));
    let run_in_mode = |item: &Item| match mode {
        Mode::Together => one(item),
        Mode::Apart => apart(tx, || one(item)).or_else(|error| refuse(item, error)),
    };
    items.iter().map(run_in_mode).collect()
}

/// Runs a group up to the first member that is not fine, which undoes those before it.
fn run_group(tx: &Tx<'_>, instance: InstanceId, items: &[Item]) -> DbResult<GroupOutcome> {
    if !is_live(tx, instance)? {
        let outcome = items[0].fenced();
        return Ok(GroupOutcome::Undone { member: 0, outcome });
    }
    let mut numbers = Numbers::take(tx, items.iter().map(Item::numbers).sum())?;
    let mut statements = Statements::prepare(tx)?;
    let born = born(items);
    undoable(tx, || {
        let mut outcomes = Vec::with_capacity(items.len());
        for (member, item) in items.iter().enumerate() {
            let outcome = run_item(tx, &mut statements, &mut numbers, instance, (item, &born))
                .or_else(|error| refuse(item, error))?;
            if !outcome.is_fine() {
                return Ok(Err(GroupOutcome::Undone { member, outcome }));
            }
            outcomes.push(outcome);
        }
        // What a run that ends has asked by its last step.
        for item in items {
            if let Item::Step(step) = item
                && matches!(step.status, RunStatus::Ended { .. })
            {
                work::close(tx, step.claim.run, None)?;
            }
        }
        Ok(Ok(GroupOutcome::Done(outcomes)))
    })
}

/// The runs that a group creates: messages enter them before they are there.
fn born(items: &[Item]) -> Vec<RunId> {
    let born = items.iter().filter_map(|item| match item {
        Item::Step(step) => step.create.is_some().then_some(step.claim.run),
        _ => None,
    });
    born.collect()
}

fn run_item<'c>(
    tx: &Tx<'c>,
    statements: &mut Statements<'c>,
    numbers: &mut Numbers,
    instance: InstanceId,
    (item, born): (&Item, &[RunId]),
) -> DbResult<Outcome> {
    match item {
        Item::Publish {
            publish,
            context,
            failures,
        } => {
            let new = publish::New {
                publish,
                context,
                failures,
            };
            publish::publish(tx, statements, numbers, instance, &new).map(Outcome::Published)
        }
        Item::Settle {
            claim,
            change,
            failure,
        } => settle::settle(tx, numbers, claim, change, failure.as_deref()).map(Outcome::Settled),
        Item::Next(next) => claims::next(tx, instance, next).map(Outcome::Next),
        Item::Step(step) => step::step(tx, instance, step).map(Outcome::Stepped),
        Item::Enter(enter) => step::enter(tx, instance, enter, born).map(Outcome::Entered),
    }
}

/// Turns the error of a value into the refusal of its publication.
fn refuse(item: &Item, error: DbError) -> DbResult<Outcome> {
    match item {
        Item::Publish { .. } if error.kind() == StoreErrorKind::Data => {
            let why = Text::lossy(&format!("the store cannot hold it: {error}"));
            Ok(Outcome::Published(PublishOutcome::Refused(why)))
        }
        _ => Err(error),
    }
}
