//! The machine: state, event and time in; new state and effects out.
//!
//! A run goes on until the instance has to be kept or nothing in it can go on. It works on a copy, so a run
//! that lacks a document leaves nothing behind, and one whose result is thrown away can be made again.

mod asking;
mod error;
mod flow;
mod lookup;
mod operate;
mod receive;
mod scope;
mod simple;

use std::collections::BTreeSet;

use quayside_model::{MessageId, Name, Timestamp};

use crate::{
    Advance, Arrived, Commit, Definition, Effect, End, Event, Failure, Need, Refused, Route, State,
    Status, World, codes, definition::Action, limits, state::Frame,
};

/// What a run looks at. The inbox has the messages that were delivered to the instance and not consumed, in
/// the order in which they came; a part of them, from the front, is enough.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The definition of the instance.
    pub definition: &'a Definition,
    /// Its state after the last commit.
    pub state: &'a State,
    /// The messages that wait for it.
    pub inbox: &'a [Arrived],
    /// The wall time. A time-out is due when it says so.
    pub now: Timestamp,
    /// Documents and maps, as far as they are there.
    pub world: &'a dyn World,
}

impl std::fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Input({} at {})", self.state.run(), self.now)
    }
}

/// Runs an instance because of `event`, up to the next point at which it has to be kept.
///
/// # Errors
/// [`Refused`] if the state does not belong to the definition, or an operator asks for what there is not.
pub fn advance(input: Input<'_>, event: &Event) -> Result<Advance, Refused> {
    input.state.belongs_to(input.definition)?;
    let mut run = Run::new(input);
    if matches!(run.state.status, Status::Ended(_)) || !run.apply(event)? {
        return Ok(Advance::Unchanged);
    }
    let more = match run.go() {
        Ok(more) => more,
        Err(needs) => return Ok(Advance::Needs(needs)),
    };
    Ok(run.commit(more))
}

/// Why a step did not do what it does.
enum Halt {
    /// It lacks something.
    Needs(Vec<Need>),
    /// The instance has to be kept before it.
    Point,
    /// It failed.
    Raise(Failure),
    /// It failed in a way that no handler may take.
    Fatal(Failure),
}

type Done<T = ()> = Result<T, Halt>;

/// How everything was when an atomic scope began.
struct Mark {
    branch: u32,
    state: State,
    effects: usize,
    taken: BTreeSet<usize>,
}

struct Run<'a> {
    input: Input<'a>,
    definition: &'a Definition,
    state: State,
    effects: Vec<Effect>,
    /// The messages of the inbox that were consumed in this run.
    taken: BTreeSet<usize>,
    /// Something was done after which the instance has to be kept.
    due: bool,
    /// The time of what the instance goes on because of: the same when the run is made again.
    since: Timestamp,
    /// How many steps are left.
    budget: u32,
    /// How many maps were applied.
    maps: u32,
    atomic: Option<Box<Mark>>,
    /// Branches whose atomic scope waits for a message: they try again in the next run.
    blocked: BTreeSet<u32>,
}

impl<'a> Run<'a> {
    fn new(input: Input<'a>) -> Self {
        let timer = input.state.timer.filter(|due| *due <= input.now);
        Self {
            since: timer.map_or(input.state.at, |due| due.max(input.state.at)),
            input,
            definition: input.definition,
            state: input.state.clone(),
            effects: Vec::new(),
            taken: BTreeSet::new(),
            due: false,
            budget: limits::STEPS_BETWEEN_POINTS,
            maps: 0,
            atomic: None,
            blocked: BTreeSet::new(),
        }
    }

    /// Runs until nothing can go on (`false`) or the instance has to be kept in the middle (`true`).
    fn go(&mut self) -> Result<bool, Vec<Need>> {
        while self.state.status == Status::Active {
            if self.atomic.is_none() && self.is_overdue() {
                if self.due {
                    return Ok(true);
                }
                self.time_out();
                continue;
            }
            let Some(branch) = self.next_branch() else {
                if self.atomic.is_some() {
                    self.step_back();
                    continue;
                }
                return Ok(false);
            };
            let acted = match self.budget.checked_sub(1) {
                Some(left) => {
                    self.budget = left;
                    self.act(branch)
                }
                None => Err(Halt::Fatal(self.failure(
                    branch,
                    "runaway",
                    codes::RUNAWAY,
                    "it runs on and on",
                ))),
            };
            match acted {
                Ok(()) => self.bound_effects(branch),
                Err(Halt::Point) => return Ok(true),
                Err(Halt::Needs(needs)) => return Err(needs),
                Err(Halt::Raise(failure)) => self.raise(branch, failure),
                Err(Halt::Fatal(failure)) => self.give_up(failure),
            }
            if self.due && self.atomic.is_none() && self.effects.len() >= limits::EFFECTS {
                return Ok(self.state.status == Status::Active);
            }
        }
        Ok(false)
    }

    /// The branch that goes on: in an atomic scope no other one does.
    fn next_branch(&self) -> Option<u32> {
        if let Some(mark) = &self.atomic {
            return self.can_go(mark.branch).then_some(mark.branch);
        }
        let mut all = self.state.branches.iter().map(|branch| branch.id);
        all.find(|id| !self.blocked.contains(id) && self.can_go(*id))
    }

    fn can_go(&self, id: u32) -> bool {
        let branch = self.branch(id);
        match &branch.wait {
            Some(wait) => self.is_over(id, wait),
            None => match branch.stack.last() {
                Some(Frame::Join(_)) => !self.state.branches.iter().any(|b| b.parent == Some(id)),
                _ => true,
            },
        }
    }

    /// Does the next thing of a branch.
    fn act(&mut self, id: u32) -> Done {
        if self.branch(id).wait.is_some() {
            return self.go_on(id);
        }
        match self.branch(id).stack.last() {
            None => {
                self.end_branch(id);
                Ok(())
            }
            Some(Frame::Block(block, at)) => {
                match self.definition.block(*block).get(usize::from(*at)) {
                    Some(step) => self.execute(id, *step),
                    None => {
                        self.branch_mut(id).stack.pop();
                        Ok(())
                    }
                }
            }
            Some(_) => self.around(id),
        }
    }

    fn execute(&mut self, id: u32, step: u16) -> Done {
        let definition = self.definition;
        match &definition.step(step).action {
            Action::Receive(receive) => self.receive(id, receive),
            Action::Transform(transform) => self.transform(id, step, transform),
            Action::Assign(assignments) => self.assign(id, assignments),
            Action::Send(send) => self.send(id, step, send),
            Action::Call(call) => self.call(id, step, call),
            Action::Worker(worker) => self.work(id, step, worker),
            Action::Start {
                orchestration,
                message,
            } => self.start(id, step, orchestration, *message),
            Action::Decide(branches) => self.decide(id, branches),
            Action::Parallel(branches) => self.fork(id, step, branches),
            Action::Each { items, .. } => self.each(id, step, items),
            Action::Loop { .. } => self.enter(id, Frame::Loop(step, 0)),
            Action::Delay(pause) => self.delay(id, pause),
            Action::Listen(branches) => self.listen(id, branches),
            Action::Scope(scope) => self.enter_scope(id, step, scope),
            Action::Compensate(which) => self.compensate(id, *which),
            Action::Raise { code, message } => self.raise_step(id, code, message.as_ref()),
            Action::Suspend(reason) => self.suspend(id, reason),
            Action::Terminate(reason) => self.terminate(id, reason.as_ref()),
            Action::Broken => unreachable!("a definition with faults is never run"),
        }
    }

    /// Asks for a commit before a step that is no point itself, if the one before it was.
    fn keep_first(&self) -> Done {
        if self.due && self.atomic.is_none() {
            Err(Halt::Point)
        } else {
            Ok(())
        }
    }

    /// An atomic scope is one commit, so what it does has to fit into one.
    fn bound_effects(&mut self, id: u32) {
        let Some(mark) = &self.atomic else { return };
        if self.effects.len() - mark.effects > limits::ATOMIC_EFFECTS {
            let failure = self.failure(
                id,
                "too-many",
                codes::TOO_MANY,
                "the atomic scope does too much",
            );
            self.give_up(failure);
        }
    }

    fn end_branch(&mut self, id: u32) {
        if id == 0 {
            self.end(End::Completed);
        } else {
            self.state.branches.retain(|branch| branch.id != id);
        }
    }

    /// Ends the instance.
    fn end(&mut self, end: End) {
        self.abandon(
            &self
                .state
                .branches
                .iter()
                .map(|branch| branch.id)
                .collect::<Vec<_>>(),
        );
        for (group, key) in std::mem::take(&mut self.state.keys) {
            self.effects.push(Effect::Unsubscribe { group, key });
        }
        self.state.branches.clear();
        self.state.messages.clear();
        self.state.variables.clear();
        self.state.sets.clear();
        self.set_timer();
        let discarded = self.discarded();
        self.effects.push(Effect::End {
            end: end.clone(),
            discarded,
        });
        self.state.status = Status::Ended(end);
        self.due = true;
    }

    /// What was never consumed. A receipt that nobody waits for is no message that somebody would miss.
    fn discarded(&self) -> Vec<MessageId> {
        let left = self.input.inbox.iter().enumerate();
        let left = left.filter(|(at, arrived)| {
            !self.taken.contains(at) && !matches!(arrived.route, Route::Delivered(_))
        });
        left.map(|(_, arrived)| arrived.message).collect()
    }

    fn set_timer(&mut self) {
        let due = if self.state.branches.is_empty() {
            None
        } else {
            self.state.next_due()
        };
        if due == self.state.timer {
            return;
        }
        self.state.timer = due;
        self.effects
            .push(due.map_or(Effect::CancelTimer, Effect::SetTimer));
    }

    /// Takes everything back to before the atomic scope, which waits for a message.
    fn step_back(&mut self) {
        let Some(mark) = self.atomic.take() else {
            return;
        };
        self.state = mark.state;
        self.effects.truncate(mark.effects);
        self.taken = mark.taken;
        self.due = false;
        self.blocked.insert(mark.branch);
    }

    fn commit(mut self, more: bool) -> Advance {
        if !matches!(self.state.status, Status::Ended(_)) {
            self.set_timer();
        }
        if self.effects.is_empty() && self.state == *self.input.state {
            return Advance::Unchanged;
        }
        if self.state.weight() > limits::STATE_BYTES {
            return self.too_large();
        }
        self.state.at = self.input.now.max(self.state.at);
        Advance::Commit(Box::new(Commit {
            state: self.state,
            effects: self.effects,
            more,
        }))
    }

    /// Suspends the instance as it was before this run, whose state cannot be kept.
    fn too_large(self) -> Advance {
        let mut run = Run::new(self.input);
        run.state.status = Status::Active;
        let failure = run.failure(
            0,
            "too-large",
            codes::STATE_TOO_LARGE,
            "its state would be too large to be kept",
        );
        run.give_up(failure);
        run.set_timer();
        Advance::Commit(Box::new(Commit {
            state: run.state,
            effects: run.effects,
            more: false,
        }))
    }

    /// Suspends the instance where it is, or before the atomic scope that it is in.
    fn give_up(&mut self, failure: Failure) {
        self.step_back();
        self.effects.push(Effect::Suspend(failure.clone()));
        self.state.status = Status::Suspended(failure);
        self.due = true;
    }

    fn failure(&self, id: u32, name: &str, code: quayside_model::Code, detail: &str) -> Failure {
        Failure::new(name, code, detail, &self.step_name(id))
    }

    /// The name of the step at which a branch is.
    fn step_name(&self, id: u32) -> Name {
        let branch = self.state.branches.iter().find(|branch| branch.id == id);
        let step = branch
            .and_then(|branch| branch.current(self.definition))
            .unwrap_or(0);
        self.definition.step(step).name.clone()
    }
}
