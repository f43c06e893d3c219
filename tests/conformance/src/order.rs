//! Order by key: what failed holds its own key and no other.

use std::time::Duration;

use quayside_store::{
    Change, Claimed, Op, Outcome, PublishOutcome, SettleOutcome,
    browse::MessageFilter,
    commit::{Birth, Next},
    model::{DeliveryState, Priority},
};

use crate::{
    Backend,
    scene::{Scene, bodies_of, order_key, retry, sent, skip, suspend, text},
};

const PORT: &str = "p";

/// Publishes `bodies` in order; the part before the dash is the key.
async fn publish(scene: &Scene<'_>, bodies: &[&str]) {
    for body in bodies {
        let key = body.split('-').next().expect("a body has a key");
        scene
            .stored(scene.ordered(body, PORT, order_key(key, 0)))
            .await;
    }
}

async fn next(scene: &Scene<'_>) -> Vec<Claimed> {
    scene.claim_ordered(PORT, 1).await
}

/// Claims and ends whatever comes, one by one, and gives the bodies in their order.
async fn drain(scene: &Scene<'_>) -> Vec<String> {
    let mut bodies = Vec::new();
    loop {
        let claimed = scene.claim_ordered(PORT, 3).await;
        if claimed.is_empty() {
            return bodies;
        }
        bodies.extend(bodies_of(&claimed));
        for claimed in claimed {
            scene.done(claimed.claim, sent()).await;
        }
    }
}

fn of_key<'a>(bodies: &'a [String], key: &str) -> Vec<&'a str> {
    let of_key = |body: &&str| body.split('-').next() == Some(key);
    bodies.iter().map(String::as_str).filter(of_key).collect()
}

/// Each key comes in the order of its commits, whatever the priorities say.
pub async fn each_key_comes_in_order(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    for n in 0..30_u8 {
        let key = ["k", "l", "m"][usize::from(n % 3)];
        let mut publish = scene.ordered(&format!("{key}-{n}"), PORT, order_key(key, 0));
        publish.deliveries[0].priority = Priority::new(10 - n % 10).expect("1 to 10");
        scene.stored(publish).await;
    }
    let bodies = drain(&scene).await;
    assert_eq!(bodies.len(), 30);
    for (start, key) in ["k", "l", "m"].into_iter().enumerate() {
        let wanted: Vec<_> = (start..30)
            .step_by(3)
            .map(|n| format!("{key}-{n}"))
            .collect();
        assert_eq!(of_key(&bodies, key), wanted);
    }
}

/// Order is also kept inside one batch.
pub async fn a_batch_keeps_its_order(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let one = |n: u32| {
        let publish = scene.ordered(&format!("k-{n}"), PORT, order_key("k", 0));
        Op::Publish(Box::new(publish))
    };
    let ops: Vec<_> = (0..20).map(one).collect();
    scene.commit(&ops).await.expect("commit");
    let wanted: Vec<_> = (0..20).map(|n| format!("k-{n}")).collect();
    assert_eq!(drain(&scene).await, wanted);
}

/// While the first of a key is in hand, the next of it stays and other keys go.
pub async fn one_in_hand_holds_its_key(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    publish(&scene, &["k-1", "k-2"]).await;
    let first = next(&scene).await;
    assert_eq!(bodies_of(&first), ["k-1"]);
    publish(&scene, &["l-1"]).await;
    let other = scene.claim_ordered(PORT, 9).await;
    assert_eq!(bodies_of(&other), ["l-1"]);
    assert_eq!(scene.claim_ordered(PORT, 9).await.len(), 0);
    scene.done(first[0].claim, sent()).await;
    assert_eq!(bodies_of(&scene.claim_ordered(PORT, 9).await), ["k-2"]);
}

/// A key whose head waits for its retry waits with it, also for what comes later; others go.
pub async fn a_retry_holds_its_key(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    publish(&scene, &["k-1", "k-2", "k-3"]).await;
    let head = next(&scene).await.remove(0);
    publish(&scene, &["l-1"]).await;
    scene.done(head.claim, retry(backend.moment() * 4, 1)).await;
    assert_eq!(drain(&scene).await, ["l-1"]);
    publish(&scene, &["k-4", "l-2"]).await;
    assert_eq!(drain(&scene).await, ["l-2"]);
    let held = scene.store.backlog(100).await.expect("backlog");
    assert_eq!((held[0].ready, held[0].held), (1, 3), "{held:?}");
    backend.pass(backend.moment() * 5).await;
    assert_eq!(drain(&scene).await, ["k-1", "k-2", "k-3", "k-4"]);
}

/// A suspended head keeps its place: resumed, it goes first.
pub async fn a_suspended_head_keeps_its_place(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    publish(&scene, &["k-1", "k-2"]).await;
    let head = next(&scene).await.remove(0);
    publish(&scene, &["l-1"]).await;
    scene.done(head.claim, suspend()).await;
    assert_eq!(drain(&scene).await, ["l-1"]);
    publish(&scene, &["k-3"]).await;
    assert_eq!(drain(&scene).await, Vec::<String>::new());
    scene
        .store
        .resume(&[head.id()], &text("by a test"))
        .await
        .expect("resume");
    assert_eq!(drain(&scene).await, ["k-1", "k-2", "k-3"]);
}

/// What waits behind a head names it; the head waits behind nothing.
pub async fn one_that_waits_names_its_head(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    publish(&scene, &["k-1", "k-2", "k-3"]).await;
    let head = next(&scene).await.remove(0);
    scene.done(head.claim, suspend()).await;
    assert_eq!(drain(&scene).await, Vec::<String>::new());
    let rows = scene
        .store
        .messages(&MessageFilter::default(), None, 9)
        .await
        .expect("messages");
    assert_eq!(rows.len(), 3);
    for row in rows {
        let way = scene.store.message(row.id).await.expect("way");
        let behind = way.expect("stored").live_deliveries[0].behind;
        let wanted = (row.id != head.id().message).then_some(head.id());
        assert_eq!(behind, wanted, "{}", row.id);
    }
}

/// A terminated head lets its key go on.
pub async fn a_terminated_head_frees_its_key(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    publish(&scene, &["k-1", "k-2", "k-3"]).await;
    let head = next(&scene).await.remove(0);
    scene.done(head.claim, suspend()).await;
    assert_eq!(drain(&scene).await, Vec::<String>::new());
    scene
        .store
        .terminate(&[head.id()], &text("by a test"))
        .await
        .expect("terminate");
    assert_eq!(drain(&scene).await, ["k-2", "k-3"]);
}

/// A skipped one lets its key go on and has lost its place when it is resumed.
pub async fn a_skipped_one_loses_its_place(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    publish(&scene, &["k-1", "k-2", "k-3"]).await;
    let head = next(&scene).await.remove(0);
    assert_eq!(head.order, Some(order_key("k", 0)));
    assert_eq!(
        scene.claim_ordered(PORT, 9).await.len(),
        0,
        "held behind it"
    );
    scene.done(head.claim, skip()).await;
    assert_eq!(bodies_of(&next(&scene).await), ["k-2"]);
    scene
        .store
        .resume(&[head.id()], &text("by a test"))
        .await
        .expect("resume");
    let late = scene.claim_ordered(PORT, 9).await;
    assert_eq!(
        bodies_of(&late),
        ["k-1"],
        "beside the head of its former key"
    );
    assert_eq!(late[0].order, None, "marked out of order");
}

/// Ones given back behind a failed head come again in their order.
pub async fn given_back_ones_come_in_order(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    publish(&scene, &["k-1", "k-2", "k-3", "k-4"]).await;
    let run = scene.claim_ordered(PORT, 3).await;
    assert_eq!(bodies_of(&run)[0], "k-1");
    scene.done(run[0].claim, retry(Duration::ZERO, 1)).await;
    for behind in run.iter().skip(1).rev() {
        scene.done(behind.claim, Change::Release).await;
    }
    assert_eq!(drain(&scene).await, ["k-1", "k-2", "k-3", "k-4"]);
}

/// More held ones than come back in one batch, and a head that fails again, keep their order.
pub async fn a_long_queue_comes_back_in_order(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let all: Vec<_> = (0..300).map(|n| format!("k-{n:03}")).collect();
    let one = |body: &String| Op::Publish(Box::new(scene.ordered(body, PORT, order_key("k", 0))));
    let ops: Vec<_> = all.iter().map(one).collect();
    scene.commit(&ops).await.expect("commit");
    let head = next(&scene).await.remove(0);
    scene.done(head.claim, suspend()).await;
    assert_eq!(drain(&scene).await, Vec::<String>::new());
    publish(&scene, &["l-1"]).await;
    assert_eq!(drain(&scene).await, ["l-1"], "behind 299 held ones");
    scene
        .store
        .terminate(&[head.id()], &text("by a test"))
        .await
        .expect("terminate");
    let second = next(&scene).await.remove(0);
    assert_eq!(bodies_of(std::slice::from_ref(&second)), ["k-001"]);
    scene.done(second.claim, suspend()).await;
    assert_eq!(drain(&scene).await, Vec::<String>::new());
    scene
        .store
        .resume(&[second.id()], &text("by a test"))
        .await
        .expect("resume");
    assert_eq!(drain(&scene).await, all[1..]);
}

/// A delivery is born claimed only when nothing of its key is before it.
pub async fn a_hand_off_never_overtakes(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let born = |body: &str| {
        let mut publish = scene.ordered(body, PORT, order_key("k", 0));
        publish.deliveries[0].birth = Birth::Claimed;
        publish
    };
    // Which instance owns the lane is settled by the first claim.
    publish(&scene, &["l-1"]).await;
    assert_eq!(drain(&scene).await, ["l-1"]);
    let first = born("k-1");
    let id = first.message.id;
    assert_eq!(
        scene.outcome(first).await,
        PublishOutcome::Stored { claimed: vec![0] }
    );
    assert_eq!(
        scene.outcome(born("k-2")).await,
        PublishOutcome::Stored { claimed: vec![] }
    );
    assert_eq!(scene.claim_ordered(PORT, 9).await.len(), 0);
    scene.done(scene.born(id, 0), sent()).await;
    assert_eq!(drain(&scene).await, ["k-2"]);
    // The lane is another's: not even the first of a key is handed off.
    let other = scene.instance().await;
    let foreign = scene.outcome_by(other, born("k-3")).await;
    assert_eq!(foreign, PublishOutcome::Stored { claimed: vec![] });
    assert_eq!(drain(&scene).await, ["k-3"]);
}

/// A lane has one owner; when that dies another takes it over, behind the old owner's last.
pub async fn a_lane_has_one_owner(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let (one, two) = (scene.instance().await, scene.instance().await);
    scene
        .stored(scene.ordered("k-1", PORT, order_key("k", 0)))
        .await;
    let first = scene.claim_ordered_by(one, PORT, 9).await;
    assert_eq!(bodies_of(&first), ["k-1"]);
    scene.done(first[0].claim, Change::Sending).await;
    scene
        .stored(scene.ordered("k-2", PORT, order_key("k", 0)))
        .await;
    scene
        .stored(scene.ordered("l-1", PORT, order_key("l", 0)))
        .await;
    scene
        .stored(scene.ordered("m-1", PORT, order_key("m", 1)))
        .await;
    let second = scene.claim_ordered_by(two, PORT, 9).await;
    assert_eq!(bodies_of(&second), ["m-1"], "only the lane that nobody has");
    scene.store.end_instance(one).await.expect("end");
    let third = scene.claim_ordered_by(two, PORT, 9).await;
    assert_eq!(
        bodies_of(&third),
        ["l-1"],
        "k waits for what the dead one held"
    );
    assert_eq!(scene.store.release_dead(9).await.expect("release"), 1);
    let rest = scene.claim_ordered_by(two, PORT, 1).await;
    assert_eq!(bodies_of(&rest), ["k-1"]);
    assert!(rest[0].in_doubt);
    scene.done(rest[0].claim, sent()).await;
    assert_eq!(
        bodies_of(&scene.claim_ordered_by(two, PORT, 9).await),
        ["k-2"]
    );
}

/// A delivery suspended at its birth holds its key like any other.
pub async fn one_suspended_at_birth_holds_its_key(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let mut broken = scene.ordered("k-1", PORT, order_key("k", 0));
    broken.deliveries[0].birth = Birth::Suspended(crate::scene::failure("broken"));
    let id = broken.message.id;
    scene.stored(broken).await;
    publish(&scene, &["k-2", "l-1"]).await;
    assert_eq!(drain(&scene).await, ["l-1"]);
    let way = scene.store.message(id).await.expect("way").expect("stored");
    assert_eq!(way.live_deliveries[0].state, DeliveryState::Suspended);
    scene
        .store
        .terminate(&[way.live_deliveries[0].id], &text("by a test"))
        .await
        .expect("terminate");
    assert_eq!(drain(&scene).await, ["k-2"]);
}

/// A claim takes the head of each key and no more: a long queue keeps no other key from its turn.
pub async fn a_long_queue_keeps_no_other_from_its_turn(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let one = |n: u32| {
        let publish = scene.ordered(&format!("k-{n}"), PORT, order_key("k", 0));
        Op::Publish(Box::new(publish))
    };
    let ops: Vec<_> = (0..200).map(one).collect();
    scene.commit(&ops).await.expect("commit");
    publish(&scene, &["l-1", "m-1", "l-2"]).await;
    let mut heads = scene.claim_ordered(PORT, 3).await;
    heads.extend(scene.claim_ordered(PORT, 3).await);
    let mut bodies = bodies_of(&heads);
    bodies.sort();
    assert_eq!(bodies, ["k-0", "l-1", "m-1"]);
    for head in heads {
        scene.done(head.claim, sent()).await;
    }
    let rest = drain(&scene).await;
    assert_eq!(of_key(&rest, "l"), ["l-2"]);
    let wanted: Vec<_> = (1..200).map(|n| format!("k-{n}")).collect();
    assert_eq!(of_key(&rest, "k"), wanted);
}

/// An owner that has nothing of a lane in hand can give it up; what it has in hand keeps its lane.
pub async fn a_lane_is_given_up_when_nothing_of_it_is_in_hand(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let (one, two) = (scene.instance().await, scene.instance().await);
    for (body, lane) in [("k-1", 0), ("l-1", 1)] {
        let key = order_key(&body[..1], lane);
        scene.stored(scene.ordered(body, PORT, key)).await;
    }
    let port = crate::scene::name(PORT);
    let mine = scene.claim_ordered_by(one, PORT, 9).await;
    assert_eq!(mine.len(), 2);
    let release = |instance| scene.store.release_lanes(instance, &port);
    assert_eq!(release(one).await.expect("release"), 0, "both are in use");
    let (kept, ended): (Vec<_>, Vec<_>) = mine
        .into_iter()
        .partition(|c| c.order == Some(order_key("l", 1)));
    scene.done(ended[0].claim, sent()).await;
    assert_eq!(release(two).await.expect("release"), 0, "it owns none");
    assert_eq!(release(one).await.expect("release"), 1);
    for (body, lane) in [("k-2", 0), ("m-1", 1)] {
        let key = order_key(&body[..1], lane);
        scene.stored(scene.ordered(body, PORT, key)).await;
    }
    let taken = scene.claim_ordered_by(two, PORT, 9).await;
    assert_eq!(bodies_of(&taken), ["k-2"], "of the lane that was given up");
    scene.done(kept[0].claim, sent()).await;
    let rest = scene.claim_ordered_by(one, PORT, 9).await;
    assert_eq!(bodies_of(&rest), ["m-1"], "the other lane stayed");
}

/// The count of lanes changes only while nobody can work by the old one.
pub async fn the_count_of_lanes_stays_while_it_is_in_use(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let port = crate::scene::name(PORT);
    let fix = async |wanted| {
        let fixed = scene.store.fix_lanes(scene.me, &port, wanted).await;
        fixed.expect("fix")
    };
    assert_eq!(fix(16).await, 16);
    assert_eq!(fix(4).await, 4, "alone and without work");
    publish(&scene, &["k-1"]).await;
    assert_eq!(fix(8).await, 4, "it has work");
    assert_eq!(drain(&scene).await, ["k-1"]);
    let other = scene.instance().await;
    assert_eq!(fix(8).await, 4, "another one may publish");
    scene.store.end_instance(other).await.expect("end");
    assert_eq!(fix(8).await, 8);
}

fn wanted(key: &str, most: u32) -> Op {
    Op::Next(Next {
        port: crate::scene::name(PORT),
        order: order_key(key, 0),
        most,
    })
}

fn brought(outcome: &Outcome) -> &[Claimed] {
    match outcome {
        Outcome::Next(claimed) => claimed,
        other => panic!("{other:?}"),
    }
}

/// The commit that ends the head of a key can claim the next one, as about to be sent.
pub async fn the_end_of_a_head_brings_the_next(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    publish(&scene, &["k-1", "l-1", "k-2", "k-3"]).await;
    let wanted = |key: &str| wanted(key, 1);
    let heads = scene.claim_ordered(PORT, 9).await;
    assert_eq!(bodies_of(&heads), ["k-1", "l-1"]);
    let ops = [
        Op::Settle(heads[0].claim, sent()),
        wanted("k"),
        Op::Settle(heads[1].claim, retry(Duration::from_secs(3600), 1)),
        wanted("l"),
        wanted("nothing"),
    ];
    let outcomes = scene.commit(&ops).await.expect("commit");
    assert_eq!(bodies_of(brought(&outcomes[1])), ["k-2"]);
    let none = Outcome::Next(Vec::new());
    assert_eq!(
        (&outcomes[3], &outcomes[4]),
        (&none, &none),
        "it waits; nothing is there"
    );
    // Run again because its COMMIT was in the dark: nobody is told of that claim, which is a lost one then.
    let again = scene.commit(&ops).await.expect("commit");
    assert_eq!(again[0], Outcome::Settled(SettleOutcome::Done));
    assert_eq!(again[1], none);
    assert_eq!(
        scene.claim_ordered(PORT, 9).await.len(),
        0,
        "k-3 is behind it"
    );
    // The next of another's lane is not given.
    let other = scene.instance().await;
    let foreign = scene.store.commit(other, &[wanted("k")]).await;
    assert_eq!(foreign.expect("commit"), [none]);
    // It was claimed as about to be sent.
    scene.store.end_instance(scene.me).await.expect("end");
    assert_eq!(scene.store.release_dead(9).await.expect("release"), 1);
    let next = scene.claim_ordered_by(other, PORT, 9).await;
    assert_eq!(bodies_of(&next), ["k-2"]);
    assert!(next[0].in_doubt);
}

/// The commit that ends the head of a key can claim several in their order, whether they were parked behind
/// it or not, and no later one comes while one of them is alive.
pub async fn the_end_of_a_head_brings_a_run(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    publish(&scene, &["k-1", "k-2", "k-3"]).await;
    let head = next(&scene).await.remove(0);
    // Parks what stands behind the head; what comes after this is not parked.
    assert_eq!(scene.claim_ordered(PORT, 9).await.len(), 0);
    publish(&scene, &["k-4", "l-1", "k-5", "k-6"]).await;
    let ops = [Op::Settle(head.claim, sent()), wanted("k", 4)];
    let outcomes = scene.commit(&ops).await.expect("commit");
    let run = brought(&outcomes[1]).to_vec();
    assert_eq!(bodies_of(&run), ["k-2", "k-3", "k-4", "k-5"]);
    assert_eq!(
        bodies_of(&scene.claim_ordered(PORT, 9).await),
        ["l-1"],
        "k-6 is behind the run"
    );
    // The second fails, and what was behind it goes back.
    let wait = Duration::from_secs(3600);
    let ops = [
        Op::Settle(run[0].claim, sent()),
        Op::Settle(run[1].claim, retry(wait, 1)),
        Op::Settle(run[2].claim, retry(Duration::ZERO, 0)),
        Op::Settle(run[3].claim, Change::Release),
        wanted("k", 4),
    ];
    let outcomes = scene.commit(&ops).await.expect("commit");
    assert_eq!(bodies_of(brought(&outcomes[4])), [""; 0], "it waits");
    assert_eq!(scene.claim_ordered(PORT, 9).await.len(), 0);
    let hastened = scene.store.resume(&[run[1].id()], &text("by a test")).await;
    hastened.expect("resume");
    assert_eq!(drain(&scene).await, ["k-3", "k-4", "k-5", "k-6"]);
}

/// A run ends before what is not free, and one that is skipped lets those behind it go on in their order.
pub async fn a_run_ends_before_what_is_not_free(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    publish(&scene, &["k-1", "k-2", "k-3", "k-4", "k-5", "k-6"]).await;
    let head = next(&scene).await.remove(0);
    let ops = [Op::Settle(head.claim, sent()), wanted("k", 3)];
    let outcomes = scene.commit(&ops).await.expect("commit");
    let run = brought(&outcomes[1]).to_vec();
    assert_eq!(bodies_of(&run), ["k-2", "k-3", "k-4"]);
    let ops = [
        Op::Settle(run[0].claim, skip()),
        Op::Settle(run[1].claim, Change::Release),
        Op::Settle(run[2].claim, suspend()),
        wanted("k", 9),
    ];
    let outcomes = scene.commit(&ops).await.expect("commit");
    let again = brought(&outcomes[3]).to_vec();
    assert_eq!(bodies_of(&again), ["k-3"], "k-4 is suspended");
    scene.done(again[0].claim, sent()).await;
    assert_eq!(drain(&scene).await, Vec::<String>::new());
    let resumed = scene.store.resume(&[run[2].id()], &text("by a test")).await;
    resumed.expect("resume");
    assert_eq!(drain(&scene).await, ["k-4", "k-5", "k-6"]);
}

/// A run of a dead owner is in doubt as a whole and comes again in its order.
pub async fn a_run_of_the_dead_comes_in_order(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    publish(&scene, &["k-1", "k-2", "k-3", "k-4"]).await;
    let head = next(&scene).await.remove(0);
    let ops = [Op::Settle(head.claim, sent()), wanted("k", 2)];
    let outcomes = scene.commit(&ops).await.expect("commit");
    assert_eq!(bodies_of(brought(&outcomes[1])), ["k-2", "k-3"]);
    let other = scene.instance().await;
    scene.store.end_instance(scene.me).await.expect("end");
    assert_eq!(scene.store.release_dead(9).await.expect("release"), 2);
    let mut seen = Vec::new();
    let mut last = scene.claim_ordered_by(other, PORT, 9).await;
    while !last.is_empty() {
        seen.extend(
            bodies_of(&last)
                .into_iter()
                .zip(last.iter().map(|c| c.in_doubt)),
        );
        let mut ops: Vec<_> = last.iter().map(|c| Op::Settle(c.claim, sent())).collect();
        ops.push(wanted("k", 2));
        let outcomes = scene.store.commit(other, &ops).await.expect("commit");
        last = brought(&outcomes[ops.len() - 1]).to_vec();
    }
    let of = |body: &str, in_doubt| (body.to_owned(), in_doubt);
    let expected = [of("k-2", true), of("k-3", true), of("k-4", false)];
    assert_eq!(seen, expected);
}
