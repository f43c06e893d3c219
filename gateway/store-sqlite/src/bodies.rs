//! Bodies too large for a row: written and read chunk by chunk, each in its own short transaction.

use async_trait::async_trait;
use bytes::Bytes;
use quayside_store::{
    Bodies, StoreError,
    model::{BodyId, InstanceId},
};

use crate::{open::SqliteStore, sessions::is_live};

#[async_trait]
impl Bodies for SqliteStore {
    async fn open_body(&self, body: BodyId, instance: InstanceId) -> Result<bool, StoreError> {
        self.write("open body", move |tx| {
            if !is_live(tx, instance)? {
                return Ok(false);
            }
            let ids = (body.to_bytes(), instance.to_bytes());
            let sql = include_str!("../sql/body_insert.sql");
            tx.execute(sql, (ids.0, ids.1, tx.now.as_micros()))?;
            // Opened by this call, or by an earlier run of it whose answer was lost.
            tx.exists(include_str!("../sql/body_is_open.sql"), ids)
        })
        .await
    }

    async fn append_chunk(
        &self,
        body: BodyId,
        instance: InstanceId,
        no: u32,
        chunk: Bytes,
    ) -> Result<bool, StoreError> {
        self.write("append chunk", move |tx| {
            let ids = (body.to_bytes(), instance.to_bytes());
            if !is_live(tx, instance)?
                || !tx.exists(include_str!("../sql/body_is_open.sql"), ids)?
            {
                return Ok(false);
            }
            tx.execute(
                include_str!("../sql/chunk_upsert.sql"),
                (ids.0, no, &chunk[..]),
            )?;
            Ok(true)
        })
        .await
    }

    async fn read_chunk(&self, body: BodyId, no: u32) -> Result<Option<Bytes>, StoreError> {
        self.read("read chunk", move |tx| {
            let sql = include_str!("../sql/chunk_read.sql");
            tx.first(sql, (body.to_bytes(), no), |row| {
                Ok(Bytes::from(row.get::<_, Vec<u8>>(0)?))
            })
        })
        .await
    }

    async fn abandon_body(&self, body: BodyId, instance: InstanceId) -> Result<(), StoreError> {
        self.write("abandon body", move |tx| {
            let sql = include_str!("../sql/body_abandon.sql");
            tx.execute(sql, (body.to_bytes(), instance.to_bytes()))
                .map(drop)
        })
        .await
    }
}
