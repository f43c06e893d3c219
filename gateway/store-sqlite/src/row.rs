//! Cells to values of the model and back. A cell that cannot be says where it stands.

use quayside_store::model::{
    BodyId, Context, DeliveryId, DeliveryState, ExchangeId, Failure, GrantId, InstanceId,
    MessageId, Name, RunId, SessionId, Text, Timestamp, Transport,
};
use rusqlite::{Row, types::FromSql};
use serde::de::DeserializeOwned;

use crate::error::{DbError, DbResult};

/// `delivery.state`.
pub(crate) mod state {
    /// For anyone, and due.
    pub(crate) const READY: i64 = 0;
    /// In an instance's hands.
    pub(crate) const CLAIMED: i64 = 1;
    /// Behind its key.
    pub(crate) const HELD: i64 = 2;
    /// For an operator.
    pub(crate) const SUSPENDED: i64 = 3;
    /// For anyone, but not due yet.
    pub(crate) const WAITING: i64 = 4;
    /// With a run of an orchestration.
    pub(crate) const TAKEN: i64 = 5;
}

/// Something that is kept in a cell of its own form.
pub(crate) trait Cell: Sized {
    /// What SQLite gives.
    type Raw: FromSql;
    /// Reads it; `None` if it cannot be.
    fn read(raw: Self::Raw) -> Option<Self>;
}

macro_rules! id_cells {
    ($($id:ty),+) => { $(
        impl Cell for $id {
            type Raw = [u8; 16];
            fn read(raw: [u8; 16]) -> Option<Self> {
                Some(Self::from_bytes(raw))
            }
        }
    )+ };
}
id_cells!(
    MessageId, InstanceId, SessionId, BodyId, ExchangeId, GrantId, RunId
);

macro_rules! plain_cells {
    ($($plain:ty),+) => { $(
        impl Cell for $plain {
            type Raw = Self;
            fn read(raw: Self) -> Option<Self> {
                Some(raw)
            }
        }
    )+ };
}
plain_cells!(i64, bool, Vec<u8>, [u8; 16], [u8; 32]);

macro_rules! number_cells {
    ($($number:ty),+) => { $(
        impl Cell for $number {
            type Raw = i64;
            fn read(raw: i64) -> Option<Self> {
                raw.try_into().ok()
            }
        }
    )+ };
}
number_cells!(u8, u16, u32, u64);

macro_rules! text_cells {
    ($($text:ty),+) => { $(
        impl Cell for $text {
            type Raw = std::sync::Arc<str>;
            fn read(raw: std::sync::Arc<str>) -> Option<Self> {
                Self::new(raw).ok()
            }
        }
    )+ };
}
text_cells!(Name, Text);

impl Cell for Timestamp {
    type Raw = i64;
    fn read(raw: i64) -> Option<Self> {
        Some(Self::from_micros(raw))
    }
}

impl Cell for Transport {
    type Raw = i64;
    fn read(raw: i64) -> Option<Self> {
        match raw {
            0 => Some(Self::Primary),
            1 => Some(Self::Backup),
            _ => None,
        }
    }
}

impl Cell for DeliveryState {
    type Raw = i64;
    fn read(raw: i64) -> Option<Self> {
        match raw {
            state::READY | state::WAITING => Some(Self::Ready),
            state::CLAIMED => Some(Self::Claimed),
            state::HELD => Some(Self::Held),
            state::SUSPENDED => Some(Self::Suspended),
            state::TAKEN => Some(Self::Taken),
            _ => None,
        }
    }
}

/// Something that is kept as JSON.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> Cell for Json<T> {
    type Raw = String;
    fn read(raw: String) -> Option<Self> {
        serde_json::from_str(&raw).ok().map(Self)
    }
}

impl<T: Cell> Cell for Option<T> {
    type Raw = Option<T::Raw>;
    fn read(raw: Self::Raw) -> Option<Self> {
        raw.map_or(Some(None), |raw| T::read(raw).map(Some))
    }
}

/// Reads the cell `index`, which `place` names as `table.column`.
pub(crate) fn cell<T: Cell>(row: &Row<'_>, index: usize, place: &'static str) -> DbResult<T> {
    let unreadable = || DbError::Corrupt(format!("{place} in the row {}", identity(row)));
    let raw = row.get::<_, T::Raw>(index).map_err(|_| unreadable())?;
    T::read(raw).ok_or_else(unreadable)
}

/// The first cells of a row, which in every query here hold what identifies it.
fn identity(row: &Row<'_>) -> String {
    let cells = (0..row.as_ref().column_count().min(2)).map(|i| format!("{:?}", row.get_ref(i)));
    cells.collect::<Vec<_>>().join(", ")
}

/// Reads a delivery id from two cells.
pub(crate) fn delivery_id(row: &Row<'_>, message: usize, no: usize) -> DbResult<DeliveryId> {
    Ok(DeliveryId {
        message: cell(row, message, "delivery.message")?,
        no: cell(row, no, "delivery.no")?,
    })
}

/// `delivery.transport`.
pub(crate) fn transport_cell(transport: Transport) -> i64 {
    match transport {
        Transport::Primary => 0,
        Transport::Backup => 1,
    }
}

/// `delivery.failure`.
pub(crate) fn failure_cell(failure: &Failure) -> String {
    serde_json::to_string(failure).expect("a failure holds texts and an enum")
}

/// `message.context`.
pub(crate) fn context_cell(context: &Context) -> String {
    serde_json::to_string(context).expect("a context holds names, texts and numbers")
}

/// A length or count as SQLite keeps it.
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A duration in microseconds.
pub(crate) fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
