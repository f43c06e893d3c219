//! Orchestration instances: who works on them, and what people see of them.

use std::collections::{HashMap, VecDeque};

use async_trait::async_trait;
use bytes::Bytes;
use quayside_store::{
    Runs, StoreError, StoreErrorKind,
    browse::MAX_PAGE,
    codes,
    model::{
        Content, DeliveryId, Failure, INLINE_MAX, InstanceId, Name, Part, RunId, Text, Timestamp,
    },
    runs::{
        Asked, AskedEnd, ClaimedRun, Entered, INBOX_BYTES, INBOX_PAGE, OrderOutcome, Page,
        RunClaim, RunFilter, RunRow, RunShown, RunState, RunWant,
    },
    work::Lease,
};
use tokio_postgres::Row;

use crate::{
    PostgresStore,
    claims::load_messages,
    commit::delivery_id,
    error::fail,
    pool::{Conn, Params, Use},
    row::{Id, Reader},
    sql::Sql,
};

const CLAIM: &str = "claim runs";
const KEEP: &str = "keep runs";
const SHOW: &str = "show runs";

#[async_trait]
impl Runs for PostgresStore {
    async fn claim_runs(
        &self,
        instance: InstanceId,
        wants: &[RunWant],
    ) -> Result<Vec<ClaimedRun>, StoreError> {
        let (mut asked, mut items) = (Wanted::default(), 0);
        for want in wants.iter().filter(|want| want.room > 0) {
            asked.names.push(want.orchestration.as_str());
            asked
                .rooms
                .push(i32::try_from(want.room).unwrap_or(i32::MAX));
            asked.excepts.push(want.exceptions());
            let (least, most) = want.deaths.range();
            asked.least.push(least);
            asked.most.push(most);
            items += want.room as usize;
        }
        if asked.names.is_empty() {
            return Ok(Vec::new());
        }
        self.run(CLAIM, items, self.work_timeout(), async {
            let held = self.pool().get(Use::Work, CLAIM).await?;
            match claim(held.conn(), instance, &asked).await {
                Ok(claimed) => {
                    held.keep();
                    Ok(claimed)
                }
                Err(e) => {
                    if e.kind == StoreErrorKind::Contended {
                        held.undo().await;
                    }
                    Err(e)
                }
            }
        })
        .await
    }

    async fn inbox(&self, run: RunId, after: DeliveryId) -> Result<Page, StoreError> {
        let (run, message, no) = (Id::from(run), Id::from(after.message), i32::from(after.no));
        let page = i64::from(INBOX_PAGE);
        let work = self.work(SHOW, async |conn| {
            let params: Params<'_> = vec![&run, &message, &no, &page];
            let rows = conn.rows(SHOW, Sql::RunInboxBehind, params).await?;
            let waiting = rows.iter().map(|row| {
                let route = Reader::new(row, SHOW, "delivery").text("route")?;
                Ok((delivery_id(row)?, route))
            });
            let waiting = waiting.collect::<Result<_, StoreError>>()?;
            let mut pages = load_pages(conn, vec![waiting]).await?;
            Ok(pages.pop().unwrap_or_default())
        });
        self.run(SHOW, 1, self.work_timeout(), work).await
    }

    async fn release_runs(&self, instance: InstanceId, held: &[RunId]) -> Result<u32, StoreError> {
        let me = Id::from(instance);
        let held: Vec<Id> = held.iter().map(|run| Id::from(*run)).collect();
        let work = self.surely(Use::Work, KEEP, async |conn| {
            conn.change(KEEP, Sql::RunRelease, vec![&me, &held]).await
        });
        let released = self.run(KEEP, 1, self.work_timeout(), work).await?;
        Ok(u32::try_from(released).unwrap_or(u32::MAX))
    }

    async fn keep_definition(
        &self,
        orchestration: &Name,
        fingerprint: [u8; 16],
        text: &str,
    ) -> Result<(), StoreError> {
        let (name, fingerprint) = (orchestration.as_str(), &fingerprint[..]);
        let work = self.surely(Use::Work, KEEP, async |conn| {
            let params: Params<'_> = vec![&name, &fingerprint, &text];
            conn.change(KEEP, Sql::DefinitionKeep, params).await
        });
        self.run(KEEP, 1, self.work_timeout(), work).await?;
        Ok(())
    }

    async fn definition(
        &self,
        orchestration: &Name,
        fingerprint: [u8; 16],
    ) -> Result<Option<String>, StoreError> {
        let (name, fingerprint) = (orchestration.as_str(), &fingerprint[..]);
        let work = self.work(KEEP, async |conn| {
            let params: Params<'_> = vec![&name, &fingerprint];
            let rows = conn.rows(KEEP, Sql::DefinitionGet, params).await?;
            let text = rows.first();
            text.map(|row| Reader::new(row, KEEP, "definition").get("text"))
                .transpose()
        });
        self.run(KEEP, 1, self.work_timeout(), work).await
    }

    async fn bound_definitions(&self) -> Result<Vec<(Name, [u8; 16], String)>, StoreError> {
        let work = self.work(SHOW, async |conn| {
            let rows = conn.rows(SHOW, Sql::DefinitionBound, vec![]).await?;
            let read = rows.iter().map(|row| {
                let row = Reader::new(row, SHOW, "definition");
                let fingerprint = fingerprint(&row, "fingerprint")?;
                Ok((row.text("orchestration")?, fingerprint, row.get("text")?))
            });
            read.collect()
        });
        self.run(SHOW, 1, self.work_timeout(), work).await
    }

    async fn live_runs(&self, cap: u32) -> Result<Vec<(Name, RunState, u64)>, StoreError> {
        let cap = i64::from(cap);
        let work = self.work(SHOW, async |conn| {
            let rows = conn.rows(SHOW, Sql::RunLive, vec![&cap]).await?;
            let read = rows.iter().map(|row| {
                let row = Reader::new(row, SHOW, "run");
                Ok((
                    row.text("orchestration")?,
                    state(&row)?,
                    row.number::<i64, _>("live")?,
                ))
            });
            read.collect()
        });
        self.run(SHOW, 1, self.work_timeout(), work).await
    }

    async fn runs(
        &self,
        filter: &RunFilter,
        before: Option<RunId>,
        limit: u32,
    ) -> Result<Vec<RunRow>, StoreError> {
        let before = before.map_or(Id([0xff; 16]), Id::from);
        let limit = i64::from(limit.min(MAX_PAGE));
        let orchestration = filter.orchestration.as_deref();
        let state = filter.state.map(state_code);
        let work = self.work(SHOW, async |conn| {
            let params: Params<'_> = vec![&before, &limit, &orchestration, &state];
            let rows = conn.rows(SHOW, Sql::RunList, params).await?;
            let read = rows
                .iter()
                .map(|row| read_row(&Reader::new(row, SHOW, "run")));
            read.collect()
        });
        self.run(SHOW, 1, self.work_timeout(), work).await
    }

    async fn run(&self, id: RunId) -> Result<Option<RunShown>, StoreError> {
        let work = self.work(SHOW, async |conn| show(conn, id).await);
        self.run(SHOW, 1, self.work_timeout(), work).await
    }

    async fn order_run(&self, id: RunId, order: &str) -> Result<OrderOutcome, StoreError> {
        // It comes back with a claim, as a text: one that is none would hold every claim up.
        let order = Text::new(order).map_err(|e| StoreError::new(StoreErrorKind::Data, KEEP, e))?;
        let (id, order) = (Id::from(id), order.as_str());
        let work = self.surely(Use::Work, KEEP, async |conn| {
            let params: Params<'_> = vec![&id, &order];
            conn.rows(KEEP, Sql::RunOrder, params).await
        });
        let rows = self.run(KEEP, 1, self.work_timeout(), work).await?;
        let Some(row) = rows.first() else {
            return Ok(OrderOutcome::Missing);
        };
        Ok(match Reader::new(row, KEEP, "run").get::<i16>("state")? {
            4.. => OrderOutcome::Ended,
            _ => OrderOutcome::Left,
        })
    }
}

/// How many messages of an inbox are read at first: with the largest there are these have [`INBOX_BYTES`]. Most have no more.
const FIRST: usize = INBOX_BYTES / INLINE_MAX;
/// How many are read then, each time.
const SLICE: usize = 4 * FIRST;

/// What is wanted, as the statement takes it.
#[derive(Default)]
struct Wanted<'a> {
    names: Vec<&'a str>,
    rooms: Vec<i32>,
    excepts: Vec<String>,
    least: Vec<i32>,
    most: Vec<i32>,
}

/// Brings wakes to their runs, claims, and reads what came with the runs: in later statements, so that a wake which was
/// seen stands for something that is read.
async fn claim(
    conn: &Conn,
    instance: InstanceId,
    wanted: &Wanted<'_>,
) -> Result<Vec<ClaimedRun>, StoreError> {
    let failed = |e| fail(CLAIM, e);
    let me = Id::from(instance);
    // The one for what kills would miss the rest, and the one for all would walk over a backlog without any of it.
    let sql = match wanted.least.iter().all(|least| *least > 0) {
        true => Sql::RunClaimDeadly,
        false => Sql::RunClaim,
    };
    let steps = vec![
        conn.text("BEGIN"),
        conn.step(Sql::RunWake, vec![]),
        conn.step(
            sql,
            vec![
                &me,
                &wanted.names,
                &wanted.rooms,
                &wanted.excepts,
                &wanted.least,
                &wanted.most,
            ],
        ),
    ];
    let rows = conn.trip(steps).await.map_err(failed)?;
    let (woken, taken) = (&rows[1], &rows[2]);
    let woken: i64 = match woken.first() {
        Some(row) => Reader::new(row, CLAIM, "run_wake").get("count")?,
        None => 0,
    };
    let mut claimed = Vec::with_capacity(taken.len());
    for row in taken {
        claimed.push(read_claimed(&Reader::new(row, CLAIM, "run"), instance)?);
    }
    if claimed.is_empty() {
        // Most looks. A commit would wait for the disk all the same.
        let end = if woken > 0 { "COMMIT" } else { "ROLLBACK" };
        conn.simple(end).await.map_err(failed)?;
        return Ok(claimed);
    }
    let ids: Vec<Id> = claimed.iter().map(|run| run.claim.run.into()).collect();
    let page = i64::from(INBOX_PAGE);
    let steps = vec![
        conn.step(Sql::RunInbox, vec![&ids, &page]),
        conn.step(Sql::RunKept, vec![&ids]),
        conn.step(Sql::RunAsked, vec![&ids]),
        conn.text("COMMIT"),
    ];
    let rows = conn.trip(steps).await.map_err(failed)?;
    let places = claimed.iter().enumerate();
    let places: HashMap<RunId, usize> = places.map(|(at, run)| (run.claim.run, at)).collect();
    fill(conn, &mut claimed, &places, &rows).await?;
    Ok(claimed)
}

/// Adds the inboxes, the kept deliveries and the exchanges to the runs that they belong to.
async fn fill(
    conn: &Conn,
    claimed: &mut [ClaimedRun],
    places: &HashMap<RunId, usize>,
    rows: &[Vec<Row>],
) -> Result<(), StoreError> {
    let mut inboxes = vec![VecDeque::new(); claimed.len()];
    for row in &rows[0] {
        let (run, delivery, route) = read_waiting(row)?;
        inboxes[places[&run]].push_back((delivery, route));
    }
    let pages = load_pages(conn, inboxes).await?;
    for (run, page) in claimed.iter_mut().zip(pages) {
        (run.inbox, run.partial) = (page.messages, page.partial);
    }
    for row in &rows[1] {
        let run = Reader::new(row, CLAIM, "delivery").id("run")?;
        claimed[places[&run]].kept.push(delivery_id(row)?);
    }
    for row in &rows[2] {
        let row = Reader::new(row, CLAIM, "exchange");
        let run = row.id("run")?;
        if row.get("ended")? {
            claimed[places[&run]].asked.push(read_asked(&row)?);
        }
        if let Some(token) = row.get::<Option<Id>>("token")? {
            claimed[places[&run]].leases.push(Lease {
                exchange: row.id("id")?,
                until: row
                    .get::<Option<i64>>("lease_until")?
                    .map(Timestamp::from_micros),
                token: token.0,
            });
        }
    }
    Ok(())
}

/// Reads the messages of `inboxes`, a few of each at a time, until each page is full.
async fn load_pages(
    conn: &Conn,
    mut inboxes: Vec<VecDeque<(DeliveryId, Text)>>,
) -> Result<Vec<Page>, StoreError> {
    let mut pages: Vec<Page> = inboxes.iter().map(|inbox| Page::of(inbox.len())).collect();
    let mut most = FIRST;
    while inboxes.iter().any(|inbox| !inbox.is_empty()) {
        let slices = inboxes.iter_mut();
        let slices = slices.map(|inbox| inbox.drain(..inbox.len().min(most)).collect());
        let slices: Vec<Vec<_>> = slices.collect();
        most = SLICE;
        let ids = slices.iter().flatten().map(|(id, _)| id.message).collect();
        let messages = load_messages(conn, CLAIM, ids).await?;
        for ((page, slice), rest) in pages.iter_mut().zip(slices).zip(&mut inboxes) {
            let mut slice = slice.into_iter().peekable();
            while let Some((delivery, route)) = slice.next() {
                let message = messages.get(&delivery.message).ok_or_else(|| {
                    let what = format!("table message, row {}: it is gone", delivery.message);
                    StoreError::corrupt(CLAIM, what)
                })?;
                let room = page.add(Entered {
                    delivery,
                    message: message.clone(),
                    route,
                });
                if !room {
                    page.partial |= slice.peek().is_some() || !rest.is_empty();
                    rest.clear();
                    break;
                }
            }
        }
    }
    Ok(pages)
}

fn read_claimed(row: &Reader<'_>, instance: InstanceId) -> Result<ClaimedRun, StoreError> {
    Ok(ClaimedRun {
        claim: RunClaim {
            run: row.id("id")?,
            instance,
            token: row.number::<i32, _>("token")?,
        },
        orchestration: row.text("orchestration")?,
        definition: fingerprint(row, "definition")?,
        state: row.bytes_opt("data")?.unwrap_or_default(),
        wakes: row.get("wakes")?,
        order: row.text_opt("ordered")?,
        deaths: row.number::<i16, _>("deaths")?,
        inbox: Vec::new(),
        partial: false,
        kept: Vec::new(),
        asked: Vec::new(),
        leases: Vec::new(),
        now: row.time("now")?,
    })
}

fn read_waiting(row: &Row) -> Result<(RunId, DeliveryId, Text), StoreError> {
    let cells = Reader::new(row, CLAIM, "delivery");
    Ok((cells.id("run")?, delivery_id(row)?, cells.text("route")?))
}

fn read_asked(row: &Reader<'_>) -> Result<Asked, StoreError> {
    let failed = |code: Text, detail: Text| AskedEnd::Failed { code, detail };
    let end = if let Some(at) = row.get::<Option<i64>>("answered_at")? {
        AskedEnd::Answered {
            at: Timestamp::from_micros(at),
            status: row.number::<i32, _>("status")?,
            body: Part {
                name: Name::new("body").expect("four letters are a name"),
                content_type: row.text_opt("content_type")?,
                content: Content::Inline(row.bytes_opt("bytes")?.unwrap_or_else(Bytes::new)),
            },
        }
    } else if let Some(failure) = row.json_opt::<Failure>("failure")? {
        failed(failure.code, failure.detail)
    } else if row.get::<Option<bool>>("failed")? == Some(false) {
        AskedEnd::Delivered
    } else {
        let event: Option<&str> = row.get("event")?;
        let detail = event.unwrap_or("nothing is known of it any more");
        failed(Text::lossy(codes::UNANSWERED.code), Text::lossy(detail))
    };
    Ok(Asked {
        exchange: row.id("id")?,
        message: row.id("message")?,
        end,
    })
}

async fn show(conn: &Conn, id: RunId) -> Result<Option<RunShown>, StoreError> {
    let key = Id::from(id);
    let (ids, page) = (vec![key], i64::from(INBOX_PAGE));
    let steps = vec![
        conn.step(Sql::RunGet, vec![&key]),
        conn.step(Sql::RunInbox, vec![&ids, &page]),
        conn.step(Sql::RunKeyList, vec![&key]),
    ];
    let rows = conn.trip(steps).await.map_err(|e| fail(SHOW, e))?;
    let Some(row) = rows[0].first() else {
        return Ok(None);
    };
    let row = Reader::new(row, SHOW, "run");
    let inbox = rows[1].iter().map(|row| {
        let (_, delivery, route) = read_waiting(row)?;
        Ok((delivery, route))
    });
    let keys = rows[2].iter().map(|row| {
        let key = Reader::new(row, SHOW, "subscription").array_opt("key")?;
        Ok(key.unwrap_or_default())
    });
    Ok(Some(RunShown {
        row: read_row(&row)?,
        data: row.bytes_opt("data")?,
        order: row.text_opt("ordered")?,
        inbox: inbox.collect::<Result<_, StoreError>>()?,
        keys: keys.collect::<Result<_, StoreError>>()?,
    }))
}

fn read_row(row: &Reader<'_>) -> Result<RunRow, StoreError> {
    let due: Option<i64> = row.get("due")?;
    let reason: Option<&str> = row.get("reason")?;
    Ok(RunRow {
        id: row.id("id")?,
        orchestration: row.text("orchestration")?,
        definition: fingerprint(row, "definition")?,
        state: state(row)?,
        started_at: row.time("started_at")?,
        changed_at: row.time("changed_at")?,
        due: due.map(Timestamp::from_micros),
        instance: row.id_opt("instance")?,
        // What stands around the detail of a failure may make it longer than a text.
        reason: reason.map(Text::lossy),
        discarded: row.number::<i32, _>("discarded")?,
    })
}

fn fingerprint(row: &Reader<'_>, column: &'static str) -> Result<[u8; 16], StoreError> {
    Ok(row.array_opt(column)?.unwrap_or_default())
}

fn state(row: &Reader<'_>) -> Result<RunState, StoreError> {
    match row.get::<i16>("state")? {
        0 => Ok(RunState::Ready),
        1 => Ok(RunState::Running),
        2 => Ok(RunState::Waiting),
        3 => Ok(RunState::Suspended),
        4 => Ok(RunState::Completed),
        5 => Ok(RunState::Terminated),
        other => Err(row.corrupt("state", &format!("{other} is none"))),
    }
}

fn state_code(state: RunState) -> i16 {
    match state {
        RunState::Ready => 0,
        RunState::Running => 1,
        RunState::Waiting => 2,
        RunState::Suspended => 3,
        RunState::Completed => 4,
        RunState::Terminated => 5,
    }
}
