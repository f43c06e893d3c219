//! Who is alive: node sessions, process instances, fences of what only one may do.

use std::time::Duration;

use async_trait::async_trait;
use quayside_store::{
    Sessions, StoreError,
    model::{GrantId, InstanceId, Name, SessionId},
    sessions::{FenceOutcome, FenceRow, InstanceRow, NewInstance, SessionRow},
};
use rusqlite::Row;

use crate::{
    error::{DbError, DbResult},
    open::SqliteStore,
    row::{cell, micros},
    tx::Tx,
};

#[async_trait]
impl Sessions for SqliteStore {
    async fn open_session(
        &self,
        session: SessionId,
        node: &Name,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let node = node.clone();
        self.write_first("open session", move |tx| {
            let until = tx.now.plus(ttl).as_micros();
            let sql = include_str!("../sql/session_insert.sql");
            tx.execute(sql, (session.to_bytes(), node.as_str(), micros(ttl), until))
                .map(drop)
        })
        .await
    }

    async fn renew_session(&self, session: SessionId) -> Result<bool, StoreError> {
        self.write_first("renew session", move |tx| {
            let sql = include_str!("../sql/session_renew.sql");
            Ok(tx.execute(sql, (session.to_bytes(), tx.now.as_micros()))? == 1)
        })
        .await
    }

    async fn live_sessions(&self) -> Result<Vec<SessionRow>, StoreError> {
        self.read("list sessions", |tx| {
            let sql = include_str!("../sql/session_list.sql");
            tx.all(sql, [tx.now.as_micros()], session_row)
        })
        .await
    }

    async fn expire_session(&self, session: SessionId, seq: i64) -> Result<bool, StoreError> {
        self.write_first("expire session", move |tx| {
            let sql = include_str!("../sql/session_expire.sql");
            Ok(tx.execute(sql, (session.to_bytes(), seq, tx.now.as_micros()))? == 1)
        })
        .await
    }

    async fn close_session(&self, session: SessionId) -> Result<(), StoreError> {
        self.write_first("close session", move |tx| {
            let sql = include_str!("../sql/session_close.sql");
            tx.execute(sql, [session.to_bytes()]).map(drop)
        })
        .await
    }

    async fn register_instance(&self, instance: &NewInstance) -> Result<bool, StoreError> {
        let new = instance.clone();
        self.write("register instance", move |tx| {
            let sql = include_str!("../sql/instance_insert.sql");
            let (id, session) = (new.instance.to_bytes(), new.session.to_bytes());
            let now = tx.now.as_micros();
            tx.execute(
                sql,
                (id, session, new.node.as_str(), new.hosts.as_str(), now),
            )?;
            is_live(tx, new.instance)
        })
        .await
    }

    async fn end_instance(&self, instance: InstanceId) -> Result<(), StoreError> {
        self.write("end instance", move |tx| {
            tx.execute(
                include_str!("../sql/instance_end.sql"),
                [instance.to_bytes()],
            )
            .map(drop)
        })
        .await
    }

    async fn instances(&self) -> Result<Vec<InstanceRow>, StoreError> {
        self.read("list instances", |tx| {
            tx.all(include_str!("../sql/instance_list.sql"), [], instance_row)
        })
        .await
    }

    async fn take_fence(
        &self,
        group: &Name,
        instance: InstanceId,
        grant: GrantId,
    ) -> Result<FenceOutcome, StoreError> {
        let group = group.clone();
        self.write("take fence", move |tx| {
            take_fence(tx, &group, instance, grant)
        })
        .await
    }

    async fn release_fence(&self, group: &Name, grant: GrantId) -> Result<bool, StoreError> {
        let group = group.clone();
        self.write("release fence", move |tx| {
            let sql = include_str!("../sql/fence_release.sql");
            Ok(tx.execute(sql, (group.as_str(), grant.to_bytes()))? == 1)
        })
        .await
    }

    async fn fences(&self) -> Result<Vec<FenceRow>, StoreError> {
        self.read("list fences", |tx| {
            tx.all(include_str!("../sql/fence_list.sql"), [], fence_row)
        })
        .await
    }
}

/// Whether `instance` may change anything: its row and its session say so.
pub(crate) fn is_live(tx: &Tx<'_>, instance: InstanceId) -> DbResult<bool> {
    tx.exists(
        include_str!("../sql/instance_live.sql"),
        [instance.to_bytes()],
    )
}

fn session_row(row: &Row<'_>) -> DbResult<SessionRow> {
    Ok(SessionRow {
        session: cell(row, 0, "session.id")?,
        node: cell(row, 1, "session.node")?,
        seq: cell(row, 2, "session.seq")?,
        ttl: Duration::from_micros(cell(row, 3, "session.ttl_us")?),
        overdue: cell(row, 4, "session.lease_until")?,
    })
}

fn fence_row(row: &Row<'_>) -> DbResult<FenceRow> {
    let owner: Option<InstanceId> = cell(row, 2, "fence.instance")?;
    let owner = owner.map(|id| Ok::<_, DbError>((id, cell(row, 3, "instance.node")?)));
    Ok(FenceRow {
        group: cell(row, 0, "fence.grp")?,
        epoch: cell(row, 1, "fence.epoch")?,
        owner: owner.transpose()?,
    })
}

fn instance_row(row: &Row<'_>) -> DbResult<InstanceRow> {
    Ok(InstanceRow {
        instance: cell(row, 0, "instance.id")?,
        node: cell(row, 1, "instance.node")?,
        hosts: cell(row, 2, "instance.hosts")?,
        live: cell(row, 3, "instance.state")?,
        since: cell(row, 4, "instance.since")?,
        claims: cell(row, 5, "delivery.instance")?,
    })
}

fn take_fence(
    tx: &Tx<'_>,
    group: &str,
    instance: InstanceId,
    grant: GrantId,
) -> DbResult<FenceOutcome> {
    if !is_live(tx, instance)? {
        return Ok(FenceOutcome::Fenced);
    }
    let sql = include_str!("../sql/fence_owner.sql");
    let held = tx.first(sql, [group], |row| {
        Ok((
            cell::<InstanceId>(row, 0, "fence.instance")?,
            cell::<GrantId>(row, 1, "fence.grant_id")?,
            cell::<i64>(row, 2, "fence.epoch")?,
        ))
    })?;
    match held {
        // The same take again, because the answer to the first was lost.
        Some((owner, held, epoch)) if owner == instance && held == grant => {
            Ok(FenceOutcome::Taken(epoch))
        }
        Some((owner, ..)) => Ok(FenceOutcome::HeldBy(owner)),
        None => {
            let sql = include_str!("../sql/fence_take.sql");
            let params = (group, grant.to_bytes(), instance.to_bytes());
            let epoch = tx.first(sql, params, |row| cell(row, 0, "fence.epoch"))?;
            Ok(epoch.map_or(FenceOutcome::Fenced, FenceOutcome::Taken))
        }
    }
}
