//! Instances of orchestrations: claimed, shown and told what to do. What changes them is in [`step`].

pub(crate) mod step;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use quayside_store::{
    Runs, StoreError, StoreErrorKind,
    browse::MAX_PAGE,
    codes,
    model::{
        Content, DeliveryId, Failure, InstanceId, MessageId, Name, Part, RunId, Text, Timestamp,
    },
    runs::{
        Asked, AskedEnd, ClaimedRun, Entered, INBOX_PAGE, OrderOutcome, Page, RunClaim, RunFilter,
        RunRow, RunShown, RunState, RunWant,
    },
    work::Lease,
};
use rusqlite::Row;

use crate::{
    claims,
    error::DbResult,
    open::SqliteStore,
    row::{Json, cell, delivery_id, int, state},
    sessions::is_live,
    tx::Tx,
};

/// How many runs of an orchestration one claim gives at most, whatever its room.
const MOST: u32 = 256;

#[async_trait]
impl Runs for SqliteStore {
    async fn claim_runs(
        &self,
        instance: InstanceId,
        wants: &[RunWant],
    ) -> Result<Vec<ClaimedRun>, StoreError> {
        let wants = wants.to_vec();
        self.write("claim runs", move |tx| {
            if !is_live(tx, instance)? {
                return Ok(Vec::new());
            }
            let mut claimed = Vec::new();
            for want in &wants {
                for id in due(tx, want)? {
                    claimed.extend(take(tx, instance, id)?);
                }
            }
            Ok(claimed)
        })
        .await
    }

    async fn inbox(&self, run: RunId, after: DeliveryId) -> Result<Page, StoreError> {
        self.read("read inbox", move |tx| {
            let sql = include_str!("../sql/run_inbox_behind.sql");
            let (message, no) = (after.message.to_bytes(), after.no);
            let params = (run.to_bytes(), message, no, INBOX_PAGE);
            page(tx, tx.all(sql, params, waiting)?)
        })
        .await
    }

    async fn release_runs(&self, instance: InstanceId, held: &[RunId]) -> Result<u32, StoreError> {
        let held: std::collections::HashSet<RunId> = held.iter().copied().collect();
        self.write("release runs", move |tx| {
            let sql = include_str!("../sql/run_claims_of.sql");
            let all = tx.all(sql, [instance.to_bytes()], |row| cell(row, 0, "run.id"))?;
            let mut released = 0;
            for id in all.into_iter().filter(|id: &RunId| !held.contains(id)) {
                let sql = include_str!("../sql/run_release.sql");
                released += tx.execute(sql, (id.to_bytes(), instance.to_bytes()))?;
            }
            Ok(u32::try_from(released).unwrap_or(u32::MAX))
        })
        .await
    }

    async fn keep_definition(
        &self,
        orchestration: &Name,
        fingerprint: [u8; 16],
        text: &str,
    ) -> Result<(), StoreError> {
        let (orchestration, text) = (orchestration.clone(), text.to_owned());
        self.write("keep definition", move |tx| {
            let sql = include_str!("../sql/definition_insert.sql");
            let name = orchestration.as_str();
            tx.execute(sql, (name, fingerprint, text.as_str(), tx.now.as_micros()))?;
            Ok(())
        })
        .await
    }

    async fn definition(
        &self,
        orchestration: &Name,
        fingerprint: [u8; 16],
    ) -> Result<Option<String>, StoreError> {
        let orchestration = orchestration.clone();
        self.read("read definition", move |tx| {
            let sql = include_str!("../sql/definition_get.sql");
            tx.first(sql, (orchestration.as_str(), fingerprint), |row| {
                Ok(row.get(0)?)
            })
        })
        .await
    }

    async fn bound_definitions(&self) -> Result<Vec<(Name, [u8; 16], String)>, StoreError> {
        self.read("list definitions", move |tx| {
            tx.all(include_str!("../sql/definition_bound.sql"), [], |row| {
                Ok((
                    cell(row, 0, "definition.orchestration")?,
                    cell(row, 1, "definition.fingerprint")?,
                    row.get(2)?,
                ))
            })
        })
        .await
    }

    async fn live_runs(&self, cap: u32) -> Result<Vec<(Name, RunState, u64)>, StoreError> {
        self.read("count runs", move |tx| {
            tx.all(include_str!("../sql/run_live.sql"), [cap], |row| {
                Ok((
                    cell(row, 0, "run.orchestration")?,
                    cell(row, 1, "run.state")?,
                    cell(row, 2, "count")?,
                ))
            })
        })
        .await
    }

    async fn runs(
        &self,
        filter: &RunFilter,
        before: Option<RunId>,
        limit: u32,
    ) -> Result<Vec<RunRow>, StoreError> {
        let filter = filter.clone();
        self.read("list runs", move |tx| {
            let params = (
                before.map_or([0xff; 16], RunId::to_bytes),
                filter.orchestration.as_deref(),
                filter.state.map(run_state_cell),
                limit.min(MAX_PAGE),
            );
            tx.all(include_str!("../sql/run_list.sql"), params, run_row)
        })
        .await
    }

    async fn run(&self, id: RunId) -> Result<Option<RunShown>, StoreError> {
        self.read("show run", move |tx| show(tx, id)).await
    }

    async fn order_run(&self, id: RunId, order: &str) -> Result<OrderOutcome, StoreError> {
        let order = Text::new(order).map_err(|error| {
            let cause = format!("an order that no claim could read: {error}");
            StoreError::new(StoreErrorKind::Data, "order run", cause)
        })?;
        self.write("order run", move |tx| {
            let sql = include_str!("../sql/run_order.sql");
            if tx.execute(sql, (id.to_bytes(), order.as_str()))? == 1 {
                return Ok(OrderOutcome::Left);
            }
            let there = tx.exists(
                include_str!("../sql/run_orchestration.sql"),
                [id.to_bytes()],
            )?;
            Ok(match there {
                true => OrderOutcome::Ended,
                false => OrderOutcome::Missing,
            })
        })
        .await
    }
}

/// Gives back runs of the dead.
pub(crate) fn release_dead(tx: &Tx<'_>, limit: u32) -> DbResult<u32> {
    let released = tx.execute(include_str!("../sql/run_release_dead.sql"), [limit])?;
    Ok(u32::try_from(released).expect("bounded by the limit"))
}

/// Removes runs that were over before `cutoff`, up to `limit`, and definitions that nobody needs. How many rows went.
pub(crate) fn sweep(tx: &Tx<'_>, cutoff: Timestamp, limit: u32) -> DbResult<usize> {
    let sql = include_str!("../sql/run_delete.sql");
    let rows = tx.execute(sql, (cutoff.as_micros(), limit))?;
    let sql = include_str!("../sql/definition_delete.sql");
    tx.execute(sql, [tx.now.minus(DEFINITION_KEPT).as_micros()])?;
    Ok(rows)
}

/// How long a definition is kept that no run is bound to: longer than any run may take from its start to its first
/// commit.
const DEFINITION_KEPT: std::time::Duration = std::time::Duration::from_secs(86_400);

/// The runs that have something to do: those that are ready, and with what room is left those whose time has come.
fn due(tx: &Tx<'_>, want: &RunWant) -> DbResult<Vec<RunId>> {
    let (name, room) = (want.orchestration.as_str(), want.room.min(MOST));
    let except = want.exceptions();
    let (least, most) = want.deaths.range();
    let id = |row: &Row<'_>| cell(row, 0, "run.id");
    if least > 0 {
        let sql = include_str!("../sql/run_deadly.sql");
        let now = tx.now.as_micros();
        return tx.all(sql, (name, room, now, except.as_str(), least, most), id);
    }
    let sql = include_str!("../sql/run_ready.sql");
    let mut all: Vec<RunId> = tx.all(sql, (name, room, except.as_str(), least, most), id)?;
    let left = room.saturating_sub(u32::try_from(all.len()).unwrap_or(u32::MAX));
    if left > 0 {
        let sql = include_str!("../sql/run_due.sql");
        let now = tx.now.as_micros();
        all.extend(tx.all(sql, (name, left, now, except.as_str(), least, most), id)?);
    }
    Ok(all)
}

fn take(tx: &Tx<'_>, instance: InstanceId, run: RunId) -> DbResult<Option<ClaimedRun>> {
    let params = (run.to_bytes(), instance.to_bytes(), tx.now.as_micros());
    let taken = tx.first(include_str!("../sql/run_claim.sql"), params, |row| {
        let state: Option<Vec<u8>> = cell(row, 4, "run.data")?;
        Ok(ClaimedRun {
            claim: RunClaim {
                run,
                instance,
                token: cell(row, 2, "run.token")?,
            },
            orchestration: cell(row, 0, "run.orchestration")?,
            definition: cell(row, 1, "run.definition")?,
            state: Bytes::from(state.unwrap_or_default()),
            wakes: cell(row, 3, "run.wakes")?,
            order: cell(row, 5, "run.ordered")?,
            deaths: cell(row, 6, "run.deaths")?,
            inbox: Vec::new(),
            partial: false,
            kept: Vec::new(),
            asked: Vec::new(),
            leases: Vec::new(),
            now: tx.now,
        })
    })?;
    let Some(mut taken) = taken else {
        return Ok(None);
    };
    let first = page(tx, inbox(tx, run)?)?;
    (taken.inbox, taken.partial) = (first.messages, first.partial);
    taken.kept = tx.all(
        include_str!("../sql/run_kept.sql"),
        [run.to_bytes()],
        |row| delivery_id(row, 0, 1),
    )?;
    let asked = tx.all(
        include_str!("../sql/run_asked.sql"),
        [run.to_bytes()],
        asked,
    )?;
    for (asked, lease) in asked {
        taken.asked.extend(asked);
        taken.leases.extend(lease);
    }
    Ok(Some(taken))
}

fn inbox(tx: &Tx<'_>, run: RunId) -> DbResult<Vec<(DeliveryId, Text)>> {
    let sql = include_str!("../sql/run_inbox.sql");
    tx.all(sql, (run.to_bytes(), INBOX_PAGE), waiting)
}

fn waiting(row: &Row<'_>) -> DbResult<(DeliveryId, Text)> {
    Ok((delivery_id(row, 0, 1)?, cell(row, 2, "delivery.route")?))
}

/// The messages of `inbox`, until the page is full.
fn page(tx: &Tx<'_>, inbox: Vec<(DeliveryId, Text)>) -> DbResult<Page> {
    let mut page = Page::of(inbox.len());
    let mut inbox = inbox.into_iter().peekable();
    while let Some((delivery, route)) = inbox.next() {
        let message = Arc::new(claims::present(tx, delivery.message)?);
        let room = page.add(Entered {
            delivery,
            message,
            route,
        });
        if !room {
            page.partial |= inbox.peek().is_some();
            break;
        }
    }
    Ok(page)
}

/// What became of a message that opened an exchange, with its lease; `None`: it is on its way.
fn asked(row: &Row<'_>) -> DbResult<(Option<Asked>, Option<Lease>)> {
    let token: Option<[u8; 16]> = cell(row, 10, "exchange.token")?;
    let lease = match token {
        Some(token) => Some(Lease {
            exchange: cell(row, 0, "exchange.id")?,
            until: cell(row, 11, "exchange.lease_until")?,
            token,
        }),
        None => None,
    };
    let end = asked_end(row, lease.is_some())?;
    let of = |end| {
        Ok::<_, crate::error::DbError>(Asked {
            exchange: cell(row, 0, "exchange.id")?,
            message: cell::<MessageId>(row, 1, "exchange.message")?,
            end,
        })
    };
    Ok((end.map(of).transpose()?, lease))
}

/// `None`: it is on its way, or a program has taken it and may answer later.
fn asked_end(row: &Row<'_>, leased: bool) -> DbResult<Option<AskedEnd>> {
    let answered: Option<Timestamp> = cell(row, 2, "exchange.answered_at")?;
    let standing: Option<i64> = cell(row, 6, "delivery.state")?;
    let ended: Option<String> = row.get(8)?;
    let end = match (answered, standing, ended.as_deref()) {
        (Some(at), ..) => AskedEnd::Answered {
            at,
            status: cell(row, 3, "exchange.status")?,
            body: Part {
                name: Name::new("body").expect("a name"),
                content_type: cell(row, 4, "exchange.content_type")?,
                content: Content::Inline(Bytes::from(
                    cell::<Option<Vec<u8>>>(row, 5, "exchange.bytes")?.unwrap_or_default(),
                )),
            },
        },
        (None, Some(state::SUSPENDED), _) => {
            let failure: Option<Json<Failure>> = cell(row, 7, "delivery.failure")?;
            let (code, detail) = failure.map_or_else(
                || {
                    (
                        Text::lossy(codes::UNANSWERED.code),
                        Text::lossy("it is suspended"),
                    )
                },
                |Json(failure)| (Text::lossy(failure.code.as_str()), failure.detail),
            );
            AskedEnd::Failed { code, detail }
        }
        (None, Some(_), _) => return Ok(None),
        (None, None, Some("sent" | "sent-by-backup" | "consumed") | None) if leased => {
            return Ok(None);
        }
        (None, None, Some("sent" | "sent-by-backup")) => AskedEnd::Delivered,
        // It has reached its target, unless that was because it failed.
        (None, None, Some("consumed"))
            if !cell::<Option<bool>>(row, 9, "history.detail")?.unwrap_or(false) =>
        {
            AskedEnd::Delivered
        }
        (None, None, ended) => {
            let detail = ended.unwrap_or("unrouted");
            AskedEnd::Failed {
                code: Text::lossy(codes::UNANSWERED.code),
                detail: Text::lossy(detail),
            }
        }
    };
    Ok(Some(end))
}

fn run_state_cell(state: RunState) -> i64 {
    match state {
        RunState::Ready => 0,
        RunState::Running => 1,
        RunState::Waiting => 2,
        RunState::Suspended => 3,
        RunState::Completed => 4,
        RunState::Terminated => 5,
    }
}

impl crate::row::Cell for RunState {
    type Raw = i64;
    fn read(raw: i64) -> Option<Self> {
        let all = [
            Self::Ready,
            Self::Running,
            Self::Waiting,
            Self::Suspended,
            Self::Completed,
            Self::Terminated,
        ];
        all.into_iter().find(|state| run_state_cell(*state) == raw)
    }
}

fn run_row(row: &Row<'_>) -> DbResult<RunRow> {
    Ok(RunRow {
        id: cell(row, 0, "run.id")?,
        orchestration: cell(row, 1, "run.orchestration")?,
        definition: cell(row, 2, "run.definition")?,
        state: cell(row, 3, "run.state")?,
        started_at: cell(row, 4, "run.started_at")?,
        changed_at: cell(row, 5, "run.changed_at")?,
        due: cell(row, 6, "run.due")?,
        instance: cell(row, 7, "run.instance")?,
        reason: cell(row, 8, "run.reason")?,
        discarded: cell(row, 9, "run.discarded")?,
    })
}

fn show(tx: &Tx<'_>, id: RunId) -> DbResult<Option<RunShown>> {
    let shown = tx.first(
        include_str!("../sql/run_show.sql"),
        [id.to_bytes()],
        |row| {
            let data: Option<Vec<u8>> = cell(row, 10, "run.data")?;
            Ok(RunShown {
                row: run_row(row)?,
                data: data.map(Bytes::from),
                order: cell(row, 11, "run.ordered")?,
                inbox: Vec::new(),
                keys: Vec::new(),
            })
        },
    )?;
    let Some(shown) = shown else { return Ok(None) };
    let sql = include_str!("../sql/subscription_list.sql");
    Ok(Some(RunShown {
        inbox: inbox(tx, id)?,
        keys: tx.all(sql, [id.to_bytes()], |row| cell(row, 0, "subscription.key"))?,
        ..shown
    }))
}

/// A count for a cell.
pub(crate) fn count(number: usize) -> i64 {
    int(number as u64)
}
