//! What is needed where: the queues of an application by the brokers that they are on.

use std::collections::BTreeMap;

use lapin::uri::AMQPUri;
use quayside_adapter_api::{AdapterError, Block, Terms, model::Fault};

use super::{
    BrokerSettings, Definitions,
    arguments::{Wanted, expand},
    definition::{DeadLetter, Definition, Kind},
};
use crate::{
    codes,
    config::{Broker, ReceiveSettings, SendSettings, Urls, uris},
    msmq::{Purpose, System, journal_of, resolve},
};

/// A location or port that uses a queue.
#[derive(Debug, Clone, Copy)]
pub struct Use<'a> {
    /// Its full name.
    pub place: &'a str,
    /// Whether it is a location.
    pub receives: bool,
    /// Whether the order of its messages is kept.
    pub ordered: bool,
    /// Its block.
    pub block: &'a Block,
}

/// The queues of one broker.
#[derive(Debug, Clone)]
pub struct Site {
    /// How to reach it.
    pub(crate) broker: Broker,
    /// Its URLs, for people.
    pub url: String,
    /// The address of its management API.
    pub management: Option<String>,
    /// Its queues; those first that others give messages up into.
    pub queues: Vec<Planned>,
}

/// A queue and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// As it should be.
    pub wanted: Wanted,
    /// What it is for, in words: `taken by orders.in.mq`.
    pub roles: Vec<String>,
}

/// What an application needs.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// By broker.
    pub sites: Vec<Site>,
    /// What is wrong, at its place in `queues.toml`.
    pub faults: Vec<Fault>,
    /// What cannot be known beforehand, in words.
    pub notes: Vec<String>,
}

/// What is found out about one broker.
#[derive(Debug)]
struct Draft {
    /// Where its brokers are, however they are written.
    places: Vec<String>,
    url: String,
    broker: Broker,
    definitions: BTreeMap<String, Definition>,
    roles: BTreeMap<String, Vec<String>>,
    /// Queues that a location takes from in order, and that location.
    ordered: BTreeMap<String, String>,
}

/// The queues of `uses` and of `definitions`; `at` is the broker of all of them, if that is said.
///
/// A queue without a definition is transactional, with one consumer at a time if its location is ordered.
#[must_use]
pub fn plan(uses: &[Use<'_>], definitions: &Definitions, at: Option<&BrokerSettings>) -> Plan {
    let mut plan = Plan::default();
    let mut drafts: Vec<Draft> = Vec::new();
    for one in uses {
        // What is wrong with a block is told where it is checked.
        if one.receives {
            if let (Some(settings), _) = ReceiveSettings::read(one.block, &Terms::default())
                && let Some(draft) = draft(&mut drafts, &settings.url, settings.broker(), at)
            {
                draft.location(one, &settings);
            }
        } else if let (Some(settings), _) = SendSettings::read(one.block)
            && let Some(draft) = draft(&mut drafts, &settings.url, settings.broker(), at)
        {
            if settings.is_dynamic() {
                let note = "the queue depends on the message; define each one in queues.toml";
                let note = format!("{}: `{}`: {note}", one.place, settings.queue);
                plan.notes.push(note);
            } else {
                draft.port(one, &settings);
            }
        }
    }
    define(definitions, at, &mut drafts, &mut plan.faults);
    for draft in drafts {
        draft.check(&mut plan.faults);
        plan.sites.push(draft.site(definitions, at));
    }
    plan
}

/// The draft of the broker at `urls`, or of the one that is said to be meant.
fn draft<'a>(
    drafts: &'a mut Vec<Draft>,
    urls: &Urls,
    broker: Result<Broker, AdapterError>,
    at: Option<&BrokerSettings>,
) -> Option<&'a mut Draft> {
    let said = at.and_then(|at| at.url.as_ref());
    let urls = said.unwrap_or(urls);
    let places = places(urls)?;
    let found = drafts.iter().position(|draft| draft.places == places);
    let index = match found {
        Some(index) => index,
        None => {
            let broker = match said {
                Some(urls) => Broker::at(urls).ok()?,
                None => broker.ok()?,
            };
            drafts.push(Draft {
                places,
                url: urls.list().join(", "),
                broker,
                definitions: BTreeMap::new(),
                roles: BTreeMap::new(),
                ordered: BTreeMap::new(),
            });
            drafts.len() - 1
        }
    };
    drafts.get_mut(index)
}

/// Where the brokers at `urls` are: host, port and virtual host.
fn places(urls: &Urls) -> Option<Vec<String>> {
    let uris = uris(urls).ok()?;
    let place = |uri: &AMQPUri| {
        let authority = &uri.authority;
        format!("{}:{}/{}", authority.host, authority.port, uri.vhost)
    };
    let mut places: Vec<String> = uris.iter().map(place).collect();
    places.sort();
    Some(places)
}

/// Puts the definitions of the file where their queues are used; the others where the file says.
fn define(
    definitions: &Definitions,
    at: Option<&BrokerSettings>,
    drafts: &mut Vec<Draft>,
    faults: &mut Vec<Fault>,
) {
    let own = at
        .and_then(|at| at.url.as_ref())
        .or(definitions.broker.url.as_ref());
    if let Some(urls) = own {
        // Known even if nothing is known about its queues.
        draft(drafts, urls, Broker::at(urls), at);
    }
    for (name, definition) in &definitions.queues {
        let mut is_used = false;
        for draft in drafts.iter_mut().filter(|d| d.roles.contains_key(name)) {
            draft.definitions.insert(name.clone(), definition.clone());
            is_used = true;
        }
        if is_used {
            continue;
        }
        let place = match own {
            Some(urls) => draft(drafts, urls, Broker::at(urls), at),
            None if drafts.len() == 1 => drafts.first_mut(),
            None => None,
        };
        match place {
            Some(draft) => {
                draft.definitions.insert(name.clone(), definition.clone());
            }
            None => {
                let message = "no port uses the queue, so that its broker is not known";
                let fault = Fault::error(codes::NO_BROKER, &["queue", name], message);
                faults.push(fault);
            }
        }
    }
}

impl Draft {
    fn role(&mut self, queue: &str, role: String) {
        let roles = self.roles.entry(queue.to_owned()).or_default();
        if !roles.contains(&role) {
            roles.push(role);
        }
    }

    /// A queue that is needed as `kind` unless something else is known about it.
    fn need(&mut self, queue: &str, kind: Kind, role: String) -> &mut Definition {
        self.role(queue, role);
        let definition = self.definitions.entry(queue.to_owned());
        let definition = definition.or_insert_with(|| Definition::of(kind));
        // Somebody works on what others only fill, or keep.
        if kind.is_worked() && !definition.kind.is_worked() {
            *definition = Definition::of(kind);
        }
        if kind.is_worked() && definition.single_active_consumer.is_none() {
            definition.single_active_consumer = Some(false);
        }
        definition
    }

    fn location(&mut self, one: &Use<'_>, settings: &ReceiveSettings) {
        let queue = &settings.queue;
        let msmq = settings.msmq.as_ref();
        let transactional = msmq.and_then(|msmq| msmq.transactional);
        let definition = self.need(
            queue,
            worked(transactional),
            format!("taken by {}", one.place),
        );
        definition.journal |= msmq.is_some_and(|msmq| msmq.journal);
        if one.ordered {
            definition.single_active_consumer = Some(true);
        }
        if let Some(dead) = &settings.dead_letter {
            // One place for an operator to look at, whoever gives a message up.
            definition.dead_letter = DeadLetter::Into(dead.clone());
            let role = format!("for what {} cannot take", one.place);
            self.need(dead, Kind::Poison, role);
        }
        if one.ordered {
            self.ordered.insert(queue.clone(), one.place.to_owned());
        }
        if let Some(msmq) = msmq {
            self.dead_letters(&msmq.machine, transactional);
        }
    }

    fn port(&mut self, one: &Use<'_>, settings: &SendSettings) {
        let msmq = settings.msmq.as_ref();
        let named = |name: &str| match msmq {
            Some(msmq) => resolve(name, &msmq.machine, Purpose::Send).ok(),
            None => Some(name.to_owned()),
        };
        let transactional = msmq.map(|msmq| msmq.transactional);
        if let Some(queue) = named(&settings.queue) {
            let role = format!("filled by {}", one.place);
            let definition = self.need(&queue, worked(transactional), role);
            if one.ordered && definition.kind == Kind::Transactional {
                definition.single_active_consumer = Some(true);
            }
        }
        if let Some(queue) = one.block["answer"]["queue"].as_str() {
            let role = format!("answers for {}", one.place);
            self.need(queue, Kind::Transactional, role);
        }
        let Some(msmq) = msmq else {
            return;
        };
        let admin = msmq.administration_queue.as_deref();
        if let Some(queue) = admin.filter(|name| !name.contains('{')).and_then(named) {
            let role = format!("acknowledgments for {}", one.place);
            self.need(&queue, Kind::Admin, role);
        }
        if msmq.journal {
            let queue = System::Journal.queue(&msmq.machine);
            self.need(
                &queue,
                Kind::Journal,
                format!("journal of {}", msmq.machine),
            );
        }
        if msmq.has_dead_letter() {
            self.dead_letters(&msmq.machine, transactional);
        }
    }

    /// The dead letter queues of a machine: for both kinds of messages where both may come.
    fn dead_letters(&mut self, machine: &str, transactional: Option<bool>) {
        for (system, is_of) in [(System::XactDeadLetter, true), (System::DeadLetter, false)] {
            if transactional.is_none_or(|transactional| transactional == is_of) {
                let role = format!("dead letters of {machine}");
                self.role(&system.queue(machine), role);
                let definition = self.definitions.entry(system.queue(machine));
                definition.or_insert_with(|| Definition::of(Kind::DeadLetter));
            }
        }
    }

    /// What would lose the order without a word.
    fn check(&self, faults: &mut Vec<Fault>) {
        for (queue, place) in &self.ordered {
            let Some(definition) = self.definitions.get(queue) else {
                continue;
            };
            let lost = |key: &str, why: &str| {
                let message = format!("{place} is ordered, and {why}");
                Fault::error(codes::ORDER_LOST, &["queue", queue, key], message)
            };
            if !definition.kind.is_worked() {
                let why = "a queue of this kind has no single active consumer";
                faults.push(lost("kind", why));
            } else if !definition.is_single() {
                let why = "several consumers of its queue would share the messages";
                faults.push(lost("single_active_consumer", why));
            } else if definition.kind == Kind::Express && definition.priorities() > 0 {
                let why = "priorities let messages overtake others";
                faults.push(lost("max_priority", why));
            }
        }
    }

    fn site(mut self, definitions: &Definitions, at: Option<&BrokerSettings>) -> Site {
        for (name, definition) in &self.definitions.clone() {
            if let Some(queue) = definition.gives_up_into(name) {
                self.role(&queue, format!("dead letters of {name}"));
            }
            if definition.journal {
                self.role(&journal_of(name), format!("journal of {name}"));
            }
        }
        // The file speaks of its own broker, or of whichever there is.
        let own = definitions.broker.url.as_ref().and_then(places);
        let is_meant = own.is_none_or(|own| own == self.places);
        let in_file = is_meant.then_some(&definitions.broker);
        let mut management = None;
        for settings in in_file.into_iter().chain(at) {
            self.broker.log_in_as(settings);
            management = settings.management.clone().or(management);
        }
        let roles = |name: &str| self.roles.get(name).cloned().unwrap_or_default();
        let queues = expand(&self.definitions).into_iter().map(|wanted| Planned {
            roles: roles(&wanted.name),
            wanted,
        });
        Site {
            queues: queues.collect(),
            url: self.url,
            broker: self.broker,
            management,
        }
    }
}

/// The kind of a queue that is worked on: as MSMQ has it, else the one that loses nothing.
fn worked(transactional: Option<bool>) -> Kind {
    match transactional {
        Some(false) => Kind::Express,
        _ => Kind::Transactional,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn uses(blocks: &[(&'static str, bool, bool, Block)], judge: impl FnOnce(&[Use<'_>])) {
        let uses: Vec<Use<'_>> = blocks
            .iter()
            .map(|(place, receives, ordered, block)| Use {
                place,
                receives: *receives,
                ordered: *ordered,
                block,
            })
            .collect();
        judge(&uses);
    }

    fn definitions(toml: &[(&str, Block)]) -> Definitions {
        let queues = toml.iter().map(|(name, block)| {
            let definition = Definition::read(name, block).0.expect("a definition");
            ((*name).to_owned(), definition)
        });
        Definitions {
            queues: queues.collect(),
            ..Definitions::default()
        }
    }

    fn names(site: &Site) -> Vec<String> {
        let line = |planned: &Planned| {
            let single = planned
                .wanted
                .arguments
                .contains_key("x-single-active-consumer");
            let single = if single { " single" } else { "" };
            let (name, kind) = (&planned.wanted.name, planned.wanted.kind.word());
            format!("{name} {kind}{single}: {}", planned.roles.join(", "))
        };
        site.queues.iter().map(line).collect()
    }

    #[test]
    fn the_queues_of_an_application_follow_from_its_ports() {
        let at = |queue: &str| json!({ "url": "amqp://mq/", "queue": queue });
        let mut strict = at("in");
        strict["dead_letter"] = json!("bad");
        strict["on_failure"] = json!("dead-letter");
        let blocks = [
            ("a.in.mq", true, true, strict),
            ("a.out", false, false, at("out")),
            ("a.many", false, false, at("to.{Country}")),
            ("a.loop", false, true, at("in")),
        ];
        uses(&blocks, |uses| {
            let plan = plan(uses, &Definitions::default(), None);
            assert_eq!(plan.faults, []);
            assert_eq!(plan.sites.len(), 1);
            assert_eq!(
                names(&plan.sites[0]),
                [
                    "bad poison: for what a.in.mq cannot take, dead letters of in",
                    "out.poison poison: dead letters of out",
                    "in transactional single: taken by a.in.mq, filled by a.loop",
                    "out transactional: filled by a.out",
                ]
            );
            assert_eq!(plan.notes.len(), 1, "{:?}", plan.notes);
        });
    }

    #[test]
    fn a_definition_goes_before_what_is_derived_and_must_keep_the_order() {
        let block = json!({ "url": ["amqp://b/", "amqp://a/"], "queue": "in" });
        let blocks = [("a.in.mq", true, true, block)];
        let express = definitions(&[
            ("in", json!({ "kind": "express" })),
            ("more", json!({ "kind": "admin" })),
        ]);
        uses(&blocks, |uses| {
            let found = plan(uses, &express, None);
            let paths: Vec<String> = found.faults.iter().map(|f| f.path.join(".")).collect();
            assert_eq!(paths, ["queue.in.single_active_consumer"]);
            assert_eq!(found.sites[0].url, "amqp://b/, amqp://a/");
            let lines = names(&found.sites[0]);
            assert!(lines.contains(&"more admin: ".to_owned()), "{lines:?}");
        });
    }

    #[test]
    fn queues_of_msmq_stand_beside_those_of_their_machine() {
        let send = json!({
            "url": "amqp://mq/",
            "queue": r"DIRECT=OS:erp\private$\orders",
            "msmq": {
                "machine": "gate", "transactional": true, "journal": true, "acknowledge": "full-reach-queue",
                "administration_queue": "gate.acks",
            },
        });
        let receive = json!({
            "url": "amqp://mq/", "queue": "fast", "msmq": { "machine": "gate", "transactional": false, "journal": true },
        });
        let blocks = [
            ("a.out", false, true, send),
            ("a.in.mq", true, false, receive),
        ];
        uses(&blocks, |uses| {
            let found = plan(uses, &Definitions::default(), None);
            assert_eq!(
                names(&found.sites[0]),
                [
                    "fast.journal$ journal: journal of fast",
                    "fast.poison poison: dead letters of fast",
                    "gate.acks admin: acknowledgments for a.out",
                    "gate.deadletter$ dead-letter: dead letters of gate",
                    "gate.journal$ journal: journal of gate",
                    "gate.xactdeadletter$ dead-letter: dead letters of gate",
                    "msmq.private$.orders.poison poison: dead letters of msmq.private$.orders",
                    "fast express: taken by a.in.mq",
                    "msmq.private$.orders transactional single: filled by a.out",
                ]
            );
        });
    }

    #[test]
    fn the_broker_of_an_unused_queue_must_be_known() {
        let on = |url: &str, queue: &str| json!({ "url": url, "queue": queue });
        let blocks = [
            ("a.x.mq", true, false, on("amqp://one/", "x")),
            ("a.y.mq", true, false, on("amqp://two/", "y")),
        ];
        let mut file = definitions(&[
            ("y", json!({ "kind": "express" })),
            ("z", json!({ "kind": "admin" })),
        ]);
        uses(&blocks, |uses| {
            let found = plan(uses, &file, None);
            assert_eq!(found.faults.len(), 1);
            assert_eq!(
                (found.faults[0].code, found.faults[0].path.join(".")),
                (codes::NO_BROKER, "queue.z".to_owned())
            );
            let at = json!({ "url": "amqp://two:5672/", "user": "root", "management": "http://two:15672" });
            file.broker = BrokerSettings::read(&at).0.expect("settings");
            let found = plan(uses, &file, None);
            assert_eq!(found.faults, []);
            let two = found
                .sites
                .iter()
                .find(|site| site.url == "amqp://two/")
                .expect("a site");
            assert!(names(two).contains(&"z admin: ".to_owned()));
            assert_eq!(two.management.as_deref(), Some("http://two:15672"));
            assert_eq!(two.broker.user.as_deref(), Some("root"));
            assert_eq!(found.sites[0].broker.user, None);
            let here = BrokerSettings::read(&json!({ "url": "amqp://test/" }))
                .0
                .expect("settings");
            let found = plan(uses, &file, Some(&here));
            assert_eq!(found.sites.len(), 1, "all at the broker that is named");
            assert_eq!(found.sites[0].url, "amqp://test/");
        });
    }
}
