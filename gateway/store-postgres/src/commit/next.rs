//! First deliveries of order keys that a batch wants to go on with.

use quayside_store::{Claimed, Outcome, StoreError, commit::Next, model::InstanceId};
use tokio_postgres::Row;

use super::OPERATION;
use crate::{
    claims,
    pool::{Conn, Step},
    row::Id,
    sql::Sql,
};

/// The keys of a batch, as columns.
#[derive(Debug, Default)]
pub(super) struct Nexts<'a> {
    at: Vec<usize>,
    wanted: Vec<&'a Next>,
    ports: Vec<&'a str>,
    lanes: Vec<i32>,
    keys: Vec<&'a [u8]>,
    most: Vec<i32>,
    claimed: Vec<Claimed>,
}

impl<'a> Nexts<'a> {
    pub(super) fn push(&mut self, at: usize, next: &'a Next) {
        self.at.push(at);
        self.wanted.push(next);
        self.ports.push(&next.port);
        self.lanes.push(i32::from(next.order.lane));
        self.keys.push(&next.order.hash);
        self.most.push(i32::try_from(next.most).unwrap_or(i32::MAX));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    pub(super) fn wanted(&self) -> impl Iterator<Item = &'a Next> {
        self.wanted.iter().copied()
    }

    /// The statement, if anything is wanted.
    pub(super) fn step<'s>(&'s self, conn: &'s Conn, me: &'s Id) -> Option<Step<'s>> {
        let params = || {
            let (ports, lanes, keys) = (&self.ports as _, &self.lanes as _, &self.keys as _);
            vec![me as _, ports, lanes, keys, &self.most as _]
        };
        (!self.is_empty()).then(|| conn.step(Sql::OrderNext, params()))
    }

    /// Reads what was claimed, with its messages, after the commit.
    pub(super) async fn learn(
        &mut self,
        conn: &Conn,
        instance: InstanceId,
        rows: &[Row],
    ) -> Result<(), StoreError> {
        if !rows.is_empty() {
            self.claimed = claims::claimed(conn, OPERATION, instance, rows).await?;
        }
        Ok(())
    }

    /// The outcomes with the places of their items.
    pub(super) fn outcomes(self) -> impl Iterator<Item = (usize, Outcome)> {
        let mut claimed = self.claimed;
        self.at.into_iter().zip(self.wanted).map(move |(at, next)| {
            let is_it = |c: &Claimed| c.port == next.port && c.order == Some(next.order);
            // Each is given once, however often the batch wants it.
            let (found, rest) = std::mem::take(&mut claimed).into_iter().partition(is_it);
            claimed = rest;
            (at, Outcome::Next(found))
        })
    }
}
