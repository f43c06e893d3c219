//! Taking a message in again that was suspended on receipt and that an operator has resumed.
//!
//! Its delivery stands under the name of its location. It is promoted and routed as if it had just
//! arrived, published as a new message, and then its old delivery ends as consumed.

use std::sync::Arc;

use quayside_adapter_api::{Incoming, NaturalKey, Rejected, Reply};
use quayside_model::{EndResult, Failure, FailureClass, Text};
use quayside_store::{Change, Claimed};
use tracing::warn;

use super::{
    intake::{self, Arrival},
    records, split,
};
use crate::{
    publish::is_to_split,
    send::attempt::open_body,
    shared::{Routes, Shared},
};

/// Takes one resumed receipt in and settles its delivery.
pub(crate) async fn take(shared: &Arc<Shared>, routes: &Routes, claimed: Claimed) {
    if is_to_split(claimed.rendered.as_ref()) {
        return split::take(shared, routes, claimed).await;
    }
    let change = match again(shared, routes, &claimed).await {
        Some(change) => change,
        None => Change::Release,
    };
    let claim = claimed.claim;
    shared.committer.settle(claim, change).await;
    shared.held.remove(claim);
}

async fn again(shared: &Arc<Shared>, routes: &Routes, claimed: &Claimed) -> Option<Change> {
    let port = routes.receive.get(&claimed.port)?;
    let location = port
        .locations
        .iter()
        .find(|location| location.name == claimed.port)?;
    let message = &claimed.message;
    let mut context = message.context.clone();
    // What every record of a batch carries is in no record, so it stays; what the record has itself is found anew.
    let is_record = context.get(records::NUMBER).is_some();
    for name in context
        .iter()
        .map(|(name, _)| name.clone())
        .collect::<Vec<_>>()
    {
        // What was promoted from the content is promoted anew, perhaps by other rules, and so it is judged.
        if !(is_record || name.contains('.')) || name.starts_with("validation.") {
            context.remove(&name);
        }
    }
    let incoming = Incoming {
        context,
        content_type: message.body().content_type.clone(),
        body: open_body(&shared.store, message),
        // A crash between the two commits repeats the first one: this key makes it the same message.
        key: Some(NaturalKey {
            scope: Text::lossy("resumed"),
            key: Text::lossy(&claimed.id().to_string()),
            covers: None,
        }),
    };
    let arrival = Arrival::alone(shared, incoming, Reply::Receipt);
    match intake::accept_resumed(shared, port, location, arrival).await {
        Ok(accepted) => Some(Change::End {
            result: EndResult::Consumed,
            attempts: claimed.attempts + 1,
            detail: Text::lossy(&format!("resumed as message {}", accepted.message)),
            answer: None,
        }),
        Err(refusal) => refused(claimed, &refusal.rejected),
    }
}

fn refused(claimed: &Claimed, rejected: &Rejected) -> Option<Change> {
    warn!(code = %rejected.code, delivery = %claimed.id(), detail = %rejected.detail,
        "resumed message refused again");
    let code = Text::lossy(rejected.code.code);
    let failure = Failure {
        code,
        class: FailureClass::GiveUp,
        detail: Text::lossy(&rejected.detail),
        resumable: true,
    };
    // Back where it was: the operator sees the new reason.
    let again = Change::Suspend {
        attempts: claimed.attempts,
        failure,
        hold_key: false,
        in_doubt: false,
    };
    rejected.retry_after.is_none().then_some(again)
}
