//! Deliveries in doubt, with what was written down of the owner that died.

use quayside_store::{
    StoreError,
    browse::{DoubtRow, LostOwner},
    lease::Epoch,
    model::{InstanceId, Name, Timestamp},
};
use serde::Deserialize;
use tokio_postgres::Row;

use super::{OPERATION, read_delivery};
use crate::row::Reader;

/// The column `doubt`, as the release of the claims of the dead and that of a restored store write it: moments in
/// microseconds.
#[derive(Debug, Deserialize)]
struct Doubt {
    instance: InstanceId,
    node: Name,
    epoch: Option<Epoch>,
    begun: Option<i64>,
    released: i64,
    /// There was no owner: the store was restored then.
    #[serde(default)]
    restored: bool,
}

impl From<Doubt> for LostOwner {
    fn from(doubt: Doubt) -> Self {
        Self {
            instance: Some(doubt.instance),
            node: Some(doubt.node),
            epoch: doubt.epoch,
            begun_at: doubt.begun.map(Timestamp::from_micros),
            released_at: Timestamp::from_micros(doubt.released),
        }
    }
}

pub(super) fn read(row: &Row) -> Result<DoubtRow, StoreError> {
    let cells = Reader::new(row, OPERATION, "delivery");
    let doubt: Option<Doubt> = cells.json_opt("doubt")?;
    let restored = doubt.as_ref().filter(|doubt| doubt.restored);
    Ok(DoubtRow {
        delivery: read_delivery(row)?,
        context: cells.json("context")?,
        restored_at: restored.map(|doubt| Timestamp::from_micros(doubt.released)),
        owner: doubt.filter(|doubt| !doubt.restored).map(LostOwner::from),
    })
}
