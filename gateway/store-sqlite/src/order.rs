//! Order by key (`store.md` 4): who may have the next delivery of a key, and what waits behind it.
//!
//! A key's live deliveries stand in the order of `seq`; the first is its head. Only the head is given out,
//! so that no key keeps others from their turn. Ready ones that stand behind anything are *held* when a
//! claim meets them, so that the next claim does not meet them again, and come back one by one when what
//! they wait for leaves the order: further ones would only be held again.

use std::collections::{HashMap, HashSet};

use quayside_store::{
    commit::{Next, OrderKey},
    model::{DeliveryId, InstanceId},
};
use rusqlite::Row;

use crate::{
    claims::{Taken, take},
    error::DbResult,
    row::{cell, delivery_id, state},
    settle::Place,
    tx::Tx,
};

/// How many ready deliveries a claim looks at in one round.
const LOOK: u32 = 64;
/// How many rounds a claim makes at most: bounds its time where many keys are blocked.
const ROUNDS: u32 = 8;
/// How many deliveries of a key are held in one round.
const HOLD: u32 = 512;

/// The state in which an ordered delivery is born: claimed only if that cannot change the order.
pub(crate) fn born_as(
    tx: &Tx<'_>,
    instance: InstanceId,
    port: &str,
    key: &OrderKey,
    wants_claim: bool,
) -> DbResult<i64> {
    if head_of_held(tx, port, key.hash)?.is_some() {
        return Ok(state::HELD);
    }
    let alone = wants_claim && line(tx, port, key.hash, 1)?.is_empty();
    if alone && take_lane(tx, instance, port, key.lane)? {
        return Ok(state::CLAIMED);
    }
    Ok(state::READY)
}

/// Claims up to `room` deliveries of the ordered `port` for `instance`, each key's in its order.
pub(crate) fn claim(
    tx: &Tx<'_>,
    instance: InstanceId,
    port: &str,
    room: usize,
) -> DbResult<Vec<Taken>> {
    let mut taken = Vec::new();
    // The keys that were met, with the head that the others wait for.
    let mut heads = HashMap::new();
    for _ in 0..ROUNDS {
        let ready = tx.all(
            include_str!("../sql/delivery_ready_ordered.sql"),
            (port, instance.to_bytes(), LOOK),
            Met::read,
        )?;
        let mut held = HashSet::new();
        for met in &ready {
            if taken.len() >= room {
                return Ok(taken);
            }
            let Some(key) = met.order else {
                // Skipped and resumed: it has no place any more.
                taken.extend(take(tx, instance, met.id, true)?);
                continue;
            };
            match heads.get(&key.hash) {
                Some(head) if held.insert(key.hash) => hold_behind(tx, port, key.hash, *head)?,
                Some(_) => {}
                None if take_lane(tx, instance, port, key.lane)? => {
                    let head = take_head(tx, instance, port, key.hash, &mut taken)?;
                    heads.extend(head.map(|head| (key.hash, head)));
                }
                None => {}
            }
        }
        if ready.len() < LOOK as usize {
            break;
        }
    }
    Ok(taken)
}

/// The first deliveries of a key, if the lane is the instance's, up to the first that is not free. What is
/// held behind the last of them goes on waiting for the delivery that it waits for: that one stands before it
/// still.
pub(crate) fn free_run(
    tx: &Tx<'_>,
    instance: InstanceId,
    next: &Next,
) -> DbResult<Vec<DeliveryId>> {
    if !take_lane(tx, instance, &next.port, next.order.lane)? {
        return Ok(Vec::new());
    }
    let line = line(tx, &next.port, next.order.hash, next.most as usize)?;
    let free = |(turn, standing): &(usize, &Standing)| match standing.state {
        state::READY => true,
        // Held by nothing but those before it, which are taken too.
        state::HELD => *turn > 0,
        _ => false,
    };
    let run = line.iter().enumerate().take_while(free);
    Ok(run.map(|(_, standing)| standing.id).collect())
}

/// Lets the key of an ordered delivery that left the order go on.
pub(crate) fn go_on(tx: &Tx<'_>, left: &Place) -> DbResult<()> {
    let Some(key) = left.key else { return Ok(()) };
    let port = left.port.as_str();
    if head_of_held(tx, port, key)? != Some(left.seq) {
        return Ok(());
    }
    let sql = include_str!("../sql/delivery_unhold.sql");
    let next = tx.first(sql, (port, key), |row| cell::<i64>(row, 0, "delivery.seq"))?;
    match next {
        // More may be held: they wait for this one now.
        Some(next) => wait_for(tx, port, key, next),
        None => {
            tx.execute(include_str!("../sql/order_key_delete.sql"), (port, key))?;
            Ok(())
        }
    }
}

/// A ready delivery as a claim meets it.
#[derive(Debug)]
struct Met {
    id: DeliveryId,
    order: Option<OrderKey>,
}

impl Met {
    fn read(row: &Row<'_>) -> DbResult<Self> {
        let lane: Option<u16> = cell(row, 2, "delivery.lane")?;
        let hash: Option<[u8; 16]> = cell(row, 3, "delivery.order_key")?;
        let order = lane.zip(hash).map(|(lane, hash)| OrderKey { lane, hash });
        Ok(Self {
            id: delivery_id(row, 0, 1)?,
            order,
        })
    }
}

/// A live delivery of a key.
#[derive(Debug)]
struct Standing {
    id: DeliveryId,
    seq: i64,
    state: i64,
}

impl Standing {
    fn read(row: &Row<'_>) -> DbResult<Self> {
        Ok(Self {
            id: delivery_id(row, 0, 1)?,
            seq: cell(row, 2, "delivery.seq")?,
            state: cell(row, 3, "delivery.state")?,
        })
    }
}

/// The first `count` live deliveries of a key, in their order.
fn line(tx: &Tx<'_>, port: &str, key: [u8; 16], count: usize) -> DbResult<Vec<Standing>> {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    tx.all(
        include_str!("../sql/delivery_line.sql"),
        (port, key, count),
        Standing::read,
    )
}

/// Takes the head of a key if it is ready; else holds what is. Gives the number of the head.
fn take_head(
    tx: &Tx<'_>,
    instance: InstanceId,
    port: &str,
    key: [u8; 16],
    taken: &mut Vec<Taken>,
) -> DbResult<Option<i64>> {
    let line = line(tx, port, key, 1)?;
    let Some(head) = line.first() else {
        return Ok(None);
    };
    if head.state == state::READY {
        taken.extend(take(tx, instance, head.id, true)?);
    } else {
        hold_behind(tx, port, key, head.seq)?;
    }
    Ok(Some(head.seq))
}

fn hold_behind(tx: &Tx<'_>, port: &str, key: [u8; 16], head: i64) -> DbResult<()> {
    wait_for(tx, port, key, head)?;
    tx.execute(
        include_str!("../sql/delivery_hold.sql"),
        (port, key, head, HOLD),
    )?;
    Ok(())
}

/// The delivery that the held ones of a key wait for, if there may be held ones.
fn head_of_held(tx: &Tx<'_>, port: &str, key: [u8; 16]) -> DbResult<Option<i64>> {
    tx.first(
        include_str!("../sql/order_key_find.sql"),
        (port, key),
        |row| cell(row, 0, "order_key.head_seq"),
    )
}

fn wait_for(tx: &Tx<'_>, port: &str, key: [u8; 16], head: i64) -> DbResult<()> {
    tx.execute(
        include_str!("../sql/order_key_upsert.sql"),
        (port, key, head),
    )?;
    Ok(())
}

/// Takes or keeps a lane. `false`: another live instance has it.
fn take_lane(tx: &Tx<'_>, instance: InstanceId, port: &str, lane: u16) -> DbResult<bool> {
    let owner = tx.first(include_str!("../sql/lane_owner.sql"), (port, lane), |row| {
        cell::<InstanceId>(row, 0, "lane.instance")
    })?;
    if let Some(owner) = owner {
        return Ok(owner == instance);
    }
    tx.execute(
        include_str!("../sql/lane_take.sql"),
        (port, lane, instance.to_bytes()),
    )?;
    Ok(true)
}
