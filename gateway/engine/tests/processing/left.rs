//! What is not worked on: what kills, and what is for others.

use std::time::Duration;

use quayside_conformance::{Backend as _, Scene, scene};
use quayside_engine::{Order, codes, plan::Plan};
use quayside_harness::wait_for;
use quayside_model::{DeliveryState, MessageId, Name};
use quayside_orchestration::{Definition, PortSpec};
use quayside_store::{
    Change, Want,
    runs::{RunFilter, RunRow, RunState, RunWant},
};

use crate::world::{APPROVAL, PATIENCE, RUN, World, answer, application, order, port};

/// How many deaths are one too many.
const DEATHS: usize = 7;

/// So many processes claim what there is of the orchestration, and die.
async fn die(scene: &Scene<'_>) {
    for _ in 0..DEATHS {
        let dead = scene.instance().await;
        let wants = [RunWant::any(scene::name(RUN), 9)];
        let runs = scene.store.claim_runs(dead, &wants).await;
        let wants = [Want {
            port: scene::name(RUN),
            room: 9,
            ordered: false,
            marks: true,
            deaths: quayside_store::Deaths::Any,
        }];
        let messages = scene.store.claim(dead, &wants).await.expect("messages");
        assert_eq!(runs.expect("runs").len() + messages.len(), 1);
        scene.store.end_instance(dead).await.expect("end");
        assert_eq!(scene.store.release_dead(9).await.expect("release"), 1);
    }
}

/// The state and the failure of the only delivery of a message.
async fn stands(world: &World, id: MessageId) -> (Option<DeliveryState>, String) {
    let way = world.store().message(id).await.expect("way");
    let live = way.expect("it is stored").live_deliveries;
    let first = live.first();
    let failure = first.and_then(|one| one.failure.as_ref());
    (
        first.map(|one| one.state),
        failure.map(|one| one.code.to_string()).unwrap_or_default(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_kills_is_suspended() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    let order = order(&scene, "1");
    let id = order.message.id;
    scene.stored(order).await;
    die(&scene).await;
    let engine = world.engine(application(APPROVAL)).await;
    wait_for("it to be suspended", PATIENCE, async || {
        let wanted = (
            Some(DeliveryState::Suspended),
            codes::DEADLY.code.to_owned(),
        );
        match stands(&world, id).await {
            found if found == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(world.partners.seen_by("app.stock"), []);
    // Whoever resumes it has mended what it died of.
    let ids = scene.store.message(id).await.expect("way").expect("stored");
    let ids = [ids.live_deliveries[0].id];
    let resumed = scene.store.resume(&ids, &scene::text("mended")).await;
    resumed.expect("resumed");
    world.run(RunState::Waiting).await;
    engine.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_kills_is_suspended() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    let engine = world.engine(application(APPROVAL)).await;
    scene.stored(order(&scene, "1")).await;
    let run = world.run(RunState::Waiting).await;
    engine.stop(PATIENCE).await;
    let wake = Order::Resume.encode();
    scene.store.order_run(run.id, &wake).await.expect("woken");
    die(&scene).await;
    let engine = world.engine(application(APPROVAL)).await;
    let run = world.run(RunState::Suspended).await;
    let reason = run.reason.expect("a reason");
    assert!(reason.contains(codes::DEADLY.code), "{reason}");
    scene.store.order_run(run.id, &wake).await.expect("resumed");
    world.run(RunState::Waiting).await;
    scene.stored(answer(&scene, "1", "yes")).await;
    world.run(RunState::Completed).await;
    engine.stop(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_not_given_up_before_what_came_before_it() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    // Somebody has the order in hand and does nothing with it; the answer was looked at for long enough.
    scene.stored(order(&scene, "1")).await;
    let held = scene.claim_unsent_by(scene.me, RUN, 9).await;
    let looked_at = async |number: &str| -> MessageId {
        let answer = answer(&scene, number, "yes");
        let id = answer.message.id;
        scene.stored(answer).await;
        let claimed = scene.claim_unsent_by(scene.me, RUN, 9).await;
        let again = scene::retry(Duration::ZERO, 7);
        scene.done(claimed[0].claim, again).await;
        id
    };
    let answer = looked_at("1").await;
    let engine = world.engine(application(APPROVAL)).await;
    let comes_to = async |id, state| {
        let wanted = (Some(state), codes::NO_INSTANCE.code.to_owned());
        wait_for("it to be looked at", PATIENCE, async || {
            match stands(&world, id).await {
                found if found == wanted => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    };
    comes_to(answer, DeliveryState::Ready).await;
    scene.done(held[0].claim, Change::Release).await;
    world.run(RunState::Waiting).await;
    let stray = looked_at("2").await;
    comes_to(stray, DeliveryState::Suspended).await;
    engine.stop(PATIENCE).await;
}

/// The application with a definition that also sends to a port which the other one does not have.
fn newer() -> Plan {
    let yaml = format!("{APPROVAL}  - send: order\n    to: audit\n");
    let mut plan = application(APPROVAL);
    let one = &mut plan.orchestrations[0];
    let mut environment = one.environment.clone();
    let spec = PortSpec { two_way: false };
    environment.ports.insert(scene::name("audit"), spec);
    let definition = Definition::compile(&scene::name("approval"), &yaml, &environment);
    one.definition = definition.expect("it is right").into();
    one.environment = environment;
    one.source.clone_from(&yaml);
    plan.send.push(port("audit", false));
    plan.hash = yaml;
    plan
}

async fn runs(world: &World) -> Vec<RunRow> {
    let runs = world.store.runs(&RunFilter::default(), None, 100).await;
    runs.expect("runs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_of_a_newer_definition_are_left_to_who_knows_it() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    let old = world.engine(application(APPROVAL)).await;
    let new = world
        .engine_at(Name::new("node-b").expect("a name"), newer())
        .await;
    let plan = newer();
    let newest = plan.orchestrations[0].definition.fingerprint().to_bytes();
    // Whoever is first starts an instance; these are enough for both to have had some.
    let mut count = 0;
    let mut bound = 0;
    while bound < 6 {
        count += 1;
        assert!(count < 60, "{bound} of {count}");
        scene.stored(order(&scene, &count.to_string())).await;
        let all = wait_for("it to wait", PATIENCE, async || {
            let all = runs(&world).await;
            let waiting = all.iter().filter(|run| run.state == RunState::Waiting);
            match waiting.count() {
                waiting if waiting == count => Ok(all),
                other => Err(format!("{other} of {count}: {all:?}")),
            }
        })
        .await;
        bound = all.iter().filter(|run| run.definition == newest).count();
    }
    for number in 1..=count {
        scene
            .stored(answer(&scene, &number.to_string(), "yes"))
            .await;
    }
    wait_for("all to be completed", PATIENCE, async || {
        let all = runs(&world).await;
        match all.iter().all(|run| run.state == RunState::Completed) {
            true => Ok(()),
            false => Err(format!("{all:?}")),
        }
    })
    .await;
    wait_for("the audits", PATIENCE, async || {
        match world.partners.seen_by("app.audit").len() {
            audited if audited == bound => Ok(()),
            other => Err(format!("{other} of {bound}")),
        }
    })
    .await;
    old.stop(PATIENCE).await;
    new.stop(PATIENCE).await;
}
