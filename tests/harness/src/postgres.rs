//! A PostgreSQL server of one's own, in a temporary folder, with default durability.

mod standby;

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

use crate::{
    FakeClock, Process, Proxy, free_port,
    port::Port,
    process::{children, signal_pid, unprivileged},
    wait_for,
};

/// The superuser of every test database.
pub const USER: &str = "quayside";

/// How long a server may take to start or to stop, recovery included.
const START: Duration = Duration::from_secs(60);

/// A running server, or one that was stopped by the test.
#[derive(Debug)]
pub struct Postgres {
    port: Port,
    settings: Vec<(String, String)>,
    env: Vec<(String, String)>,
    run_as: Option<(String, u32, u32)>,
    data: PathBuf,
    process: Option<Process>,
    wal: Option<TempDir>,
    dir: TempDir,
}

/// A connection, closed when dropped.
#[derive(Debug)]
pub struct Session {
    client: Client,
    _driver: JoinSet<()>,
}

impl std::ops::Deref for Session {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Postgres {
    /// A server with its defaults.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A server with settings of the test.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Self::start_on(dir, None, settings, &[]).await
    }

    /// A server that lives by `clock`.
    pub async fn start_by(clock: &FakeClock) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Self::start_on(dir, None, &[], &clock.env()).await
    }

    /// A server whose tables lie in `dir`, on a small disk, say; its log lies on the usual one. (A server
    /// whose log cannot grow ends itself; one whose tables cannot grow refuses.)
    pub async fn start_in(dir: TempDir) -> Self {
        let wal = tempfile::tempdir().expect("a temporary folder");
        Self::start_on(dir, Some(wal), &[], &[]).await
    }

    async fn start_on(
        dir: TempDir,
        wal: Option<TempDir>,
        settings: &[(&str, &str)],
        env: &[(String, String)],
    ) -> Self {
        let run_as = unprivileged();
        let data = dir.path().join("pgdata");
        fs::create_dir(&data).expect("a folder for the cluster");
        if let Some((_, uid, gid)) = &run_as {
            for folder in [dir.path(), &data]
                .into_iter()
                .chain(wal.as_ref().map(TempDir::path))
            {
                chown(folder, Some(*uid), Some(*gid)).expect("root gives the folder away");
            }
        }
        let settings = settings
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let port = free_port();
        let mut server = Self {
            port,
            settings,
            env: env.to_vec(),
            run_as,
            data,
            process: None,
            wal,
            dir,
        };
        server.init();
        server.run().await;
        server
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// The URL of a database for the gateway's configuration.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        url(self.addr(), database)
    }

    /// The same through a proxy before it.
    #[must_use]
    pub fn url_through(&self, proxy: &Proxy, database: &str) -> String {
        url(proxy.addr(), database)
    }

    /// The pid of the postmaster.
    ///
    /// # Panics
    /// When it is stopped.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("PostgreSQL is running").pid()
    }

    /// Creates a database and returns its URL.
    pub async fn create_database(&self, name: &str) -> String {
        let session = self.connect("postgres").await;
        let create = format!("CREATE DATABASE \"{name}\"");
        session
            .batch_execute(&create)
            .await
            .unwrap_or_else(|e| panic!("{create}: {e}"));
        self.url(name)
    }

    /// A connection to `database`.
    pub async fn connect(&self, database: &str) -> Session {
        self.try_connect(database)
            .await
            .unwrap_or_else(|e| panic!("connecting to {database}: {e}"))
    }

    /// Ends at once without a checkpoint, as a crash of the machine does for it.
    pub async fn stop_immediate(&mut self) {
        self.end(Signal::QUIT).await;
    }

    /// Starts it again after a stop, and returns when it accepts connections.
    pub async fn start_again(&mut self) {
        self.run().await;
    }

    /// Ends in order, cutting open connections.
    pub async fn stop(&mut self) {
        self.end(Signal::INT).await;
    }

    /// The same, and starts again.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.run().await;
    }

    /// Starts again with these rules about who may log in, as in `pg_hba.conf`; the superuser always may.
    ///
    /// # Panics
    /// When the rules cannot be written.
    pub async fn admit(&mut self, rules: &str) {
        let rules = format!("host all {USER} 127.0.0.1/32 trust\n{rules}");
        fs::write(self.data.join("pg_hba.conf"), rules).expect("writing pg_hba.conf");
        self.restart().await;
    }

    /// Pauses the server and all of its backends.
    pub fn pause(&self) {
        // The postmaster first, so that it starts no backend that would be missed.
        signal_pid(self.pid(), Signal::STOP);
        for child in children(self.pid()) {
            signal_pid(child, Signal::STOP);
        }
    }

    /// Lets all of it run on.
    pub fn resume(&self) {
        for child in children(self.pid()) {
            signal_pid(child, Signal::CONT);
        }
        signal_pid(self.pid(), Signal::CONT);
    }

    /// The folder with `initdb`, `postgres` and `pgbench`.
    #[must_use]
    pub fn bin_dir() -> PathBuf {
        bin_dir()
    }

    /// The folder of the cluster.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    fn init(&self) {
        let mut initdb = self.command("initdb");
        initdb
            .args(["-A", "trust", "-U", USER, "-E", "UTF8", "--no-locale", "-D"])
            .arg(&self.data);
        if let Some(wal) = &self.wal {
            initdb.arg("-X").arg(wal.path());
        }
        let out = initdb
            .output()
            .unwrap_or_else(|e| panic!("starting {initdb:?}: {e}"));
        assert!(
            out.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }

    async fn run(&mut self) {
        assert!(self.process.is_none(), "PostgreSQL already runs");
        let mut postgres = self.command("postgres");
        postgres
            .arg("-D")
            .arg(&self.data)
            .arg("-k")
            .arg(self.dir.path());
        postgres.args(["-h", "127.0.0.1", "-p", &self.port.number().to_string()]);
        for (name, value) in &self.settings {
            postgres.arg("-c").arg(format!("{name}={value}"));
        }
        let mut process = Process::spawn("postgres", postgres, self.dir.path());
        wait_for("PostgreSQL to accept connections", START, async || {
            assert!(
                !process.has_ended(),
                "PostgreSQL ended:\n{}",
                process.stderr_tail()
            );
            self.try_connect("postgres")
                .await
                .map(drop)
                .map_err(|e| e.to_string())
        })
        .await;
        self.process = Some(process);
    }

    async fn end(&mut self, signal: Signal) {
        let mut process = self.process.take().expect("PostgreSQL is running");
        let backends = children(process.pid());
        process.signal(signal);
        if signal == Signal::KILL {
            for backend in &backends {
                signal_pid(*backend, signal);
            }
        }
        process.wait_exit(START).await;
        wait_for("the last backend to end", START, async || {
            let left = backends
                .iter()
                .filter(|p| Path::new(&format!("/proc/{p}")).exists())
                .count();
            if left == 0 {
                Ok(())
            } else {
                Err(format!("{left} are left"))
            }
        })
        .await;
    }

    async fn try_connect(&self, database: &str) -> Result<Session, tokio_postgres::Error> {
        let (client, driver) = tokio_postgres::connect(&self.url(database), NoTls).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // A lost connection is an error of the statement that runs on it, where it is reported.
            let _reported = driver.await;
        });
        Ok(Session {
            client,
            _driver: tasks,
        })
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new("setpriv");
        if let Some((_, uid, gid)) = &self.run_as {
            command
                .arg(format!("--reuid={uid}"))
                .arg(format!("--regid={gid}"));
            command.arg("--clear-groups");
        }
        command.args(["--pdeathsig", "KILL", "--"]);
        if !self.env.is_empty() {
            // Not before the user is another one: what is loaded then makes files as the one who runs it.
            command.arg("env");
            command.args(self.env.iter().map(|(k, v)| format!("{k}={v}")));
        }
        command.arg(bin_dir().join(name));
        command.current_dir("/");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let Some(process) = &self.process else { return };
        // Backends notice the death of the postmaster only when they run; a paused one would stay.
        let backends = children(process.pid());
        process.signal(Signal::KILL);
        for backend in backends {
            signal_pid(backend, Signal::KILL);
        }
    }
}

fn url(addr: SocketAddr, database: &str) -> String {
    format!("postgres://{USER}@{addr}/{database}?sslmode=disable")
}

/// The newest installed version's folder of programs.
fn bin_dir() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let newest = versions
        .filter_map(|e| {
            Some((
                e.file_name().to_str()?.parse::<u32>().ok()?,
                e.path().join("bin"),
            ))
        })
        .filter(|(_, bin)| bin.join("initdb").exists())
        .max();
    newest
        .expect("PostgreSQL is installed below /usr/lib/postgresql: tests/run does that")
        .1
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn count(server: &Postgres) -> i64 {
        let session = server.connect("q").await;
        session
            .query_one("SELECT count(*) FROM t", &[])
            .await
            .expect("counting")
            .get(0)
    }

    #[tokio::test]
    async fn a_server_survives_crash_and_pause_with_its_data() {
        let mut server = Postgres::start().await;
        server.create_database("q").await;
        let session = server.connect("q").await;
        session
            .batch_execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)")
            .await
            .expect("t");
        server.stop_immediate().await;
        server.start_again().await;
        assert_eq!(count(&server).await, 1);

        let session = server.connect("q").await;
        server.pause();
        let answer = session.query_one("SELECT 1", &[]);
        tokio::pin!(answer);
        let paused = tokio::time::timeout(Duration::from_millis(100), &mut answer).await;
        assert!(paused.is_err(), "a paused server answers nothing");
        server.resume();
        answer.await.expect("it answers when it runs on");
    }

    #[tokio::test]
    async fn the_clock_of_a_server_is_stepped_while_it_runs() {
        let clock = FakeClock::new();
        let server = Postgres::start_by(&clock).await;
        let session = server.connect("postgres").await;
        let ahead = async || {
            let now = "SELECT extract(epoch FROM clock_timestamp())::bigint";
            let row = session.query_one(now, &[]).await.expect("the time");
            let here = i64::try_from(crate::unix_micros() / 1_000_000).expect("seconds");
            row.get::<_, i64>(0) - here
        };
        for step in [0, 3600, -3600, 0] {
            clock.step_to(step);
            let off = ahead().await - step;
            assert!(off.abs() <= 2, "{off} s beside {step} s");
        }
    }

    #[tokio::test]
    async fn durability_is_on_by_default() {
        let server = Postgres::start().await;
        let session = server.connect("postgres").await;
        for name in ["fsync", "synchronous_commit", "full_page_writes"] {
            let row = session
                .query_one(&format!("SHOW {name}"), &[])
                .await
                .expect("a setting");
            assert_eq!(row.get::<_, &str>(0), "on", "{name}");
        }
    }
}
