//! Steps that ask somebody and wait for what comes of it.

use quayside_model::Text;

use super::{Done, Halt, Run};
use crate::{
    Arrived, CallKey, Effect, Failure, Route, codes,
    definition::{Action, Call, Worker},
    id,
    state::{Held, Wait},
};

impl Run<'_> {
    pub(super) fn call(&mut self, id: u32, step: u16, call: &Call) -> Done {
        let message = self.outgoing(id, call.message)?;
        let occurrence = self.occurrence(id, step);
        let key = occurrence.key();
        self.effects.push(Effect::Call {
            id: occurrence.message("call"),
            key,
            step: self.definition.step(step).name.clone(),
            message,
            port: call.port.clone(),
        });
        self.due = true;
        self.branch_mut(id).wait = Some(Wait::Reply(key));
        Ok(())
    }

    pub(super) fn work(&mut self, id: u32, step: u16, worker: &Worker) -> Done {
        let occurrence = self.occurrence(id, step);
        // Counted on when an operator has the step run again, so that no two attempts are the same.
        let attempt = occurrence.attempt.saturating_mul(worker.attempts) + 1;
        self.ask_worker(id, step, worker, occurrence.key(), attempt)
    }

    fn ask_worker(
        &mut self,
        id: u32,
        step: u16,
        worker: &Worker,
        key: CallKey,
        attempt: u32,
    ) -> Done {
        let message = self.outgoing(id, worker.message)?;
        let lease_until = self.input.now.plus(worker.lease);
        let purpose = format!("work {attempt}");
        self.effects.push(Effect::Work {
            id: self.occurrence(id, step).message(&purpose),
            key,
            attempt,
            step: self.definition.step(step).name.clone(),
            worker: worker.worker.clone(),
            message,
            lease: worker.lease,
        });
        self.due = true;
        self.branch_mut(id).wait = Some(Wait::Work(key, lease_until, attempt));
        Ok(())
    }

    /// Goes on behind a step that asked, or raises what came of it.
    pub(super) fn settle(&mut self, id: u32, step: u16) -> Done {
        self.keep_first()?;
        let definition = self.definition;
        let wait = self.branch(id).wait.clone();
        let Some(at) = wait.as_ref().and_then(|wait| self.answer(wait)) else {
            return self.lease_over(id, step);
        };
        let arrived = &self.input.inbox[at];
        let reply = match &definition.step(step).action {
            Action::Call(call) => Some(call.reply),
            Action::Worker(worker) => worker.reply,
            _ => None,
        };
        if let (Route::Reply(_), Some(slot)) = (&arrived.route, reply) {
            self.reply(id, step, (at, arrived), slot)?;
        } else if let Some(failure) = self.refusal(id, step, &arrived.route) {
            self.consume(at);
            self.try_again_later(id);
            return Err(Halt::Raise(failure));
        } else {
            self.consume(at);
        }
        self.next(id);
        Ok(())
    }

    fn reply(&mut self, id: u32, step: u16, (at, arrived): (usize, &Arrived), slot: u16) -> Done {
        let variable = self.definition.message(slot);
        self.consume(at);
        if arrived.message_type.as_ref() != Some(&variable.message_type) {
            let came = arrived.message_type.as_deref().unwrap_or("no type");
            let detail = format!("the answer is of {came}, not of {}", variable.message_type);
            let (error, code) = match &self.definition.step(step).action {
                Action::Worker(_) => ("worker", codes::WORKER),
                _ => ("call", codes::CALL),
            };
            self.try_again_later(id);
            return Err(Halt::Raise(self.failure(id, error, code, &detail)));
        }
        let kept = self.kept(slot, |name| arrived.context.value(name));
        self.hold(
            id,
            slot,
            Held {
                id: arrived.message,
                kept,
                set: Default::default(),
            },
        );
        Ok(())
    }

    /// What a negative answer is as an error.
    fn refusal(&self, id: u32, step: u16, route: &Route) -> Option<Failure> {
        let of = |name: &str, code, why: &Text, detail: &Text| {
            Some(self.failure(id, name, code, &format!("{detail} ({why})")))
        };
        match (route, &self.definition.step(step).action) {
            (Route::Refused { code, detail, .. }, Action::Worker(_)) => {
                of("worker", codes::WORKER, code, detail)
            }
            (Route::Refused { code, detail, .. }, _) => of("call", codes::CALL, code, detail),
            (Route::Undelivered { code, detail, .. }, _) => {
                of("delivery", codes::DELIVERY, code, detail)
            }
            _ => None,
        }
    }

    /// The worker was not heard of for the length of its lease.
    fn lease_over(&mut self, id: u32, step: u16) -> Done {
        let definition = self.definition;
        let (Action::Worker(worker), Some(Wait::Work(key, _, attempt))) =
            (&definition.step(step).action, self.branch(id).wait.clone())
        else {
            unreachable!("only a worker has a lease");
        };
        if !attempt.is_multiple_of(worker.attempts) {
            return self.ask_worker(id, step, worker, key, attempt + 1);
        }
        let detail = format!("the worker `{}` was lost {attempt} times", worker.worker);
        self.effects.push(Effect::Abandon(key));
        self.try_again_later(id);
        Err(Halt::Raise(self.failure(
            id,
            "worker",
            codes::WORKER,
            &detail,
        )))
    }

    /// The step is no longer waiting; when it runs again, that is another attempt.
    fn try_again_later(&mut self, id: u32) {
        let branch = self.branch_mut(id);
        branch.wait = None;
        branch.attempt += 1;
    }

    /// The message of the inbox that ends a wait for somebody.
    pub(super) fn answer(&self, wait: &Wait) -> Option<usize> {
        let fits = |route: &Route| match (wait, route) {
            (
                Wait::Reply(key) | Wait::Work(key, ..),
                Route::Reply(of) | Route::Refused { key: of, .. },
            ) => key == of,
            (Wait::Delivery(id), Route::Delivered(of) | Route::Undelivered { message: of, .. }) => {
                id == of
            }
            _ => false,
        };
        let mut inbox = self.input.inbox.iter().enumerate();
        inbox
            .find(|(at, arrived)| !self.taken.contains(at) && fits(&arrived.route))
            .map(|(at, _)| at)
    }

    pub(super) fn consume(&mut self, at: usize) {
        let message = self.input.inbox[at].message;
        self.taken.insert(at);
        self.since = self.since.max(id::time_of(message)).min(self.input.now);
        self.effects.push(Effect::Consume(message));
    }
}
