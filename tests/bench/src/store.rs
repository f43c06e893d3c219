//! The store ceiling: the least durable work that a message can cost on a database.
//!
//! One row with body and context, one row of a queue; commit; delete both; commit. Batches are as large
//! as the gateway's own commits were in the same run, and the tables have the product's storage
//! parameters, so that the gateway is measured against the same database, not against a worse one.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, bail, ensure};
use futures_util::future::try_join4;
use quayside_harness::{Postgres, Stopwatch};
use rusqlite::{Connection, params};
use tokio::task::JoinSet;
use tokio_postgres::{Client, Statement, types::ToSql};

/// How many connections commit side by side on PostgreSQL: as many as the gateway's committers.
const COMMITTERS: usize = 2;

/// About as long as the context that the gateway keeps with a message.
const CONTEXT_LEN: usize = 400;

const SQLITE_TABLES: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE message (id INTEGER PRIMARY KEY, context TEXT NOT NULL, bytes BLOB NOT NULL) STRICT;
    CREATE TABLE queue (message INTEGER PRIMARY KEY, port TEXT NOT NULL) STRICT;";

const POSTGRES_TABLES: &str = "
    CREATE TABLE message (id bigint PRIMARY KEY, context text NOT NULL, bytes bytea NOT NULL)
        WITH (toast_tuple_target = 8160);
    ALTER TABLE message ALTER COLUMN bytes SET STORAGE EXTERNAL;
    CREATE TABLE queue (message bigint PRIMARY KEY, port text NOT NULL) WITH (fillfactor = 50);";

/// Whether the databases are as durable as they come, by name and value; prints nothing itself.
pub(crate) async fn durability(server: &Postgres) -> anyhow::Result<Vec<(&'static str, String)>> {
    let session = server.connect("postgres").await;
    let mut settings = Vec::new();
    for name in ["fsync", "synchronous_commit", "full_page_writes"] {
        let row = session.query_one(&format!("SHOW {name}"), &[]).await?;
        settings.push((name, row.get::<_, String>(0)));
    }
    let off: Vec<_> = settings
        .iter()
        .filter(|(_, value)| value == "off")
        .collect();
    ensure!(off.is_empty(), "the database is not durable: {off:?}");
    Ok(settings)
}

/// `synchronous` of the ceiling's own connection: 2 is FULL, what the gateway uses too.
pub(crate) fn sqlite_synchronous(dir: &Path) -> anyhow::Result<String> {
    let conn = sqlite(dir)?;
    let level: i64 = conn.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
    ensure!(level >= 2, "SQLite is not durable: synchronous = {level}");
    Ok(if level == 2 { "FULL" } else { "EXTRA" }.to_owned())
}

/// Messages per second in and out of SQLite, in batches of `batch`, for `time`.
pub(crate) fn sqlite_ceiling(
    dir: &Path,
    batch: usize,
    size: usize,
    time: Duration,
) -> anyhow::Result<f64> {
    let mut conn = sqlite(dir)?;
    let (body, context) = (vec![b'x'; size], "c".repeat(CONTEXT_LEN));
    let watch = Stopwatch::start();
    let mut no: i64 = 0;
    while watch.elapsed() < time {
        let ids = no..no + i64::try_from(batch)?;
        no = ids.end;
        let tx = conn.transaction()?;
        for id in ids.clone() {
            tx.prepare_cached("INSERT INTO message VALUES (?, ?, ?)")?
                .execute(params![id, context, body])?;
            tx.prepare_cached("INSERT INTO queue VALUES (?, 'port')")?
                .execute(params![id])?;
        }
        tx.commit()?;
        let tx = conn.transaction()?;
        for id in ids {
            tx.prepare_cached("DELETE FROM queue WHERE message = ?")?
                .execute(params![id])?;
            tx.prepare_cached("DELETE FROM message WHERE id = ?")?
                .execute(params![id])?;
        }
        tx.commit()?;
    }
    Ok(per_second(no, watch.elapsed()))
}

/// Messages per second in and out of PostgreSQL, in batches of `batch`, for `time`.
pub(crate) async fn postgres_ceiling(
    server: &Postgres,
    batch: usize,
    size: usize,
    time: Duration,
) -> anyhow::Result<f64> {
    prepare(server).await?;
    let mut committers = JoinSet::new();
    let watch = Stopwatch::start();
    for no in 0..COMMITTERS {
        let session = server.connect("ceiling").await;
        committers.spawn(async move { commit_until(&session, no, batch, size, watch, time).await });
    }
    let mut messages = 0;
    while let Some(done) = committers.join_next().await {
        messages += done.context("a committer")??;
    }
    Ok(per_second(messages, watch.elapsed()))
}

/// Messages per second of the same work by pgbench.
pub(crate) async fn pgbench(
    server: &Postgres,
    dir: &Path,
    batch: usize,
    size: usize,
    time: Duration,
) -> anyhow::Result<f64> {
    prepare(server).await?;
    let script = dir.join("ceiling.sql");
    fs::write(&script, pgbench_script(batch, size))?;
    let seconds = time.as_secs().max(1).to_string();
    let committers = COMMITTERS.to_string();
    let mut pgbench = Command::new(Postgres::bin_dir().join("pgbench"));
    pgbench.args([
        "-n",
        "-M",
        "prepared",
        "-D",
        "n=0",
        "-c",
        &committers,
        "-j",
        "1",
        "-T",
        &seconds,
    ]);
    pgbench.arg("-f").arg(&script);
    pgbench.args(["-h", "127.0.0.1", "-p", &server.addr().port().to_string()]);
    pgbench.args(["-U", quayside_harness::postgres::USER, "ceiling"]);
    let out = tokio::task::spawn_blocking(move || pgbench.output())
        .await?
        .context("pgbench")?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let tps = text
        .lines()
        .find_map(|l| l.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    let Some(tps): Option<f64> = tps else {
        bail!("pgbench: {text}{}", String::from_utf8_lossy(&out.stderr));
    };
    #[expect(clippy::cast_precision_loss, reason = "a batch has few items")]
    let rate = tps * batch as f64;
    Ok(rate)
}

fn sqlite(dir: &Path) -> anyhow::Result<Connection> {
    let path = dir.join("ceiling.db");
    let fresh = !path.exists();
    let conn = Connection::open(path)?;
    if fresh {
        conn.execute_batch(SQLITE_TABLES)?;
    }
    // Not kept in the file: each connection says it.
    conn.pragma_update(None, "synchronous", "FULL")?;
    Ok(conn)
}

async fn prepare(server: &Postgres) -> anyhow::Result<()> {
    let session = server.connect("postgres").await;
    session
        .batch_execute("DROP DATABASE IF EXISTS ceiling")
        .await?;
    session.batch_execute("CREATE DATABASE ceiling").await?;
    server
        .connect("ceiling")
        .await
        .batch_execute(POSTGRES_TABLES)
        .await?;
    Ok(())
}

async fn commit_until(
    session: &Client,
    committer: usize,
    batch: usize,
    size: usize,
    watch: Stopwatch,
    time: Duration,
) -> anyhow::Result<i64> {
    let insert_message = "INSERT INTO message \
         SELECT * FROM unnest($1::bigint[], $2::text[], $3::bytea[])";
    let insert_message = session.prepare(insert_message).await?;
    let insert_queue = "INSERT INTO queue SELECT id, 'port' FROM unnest($1::bigint[]) id";
    let insert_queue = session.prepare(insert_queue).await?;
    let delete_message = "DELETE FROM message WHERE id = ANY ($1::bigint[])";
    let delete_message = session.prepare(delete_message).await?;
    let delete_queue = "DELETE FROM queue WHERE message = ANY ($1::bigint[])";
    let delete_queue = session.prepare(delete_queue).await?;
    let bodies = vec![vec![b'x'; size]; batch];
    let contexts = vec!["c".repeat(CONTEXT_LEN); batch];
    let mut next = i64::try_from(committer)? << 40;
    let mut messages = 0;
    while watch.elapsed() < time {
        let ids: Vec<i64> = (next..).take(batch).collect();
        next += i64::try_from(batch)?;
        let rows: [&(dyn ToSql + Sync); 3] = [&ids, &contexts, &bodies];
        transact(
            session,
            (&insert_message, &rows),
            (&insert_queue, &rows[..1]),
        )
        .await?;
        transact(
            session,
            (&delete_queue, &rows[..1]),
            (&delete_message, &rows[..1]),
        )
        .await?;
        messages += i64::try_from(batch)?;
    }
    Ok(messages)
}

type Bound<'a> = (&'a Statement, &'a [&'a (dyn ToSql + Sync)]);

/// One transaction of two statements. Polled together and in this order, the four messages go to the
/// server in one piece: one round trip.
async fn transact(session: &Client, first: Bound<'_>, second: Bound<'_>) -> anyhow::Result<()> {
    try_join4(
        session.batch_execute("BEGIN"),
        session.execute(first.0, first.1),
        session.execute(second.0, second.1),
        session.batch_execute("COMMIT"),
    )
    .await?;
    Ok(())
}

/// The same work with the bodies made in the server: pgbench has no arrays to send.
fn pgbench_script(batch: usize, size: usize) -> String {
    let range = format!(
        "generate_series((:base)::bigint, (:base)::bigint + {})",
        batch - 1
    );
    format!(
        "\\set n :n + {batch}\n\\set base (:client_id << 40) + :n\n\
         BEGIN;\n\
         INSERT INTO message SELECT i, repeat('c', {CONTEXT_LEN}), \
         convert_to(repeat('x', {size}), 'UTF8') FROM {range} i;\n\
         INSERT INTO queue SELECT i, 'port' FROM {range} i;\n\
         COMMIT;\n\
         BEGIN;\n\
         DELETE FROM queue WHERE message = ANY (ARRAY(SELECT {range}));\n\
         DELETE FROM message WHERE id = ANY (ARRAY(SELECT {range}));\n\
         COMMIT;\n"
    )
}

#[expect(
    clippy::cast_precision_loss,
    reason = "messages of a run are far below 2^52"
)]
fn per_second(messages: i64, time: Duration) -> f64 {
    messages as f64 / time.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(200);

    #[test]
    fn sqlite_is_measured_and_left_empty() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(sqlite_synchronous(dir.path()).expect("durable"), "FULL");
        let rate = sqlite_ceiling(dir.path(), 10, 100, SHORT).expect("a rate");
        assert!(rate > 0.0);
        let conn = sqlite(dir.path()).expect("the database");
        for table in ["message", "queue"] {
            let count = format!("SELECT count(*) FROM {table}");
            let left: i64 = conn
                .query_row(&count, [], |row| row.get(0))
                .expect("a count");
            assert_eq!(left, 0, "{table}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn postgres_and_pgbench_are_measured() {
        let server = Postgres::start().await;
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(durability(&server).await.expect("durable").len(), 3);
        assert!(
            postgres_ceiling(&server, 10, 100, SHORT)
                .await
                .expect("a rate")
                > 0.0
        );
        let left = "SELECT (SELECT count(*) FROM message) + (SELECT count(*) FROM queue)";
        let session = server.connect("ceiling").await;
        let left: i64 = session.query_one(left, &[]).await.expect("a count").get(0);
        assert_eq!(left, 0);
        drop(session);
        let rate = pgbench(&server, dir.path(), 10, 100, Duration::from_secs(1)).await;
        assert!(rate.expect("a rate") > 0.0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_database_that_is_not_durable_is_refused() {
        let server = Postgres::start_with(&[("synchronous_commit", "off")]).await;
        let refused = durability(&server)
            .await
            .expect_err("it is off")
            .to_string();
        assert!(refused.contains("synchronous_commit"), "{refused}");
    }
}
