//! What operators do to deliveries.

use std::collections::HashMap;

use async_trait::async_trait;
use quayside_store::{
    Operate, StoreError,
    model::{DeliveryId, MessageId, Text},
    operate::{DoubtVerdict, OperateOutcome},
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
            resume(conn, &targets, note, false).await
        });
        let rows = self
            .run(OPERATION, deliveries.len(), self.work_timeout(), work)
            .await?;
        outcomes(deliveries, &rows, false)
    }

    async fn terminate(
        &self,
        deliveries: &[DeliveryId],
        note: &Text,
    ) -> Result<Vec<OperateOutcome>, StoreError> {
        let targets = Targets::of(deliveries);
        let work = self.work(OPERATION, async |conn| {
            terminate(conn, &targets, note, ("terminated", false)).await
        });
        let rows = self
            .run(OPERATION, deliveries.len(), self.work_timeout(), work)
            .await?;
        outcomes(deliveries, &rows, false)
    }

    async fn resolve(
        &self,
        deliveries: &[DeliveryId],
        verdict: DoubtVerdict,
        note: &Text,
    ) -> Result<Vec<OperateOutcome>, StoreError> {
        let (targets, note) = (Targets::of(deliveries), note.as_str());
        let work = self.work(OPERATION, async |conn| match verdict {
            DoubtVerdict::Resend => resume(conn, &targets, note, true).await,
            DoubtVerdict::Skip => terminate(conn, &targets, note, ("terminated", true)).await,
            DoubtVerdict::Done => terminate(conn, &targets, note, ("sent", true)).await,
        });
        let rows = self
            .run(OPERATION, deliveries.len(), self.work_timeout(), work)
            .await?;
        outcomes(deliveries, &rows, true)
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

async fn resume(
    conn: &Conn,
    targets: &Targets,
    note: &str,
    doubtful: bool,
) -> Result<Vec<Row>, StoreError> {
    let mut params = targets.params();
    let rest: Params<'_> = vec![&note, &doubtful];
    params.extend(rest);
    conn.rows(OPERATION, Sql::DeliveryResume, params).await
}

/// Ends them as `event`; of those alone that are in doubt, if they are to be `doubtful`. Locks the lanes first, as
/// everybody does who may take the head of a key away.
async fn terminate(
    conn: &Conn,
    targets: &Targets,
    note: &str,
    (event, doubtful): (&str, bool),
) -> Result<Vec<Row>, StoreError> {
    let (no_ports, no_lanes): (Vec<&str>, Vec<i32>) = (Vec::new(), Vec::new());
    let nobody: Option<Id> = None;
    let mut locks: Params<'_> = vec![&nobody, &no_ports, &no_lanes];
    locks.extend(targets.params());
    let mut ends = targets.params();
    let rest: Params<'_> = vec![&note, &event, &doubtful];
    ends.extend(rest);
    let steps = vec![
        conn.text("BEGIN"),
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
        conn.text("COMMIT"),
    ];
    conn.trip(rest).await.map_err(|e| fail(OPERATION, e))?;
    Ok(ended)
}

/// What became of each; of a verb for those in doubt alone, if it was a `doubtful` one.
fn outcomes(
    deliveries: &[DeliveryId],
    rows: &[Row],
    doubtful: bool,
) -> Result<Vec<OperateOutcome>, StoreError> {
    let mut found = HashMap::new();
    for row in rows {
        let id = delivery_id(row)?;
        let row = Reader::new(row, OPERATION, "delivery");
        let in_doubt = row.get::<bool>("in_doubt")?;
        let outcome = match (row.get::<bool>("changed")?, row.get::<i16>("state")?) {
            _ if doubtful && !in_doubt => OperateOutcome::NotInDoubt,
            (true, _) => OperateOutcome::Done,
            // Held by an instance, of the gateway or of an orchestration.
            (false, 1 | 5) => OperateOutcome::Busy,
            (false, 3) => OperateOutcome::NotResumable,
            (false, _) => OperateOutcome::Unchanged,
        };
        found.insert(id, outcome);
    }
    let outcome = |id| found.get(id).copied().unwrap_or(OperateOutcome::NotFound);
    Ok(deliveries.iter().map(outcome).collect())
}
