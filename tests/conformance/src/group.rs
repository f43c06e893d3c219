//! Groups: all of it or nothing, whatever stands in the way of one member.

use std::time::Duration;

use quayside_store::{
    GroupOutcome, Op, Outcome, PublishOutcome, SettleOutcome,
    commit::{Birth, NewExchange},
    model::{BodyId, Content, ExchangeId, MessageId, StoredBody},
};

use crate::{
    Backend,
    scene::{Scene, bodies_of, key, sent},
};

fn published(publish: quayside_store::Publish) -> (MessageId, Op) {
    (publish.message.id, Op::Publish(Box::new(publish)))
}

async fn is_stored(scene: &Scene<'_>, id: MessageId) -> bool {
    scene.store.load(id).await.expect("load").is_some()
}

async fn group(scene: &Scene<'_>, ops: &[Op]) -> GroupOutcome {
    let outcome = scene.store.commit_group(scene.me, ops).await;
    outcome.expect("the group is answered")
}

fn stored(claimed: Vec<u16>) -> Outcome {
    Outcome::Published(PublishOutcome::Stored { claimed })
}

const DONE: Outcome = Outcome::Settled(SettleOutcome::Done);
const FENCED: Outcome = Outcome::Settled(SettleOutcome::Fenced);

/// A message that takes the place of a delivery: both happen, and a second run changes nothing.
pub async fn what_belongs_together_happens_together(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let old = scene.stored(scene.publish("old", &["a"])).await;
    let claim = scene.claim("a", 1).await.remove(0).claim;
    let mut publish = scene.publish("new", &["b", "c"]);
    publish.deliveries[1].birth = Birth::Claimed;
    publish.dedupe = Some(key("instead", "same"));
    let (new, publish) = published(publish);
    let ops = [publish, Op::Settle(claim, sent())];
    for run in 0..2 {
        let wanted = GroupOutcome::Done(vec![stored(vec![1]), DONE]);
        assert_eq!(group(&scene, &ops).await, wanted, "run {run}");
    }
    let way = scene.store.message(old).await.expect("way");
    let way = way.expect("stored");
    assert_eq!((way.row.live, way.history.len()), (0, 1), "it ended once");
    assert_eq!(bodies_of(&scene.claim("b", 9).await), ["new"]);
    scene.done(scene.born(new, 1), sent()).await;
}

/// A settlement that came too late takes the publications before it back, with their keys and bodies.
pub async fn a_fenced_member_undoes_the_group(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    scene.stored(scene.publish("old", &["a"])).await;
    let claim = scene.claim("a", 1).await.remove(0).claim;
    let mut stale = claim;
    stale.token += 1;
    let mut publish = scene.publish("new", &["b"]);
    publish.dedupe = Some(key("instead", "same"));
    let again = publish.clone();
    let (new, publish) = published(publish);
    let undone = group(&scene, &[publish, Op::Settle(stale, sent())]).await;
    let outcome = FENCED;
    assert_eq!(undone, GroupOutcome::Undone { member: 1, outcome });
    assert!(!is_stored(&scene, new).await);
    assert_eq!(scene.claim("b", 9).await.len(), 0);
    // Neither the key nor the claim was touched: the group can be run as it should be.
    let ops = [published(again).1, Op::Settle(claim, sent())];
    let wanted = GroupOutcome::Done(vec![stored(vec![]), DONE]);
    assert_eq!(group(&scene, &ops).await, wanted);
}

/// A publication that cannot be stored takes the settlement before it back: the claim still holds.
pub async fn a_refused_member_undoes_the_group(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let mut taken = scene.publish("taken", &["x"]);
    taken.dedupe = Some(key("k", "first"));
    scene.stored(taken).await;
    let exchange = NewExchange {
        id: ExchangeId::from_bytes(scene.random()),
        keep: Duration::from_secs(60),
        run: None,
        lease: None,
    };
    let mut asking = scene.publish("asking", &["x"]);
    asking.exchange = Some(exchange);
    scene.stored(asking).await;

    let mut mismatch = scene.publish("another request", &["b"]);
    mismatch.dedupe = Some(key("k", "second"));
    let mut value = scene.publish("the same exchange", &["b"]);
    value.exchange = Some(exchange);
    let mut body = scene.publish("no such body", &["b"]);
    let mut message = (*body.message).clone();
    message.parts[0].content = Content::Stored(StoredBody {
        id: BodyId::from_bytes(scene.random()),
        len: 5,
        chunks: 1,
        sha256: [0; 32],
    });
    body.message = message.into();

    scene.stored(scene.publish("old", &["a"])).await;
    let claim = scene.claim("a", 1).await.remove(0).claim;
    for bad in [mismatch, value, body] {
        let (first, before) = published(scene.publish("before", &["b"]));
        let (bad, publish) = published(bad);
        let after = published(scene.publish("after", &["b"])).1;
        let ops = [Op::Settle(claim, sent()), before, publish, after];
        let undone = group(&scene, &ops).await;
        assert!(
            matches!(
                undone,
                GroupOutcome::Undone {
                    member: 2,
                    outcome: Outcome::Published(
                        PublishOutcome::Mismatch(_) | PublishOutcome::Refused(_)
                    )
                }
            ),
            "{undone:?}"
        );
        assert!(!is_stored(&scene, first).await && !is_stored(&scene, bad).await);
        let held = scene.store.claims_of(scene.me).await.expect("claims");
        assert_eq!(held, [claim], "it has not ended");
    }
    assert_eq!(scene.claim("b", 9).await.len(), 0);
    scene.done(claim, sent()).await;
}

/// A repeat is what was wanted of it: the rest of the group happens.
pub async fn a_repeat_is_fine(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let mut first = scene.publish("first", &["x"]);
    first.dedupe = Some(key("k", "same"));
    let first = scene.stored(first).await;
    scene.stored(scene.publish("old", &["a"])).await;
    let claim = scene.claim("a", 1).await.remove(0).claim;
    let mut repeat = scene.publish("repeat", &["b"]);
    repeat.dedupe = Some(key("k", "same"));
    let (repeat, publish) = published(repeat);
    let (other, beside) = published(scene.publish("beside", &["b"]));
    let ops = [publish, beside, Op::Settle(claim, sent())];
    let GroupOutcome::Done(outcomes) = group(&scene, &ops).await else {
        panic!("a repeat stands in nobody's way");
    };
    match &outcomes[0] {
        Outcome::Published(PublishOutcome::Duplicate(of)) => assert_eq!(of.message, first),
        other => panic!("{other:?}"),
    }
    assert_eq!(outcomes[1..], [stored(vec![]), DONE]);
    assert!(!is_stored(&scene, repeat).await && is_stored(&scene, other).await);
}

/// Nothing happens for an instance that is not live any more.
pub async fn the_group_of_a_dead_instance_is_fenced(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let dead = scene.instance().await;
    scene.store.end_instance(dead).await.expect("end");
    let (new, publish) = published(scene.publish("new", &["a"]));
    let undone = scene.store.commit_group(dead, &[publish]).await;
    let outcome = Outcome::Published(PublishOutcome::Fenced);
    let wanted = GroupOutcome::Undone { member: 0, outcome };
    assert_eq!(undone.expect("answered"), wanted);
    assert!(!is_stored(&scene, new).await);
}
