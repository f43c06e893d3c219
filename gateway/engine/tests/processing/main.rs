//! Orchestrations on a real store, with an adapter that answers what a test tells it.

mod left;
mod world;

use std::sync::PoisonError;

use quayside_conformance::{Scene, scene};
use quayside_engine::{Order, codes, filter::Filter};
use quayside_harness::wait_for;
use quayside_model::DeliveryState;
use quayside_store::{
    runs::RunState,
    work::{Ticket, WorkAnswer, WorkOutcome},
};

use crate::world::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_asks_waits_and_books() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    let engine = world.engine(application(APPROVAL)).await;
    let order = order(&scene, "4711");
    let id = order.message.id;
    scene.stored(order).await;
    let run = world.run(RunState::Waiting).await;
    assert!(run.due.is_some(), "its time-out: {run:?}");
    let asked = world.partners.seen_by("app.stock");
    assert_eq!(asked.len(), 1);
    let shown = world.store.run(run.id).await.expect("run").expect("it is");
    assert_eq!((shown.keys.len(), shown.inbox.len()), (1, 0));
    // Of another number, so that nobody waits for it.
    let stray = answer(&scene, "1", "yes");
    let stray_id = stray.message.id;
    scene.stored(stray).await;
    let answer = answer(&scene, "4711", "yes");
    let answer_id = answer.message.id;
    scene.stored(answer).await;
    let run = world.run(RunState::Completed).await;
    assert_eq!((run.discarded, run.due), (0, None));
    let booked = world.partners.seen_by("app.erp");
    assert_eq!(booked.len(), 1);
    assert!(booked[0].0.contains("4711"), "{booked:?}");
    assert_eq!(world.partners.seen_by("app.release"), []);
    assert_eq!(events(&scene, id).await, ["consumed"]);
    assert_eq!(events(&scene, answer_id).await, ["consumed"]);
    wait_for("the stray one to be suspended", PATIENCE, async || {
        let way = world.store.message(stray_id).await.expect("way");
        let live = way.expect("it is stored").live_deliveries;
        let state = live.first().map(|d| d.state);
        match state {
            Some(DeliveryState::Suspended) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    engine.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_approval_is_undone_and_one_that_fails_waits_for_an_operator() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    let refusing = |ports: &[&str]| {
        let mut refusing = world
            .partners
            .refusing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *refusing = ports.iter().map(|port| (*port).to_owned()).collect();
    };
    refusing(&["app.stock"]);
    let engine = world.engine(application(APPROVAL)).await;
    scene.stored(order(&scene, "9")).await;
    let run = world.run(RunState::Suspended).await;
    let reason = run.reason.expect("a reason").to_string();
    assert!(reason.contains("reserve"), "{reason}");
    // While it is suspended the partner recovers: the call is made again, under the same key.
    refusing(&[]);
    let retry = Order::RetryStep(None).encode();
    let left = world.store.order_run(run.id, &retry).await;
    left.expect("it is left");
    // It waits as soon as it has asked, and the partner hears of it then.
    let asked = wait_for("the call to be made again", PATIENCE, async || {
        let asked = world.partners.seen_by("app.stock");
        match asked.len() {
            2 => Ok(asked),
            _ => Err(format!("{asked:?}")),
        }
    })
    .await;
    assert_eq!(asked[0].1, asked[1].1, "one key for all attempts");
    scene.stored(answer(&scene, "9", "no")).await;
    let run = world.run(RunState::Terminated).await;
    assert_eq!(run.reason.as_deref(), Some("refused"));
    wait_for("the release", PATIENCE, async || {
        match world.partners.seen_by("app.release").len() {
            1 => Ok(()),
            other => Err(format!("{other} releases")),
        }
    })
    .await;
    assert_eq!(world.partners.seen_by("app.erp"), []);
    engine.stop(PATIENCE).await;
}

/// A changed file is for new instances: the old ones go on by their own, and messages still find them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_goes_on_by_the_definition_that_it_was_started_with() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    let engine = world.engine(application(APPROVAL)).await;
    scene.stored(order(&scene, "5")).await;
    world.run(RunState::Waiting).await;
    wait_for("the approvers to be told", PATIENCE, async || {
        match world.partners.seen_by("app.approvers").len() {
            1 => Ok(()),
            other => Err(format!("{other} requests")),
        }
    })
    .await;
    engine.stop(PATIENCE).await;
    // It follows nothing any more, and ends elsewhere.
    let changed = "about: Nothing of the old.\nmessages:\n  order: order\nsteps:\n  - receive: order\n    \
                   activate: true\n  - send: order\n    to: release\n";
    let engine = world.engine(application(changed)).await;
    scene.stored(answer(&scene, "5", "yes")).await;
    world.run(RunState::Completed).await;
    assert_eq!(world.partners.seen_by("app.erp").len(), 1);
    assert_eq!(world.partners.seen_by("app.release"), []);
    engine.stop(PATIENCE).await;
}

/// What has instances that are not over cannot be taken away, and whoever tried is told which these are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orchestration_with_live_instances_is_not_removed() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    let engine = world.engine(application(APPROVAL)).await;
    scene.stored(order(&scene, "3")).await;
    let run = world.run(RunState::Waiting).await;
    engine.stop(PATIENCE).await;
    let mut without = application(APPROVAL);
    without.orchestrations.clear();
    let refused = world.starts(scene::name("other"), without).await;
    let refused = refused.expect_err("instances live");
    assert_eq!(refused.code(), codes::ORCHESTRATION_LIVES);
    let told = refused.to_string();
    assert!(told.contains(&format!("{} (waiting)", run.id)), "{told}");
}

/// Takes answers until there are enough of them.
const GATHERING: &str = r#"
messages: { order: order, answer: answer }
variables: { seen: 0 }
correlations: { by_number: Number }
steps:
  - receive: order
    activate: true
    initialise: by_number
  - loop: seen < 600
    steps:
      - receive: answer
        follow: by_number
      - assign: { seen: seen + 1 }
"#;

/// More messages than come along with one claim are taken all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_inbox_is_taken_page_by_page() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    let engine = world.engine(application(GATHERING)).await;
    scene.stored(order(&scene, "6")).await;
    let run = world.run(RunState::Waiting).await;
    let order = async |order: Order| {
        let left = world.store.order_run(run.id, &order.encode()).await;
        left.expect("it is left");
    };
    order(Order::Suspend(scene::text("first fill its inbox"))).await;
    world.run(RunState::Suspended).await;
    for _ in 0..600 {
        scene.stored(answer(&scene, "6", "yes")).await;
    }
    order(Order::Resume).await;
    let run = world.run(RunState::Completed).await;
    assert_eq!(run.discarded, 0);
    engine.stop(PATIENCE).await;
}

/// Takes answers until there are enough of them, but only once another order has come.
const CONFIRMED: &str = r#"
messages: { order: order, another: order, answer: answer }
variables: { seen: 0 }
correlations: { by_number: Number }
steps:
  - receive: order
    activate: true
    initialise: by_number
  - receive: another
    follow: by_number
  - loop: seen < 300
    steps:
      - receive: answer
        follow: by_number
      - assign: { seen: seen + 1 }
"#;

/// What an instance waits for may stand behind more messages than come along with one claim.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_waited_for_is_found_far_behind() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    let engine = world.engine(application(CONFIRMED)).await;
    scene.stored(order(&scene, "7")).await;
    world.run(RunState::Waiting).await;
    for _ in 0..300 {
        scene.stored(answer(&scene, "7", "yes")).await;
    }
    wait_for("the answers to be looked at", PATIENCE, async || {
        let run = world.run(RunState::Waiting).await;
        let shown = world.store.run(run.id).await.expect("run").expect("it is");
        match shown.inbox.len() {
            256 => Ok(()),
            other => Err(format!("{other} in the first page")),
        }
    })
    .await;
    scene.stored(order(&scene, "7")).await;
    let run = world.run(RunState::Completed).await;
    assert_eq!(run.discarded, 0);
    engine.stop(PATIENCE).await;
}

const PRICING: &str = r#"
messages: { order: order, receipt: receipt }
steps:
  - receive: order
    activate: true
  - { worker: pricing, send: order, reply: receipt, lease: 1s, attempts: 9, name: price }
  - { send: receipt, to: erp, name: book }
"#;

/// A worker that takes its work and is not heard of is asked again under the same key; its answer is the reply.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_answers_later() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    let engine = world.engine(application(PRICING)).await;
    scene.stored(order(&scene, "8")).await;
    let given = async |attempt: usize| {
        wait_for("the worker to be asked", PATIENCE, async || {
            let tickets = &world.partners.tickets;
            let tickets = tickets.lock().unwrap_or_else(PoisonError::into_inner);
            tickets
                .get(attempt - 1)
                .copied()
                .ok_or("not yet".to_owned())
        })
        .await
    };
    let first = given(1).await;
    let second = given(2).await;
    assert_eq!((first.attempt, second.attempt), (1, 2));
    assert_eq!(
        Ticket {
            attempt: 2,
            ..first
        },
        second
    );
    assert_eq!(world.store.renew_work(&first).await.expect("ok"), None);
    let mut body = scene.publish("<Receipt/>", &["x"]).message.parts[0].clone();
    body.content_type = Some(scene::text("application/xml"));
    let answer = WorkAnswer { status: 200, body };
    let kept = world.store.answer_work(&second, &answer).await;
    assert_eq!(kept.expect("ok"), WorkOutcome::Kept);
    world.run(RunState::Completed).await;
    let asked = world.partners.seen_by("app.worker.pricing");
    assert!(asked.iter().all(|(_, key)| *key == asked[0].1), "{asked:?}");
    wait_for("the booking", PATIENCE, async || {
        match &world.partners.seen_by("app.erp")[..] {
            [(body, _)] if body == "<Receipt/>" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    engine.stop(PATIENCE).await;
}

/// The filter that an orchestration subscribes by takes what starts it and what may follow.
#[test]
fn an_orchestration_subscribes_to_what_it_takes() {
    let plan = application(&APPROVAL.replace(
        "activate: true",
        "activate: true\n    filter: Number == '5'",
    ));
    let filter: &Filter = &plan.orchestrations[0].subscription;
    assert_eq!(
        filter.source(),
        "(msg.type == 'urn:orders#Order' && (Number == '5')) || msg.type == 'Answer'"
    );
}
