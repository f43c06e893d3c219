//! How answers come to a send port whose subscribers wait for them.

use quayside_adapter_api::{model::Fault, units::Span};
use serde::Deserialize;

use crate::{codes, confine::confine};

/// `[send.PORT.primary.amqp.answer]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerSettings {
    /// The queue that answers come to; without it they come over the connection that asked.
    #[serde(default)]
    pub queue: Option<String>,
    /// How long an answer is waited for.
    #[serde(default = "answer_within")]
    pub within: Span,
}

impl Default for AnswerSettings {
    fn default() -> Self {
        Self {
            queue: None,
            within: answer_within(),
        }
    }
}

const fn answer_within() -> Span {
    Span::secs(30)
}

impl AnswerSettings {
    /// What is wrong, each at its key below `answer`.
    pub(crate) fn faults(&self, faults: &mut Vec<Fault>) {
        if let Some(Err(wrong)) = self.queue.as_deref().map(confine) {
            let path = ["answer", "queue"];
            faults.push(Fault::error(codes::QUEUE_REFUSED, &path, wrong));
        }
        if self.within.duration().is_zero() {
            let message = "`within` must be longer than nothing, such as \"30s\"";
            let path = ["answer", "within"];
            faults.push(Fault::error(codes::BAD_SETTING, &path, message));
        }
    }
}
