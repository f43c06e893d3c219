//! Two nodes that share one account put documents into a library and take them out of one, while front ends of the farm
//! and the nodes are killed: each document once, whole, and nothing is left in between.
//!
//! The farm's log says which kills met a document half way: staged and not published, or checked out and not archived.
//! `QUAYSIDE_SHAREPOINT_KILLS` says how many kills there are in each direction (20).

use std::{
    collections::{BTreeSet, HashMap},
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use quayside_harness::{
    App, Document, Effects, Gateway, Haproxy, Load, LoadPlan, Node, Partner, Postgres, SharePoint,
    Visitor, effects, order_xml, unix_micros, wait_for,
};
use quayside_tests::{DATABASE, note};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// How many documents go each way.
const DOCUMENTS: usize = 2_000;

/// How long people rest between two documents that they drop.
const REST: Duration = Duration::from_millis(8);

/// How long what is left may take once nothing is killed any more.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long the farm may take until a kill can come.
const STEP: Duration = Duration::from_secs(60);

/// How long a front end stays away.
const DOWN_MS: u64 = 300;

/// Who drops documents into the library, beside the gateway.
const PEOPLE: &str = "t-people=i:0#.f|membership|ann";

/// The farm behind its load balancer, and two nodes before one database.
struct Site {
    gateways: Vec<Gateway>,
    nodes: Vec<Node>,
    partner: Partner,
    farm: SharePoint,
    watch: Watch,
    kills: Vec<Kill>,
    _app: App,
    _balancer: Haproxy,
    _server: Postgres,
}

/// A kill.
#[derive(Debug)]
enum Kill {
    /// Of a node, at this time in microseconds since the epoch.
    Node(u64),
    /// Of a front end, by a fault. Where that is stands in the farm's log.
    FrontEnd,
}

/// The way of documents, as the farm's log tells it.
#[derive(Debug)]
struct Watch {
    /// What begins it and what ends it.
    way: Way,
    log: Vec<Value>,
    /// The documents half way, and since which entry.
    open: HashMap<String, usize>,
    /// From which entry to which each document was half way.
    spans: Vec<(usize, usize)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Staged, then published.
    In,
    /// Checked out, then archived.
    Out,
}

impl Watch {
    fn new(way: Way) -> Self {
        Self {
            way,
            log: Vec::new(),
            open: HashMap::new(),
            spans: Vec::new(),
        }
    }

    /// Reads what is new.
    async fn read(&mut self, farm: &SharePoint) {
        loop {
            let more = farm.log_from(self.log.len()).await;
            if more.is_empty() {
                return;
            }
            for entry in more {
                let at = self.log.len();
                for change in entry["changes"].as_array().into_iter().flatten() {
                    let id = change["id"].as_str().unwrap_or_default().to_owned();
                    let path = change["path"].as_str().unwrap_or_default();
                    let begins = match self.way {
                        Way::In => {
                            change["what"] == "created" && path.contains("/quayside-staging/")
                        }
                        Way::Out => change["what"] == "checked-out",
                    };
                    if begins {
                        self.open.entry(id).or_insert(at);
                    } else if change["what"] == "moved"
                        && let Some(since) = self.open.remove(&id)
                    {
                        self.spans.push((since, at));
                    }
                }
                self.log.push(entry);
            }
        }
    }

    /// How many documents have gone all the way.
    fn done(&self) -> usize {
        self.spans.len()
    }

    /// How many of `kills` met a document half way.
    fn half_way(&self, kills: &[Kill]) -> usize {
        let is_fault = |entry: &Value| {
            let fault = entry["fault"].as_str().unwrap_or_default();
            fault.starts_with("kill-")
        };
        let front_ends = (0..self.log.len()).filter(|at| is_fault(&self.log[*at]));
        let nodes = kills.iter().filter_map(|kill| match kill {
            Kill::Node(at_us) => {
                let before = |entry: &Value| entry["at_us"].as_u64().is_some_and(|it| it <= *at_us);
                self.log.partition_point(before).checked_sub(1)
            }
            Kill::FrontEnd => None,
        });
        let meets = |at: &usize| {
            self.spans
                .iter()
                .any(|(since, until)| since <= at && at < until)
        };
        front_ends.chain(nodes).filter(meets).count()
    }
}

impl Site {
    /// Everything but the nodes.
    async fn prepare(way: Way, app: &dyn Fn(&str, &Partner) -> String) -> Self {
        let arguments = [
            "--library",
            "Orders=Orders",
            "--library",
            "Archive=Archive",
            "--column",
            "Ref:Text,indexed",
            "--token",
            "t-app",
            "--token",
            PEOPLE,
        ];
        // The last front end is for people: it is behind no load balancer, and lives.
        let farm = SharePoint::start(3, &arguments).await;
        let balancer = Haproxy::start(&farm.front_ends()[..2], true).await;
        let partner = Partner::start().await;
        let site = format!("http://{}/sites/team", balancer.addr());
        let app = App::new(&app(&site, &partner));
        let server = Postgres::start().await;
        let url = server.create_database(DATABASE).await;
        let node = |name| {
            let node = Node::new(name, app.path()).with_store(&url);
            node.with_secret("farm", "t-app")
        };
        Self {
            gateways: Vec::new(),
            nodes: vec![node("node-a"), node("node-b")],
            partner,
            farm,
            watch: Watch::new(way),
            kills: Vec::new(),
            _app: app,
            _balancer: balancer,
            _server: server,
        }
    }

    /// Starts the nodes. The farm takes its time with `slow`, so that documents are half way for more than a moment.
    async fn begin(&mut self, slow: &str) {
        let slow = json!({ "kind": "slow", "call": slow, "delay_ms": 15, "share": 0.8 });
        self.farm.fault(&slow).await;
        for node in &self.nodes {
            self.gateways.push(node.start().await);
        }
    }

    /// Waits until so many documents have gone all the way.
    async fn done(&mut self, count: usize) {
        let (watch, farm) = (&mut self.watch, &self.farm);
        wait_for("documents to go all the way", STEP, async || {
            watch.read(farm).await;
            match watch.done() {
                done if done >= count => Ok(()),
                done => Err(format!("{done} of {count}; half way: {:?}", watch.open)),
            }
        })
        .await;
    }

    /// Kills one after the other, evenly over all documents: the nodes while a document is half way, and front ends in
    /// the middle of the calls of `calls`.
    async fn kill(&mut self, kills: usize, calls: &[&str]) {
        for no in 0..kills {
            self.done(no * DOCUMENTS / kills).await;
            if no % 2 == 0 {
                self.kill_node(no / 2 % 2).await;
            } else {
                let call = calls[no / 2 % calls.len()];
                let kind = if no / 2 % 4 < 2 {
                    "kill-before"
                } else {
                    "kill-after"
                };
                self.kill_front_end(no / 2 % 2, kind, call).await;
            }
        }
    }

    async fn kill_node(&mut self, no: usize) {
        let (watch, farm) = (&mut self.watch, &self.farm);
        wait_for("a document to be half way", STEP, async || {
            watch.read(farm).await;
            match watch.open.len() {
                0 => Err("none is".to_owned()),
                _ => Ok(()),
            }
        })
        .await;
        self.kills.push(Kill::Node(unix_micros()));
        self.gateways[no].kill9();
        self.gateways[no] = self.nodes[no].start().await;
    }

    async fn kill_front_end(&mut self, no: usize, kind: &str, call: &str) {
        let before = self.front_end_kills().await;
        let fault = json!({
            "kind": kind, "call": call, "front_end": no, "next": 1, "down_ms": DOWN_MS,
        });
        self.farm.fault(&fault).await;
        wait_for("the front end to be killed", STEP, async || {
            match self.front_end_kills().await {
                now if now > before => Ok(()),
                now => Err(format!("{now} kills, {kind} of {call}")),
            }
        })
        .await;
        self.kills.push(Kill::FrontEnd);
    }

    async fn front_end_kills(&self) -> u64 {
        let counts = self.farm.counts().await;
        counts["kills"].as_u64().expect("a count")
    }

    /// The files of the farm, when there are `count` in `folder` and none elsewhere.
    async fn settled(&mut self, count: usize, folder: &str) -> Vec<Document> {
        let (farm, prefix) = (&self.farm, format!("/sites/team/{folder}/"));
        let files = wait_for(
            "each document to be where it belongs",
            PATIENCE,
            async || {
                let all = farm.documents().await;
                let files: Vec<Document> = all.into_iter().filter(|it| !it.folder).collect();
                let (there, elsewhere): (Vec<_>, Vec<_>) =
                    files.iter().partition(|it| it.path.starts_with(&prefix));
                if there.len() == count && elsewhere.is_empty() {
                    return Ok(files);
                }
                let (there, first) = (there.len(), elsewhere.first());
                let others = elsewhere.len();
                Err(format!("{there} are there, {others} elsewhere: {first:?}"))
            },
        )
        .await;
        for gateway in &self.gateways {
            gateway.drained(PATIENCE).await;
        }
        self.farm.heal().await;
        self.watch.read(&self.farm).await;
        files
    }

    /// Says what was killed, and that a fifth of it met a document half way.
    fn judge_kills(&self, half: &str) {
        let kills = self.kills.len();
        let met = self.watch.half_way(&self.kills);
        let nodes = self.kills.iter();
        let nodes = nodes.filter(|kill| matches!(kill, Kill::Node(_))).count();
        note(&format!(
            "{kills} kills, {nodes} of them of nodes, {met} {half}"
        ));
        assert!(met * 5 >= kills, "{met} of {kills} {half}");
    }
}

fn kills() -> usize {
    let asked = env::var("QUAYSIDE_SHAREPOINT_KILLS").ok();
    asked.map_or(20, |text| text.parse().expect("a number of kills"))
}

/// Orders over HTTP go into the library `Orders`.
fn sends(site: &str, _: &Partner) -> String {
    format!(
        r#"[app]
name = "t"

[message.order]
type = "urn:orders#Order"
[message.order.namespaces]
o = "urn:orders"
[message.order.promote]
OrderId = {{ xpath = "/o:Order/o:Id", required = true }}

[receive.orders]
host = "edge"
message = "order"
dedupe = {{ key = "http.header.idempotency-key", window = "24h" }}
[receive.orders.location.web.http]
path = "/in"

[send.out]
host = "edge"
filter = "msg.type == 'urn:orders#Order'"
retry = {{ attempts = 1000, first = "50ms", factor = 1.5, max = "1s" }}
[send.out.primary.sharepoint]
site = "{site}"
library = "Orders"
folder = "New"
file_name = "order-%MessageID%.xml"
columns = {{ Title = "{{OrderId}}" }}
stamp = "Ref"
auth = {{ bearer = {{ secret = "farm" }} }}
timeout = "10s"
"#
    )
}

/// Documents of the library `Orders` go to the partner.
fn takes(site: &str, partner: &Partner) -> String {
    let partner = partner.addr();
    format!(
        r#"[app]
name = "t"

[receive.library]
host = "edge"
[receive.library.location.in.sharepoint]
site = "{site}"
library = "Orders"
auth = {{ bearer = {{ secret = "farm" }} }}
poll = "100ms"
timeout = "10s"
after = {{ archive = "Archive/Done" }}

[send.out]
host = "edge"
filter = "msg.origin == 't.library.in'"
retry = {{ attempts = 1000, first = "50ms", factor = 1.5, max = "1s" }}
[send.out.primary.http]
url = "http://{partner}/orders"
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_put_each_document_into_the_library_once() {
    let mut site = Site::prepare(Way::In, &sends).await;
    site.begin("MERGE Item").await;
    let servers: Vec<_> = site.nodes.iter().map(Node::http).collect();
    let mut plan = LoadPlan::new(&servers, "/in", 8);
    plan.rest = Some(Duration::from_millis(50));
    let load = Load::start(plan);
    let calls = ["MERGE Item", "MoveTo", "AddFile"];
    site.kill(kills(), &calls).await;
    load.wait_accepted((DOCUMENTS as u64).saturating_sub(load.accepted()), PATIENCE)
        .await;
    let report = load.finish().await;
    let accepted: BTreeSet<_> = report.accepted().iter().map(|it| it.id.clone()).collect();
    assert_eq!(report.unanswered(), [""; 0]);

    let files = site.settled(accepted.len(), "Orders/New").await;
    let mut found = BTreeSet::new();
    let mut stamps = BTreeSet::new();
    for file in &files {
        let body = site.farm.content(&file.path).await;
        let body = String::from_utf8_lossy(&body);
        let id = body.split(['<', '>']).skip_while(|it| *it != "Id").nth(1);
        let id = id.and_then(|id| id.strip_prefix("bid:"));
        let id = id.unwrap_or_else(|| panic!("{body}"));
        assert_eq!(file.fields["Title"], format!("bid:{id}"), "{file:?}");
        assert!(body.ends_with("</Order>") && !file.stub, "{file:?}");
        found.insert(id.to_owned());
        let stamp = file.fields["Ref"].as_str().expect("a stamp");
        stamps.insert(stamp.to_owned());
    }
    assert_eq!(found, accepted, "each once");
    assert_eq!(stamps.len(), accepted.len());
    note(&format!("{} documents, each once, stamped", accepted.len()));
    site.judge_kills("between stage and publish");
}

/// Drops documents into the library until `stop`, and as many as there have to be. Gives their ids.
async fn drop_documents(people: Visitor, stop: Arc<AtomicBool>) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    while ids.len() < DOCUMENTS || !stop.load(Ordering::Relaxed) {
        let id = format!("d{:05}", ids.len());
        let name = format!("{id}.xml");
        people.put("Orders", &name, order_xml(&id, "k", 400)).await;
        ids.insert(id);
        tokio::time::sleep(REST).await;
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_take_each_document_out_of_the_library_once() {
    let mut site = Site::prepare(Way::Out, &takes).await;
    site.begin("GET Content").await;
    let stop = Arc::new(AtomicBool::new(false));
    let people = site.farm.visitor(2, "t-people");
    let mut drops = JoinSet::new();
    drops.spawn(drop_documents(people, Arc::clone(&stop)));
    let calls = ["CheckOut", "GET Content", "UndoCheckOut", "MoveTo"];
    site.kill(kills(), &calls).await;
    stop.store(true, Ordering::Relaxed);
    let ids = drops.join_next().await.expect("one task");
    let ids = ids.expect("all are dropped");

    site.settled(ids.len(), "Archive/Done").await;
    // Whoever was late for the last one undoes its checkout when it sees that.
    wait_for("no document to be stranded", PATIENCE, async || {
        let files = site.settled(ids.len(), "Archive/Done").await;
        let held: Vec<_> = files
            .iter()
            .filter(|it| it.checked_out_by.is_some())
            .collect();
        match held.is_empty() {
            true => Ok(()),
            false => Err(format!("stranded: {held:?}")),
        }
    })
    .await;
    let log = site.partner.log().await;
    let arrived = effects(&log);
    let once: BTreeSet<String> = arrived.keys().cloned().collect();
    assert_eq!(once, ids, "each is one message");
    let twice = |it: &Effects| it.effects != 1 || it.keys.len() != 1;
    let twice: Vec<_> = arrived.iter().filter(|(_, it)| twice(it)).collect();
    assert!(twice.is_empty(), "{twice:?}");
    note(&format!(
        "{} documents, each one message, archived",
        once.len()
    ));
    site.judge_kills("between checkout and archive");
}
