//! A group: all of it or nothing, in a transaction of its own. Dearer by two round trips than a batch, whose
//! items do not care for each other.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
};

use quayside_store::{
    GroupOutcome, Op, Outcome, PublishOutcome, StoreError, StoreErrorKind,
    model::{InstanceId, MessageId, Text},
};
use tokio_postgres::Error;

use super::{
    OPERATION, Trouble,
    attempt::{self, Item, Rows, Verdict},
    columns::Columns,
    runs::RunOps,
    settle::Settlements,
};
use crate::{
    PostgresStore,
    error::{fail_after_commit, is_stored_before},
    pool::{Conn, Use},
};

/// Runs transactions until the group has its outcome. `sent` becomes true with the COMMIT and false again
/// when that one is known to have changed nothing.
pub(super) async fn run(
    store: &PostgresStore,
    instance: InstanceId,
    ops: &[Op],
    sent: &AtomicBool,
) -> Result<GroupOutcome, StoreError> {
    let members: Vec<usize> = (0..ops.len()).collect();
    let mut known = HashSet::new();
    let mut days_added = false;
    loop {
        let end = End::Commit(sent);
        match attempt(store, instance, ops, &members, &known, end).await {
            Ok(outcome) => return Ok(outcome),
            Err(Trouble::Store(e)) if e.kind == StoreErrorKind::Data => {
                sent.store(false, Ordering::Relaxed);
                return guilty(store, instance, ops, &known, e).await;
            }
            Err(trouble) => {
                sent.store(false, Ordering::Relaxed);
                let group = members.clone();
                super::recover(store, ops, trouble, group, &mut known, &mut days_added).await?;
            }
        }
    }
}

/// How an attempt ends when all of its members are fine.
#[derive(Debug, Clone, Copy)]
enum End<'a> {
    Commit(&'a AtomicBool),
    /// For trial only.
    Undo,
}

/// Finds the publication that the database refused: the last one of the shortest beginning of the group
/// that it refuses.
async fn guilty(
    store: &PostgresStore,
    instance: InstanceId,
    ops: &[Op],
    known: &HashSet<MessageId>,
    mut e: StoreError,
) -> Result<GroupOutcome, StoreError> {
    let (mut fine, mut refused) = (0, ops.len());
    while refused - fine > 1 {
        let count = fine.midpoint(refused);
        let members: Vec<usize> = (0..count).collect();
        match attempt(store, instance, ops, &members, known, End::Undo).await {
            Ok(GroupOutcome::Done(_)) => fine = count,
            Ok(undone) => return Ok(undone),
            Err(Trouble::Store(again)) if again.kind == StoreErrorKind::Data => {
                (refused, e) = (count, again);
            }
            Err(Trouble::Store(other)) => return Err(other),
            Err(Trouble::StoredBefore | Trouble::DayMissing) => {
                let what = "the group was changed while its fault was looked for";
                return Err(StoreError::new(StoreErrorKind::Contended, OPERATION, what));
            }
        }
    }
    let member = refused - 1;
    match &ops[member] {
        Op::Publish(_) => {
            let why = Text::lossy(&e.source.to_string());
            let outcome = Outcome::Published(PublishOutcome::Refused(why));
            Ok(GroupOutcome::Undone { member, outcome })
        }
        // The gateway builds what a settlement writes: there is nobody to refuse it to.
        Op::Settle(..) | Op::Next(_) | Op::Step(_) | Op::Enter(_) => Err(e),
    }
}

async fn attempt(
    store: &PostgresStore,
    instance: InstanceId,
    ops: &[Op],
    members: &[usize],
    known: &HashSet<MessageId>,
    end: End<'_>,
) -> Result<GroupOutcome, Trouble> {
    let (mut items, settles, nexts) = attempt::sort(ops, members, known);
    let held = store.pool().get(Use::Commit, OPERATION).await?;
    let conn = held.conn();
    let mut settlements = Settlements::new(settles)?;
    let mut runs = RunOps::of(ops, members);
    let opened = attempt::open(store, conn, instance, &mut items, &settlements, &nexts).await;
    let opening = match opened {
        Ok(opening) => opening,
        Err(trouble) => return Err(attempt::undone(held, trouble).await),
    };
    let Some(opening) = opening else {
        held.keep();
        let (member, outcome) = (members[0], attempt::fenced(&ops[members[0]]));
        return Ok(GroupOutcome::Undone { member, outcome });
    };
    let mut undone = refusal(&items)?;
    let columns = Columns::new(store, &items, &opening.order, opening.now)?;
    if undone.is_none() {
        let rows = Rows::of(instance, &opening, &items, &settlements);
        let (me, now) = (instance.into(), opening.now.as_micros());
        let (mut steps, settled) = rows.steps(conn, &columns, &settlements);
        // Behind the publications: what a run that ends has made for itself ends with it.
        let (of_runs, told) = runs.steps(conn, &me, &now);
        let first = steps.len();
        steps.extend(of_runs);
        let answers = conn.trip(steps).await.map_err(in_transaction)?;
        settlements.learn(&answers[settled])?;
        let mut learned = runs.learned(&told, &answers[first..])?;
        if learned.is_open() {
            let (again, told) = runs.again(conn, &me, &now, &learned);
            let answers = conn.trip(again).await.map_err(in_transaction)?;
            runs.learn(&told, &answers, &mut learned)?;
        }
        runs.take(learned);
        settlements.explain(conn).await?;
        let mut all = settlements.outcomes().chain(runs.outcomes());
        undone = all.find(|(_, o)| !o.is_fine());
    }
    if let Some((member, outcome)) = undone {
        conn.simple("ROLLBACK").await.map_err(in_transaction)?;
        held.keep();
        return Ok(GroupOutcome::Undone { member, outcome });
    }
    match end {
        End::Commit(sent) => commit(conn, sent).await?,
        End::Undo => drop(conn.simple("ROLLBACK").await.map_err(in_transaction)?),
    }
    store.remember_lanes(columns.new_lanes());
    let born = attempt::born_before(conn, instance, &items).await;
    let born = born.map_err(attempt::happened)?;
    held.keep();
    let mut outcomes = attempt::outcomes(&items, columns.claimed(), born, &settlements);
    // A group is not the place for them, and nothing was claimed.
    outcomes.extend(nexts.outcomes());
    outcomes.extend(runs.outcomes());
    outcomes.sort_by_key(|(member, _)| *member);
    let outcomes = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
    Ok(GroupOutcome::Done(outcomes))
}

/// The first publication that cannot be stored.
fn refusal(items: &[Item<'_>]) -> Result<Option<(usize, Outcome)>, StoreError> {
    for item in items {
        let outcome = match &item.verdict {
            Verdict::New | Verdict::StoredBefore | Verdict::Duplicate(_) => continue,
            Verdict::Mismatch(first) => PublishOutcome::Mismatch(first.clone()),
            Verdict::Refused(why) => PublishOutcome::Refused(why.clone()),
            // It has the key of a member whose own outcome is another than new. Where that one is
            // refused, it stands before this one.
            Verdict::Later => {
                let what = "a key of the group is neither free nor taken";
                return Err(StoreError::new(StoreErrorKind::Contended, OPERATION, what));
            }
        };
        return Ok(Some((item.at, Outcome::Published(outcome))));
    }
    Ok(None)
}

async fn commit(conn: &Conn, sent: &AtomicBool) -> Result<(), StoreError> {
    conn.clear_warning();
    sent.store(true, Ordering::Relaxed);
    let committed = conn.simple("COMMIT").await;
    committed.map_err(|e| fail_after_commit(OPERATION, e))?;
    attempt::not_replicated(conn)
}

fn in_transaction(e: Error) -> Trouble {
    if is_stored_before(&e) {
        return Trouble::StoredBefore;
    }
    attempt::before_commit(e)
}
