//! Claims what waits in the store for the ports of this process, as much as their windows take.
//!
//! Polling is the truth, at a pace between 5 and 250 ms that follows the work; a wake-up only makes the
//! next look come sooner (`reference/store.md` 14).

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use quayside_model::{Monotonic, Name};
use quayside_store::{Claimed, Want};
use tokio::{sync::OwnedSemaphorePermit, task::JoinSet};
use tracing::warn;

use crate::{
    committer::chain,
    engine::beating,
    plan::ReceivePort,
    receive::again,
    send::{attempt::give, port::SendRuntime, work::Work},
    shared::{Routes, Shared},
};

/// The pace of polling.
const PACE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));
/// The most deliveries of one claim for one port.
const MAX_CLAIM: usize = 256;
/// How many resumed receipts are taken in at once.
const MAX_AGAIN: u32 = 16;

/// Runs until the engine stops taking work.
pub(crate) async fn run(shared: Arc<Shared>) {
    beating(&shared, look_again_and_again(&shared)).await;
}

async fn look_again_and_again(shared: &Arc<Shared>) {
    let mut pace = PACE.0;
    let mut again = Again {
        running: JoinSet::new(),
        looked: Monotonic::from_boot(Duration::ZERO),
    };
    loop {
        while again.running.try_join_next().is_some() {}
        let more = if shared.trust.may_act() {
            round(shared, &mut again).await
        } else {
            More::Idle
        };
        pace = match more {
            More::Now => Duration::ZERO,
            More::Soon => PACE.0,
            More::Idle => (pace * 2).clamp(PACE.0, PACE.1),
        };
        tokio::select! {
            () = tokio::time::sleep(pace) => {}
            () = shared.wake_claimer.notified() => pace = PACE.0,
            () = shared.stopping.cancelled() => break,
        }
    }
    while again.running.join_next().await.is_some() {}
}

/// Receipts that an operator has resumed.
#[derive(Debug)]
struct Again {
    running: JoinSet<()>,
    /// When the store was last asked for them.
    looked: Monotonic,
}

/// When the next look is worth it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum More {
    Idle,
    Soon,
    Now,
}

async fn round(shared: &Arc<Shared>, again: &mut Again) -> More {
    let routes = shared.routes();
    let now = shared.options.clock.monotonic();
    let mut places: HashMap<Name, (Arc<SendRuntime>, Vec<OwnedSemaphorePermit>)> = HashMap::new();
    let mut wants = Vec::new();
    let mut soon = false;
    for (name, runtime) in &routes.send {
        let mut free = runtime.places_for_claims();
        if !free.is_empty() && !runtime.is_worth_a_claim(now, free.len()) {
            soon = true;
            continue;
        }
        soon |= runtime.note_look(now, free.len());
        free.truncate(MAX_CLAIM);
        if free.is_empty() {
            soon |= runtime.is_flowing();
            continue;
        }
        let room = u32::try_from(free.len()).expect("bounded by MAX_CLAIM");
        wants.push(Want {
            port: name.clone(),
            room,
            ordered: runtime.plan.ordered.is_some(),
            marks: runtime.plan.marks_sends(),
            deaths: quayside_store::Deaths::Any,
        });
        places.insert(name.clone(), (Arc::clone(runtime), free));
    }
    // Few and seldom: a port that is woken with every end must not make the store look for them each time.
    let due = !wants.is_empty() || now.since(again.looked) >= PACE.1;
    if due && again.running.is_empty() && shared.options.roles.receive {
        again.looked = now;
        let ours = |port: &ReceivePort| !shared.ownership.stands_by(&port.host);
        let locations = routes.receive.iter().filter(|(_, port)| ours(port));
        wants.extend(locations.map(|(name, _)| Want {
            port: name.clone(),
            room: MAX_AGAIN,
            ordered: false,
            marks: false,
            deaths: quayside_store::Deaths::Any,
        }));
    }
    if wants.is_empty() {
        return if soon { More::Soon } else { More::Idle };
    }
    let round = shared.claim_rounds.fetch_add(1, Ordering::SeqCst) + 1;
    let claimed = {
        // Held while the store is asked: see `Held::asking`.
        let _asking = shared.held.asking.lock().await;
        match shared.store.claim(shared.instance, &wants).await {
            Ok(claimed) => {
                shared.held.add(claimed.iter().map(|c| c.claim));
                claimed
            }
            Err(error) => {
                warn!(code = %error.kind.code(), error = %chain(&error), "claiming failed");
                return More::Idle;
            }
        }
    };
    let more = note_backlogs(&wants, &places, &claimed);
    let counter = &shared.counters.claimed;
    counter.fetch_add(claimed.len() as u64, Ordering::Relaxed);
    for claimed in claimed {
        hand_out(shared, &routes, &mut places, again, (round, claimed)).await;
    }
    if soon { more.max(More::Soon) } else { more }
}

/// A port that got all it asked for has probably more; one that got less has nothing older any more.
fn note_backlogs(
    wants: &[Want],
    places: &HashMap<Name, (Arc<SendRuntime>, Vec<OwnedSemaphorePermit>)>,
    claimed: &[Claimed],
) -> More {
    let mut more = More::Idle;
    for want in wants {
        let got = claimed.iter().filter(|c| c.port == want.port).count();
        if got > 0 {
            more = more.max(More::Soon);
        }
        let full = got >= want.room as usize;
        if let Some((runtime, _)) = places.get(&want.port) {
            runtime.set_backlogged(full);
        }
        if full {
            more = More::Now;
        }
    }
    more
}

async fn hand_out(
    shared: &Arc<Shared>,
    routes: &Arc<Routes>,
    places: &mut HashMap<Name, (Arc<SendRuntime>, Vec<OwnedSemaphorePermit>)>,
    again: &mut Again,
    (round, claimed): (u64, Claimed),
) {
    if let Some((runtime, free)) = places.get_mut(&claimed.port) {
        let place = free
            .pop()
            .expect("the store gives at most the room that was asked for");
        let work = Work::new(claimed, place, round, &runtime.hand);
        give(shared, runtime, work).await;
    } else {
        let (shared, routes) = (Arc::clone(shared), Arc::clone(routes));
        again
            .running
            .spawn(async move { again::take(&shared, &routes, claimed).await });
    }
}
