//! What outside programs say of their work, on its way from the listeners into the store.

use async_trait::async_trait;
use bytes::Bytes;
use quayside_adapter_api::{AdapterError, ErrorKind};
use quayside_adapter_http::Workers;
use quayside_model::{Content, Name, Part, Text, Timestamp};
use quayside_store::{
    AnyStore, StoreError,
    work::{Ticket, WorkAnswer, WorkOutcome},
};

use crate::exit::chain;

/// Keeps it in the store of this node: any node may hear it.
pub(crate) struct Desk(pub(crate) AnyStore);

#[async_trait]
impl Workers for Desk {
    async fn heartbeat(&self, ticket: &str) -> Result<Option<Timestamp>, AdapterError> {
        // What is no ticket is answered like one that is over: nobody learns which.
        let Ok(ticket) = ticket.parse::<Ticket>() else {
            return Ok(None);
        };
        self.0.renew_work(&ticket).await.map_err(failed)
    }

    async fn answer(
        &self,
        ticket: &str,
        status: u16,
        content_type: Option<Text>,
        body: Bytes,
    ) -> Result<bool, AdapterError> {
        let Ok(ticket) = ticket.parse::<Ticket>() else {
            return Ok(false);
        };
        let body = Part {
            name: Name::new("body").expect("a name"),
            content_type,
            content: Content::Inline(body),
        };
        let answer = WorkAnswer { status, body };
        let outcome = self.0.answer_work(&ticket, &answer).await;
        Ok(outcome.map_err(failed)? == WorkOutcome::Kept)
    }
}

fn failed(error: StoreError) -> AdapterError {
    AdapterError::new(ErrorKind::Retry(None), error.kind.code(), chain(&error))
}
