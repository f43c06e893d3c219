//! What the processes of a node say, joined: under an agent each host has a process and each process a socket,
//! and one more process answers for all of them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use serde_json::Value;

use super::BASE;

/// How long a process of the node may take to answer. One that hangs must not hide the others.
const ANSWER: Duration = Duration::from_millis(500);

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

/// The metrics of each process with a socket in `dir`, by the name of that.
pub(super) async fn metrics(dir: &Path) -> Vec<(String, String)> {
    let all = ask_all(dir, "/metrics").await.into_iter();
    all.map(|(name, text)| (name, String::from_utf8_lossy(&text).into_owned()))
        .collect()
}

/// The host of the process whose socket has this name: that of the host, and of a clustered one, which may have two
/// processes for a moment, a dot and a part of the id of the process.
pub(super) fn host_of<'a>(socket: &'a str, known: &BTreeSet<&str>) -> &'a str {
    match socket.rsplit_once('.') {
        Some((host, _)) if !known.contains(socket) && known.contains(host) => host,
        _ => socket,
    }
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
    let client = reqwest::Client::builder()
        .unix_socket(socket)
        .timeout(ANSWER)
        .build();
    let reply = client.ok()?.get(url).send().await.ok()?;
    let reply = reply.error_for_status().ok()?;
    reply.bytes().await.ok()
}

/// Puts what the processes of `dir` know of their own ports into `ports`.
pub(super) async fn join_ports(dir: &Path, ports: &mut [Value]) {
    for (_, answer) in ask_all(dir, &format!("{BASE}/ports")).await {
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        let theirs = answer["ports"].as_array().cloned().unwrap_or_default();
        for port in theirs.iter().filter(|port| is_known_there(port)) {
            let same = |ours: &&mut Value| ours["name"] == port["name"];
            if let Some(ours) = ports.iter_mut().find(same)
                && ours["running"] != true
            {
                let backlog = ours["backlog"].take();
                *ours = port.clone();
                ours["backlog"] = backlog;
            }
        }
    }
}

/// Whether the process that said it has the port, and does not only know of it.
fn is_known_there(port: &Value) -> bool {
    port["running"] == true || port["standby"] == true || !port["trouble"].is_null()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let known = BTreeSet::from(["edge", "track.box0", "track"]);
        for (socket, host) in [
            ("edge", "edge"),
            ("edge.1a2b3c4d", "edge"),
            ("track.box0", "track.box0"),
            ("track.box0.1a2b3c4d", "track.box0"),
            ("other.1a2b3c4d", "other.1a2b3c4d"),
        ] {
            assert_eq!(host_of(socket, &known), host);
        }
    }

    #[tokio::test]
    async fn who_does_not_answer_is_left_out() {
        // As `cli::main` does; another test may have done it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("a.sock"), "").expect("written");
        let mut ports = vec![serde_json::json!({ "name": "p", "running": false })];
        join_ports(dir.path(), &mut ports).await;
        assert_eq!(ports[0]["running"], false);
    }
}
