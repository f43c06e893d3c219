//! What the adapter says about a block without opening it.

use std::sync::Arc;

use quayside_adapter_api::Adapter as _;
use quayside_adapter_api::{SendTerms, Terms};
use quayside_adapter_http::{HttpAdapter, HttpOptions, Readiness};
use serde_json::json;

use crate::gateway::Safe;

#[tokio::test]
async fn templates_are_named_for_the_engine() {
    let adapter = HttpAdapter::new(HttpOptions::plain(
        "127.0.0.1:0",
        Arc::new(|| Readiness { ready: true }),
        Arc::new(Safe),
    ));
    let block = json!({
        "url": "http://a/{X}/b-{Y}",
        "headers": { "x-a": "{X}", "x-b": "fixed" },
    });
    let templates: Vec<_> = adapter.templates(&block).into_iter().collect();
    let want = [("headers.x-a", "{X}"), ("url.0", "{X}"), ("url.1", "{Y}")];
    assert_eq!(
        templates,
        want.map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
}

#[tokio::test]
async fn faults_are_found_without_a_network() {
    let adapter = HttpAdapter::new(HttpOptions::plain(
        "127.0.0.1:0",
        Arc::new(|| Readiness { ready: true }),
        Arc::new(Safe),
    ));
    for (block, path, code) in [
        (json!({ "url": "http://u:p@a/" }), "url", "QS0442"),
        (json!({ "url": "http://a/?api_key=1234" }), "url", "QS0442"),
        (json!({ "url": "http://{Host}/" }), "url", "QS0441"),
        (
            json!({ "url": "http://a/", "method": "BREW" }),
            "method",
            "QS0444",
        ),
        (
            json!({ "url": "http://a/", "timeout": "5" }),
            "timeout",
            "QS0302",
        ),
        (
            json!({ "url": "http://a/", "timeout": "0s" }),
            "timeout",
            "QS0445",
        ),
        (
            json!({ "url": "http://a/", "max_redirects": 11 }),
            "max_redirects",
            "QS0445",
        ),
        (
            json!({ "url": "http://a/", "headers": { "Host": "b" } }),
            "headers.Host",
            "QS0443",
        ),
        (
            json!({ "url": "http://a/", "headers": { "x-api-key": "1" } }),
            "headers.x-api-key",
            "QS0442",
        ),
        (
            json!({ "url": "http://a/", "auth": { "bearer": "literal" } }),
            "auth.bearer",
            "QS0302",
        ),
        (json!({ "url": "http://a/", "ulr": "x" }), "ulr", "QS0301"),
        (json!({}), "", "QS0303"),
    ] {
        let faults = adapter.check_send(&block, &SendTerms::default());
        let found: Vec<_> = faults
            .iter()
            .map(|f| (f.path.join("."), f.code.code))
            .collect();
        assert_eq!(found, [(path.to_owned(), code)], "{block}");
    }
    for (block, path, code) in [
        (json!({ "path": "in" }), "path", "QS0440"),
        (json!({ "path": "/in?x" }), "path", "QS0440"),
        (json!({ "path": "/in/../x" }), "path", "QS0440"),
        (json!({ "path": "/readyz" }), "path", "QS0440"),
        (
            json!({ "path": "/in", "methods": ["post"] }),
            "methods.0",
            "QS0444",
        ),
        (
            json!({ "path": "/in", "auth": { "basic": { "a:b": { "secret": "c" } } } }),
            "auth.basic.a:b",
            "QS0445",
        ),
        (
            json!({ "path": "/in", "max_in_flight": 0 }),
            "max_in_flight",
            "QS0445",
        ),
        (
            json!({ "path": "/in", "max_body": 5 }),
            "max_body",
            "QS0302",
        ),
        (
            json!({ "path": "/in", "auth": { "basic": { "a": "b" } } }),
            "auth.basic.a",
            "QS0302",
        ),
    ] {
        let faults = adapter.check_receive(&block, &Terms::default());
        let found: Vec<_> = faults
            .iter()
            .map(|f| (f.path.join("."), f.code.code))
            .collect();
        assert_eq!(found, [(path.to_owned(), code)], "{block}");
    }
}
