//! What a sender learns of a message that it has sent.

use std::sync::atomic::Ordering;

use quayside_adapter_http::error;
use serde_json::json;

use crate::{
    gateway::{Gateway, ID, OTHER, Verdict, problem},
    receive::client,
};

#[tokio::test]
async fn the_place_of_a_receipt_says_where_the_message_stands() {
    let mut gateway = Gateway::start().await;
    gateway
        .location(json!({ "path": "/in" }), |_| Verdict::Accept)
        .await;
    let receipt = client().post(gateway.url("/in")).body("x").send();
    let place = receipt.await.unwrap().headers()["location"].clone();
    let place = gateway.url(place.to_str().unwrap());
    let answer = client().get(&place).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert_eq!(
        answer.text().await.unwrap(),
        format!("{{\"id\":\"{ID}\",\"status\":\"accepted\"}}")
    );
    let head = client().head(&place).send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(head.text().await.unwrap(), "");

    for path in [format!("/messages/{OTHER}"), "/messages/1".to_owned()] {
        let unknown = client().get(gateway.url(&path)).send().await.unwrap();
        assert_eq!(unknown.status(), 404, "{path}");
    }
    gateway.ready.store(false, Ordering::SeqCst);
    let away = client().get(&place).send().await.unwrap();
    assert_eq!(away.status(), 503);
    assert!(away.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn only_who_may_send_to_its_location_may_ask() {
    let mut gateway = Gateway::start().await;
    let auth = json!({ "bearer": { "shop": { "secret": "shop-token" } } });
    let block = json!({ "path": "/in", "auth": auth });
    gateway.location(block, |_| Verdict::Accept).await;
    // Open to everybody, but the message did not come in here.
    let _open = gateway
        .open_as("app.port.other", json!({ "path": "/open" }))
        .await
        .unwrap();
    let get = || client().get(gateway.url(&format!("/messages/{ID}")));
    for (request, status) in [
        (get().bearer_auth("the shop-token"), 200),
        (get().bearer_auth("another"), 404),
        (get(), 404),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status);
        if status == 404 {
            assert_eq!(problem(response).await["code"], error::NO_MESSAGE.code);
        }
    }
}
