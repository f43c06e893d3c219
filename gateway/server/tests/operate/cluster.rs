//! What operators see and say of a cluster, through the API and the verbs of a real node on a real PostgreSQL. The
//! test itself is the other nodes: it writes to the store what their agents would.

use std::{sync::Arc, time::Duration};

use quayside_harness::Postgres;
use quayside_model::{
    Clock as _, GrantId, InstanceId, Name, SessionId, SystemClock, SystemEntropy, Text,
};
use quayside_store::{
    Cluster as _,
    lease::{Cause, Epoch, Fact, StandbySeen, State, Take, Transition},
    sessions::NewInstance,
};
use quayside_store_postgres::{Options, PostgresStore};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{
    api::{Calls, known},
    dev::{APP, Dev, text},
};

/// The node of the test's process runs `edge` only.
const GROUP: &str = r#"
[host.edge]
members = ["node-a"]
[host.queues]
members = ["node-b", "node-c"]
clustered = { preferred = "node-b" }
"#;

/// How long a session of the test lasts: longer than the test.
const TTL: Duration = Duration::from_secs(600);

/// The fields end in this order.
pub(crate) struct Site {
    pub(crate) dev: Dev,
    pub(crate) store: PostgresStore,
    _server: Postgres,
    pub(crate) runtime: Runtime,
}

/// What the agent of a node is to the store.
pub(crate) struct Node {
    name: Name,
    session: SessionId,
    pub(crate) instance: InstanceId,
    grant: GrantId,
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn queues() -> Name {
    name("queues")
}

impl Site {
    pub(crate) fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let server = runtime.block_on(Postgres::start());
        let url = runtime.block_on(server.create_database("q"));
        let folder = tempfile::tempdir().expect("a folder");
        let write = |file: &str, text: &str| {
            std::fs::write(folder.path().join(file), text).expect("written");
        };
        write("group.toml", GROUP);
        write(
            "node.toml",
            &format!(
                "[node]\nname = \"node-a\"\n[store]\nurl = \"{url}\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
                 [admin]\nlisten = \"127.0.0.1:0\"\n"
            ),
        );
        let args = ["run", ".", "--group", "group.toml", "--node", "node.toml"];
        let app = APP
            .replace(
                "message = \"order\"",
                "message = \"order\"\nhost = \"edge\"",
            )
            .replace("[send.archive]", "[send.archive]\nhost = \"edge\"");
        let dev = Dev::run_in(folder, &app, &args, "http");
        let clock = Arc::new(SystemClock);
        let options = Options {
            clock,
            ..Options::new(url.as_str())
        };
        let store = {
            let _runtime = runtime.enter();
            PostgresStore::new(options).expect("a store")
        };
        Self {
            dev,
            store,
            _server: server,
            runtime,
        }
    }

    pub(crate) fn node(&self, node: &str) -> Node {
        let now = SystemClock.now();
        let node = Node {
            name: name(node),
            session: SessionId::new(now, &SystemEntropy),
            instance: InstanceId::new(now, &SystemEntropy),
            grant: GrantId::new(now, &SystemEntropy),
        };
        let instance = NewInstance {
            instance: node.instance,
            session: node.session,
            node: node.name.clone(),
            hosts: Text::lossy("queues"),
        };
        self.runtime.block_on(async {
            let opened = self.store.open(node.session, &node.name, TTL).await;
            opened.expect("a session");
            assert!(self.store.register(&instance).await.expect("an instance"));
        });
        self.look(&node, true);
        node
    }

    /// What the agent of `node` does all the time.
    fn look(&self, node: &Node, warm: bool) {
        let report = StandbySeen {
            node: node.name.clone(),
            warm,
            broken: None,
            adapters_down: vec![],
            adapters_up: vec![name("amqp")],
        };
        let reports = [(queues(), report)];
        let look = self.store.look(&node.name, &reports);
        self.runtime.block_on(look).expect("a look");
    }

    fn take(&self, node: &Node) -> Epoch {
        let queues = queues();
        let take = self
            .store
            .take_group(&queues, node.instance, node.grant, false);
        match self.runtime.block_on(take).expect("an answer") {
            Take::Taken(epoch) => epoch,
            other => panic!("{other:?}"),
        }
    }

    fn release(&self, node: &Node) {
        let queues = queues();
        let release = self.store.release_group(&queues, node.grant, None);
        assert!(self.runtime.block_on(release).expect("an answer"));
    }

    fn record(
        &self,
        node: &Node,
        (from, to): (State, State),
        cause: Cause,
        evidence: &[Fact],
        epoch: Option<Epoch>,
    ) {
        let transition = Transition {
            group: queues(),
            node: node.name.clone(),
            from,
            to,
            cause,
            evidence: evidence.to_vec(),
            epoch,
            at: SystemClock.now(),
            lasted: Duration::from_millis(70),
        };
        let record = self.store.record(&transition);
        self.runtime.block_on(record).expect("recorded");
    }

    /// Takes the host for `node` as an agent does, with all that it records.
    fn activate(&self, node: &Node, cause: Cause) -> Epoch {
        self.record(node, (State::Standby, State::Taking), cause, &[], None);
        let epoch = self.take(node);
        self.record(
            node,
            (State::Taking, State::Pending),
            Cause::Taken,
            &[],
            Some(epoch),
        );
        let online = (State::Pending, State::Online);
        self.record(node, online, Cause::Reported, &[], Some(epoch));
        epoch
    }

    fn status(&self) -> Value {
        self.dev.json(&["cluster", "status"])
    }

    fn host(&self) -> Value {
        let status = self.status();
        let hosts = status["hosts"].as_array().expect("hosts");
        assert_eq!(hosts.len(), 1, "{status:#}");
        hosts[0].clone()
    }

    /// The host as the agents see it.
    fn control(&self) -> quayside_store::lease::Control {
        let look = self.runtime.block_on(self.store.view()).expect("a view");
        let group = look.view.groups.iter().find(|seen| seen.group == queues());
        group.expect("the group").control.clone()
    }
}

/// Refused with this code, and saying this.
pub(crate) fn refused(site: &Site, args: &[&str], exit: i32, code: &str, said: &str) {
    let output = site.dev.run(args);
    let shown = text(&output);
    assert_eq!(output.status.code(), Some(exit), "{args:?}: {shown}");
    assert!(
        shown.contains(code) && shown.contains(said),
        "{args:?}: {shown}"
    );
}

#[test]
fn operators_see_who_runs_a_host_and_why() {
    let site = Site::start();
    let host = site.host();
    assert_eq!(host["state"], "nobody-runs-it", "{host:#}");

    let (b, c) = (site.node("node-b"), site.node("node-c"));
    assert_eq!(site.host()["state"], "being-taken-over");
    let epoch = site.activate(&b, Cause::Unowned);
    let host = site.host();
    for (key, value) in [
        ("state", json!("active")),
        ("node", json!("node-b")),
        ("instance", json!(b.instance)),
        ("epoch", json!(epoch.to_string())),
        ("here", json!(false)),
        ("agent", json!(true)),
        ("lease", json!("renewed")),
        ("claims", json!(0)),
        ("in_doubt", json!(0)),
        ("next", json!("node-c")),
        ("candidates", json!(["node-b", "node-c"])),
        (
            "moves",
            json!({ "used": 0, "allowed": 3, "within_ms": 3_600_000 }),
        ),
        ("advice", json!([])),
    ] {
        assert_eq!(host[key], value, "{key}: {host:#}");
    }
    assert_eq!(host["why"], "nobody owned it", "{host:#}");
    let not_a = json!([{ "node": "node-a", "why": "not one of its possible owners" }]);
    // A node has a row only once its agent has looked, or an operator spoke of it.
    assert!(
        host["excluded"] == json!([]) || host["excluded"] == not_a,
        "{host:#}"
    );

    // The other node has nothing ready any more, and that is told.
    site.look(&c, false);
    let shown = text(&site.dev.run(&["cluster", "status"]));
    for part in [
        "queues: nobody could take over",
        "node-c: no warm process",
        "active",
    ] {
        assert!(shown.contains(part), "`{part}` is missing:\n{shown}");
    }
    let history = site
        .dev
        .json(&["cluster", "history", "queues", "--node", "node-b"]);
    let tos: Vec<&str> = history["events"]
        .as_array()
        .expect("events")
        .iter()
        .filter_map(|event| event["to"].as_str())
        .collect();
    assert_eq!(tos, ["online", "pending", "taking"], "newest first");
    let one = site.dev.json(&["cluster", "history", "--limit", "1"]);
    assert_eq!(one["events"].as_array().map(Vec::len), Some(1));
    refused(
        &site,
        &["cluster", "history", "queue"],
        3,
        "QS0704",
        "did you mean `queues`?",
    );
}

#[test]
fn what_operators_say_reaches_the_agents() {
    let site = Site::start();
    let (b, _c) = (site.node("node-b"), site.node("node-c"));
    site.activate(&b, Cause::Unowned);
    let say = |args: &[&str]| {
        let output = site.dev.run(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        text(&output)
    };
    let shown = say(&["cluster", "pause", "queues", "--reason", "new disk"]);
    assert!(
        shown.contains("active, paused") && shown.contains("cluster unpause queues"),
        "{shown}"
    );
    assert!(site.control().paused);
    let log = std::fs::read_to_string(site.dev.dir.join("log")).expect("a log");
    assert!(log.contains("by tester: new disk"), "{log}");
    let history = site
        .dev
        .json(&["cluster", "history", "queues", "--limit", "1"]);
    let word = &history["events"][0];
    for (key, value) in [
        ("host", json!("queues")),
        ("node", json!("node-a")),
        ("from", json!(null)),
        ("to", json!(null)),
        ("cause", json!("paused")),
        ("evidence", json!(["by tester: new disk"])),
    ] {
        assert_eq!(word[key], value, "{key}: {history:#}");
    }
    assert_eq!(site.host()["why"], "nobody owned it", "a word is no change");
    say(&["cluster", "unpause", "queues"]);
    assert!(!site.control().paused);

    say(&["cluster", "pin", "queues", "node-c"]);
    assert_eq!(site.control().pinned, Some(name("node-c")));
    assert!(say(&["cluster", "status"]).contains("It moves to node-c."));
    say(&["cluster", "unpin", "queues"]);
    assert_eq!(site.control().pinned, None);

    say(&["cluster", "offline", "queues"]);
    assert!(!site.control().online);
    assert_eq!(site.host()["state"], "stopping");
    say(&["cluster", "online", "queues"]);
    assert!(site.control().online);

    say(&["cluster", "clear", "queues"]);
    assert_eq!(site.control().clears, 1);

    let shown = say(&["cluster", "drain", "node-c"]);
    assert!(
        shown.contains("node-c: runs no clustered host, drained"),
        "{shown}"
    );
    assert_eq!(site.host()["excluded"][0]["why"], "the node is drained");
    say(&["cluster", "clear", "node-c"]);
    say(&["cluster", "resume", "node-c"]);
    assert_eq!(site.host()["next"], "node-c");
    let shown = say(&["cluster", "history", "--node", "node-c"]);
    let words: Vec<_> = shown
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().nth(3))
        .collect();
    assert_eq!(
        words,
        ["resumed", "cleared", "drained"].map(Some),
        "{shown}"
    );

    let ordered = site
        .dev
        .json(&["cluster", "move", "queues", "node-c", "--at", "2h"]);
    assert_eq!(ordered["order"], 1);
    let order = site.control().order.expect("an order");
    assert_eq!((order.no, order.to), (1, Some(name("node-c"))));
    assert!(order.at.is_some_and(|at| at > SystemClock.now()));
    assert_eq!(site.host()["order"]["to"], "node-c");

    for (args, exit, code, said) in [
        (
            &["cluster", "pause", "queue"][..],
            3,
            "QS0704",
            "did you mean `queues`?",
        ),
        (
            &["cluster", "drain", "elsewhere"],
            3,
            "QS0704",
            "known are `node-a`, `node-b` and `node-c`",
        ),
        (
            &["cluster", "pin", "queues", "node-a"],
            3,
            "QS0704",
            "there is no member of `queues` `node-a`",
        ),
        (
            &["cluster", "move", "queues", "--at", "tonight"],
            2,
            "QS0705",
            "`tonight` is not a moment",
        ),
        (
            &["cluster", "clear", "x"],
            3,
            "QS0704",
            "known are `queues`",
        ),
        (
            &["cluster", "pause", "a b"],
            2,
            "QS0705",
            "the name of a host, such as queues",
        ),
    ] {
        refused(&site, args, exit, code, said);
    }
    site.release(&b);
    refused(
        &site,
        &["cluster", "move", "queues"],
        1,
        "QS0724",
        "nobody runs `queues`",
    );
}

#[test]
fn a_move_is_followed_to_its_end() {
    let site = Site::start();
    let (b, c) = (site.node("node-b"), site.node("node-c"));
    site.activate(&b, Cause::Unowned);
    // The test is both agents: it answers the order when it sees it.
    let answer = |refused: Option<&str>| {
        let order = quayside_harness::wait_for("an order", Duration::from_secs(30), async || {
            let look = self::view(&site).await?;
            look.ok_or_else(|| "no order waits".to_owned())
        });
        let order = site.runtime.block_on(order);
        let queues = queues();
        let answer = site.store.answer_move(&queues, order, refused);
        site.runtime.block_on(answer).expect("answered");
    };
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            site.dev
                .run(&["cluster", "move", "queues", "node-c", "--wait"])
        });
        answer(Some("not on node-c: no warm process"));
        let output = waits.join().expect("it ends");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = "queues: order 1 is refused: not on node-c: no warm process";
        assert!(text(&output).contains(said), "{}", text(&output));

        let waits = scope.spawn(|| site.dev.run(&["cluster", "move", "queues", "--wait"]));
        answer(None);
        let to = [Fact::To(name("node-c")), Fact::InFlight(0)];
        let draining = (State::Online, State::Draining);
        site.record(&b, draining, Cause::Ordered, &to, None);
        site.release(&b);
        let released = (State::Draining, State::Standby);
        site.record(&b, released, Cause::Released, &[], None);
        site.activate(&c, Cause::Offered);
        let output = waits.join().expect("it ends");
        let shown = text(&output);
        assert!(output.status.success(), "{shown}");
        for part in [
            "queues: it runs on node-c, and ran on node-b",
            "online → draining",
            "ordered by an operator: to node-c, 0 in flight",
            "pending → online",
        ] {
            assert!(shown.contains(part), "`{part}` is missing:\n{shown}");
        }
        assert!(
            !shown.contains("nobody owned it"),
            "only what came after it:\n{shown}"
        );
    });
    let why = site.host()["why"].clone();
    assert_eq!(
        why,
        "moved from node-b: ordered by an operator: to node-c, 0 in flight"
    );

    let bounded = ["cluster", "drain", "node-c", "--wait", "--within", "1s"];
    refused(
        &site,
        &bounded,
        1,
        "QS0726",
        "after 1 s node-c still runs queues",
    );
    site.release(&c);
    site.activate(&site.node("node-b"), Cause::Offered);
    let drained = site.dev.run(&["cluster", "drain", "node-c", "--wait"]);
    assert!(drained.status.success(), "{}", text(&drained));
    assert!(
        text(&drained).contains("node-c: drained"),
        "{}",
        text(&drained)
    );
}

/// The number of the order that waits.
async fn view(site: &Site) -> Result<Option<u64>, String> {
    let look = site.store.view().await.map_err(|error| error.to_string())?;
    let mut groups = look.view.groups.iter();
    let group = groups.find(|seen| seen.group == queues());
    Ok(group.and_then(|seen| Some(seen.control.order.as_ref()?.no)))
}

#[test]
fn real_answers_fit_the_description() {
    let site = Site::start();
    let (b, _c) = (site.node("node-b"), site.node("node-c"));
    site.activate(&b, Cause::Unowned);
    let mut calls = Calls::new(&site.dev);
    for call in [
        "get /cluster",
        "get /cluster/history?host=queues&node=node-b&limit=2",
        "get /cluster/hosts/queues",
        "get /cluster/nodes/node-b",
        "post /cluster/hosts/queues/drill {\"fault\":\"kill\",\"reason\":\"x\"}",
        "get /cluster/hosts/queues/drill?since=2026-11-21T00:00:00Z",
        "post /cluster/hosts/queues/move {\"to\":\"node-c\",\"at\":null}",
        "post /cluster/hosts/queues/pin {\"node\":\"node-c\",\"reason\":\"x\"}",
        "post /cluster/hosts/queues/unpin",
        "post /cluster/hosts/queues/pause {\"reason\":\"x\"}",
        "post /cluster/hosts/queues/unpause",
        "post /cluster/hosts/queues/offline",
        "get /cluster",
        "post /cluster/hosts/queues/online",
        "post /cluster/hosts/queues/clear",
        "post /cluster/nodes/node-c/drain",
        "get /cluster",
        "post /cluster/nodes/node-c/resume",
        "post /cluster/nodes/node-c/clear",
    ] {
        let (status, value) = calls.make(call);
        assert_eq!(status, 200, "{call}: {value}");
    }
    for (call, status) in [
        ("get /cluster/hosts/none", 404),
        ("get /cluster/nodes/none", 404),
        ("get /cluster/history?limit=0", 400),
        ("get /cluster/history?node=none", 404),
        ("post /cluster/hosts/queues/pin", 400),
        ("post /cluster/hosts/queues/drill {\"fault\":\"move\"}", 409),
        ("post /cluster/hosts/none/drill {\"fault\":\"kill\"}", 404),
        ("get /cluster/hosts/queues/drill", 400),
        ("post /cluster/hosts/queues/move {\"to\":\"none\"}", 404),
        ("post /cluster/hosts/queues/pause {\"for\":\"1h\"}", 400),
    ] {
        let (given, value) = calls.make(call);
        assert_eq!(given, status, "{call}: {value}");
    }
    let left = calls.left(|route| route.contains(" /cluster") && !route.contains("/in-doubt"));
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(
        known("/cluster/hosts/queues/pin"),
        "/cluster/hosts/{host}/pin"
    );
}

#[test]
fn a_store_for_one_process_keeps_no_cluster() {
    let dev = Dev::start();
    let status = dev.json(&["cluster", "status"]);
    assert_eq!(status, json!({ "shared": false, "hosts": [], "nodes": [] }));
    assert_eq!(
        text(&dev.run(&["cluster", "status"])),
        "No clustered hosts.\n"
    );
    for args in [
        &["cluster", "history"][..],
        &["cluster", "pause", "queues"],
        &["cluster", "move", "queues", "--wait"],
        &["cluster", "drain", "node-a"],
    ] {
        let output = dev.run(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        let shown = text(&output);
        assert!(
            shown.contains("QS0723") && shown.contains("quayside-agent"),
            "{shown}"
        );
    }
}
