//! Steps that do one thing at once.

use quayside_model::{Name, Text};

use super::{Done, Halt, Run};
use crate::{
    Destination, Effect, End, Failure, Lookup, Need, codes,
    datum::Holds,
    definition::{Assignment, Send, SendTo, Transform},
    expression::Expression,
    state::{Held, Status, Wait},
};

impl Run<'_> {
    pub(super) fn transform(&mut self, id: u32, step: u16, transform: &Transform) -> Done {
        self.keep_first()?;
        let call = self.map_call(id, step)?;
        let mapped = match self.input.world.map(&call) {
            Lookup::Ready(mapped) => mapped,
            Lookup::Missing => return Err(Halt::Needs(vec![Need::Map(call)])),
            Lookup::Failed(why) => {
                let detail = format!("the map `{}`: {why}", call.map);
                return Err(Halt::Raise(self.failure(id, "map", codes::MAP, &detail)));
            }
        };
        let kept = self.kept(transform.to, |name| mapped.properties.get(name));
        self.hold(
            id,
            transform.to,
            Held {
                id: call.id,
                kept,
                set: Default::default(),
            },
        );
        self.effects.push(Effect::Keep(call));
        self.maps += 1;
        self.next(id);
        Ok(())
    }

    /// All values are found before any is assigned, so that a step that fails has assigned nothing.
    pub(super) fn assign(&mut self, id: u32, assignments: &[Assignment]) -> Done {
        self.keep_first()?;
        let mut values = Vec::new();
        for assignment in assignments {
            values.push(match assignment {
                Assignment::Variable(slot, expression) => {
                    let holds = self.definition.variable(*slot).holds;
                    Some(self.value(id, expression, holds)?)
                }
                Assignment::Property(slot, _, value_type, expression) => {
                    self.message(id, *slot)?;
                    Some(self.value(
                        id,
                        expression,
                        value_type.map_or(Holds::Element, Holds::One),
                    )?)
                }
                Assignment::Copy { from, .. } => {
                    self.message(id, *from)?;
                    None
                }
            });
        }
        for (assignment, value) in assignments.iter().zip(values) {
            match (assignment, value) {
                (Assignment::Variable(slot, _), Some(datum)) => {
                    self.assign_variable(id, *slot, datum)
                }
                (Assignment::Property(slot, name, ..), Some(crate::Datum::One(value))) => {
                    let mut held = self.message(id, *slot)?;
                    held.set.insert(name.clone(), value);
                    self.hold(id, *slot, held);
                }
                (Assignment::Copy { to, from }, _) => {
                    let held = self.message(id, *from)?;
                    self.hold(id, *to, held);
                }
                _ => {}
            }
        }
        self.next(id);
        Ok(())
    }

    fn value(&self, id: u32, expression: &Expression, holds: Holds) -> Done<crate::Datum> {
        let datum = self.evaluate(id, expression)?;
        holds
            .take(datum)
            .ok_or_else(|| self.unfit(id, expression, holds.in_words()))
    }

    pub(super) fn send(&mut self, id: u32, step: u16, send: &Send) -> Done {
        let held = self.message(id, send.message)?;
        let message = self.outgoing(id, send.message)?;
        let to = match &send.to {
            SendTo::Port(port) => Destination::Port(port.clone()),
            SendTo::Subscribers => Destination::Subscribers,
            SendTo::Answer(request) => Destination::Answer(self.message(id, *request)?.id),
        };
        // Before the message is out, so that no answer to it can miss the subscription.
        let values = self.set_values(id, &send.initialise, |name| held.property(name))?;
        self.initialise(values);
        let published = self.occurrence(id, step).message("send");
        self.effects.push(Effect::Publish {
            id: published,
            step: self.definition.step(step).name.clone(),
            message,
            to,
            notify: send.notify,
        });
        self.due = true;
        if send.notify {
            self.branch_mut(id).wait = Some(Wait::Delivery(published));
        } else {
            self.next(id);
        }
        Ok(())
    }

    pub(super) fn start(&mut self, id: u32, step: u16, orchestration: &Name, slot: u16) -> Done {
        let message = self.outgoing(id, slot)?;
        let occurrence = self.occurrence(id, step);
        self.effects.push(Effect::Start {
            run: occurrence.run(),
            orchestration: orchestration.clone(),
            message,
            id: occurrence.message("start"),
            step: self.definition.step(step).name.clone(),
        });
        self.due = true;
        self.next(id);
        Ok(())
    }

    pub(super) fn raise_step(
        &mut self,
        id: u32,
        name: &Name,
        message: Option<&Expression>,
    ) -> Done {
        self.keep_first()?;
        let detail = match message {
            Some(message) => self.text(id, message)?,
            None => Text::lossy(name),
        };
        Err(Halt::Raise(self.failure(id, name, codes::RAISED, &detail)))
    }

    /// The instance goes on behind this step when it is resumed.
    pub(super) fn suspend(&mut self, id: u32, reason: &Expression) -> Done {
        let reason = self.text(id, reason)?;
        let failure: Failure = self.failure(id, "suspended", codes::PAUSED, &reason);
        self.next(id);
        self.effects.push(Effect::Suspend(failure.clone()));
        self.state.status = Status::Suspended(failure);
        self.due = true;
        Ok(())
    }

    pub(super) fn terminate(&mut self, id: u32, reason: Option<&Expression>) -> Done {
        let reason = match reason {
            Some(reason) => self.text(id, reason)?,
            None => Text::lossy(&format!("by its step {}", self.step_name(id))),
        };
        self.end(End::Terminated { reason });
        Ok(())
    }
}
