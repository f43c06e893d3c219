//! What receiving adapters keep in the store: marks to settle after a crash, and leases on sources.

use async_trait::async_trait;
use quayside_store::{
    Sources, StoreError,
    model::{InstanceId, Name, Text},
    sources::PendingSource,
};

use crate::{open::SqliteStore, row::cell, sessions::is_live};

#[async_trait]
impl Sources for SqliteStore {
    async fn pending_sources(
        &self,
        location: &Name,
        limit: u32,
    ) -> Result<Vec<PendingSource>, StoreError> {
        let location = location.clone();
        self.read("list sources", move |tx| {
            let sql = include_str!("../sql/source_list.sql");
            tx.all(sql, (location.as_str(), limit), |row| {
                Ok(PendingSource {
                    key: cell(row, 0, "source.key")?,
                    state: cell(row, 1, "source.state")?,
                    message: cell(row, 2, "source.message")?,
                })
            })
        })
        .await
    }

    async fn settle_sources(&self, location: &Name, keys: &[Text]) -> Result<(), StoreError> {
        let (location, keys) = (location.clone(), keys.to_vec());
        self.write("settle sources", move |tx| {
            let sql = include_str!("../sql/source_delete.sql");
            keys.iter()
                .try_for_each(|key| tx.execute(sql, (location.as_str(), key.as_str())).map(drop))
        })
        .await
    }

    async fn take_lease(&self, key: &Text, instance: InstanceId) -> Result<bool, StoreError> {
        let key = key.clone();
        self.write("take lease", move |tx| {
            if !is_live(tx, instance)? {
                return Ok(false);
            }
            let sql = include_str!("../sql/source_lease_owner.sql");
            let owner = tx.first(sql, [key.as_str()], |row| {
                cell::<InstanceId>(row, 0, "source_lease.instance")
            })?;
            match owner {
                Some(owner) => Ok(owner == instance),
                None => {
                    let sql = include_str!("../sql/source_lease_take.sql");
                    tx.execute(sql, (key.as_str(), instance.to_bytes()))?;
                    Ok(true)
                }
            }
        })
        .await
    }

    async fn release_lease(&self, key: &Text, instance: InstanceId) -> Result<(), StoreError> {
        let key = key.clone();
        self.write("release lease", move |tx| {
            let sql = include_str!("../sql/source_lease_release.sql");
            tx.execute(sql, (key.as_str(), instance.to_bytes()))
                .map(drop)
        })
        .await
    }
}
