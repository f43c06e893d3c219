//! P9: orchestrations go on on any node from the last point at which they were kept. Inside of the store each message
//! is consumed once and each publication happens once; a partner that is asked sees one effect under one key.
//!
//! An approval asks the stock, waits for the answer of a person, and books the order or releases what was reserved.
//! Clients outside put a business id into every body, by which the partner judges.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use quayside_harness::{
    Effects, Node, Session, Stopwatch, client, effects, items, order_xml, wait_for,
};
use quayside_tests::{DATABASE, Site, Store, note, post_with};
use serde_json::Value;

/// How long a run may take to come to where it is wanted, kills included.
const PATIENCE: Duration = Duration::from_secs(120);

const APPROVAL: &str = r#"
about: An order is reserved, waits for a person, and is booked or released.
messages:
  order: order
  answer: answer
  receipt: receipt
correlations:
  by_order: OrderId
steps:
  - receive: order
    activate: true
    initialise: by_order
  - scope: approval
    timeout: 1h
    steps:
      - scope: reservation
        steps:
          - call: order
            to: stock
            reply: receipt
            name: reserve
        compensate:
          - send: order
            to: release
      - receive: answer
        follow: by_order
        name: wait
      - decide:
          - when: answer.Decision != 'yes'
            steps:
              - raise: refused
    on_error:
      - catch: refused
        steps:
          - compensate: all
          - terminate: "'refused'"
  - send: order
    to: erp
    name: book
"#;

fn app(partner: SocketAddr) -> String {
    let port = |name: &str, more: &str| {
        format!(
            "[send.{name}]\n{more}\
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
[message.answer]
type = "urn:orders#Answer"
[message.answer.namespaces]
o = "urn:orders"
[message.answer.promote]
OrderId = {{ xpath = "/o:Answer/o:Id" }}
Decision = {{ xpath = "/o:Answer/o:Decision" }}
[message.receipt]
type = "urn:stock#Receipt"
[receive.orders]
message = "order"
dedupe = {{ key = "http.header.idempotency-key" }}
[receive.orders.location.web.http]
path = "/in/orders"
[receive.answers]
message = "answer"
dedupe = {{ key = "http.header.idempotency-key" }}
[receive.answers.location.web.http]
path = "/in/answers"
{}{}{}"#,
        port("stock", "answers = true\n"),
        port("erp", ""),
        port("release", ""),
    )
}

/// Machines with the application, whose partner answers with a receipt.
async fn site(store: Store, machines: usize, fail_points: &str) -> Site {
    // The orchestration has to be there before the first process starts.
    let files = |folder: &Path| {
        fs::write(folder.join("approval.orchestration.yaml"), APPROVAL).expect("a definition");
    };
    let made = |node: Node| node.with_env("QUAYSIDE_FAIL_POINTS", fail_points);
    let site = Site::prepared(store, machines, &app, &files, &made).await;
    let headers = [("content-type", "application/xml")];
    let receipt = Bytes::from_static(b"<Receipt xmlns='urn:stock'/>");
    let addr = site.partner.addr();
    let request = client::request("PUT", addr, "/_control/reply?status=200", &headers, receipt);
    let reply = client::once(addr, request, PATIENCE).await;
    assert!(reply.expect("the partner").status.is_success());
    site
}

fn answer_xml(id: &str, decision: &str) -> Bytes {
    Bytes::from(format!(
        "<Answer xmlns='urn:orders'><Id>bid:{id}</Id><Decision>{decision}</Decision></Answer>"
    ))
}

/// Hands a message in until a node has accepted it.
async fn hand_in(servers: &[SocketAddr], path: &str, key: &str, body: Bytes) {
    let quoted = format!("\"{key}\"");
    let headers = [("idempotency-key", quoted.as_str())];
    let mut turn = 0;
    wait_for(
        &format!("{path} {key} to be accepted"),
        PATIENCE,
        async || {
            turn += 1;
            let server = servers[turn % servers.len()];
            match post_with(server, path, &headers, body.clone()).await {
                Ok(reply) if reply.status == 202 => Ok(()),
                Ok(reply) => Err(format!("{}: {}", reply.status, reply.text())),
                Err(broken) => Err(broken.to_string()),
            }
        },
    )
    .await;
}

/// The instances that a node tells of.
async fn instances(site: &Site, query: &str) -> Result<Vec<Value>, String> {
    let path = format!("orchestrations/instances{query}");
    let told = site.gateway().api(&path).await?;
    Ok(items(&told).to_vec())
}

/// What the partner got at `path`, by business id.
async fn at(site: &Site, path: &str) -> BTreeMap<String, Effects> {
    let log = site.partner.log().await;
    let there: Vec<_> = log.into_iter().filter(|seen| seen.path == path).collect();
    effects(&there)
}

async fn an_approval(store: Store) {
    let site = site(store, 1, "").await;
    let servers = site.servers();
    hand_in(&servers, "/in/orders", "1", order_xml("1", "k", 300)).await;
    hand_in(&servers, "/in/orders", "2", order_xml("2", "k", 300)).await;
    wait_for("both to wait for a person", PATIENCE, async || {
        let waiting = instances(&site, "?state=waiting").await?;
        let mut steps = Vec::new();
        for instance in &waiting {
            let id = instance["id"].as_str().unwrap_or_default();
            let path = format!("orchestrations/instances/{id}");
            let shown = site.gateway().api(&path).await?;
            steps.push(shown["positions"][0]["step"].clone());
        }
        match steps == ["wait", "wait"] {
            true => Ok(()),
            false => Err(format!("{steps:?} {waiting:?}")),
        }
    })
    .await;
    hand_in(&servers, "/in/answers", "a1", answer_xml("1", "yes")).await;
    hand_in(&servers, "/in/answers", "a2", answer_xml("2", "no")).await;
    wait_for("both to end", PATIENCE, async || {
        let all = instances(&site, "").await?;
        let states: Vec<&str> = all.iter().filter_map(|i| i["state"].as_str()).collect();
        match states.contains(&"completed") && states.contains(&"terminated") {
            true => Ok(()),
            false => Err(format!("{all:?}")),
        }
    })
    .await;
    site.gateway().drained(PATIENCE).await;
    let one = |effects: &BTreeMap<String, Effects>| -> Vec<String> {
        assert!(effects.values().all(|e| e.effects == 1), "{effects:?}");
        effects.keys().cloned().collect()
    };
    assert_eq!(one(&at(&site, "/erp").await), ["1"]);
    assert_eq!(one(&at(&site, "/release").await), ["2"]);
    assert_eq!(one(&at(&site, "/stock").await), ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_booked_or_released_on_sqlite() {
    an_approval(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_booked_or_released_on_postgres() {
    an_approval(Store::Postgres).await;
}

/// How many clients hand in messages side by side.
const CLIENTS: usize = 8;
/// How often a process is killed.
const KILL_EVERY: Duration = Duration::from_secs(2);
/// The lease, and half a second: what is not worked on by then is told of.
const BOUND: Duration = Duration::from_millis(3500);
/// How often it is looked whether others work on what it had.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often those that have ended are counted.
const COUNT_EVERY: Duration = Duration::from_millis(200);

/// How many approvals: more by wish than the `usual` number, which every run of the tests has time for.
fn approvals(usual: usize) -> usize {
    match std::env::var("QUAYSIDE_APPROVALS") {
        Ok(text) => text.parse().expect("QUAYSIDE_APPROVALS is a number"),
        Err(_) => usual,
    }
}

/// How many approvals are handed in before others have ended: what waits longer than a process lives tells nothing of it.
const AHEAD: usize = 2000;

/// Hands in all orders and their answers, no further `AHEAD` of those that have `ended`, and says when that is done.
async fn hand_all_in(
    servers: &[SocketAddr],
    count: usize,
    (ended, done): (&AtomicUsize, &AtomicBool),
) {
    let client = async |client: usize| {
        for id in (client..count).step_by(CLIENTS) {
            wait_for("approvals to end", PATIENCE, async || {
                match ended.load(Ordering::SeqCst) {
                    ended if id < ended + AHEAD => Ok(()),
                    ended => Err(format!("{ended} have ended, {id} were handed in")),
                }
            })
            .await;
            let id = id.to_string();
            hand_in(servers, "/in/orders", &id, order_xml(&id, "k", 300)).await;
            let decision = if id.ends_with('7') { "no" } else { "yes" };
            let answer = answer_xml(&id, decision);
            hand_in(servers, "/in/answers", &format!("a{id}"), answer).await;
        }
    };
    join_all((0..CLIENTS).map(&client)).await;
    done.store(true, Ordering::SeqCst);
}

/// Every instance ends once, every partner call has one effect under one key, and nothing is left over.
async fn judge(site: &Site, count: usize) {
    wait_for("every instance to end", PATIENCE, async || {
        let live = "SELECT count(*) FROM run WHERE state < 4";
        match site.number(live).await {
            0 => Ok(()),
            left => Err(format!(
                "{left} are left: {:?}",
                instances(site, "?limit=5").await?
            )),
        }
    })
    .await;
    site.gateway().drained(PATIENCE).await;
    let refused = (0..count)
        .filter(|id| id.to_string().ends_with('7'))
        .count();
    let number = async |query: &str| usize::try_from(site.number(query).await).expect("a count");
    let completed = number("SELECT count(*) FROM run WHERE state = 4").await;
    let terminated = number("SELECT count(*) FROM run WHERE state = 5").await;
    assert_eq!((completed, terminated), (count - refused, refused));
    assert_eq!(
        number("SELECT count(*) FROM delivery").await,
        0,
        "left over"
    );
    assert_eq!(
        number("SELECT count(*) FROM subscription").await,
        0,
        "keys left"
    );
    assert_eq!(number("SELECT sum(discarded)::bigint FROM run").await, 0);
    let consumed = "SELECT count(*) FROM (SELECT message, no FROM history WHERE event = 'consumed' \
                    GROUP BY message, no HAVING count(*) > 1) h";
    assert_eq!(number(consumed).await, 0, "consumed twice");
    for (path, wanted) in [
        ("/stock", count),
        ("/erp", count - refused),
        ("/release", refused),
    ] {
        let there = at(site, path).await;
        assert_eq!(there.len(), wanted, "{path}");
        let odd: Vec<_> = there
            .iter()
            .filter(|(_, e)| e.effects != 1 || e.keys.len() != 1)
            .collect();
        assert!(odd.is_empty(), "{path}: {odd:?}");
    }
}

/// Between any two points at which an instance is kept it is given back, and who had it last does not take it again.
#[tokio::test(flavor = "multi_thread")]
async fn each_step_is_made_by_another_process() {
    let count = approvals(100);
    let site = site(Store::Postgres, 2, "steps-apart,steps-elsewhere").await;
    let server = site.server.as_ref().expect("a server");
    let counting = server.connect(DATABASE).await;
    let told = (&AtomicUsize::new(0), &AtomicBool::new(false));
    let servers = site.servers();
    let clients = hand_all_in(&servers, count, told);
    tokio::join!(clients, count_ended(&counting, told));
    judge(&site, count).await;
    note(&format!(
        "{count} approvals ended once each, every step at another process"
    ));
}

/// The instances that a killed process had in hand, by id and token of its claim.
struct Lost {
    at: Stopwatch,
    /// That it is late was told.
    told: bool,
    ids: Vec<String>,
    tokens: Vec<i32>,
}

impl Lost {
    /// What `node`, which was killed just now, has in hand.
    async fn of(session: &Session, node: &str) -> Self {
        let at = Stopwatch::start();
        let held = "SELECT r.id::text, r.token FROM run r JOIN instance i ON i.id = r.instance \
                    WHERE r.state = 1 AND i.node = $1";
        let rows = session.query(held, &[&node]).await.expect("what it holds");
        Self {
            at,
            told: false,
            ids: rows.iter().map(|row| row.get(0)).collect(),
            tokens: rows.iter().map(|row| row.get(1)).collect(),
        }
    }

    /// What of it nobody has in hand yet, and how that stands, in words.
    async fn left(&self, session: &Session) -> String {
        let left = "SELECT r.id::text, r.state, r.deaths, i.state, i.node \
                    FROM unnest($1::text[], $2::int[]) AS l(id, token) \
                    JOIN run r ON r.id = l.id::uuid AND r.token = l.token \
                    LEFT JOIN instance i ON i.id = r.instance WHERE r.state < 2";
        let rows = session.query(left, &[&self.ids, &self.tokens]).await;
        let rows = rows.expect("what is left").into_iter().map(|row| {
            let (id, node): (String, Option<String>) = (row.get(0), row.get(4));
            let (state, deaths, process): (i16, i16, Option<i16>) =
                (row.get(1), row.get(2), row.get(3));
            format!("{id}: state {state}, {deaths} deaths, held by {node:?} in state {process:?}")
        });
        rows.collect::<Vec<_>>().join("\n")
    }

    /// Whether another process has had each of them in hand since.
    async fn is_over(&self, session: &Session) -> bool {
        let left = "SELECT count(*) FROM unnest($1::text[], $2::int[]) AS l(id, token) \
                    JOIN run r ON r.id = l.id::uuid AND r.token = l.token WHERE r.state < 2";
        let row = session.query_one(left, &[&self.ids, &self.tokens]).await;
        row.expect("what is left").get::<_, i64>(0) == 0
    }
}

/// Notes how long it takes until what the killed had in hand is worked on elsewhere, until all is `done`.
async fn watch(session: &Session, lost: &Mutex<Vec<Lost>>, done: &AtomicBool) -> Vec<Duration> {
    let mut times = Vec::new();
    loop {
        let all = std::mem::take(&mut *lost.lock().unwrap_or_else(PoisonError::into_inner));
        let mut left = Vec::new();
        for mut one in all {
            match one.is_over(session).await {
                true => times.push(one.at.elapsed()),
                false => {
                    if !one.told && one.at.elapsed() > BOUND {
                        one.told = true;
                        let stands = one.left(session).await;
                        note(&format!("late, of {}:\n{stands}", one.ids.len()));
                    }
                    left.push(one);
                }
            }
        }
        let over = left.is_empty() && done.load(Ordering::SeqCst);
        lost.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(left);
        if over {
            return times;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Notes how many approvals have `ended`, until all are handed in.
async fn count_ended(session: &Session, (ended, done): (&AtomicUsize, &AtomicBool)) {
    while !done.load(Ordering::SeqCst) {
        let over = "SELECT count(*) FROM run WHERE state >= 4";
        let row = session.query_one(over, &[]).await.expect("a count");
        let count = usize::try_from(row.get::<_, i64>(0)).expect("a count");
        ended.store(count, Ordering::SeqCst);
        tokio::time::sleep(COUNT_EVERY).await;
    }
}

/// Whether it is always the same process that is killed, by wish. In turn, the other one is killed before it can take over, and
/// whoever was started since has to watch for a whole lease first.
fn kills_one() -> bool {
    std::env::var("QUAYSIDE_KILLS").is_ok_and(|which| which == "one")
}

/// Two processes work on approvals while one of them is killed every two seconds.
#[tokio::test(flavor = "multi_thread")]
async fn every_approval_ends_once_whatever_is_killed() {
    let count = approvals(400);
    let mut site = site(Store::Postgres, 2, "").await;
    let servers = site.servers();
    let server = site.server.as_ref().expect("a server");
    let (watching, asking, counting) = (
        server.connect(DATABASE).await,
        server.connect(DATABASE).await,
        server.connect(DATABASE).await,
    );
    let (ended, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let lost = Mutex::new(Vec::new());
    let clients = hand_all_in(&servers, count, (&ended, &done));
    let counter = count_ended(&counting, (&ended, &done));
    let mut kills = 0;
    let killer = async {
        let mut turns = tokio::time::interval(KILL_EVERY);
        turns.tick().await;
        while !done.load(Ordering::SeqCst) {
            turns.tick().await;
            let victim = if kills_one() { 0 } else { kills % 2 };
            site.gateways[victim].kill9();
            let held = Lost::of(&asking, ["node-a", "node-b"][victim]).await;
            if !held.ids.is_empty() {
                lost.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(held);
            }
            kills += 1;
            site.restart(victim).await;
        }
    };
    let (mut times, (), (), ()) =
        tokio::join!(watch(&watching, &lost, &done), clients, counter, killer);
    judge(&site, count).await;
    times.sort_unstable();
    let at = |share: usize| times.get((times.len() * share).div_ceil(100).saturating_sub(1));
    note(&format!(
        "{count} approvals ended once each over {kills} kills, {} of them with instances in hand; these went on elsewhere \
         after (p50, p99, at most) {:?}, {:?}, {:?}",
        times.len(),
        at(50),
        at(99),
        times.last(),
    ));
}

/// The fixture `claims`, whose summaries go to the partner.
fn claims(partner: SocketAddr) -> String {
    let fixture = fs::read_to_string(format!("{CLAIMS}/app.toml")).expect("the fixture");
    let (text, _) = fixture
        .split_once("[send.summaries.primary.file]")
        .expect("its send port");
    format!(
        "{text}retry = {{ attempts = 1000, first = \"50ms\", factor = 1.5, max = \"500ms\" }}\n\
         [send.summaries.primary.http]\nurl = \"http://{partner}/summaries\"\n"
    )
}

const CLAIMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/apps/claims");
/// How many parts each claim has.
const PARTS: usize = 3;

/// The messages of a claim race for one instance, over as many machines as there are: whichever comes first starts it, the
/// others find it, and all that they hold is in its summary.
async fn claims_are_gathered(store: Store, machines: usize) {
    let files = |folder: &Path| {
        fs::create_dir(folder.join("maps")).expect("a folder");
        for file in ["claims.orchestration.yaml", "maps/claim-to-summary.toml"] {
            fs::copy(format!("{CLAIMS}/{file}"), folder.join(file)).expect("a copy");
        }
    };
    let site = Site::prepared(store, machines, &claims, &files, &|node| node).await;
    let servers = site.servers();
    let part = async |claim: usize, part: usize| {
        let (name, body) = match part {
            0 => ("Claim", format!("<Parts>{PARTS}</Parts>")),
            no => ("Part", format!("<Amount>{no}0.25</Amount>")),
        };
        let body = format!(
            "<{name} xmlns='urn:claims'><Id>bid:{claim}</Id><Country>DE</Country>{body}</{name}>"
        );
        let key = format!("{claim}-{part}");
        // Each begins at another machine.
        let turned: Vec<_> = (0..servers.len())
            .map(|no| servers[(no + part) % servers.len()])
            .collect();
        hand_in(&turned, "/in/claims", &key, body.into()).await;
    };
    let all = (0..40).flat_map(|claim| (0..=PARTS).map(move |part| (claim, part)));
    join_all(all.map(|(claim, no)| part(claim, no))).await;
    wait_for("every claim to be gathered", PATIENCE, async || {
        let completed = instances(&site, "?state=completed&limit=100").await?;
        match completed.len() {
            40 => Ok(()),
            other => Err(format!(
                "{other}: {:?}",
                instances(&site, "?limit=100").await?
            )),
        }
    })
    .await;
    assert_eq!(instances(&site, "?limit=100").await.expect("all").len(), 40);
    site.gateway().drained(PATIENCE).await;
    let summaries = at(&site, "/summaries").await;
    assert_eq!(summaries.len(), 40);
    assert!(summaries.values().all(|e| e.effects == 1), "{summaries:?}");
    let path = "messages?message_type=urn:claims%23Summary&limit=100";
    let told = site.gateway().api(path).await.expect("the summaries");
    for message in items(&told) {
        let id = message["id"].as_str().expect("an id");
        let path = format!("/api/v1/messages/{id}/body");
        let admin = site.gateway().admin;
        let request = client::request("GET", admin, &path, &[], Bytes::new());
        let body = client::once(admin, request, PATIENCE)
            .await
            .expect("a body");
        let text = body.text();
        assert!(
            text.contains("<Parts>3</Parts><Amount>60.75</Amount>"),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_gathered_by_one_instance_on_sqlite() {
    claims_are_gathered(Store::Sqlite, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_gathered_by_one_instance_over_two_machines() {
    claims_are_gathered(Store::Postgres, 2).await;
}
