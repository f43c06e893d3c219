//! Errors: who handles them, and what is compensated on the way there.

use super::Run;
use crate::{
    Failure, codes,
    definition::{Action, Scope},
    state::{Done as Finished, Frame, InHandler},
};

/// A scope that handles an error: the branch, its frame, and the list of steps of the handler.
struct Handling {
    branch: u32,
    frame: usize,
    body: u16,
}

impl Run<'_> {
    /// Raises `failure` at a branch. If any scope around handles it, the branch goes on there, and finished
    /// scopes on the way are compensated. If none does, nothing is undone: the instance is suspended where
    /// it is, so that an operator can let it go on.
    pub(super) fn raise(&mut self, id: u32, failure: Failure) {
        let id = match self.atomic.take() {
            Some(mark) => {
                // An atomic scope that fails has done nothing, and its step is the one that failed.
                self.state = mark.state;
                self.effects.truncate(mark.effects);
                self.taken = mark.taken;
                self.due = false;
                mark.branch
            }
            None => id,
        };
        let frames = self.branch(id).stack.len();
        match self.handler(id, frames, &failure) {
            Some(handling) => self.unwind(handling, failure),
            None => self.give_up(failure),
        }
    }

    /// The innermost scope that handles `failure`, from below the frame `from` of a branch outwards.
    fn handler(&self, id: u32, from: usize, failure: &Failure) -> Option<Handling> {
        let branch = self.branch(id);
        let frames = branch.stack[..from].iter().enumerate().rev();
        for (frame, what) in frames {
            if let Frame::Scope(inside) = what
                && let Some(body) = self
                    .scope_of(inside.step)
                    .and_then(|scope| catches(scope, failure))
            {
                return Some(Handling {
                    branch: id,
                    frame,
                    body,
                });
            }
        }
        let parent = branch.parent?;
        self.handler(parent, self.branch(parent).stack.len(), failure)
    }

    fn scope_of(&self, step: u16) -> Option<&Scope> {
        match &self.definition.step(step).action {
            Action::Scope(scope) => Some(scope),
            _ => None,
        }
    }

    fn unwind(&mut self, handling: Handling, failure: Failure) {
        let Handling {
            branch: id,
            frame,
            body,
        } = handling;
        // All branches below have begun inside of the frame: a branch with branches does nothing else.
        let inside = self.descendants(id);
        let mut queue: Vec<Finished> = Vec::new();
        for below in &inside {
            queue.extend(self.branch(*below).stack.iter().flat_map(finished));
        }
        queue.extend(self.branch(id).stack[frame + 1..].iter().flat_map(finished));
        self.abandon(&inside);
        self.abandon(&[id]);
        self.state
            .branches
            .retain(|branch| !inside.contains(&branch.id));
        let branch = self.branch_mut(id);
        branch.wait = None;
        branch.attempt = 0;
        branch.stack.truncate(frame + 1);
        let Some(Frame::Scope(scope)) = branch.stack.pop() else {
            unreachable!("a scope handles errors");
        };
        let (step, done) = (scope.step, scope.done);
        branch.stack.push(Frame::Handle(InHandler {
            step,
            failure,
            done,
            made: Vec::new(),
        }));
        branch.stack.push(Frame::Block(body, 0));
        // On top, so that it comes first.
        branch.stack.push(Frame::Undoing(queue));
    }

    fn descendants(&self, id: u32) -> Vec<u32> {
        let mut all = vec![id];
        let mut at = 0;
        while at < all.len() {
            let parent = all[at];
            all.extend(
                self.state
                    .branches
                    .iter()
                    .filter(|b| b.parent == Some(parent))
                    .map(|b| b.id),
            );
            at += 1;
        }
        all.split_off(1)
    }

    /// Nobody waits any more for what these branches asked for.
    pub(super) fn abandon(&mut self, ids: &[u32]) {
        let branches = self
            .state
            .branches
            .iter()
            .filter(|branch| ids.contains(&branch.id));
        let calls = branches.filter_map(|branch| branch.wait.as_ref()?.call());
        let effects: Vec<_> = calls.map(crate::Effect::Abandon).collect();
        self.effects.extend(effects);
    }

    /// Whether the time-out of any scope is over.
    pub(super) fn is_overdue(&self) -> bool {
        self.overdue().is_some()
    }

    /// The outermost scope whose time is over: branch and frame.
    fn overdue(&self) -> Option<(u32, usize)> {
        self.state.branches.iter().find_map(|branch| {
            let over = |frame: &Frame| match frame {
                Frame::Scope(scope) => scope.due.is_some_and(|due| due <= self.input.now),
                _ => false,
            };
            Some((branch.id, branch.stack.iter().position(over)?))
        })
    }

    /// Raises the time-out of a scope at the scope itself. It has one no more: who resumes it waits longer.
    pub(super) fn time_out(&mut self) {
        let Some((id, frame)) = self.overdue() else {
            return;
        };
        let Frame::Scope(scope) = &mut self.branch_mut(id).stack[frame] else {
            return;
        };
        scope.due = None;
        let step = scope.step;
        let name = &self.definition.step(step).name;
        let detail = format!("the scope `{name}` did not end in time");
        let failure = Failure::new("timeout", codes::TIMEOUT, &detail, name);
        match self.handler(id, frame + 1, &failure) {
            Some(handling) => self.unwind(handling, failure),
            None => self.give_up(failure),
        }
    }
}

/// The handler of `scope` for `failure`.
fn catches(scope: &Scope, failure: &Failure) -> Option<u16> {
    let handler = scope
        .handlers
        .iter()
        .find(|handler| handler.catch.is_empty() || handler.catch.contains(&failure.name))?;
    Some(handler.body)
}

/// The finished scopes that a frame which is left behind remembers; one in compensation is not compensated
/// again, but what is nested in it may still be.
fn finished(frame: &Frame) -> Vec<Finished> {
    match frame {
        Frame::Undo(done) => done.nested.clone(),
        frame => frame.done().into_iter().cloned().collect(),
    }
}
