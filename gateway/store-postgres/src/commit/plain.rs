//! The common batch as one statement: publications that need nothing but their keys, rows and deliveries,
//! and ends. Everything else goes the other way, in [`attempt`](super::attempt), which is also where the
//! items end up whose key somebody else has.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicBool, Ordering},
};

use quayside_store::{
    Op, Outcome, StoreError,
    commit::Birth,
    model::{Content, DeliveryId, InstanceId, MessageId, Timestamp},
};
use tokio_postgres::Row;

use super::{
    OPERATION, Trouble,
    attempt::{self, Item, Verdict, refused_or_unknown},
    columns::Columns,
    dedupe::Keys,
    order::Order,
    settle::Settlements,
};
use crate::{
    PostgresStore,
    pool::{Conn, Params, Use},
    row::{Id, Reader},
    sql::Sql,
};

/// Commits `group` if it is of the common kind; `None` if it is not. Items without an outcome need a round
/// of the other way.
pub(super) async fn attempt(
    store: &PostgresStore,
    instance: InstanceId,
    ops: &[Op],
    group: &[usize],
    sent: &AtomicBool,
) -> Result<Option<Vec<(usize, Outcome)>>, Trouble> {
    let (mut items, settles, nexts) = attempt::sort(ops, group, &HashSet::new());
    let mut settlements = Settlements::new(settles)?;
    let order = Order::of(store, &items, &settlements, &nexts);
    let common = !order.is_needed()
        && nexts.is_empty()
        && settlements.are_plain_ends()
        && items.iter().all(is_plain);
    if !common {
        return Ok(None);
    }
    let keys = Keys::of(&items);
    keys.put_off_followers(&mut items);
    // Born at zero: the statement adds the database's time.
    let columns = Columns::new(store, &items, &order, Timestamp::from_micros(0))?;
    let rows = Rows {
        me: Id::from(instance),
        keyless: keyless(&items, &keys),
    };
    let held = store.pool().get(Use::Commit, OPERATION).await?;
    let conn = held.conn();
    let params = rows.params(&keys, &columns, &settlements);
    let told = match write(conn, params, sent).await {
        Ok(told) => told,
        Err((trouble, alive)) => {
            if alive {
                held.keep();
            }
            return Err(trouble);
        }
    };
    let Some(told) = told else {
        held.keep();
        let fenced = group.iter().map(|at| (*at, attempt::fenced(&ops[*at])));
        return Ok(Some(fenced.collect()));
    };
    let told = Told::read(&told).map_err(attempt::happened)?;
    for item in &mut items {
        if !told.stored.contains(&item.publish.message.id) {
            item.verdict = Verdict::Later;
        }
    }
    settlements.found(&told.ended);
    settlements.explain(conn).await.map_err(attempt::happened)?;
    held.keep();
    let claimed = columns.claimed();
    let outcomes = attempt::outcomes(&items, claimed, HashMap::new(), &settlements);
    Ok(Some(outcomes))
}

/// Whether a publication needs only what every message needs.
fn is_plain(item: &Item<'_>) -> bool {
    let publish = item.publish;
    let inline = |part: &quayside_store::model::Part| matches!(part.content, Content::Inline(_));
    let deliveries = &publish.deliveries;
    publish.exchange.is_none()
        && publish.source.is_none()
        && publish.message.parts.iter().all(inline)
        // A message for nobody, or one that is suspended from birth, has an event.
        && !deliveries.is_empty()
        && deliveries
            .iter()
            .all(|d| d.order.is_none() && matches!(d.birth, Birth::Ready | Birth::Claimed))
}

/// The new messages that have no key to take.
fn keyless(items: &[Item<'_>], keys: &Keys<'_>) -> Vec<Id> {
    let new = items.iter().filter(|i| i.verdict == Verdict::New);
    let ids = new.map(|i| Id::from(i.publish.message.id));
    let keyed: HashSet<Id> = keys.messages().iter().copied().collect();
    ids.filter(|id| !keyed.contains(id)).collect()
}

struct Rows {
    me: Id,
    keyless: Vec<Id>,
}

impl Rows {
    /// All arguments, in the order of their numbers.
    fn params<'s>(
        &'s self,
        keys: &'s Keys<'_>,
        columns: &'s Columns<'_>,
        settlements: &'s Settlements<'_>,
    ) -> Params<'s> {
        let mut params: Params<'s> = vec![&self.me];
        params.extend(keys.plain_params());
        params.push(&self.keyless);
        params.extend(columns.plain_params());
        params.extend(settlements.plain_params());
        params
    }
}

/// Runs the statement, which is its own transaction. The error says whether the connection is still good.
async fn write(
    conn: &Conn,
    params: Params<'_>,
    sent: &AtomicBool,
) -> Result<Option<Row>, (Trouble, bool)> {
    conn.clear_warning();
    sent.store(true, Ordering::Relaxed);
    let answers = conn.trip(vec![conn.step(Sql::CommitPlain, params)]).await;
    let answers = answers.map_err(refused_or_unknown)?;
    attempt::not_replicated(conn).map_err(|unknown| (unknown.into(), false))?;
    Ok(answers.into_iter().flatten().next())
}

/// What the statement did.
struct Told {
    stored: HashSet<MessageId>,
    ended: HashSet<DeliveryId>,
}

impl Told {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let row = Reader::new(row, OPERATION, "message");
        let stored: Vec<Id> = row.get("stored")?;
        let ended: Vec<Id> = row.get("ended")?;
        let nos: Vec<i32> = row.get("ended_nos")?;
        let ended = ended.into_iter().zip(nos).map(|(message, no)| {
            let no = u16::try_from(no).map_err(|e| row.corrupt("ended_nos", &e.to_string()))?;
            Ok(DeliveryId {
                message: message.into(),
                no,
            })
        });
        Ok(Self {
            stored: stored.into_iter().map(MessageId::from).collect(),
            ended: ended.collect::<Result<_, StoreError>>()?,
        })
    }
}
