//! Taking deliveries that wait, and giving back those of the dead.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use quayside_store::{
    Claimed, Claims, StoreError, StoreErrorKind, Want,
    commit::OrderKey,
    model::{
        Claim, Content, Context, DeliveryId, ExchangeId, InstanceId, Message, MessageId, Name,
        Part, StoredBody, Text, Transport, failpoint,
    },
};
use tokio_postgres::Row;

use crate::{
    PostgresStore,
    error::fail,
    pool::{Conn, Use},
    row::{Id, Reader},
    sql::Sql,
};

const CLAIM: &str = "claim deliveries";
const LANES: &str = "keep lanes";

/// How many rows of a lane one statement looks at, at most: enough to find work behind rows that it parks.
const ORDERED_SCAN: usize = 256;
/// How often one claim looks further when all it met had to be parked.
const ORDERED_ROUNDS: usize = 8;
/// How many rows of all lanes one statement looks at, and how many one claim parks before it looks no further. It holds
/// the lanes meanwhile, and has parked nothing if it is given up: the next one would meet as much, and more.
const ORDERED_PARKED: usize = 2048;

#[async_trait]
impl Claims for PostgresStore {
    async fn claim(
        &self,
        instance: InstanceId,
        wants: &[Want],
    ) -> Result<Vec<Claimed>, StoreError> {
        let room = wants.iter().map(|w| w.room as usize).sum();
        if room == 0 {
            return Ok(Vec::new());
        }
        self.run(CLAIM, room, self.work_timeout(), async {
            let held = self.pool().get(Use::Work, CLAIM).await?;
            let conn = held.conn();
            let mut taken = Vec::new();
            // Of ordered ports too: a skipped delivery has lost its key.
            take(conn, instance, &Ports::of(wants, &[]), &mut taken).await?;
            let ordered = Ports::of(wants.iter().filter(|w| w.ordered), &taken);
            if !ordered.names.is_empty() {
                self.saw_order();
                let free = taken.len();
                if let Err(e) = take_ordered(conn, instance, &ordered, &mut taken).await {
                    // What the first statement took is committed, and is in hand whatever became of the rest.
                    taken.truncate(free);
                    let refused = e.kind == StoreErrorKind::Contended;
                    if refused && !taken.is_empty() {
                        conn.simple("ROLLBACK").await.map_err(|e| fail(CLAIM, e))?;
                    } else {
                        if refused {
                            held.undo().await;
                        }
                        return Err(e);
                    }
                }
            }
            taken.sort_by_key(|t| (t.rank, t.seq));
            let claimed = with_messages(conn, instance, taken).await?;
            held.keep();
            Ok(claimed)
        })
        .await
    }

    async fn claims_of(&self, instance: InstanceId) -> Result<Vec<Claim>, StoreError> {
        const OPERATION: &str = "list claims";
        let me = Id::from(instance);
        let work = self.work(OPERATION, async |conn| {
            let rows = conn
                .rows(OPERATION, Sql::DeliveryClaimsOf, vec![&me])
                .await?;
            rows.iter()
                .map(|row| claim(&Reader::new(row, OPERATION, "delivery"), instance))
                .collect()
        });
        self.run(OPERATION, 1, self.work_timeout(), work).await
    }

    async fn is_preceded(&self, delivery: DeliveryId) -> Result<bool, StoreError> {
        const OPERATION: &str = "look what came before";
        let (message, no) = (Id::from(delivery.message), i32::from(delivery.no));
        let look = self.work(OPERATION, async |conn| {
            let rows = conn
                .rows(OPERATION, Sql::DeliveryPreceded, vec![&message, &no])
                .await?;
            let row = rows.first();
            let preceded = row.map(|row| Reader::new(row, OPERATION, "delivery").get("preceded"));
            Ok(preceded.transpose()?.unwrap_or(false))
        });
        self.run(OPERATION, 1, self.work_timeout(), look).await
    }

    async fn release_dead(&self, limit: u32) -> Result<u32, StoreError> {
        const OPERATION: &str = "release dead claims";
        if failpoint::enabled("no-claim-release") {
            return Ok(0);
        }
        let limit = i64::from(limit);
        let work = self.work(OPERATION, async |conn| {
            let rows = conn
                .rows(OPERATION, Sql::DeliveryReleaseDead, vec![&limit])
                .await?;
            let released = rows.first().map(|row| row.try_get::<_, i64>(0)).transpose();
            let released = released.map_err(|e| fail(OPERATION, e))?.unwrap_or(0);
            // Nothing of a run is in doubt: a step is in the store, or did not happen.
            let room = limit - released;
            let runs = conn
                .rows(OPERATION, Sql::RunReleaseDead, vec![&room])
                .await?;
            let released = released.saturating_add(i64::try_from(runs.len()).unwrap_or(i64::MAX));
            Ok(u32::try_from(released).unwrap_or(u32::MAX))
        });
        self.run(OPERATION, 1, self.work_timeout(), work).await
    }

    async fn release_lanes(&self, instance: InstanceId, port: &Name) -> Result<u32, StoreError> {
        let (me, port) = (Id::from(instance), port.as_str());
        let ports = vec![port];
        let work = self.work(LANES, async |conn| {
            let steps = vec![
                conn.text("BEGIN"),
                conn.step(Sql::LaneHold, vec![&me, &ports]),
                conn.step(Sql::LaneRelease, vec![&me, &port]),
                conn.text("COMMIT"),
            ];
            let rows = conn.trip(steps).await.map_err(|e| fail(LANES, e))?;
            Ok(u32::try_from(rows[2].len()).unwrap_or(u32::MAX))
        });
        self.run(LANES, 1, self.work_timeout(), work).await
    }

    async fn fix_lanes(
        &self,
        instance: InstanceId,
        port: &Name,
        wanted: u16,
    ) -> Result<u16, StoreError> {
        let (me, port, count) = (Id::from(instance), port.as_str(), i32::from(wanted));
        let work = self.work(LANES, async |conn| {
            let steps = vec![
                conn.text("BEGIN"),
                conn.step(Sql::LanesInsert, vec![&port, &count]),
                conn.step(Sql::LanesLock, vec![&port]),
                conn.step(Sql::LanesFix, vec![&port, &count, &me]),
                conn.step(Sql::LanesRead, vec![&port]),
                conn.text("COMMIT"),
            ];
            let rows = conn.trip(steps).await.map_err(|e| fail(LANES, e))?;
            let fixed = rows[4]
                .first()
                .map(|row| Reader::new(row, LANES, "ordered_port").number::<i32, _>("lanes"));
            fixed.transpose().map(|fixed| fixed.unwrap_or(wanted))
        });
        self.run(LANES, 1, self.work_timeout(), work).await
    }
}

/// Wanted ports, as columns.
#[derive(Debug, Default)]
struct Ports<'a> {
    names: Vec<&'a str>,
    rooms: Vec<i32>,
    marks: Vec<bool>,
    least: Vec<i32>,
    most: Vec<i32>,
}

impl<'a> Ports<'a> {
    /// The ports of `wants` with the room that `taken` leaves.
    fn of(wants: impl IntoIterator<Item = &'a Want>, taken: &[Taken]) -> Self {
        let mut ports = Self::default();
        for want in wants {
            let used = taken.iter().filter(|t| t.port == want.port).count();
            let room = i32::try_from((want.room as usize).saturating_sub(used)).unwrap_or(i32::MAX);
            if room > 0 {
                ports.names.push(&want.port);
                ports.rooms.push(room);
                ports.marks.push(want.marks || want.ordered);
                let (least, most) = want.deaths.range();
                ports.least.push(least);
                ports.most.push(most);
            }
        }
        ports
    }
}

/// A claimed row without its message.
#[derive(Debug)]
struct Taken {
    claim: Claim,
    port: Name,
    transport: Transport,
    attempts: u32,
    rendered: Option<Text>,
    order: Option<OrderKey>,
    exchange: Option<ExchangeId>,
    in_doubt: bool,
    deaths: u32,
    rank: i64,
    seq: i64,
}

async fn take(
    conn: &Conn,
    instance: InstanceId,
    ports: &Ports<'_>,
    taken: &mut Vec<Taken>,
) -> Result<(), StoreError> {
    let me = Id::from(instance);
    let params: crate::pool::Params<'_> = vec![
        &me,
        &ports.names,
        &ports.rooms,
        &ports.marks,
        &ports.least,
        &ports.most,
    ];
    // The one for what kills would miss the rest, and the one for all would walk over a backlog without any of it.
    let sql = match ports.least.iter().all(|least| *least > 0) {
        true => Sql::DeliveryClaimDeadly,
        false => Sql::DeliveryClaim,
    };
    for row in &conn.rows(CLAIM, sql, params).await? {
        taken.push(read_taken(row, instance)?);
    }
    Ok(())
}

/// Takes lanes that nobody lives in, locks those of its own that have something due and claims heads of keys.
/// Rows behind a head are parked as they are met; when a statement met nothing else, the next one looks
/// further.
async fn take_ordered(
    conn: &Conn,
    instance: InstanceId,
    ports: &Ports<'_>,
    taken: &mut Vec<Taken>,
) -> Result<(), StoreError> {
    let me = Id::from(instance);
    let failed = |e| fail(CLAIM, e);
    let steps = vec![
        conn.text("BEGIN"),
        conn.step(Sql::LaneTake, vec![&me, &ports.names]),
        conn.step(Sql::LaneReady, vec![&me, &ports.names]),
    ];
    let rows = conn.trip(steps).await.map_err(failed)?;
    let (fresh, lanes) = (&rows[1], Lanes::read(&rows[2])?);
    if lanes.nos.is_empty() {
        // Most claims beside a flow of hand-offs. A commit would wait for the disk all the same.
        let end = if fresh.is_empty() {
            "ROLLBACK"
        } else {
            "COMMIT"
        };
        conn.simple(end).await.map_err(failed)?;
        return Ok(());
    }
    let mut rooms = ports.rooms.clone();
    let mut parked = 0;
    let scan = (ORDERED_PARKED / lanes.nos.len()).clamp(1, ORDERED_SCAN);
    let scan = i32::try_from(scan).unwrap_or(i32::MAX);
    for _ in 0..ORDERED_ROUNDS {
        let mut params: crate::pool::Params<'_> = vec![&me, &ports.names, &rooms, &scan];
        params.extend(lanes.params());
        let rows = conn.rows(CLAIM, Sql::DeliveryClaimOrdered, params).await?;
        let before = parked;
        for row in &rows {
            if Reader::new(row, CLAIM, "delivery").get::<i16>("state")? != 1 {
                parked += 1;
                continue;
            }
            let one = read_taken(row, instance)?;
            if let Some(at) = ports.names.iter().position(|name| one.port == **name) {
                rooms[at] -= 1;
            }
            taken.push(one);
        }
        let enough = parked == before || parked >= ORDERED_PARKED;
        if enough || rooms.iter().all(|room| *room <= 0) {
            break;
        }
    }
    conn.simple("COMMIT").await.map_err(failed)?;
    Ok(())
}

/// Lanes that a claim holds, as columns.
#[derive(Debug, Default)]
struct Lanes {
    ports: Vec<String>,
    nos: Vec<i32>,
}

impl Lanes {
    fn read(rows: &[Row]) -> Result<Self, StoreError> {
        let mut lanes = Self::default();
        for row in rows {
            let row = Reader::new(row, CLAIM, "lane");
            lanes.ports.push(row.get("port")?);
            lanes.nos.push(row.get("no")?);
        }
        Ok(lanes)
    }

    fn params(&self) -> crate::pool::Params<'_> {
        vec![&self.ports, &self.nos]
    }
}

fn read_taken(row: &Row, instance: InstanceId) -> Result<Taken, StoreError> {
    let row = Reader::new(row, CLAIM, "delivery");
    let order = match (row.get::<Option<i32>>("lane")?, row.array_opt("order_key")?) {
        (Some(_), Some(hash)) => Some(OrderKey {
            lane: row.number::<i32, _>("lane")?,
            hash,
        }),
        _ => None,
    };
    Ok(Taken {
        claim: claim(&row, instance)?,
        port: row.text("port")?,
        transport: transport(&row)?,
        attempts: row.number::<i32, _>("attempts")?,
        rendered: row.text_opt("rendered")?,
        order,
        exchange: row.id_opt("exchange")?,
        in_doubt: row.get("in_doubt")?,
        deaths: row.number::<i16, _>("deaths")?,
        rank: row.get("rank")?,
        seq: row.get("seq")?,
    })
}

fn claim(row: &Reader<'_>, instance: InstanceId) -> Result<Claim, StoreError> {
    let delivery = DeliveryId {
        message: row.id("message")?,
        no: row.number::<i32, _>("no")?,
    };
    Ok(Claim {
        delivery,
        instance,
        token: row.number::<i32, _>("token")?,
    })
}

/// The transport in the column of that name.
pub(crate) fn transport(row: &Reader<'_>) -> Result<Transport, StoreError> {
    match row.get::<i16>("transport")? {
        0 => Ok(Transport::Primary),
        1 => Ok(Transport::Backup),
        other => Err(row.corrupt("transport", &format!("{other} is none"))),
    }
}

/// The claimed rows of another statement, with their messages, in the order of their acceptance.
pub(crate) async fn claimed(
    conn: &Conn,
    operation: &'static str,
    instance: InstanceId,
    rows: &[Row],
) -> Result<Vec<Claimed>, StoreError> {
    let taken = rows.iter().map(|row| read_taken(row, instance));
    let mut taken = taken.collect::<Result<Vec<_>, _>>()?;
    taken.sort_by_key(|taken| taken.seq);
    let claimed = with_messages(conn, instance, taken).await;
    claimed.map_err(|e| StoreError { operation, ..e })
}

async fn with_messages(
    conn: &Conn,
    instance: InstanceId,
    taken: Vec<Taken>,
) -> Result<Vec<Claimed>, StoreError> {
    debug_assert!(taken.iter().all(|t| t.claim.instance == instance));
    let ids: Vec<MessageId> = taken.iter().map(|t| t.claim.delivery.message).collect();
    let messages = load_messages(conn, CLAIM, ids).await?;
    let with = |t: Taken| {
        let id = t.claim.delivery.message;
        let message = messages.get(&id).ok_or_else(|| {
            StoreError::corrupt(CLAIM, format!("table message, row {id}: it is gone"))
        })?;
        Ok(Claimed {
            claim: t.claim,
            port: t.port,
            message: Arc::clone(message),
            transport: t.transport,
            attempts: t.attempts,
            rendered: t.rendered,
            order: t.order,
            exchange: t.exchange,
            in_doubt: t.in_doubt,
            deaths: t.deaths,
        })
    };
    taken.into_iter().map(with).collect()
}

/// The messages with these ids, inline parts included.
pub(crate) async fn load_messages(
    conn: &Conn,
    operation: &'static str,
    ids: Vec<MessageId>,
) -> Result<HashMap<MessageId, Arc<Message>>, StoreError> {
    let mut keys: Vec<Id> = ids.into_iter().map(Id::from).collect();
    keys.sort_unstable();
    keys.dedup();
    let (Some(first), Some(last)) = (keys.first(), keys.last()) else {
        return Ok(HashMap::new());
    };
    let steps = vec![
        conn.step(Sql::MessageGet, vec![&keys, first, last]),
        conn.step(Sql::PartGet, vec![&keys, first, last]),
    ];
    let mut rows = conn
        .trip(steps)
        .await
        .map_err(|e| fail(operation, e))?
        .into_iter();
    let messages = rows.next().unwrap_or_default();
    let mut parts: HashMap<MessageId, Vec<Part>> = HashMap::new();
    for row in &rows.next().unwrap_or_default() {
        let row = Reader::new(row, operation, "part");
        parts
            .entry(row.id("message")?)
            .or_default()
            .push(read_part(&row)?);
    }
    let mut found = HashMap::with_capacity(messages.len());
    for row in &messages {
        let message = read_message(&Reader::new(row, operation, "message"), &mut parts)?;
        found.insert(message.id, Arc::new(message));
    }
    Ok(found)
}

fn read_message(
    row: &Reader<'_>,
    parts: &mut HashMap<MessageId, Vec<Part>>,
) -> Result<Message, StoreError> {
    let id = row.id("id")?;
    let context: Context = row.json("context")?;
    Ok(Message {
        id,
        received_at: row.time("received_at")?,
        origin: row.text("origin")?,
        message_type: row.text_opt("type")?,
        context,
        parts: parts.remove(&id).unwrap_or_else(|| vec![removed_body()]),
    })
}

/// What stands for the body after retention removed it: a message always has one.
fn removed_body() -> Part {
    let name = Name::new("body").expect("four letters are a name");
    Part {
        name,
        content_type: None,
        content: Content::Inline(bytes::Bytes::new()),
    }
}

fn read_part(row: &Reader<'_>) -> Result<Part, StoreError> {
    let content = match row.id_opt("body")? {
        Some(id) => Content::Stored(StoredBody {
            id,
            len: row.number::<i64, _>("len")?,
            chunks: row
                .get::<Option<i32>>("chunks")?
                .map_or(Ok(0), u32::try_from)
                .map_err(|e| row.corrupt("chunks", &e.to_string()))?,
            sha256: row.array_opt("sha256")?.unwrap_or_default(),
        }),
        None => Content::Inline(row.bytes_opt("bytes")?.unwrap_or_default()),
    };
    Ok(Part {
        name: row.text("name")?,
        content_type: row.text_opt("content_type")?,
        content,
    })
}
