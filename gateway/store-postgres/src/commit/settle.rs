//! Settlements of a batch: ends, retries, suspensions and claims given back.

use std::collections::{HashMap, HashSet};

use quayside_store::{
    Change, Outcome, SettleOutcome, StoreError,
    commit::Answer,
    model::{Claim, Content, DeliveryId, EndResult, Transport},
};
use tokio_postgres::Row;

use super::{
    OPERATION,
    attempt::{Settle, delivery_id},
};
use crate::{
    pool::{Conn, Params, Step},
    row::{Id, Reader, micros, to_json},
    sql::Sql,
};

/// The settlements of a batch as columns, and what became of them.
#[derive(Debug, Default)]
pub(super) struct Settlements<'a> {
    all: Vec<Settle<'a>>,
    ends: Ends<'a>,
    answers: Ends<'a>,
    answered: Answers<'a>,
    retries: Retries,
    suspensions: Suspensions,
    releases: Claims,
    intents: Claims,
    done: HashSet<(DeliveryId, u32)>,
}

impl<'a> Settlements<'a> {
    /// The columns of `settles`, each statement's in ascending order of the deliveries: two batches that
    /// meet the same rows lock them in the same order.
    pub(super) fn new(mut settles: Vec<Settle<'a>>) -> Result<Self, StoreError> {
        let mut settlements = Self {
            all: settles.clone(),
            ..Self::default()
        };
        settles.sort_by_key(|s| s.claim.delivery);
        for settle in settles {
            settlements.push(settle)?;
        }
        Ok(settlements)
    }

    /// The deliveries whose key does not wait for them any more.
    pub(super) fn leaving(&self) -> impl Iterator<Item = DeliveryId> {
        self.all.iter().filter_map(|settle| match settle.change {
            Change::End { .. }
            | Change::Suspend {
                hold_key: false, ..
            } => Some(settle.claim.delivery),
            _ => None,
        })
    }

    /// Whether all of them are ends without an answer.
    pub(super) fn are_plain_ends(&self) -> bool {
        self.ends.claims.messages.len() == self.all.len()
    }

    /// The ends for the statement that commits them with messages.
    pub(super) fn plain_params(&self) -> Params<'_> {
        let mut params = self.ends.claims.params();
        let rest: Params<'_> = vec![&self.ends.events, &self.ends.attempts, &self.ends.details];
        params.extend(rest);
        params
    }

    /// The statements that make them. Each gives back the deliveries that it found as claimed.
    pub(super) fn steps<'s>(&'s self, conn: &'s Conn, me: &'s Id, now: &'s i64) -> Vec<Step<'s>> {
        let mut steps = Vec::new();
        if !self.ends.claims.is_empty() {
            steps.push(conn.step(Sql::DeliveryEnd, self.ends.params(me, now)));
        }
        if !self.answers.claims.is_empty() {
            let mut params = self.answers.params(me, now);
            params.extend(self.answered.params());
            steps.push(conn.step(Sql::ExchangeAnswer, params));
        }
        if !self.retries.claims.is_empty() {
            steps.push(conn.step(Sql::DeliveryRetry, self.retries.params(me, now)));
        }
        if !self.suspensions.claims.is_empty() {
            steps.push(conn.step(Sql::DeliverySuspend, self.suspensions.params(me)));
        }
        if !self.releases.is_empty() {
            let mut params: Params<'_> = vec![me];
            params.extend(self.releases.params());
            steps.push(conn.step(Sql::DeliveryGiveback, params));
        }
        if !self.intents.is_empty() {
            let mut params: Params<'_> = vec![me];
            params.extend(self.intents.params());
            steps.push(conn.step(Sql::DeliverySending, params));
        }
        steps
    }

    /// Takes in what the statements found, in their order.
    pub(super) fn learn(&mut self, answers: &[Vec<Row>]) -> Result<(), StoreError> {
        let found = answers.iter().flatten().map(delivery_id);
        self.found(&found.collect::<Result<_, _>>()?);
        Ok(())
    }

    /// Takes in which deliveries were found as claimed.
    pub(super) fn found(&mut self, found: &HashSet<DeliveryId>) {
        // A delivery has one claim at a time, and every statement compared the token.
        let held = self
            .all
            .iter()
            .filter(|s| found.contains(&s.claim.delivery));
        self.done = held.map(|s| (s.claim.delivery, s.claim.token)).collect();
    }

    /// Looks at the settlements that found no claim: one that an earlier run of the batch made is done.
    pub(super) async fn explain(&mut self, conn: &Conn) -> Result<(), StoreError> {
        let mut open = Claims::default();
        for settle in self.all.iter().filter(|s| !self.is_done(&s.claim)) {
            open.push(&settle.claim);
        }
        if open.is_empty() {
            return Ok(());
        }
        let rows = conn
            .rows(OPERATION, Sql::DeliverySettled, open.params())
            .await?;
        let mut standing = HashMap::new();
        for row in &rows {
            standing.insert(delivery_id(row)?, Standing::read(row)?);
        }
        let done = self.all.iter().filter(|settle| {
            let standing = standing.get(&settle.claim.delivery);
            standing.is_some_and(|s| s.shows(&settle.claim, settle.change))
        });
        let done: Vec<_> = done.map(|s| (s.claim.delivery, s.claim.token)).collect();
        self.done.extend(done);
        Ok(())
    }

    /// The outcomes with the places of their items.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = (usize, Outcome)> {
        self.all.iter().map(|settle| {
            let done = self.is_done(&settle.claim);
            let outcome = if done {
                SettleOutcome::Done
            } else {
                SettleOutcome::Fenced
            };
            (settle.at, Outcome::Settled(outcome))
        })
    }

    fn is_done(&self, claim: &Claim) -> bool {
        self.done.contains(&(claim.delivery, claim.token))
    }

    fn push(&mut self, settle: Settle<'a>) -> Result<(), StoreError> {
        let claim = &settle.claim;
        match settle.change {
            Change::End {
                result,
                attempts,
                detail,
                answer: None,
            } => {
                self.ends.push(claim, *result, *attempts, detail);
            }
            Change::End {
                result,
                attempts,
                detail,
                answer: Some(answer),
            } => {
                self.answers.push(claim, *result, *attempts, detail);
                self.answered.push(answer);
            }
            Change::Retry {
                wait,
                transport,
                attempts,
                failure,
                in_doubt,
            } => {
                self.retries.doubts.push(*in_doubt);
                self.retries.claims.push(claim);
                self.retries.waits.push(micros(*wait));
                self.retries.transports.push(transport_code(*transport));
                self.retries.attempts.push(count(*attempts));
                self.retries.failures.push(to_json(OPERATION, failure)?);
            }
            Change::Suspend {
                attempts,
                failure,
                hold_key,
                in_doubt,
            } => {
                self.suspensions.claims.push(claim);
                self.suspensions.attempts.push(count(*attempts));
                self.suspensions.failures.push(to_json(OPERATION, failure)?);
                self.suspensions.holds.push(*hold_key);
                self.suspensions.doubts.push(*in_doubt);
            }
            Change::Release => self.releases.push(claim),
            Change::Sending => self.intents.push(claim),
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Claims {
    messages: Vec<Id>,
    nos: Vec<i32>,
    tokens: Vec<i32>,
}

impl Claims {
    fn push(&mut self, claim: &Claim) {
        self.messages.push(claim.delivery.message.into());
        self.nos.push(i32::from(claim.delivery.no));
        self.tokens.push(count(claim.token));
    }

    fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn params(&self) -> Params<'_> {
        vec![&self.messages, &self.nos, &self.tokens]
    }
}

#[derive(Debug, Default)]
struct Ends<'a> {
    claims: Claims,
    events: Vec<&'static str>,
    attempts: Vec<i32>,
    details: Vec<&'a str>,
}

impl<'a> Ends<'a> {
    fn push(&mut self, claim: &Claim, result: EndResult, attempts: u32, detail: &'a str) {
        self.claims.push(claim);
        self.events.push(match result {
            EndResult::Sent => "sent",
            EndResult::SentByBackup => "sent-by-backup",
            EndResult::Consumed => "consumed",
            EndResult::Terminated => "terminated",
        });
        self.attempts.push(count(attempts));
        self.details.push(detail);
    }

    fn params<'s>(&'s self, me: &'s Id, now: &'s i64) -> Params<'s> {
        let mut params: Params<'s> = vec![me, now];
        params.extend(self.claims.params());
        params.extend([&self.events as &(dyn tokio_postgres::types::ToSql + Sync)]);
        params.extend([&self.attempts as &(dyn tokio_postgres::types::ToSql + Sync)]);
        params.extend([&self.details as &(dyn tokio_postgres::types::ToSql + Sync)]);
        params
    }
}

#[derive(Debug, Default)]
struct Answers<'a> {
    exchanges: Vec<Id>,
    statuses: Vec<i32>,
    content_types: Vec<Option<&'a str>>,
    bytes: Vec<&'a [u8]>,
}

impl<'a> Answers<'a> {
    fn push(&mut self, answer: &'a Answer) {
        self.exchanges.push(answer.exchange.into());
        self.statuses.push(i32::from(answer.status));
        self.content_types.push(answer.body.content_type.as_deref());
        self.bytes.push(match &answer.body.content {
            Content::Inline(bytes) => bytes,
            // An answer is inline by contract.
            Content::Stored(_) => &[],
        });
    }

    fn params(&self) -> Params<'_> {
        vec![
            &self.exchanges,
            &self.statuses,
            &self.content_types,
            &self.bytes,
        ]
    }
}

#[derive(Debug, Default)]
struct Retries {
    claims: Claims,
    waits: Vec<i64>,
    transports: Vec<i16>,
    attempts: Vec<i32>,
    failures: Vec<String>,
    doubts: Vec<bool>,
}

impl Retries {
    fn params<'s>(&'s self, me: &'s Id, now: &'s i64) -> Params<'s> {
        let mut params: Params<'s> = vec![me, now];
        params.extend(self.claims.params());
        let rest: Params<'s> = vec![
            &self.waits,
            &self.transports,
            &self.attempts,
            &self.failures,
            &self.doubts,
        ];
        params.extend(rest);
        params
    }
}

#[derive(Debug, Default)]
struct Suspensions {
    claims: Claims,
    attempts: Vec<i32>,
    failures: Vec<String>,
    holds: Vec<bool>,
    doubts: Vec<bool>,
}

impl Suspensions {
    fn params<'s>(&'s self, me: &'s Id) -> Params<'s> {
        let mut params: Params<'s> = vec![me];
        params.extend(self.claims.params());
        let rest: Params<'s> = vec![&self.attempts, &self.failures, &self.holds, &self.doubts];
        params.extend(rest);
        params
    }
}

/// What stands where a settlement found no claim.
#[derive(Debug)]
struct Standing {
    /// State, token, attempts and transport of the live delivery.
    live: Option<(i16, i32, i32, i16)>,
    /// Whether the claim itself ended it.
    ended: bool,
}

impl Standing {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let row = Reader::new(row, OPERATION, "delivery");
        let live = match row.get::<Option<i16>>("state")? {
            None => None,
            Some(state) => Some((
                state,
                row.get("token")?,
                row.get("attempts")?,
                row.get("transport")?,
            )),
        };
        Ok(Self {
            live,
            ended: row.get("ended")?,
        })
    }

    /// Whether `change` under `claim` was made before and nobody claimed since.
    fn shows(&self, claim: &Claim, change: &Change) -> bool {
        let Some((state, token, attempts, transport)) = self.live else {
            return self.ended;
        };
        if token != count(claim.token) {
            return false;
        }
        match change {
            // An intent is found again under its claim.
            Change::End { .. } | Change::Sending => false,
            Change::Retry {
                attempts: made,
                transport: next,
                ..
            } => state == 0 && attempts == count(*made) && transport == transport_code(*next),
            Change::Suspend { attempts: made, .. } => state == 3 && attempts == count(*made),
            Change::Release => state == 0,
        }
    }
}

/// The number that stands for a transport.
pub(crate) fn transport_code(transport: Transport) -> i16 {
    match transport {
        Transport::Primary => 0,
        Transport::Backup => 1,
    }
}

fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
