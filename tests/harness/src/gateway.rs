//! A machine with a gateway on it: its folders and ports outlive the process, as on a real one.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Process, client, free_port, get_json,
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
    group: Option<String>,
    agent: bool,
    hosts: Vec<String>,
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
            group: None,
            agent: false,
            hosts: Vec::new(),
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

    /// The same in an environment with this `group.toml`.
    #[must_use]
    pub fn with_group(mut self, toml: &str) -> Self {
        self.group = Some(toml.to_owned());
        self
    }

    /// The same run by an agent: each host has a process of its own, and the agent is [`Gateway::process`]. Needs
    /// a group and a store that several processes share.
    #[must_use]
    pub fn with_agent(mut self) -> Self {
        self.agent = true;
        self
    }

    /// The same running this host only, or one more.
    #[must_use]
    pub fn with_host(mut self, host: &str) -> Self {
        self.hosts.push(host.to_owned());
        self
    }

    /// The same with a variable in the environment of its processes.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with a secret of its own.
    #[must_use]
    pub fn with_secret(self, name: &str, secret: &str) -> Self {
        self.set_secret(name, secret);
        self
    }

    /// Gives it a secret, or another one.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn set_secret(&self, name: &str, secret: &str) {
        let secrets = self.data.join("secrets");
        fs::create_dir_all(&secrets).expect("a folder of secrets");
        let file = secrets.join(name);
        fs::write(&file, secret).expect("writing a secret");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&file, private).expect("a private file");
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

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its data folder.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// The file of the node, as it is since its last start.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.dir.path().join("node.toml")
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
        let file = self.file();
        fs::write(&file, self.node_toml()).expect("writing node.toml");
        let mut run = if self.agent {
            let mut run = command(&program("quayside-agent"));
            run.arg("--program").arg(&self.binary);
            run
        } else {
            let mut run = command(&self.binary);
            run.arg("run");
            run
        };
        run.arg(&self.app)
            .arg("--node")
            .arg(&file)
            .current_dir(self.dir.path());
        if let Some(group) = &self.group {
            let file = self.dir.path().join("group.toml");
            fs::write(&file, group).expect("writing group.toml");
            run.arg("--group").arg(file);
        }
        for host in &self.hosts {
            run.args(["--host", host]);
        }
        run.envs(self.env.iter().map(|(k, v)| (k, v)));
        let process = Process::spawn(&self.name, run, self.dir.path());
        Gateway {
            process,
            agent: self.agent,
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
    /// Its process, or its agent's.
    pub process: Process,
    agent: bool,
    /// Where its HTTP receive locations listen.
    pub http: SocketAddr,
    /// Where its admin API listens.
    pub admin: SocketAddr,
}

impl Gateway {
    /// Returns when it says that it is ready; it must say so with its true addresses and pid.
    pub async fn ready(&mut self) {
        if self.agent {
            let what = "the admin API of the agent's node";
            wait_for(what, START, async || self.api("ports").await.map(drop)).await;
            return;
        }
        let said = self.process.wait_line("ready ", START).await;
        let expected = format!(
            "http={} admin={} pid={}",
            self.http,
            self.admin,
            self.process.pid()
        );
        assert_eq!(said, expected, "the ready line tells addresses and pid");
    }

    /// The process of `host`, if its agent runs one now: the oldest one if there are several.
    #[must_use]
    pub fn process_of(&self, host: &str) -> Option<Pid> {
        let mut runs = children(self.process.pid());
        runs.retain(|(_, args)| args.windows(2).any(|pair| pair == ["--host", host]));
        let oldest = runs.into_iter().map(|(pid, _)| pid).min();
        oldest.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
    }

    /// The processes of the whole node: its agent and those that the agent runs.
    #[must_use]
    pub fn family(&self) -> Vec<Pid> {
        let agent = self.process.pid();
        let pids = children(agent).into_iter().map(|(pid, _)| pid);
        let pids = std::iter::once(agent).chain(pids);
        pids.filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
            .collect()
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

    /// Posts to its admin API below `/api/v1/`.
    ///
    /// # Errors
    /// No answer, or another than 200 with JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        let path = format!("/api/v1/{path}");
        let headers = [("content-type", "application/json")];
        let post = client::request("POST", self.admin, &path, &headers, body.to_string().into());
        let reply = client::once(self.admin, post, Duration::from_secs(5)).await;
        let reply = reply.map_err(|e| format!("{path}: {e}"))?;
        if reply.status != 200 {
            return Err(format!("{path}: {} {}", reply.status, reply.text()));
        }
        Ok(reply.json())
    }

    /// The whole way of a message; an error while there is none.
    ///
    /// # Errors
    /// No answer, or another than 200 with JSON.
    pub async fn way(&self, id: &str) -> Result<Value, String> {
        self.api(&format!("messages/{id}")).await
    }

    /// What it measures of itself.
    ///
    /// # Errors
    /// No answer, or another than 200.
    pub async fn metrics(&self) -> Result<Metrics, String> {
        let get = client::request("GET", self.admin, "/metrics", &[], Bytes::new());
        let reply = client::once(self.admin, get, Duration::from_secs(5)).await;
        let reply = reply.map_err(|e| format!("/metrics: {e}"))?;
        if reply.status != 200 {
            return Err(format!("/metrics: {}", reply.status));
        }
        Ok(Metrics(String::from_utf8_lossy(&reply.body).into_owned()))
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

/// The processes that `parent` has started and that live, with their arguments.
fn children(parent: u32) -> Vec<(u32, Vec<String>)> {
    let parent = format!("PPid:\t{parent}");
    let entries = fs::read_dir("/proc").expect("reading /proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let children = pids.filter_map(|pid| {
        // One that has ended meanwhile is none.
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let child = status.lines().any(|line| line == parent) && !status.contains("State:\tZ");
        let args = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let args = args.split('\0').map(str::to_owned).collect();
        child.then_some((pid, args))
    });
    children.collect()
}

/// The metrics of a gateway, as Prometheus reads them.
#[derive(Debug, Clone)]
pub struct Metrics(String);

impl Metrics {
    /// The name of each metric.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        let of_type = self.0.lines().filter_map(|l| l.strip_prefix("# TYPE "));
        of_type
            .filter_map(|l| Some(l.split_once(' ')?.0.to_owned()))
            .collect()
    }

    /// The value of the one series of `name` whose labels contain `label`. `None`: there is none, or several.
    #[must_use]
    pub fn value(&self, name: &str, label: &str) -> Option<f64> {
        let mut values = self.values(name, label);
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// The sum of the series of `name` whose labels contain `label`; 0 without any.
    #[must_use]
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        self.values(name, label).sum()
    }

    fn values(&self, name: &str, label: &str) -> impl Iterator<Item = f64> {
        let value = move |line: &str| {
            let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
            let whole_name = labels.is_empty() || labels.starts_with('{');
            if whole_name && labels.contains(label) {
                value.parse::<f64>().ok()
            } else {
                None
            }
        };
        self.0.lines().filter_map(value)
    }
}

/// The items of a list that the admin API gave: the array of the document, whatever its name.
#[must_use]
pub fn items(list: &Value) -> &[Value] {
    let of_object = || list.as_object()?.values().find_map(Value::as_array);
    list.as_array()
        .or_else(of_object)
        .map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_name_and_label() {
        let metrics = Metrics(
            "# HELP a_total x\na_total{name=\"x\"} 1\na_total{name=\"y\"} 2.5\na_total_more 9\nb 4\n"
                .to_owned(),
        );
        for (name, label, sum) in [
            ("a_total", "", 3.5),
            ("a_total", "name=\"y\"", 2.5),
            ("b", "", 4.0),
            ("c", "", 0.0),
        ] {
            assert!(
                (metrics.sum(name, label) - sum).abs() < 1e-9,
                "{name} {label}"
            );
        }
        assert_eq!(metrics.value("b", ""), Some(4.0));
        assert_eq!(metrics.value("a_total", ""), None, "several");
        assert_eq!(metrics.value("c", ""), None);
    }
}
