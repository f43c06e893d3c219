//! Rows and values of the driver to those of the model and back.

use std::error::Error;

use bytes::{Bytes, BytesMut};
use quayside_store::{StoreError, StoreErrorKind, model};
use serde::de::DeserializeOwned;
use tokio_postgres::{
    Row,
    types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked},
};

/// An id of any noun, as the database takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Id(pub(crate) [u8; 16]);

impl ToSql for Id {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }
    accepts!(UUID);
    to_sql_checked!();
}

impl FromSql<'_> for Id {
    fn from_sql(_: &Type, raw: &[u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw.try_into()?))
    }
    accepts!(UUID);
}

macro_rules! ids {
    ($($name:ident)+) => { $(
        impl From<model::$name> for Id {
            fn from(id: model::$name) -> Self {
                Self(id.to_bytes())
            }
        }
        impl From<Id> for model::$name {
            fn from(id: Id) -> Self {
                Self::from_bytes(id.0)
            }
        }
    )+ };
}
ids!(BodyId ExchangeId GrantId InstanceId MessageId RunId SessionId);

/// A row on its way into the model: knows what to say when a column cannot be.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    row: &'a Row,
    operation: &'static str,
    table: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(row: &'a Row, operation: &'static str, table: &'static str) -> Self {
        Self {
            row,
            operation,
            table,
        }
    }

    /// The column `name` in the driver's type.
    pub(crate) fn get<T: FromSql<'a>>(&self, name: &str) -> Result<T, StoreError> {
        self.row
            .try_get(name)
            .map_err(|e| self.corrupt(name, &e.to_string()))
    }

    /// The id in the column `name`.
    pub(crate) fn id<T: From<Id>>(&self, name: &str) -> Result<T, StoreError> {
        self.get::<Id>(name).map(T::from)
    }

    /// The id in the column `name`, if there is one.
    pub(crate) fn id_opt<T: From<Id>>(&self, name: &str) -> Result<Option<T>, StoreError> {
        Ok(self.get::<Option<Id>>(name)?.map(T::from))
    }

    /// The text in the column `name`.
    pub(crate) fn text<T>(&self, name: &str) -> Result<T, StoreError>
    where
        T: TryFrom<&'a str, Error: std::fmt::Display>,
    {
        let text: &str = self.get(name)?;
        T::try_from(text).map_err(|e| self.corrupt(name, &e.to_string()))
    }

    /// The text in the column `name`, if there is one.
    pub(crate) fn text_opt<T>(&self, name: &str) -> Result<Option<T>, StoreError>
    where
        T: TryFrom<&'a str, Error: std::fmt::Display>,
    {
        let text: Option<&str> = self.get(name)?;
        text.map(T::try_from)
            .transpose()
            .map_err(|e| self.corrupt(name, &e.to_string()))
    }

    /// The number in the column `name`, which the database keeps signed.
    pub(crate) fn number<S, T>(&self, name: &str) -> Result<T, StoreError>
    where
        S: FromSql<'a>,
        T: TryFrom<S, Error: std::fmt::Display>,
    {
        T::try_from(self.get::<S>(name)?).map_err(|e| self.corrupt(name, &e.to_string()))
    }

    /// The moment in the column `name`.
    pub(crate) fn time(&self, name: &str) -> Result<model::Timestamp, StoreError> {
        self.get(name).map(model::Timestamp::from_micros)
    }

    /// The JSON in the column `name`.
    pub(crate) fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, StoreError> {
        let text: &str = self.get(name)?;
        serde_json::from_str(text).map_err(|e| self.corrupt(name, &e.to_string()))
    }

    /// The JSON in the column `name`, if there is one.
    pub(crate) fn json_opt<T: DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Option<T>, StoreError> {
        let text: Option<&str> = self.get(name)?;
        text.map(serde_json::from_str)
            .transpose()
            .map_err(|e| self.corrupt(name, &e.to_string()))
    }

    /// The bytes in the column `name`, if there are any.
    pub(crate) fn bytes_opt(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        let bytes: Option<&[u8]> = self.get(name)?;
        Ok(bytes.map(Bytes::copy_from_slice))
    }

    /// The fixed number of bytes in the column `name`, if there are any.
    pub(crate) fn array_opt<const N: usize>(
        &self,
        name: &str,
    ) -> Result<Option<[u8; N]>, StoreError> {
        let bytes: Option<&[u8]> = self.get(name)?;
        bytes
            .map(<[u8; N]>::try_from)
            .transpose()
            .map_err(|e| self.corrupt(name, &e.to_string()))
    }

    /// What cannot be in the column `name`, with the row that it is in.
    pub(crate) fn corrupt(&self, name: &str, what: &str) -> StoreError {
        let first = self.row.columns().first().map(tokio_postgres::Column::name);
        let row = match self.row.try_get::<_, Id>(0) {
            Ok(id) => model::MessageId::from(id).to_string(),
            Err(_) => "of another key".to_owned(),
        };
        let key = first.unwrap_or("row");
        StoreError::corrupt(
            self.operation,
            format!("table {}, column {name}, {key} {row}: {what}", self.table),
        )
    }
}

/// JSON text of a model value.
pub(crate) fn to_json(
    operation: &'static str,
    value: &impl serde::Serialize,
) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError::new(StoreErrorKind::Data, operation, e))
}

/// Microseconds of a duration, at most what fits beside a time stamp.
pub(crate) fn micros(duration: std::time::Duration) -> i64 {
    // A quarter of the range, so that sums of a moment and a few durations cannot overflow.
    i64::try_from(duration.as_micros()).map_or(i64::MAX / 4, |us| us.min(i64::MAX / 4))
}
