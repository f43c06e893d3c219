//! Bodies in chunks.

use async_trait::async_trait;
use bytes::Bytes;
use quayside_store::{
    Bodies, StoreError,
    model::{BodyId, InstanceId},
};

use crate::{
    PostgresStore,
    row::{Id, Reader},
    sql::Sql,
};

const WRITE: &str = "write chunk";
const READ: &str = "read chunk";

#[async_trait]
impl Bodies for PostgresStore {
    async fn open_body(&self, body: BodyId, instance: InstanceId) -> Result<bool, StoreError> {
        let (body, me) = (Id::from(body), Id::from(instance));
        Ok(self.change(WRITE, Sql::BodyOpen, vec![&body, &me]).await? > 0)
    }

    async fn append_chunk(
        &self,
        body: BodyId,
        instance: InstanceId,
        no: u32,
        chunk: Bytes,
    ) -> Result<bool, StoreError> {
        let (body, me, no) = (Id::from(body), Id::from(instance), chunk_no(no));
        let bytes = &*chunk;
        Ok(self
            .change(WRITE, Sql::ChunkWrite, vec![&body, &me, &no, &bytes])
            .await?
            > 0)
    }

    async fn read_chunk(&self, body: BodyId, no: u32) -> Result<Option<Bytes>, StoreError> {
        let (body, no) = (Id::from(body), chunk_no(no));
        let work = self.work(READ, async |conn| {
            let rows = conn.rows(READ, Sql::ChunkRead, vec![&body, &no]).await?;
            rows.first().map_or(Ok(None), |row| {
                Reader::new(row, READ, "chunk").bytes_opt("bytes")
            })
        });
        self.run(READ, 1, self.work_timeout(), work).await
    }

    async fn abandon_body(&self, body: BodyId, instance: InstanceId) -> Result<(), StoreError> {
        let (body, me) = (Id::from(body), Id::from(instance));
        self.change(WRITE, Sql::BodyAbandon, vec![&body, &me])
            .await?;
        Ok(())
    }
}

/// A number past the database's is past the last chunk of any body.
fn chunk_no(no: u32) -> i32 {
    i32::try_from(no).unwrap_or(i32::MAX)
}
