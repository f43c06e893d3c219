//! A message for an orchestration: it enters the instance that has its key, or starts one.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use quayside_model::{Code, EndResult, Failure, FailureClass, Name, RunId, Text, Transport};
use quayside_orchestration::{Route, State};
use quayside_store::{
    Change, Claimed, GroupOutcome, Op, Outcome,
    runs::{Enter, EnterOutcome, NewRun, RunClaim},
};
use tracing::warn;

use super::{
    DEADLY, find,
    hand::{AtHand, Hand},
    inbox::{self, Started, Way},
    worker::{self, Driven},
};
use crate::{codes, committer::chain, counters::count, plan::OrchestrationPlan, shared::Shared};

/// How often a message that no instance waits for is looked at again, before an operator is asked: the one that starts
/// its instance may be on its way beside it. One that was accepted before it is waited for however long that takes.
const LOOKS: u32 = 7;
/// The pause before the second look. It doubles.
const PAUSE: Duration = Duration::from_millis(100);
/// How often a start that met another one is made again, before it is left to a later look.
const RACES: usize = 4;
/// How long all looks take together.
pub(crate) const LOOKED_FOR: Duration = PAUSE.saturating_mul(2u32.pow(LOOKS) - 1);

/// Takes a claimed message to where it belongs.
pub(crate) async fn take(shared: &Shared, claimed: Claimed) {
    let routes = shared.routes();
    let Some(plan) = routes.orchestrations.get(&claimed.port).map(Arc::clone) else {
        release(shared, &claimed).await;
        return;
    };
    if claimed.deaths >= DEADLY {
        let detail = format!(
            "{} processes died while they had it, one after the other",
            claimed.deaths
        );
        give_up(shared, &claimed, codes::DEADLY, &detail).await;
        return;
    }
    let mut taken = false;
    for _ in 0..RACES {
        if enter(shared, &plan, &claimed).await {
            return;
        }
        match start(shared, &plan, &claimed).await {
            Some(Driven::Done) => return,
            // One that it may enter has it; or one that takes no message of this type, and then it is the same again.
            Some(Driven::Taken) if !taken => taken = true,
            Some(Driven::Taken) => {
                let detail = "an instance with the same values is not over yet";
                give_up(shared, &claimed, codes::KEY_TAKEN, detail).await;
                return;
            }
            Some(Driven::Stillborn(code, detail)) => {
                give_up(shared, &claimed, code, &detail).await;
                return;
            }
            None => {
                nobody(shared, &claimed).await;
                return;
            }
        }
    }
    nobody(shared, &claimed).await;
}

/// Tries to bring it into an instance that is there. `false`: there is none.
async fn enter(shared: &Shared, plan: &OrchestrationPlan, claimed: &Claimed) -> bool {
    let keys = find::keys(plan, &claimed.message).into_iter();
    let keys: Vec<_> = keys
        .map(|key| (key.to_bytes(), Way::Key(key).encode()))
        .collect();
    if keys.is_empty() || claimed.rendered.is_some() {
        return false;
    }
    let entrance = Enter {
        claim: claimed.claim,
        run: None,
        orchestration: plan.name.clone(),
        keys,
        route: Text::lossy(""),
    };
    let outcome = shared.committer.together(vec![Op::Enter(entrance)], None);
    match outcome.await {
        Some(GroupOutcome::Undone {
            outcome: Outcome::Entered(EnterOutcome::Nobody),
            ..
        }) => false,
        Some(_) => {
            shared.process.wake.notify_one();
            true
        }
        // The process is being cut off.
        None => true,
    }
}

/// Starts an instance with it. `None`: it is no message that does.
async fn start(
    shared: &Shared,
    plan: &Arc<OrchestrationPlan>,
    claimed: &Claimed,
) -> Option<Driven> {
    let (run, step) = match &claimed.rendered {
        Some(rendered) => {
            let started: Started = serde_json::from_str(rendered).ok()?;
            let found = find::started(plan, &claimed.message)?;
            (started.run, found.step.clone())
        }
        None => {
            let found = find::activation(plan, &claimed.message)?;
            let id = claimed.id();
            let run = inbox::run_of(id, claimed.message.received_at);
            (run, found.step.clone())
        }
    };
    shared.process.hold(run);
    let _in_hand = super::InHand(shared, super::InHandOf::Run(run));
    Some(begin(shared, plan, claimed, run, step).await)
}

async fn begin(
    shared: &Shared,
    plan: &Arc<OrchestrationPlan>,
    claimed: &Claimed,
    run: RunId,
    step: Name,
) -> Driven {
    let message = &claimed.message;
    let now = shared.options.clock.now();
    let then = shared.options.clock.monotonic();
    let mut at_hand = AtHand::default();
    at_hand.messages.insert(message.id, Arc::clone(message));
    let way = Way::Start(step.clone());
    let arrived = inbox::of(message, claimed.id(), Route::Activation(step));
    let mut hand = Hand {
        tokens: BTreeMap::new(),
        claim: RunClaim {
            run,
            instance: shared.instance,
            token: 1,
        },
        plan: Arc::clone(plan),
        definition: Arc::clone(&plan.definition),
        state: State::start(&plan.definition, run, message.received_at),
        inbox: vec![arrived],
        kept: std::collections::BTreeMap::new(),
        wakes: 0,
        partial: false,
        last: None,
        turned: 0,
        took: false,
        create: Some(NewRun {
            orchestration: plan.name.clone(),
            definition: plan.definition.fingerprint().to_bytes(),
        }),
        claimed: (now, then),
        at_hand,
    };
    shared.process.belongs_elsewhere(hand.claim);
    let entrance = Enter {
        claim: claimed.claim,
        run: Some(run),
        orchestration: plan.name.clone(),
        keys: Vec::new(),
        route: way.encode(),
    };
    worker::drive(shared, &mut hand, None, vec![Op::Enter(entrance)]).await
}

/// Nobody waits for it and it starts nothing: it is looked at again, and then left to an operator.
async fn nobody(shared: &Shared, claimed: &Claimed) {
    let detail = "no instance waits for a message with its properties, and it starts none";
    if claimed.attempts >= LOOKS && !is_preceded(shared, claimed).await {
        if others_have_it(shared, claimed).await {
            let change = Change::End {
                result: EndResult::Consumed,
                attempts: claimed.attempts,
                detail: Text::lossy("no instance of this orchestration waits for it"),
                answer: None,
            };
            shared.committer.settle(claimed.claim, change).await;
            return;
        }
        give_up(shared, claimed, codes::NO_INSTANCE, detail).await;
        return;
    }
    let change = Change::Retry {
        wait: PAUSE * 2u32.pow(claimed.attempts.min(LOOKS - 1)),
        transport: Transport::Primary,
        attempts: claimed.attempts.saturating_add(1),
        failure: Failure::new(codes::NO_INSTANCE, FailureClass::Stop, detail),
        in_doubt: false,
    };
    shared.committer.settle(claimed.claim, change).await;
}

/// Whether one that was accepted before it has not been looked at yet, in a backlog or in the hands of who has died: it may
/// start the instance that this one is for.
async fn is_preceded(shared: &Shared, claimed: &Claimed) -> bool {
    match shared.store.is_preceded(claimed.id()).await {
        Ok(preceded) => preceded,
        Err(error) => {
            warn!(code = %error.kind.code(), error = %chain(&error), delivery = %claimed.id(),
                "what came before a message could not be looked at");
            // Another look does no harm.
            true
        }
    }
}

/// Whether somebody else subscribes to it: then it is not lost, and may only have been meant for them.
async fn others_have_it(shared: &Shared, claimed: &Claimed) -> bool {
    match shared.store.message(claimed.message.id).await {
        Ok(Some(way)) => way.row.deliveries > 1,
        _ => false,
    }
}

async fn give_up(shared: &Shared, claimed: &Claimed, code: Code, detail: &str) {
    warn!(code = %code, delivery = %claimed.id(), orchestration = %claimed.port, detail,
        "a message for an orchestration is suspended");
    count(&shared.counters.suspended);
    let change = Change::Suspend {
        attempts: claimed.attempts,
        failure: Failure::new(code, FailureClass::Stop, detail),
        hold_key: false,
        in_doubt: false,
    };
    shared.committer.settle(claimed.claim, change).await;
}

async fn release(shared: &Shared, claimed: &Claimed) {
    shared
        .committer
        .settle(claimed.claim, Change::Release)
        .await;
}
