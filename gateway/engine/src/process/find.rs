//! What a message is to an orchestration: the keys by which it may find an instance, and the receive that it starts one by.

use quayside_model::Message;
use quayside_orchestration::{Activation, CorrelationKey};

use crate::{filter::Facts, plan::OrchestrationPlan};

/// The keys that `message` has for instances of the definition in force and of earlier ones, each once.
pub(crate) fn keys(plan: &OrchestrationPlan, message: &Message) -> Vec<CorrelationKey> {
    let mut keys = Vec::new();
    let Some(of) = &message.message_type else {
        return keys;
    };
    for definition in std::iter::once(&plan.definition).chain(&plan.older) {
        let ways = definition.correlations().into_iter();
        let ways = ways.filter(|way| way.types.contains(of));
        let found = ways.filter_map(|way| definition.correlation_key(way.group, &message.context));
        for key in found {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    keys
}

/// The receive by which `message` starts an instance.
pub(crate) fn activation<'p>(
    plan: &'p OrchestrationPlan,
    message: &Message,
) -> Option<&'p Activation> {
    let facts = Facts::new(message);
    let of = message.message_type.as_ref()?;
    let mut all = plan.activations.iter();
    let found = all.find(|(activation, filter)| {
        activation.message_type == *of
            && filter.as_ref().is_none_or(|filter| filter.matches(&facts))
    });
    found.map(|(activation, _)| activation)
}

/// The receive by which an instance begins that another one starts with `message`: its filter is for those who subscribe.
pub(crate) fn started<'p>(
    plan: &'p OrchestrationPlan,
    message: &Message,
) -> Option<&'p Activation> {
    let of = message.message_type.as_ref();
    let mut all = plan.activations.iter();
    let found = all.find(|(activation, _)| Some(&activation.message_type) == of);
    found.map(|(activation, _)| activation)
}
