//! Deliveries of one order key that go out together, over a transport that keeps their order.
//!
//! They are claimed by the commit that ended the one before them, which recorded the intent of all. Those that
//! the partner has end in one commit. Behind the first failure nothing counts as sent: the failed one goes by
//! the policy of the port, and what was behind it goes back to its place in the key, marked as in doubt if the
//! partner may have it. The key then goes on from its head, as ever; so it does when this process dies.

use std::{sync::Arc, time::Duration};

use quayside_adapter_api::{AdapterError, ErrorKind, Outbound, RunEnd, Sent};
use quayside_model::{Failure, Message, Text, Transport, failpoint};
use quayside_store::{Change, Claimed};
use tokio::time::timeout;
use tracing::warn;

use super::{
    attempt::{
        Attempted, Ended, conclude, log_result, next_of, note_rest, outbound, settle_all, too_long,
        until_trusted,
    },
    decide::{decide, failure_of, suspend},
    encode::encoded,
    mapped,
    port::SendRuntime,
    rendered,
    rest::Pass,
    work::Work,
};
use crate::{
    codes,
    plan::{InDoubt, SendPort},
    shared::Shared,
};

/// What goes back behind a failure comes again behind it: without a wait it would look like a step to the
/// backup.
const NOT_AT_ONCE: Duration = Duration::from_millis(1);

/// Gives back what does not go with the first of `work` in one run: it is next once the run has ended. Returns
/// whether anything is left that does.
pub(crate) async fn keep_what_goes_together(
    shared: &Shared,
    runtime: &SendRuntime,
    work: &mut Work,
) -> bool {
    let plan = &runtime.plan;
    let goes = |claimed: &&Claimed| {
        let held = claimed.in_doubt && plan.in_doubt == InDoubt::Hold;
        let named = || rendered::kept_or_new(shared, claimed).is_ok();
        claimed.transport == Transport::Primary && !held && named()
    };
    let together = work.all().take_while(goes).count();
    let apart = work.split_off(together);
    if !apart.is_empty() {
        let changes = apart.iter().map(|c| (c.claim, Change::Release));
        settle_all(shared, runtime, changes.collect(), None).await;
    }
    !work.more.is_empty()
}

/// Sends a run and settles it.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    runtime: &SendRuntime,
    mut work: Work,
    pass: Pass,
) -> Attempted {
    let Some(end) = send_when_trusted(shared, runtime, &work).await else {
        let ended = Ended::Waits;
        return Attempted { ended, next: None };
    };
    let (sent, failed) = end.into_parts();
    if !sent.is_empty() {
        let port = &runtime.plan.name;
        let tell = || warn!(delivery = %work.claimed.id(), %port, "held before the completion");
        failpoint::pass("hold-before-completion", tell).await;
    }
    let (done, entropy) = (sent.len(), &*shared.options.entropy);
    let mut changes = Vec::with_capacity(work.more.len() + 1);
    for (claimed, sent) in work.all().zip(sent) {
        let result = Ok::<Sent, AdapterError>(sent);
        log_result(runtime, claimed, &result);
        changes.push((
            claimed.claim,
            decide(&runtime.plan, claimed, result, entropy),
        ));
    }
    if done > 0 {
        note_rest(shared, runtime, &work.claimed, &pass, None);
    }
    let Some((error, doubtful)) = failed else {
        let room = work.room.take();
        let (next, room) = next_of(shared, runtime, &work, room, Ended::Done).unzip();
        let (_, next) = settle_all(shared, runtime, changes, next).await;
        drop(pass);
        let next = work.followed_by(next, room.flatten());
        return Attempted {
            ended: Ended::Done,
            next,
        };
    };
    let failure = failure_of(&error);
    for (no, claimed) in work.all().skip(done + 1).enumerate() {
        let change = behind(&runtime.plan, claimed.attempts, &failure, no < doubtful);
        changes.push((claimed.claim, change));
    }
    // While the failed one is in hand nothing behind it can be claimed.
    settle_all(shared, runtime, changes, None).await;
    let Some(claimed) = work.all().nth(done).cloned() else {
        let ended = Ended::Waits;
        return Attempted { ended, next: None };
    };
    // The gate shut during the run: that is no attempt.
    let untouched = !error.in_doubt && !shared.trust.may_act();
    let change = if untouched {
        Change::Release
    } else {
        note_rest(shared, runtime, &claimed, &pass, Some(&error));
        let result = Err(error);
        log_result(runtime, &claimed, &result);
        decide(&runtime.plan, &claimed, result, entropy)
    };
    let failed = work.left_with(claimed);
    let attempted = conclude(shared, runtime, failed, change).await;
    drop(pass);
    attempted
}

/// What becomes of a delivery that was sent behind one that failed with `failure`, after `attempts` of its own.
pub(crate) fn behind(plan: &SendPort, attempts: u32, failure: &Failure, in_doubt: bool) -> Change {
    if !in_doubt {
        return Change::Release;
    }
    if plan.in_doubt == InDoubt::Hold {
        let failure = Failure {
            code: Text::lossy(codes::IN_DOUBT.code),
            ..failure.clone()
        };
        return suspend(plan, attempts, failure, true);
    }
    let detail = format!("it went out behind one that failed: {}", failure.detail);
    Change::Retry {
        wait: NOT_AT_ONCE,
        transport: Transport::Primary,
        attempts,
        failure: Failure {
            detail: Text::lossy(&detail),
            ..failure.clone()
        },
        in_doubt: true,
    }
}

/// Sends once this process is trusted, within the time of an attempt. `None`: it was cut off before that.
async fn send_when_trusted(
    shared: &Arc<Shared>,
    runtime: &SendRuntime,
    work: &Work,
) -> Option<RunEnd> {
    let (plan, limit) = (&runtime.plan, runtime.plan.attempt_timeout);
    let (forms, unmapped) = forms(shared, runtime, work).await;
    if let (true, Some(error)) = (forms.is_empty(), unmapped.clone()) {
        return Some(RunEnd::until(Vec::new(), error, 0));
    }
    loop {
        until_trusted(shared).await?;
        let open = runtime
            .transports
            .get(plan, &shared.options, Transport::Primary);
        let transmit = match timeout(limit, open).await {
            Ok(Ok(transmit)) => transmit,
            Ok(Err(error)) => return Some(RunEnd::until(Vec::new(), error, 0)),
            Err(_) => {
                let error = too_long("opening the transport", limit);
                return Some(RunEnd::until(Vec::new(), error, 0));
            }
        };
        let (all, unfit) = match timeout(limit, outbounds(shared, runtime, work, &forms)).await {
            Ok(outbounds) => outbounds,
            Err(_) => (Vec::new(), Some(too_long("encoding the bodies", limit))),
        };
        // What cannot be encoded stands before what cannot be mapped.
        let kept_back = unfit.or_else(|| unmapped.clone());
        let count = all.len();
        if let (0, Some(error)) = (count, &kept_back) {
            return Some(RunEnd::until(Vec::new(), error.clone(), 0));
        }
        let under_way = shared.effects.begin(count);
        let sent = timeout(limit, transmit.send_run(all)).await;
        drop(under_way);
        match sent {
            // The gate shut between our look and the adapter's: nothing was done, so wait again.
            Ok(end) if end.did_nothing() && !shared.trust.may_act() => {}
            Ok(end) => return Some(complete(end, count, kept_back)),
            Err(_) => {
                let error = too_long("sending", limit).doubtful();
                return Some(RunEnd::until(Vec::new(), error, count));
            }
        }
    }
}

/// The messages of a run as the maps of the port make them, up to the first that cannot be mapped, and why not.
async fn forms(
    shared: &Shared,
    runtime: &SendRuntime,
    work: &Work,
) -> (Vec<Arc<Message>>, Option<AdapterError>) {
    let mut forms = Vec::with_capacity(work.more.len() + 1);
    for claimed in work.all() {
        match mapped::message(shared, runtime, claimed).await {
            Ok(message) => forms.push(message),
            Err(error) => return (forms, Some(error)),
        }
    }
    (forms, None)
}

/// What goes together of `forms`, up to the first that cannot be encoded, and why that cannot.
async fn outbounds(
    shared: &Arc<Shared>,
    runtime: &SendRuntime,
    work: &Work,
    forms: &[Arc<Message>],
) -> (Vec<Outbound>, Option<AdapterError>) {
    let mut all = Vec::with_capacity(forms.len());
    for (claimed, message) in work.all().zip(forms) {
        let names = rendered::kept_or_new(shared, claimed).ok().flatten();
        let outbound = outbound(shared, runtime, (claimed, message), names.as_ref());
        match encoded(&shared.store, &runtime.plan, outbound).await {
            Ok(outbound) => all.push(outbound),
            Err(error) => return (all, Some(error)),
        }
    }
    (all, None)
}

/// `end` of a run of `count`, behind which stands one that `kept_back` has kept from going: it cannot be mapped or encoded. An end
/// that leaves messages out without a failure has told nothing of those.
fn complete(end: RunEnd, count: usize, kept_back: Option<AdapterError>) -> RunEnd {
    match end.into_parts() {
        (sent, None) if sent.len() < count => {
            let detail = "the adapter did not say what became of it";
            let kind = ErrorKind::Retry(None);
            let error = AdapterError::new(kind, codes::ADAPTER_PANICKED, detail).doubtful();
            RunEnd::until(sent, error, count)
        }
        (sent, None) => match kept_back {
            None => RunEnd::all(sent),
            Some(error) => RunEnd::until(sent, error, 0),
        },
        (sent, Some((error, doubtful))) => RunEnd::until(sent, error, doubtful),
    }
}
