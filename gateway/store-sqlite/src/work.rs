//! Work under a lease: renewed and answered by programs. See `quayside_store::work`.

use async_trait::async_trait;
use quayside_store::{
    StoreError, StoreErrorKind, Works,
    model::{Content, ExchangeId, RunId, Timestamp},
    work::{TOLD, Ticket, WorkAnswer, WorkOutcome},
};

use crate::{error::DbResult, open::SqliteStore, row::cell, tx::Tx};

#[async_trait]
impl Works for SqliteStore {
    async fn renew_work(&self, ticket: &Ticket) -> Result<Option<Timestamp>, StoreError> {
        let ticket = *ticket;
        self.write("renew work", move |tx| {
            let (work, now) = (ticket.exchange.to_bytes(), tx.now.as_micros());
            let sql = include_str!("../sql/work_renew.sql");
            tx.first(sql, (work, ticket.token, ticket.attempt, now), |row| {
                cell(row, 0, "exchange.lease_until")
            })
        })
        .await
    }

    async fn work_until(&self, ticket: &Ticket) -> Result<Option<Timestamp>, StoreError> {
        let ticket = *ticket;
        self.read("read work", move |tx| {
            let (work, now) = (ticket.exchange.to_bytes(), tx.now.as_micros());
            let sql = include_str!("../sql/work_until.sql");
            tx.first(sql, (work, ticket.token, ticket.attempt, now), |row| {
                cell(row, 0, "exchange.lease_until")
            })
        })
        .await
    }

    async fn answer_work(
        &self,
        ticket: &Ticket,
        answer: &WorkAnswer,
    ) -> Result<WorkOutcome, StoreError> {
        let Content::Inline(bytes) = answer.body.content.clone() else {
            let cause = "the answer to a piece of work is not inline";
            return Err(StoreError::new(StoreErrorKind::Data, "answer work", cause));
        };
        let (ticket, status) = (*ticket, answer.status);
        let content_type = answer.body.content_type.clone();
        self.write("answer work", move |tx| {
            let (work, token, bytes) = (ticket.exchange.to_bytes(), ticket.token, &bytes[..]);
            let (now, of) = (tx.now.as_micros(), content_type.as_deref());
            let sql = include_str!("../sql/work_answer.sql");
            let first = tx.execute(sql, (work, token, now, status, of, bytes))? == 1;
            let sql = include_str!("../sql/work_answered.sql");
            if first || tx.exists(sql, (work, token, status, bytes))? {
                return Ok(WorkOutcome::Kept);
            }
            Ok(WorkOutcome::Over)
        })
        .await
    }
}

/// Ends exchanges of a run, all of them without `exchange`: what a program has answered is known for a while after that.
pub(crate) fn close(tx: &Tx<'_>, run: RunId, exchange: Option<ExchangeId>) -> DbResult<()> {
    let until = tx.now.plus(TOLD).as_micros();
    let (run, of) = (run.to_bytes(), exchange.map(ExchangeId::to_bytes));
    tx.execute(include_str!("../sql/exchange_told.sql"), (run, of, until))?;
    match of {
        Some(of) => tx.execute(include_str!("../sql/exchange_close.sql"), (of, run))?,
        None => tx.execute(include_str!("../sql/exchange_clear.sql"), [run])?,
    };
    Ok(())
}
