//! What the send side keeps, seen at the store, while an adapter does its worst.

mod in_hand;
mod resting;
mod runs;
mod world;

use std::time::Duration;

use bytes::Bytes;
use quayside_conformance::{
    Backend, Scene,
    scene::{bodies_of, name, order_key},
};
use quayside_engine::{codes, filter::Filter};
use quayside_harness::wait_for;
use quayside_model::{
    BodyId, Content, DeliveryState, InstanceId, MessageId, PortControl, PortStatus, StoredBody,
    SystemEntropy,
};
use quayside_store::{Op, browse::MessageWay, maintain::Retention};

use world::{Behaviour, World, ordered, plan, port};

/// Longer than any wait of these tests; reached only when one fails.
const PATIENCE: Duration = Duration::from_secs(30);
const PORT: &str = "app.port";

async fn way(scene: &Scene<'_>, id: MessageId) -> MessageWay {
    let way = scene.store.message(id).await.expect("way");
    way.expect("it is stored")
}

/// Waits until the first delivery of `id` is suspended.
async fn suspended(scene: &Scene<'_>, id: MessageId) -> MessageWay {
    wait_for("the delivery to be suspended", PATIENCE, async || {
        let way = way(scene, id).await;
        let state = way.live_deliveries.first().map(|d| d.state);
        match state {
            Some(DeliveryState::Suspended) => Ok(way),
            _ => Err(format!("{way:?}")),
        }
    })
    .await
}

/// Where sends are marked, a dead owner's claim is in doubt if its send had begun, and only then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_the_claims_of_the_dead_those_under_way_are_in_doubt() {
    for (behaviour, in_doubt, attempts) in [
        (Behaviour::HangToOpen, false, 0),
        (Behaviour::Hang, true, 1),
    ] {
        let world = World::new();
        let scene = Scene::open(&world).await;
        world.probe.behave(behaviour);
        let engine = world.engine(vec![ordered(PORT)]).await;
        let key = order_key("k", 0);
        scene.stored(scene.ordered("k-1", PORT, key)).await;
        wait_for(
            "the claim, and the send if there is one",
            PATIENCE,
            async || {
                let claims = scene.store.claims_of(engine.instance()).await;
                let (claims, seen) = (claims.expect("claims"), world.probe.seen());
                match claims.len() == 1 && (seen.len() == 1) == in_doubt {
                    true => Ok(()),
                    false => Err(format!("{claims:?}, {seen:?}")),
                }
            },
        )
        .await;
        engine.stop(Duration::ZERO).await;
        assert_eq!(scene.store.release_dead(9).await.expect("release"), 1);
        let again = scene.claim_ordered(PORT, 9).await;
        let found = (again[0].in_doubt, again[0].attempts);
        assert_eq!(found, (in_doubt, attempts), "{behaviour:?}");
    }
}

/// A long queue of one key goes out in its order, and another key gets its turn beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_goes_out_in_its_order() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    let one = |body: String| {
        let key = order_key(&body[..1], 0);
        Op::Publish(Box::new(scene.ordered(&body, PORT, key)))
    };
    let mut ops: Vec<_> = (100..160).map(|n| one(format!("k-{n}"))).collect();
    ops.push(one("l-100".to_owned()));
    scene.commit(&ops).await.expect("commit");
    let mut port = ordered(PORT);
    port.max_in_flight = 2;
    let engine = world.engine(vec![port]).await;
    let seen = wait_for("all to be sent", PATIENCE, async || {
        let seen = world.probe.seen();
        match seen.len() >= ops.len() {
            true => Ok(seen),
            false => Err(format!("{seen:?}")),
        }
    })
    .await;
    let bodies: Vec<_> = seen.iter().map(|seen| seen.body.as_str()).collect();
    let of_k: Vec<_> = bodies.iter().filter(|b| b.starts_with('k')).collect();
    assert_eq!((bodies.len(), of_k.len()), (61, 60));
    assert!(of_k.is_sorted(), "{bodies:?}");
    let turn = bodies.iter().position(|body| *body == "l-100");
    assert!(turn < Some(10), "it waited for too many: {bodies:?}");
    let report = engine.stop(PATIENCE).await;
    assert_eq!(report.unfinished, 0);
    assert_eq!(scene.store.claims_of(scene.me).await.expect("claims"), []);
}

/// Messages are on their way by the count of lanes that runs: another one comes into force with the next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_count_of_lanes_waits_for_a_start() {
    let world = World::new();
    let mut wider = ordered(PORT);
    let old = wider.ordered.as_ref().expect("it is ordered").lanes;
    wider.ordered.as_mut().expect("it is ordered").lanes = old * 2;
    let engine = world.engine(vec![ordered(PORT)]).await;
    // Of a stranger nothing is fixed while the engine is live.
    let in_force = async || {
        let stranger = InstanceId::new(world.now(), &SystemEntropy);
        let fixed = world.store().fix_lanes(stranger, &name(PORT), 1).await;
        fixed.expect("a count")
    };
    for _ in 0..2 {
        let applied = engine.apply(plan(vec![wider.clone()])).await;
        applied.expect("the plan can run");
        assert_eq!(in_force().await, old);
    }
    assert!(engine.stop(PATIENCE).await.ended);
    let engine = world.engine(vec![wider]).await;
    assert_eq!(in_force().await, old * 2);
    assert!(engine.stop(PATIENCE).await.ended);
}

/// A send that never comes back gives its place up, and may have had its effect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_does_not_end_has_failed_in_doubt() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    world.probe.behave(Behaviour::Hang);
    let mut port = port(PORT);
    port.attempt_timeout = Duration::from_millis(50);
    port.max_in_flight = 1;
    let engine = world.engine(vec![port]).await;
    let id = scene.stored(scene.publish("stuck", &[PORT])).await;
    let way = suspended(&scene, id).await;
    let failure = way.live_deliveries[0].failure.as_ref().expect("a reason");
    assert_eq!(failure.code.as_str(), codes::ATTEMPT_TIMEOUT.code);
    let doubts: Vec<_> = world
        .probe
        .seen()
        .iter()
        .map(|seen| seen.in_doubt)
        .collect();
    assert_eq!(
        doubts,
        [false, true],
        "the second attempt knows of the first"
    );
    // The only place of the port is free again.
    world.probe.behave(Behaviour::Take);
    let next = scene.stored(scene.publish("next", &[PORT])).await;
    wait_for("the next one to be sent", PATIENCE, async || {
        let way = self::way(&scene, next).await;
        match way.row.live {
            0 => Ok(()),
            _ => Err(format!("{way:?}")),
        }
    })
    .await;
    engine.stop(PATIENCE).await;
}

/// What only waits for its turn goes back to the store when its port stops, and is not sent when the turn comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_stops_gives_back_what_has_not_begun() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    world.probe.behave(Behaviour::Hang);
    let mut port = port(PORT);
    port.max_in_flight = 1;
    let engine = world.engine(vec![port]).await;
    scene.stored(scene.publish("first", &[PORT])).await;
    scene.stored(scene.publish("second", &[PORT])).await;
    let in_hand = async |wanted: usize| {
        wait_for("the deliveries in hand", PATIENCE, async || {
            let claims = scene.store.claims_of(engine.instance()).await;
            let (claims, seen) = (claims.expect("claims"), world.probe.seen());
            match (claims.len(), seen.len()) == (wanted, 1) {
                true => Ok(()),
                false => Err(format!("{claims:?}, {seen:?}")),
            }
        })
        .await;
    };
    in_hand(2).await;
    let stopped = PortControl {
        status: PortStatus::Stopped,
        paused_until: None,
        reason: None,
    };
    let store = world.store();
    let set = store.set_control(&name(PORT), &stopped).await;
    set.expect("an operator's word");
    in_hand(1).await;
    engine.stop(Duration::ZERO).await;
}

/// A port that is not served here any more leaves its lanes to whoever serves it now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_leaves_gives_its_lanes_up() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    let engine = world.engine(vec![ordered(PORT)]).await;
    let key = order_key("k", 0);
    let first = scene.stored(scene.ordered("k-1", PORT, key)).await;
    wait_for("the first to be sent", PATIENCE, async || {
        let way = way(&scene, first).await;
        match way.row.live {
            0 => Ok(()),
            _ => Err(format!("{way:?}")),
        }
    })
    .await;
    assert_eq!(world.probe.seen().len(), 1);
    engine
        .apply(plan(Vec::new()))
        .await
        .expect("the empty plan");
    scene.stored(scene.ordered("k-2", PORT, key)).await;
    wait_for("the lane to be free", PATIENCE, async || {
        let claimed = bodies_of(&scene.claim_ordered(PORT, 9).await);
        match claimed == ["k-2"] {
            true => Ok(()),
            false => Err(format!("{claimed:?}")),
        }
    })
    .await;
    engine.stop(PATIENCE).await;
}

/// A message whose delivery failed, with its body in chunks.
async fn large(scene: &Scene<'_>) -> MessageId {
    let id = BodyId::from_bytes(scene.random());
    let store = &scene.store;
    assert!(store.open_body(id, scene.me).await.expect("open"));
    let bytes = Bytes::from_static(b"large");
    let written = store.append_chunk(id, scene.me, 0, bytes).await;
    assert!(written.expect("write"));
    let mut publish = scene.publish("", &[PORT]);
    let mut message = (*publish.message).clone();
    message.parts[0].content = Content::Stored(StoredBody {
        id,
        len: 5,
        chunks: 1,
        sha256: [0; 32],
    });
    publish.message = message.into();
    scene.stored(publish).await
}

/// Where nobody subscribes to failures, the copy of a large body that was made for one goes again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_that_nobody_takes_leaves_no_copy() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    world.probe.behave(Behaviour::Refuse);
    let mut port = port(PORT);
    port.publish_failures = true;
    let engine = world.engine(vec![port]).await;
    let id = large(&scene).await;
    suspended(&scene, id).await;
    let swept = scene.store.sweep(&Retention::default()).await;
    let chunks = swept.expect("sweep").chunks;
    assert_eq!(chunks, 1, "that of the copy; the message has its own");
    engine.stop(PATIENCE).await;
}

/// The failure and the end of the delivery that failed are one commit, large bodies included.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_takes_the_place_of_its_delivery() {
    let world = World::new();
    let scene = Scene::open(&world).await;
    world.probe.behave(Behaviour::Refuse);
    let mut port = port(PORT);
    port.publish_failures = true;
    let mut failures = self::port("app.failures");
    failures.filter = Some(Filter::compile("error.code != ''").expect("a filter"));
    let engine = world.engine(vec![port, failures]).await;
    let id = large(&scene).await;
    let way = wait_for("the delivery to end", PATIENCE, async || {
        let way = way(&scene, id).await;
        match way.row.live {
            0 => Ok(way),
            _ => Err(format!("{way:?}")),
        }
    })
    .await;
    let end = way.history.last().expect("it ended");
    assert_eq!(end.event.as_str(), "consumed");
    let failure = end.detail.rsplit(' ').next().expect("it names the failure");
    let failure: MessageId = failure.parse().expect("an id");
    let failed = suspended(&scene, failure).await;
    assert_eq!(failed.live_deliveries[0].port.as_str(), "app.failures");
    let swept = scene.store.sweep(&Retention::default()).await;
    assert_eq!(swept.expect("sweep").chunks, 0, "both bodies are needed");
    engine.stop(PATIENCE).await;
}
