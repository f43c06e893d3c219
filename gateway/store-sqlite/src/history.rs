//! Writing down what became of messages.

use quayside_store::model::{DeliveryId, EndResult, MessageId};

use crate::{commit::Numbers, error::DbResult, tx::Tx};

/// One event of a message.
#[derive(Debug)]
pub(crate) struct Event<'a> {
    message: MessageId,
    event: &'a str,
    no: Option<u16>,
    port: Option<&'a str>,
    attempts: u32,
    token: Option<u32>,
    detail: &'a str,
}

impl<'a> Event<'a> {
    /// An event of a message as a whole.
    pub(crate) fn of(message: MessageId, event: &'a str) -> Self {
        Self {
            message,
            event,
            no: None,
            port: None,
            attempts: 0,
            token: None,
            detail: "",
        }
    }

    /// An event of one delivery.
    pub(crate) fn of_delivery(delivery: DeliveryId, event: &'a str, port: &'a str) -> Self {
        Self {
            no: Some(delivery.no),
            port: Some(port),
            ..Self::of(delivery.message, event)
        }
    }

    /// With the number of attempts made.
    pub(crate) fn attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    /// With the claim that did it.
    pub(crate) fn token(self, token: u32) -> Self {
        Self {
            token: Some(token),
            ..self
        }
    }

    /// With what an operator may want to know.
    pub(crate) fn detail(self, detail: &'a str) -> Self {
        Self { detail, ..self }
    }

    /// Writes it.
    pub(crate) fn insert(self, tx: &Tx<'_>, numbers: &mut Numbers) -> DbResult<()> {
        tx.execute(
            include_str!("../sql/history_insert.sql"),
            (
                numbers.next(),
                self.message.to_bytes(),
                tx.now.as_micros(),
                self.no,
                self.event,
                self.port,
                self.attempts,
                self.token,
                self.detail,
            ),
        )?;
        Ok(())
    }
}

/// `history.event` of an end.
pub(crate) fn end_event(result: EndResult) -> &'static str {
    match result {
        EndResult::Sent => "sent",
        EndResult::SentByBackup => "sent-by-backup",
        EndResult::Consumed => "consumed",
        EndResult::Terminated => "terminated",
    }
}
