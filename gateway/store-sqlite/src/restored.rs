//! What a store that was restored from a backup has to know: what came after the backup is unknown, and must not be done
//! or granted as if it had never been.

use quayside_store::{StoreError, lease::Epoch};

use crate::{
    error::{DbError, DbResult},
    open::SqliteStore,
    row::cell,
    tx::Tx,
};

impl SqliteStore {
    /// Raises the epochs above all that were ever granted, as [`Epoch::after_restore`] says, and puts what is open in
    /// doubt. How many deliveries are in doubt now, and what the next owner of each clustered host has at least; `None`
    /// changes nothing: the clock is wrong. For whoever has just put a backup into its place.
    ///
    /// # Errors
    /// As SQLite says.
    pub async fn restored(&self) -> Result<Option<(u64, Epoch)>, StoreError> {
        self.write("release restored store", restored).await
    }
}

fn restored(tx: &Tx<'_>) -> DbResult<Option<(u64, Epoch)>> {
    let highest = tx.first(include_str!("../sql/restored_epochs.sql"), [], |row| {
        cell::<i64>(row, 0, "fence.epoch")
    })?;
    let highest = Epoch::new(highest.unwrap_or_default());
    let Some(floor) = Epoch::after_restore(tx.now, highest) else {
        return Ok(None);
    };
    tx.execute(include_str!("../sql/restored_fences.sql"), [floor.raw()])?;
    tx.execute(include_str!("../sql/restored_sequence.sql"), [floor.raw()])?;
    let open = tx.execute(include_str!("../sql/restored_doubt.sql"), [])?;
    let open = i64::try_from(open).unwrap_or(i64::MAX);
    let last = tx.first(
        include_str!("../sql/sequence_take.sql"),
        ("box", open),
        |row| cell::<i64>(row, 0, "sequence.value"),
    )?;
    let last = last.ok_or_else(|| DbError::Corrupt("sequence.value in the row box".to_owned()))?;
    let told = include_str!("../sql/restored_told.sql");
    tx.execute(told, (last - open, tx.now.as_micros()))?;
    let doubts = tx.first(include_str!("../sql/restored_doubts.sql"), [], |row| {
        cell::<i64>(row, 0, "delivery.in_doubt")
    })?;
    let doubts = u64::try_from(doubts.unwrap_or_default()).unwrap_or_default();
    Ok(Some((doubts, Epoch::new(floor.raw() + 1))))
}
