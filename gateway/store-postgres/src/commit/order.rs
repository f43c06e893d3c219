//! Ordered ports in a batch: which hand-offs are allowed, and which keys go on.
//!
//! Whoever hands off into a lane or takes the head of a key away locks the lane first, as a claim does.
//! So no claim parks a delivery behind a head that is ending, and no two commits hand the same key off.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::Ordering,
};

use quayside_store::{
    StoreError,
    commit::{Birth, NewDelivery},
    model::DeliveryId,
};
use tokio_postgres::Row;

use super::{
    OPERATION,
    attempt::{Item, Verdict, delivery_id},
    next::Nexts,
    settle::Settlements,
};
use crate::{
    PostgresStore,
    pool::Params,
    row::{Id, Reader},
};

type Key = (String, Vec<u8>);

/// What a batch has to do with ordered ports.
#[derive(Debug, Default)]
pub(super) struct Order {
    hand_ports: Vec<String>,
    hand_lanes: Vec<i32>,
    hand_keys: Vec<Vec<u8>>,
    settled: Vec<Id>,
    settled_nos: Vec<i32>,
    own: HashSet<(String, i32)>,
    busy: HashSet<Key>,
    keys: HashMap<DeliveryId, Key>,
}

impl Order {
    /// The hand-offs, wanted heads and settlements of a batch. Settlements count only once this process has met an
    /// ordered port: it cannot hold a delivery of one before.
    pub(super) fn of(
        store: &PostgresStore,
        items: &[Item<'_>],
        settlements: &Settlements<'_>,
        nexts: &Nexts<'_>,
    ) -> Self {
        let mut order = Self::default();
        for next in nexts.wanted() {
            order.hand_ports.push(next.port.to_string());
            order.hand_lanes.push(i32::from(next.order.lane));
            order.hand_keys.push(next.order.hash.to_vec());
        }
        for item in items.iter().filter(|i| i.verdict == Verdict::New) {
            for delivery in &item.publish.deliveries {
                if let (Birth::Claimed, Some(key)) = (&delivery.birth, delivery.order) {
                    order.hand_ports.push(delivery.port.to_string());
                    order.hand_lanes.push(i32::from(key.lane));
                    order.hand_keys.push(key.hash.to_vec());
                }
            }
        }
        if !order.hand_ports.is_empty() {
            store.saw_order();
        }
        if store.ordered.load(Ordering::Relaxed) {
            for id in settlements.leaving() {
                order.settled.push(id.message.into());
                order.settled_nos.push(i32::from(id.no));
            }
        }
        order
    }

    pub(super) fn is_needed(&self) -> bool {
        !self.hand_ports.is_empty() || !self.settled.is_empty()
    }

    pub(super) fn lane_params<'s>(&'s self, me: &'s Id) -> Params<'s> {
        vec![
            me,
            &self.hand_ports,
            &self.hand_lanes,
            &self.settled,
            &self.settled_nos,
        ]
    }

    pub(super) fn busy_params(&self) -> Params<'_> {
        vec![&self.hand_ports, &self.hand_keys]
    }

    pub(super) fn settled_params(&self) -> Params<'_> {
        vec![&self.settled, &self.settled_nos]
    }

    /// Takes in which lanes are its own, which keys have something alive, and the keys that end.
    pub(super) fn learn(
        &mut self,
        lanes: &[Row],
        busy: &[Row],
        keys: &[Row],
    ) -> Result<(), StoreError> {
        for row in lanes {
            let row = Reader::new(row, OPERATION, "lane");
            if row.get("mine")? {
                self.own.insert((row.get("port")?, row.get("no")?));
            }
        }
        for row in busy {
            let row = Reader::new(row, OPERATION, "delivery");
            self.busy.insert((row.get("port")?, row.get("key")?));
        }
        for row in keys {
            let id = delivery_id(row)?;
            let row = Reader::new(row, OPERATION, "delivery");
            self.keys
                .insert(id, (row.get("port")?, row.get("order_key")?));
        }
        Ok(())
    }

    /// The keys with something alive, to be added to as the batch goes on.
    pub(super) fn busy(&self) -> HashSet<Key> {
        self.busy.clone()
    }

    /// Whether `delivery` may be born claimed; from now on its key is busy.
    pub(super) fn may_hand_off(&self, delivery: &NewDelivery, busy: &mut HashSet<Key>) -> bool {
        let Some(order) = delivery.order else {
            return true;
        };
        let own = self
            .own
            .contains(&(delivery.port.to_string(), i32::from(order.lane)));
        let first = busy.insert((delivery.port.to_string(), order.hash.to_vec()));
        own && first
    }

    /// The keys of deliveries that leave the order, as columns.
    pub(super) fn ended(
        &self,
        leaving: impl Iterator<Item = DeliveryId>,
    ) -> (Vec<String>, Vec<Vec<u8>>) {
        leaving.filter_map(|id| self.keys.get(&id).cloned()).unzip()
    }
}
