//! What follows from all steps together: the properties that an instance keeps of its messages, what a
//! compensation will look at, and the correlations of parallel convoys.

use std::collections::BTreeSet;

use crate::{
    Definition,
    definition::{Action, Assignment, Captured, Group, Receive, SendTo, Trigger},
    expression::Ref,
};

pub(super) fn gather(definition: &mut Definition) {
    keep(definition);
    capture(definition);
}

/// Receives that start an instance side by side are found again by the correlation that they share.
pub(super) fn convoy(definition: &mut Definition) {
    let Some(receives) = definition
        .blocks
        .first()
        .and_then(|_| first_receives(definition, 0))
    else {
        return;
    };
    let steps: BTreeSet<u16> = receives.iter().map(|(step, _)| *step).collect();
    let found: Vec<(Vec<u16>, u16)> = receives
        .iter()
        .filter(|(_, receive)| steps.len() > 1 && !receive.initialise.is_empty())
        .map(|(_, receive)| (receive.initialise.clone(), receive.message))
        .collect();
    for (mut sets, message) in found {
        sets.sort_unstable();
        let message_type = definition.message(message).message_type.clone();
        match definition.group_of(&sets) {
            Some(group) => {
                definition.groups[usize::from(group)]
                    .types
                    .insert(message_type);
            }
            None => definition.groups.push(Group {
                sets,
                types: BTreeSet::from([message_type]),
            }),
        }
    }
}

/// Marks the properties that any step looks at.
fn keep(definition: &mut Definition) {
    let mut kept = Vec::new();
    let mut copies = Vec::new();
    for step in &definition.steps {
        for expression in step.action.expressions() {
            kept.extend(
                expression
                    .properties()
                    .map(|(slot, name)| (slot, name.clone())),
            );
        }
        let mut of_sets = |message: u16, sets: &[u16]| {
            let sets = sets.iter().map(|set| &definition.sets[usize::from(*set)]);
            kept.extend(
                sets.flat_map(|set| set.properties.iter().map(move |p| (message, p.clone()))),
            );
        };
        match &step.action {
            Action::Receive(receive) => of_sets(receive.message, &receive.initialise),
            Action::Send(send) => of_sets(send.message, &send.initialise),
            Action::Listen(branches) => {
                for branch in branches {
                    if let Trigger::Receive(receive) = &branch.trigger {
                        of_sets(receive.message, &receive.initialise);
                    }
                }
            }
            Action::Assign(assignments) => {
                copies.extend(assignments.iter().filter_map(|a| match a {
                    Assignment::Copy { to, from } => Some((usize::from(*to), usize::from(*from))),
                    _ => None,
                }))
            }
            _ => {}
        }
    }
    for (slot, name) in kept {
        definition.messages[usize::from(slot)].kept.insert(name);
    }
    // What is looked at in a copy has to be kept of what it is copied from; chains of copies settle.
    loop {
        let mut grown = false;
        for (to, from) in &copies {
            let wanted = definition.messages[*to].kept.clone();
            let kept = &mut definition.messages[*from].kept;
            let before = kept.len();
            kept.extend(wanted);
            grown |= kept.len() > before;
        }
        if !grown {
            return;
        }
    }
}

/// Notes what each compensation looks at.
fn capture(definition: &mut Definition) {
    for number in 0..definition.steps.len() {
        let Action::Scope(scope) = &definition.steps[number].action else {
            continue;
        };
        let Some(block) = scope.compensate else {
            continue;
        };
        let mut captured = Captured::default();
        uses(definition, block, &mut captured);
        if let Action::Scope(scope) = &mut definition.steps[number].action {
            scope.captured = captured;
        }
    }
}

fn uses(definition: &Definition, block: u16, captured: &mut Captured) {
    let steps: BTreeSet<u16> = definition.block(block).iter().copied().collect();
    for step in steps {
        let action = &definition.step(step).action;
        for expression in action.expressions() {
            captured.messages.extend(expression.messages());
            captured
                .variables
                .extend(expression.refs().filter_map(|what| match what {
                    Ref::Variable(slot) => Some(*slot),
                    _ => None,
                }));
        }
        captured.messages.extend(messages(action));
        for inner in action.blocks() {
            uses(definition, inner, captured);
        }
    }
}

/// The messages that a step uses by name.
pub(crate) fn messages(action: &Action) -> Vec<u16> {
    match action {
        Action::Transform(transform) => transform.from.clone(),
        Action::Assign(assignments) => assignments
            .iter()
            .filter_map(|assignment| match assignment {
                Assignment::Variable(..) => None,
                Assignment::Property(slot, ..) => Some(*slot),
                Assignment::Copy { from, .. } => Some(*from),
            })
            .collect(),
        Action::Send(send) => match send.to {
            SendTo::Answer(request) => vec![send.message, request],
            _ => vec![send.message],
        },
        Action::Call(call) => vec![call.message],
        Action::Worker(worker) => vec![worker.message],
        Action::Start { message, .. } => vec![*message],
        _ => Vec::new(),
    }
}

/// The first receives of an orchestration, if each of them activates.
pub(crate) fn first_receives(definition: &Definition, block: u16) -> Option<Vec<(u16, &Receive)>> {
    let first = *definition.block(block).first()?;
    match &definition.step(first).action {
        Action::Receive(receive) => receive.activate.then(|| vec![(first, receive)]),
        Action::Listen(branches) => branches
            .iter()
            .map(|branch| match &branch.trigger {
                Trigger::Receive(receive) if receive.activate => Some((first, receive)),
                _ => None,
            })
            .collect(),
        Action::Parallel(branches) => {
            let mut all = Vec::new();
            for (_, block) in branches {
                all.extend(first_receives(definition, *block)?);
            }
            Some(all)
        }
        Action::Scope(scope) if !scope.atomic => first_receives(definition, scope.body),
        _ => None,
    }
}
