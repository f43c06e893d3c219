//! Making a connection: which of the hosts of an address takes writes, and which of those is to be believed.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use quayside_store::{
    StoreError, StoreErrorKind,
    lease::{Arrival, Incarnation, codes},
    model::failpoint,
};
use tokio::{
    sync::{OnceCell, watch},
    task::AbortHandle,
    time::{sleep, timeout},
};
use tokio_postgres::{
    Client, Config, Connection, Error, NoTls, SimpleQueryMessage, tls::TlsStream,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Conn, Cut, Pool, drive, lock};
use crate::{
    error::{fail, too_slow},
    refused::{explain, place},
    sql::Sql,
};

/// The settings of every connection. Plans are fixed: statistics of a queue that was empty a moment ago
/// would make the planner read the whole table when it is not.
const SETTINGS: &str = "
SET lock_timeout = '1s';
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET jit = off;
SET client_min_messages = warning;";

/// A process that is gone may have said so in a packet that was lost, and then its connections stand at the server for
/// hours, until there is room for no more. The server asks instead: a living kernel answers within the first seconds, and
/// one that answers nothing is gone after half a minute. Of a network that loses one packet of five each way a healthy
/// connection outlives that.
const ALIVE: &str = "
SET tcp_keepalives_idle = 10;
SET tcp_keepalives_interval = 3;
SET tcp_keepalives_count = 7;";

/// A client that is paused within a transaction holds its locks for no longer than this.
const IDLE: &str = "
SET idle_in_transaction_session_timeout = '2s';";

/// Whoever gives a call up closes its connection, and a server that does not look goes on with it: it keeps its locks,
/// for which the next try waits in vain, only to be broken off when it answers. Not every system can look, and one that
/// cannot refuses the setting.
const LOOK: &str = "
SELECT set_config('client_connection_check_interval', '100ms', false) WHERE version() LIKE '%linux%';";

/// synchronous_commit is raised where the server's default is below `on`, never lowered.
const DURABLE: &str = "
SELECT set_config('synchronous_commit', 'on', false)
 WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write');";

/// Which database answers, and which of its histories: as `cluster_who`, where our schema may not be yet.
const WHO: &str = "
SELECT system_identifier, ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint
  FROM pg_control_system()";

/// When one host takes writes, so long the others may take to say that they do too: an old primary that has come
/// back must not win because it is quick.
const OTHERS: Duration = Duration::from_millis(200);

/// What the pool has learned about the hosts.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The one that was connected to last.
    pub(super) host: usize,
    /// The latest history of the database.
    incarnation: Option<Incarnation>,
    /// Whether it was told that an old primary takes writes, since the last connection.
    told: bool,
}

impl Seen {
    /// Whether a later history of the same database than `of` is known.
    pub(super) fn is_later_than(&self, of: Incarnation) -> bool {
        of.after(self.incarnation) == Arrival::Stale
    }
}

/// Whoever hears of each notification.
pub(super) type Told = Option<watch::Sender<()>>;

impl Pool {
    /// Asks all hosts at once, each for at most `within`, and takes the one with the latest history among those that take writes.
    pub(super) async fn connect(
        &self,
        operation: &'static str,
        told: Told,
        within: Duration,
    ) -> Result<Conn, StoreError> {
        let asked = (0..self.hosts.len()).map(|at| self.ask(at, operation, told.clone(), within));
        let mut asked: FuturesUnordered<_> = asked.collect();
        let mut best: Option<(usize, Conn)> = None;
        let mut failures = Vec::new();
        let mut others = pin!(sleep(OTHERS));
        loop {
            let answer = tokio::select! {
                answer = asked.next() => answer,
                () = &mut others, if best.is_some() => None,
            };
            let (at, conn) = match answer {
                None => break,
                Some((_, Err(failure))) => {
                    failures.push(failure);
                    continue;
                }
                Some((at, Ok(conn))) => (at, conn),
            };
            if let Err(stale) = self.believe(at, &conn, operation) {
                failures.push(stale);
            } else if best.is_none() {
                others.set(sleep(OTHERS));
                best = Some((at, conn));
            } else if best.as_ref().is_some_and(|(_, best)| is_later(&conn, best)) {
                best = Some((at, conn));
            }
        }
        let Some((at, conn)) = best else {
            return Err(self.refused(nobody(operation, failures)));
        };
        // Another connection may have met a later one meanwhile.
        self.believe(at, &conn, operation)?;
        lock(&self.seen).host = at;
        self.let_in.store(true, Ordering::Relaxed);
        Ok(conn)
    }

    /// Remembers the history of a connection, or refuses it because it leads to an old primary.
    fn believe(&self, at: usize, conn: &Conn, operation: &'static str) -> Result<(), StoreError> {
        let mut seen = lock(&self.seen);
        let found = conn.incarnation;
        if !seen.is_later_than(found) {
            if seen.incarnation != Some(found) {
                seen.told = false;
            }
            seen.incarnation = Some(found);
            return Ok(());
        }
        let known = seen.incarnation.map_or(0, |known| known.timeline);
        let (timeline, host) = (found.timeline, place(&self.hosts[at]));
        if !std::mem::replace(&mut seen.told, true) {
            tracing::error!(code = %codes::STALE_STORE, timeline, known, host, "an old primary takes writes");
        }
        let text =
            format!("an old primary: its timeline is {timeline}, and {known} is known; {host}");
        Err(StoreError::new(
            StoreErrorKind::Unavailable,
            operation,
            text,
        ))
    }

    /// Asks one host. The time is bounded here and not by the driver, which bounds the connect only: a paused
    /// server takes connections and then says nothing.
    async fn ask(
        &self,
        at: usize,
        operation: &'static str,
        told: Told,
        within: Duration,
    ) -> (usize, Result<Conn, StoreError>) {
        let asked = async {
            let host = self.with_password(&self.hosts[at], operation)?;
            let connected = self.connect_to(&host, operation, told);
            timeout(within, connected)
                .await
                .unwrap_or_else(|_| Err(too_slow(operation)))
        };
        (at, asked.await)
    }

    /// The address with the password of this moment.
    fn with_password(&self, host: &Config, operation: &'static str) -> Result<Config, StoreError> {
        let mut host = host.clone();
        if let Some(password) = &self.password {
            let password = password();
            let password =
                password.map_err(|e| StoreError::new(StoreErrorKind::Unavailable, operation, e))?;
            host.password(password);
        }
        Ok(host)
    }

    /// A refusal at the start is a fault of the configuration, for which nobody waits. Later it is a change
    /// of password or rights under way: what is in hand must not be given up for that.
    fn refused(&self, error: StoreError) -> StoreError {
        if error.kind == StoreErrorKind::Config && self.let_in.load(Ordering::Relaxed) {
            return StoreError {
                kind: StoreErrorKind::Unavailable,
                ..error
            };
        }
        error
    }

    async fn connect_to(
        &self,
        host: &Config,
        operation: &'static str,
        told: Told,
    ) -> Result<Conn, StoreError> {
        let refused = |error: Error| explain(host, operation, error);
        let warned = Arc::new(AtomicBool::new(false));
        let (client, task) = match &self.tls {
            Some(tls) => {
                let connected = host.connect(MakeRustlsConnect::new(tls.clone())).await;
                let (client, connection) = connected.map_err(refused)?;
                (client, self.drive(connection, Arc::clone(&warned), told))
            }
            None => {
                let (client, connection) = host.connect(NoTls).await.map_err(refused)?;
                (client, self.drive(connection, Arc::clone(&warned), told))
            }
        };
        let cut = Cut { task, armed: true };
        let incarnation = set_up(&client, operation).await?;
        Ok(Conn {
            client,
            statements: Sql::ALL.iter().map(|_| OnceCell::new()).collect(),
            checked: OnceCell::new(),
            warned,
            named: false,
            incarnation,
            cut,
        })
    }

    /// Starts the task that moves the bytes of one connection.
    fn drive<T>(
        &self,
        connection: Connection<tokio_postgres::Socket, T>,
        warned: Arc<AtomicBool>,
        told: Told,
    ) -> AbortHandle
    where
        T: TlsStream + Unpin + Send + 'static,
    {
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(drive(connection, warned, told))
    }
}

/// Makes the settings of a new connection, in one round trip. Who answers.
async fn set_up(client: &Client, operation: &'static str) -> Result<Incarnation, StoreError> {
    let mut text = format!("{SETTINGS}{ALIVE}{LOOK}");
    // With a fail point the server's own setting stays in force.
    for (setting, fail_point) in [(IDLE, "no-idle-limit"), (DURABLE, "no-sync")] {
        if !failpoint::enabled(fail_point) {
            text.push_str(setting);
        }
    }
    text.push_str(WHO);
    let answer = client.simple_query(&text).await;
    let answer = answer.map_err(|e| fail(operation, e))?;
    let who = answer.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((row.get(0)?.parse::<i64>(), row.get(1)?.parse())),
        _ => None,
    });
    match who {
        Some((Ok(system), Ok(timeline))) => Ok(Incarnation {
            system: system.cast_unsigned(),
            timeline,
        }),
        other => {
            let what = format!("who answers cannot be understood: {other:?}");
            Err(StoreError::corrupt(operation, what))
        }
    }
}

/// Whether `conn` leads to a later history of the database of `best`.
fn is_later(conn: &Conn, best: &Conn) -> bool {
    best.incarnation.after(Some(conn.incarnation)) == Arrival::Stale
}

/// Why no host takes writes. It is a fault of the configuration if every host says so.
fn nobody(operation: &'static str, mut failures: Vec<StoreError>) -> StoreError {
    if failures.len() == 1 {
        return failures.remove(0);
    }
    let config = failures.iter().all(|e| e.kind == StoreErrorKind::Config);
    let kind = match config && !failures.is_empty() {
        true => StoreErrorKind::Config,
        false => StoreErrorKind::Unavailable,
    };
    let texts: Vec<String> = failures.iter().map(|e| e.source.to_string()).collect();
    let text = format!("no host takes writes: {}", texts.join(" | "));
    StoreError::new(kind, operation, text)
}
