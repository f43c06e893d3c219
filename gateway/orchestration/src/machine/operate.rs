//! What operators do to an instance.

use quayside_model::{Name, Text};

use super::Run;
use crate::{Effect, End, Event, Failure, Refused, Status, codes, state::Wait};

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
            Event::RetryStep { step } => self.retry(step.as_ref()).map(|()| true),
            Event::Terminate { reason } => {
                self.end(End::Terminated {
                    reason: reason.clone(),
                });
                Ok(true)
            }
        }
    }

    /// Lets a step run again: the one that failed, or one that waits for somebody.
    fn retry(&mut self, wanted: Option<&Name>) -> Result<(), Refused> {
        let refused = |detail: &str| {
            Err(Refused {
                code: codes::STATE,
                detail: detail.to_owned(),
            })
        };
        let failed = match &self.state.status {
            Status::Suspended(failure) => Some(failure.step.clone()),
            _ => None,
        };
        let asking =
            |wait: &Wait| matches!(wait, Wait::Reply(_) | Wait::Work(..) | Wait::Delivery(_));
        let waiting: Vec<(u32, Name)> = self
            .state
            .branches
            .iter()
            .filter(|branch| branch.wait.as_ref().is_some_and(asking))
            .map(|branch| (branch.id, self.step_name(branch.id)))
            .collect();
        let wanted: Option<Text> = wanted.map(|name| Text::lossy(name));
        let chosen: Vec<&(u32, Name)> = waiting
            .iter()
            .filter(|(_, step)| wanted.as_ref().is_none_or(|w| **w == **step))
            .collect();
        let is_failed = failed
            .as_ref()
            .is_some_and(|step| wanted.as_ref().is_none_or(|w| **w == **step));
        match chosen.as_slice() {
            _ if is_failed => {}
            [(id, _)] => {
                let branch = self.branch_mut(*id);
                branch.wait = None;
                branch.attempt += 1;
            }
            [] => return refused("no such step has failed or waits for an answer"),
            _ => return refused("several steps wait for an answer: name one of them"),
        }
        self.state.status = Status::Active;
        Ok(())
    }
}
