//! What operators do to an instance.

use quayside_model::Name;

use super::Run;
use crate::{
    Effect, End, Event, Failure, Refused, Status, codes,
    retry::{Retryable, Seen},
};

impl Run<'_> {
    /// Applies `event`. `false`: it changes nothing, and there is nothing to run for.
    pub(super) fn apply(&mut self, event: &Event) -> Result<bool, Refused> {
        let active = self.state.status == Status::Active;
        match event {
            Event::Wake => Ok(active),
            Event::Suspend { reason } => {
                if active {
                    let id = self.state.branches.first().map_or(0, |branch| branch.id);
                    let failure: Failure = self.failure(id, "operator", codes::OPERATOR, reason);
                    self.effects.push(Effect::Suspend(failure.clone()));
                    self.state.status = Status::Suspended(failure);
                }
                Ok(active)
            }
            Event::Resume => {
                self.state.status = Status::Active;
                Ok(!active)
            }
            Event::RetryStep { step, seen } => self.retry(step.as_ref(), *seen).map(|()| true),
            Event::Terminate { reason } => {
                self.end(End::Terminated {
                    reason: reason.clone(),
                });
                Ok(true)
            }
        }
    }

    /// Lets a step run again: the one that failed, or one that waits for somebody.
    fn retry(&mut self, wanted: Option<&Name>, seen: Option<Seen>) -> Result<(), Refused> {
        let refused = |detail: &str| {
            Err(Refused {
                code: codes::NOT_RETRYABLE,
                detail: detail.to_owned(),
            })
        };
        let mut all = self.state.retryable(self.definition);
        all.retain(|one| {
            wanted.is_none_or(|step| one.step == *step) && seen.is_none_or(|seen| one.seen == seen)
        });
        match all.as_slice() {
            [one, ..] if one.seen == Seen::Failed => {}
            [
                Retryable {
                    branch: Some(id), ..
                },
            ] => {
                let branch = self.branch_mut(*id);
                branch.wait = None;
                branch.attempt += 1;
            }
            [] if seen.is_some() => {
                return refused("the step that was to run again has gone on since");
            }
            [] => return refused("no such step has failed or waits for an answer"),
            _ => return refused("several steps wait for an answer: name one of them"),
        }
        self.state.status = Status::Active;
        Ok(())
    }
}
