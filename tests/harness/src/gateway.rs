//! A machine with a gateway on it: its folders and ports outlive the process, as on a real one.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Process, free_port, get_json,
    port::Port,
    process::{command, program},
    wait_for,
};

/// How long a gateway may take to start, an empty store to be made included.
const START: Duration = Duration::from_secs(30);

/// A machine: the place of a gateway between two runs of it. Its listeners keep their ports.
#[derive(Debug)]
pub struct Node {
    name: String,
    app: PathBuf,
    store: Option<String>,
    more: String,
    env: Vec<(String, String)>,
    binary: PathBuf,
    data: PathBuf,
    http: Port,
    admin: Port,
    dir: TempDir,
}

impl Node {
    /// A machine `name` that runs the application in the folder `app` on SQLite.
    ///
    /// # Panics
    /// When the binary is not built.
    #[must_use]
    pub fn new(name: &str, app: &Path) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        Self {
            name: name.to_owned(),
            app: app.to_owned(),
            store: None,
            more: String::new(),
            env: Vec::new(),
            binary: program("quayside"),
            data: dir.path().join("data"),
            http: free_port(),
            admin: free_port(),
            dir,
        }
    }

    /// The same on the PostgreSQL database `url`.
    #[must_use]
    pub fn with_store(mut self, url: &str) -> Self {
        self.store = Some(url.to_owned());
        self
    }

    /// The same with its data folder elsewhere, on a small disk, say.
    #[must_use]
    pub fn with_data(mut self, data: &Path) -> Self {
        self.data = data.to_owned();
        self
    }

    /// The same with more sections in its `node.toml`.
    #[must_use]
    pub fn with_config(mut self, toml: &str) -> Self {
        self.more.push_str(toml);
        self
    }

    /// The same with a variable in the environment of its processes.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with another build of the gateway.
    #[must_use]
    pub fn with_binary(mut self, binary: &Path) -> Self {
        self.binary = binary.to_owned();
        self
    }

    /// Where its HTTP receive locations listen.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.http.addr()
    }

    /// Where its admin API listens.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin.addr()
    }

    /// Its data folder.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// Starts a gateway on it and returns when it is ready.
    pub async fn start(&self) -> Gateway {
        let mut gateway = self.spawn();
        gateway.ready().await;
        gateway
    }

    /// Starts a gateway on it and does not wait.
    #[must_use]
    pub fn spawn(&self) -> Gateway {
        fs::create_dir_all(&self.data).expect("creating the data folder");
        let file = self.dir.path().join("node.toml");
        fs::write(&file, self.node_toml()).expect("writing node.toml");
        let mut run = command(&self.binary);
        run.arg("run")
            .arg(&self.app)
            .arg("--node")
            .arg(&file)
            .current_dir(self.dir.path());
        run.envs(self.env.iter().map(|(k, v)| (k, v)));
        let process = Process::spawn(&self.name, run, self.dir.path());
        Gateway {
            process,
            http: self.http(),
            admin: self.admin(),
        }
    }

    fn node_toml(&self) -> String {
        let (name, data) = (&self.name, self.data.display());
        let store = self
            .store
            .iter()
            .map(|url| format!("[store]\nurl = \"{url}\"\n"));
        format!(
            "[node]\nname = \"{name}\"\ndata_dir = \"{data}\"\n{}[http]\nlisten = \"{}\"\n\
             [admin]\nlisten = \"{}\"\n{}",
            store.collect::<String>(),
            self.http(),
            self.admin(),
            self.more,
        )
    }
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    /// Its process.
    pub process: Process,
    /// Where its HTTP receive locations listen.
    pub http: SocketAddr,
    /// Where its admin API listens.
    pub admin: SocketAddr,
}

impl Gateway {
    /// Returns when it says that it is ready; it must say so with its true addresses and pid.
    pub async fn ready(&mut self) {
        let said = self.process.wait_line("ready ", START).await;
        let expected = format!(
            "http={} admin={} pid={}",
            self.http,
            self.admin,
            self.process.pid()
        );
        assert_eq!(said, expected, "the ready line tells addresses and pid");
    }

    /// Kills it (SIGKILL).
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Asks it to stop (SIGTERM) and waits at most `within`; returns its exit code.
    pub async fn stop(&mut self, within: Duration) -> Option<i32> {
        self.process.signal(Signal::TERM);
        self.process.wait_exit(within).await.code()
    }

    /// What its admin API answers below `/api/v1/`.
    ///
    /// # Errors
    /// No answer, or another than 200 with JSON.
    pub async fn api(&self, path: &str) -> Result<Value, String> {
        get_json(self.admin, &format!("/api/v1/{path}")).await
    }

    /// Waits until no delivery is live any more.
    pub async fn drained(&self, within: Duration) {
        wait_for("every delivery to end", within, async || {
            let left = self.api("deliveries?limit=5").await?;
            if items(&left).is_empty() {
                Ok(())
            } else {
                Err(left.to_string())
            }
        })
        .await;
    }
}

/// The items of a list that the admin API gave.
#[must_use]
pub fn items(list: &Value) -> &[Value] {
    list.as_array()
        .or_else(|| list["items"].as_array())
        .map_or(&[], Vec::as_slice)
}
