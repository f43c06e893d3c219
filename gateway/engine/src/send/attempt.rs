//! One attempt: gate, send, decide, settle.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use quayside_adapter_api::{AdapterError, Answer, Body, ErrorKind, Outbound, Sent};
use quayside_model::{
    Claim, Content, Message, OnOrderFailure, PortControl, PortStatus, StoredBody, Text, failpoint,
};
use quayside_store::{AnyStore, Change, Claimed, Next, SettleOutcome, StoreError};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tracing::{info, warn};

use super::{
    decide::{decide, failure_of, hold_in_doubt, rests, suspend},
    encode::encoded,
    failed,
    mapped::{self, Unanswered},
    port::SendRuntime,
    rendered,
    rest::Pass,
    run,
    work::{HANDED_OFF, Work},
};
use crate::{codes, committer::chain, counters::count, plan::InDoubt, process, shared::Shared};

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

/// An attempt that has ended.
#[derive(Debug)]
pub(crate) struct Attempted {
    pub(crate) ended: Ended,
    /// What its end brought: the next of its key, with its place in the window.
    pub(crate) next: Option<Box<Work>>,
}

/// How many deliveries of a key, or runs of them, go one after the other without giving their place up: then
/// another key may have its turn.
const RUN: u8 = 16;

/// How often a gate that is shut is looked at again.
const GATE_POLL: Duration = Duration::from_millis(20);

/// Runs one attempt and settles it. The place in the window and the leave to try are given back when the
/// outcome is durable.
pub(crate) async fn run(
    shared: Arc<Shared>,
    runtime: Arc<SendRuntime>,
    mut work: Work,
    pass: Pass,
) -> Attempted {
    if !work.more.is_empty() && run::keep_what_goes_together(&shared, &runtime, &mut work).await {
        return run::run(&shared, &runtime, work, pass).await;
    }
    let claimed = &work.claimed;
    let change = if claimed.in_doubt && runtime.plan.in_doubt == InDoubt::Hold {
        hold_in_doubt(&runtime.plan, claimed)
    } else if let Some(over) = process::work::is_over(&shared, claimed).await {
        over
    } else {
        match rendered::kept_or_new(&shared, claimed) {
            Err(failure) => suspend(&runtime.plan, claimed.attempts, failure, false),
            Ok(names) => {
                let names = names.as_ref();
                let Some(result) = send_when_trusted(&shared, &runtime, &work, names).await else {
                    let ended = Ended::Waits;
                    return Attempted { ended, next: None };
                };
                if result.is_ok() {
                    let port = &runtime.plan.name;
                    let tell =
                        || warn!(delivery = %claimed.id(), %port, "held before the completion");
                    failpoint::pass("hold-before-completion", tell).await;
                }
                change_after(&shared, &runtime, claimed, &pass, result).await
            }
        }
    };
    let attempted = conclude(&shared, &runtime, work, change).await;
    drop(pass);
    attempted
}

/// What the result of an attempt changes, with what the maps of the port make of an answer.
async fn change_after(
    shared: &Shared,
    runtime: &SendRuntime,
    claimed: &Claimed,
    pass: &Pass,
    result: Result<Sent, AdapterError>,
) -> Change {
    let answered = match result {
        Ok(sent) => mapped::answer(shared, runtime, sent).await,
        Err(error) => Err(Unanswered::Failed(error)),
    };
    let result = match answered {
        Ok(sent) => Ok(sent),
        Err(Unanswered::Failed(error)) => Err(error),
        Err(Unanswered::Suspended(failure)) => {
            warn!(code = %failure.code, delivery = %claimed.id(), port = %runtime.plan.name,
                detail = %failure.detail, "an answer could not be mapped");
            note_rest(shared, runtime, claimed, pass, None);
            return suspend(&runtime.plan, claimed.attempts + 1, failure, true);
        }
    };
    log_result(runtime, claimed, &result);
    note_rest(shared, runtime, claimed, pass, result.as_ref().err());
    decide(&runtime.plan, claimed, result, &*shared.options.entropy)
}

/// Makes what an attempt came to durable, with what the policy of the port makes of it.
pub(crate) async fn conclude(
    shared: &Shared,
    runtime: &SendRuntime,
    mut work: Work,
    change: Change,
) -> Attempted {
    let instead = failed::publish_instead(shared, runtime, &work.claimed, &change).await;
    if let Some(end) = instead {
        let done = Some(SettleOutcome::Done);
        note_settled(shared, runtime, work.claimed.claim, &end, done);
        let ended = Ended::Done;
        return Attempted { ended, next: None };
    }
    let ended = match &change {
        Change::End { .. } => Ended::Done,
        Change::Suspend { .. } => Ended::Suspended,
        Change::Retry { .. } | Change::Release | Change::Sending => Ended::Waits,
    };
    let answer = answer_of(&change);
    let room = work.room.take();
    let wanted = next_of(shared, runtime, &work, room, ended);
    let changes = vec![(work.claimed.claim, change)];
    let (next, room) = wanted.unzip();
    let (outcomes, next) = settle_all(shared, runtime, changes, next).await;
    if outcomes.first() == Some(&SettleOutcome::Done)
        && let Some((exchange, answer)) = answer
    {
        shared.exchanges.answered(exchange, &answer);
    }
    if work.claimed.exchange.is_some() && ended != Ended::Waits {
        // An orchestration may wait for it; what does not run here finds it in the store.
        shared.process.wake.notify_one();
    }
    if ended == Ended::Suspended {
        stop_if_asked(shared, runtime).await;
    }
    let next = work.followed_by(next, room.flatten());
    Attempted { ended, next }
}

/// What the end of `work` is to bring: the next of its key, if it has one and the port goes on, and the places
/// for those that go with it.
pub(crate) fn next_of(
    shared: &Shared,
    runtime: &SendRuntime,
    work: &Work,
    room: Option<OwnedSemaphorePermit>,
    ended: Ended,
) -> Option<(Next, Option<OwnedSemaphorePermit>)> {
    let goes_on = ended == Ended::Done && runtime.is_flowing() && work.run < RUN;
    let acts = !shared.stopping.is_cancelled() && shared.trust.may_act();
    let order = work.claimed.order.filter(|_| goes_on && acts)?;
    let longest = match runtime.plan.answers {
        true => 1,
        false => runtime.transports.longest_run(),
    };
    let room = runtime.room_for(room, longest - 1);
    let more = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
    let next = Next {
        port: runtime.plan.name.clone(),
        order,
        most: u32::try_from(1 + more).unwrap_or(u32::MAX),
    };
    Some((next, room))
}

/// Settles durably in one commit, forgets the claims, and takes what comes next of the key in hand, if it is
/// wanted. No outcomes: this process is being cut off.
pub(crate) async fn settle_all(
    shared: &Shared,
    runtime: &SendRuntime,
    changes: Vec<(Claim, Change)>,
    next: Option<Next>,
) -> (Vec<SettleOutcome>, Vec<Claimed>) {
    let brings = next.as_ref().map(|_| shared.held.brings());
    let committer = &shared.committer;
    let settled = committer.settle_and_next(changes.clone(), next).await;
    let (outcomes, next) = settled.unwrap_or_default();
    shared.held.add(next.iter().map(|next| next.claim));
    next.iter().for_each(|_| count(&shared.counters.claimed));
    drop(brings);
    for (no, (claim, change)) in changes.iter().enumerate() {
        note_settled(shared, runtime, *claim, change, outcomes.get(no).copied());
    }
    (outcomes, next)
}

/// An ordered port with `on_failure = "stop-port"` stops behind a suspended delivery, on all nodes.
pub(crate) async fn stop_if_asked(shared: &Shared, runtime: &SendRuntime) {
    let ordered = runtime.plan.ordered.as_ref();
    if ordered.is_none_or(|order| order.on_failure != OnOrderFailure::StopPort) {
        return;
    }
    // Here at once; other processes hear of it from the store. What cannot be recorded now is tried again
    // with every sweep.
    runtime.stop.want();
    let stands_by = shared.ownership.stands_by(&runtime.plan.host);
    runtime.refresh(None, shared.options.clock.now(), stands_by);
    if let Err(error) = record_stop(shared, runtime).await {
        warn!(code = %error.kind.code(), error = %chain(&error), port = %runtime.plan.name,
            "the stop of the port could not be recorded yet");
    }
}

/// Records the stop that the port wants, if there is one.
///
/// # Errors
/// [`StoreError`]; the stop stays wanted.
pub(crate) async fn record_stop(shared: &Shared, runtime: &SendRuntime) -> Result<(), StoreError> {
    if !runtime.stop.is_wanted() {
        return Ok(());
    }
    let reason = "stopped behind a suspended delivery: resume or terminate it, then start the port";
    let control = PortControl {
        status: PortStatus::Stopped,
        paused_until: None,
        reason: Some(Text::lossy(reason)),
    };
    let store = &shared.store;
    store.set_control(&runtime.plan.name, &control).await?;
    runtime.stop.recorded();
    Ok(())
}

/// Sends once this process is trusted, within the time of an attempt. `None`: it was cut off before that
/// and the claim stays as it is, or the delivery is another's.
async fn send_when_trusted(
    shared: &Arc<Shared>,
    runtime: &SendRuntime,
    work: &Work,
    names: Option<&Text>,
) -> Option<Result<Sent, AdapterError>> {
    let (claimed, limit) = (&work.claimed, runtime.plan.attempt_timeout);
    // What was handed over was born with its mark.
    let mut marked = !runtime.plan.marks_sends() || work.round == HANDED_OFF;
    let message = match mapped::message(shared, runtime, claimed).await {
        Ok(message) => message,
        Err(error) => return Some(Err(error)),
    };
    loop {
        until_trusted(shared).await?;
        let (plan, options) = (&runtime.plan, &shared.options);
        let open = runtime.transports.get(plan, options, claimed.transport);
        let transmit = match timeout(limit, open).await {
            Ok(Ok(transmit)) => transmit,
            Ok(Err(error)) => return Some(Err(error)),
            Err(_) => return Some(Err(too_long("opening the transport", limit))),
        };
        if !marked {
            mark(shared, runtime, claimed.claim).await?;
            marked = true;
            // The gate may have shut during the commit.
            continue;
        }
        let outbound = outbound(shared, runtime, (claimed, &message), names);
        let outbound = match timeout(limit, encoded(&shared.store, plan, outbound)).await {
            Ok(Ok(outbound)) => outbound,
            Ok(Err(error)) => return Some(Err(error)),
            Err(_) => return Some(Err(too_long("encoding the body", limit))),
        };
        let under_way = shared.effects.begin(1);
        let sent = timeout(limit, transmit.send(outbound)).await;
        drop(under_way);
        match sent {
            // The gate shut between our look and the adapter's: nothing was done, so wait again. That
            // is not an attempt.
            Ok(Err(error)) if !error.in_doubt && !shared.trust.may_act() => {}
            Ok(result) => return Some(result),
            Err(_) => return Some(Err(too_long("sending", limit).doubtful())),
        }
    }
}

/// Waits until this process may act. `None`: it is cut off before that.
pub(crate) async fn until_trusted(shared: &Shared) -> Option<()> {
    while !shared.trust.may_act() {
        tokio::select! {
            () = tokio::time::sleep(GATE_POLL) => {}
            () = shared.cut.cancelled() => return None,
        }
    }
    Some(())
}

pub(crate) fn too_long(what: &str, limit: Duration) -> AdapterError {
    let detail = format!("{what} did not end within {limit:?}");
    AdapterError::new(ErrorKind::Retry(None), codes::ATTEMPT_TIMEOUT, detail)
}

/// Records the intent to send. `None`: there is nothing to send, because the delivery is another's now or
/// this process is being cut off.
async fn mark(shared: &Shared, runtime: &SendRuntime, claim: Claim) -> Option<()> {
    match shared.committer.settle(claim, Change::Sending).await? {
        SettleOutcome::Done => Some(()),
        SettleOutcome::Fenced => {
            let outcome = Some(SettleOutcome::Fenced);
            note_settled(shared, runtime, claim, &Change::Sending, outcome);
            None
        }
    }
}

/// What goes to the adapter: `claimed`, with the message in the form that the maps of the port give it.
pub(crate) fn outbound(
    shared: &Arc<Shared>,
    runtime: &SendRuntime,
    (claimed, message): (&Claimed, &Arc<Message>),
    names: Option<&Text>,
) -> Outbound {
    let trust = shared.trust.clone();
    let (store, opened) = (Arc::clone(&shared.store), Arc::clone(message));
    Outbound {
        // All attempts of a call are one for the partner, also those that are messages of their own.
        delivery: process::call_key(&claimed.message).unwrap_or_else(|| claimed.id()),
        message: Arc::clone(message),
        open: Arc::new(move || open_body(&store, &opened)),
        rendered: rendered::read(names, claimed.transport),
        in_doubt: claimed.in_doubt,
        answer_wanted: runtime.plan.answers,
        epoch: shared.ownership.epoch(&runtime.plan.host),
        guard: Arc::new(move || trust.may_act()),
    }
}

/// The body of `message` from its first byte.
pub(crate) fn open_body(store: &AnyStore, message: &Message) -> Body {
    open_content(store, &message.body().content)
}

/// These bytes, from the first one on.
pub(crate) fn open_content(store: &AnyStore, content: &Content) -> Body {
    match content {
        Content::Inline(bytes) => {
            let bytes = bytes.clone();
            Box::pin(stream::once(async move { Ok(bytes) }))
        }
        Content::Stored(body) => stored_body(Arc::clone(store), *body),
    }
}

/// The body in chunks, from its first one on.
pub(crate) fn stored_body(store: AnyStore, body: StoredBody) -> Body {
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
                Err(error) => Err(lost(ErrorKind::Retry(None), chain(&error))),
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

pub(crate) fn log_result(
    runtime: &SendRuntime,
    claimed: &Claimed,
    result: &Result<Sent, AdapterError>,
) {
    match result {
        Ok(_) => runtime.tally.forget_failure(),
        Err(error) => warn!(
            code = %error.code, delivery = %claimed.id(), port = %runtime.plan.name,
            attempt = claimed.attempts + 1, transport = ?claimed.transport, in_doubt = error.in_doubt,
            detail = %error.detail, "attempt failed"
        ),
    }
}

/// Lets the port rest, or ends its rest, before anybody can claim what the attempt leaves.
pub(crate) fn note_rest(
    shared: &Shared,
    runtime: &SendRuntime,
    claimed: &Claimed,
    pass: &Pass,
    error: Option<&AdapterError>,
) {
    let (port, entropy) = (&runtime.plan.name, &*shared.options.entropy);
    match error {
        None if runtime.rest.went_well() => info!(%port, "the port works again"),
        None => {}
        Some(error) => {
            let Some(schedule) = rests(&runtime.plan, claimed, error) else {
                return;
            };
            let wait = |stops| schedule.wait(stops, entropy);
            let news = runtime.rest.stopped(pass, failure_of(error), wait);
            // What goes back now is older than what comes.
            runtime.set_backlogged(true);
            if news {
                warn!(code = %error.code, %port, detail = %error.detail,
                    "the port rests until this is repaired, and tries one delivery from time to time");
            }
        }
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
    let outcome = shared.committer.settle(claim, change.clone()).await;
    note_settled(shared, runtime, claim, &change, outcome);
    outcome
}

/// Forgets the claim and counts what became of it.
pub(crate) fn note_settled(
    shared: &Shared,
    runtime: &SendRuntime,
    claim: Claim,
    change: &Change,
    outcome: Option<SettleOutcome>,
) {
    let (tally, now) = (&runtime.tally, shared.options.clock.now());
    let counters = match change {
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
    if outcome.is_some() {
        shared.held.remove(claim);
    }
    // Without an outcome the claim stays held: given back as untouched, what was sent would be sent
    // again without a word. It is in doubt when this instance has ended.
    if matches!(change, Change::End { .. }) {
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
}
