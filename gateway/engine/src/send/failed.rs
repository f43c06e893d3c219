//! Failed-message routing: what would be suspended is published again with `error.*` properties, if the
//! port says so and somebody subscribes to it.

use std::sync::Arc;

use quayside_model::{
    Context, DedupeKey, EndResult, Failure, Message, MessageId, Name, Part, Text, Timestamp, hash16,
};
use quayside_store::{
    Change, Claimed, GroupOutcome, Outcome, PublishOutcome, browse::FAILURE_PUBLISHED,
};

use tracing::warn;

use super::port::SendRuntime;
use crate::{
    committer::chain,
    process,
    publish::{Extras, commit_together, places_until, prepare},
    receive::body,
    shared::Shared,
};

/// How long the key of a failed message is remembered: longer than any crash leaves between two tries.
const KEY_WINDOW: std::time::Duration = std::time::Duration::from_secs(86_400);

/// Publishes the failure that `change` is, if the port says so, and ends the delivery with the same commit:
/// all or nothing, so that no crash leaves a failure published whose message is sent all the same. Gives
/// the end, which is durable. `None`: nothing was written, and `change` stands.
pub(crate) async fn publish_instead(
    shared: &Shared,
    runtime: &SendRuntime,
    claimed: &Claimed,
    change: &Change,
) -> Option<Change> {
    let Change::Suspend {
        attempts, failure, ..
    } = change
    else {
        return None;
    };
    if !runtime.plan.publish_failures || is_failure_itself(&claimed.message.context) {
        return None;
    }
    let names = [("error.send-port", runtime.plan.name.as_str())];
    let parts = match body::copy_parts(shared, &claimed.message).await {
        Ok(parts) => parts,
        Err(error) => {
            warn!(code = %error.kind.code(), error = %chain(&error), delivery = %claimed.id(),
                "a failed message could not be copied; it is suspended");
            return None;
        }
    };
    let copies = parts.clone();
    let failed = &claimed.message;
    let message = failed_message(shared, failed, Some(failed.id), parts, failure, &names);
    let end = Change::End {
        result: EndResult::Consumed,
        attempts: *attempts,
        detail: Text::lossy(&format!(
            "{}{FAILURE_PUBLISHED}{}",
            failure.code, message.id
        )),
        answer: None,
    };
    let (routes, extras) = (shared.routes(), extras(claimed));
    let prepared = prepare(shared, &routes, Arc::new(message), extras, places_until()).await;
    let outcome = match prepared {
        None => None,
        Some(prepared) => {
            let settle = vec![(claimed.claim, end.clone())];
            commit_together(shared, vec![prepared], settle, None).await
        }
    };
    let Some(GroupOutcome::Done(outcomes)) = outcome else {
        body::abandon_parts(shared, &copies).await;
        return None;
    };
    if !matches!(
        outcomes.first(),
        Some(Outcome::Published(PublishOutcome::Stored { .. }))
    ) {
        body::abandon_parts(shared, &copies).await;
    }
    Some(end)
}

/// The key is that of the failure: a version of this program that published and ended in two commits may
/// have died between them, and then the second publication is a repeat.
fn extras(claimed: &Claimed) -> Extras {
    let hash = hash16(&[b"failed", claimed.id().to_string().as_bytes()]);
    Extras {
        dedupe: Some(DedupeKey {
            hash,
            fingerprint: hash,
            window: KEY_WINDOW,
        }),
        ..Extras::default()
    }
}

fn is_failure_itself(context: &Context) -> bool {
    context.get("error.code").is_some()
}

/// A copy of `message` whose own properties route nothing any more and whose failure does. It names `stored`
/// as the message that failed, or itself where the failed one is stored under no other id.
pub(crate) fn failed_message(
    shared: &Shared,
    message: &Message,
    stored: Option<MessageId>,
    parts: Vec<Part>,
    failure: &Failure,
    names: &[(&str, &str)],
) -> Message {
    let now = shared.options.clock.now();
    let id = MessageId::new(now, &*shared.options.entropy);
    failure_of((id, now), message, stored, parts, failure, names)
}

/// [`failed_message`] under a given id.
pub(crate) fn failure_of(
    (id, now): (MessageId, Timestamp),
    message: &Message,
    stored: Option<MessageId>,
    parts: Vec<Part>,
    failure: &Failure,
    names: &[(&str, &str)],
) -> Message {
    let mut context = Context::new();
    // The key of a call is for its own attempts.
    let of_call = |name: &str| name == process::CALL_KEY;
    for (name, property) in message.context.iter().filter(|(name, _)| !of_call(name)) {
        context.write(name.clone(), property.value.clone());
    }
    context.promote_text("error.code", &failure.code);
    context.promote_text("error.message-id", &stored.unwrap_or(id).to_string());
    if let Some(message_type) = &message.message_type {
        context.promote_text("error.message-type", message_type);
    }
    for (name, value) in names {
        context.promote_text(name, value);
    }
    if let Ok(name) = Name::new("error.detail") {
        context.write(name, failure.detail.clone());
    }
    Message {
        id,
        received_at: now,
        origin: message.origin.clone(),
        message_type: None,
        context,
        parts,
    }
}
