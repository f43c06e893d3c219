//! Failed-message routing: what would be suspended is published again with `error.*` properties, if the
//! port says so and somebody subscribes to it.

use std::sync::Arc;

use quayside_model::{
    Context, DedupeKey, EndResult, Failure, Message, MessageId, Name, Part, Text, hash16,
};
use quayside_store::{Change, Claimed, PublishOutcome};

use tracing::warn;

use super::port::SendRuntime;
use crate::{
    committer::chain,
    options::PUBLISH_WITHIN,
    publish::{Extras, places_until, prepare},
    receive::body,
    shared::Shared,
};

/// How long the key of a failed message is remembered: longer than any crash leaves between its
/// publication and the end of the delivery.
const KEY_WINDOW: std::time::Duration = std::time::Duration::from_secs(86_400);

/// `change`, or the end of the delivery when its failure was published instead.
pub(crate) async fn publish_instead(
    shared: &Shared,
    runtime: &SendRuntime,
    claimed: &Claimed,
    change: Change,
) -> Change {
    let Change::Suspend {
        attempts, failure, ..
    } = &change
    else {
        return change;
    };
    if !runtime.plan.publish_failures || is_failure_itself(&claimed.message.context) {
        return change;
    }
    let names = [("error.send-port", runtime.plan.name.as_str())];
    let parts = match body::copy_parts(shared, &claimed.message).await {
        Ok(parts) => parts,
        Err(error) => {
            warn!(code = %error.kind.code(), error = %chain(&error), delivery = %claimed.id(),
                "a failed message could not be copied; it is suspended");
            return change;
        }
    };
    let message = failed_message(shared, &claimed.message, parts, failure, &names);
    let id = message.id;
    // A crash between this commit and the end of the delivery makes it fail again: the key is that of
    // the failure, so the second publication is a repeat.
    let delivery = claimed.id().to_string();
    let hash = hash16(&[b"failed", delivery.as_bytes()]);
    let dedupe = Some(DedupeKey {
        hash,
        fingerprint: hash,
        window: KEY_WINDOW,
    });
    let routes = shared.routes();
    let extras = Extras {
        dedupe,
        ..Extras::default()
    };
    let prepared = prepare(shared, &routes, Arc::new(message), extras, places_until()).await;
    let Some(prepared) = prepared else {
        return change;
    };
    let deadline = shared.options.clock.monotonic().plus(PUBLISH_WITHIN);
    let published: MessageId = match prepared.commit(shared, Some(deadline)).await {
        Some(PublishOutcome::Stored { .. }) => id,
        Some(PublishOutcome::Duplicate(first)) => first.message,
        _ => return change,
    };
    Change::End {
        result: EndResult::Consumed,
        attempts: *attempts,
        detail: Text::lossy(&format!(
            "{}: published as failed message {published}",
            failure.code
        )),
        answer: None,
    }
}

fn is_failure_itself(context: &Context) -> bool {
    context.get("error.code").is_some()
}

/// A copy of `message` whose own properties route nothing any more and whose failure does.
pub(crate) fn failed_message(
    shared: &Shared,
    message: &Message,
    parts: Vec<Part>,
    failure: &Failure,
    names: &[(&str, &str)],
) -> Message {
    let mut context = Context::new();
    for (name, property) in message.context.iter() {
        context.write(name.clone(), property.value.clone());
    }
    context.promote_text("error.code", &failure.code);
    context.promote_text("error.message-id", &message.id.to_string());
    if let Some(message_type) = &message.message_type {
        context.promote_text("error.message-type", message_type);
    }
    for (name, value) in names {
        context.promote_text(name, value);
    }
    if let Ok(name) = Name::new("error.detail") {
        context.write(name, failure.detail.clone());
    }
    let now = shared.options.clock.now();
    Message {
        id: MessageId::new(now, &*shared.options.entropy),
        received_at: now,
        origin: message.origin.clone(),
        message_type: None,
        context,
        parts,
    }
}
