//! One publication inside a batch: dedupe, seal, message, parts, deliveries.

use quayside_store::{
    Publish, PublishOutcome,
    commit::{Birth, First, NewDelivery},
    model::{Content, DedupeKey, DeliveryId, InstanceId, RunId, StoredBody, Text, failpoint},
};
use rusqlite::CachedStatement;

use crate::{
    commit::Numbers,
    dedupe::{self, Key},
    error::DbResult,
    history::Event,
    order,
    row::{cell, int, micros, state},
    tx::Tx,
};

/// The statements that nearly every item of a batch needs, looked up once per batch.
pub(crate) struct Statements<'c> {
    message: CachedStatement<'c>,
    part: CachedStatement<'c>,
    delivery: CachedStatement<'c>,
    pub(crate) dedupe_find: CachedStatement<'c>,
    pub(crate) dedupe_insert: CachedStatement<'c>,
}

impl<'c> Statements<'c> {
    /// Looks them up.
    pub(crate) fn prepare(tx: &Tx<'c>) -> DbResult<Self> {
        let get = |sql| tx.conn.prepare_cached(sql);
        Ok(Self {
            message: get(include_str!("../sql/message_insert.sql"))?,
            part: get(include_str!("../sql/part_insert.sql"))?,
            delivery: get(include_str!("../sql/delivery_insert.sql"))?,
            dedupe_find: get(include_str!("../sql/dedupe_find.sql"))?,
            dedupe_insert: get(include_str!("../sql/dedupe_insert.sql"))?,
        })
    }
}

/// A publication with its prepared cells.
#[derive(Debug)]
pub(crate) struct New<'a> {
    /// What is published.
    pub(crate) publish: &'a Publish,
    /// `message.context`.
    pub(crate) context: &'a str,
    /// `delivery.failure` of each delivery.
    pub(crate) failures: &'a [Option<String>],
}

/// Stores `new`, or says why not. Nothing is written before everything that can refuse it was asked.
pub(crate) fn publish(
    tx: &Tx<'_>,
    statements: &mut Statements<'_>,
    numbers: &mut Numbers,
    instance: InstanceId,
    new: &New<'_>,
) -> DbResult<PublishOutcome> {
    let bodies = stored_bodies(new.publish);
    if !bodies.is_empty() && is_stored(tx, new.publish)? {
        return born(tx, instance, new.publish);
    }
    for body in &bodies {
        if !is_sealable(tx, instance, body)? {
            let why = format!(
                "the body {} is not open under this instance, or not whole",
                body.id
            );
            return Ok(PublishOutcome::Refused(Text::lossy(&why)));
        }
    }
    if let Some(key) = &new.publish.dedupe
        && !failpoint::enabled("no-dedupe")
    {
        match take_key(tx, statements, new.publish, key)? {
            None => {}
            Some(first) if first.first.message == new.publish.message.id => {
                return born(tx, instance, new.publish);
            }
            Some(other) if other.fingerprint != key.fingerprint => {
                return Ok(PublishOutcome::Mismatch(other.first));
            }
            Some(same) => return duplicate(tx, numbers, new.publish, same.first),
        }
    }
    if !insert_message(tx, statements, new)? {
        return born(tx, instance, new.publish);
    }
    for body in &bodies {
        seal(tx, instance, body)?;
    }
    insert_parts(statements, new.publish)?;
    insert_marks(tx, new.publish)?;
    let stored = insert_deliveries(tx, statements, numbers, instance, new)?;
    if let Some(run) = new.publish.exchange.and_then(|exchange| exchange.run) {
        wake_if_over(tx, new.publish, run)?;
    }
    Ok(stored)
}

/// A message that has nobody, or is suspended from birth, has come to its end before anybody sees it.
fn wake_if_over(tx: &Tx<'_>, publish: &Publish, run: RunId) -> DbResult<()> {
    let deliveries = &publish.deliveries;
    let suspended = |d: &NewDelivery| matches!(d.birth, Birth::Suspended(_));
    if deliveries.is_empty() || deliveries.iter().any(suspended) {
        tx.execute(include_str!("../sql/run_wake.sql"), [run.to_bytes()])?;
    }
    Ok(())
}

fn stored_bodies(publish: &Publish) -> Vec<StoredBody> {
    let stored = |content: &Content| match content {
        Content::Stored(body) => Some(*body),
        Content::Inline(_) => None,
    };
    publish
        .message
        .parts
        .iter()
        .filter_map(|part| stored(&part.content))
        .collect()
}

fn is_stored(tx: &Tx<'_>, publish: &Publish) -> DbResult<bool> {
    tx.exists(
        include_str!("../sql/message_exists.sql"),
        [publish.message.id.to_bytes()],
    )
}

fn is_sealable(tx: &Tx<'_>, instance: InstanceId, body: &StoredBody) -> DbResult<bool> {
    tx.exists(
        include_str!("../sql/body_check.sql"),
        (
            body.id.to_bytes(),
            instance.to_bytes(),
            body.chunks,
            int(body.len),
        ),
    )
}

fn seal(tx: &Tx<'_>, instance: InstanceId, body: &StoredBody) -> DbResult<()> {
    let sql = include_str!("../sql/body_seal.sql");
    let (id, instance) = (body.id.to_bytes(), instance.to_bytes());
    tx.execute(sql, (id, instance, body.chunks, int(body.len), body.sha256))?;
    Ok(())
}

/// Takes the key for this message; else says who has it.
fn take_key(
    tx: &Tx<'_>,
    statements: &mut Statements<'_>,
    publish: &Publish,
    key: &DedupeKey,
) -> DbResult<Option<dedupe::Holder>> {
    let first = First {
        message: publish.message.id,
        stored_at: tx.now,
        exchange: publish.exchange.map(|exchange| exchange.id),
    };
    dedupe::take(statements, &Key::new(key, tx.now), &first)
}

/// The answer for a message that an earlier run of the same batch has stored.
fn born(tx: &Tx<'_>, instance: InstanceId, publish: &Publish) -> DbResult<PublishOutcome> {
    let claimed = tx.all(
        include_str!("../sql/delivery_born.sql"),
        (publish.message.id.to_bytes(), instance.to_bytes()),
        |row| cell(row, 0, "delivery.no"),
    )?;
    Ok(PublishOutcome::Stored { claimed })
}

fn duplicate(
    tx: &Tx<'_>,
    numbers: &mut Numbers,
    publish: &Publish,
    first: First,
) -> DbResult<PublishOutcome> {
    let detail = format!("the same key came again by {}", publish.message.origin);
    Event::of(first.message, "duplicate")
        .detail(&detail)
        .insert(tx, numbers)?;
    Ok(PublishOutcome::Duplicate(first))
}

/// `false`: it is stored already.
fn insert_message(tx: &Tx<'_>, statements: &mut Statements<'_>, new: &New<'_>) -> DbResult<bool> {
    let message = &new.publish.message;
    let rows = statements.message.execute((
        message.id.to_bytes(),
        new.publish.slot,
        message.received_at.as_micros(),
        tx.now.as_micros(),
        message.origin.as_str(),
        message.message_type.as_deref(),
        new.context,
        new.publish.config_version,
        int(new.publish.deliveries.len() as u64),
        new.publish.exchange.map(|exchange| exchange.id.to_bytes()),
    ))?;
    Ok(rows == 1)
}

fn insert_parts(statements: &mut Statements<'_>, publish: &Publish) -> DbResult<()> {
    for (no, part) in (0_i64..).zip(&publish.message.parts) {
        let (bytes, body) = match &part.content {
            Content::Inline(bytes) => (Some(&bytes[..]), None),
            Content::Stored(body) => (None, Some(body.id.to_bytes())),
        };
        statements.part.execute((
            publish.message.id.to_bytes(),
            no,
            part.name.as_str(),
            part.content_type.as_deref(),
            int(part.content.len()),
            bytes,
            body,
        ))?;
    }
    Ok(())
}

/// The request that waits for an answer and the mark at the source.
fn insert_marks(tx: &Tx<'_>, publish: &Publish) -> DbResult<()> {
    let message = publish.message.id.to_bytes();
    if let Some(exchange) = &publish.exchange {
        let until = tx.now.as_micros().saturating_add(micros(exchange.keep));
        let sql = include_str!("../sql/exchange_insert.sql");
        let run = exchange.run.map(RunId::to_bytes);
        let lease = exchange.lease.map(|lease| {
            let (length, attempt) = (micros(lease.length), lease.attempt);
            (
                length,
                tx.now.as_micros().saturating_add(length),
                attempt,
                lease.token,
            )
        });
        let (id, lease) = (exchange.id.to_bytes(), lease.as_ref());
        let (length, end) = (lease.map(|l| l.0), lease.map(|l| l.1));
        let (attempt, token) = (lease.map(|l| l.2), lease.map(|l| l.3));
        tx.execute(sql, (id, message, until, run, length, end, attempt, token))?;
    }
    if let Some(source) = &publish.source {
        let (location, key) = (source.location.as_str(), source.key.as_str());
        let sql = include_str!("../sql/source_upsert.sql");
        tx.execute(
            sql,
            (
                location,
                key,
                source.state.as_str(),
                message,
                tx.now.as_micros(),
            ),
        )?;
    }
    Ok(())
}

fn insert_deliveries(
    tx: &Tx<'_>,
    statements: &mut Statements<'_>,
    numbers: &mut Numbers,
    instance: InstanceId,
    new: &New<'_>,
) -> DbResult<PublishOutcome> {
    if new.publish.deliveries.is_empty() {
        // Retention finds messages by their last event, so that each has one.
        Event::of(new.publish.message.id, "unrouted").insert(tx, numbers)?;
    }
    let mut claimed = Vec::new();
    for (no, (delivery, failure)) in (0_u16..).zip(new.publish.deliveries.iter().zip(new.failures))
    {
        if let Birth::Kept(run) = delivery.birth {
            insert_kept(tx, numbers, new.publish, (no, delivery), run)?;
            continue;
        }
        let state = born_as(tx, instance, delivery)?;
        let row = BirthRow {
            no,
            seq: numbers.next(),
            state,
            failure: failure.as_deref(),
        };
        insert_delivery(
            tx,
            &mut statements.delivery,
            instance,
            new.publish,
            delivery,
            &row,
        )?;
        if state == state::CLAIMED {
            claimed.push(no);
        }
        if let Birth::Suspended(failure) = &delivery.birth {
            let id = DeliveryId {
                message: new.publish.message.id,
                no,
            };
            Event::of_delivery(id, "suspended", &delivery.port)
                .detail(&format!("{}: {}", failure.code, failure.detail))
                .insert(tx, numbers)?;
        }
    }
    Ok(PublishOutcome::Stored { claimed })
}

/// The state in which a delivery is born.
fn born_as(tx: &Tx<'_>, instance: InstanceId, delivery: &NewDelivery) -> DbResult<i64> {
    match (&delivery.birth, &delivery.order) {
        (Birth::Suspended(_), _) => Ok(state::SUSPENDED),
        (Birth::Ready, None) => Ok(state::READY),
        (Birth::Claimed, None) => Ok(state::CLAIMED),
        (Birth::Kept(_), _) => Ok(state::TAKEN),
        (birth, Some(key)) => {
            let wants_claim = matches!(birth, Birth::Claimed);
            order::born_as(tx, instance, &delivery.port, key, wants_claim)
        }
    }
}

/// A delivery that a run keeps from birth.
fn insert_kept(
    tx: &Tx<'_>,
    numbers: &mut Numbers,
    publish: &Publish,
    (no, delivery): (u16, &NewDelivery),
    run: RunId,
) -> DbResult<()> {
    let (message, at) = (publish.message.id.to_bytes(), tx.now.as_micros());
    let (seq, port) = (numbers.next(), delivery.port.as_str());
    let sql = include_str!("../sql/delivery_kept_insert.sql");
    let params = (message, no, seq, publish.slot, port, at, run.to_bytes());
    tx.execute(sql, params)?;
    Ok(())
}

/// What a new delivery row holds beside the delivery itself.
#[derive(Debug)]
struct BirthRow<'a> {
    no: u16,
    seq: i64,
    state: i64,
    failure: Option<&'a str>,
}

fn insert_delivery(
    tx: &Tx<'_>,
    statement: &mut CachedStatement<'_>,
    instance: InstanceId,
    publish: &Publish,
    delivery: &NewDelivery,
    row: &BirthRow<'_>,
) -> DbResult<()> {
    let is_claimed = row.state == state::CLAIMED;
    statement.execute((
        publish.message.id.to_bytes(),
        row.no,
        row.seq,
        publish.slot,
        delivery.port.as_str(),
        row.state,
        delivery.priority.get(),
        delivery.priority.rank(tx.now),
        tx.now.as_micros(),
        1_i64,
        is_claimed.then(|| instance.to_bytes()),
        delivery.order.map(|order| order.lane),
        delivery.order.map(|order| order.hash),
        delivery.rendered.as_deref(),
        row.failure,
        publish.exchange.map(|exchange| exchange.id.to_bytes()),
    ))?;
    Ok(())
}
