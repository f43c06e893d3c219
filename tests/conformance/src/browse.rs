//! Lists for people: filters, pages, counts.

use quayside_store::{
    browse::{DeliveryFilter, MessageFilter},
    commit::Birth,
    model::DeliveryState,
};

use crate::{
    Backend,
    scene::{Scene, failure, name, sent, text},
};

/// Pages of messages, newest first, hold each once.
pub async fn messages_come_in_pages(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let mut ids = Vec::new();
    for n in 0..7 {
        ids.push(scene.stored(scene.publish(&n.to_string(), &["a"])).await);
    }
    ids.sort();
    ids.reverse();
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let filter = MessageFilter::default();
        let page = scene
            .store
            .messages(&filter, before, 3)
            .await
            .expect("messages");
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        seen.extend(page.iter().map(|row| row.id));
    }
    assert_eq!(seen, ids);
}

/// Each filter of a message list keeps what fits and nothing else.
pub async fn messages_are_filtered(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let early = scene.publish("early", &["a", "b"]);
    let received_at = early.message.received_at;
    let early = scene.stored(early).await;
    backend.pass(backend.moment()).await;
    let mut late = scene.publish("later one", &["b"]);
    let mut message = scene.message("later one");
    message.origin = text("orders.in2.web");
    message.message_type = None;
    message.received_at = received_at.plus(backend.moment());
    late.message = std::sync::Arc::new(message.clone());
    late.deliveries[0].birth = Birth::Suspended(failure("broken"));
    let late = scene.stored(late).await;
    let claim = scene.claim("a", 1).await.remove(0).claim;
    scene.done(claim, sent()).await;
    let filter = MessageFilter::default;
    let later = received_at.plus(backend.moment());
    for (what, filter, found) in [
        ("all", filter(), vec![early, late]),
        (
            "location",
            MessageFilter {
                origin: Some(text("orders.in.web")),
                ..filter()
            },
            vec![early],
        ),
        (
            "port",
            MessageFilter {
                origin: Some(text("orders.in")),
                ..filter()
            },
            vec![early],
        ),
        (
            "part of a word",
            MessageFilter {
                origin: Some(text("orders.i")),
                ..filter()
            },
            vec![],
        ),
        (
            "app",
            MessageFilter {
                origin: Some(text("orders")),
                ..filter()
            },
            vec![early, late],
        ),
        (
            "type",
            MessageFilter {
                message_type: Some(text("urn:orders#Order")),
                ..filter()
            },
            vec![early],
        ),
        (
            "since",
            MessageFilter {
                since: Some(later),
                ..filter()
            },
            vec![late],
        ),
        (
            "until",
            MessageFilter {
                until: Some(later),
                ..filter()
            },
            vec![early],
        ),
        (
            "suspended",
            MessageFilter {
                state: Some(DeliveryState::Suspended),
                ..filter()
            },
            vec![late],
        ),
        (
            "ready",
            MessageFilter {
                state: Some(DeliveryState::Ready),
                ..filter()
            },
            vec![early],
        ),
        (
            "live for a",
            MessageFilter {
                port: Some(name("a")),
                ..filter()
            },
            vec![],
        ),
        (
            "live for b",
            MessageFilter {
                port: Some(name("b")),
                ..filter()
            },
            vec![early, late],
        ),
        (
            "both",
            MessageFilter {
                port: Some(name("b")),
                state: Some(DeliveryState::Suspended),
                origin: Some(text("orders.in2")),
                ..filter()
            },
            vec![late],
        ),
    ] {
        let rows = scene
            .store
            .messages(&filter, None, 9)
            .await
            .expect("messages");
        let mut ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        ids.sort();
        let mut found = found;
        found.sort();
        assert_eq!(ids, found, "{what}");
    }
    let rows = scene
        .store
        .messages(&filter(), None, 9)
        .await
        .expect("messages");
    let row = rows.iter().find(|row| row.id == late).expect("listed");
    assert_eq!(
        (row.deliveries, row.live, row.suspended, row.body_len),
        (1, 1, 1, 9)
    );
    assert_eq!(row.message_type, None);
}

/// Live deliveries by state, port, message and doubt, in pages.
pub async fn deliveries_are_filtered_and_paged(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let mut messages = Vec::new();
    for _ in 0..3 {
        let mut publish = scene.publish("x", &["a", "b", "c"]);
        publish.deliveries[1].birth = Birth::Suspended(failure("broken"));
        publish.deliveries[2].birth = Birth::Claimed;
        messages.push(publish.message.id);
        scene.outcome(publish).await;
    }
    messages.sort();
    let all = DeliveryFilter::default;
    for (what, filter, count) in [
        ("all", all(), 9),
        (
            "suspended",
            DeliveryFilter {
                state: Some(DeliveryState::Suspended),
                ..all()
            },
            3,
        ),
        (
            "ready",
            DeliveryFilter {
                state: Some(DeliveryState::Ready),
                ..all()
            },
            3,
        ),
        (
            "claimed",
            DeliveryFilter {
                state: Some(DeliveryState::Claimed),
                ..all()
            },
            3,
        ),
        (
            "held",
            DeliveryFilter {
                state: Some(DeliveryState::Held),
                ..all()
            },
            0,
        ),
        (
            "port",
            DeliveryFilter {
                port: Some(name("b")),
                ..all()
            },
            3,
        ),
        (
            "message",
            DeliveryFilter {
                message: Some(messages[1]),
                ..all()
            },
            3,
        ),
        (
            "in doubt",
            DeliveryFilter {
                in_doubt: Some(true),
                ..all()
            },
            0,
        ),
        (
            "suspended of a message",
            DeliveryFilter {
                state: Some(DeliveryState::Suspended),
                message: Some(messages[2]),
                in_doubt: Some(false),
                ..all()
            },
            1,
        ),
    ] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = scene
                .store
                .deliveries(&filter, after, 2)
                .await
                .expect("deliveries");
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            seen.extend(page.iter().map(|row| row.id));
        }
        assert_eq!(seen.len(), count, "{what}");
        assert!(seen.is_sorted(), "{what}");
    }
    let claimed = DeliveryFilter {
        state: Some(DeliveryState::Claimed),
        ..all()
    };
    let row = scene
        .store
        .deliveries(&claimed, None, 1)
        .await
        .expect("deliveries")
        .remove(0);
    assert_eq!((row.instance, row.port.as_str()), (Some(scene.me), "c"));
}

/// The backlog counts each state of each port, up to its cap.
pub async fn the_backlog_is_counted_to_its_cap(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    for _ in 0..5 {
        let mut publish = scene.publish("x", &["a", "b", "a"]);
        publish.deliveries[1].birth = Birth::Suspended(failure("broken"));
        publish.deliveries[2].birth = Birth::Claimed;
        scene.outcome(publish).await;
    }
    let waiting = scene.claim("a", 1).await.remove(0).claim;
    scene
        .done(waiting, crate::scene::retry(backend.moment() * 100, 1))
        .await;
    for (cap, a, b) in [
        (100, (5, 5, 0, 0), (0, 0, 0, 5)),
        (3, (3, 3, 0, 0), (0, 0, 0, 3)),
    ] {
        let backlog = scene.store.backlog(cap).await.expect("backlog");
        let counts = |port: &str| {
            let row = backlog
                .iter()
                .find(|row| row.port == *port)
                .expect("listed");
            (row.ready, row.claimed, row.held, row.suspended)
        };
        assert_eq!((counts("a"), counts("b")), (a, b), "cap {cap}");
        assert_eq!(backlog.len(), 2);
    }
}

/// What was never stored is not found, without an error.
pub async fn what_is_not_there_is_none(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let id = scene.message("never stored").id;
    assert_eq!(scene.store.load(id).await.expect("load"), None);
    assert_eq!(scene.store.message(id).await.expect("message"), None);
    assert_eq!(scene.store.backlog(9).await.expect("backlog"), []);
}
