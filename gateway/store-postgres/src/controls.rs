//! The operators' word about ports and locations, and the configuration in force.

use async_trait::async_trait;
use quayside_store::{
    Controls, StoreError,
    controls::ControlSet,
    model::{Name, port::PortControl},
};

use crate::{
    PostgresStore,
    error::fail,
    row::{Reader, to_json},
    sql::Sql,
};

const OPERATION: &str = "keep controls";

#[async_trait]
impl Controls for PostgresStore {
    async fn controls(&self) -> Result<ControlSet, StoreError> {
        let work = self.work(OPERATION, async |conn| {
            let mut set = ControlSet::default();
            for row in &conn.rows(OPERATION, Sql::ControlList, vec![]).await? {
                let row = Reader::new(row, OPERATION, "control");
                set.version = row.get("version")?;
                if let Some(name) = row.text_opt::<Name>("name")? {
                    set.controls
                        .push((name, row.json("control")?, row.time("changed_at")?));
                }
            }
            Ok(set)
        });
        self.run(OPERATION, 1, self.work_timeout(), work).await
    }

    async fn set_control(&self, name: &Name, control: &PortControl) -> Result<(), StoreError> {
        let (name, control) = (name.as_str(), to_json(OPERATION, control)?);
        let work = self.work(OPERATION, async |conn| {
            conn.rows(OPERATION, Sql::ControlSet, vec![&name, &control])
                .await
        });
        self.run(OPERATION, 1, self.work_timeout(), work).await?;
        Ok(())
    }

    async fn apply_config(&self, hash: &str, text: &str) -> Result<i64, StoreError> {
        let work = self.work(OPERATION, async |conn| {
            let steps = vec![
                conn.text("BEGIN; LOCK TABLE config IN SHARE ROW EXCLUSIVE MODE"),
                conn.step(Sql::ConfigApply, vec![&hash, &text]),
                conn.text("COMMIT"),
            ];
            let rows = conn.trip(steps).await.map_err(|e| fail(OPERATION, e))?;
            let row = rows.get(1).and_then(|rows| rows.first()).ok_or_else(|| {
                StoreError::corrupt(OPERATION, "table config: no version".to_owned())
            })?;
            Reader::new(row, OPERATION, "config").get("version")
        });
        self.run(OPERATION, 1, self.work_timeout(), work).await
    }
}
