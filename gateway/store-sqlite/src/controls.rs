//! The operators' word about ports and locations, and the configuration in force.

use async_trait::async_trait;
use quayside_store::{
    Controls, StoreError,
    controls::ControlSet,
    model::{Name, port::PortControl},
};

use crate::{
    error::DbResult,
    open::SqliteStore,
    row::{Json, cell},
    tx::Tx,
};

#[async_trait]
impl Controls for SqliteStore {
    async fn controls(&self) -> Result<ControlSet, StoreError> {
        self.read("read controls", controls).await
    }

    async fn set_control(&self, name: &Name, control: &PortControl) -> Result<(), StoreError> {
        let name = name.clone();
        let control = serde_json::to_string(control).expect("a control holds texts and enums");
        self.write("set control", move |tx| {
            let sql = include_str!("../sql/control_upsert.sql");
            tx.execute(sql, (name.as_str(), &control, tx.now.as_micros()))?;
            let sql = include_str!("../sql/sequence_take.sql");
            tx.first(sql, ("control", 1), |_| Ok(())).map(drop)
        })
        .await
    }

    async fn apply_config(&self, hash: &str, text: &str) -> Result<i64, StoreError> {
        let (hash, text) = (hash.to_owned(), text.to_owned());
        self.write("apply configuration", move |tx| {
            let sql = include_str!("../sql/config_newest.sql");
            let newest = tx.first(sql, [], |row| {
                Ok((
                    cell::<i64>(row, 0, "config.version")?,
                    row.get::<_, String>(1)?,
                ))
            })?;
            match newest {
                Some((version, newest)) if newest == hash => Ok(version),
                newest => {
                    let version = newest.map_or(1, |(version, _)| version + 1);
                    let sql = include_str!("../sql/config_insert.sql");
                    tx.execute(sql, (version, &hash, &text, tx.now.as_micros()))?;
                    Ok(version)
                }
            }
        })
        .await
    }
}

fn controls(tx: &Tx<'_>) -> DbResult<ControlSet> {
    let sql = include_str!("../sql/sequence_read.sql");
    let version = tx.first(sql, ["control"], |row| cell(row, 0, "sequence.value"))?;
    let controls = tx.all(include_str!("../sql/control_list.sql"), [], |row| {
        Ok((
            cell(row, 0, "control.name")?,
            cell::<Json<PortControl>>(row, 1, "control.control")?.0,
            cell(row, 2, "control.changed_at")?,
        ))
    })?;
    Ok(ControlSet {
        version: version.unwrap_or(0),
        controls,
    })
}
