//! Which queues a setting may name, and which a message may choose.

use quayside_adapter_api::model::Fault;

use crate::codes;

/// The longest name of a queue, in bytes: AMQP carries it in a short string.
const MAX_QUEUE: usize = 255;

/// Refuses what is no name of a queue, or one that messages must not choose.
pub(crate) fn confine(queue: &str) -> Result<(), String> {
    if queue.is_empty() {
        return Err("the name of the queue is empty".to_owned());
    }
    if queue.len() > MAX_QUEUE {
        return Err(format!(
            "the name of the queue has {} bytes, more than {MAX_QUEUE}",
            queue.len()
        ));
    }
    if queue.starts_with("amq.") {
        return Err(format!(
            "`{queue}`: names that begin with `amq.` are the broker's own"
        ));
    }
    if queue.chars().any(char::is_control) {
        return Err(format!("{queue:?} holds control characters"));
    }
    Ok(())
}

/// What is wrong with the template `queue` of a name that may come to `queues`: a message must not choose any
/// queue of the broker.
pub(crate) fn faults(queue: &str, queues: &[String], faults: &mut Vec<Fault>) {
    let begins_with_text = !queue.starts_with('{') || queue.starts_with("{{");
    if !begins_with_text && queues.is_empty() {
        let message = "messages could choose any queue: begin the name with text of its own, or list in \
                       `queues` which ones it may come to";
        faults.push(Fault::error(codes::UNCONFINED, &["queue"], message));
    }
    if queues
        .iter()
        .any(|pattern| pattern.trim_matches('*').is_empty())
    {
        let message = "the pattern stands for any queue";
        faults.push(Fault::error(codes::UNCONFINED, &["queues"], message));
    }
}

/// Whether a template that may come to `queues`, or to anything if there are none, may come to `queue`.
pub(crate) fn may_choose(queues: &[String], queue: &str) -> bool {
    queues.is_empty() || queues.iter().any(|pattern| fits(pattern, queue))
}

/// Whether `name` is what `pattern` says, in which `*` stands for anything.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut left) = name.strip_prefix(first) else {
        return false;
    };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match left.find(piece) {
            Some(at) => left = &left[at + piece.len()..],
            None => return false,
        }
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_says_which_queues_a_message_may_choose() {
        for (pattern, name, expected) in [
            ("erp.in", "erp.in", true),
            ("erp.in", "erp.inn", false),
            ("erp.*", "erp.", true),
            ("erp.*", "crm.erp.", false),
            ("*.in", "a.b.in", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("a*aa*a", "aaa", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
