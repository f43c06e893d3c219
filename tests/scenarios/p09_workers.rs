//! P9: work of outside programs. A program is asked under one key for as long as nobody has done the work, has it under a
//! lease that it renews, and its first answer counts once, whatever dies in between.
//!
//! An order is priced by a program of the test, over real HTTP, and what it says is booked at the partner; without a price a
//! person has to do it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use quayside_harness::{Effects, Reply, effects, order_xml, wait_for};
use quayside_tests::{Site, Store, post_with};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// How long something may take to come, kills included.
const PATIENCE: Duration = Duration::from_secs(60);

fn pricing(lease: &str, attempts: u32) -> String {
    format!(
        "about: An order is priced by a program, and booked.\n\
         messages: {{ order: order, price: price }}\n\
         steps:\n\
         \x20 - receive: order\n\
         \x20   activate: true\n\
         \x20 - scope: pricing\n\
         \x20   steps:\n\
         \x20     - {{ worker: pricing, send: order, reply: price, lease: {lease}, attempts: {attempts}, name: price }}\n\
         \x20     - {{ send: price, to: erp, name: book }}\n\
         \x20   on_error:\n\
         \x20     - catch: worker\n\
         \x20       steps:\n\
         \x20         - {{ send: order, to: manual, name: ask }}\n\
         \x20         - terminate: error.message\n"
    )
}

fn app(partner: SocketAddr, program: SocketAddr) -> String {
    let port = |name: &str| {
        format!(
            "[send.{name}]\n\
             retry = {{ attempts = 1000, first = \"50ms\", factor = 1.5, max = \"500ms\" }}\n\
             [send.{name}.primary.http]\nurl = \"http://{partner}/{name}\"\n"
        )
    };
    format!(
        r#"[app]
name = "t"
[message.order]
type = "urn:orders#Order"
[message.order.namespaces]
o = "urn:orders"
[message.order.promote]
OrderId = {{ xpath = "/o:Order/o:Id" }}
[message.price]
type = "urn:price#Price"
[receive.orders]
message = "order"
dedupe = {{ key = "http.header.idempotency-key" }}
[receive.orders.location.web.http]
path = "/in/orders"
[worker.pricing]
[worker.pricing.http]
url = "http://{program}/price"
headers = {{ X-Asked-By = "t" }}
timeout = "2s"
{}{}"#,
        port("erp"),
        port("manual"),
    )
}

/// What the program was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    /// The business id of the order.
    id: String,
    key: String,
    attempt: u32,
    lease: String,
    /// Where it says how it goes.
    work: String,
}

/// What the program says at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    /// The price.
    Price,
    /// That it answers later.
    Later,
    /// Nothing: it dies with the request in hand.
    Nothing,
    /// That it does not want it.
    No,
}

/// The program: it notes what it is asked, and says of each attempt what the test wants.
struct Program {
    addr: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// Ends with it.
    _serving: JoinSet<()>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Program {
    async fn start(says: fn(&Asked) -> Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("its address");
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let noted = Arc::clone(&asked);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                open.spawn(serve(stream, Arc::clone(&noted), says));
            }
        });
        Self {
            addr,
            asked,
            _serving: serving,
        }
    }

    fn asked(&self) -> Vec<Asked> {
        lock(&self.asked).clone()
    }

    /// The attempts, once there are so many.
    async fn asked_times(&self, wanted: usize) -> Vec<Asked> {
        wait_for("the program to be asked", PATIENCE, async || {
            let asked = self.asked();
            match asked.len() >= wanted {
                true => Ok(asked),
                false => Err(format!("{asked:?}")),
            }
        })
        .await
    }
}

/// Takes one request of a connection and answers it.
async fn serve(mut stream: TcpStream, noted: Arc<Mutex<Vec<Asked>>>, says: fn(&Asked) -> Says) {
    let mut bytes = Vec::new();
    let (head, body) = loop {
        let mut piece = [0; 4096];
        let Ok(read @ 1..) = stream.read(&mut piece).await else {
            return;
        };
        bytes.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length: usize = header(head, "content-length").parse().unwrap_or(0);
        if body.len() >= length {
            break (head.to_owned(), body.to_owned());
        }
    };
    let id = body.split_once("bid:").map_or("", |(_, rest)| rest);
    let asked = Asked {
        id: id.chars().take_while(char::is_ascii_alphanumeric).collect(),
        key: header(&head, "idempotency-key"),
        attempt: header(&head, "quayside-attempt").parse().unwrap_or(0),
        lease: header(&head, "quayside-lease"),
        work: header(&head, "quayside-work"),
    };
    let said = says(&asked);
    let price = price(&asked.id, "12");
    lock(&noted).push(asked);
    let reply = match said {
        Says::Price => format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{price}",
            price.len()
        ),
        Says::Later => {
            "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned()
        }
        Says::No => {
            "HTTP/1.1 422 No\r\ncontent-length: 8\r\nconnection: close\r\n\r\nno price".to_owned()
        }
        Says::Nothing => return std::future::pending().await,
    };
    // The gateway may be dead by now.
    drop(stream.write_all(reply.as_bytes()).await);
}

fn header(head: &str, name: &str) -> String {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut values = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
    values
        .next()
        .map_or("", |(_, value)| value.trim())
        .to_owned()
}

fn price(id: &str, amount: &str) -> String {
    format!("<Price xmlns='urn:price'><Id>bid:{id}</Id><Amount>{amount}</Amount></Price>")
}

/// A machine whose orders are priced by `program`.
async fn site(program: &Program, lease: &str, attempts: u32) -> Site {
    let files = |folder: &Path| {
        let yaml = pricing(lease, attempts);
        fs::write(folder.join("pricing.orchestration.yaml"), yaml).expect("a definition");
    };
    let addr = program.addr;
    let app = move |partner| app(partner, addr);
    Site::prepared(Store::Sqlite, 1, &app, &files, &|node| node).await
}

/// Hands an order in until it is accepted.
async fn order(server: SocketAddr, id: &str) {
    let (body, key) = (order_xml(id, "k", 300), format!("\"{id}\""));
    let headers = [("idempotency-key", key.as_str())];
    wait_for(
        "the order to be accepted",
        PATIENCE,
        async || match post_with(server, "/in/orders", &headers, body.clone()).await {
            Ok(reply) if reply.status == 202 => Ok(()),
            Ok(reply) => Err(format!("{}: {}", reply.status, reply.text())),
            Err(broken) => Err(broken.to_string()),
        },
    )
    .await;
}

/// Says something of the work until the gateway has heard it.
async fn say(server: SocketAddr, asked: &Asked, word: &str, body: &str) -> Reply {
    let (path, body) = (format!("{}/{word}", asked.work), body.to_owned());
    let headers = [("content-type", "application/xml")];
    wait_for(
        "the gateway to hear it",
        PATIENCE,
        async || match post_with(server, &path, &headers, Bytes::from(body.clone())).await {
            Ok(reply) if reply.status != 503 => Ok(reply),
            Ok(reply) => Err(format!("{}: {}", reply.status, reply.text())),
            Err(broken) => Err(broken.to_string()),
        },
    )
    .await
}

/// What the partner got at `path`, by business id, once there are `wanted` of them.
async fn at(site: &Site, path: &str, wanted: usize) -> BTreeMap<String, Effects> {
    wait_for(path, PATIENCE, async || {
        let log = site.partner.log().await;
        let there: Vec<_> = log.into_iter().filter(|seen| seen.path == path).collect();
        let there = effects(&there);
        match there.len() == wanted {
            true => Ok(there),
            false => Err(format!("{wanted} are wanted: {there:?}")),
        }
    })
    .await
}

/// One order comes to its end at `path`, once, and nothing of it is left.
async fn ended_at(site: &Site, path: &str, reason: Option<&str>) {
    let there = at(site, path, 1).await;
    assert!(there.values().all(|e| e.effects == 1), "{there:?}");
    wait_for("the instance to end", PATIENCE, async || {
        let told = site.gateway().api("orchestrations/instances").await?;
        let one = &told["instances"][0];
        match one["state"].as_str() {
            Some("completed") if reason.is_none() => Ok(()),
            Some("terminated") if reason.is_some() => {
                let told = one["reason"].as_str().unwrap_or_default();
                let wanted = reason.unwrap_or_default();
                assert!(told.contains(wanted), "`{wanted}` in {told}");
                Ok(())
            }
            _ => Err(told.to_string()),
        }
    })
    .await;
    site.gateway().drained(PATIENCE).await;
    assert_eq!(site.number("SELECT count(*) FROM delivery").await, 0);
    let live = "SELECT count(*) FROM exchange WHERE run IS NOT NULL";
    assert_eq!(site.number(live).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_answers_at_once() {
    let program = Program::start(|_| Says::Price).await;
    let site = site(&program, "30s", 3).await;
    order(site.gateway().http, "1").await;
    ended_at(&site, "/erp", None).await;
    let asked = program.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let one = &asked[0];
    assert_eq!(
        (one.id.as_str(), one.attempt, one.lease.as_str()),
        ("1", 1, "30")
    );
    assert!(one.key.len() > 32, "{one:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_says_no_is_an_error_at_once() {
    let program = Program::start(|_| Says::No).await;
    let site = site(&program, "1h", 3).await;
    order(site.gateway().http, "1").await;
    ended_at(&site, "/manual", Some("422")).await;
    assert_eq!(program.asked().len(), 1);
}

/// A program that works for three times its lease keeps it by its heartbeats. Its answer may be repeated, no other one counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_keeps_its_work_by_heartbeats() {
    let program = Program::start(|_| Says::Later).await;
    let site = site(&program, "2s", 2).await;
    let server = site.gateway().http;
    order(server, "1").await;
    let asked = program.asked_times(1).await.remove(0);
    let heartbeat = async || -> String {
        let reply = say(server, &asked, "heartbeat", "").await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let told: Value = serde_json::from_str(&reply.text()).expect("JSON");
        told["until"].as_str().expect("a time").to_owned()
    };
    let end = async || site.number("SELECT lease_until FROM exchange").await;
    let (first, mut last) = (end().await, heartbeat().await);
    wait_for("three leases to pass", PATIENCE, async || {
        let until = heartbeat().await;
        assert!(until >= last, "{until} after {last}");
        last = until;
        match end().await - first {
            6_000_000.. => Ok(()),
            passed => Err(format!("{passed} us have passed")),
        }
    })
    .await;
    let result = price("1", "99");
    for _ in 0..2 {
        let reply = say(server, &asked, "complete", &result).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    ended_at(&site, "/erp", None).await;
    for (word, body, status) in [
        ("complete", result.as_str(), 200),
        ("complete", &price("1", "1"), 410),
        ("fail", "too late", 410),
        ("heartbeat", "", 410),
    ] {
        let reply = say(server, &asked, word, body).await;
        assert_eq!(reply.status, status, "{word}: {}", reply.text());
        assert_eq!(reply.text().contains("QS0424"), status == 410);
    }
    assert_eq!(program.asked(), [asked], "it was not asked again");
}

/// Work that is not heard of is given again, under the same key; what its first owner says later counts all the same, if it
/// is the first to say it.
#[tokio::test(flavor = "multi_thread")]
async fn lost_work_is_given_again() {
    let says = |asked: &Asked| match asked.attempt {
        1 => Says::Nothing,
        _ => Says::Later,
    };
    let program = Program::start(says).await;
    let site = site(&program, "1s", 50).await;
    let server = site.gateway().http;
    order(server, "1").await;
    let asked = program.asked_times(2).await;
    let (first, second) = (&asked[0], &asked[1]);
    assert_eq!(first.key, second.key);
    assert_eq!((first.attempt, second.attempt), (1, 2));
    assert_ne!(first.work, second.work);
    assert_eq!(say(server, first, "heartbeat", "").await.status, 410);
    let reply = say(server, first, "complete", &price("1", "7")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let reply = say(server, second, "complete", &price("1", "8")).await;
    assert_eq!(reply.status, 410, "{}", reply.text());
    ended_at(&site, "/erp", None).await;
    let keys: BTreeSet<String> = program.asked().into_iter().map(|one| one.key).collect();
    assert_eq!(keys.len(), 1);
}

/// A program that gives up, and one that is never heard of, are the error `worker`.
#[tokio::test(flavor = "multi_thread")]
async fn work_that_nobody_does_is_an_error() {
    let program = Program::start(|_| Says::Later).await;
    let site = site(&program, "1s", 2).await;
    order(site.gateway().http, "1").await;
    ended_at(&site, "/manual", Some("lost 2 times")).await;
    let attempts: Vec<u32> = program.asked().iter().map(|one| one.attempt).collect();
    assert_eq!(attempts, [1, 2]);
    for asked in program.asked() {
        let reply = say(site.gateway().http, &asked, "complete", "<Price/>").await;
        assert_eq!(reply.status, 410, "{}", reply.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_may_give_up() {
    let program = Program::start(|_| Says::Later).await;
    let site = site(&program, "1h", 2).await;
    let server = site.gateway().http;
    order(server, "1").await;
    let asked = program.asked_times(1).await.remove(0);
    // Nobody else may say so.
    let (path, _) = asked.work.rsplit_once('.').expect("an attempt");
    let mut forged = path.to_owned();
    let last = if forged.pop() == Some('0') { '1' } else { '0' };
    forged.push(last);
    let forged = Asked {
        work: format!("{forged}.1"),
        ..asked.clone()
    };
    assert_eq!(say(server, &forged, "fail", "mine").await.status, 410);
    let reply = say(server, &asked, "fail", "there is no list price").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    ended_at(&site, "/manual", Some("there is no list price")).await;
}

/// The process is killed again and again while programs work: every order is booked once, with one key for all that a program
/// was asked about it.
#[tokio::test(flavor = "multi_thread")]
async fn every_order_is_priced_once_whatever_is_killed() {
    const ORDERS: usize = 24;
    const KILLS: usize = 4;
    let program = Program::start(|_| Says::Later).await;
    let mut site = site(&program, "3s", 50).await;
    let server = site.gateway().http;
    let clients = async {
        let ids: Vec<String> = (0..ORDERS).map(|no| no.to_string()).collect();
        join_all(ids.iter().map(|id| order(server, id))).await;
    };
    let done = tokio::sync::watch::Sender::new(0_usize);
    let works = async {
        let mut seen = 0;
        while *done.borrow() < ORDERS {
            let asked = program.asked();
            let more = asked[seen..].iter().map(async |asked| {
                let reply = say(server, asked, "complete", &price(&asked.id, "5")).await;
                // Every attempt of an order says the same.
                assert_eq!(reply.status, 200, "{}", reply.text());
            });
            join_all(more).await;
            seen = asked.len();
            let ids: BTreeSet<&str> = asked.iter().map(|one| one.id.as_str()).collect();
            done.send_replace(ids.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let kills = async {
        for kill in 1..=KILLS {
            // Each kill meets some more of the work.
            let mut watching = done.subscribe();
            let enough = ORDERS * kill / (KILLS + 1);
            let reached = watching.wait_for(|done| *done >= enough);
            drop(reached.await.expect("it goes on"));
            site.gateways[0].kill9();
            site.restart(0).await;
        }
    };
    tokio::join!(clients, works, kills);
    let booked = at(&site, "/erp", ORDERS).await;
    let odd: Vec<_> = booked
        .iter()
        .filter(|(_, e)| e.effects != 1 || e.keys.len() != 1)
        .collect();
    assert!(odd.is_empty(), "{odd:?}");
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for asked in program.asked() {
        keys.entry(asked.id).or_default().insert(asked.key);
    }
    assert_eq!(keys.len(), ORDERS);
    assert!(keys.values().all(|keys| keys.len() == 1), "{keys:?}");
    site.gateway().drained(PATIENCE).await;
    let live = "SELECT count(*) FROM run WHERE state < 4";
    assert_eq!(site.number(live).await, 0);
}
