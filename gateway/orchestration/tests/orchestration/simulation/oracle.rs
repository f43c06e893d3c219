//! The one right course of an orderly plan, told by walking its tree: what is done, in its order, with a
//! `|` at every place at which the instance is kept in between.

use std::collections::BTreeMap;

use super::plan::{Op, Plan, Scope};

/// Why a list of steps was left before its end.
enum Left<'p> {
    /// An error that a scope around handles, with what is to be compensated on the way, and when it ended.
    Raised(&'static str, Vec<Finished<'p>>),
    /// An error that nobody handles: everything stays as it is.
    Stuck,
    Over,
}

#[derive(Clone)]
struct Finished<'p> {
    scope: &'p Scope,
    number: usize,
    nested: Vec<Finished<'p>>,
}

struct Walk<'p> {
    course: Vec<String>,
    variables: BTreeMap<usize, u32>,
    /// What is caught by the scopes around, from the outside.
    catches: Vec<Option<&'static str>>,
    numbers: usize,
    /// The step before was a point at which the instance is kept.
    due: bool,
    /// In an atomic scope: whether it had to wait for a message.
    atomic: Option<bool>,
    /// Messages that an atomic scope took and gave back.
    spare: usize,
    _plan: std::marker::PhantomData<&'p ()>,
}

/// The words of all effects, and how it ends.
pub(crate) fn course(plan: &Plan) -> Vec<String> {
    let mut walk = Walk {
        course: vec!["consume".into(), "map:any".into()],
        variables: BTreeMap::new(),
        catches: Vec::new(),
        numbers: 0,
        due: false,
        atomic: None,
        spare: 0,
        _plan: std::marker::PhantomData,
    };
    let mut finished = Vec::new();
    match walk.steps(&plan.steps, &mut finished, &mut Vec::new()) {
        Ok(()) => walk.course.push("completed".into()),
        Err(Left::Over) => walk.course.push("terminated".into()),
        Err(Left::Stuck) => {}
        Err(Left::Raised(..)) => unreachable!("what nobody handles is not raised"),
    }
    walk.course
}

impl<'p> Walk<'p> {
    /// `finished` takes the scopes that end well; `nested` has those that `compensate: all` undoes.
    fn steps(
        &mut self,
        steps: &'p [Op],
        finished: &mut Vec<Finished<'p>>,
        nested: &mut Vec<Finished<'p>>,
    ) -> Result<(), Left<'p>> {
        steps
            .iter()
            .try_for_each(|op| self.op(op, finished, nested))
    }

    fn op(
        &mut self,
        op: &'p Op,
        finished: &mut Vec<Finished<'p>>,
        nested: &mut Vec<Finished<'p>>,
    ) -> Result<(), Left<'p>> {
        match op {
            Op::Count(v) => {
                self.keep();
                *self.variables.entry(*v).or_default() += 1;
            }
            Op::Send(name) => self.point(format!("send:{name}")),
            Op::Transform | Op::Read(_) => {
                self.keep();
                self.done("map:any".to_owned());
            }
            Op::Start => self.point("start:other".to_owned()),
            Op::Receive => self.receive(),
            Op::Delay(_) => self.wait(),
            Op::Call(name) => {
                self.point(format!("call:{name}"));
                self.wait();
                self.done("consume".to_owned());
                if name.starts_with("no") {
                    return self.raise("call", "QS1339", name);
                }
            }
            Op::Notify(name) => {
                self.point(format!("send:{name}"));
                self.wait();
                self.done("consume".to_owned());
                if name.starts_with("lost") {
                    return self.raise("delivery", "QS1338", name);
                }
            }
            Op::Decide(v, yes, no) => {
                self.keep();
                let even = self
                    .variables
                    .get(v)
                    .copied()
                    .unwrap_or(0)
                    .is_multiple_of(2);
                return self.steps(if even { yes } else { no }, finished, nested);
            }
            Op::Parallel(branches) => {
                for steps in branches {
                    self.steps(steps, finished, nested)?;
                }
            }
            Op::Each(_, count, steps) => {
                self.keep();
                for _ in 0..*count {
                    self.steps(steps, finished, nested)?;
                }
            }
            Op::Loop(v, count, steps) => loop {
                self.keep();
                if self.variables.get(v).copied().unwrap_or(0) >= *count {
                    break;
                }
                *self.variables.entry(*v).or_default() += 1;
                self.steps(steps, finished, nested)?;
            },
            Op::Scope(scope) => return self.scope(scope, finished),
            Op::CompensateAll => {
                self.keep();
                let queue = std::mem::take(nested);
                self.undo(queue)?;
            }
            Op::Raise(name, code) => {
                self.keep();
                return self.raise(code, "QS1341", name);
            }
            Op::Terminate => return Err(Left::Over),
            Op::Work(_) | Op::Listen(..) | Op::Suspend => unreachable!("not in an orderly plan"),
        }
        Ok(())
    }

    /// A point at which the instance is kept, with this effect.
    fn point(&mut self, word: String) {
        self.done(word);
        self.due = true;
    }

    /// Something that is no point itself: what came before is kept first.
    fn keep(&mut self) {
        if self.due && self.atomic.is_none() {
            self.wait();
        }
    }

    /// The instance waits.
    fn wait(&mut self) {
        self.due = false;
        if self.course.last().is_some_and(|word| word != "|") {
            self.done("|".to_owned());
        }
    }

    fn receive(&mut self) {
        if let Some(spare) = self.spare.checked_sub(1) {
            self.spare = spare;
            self.keep();
        } else if let Some(waited) = &mut self.atomic {
            *waited = true;
        } else {
            self.wait();
        }
        self.done("consume".to_owned());
    }

    fn done(&mut self, word: String) {
        self.course.push(word);
    }

    fn raise(&mut self, name: &'static str, code: &str, step: &str) -> Result<(), Left<'p>> {
        if self
            .catches
            .iter()
            .any(|catch| catch.is_none_or(|catch| catch == name))
        {
            return Err(Left::Raised(name, Vec::new()));
        }
        self.done(format!("suspend:{code}@{step}"));
        Err(Left::Stuck)
    }

    fn scope(&mut self, scope: &'p Scope, around: &mut Vec<Finished<'p>>) -> Result<(), Left<'p>> {
        if scope.atomic {
            self.keep();
            self.atomic = Some(false);
        }
        let before = (self.course.len(), self.variables.clone());
        let mut inside = Vec::new();
        if let Some((catch, _)) = &scope.handler {
            self.catches.push(*catch);
        }
        let left = self.steps(&scope.body, &mut inside, &mut Vec::new());
        if scope.handler.is_some() {
            self.catches.pop();
        }
        // It waited before its beginning, and did everything when the message was there.
        let waited = scope.atomic && self.atomic.take() == Some(true);
        if waited && before.0 > 0 && self.course[before.0 - 1] != "|" {
            self.course.insert(before.0, "|".to_owned());
        }
        let begin = before.0 + usize::from(self.course.get(before.0).is_some_and(|w| w == "|"));
        match left {
            Ok(()) => {
                self.due |= scope.is_transaction();
                if scope.is_transaction() && (scope.compensate.is_some() || !inside.is_empty()) {
                    self.numbers += 1;
                    around.push(Finished {
                        scope,
                        number: self.numbers,
                        nested: inside,
                    });
                } else if !scope.is_transaction() {
                    around.extend(inside);
                }
                Ok(())
            }
            Err(left) if scope.atomic => {
                // Nothing of it has happened, but that it failed.
                let failed = matches!(left, Left::Stuck)
                    .then(|| self.course.pop())
                    .flatten();
                let taken = self.course.drain(begin..);
                self.spare += taken.filter(|word| word == "consume").count();
                self.due = false;
                self.course.extend(failed);
                self.variables = before.1;
                Err(match left {
                    Left::Raised(name, _) => Left::Raised(name, Vec::new()),
                    left => left,
                })
            }
            Err(Left::Raised(name, mut queue)) => match &scope.handler {
                Some((catch, steps)) if catch.is_none_or(|catch| catch == name) => {
                    let mut made = Vec::new();
                    self.undo(queue)?;
                    match self.steps(steps, &mut made, &mut inside) {
                        Err(Left::Raised(name, mut queue)) => {
                            queue.extend(made);
                            queue.extend(inside);
                            Err(Left::Raised(name, queue))
                        }
                        left => {
                            around.extend(made);
                            left
                        }
                    }
                }
                _ => {
                    queue.extend(inside);
                    Err(Left::Raised(name, queue))
                }
            },
            Err(left) => Err(left),
        }
    }

    /// Compensates scopes, the one that ended last first.
    fn undo(&mut self, mut queue: Vec<Finished<'p>>) -> Result<(), Left<'p>> {
        queue.sort_by_key(|finished| std::cmp::Reverse(finished.number));
        for finished in queue {
            let mut nested = finished.nested;
            match &finished.scope.compensate {
                Some(steps) => self.steps(steps, &mut Vec::new(), &mut nested)?,
                None => self.undo(nested)?,
            }
        }
        Ok(())
    }
}
