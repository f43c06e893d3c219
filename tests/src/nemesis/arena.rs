//! What runs: store, broker, partner, three nodes with agents, and the load from outside.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use quayside_harness::{
    Load, LoadPlan, Network, Node, OnBreak, Postgres, RabbitMq, Stopwatch, look_for,
    network::{machine, seen_from},
    pass_through,
    postgres::USER,
    rabbitmq::{Consumer, Producer},
    wait_for,
};
use serde_json::Value;

use super::{
    faults::{Fault, Mend, Step},
    history::History,
};
use crate::{
    DATABASE, Site,
    cluster::PATIENCE,
    note,
    queues::{MOVES, all_moves, declare_moves, moves_at},
};

/// The clustered host.
pub const HOST: &str = "edge";

/// How many nodes there are.
pub const NODES: usize = 3;

/// How many messages a second the producer offers, to all moves together.
const OFFERED: u32 = 120;

/// How many clients post orders, and how long each rests after an answer.
const CLIENTS: usize = 6;
const REST: Duration = Duration::from_millis(60);

/// How many messages of each way show that it works.
const GOOD: usize = 10;

/// So many messages are put in while a fault lasts that takes no owner away.
const SHORT: usize = 150;

/// So many while a node that stands by is out of action: its lease ends meanwhile.
const LONG: usize = 500;

/// Every node takes requests; one process at a time moves what waits in queues, and sends in order. Budgets are for
/// nodes that are sick, and not for a test.
fn group(broker: SocketAddr) -> String {
    format!(
        r#"
[quarantine]
lost = "100 per 1s"

[host.web]
members = ["node-a", "node-b", "node-c"]

[host.{HOST}]
members = ["node-a", "node-b", "node-c"]
clustered = {{ restarts = "100 per 1s", moves = "100 per 1s" }}

[vars]
broker = "amqp://{broker}"
"#
    )
}

/// Orders go to the partner at `/orders` from every node and at `/sequence` in the order of each customer from the
/// active one, which also moves messages between queues.
fn application(partner: SocketAddr) -> String {
    let sequence = format!(
        "[send.sequence]\nhost = \"{HOST}\"\nfilter = \"msg.type == 'urn:orders#Order'\"\n\
         ordered = {{ by = \"CustomerId\" }}\n\
         retry = {{ attempts = 1000, first = \"50ms\", factor = 1.5, max = \"500ms\" }}\n\
         [send.sequence.primary.http]\nurl = \"http://{partner}/sequence\"\n"
    );
    let orders = pass_through(partner, "", "").replace("host = \"edge\"", "host = \"web\"");
    format!("{orders}{sequence}{}", moves_at("{ var = \"broker\" }"))
}

/// Counts what a process writes for the clustered host when its commit comes and another process owns the host, and any
/// epoch that falls.
const AUDIT: &str = r"
CREATE SEQUENCE audit_seen;
CREATE TABLE audit (at timestamptz NOT NULL DEFAULT clock_timestamp(), what text NOT NULL);
CREATE FUNCTION audit_writer() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  writer text := current_setting('application_name');
  owner uuid;
  host text;
BEGIN
  IF writer NOT LIKE 'qs:%' THEN
    RETURN NULL;
  END IF;
  -- By its key: it is asked for each row that is written, and each fault leaves more instances.
  SELECT i.hosts, f.instance INTO host, owner
  FROM instance i JOIN fence f ON f.grp = 'host.' || i.hosts
  WHERE i.id = substr(writer, 4)::uuid;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  PERFORM nextval('audit_seen');
  -- Whoever sweeps gives back what the dead have claimed, the dead themselves included: it says so for nobody alive.
  IF TG_OP = 'UPDATE' AND OLD.state = 1 AND NEW.state = 0 AND NOT EXISTS (
    SELECT FROM instance i JOIN session s ON s.id = i.session WHERE i.id = OLD.instance AND i.state = 0 AND s.live)
  THEN
    RETURN NULL;
  END IF;
  IF writer IS DISTINCT FROM 'qs:' || owner THEN
    INSERT INTO audit (what)
    VALUES (format('%s by %s of %s, owned by %s: %s became %s', TG_OP, writer, host, coalesce(owner::text, 'nobody'),
                   OLD, NEW));
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER audit_writer AFTER INSERT OR UPDATE OR DELETE ON delivery
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_writer();
CREATE FUNCTION audit_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.epoch < OLD.epoch OR (NEW.epoch = OLD.epoch AND NEW.instance IS NOT NULL
     AND NEW.instance IS DISTINCT FROM OLD.instance) THEN
    INSERT INTO audit (what) VALUES ('epoch ' || OLD.epoch || ' became ' || NEW.epoch || ' of ' || NEW.grp);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER audit_epoch AFTER UPDATE ON fence FOR EACH ROW EXECUTE FUNCTION audit_epoch();
";

/// Who owns the clustered host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The number of the node.
    pub node: usize,
    /// The process.
    pub instance: String,
    /// The number of this ownership.
    pub epoch: i64,
}

/// Everything that runs. The fields end in this order.
#[derive(Debug)]
pub struct Arena {
    /// Nodes, application, partner and store.
    pub site: Site,
    /// The broker.
    pub broker: RabbitMq,
    producer: Producer,
    consumer: Consumer,
    load: Load,
    pub(super) network: Network,
    /// How long each fault left the host without an owner or its work, in milliseconds.
    times: BTreeMap<Fault, Vec<u64>>,
    /// Steps that came out otherwise than they must.
    unexplained: Vec<String>,
}

impl Arena {
    /// Starts it; `made` has the last word on each node.
    pub async fn start(network: Network, made: &dyn Fn(Node) -> Node) -> Self {
        let machines: Vec<Ipv4Addr> = (0..NODES).map(machine).collect();
        let broker = RabbitMq::start_at(&[], &machines).await;
        let out = declare_moves(&broker).await;
        // What takes a second is told with its plan, for whoever looks for the cause of a failure.
        let settings = [
            ("listen_addresses", "*"),
            ("max_connections", "200"),
            ("log_min_duration_statement", "1s"),
            ("session_preload_libraries", "auto_explain"),
            ("auto_explain.log_min_duration", "1s"),
        ];
        let server = Postgres::start_with(&settings).await;
        let (store, queues) = (server.addr(), broker.addr());
        let placed = |node: Node| {
            let no = (0..NODES).find(|no| node.name() == name(*no));
            let machine = machine(no.expect("one of the nodes"));
            let url = format!(
                "postgres://{USER}@{}/{DATABASE}?sslmode=disable",
                seen_from(machine, store)
            );
            let group = group(seen_from(machine, queues));
            made(node.with_store(&url).with_group(&group).with_agent())
        };
        let site = Site::of(Some(server), NODES, &application, &placed).await;
        let session = site.server.as_ref().expect("a server").connect(DATABASE);
        let audit = session.await.batch_execute(AUDIT).await;
        audit.expect("the audit of the store");
        let mut plan = LoadPlan::new(&site.servers(), "/in/orders", CLIENTS);
        plan.on_break = OnBreak::Repeat;
        plan.patience = Duration::from_secs(5);
        plan.rest = Some(REST);
        let mut arena = Self {
            producer: broker.producer(&all_moves(OFFERED)),
            consumer: broker.consumer(&out),
            load: Load::start(plan),
            site,
            broker,
            network,
            times: BTreeMap::new(),
            unexplained: Vec::new(),
        };
        arena.settled().await;
        arena.works().await;
        arena
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Postgres {
        self.site.server.as_ref().expect("a server")
    }

    /// The port of the store.
    #[must_use]
    pub fn store_port(&self) -> u16 {
        self.store().addr().port()
    }

    /// Does `step`, waits for what must follow, puts everything right, and waits until all works.
    pub async fn suffer(&mut self, step: &Step) {
        let owner = self.settled().await;
        self.works().await;
        let standbys: Vec<_> = (0..NODES).filter(|no| *no != owner.node).collect();
        let victim = if step.to_owner {
            owner.node
        } else {
            standbys[step.pick % standbys.len()]
        };
        let watch = Stopwatch::start();
        let mend = self.inflict(step, victim, &owner).await;
        if step.changes_owner() {
            self.another_owner(step, &owner).await;
        } else {
            self.hold(&mend).await;
        }
        let owned = watch.elapsed();
        self.mend(mend).await;
        self.works().await;
        let now = self.settled().await;
        note(&format!(
            "{step} {}: owned after {} ms, worked after {} ms, epoch {} -> {} on {}",
            name(victim),
            owned.as_millis(),
            watch.elapsed().as_millis(),
            owner.epoch,
            now.epoch,
            name(now.node)
        ));
        if step.changes_owner() {
            let millis = u64::try_from(owned.as_millis()).unwrap_or(u64::MAX);
            self.times.entry(step.fault).or_default().push(millis);
        }
        let taken = now.epoch - owner.epoch;
        if taken != i64::from(step.changes_owner()) {
            let history = self.events().await;
            self.unexplained.push(format!(
                "{step}: {owner:?} became {now:?}: taken {taken} times\n{history}"
            ));
        }
    }

    /// Waits until somebody else owns the host.
    pub(super) async fn another_owner(&mut self, why: &dyn fmt::Display, before: &Owner) {
        let what = format!("another owner after {why}");
        let found = look_for(PATIENCE, async || match self.owner().await {
            Some(now) if now.instance != before.instance => Ok(()),
            now => Err(format!("{now:?}")),
        });
        if let Err(last) = found.await {
            panic!("{what}: {last}, was {before:?}\n{}", self.events().await);
        }
    }

    /// Lets a fault that takes no owner away last while messages are put in.
    async fn hold(&mut self, mend: &Mend) {
        match mend {
            Mend::Nothing => {}
            Mend::Heal => self.more(SHORT).await,
            _ => self.more(LONG).await,
        }
    }

    /// Waits until so many more messages are put in.
    pub(super) async fn more(&mut self, count: usize) {
        let goal = self.producer.confirmed().len() + count;
        wait_for("messages to be put in", PATIENCE, async || {
            match self.producer.confirmed().len() {
                now if now >= goal => Ok(()),
                now => Err(format!("{now} of {goal}")),
            }
        })
        .await;
    }

    /// Who owns the host, by the store.
    pub async fn owner(&self) -> Option<Owner> {
        let session = self.site.server.as_ref()?.connect(DATABASE).await;
        let query = "SELECT i.node, f.instance::text, f.epoch FROM fence f JOIN instance i ON i.id = f.instance \
                     WHERE f.grp = 'host.edge'";
        let row = session.query_opt(query, &[]).await;
        let row = row.unwrap_or_else(|e| panic!("{query}: {e}"))?;
        let node: String = row.get(0);
        Some(Owner {
            node: (0..NODES).find(|no| name(*no) == node)?,
            instance: row.get(1),
            epoch: row.get(2),
        })
    }

    /// The last changes of state that the agents have recorded, for whoever looks for the cause of a failure.
    pub async fn events(&self) -> String {
        let session = self.store().connect(DATABASE).await;
        let query = "SELECT format('%s %s %s: %s -> %s, %s, %s', to_timestamp(at / 1e6)::time, node, epoch, from_state, \
                     to_state, cause, evidence) FROM cluster_event ORDER BY no DESC LIMIT 24";
        let rows = session.query(query, &[]).await.expect("the history");
        let lines = rows.iter().rev().map(|row| row.get::<_, String>(0));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// What the store is doing and who waits for whom there, for the same reader.
    async fn waits(&self) -> String {
        let session = self.store().connect(DATABASE).await;
        let query = "SELECT format('%s %s %s %s/%s since %s blocked by %s: %s', pid, application_name, state, wait_event_type, \
                     wait_event, clock_timestamp() - xact_start, pg_blocking_pids(pid), left(query, 120)) \
                     FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle'";
        let mut looks = Vec::new();
        for _ in 0..3 {
            let rows = session.query(query, &[]).await.expect("the activity");
            looks.extend(rows.iter().map(|row| row.get::<_, String>(0)));
            looks.push(String::new());
        }
        looks.join("\n")
    }

    /// Waits until one node runs the host and the others stand by, and returns the owner.
    pub async fn settled(&mut self) -> Owner {
        let found = look_for(PATIENCE, async || {
            let mut told = Vec::new();
            for gateway in &self.site.gateways {
                told.push(says(&gateway.api("ports").await?));
            }
            let active = told.iter().filter(|told| **told == Told::Active).count();
            let standby = told.iter().filter(|told| **told == Told::Standby).count();
            if (active, standby) != (1, NODES - 1) {
                return Err(format!("{told:?}"));
            }
            let owner = self.owner().await.ok_or("nobody owns it")?;
            if told[owner.node] == Told::Active {
                Ok(owner)
            } else {
                Err(format!("{told:?}, and the store says {owner:?}"))
            }
        });
        match found.await {
            Ok(owner) => owner,
            Err(last) => panic!(
                "one active node and the others standing by: {last}\n{}",
                self.events().await
            ),
        }
    }

    /// Waits until messages of every move have come out from now on, and orders have reached the partner both ways.
    pub async fn works(&mut self) {
        let seen = self.consumer.arrivals().len();
        let counts = self.site.partner.counts().await;
        let requests = counts["requests"].as_u64().map(usize::try_from);
        let requests = requests.expect("a count").expect("a length");
        let goes_on = look_for(PATIENCE, async || {
            let new = &self.consumer.arrivals()[seen..];
            let of = |name: &str| new.iter().filter(|a| a.key.starts_with(name)).count();
            let mut all: Vec<_> = MOVES.iter().map(|(name, _)| of(name)).collect();
            let log = self.site.partner.log_from(requests).await;
            for path in ["/orders", "/sequence"] {
                let new = log.iter().filter(|seen| seen.path == path);
                all.push(new.count());
            }
            if all.iter().all(|count| *count >= GOOD) {
                Ok(())
            } else {
                Err(format!("{all:?}"))
            }
        });
        if let Err(counts) = goes_on.await {
            let broker = self.broker.state().await;
            let mut nodes = String::new();
            for gateway in &self.site.gateways {
                let live = gateway.api("deliveries?limit=20").await;
                nodes.push_str(&live.map_or_else(|error| error, |live| live.to_string()));
                nodes.push('\n');
            }
            let events = self.events().await;
            let waits = self.waits().await;
            panic!("not everything goes on: {counts}\n{events}\n{waits}\n{broker}\n{nodes}");
        }
    }

    /// Ends the load, waits until everything has come out, and returns all that was seen.
    pub async fn finish(self) -> History {
        let Self {
            site,
            broker,
            producer,
            mut consumer,
            load,
            network: _network,
            times,
            unexplained,
        } = self;
        let (confirmed, report) = tokio::join!(producer.finish(), load.finish());
        wait_for("every message to come out", PATIENCE, async || {
            let moved = crate::judge_move(&confirmed, consumer.arrivals());
            if moved.lost.is_empty() {
                Ok(())
            } else {
                Err(moved.to_string())
            }
        })
        .await;
        site.gateways[0].drained(PATIENCE).await;
        let arrivals = consumer.finish().await;
        let mut left = 0;
        for (name, _) in MOVES {
            left += broker.waiting(&format!("{name}-in")).await;
        }
        let (stored, stored_twice) = site.stored_bodies().await;
        let session = site.server.as_ref().expect("a server").connect(DATABASE);
        let session = session.await;
        let texts = async |query: &str| {
            let rows = session.query(query, &[]).await;
            let rows = rows.unwrap_or_else(|e| panic!("{query}: {e}"));
            rows.iter()
                .map(|row| row.get::<_, String>(0))
                .collect::<Vec<_>>()
        };
        let listed: BTreeSet<_> = texts(LISTED).await.into_iter().collect();
        for id in crate::judge_move(&confirmed, &arrivals)
            .repeated
            .difference(&listed)
        {
            let seen = arrivals.iter().filter(|seen| seen.message_id == *id);
            let told = texts(&told(id)).await;
            note(&format!(
                "{id} came twice: {:?}; told: {told:?}",
                seen.collect::<Vec<_>>()
            ));
        }
        History {
            log: site.partner.log().await,
            listed,
            stale_writes: texts(AUDITED).await,
            confirmed,
            arrivals,
            report,
            stored,
            stored_twice,
            left,
            times,
            unexplained,
        }
    }
}

/// The deliveries of which history tells that they may have been sent before they were sent.
const LISTED: &str = "SELECT DISTINCT message || '.' || no FROM history \
                      WHERE no IS NOT NULL AND detail LIKE '%; it may have been sent%'";

/// What history tells of the delivery `id`.
fn told(id: &str) -> String {
    format!(
        "SELECT format('%s %s %s: %s', at, event, attempts, detail) FROM history \
         WHERE message || '.' || no = '{id}' ORDER BY at"
    )
}

/// What the audit has found; it must have seen writes of owners to have an eye for others.
const AUDITED: &str = "SELECT at || ' ' || what FROM audit \
                       UNION ALL SELECT 'the audit has seen no write' FROM audit_seen WHERE NOT is_called ORDER BY 1";

/// What a node says of the ports of the clustered host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Active,
    Standby,
    Between,
}

fn says(ports: &Value) -> Told {
    let ports = ports["ports"].as_array().cloned().unwrap_or_default();
    let of_host: Vec<_> = ports.iter().filter(|port| port["host"] == HOST).collect();
    let all = |key: &str| !of_host.is_empty() && of_host.iter().all(|port| port[key] == true);
    match (all("running"), all("standby")) {
        (true, false) => Told::Active,
        (false, true) => Told::Standby,
        _ => Told::Between,
    }
}

/// The name of node `no`.
#[must_use]
pub fn name(no: usize) -> &'static str {
    ["node-a", "node-b", "node-c"][no]
}
