//! What the processes of a node say, joined: under an agent each host has a process and each process a socket,
//! and one more process answers for all of them.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::BASE;

/// How long a process of the node may take to answer. One that hangs must not hide the others.
const ANSWER: Duration = Duration::from_millis(500);

/// What each process with a socket in `dir` answers at `path`. Who does not answer is left out: its agent deals
/// with it.
async fn ask_all(dir: &Path, path: &str) -> Vec<Value> {
    let url = format!("http://localhost{BASE}{path}");
    let asked = sockets(dir)
        .into_iter()
        .map(|socket| ask(socket, url.clone()));
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

async fn ask(socket: PathBuf, url: String) -> Option<Value> {
    let client = reqwest::Client::builder()
        .unix_socket(socket)
        .timeout(ANSWER)
        .build();
    let reply = client.ok()?.get(url).send().await.ok()?;
    serde_json::from_slice(&reply.bytes().await.ok()?).ok()
}

/// Puts what the processes of `dir` know of their own ports into `ports`.
pub(super) async fn join_ports(dir: &Path, ports: &mut [Value]) {
    for answer in ask_all(dir, "/ports").await {
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
