//! The subscription table: compiled from the plan, evaluated in memory for every message.
//!
//! Subscriptions with an equality term are found through a hash index, by that of their terms which the
//! fewest subscriptions have; the rest are evaluated one by one. The order of the result is that
//! of the ports' names, so that the numbering of a message's deliveries does not depend on the index.

use std::collections::{BTreeMap, HashMap, HashSet};

use quayside_model::{Message, Name};

use crate::{
    filter::{Equality, Facts, Filter},
    plan::Plan,
};

/// The compiled subscriptions of a plan.
#[derive(Debug, Default)]
pub struct Table {
    subscriptions: Vec<Subscription>,
    /// Property, literal, subscriptions.
    index: BTreeMap<String, HashMap<String, Vec<usize>>>,
    /// Those without an equality term.
    others: Vec<usize>,
}

#[derive(Debug)]
struct Subscription {
    port: Name,
    filter: Filter,
}

impl Table {
    /// Compiles the subscriptions of `plan`, leaving out those of unenlisted ports. The filter of a port
    /// and the filter of each of its groups are one subscription each, so a message that fits two of
    /// them goes to the port twice, as in BizTalk.
    #[must_use]
    pub fn compile(plan: &Plan, unenlisted: &HashSet<Name>) -> Self {
        let mut subscriptions = Vec::new();
        for port in plan
            .send
            .iter()
            .filter(|port| !unenlisted.contains(&port.name))
        {
            let filters = port
                .filter
                .iter()
                .chain(port.group_filters.iter().map(|(_, f)| f));
            for filter in filters {
                subscriptions.push(Subscription {
                    port: port.name.clone(),
                    filter: filter.clone(),
                });
            }
        }
        for orchestration in &plan.orchestrations {
            subscriptions.push(Subscription {
                port: orchestration.name.clone(),
                filter: orchestration.subscription.clone(),
            });
        }
        subscriptions.sort_by(|a, b| a.port.cmp(&b.port));
        let shared = sharing(&subscriptions);
        let mut table = Self {
            subscriptions,
            ..Self::default()
        };
        for (at, subscription) in table.subscriptions.iter().enumerate() {
            let terms = subscription.filter.equalities().iter();
            match terms.min_by_key(|term| shared[*term]) {
                Some(term) => table
                    .index
                    .entry(term.property.clone())
                    .or_default()
                    .entry(term.literal.clone())
                    .or_default()
                    .push(at),
                None => table.others.push(at),
            }
        }
        table
    }

    /// The ports that `message` goes to, once for each subscription that matches.
    #[must_use]
    pub fn route(&self, message: &Message) -> Vec<Name> {
        let facts = Facts::new(message);
        let mut candidates = self.others.clone();
        for (property, literals) in &self.index {
            if let Some(found) = facts
                .comparable(property)
                .and_then(|value| literals.get(&value))
            {
                candidates.extend(found);
            }
        }
        candidates.sort_unstable();
        candidates
            .into_iter()
            .map(|at| &self.subscriptions[at])
            .filter(|subscription| subscription.filter.matches(&facts))
            .map(|subscription| subscription.port.clone())
            .collect()
    }

    /// How many subscriptions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.subscriptions.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }
}

/// How many subscriptions have each equality term.
fn sharing(subscriptions: &[Subscription]) -> HashMap<Equality, usize> {
    let mut shared = HashMap::new();
    for term in subscriptions.iter().flat_map(|s| s.filter.equalities()) {
        *shared.entry(term.clone()).or_default() += 1;
    }
    shared
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;
    use quayside_model::{
        Content, Context, MessageId, Part, RetryPolicy, SeededEntropy, Text, Timestamp,
    };

    use super::*;
    use crate::plan::{InDoubt, SendPipeline, SendPort, TransportPlan};

    /// A message of a type, for tests of this crate.
    pub(crate) fn message(message_type: &str) -> Message {
        let now = Timestamp::from_micros(0);
        Message {
            id: MessageId::new(now, &SeededEntropy::new(1)),
            received_at: now,
            origin: Text::lossy("app.in.web"),
            message_type: Some(Text::lossy(message_type)),
            context: Context::new(),
            parts: vec![Part {
                name: Name::new("body").expect("a name"),
                content_type: None,
                content: Content::Inline(Bytes::new()),
            }],
        }
    }

    /// A send port with filters: its own, and those of groups.
    pub(crate) fn port(port: &str, filters: &[&str]) -> SendPort {
        let name = |text: &str| Name::new(text).expect("a name");
        let mut compiled = filters
            .iter()
            .map(|f| Filter::compile(f).expect("a filter"));
        SendPort {
            name: name(port),
            host: name("host"),
            clustered: false,
            filter: compiled.next(),
            maps: Vec::new(),
            answer_maps: Vec::new(),
            group_filters: compiled.map(|filter| (name("app.group"), filter)).collect(),
            pipeline: SendPipeline::default(),
            primary: TransportPlan {
                adapter: "http".to_owned(),
                block: serde_json::json!({}),
                retry: RetryPolicy::default(),
            },
            backup: None,
            ordered: None,
            max_in_flight: 1,
            priority: None,
            window: None,
            answers: false,
            in_doubt: InDoubt::Resend,
            publish_failures: false,
            attempt_timeout: crate::plan::ATTEMPT_TIMEOUT,
        }
    }

    fn route(ports: Vec<SendPort>, unenlisted: &[&str], message: &Message) -> Vec<String> {
        let plan = Plan {
            send: ports,
            ..Plan::default()
        };
        let unenlisted = unenlisted
            .iter()
            .map(|n| Name::new(*n).expect("a name"))
            .collect();
        let table = Table::compile(&plan, &unenlisted);
        table
            .route(message)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn every_matching_subscription_gets_a_copy() {
        let ports = || {
            vec![
                port("app.z", &["msg.type == 'order'"]),
                port(
                    "app.a",
                    &[
                        "msg.type == 'order' && Country == 'DE'",
                        "Country in ['DE']",
                    ],
                ),
                port("app.m", &["msg.type == 'invoice'"]),
                port("app.all", &["true"]),
                port("app.none", &[]),
            ]
        };
        let mut order = message("order");
        assert_eq!(route(ports(), &[], &order), ["app.all", "app.z"]);
        order.context.promote_text("Country", "DE");
        assert_eq!(
            route(ports(), &[], &order),
            ["app.a", "app.a", "app.all", "app.z"]
        );
        assert_eq!(route(ports(), &["app.a", "app.all"], &order), ["app.z"]);
        assert_eq!(
            route(ports(), &[], &message("invoice")),
            ["app.all", "app.m"]
        );
    }

    #[test]
    fn the_index_takes_the_term_that_the_fewest_share() {
        let ports: Vec<_> = (0..100)
            .map(|n| {
                port(
                    &format!("app.p{n}"),
                    &[&format!("msg.type == 'order' && Id == 'k{n}'")],
                )
            })
            .collect();
        let table = Table::compile(
            &Plan {
                send: ports,
                ..Plan::default()
            },
            &HashSet::new(),
        );
        assert_eq!(table.index.keys().collect::<Vec<_>>(), ["Id"]);
        let mut order = message("order");
        order.context.promote_text("Id", "k42");
        assert_eq!(
            table
                .route(&order)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
            ["app.p42"]
        );
    }
}
