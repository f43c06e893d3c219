//! A topology of `fixtures/topologies`, up and running: its containers by the names of their services.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, time::Duration};

use quayside_harness::{unix_micros, wait_for};
use serde_json::Value;

use super::engine::{Engine, repository};

/// How long any change of a container may take to show.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The members of each cluster.
pub const DATABASES: [&str; 3] = ["db-1", "db-2", "db-3"];
/// The same of the brokers.
pub const BROKERS: [&str; 3] = ["mq-1", "mq-2", "mq-3"];

/// What a test does not publish where a user would: it takes any free port.
const PORTS: [(&str, &str); 6] = [
    ("QUAYSIDE_HTTP_PORT", ""),
    ("QUAYSIDE_AMQP_PORT", ""),
    ("QUAYSIDE_MANAGEMENT_PORT", ""),
    ("QUAYSIDE_PARTNER_PORT", ""),
    ("QUAYSIDE_FARM_PORT", ""),
    ("QUAYSIDE_LIBRARY_PORT", ""),
];

/// A running topology. Dropping it removes its containers and their network by their ids, and says what they wrote last
/// if a test panics.
#[derive(Debug)]
pub struct Topology {
    name: String,
    /// The nodes of each host.
    members: BTreeMap<String, Vec<String>>,
    project: String,
    engine: Engine,
}

/// The files of a topology, for `docker-compose`.
#[must_use]
pub fn compose_files(name: &str) -> Vec<String> {
    [
        "infrastructure.yml".to_owned(),
        format!("{name}/compose.yml"),
    ]
    .iter()
    .flat_map(|file| {
        let file = repository("fixtures/topologies").join(file);
        ["--file".to_owned(), file.display().to_string()]
    })
    .collect()
}

/// The nodes of each host of a topology, by its `group.toml`.
///
/// # Panics
/// When that is none.
#[must_use]
pub fn members(name: &str) -> BTreeMap<String, Vec<String>> {
    let file = repository("fixtures/topologies")
        .join(name)
        .join("group.toml");
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let group: toml::Table = text.parse().expect("a group is TOML");
    let hosts = group["host"].as_table().expect("hosts");
    let members = hosts.iter().map(|(host, table)| {
        let members = table["members"].as_array().expect("members");
        let members = members.iter().filter_map(|member| member.as_str());
        (host.clone(), members.map(str::to_owned).collect())
    });
    members.collect()
}

impl Topology {
    /// Builds the images of the programs beside this test, and starts the containers of the topology `name`.
    ///
    /// # Panics
    /// When that fails.
    pub async fn start(engine: Engine, name: &str) -> Self {
        let programs = quayside_harness::program("quayside");
        let folder = programs.parent().expect("a folder").display().to_string();
        let build = repository("tests/docker/images");
        let built = engine.run(&build, &[&folder], &[]).await;
        built.unwrap_or_else(|error| panic!("building the images: {error}"));
        let topology = Self {
            project: format!("quayside{}", unix_micros()),
            name: name.to_owned(),
            members: members(name),
            engine,
        };
        let files = compose_files(name);
        let mut arguments: Vec<&str> = files.iter().map(String::as_str).collect();
        arguments.extend(["--project-name", &topology.project, "up", "--detach"]);
        let mut settings = PORTS.to_vec();
        settings.push(("TOPOLOGY", name));
        let compose = Path::new("docker-compose");
        let up = topology.engine.run(compose, &arguments, &settings).await;
        up.unwrap_or_else(|error| panic!("starting {name}: {error}"));
        topology
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the container of `service`.
    #[must_use]
    pub fn container(&self, service: &str) -> String {
        format!("{}_{service}_1", self.project)
    }

    /// Where `port` of `service` is published.
    ///
    /// # Panics
    /// When it is not.
    pub async fn published(&self, service: &str, port: u16) -> SocketAddr {
        let name = self.container(service);
        let said = self.must(&["port", &name, &port.to_string()]).await;
        let first = said.lines().next().unwrap_or_default();
        first
            .parse()
            .unwrap_or_else(|e| panic!("{service} {port}: `{said}`: {e}"))
    }

    /// Runs a program in the container of `service`, and returns what it prints.
    ///
    /// # Errors
    /// What it says, if it fails.
    pub async fn exec(&self, service: &str, program: &[&str]) -> Result<String, String> {
        let name = self.container(service);
        let mut arguments = vec!["exec", &name, "timeout", "5"];
        arguments.extend(program);
        self.engine.docker(&arguments).await
    }

    /// Does `verb` (`kill`, `start`, `pause`, `unpause`) to the container of `service`.
    ///
    /// # Panics
    /// When the engine does not.
    pub async fn tell(&self, verb: &str, service: &str) {
        self.must(&[verb, &self.container(service)]).await;
    }

    /// Stops the container of `service` as its operators would: it may take so long to finish what it does.
    ///
    /// # Panics
    /// When the engine does not.
    pub async fn stop(&self, service: &str) {
        let name = self.container(service);
        self.must(&["stop", "--time", "60", &name]).await;
    }

    /// Cuts the container of `service` off from all others.
    ///
    /// # Panics
    /// When the engine does not.
    pub async fn disconnect(&self, service: &str) {
        let (network, name) = (self.network(), self.container(service));
        self.must(&["network", "disconnect", &network, &name]).await;
    }

    /// Lets it reach them again, maybe at another address.
    ///
    /// # Panics
    /// When the engine does not.
    pub async fn connect(&self, service: &str) {
        let (network, name) = (self.network(), self.container(service));
        self.must(&["network", "connect", "--alias", service, &network, &name])
            .await;
    }

    /// The database that takes writes and has both others following it.
    ///
    /// # Errors
    /// There is none.
    pub async fn primary(&self) -> Result<&'static str, String> {
        let query = "SELECT pg_is_in_recovery() || ' ' || (SELECT count(*) FROM pg_stat_replication \
                     WHERE state = 'streaming' AND sync_state = 'quorum')";
        let psql = ["psql", "-XqAt", "-h", "/tmp", "-U", "postgres", "-c", query];
        let mut all = Vec::new();
        for database in DATABASES {
            let answer = self.exec(database, &psql).await;
            if answer.as_deref() == Ok("false 2") {
                return Ok(database);
            }
            all.push(format!("{database}: {answer:?}"));
        }
        Err(all.join(", "))
    }

    /// What `query` of the store's database gives, at its primary.
    ///
    /// # Errors
    /// There is none, or it refuses.
    pub async fn query(&self, query: &str) -> Result<String, String> {
        let primary = self.primary().await?;
        let psql = [
            "psql", "-XqAt", "-h", "/tmp", "-U", "postgres", "-d", "quayside", "-c", query,
        ];
        self.exec(primary, &psql).await
    }

    /// Which of the clustered `hosts` the node has, each with whether it is the active one there. All other ports of the
    /// node must work.
    ///
    /// # Errors
    /// It does not answer, or a port neither works nor stands by.
    pub async fn has(
        &self,
        node: &str,
        hosts: &[&'static str],
    ) -> Result<Vec<(&'static str, bool)>, String> {
        let list = ["quayside", "ports", "list", "--output", "json"];
        let list = self.exec(node, &list).await?;
        let list: Value = serde_json::from_str(&list).map_err(|e| format!("{e}: {list}"))?;
        let mut has: Vec<(&str, bool)> = Vec::new();
        let of_node = |port: &&Value| {
            let host = port["host"].as_str().unwrap_or_default();
            self.members
                .get(host)
                .is_some_and(|members| members.iter().any(|it| it == node))
        };
        for port in quayside_harness::items(&list).iter().filter(of_node) {
            let standby = port["standby"] == true;
            let clustered = hosts.iter().find(|host| port["host"] == **host);
            if port["running"] == standby || (standby && clustered.is_none()) {
                return Err(format!("{node}: {port}"));
            }
            if let Some(host) = clustered {
                has.push((host, !standby));
            }
        }
        Ok(has)
    }

    /// Waits until the node says that all of it works or stands by.
    ///
    /// # Panics
    /// When it does not.
    pub async fn healthy(&self, node: &str) {
        let what = format!("{node} to be ready");
        wait_for(&what, PATIENCE, async || {
            self.exec(node, &["healthy", "9470", "/readyz"])
                .await
                .map(drop)
        })
        .await;
    }

    /// Waits until `service`, which does one thing and ends, has done it.
    pub async fn done(&self, service: &str) {
        let name = self.container(service);
        let format = "{{.State.Status}} {{.State.ExitCode}}";
        wait_for(service, PATIENCE, async || {
            let state = self
                .engine
                .docker(&["inspect", "--format", format, &name])
                .await?;
            if state == "exited 0" {
                Ok(())
            } else {
                Err(state)
            }
        })
        .await;
    }

    /// How its containers are, and what each wrote last.
    #[must_use]
    pub fn state(&self, lines: usize) -> String {
        let filter = format!("label=com.docker.compose.project={}", self.project);
        let format = "{{.Names}}\t{{.Status}}";
        let list = ["ps", "--all", "--filter", &filter, "--format", format];
        let list = self.engine.docker_now(&list).unwrap_or_else(|e| e);
        let mut state = format!("{list}\n");
        for name in list.lines().filter_map(|line| line.split('\t').next()) {
            let tail = format!("docker logs --tail {lines} {name} 2>&1");
            let logs = self.engine.shell_now(&tail).unwrap_or_else(|e| e);
            state.push_str(&format!("--- {name}\n{logs}\n"));
        }
        state
    }

    async fn must(&self, arguments: &[&str]) -> String {
        let said = self.engine.docker(arguments).await;
        said.unwrap_or_else(|error| panic!("{error}"))
    }

    fn network(&self) -> String {
        format!("{}_default", self.project)
    }

    fn remove(&self) -> Result<(), String> {
        let filter = format!("label=com.docker.compose.project={}", self.project);
        let list = |what: &[&str]| {
            let mut arguments = what.to_vec();
            arguments.extend(["--quiet", "--filter", &filter]);
            self.engine.docker_now(&arguments)
        };
        let containers = list(&["ps", "--all", "--no-trunc"])?;
        if !containers.is_empty() {
            let mut arguments = vec!["rm", "--force", "--volumes"];
            arguments.extend(containers.lines());
            self.engine.docker_now(&arguments)?;
        }
        let networks = list(&["network", "ls", "--no-trunc"])?;
        for network in networks.lines() {
            self.engine.docker_now(&["network", "rm", network])?;
        }
        Ok(())
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        if std::thread::panicking() {
            crate::note(&self.state(25));
        }
        if let Err(error) = self.remove() {
            crate::note(&format!("removing {}: {error}", self.project));
        }
    }
}
