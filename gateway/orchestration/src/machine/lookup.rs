//! Looking things up from where a branch is: what it holds, what a name stands for, which occurrence of a
//! step this is.

use std::collections::BTreeMap;

use quayside_model::{MessageId, Text, Value};

use super::{Done, Halt, Run};
use crate::{
    Datum, Failure, MapCall, Outgoing, World, codes,
    definition::Action,
    expression::{self, Expression, Known, Ref, Trouble},
    id::Occurrence,
    limits,
    state::{Branch, Frame, Held},
};

impl Run<'_> {
    pub(super) fn branch(&self, id: u32) -> &Branch {
        self.state
            .branches
            .iter()
            .find(|branch| branch.id == id)
            .expect("the branch is there")
    }

    pub(super) fn branch_mut(&mut self, id: u32) -> &mut Branch {
        self.state
            .branches
            .iter_mut()
            .find(|branch| branch.id == id)
            .expect("the branch is there")
    }

    /// Goes on behind the step at hand.
    pub(super) fn next(&mut self, id: u32) {
        let branch = self.branch_mut(id);
        branch.wait = None;
        branch.attempt = 0;
        if let Some(Frame::Block(_, at)) = branch.stack.last_mut() {
            *at += 1;
        }
    }

    /// Goes into `frame`, behind which the next step follows.
    pub(super) fn enter(&mut self, id: u32, frame: Frame) -> Done {
        self.next(id);
        self.branch_mut(id).stack.push(frame);
        Ok(())
    }

    pub(super) fn occurrence(&self, id: u32, step: u16) -> Occurrence {
        let branch = self.branch(id);
        Occurrence {
            run: self.state.run,
            step,
            rounds: branch.rounds(),
            attempt: branch.attempt,
            at: self.id_time(),
        }
    }

    /// The time in new ids. It is stable, but never so old that a store would not take it.
    fn id_time(&self) -> quayside_model::Timestamp {
        let now = self.input.now;
        let old = now.since(self.since) > limits::ID_AGE;
        if old { now } else { self.since.min(now) }
    }

    /// The frames around a branch from the inside to the outside, those of its parents too.
    pub(super) fn frames(&self, id: u32) -> impl Iterator<Item = &Frame> {
        let mut branches = vec![self.branch(id)];
        while let Some(parent) = branches.last().and_then(|branch| branch.parent) {
            branches.push(self.branch(parent));
        }
        branches
            .into_iter()
            .flat_map(|branch| branch.stack.iter().rev())
    }

    /// The message in a slot, as a branch sees it.
    pub(super) fn held(&self, id: u32, slot: u16) -> Option<&Held> {
        let captured = self.frames(id).find_map(|frame| match frame {
            Frame::Undo(done) => done.messages.get(&slot),
            _ => None,
        });
        captured.or_else(|| self.state.messages.get(&slot))
    }

    pub(super) fn hold(&mut self, id: u32, slot: u16, held: Held) {
        match self.captured(id, |done| done.messages.get_mut(&slot)) {
            Some(place) => *place = held,
            None => {
                self.state.messages.insert(slot, held);
            }
        }
    }

    pub(super) fn assign_variable(&mut self, id: u32, slot: u16, datum: Datum) {
        match self.captured(id, |done| done.variables.get_mut(&slot)) {
            Some(place) => *place = datum,
            None => {
                self.state.variables.insert(slot, datum);
            }
        }
    }

    /// What a variable holds, as a branch sees it.
    pub(super) fn variable(&self, id: u32, slot: u16) -> Option<Datum> {
        let near = self.frames(id).find_map(|frame| match frame {
            Frame::Undo(done) => done.variables.get(&slot).cloned(),
            Frame::Each(step, items, round) => match &self.definition.step(*step).action {
                Action::Each { variable, .. } if *variable == slot => {
                    let at = usize::try_from(*round).ok()?.checked_sub(1)?;
                    items.get(at).cloned().map(Datum::One)
                }
                _ => None,
            },
            _ => None,
        });
        near.or_else(|| self.state.variables.get(&slot).cloned())
            .or_else(|| self.definition.variable(slot).initial.clone())
    }

    /// The place in what the nearest compensation around has captured, if any has it.
    fn captured<T>(
        &mut self,
        id: u32,
        find: impl Fn(&mut crate::state::Done) -> Option<&mut T>,
    ) -> Option<&mut T> {
        let mut at = Some(id);
        let mut around = vec![];
        while let Some(branch) = at {
            around.push(branch);
            at = self.branch(branch).parent;
        }
        let mut branches: Vec<&mut Branch> = self.state.branches.iter_mut().collect();
        branches.sort_by_key(|branch| around.iter().position(|id| *id == branch.id));
        let inside = branches
            .into_iter()
            .filter(|branch| around.contains(&branch.id));
        let mut frames = inside.flat_map(|branch| branch.stack.iter_mut().rev());
        frames.find_map(|frame| match frame {
            Frame::Undo(done) => find(done),
            _ => None,
        })
    }

    pub(super) fn message(&self, id: u32, slot: u16) -> Done<Held> {
        self.held(id, slot).cloned().ok_or_else(|| {
            let detail = format!(
                "there is no message `{}` yet",
                self.definition.message(slot).name
            );
            Halt::Raise(self.failure(id, "expression", codes::EVALUATION, &detail))
        })
    }

    /// What is sent of the message in a slot.
    pub(super) fn outgoing(&self, id: u32, slot: u16) -> Done<Outgoing> {
        let held = self.message(id, slot)?;
        Ok(Outgoing {
            content: held.id,
            message_type: self.definition.message(slot).message_type.clone(),
            properties: held.set.into_iter().collect(),
        })
    }

    pub(super) fn evaluate(&self, id: u32, expression: &Expression) -> Done<Datum> {
        let view = View { run: self, id };
        expression::evaluate(expression, &view).map_err(|trouble| match trouble {
            Trouble::Needs(needs) => Halt::Needs(needs),
            Trouble::Failed(code, detail) => {
                let name = if code == codes::DOCUMENT {
                    "document"
                } else {
                    "expression"
                };
                Halt::Raise(self.failure(id, name, code, &detail))
            }
        })
    }

    pub(super) fn condition(&self, id: u32, expression: &Expression) -> Done<bool> {
        match self.evaluate(id, expression)? {
            Datum::One(Value::Boolean(truth)) => Ok(truth),
            _ => Err(self.unfit(id, expression, "true or false")),
        }
    }

    pub(super) fn text(&self, id: u32, expression: &Expression) -> Done<Text> {
        match self.evaluate(id, expression)? {
            Datum::One(value) => Ok(Text::lossy(&value.to_string())),
            Datum::Many(_) => Err(self.unfit(id, expression, "text")),
        }
    }

    pub(super) fn unfit(&self, id: u32, expression: &Expression, wanted: &str) -> Halt {
        let detail = format!("`{}` did not come to {wanted}", expression.source);
        Halt::Raise(self.failure(id, "expression", codes::EVALUATION, &detail))
    }

    /// The properties of a message that an instance keeps.
    pub(super) fn kept<'v>(
        &self,
        slot: u16,
        value: impl Fn(&str) -> Option<&'v Value>,
    ) -> BTreeMap<quayside_model::Name, Value> {
        let names = self.definition.message(slot).kept.iter();
        names
            .filter_map(|name| Some((name.clone(), value(name)?.clone())))
            .collect()
    }

    /// The call of a map, as it would be made now.
    pub(super) fn map_call(&self, id: u32, step: u16) -> Done<MapCall> {
        let Action::Transform(transform) = &self.definition.step(step).action else {
            unreachable!("the caller has a transform");
        };
        let mut from = Vec::new();
        for slot in &transform.from {
            from.push(self.message(id, *slot)?.id);
        }
        let mut with = BTreeMap::new();
        for (name, expression) in &transform.with {
            with.insert(name.clone(), self.evaluate(id, expression)?);
        }
        Ok(MapCall {
            id: self.occurrence(id, step).message("map"),
            map: transform.map.clone(),
            from,
            with,
        })
    }
}

/// What an expression sees from where a branch is.
struct View<'r, 'a> {
    run: &'r Run<'a>,
    id: u32,
}

impl View<'_, '_> {
    fn failure(&self) -> Option<&Failure> {
        self.run.frames(self.id).find_map(|frame| match frame {
            Frame::Handle(handler) => Some(&handler.failure),
            _ => None,
        })
    }
}

impl Known for View<'_, '_> {
    fn value(&self, what: &Ref) -> Option<Datum> {
        let text = |text: &str| Some(Datum::One(Value::Text(Text::lossy(text))));
        match what {
            Ref::Variable(slot) => self.run.variable(self.id, *slot),
            Ref::Property(slot, name) => self
                .run
                .held(self.id, *slot)?
                .property(name)
                .cloned()
                .map(Datum::One),
            Ref::Id(slot) => text(&self.run.held(self.id, *slot)?.id.to_string()),
            Ref::Type(slot) => text(&self.run.definition.message(*slot).message_type),
            Ref::Now => text(&self.run.input.now.to_string()),
            Ref::Run => text(&self.run.state.run.to_string()),
            Ref::ErrorName => text(&self.failure()?.name),
            Ref::ErrorCode => text(&self.failure()?.code),
            Ref::ErrorMessage => text(&self.failure()?.detail),
            Ref::ErrorStep => text(&self.failure()?.step),
        }
    }

    fn has(&self, message: u16, property: &str) -> bool {
        self.run
            .held(self.id, message)
            .is_some_and(|held| held.property(property).is_some())
    }

    fn message(&self, slot: u16) -> Option<MessageId> {
        Some(self.run.held(self.id, slot)?.id)
    }

    fn world(&self) -> &dyn World {
        self.run.input.world
    }
}
