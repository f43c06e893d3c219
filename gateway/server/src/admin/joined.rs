//! What the processes of a node say, joined: under an agent each host has a process and each process a socket,
//! and one more process answers for all of them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use quayside_engine::{Health, PortView};
use quayside_model::{Name, PortStatus, Text};
use serde::Deserialize;

use super::BASE;

/// How long a process of the node may take to answer. One that hangs must not hide the others.
const ANSWER: Duration = Duration::from_millis(500);

/// The processes of a node under an agent, as the one sees them that answers for all.
#[derive(Debug)]
pub(crate) struct Processes {
    /// Where they have their sockets.
    pub(crate) dir: PathBuf,
    /// The hosts that the node runs, and whether each is clustered.
    pub(crate) hosts: BTreeMap<Name, bool>,
}

/// What the processes of a host say of themselves.
#[derive(Debug, Default)]
pub(super) struct Told {
    is_clustered: bool,
    /// Of the one that is best off; `None`: none answers.
    health: Option<Health>,
    /// What they have counted together.
    pub(super) counters: BTreeMap<String, u64>,
}

/// The part of `/status` that is joined.
#[derive(Debug, Deserialize)]
struct Status {
    #[serde(flatten)]
    health: Health,
    counters: Option<BTreeMap<String, u64>>,
}

#[derive(Debug, Deserialize)]
struct Ports {
    ports: Vec<PortView>,
}

impl Processes {
    /// The metrics of each process, by the name of its socket.
    pub(super) async fn metrics(&self) -> Vec<(String, String)> {
        let all = ask_all(&self.dir, "/metrics").await.into_iter();
        all.map(|(name, text)| (name, String::from_utf8_lossy(&text).into_owned()))
            .collect()
    }

    /// What the processes of each host say of themselves.
    pub(super) async fn told(&self) -> BTreeMap<Name, Told> {
        let silent = |(name, is_clustered): (&Name, &bool)| {
            let told = Told {
                is_clustered: *is_clustered,
                ..Told::default()
            };
            (name.clone(), told)
        };
        let mut all: BTreeMap<Name, Told> = self.hosts.iter().map(silent).collect();
        for (socket, answer) in ask_all(&self.dir, &format!("{BASE}/status")).await {
            let host = self.host_of(&socket);
            if let (Some(told), Ok(status)) = (all.get_mut(host), serde_json::from_slice(&answer)) {
                told.hear(status);
            }
        }
        all
    }

    /// Puts what the processes know of their own ports into `ports`, and why those do not work whose processes do not.
    pub(super) async fn join_ports(&self, ports: &mut [PortView]) {
        let path = format!("{BASE}/ports");
        let (told, answers) = tokio::join!(self.told(), ask_all(&self.dir, &path));
        for (_, answer) in answers {
            let theirs: Option<Ports> = serde_json::from_slice(&answer).ok();
            put_in(ports, theirs.map(|theirs| theirs.ports).unwrap_or_default());
        }
        for port in ports {
            let works = port.running || port.standby || port.status != PortStatus::Started;
            if !works && port.reason.is_none() {
                let fault = told.get(&port.host).and_then(|told| told.fault(&port.host));
                port.reason = fault.as_deref().map(Text::lossy);
            }
        }
    }

    /// The host of the process whose socket has this name: that of the host, and of a clustered one, which may have
    /// two processes for a moment, a dot and a part of the id of the process.
    pub(super) fn host_of<'a>(&self, socket: &'a str) -> &'a str {
        match socket.rsplit_once('.') {
            Some((host, _))
                if !self.hosts.contains_key(socket) && self.hosts.contains_key(host) =>
            {
                host
            }
            _ => socket,
        }
    }

    /// The hosts that none of the processes with sockets of these names is of.
    pub(super) fn without<'a>(&self, sockets: impl Iterator<Item = &'a str>) -> Vec<(&Name, bool)> {
        let there: BTreeSet<&str> = sockets.map(|socket| self.host_of(socket)).collect();
        let hosts = self
            .hosts
            .iter()
            .map(|(name, is_clustered)| (name, *is_clustered));
        hosts
            .filter(|(name, _)| !there.contains(name.as_str()))
            .collect()
    }
}

impl Told {
    fn hear(&mut self, status: Status) {
        for (name, count) in status.counters.into_iter().flatten() {
            *self.counters.entry(name).or_default() += count;
        }
        let better = |known: &Health| {
            let rank = |health: &Health| (health.ready, health.standby);
            rank(&status.health) > rank(known)
        };
        if self.health.as_ref().is_none_or(better) {
            self.health = Some(status.health);
        }
    }

    /// Whether a process of the host answers.
    pub(super) fn answers(&self) -> bool {
        self.health.is_some()
    }

    /// Whether a process of the host stands by and none works.
    pub(super) fn stands_by(&self) -> bool {
        self.health.as_ref().is_some_and(|health| health.standby)
    }

    /// What keeps the processes of `host` from what they are there for, if anything does.
    pub(super) fn fault(&self, host: &Name) -> Option<String> {
        match &self.health {
            Some(health) if health.ready || health.standby => None,
            Some(health) => {
                let reasons = health.reasons.join(", ");
                Some(format!("the process of `{host}` is not ready: {reasons}"))
            }
            // It may be meant so.
            None if self.is_clustered => Some(format!(
                "no process of `{host}` answers here: see quayside cluster status"
            )),
            None => Some(format!(
                "no process of `{host}` answers here: see the log of its agent"
            )),
        }
    }

    /// The same where it is a fault of this node: a clustered host that has no process here may be offline.
    pub(super) fn fault_here(&self, host: &Name) -> Option<String> {
        self.fault(host)
            .filter(|_| !self.is_clustered || self.health.is_some())
    }
}

/// Puts what a process says of its ports in the place of what was known less of them.
fn put_in(ports: &mut [PortView], theirs: Vec<PortView>) {
    let mut ours: HashMap<Name, &mut PortView> = ports
        .iter_mut()
        .map(|port| (port.name.clone(), port))
        .collect();
    for port in theirs {
        if let Some(ours) = ours.get_mut(&port.name)
            && rank(&port) > rank(ours)
        {
            let backlog = ours.backlog.take();
            **ours = PortView { backlog, ..port };
        }
    }
}

/// How much who says it has of the port; 0: it only knows of it. Of the two processes that a clustered host has for a
/// moment the one that works is shown, then the one that finishes.
fn rank(port: &PortView) -> u8 {
    if port.running {
        3
    } else if port.in_flight > 0 {
        2
    } else {
        u8::from(port.standby || port.resting || port.trouble.is_some())
    }
}

/// What each process with a socket in `dir` answers at `path`, by the name of its socket. Who does not answer is left
/// out: its agent deals with it.
async fn ask_all(dir: &Path, path: &str) -> Vec<(String, Bytes)> {
    let url = format!("http://localhost{path}");
    let asked = sockets(dir).into_iter().map(|socket| {
        let url = url.clone();
        async move {
            let name = socket.file_stem()?.to_string_lossy().into_owned();
            Some((name, ask(socket, url).await?))
        }
    });
    let answers = futures_util::future::join_all(asked).await;
    answers.into_iter().flatten().collect()
}

fn sockets(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut sockets: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "sock"))
        .collect();
    sockets.sort();
    sockets
}

async fn ask(socket: PathBuf, url: String) -> Option<Bytes> {
    // Nobody listens at what a killed process has left, and a client for each of many would cost the time of those
    // that answer.
    drop(tokio::net::UnixStream::connect(&socket).await.ok()?);
    // Nothing is encrypted here: the authorities of the machine are not read each time, and need not be there.
    let client = reqwest::Client::builder()
        .unix_socket(socket)
        .tls_certs_only([])
        .timeout(ANSWER)
        .build();
    let reply = client.ok()?.get(url).send().await.ok()?;
    let reply = reply.error_for_status().ok()?;
    reply.bytes().await.ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn processes(dir: &Path, hosts: &[(&str, bool)]) -> Processes {
        let host = |(name, is_clustered): &(&str, bool)| (name_of(name), *is_clustered);
        Processes {
            dir: dir.to_owned(),
            hosts: hosts.iter().map(host).collect(),
        }
    }

    fn name_of(name: &str) -> Name {
        Name::new(name).expect("a name")
    }

    /// A port of the host `edge`, as a process that has nothing of it shows it, with `more`.
    fn port(more: &serde_json::Value) -> PortView {
        let mut port = json!({
            "name": "t.out", "kind": "send", "host": "edge", "adapter": "http", "status": "started",
            "resting": false, "running": false, "standby": false, "in_flight": 0,
            "tally": { "done": 0, "failed": 0, "suspended": 0 },
        });
        let all = port.as_object_mut().expect("an object");
        all.extend(more.as_object().cloned().unwrap_or_default());
        serde_json::from_value(port).expect("a port")
    }

    #[test]
    fn only_sockets_are_asked() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["b.sock", "lock", "a.sock", "session"] {
            std::fs::write(dir.path().join(name), "").expect("written");
        }
        let found = sockets(dir.path());
        assert_eq!(
            found,
            ["a.sock", "b.sock"].map(|name| dir.path().join(name))
        );
        assert!(sockets(&dir.path().join("none")).is_empty());
    }

    #[test]
    fn a_socket_tells_the_host_of_its_process() {
        let hosts = [("edge", true), ("track.box0", true), ("track", false)];
        let processes = processes(Path::new("run"), &hosts);
        for (socket, host) in [
            ("edge", "edge"),
            ("edge.1a2b3c4d", "edge"),
            ("track.box0", "track.box0"),
            ("track.box0.1a2b3c4d", "track.box0"),
            ("other.1a2b3c4d", "other.1a2b3c4d"),
        ] {
            assert_eq!(processes.host_of(socket), host);
        }
        let sockets = ["track.box0.1a2b3c4d", "other"].into_iter();
        assert_eq!(
            processes.without(sockets),
            [(&name_of("edge"), true), (&name_of("track"), false)]
        );
    }

    #[test]
    fn of_two_processes_the_one_that_works_is_shown_and_then_the_one_that_finishes() {
        let standby = json!({ "standby": true });
        let finishes = json!({ "in_flight": 7 });
        let works = json!({ "running": true });
        for (said, shown) in [
            ([&standby, &finishes], (false, 7)),
            ([&finishes, &standby], (false, 7)),
            ([&works, &finishes], (true, 0)),
            ([&finishes, &works], (true, 0)),
        ] {
            let mut ports = [port(&json!({}))];
            for said in said {
                put_in(&mut ports, vec![port(said)]);
            }
            let [port] = ports;
            assert_eq!((port.running, port.in_flight), shown, "{said:?}");
        }
    }

    #[test]
    fn a_process_that_stands_by_has_no_fault_and_a_clustered_one_that_is_not_there_may_be_offline()
    {
        let host = name_of("edge");
        let health = |ready, standby| Health {
            ready,
            standby,
            reasons: vec!["stopping".to_owned()],
        };
        let silent = |is_clustered| Told {
            is_clustered,
            ..Told::default()
        };
        assert_eq!(silent(true).fault_here(&host), None);
        assert!(silent(true).fault(&host).is_some());
        assert!(silent(false).fault_here(&host).is_some());
        for (heard, fault) in [
            (&[(false, true)][..], None),
            (&[(false, false), (false, true)], None),
            (&[(true, false), (false, false)], None),
            (
                &[(false, false)],
                Some("the process of `edge` is not ready: stopping"),
            ),
        ] {
            let mut told = silent(true);
            for (ready, standby) in heard {
                told.hear(Status {
                    health: health(*ready, *standby),
                    counters: Some(BTreeMap::from([("accepted".to_owned(), 2)])),
                });
            }
            assert_eq!(told.fault_here(&host).as_deref(), fault, "{heard:?}");
            assert_eq!(told.counters["accepted"], 2 * heard.len() as u64);
        }
    }

    #[tokio::test]
    async fn a_port_says_that_no_process_answers_for_it() {
        // As `cli::main` does; another test may have done it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("edge.sock"), "").expect("written");
        let processes = processes(dir.path(), &[("edge", false)]);
        let stopped = json!({ "status": "stopped" });
        let mut ports = [
            port(&json!({})),
            port(&stopped),
            port(&json!({ "host": "elsewhere" })),
        ];
        processes.join_ports(&mut ports).await;
        let reasons = ports.each_ref().map(|port| port.reason.as_deref());
        let said = reasons[0].expect("a reason");
        assert!(
            said.starts_with("no process of `edge` answers here"),
            "{said}"
        );
        assert_eq!(reasons[1..], [None, None]);
    }
}
