//! What operators do to deliveries.

use async_trait::async_trait;
use quayside_store::{
    Operate, StoreError,
    model::{DeliveryId, MessageId, Text},
    operate::{DoubtVerdict, OperateOutcome},
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
            each(tx, &deliveries, &note, (resume, false))
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
            each(tx, &deliveries, &note, (terminate, false))
        })
        .await
    }

    async fn resolve(
        &self,
        deliveries: &[DeliveryId],
        verdict: DoubtVerdict,
        note: &Text,
    ) -> Result<Vec<OperateOutcome>, StoreError> {
        let (deliveries, note) = (deliveries.to_vec(), note.clone());
        let verb = match verdict {
            DoubtVerdict::Resend => resume,
            DoubtVerdict::Skip => terminate,
            DoubtVerdict::Done => done,
        };
        self.write("resolve deliveries", move |tx| {
            each(tx, &deliveries, &note, (verb, true))
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
    in_doubt: bool,
}

type Verb = fn(&Tx<'_>, &mut Numbers, &Found, &str) -> DbResult<OperateOutcome>;

/// Does `verb` to each; to those in doubt alone, if it is for these.
fn each(
    tx: &Tx<'_>,
    deliveries: &[DeliveryId],
    note: &str,
    (verb, doubtful): (Verb, bool),
) -> DbResult<Vec<OperateOutcome>> {
    if deliveries.is_empty() {
        return Ok(Vec::new());
    }
    let mut numbers = Numbers::take(tx, deliveries.len())?;
    let one = |id: &DeliveryId| match find(tx, *id)? {
        None => Ok(OperateOutcome::NotFound),
        Some(found) if doubtful && !found.in_doubt => Ok(OperateOutcome::NotInDoubt),
        Some(found) if found.state == state::CLAIMED => Ok(OperateOutcome::Busy),
        // It goes with its run.
        Some(found) if found.state == state::TAKEN => Ok(OperateOutcome::Busy),
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
            in_doubt: cell(row, 6, "delivery.in_doubt")?,
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
    end(tx, numbers, found, ("terminated", note))
}

fn done(tx: &Tx<'_>, numbers: &mut Numbers, found: &Found, note: &str) -> DbResult<OperateOutcome> {
    end(tx, numbers, found, ("sent", note))
}

fn end(
    tx: &Tx<'_>,
    numbers: &mut Numbers,
    found: &Found,
    (event, note): (&str, &str),
) -> DbResult<OperateOutcome> {
    let sql = include_str!("../sql/delivery_delete.sql");
    tx.execute(sql, (found.id.message.to_bytes(), found.id.no))?;
    Event::of_delivery(found.id, event, &found.place.port)
        .attempts(found.attempts)
        .detail(note)
        .insert(tx, numbers)?;
    order::go_on(tx, &found.place)?;
    Ok(OperateOutcome::Done)
}
