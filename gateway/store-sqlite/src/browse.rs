//! Reading for people: messages, deliveries, their way.

use async_trait::async_trait;
use bytes::Bytes;
use quayside_store::{
    Browse, StoreError,
    browse::{
        ArrivedAnswer, DeliveryFilter, DeliveryRow, DoubtRow, HistoryRow, LostOwner, MAX_PAGE,
        MAX_WAY, MessageFilter, MessageRow, MessageWay, PortBacklog,
    },
    model::{
        Context, DeliveryId, DeliveryState, ExchangeId, Message, MessageId, Name, Text, Timestamp,
    },
};
use rusqlite::Row;

use crate::{
    claims::load,
    error::DbResult,
    open::SqliteStore,
    row::{Json, cell, delivery_id, state},
    tx::Tx,
};

#[async_trait]
impl Browse for SqliteStore {
    async fn messages(
        &self,
        filter: &MessageFilter,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<MessageRow>, StoreError> {
        let filter = filter.clone();
        self.read("list messages", move |tx| {
            messages(tx, &filter, before, limit.min(MAX_PAGE))
        })
        .await
    }

    async fn message(&self, id: MessageId) -> Result<Option<MessageWay>, StoreError> {
        self.read("show message", move |tx| way(tx, id)).await
    }

    async fn load(&self, id: MessageId) -> Result<Option<Message>, StoreError> {
        self.read("load message", move |tx| load(tx, id)).await
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        after: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        let filter = filter.clone();
        self.read("list deliveries", move |tx| {
            deliveries(tx, &filter, after, limit.min(MAX_PAGE))
        })
        .await
    }

    async fn doubts(
        &self,
        ports: Option<&[Name]>,
        after: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<DoubtRow>, StoreError> {
        let ports = ports.map(|ports| serde_json::to_string(ports).expect("names are texts"));
        self.read("list doubts", move |tx| {
            let (message, no) = place(after);
            let sql = include_str!("../sql/delivery_doubts.sql");
            tx.all(sql, (message, no, limit.min(MAX_PAGE), ports), doubt_row)
        })
        .await
    }

    async fn answers(&self, exchanges: &[ExchangeId]) -> Result<Vec<ArrivedAnswer>, StoreError> {
        let exchanges = exchanges.to_vec();
        self.read("read answers", move |tx| {
            let mut arrived = Vec::new();
            for exchange in exchanges {
                let sql = include_str!("../sql/exchange_read.sql");
                arrived.extend(tx.first(sql, [exchange.to_bytes()], answer)?);
            }
            Ok(arrived)
        })
        .await
    }

    async fn backlog(&self, cap: u32) -> Result<Vec<PortBacklog>, StoreError> {
        self.read("count backlog", move |tx| backlog(tx, cap)).await
    }
}

/// What a page comes after.
fn place(after: Option<DeliveryId>) -> ([u8; 16], i64) {
    after.map_or(([0; 16], -1), |id| {
        (id.message.to_bytes(), i64::from(id.no))
    })
}

/// `delivery.state` of a state in a filter. Ready ones have two: due, and not due yet.
fn state_cells(wanted: DeliveryState) -> (i64, i64) {
    match wanted {
        DeliveryState::Ready => (state::READY, state::WAITING),
        DeliveryState::Claimed => (state::CLAIMED, state::CLAIMED),
        DeliveryState::Held => (state::HELD, state::HELD),
        DeliveryState::Suspended => (state::SUSPENDED, state::SUSPENDED),
        DeliveryState::Taken => (state::TAKEN, state::TAKEN),
    }
}

fn messages(
    tx: &Tx<'_>,
    filter: &MessageFilter,
    before: Option<MessageId>,
    limit: u32,
) -> DbResult<Vec<MessageRow>> {
    let states = filter.state.map(state_cells);
    // Few messages have live deliveries: with a filter on those, the list starts from them.
    let sql = match (&filter.state, &filter.port) {
        (None, None) => include_str!("../sql/message_list.sql"),
        _ => include_str!("../sql/message_list_live.sql"),
    };
    tx.all(
        sql,
        (
            before.map_or([0xff; 16], MessageId::to_bytes),
            filter.origin.as_deref(),
            filter.message_type.as_deref(),
            filter.since.map_or(i64::MIN, Timestamp::as_micros),
            filter.until.map_or(i64::MAX, Timestamp::as_micros),
            limit,
            states.map(|states| states.0),
            states.map(|states| states.1),
            filter.port.as_deref(),
        ),
        message_row,
    )
}

fn message_row(row: &Row<'_>) -> DbResult<MessageRow> {
    Ok(MessageRow {
        id: cell(row, 0, "message.id")?,
        received_at: cell(row, 1, "message.received_at")?,
        origin: cell(row, 2, "message.origin")?,
        message_type: cell(row, 3, "message.type")?,
        body_len: cell(row, 4, "part.len")?,
        deliveries: cell(row, 5, "message.fanout")?,
        live: cell(row, 6, "delivery.message")?,
        suspended: cell(row, 7, "delivery.state")?,
        terminated: cell(row, 8, "history.event")?,
        failed: cell(row, 9, "history.event")?,
    })
}

fn way(tx: &Tx<'_>, id: MessageId) -> DbResult<Option<MessageWay>> {
    let sql = include_str!("../sql/message_show.sql");
    let shown = tx.first(sql, [id.to_bytes()], |row| {
        let context: Context = cell::<Json<_>>(row, 10, "message.context")?.0;
        let content_type: Option<Text> = cell(row, 11, "part.content_type")?;
        let config_version: i64 = cell(row, 12, "message.config_version")?;
        Ok((message_row(row)?, context, content_type, config_version))
    })?;
    let Some((row, context, content_type, config_version)) = shown else {
        return Ok(None);
    };
    let live = include_str!("../sql/delivery_list_message.sql");
    let live_deliveries = tx.all(live, (id.to_bytes(), MAX_WAY), |row| {
        let behind: Option<MessageId> = cell(row, 11, "delivery.message")?;
        let behind = behind.map(|_| delivery_id(row, 11, 12)).transpose()?;
        Ok(DeliveryRow {
            behind,
            ..delivery_row(row)?
        })
    })?;
    let history = include_str!("../sql/history_list.sql");
    let history = tx.all(history, (id.to_bytes(), MAX_WAY), history_row)?;
    Ok(Some(MessageWay {
        row,
        context,
        content_type,
        config_version,
        live_deliveries,
        history,
    }))
}

fn history_row(row: &Row<'_>) -> DbResult<HistoryRow> {
    Ok(HistoryRow {
        at: cell(row, 1, "history.at")?,
        event: cell(row, 2, "history.event")?,
        port: cell(row, 3, "history.port")?,
        no: cell(row, 4, "history.no")?,
        attempts: cell(row, 5, "history.attempts")?,
        detail: Text::lossy(&row.get::<_, String>(6)?),
    })
}

fn deliveries(
    tx: &Tx<'_>,
    filter: &DeliveryFilter,
    after: Option<DeliveryId>,
    limit: u32,
) -> DbResult<Vec<DeliveryRow>> {
    let states = filter.state.map(state_cells);
    let (message, no) = place(after);
    // Held and suspended ones have an index, and are looked for among many others.
    let sql = match filter.state {
        Some(DeliveryState::Held | DeliveryState::Suspended) => {
            include_str!("../sql/delivery_list_parked.sql")
        }
        _ => include_str!("../sql/delivery_list.sql"),
    };
    tx.all(
        sql,
        (
            message,
            no,
            filter.message.map_or([0; 16], MessageId::to_bytes),
            filter.message.map_or([0xff; 16], MessageId::to_bytes),
            states.map(|states| states.0),
            states.map(|states| states.1),
            filter.port.as_deref(),
            filter.in_doubt,
            limit,
        ),
        delivery_row,
    )
}

fn delivery_row(row: &Row<'_>) -> DbResult<DeliveryRow> {
    Ok(DeliveryRow {
        id: delivery_id(row, 0, 1)?,
        port: cell(row, 2, "delivery.port")?,
        state: cell(row, 3, "delivery.state")?,
        transport: cell(row, 4, "delivery.transport")?,
        attempts: cell(row, 5, "delivery.attempts")?,
        due: cell(row, 6, "delivery.due")?,
        instance: cell(row, 7, "delivery.instance")?,
        in_doubt: cell(row, 8, "delivery.in_doubt")?,
        rendered: cell(row, 9, "delivery.rendered")?,
        failure: cell::<Option<Json<_>>>(row, 10, "delivery.failure")?.map(|json| json.0),
        behind: None,
    })
}

fn doubt_row(row: &Row<'_>) -> DbResult<DoubtRow> {
    let released: Option<Timestamp> = cell(row, 12, "history.at")?;
    let restored: Option<Timestamp> = cell(row, 13, "history.at")?;
    let restored_at = restored.filter(|restored| released == Some(*restored));
    let released = released.filter(|_| restored_at.is_none());
    Ok(DoubtRow {
        delivery: delivery_row(row)?,
        context: cell::<Json<Context>>(row, 11, "message.context")?.0,
        restored_at,
        owner: released.map(|released_at| LostOwner {
            instance: None,
            node: None,
            epoch: None,
            begun_at: None,
            released_at,
        }),
    })
}

fn answer(row: &Row<'_>) -> DbResult<ArrivedAnswer> {
    Ok(ArrivedAnswer {
        exchange: cell(row, 0, "exchange.id")?,
        status: cell(row, 1, "exchange.status")?,
        content_type: cell(row, 2, "exchange.content_type")?,
        body: Bytes::from(cell::<Vec<u8>>(row, 3, "exchange.bytes")?),
    })
}

fn backlog(tx: &Tx<'_>, cap: u32) -> DbResult<Vec<PortBacklog>> {
    let ports = tx.all(include_str!("../sql/delivery_ports.sql"), [], |row| {
        cell::<Name>(row, 0, "delivery.port")
    })?;
    let count = |port: &Name, state: i64, sql: &str| {
        let counted = tx.first(sql, (port.as_str(), state, cap), |row| {
            cell::<u32>(row, 0, "delivery.state")
        });
        counted.map(Option::unwrap_or_default)
    };
    let one = |port: Name| {
        let due = count(
            &port,
            state::READY,
            include_str!("../sql/delivery_count_ready.sql"),
        )?;
        let later = count(
            &port,
            state::WAITING,
            include_str!("../sql/delivery_count_waiting.sql"),
        )?;
        let claimed = include_str!("../sql/delivery_count_claimed.sql");
        let parked = include_str!("../sql/delivery_count_parked.sql");
        Ok(PortBacklog {
            ready: due.saturating_add(later).min(cap),
            claimed: count(&port, state::CLAIMED, claimed)?,
            held: count(&port, state::HELD, parked)?,
            suspended: count(&port, state::SUSPENDED, parked)?,
            port,
        })
    };
    ports.into_iter().map(one).collect()
}
