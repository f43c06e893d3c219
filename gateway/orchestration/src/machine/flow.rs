//! Steps that lead to other steps, and what stands around a list of steps.

use quayside_model::Name;

use super::{Done, Halt, Run};
use crate::{
    Datum, codes,
    definition::Action,
    expression::Expression,
    limits,
    state::{Branch, Frame},
};

impl Run<'_> {
    pub(super) fn decide(&mut self, id: u32, branches: &[(Option<Expression>, u16)]) -> Done {
        self.keep_first()?;
        for (condition, block) in branches {
            let taken = match condition {
                Some(condition) => self.condition(id, condition)?,
                None => true,
            };
            if taken {
                return self.enter(id, Frame::Block(*block, 0));
            }
        }
        self.next(id);
        Ok(())
    }

    pub(super) fn fork(&mut self, id: u32, step: u16, branches: &[(Name, u16)]) -> Done {
        if self.state.branches.len() + branches.len() > limits::BRANCHES {
            let detail = format!("it has more than {} branches at once", limits::BRANCHES);
            return Err(Halt::Fatal(self.failure(
                id,
                "too-many",
                codes::RUNAWAY,
                &detail,
            )));
        }
        self.enter(id, Frame::Join(step))?;
        let base = self.branch(id).rounds();
        for (_, block) in branches {
            self.state.branches.push(Branch {
                id: self.state.next,
                parent: Some(id),
                base: base.clone(),
                stack: vec![Frame::Block(*block, 0)],
                wait: None,
                attempt: 0,
            });
            self.state.next += 1;
        }
        Ok(())
    }

    pub(super) fn each(&mut self, id: u32, step: u16, items: &Expression) -> Done {
        self.keep_first()?;
        match self.evaluate(id, items)? {
            Datum::Many(list) => self.enter(id, Frame::Each(step, list, 0)),
            Datum::One(_) => Err(self.unfit(id, items, "a list")),
        }
    }

    /// What follows when the steps inside of the innermost frame are done.
    pub(super) fn around(&mut self, id: u32) -> Done {
        match self.branch(id).stack.last() {
            Some(Frame::Each(step, items, round)) => {
                let (step, more) = (*step, (*round as usize) < items.len());
                self.round(id, step, more)
            }
            Some(Frame::Loop(step, _)) => {
                let step = *step;
                let definition = self.definition;
                let Action::Loop { condition, .. } = &definition.step(step).action else {
                    unreachable!("the frame of a loop belongs to one");
                };
                self.keep_first()?;
                let more = self.condition(id, condition)?;
                self.round(id, step, more)
            }
            Some(Frame::Scope(_)) => self.leave_scope(id),
            Some(Frame::Handle(_)) => {
                self.leave_handler(id);
                Ok(())
            }
            Some(Frame::Undoing(_)) => {
                self.undo_next(id);
                Ok(())
            }
            _ => {
                self.branch_mut(id).stack.pop();
                Ok(())
            }
        }
    }

    /// Begins a round of a loop, or leaves it.
    fn round(&mut self, id: u32, step: u16, more: bool) -> Done {
        let definition = self.definition;
        let stack = &mut self.branch_mut(id).stack;
        if !more {
            stack.pop();
            return Ok(());
        }
        let mut of_each = false;
        if let Some(frame @ (Frame::Each(..) | Frame::Loop(..))) = stack.last_mut() {
            of_each = matches!(frame, Frame::Each(..));
            if let Frame::Each(_, _, round) | Frame::Loop(_, round) = frame {
                *round += 1;
            }
        }
        let (Action::Each { body, .. } | Action::Loop { body, .. }) = &definition.step(step).action
        else {
            unreachable!("only loops have rounds");
        };
        stack.push(Frame::Block(*body, 0));
        // An `each` ends. A loop may not: its steps are counted on, those of an `each` in it, too.
        let steps = limits::STEPS_BETWEEN_POINTS - self.budget;
        let is_long = steps >= limits::STEPS_OF_EACH || self.maps >= limits::MAPS_OF_ROUNDS;
        if of_each && is_long && self.atomic.is_none() && !self.is_in_loop(id) {
            self.due = true;
        }
        Ok(())
    }

    /// Whether a branch is in a loop, or another one that it is part of.
    fn is_in_loop(&self, id: u32) -> bool {
        let branch = self.branch(id);
        let mut frames = branch.stack.iter();
        frames.any(|frame| matches!(frame, Frame::Loop(..)))
            || branch.parent.is_some_and(|parent| self.is_in_loop(parent))
    }
}
