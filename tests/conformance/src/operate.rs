//! What operators do to deliveries.

use std::time::Duration;

use quayside_store::{
    Change, SettleOutcome,
    browse::{DeliveryFilter, FAILURE_PUBLISHED, MAY_HAVE_BEEN_SENT, MessageFilter, MessageState},
    commit::Birth,
    model::{DeliveryId, DeliveryState, EndResult, Failure, MessageId, Transport},
    operate::{DoubtVerdict, OperateOutcome},
};

use crate::{
    Backend,
    scene::{Scene, failure, name, retry, sent, suspend, text},
};

/// A suspended delivery comes back with all its attempts before it.
pub async fn resume_brings_a_suspended_one_back(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    scene.stored(scene.publish("x", &["a"])).await;
    let claim = scene.claim("a", 1).await.remove(0).claim;
    scene.done(claim, suspend()).await;
    let way = scene
        .store
        .message(claim.delivery.message)
        .await
        .expect("way")
        .expect("stored");
    assert_eq!(way.live_deliveries[0].state, DeliveryState::Suspended);
    assert_eq!(way.live_deliveries[0].failure, Some(failure("gave up")));
    assert_eq!(scene.claim("a", 9).await.len(), 0);
    let resumed = scene
        .store
        .resume(&[claim.delivery], &text("by a test"))
        .await
        .expect("resume");
    assert_eq!(resumed, [OperateOutcome::Done]);
    let back = scene.claim("a", 9).await;
    assert_eq!(back.len(), 1);
    assert_eq!(
        (back[0].attempts, back[0].transport),
        (0, Transport::Primary)
    );
    scene.done(back[0].claim, sent()).await;
    let way = scene
        .store
        .message(claim.delivery.message)
        .await
        .expect("way")
        .expect("stored");
    let events: Vec<_> = way.history.iter().map(|e| e.event.as_str()).collect();
    assert_eq!(events, ["suspended", "resumed", "sent"]);
    let details: Vec<_> = way.history.iter().map(|e| e.detail.as_str()).collect();
    assert_eq!(details, ["QS9999: gave up", "by a test", "200"]);
}

/// Failed attempts leave events with their causes; of endless ones only those at each doubling.
pub async fn failures_are_told_but_do_not_fill_history(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let id = scene.stored(scene.publish("x", &["a"])).await;
    for attempts in 1..=40 {
        let claim = scene.claim("a", 1).await.remove(0).claim;
        let mut failed = retry(Duration::ZERO, attempts);
        if let Change::Retry { in_doubt, .. } = &mut failed {
            // The first of these is told as well.
            *in_doubt = matches!(attempts, 20 | 21);
        }
        scene.done(claim, failed).await;
    }
    let claim = scene.claim("a", 1).await.remove(0).claim;
    let mut backup = retry(Duration::ZERO, 0);
    if let Change::Retry { transport, .. } = &mut backup {
        *transport = Transport::Backup;
    }
    scene.done(claim, backup).await;
    let claim = scene.claim("a", 1).await.remove(0).claim;
    scene.done(claim, suspend()).await;
    let way = scene.store.message(id).await.expect("way").expect("stored");
    let told: Vec<_> = way
        .history
        .iter()
        .map(|e| (e.event.as_str(), e.attempts))
        .collect();
    let wanted = (1..=16)
        .chain([20, 32])
        .map(|attempts| ("attempt-failed", attempts))
        .chain([("failed-over", 0), ("suspended", 3)]);
    assert_eq!(told, wanted.collect::<Vec<_>>());
    let first = &way.history[0];
    assert_eq!(
        (first.port.as_deref(), first.no, first.detail.as_str()),
        (Some("a"), Some(0), "QS9999: refused")
    );
    // One that does not count waits, and so is told from the step to the backup.
    let id = scene.stored(scene.publish("y", &["b"])).await;
    let claim = scene.claim("b", 1).await.remove(0).claim;
    let mut uncounted = retry(Duration::from_secs(3600), 0);
    // Whatever may arrive once more says so, whether it counts as an attempt or not.
    if let Change::Retry { in_doubt, .. } = &mut uncounted {
        *in_doubt = true;
    }
    scene.done(claim, uncounted).await;
    let way = scene.store.message(id).await.expect("way").expect("stored");
    let event = &way.history[0];
    let doubtful = format!("QS9999: refused{MAY_HAVE_BEEN_SENT}");
    assert_eq!(
        (event.event.as_str(), event.attempts, event.detail.as_str()),
        ("attempt-failed", 0, doubtful.as_str())
    );
    let id = scene.stored(scene.publish("z", &["c"])).await;
    let claim = scene.claim("c", 1).await.remove(0).claim;
    let mut suspension = suspend();
    if let Change::Suspend { in_doubt, .. } = &mut suspension {
        *in_doubt = true;
    }
    scene.done(claim, suspension).await;
    let way = scene.store.message(id).await.expect("way").expect("stored");
    let event = &way.history[0];
    let doubtful = format!("QS9999: gave up{MAY_HAVE_BEEN_SENT}");
    assert_eq!(event.detail.as_str(), doubtful);
}

/// A message knows as which ones it was published again; one that is gone is told nothing.
pub async fn a_resubmission_is_told_at_its_source(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let source = scene.stored(scene.publish("x", &["a"])).await;
    let copy = scene.stored(scene.publish("x", &["a"])).await;
    let note = text("by a test");
    let store = &scene.store;
    store
        .note_resubmitted(source, copy, &note)
        .await
        .expect("noted");
    let way = store.message(source).await.expect("way").expect("stored");
    assert_eq!(way.history.len(), 1);
    assert_eq!(
        (way.history[0].event.as_str(), way.history[0].no),
        ("resubmitted", None)
    );
    assert_eq!(way.history[0].detail, text(&format!("{copy} by a test")));
    let gone = MessageId::from_bytes(scene.random());
    store
        .note_resubmitted(gone, copy, &note)
        .await
        .expect("nothing to note");
    assert_eq!(store.message(gone).await.expect("way"), None);
}

/// Resuming one that waits for its retry makes it due; one in doubt is not in doubt any more.
pub async fn resume_hastens_and_settles_doubts(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    scene.stored(scene.publish("waits", &["a"])).await;
    let claim = scene.claim("a", 1).await.remove(0).claim;
    scene
        .done(claim, retry(Duration::from_secs(86_400), 1))
        .await;
    assert_eq!(scene.claim("a", 9).await.len(), 0);
    let resumed = scene
        .store
        .resume(&[claim.delivery], &text("by a test"))
        .await
        .expect("resume");
    assert_eq!(resumed, [OperateOutcome::Done]);
    assert_eq!(scene.claim("a", 9).await.len(), 1);

    let dead = scene.instance().await;
    scene.stored(scene.publish("in doubt", &["b"])).await;
    scene.claim_by(dead, "b", 1).await;
    scene.store.end_instance(dead).await.expect("end");
    assert_eq!(scene.store.release_dead(9).await.expect("release"), 1);
    let doubtful = scene.claim("b", 1).await.remove(0);
    assert!(doubtful.in_doubt);
    scene.done(doubtful.claim, suspend()).await;
    scene
        .store
        .resume(&[doubtful.id()], &text("by a test"))
        .await
        .expect("resume");
    assert!(
        !scene.claim("b", 1).await[0].in_doubt,
        "the operator has decided"
    );
}

/// A terminated delivery is gone for good, with an event.
pub async fn terminate_ends_what_nobody_holds(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let mut publish = scene.publish("x", &["ready", "suspended", "claimed"]);
    publish.deliveries[1].birth = Birth::Suspended(failure("broken"));
    publish.deliveries[2].birth = Birth::Claimed;
    let message = publish.message.id;
    scene.outcome(publish).await;
    let ids: Vec<_> = (0..3).map(|no| DeliveryId { message, no }).collect();
    let ended = scene
        .store
        .terminate(&ids, &text("by a test"))
        .await
        .expect("terminate");
    assert_eq!(
        ended,
        [
            OperateOutcome::Done,
            OperateOutcome::Done,
            OperateOutcome::Busy
        ]
    );
    let way = scene
        .store
        .message(message)
        .await
        .expect("way")
        .expect("stored");
    assert_eq!(way.live_deliveries.len(), 1);
    let events: Vec<_> = way
        .history
        .iter()
        .map(|e| (e.event.as_str(), e.no))
        .collect();
    let ends = [("terminated", Some(0)), ("terminated", Some(1))];
    assert_eq!(events[0], ("suspended", Some(1)), "from birth");
    assert_eq!(events[1..], ends);
    assert!(
        way.history[1..]
            .iter()
            .all(|e| e.detail == text("by a test"))
    );
    assert_eq!(
        (way.row.terminated, way.row.state()),
        (2, MessageState::Open)
    );
    assert_eq!(scene.claim("ready", 9).await.len(), 0);
    assert_eq!(
        scene.settle(scene.born(message, 2), sent()).await,
        SettleOutcome::Done
    );
    let way = scene
        .store
        .message(message)
        .await
        .expect("way")
        .expect("stored");
    assert_eq!(way.row.state(), MessageState::PartlyTerminated);
}

/// A delivery that ended because its failure was published makes its message a failed one; one that was
/// consumed for another reason does not.
pub async fn a_published_failure_is_a_failure(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let consumed = |detail: &str| Change::End {
        result: EndResult::Consumed,
        attempts: 1,
        detail: text(detail),
        answer: None,
    };
    for (end, state, failed) in [
        (
            format!("QS0451{FAILURE_PUBLISHED}x"),
            MessageState::Failed,
            1,
        ),
        (
            "resumed as message x".to_owned(),
            MessageState::Delivered,
            0,
        ),
    ] {
        let message = scene.stored(scene.publish("x", &["a", "b"])).await;
        for (port, change) in [("a", sent()), ("b", consumed(&end))] {
            let claim = scene.claim(port, 1).await.remove(0).claim;
            scene.done(claim, change).await;
        }
        let way = scene.store.message(message).await;
        let way = way.expect("way").expect("stored");
        assert_eq!((way.row.state(), way.row.failed), (state, failed), "{end}");
        let newest = MessageFilter::default();
        let listed = scene.store.messages(&newest, None, 9).await.expect("list");
        assert!(listed.contains(&way.row), "{listed:?}");
    }
}

/// What was suspended for good is not resumed, by whatever way it came to that, and can be terminated.
pub async fn what_is_suspended_for_good_is_not_resumed(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let for_good = Failure {
        resumable: false,
        ..failure("for good")
    };
    let mut born = scene.publish("x", &["a"]);
    born.deliveries[0].birth = Birth::Suspended(for_good.clone());
    let born = scene.stored(born).await;
    scene.stored(scene.publish("y", &["b"])).await;
    let claim = scene.claim("b", 1).await.remove(0).claim;
    let change = Change::Suspend {
        attempts: 1,
        failure: for_good.clone(),
        hold_key: false,
        in_doubt: false,
    };
    scene.done(claim, change).await;
    let ids = [
        DeliveryId {
            message: born,
            no: 0,
        },
        claim.delivery,
    ];
    let note = text("by a test");
    let resumed = scene.store.resume(&ids, &note).await.expect("resume");
    assert_eq!(resumed, [OperateOutcome::NotResumable; 2]);
    for id in ids {
        let way = scene.store.message(id.message).await.expect("way");
        let row = way.expect("stored").live_deliveries.remove(0);
        assert_eq!(row.state, DeliveryState::Suspended);
        assert_eq!(row.failure.as_ref(), Some(&for_good));
    }
    let ended = scene.store.terminate(&ids, &note).await.expect("terminate");
    assert_eq!(ended, [OperateOutcome::Done; 2]);
}

/// Every verb answers item by item.
pub async fn each_item_has_its_outcome(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let message = scene
        .stored(scene.publish("x", &["ready", "claimed"]))
        .await;
    scene.claim("claimed", 1).await;
    let ids = [
        DeliveryId { message, no: 0 },
        DeliveryId { message, no: 1 },
        DeliveryId { message, no: 2 },
        DeliveryId {
            message: MessageId::from_bytes(scene.random()),
            no: 0,
        },
    ];
    let resumed = scene
        .store
        .resume(&ids, &text("by a test"))
        .await
        .expect("resume");
    assert_eq!(
        resumed,
        [
            OperateOutcome::Unchanged,
            OperateOutcome::Busy,
            OperateOutcome::NotFound,
            OperateOutcome::NotFound
        ]
    );
    assert_eq!(
        scene
            .store
            .resume(&[], &text("by a test"))
            .await
            .expect("resume"),
        []
    );
}

/// What a dead owner was sending is listed with what is known of that, and an operator decides about it.
pub async fn a_doubt_is_listed_and_decided(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let (store, note) = (&scene.store, text("by a test"));
    let dead = scene.instance().await;
    for _ in 0..4 {
        scene.stored(scene.publish("in doubt", &["b"])).await;
    }
    let sure = scene.stored(scene.publish("sure", &["c"])).await;
    let before = backend.now();
    assert_eq!(scene.claim_by(dead, "b", 9).await.len(), 4);
    assert_eq!(
        store.doubts(None, None, 9).await.expect("list"),
        [],
        "nobody died"
    );
    store.end_instance(dead).await.expect("end");
    assert_eq!(store.release_dead(9).await.expect("release"), 4);

    let all = store.doubts(None, None, 9).await.expect("list");
    assert_eq!(all.len(), 4);
    for row in &all {
        let owner = row.owner.as_ref().expect("one died");
        assert!(row.delivery.in_doubt && row.delivery.port == name("b"));
        assert!(row.context.value("Number").is_some(), "{row:?}");
        assert!(owner.instance.is_none_or(|instance| instance == dead));
        assert!(
            owner
                .node
                .as_ref()
                .is_none_or(|node| *node == name("node-a"))
        );
        // The clock of a database on another machine may be behind by a little.
        let slack = Duration::from_secs(5);
        assert!(owner.released_at.plus(slack) >= before, "{owner:?}");
        let begun = owner.begun_at;
        assert!(
            begun.is_none_or(|begun| begun <= owner.released_at && begun.plus(slack) >= before)
        );
    }
    let ids: Vec<_> = all.iter().map(|row| row.delivery.id).collect();
    assert!(ids.is_sorted());
    let ports = [name("c"), name("b")];
    let page = store.doubts(Some(&ports), Some(ids[1]), 1);
    assert_eq!(page.await.expect("list"), [all[2].clone()]);
    assert_eq!(
        store
            .doubts(Some(&[name("c")]), None, 9)
            .await
            .expect("list"),
        []
    );

    let resolve = |ids: Vec<DeliveryId>, verdict| {
        let note = note.clone();
        async move { store.resolve(&ids, verdict, &note).await.expect("resolve") }
    };
    let of = |message: MessageId| DeliveryId { message, no: 0 };
    let gone = of(MessageId::from_bytes(scene.random()));
    for verdict in [DoubtVerdict::Resend, DoubtVerdict::Skip, DoubtVerdict::Done] {
        assert_eq!(
            resolve(vec![of(sure), gone], verdict).await,
            [OperateOutcome::NotInDoubt, OperateOutcome::NotFound],
            "{verdict:?}"
        );
    }
    assert_eq!(
        resolve(vec![ids[0]], DoubtVerdict::Resend).await,
        [OperateOutcome::Unchanged],
        "it is due anyway"
    );
    assert_eq!(
        resolve(vec![ids[0]], DoubtVerdict::Skip).await,
        [OperateOutcome::Done]
    );
    assert_eq!(
        resolve(vec![ids[1]], DoubtVerdict::Done).await,
        [OperateOutcome::Done]
    );
    assert_eq!(
        resolve(vec![ids[0], ids[1]], DoubtVerdict::Done).await,
        [OperateOutcome::NotFound; 2]
    );
    for (id, event, state) in [
        (ids[0], "terminated", MessageState::Terminated),
        (ids[1], "sent", MessageState::Delivered),
    ] {
        let way = store.message(id.message).await.expect("way");
        let way = way.expect("stored");
        let last = way.history.last().expect("an end");
        assert_eq!(
            (last.event.as_str(), last.detail.as_str()),
            (event, "by a test")
        );
        assert_eq!(way.row.state(), state);
    }
    // The other two are claimed, and one of them is kept for the operator.
    let claims = scene.claim("b", 9).await;
    assert_eq!(claims.len(), 2);
    assert_eq!(
        resolve(vec![ids[2]], DoubtVerdict::Skip).await,
        [OperateOutcome::Busy]
    );
    for claimed in claims {
        let change = match claimed.id() == ids[2] {
            true => suspend(),
            false => sent(),
        };
        scene.done(claimed.claim, change).await;
    }
    let left = store.doubts(None, None, 9).await.expect("list");
    assert_eq!(left.len(), 1);
    assert_eq!(
        (left[0].delivery.id, left[0].delivery.state),
        (ids[2], DeliveryState::Suspended)
    );
    assert!(left[0].owner.is_some(), "it is known still");
    assert_eq!(
        resolve(vec![ids[2]], DoubtVerdict::Resend).await,
        [OperateOutcome::Done]
    );
    assert_eq!(store.doubts(None, None, 9).await.expect("list"), []);
    assert!(!scene.claim("b", 9).await[0].in_doubt);
}

/// A suspension after an attempt that may have had its effect is in doubt, without anybody having died.
pub async fn a_suspension_may_be_in_doubt(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    scene.stored(scene.publish("x", &["a"])).await;
    let claim = scene.claim("a", 1).await.remove(0).claim;
    let change = Change::Suspend {
        attempts: 1,
        failure: failure("no answer"),
        hold_key: false,
        in_doubt: true,
    };
    scene.done(claim, change).await;
    let doubts = scene.store.doubts(None, None, 9).await.expect("list");
    assert_eq!(doubts.len(), 1);
    assert_eq!(
        (doubts[0].delivery.id, &doubts[0].owner),
        (claim.delivery, &None)
    );
    let flagged = DeliveryFilter {
        in_doubt: Some(true),
        ..DeliveryFilter::default()
    };
    let listed = scene.store.deliveries(&flagged, None, 9).await;
    assert_eq!(listed.expect("list"), [doubts[0].delivery.clone()]);
}
