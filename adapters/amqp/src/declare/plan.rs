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
    config::{Broker, OnFailure, ReceiveSettings, SendSettings, Urls, uris},
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

impl Plan {
    /// The same for who works on the node `node`: users may be named by it.
    #[must_use]
    pub fn of_node(mut self, node: &str) -> Self {
        let sites = self.sites.into_iter().map(|site| Site {
            broker: site.broker.of_node(node),
            ..site
        });
        self.sites = sites.collect();
        self
    }
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
    /// Queues that a location wants for itself, and that location.
    exclusive: BTreeMap<String, String>,
    /// Queues whose location stops at what it cannot take, and that location.
    stopping: BTreeMap<String, String>,
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
    for mut draft in drafts {
        draft.let_wait();
        draft.check(definitions, &mut plan.faults);
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
                exclusive: BTreeMap::new(),
                stopping: BTreeMap::new(),
            });
            drafts.len() - 1
        }
    };
    drafts.get_mut(index)
}

/// The queue of a location or port, with the places of its brokers: two of them are one queue if these are equal.
/// `None` if its block is wrong, or the queue depends on the message.
#[must_use]
pub fn whereabouts(one: &Use<'_>) -> Option<(Vec<String>, String)> {
    if one.receives {
        let settings = ReceiveSettings::read(one.block, &Terms::default()).0?;
        return Some((places(&settings.url)?, settings.queue));
    }
    let settings = SendSettings::read(one.block).0?;
    if settings.is_dynamic() {
        return None;
    }
    let queue = match &settings.msmq {
        Some(msmq) => resolve(&settings.queue, &msmq.machine, Purpose::Send).ok()?,
        None => settings.queue.clone(),
    };
    Some((places(&settings.url)?, queue))
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
        let kind = match (settings.exclusive, transactional) {
            // A queue that loses nothing is a quorum queue, which belongs to nobody alone.
            (true, None) => Kind::Express,
            _ => worked(transactional),
        };
        let definition = self.need(queue, kind, format!("taken by {}", one.place));
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
        if settings.exclusive {
            self.exclusive.insert(queue.clone(), one.place.to_owned());
        }
        if settings.on_failure == OnFailure::Stop {
            self.stopping.insert(queue.clone(), one.place.to_owned());
        }
        if let Some(msmq) = msmq {
            // What is late is of the kind that the queue takes, what is refused for its kind of the other.
            self.dead_letters(&msmq.machine, None);
        }
    }

    /// Lets messages wait in the queues of locations that stop.
    fn let_wait(&mut self) {
        for queue in self.stopping.keys() {
            if let Some(definition) = self.definitions.get_mut(queue) {
                definition.waits = true;
            }
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

    /// What a location would ask for without getting it.
    fn check(&self, definitions: &Definitions, faults: &mut Vec<Fault>) {
        for (queue, place) in &self.exclusive {
            if let Some(definition) = definitions.queues.get(queue)
                && definition.kind != Kind::Express
            {
                let message = format!("{place} is `exclusive`, which a quorum queue ignores");
                let path = ["queue", queue, "kind"];
                faults.push(Fault::error(codes::NOT_EXCLUSIVE, &path, message));
            }
        }
        for (queue, place) in &self.stopping {
            if let Some(limit) = self.definitions.get(queue).and_then(|d| d.delivery_limit) {
                let message = format!(
                    "{place} stops at what it cannot take; after {limit} attempts to go on the broker would give that \
                     up, with all that waits behind it"
                );
                let path = ["queue", queue, "delivery_limit"];
                faults.push(Fault::error(codes::BAD_DEFINITION, &path, message));
            }
        }
        self.check_order(faults);
    }

    /// What would lose the order without a word.
    fn check_order(&self, faults: &mut Vec<Fault>) {
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
mod tests;
