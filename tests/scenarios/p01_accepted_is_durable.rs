//! P1: a positive answer is given only after the store has committed, and a commit outlives its client.

use std::{net::SocketAddr, time::Duration};

use quayside_harness::{
    Postgres, Syscall, Trace, order_xml, pass_through, process::children, wait_for,
};
use quayside_tests::{Site, Store};
use tokio::{io::AsyncWriteExt, net::TcpStream};

/// What the tracer writes down: how a request comes in, how an answer goes out, what is written to the
/// log of SQLite, and what makes it last.
const CALLS: &str =
    "read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,pwrite64,fsync,fdatasync";

fn reads(call: &Syscall) -> bool {
    matches!(
        call.name.as_str(),
        "read" | "readv" | "recvfrom" | "recvmsg"
    )
}

fn writes(call: &Syscall) -> bool {
    matches!(
        call.name.as_str(),
        "write" | "writev" | "sendto" | "sendmsg"
    )
}

/// Whether a sync of the store's log has come to its end.
fn syncs_the_log(call: &Syscall) -> bool {
    let of_log = call.text.contains("quayside.db-wal") || call.text.contains("/pg_wal/");
    matches!(call.name.as_str(), "fsync" | "fdatasync")
        && of_log
        && call.text.trim_end().ends_with("= 0")
}

/// Whether the store was given the message with `mark`: SQLite's log is written, or a backend reads the
/// statement that carries it, which is its own commit. Without it a trace without a sync would prove nothing.
fn stores(call: &Syscall, backends: &[u32], mark: &str) -> bool {
    let log = call.name == "pwrite64" && call.text.contains("quayside.db-wal");
    log || reads(call) && backends.contains(&call.thread) && call.text.contains(mark)
}

/// What happened between the reading of the request with `mark` and the writing of its 202, if the trace
/// shows both.
fn between<'a>(calls: &'a [Syscall], mark: &str) -> Option<&'a [Syscall]> {
    let request = calls
        .iter()
        .position(|c| reads(c) && c.text.contains(mark))?;
    let rest = &calls[request..];
    let answer = rest
        .iter()
        .position(|c| writes(c) && c.text.contains("202 Accepted"))?;
    Some(&rest[..answer])
}

/// Traces the gateway, and PostgreSQL if it is the store, while one order comes in. Tells whether the
/// log was synced before the answer.
async fn synced_before_the_answer(site: &Site) -> bool {
    // Past the first request everything is open and warm, so that the trace shows the usual way.
    assert_eq!(site.order("warm").await.status, 202);
    site.gateway().drained(Duration::from_secs(10)).await;
    let server = site.server.as_ref().map(Postgres::pid);
    let backends = || server.map(children).unwrap_or_default();
    let pids = || {
        let gateway = site.gateway().process.pid();
        let all = [gateway].into_iter().chain(server);
        all.chain(backends()).collect()
    };
    let trace = Trace::attach(pids, CALLS).await;
    assert_eq!(site.order("traced-order").await.status, 202);
    // The client has its answer before the tracer has seen the writing of it return.
    wait_for(
        "the trace of the answer",
        Duration::from_secs(5),
        async || match between(&trace.calls(), "traced-order") {
            Some(_) => Ok(()),
            None => Err("not yet".to_owned()),
        },
    )
    .await;
    let calls = trace.detach().await;
    let between = between(&calls, "traced-order").expect("it was there a moment ago");
    let backends = backends();
    assert!(
        between.iter().any(|c| stores(c, &backends, "traced-order")),
        "the trace does not show how the message is stored"
    );
    between.iter().any(syncs_the_log)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_synced_before_the_answer_on_sqlite() {
    let site = Site::start(Store::Sqlite).await;
    assert!(
        synced_before_the_answer(&site).await,
        "202 without a sync of the log"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_synced_before_the_answer_on_postgres() {
    let site = Site::start(Store::Postgres).await;
    assert!(
        synced_before_the_answer(&site).await,
        "202 without a sync of the log"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_commits_late_by_default_is_told_not_to() {
    let server = late().await;
    let app = |partner| pass_through(partner, "", "");
    let site = Site::on(Some(server), 1, &app, &[]).await;
    assert!(
        synced_before_the_answer(&site).await,
        "202 without a sync of the log"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_would_show_an_answer_without_a_sync() {
    // SQLite runs with synchronous=OFF; on PostgreSQL the gateway leaves the server's setting in force,
    // so that nothing but synchronous_commit=off tells the two servers apart.
    let env = [("QUAYSIDE_FAIL_POINTS", "no-sync")];
    let usual = Postgres::start().await;
    for (server, synced) in [
        (None, false),
        (Some(late().await), false),
        (Some(usual), true),
    ] {
        let app = |partner| pass_through(partner, "", "");
        let site = Site::on(server, 1, &app, &env).await;
        let seen = synced_before_the_answer(&site).await;
        assert_eq!(seen, synced, "{:?}", site.server);
    }
}

/// A server whose commits do not wait for the disk, unless a session says that its own do.
async fn late() -> Postgres {
    // The writer behind the commits must not sync by chance between a request and its answer.
    Postgres::start_with(&[("synchronous_commit", "off"), ("wal_writer_delay", "10s")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_does_not_cancel_a_commit() {
    for store in [Store::Sqlite, Store::Postgres] {
        let site = Site::start(store).await;
        assert_eq!(site.order("warm").await.status, 202);
        for round in 0..5 {
            // The commit cannot end before the client is gone.
            let hold = Hold::take(&site);
            let id = format!("hung-up-{round}");
            hang_up(&site, &id).await;
            hold.release(&site);
            site.partner
                .wait_for_ids(&[&id], Duration::from_secs(20))
                .await;
        }
    }
}

/// Keeps every commit of a store waiting.
enum Hold {
    Sqlite(rusqlite::Connection),
    Postgres,
}

impl Hold {
    fn take(site: &Site) -> Self {
        if let Some(server) = &site.server {
            server.pause();
            return Self::Postgres;
        }
        let file = site.nodes[0].data_dir().join("quayside.db");
        let conn = rusqlite::Connection::open(file).expect("opening the store");
        conn.busy_timeout(Duration::from_secs(5))
            .expect("a busy timeout");
        conn.execute_batch("BEGIN IMMEDIATE")
            .expect("taking the write lock");
        Self::Sqlite(conn)
    }

    fn release(self, site: &Site) {
        match self {
            Self::Sqlite(conn) => conn
                .execute_batch("ROLLBACK")
                .expect("giving the lock back"),
            Self::Postgres => site.server.as_ref().expect("a server").resume(),
        }
    }
}

/// Sends a whole request, waits until the gateway has read it, and goes without an answer.
async fn hang_up(site: &Site, id: &str) {
    let addr = site.gateway().http;
    let body = order_xml(id, "k", 300);
    let head = format!(
        "POST /in/orders HTTP/1.1\r\nhost: {addr}\r\ncontent-type: application/xml\r\n\
         idempotency-key: \"{id}\"\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(addr).await.expect("connecting");
    stream
        .write_all(&[head.as_bytes(), &body].concat())
        .await
        .expect("writing the request");
    let own = stream.local_addr().expect("an address");
    wait_for(
        "the gateway to read the request",
        Duration::from_secs(5),
        async || match unread(addr, own) {
            Some(0) => Ok(()),
            left => Err(format!("{left:?} bytes wait")),
        },
    )
    .await;
    stream.set_zero_linger().expect("an end by reset");
}

/// How many bytes wait to be read on the connection from `client` at the side of `server`.
fn unread(server: SocketAddr, client: SocketAddr) -> Option<u64> {
    let hex = |addr: SocketAddr| format!("0100007F:{:04X}", addr.port());
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the table of connections");
    let row = table
        .lines()
        .map(|l| l.split_whitespace().collect::<Vec<_>>());
    let mut row = row.filter(|r| r.len() > 4 && r[1] == hex(server) && r[2] == hex(client));
    let (_, unread) = row.next()?[4].split_once(':')?;
    u64::from_str_radix(unread, 16).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_survives_the_next_instant() {
    for store in [Store::Sqlite, Store::Postgres] {
        let mut site = Site::start(store).await;
        // Nothing can be delivered, so what arrives later was kept by the store alone.
        site.partner.process.pause().await;
        let mut accepted = Vec::new();
        for round in 0..5 {
            let id = format!("instant-{round}");
            let reply = site.order(&id).await;
            site.gateways[0].kill9();
            assert_eq!(reply.status, 202, "{store:?} {}", reply.text());
            accepted.push(id);
            site.restart(0).await;
        }
        site.partner.process.resume();
        let ids: Vec<_> = accepted.iter().map(String::as_str).collect();
        site.partner
            .wait_for_ids(&ids, Duration::from_secs(30))
            .await;
    }
}

#[test]
fn the_judge_of_traces_tells_order_and_file() {
    let call = |name: &str, text: &str| Syscall {
        thread: 1,
        name: name.to_owned(),
        text: format!("{name}({text}"),
    };
    let request = call("recvfrom", "9<socket>, \"bid:x\", 100) = 50");
    let sync = call("fdatasync", "5</data/quayside.db-wal>) = 0");
    let failed = call("fdatasync", "5</data/quayside.db-wal>) = -1 EIO");
    let other = call("fsync", "5</data/other>) = 0");
    let answer = call("writev", "9<socket>, \"HTTP/1.1 202 Accepted\") = 90");
    for (calls, expected) in [
        (vec![&request, &sync, &answer], true),
        (vec![&sync, &request, &answer], false),
        (vec![&request, &answer, &sync], false),
        (vec![&request, &failed, &answer], false),
        (vec![&request, &other, &answer], false),
    ] {
        let calls: Vec<_> = calls.into_iter().cloned().collect();
        let between = between(&calls, "bid:x").expect("request and answer");
        let synced = between.iter().any(syncs_the_log);
        assert_eq!(synced, expected, "{calls:?}");
    }
}
