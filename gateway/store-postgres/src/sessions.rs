//! Who is alive: node sessions, process instances, fences.

use std::time::Duration;

use async_trait::async_trait;
use quayside_store::{
    Sessions, StoreError, StoreErrorKind,
    model::{GrantId, InstanceId, Name, SessionId},
    sessions::{FenceOutcome, FenceRow, InstanceRow, NewInstance, SessionRow},
};

use tokio_postgres::Row;

use crate::{
    PostgresStore,
    error::fail,
    maintain::READY,
    pool::{Conn, Params, Use},
    row::{Id, Reader, micros},
    sql::Sql,
};

pub(crate) const SESSION: &str = "keep session";
const INSTANCE: &str = "keep instance";
const FENCE: &str = "keep fence";

#[async_trait]
impl Sessions for PostgresStore {
    async fn open_session(
        &self,
        session: SessionId,
        node: &Name,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let (id, ttl) = (Id::from(session), micros(ttl));
        self.keep(Sql::SessionOpen, vec![&id, &node.as_str(), &ttl])
            .await?;
        Ok(())
    }

    async fn renew_session(&self, session: SessionId) -> Result<bool, StoreError> {
        let id = Id::from(session);
        let params: Params<'_> = vec![&id];
        let work = self.surely(Use::Renewal, SESSION, async |conn| {
            conn.change(SESSION, Sql::SessionRenew, params).await
        });
        Ok(self.run(SESSION, 1, self.work_timeout(), work).await? > 0)
    }

    async fn ready_to_renew(&self) -> Result<(), StoreError> {
        self.pool().ready(&[Use::Renewal], READY).await
    }

    async fn live_sessions(&self) -> Result<Vec<SessionRow>, StoreError> {
        let work = self.on(Use::Session, SESSION, async |conn| {
            let rows = conn.rows(SESSION, Sql::SessionList, vec![]).await?;
            rows.iter()
                .map(|row| read_session(&Reader::new(row, SESSION, "session")))
                .collect()
        });
        self.run(SESSION, 1, self.work_timeout(), work).await
    }

    async fn expire_session(&self, session: SessionId, seq: i64) -> Result<bool, StoreError> {
        let id = Id::from(session);
        Ok(self.keep(Sql::SessionExpire, vec![&id, &seq]).await? > 0)
    }

    async fn close_session(&self, session: SessionId) -> Result<(), StoreError> {
        let id = Id::from(session);
        self.keep(Sql::SessionClose, vec![&id]).await?;
        Ok(())
    }

    async fn register_instance(&self, instance: &NewInstance) -> Result<bool, StoreError> {
        let (id, session) = (Id::from(instance.instance), Id::from(instance.session));
        let (node, hosts) = (instance.node.as_str(), instance.hosts.as_str());
        let work = self.work(INSTANCE, async |conn| {
            let params: Params<'_> = vec![&id, &session, &node, &hosts];
            conn.change(INSTANCE, Sql::InstanceRegister, params).await?;
            is_live(conn, INSTANCE, &id).await
        });
        let live = self.run(INSTANCE, 1, self.work_timeout(), work).await?;
        if live {
            self.pool().name(instance.instance);
        }
        Ok(live)
    }

    async fn end_instance(&self, instance: InstanceId) -> Result<(), StoreError> {
        let id = Id::from(instance);
        self.change(INSTANCE, Sql::InstanceEnd, vec![&id]).await?;
        Ok(())
    }

    async fn instances(&self) -> Result<Vec<InstanceRow>, StoreError> {
        let work = self.work(INSTANCE, async |conn| {
            let rows = conn.rows(INSTANCE, Sql::InstanceList, vec![]).await?;
            rows.iter()
                .map(|row| read_instance(&Reader::new(row, INSTANCE, "instance")))
                .collect()
        });
        self.run(INSTANCE, 1, self.work_timeout(), work).await
    }

    async fn take_fence(
        &self,
        group: &Name,
        instance: InstanceId,
        grant: GrantId,
    ) -> Result<FenceOutcome, StoreError> {
        let (id, grant, group) = (Id::from(instance), Id::from(grant), group.as_str());
        let work = self.surely(Use::Work, FENCE, async |conn| {
            take_fence(conn, group, id, grant).await
        });
        self.run(FENCE, 1, self.work_timeout(), work).await
    }

    async fn release_fence(&self, group: &Name, grant: GrantId) -> Result<bool, StoreError> {
        let (grant, group) = (Id::from(grant), group.as_str());
        Ok(self
            .change(FENCE, Sql::FenceRelease, vec![&group, &grant])
            .await?
            > 0)
    }

    async fn fences(&self) -> Result<Vec<FenceRow>, StoreError> {
        let work = self.work(FENCE, async |conn| {
            let rows = conn.rows(FENCE, Sql::FenceList, vec![]).await?;
            rows.iter()
                .map(|row| read_fence(&Reader::new(row, FENCE, "fence")))
                .collect()
        });
        self.run(FENCE, 1, self.work_timeout(), work).await
    }
}

impl PostgresStore {
    /// Changes a session, on a connection that other work never holds. How many rows it changed.
    pub(crate) async fn keep(&self, sql: Sql, params: Params<'_>) -> Result<u64, StoreError> {
        let work = self.surely(Use::Session, SESSION, async |conn| {
            conn.change(SESSION, sql, params).await
        });
        self.run(SESSION, 1, self.work_timeout(), work).await
    }

    /// Runs one statement as a transaction of its own and says how many rows it changed.
    pub(crate) async fn change(
        &self,
        operation: &'static str,
        sql: Sql,
        params: Params<'_>,
    ) -> Result<u64, StoreError> {
        let work = self.work(operation, async |conn| {
            conn.change(operation, sql, params).await
        });
        self.run(operation, 1, self.work_timeout(), work).await
    }
}

pub(crate) async fn is_live(
    conn: &Conn,
    operation: &'static str,
    id: &Id,
) -> Result<bool, StoreError> {
    let rows = conn.rows(operation, Sql::InstanceLive, vec![id]).await?;
    rows.first().map_or(Ok(false), |row| {
        Reader::new(row, operation, "instance").get("exists")
    })
}

/// Takes a fence. Asked about first: whoever stands by asks all the time, and must lock nothing by that. Then as
/// agents take a group: the owner that died is ended before the take, which waits for the batches that it has open,
/// so that none of them is committed after it.
async fn take_fence(
    conn: &Conn,
    group: &str,
    instance: Id,
    grant: Id,
) -> Result<FenceOutcome, StoreError> {
    let asked = conn
        .rows(FENCE, Sql::FenceGet, vec![&group, &instance])
        .await?;
    if let Some(outcome) = standing(&asked, instance, grant)? {
        return Ok(outcome);
    }
    let steps = vec![
        conn.text("BEGIN"),
        conn.step(Sql::FenceAdd, vec![&group]),
        conn.step(Sql::FenceLock, vec![&group]),
        conn.step(Sql::OwnerEnd, vec![&group]),
        conn.step(Sql::FenceTake, vec![&group, &instance, &grant]),
        conn.step(Sql::FenceGet, vec![&group, &instance]),
        conn.text("COMMIT"),
    ];
    let rows = conn.trip(steps).await.map_err(|e| fail(FENCE, e))?;
    if let Some(row) = rows[4].first() {
        let row = Reader::new(row, FENCE, "fence");
        return Ok(FenceOutcome::Taken(row.get("epoch")?));
    }
    // It was given back in between: the next call takes it.
    let free = || {
        let what = "the fence was given back at this moment";
        StoreError::new(StoreErrorKind::Contended, FENCE, what)
    };
    standing(&rows[5], instance, grant)?.ok_or_else(free)
}

/// Why `instance` does not take the fence, or that it has it; `None` if it is free.
fn standing(rows: &[Row], instance: Id, grant: Id) -> Result<Option<FenceOutcome>, StoreError> {
    let Some(row) = rows.first() else {
        return Ok(Some(FenceOutcome::Fenced));
    };
    let row = Reader::new(row, FENCE, "fence");
    if !row.get::<bool>("live")? {
        return Ok(Some(FenceOutcome::Fenced));
    }
    let (owner, theirs): (Option<Id>, Option<Id>) = (row.get("instance")?, row.get("grant_id")?);
    match owner {
        // An earlier call took it, and its answer was lost.
        Some(owner) if owner == instance && theirs == Some(grant) => {
            Ok(Some(FenceOutcome::Taken(row.get("epoch")?)))
        }
        Some(owner) if row.get("held")? => Ok(Some(FenceOutcome::HeldBy(owner.into()))),
        _ => Ok(None),
    }
}

pub(crate) fn read_session(row: &Reader<'_>) -> Result<SessionRow, StoreError> {
    Ok(SessionRow {
        session: row.id("id")?,
        node: row.text("node")?,
        seq: row.get("seq")?,
        ttl: Duration::from_micros(row.number::<i64, _>("ttl_us")?),
        overdue: row.get("overdue")?,
    })
}

fn read_fence(row: &Reader<'_>) -> Result<FenceRow, StoreError> {
    let owner: Option<Id> = row.get("id")?;
    let owner = owner.map(|id| Ok::<_, StoreError>((id.into(), row.text("node")?)));
    Ok(FenceRow {
        group: row.text("grp")?,
        epoch: row.get("epoch")?,
        owner: owner.transpose()?,
    })
}

fn read_instance(row: &Reader<'_>) -> Result<InstanceRow, StoreError> {
    Ok(InstanceRow {
        instance: row.id("id")?,
        node: row.text("node")?,
        hosts: row.text("hosts")?,
        live: row.get("live")?,
        since: row.time("since")?,
        claims: row.number::<i64, _>("claims")?,
    })
}

#[cfg(test)]
mod tests {
    use quayside_harness::{Postgres, wait_for};
    use quayside_store::{
        Maintain as _,
        model::{Clock, SystemClock, SystemEntropy},
    };

    use super::*;
    use crate::Options;

    #[tokio::test]
    async fn a_renewal_needs_no_connection_that_work_holds() {
        let server = Postgres::start().await;
        let options = Options::new(server.create_database("quayside").await);
        let (commit, work) = (options.commit_connections, options.work_connections);
        let store = PostgresStore::connect(options).await.expect("a store");
        store.migrate().await.expect("an empty store");
        let session = SessionId::new(SystemClock.now(), &SystemEntropy);
        let node = Name::new("a").expect("a name");
        store
            .open_session(session, &node, Duration::from_secs(3))
            .await
            .expect("a session");
        let mut held = Vec::new();
        for (wanted, count) in [(Use::Commit, commit), (Use::Work, work)] {
            for _ in 0..count {
                held.push(store.pool().get(wanted, "hold").await.expect("one"));
            }
        }
        let busy = store.instances().await;
        assert!(busy.is_err(), "no work connection is left: {busy:?}");
        assert!(store.renew_session(session).await.expect("in time"));
        assert_eq!(store.live_sessions().await.expect("in time").len(), 1);
        drop(held);
        store.close().await;
    }

    #[tokio::test]
    async fn what_work_needs_is_there_before_it_comes() {
        let server = Postgres::start().await;
        let options = Options::new(server.create_database("quayside").await);
        let all = options.commit_connections + options.work_connections;
        let store = PostgresStore::connect(options).await.expect("a store");
        store.migrate().await.expect("an empty store");
        let watcher = server.connect("quayside").await;
        let count = async || {
            let query = "SELECT count(*) FROM pg_stat_activity \
                         WHERE datname = current_database() AND backend_type = 'client backend'";
            let row = watcher.query_one(query, &[]).await.expect("a number");
            usize::try_from(row.get::<_, i64>(0)).expect("few") - 1
        };
        for _ in 0..2 {
            store.ready().await.expect("a server");
            assert_eq!(count().await, all, "each once");
        }
        let held = store.pool().get(Use::Commit, "hold").await.expect("one");
        store.ready().await.expect("a server");
        assert_eq!(count().await, all, "what is in use is not missing");
        held.keep();
        let kill = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity \
                    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
        watcher.query_one(kill, &[]).await.expect("killed");
        assert_eq!(count().await, 0);
        // The process hears of it in its own time.
        wait_for(
            "connections in place of those",
            Duration::from_secs(20),
            async || {
                drop(store.ready().await);
                match count().await {
                    now if now == all => Ok(()),
                    now => Err(format!("{now} of {all}")),
                }
            },
        )
        .await;
        store.close().await;
    }
}
