//! What operators do to deliveries.

use std::collections::HashMap;

use async_trait::async_trait;
use quayside_store::{
    Operate, StoreError,
    model::{DeliveryId, MessageId, Text},
    operate::OperateOutcome,
};
use tokio_postgres::Row;

use crate::{
    PostgresStore,
    commit::delivery_id,
    error::fail,
    pool::{Conn, Params},
    row::{Id, Reader},
    sql::Sql,
};

const OPERATION: &str = "operate deliveries";

#[async_trait]
impl Operate for PostgresStore {
    async fn resume(
        &self,
        deliveries: &[DeliveryId],
        note: &Text,
    ) -> Result<Vec<OperateOutcome>, StoreError> {
        let (targets, note) = (Targets::of(deliveries), note.as_str());
        let work = self.work(OPERATION, async |conn| {
            let mut params = targets.params();
            params.push(&note);
            conn.rows(OPERATION, Sql::DeliveryResume, params).await
        });
        let rows = self
            .run(OPERATION, deliveries.len(), self.work_timeout(), work)
            .await?;
        outcomes(deliveries, &rows)
    }

    async fn terminate(
        &self,
        deliveries: &[DeliveryId],
        note: &Text,
    ) -> Result<Vec<OperateOutcome>, StoreError> {
        let targets = Targets::of(deliveries);
        let work = self.work(OPERATION, async |conn| {
            terminate(conn, &targets, note).await
        });
        let rows = self
            .run(OPERATION, deliveries.len(), self.work_timeout(), work)
            .await?;
        outcomes(deliveries, &rows)
    }

    async fn note_resubmitted(
        &self,
        source: MessageId,
        copy: MessageId,
        note: &Text,
    ) -> Result<(), StoreError> {
        let (source, detail) = (Id::from(source), format!("{copy} {note}"));
        let detail = detail.trim_end();
        let work = self.work(OPERATION, async |conn| {
            let params: Params<'_> = vec![&source, &detail];
            conn.rows(OPERATION, Sql::HistoryResubmitted, params).await
        });
        self.run(OPERATION, 1, self.work_timeout(), work).await?;
        Ok(())
    }
}

/// Deliveries as columns, in ascending order and each once.
struct Targets {
    messages: Vec<Id>,
    nos: Vec<i32>,
}

impl Targets {
    fn of(deliveries: &[DeliveryId]) -> Self {
        let mut sorted = deliveries.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        Self {
            messages: sorted.iter().map(|d| d.message.into()).collect(),
            nos: sorted.iter().map(|d| i32::from(d.no)).collect(),
        }
    }

    fn params(&self) -> Params<'_> {
        vec![&self.messages, &self.nos]
    }
}

/// Locks the lanes first, as everybody does who may take the head of a key away.
async fn terminate(conn: &Conn, targets: &Targets, note: &str) -> Result<Vec<Row>, StoreError> {
    let (no_ports, no_lanes): (Vec<&str>, Vec<i32>) = (Vec::new(), Vec::new());
    let nobody: Option<Id> = None;
    let mut locks: Params<'_> = vec![&nobody, &no_ports, &no_lanes];
    locks.extend(targets.params());
    let mut ends = targets.params();
    ends.push(&note);
    let steps = vec![
        conn.simple("BEGIN"),
        conn.step(Sql::LaneLock, locks),
        conn.step(Sql::OrderKeys, targets.params()),
        conn.step(Sql::DeliveryTerminate, ends),
    ];
    let mut rows = conn
        .trip(steps)
        .await
        .map_err(|e| fail(OPERATION, e))?
        .into_iter()
        .skip(2);
    let keys = rows.next().unwrap_or_default();
    let ended = rows.next().unwrap_or_default();
    let (mut ports, mut hashes): (Vec<String>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
    for row in &keys {
        let row = Reader::new(row, OPERATION, "delivery");
        ports.push(row.get("port")?);
        hashes.push(row.get("order_key")?);
    }
    let rest = vec![
        conn.step(Sql::OrderAdvance, vec![&ports, &hashes]),
        conn.simple("COMMIT"),
    ];
    conn.trip(rest).await.map_err(|e| fail(OPERATION, e))?;
    Ok(ended)
}

fn outcomes(deliveries: &[DeliveryId], rows: &[Row]) -> Result<Vec<OperateOutcome>, StoreError> {
    let mut found = HashMap::new();
    for row in rows {
        let id = delivery_id(row)?;
        let row = Reader::new(row, OPERATION, "delivery");
        let outcome = match (row.get::<bool>("changed")?, row.get::<i16>("state")?) {
            (true, _) => OperateOutcome::Done,
            (false, 1) => OperateOutcome::Busy,
            (false, 3) => OperateOutcome::NotResumable,
            (false, _) => OperateOutcome::Unchanged,
        };
        found.insert(id, outcome);
    }
    let outcome = |id| found.get(id).copied().unwrap_or(OperateOutcome::NotFound);
    Ok(deliveries.iter().map(outcome).collect())
}
