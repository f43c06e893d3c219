//! What operators do to deliveries.

use async_trait::async_trait;
use quayside_store::{
    Operate, StoreError,
    model::{DeliveryId, MessageId, Text},
    operate::OperateOutcome,
};

use crate::{
    commit::Numbers,
    error::DbResult,
    history::Event,
    open::SqliteStore,
    order,
    row::{cell, state},
    settle::Place,
    tx::Tx,
};

#[async_trait]
impl Operate for SqliteStore {
    async fn resume(
        &self,
        deliveries: &[DeliveryId],
        note: &Text,
    ) -> Result<Vec<OperateOutcome>, StoreError> {
        let (deliveries, note) = (deliveries.to_vec(), note.clone());
        self.write("resume deliveries", move |tx| {
            each(tx, &deliveries, &note, resume)
        })
        .await
    }

    async fn terminate(
        &self,
        deliveries: &[DeliveryId],
        note: &Text,
    ) -> Result<Vec<OperateOutcome>, StoreError> {
        let (deliveries, note) = (deliveries.to_vec(), note.clone());
        self.write("terminate deliveries", move |tx| {
            each(tx, &deliveries, &note, terminate)
        })
        .await
    }

    async fn note_resubmitted(
        &self,
        source: MessageId,
        copy: MessageId,
        note: &Text,
    ) -> Result<(), StoreError> {
        let detail = format!("{copy} {note}");
        self.write("note resubmission", move |tx| {
            // An event of a message that is gone would never be removed.
            let sql = include_str!("../sql/message_exists.sql");
            if tx.exists(sql, [source.to_bytes()])? {
                let mut numbers = Numbers::take(tx, 1)?;
                Event::of(source, "resubmitted")
                    .detail(detail.trim_end())
                    .insert(tx, &mut numbers)?;
            }
            Ok(())
        })
        .await
    }
}

/// A live delivery as a verb finds it.
#[derive(Debug)]
struct Found {
    id: DeliveryId,
    place: Place,
    state: i64,
    attempts: u32,
    resumable: bool,
}

fn each(
    tx: &Tx<'_>,
    deliveries: &[DeliveryId],
    note: &str,
    verb: fn(&Tx<'_>, &mut Numbers, &Found, &str) -> DbResult<OperateOutcome>,
) -> DbResult<Vec<OperateOutcome>> {
    if deliveries.is_empty() {
        return Ok(Vec::new());
    }
    let mut numbers = Numbers::take(tx, deliveries.len())?;
    let one = |id: &DeliveryId| match find(tx, *id)? {
        None => Ok(OperateOutcome::NotFound),
        Some(found) if found.state == state::CLAIMED => Ok(OperateOutcome::Busy),
        Some(found) => verb(tx, &mut numbers, &found, note),
    };
    deliveries.iter().map(one).collect()
}

fn find(tx: &Tx<'_>, id: DeliveryId) -> DbResult<Option<Found>> {
    let sql = include_str!("../sql/delivery_find.sql");
    tx.first(sql, (id.message.to_bytes(), id.no), |row| {
        Ok(Found {
            id,
            place: Place::read(row)?,
            state: cell(row, 3, "delivery.state")?,
            attempts: cell(row, 4, "delivery.attempts")?,
            resumable: cell(row, 5, "delivery.failure")?,
        })
    })
}

fn resume(
    tx: &Tx<'_>,
    numbers: &mut Numbers,
    found: &Found,
    note: &str,
) -> DbResult<OperateOutcome> {
    let sql = match found.state {
        state::SUSPENDED if !found.resumable => return Ok(OperateOutcome::NotResumable),
        state::SUSPENDED => include_str!("../sql/delivery_resume.sql"),
        state::WAITING => include_str!("../sql/delivery_hasten.sql"),
        _ => return Ok(OperateOutcome::Unchanged),
    };
    tx.execute(
        sql,
        (found.id.message.to_bytes(), found.id.no, tx.now.as_micros()),
    )?;
    Event::of_delivery(found.id, "resumed", &found.place.port)
        .attempts(found.attempts)
        .detail(note)
        .insert(tx, numbers)?;
    Ok(OperateOutcome::Done)
}

fn terminate(
    tx: &Tx<'_>,
    numbers: &mut Numbers,
    found: &Found,
    note: &str,
) -> DbResult<OperateOutcome> {
    let sql = include_str!("../sql/delivery_delete.sql");
    tx.execute(sql, (found.id.message.to_bytes(), found.id.no))?;
    Event::of_delivery(found.id, "terminated", &found.place.port)
        .attempts(found.attempts)
        .detail(note)
        .insert(tx, numbers)?;
    order::go_on(tx, &found.place)?;
    Ok(OperateOutcome::Done)
}
