//! What receiving adapters keep in the store.

use async_trait::async_trait;
use quayside_store::{
    Sources, StoreError,
    model::{InstanceId, Name, Text},
    sources::PendingSource,
};

use crate::{
    PostgresStore,
    row::{Id, Reader},
    sql::Sql,
};

const OPERATION: &str = "keep sources";

#[async_trait]
impl Sources for PostgresStore {
    async fn pending_sources(
        &self,
        location: &Name,
        limit: u32,
    ) -> Result<Vec<PendingSource>, StoreError> {
        let (location, limit) = (location.as_str(), i64::from(limit));
        let work = self.work(OPERATION, async |conn| {
            let rows = conn
                .rows(OPERATION, Sql::SourceList, vec![&location, &limit])
                .await?;
            rows.iter()
                .map(|row| read(&Reader::new(row, OPERATION, "source")))
                .collect()
        });
        self.run(OPERATION, 1, self.work_timeout(), work).await
    }

    async fn settle_sources(&self, location: &Name, keys: &[Text]) -> Result<(), StoreError> {
        let location = location.as_str();
        let mut keys: Vec<&str> = keys.iter().map(Text::as_str).collect();
        keys.sort_unstable();
        self.change(OPERATION, Sql::SourceDelete, vec![&location, &keys])
            .await?;
        Ok(())
    }

    async fn take_lease(&self, key: &Text, instance: InstanceId) -> Result<bool, StoreError> {
        let (key, me) = (key.as_str(), Id::from(instance));
        Ok(self
            .change(OPERATION, Sql::LeaseTake, vec![&key, &me])
            .await?
            > 0)
    }

    async fn release_lease(&self, key: &Text, instance: InstanceId) -> Result<(), StoreError> {
        let (key, me) = (key.as_str(), Id::from(instance));
        self.change(OPERATION, Sql::LeaseRelease, vec![&key, &me])
            .await?;
        Ok(())
    }
}

fn read(row: &Reader<'_>) -> Result<PendingSource, StoreError> {
    Ok(PendingSource {
        key: row.text("key")?,
        state: row.text("state")?,
        message: row.id("message")?,
    })
}
