//! A load balancer in front of gateways.

use std::{fmt::Write as _, fs, net::SocketAddr, path::Path, time::Duration};

use tempfile::TempDir;

use crate::{Process, client, free_port, guide_block, port::Port, process::command, wait_for};

/// A running HAProxy.
#[derive(Debug)]
pub struct Haproxy {
    /// Its process.
    pub process: Process,
    port: Port,
    _dir: TempDir,
}

impl Haproxy {
    /// Starts it before `servers`; each is asked for `/readyz` when `check` is true, else always used.
    ///
    /// # Panics
    /// When HAProxy is not installed.
    pub async fn start(servers: &[SocketAddr], check: bool) -> Self {
        Self::start_with(servers, check, &[]).await
    }

    /// The same with more lines in the section of the servers; they override what stands there.
    ///
    /// # Panics
    /// When HAProxy is not installed.
    pub async fn start_with(servers: &[SocketAddr], check: bool, more: &[&str]) -> Self {
        Self::run(&|listen| config(listen, servers, check, more)).await
    }

    /// Starts it before `servers` with the configuration of the operations guide, addresses apart.
    ///
    /// # Panics
    /// When HAProxy is not installed, or the guide shows no such configuration.
    pub async fn as_documented(servers: &[SocketAddr]) -> Self {
        Self::run(&|listen| documented(listen, servers)).await
    }

    async fn run(config: &dyn Fn(SocketAddr) -> String) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let file = dir.path().join("haproxy.cfg");
        fs::write(&file, config(port.addr())).expect("writing haproxy.cfg");
        let mut haproxy = command(Path::new("/usr/sbin/haproxy"));
        haproxy.arg("-db").arg("-f").arg(&file);
        let mut process = Process::spawn("haproxy", haproxy, dir.path());
        let addr = port.addr();
        wait_for(
            "HAProxy to find a server",
            Duration::from_secs(10),
            async || {
                assert!(
                    !process.has_ended(),
                    "HAProxy ended:\n{}",
                    process.stderr_tail()
                );
                let get = client::request("GET", addr, "/readyz", &[], bytes::Bytes::new());
                let reply = client::once(addr, get, Duration::from_secs(1)).await;
                match reply {
                    Ok(reply) if reply.status != 503 => Ok(()),
                    Ok(reply) => Err(format!("it answers {}", reply.status)),
                    Err(e) => Err(e.to_string()),
                }
            },
        )
        .await;
        Self {
            process,
            port,
            _dir: dir,
        }
    }

    /// Where clients connect.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }
}

fn config(listen: SocketAddr, servers: &[SocketAddr], check: bool, more: &[&str]) -> String {
    let mut text = format!(
        "global\n  maxconn 4096\ndefaults\n  mode http\n  timeout connect 2s\n  timeout client 60s\n  \
         timeout server 30s\n  timeout http-keep-alive 60s\n  option http-keep-alive\n  \
         option redispatch 1\n  retries 3\n\
         frontend gateway\n  bind {listen}\n  default_backend nodes\n\
         backend nodes\n  balance roundrobin\n  http-reuse safe\n"
    );
    if check {
        text.push_str(
            "  option httpchk GET /readyz\n  timeout check 2s\n  default-server check inter 100ms fall 1 rise 1 \
         observe layer4 error-limit 1 on-error mark-down\n",
        );
    }
    for line in more {
        writeln!(text, "  {line}").expect("writing to a string");
    }
    for (n, server) in servers.iter().enumerate() {
        writeln!(text, "  server node{n} {server}").expect("writing to a string");
    }
    text
}

/// The configuration of the guide with the addresses of a test: its `bind` and its servers are the only lines
/// that name any.
fn documented(listen: SocketAddr, servers: &[SocketAddr]) -> String {
    let mut text = String::new();
    let mut servers = Some(servers);
    for line in guide_block("# haproxy.cfg").lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("bind") => writeln!(text, "  bind {listen}").expect("writing to a string"),
            Some("server") => {
                for (n, server) in servers.take().into_iter().flatten().enumerate() {
                    writeln!(text, "  server node{n} {server}").expect("writing to a string");
                }
            }
            _ => writeln!(text, "{line}").expect("writing to a string"),
        }
    }
    assert!(servers.is_none(), "the guide's configuration has no server");
    text
}
