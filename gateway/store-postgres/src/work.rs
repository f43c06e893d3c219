//! Work under a lease: renewed and answered by programs. See `quayside_store::work`.

use async_trait::async_trait;
use quayside_store::{
    StoreError, StoreErrorKind, Works,
    model::{Content, Timestamp},
    work::{Ticket, WorkAnswer, WorkOutcome},
};

use crate::{
    PostgresStore,
    pool::{Conn, Params, Use},
    row::{Id, Reader},
    sql::Sql,
};

const RENEW: &str = "renew work";
const ANSWER: &str = "answer work";

#[async_trait]
impl Works for PostgresStore {
    async fn renew_work(&self, ticket: &Ticket) -> Result<Option<Timestamp>, StoreError> {
        let renewal = self.surely(Use::Work, RENEW, async |conn| {
            lease(conn, Sql::WorkRenew, ticket).await
        });
        self.run(RENEW, 1, self.work_timeout(), renewal).await
    }

    async fn work_until(&self, ticket: &Ticket) -> Result<Option<Timestamp>, StoreError> {
        let look = self.work(RENEW, async |conn| {
            lease(conn, Sql::WorkUntil, ticket).await
        });
        self.run(RENEW, 1, self.work_timeout(), look).await
    }

    async fn answer_work(
        &self,
        ticket: &Ticket,
        answer: &WorkAnswer,
    ) -> Result<WorkOutcome, StoreError> {
        let Content::Inline(bytes) = &answer.body.content else {
            let cause = "the answer to a piece of work is not inline";
            return Err(StoreError::new(StoreErrorKind::Data, ANSWER, cause));
        };
        let (work, token, bytes) = (Id::from(ticket.exchange), Id(ticket.token), &bytes[..]);
        let (status, of) = (
            i32::from(answer.status),
            answer.body.content_type.as_deref(),
        );
        let first = self.surely(Use::Work, ANSWER, async |conn| {
            let params: Params<'_> = vec![&work, &token, &status, &of, &bytes];
            conn.change(ANSWER, Sql::WorkAnswer, params).await
        });
        if self.run(ANSWER, 1, self.work_timeout(), first).await? == 1 {
            return Ok(WorkOutcome::Kept);
        }
        let known = self.work(ANSWER, async |conn| {
            let params: Params<'_> = vec![&work, &token, &status, &bytes];
            let rows = conn.rows(ANSWER, Sql::WorkAnswered, params).await?;
            let row = rows.first();
            row.map(|row| Reader::new(row, ANSWER, "exchange").get::<bool>("answered"))
                .transpose()
        });
        let known = self.run(ANSWER, 1, self.work_timeout(), known).await?;
        Ok(match known {
            Some(true) => WorkOutcome::Kept,
            _ => WorkOutcome::Over,
        })
    }
}

/// The end of the lease that `sql` gives for a ticket.
async fn lease(conn: &Conn, sql: Sql, ticket: &Ticket) -> Result<Option<Timestamp>, StoreError> {
    let (work, token) = (Id::from(ticket.exchange), Id(ticket.token));
    let attempt = i32::try_from(ticket.attempt).unwrap_or(i32::MAX);
    let params: Params<'_> = vec![&work, &token, &attempt];
    let rows = conn.rows(RENEW, sql, params).await?;
    let until = rows.first();
    until
        .map(|row| Reader::new(row, RENEW, "exchange").time("lease_until"))
        .transpose()
}
