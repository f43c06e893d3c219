//! Scopes: entering, ending well, and compensating what has ended well.

use super::{Done, Mark, Run};
use crate::{
    definition::{Action, Scope},
    state::{Done as Finished, Frame, InScope},
};

impl Run<'_> {
    pub(super) fn enter_scope(&mut self, id: u32, step: u16, scope: &Scope) -> Done {
        if scope.atomic {
            // What happened before is kept first: inside there is no point at which it could be.
            self.keep_first()?;
            self.atomic = Some(Box::new(Mark {
                branch: id,
                state: self.state.clone(),
                effects: self.effects.len(),
                taken: self.taken.clone(),
            }));
        }
        let due = scope.timeout.map(|timeout| self.input.now.plus(timeout));
        self.enter(
            id,
            Frame::Scope(InScope {
                step,
                due,
                done: Vec::new(),
            }),
        )?;
        self.branch_mut(id).stack.push(Frame::Block(scope.body, 0));
        Ok(())
    }

    /// The body of the scope is done: a transaction is a point at which the instance is kept.
    pub(super) fn leave_scope(&mut self, id: u32) -> Done {
        let definition = self.definition;
        let Some(Frame::Scope(frame)) = self.branch_mut(id).stack.pop() else {
            unreachable!("the caller saw a scope");
        };
        let Action::Scope(scope) = &definition.step(frame.step).action else {
            unreachable!("the frame of a scope belongs to one");
        };
        if scope.atomic {
            self.atomic = None;
        }
        if scope.is_transaction() {
            self.due = true;
        }
        let finished = if !scope.is_transaction() {
            // What is no transaction itself belongs to the one around it.
            frame.done
        } else if scope.compensate.is_some() || !frame.done.is_empty() {
            vec![self.finished(id, frame, scope)]
        } else {
            Vec::new()
        };
        self.remember(id, finished);
        Ok(())
    }

    fn finished(&mut self, id: u32, frame: InScope, scope: &Scope) -> Finished {
        let number = self.state.next;
        self.state.next += 1;
        let messages = scope.captured.messages.iter();
        let variables = scope.captured.variables.iter();
        Finished {
            step: frame.step,
            number,
            rounds: self.branch(id).rounds(),
            messages: messages
                .filter_map(|slot| Some((*slot, self.held(id, *slot)?.clone())))
                .collect(),
            variables: variables
                .filter_map(|slot| Some((*slot, self.variable(id, *slot)?)))
                .collect(),
            nested: frame.done,
        }
    }

    /// Gives finished scopes to the scope or handler around. Outside of all scopes nobody can compensate.
    pub(super) fn remember(&mut self, id: u32, finished: Vec<Finished>) {
        let mut at = Some(id);
        while let Some(branch) = at {
            let branch = self.branch_mut(branch);
            for frame in branch.stack.iter_mut().rev() {
                match frame {
                    Frame::Scope(scope) => return scope.done.extend(finished),
                    Frame::Handle(handler) => return handler.made.extend(finished),
                    Frame::Undo(_) => return,
                    _ => {}
                }
            }
            at = branch.parent;
        }
    }

    /// A handled error is over; what the handler itself has done belongs to the scope around.
    pub(super) fn leave_handler(&mut self, id: u32) {
        if let Some(Frame::Handle(handler)) = self.branch_mut(id).stack.pop() {
            self.remember(id, handler.made);
        }
    }

    /// The step `compensate`: of one scope, or of all that were finished inside of the one at hand.
    pub(super) fn compensate(&mut self, id: u32, which: Option<u16>) -> Done {
        self.keep_first()?;
        self.next(id);
        let queue = self.take_finished(id, which);
        self.branch_mut(id).stack.push(Frame::Undoing(queue));
        Ok(())
    }

    fn take_finished(&mut self, id: u32, which: Option<u16>) -> Vec<Finished> {
        let mut at = Some(id);
        while let Some(branch) = at {
            let branch = self.branch_mut(branch);
            for frame in branch.stack.iter_mut().rev() {
                let list = match frame {
                    Frame::Handle(handler) => &mut handler.done,
                    Frame::Undo(done) => &mut done.nested,
                    _ => continue,
                };
                let (taken, left) = std::mem::take(list)
                    .into_iter()
                    .partition(|done: &Finished| which.is_none_or(|step| step == done.step));
                *list = left;
                return taken;
            }
            at = branch.parent;
        }
        Vec::new()
    }

    /// Compensates the scope that ended last of those in the queue, once.
    pub(super) fn undo_next(&mut self, id: u32) {
        let definition = self.definition;
        let stack = &mut self.branch_mut(id).stack;
        let Some(Frame::Undoing(queue)) = stack.last_mut() else {
            return;
        };
        let last = queue
            .iter()
            .enumerate()
            .max_by_key(|(_, done)| done.number)
            .map(|(at, _)| at);
        let Some(done) = last.map(|at| queue.remove(at)) else {
            stack.pop();
            return;
        };
        let Action::Scope(scope) = &definition.step(done.step).action else {
            unreachable!("only scopes are compensated");
        };
        match scope.compensate {
            Some(block) => {
                stack.push(Frame::Undo(Box::new(done)));
                stack.push(Frame::Block(block, 0));
            }
            // The default: what is nested, in reverse order.
            None => stack.push(Frame::Undoing(done.nested)),
        }
    }
}
