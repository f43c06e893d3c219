//! Taking deliveries that wait, and giving back those of the dead.

use std::sync::Arc;

use async_trait::async_trait;
use quayside_store::{
    Claimed, Claims, StoreError, Want,
    browse::MAY_HAVE_BEEN_SENT,
    commit::{Next, OrderKey},
    model::{
        Claim, Content, DeliveryId, ExchangeId, InstanceId, Message, MessageId, Name, Part,
        StoredBody, Text, Transport, failpoint,
    },
};
use rusqlite::Row;

use crate::{
    commit::Numbers,
    error::{DbError, DbResult},
    history::Event,
    open::SqliteStore,
    order,
    row::{Json, cell, delivery_id},
    runs,
    sessions::is_live,
    tx::Tx,
};

/// How many deliveries of a port become due in one claim at most.
const WAKE: u32 = 512;
/// How many deliveries of a port one claim gives at most, whatever its room.
const MOST: u32 = 1024;

#[async_trait]
impl Claims for SqliteStore {
    async fn claim(
        &self,
        instance: InstanceId,
        wants: &[Want],
    ) -> Result<Vec<Claimed>, StoreError> {
        if wants.iter().all(|want| want.room == 0) {
            return Ok(Vec::new());
        }
        let wants = wants.to_vec();
        self.write("claim deliveries", move |tx| claim(tx, instance, &wants))
            .await
    }

    async fn claims_of(&self, instance: InstanceId) -> Result<Vec<Claim>, StoreError> {
        self.read("list claims", move |tx| {
            let sql = include_str!("../sql/delivery_claims_of.sql");
            tx.all(sql, [instance.to_bytes()], |row| {
                let token = cell(row, 2, "delivery.token")?;
                Ok(Claim {
                    delivery: delivery_id(row, 0, 1)?,
                    instance,
                    token,
                })
            })
        })
        .await
    }

    async fn is_preceded(&self, delivery: DeliveryId) -> Result<bool, StoreError> {
        self.read("look what came before", move |tx| {
            let sql = include_str!("../sql/delivery_preceded.sql");
            tx.exists(sql, (delivery.message.to_bytes(), delivery.no))
        })
        .await
    }

    async fn release_dead(&self, limit: u32) -> Result<u32, StoreError> {
        if failpoint::enabled("no-claim-release") {
            return Ok(0);
        }
        self.write("release dead claims", move |tx| release_dead(tx, limit))
            .await
    }

    async fn release_lanes(&self, instance: InstanceId, port: &Name) -> Result<u32, StoreError> {
        let port = port.clone();
        self.write("release lanes", move |tx| {
            let sql = include_str!("../sql/lane_release.sql");
            let released = tx.execute(sql, (port.as_str(), instance.to_bytes()))?;
            Ok(u32::try_from(released).unwrap_or(u32::MAX))
        })
        .await
    }

    async fn fix_lanes(
        &self,
        instance: InstanceId,
        port: &Name,
        wanted: u16,
    ) -> Result<u16, StoreError> {
        let port = port.clone();
        self.write("fix lanes", move |tx| {
            let sql = include_str!("../sql/lanes_fix.sql");
            tx.execute(sql, (port.as_str(), wanted, instance.to_bytes()))?;
            let sql = include_str!("../sql/lanes_read.sql");
            let fixed = tx.first(sql, [port.as_str()], |row| {
                cell(row, 0, "ordered_port.lanes")
            })?;
            Ok(fixed.unwrap_or(wanted))
        })
        .await
    }
}

/// A delivery row that was just claimed, without its message.
#[derive(Debug)]
pub(crate) struct Taken {
    id: DeliveryId,
    port: Name,
    transport: Transport,
    attempts: u32,
    token: u32,
    in_doubt: bool,
    deaths: u32,
    order: Option<OrderKey>,
    rendered: Option<Text>,
    exchange: Option<ExchangeId>,
}

impl Taken {
    fn read(id: DeliveryId, row: &Row<'_>) -> DbResult<Self> {
        let lane: Option<u16> = cell(row, 5, "delivery.lane")?;
        let hash: Option<[u8; 16]> = cell(row, 6, "delivery.order_key")?;
        Ok(Self {
            id,
            port: cell(row, 0, "delivery.port")?,
            transport: cell(row, 1, "delivery.transport")?,
            attempts: cell(row, 2, "delivery.attempts")?,
            token: cell(row, 3, "delivery.token")?,
            in_doubt: cell(row, 4, "delivery.in_doubt")?,
            order: lane.zip(hash).map(|(lane, hash)| OrderKey { lane, hash }),
            rendered: cell(row, 7, "delivery.rendered")?,
            exchange: cell(row, 8, "delivery.exchange")?,
            deaths: cell(row, 9, "delivery.deaths")?,
        })
    }

    fn with(self, instance: InstanceId, message: Arc<Message>) -> Claimed {
        Claimed {
            claim: Claim {
                delivery: self.id,
                instance,
                token: self.token,
            },
            port: self.port,
            message,
            transport: self.transport,
            attempts: self.attempts,
            rendered: self.rendered,
            order: self.order,
            exchange: self.exchange,
            in_doubt: self.in_doubt,
            deaths: self.deaths,
        }
    }
}

/// Gives a ready or held delivery to `instance`, where it `marks` as no intent yet. `None`: it is neither.
pub(crate) fn take(
    tx: &Tx<'_>,
    instance: InstanceId,
    id: DeliveryId,
    marks: bool,
) -> DbResult<Option<Taken>> {
    let params = (id.message.to_bytes(), id.no, instance.to_bytes(), marks);
    tx.first(include_str!("../sql/delivery_claim.sql"), params, |row| {
        Taken::read(id, row)
    })
}

fn claim(tx: &Tx<'_>, instance: InstanceId, wants: &[Want]) -> DbResult<Vec<Claimed>> {
    if !is_live(tx, instance)? {
        return Ok(Vec::new());
    }
    let mut claimed: Vec<Claimed> = Vec::new();
    for want in wants.iter().filter(|want| want.room > 0) {
        wake(tx, &want.port)?;
        for taken in take_wanted(tx, instance, want)? {
            // Deliveries of one message are often claimed together: it is read once.
            let message = match claimed
                .last()
                .filter(|last| last.message.id == taken.id.message)
            {
                Some(last) => Arc::clone(&last.message),
                None => Arc::new(present(tx, taken.id.message)?),
            };
            claimed.push(taken.with(instance, message));
        }
    }
    Ok(claimed)
}

/// Claims the first deliveries of a key of an own lane, as about to be sent.
pub(crate) fn next(tx: &Tx<'_>, instance: InstanceId, next: &Next) -> DbResult<Vec<Claimed>> {
    let mut claimed = Vec::new();
    for id in order::free_run(tx, instance, next)? {
        if let Some(taken) = take(tx, instance, id, false)? {
            let message = Arc::new(present(tx, id.message)?);
            claimed.push(taken.with(instance, message));
        }
    }
    Ok(claimed)
}

fn wake(tx: &Tx<'_>, port: &str) -> DbResult<()> {
    tx.execute(
        include_str!("../sql/delivery_wake.sql"),
        (port, tx.now.as_micros(), WAKE),
    )?;
    Ok(())
}

fn take_wanted(tx: &Tx<'_>, instance: InstanceId, want: &Want) -> DbResult<Vec<Taken>> {
    let room = want.room.min(MOST);
    if want.ordered {
        return order::claim(tx, instance, &want.port, room as usize);
    }
    let (least, most) = want.deaths.range();
    let sql = match least {
        0 => include_str!("../sql/delivery_ready.sql"),
        _ => include_str!("../sql/delivery_deadly.sql"),
    };
    let ready = tx.all(sql, (want.port.as_str(), room, least, most), |row| {
        delivery_id(row, 0, 1)
    })?;
    let mut taken = Vec::with_capacity(ready.len());
    for id in ready {
        taken.extend(take(tx, instance, id, want.marks)?);
    }
    Ok(taken)
}

pub(crate) fn present(tx: &Tx<'_>, id: MessageId) -> DbResult<Message> {
    let absent = || DbError::Corrupt(format!("delivery.message: there is no message {id}"));
    load(tx, id)?.ok_or_else(absent)
}

/// Reads a message with its inline parts.
pub(crate) fn load(tx: &Tx<'_>, id: MessageId) -> DbResult<Option<Message>> {
    let sql = include_str!("../sql/message_load.sql");
    let message = tx.first(sql, [id.to_bytes()], |row| {
        Ok(Message {
            id,
            received_at: cell(row, 0, "message.received_at")?,
            origin: cell(row, 1, "message.origin")?,
            message_type: cell(row, 2, "message.type")?,
            context: cell::<Json<_>>(row, 3, "message.context")?.0,
            parts: Vec::new(),
        })
    })?;
    let Some(mut message) = message else {
        return Ok(None);
    };
    message.parts = tx.all(include_str!("../sql/part_load.sql"), [id.to_bytes()], part)?;
    if message.parts.is_empty() {
        return Err(DbError::Corrupt(format!("part: the message {id} has none")));
    }
    Ok(Some(message))
}

fn part(row: &Row<'_>) -> DbResult<Part> {
    let content = match row
        .get_ref(3)?
        .as_blob_or_null()
        .map_err(rusqlite::Error::from)?
    {
        Some(bytes) => Content::Inline(bytes::Bytes::copy_from_slice(bytes)),
        None => match cell(row, 4, "part.body")? {
            Some(id) => Content::Stored(StoredBody {
                id,
                len: cell(row, 2, "part.len")?,
                chunks: cell(row, 5, "body.chunks")?,
                sha256: cell(row, 6, "body.sha256")?,
            }),
            // Removed by retention.
            None => Content::Inline(bytes::Bytes::new()),
        },
    };
    Ok(Part {
        name: cell(row, 0, "part.name")?,
        content_type: cell(row, 1, "part.content_type")?,
        content,
    })
}

/// A delivery in the hands of the dead.
#[derive(Debug)]
struct Orphan {
    id: DeliveryId,
    port: String,
    attempts: u32,
    owner: InstanceId,
    /// Whether its claim was an intent to send.
    intended: bool,
}

fn release_dead(tx: &Tx<'_>, limit: u32) -> DbResult<u32> {
    let sql = include_str!("../sql/delivery_dead_claims.sql");
    let orphans = tx.all(sql, [limit], |row| {
        Ok(Orphan {
            id: delivery_id(row, 0, 1)?,
            port: row.get(2)?,
            attempts: cell(row, 3, "delivery.attempts")?,
            owner: cell(row, 4, "delivery.instance")?,
            intended: cell(row, 5, "delivery.unsent")?,
        })
    })?;
    if orphans.is_empty() {
        return runs::release_dead(tx, limit);
    }
    let mut numbers = Numbers::take(tx, orphans.len())?;
    for orphan in &orphans {
        let DeliveryId { message, no } = orphan.id;
        tx.execute(
            include_str!("../sql/delivery_release_dead.sql"),
            (message.to_bytes(), no, orphan.intended),
        )?;
        let what = match orphan.intended {
            true => MAY_HAVE_BEEN_SENT,
            false => "; it had not been sent",
        };
        let detail = format!("its owner {} died{what}", orphan.owner);
        Event::of_delivery(orphan.id, "released", &orphan.port)
            .attempts(orphan.attempts + u32::from(orphan.intended))
            .detail(&detail)
            .insert(tx, &mut numbers)?;
    }
    Ok(u32::try_from(orphans.len()).expect("bounded by the limit"))
}
