//! How answers come to a send port whose subscribers wait for them.

use quayside_adapter_api::{Block, SendTerms, model::Fault, units::Span};
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
    /// What is wrong, each at its key below `answer`, on a port whose requests go into `requests`.
    pub(crate) fn faults(&self, requests: &str, faults: &mut Vec<Fault>) {
        if self.queue.as_deref() == Some(requests) {
            let message =
                "each request would be taken for its own answer: name another queue than `queue`";
            let path = ["answer", "queue"];
            faults.push(Fault::error(codes::BAD_SETTING, &path, message));
        }
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

/// What a send block says against its port.
pub(crate) fn faults(block: &Block, terms: &SendTerms, faults: &mut Vec<Fault>) {
    if terms.answers && block.get("msmq").is_some() {
        faults.push(no_answer());
    }
    if !terms.answers && block.get("answer").is_some() {
        let message = "nobody waits for answers: the port has no `answers = true`";
        faults.push(Fault::warning(codes::BAD_SETTING, &["answer"], message));
    }
    if !terms.ordered && block.get("pipeline").is_some() {
        let message =
            "the port has no `ordered`: `window` and `max_in_flight` bound what is sent at once";
        faults.push(Fault::warning(codes::BAD_SETTING, &["pipeline"], message));
    }
}

/// Requests and answers are not those of MSMQ.
pub(crate) fn no_answer() -> Fault {
    let message = "a port with the meaning of MSMQ neither asks nor answers";
    Fault::error(codes::NO_ANSWER, &["msmq"], message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_port_does_not_wait_for_is_told_before_it_runs() {
        let terms = |ordered, answers| SendTerms { ordered, answers };
        for (block, terms, expected) in [
            (json!({ "msmq": {} }), terms(false, true), "QS0918 msmq"),
            (json!({ "msmq": {} }), terms(true, false), ""),
            (
                json!({ "answer": {} }),
                terms(false, false),
                "QS0910 answer",
            ),
            (json!({ "answer": {} }), terms(false, true), ""),
            (
                json!({ "pipeline": 8 }),
                terms(false, false),
                "QS0910 pipeline",
            ),
            (json!({ "pipeline": 8 }), terms(true, false), ""),
        ] {
            let mut found = Vec::new();
            faults(&block, &terms, &mut found);
            let place = |f: &Fault| format!("{} {}", f.code, f.path.join("."));
            let told: Vec<String> = found.iter().map(place).collect();
            assert_eq!(told.join(", "), expected, "{block} {terms:?}");
        }
    }
}
