//! The rows of new messages as columns: one array each, one statement per table.

use std::collections::{HashMap, HashSet};

use quayside_store::{
    StoreError,
    commit::{Birth, NewDelivery},
    model::{Content, MessageId, Name, StoredBody, Timestamp},
};

use super::{
    OPERATION,
    attempt::{Item, Verdict},
    order::Order,
};
use crate::{
    PostgresStore,
    pool::{Conn, Params, Step, lock},
    row::{Id, micros, to_json},
    sql::Sql,
};

/// All columns of a batch.
#[derive(Debug, Default)]
pub(super) struct Columns<'a> {
    messages: Messages<'a>,
    parts: Parts<'a>,
    deliveries: Deliveries<'a>,
    exchanges: Exchanges,
    sources: Sources<'a>,
    lanes: Lanes<'a>,
}

impl<'a> Columns<'a> {
    /// The columns of the items that are new.
    pub(super) fn new(
        store: &PostgresStore,
        items: &[Item<'a>],
        order: &Order,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let mut columns = Self::default();
        let mut busy = order.busy();
        for item in items.iter().filter(|i| i.verdict == Verdict::New) {
            columns.messages.push(item)?;
            columns.parts.push(item);
            for (no, delivery) in (0..).zip(&item.publish.deliveries) {
                let claimed = order.may_hand_off(delivery, &mut busy);
                columns.deliveries.push(item, no, delivery, claimed, now)?;
                columns.lanes.push(delivery);
            }
            columns.exchanges.push(item, now);
            columns.sources.push(item);
        }
        columns.lanes.forget_known(store);
        Ok(columns)
    }

    /// The statements that write them.
    pub(super) fn steps<'s>(&'s self, conn: &'s Conn, me: &'s Id, now: &'s i64) -> Vec<Step<'s>> {
        let mut steps = Vec::new();
        if !self.lanes.ports.is_empty() {
            steps.push(conn.step(Sql::LaneInsert, vec![&self.lanes.ports, &self.lanes.nos]));
        }
        if !self.messages.ids.is_empty() {
            let mut params = self.messages.params(now);
            params.extend(self.parts.params());
            params.extend(self.deliveries.params(me));
            steps.push(conn.step(Sql::MessageInsert, params));
        }
        if !self.exchanges.ids.is_empty() {
            steps.push(conn.step(Sql::ExchangeInsert, self.exchanges.params()));
        }
        if !self.sources.keys.is_empty() {
            steps.push(conn.step(Sql::SourceInsert, self.sources.params(now)));
        }
        steps
    }

    /// The rows for the statement that commits messages without exchanges, sources, order, stored bodies
    /// and failures.
    pub(super) fn plain_params(&self) -> Params<'_> {
        let Self {
            messages: m,
            parts: p,
            deliveries: d,
            ..
        } = self;
        vec![
            &m.ids,
            &m.slots,
            &m.received,
            &m.origins,
            &m.types,
            &m.contexts,
            &m.versions,
            &m.fanouts,
            &m.lens,
            &m.content_types,
            &p.messages,
            &p.nos,
            &p.names,
            &p.content_types,
            &p.lens,
            &p.bytes,
            &d.messages,
            &d.nos,
            &d.slots,
            &d.ports,
            &d.states,
            &d.priorities,
            &d.ranks,
            &d.rendered,
        ]
    }

    /// The deliveries that were born claimed, by message.
    pub(super) fn claimed(&self) -> HashMap<MessageId, Vec<u16>> {
        let mut claimed: HashMap<MessageId, Vec<u16>> = HashMap::new();
        let rows = self.deliveries.messages.iter().zip(&self.deliveries.nos);
        for ((message, no), state) in rows.zip(&self.deliveries.states) {
            if let (1, Ok(no)) = (*state, u16::try_from(*no)) {
                claimed.entry((*message).into()).or_default().push(no);
            }
        }
        claimed
    }

    /// The lanes whose rows are there once the batch is committed.
    pub(super) fn new_lanes(&self) -> &[(&'a Name, u16)] {
        &self.lanes.all
    }
}

#[derive(Debug, Default)]
struct Messages<'a> {
    ids: Vec<Id>,
    slots: Vec<i16>,
    received: Vec<i64>,
    origins: Vec<&'a str>,
    types: Vec<Option<&'a str>>,
    contexts: Vec<String>,
    versions: Vec<i64>,
    fanouts: Vec<i32>,
    exchanges: Vec<Option<Id>>,
    lens: Vec<i64>,
    content_types: Vec<Option<&'a str>>,
}

impl<'a> Messages<'a> {
    fn push(&mut self, item: &Item<'a>) -> Result<(), StoreError> {
        let publish = item.publish;
        let message = &*publish.message;
        let body = message.parts.first();
        self.ids.push(message.id.into());
        self.slots.push(slot(publish.slot));
        self.received.push(message.received_at.as_micros());
        self.origins.push(&message.origin);
        self.types.push(message.message_type.as_deref());
        self.contexts.push(to_json(OPERATION, &message.context)?);
        self.versions.push(publish.config_version);
        self.fanouts
            .push(i32::try_from(publish.deliveries.len()).unwrap_or(i32::MAX));
        self.exchanges.push(publish.exchange.map(|x| x.id.into()));
        self.lens.push(body.map_or(0, |b| len(b.content.len())));
        self.content_types
            .push(body.and_then(|b| b.content_type.as_deref()));
        Ok(())
    }

    fn params<'s>(&'s self, now: &'s i64) -> Params<'s> {
        vec![
            now,
            &self.ids,
            &self.slots,
            &self.received,
            &self.origins,
            &self.types,
            &self.contexts,
            &self.versions,
            &self.fanouts,
            &self.exchanges,
            &self.lens,
            &self.content_types,
        ]
    }
}

#[derive(Debug, Default)]
struct Parts<'a> {
    messages: Vec<Id>,
    nos: Vec<i32>,
    names: Vec<&'a str>,
    content_types: Vec<Option<&'a str>>,
    lens: Vec<i64>,
    bytes: Vec<Option<&'a [u8]>>,
    bodies: Vec<Option<Id>>,
}

impl<'a> Parts<'a> {
    fn push(&mut self, item: &Item<'a>) {
        let message = &*item.publish.message;
        for (no, part) in (0..).zip(&message.parts) {
            self.messages.push(message.id.into());
            self.nos.push(no);
            self.names.push(&part.name);
            self.content_types.push(part.content_type.as_deref());
            self.lens.push(len(part.content.len()));
            let (bytes, body) = match &part.content {
                Content::Inline(bytes) => (Some(&**bytes), None),
                Content::Stored(body) => (None, Some(body.id.into())),
            };
            self.bytes.push(bytes);
            self.bodies.push(body);
        }
    }

    fn params(&self) -> Params<'_> {
        vec![
            &self.messages,
            &self.nos,
            &self.names,
            &self.content_types,
            &self.lens,
            &self.bytes,
            &self.bodies,
        ]
    }
}

#[derive(Debug, Default)]
struct Deliveries<'a> {
    messages: Vec<Id>,
    nos: Vec<i32>,
    slots: Vec<i16>,
    ports: Vec<&'a str>,
    states: Vec<i16>,
    priorities: Vec<i16>,
    ranks: Vec<i64>,
    dues: Vec<i64>,
    lanes: Vec<Option<i32>>,
    keys: Vec<Option<&'a [u8]>>,
    rendered: Vec<Option<&'a str>>,
    failures: Vec<Option<String>>,
    exchanges: Vec<Option<Id>>,
    runs: Vec<Option<Id>>,
}

impl<'a> Deliveries<'a> {
    fn push(
        &mut self,
        item: &Item<'a>,
        no: i32,
        delivery: &'a NewDelivery,
        claimed: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (state, failure, run) = match &delivery.birth {
            Birth::Claimed if claimed => (1, None, None),
            Birth::Ready | Birth::Claimed => (0, None, None),
            Birth::Suspended(failure) => (3, Some(to_json(OPERATION, failure)?), None),
            Birth::Kept(run) => (5, None, Some(Id::from(*run))),
        };
        self.messages.push(item.publish.message.id.into());
        self.nos.push(no);
        self.slots.push(slot(item.publish.slot));
        self.ports.push(&delivery.port);
        self.states.push(state);
        self.priorities.push(i16::from(delivery.priority.get()));
        self.ranks.push(delivery.priority.rank(now));
        self.dues.push(now.as_micros());
        self.lanes.push(delivery.order.map(|o| i32::from(o.lane)));
        self.keys.push(delivery.order.as_ref().map(|o| &o.hash[..]));
        self.rendered.push(delivery.rendered.as_deref());
        self.failures.push(failure);
        self.exchanges
            .push(item.publish.exchange.map(|x| x.id.into()));
        self.runs.push(run);
        Ok(())
    }

    fn params<'s>(&'s self, me: &'s Id) -> Params<'s> {
        vec![
            me,
            &self.messages,
            &self.nos,
            &self.slots,
            &self.ports,
            &self.states,
            &self.priorities,
            &self.ranks,
            &self.dues,
            &self.lanes,
            &self.keys,
            &self.rendered,
            &self.failures,
            &self.exchanges,
            &self.runs,
        ]
    }
}

#[derive(Debug, Default)]
struct Exchanges {
    ids: Vec<Id>,
    messages: Vec<Id>,
    keep_until: Vec<i64>,
    runs: Vec<Option<Id>>,
    leases: Vec<Option<i64>>,
    lease_ends: Vec<Option<i64>>,
    attempts: Vec<Option<i32>>,
    tokens: Vec<Option<Id>>,
}

impl Exchanges {
    fn push(&mut self, item: &Item<'_>, now: Timestamp) {
        if let Some(exchange) = item.publish.exchange {
            self.ids.push(exchange.id.into());
            self.messages.push(item.publish.message.id.into());
            self.keep_until
                .push(now.as_micros().saturating_add(micros(exchange.keep)));
            self.runs.push(exchange.run.map(Id::from));
            let (lease, now) = (exchange.lease, now.as_micros());
            let length = lease.map(|lease| micros(lease.length));
            self.leases.push(length);
            self.lease_ends
                .push(length.map(|of| now.saturating_add(of)));
            let attempt = lease.map(|lease| i32::try_from(lease.attempt).unwrap_or(i32::MAX));
            self.attempts.push(attempt);
            self.tokens.push(lease.map(|lease| Id(lease.token)));
        }
    }

    fn params(&self) -> Params<'_> {
        vec![
            &self.ids,
            &self.messages,
            &self.keep_until,
            &self.runs,
            &self.leases,
            &self.lease_ends,
            &self.attempts,
            &self.tokens,
        ]
    }
}

#[derive(Debug, Default)]
struct Sources<'a> {
    locations: Vec<&'a str>,
    keys: Vec<&'a str>,
    states: Vec<&'a str>,
    messages: Vec<Id>,
}

impl<'a> Sources<'a> {
    fn push(&mut self, item: &Item<'a>) {
        let Some(source) = &item.publish.source else {
            return;
        };
        // One statement cannot touch a row twice: the later mark of one thing is the one that counts.
        let same = self.locations.iter().zip(&self.keys);
        let place = same
            .map(|(location, key)| (*location, *key))
            .position(|mark| mark == (&*source.location, &*source.key));
        let message = item.publish.message.id.into();
        if let Some(place) = place {
            self.states[place] = &source.state;
            self.messages[place] = message;
            return;
        }
        self.locations.push(&source.location);
        self.keys.push(&source.key);
        self.states.push(&source.state);
        self.messages.push(message);
    }

    fn params<'s>(&'s self, now: &'s i64) -> Params<'s> {
        vec![
            now,
            &self.locations,
            &self.keys,
            &self.states,
            &self.messages,
        ]
    }
}

/// Lanes that may not have a row yet.
#[derive(Debug, Default)]
struct Lanes<'a> {
    all: Vec<(&'a Name, u16)>,
    ports: Vec<&'a str>,
    nos: Vec<i32>,
}

impl<'a> Lanes<'a> {
    fn push(&mut self, delivery: &'a NewDelivery) {
        if let Some(order) = delivery.order {
            self.all.push((&delivery.port, order.lane));
        }
    }

    fn forget_known(&mut self, store: &PostgresStore) {
        if self.all.is_empty() {
            return;
        }
        let mut seen = HashSet::new();
        let known = lock(&store.lanes);
        self.all.retain(|(port, no)| {
            seen.insert((*port, *no)) && !known.contains(&((*port).clone(), *no))
        });
        self.ports = self.all.iter().map(|(port, _)| port.as_str()).collect();
        self.nos = self.all.iter().map(|(_, no)| i32::from(*no)).collect();
    }
}

impl PostgresStore {
    /// Lanes whose rows are committed: no later batch has to insert them.
    pub(super) fn remember_lanes(&self, lanes: &[(&Name, u16)]) {
        if !lanes.is_empty() {
            let new = lanes.iter().map(|(port, no)| ((*port).clone(), *no));
            lock(&self.lanes).extend(new);
        }
    }
}

/// The bodies in chunks of the items that are new so far.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    ids: Vec<Id>,
    chunks: Vec<i32>,
    lens: Vec<i64>,
    sha256: Vec<Vec<u8>>,
}

impl Bodies {
    pub(super) fn of(items: &[Item<'_>]) -> Self {
        let new = items.iter().filter(|i| i.verdict == Verdict::New);
        let parts = new.flat_map(|i| &i.publish.message.parts);
        let mut stored: Vec<&StoredBody> = parts
            .filter_map(|part| match &part.content {
                Content::Stored(body) => Some(body),
                Content::Inline(_) => None,
            })
            .collect();
        stored.sort_by_key(|body| body.id);
        let mut bodies = Self::default();
        for body in stored {
            bodies.ids.push(body.id.into());
            bodies
                .chunks
                .push(i32::try_from(body.chunks).unwrap_or(i32::MAX));
            bodies.lens.push(len(body.len));
            bodies.sha256.push(body.sha256.to_vec());
        }
        bodies
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(super) fn params<'s>(&'s self, me: &'s Id) -> Params<'s> {
        vec![me, &self.ids, &self.chunks, &self.lens, &self.sha256]
    }
}

fn len(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn slot(slot: u16) -> i16 {
    // There are 4,096 slots.
    i16::try_from(slot).unwrap_or(i16::MAX)
}
