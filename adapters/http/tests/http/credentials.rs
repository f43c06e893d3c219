//! Who gets in by Basic and Bearer.

use serde_json::json;

use crate::{
    gateway::{Gateway, Verdict},
    receive::client,
};

#[tokio::test]
async fn only_known_senders_get_in() {
    let mut gateway = Gateway::start().await;
    let basic = json!({ "basic": { "erp": { "secret": "erp-password" } } });
    let bearer = json!({ "bearer": { "shop": { "secret": "shop-token" } } });
    gateway
        .location(json!({ "path": "/basic", "auth": basic }), |_| {
            Verdict::Accept
        })
        .await;
    gateway
        .location(json!({ "path": "/bearer", "auth": bearer }), |_| {
            Verdict::Accept
        })
        .await;
    let post = |path| {
        client()
            .post(gateway.url(path))
            .body("x")
            .header("idempotency-key", "k")
    };
    for (request, status) in [
        (
            post("/basic").basic_auth("erp", Some("the erp-password")),
            202,
        ),
        (
            post("/basic").basic_auth("erp", Some("the erp-passwore")),
            401,
        ),
        (
            post("/basic").basic_auth("erp2", Some("the erp-password")),
            401,
        ),
        (post("/basic").bearer_auth("the erp-password"), 401),
        (post("/basic"), 401),
        (post("/bearer").bearer_auth("the shop-token"), 202),
        (post("/bearer").bearer_auth("the shop"), 401),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(
            response.headers().contains_key("www-authenticate"),
            status == 401
        );
    }
    let seen = gateway.seen.lock().unwrap();
    let names: Vec<_> = seen
        .iter()
        .map(|seen| seen.promoted("http.client").unwrap())
        .collect();
    assert_eq!(names, ["erp", "shop"]);
    assert_eq!(seen[0].key.as_ref().unwrap().scope.as_str(), "erp");
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_no_open_door() {
    let mut gateway = Gateway::start().await;
    let auth = json!({ "bearer": { "shop": { "secret": "missing" } } });
    gateway
        .location(json!({ "path": "/in", "auth": auth }), |_| Verdict::Accept)
        .await;
    let request = client()
        .post(gateway.url("/in"))
        .body("x")
        .bearer_auth("the missing");
    assert_eq!(request.send().await.unwrap().status(), 503);
}
