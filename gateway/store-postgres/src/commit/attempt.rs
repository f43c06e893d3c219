//! One transaction of a batch, in as few round trips as it allows.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
};

use quayside_store::{
    Change, Op, Outcome, Publish, PublishOutcome, SettleOutcome, StoreError, StoreErrorKind,
    commit::First,
    model::{Claim, Content, DeliveryId, InstanceId, MessageId, Text, Timestamp, failpoint},
    runs::{EnterOutcome, StepOutcome},
};
use tokio_postgres::{Error, Row};

use super::{
    OPERATION, Trouble,
    columns::{Bodies, Columns},
    dedupe::{Keys, Losers},
    events::Events,
    next::Nexts,
    order::Order,
    settle::Settlements,
};
use crate::{
    PostgresStore,
    error::{fail, fail_after_commit, is_day_missing, is_stored_before},
    pool::{Conn, Held, Step, Use},
    row::{Id, Reader},
    sql::Sql,
};

/// What is known of a publication before its rows are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its rows are to be written.
    New,
    /// An earlier run wrote them.
    StoredBefore,
    /// The same request was accepted first.
    Duplicate(First),
    /// Another request was accepted under its key.
    Mismatch(First),
    /// Not storable.
    Refused(Text),
    /// It has the key of an item of this batch that was refused: another round decides.
    Later,
}

/// A publication on its way, with the place of its item in the batch.
#[derive(Debug)]
pub(super) struct Item<'a> {
    pub(super) at: usize,
    pub(super) publish: &'a Publish,
    pub(super) verdict: Verdict,
}

/// A settlement on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settle<'a> {
    pub(super) at: usize,
    pub(super) claim: Claim,
    pub(super) change: &'a Change,
}

/// Runs the items `group` of `ops` as one transaction. Items without an outcome need another round.
pub(super) async fn attempt(
    store: &PostgresStore,
    instance: InstanceId,
    ops: &[Op],
    group: &[usize],
    known: &HashSet<MessageId>,
    sent: &AtomicBool,
) -> Result<Vec<(usize, Outcome)>, Trouble> {
    let (mut items, settles, mut nexts) = sort(ops, group, known);
    let held = store.pool().get(Use::Commit, OPERATION).await?;
    let conn = held.conn();
    let mut settlements = Settlements::new(settles)?;
    let opened = open(store, conn, instance, &mut items, &settlements, &nexts).await;
    let opening = match opened {
        Ok(opening) => opening,
        Err(trouble) => return Err(undone(held, trouble).await),
    };
    let Some(opening) = opening else {
        held.keep();
        return Ok(group.iter().map(|at| (*at, fenced(&ops[*at]))).collect());
    };
    let columns = Columns::new(store, &items, &opening.order, opening.now)?;
    let rows = Rows::of(instance, &opening, &items, &settlements);
    let written = write(conn, &rows, &columns, &mut settlements, &nexts, sent).await;
    let claimed_next = match written {
        Ok(claimed) => claimed,
        Err((trouble, alive)) => {
            if alive {
                held.keep();
            }
            return Err(trouble);
        }
    };
    store.remember_lanes(columns.new_lanes());
    let claimed = columns.claimed();
    let born = born_before(conn, instance, &items)
        .await
        .map_err(happened)?;
    settlements.explain(conn).await.map_err(happened)?;
    let learned = nexts.learn(conn, instance, &claimed_next).await;
    learned.map_err(happened)?;
    held.keep();
    let mut outcomes = outcomes(&items, claimed, born, &settlements);
    outcomes.extend(nexts.outcomes());
    Ok(outcomes)
}

/// Keeps a connection whose transaction the server has refused to open.
pub(super) async fn undone(held: Held<'_>, trouble: Trouble) -> Trouble {
    if let Trouble::Store(e) = &trouble
        && matches!(e.kind, StoreErrorKind::Contended | StoreErrorKind::Data)
    {
        held.undo().await;
    }
    trouble
}

/// What the first trip found out.
pub(super) struct Opening<'a> {
    pub(super) now: Timestamp,
    pub(super) keys: Keys<'a>,
    pub(super) order: Order,
}

/// The publications, the settlements and the wanted heads among the items `group`.
pub(super) fn sort<'a>(
    ops: &'a [Op],
    group: &[usize],
    known: &HashSet<MessageId>,
) -> (Vec<Item<'a>>, Vec<Settle<'a>>, Nexts<'a>) {
    let mut items = Vec::new();
    let mut nexts = Nexts::default();
    let mut settles = Vec::new();
    for at in group {
        match &ops[*at] {
            Op::Publish(publish) => {
                let known = known.contains(&publish.message.id);
                let verdict = if known {
                    Verdict::StoredBefore
                } else {
                    Verdict::New
                };
                items.push(Item {
                    at: *at,
                    publish,
                    verdict,
                });
            }
            Op::Settle(claim, change) => settles.push(Settle {
                at: *at,
                claim: *claim,
                change,
            }),
            Op::Next(next) => nexts.push(*at, next),
            // Of groups alone, which sort them out.
            Op::Step(_) | Op::Enter(_) => {}
        }
    }
    (items, settles, nexts)
}

/// Begins the transaction, proves the instance live, tries the keys and locks the lanes; `None` if the
/// instance is fenced. What only some batches need takes trips of its own.
pub(super) async fn open<'a>(
    store: &PostgresStore,
    conn: &Conn,
    instance: InstanceId,
    items: &mut [Item<'a>],
    settlements: &Settlements<'_>,
    nexts: &Nexts<'_>,
) -> Result<Option<Opening<'a>>, Trouble> {
    let me = Id::from(instance);
    let mut keys = Keys::of(items);
    let mut order = Order::of(store, items, settlements, nexts);
    let mut steps = vec![conn.text("BEGIN"), conn.step(Sql::InstanceCheck, vec![&me])];
    let locks = order.is_needed();
    if locks {
        steps.push(conn.step(Sql::LaneLock, order.lane_params(&me)));
        steps.push(conn.step(Sql::OrderBusy, order.busy_params()));
        steps.push(conn.step(Sql::OrderKeys, order.settled_params()));
    }
    let tries = !keys.is_empty();
    if tries {
        steps.push(conn.step(Sql::DedupeInsert, keys.insert_params()));
    }
    let mut rows = conn
        .trip(steps)
        .await
        .map_err(before_commit)?
        .into_iter()
        .skip(1);
    let check: Vec<Row> = rows.next().unwrap_or_default();
    let Some(check) = check.first() else {
        conn.simple("ROLLBACK").await.map_err(before_commit)?;
        return Ok(None);
    };
    let now = check
        .try_get(0)
        .map(Timestamp::from_micros)
        .map_err(before_commit)?;
    if locks {
        let mut next = || rows.next().unwrap_or_default();
        order.learn(&next(), &next(), &next())?;
    }
    if tries {
        keys.learn(&rows.next().unwrap_or_default())?;
        keys.judge(conn, items, now).await?;
    }
    seal(conn, instance, items).await?;
    keys.settle_followers(items);
    let tell = || tracing::warn!(%instance, "held within a transaction");
    failpoint::pass("hold-in-transaction", tell).await;
    Ok(Some(Opening { now, keys, order }))
}

/// Seals the bodies in chunks of new messages. A body that is not this instance's open one means that the
/// message was stored by an earlier run, or is refused.
async fn seal(conn: &Conn, instance: InstanceId, items: &mut [Item<'_>]) -> Result<(), Trouble> {
    let bodies = Bodies::of(items);
    if bodies.is_empty() {
        return Ok(());
    }
    let me = Id::from(instance);
    let rows = conn
        .rows(OPERATION, Sql::BodySeal, bodies.params(&me))
        .await?;
    let sealed = ids(&rows).map_err(before_commit)?;
    let unsealed = |item: &Item<'_>| {
        item.verdict == Verdict::New
            && item
                .publish
                .message
                .parts
                .iter()
                .any(|part| match &part.content {
                    Content::Stored(body) => !sealed.contains(&Id::from(body.id)),
                    Content::Inline(_) => false,
                })
    };
    let doubtful: Vec<Id> = items
        .iter()
        .filter(|i| unsealed(i))
        .map(|i| Id::from(i.publish.message.id))
        .collect();
    if doubtful.is_empty() {
        return Ok(());
    }
    let rows = conn
        .rows(OPERATION, Sql::MessageExisting, vec![&doubtful])
        .await?;
    let stored = ids(&rows).map_err(before_commit)?;
    for item in items.iter_mut().filter(|i| unsealed(i)) {
        item.verdict = if stored.contains(&Id::from(item.publish.message.id)) {
            Verdict::StoredBefore
        } else {
            Verdict::Refused(Text::lossy(
                "a body in chunks is not an open body of this instance",
            ))
        };
    }
    Ok(())
}

/// What the second trip writes beside the columns of new messages.
pub(super) struct Rows<'a> {
    me: Id,
    now: i64,
    events: Events,
    retracted: Losers<'a>,
    ended: (Vec<String>, Vec<Vec<u8>>),
}

impl<'a> Rows<'a> {
    pub(super) fn of(
        instance: InstanceId,
        opening: &'a Opening<'_>,
        items: &[Item<'_>],
        settlements: &Settlements<'_>,
    ) -> Self {
        Self {
            me: Id::from(instance),
            now: opening.now.as_micros(),
            events: Events::of(items),
            retracted: opening.keys.retracted(items),
            ended: opening.order.ended(settlements.leaving()),
        }
    }

    /// The steps of the trip, and which of them are the settlements'.
    pub(super) fn steps<'s>(
        &'s self,
        conn: &'s Conn,
        columns: &'s Columns<'_>,
        settlements: &'s Settlements<'_>,
    ) -> (Vec<Step<'s>>, Range<usize>) {
        let mut steps: Vec<Step<'s>> = columns.steps(conn, &self.me, &self.now);
        if !self.events.is_empty() {
            steps.push(conn.step(Sql::HistoryInsert, self.events.params(&self.now)));
        }
        if !self.retracted.is_empty() {
            steps.push(conn.step(Sql::DedupeRetract, self.retracted.params()));
        }
        let first_settle = steps.len();
        steps.extend(settlements.steps(conn, &self.me, &self.now));
        let after_settle = steps.len();
        if !self.ended.0.is_empty() {
            steps.push(conn.step(Sql::OrderAdvance, vec![&self.ended.0, &self.ended.1]));
        }
        (steps, first_settle..after_settle)
    }
}

/// Writes everything and commits, in one trip. Gives the heads that were claimed. The error says whether the connection is still good.
async fn write(
    conn: &Conn,
    rows: &Rows<'_>,
    columns: &Columns<'_>,
    settlements: &mut Settlements<'_>,
    nexts: &Nexts<'_>,
    sent: &AtomicBool,
) -> Result<Vec<Row>, (Trouble, bool)> {
    let (mut steps, settled) = rows.steps(conn, columns, settlements);
    let next = steps.len();
    steps.extend(nexts.step(conn, &rows.me));
    steps.push(conn.text("COMMIT"));
    // An error behind this one comes from a trip with a COMMIT, which ends the transaction whatever was refused.
    let planned = conn.plan(&steps).await;
    planned.map_err(|e| (before_commit(e), false))?;
    conn.clear_warning();
    sent.store(true, Ordering::Relaxed);
    let mut answers = conn.trip(steps).await.map_err(refused_or_unknown)?;
    not_replicated(conn).map_err(|unknown| (unknown.into(), false))?;
    settlements
        .learn(&answers[settled])
        .map_err(|e| (e.into(), true))?;
    // That of COMMIT, which is empty, if nothing was wanted.
    Ok(answers.swap_remove(next))
}

/// After a COMMIT: the server's warning means that its outcome is not known.
pub(super) fn not_replicated(conn: &Conn) -> Result<(), StoreError> {
    if conn.was_warned() {
        let what = "the database warned that the commit may not be replicated";
        return Err(StoreError::new(StoreErrorKind::Unknown, OPERATION, what));
    }
    Ok(())
}

/// An error of the second trip. When the server lives on it has rolled back: the COMMIT behind the failed
/// statement ended the transaction without effect, and the connection is good for the next one.
pub(super) fn refused_or_unknown(e: Error) -> (Trouble, bool) {
    if is_stored_before(&e) {
        return (Trouble::StoredBefore, true);
    }
    if is_day_missing(&e) {
        return (Trouble::DayMissing, true);
    }
    let error = fail_after_commit(OPERATION, e);
    let alive = matches!(error.kind, StoreErrorKind::Data | StoreErrorKind::Contended);
    (error.into(), alive)
}

/// An error behind the COMMIT: the batch happened, and running it again tells its outcomes.
pub(super) fn happened(e: StoreError) -> StoreError {
    StoreError {
        kind: StoreErrorKind::Unknown,
        ..e
    }
}

pub(super) fn before_commit(e: Error) -> Trouble {
    if is_day_missing(&e) {
        return Trouble::DayMissing;
    }
    fail(OPERATION, e).into()
}

fn ids(rows: &[Row]) -> Result<HashSet<Id>, Error> {
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// Which messages of the group are stored. Runs outside of a transaction, after one that met them.
pub(super) async fn existing(
    store: &PostgresStore,
    ops: &[Op],
    group: &[usize],
) -> Result<Vec<MessageId>, StoreError> {
    let ids: Vec<Id> = group
        .iter()
        .filter_map(|at| super::message_of(&ops[*at]))
        .map(Id::from)
        .collect();
    let held = store.pool().get(Use::Commit, OPERATION).await?;
    let rows = held
        .conn()
        .rows(OPERATION, Sql::MessageExisting, vec![&ids])
        .await?;
    let found = rows
        .iter()
        .map(|row| Reader::new(row, OPERATION, "message").id("id"))
        .collect();
    held.keep();
    found
}

/// The deliveries that messages of an earlier run were born with in this instance's hands.
pub(super) async fn born_before(
    conn: &Conn,
    instance: InstanceId,
    items: &[Item<'_>],
) -> Result<HashMap<MessageId, Vec<u16>>, StoreError> {
    let before = items.iter().filter(|i| i.verdict == Verdict::StoredBefore);
    let ids: Vec<Id> = before.map(|i| Id::from(i.publish.message.id)).collect();
    let mut born: HashMap<MessageId, Vec<u16>> = HashMap::new();
    if ids.is_empty() {
        return Ok(born);
    }
    let me = Id::from(instance);
    for row in &conn
        .rows(OPERATION, Sql::DeliveryBorn, vec![&me, &ids])
        .await?
    {
        let id = delivery_id(row)?;
        born.entry(id.message).or_default().push(id.no);
    }
    Ok(born)
}

/// The delivery that the columns `message` and `no` name.
pub(crate) fn delivery_id(row: &Row) -> Result<DeliveryId, StoreError> {
    let row = Reader::new(row, OPERATION, "delivery");
    Ok(DeliveryId {
        message: row.id("message")?,
        no: row.number::<i32, _>("no")?,
    })
}

pub(super) fn fenced(op: &Op) -> Outcome {
    match op {
        Op::Publish(_) => Outcome::Published(PublishOutcome::Fenced),
        Op::Settle(..) => Outcome::Settled(SettleOutcome::Fenced),
        Op::Next(_) => Outcome::Next(Vec::new()),
        Op::Step(_) => Outcome::Stepped(StepOutcome::Fenced),
        Op::Enter(_) => Outcome::Entered(EnterOutcome::Fenced),
    }
}

pub(super) fn outcomes(
    items: &[Item<'_>],
    mut claimed: HashMap<MessageId, Vec<u16>>,
    mut born: HashMap<MessageId, Vec<u16>>,
    settlements: &Settlements<'_>,
) -> Vec<(usize, Outcome)> {
    let published = items.iter().filter_map(|item| {
        let id = item.publish.message.id;
        let outcome = match &item.verdict {
            Verdict::New => PublishOutcome::Stored {
                claimed: claimed.remove(&id).unwrap_or_default(),
            },
            Verdict::StoredBefore => PublishOutcome::Stored {
                claimed: born.remove(&id).unwrap_or_default(),
            },
            Verdict::Duplicate(first) => PublishOutcome::Duplicate(first.clone()),
            Verdict::Mismatch(first) => PublishOutcome::Mismatch(first.clone()),
            Verdict::Refused(why) => PublishOutcome::Refused(why.clone()),
            Verdict::Later => return None,
        };
        Some((item.at, Outcome::Published(outcome)))
    });
    published.chain(settlements.outcomes()).collect()
}
