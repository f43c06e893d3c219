//! Why a message goes where it goes: every subscription of a plan, held against one message.

use std::collections::HashSet;

use quayside_model::{Message, Name, Text};
use serde::Serialize;

use crate::{
    filter::{Facts, Filter, Term, written},
    plan::{OrchestrationPlan, Plan},
};

/// A message, held against all subscriptions of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// Its type.
    pub message_type: Option<Text>,
    /// The location or orchestration that it comes from.
    pub origin: Text,
    /// What it has, promoted or not, by name.
    pub properties: Vec<Shown>,
    /// Every subscription, in the order of their names.
    pub subscriptions: Vec<Held>,
}

/// A property of the message.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    /// Its name.
    pub name: Name,
    /// Its value, as a filter writes it.
    pub value: String,
    /// Whether filters see it.
    pub promoted: bool,
}

/// A subscription, held against the message.
#[derive(Debug, Clone, Serialize)]
pub struct Held {
    /// The send port or orchestration.
    pub name: Name,
    /// What that is: `send-port` or `orchestration`.
    pub kind: &'static str,
    /// The group of ports whose filter this is.
    pub group: Option<Name>,
    /// Whether it gets the message.
    pub matched: bool,
    /// Whether it is in force: one of a port that an operator has unenlisted is not.
    pub enlisted: bool,
    /// The filter, term by term; `None`: it has none, and only gets what is sent to it by name.
    pub filter: Option<Term>,
    /// What an orchestration does with it.
    pub notes: Vec<String>,
}

/// Holds `message` against the subscriptions of `plan`, of which those of `unenlisted` ports are not in force.
#[must_use]
pub fn explain(plan: &Plan, unenlisted: &HashSet<Name>, message: &Message) -> Explanation {
    let facts = Facts::new(message);
    let mut subscriptions = Vec::new();
    for port in &plan.send {
        let enlisted = !unenlisted.contains(&port.name);
        let own = port.filter.iter().map(|filter| (None, Some(filter)));
        let of_groups = port.group_filters.iter();
        let of_groups = of_groups.map(|(group, filter)| (Some(group.clone()), Some(filter)));
        let mut all: Vec<_> = own.chain(of_groups).collect();
        if all.is_empty() {
            all.push((None, None));
        }
        for (group, filter) in all {
            let (matched, term) = held(filter, &facts);
            subscriptions.push(Held {
                name: port.name.clone(),
                kind: "send-port",
                group,
                matched: matched && enlisted,
                enlisted,
                filter: term,
                notes: Vec::new(),
            });
        }
    }
    for orchestration in &plan.orchestrations {
        let (matched, filter) = held(Some(&orchestration.subscription), &facts);
        subscriptions.push(Held {
            name: orchestration.name.clone(),
            kind: "orchestration",
            group: None,
            matched,
            enlisted: true,
            filter,
            notes: notes(orchestration, message),
        });
    }
    subscriptions.sort_by(|a, b| a.name.cmp(&b.name));
    let shown = message.context.iter().map(|(name, property)| Shown {
        name: name.clone(),
        value: written(&property.value),
        promoted: property.promoted,
    });
    Explanation {
        message_type: message.message_type.clone(),
        origin: message.origin.clone(),
        properties: shown.collect(),
        subscriptions,
    }
}

fn held(filter: Option<&Filter>, facts: &Facts<'_>) -> (bool, Option<Term>) {
    let matched = filter.is_some_and(|filter| filter.matches(facts));
    (matched, filter.map(|filter| filter.explain(facts)))
}

/// By which values the message would find an instance, and whether it starts one.
fn notes(plan: &OrchestrationPlan, message: &Message) -> Vec<String> {
    let mut notes = Vec::new();
    let Some(of) = &message.message_type else {
        return notes;
    };
    for way in plan.definition.correlations() {
        if !way.types.contains(of) {
            continue;
        }
        let value = |name: &Name| match message.context.promoted(name) {
            Some(value) => format!("{name} = {}", written(value)),
            None => format!("{name}, which it does not have"),
        };
        let values: Vec<String> = way.properties.iter().map(value).collect();
        notes.push(format!(
            "follows into the instance with {}",
            values.join(" and ")
        ));
    }
    if let Some(activation) = crate::process::find::activation(plan, message) {
        let also = if notes.is_empty() { "" } else { "otherwise " };
        notes.push(format!(
            "{also}starts an instance at the step {}",
            activation.step
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{filter::Verdict, routing::tests};

    #[test]
    fn every_subscription_is_told_and_agrees_with_the_table() {
        let plan = Plan {
            send: vec![
                tests::port("app.archive", &["msg.type == 'order'", "Country == 'DE'"]),
                tests::port("app.erp", &["msg.type == 'order' && Total < 5"]),
                tests::port("app.gone", &["true"]),
                tests::port("app.named", &[]),
            ],
            ..Plan::default()
        };
        let mut message = tests::message("order");
        message.context.promote_text("Country", "AT");
        let unenlisted: HashSet<Name> = [Name::new("app.gone").expect("a name")].into();
        let told = explain(&plan, &unenlisted, &message);
        let all: Vec<(&str, bool, bool)> = told
            .subscriptions
            .iter()
            .map(|one| (one.name.as_str(), one.matched, one.group.is_some()))
            .collect();
        assert_eq!(
            all,
            [
                ("app.archive", true, false),
                ("app.archive", false, true),
                ("app.erp", false, false),
                ("app.gone", false, false),
                ("app.named", false, false),
            ]
        );
        let erp = told.subscriptions[2].filter.as_ref().expect("a filter");
        let verdicts: Vec<Verdict> = erp.parts.iter().map(|part| part.verdict).collect();
        assert_eq!(verdicts, [Verdict::True, Verdict::Absent]);
        assert!(!told.subscriptions[3].enlisted && told.subscriptions[4].filter.is_none());
        let table = crate::routing::Table::compile(&plan, &unenlisted);
        let matched = told.subscriptions.iter().filter(|one| one.matched);
        let matched: Vec<Name> = matched.map(|one| one.name.clone()).collect();
        assert_eq!(table.route(&message), matched);
    }
}
