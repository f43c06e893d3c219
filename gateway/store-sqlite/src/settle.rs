//! One settlement inside a batch: the end of a delivery, or what becomes of it instead.

use quayside_store::{
    Change, SettleOutcome,
    browse::MAY_HAVE_BEEN_SENT,
    commit::Answer,
    model::{Claim, Content, DeliveryId, EndResult, ExchangeId, Part},
};
use rusqlite::{Params, Row};

use crate::{
    commit::Numbers,
    error::DbResult,
    history::{Event, end_event},
    order,
    row::{cell, micros, transport_cell},
    tx::Tx,
};

/// Does `change` if `claim` still holds; `failure` is the cell of the change's failure.
pub(crate) fn settle(
    tx: &Tx<'_>,
    numbers: &mut Numbers,
    claim: &Claim,
    change: &Change,
    failure: Option<&str>,
) -> DbResult<SettleOutcome> {
    let done = match change {
        Change::End {
            result,
            attempts,
            detail,
            answer,
        } => {
            let end = End {
                result: *result,
                attempts: *attempts,
                detail,
                answer: answer.as_deref(),
            };
            return self::end(tx, numbers, claim, &end);
        }
        Change::Retry {
            wait,
            transport,
            attempts,
            in_doubt,
            ..
        } => {
            let due = tx.now.as_micros().saturating_add(micros(*wait));
            let (message, no, instance, token) = cells(claim);
            let transport = transport_cell(*transport);
            let doubt = include_str!("../sql/delivery_doubt.sql");
            let was_doubtful =
                *in_doubt && tx.first(doubt, (message, no), |row| Ok(row.get(0)?))? == Some(true);
            let sql = include_str!("../sql/delivery_retry.sql");
            let params = (
                message, no, instance, token, due, transport, attempts, failure, in_doubt,
            );
            let port = tx.first(sql, params, |row| Ok(row.get::<_, String>(0)?))?;
            if let Some(port) = &port
                && (is_told(*attempts) || (*in_doubt && !was_doubtful))
            {
                // Only the backup is next at once, and with no attempts yet.
                let event = match (attempts, wait.is_zero()) {
                    (0, true) => "failed-over",
                    _ => "attempt-failed",
                };
                Event::of_delivery(claim.delivery, event, port)
                    .attempts(*attempts)
                    .detail(&failure_told(change))
                    .insert(tx, numbers)?;
            }
            port.is_some()
        }
        Change::Suspend {
            attempts,
            hold_key,
            in_doubt,
            ..
        } => match suspend(tx, claim, (*attempts, failure, *in_doubt), *hold_key)? {
            Some(place) => {
                Event::of_delivery(claim.delivery, "suspended", &place.port)
                    .attempts(*attempts)
                    .detail(&failure_told(change))
                    .insert(tx, numbers)?;
                true
            }
            None => false,
        },
        Change::Release => {
            tx.execute(include_str!("../sql/delivery_release.sql"), cells(claim))? == 1
        }
        Change::Sending => {
            let sql = include_str!("../sql/delivery_sending.sql");
            return Ok(match tx.execute(sql, cells(claim))? {
                1 => SettleOutcome::Done,
                _ => SettleOutcome::Fenced,
            });
        }
    };
    if done {
        Ok(SettleOutcome::Done)
    } else {
        standing(tx, claim)
    }
}

/// Whether a failed attempt leaves an event: the first ones do, later ones at every doubling, and the first one in doubt
/// besides. A port that tries for ever must not fill history.
fn is_told(attempts: u32) -> bool {
    attempts <= 16 || attempts.is_power_of_two()
}

fn failure_told(change: &Change) -> String {
    match change {
        Change::Retry {
            failure, in_doubt, ..
        }
        | Change::Suspend {
            failure, in_doubt, ..
        } => {
            let doubt = if *in_doubt { MAY_HAVE_BEEN_SENT } else { "" };
            format!("{}: {}{doubt}", failure.code, failure.detail)
        }
        Change::End { .. } | Change::Release | Change::Sending => String::new(),
    }
}

/// An end with all that belongs to it.
#[derive(Debug)]
struct End<'a> {
    result: EndResult,
    attempts: u32,
    detail: &'a str,
    answer: Option<&'a Answer>,
}

/// Where an ordered delivery stood in its port.
#[derive(Debug)]
pub(crate) struct Place {
    /// Its port.
    pub(crate) port: String,
    /// Its number.
    pub(crate) seq: i64,
    /// Its key; `None` on a port without order.
    pub(crate) key: Option<[u8; 16]>,
}

impl Place {
    /// Reads it from the first three cells.
    pub(crate) fn read(row: &Row<'_>) -> DbResult<Self> {
        Ok(Self {
            port: row.get(0)?,
            seq: cell(row, 1, "delivery.seq")?,
            key: cell(row, 2, "delivery.order_key")?,
        })
    }
}

fn cells(claim: &Claim) -> ([u8; 16], u16, [u8; 16], u32) {
    let DeliveryId { message, no } = claim.delivery;
    (
        message.to_bytes(),
        no,
        claim.instance.to_bytes(),
        claim.token,
    )
}

fn end(
    tx: &Tx<'_>,
    numbers: &mut Numbers,
    claim: &Claim,
    end: &End<'_>,
) -> DbResult<SettleOutcome> {
    let sql = include_str!("../sql/delivery_end.sql");
    let Some(place) = tx.first(sql, cells(claim), Place::read)? else {
        return ended_before(tx, claim);
    };
    let kept = end
        .answer
        .map(|answer| keep_answer(tx, answer.exchange, answer.status, &answer.body))
        .transpose()?
        .unwrap_or(true);
    let late = format!(
        "{}; the request had its answer already or waits no more",
        end.detail
    );
    let detail = if kept { end.detail } else { &late };
    Event::of_delivery(claim.delivery, end_event(end.result), &place.port)
        .attempts(end.attempts)
        .token(claim.token)
        .detail(detail)
        .insert(tx, numbers)?;
    order::go_on(tx, &place)?;
    Ok(SettleOutcome::Done)
}

/// Keeps the first answer. `false`: there was one, or the request is gone.
pub(crate) fn keep_answer(
    tx: &Tx<'_>,
    exchange: ExchangeId,
    status: u16,
    body: &Part,
) -> DbResult<bool> {
    let bytes: &[u8] = match &body.content {
        Content::Inline(bytes) => bytes,
        // The contract says inline; a requester cannot be given what it cannot read in one piece.
        Content::Stored(_) => return Ok(false),
    };
    let content_type = body.content_type.as_deref();
    let rows = tx.execute(
        include_str!("../sql/exchange_answer.sql"),
        (
            exchange.to_bytes(),
            tx.now.as_micros(),
            status,
            content_type,
            bytes,
        ),
    )?;
    Ok(rows == 1)
}

fn suspend(
    tx: &Tx<'_>,
    claim: &Claim,
    (attempts, failure, in_doubt): (u32, Option<&str>, bool),
    hold_key: bool,
) -> DbResult<Option<Place>> {
    let (message, no, instance, token) = cells(claim);
    let params = (message, no, instance, token, attempts, failure, in_doubt);
    let Some(place) = tx.first(
        include_str!("../sql/delivery_suspend.sql"),
        params,
        Place::read,
    )?
    else {
        return Ok(None);
    };
    if !hold_key && place.key.is_some() {
        tx.execute(include_str!("../sql/delivery_unorder.sql"), (message, no))?;
        order::go_on(tx, &place)?;
    }
    Ok(Some(place))
}

/// The outcome where the delivery is not in these hands: an earlier run of the same batch may have
/// settled it. Tokens count claims, so the same token without a holder means that nobody had it since.
fn standing(tx: &Tx<'_>, claim: &Claim) -> DbResult<SettleOutcome> {
    asked(
        tx,
        include_str!("../sql/delivery_standing.sql"),
        before(claim),
    )
}

/// The same for an end, after which there is no delivery: its event tells by which claim it ended.
fn ended_before(tx: &Tx<'_>, claim: &Claim) -> DbResult<SettleOutcome> {
    asked(tx, include_str!("../sql/history_ended.sql"), before(claim))
}

fn before(claim: &Claim) -> ([u8; 16], u16, u32) {
    (
        claim.delivery.message.to_bytes(),
        claim.delivery.no,
        claim.token,
    )
}

fn asked(tx: &Tx<'_>, sql: &str, params: impl Params) -> DbResult<SettleOutcome> {
    let done = tx.exists(sql, params)?;
    Ok(if done {
        SettleOutcome::Done
    } else {
        SettleOutcome::Fenced
    })
}
