//! One attempt: gate, send, decide, settle.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use quayside_adapter_api::{AdapterError, Answer, Body, ErrorKind, Outbound, Sent};
use quayside_model::{
    Claim, Content, Message, OnOrderFailure, PortControl, PortStatus, StoredBody, Text,
};
use quayside_store::{AnyStore, Change, Claimed, SettleOutcome};
use tracing::{info, warn};

use super::{
    decide::{decide, hold_in_doubt},
    failed,
    port::{SendRuntime, Work},
    rendered,
};
use crate::{codes, counters::count, plan::InDoubt, shared::Shared};

/// How an attempt ended, as far as the order of a key is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Its delivery has ended: the next one of the key may go.
    Done,
    /// Its delivery waits for another attempt.
    Waits,
    /// Its delivery is suspended.
    Suspended,
}

/// How often a gate that is shut is looked at again.
const GATE_POLL: Duration = Duration::from_millis(20);

/// Runs one attempt and settles it. The place in the window is given back when the outcome is durable.
pub(crate) async fn run(shared: Arc<Shared>, runtime: Arc<SendRuntime>, work: Work) -> Ended {
    let claimed = &work.claimed;
    let change = if claimed.in_doubt && runtime.plan.in_doubt == InDoubt::Hold {
        hold_in_doubt(&runtime.plan, claimed)
    } else {
        let Some(result) = send_when_trusted(&shared, &runtime, claimed).await else {
            return Ended::Waits;
        };
        log_result(&runtime, claimed, &result);
        decide(&runtime.plan, claimed, result, &*shared.options.entropy)
    };
    let change = failed::publish_instead(&shared, &runtime, claimed, change).await;
    let ended = match &change {
        Change::End { .. } => Ended::Done,
        Change::Suspend { .. } => Ended::Suspended,
        Change::Retry { .. } | Change::Release | Change::Sending => Ended::Waits,
    };
    let answer = answer_of(&change);
    let outcome = settle(&shared, &runtime, claimed.claim, change).await;
    if outcome == Some(SettleOutcome::Done)
        && let Some((exchange, answer)) = answer
    {
        shared.exchanges.answered(exchange, &answer);
    }
    if ended == Ended::Suspended {
        stop_if_asked(&shared, &runtime).await;
    }
    drop(work.place);
    ended
}

/// An ordered port with `on_failure = "stop-port"` stops behind a suspended delivery, on all nodes.
async fn stop_if_asked(shared: &Shared, runtime: &SendRuntime) {
    let ordered = runtime.plan.ordered.as_ref();
    if ordered.is_none_or(|order| order.on_failure != OnOrderFailure::StopPort) {
        return;
    }
    let reason = "stopped behind a suspended delivery: resume or terminate it, then start the port";
    let control = PortControl {
        status: PortStatus::Stopped,
        paused_until: None,
        reason: Some(Text::lossy(reason)),
    };
    // Here at once; the sweep brings it to the other processes.
    runtime.refresh(Some(&control), shared.options.clock.now());
    if let Err(error) = shared.store.set_control(&runtime.plan.name, &control).await {
        warn!(code = %error.kind.code(), port = %runtime.plan.name, "stopping the port failed");
    }
}

/// Sends once this process is trusted. `None`: it was cut off before that; the claim stays as it is.
async fn send_when_trusted(
    shared: &Arc<Shared>,
    runtime: &SendRuntime,
    claimed: &Claimed,
) -> Option<Result<Sent, AdapterError>> {
    loop {
        while !shared.trust.may_act() {
            tokio::select! {
                () = tokio::time::sleep(GATE_POLL) => {}
                () = shared.cut.cancelled() => return None,
            }
        }
        let options = &shared.options;
        let transmit = match runtime
            .transports
            .get(&runtime.plan, options, claimed.transport)
            .await
        {
            Ok(transmit) => transmit,
            Err(error) => return Some(Err(error)),
        };
        match transmit.send(outbound(shared, runtime, claimed)).await {
            // The gate shut between our look and the adapter's: nothing was done, so wait again. That
            // is not an attempt.
            Err(error) if !error.in_doubt && !shared.trust.may_act() => {}
            result => return Some(result),
        }
    }
}

fn outbound(shared: &Arc<Shared>, runtime: &SendRuntime, claimed: &Claimed) -> Outbound {
    let trust = shared.trust.clone();
    let (store, message) = (Arc::clone(&shared.store), Arc::clone(&claimed.message));
    Outbound {
        delivery: claimed.id(),
        message: Arc::clone(&claimed.message),
        open: Arc::new(move || open_body(&store, &message)),
        rendered: rendered::read(claimed.rendered.as_ref(), claimed.transport),
        in_doubt: claimed.in_doubt,
        answer_wanted: runtime.plan.answers,
        guard: Arc::new(move || trust.may_act()),
    }
}

/// The body of `message` from its first byte.
pub(crate) fn open_body(store: &AnyStore, message: &Message) -> Body {
    match &message.body().content {
        Content::Inline(bytes) => {
            let bytes = bytes.clone();
            Box::pin(stream::once(async move { Ok(bytes) }))
        }
        Content::Stored(body) => stored_body(Arc::clone(store), *body),
    }
}

fn stored_body(store: AnyStore, body: StoredBody) -> Body {
    let chunks = stream::iter(0..body.chunks);
    Box::pin(chunks.then(move |no| {
        let store = Arc::clone(&store);
        async move {
            let lost =
                |kind, detail: String| AdapterError::new(kind, codes::STORE_UNAVAILABLE, detail);
            match store.read_chunk(body.id, no).await {
                Ok(Some(bytes)) => Ok(bytes),
                Ok(None) => Err(lost(
                    ErrorKind::Rejected,
                    format!("chunk {no} of the body is gone"),
                )),
                Err(error) => Err(lost(
                    ErrorKind::Retry(None),
                    crate::committer::chain(&error),
                )),
            }
        }
    }))
}

fn answer_of(change: &Change) -> Option<(quayside_model::ExchangeId, Answer)> {
    let Change::End {
        answer: Some(answer),
        ..
    } = change
    else {
        return None;
    };
    let Content::Inline(body) = &answer.body.content else {
        return None;
    };
    let content_type = answer.body.content_type.clone();
    Some((
        answer.exchange,
        Answer {
            status: answer.status,
            content_type,
            body: body.clone(),
        },
    ))
}

fn log_result(runtime: &SendRuntime, claimed: &Claimed, result: &Result<Sent, AdapterError>) {
    match result {
        Ok(_) => runtime.tally.forget_failure(),
        Err(error) => warn!(
            code = %error.code, delivery = %claimed.id(), port = %runtime.plan.name,
            attempt = claimed.attempts + 1, transport = ?claimed.transport, in_doubt = error.in_doubt,
            detail = %error.detail, "attempt failed"
        ),
    }
}

/// Gives work to the task of its port; if that has stopped meanwhile, the work goes back.
pub(crate) async fn give(shared: &Shared, runtime: &SendRuntime, work: Work) {
    if let Err(work) = runtime.give(work).await {
        settle(shared, runtime, work.claimed.claim, Change::Release).await;
    }
}

/// Settles durably and forgets the claim.
pub(crate) async fn settle(
    shared: &Shared,
    runtime: &SendRuntime,
    claim: Claim,
    change: Change,
) -> Option<SettleOutcome> {
    let (tally, now) = (&runtime.tally, shared.options.clock.now());
    let counters = match &change {
        Change::End { .. } => Some((&shared.counters.delivered, None)),
        Change::Retry { failure, .. } => {
            tally.note_failure(now, failure.clone());
            Some((&shared.counters.retried, Some(&tally.failed)))
        }
        Change::Suspend { failure, .. } => {
            tally.note_failure(now, failure.clone());
            warn!(code = %failure.code, delivery = %claim.delivery, port = %runtime.plan.name,
                detail = %failure.detail, "delivery suspended");
            Some((&shared.counters.suspended, Some(&tally.suspended)))
        }
        Change::Release | Change::Sending => None,
    };
    let ends = matches!(change, Change::End { .. });
    let outcome = shared.committer.settle(claim, change).await;
    if outcome.is_some() {
        shared.held.remove(claim);
    }
    // Without an outcome the claim stays held: given back as untouched, what was sent would be sent
    // again without a word. It is in doubt when this instance has ended.
    if ends {
        runtime.note_flow(shared.options.clock.monotonic());
    }
    match outcome {
        Some(SettleOutcome::Done) => {
            if let Some((counter, of_port)) = counters {
                count(counter);
                of_port.map_or_else(|| tally.note_done(now), count);
            }
        }
        Some(SettleOutcome::Fenced) => {
            count(&shared.counters.fenced);
            info!(delivery = %claim.delivery, port = %runtime.plan.name,
                "settlement came too late: the delivery is another's now");
        }
        None => {}
    }
    outcome
}
