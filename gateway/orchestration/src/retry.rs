//! Which steps of an instance can be run again, and how an operator says which one was seen.

use quayside_model::{MessageId, Name};
use serde::{Deserialize, Serialize};

use crate::{CallKey, Definition, State, Status, state::Wait};

/// How an operator has seen a step stand. An order may be read long after it was given: by then the step of this name may be
/// in another round of its loop, and what would be asked again is not what was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// It has failed, and the instance is suspended for it.
    Failed,
    /// It waits for the answer to this call, or for what a worker makes of it.
    Call(CallKey),
    /// It waits for what becomes of a message that it has sent.
    Sent(MessageId),
}

/// A step that can be run again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retryable {
    /// Its name.
    pub step: Name,
    /// How it stands.
    pub seen: Seen,
    /// The branch that waits in it, of a step that has not failed.
    pub(crate) branch: Option<u32>,
}

impl State {
    /// The steps that can be run again: the one that failed first, then those that wait for somebody.
    #[must_use]
    pub fn retryable(&self, definition: &Definition) -> Vec<Retryable> {
        let failed = match &self.status {
            Status::Suspended(failure) => Some(Retryable {
                step: failure.step.clone(),
                seen: Seen::Failed,
                branch: None,
            }),
            _ => None,
        };
        let waiting = self.branches.iter().filter_map(|branch| {
            let seen = match branch.wait.as_ref()? {
                Wait::Reply(key) | Wait::Work(key, ..) => Seen::Call(*key),
                Wait::Delivery(message) => Seen::Sent(*message),
                Wait::Message | Wait::Listen(_) | Wait::Until(_) => return None,
            };
            let step = branch.current(definition)?;
            Some(Retryable {
                step: definition.step(step).name.clone(),
                seen,
                branch: Some(branch.id),
            })
        });
        failed.into_iter().chain(waiting).collect()
    }
}
