//! Work on one instance: the machine runs, its commit is made, and so on, until the instance rests.

use std::{collections::BTreeMap, panic::resume_unwind, sync::Arc};

use quayside_model::{Code, Text, Timestamp, failpoint};
use quayside_orchestration::{
    Advance, Arrived, Commit, Definition, Event, Input, Refused, State, Status, advance,
};
use quayside_store::{
    GroupOutcome, Op, Outcome, StoreError,
    runs::{ClaimedRun, RunStatus, Step, StepOutcome},
};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::{
    DEADLY, Order,
    effects::{Members, Stuck, resting},
    hand::{AtHand, Hand, Sight},
    inbox::{self, Asking, From},
    pinned, work,
};
use crate::{
    codes, committer::chain, plan::OrchestrationPlan, publish::commit_group, shared::Shared,
};

/// How many things one run of the machine may lack, one after the other.
const FETCHES: usize = 1000;
/// How many pages of its inbox an instance looks through for the message that it waits for.
const PAGES: u32 = 64;
/// After how many commits in a row an instance is given back, so that others have their turn.
const TURN: usize = 64;

/// Works on a claimed instance until it rests, and gives it back then. After a failure of the store its claim stays,
/// and is given back by the next comparison.
pub(crate) async fn work(shared: &Shared, claimed: ClaimedRun) {
    let (id, order) = (claimed.claim.run, claimed.order.clone());
    if claimed.deaths >= DEADLY {
        let detail = format!(
            "{} processes died while they worked on it, one after the other",
            claimed.deaths
        );
        set_aside(shared, &claimed, codes::DEADLY, &detail).await;
        return;
    }
    match take_up(shared, claimed).await {
        Ok(Some(hand)) if shared.process.belongs_elsewhere(hand.claim) => {
            rest(shared, &hand, true, false).await;
        }
        Ok(Some(mut hand)) => {
            let order = order.map(|order| (Order::decode(&order), order));
            drive(shared, &mut hand, order, Vec::new()).await;
        }
        Ok(None) => {}
        Err(error) => {
            warn!(code = %error.kind.code(), error = %chain(&error), run = %id,
                "an orchestration instance could not be taken up");
        }
    }
}

/// Reads what came with the claim. `None`: this program cannot; the instance is suspended, or left to another process.
async fn take_up(shared: &Shared, claimed: ClaimedRun) -> Result<Option<Hand>, StoreError> {
    let routes = shared.routes();
    let Some(plan) = routes.orchestrations.get(&claimed.orchestration) else {
        return Ok(None);
    };
    let then = shared.options.clock.monotonic();
    if pinned::is_for_others(shared, plan, claimed.definition).await? {
        // Whoever can run it may be gone for good: what ends it or holds it on is done by anybody.
        let order = claimed.order.as_deref().and_then(Order::decode);
        if matches!(order, Some(Order::Terminate(_) | Order::Suspend(_))) {
            let detail = "an operator has ordered so where its definition is not known";
            set_aside(shared, &claimed, codes::LEFT_TO_OTHERS, detail).await;
            return Ok(None);
        }
        let step = Step {
            again: true,
            ordered: false,
            ..untouched(&claimed, RunStatus::Active)
        };
        let ops = vec![Op::Step(Box::new(step))];
        drop(shared.committer.together(ops, None).await);
        return Ok(None);
    }
    let definition = pinned::definition(shared, plan, claimed.definition).await?;
    let decoded = match &definition {
        Some(definition) => State::decode(&claimed.state, definition)
            .map_err(|refused| (refused.code, refused.detail)),
        None => Err((
            codes::DEFINITION_LOST,
            "its definition cannot be used".to_owned(),
        )),
    };
    let (definition, state) = match (definition, decoded) {
        (Some(definition), Ok(state)) => (definition, state),
        (_, Err((code, detail))) => {
            set_aside(shared, &claimed, code, &detail).await;
            return Ok(None);
        }
        (None, Ok(_)) => return Ok(None),
    };
    let mut state = state;
    work::renew(&mut state, &claimed);
    let tokens = claimed.leases.iter().map(|one| (one.exchange, one.token));
    let tokens: BTreeMap<_, _> = tokens.collect();
    let mut at_hand = AtHand::default();
    let mut waiting = Vec::new();
    for asked in claimed.asked {
        let notified = asked.exchange.to_bytes() == asked.message.to_bytes();
        let what = match (notified, tokens.contains_key(&asked.exchange)) {
            (true, _) => Asking::Notified,
            (_, true) => Asking::Work,
            _ => Asking::Call,
        };
        let one = inbox::asked(plan, asked, what, claimed.now);
        if let From::Exchange(_, Some(message)) = &one.from {
            at_hand
                .messages
                .insert(message.id, std::sync::Arc::clone(message));
        }
        waiting.push(one);
    }
    let mut hand = Hand {
        claim: claimed.claim,
        plan: std::sync::Arc::clone(plan),
        definition,
        state,
        inbox: waiting,
        kept: claimed.kept.iter().map(|id| (id.message, *id)).collect(),
        tokens,
        wakes: claimed.wakes,
        partial: claimed.partial,
        last: None,
        turned: 0,
        took: false,
        create: None,
        claimed: (claimed.now, then),
        at_hand,
    };
    hand.lay(&claimed.inbox);
    Ok(Some(hand))
}

/// Suspends an instance that this program cannot run, as it is.
async fn strand(shared: &Shared, hand: &Hand, code: Code, detail: &str, ordered: bool) {
    warn!(code = %code, run = %hand.claim.run, orchestration = %hand.plan.name, detail,
        "an orchestration instance cannot go on");
    let step = Step {
        status: RunStatus::Suspended {
            code: Text::lossy(code.code),
            detail: Text::lossy(detail),
            step: hand.plan.name.clone(),
        },
        ..resting(hand, &hand.state, ordered)
    };
    let ops = vec![Op::Step(Box::new(step))];
    drop(shared.committer.together(ops, None).await);
}

/// What becomes of an instance whose state or definition this program does not take: an operator can end it, and otherwise
/// it is suspended.
async fn set_aside(shared: &Shared, claimed: &ClaimedRun, code: Code, detail: &str) {
    warn!(code = %code, run = %claimed.claim.run, orchestration = %claimed.orchestration, detail,
        "an orchestration instance cannot be run here");
    let order = claimed.order.as_deref().and_then(Order::decode);
    let status = match order {
        Some(Order::Terminate(reason)) => RunStatus::Ended {
            completed: false,
            reason,
        },
        _ => RunStatus::Suspended {
            code: Text::lossy(code.code),
            detail: Text::lossy(detail),
            step: claimed.orchestration.clone(),
        },
    };
    let ops = vec![Op::Step(Box::new(untouched(claimed, status)))];
    drop(shared.committer.together(ops, None).await);
}

/// A step after which an instance that was claimed is in nobody's hand, `status` is how it stands, and nothing else has
/// changed. What was ordered is done.
fn untouched(claimed: &ClaimedRun, status: RunStatus) -> Step {
    Step {
        claim: claimed.claim,
        create: None,
        state: None,
        status,
        due: None,
        wakes: claimed.wakes,
        hold: false,
        again: false,
        ordered: true,
        consumed: Vec::new(),
        kept: Vec::new(),
        subscribe: Vec::new(),
        unsubscribe: Vec::new(),
        closed: Vec::new(),
        answers: Vec::new(),
    }
}

/// How far a first step came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Driven {
    /// All that there was to do was done, or somebody else does it.
    Done,
    /// Another instance has the key that this one wanted to be born with; nothing was written.
    Taken,
    /// It cannot be born.
    Stillborn(Code, String),
}

/// Runs an instance until it rests. `before`: what belongs into the commit of its first step.
pub(crate) async fn drive(
    shared: &Shared,
    hand: &mut Hand,
    order: Option<(Option<Order>, Text)>,
    mut before: Vec<Op>,
) -> Driven {
    let mut ordered = order.is_some();
    let mut event = match order {
        Some((Some(order), _)) => order.event(),
        Some((None, text)) => {
            warn!(run = %hand.claim.run, order = %text, "an order that this program does not know");
            Event::Wake
        }
        None => Event::Wake,
    };
    let mut commits = 0;
    loop {
        let commit = match run(shared, hand, &event).await {
            Ok(Some(commit)) => commit,
            Ok(None) if event != Event::Wake => {
                event = Event::Wake;
                continue;
            }
            // What it waits for may stand behind a page of which it takes nothing.
            Ok(None) if hand.partial && !hand.took && waits_for_message(hand) => {
                match further(shared, hand, ordered).await {
                    true => continue,
                    false => return Driven::Done,
                }
            }
            Ok(None) => {
                // Pages of which nothing is taken must not keep it awake for ever.
                let again = hand.is_partial() && hand.took;
                rest(shared, hand, again, ordered).await;
                return Driven::Done;
            }
            Err(Halt::Refused(code, detail)) if event != Event::Wake => {
                warn!(code = %code, run = %hand.claim.run, detail, "an order was refused");
                event = Event::Wake;
                continue;
            }
            Err(Halt::Refused(code, detail)) if hand.create.is_some() => {
                return Driven::Stillborn(code, detail);
            }
            Err(Halt::Refused(code, detail)) => {
                strand(shared, hand, code, &detail, ordered).await;
                return Driven::Done;
            }
            Err(Halt::Store) => return Driven::Done,
        };
        commits += 1;
        // What was taken from a later page may make it take from those before.
        let mut hold = hand.turned == 0
            && !shared.stopping.is_cancelled()
            && commits < TURN
            && !failpoint::enabled("steps-apart");
        let members = match Members::of(shared, hand, &commit, (ordered, hold)).await {
            Ok(members) => members,
            Err(Stuck::Cannot(code, detail)) if hand.create.is_some() => {
                return Driven::Stillborn(code, detail);
            }
            Err(Stuck::Cannot(code, detail)) => {
                event = suspend(code, &detail);
                continue;
            }
            Err(Stuck::Store(error)) => {
                warn!(code = %error.kind.code(), error = %chain(&error), run = %hand.claim.run,
                    "a step of an orchestration instance could not be prepared");
                return Driven::Done;
            }
        };
        let born = hand.create.is_some();
        match make(shared, members, std::mem::take(&mut before)).await {
            Made::Done { given_back } => hold &= !given_back,
            Made::Lost => return Driven::Done,
            Made::Taken if born => return Driven::Taken,
            Made::Taken => {
                event = suspend(codes::KEY_TAKEN, "another instance has the same values");
                continue;
            }
            Made::Refused(detail) if born => return Driven::Stillborn(codes::REFUSED, detail),
            Made::Refused(detail) => {
                event = suspend(codes::REFUSED, &detail);
                continue;
            }
        }
        settle(hand, &commit);
        tell(hand);
        ordered = false;
        event = Event::Wake;
        if !(commit.more && hold) {
            return Driven::Done;
        }
    }
}

/// Whether it waits for a message.
fn waits_for_message(hand: &Hand) -> bool {
    let positions = hand.state.positions(&hand.definition);
    let mut waits = positions.iter().map(|one| one.waits_for.as_deref());
    *hand.state.status() == Status::Active
        && waits.any(|what| matches!(what, Some("receive" | "listen")))
}

/// Goes on to the next page of its inbox. `false`: nobody works on it any more.
async fn further(shared: &Shared, hand: &mut Hand, ordered: bool) -> bool {
    if hand.turned >= PAGES {
        let detail = format!("it takes none of the first {PAGES} pages of its inbox");
        strand(shared, hand, codes::INBOX_FULL, &detail, ordered).await;
        return false;
    }
    if let Err(error) = hand.turn(shared).await {
        warn!(code = %error.kind.code(), error = %chain(&error), run = %hand.claim.run,
            "the inbox of an orchestration instance could not be read; it is taken up again");
        return false;
    }
    true
}

fn suspend(code: Code, detail: &str) -> Event {
    Event::Suspend {
        reason: Text::lossy(&format!("{code}: {detail}")),
    }
}

/// Why the machine did not run.
enum Halt {
    Refused(Code, String),
    /// The store failed, and that is logged.
    Store,
}

/// One run of the machine, with all that it lacks fetched. `None`: there is nothing to do.
async fn run(shared: &Shared, hand: &mut Hand, event: &Event) -> Result<Option<Commit>, Halt> {
    // One time for all looks of a run: ids of what it makes may come from it, and what was made is found by its id.
    let now = hand.now(shared);
    let arrived: Arc<[Arrived]> = hand.arrived().into();
    for _ in 0..FETCHES {
        let needs = match look(shared, hand, (&arrived, now), event).await? {
            Ok(Advance::Needs(needs)) => needs,
            Ok(Advance::Unchanged) => return Ok(None),
            Ok(Advance::Commit(commit)) => return Ok(Some(*commit)),
            Err(refused) => return Err(Halt::Refused(refused.code, refused.detail)),
        };
        if let Err(error) = hand.fetch(shared, needs).await {
            let (code, error) = error.told();
            warn!(%code, error, run = %hand.claim.run,
                "what an orchestration instance needs could not be had; it is taken up again");
            return Err(Halt::Store);
        }
    }
    let detail = format!("it reads more than {FETCHES} documents and maps without being kept");
    Err(Halt::Refused(
        quayside_orchestration::codes::RUNAWAY,
        detail,
    ))
}

/// From which weight on an instance may keep its thread for long, in bytes.
const HEAVY: usize = 64 * 1024;

/// One look of the machine. What is heavy has a thread for that: on the one that it came from are the renewals of this
/// process, which would be taken for dead, and what other instances wait for.
///
/// # Errors
/// The process is ending.
async fn look(
    shared: &Shared,
    hand: &mut Hand,
    (arrived, now): (&Arc<[Arrived]>, Timestamp),
    event: &Event,
) -> Result<Result<Advance, Refused>, Halt> {
    if hand.weight() < HEAVY {
        let seen = (&*hand.definition, &hand.state, &**arrived, now);
        return Ok(advanced(seen, (&hand.plan, &hand.at_hand), event));
    }
    let (plan, definition) = (Arc::clone(&hand.plan), Arc::clone(&hand.definition));
    let (state, arrived, event) = (hand.state.clone(), Arc::clone(arrived), event.clone());
    let at_hand = std::mem::take(&mut hand.at_hand);
    // It is never closed.
    let _place = shared.validators.acquire().await;
    let looked = spawn_blocking(move || {
        let seen = (&*definition, &state, &*arrived, now);
        (advanced(seen, (&plan, &at_hand), &event), at_hand)
    });
    match looked.await {
        Ok((result, at_hand)) => {
            hand.at_hand = at_hand;
            Ok(result)
        }
        Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
        Err(_) => Err(Halt::Store),
    }
}

fn advanced(
    (definition, state, inbox, now): (&Definition, &State, &[Arrived], Timestamp),
    (plan, at_hand): (&OrchestrationPlan, &AtHand),
    event: &Event,
) -> Result<Advance, Refused> {
    let world = Sight {
        definition,
        plan,
        at_hand,
    };
    let input = Input {
        definition,
        state,
        inbox,
        now,
        world: &world,
    };
    advance(input, event)
}

/// What became of a step.
enum Made {
    /// With `given_back` the claim is gone although it was to be held: an order waits for whoever claims the instance next.
    Done {
        given_back: bool,
    },
    /// Somebody else has the instance, or the process is being cut off.
    Lost,
    Taken,
    Refused(String),
}

async fn make(shared: &Shared, members: Members, mut before: Vec<Op>) -> Made {
    let Members {
        step, publications, ..
    } = members;
    let copies = members.copies;
    before.push(Op::Step(Box::new(step)));
    let outcome = commit_group(shared, before, publications, Vec::new(), None).await;
    let made = match outcome {
        Some(GroupOutcome::Done(outcomes)) => {
            let given_back = outcomes.contains(&Outcome::Stepped(StepOutcome::GivenBack));
            return Made::Done { given_back };
        }
        None => Made::Lost,
        Some(GroupOutcome::Undone { outcome, .. }) => match outcome {
            Outcome::Stepped(StepOutcome::Taken { .. }) => Made::Taken,
            Outcome::Published(quayside_store::PublishOutcome::Refused(why)) => {
                Made::Refused(why.to_string())
            }
            Outcome::Published(quayside_store::PublishOutcome::Mismatch(_)) => {
                Made::Refused("a message of it is stored already, with other content".to_owned())
            }
            _ => Made::Lost,
        },
    };
    super::effects::give_up(shared, &copies).await;
    made
}

/// Takes over what was committed.
fn settle(hand: &mut Hand, commit: &Commit) {
    let named = commit.state.messages();
    for effect in &commit.effects {
        let quayside_orchestration::Effect::Consume(id) = effect else {
            continue;
        };
        let Some(at) = hand.inbox.iter().position(|w| w.arrived.message == *id) else {
            continue;
        };
        let taken = hand.inbox.remove(at);
        hand.took = true;
        if named.contains(id) {
            let delivery = match taken.from {
                From::Delivery(delivery) => delivery,
                From::Exchange(..) => first(*id),
            };
            hand.kept.insert(*id, delivery);
        }
    }
    for effect in &commit.effects {
        if let quayside_orchestration::Effect::Keep(call) = effect
            && named.contains(&call.id)
        {
            hand.kept.insert(call.id, first(call.id));
        }
    }
    hand.kept.retain(|id, _| named.contains(id));
    hand.state = commit.state.clone();
    hand.create = None;
    hand.forget();
}

/// Tells whoever watches the log what needs an operator.
fn tell(hand: &Hand) {
    if let Status::Suspended(failure) = hand.state.status() {
        warn!(code = %failure.code, run = %hand.claim.run, orchestration = %hand.plan.name,
            step = %failure.step, detail = %failure.detail, "an orchestration instance is suspended");
    }
}

/// The only delivery of a message that an instance has made.
fn first(message: quayside_model::MessageId) -> quayside_model::DeliveryId {
    quayside_model::DeliveryId { message, no: 0 }
}

/// Gives an instance back that has nothing to do, or, `again`, has it for whoever claims it next.
async fn rest(shared: &Shared, hand: &Hand, again: bool, ordered: bool) {
    let mut step = resting(hand, &hand.state, ordered);
    step.again = again;
    let ops = vec![Op::Step(Box::new(step))];
    if let Some(GroupOutcome::Undone { .. }) = shared.committer.together(ops, None).await {
        info!(run = %hand.claim.run, "an orchestration instance was taken over by another process");
    }
}
