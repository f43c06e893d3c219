//! Requests and their one answer.

use std::time::Duration;

use bytes::Bytes;
use quayside_store::{
    Change, PublishOutcome,
    browse::ArrivedAnswer,
    commit::{Answer, NewExchange},
    model::{Content, EndResult, ExchangeId, Part},
};

use crate::{
    Backend,
    scene::{Scene, name, text},
};

fn answered(exchange: ExchangeId, body: &str) -> Change {
    let answer = Answer {
        exchange,
        status: 201,
        body: Part {
            name: name("body"),
            content_type: Some(text("application/xml")),
            content: Content::Inline(Bytes::copy_from_slice(body.as_bytes())),
        },
    };
    Change::End {
        result: EndResult::Consumed,
        attempts: 1,
        detail: text("201"),
        answer: Some(Box::new(answer)),
    }
}

/// The answer comes with the end of the delivery; the first one counts; other requests have none.
pub async fn the_first_answer_counts(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let exchange = ExchangeId::from_bytes(scene.random());
    let mut request = scene.publish("request", &["a", "b"]);
    request.exchange = Some(NewExchange {
        id: exchange,
        keep: Duration::from_secs(600),
        run: None,
        lease: None,
    });
    assert_eq!(
        scene.outcome(request).await,
        PublishOutcome::Stored { claimed: vec![] }
    );
    let asked = [exchange, ExchangeId::from_bytes(scene.random())];
    assert_eq!(scene.store.answers(&asked).await.expect("answers"), []);
    for (port, body) in [("a", "first"), ("b", "second")] {
        let claimed = scene.claim(port, 1).await.remove(0);
        assert_eq!(claimed.exchange, Some(exchange));
        scene.done(claimed.claim, answered(exchange, body)).await;
        let answer = ArrivedAnswer {
            exchange,
            status: 201,
            content_type: Some(text("application/xml")),
            body: Bytes::from_static(b"first"),
        };
        assert_eq!(
            scene.store.answers(&asked).await.expect("answers"),
            [answer]
        );
    }
}

/// A request is forgotten after its time, answered or not.
pub async fn a_request_is_kept_for_its_time(backend: &dyn Backend) {
    let scene = Scene::open(backend).await;
    let exchange = ExchangeId::from_bytes(scene.random());
    let mut request = scene.publish("request", &["a"]);
    request.exchange = Some(NewExchange {
        id: exchange,
        keep: backend.moment(),
        run: None,
        lease: None,
    });
    scene.stored(request).await;
    let claim = scene.claim("a", 1).await.remove(0).claim;
    scene.done(claim, answered(exchange, "answer")).await;
    let answers = async || {
        let kept = scene.store.answers(&[exchange]).await;
        kept.expect("answers").len()
    };
    assert_eq!(answers().await, 1);
    backend.pass(backend.moment() * 2).await;
    crate::maintain::sweep_all(&scene, &quayside_store::maintain::Retention::default()).await;
    assert_eq!(answers().await, 0);
}
