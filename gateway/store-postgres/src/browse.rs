//! Reading for people, and the answers that requesters wait for.

mod doubt;

use async_trait::async_trait;
use bytes::Bytes;
use quayside_store::{
    Browse, StoreError,
    browse::{
        ArrivedAnswer, DeliveryFilter, DeliveryRow, DoubtRow, HistoryRow, MAX_PAGE, MAX_WAY,
        MessageFilter, MessageRow, MessageWay, PortBacklog,
    },
    model::{DeliveryId, DeliveryState, ExchangeId, Message, MessageId, Name, Text},
};
use tokio_postgres::Row;

use crate::{
    PostgresStore,
    claims::{load_messages, transport},
    error::fail,
    pool::{Conn, Params},
    row::{Id, Reader},
    sql::Sql,
};

const OPERATION: &str = "browse";
const ANSWERS: &str = "read answers";

#[async_trait]
impl Browse for PostgresStore {
    async fn messages(
        &self,
        filter: &MessageFilter,
        before: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<MessageRow>, StoreError> {
        let before = before.map_or(Id([0xff; 16]), Id::from);
        let work = self.work(OPERATION, async |conn| {
            list(conn, filter, before, limit).await
        });
        self.run(OPERATION, 1, self.work_timeout(), work).await
    }

    async fn message(&self, id: MessageId) -> Result<Option<MessageWay>, StoreError> {
        let work = self.work(OPERATION, async |conn| way(conn, id).await);
        self.run(OPERATION, 1, self.work_timeout(), work).await
    }

    async fn load(&self, id: MessageId) -> Result<Option<Message>, StoreError> {
        let work = self.work(OPERATION, async |conn| {
            let mut found = load_messages(conn, OPERATION, vec![id]).await?;
            Ok(found.remove(&id).map(std::sync::Arc::unwrap_or_clone))
        });
        self.run(OPERATION, 1, self.work_timeout(), work).await
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        after: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<DeliveryRow>, StoreError> {
        if filter.in_doubt == Some(true) && filter.state.is_none() && filter.message.is_none() {
            let port = filter.port.as_ref().map(std::slice::from_ref);
            let rows = self.doubts(port, after, limit);
            return Ok(rows.await?.into_iter().map(|row| row.delivery).collect());
        }
        let (message, no) = place(after);
        let limit = i64::from(limit.min(MAX_PAGE));
        let state = filter.state.map(state_code);
        let port = filter.port.as_deref();
        let of = filter.message.map(Id::from);
        let work = self.work(OPERATION, async |conn| {
            let params: Params<'_> =
                vec![&message, &no, &limit, &state, &port, &of, &filter.in_doubt];
            let rows = conn.rows(OPERATION, Sql::DeliveryList, params).await?;
            rows.iter().map(read_delivery).collect()
        });
        self.run(OPERATION, 1, self.work_timeout(), work).await
    }

    async fn doubts(
        &self,
        ports: Option<&[Name]>,
        after: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<DoubtRow>, StoreError> {
        let (message, no) = place(after);
        let limit = i64::from(limit.min(MAX_PAGE));
        let ports: Option<Vec<&str>> = ports.map(|ports| ports.iter().map(Name::as_str).collect());
        let work = self.work(OPERATION, async |conn| {
            let params: Params<'_> = vec![&message, &no, &limit, &ports];
            let rows = conn.rows(OPERATION, Sql::DeliveryDoubts, params).await?;
            rows.iter().map(doubt::read).collect()
        });
        self.run(OPERATION, 1, self.work_timeout(), work).await
    }

    async fn answers(&self, exchanges: &[ExchangeId]) -> Result<Vec<ArrivedAnswer>, StoreError> {
        let ids: Vec<Id> = exchanges.iter().map(|x| Id::from(*x)).collect();
        let work = self.work(ANSWERS, async |conn| {
            let rows = conn.rows(ANSWERS, Sql::ExchangeAnswers, vec![&ids]).await?;
            rows.iter().map(read_answer).collect()
        });
        self.run(ANSWERS, exchanges.len(), self.work_timeout(), work)
            .await
    }

    async fn backlog(&self, cap: u32) -> Result<Vec<PortBacklog>, StoreError> {
        let cap = i64::from(cap);
        let work = self.work(OPERATION, async |conn| {
            let rows = conn
                .rows(OPERATION, Sql::DeliveryBacklog, vec![&cap])
                .await?;
            rows.iter().map(read_backlog).collect()
        });
        self.run(OPERATION, 1, self.work_timeout(), work).await
    }
}

/// What a page comes after, as the statements take it.
fn place(after: Option<DeliveryId>) -> (Id, i32) {
    after.map_or((Id([0; 16]), -1), |a| {
        (Id::from(a.message), i32::from(a.no))
    })
}

async fn list(
    conn: &Conn,
    filter: &MessageFilter,
    before: Id,
    limit: u32,
) -> Result<Vec<MessageRow>, StoreError> {
    let limit = i64::from(limit.min(MAX_PAGE));
    let origin = filter.origin.as_deref();
    let message_type = filter.message_type.as_deref();
    let since = filter
        .since
        .map(quayside_store::model::Timestamp::as_micros);
    let until = filter
        .until
        .map(quayside_store::model::Timestamp::as_micros);
    let state = filter.state.map(state_code);
    let port = filter.port.as_deref();
    let mut params: Params<'_> = vec![&before, &limit, &origin, &message_type, &since, &until];
    let sql = if state.is_some() || port.is_some() {
        params.extend([&state as &(dyn tokio_postgres::types::ToSql + Sync), &port]);
        Sql::MessageListLive
    } else {
        Sql::MessageList
    };
    let rows = conn.rows(OPERATION, sql, params).await?;
    rows.iter()
        .map(|row| read_row(&Reader::new(row, OPERATION, "message")))
        .collect()
}

async fn way(conn: &Conn, id: MessageId) -> Result<Option<MessageWay>, StoreError> {
    let key = Id::from(id);
    let rows = conn.rows(OPERATION, Sql::MessageWay, vec![&key]).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let row = Reader::new(row, OPERATION, "message");
    let stored_at: i64 = row.get("stored_at")?;
    let most = i64::from(MAX_WAY);
    let steps = vec![
        conn.step(Sql::DeliveryListMessage, vec![&key, &most]),
        conn.step(Sql::HistoryList, vec![&key, &stored_at, &most]),
    ];
    let lists = conn.trip(steps).await.map_err(|e| fail(OPERATION, e))?;
    let [deliveries, history] = &lists[..] else {
        return Err(StoreError::corrupt(
            OPERATION,
            "two queries, other answers".to_owned(),
        ));
    };
    Ok(Some(MessageWay {
        row: read_row(&row)?,
        context: row.json("context")?,
        content_type: row.text_opt("content_type")?,
        config_version: row.get("config_version")?,
        live_deliveries: deliveries
            .iter()
            .map(read_delivery_of_message)
            .collect::<Result<_, _>>()?,
        history: history.iter().map(read_history).collect::<Result<_, _>>()?,
    }))
}

fn read_row(row: &Reader<'_>) -> Result<MessageRow, StoreError> {
    Ok(MessageRow {
        id: row.id("id")?,
        received_at: row.time("received_at")?,
        origin: row.text("origin")?,
        message_type: row.text_opt("type")?,
        body_len: row.number::<i64, _>("body_len")?,
        deliveries: row.number::<i32, _>("fanout")?,
        live: row.number::<i64, _>("live")?,
        suspended: row.number::<i64, _>("suspended")?,
        terminated: row.number::<i64, _>("terminated")?,
        failed: row.number::<i64, _>("failed")?,
    })
}

fn read_delivery_of_message(row: &Row) -> Result<DeliveryRow, StoreError> {
    let cells = Reader::new(row, OPERATION, "delivery");
    let behind = cells.id_opt::<MessageId>("behind")?.map(|message| {
        Ok(DeliveryId {
            message,
            no: cells.number::<i32, _>("behind_no")?,
        })
    });
    Ok(DeliveryRow {
        behind: behind.transpose()?,
        ..read_delivery(row)?
    })
}

fn read_delivery(row: &Row) -> Result<DeliveryRow, StoreError> {
    let row = Reader::new(row, OPERATION, "delivery");
    Ok(DeliveryRow {
        id: DeliveryId {
            message: row.id("message")?,
            no: row.number::<i32, _>("no")?,
        },
        port: row.text("port")?,
        state: state(&row)?,
        transport: transport(&row)?,
        attempts: row.number::<i32, _>("attempts")?,
        due: row.time("due")?,
        instance: row.id_opt("instance")?,
        in_doubt: row.get("in_doubt")?,
        rendered: row.text_opt("rendered")?,
        failure: row.json_opt("failure")?,
        behind: None,
    })
}

fn read_history(row: &Row) -> Result<HistoryRow, StoreError> {
    let row = Reader::new(row, OPERATION, "history");
    let no: Option<i32> = row.get("no")?;
    Ok(HistoryRow {
        at: row.time("at")?,
        event: row.text("event")?,
        port: row.text_opt::<Name>("port")?,
        no: no.map(|_| row.number::<i32, _>("no")).transpose()?,
        attempts: row.number::<i32, _>("attempts")?,
        // What stands around the detail of a failure may make it longer than a text.
        detail: Text::lossy(row.get("detail")?),
    })
}

fn read_answer(row: &Row) -> Result<ArrivedAnswer, StoreError> {
    let row = Reader::new(row, ANSWERS, "exchange");
    Ok(ArrivedAnswer {
        exchange: row.id("id")?,
        status: row.number::<i32, _>("status")?,
        content_type: row.text_opt("content_type")?,
        body: row.bytes_opt("bytes")?.unwrap_or_else(Bytes::new),
    })
}

fn read_backlog(row: &Row) -> Result<PortBacklog, StoreError> {
    let row = Reader::new(row, OPERATION, "delivery");
    Ok(PortBacklog {
        port: row.text("port")?,
        ready: row.number::<i64, _>("ready")?,
        claimed: row.number::<i64, _>("claimed")?,
        held: row.number::<i64, _>("held")?,
        suspended: row.number::<i64, _>("suspended")?,
    })
}

fn state(row: &Reader<'_>) -> Result<DeliveryState, StoreError> {
    match row.get::<i16>("state")? {
        0 => Ok(DeliveryState::Ready),
        1 => Ok(DeliveryState::Claimed),
        2 => Ok(DeliveryState::Held),
        3 => Ok(DeliveryState::Suspended),
        5 => Ok(DeliveryState::Taken),
        other => Err(row.corrupt("state", &format!("{other} is none"))),
    }
}

fn state_code(state: DeliveryState) -> i16 {
    match state {
        DeliveryState::Ready => 0,
        DeliveryState::Claimed => 1,
        DeliveryState::Held => 2,
        DeliveryState::Suspended => 3,
        DeliveryState::Taken => 5,
    }
}
