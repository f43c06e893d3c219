//! The application of the topologies under load from outside, and what has come out of it.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use bytes::Bytes;
use quayside_harness::{
    Broken, Load, LoadPlan, LoadReport, OnBreak, Seen, Stopwatch, client, look_for,
    rabbitmq::{Arrival, Confirmed, Consumer, Producer, ProducerPlan},
    unix_micros, wait_for,
};

use super::{
    faults::{self, Fault, Places},
    history::{Arrived, Parcel, Ruling, longest_gap},
    library::{self, Library, People},
    topology::{PATIENCE, Topology},
};
use crate::note;

/// The clustered hosts, with one port each.
const HOSTS: [&str; 2] = ["queues-in", "queues-out"];

/// The ways in: how many keys each has. Those of `free` and `shelf` need no order, and lead into the library as well.
const WAYS: [(&str, usize); 4] = [("free", 6), ("line", 8), ("belt", 8), ("shelf", 1)];

/// Whether a way keeps the order of its keys.
fn in_order(way: &str) -> bool {
    way == "line" || way == "belt"
}

/// How long a client rests after an answer, and how many messages a second go into the queue.
const REST: Duration = Duration::from_millis(50);
const OFFERED: u32 = 40;

/// So many messages of each key at each target show that everything works.
const GOOD: usize = 5;

/// So many documents that were published or archived.
const MOVED: u64 = 20;

/// Who may ask the brokers, as HTTP carries it.
const GUEST: &str = "Basic Z3Vlc3Q6Z3Vlc3Q=";

/// A topology under load. The fields end in this order.
#[derive(Debug)]
pub struct Relay {
    loads: [Load; 2],
    producer: Producer,
    people: People,
    consumer: Consumer,
    ledger: Ledger,
    steps: Vec<Step>,
    nodes: Vec<&'static str>,
    library: Library,
    management: SocketAddr,
    topology: Topology,
}

/// What the partner has got so far.
#[derive(Debug)]
struct Ledger {
    partner: SocketAddr,
    seen: Vec<Seen>,
}

/// A fault, and from when to when it was seen to.
#[derive(Debug)]
struct Step {
    fault: Fault,
    from: u64,
    to: u64,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// How many messages were accepted.
    pub accepted: usize,
    /// The rulings by target and way in.
    pub rulings: BTreeMap<(&'static str, &'static str), Ruling>,
}

impl Outcome {
    /// Whether nothing was lost, repeated or out of order anywhere.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.rulings.values().all(Ruling::holds)
    }
}

impl Ledger {
    async fn read(&mut self) -> Result<(), String> {
        loop {
            let path = format!("/_control/log?from={}", self.seen.len());
            let get = client::request("GET", self.partner, &path, &[], Bytes::new());
            let reply = client::once(self.partner, get, Duration::from_secs(10)).await;
            let page = reply.map_err(|e| format!("{path}: {e}"))?.text();
            if page.is_empty() {
                return Ok(());
            }
            for line in page.lines() {
                let seen = serde_json::from_str(line).map_err(|e| format!("{line}: {e}"))?;
                self.seen.push(seen);
            }
        }
    }
}

impl Relay {
    /// Waits until everything of `topology` is there, and begins to send.
    pub async fn start(topology: Topology, nodes: &[&'static str]) -> Self {
        topology.done("queues").await;
        let web = topology.published("lb", 8080).await;
        let queues = topology.published("lb", 5672).await.port();
        let ledger = Ledger {
            partner: topology.published("partner", 9471).await,
            seen: Vec::new(),
        };
        let library = Library {
            clients: topology.published("farm-lb", 8080).await,
            control: topology.published("farm", 8092).await,
        };
        let management = topology.published("lb", 15672).await;
        let load = |way: &str, clients| {
            let mut plan = LoadPlan::new(&[web], &format!("/in/{way}"), clients);
            plan.json = true;
            way.clone_into(&mut plan.prefix);
            plan.on_break = OnBreak::Repeat;
            plan.patience = Duration::from_secs(5);
            plan.rest = Some(REST);
            Load::start(plan)
        };
        debug_assert!(library::KEY.starts_with(WAYS[3].0), "the key of documents");
        let belt = (0..WAYS[2].1).map(|no| format!("belt-{no}")).collect();
        let plan = ProducerPlan {
            queues: [("relay.in".to_owned(), belt)].into(),
            rate: OFFERED,
            pad: 300,
        };
        wait_ready(web).await;
        let mut relay = Self {
            loads: [load("free", WAYS[0].1), load("line", WAYS[1].1)],
            producer: Producer::start(queues, &plan),
            people: People::start(library),
            consumer: Consumer::start(queues, &["relay.out".to_owned()]),
            ledger,
            steps: Vec::new(),
            nodes: nodes.to_vec(),
            library,
            management,
            topology,
        };
        relay.settled().await;
        relay.works(&"the start").await;
        relay
    }

    /// Lets `fault` happen for the `time`th time, waits until everything goes on in spite of it, puts it right, and waits
    /// until everything is in its place.
    pub async fn suffer(&mut self, fault: Fault, time: usize) {
        let places = self.settled().await;
        let (from, watch) = (unix_micros(), Stopwatch::start());
        let done = fault
            .inflict(&self.topology, &self.library, &places, time)
            .await;
        self.works(&done).await;
        let worked = watch.elapsed();
        done.mend(&self.topology, &self.library).await;
        let now = self.settled().await;
        self.works(&format!("the end of {done}")).await;
        note(&format!(
            "{fault:?} ({done}): everything went on after {} ms, in its place after {} ms; {HOSTS:?} on {:?} -> {:?}",
            worked.as_millis(),
            watch.elapsed().as_millis(),
            places.owners,
            now.owners
        ));
        self.steps.push(Step {
            fault,
            from,
            to: unix_micros(),
        });
    }

    /// Sends on until the gateway has accepted so many messages: those that the outcome counts.
    pub async fn accept(&self, goal: usize) {
        wait_for("enough messages to be accepted", PATIENCE, async || {
            let accepted = self.accepted();
            if accepted >= goal {
                Ok(())
            } else {
                Err(format!("{accepted} of {goal}"))
            }
        })
        .await;
    }

    /// What goes into the queue is accepted by the brokers, and not by the gateway.
    fn accepted(&self) -> usize {
        let web: u64 = self.loads.iter().map(Load::accepted).sum();
        usize::try_from(web).expect("a count")
    }

    /// Waits until every part of the topology is up and has its place.
    async fn settled(&mut self) -> Places {
        let found = look_for(PATIENCE, async || {
            let primary = self.topology.primary().await?;
            let leader = self.leader().await?;
            let mut has = Vec::new();
            for node in &self.nodes {
                self.topology
                    .exec(node, &["healthy", "9470", "/readyz"])
                    .await?;
                let hosts = self.topology.has(node, &HOSTS).await?;
                has.extend(
                    hosts
                        .into_iter()
                        .map(|(host, active)| (host, active, *node)),
                );
            }
            let owner = |host: &str| {
                let active = has.iter().filter(|(of, active, _)| *of == host && *active);
                match active.map(|(_, _, node)| *node).collect::<Vec<_>>()[..] {
                    [node] => Ok(node),
                    _ => Err(format!("{host}: {has:?}")),
                }
            };
            Ok(Places {
                owners: [owner(HOSTS[0])?, owner(HOSTS[1])?],
                nodes: self.nodes.clone(),
                leader,
                primary,
            })
        });
        let found = found.await;
        found.unwrap_or_else(|last| panic!("everything in its place: {last}"))
    }

    /// The broker that leads the queue from outside, if all brokers are there.
    async fn leader(&self) -> Result<&'static str, String> {
        let path = "/api/queues/%2F/relay.in";
        let headers = [("authorization", GUEST)];
        let get = client::request("GET", self.management, path, &headers, Bytes::new());
        let reply = client::once(self.management, get, Duration::from_secs(5)).await;
        let queue = reply.map_err(|e| format!("{path}: {e}"))?.json();
        let online = queue["online"].as_array().map_or(0, Vec::len);
        let leader = queue["leader"]
            .as_str()
            .and_then(|name| name.strip_prefix("rabbit@"));
        let leader = leader.and_then(faults::broker).filter(|_| online == 3);
        leader.ok_or_else(|| format!("{online} brokers have relay.in, led by {}", queue["leader"]))
    }

    /// Waits until messages of every key have arrived everywhere from now on, and the farm answers.
    async fn works(&mut self, after: &dyn std::fmt::Display) {
        let arrived = self.consumer.arrivals().len();
        self.ledger.read().await.unwrap_or_else(|e| panic!("{e}"));
        let sent = self.ledger.seen.len();
        let moved = self.library.moved().await.unwrap_or_else(|e| panic!("{e}"));
        let found = look_for(PATIENCE, async || {
            self.ledger.read().await?;
            let mut counts = Counts::default();
            for seen in self.ledger.seen[sent..].iter().filter(|seen| seen.effect) {
                counts.add("partner", &seen.order);
            }
            for seen in &self.consumer.arrivals()[arrived..] {
                counts.add("queue", &seen.key);
            }
            counts.complete()?;
            match self.library.moved().await? {
                now if now >= moved + MOVED => Ok(()),
                now => Err(format!("{now} documents moved, {moved} before")),
            }
        });
        if let Err(last) = found.await {
            panic!("everything goes on after {after}: {last}");
        }
    }

    /// Ends the load, waits until everything has come out, tells what was seen, and judges it.
    pub async fn finish(mut self) -> Outcome {
        let [free, line] = self.loads;
        let (free, line, belt, shelf) = tokio::join!(
            free.finish(),
            line.finish(),
            self.producer.finish(),
            self.people.finish()
        );
        let errors = client_errors(&[&free, &line]);
        let accepted = [accepted(&free), accepted(&line), confirmed(&belt), shelf];
        let every: Vec<Parcel> = accepted.iter().flatten().cloned().collect();
        let filed: Vec<Parcel> = [&accepted[0][..], &accepted[3]].concat();
        wait_for("every message to come out", PATIENCE, async || {
            self.ledger.read().await?;
            let at_partner = Ruling::of(&every, &of_partner(&self.ledger.seen), false);
            let at_queue = Ruling::of(&every, &of_queue(self.consumer.arrivals()), false);
            let (documents, _) = self.library.documents().await?;
            let in_library = Ruling::of(&filed, &documents, false);
            let all = [at_partner, at_queue, in_library];
            if all.iter().all(|ruling| ruling.lost.is_empty()) {
                return Ok(());
            }
            Err(all.map(|ruling| ruling.to_string()).join("; "))
        })
        .await;
        let library = wait_for("every delivery to end", PATIENCE, async || {
            let left = self.topology.query("SELECT count(*) FROM delivery").await?;
            let (documents, wrong) = self.library.documents().await?;
            if left == "0" && wrong.is_empty() {
                Ok(documents)
            } else {
                let first = wrong.first();
                Err(format!(
                    "{left} are left, {} documents are wrong: {first:?}",
                    wrong.len()
                ))
            }
        })
        .await;
        let arrivals = self.consumer.finish().await;
        self.ledger.read().await.unwrap_or_else(|e| panic!("{e}"));
        let (partner, queue) = (of_partner(&self.ledger.seen), of_queue(&arrivals));
        let mut rulings = BTreeMap::new();
        for ((way, _), accepted) in WAYS.into_iter().zip(&accepted) {
            let targets = [
                ("partner", &partner),
                ("queue", &queue),
                ("library", &library),
            ];
            for (target, arrived) in targets {
                if target == "library" && in_order(way) {
                    continue;
                }
                let of_way = |seen: &&Arrived| seen.parcel.id.starts_with(way);
                let arrived: Vec<_> = arrived.iter().filter(of_way).cloned().collect();
                let ruling = Ruling::of(accepted, &arrived, in_order(way));
                note(&format!("{way} -> {target}: {ruling}"));
                rulings.insert((target, way), ruling);
            }
        }
        let sum = |at: &str, of: &dyn Fn(&Ruling) -> usize| {
            let at_target = rulings
                .iter()
                .filter(|((target, _), _)| target.starts_with(at));
            at_target.map(|(_, ruling)| of(ruling)).sum::<usize>()
        };
        note(&format!(
            "{}: accepted {}, client errors {errors}; delivered {} to the partner, {} to the queue, {} to the library; lost {}, \
             repeated {}, order inversions {}",
            self.topology.name(),
            every.len(),
            sum("partner", &|r| r.delivered),
            sum("queue", &|r| r.delivered),
            sum("library", &|r| r.delivered),
            sum("", &|r| r.lost.len()),
            sum("", &|r| r.repeated.len()),
            sum("", &|r| r.inversions.len()),
        ));
        // What goes into the queue is accepted by the brokers, and not by the gateway.
        let every = [&accepted[0][..], &accepted[1][..]].concat();
        tell_gaps(&self.steps, &every, &partner, &queue);
        Outcome {
            accepted: every.len(),
            rulings,
        }
    }
}

/// The longest time in which nothing was accepted, and nothing arrived, by fault.
fn tell_gaps(steps: &[Step], accepted: &[Parcel], partner: &[Arrived], queue: &[Arrived]) {
    let arrived = |all: &[Arrived]| all.iter().map(|seen| seen.parcel.at_us).collect();
    let moments: [Vec<u64>; 3] = [
        accepted.iter().map(|parcel| parcel.at_us).collect(),
        arrived(partner),
        arrived(queue),
    ];
    for fault in Fault::ALL {
        let of_fault = steps.iter().filter(|step| step.fault == fault);
        let gaps = moments.each_ref().map(|moments| {
            let gaps = of_fault
                .clone()
                .map(|step| longest_gap(moments, step.from, step.to));
            gaps.max().unwrap_or_default().as_millis()
        });
        note(&format!(
            "{fault:?}, {} times: longest gap of requests accepted {} ms, at the partner {} ms, at the queue {} ms",
            of_fault.count(),
            gaps[0],
            gaps[1],
            gaps[2]
        ));
    }
}

/// How many messages of each key arrived at each target.
#[derive(Debug, Default)]
struct Counts(BTreeMap<(&'static str, String), usize>);

impl Counts {
    fn add(&mut self, target: &'static str, key: &str) {
        *self.0.entry((target, key.to_owned())).or_default() += 1;
    }

    fn complete(&self) -> Result<(), String> {
        let keys = WAYS
            .into_iter()
            .flat_map(|(way, keys)| (0..keys).map(move |no| format!("{way}-{no}")));
        let mut missing = Vec::new();
        for key in keys {
            for target in ["partner", "queue"] {
                let count = self.0.get(&(target, key.clone())).copied().unwrap_or(0);
                if count < GOOD {
                    missing.push(format!("{key} at the {target}: {count}"));
                }
            }
        }
        if missing.is_empty() {
            Ok(())
        } else {
            Err(missing.join(", "))
        }
    }
}

async fn wait_ready(web: SocketAddr) {
    wait_for("a node to be ready", PATIENCE, async || {
        let get = client::request("GET", web, "/readyz", &[], Bytes::new());
        let reply = client::once(web, get, Duration::from_secs(2)).await;
        let status = reply.map_err(|e| e.to_string())?.status;
        if status == 200 {
            Ok(())
        } else {
            Err(status.to_string())
        }
    })
    .await;
}

/// The requests that were not accepted when they were made, by their answers.
fn client_errors(reports: &[&LoadReport]) -> String {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let answers = reports.iter().flat_map(|report| &report.answers);
    for answer in answers.filter(|answer| !answer.accepted()) {
        let kind = match &answer.outcome {
            Ok(status) => format!("{} {}", status.code, status.problem),
            Err(Broken::Connect(_)) => "no connection".to_owned(),
            Err(Broken::Lost(_)) => "connection lost".to_owned(),
            Err(Broken::Late(_)) => "no answer".to_owned(),
        };
        *kinds.entry(kind.trim().to_owned()).or_default() += 1;
    }
    let all: usize = kinds.values().sum();
    let kinds: Vec<_> = kinds
        .iter()
        .map(|(kind, count)| format!("{kind}: {count}"))
        .collect();
    format!("{all} ({})", kinds.join(", "))
}

fn accepted(report: &LoadReport) -> Vec<Parcel> {
    let parcel = |answer: &&quayside_harness::Answer| Parcel {
        at_us: answer.sent_at + u64::try_from(answer.took.as_micros()).unwrap_or(0),
        id: answer.id.clone(),
        key: answer.key.clone(),
        sequence: answer.no,
    };
    report.accepted().iter().map(parcel).collect()
}

fn confirmed(confirmed: &[Confirmed]) -> Vec<Parcel> {
    let parcel = |one: &Confirmed| Parcel {
        at_us: one.at_us,
        id: one.id(),
        key: one.key.clone(),
        sequence: one.sequence,
    };
    confirmed.iter().map(parcel).collect()
}

fn of_queue(arrivals: &[Arrival]) -> Vec<Arrived> {
    let arrived = |one: &Arrival| Arrived {
        parcel: Parcel {
            at_us: one.at_us,
            id: one.id.clone(),
            key: one.key.clone(),
            sequence: one.sequence,
        },
        known_by: one.message_id.clone(),
        again: one.redelivered,
    };
    arrivals.iter().map(arrived).collect()
}

/// What the partner acted on, or would have, had it not known the key: the number of a message ends its id.
fn of_partner(log: &[Seen]) -> Vec<Arrived> {
    let arrived = |one: &Seen| Arrived {
        parcel: Parcel {
            at_us: one.at_us,
            id: one.id.clone(),
            key: one.order.clone(),
            sequence: number(&one.id),
        },
        known_by: one.key.clone(),
        again: false,
    };
    log.iter().map(arrived).collect()
}

fn number(id: &str) -> u64 {
    let digits = id
        .rsplit(['.', '-'])
        .next()
        .and_then(|digits| digits.parse().ok());
    digits.unwrap_or_else(|| panic!("the id `{id}` ends with no number"))
}
