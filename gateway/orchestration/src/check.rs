//! What a definition does on every path: whether messages are there before they are used, correlations
//! have values before they are followed, and every step can be reached.

use std::collections::BTreeSet;

use crate::{
    Definition, codes,
    defect::Defects,
    definition::{Action, Assignment, Receive, Scope, Trigger},
    read::{first_receives, messages_used},
};

pub(crate) fn check(definition: &Definition, defects: &mut Defects) {
    let Some(first) = definition.blocks.first().and_then(|block| block.first()) else {
        return;
    };
    let mut walk = Walk {
        definition,
        defects,
        first: BTreeSet::new(),
        reported: BTreeSet::new(),
    };
    match first_receives(definition, 0) {
        Some(receives) => {
            walk.first = receives.iter().map(|(step, _)| *step).collect();
            walk.convoy(&receives);
        }
        // A first step with faults of its own has been told of.
        None if matches!(definition.step(*first).action, Action::Broken) => {}
        None => {
            let step = definition.step(*first);
            let message = format!(
                "the first step, `{}`, waits for no message that starts an instance",
                step.name
            );
            walk.defects.add(step.place, codes::NOT_ACTIVATED, message);
        }
    }
    walk.block(0, Flow::default());
}

/// What is certain at a place.
#[derive(Debug, Clone, Default)]
struct Flow {
    messages: BTreeSet<u16>,
    sets: BTreeSet<u16>,
    /// Nothing comes after it.
    ended: bool,
    /// A step could not be read, so that nothing is certain.
    broken: bool,
}

impl Flow {
    fn ends(mut self) -> Self {
        self.ended = true;
        self
    }

    /// What is certain behind several ways of which one is taken.
    fn merge(ways: Vec<Self>) -> Self {
        let broken = ways.iter().any(|way| way.broken);
        let mut open = ways.iter().filter(|way| !way.ended);
        let Some(first) = open.next() else {
            return Self {
                ended: true,
                broken,
                ..Self::default()
            };
        };
        let mut merged = first.clone();
        for way in open {
            merged.messages.retain(|slot| way.messages.contains(slot));
            merged.sets.retain(|set| way.sets.contains(set));
        }
        merged.broken = broken;
        merged
    }
}

struct Walk<'a> {
    definition: &'a Definition,
    defects: &'a mut Defects,
    /// The steps that may activate.
    first: BTreeSet<u16>,
    /// What was told of already: a step and a slot.
    reported: BTreeSet<(u16, u16, bool)>,
}

impl Walk<'_> {
    /// Several receives that start one instance need a correlation by which they find it.
    fn convoy(&mut self, receives: &[(u16, &Receive)]) {
        let parallel = receives
            .iter()
            .map(|(step, _)| step)
            .collect::<BTreeSet<_>>()
            .len()
            > 1;
        let sorted =
            |receive: &Receive| receive.initialise.iter().copied().collect::<BTreeSet<_>>();
        for (step, receive) in receives {
            let same = sorted(receive) == sorted(receives[0].1) && !receive.initialise.is_empty();
            if parallel && !same {
                let message = "receives that start an instance side by side have to initialise the same correlation";
                self.defects.add(
                    self.definition.step(*step).place,
                    codes::NOT_INITIALISED,
                    message,
                );
            }
        }
    }

    fn block(&mut self, block: u16, mut flow: Flow) -> Flow {
        let mut told = false;
        for step in self.definition.block(block) {
            if flow.ended && !told {
                told = true;
                let step = self.definition.step(*step);
                let message = format!(
                    "the step `{}` is never reached: the one before it ends this path",
                    step.name
                );
                self.defects.add(step.place, codes::UNREACHABLE, message);
            }
            let ended = flow.ended;
            flow = self.step(*step, flow);
            flow.ended |= ended;
        }
        flow
    }

    fn step(&mut self, number: u16, mut flow: Flow) -> Flow {
        let definition = self.definition;
        let action = &definition.step(number).action;
        for expression in action.expressions() {
            for slot in expression.messages() {
                self.needs_message(number, slot, &flow);
            }
        }
        for slot in messages_used(action) {
            self.needs_message(number, slot, &flow);
        }
        match action {
            Action::Receive(receive) => self.receive(number, receive, &mut flow),
            Action::Transform(transform) => {
                flow.messages.insert(transform.to);
            }
            Action::Assign(assignments) => {
                flow.messages
                    .extend(assignments.iter().filter_map(|a| match a {
                        Assignment::Copy { to, .. } => Some(*to),
                        _ => None,
                    }))
            }
            Action::Send(send) => flow.sets.extend(&send.initialise),
            Action::Call(call) => {
                flow.messages.insert(call.reply);
            }
            Action::Worker(worker) => flow.messages.extend(worker.reply),
            Action::Decide(branches) => {
                let mut ways: Vec<Flow> = branches
                    .iter()
                    .map(|(_, block)| self.block(*block, flow.clone()))
                    .collect();
                if branches.iter().all(|(condition, _)| condition.is_some()) {
                    ways.push(flow);
                }
                return Flow::merge(ways);
            }
            Action::Parallel(branches) => {
                for (_, block) in branches {
                    let way = self.block(
                        *block,
                        Flow {
                            ended: false,
                            ..flow.clone()
                        },
                    );
                    flow.broken |= way.broken;
                    flow.ended |= way.ended;
                    flow.messages.extend(&way.messages);
                    flow.sets.extend(&way.sets);
                }
            }
            Action::Each { body, .. } => {
                flow.broken |= self.block(*body, flow.clone()).broken;
            }
            Action::Loop { condition, body } => {
                flow.broken |= self.block(*body, flow.clone()).broken;
                if condition.source.trim() == "true" {
                    return flow.ends();
                }
            }
            Action::Listen(branches) => {
                let mut ways = Vec::new();
                for branch in branches {
                    let mut way = flow.clone();
                    if let Trigger::Receive(receive) = &branch.trigger {
                        self.receive(number, receive, &mut way);
                    }
                    ways.push(self.block(branch.body, way));
                }
                return Flow::merge(ways);
            }
            Action::Scope(scope) => return self.scope(scope, flow),
            Action::Compensate(_) => self.compensate(number),
            Action::Raise { .. } | Action::Terminate(_) => return flow.ends(),
            Action::Broken => flow.broken = true,
            Action::Start { .. } | Action::Delay(_) | Action::Suspend(_) => {}
        }
        flow
    }

    fn scope(&mut self, scope: &Scope, flow: Flow) -> Flow {
        if scope.atomic {
            self.atomic(scope.body);
        }
        let after = self.block(scope.body, flow.clone());
        if let Some(block) = scope.compensate {
            let first = self.definition.block(block).first();
            if let (true, Some(first)) = (after.ended, first) {
                let place = self.definition.step(*first).place;
                let message = "the scope never ends well, so it is never compensated";
                self.defects.add(place, codes::UNREACHABLE, message);
            }
            // One walk with nothing certain behind an end tells of nothing more.
            self.block(
                block,
                Flow {
                    ended: false,
                    broken: after.broken || after.ended,
                    ..after.clone()
                },
            );
        }
        let mut ways = vec![after];
        for handler in &scope.handlers {
            ways.push(self.block(handler.body, flow.clone()));
        }
        Flow::merge(ways)
    }

    /// Nothing in an atomic scope may wait for longer than its commit, or leave it half done.
    fn atomic(&mut self, block: u16) {
        for number in self.definition.block(block) {
            let step = self.definition.step(*number);
            let forbidden = match &step.action {
                Action::Call(_) => {
                    Some("asks and waits for the answer, which only comes after the commit")
                }
                Action::Worker(_) => {
                    Some("asks a worker and waits for it, who only starts after the commit")
                }
                Action::Send(send) if send.notify => {
                    Some("waits for its delivery, which only happens after the commit")
                }
                Action::Delay(_) | Action::Listen(_) => Some("waits for time to pass"),
                Action::Suspend(_) | Action::Terminate(_) => {
                    Some("ends it in the middle: use `raise`")
                }
                Action::Scope(_) => Some("is another scope"),
                Action::Parallel(_) => Some("does several things side by side"),
                _ => None,
            };
            if let Some(why) = forbidden {
                let message = format!("`{}` in an atomic scope {why}", step.action.kind());
                self.defects.add(step.place, codes::ATOMIC, message);
            }
            for inner in step.action.blocks() {
                self.atomic(inner);
            }
        }
    }

    fn receive(&mut self, number: u16, receive: &Receive, flow: &mut Flow) {
        let step = self.definition.step(number);
        if receive.activate && !self.first.contains(&number) {
            let message = format!(
                "the receive `{}` activates, but the instance runs already when it comes",
                step.name
            );
            self.defects.add(step.place, codes::NOT_ACTIVATED, message);
        }
        if let Some(group) = receive.group {
            for set in &self.definition.groups[usize::from(group)].sets {
                let known = flow.sets.contains(set) || flow.broken || flow.ended;
                if !known && self.reported.insert((number, *set, true)) {
                    let set = &self.definition.sets[usize::from(*set)];
                    let message = format!(
                        "`{}` follows `{}`, which has no values here on every path",
                        step.name, set.name
                    );
                    self.defects
                        .add(step.place, codes::NOT_INITIALISED, message);
                }
            }
        }
        flow.sets.extend(&receive.initialise);
        flow.messages.insert(receive.message);
    }

    fn needs_message(&mut self, number: u16, slot: u16, flow: &Flow) {
        let known = flow.messages.contains(&slot) || flow.broken || flow.ended;
        if known || !self.reported.insert((number, slot, false)) {
            return;
        }
        let step = self.definition.step(number);
        let message = format!(
            "`{}` uses the message `{}`, which is not there on every path to it",
            step.name,
            self.definition.message(slot).name
        );
        self.defects.add(step.place, codes::UNASSIGNED, message);
    }

    fn compensate(&mut self, number: u16) {
        // Whether it stands in a handler or a compensation of some scope.
        let inside = self.definition.steps.iter().any(|step| match &step.action {
            Action::Scope(scope) => {
                let handlers = scope.handlers.iter().map(|handler| handler.body);
                handlers
                    .chain(scope.compensate)
                    .any(|block| self.holds(block, number))
            }
            _ => false,
        });
        if !inside {
            let step = self.definition.step(number);
            self.defects.add(
                step.place,
                codes::MISPLACED,
                "`compensate` stands outside of `on_error` and `compensate`",
            );
        }
    }

    fn holds(&self, block: u16, number: u16) -> bool {
        self.definition.block(block).iter().any(|step| {
            let inner = self.definition.step(*step).action.blocks();
            *step == number || inner.into_iter().any(|block| self.holds(block, number))
        })
    }
}
