//! Standbys: copies that follow a server and can take its place, and what becomes of the one whose place they took.

use std::{os::unix::fs::chown, time::Duration};

use rustix::process::Signal;

use super::{Postgres, USER};
use crate::{free_port, wait_for};

/// How long a standby may take to connect, to be counted on or to let go.
const FOLLOW: Duration = Duration::from_secs(30);

impl Postgres {
    /// A standby that follows this server under `name`, with a copy of its data. It is asynchronous until
    /// [`Postgres::wait_for_one_of`] names it.
    ///
    /// # Panics
    /// When the data cannot be copied.
    pub async fn standby(&self, name: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        if let Some((_, uid, gid)) = &self.run_as {
            chown(dir.path(), Some(*uid), Some(*gid)).expect("root gives the folder away");
        }
        let data = dir.path().join("pgdata");
        let mut copy = self.command("pg_basebackup");
        copy.args([
            "--checkpoint=fast",
            "--wal-method=stream",
            "--write-recovery-conf",
        ])
        .arg("--dbname")
        .arg(format!(
            "host=127.0.0.1 port={} user={USER} sslmode=disable application_name={name}",
            self.port.number()
        ))
        .arg("--pgdata")
        .arg(&data);
        let out = copy
            .output()
            .unwrap_or_else(|e| panic!("starting {copy:?}: {e}"));
        assert!(
            out.status.success(),
            "pg_basebackup: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        let mut standby = Self {
            port: free_port(),
            settings: self.settings.clone(),
            env: self.env.clone(),
            run_as: self.run_as.clone(),
            data,
            process: None,
            wal: None,
            dir,
        };
        standby.run().await;
        self.followed_by(name, &["async", "quorum"]).await;
        standby
    }

    /// The URL of a database on whichever of `servers` takes writes.
    #[must_use]
    pub fn url_of(servers: &[&Self], database: &str) -> String {
        let hosts: Vec<String> = servers.iter().map(|s| s.addr().to_string()).collect();
        format!(
            "postgres://{USER}@{}/{database}?sslmode=disable&target_session_attrs=read-write",
            hosts.join(",")
        )
    }

    /// From now on a commit waits until one of the standbys `names` has it on its disk.
    pub async fn wait_for_one_of(&self, names: &[&str]) {
        self.alter(
            "synchronous_standby_names",
            &format!("ANY 1 ({})", names.join(", ")),
        )
        .await;
        for name in names {
            self.followed_by(name, &["quorum"]).await;
        }
        // It is the checkpointer that makes commits wait. It reads the settings before it does what it is asked.
        let session = self.connect("postgres").await;
        let checkpoint = session.batch_execute("CHECKPOINT").await;
        checkpoint.expect("a checkpoint");
    }

    /// Becomes a server that takes writes, with a history of its own from here on.
    ///
    /// # Panics
    /// When it is no standby, or cannot be promoted.
    pub async fn promote(&self) {
        let session = self.connect("postgres").await;
        let promoted = session.query_one("SELECT pg_promote()", &[]).await;
        let promoted: bool = promoted.expect("it is a standby").get(0);
        assert!(promoted, "it is not promoted in time");
    }

    /// Follows nobody any more: what its primary commits from now on does not arrive.
    pub async fn follow_nobody(&self) {
        self.alter("primary_conninfo", "").await;
        let session = self.connect("postgres").await;
        wait_for("the standby to let go", FOLLOW, async || {
            let receivers = "SELECT count(*) FROM pg_stat_wal_receiver";
            let row = session.query_one(receivers, &[]).await;
            match row.map_err(|e| e.to_string())?.get::<_, i64>(0) {
                0 => Ok(()),
                _ => Err("it still receives".to_owned()),
            }
        })
        .await;
    }

    /// Ends it as a loss of power does: every process at once, in the middle of whatever it does.
    pub async fn kill9(&mut self) {
        self.end(Signal::KILL).await;
    }

    /// Starts it again after a stop, as a server that waits for no standby and takes writes: an old primary that
    /// knows nothing of the one that took its place.
    pub async fn start_alone(&mut self) {
        let names = "synchronous_standby_names";
        self.settings.push((names.to_owned(), String::new()));
        self.run().await;
    }

    /// The number of its history: a promotion raises it.
    ///
    /// # Panics
    /// When it takes no writes.
    pub async fn timeline(&self) -> i64 {
        let session = self.connect("postgres").await;
        let name =
            "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint";
        let row = session.query_one(name, &[]).await;
        row.expect("it takes writes").get(0)
    }

    /// Changes a setting that a reload is enough for.
    async fn alter(&self, setting: &str, value: &str) {
        let session = self.connect("postgres").await;
        for text in [
            format!("ALTER SYSTEM SET {setting} = '{value}'"),
            "SELECT pg_reload_conf()".to_owned(),
        ] {
            let done = session.batch_execute(&text).await;
            done.unwrap_or_else(|e| panic!("{text}: {e}"));
        }
        wait_for("the setting to be read", FOLLOW, async || {
            let row = session.query_one(&format!("SHOW {setting}"), &[]).await;
            let now: String = row.map_err(|e| e.to_string())?.get(0);
            if now == value { Ok(()) } else { Err(now) }
        })
        .await;
    }

    /// Waits until the standby `name` streams, in one of these states.
    async fn followed_by(&self, name: &str, states: &[&str]) {
        let session = self.connect("postgres").await;
        wait_for("the standby to follow", FOLLOW, async || {
            let followers = "SELECT sync_state FROM pg_stat_replication
                             WHERE application_name = $1 AND state = 'streaming'";
            let rows = session.query(followers, &[&name]).await;
            let rows = rows.map_err(|e| e.to_string())?;
            let now: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
            if now.iter().any(|state| states.contains(state)) {
                Ok(())
            } else {
                Err(format!("{now:?}"))
            }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn rows(server: &Postgres) -> i64 {
        let session = server.connect("q").await;
        let row = session.query_one("SELECT count(*) FROM t", &[]).await;
        row.expect("counting").get(0)
    }

    async fn insert(server: &Postgres) {
        let session = server.connect("q").await;
        let inserted = session.batch_execute("INSERT INTO t VALUES (1)").await;
        inserted.expect("it takes writes");
    }

    #[tokio::test]
    async fn a_standby_takes_the_place_of_a_killed_primary_which_comes_back_with_a_history_of_its_own()
     {
        let mut old = Postgres::start().await;
        old.create_database("q").await;
        let session = old.connect("q").await;
        let table = session.batch_execute("CREATE TABLE t (n int)").await;
        table.expect("t");
        let new = old.standby("second").await;
        old.wait_for_one_of(&["second"]).await;
        insert(&old).await;
        old.kill9().await;
        new.promote().await;
        assert_eq!(rows(&new).await, 1, "what was committed");
        insert(&new).await;
        old.start_alone().await;
        insert(&old).await;
        insert(&old).await;
        assert_eq!((rows(&old).await, rows(&new).await), (3, 2));
        assert_eq!((old.timeline().await, new.timeline().await), (1, 2));
    }

    #[tokio::test]
    async fn a_standby_that_follows_nobody_lacks_what_came_later() {
        let old = Postgres::start().await;
        old.create_database("q").await;
        let session = old.connect("q").await;
        let table = session.batch_execute("CREATE TABLE t (n int)").await;
        table.expect("t");
        insert(&old).await;
        let new = old.standby("second").await;
        new.follow_nobody().await;
        insert(&old).await;
        new.promote().await;
        assert_eq!((rows(&old).await, rows(&new).await), (2, 1));
    }
}
