//! P4: each delivery ends exactly once, and the way of every message can be told.

use std::{net::SocketAddr, time::Duration};

use quayside_harness::{effects, order_xml, pass_through, wait_for};
use quayside_tests::{Site, Store, post};
use serde_json::{Value, json};

/// The application with few attempts and a backup that has a path of its own.
fn with_backup(partner: SocketAddr) -> String {
    let retry = "{ attempts = 2, first = \"20ms\", factor = 1.0, max = \"20ms\" }";
    let text = few_attempts(partner);
    format!(
        "{text}\n[send.out.backup]\nretry = {retry}\n\
         [send.out.backup.http]\nurl = \"http://{partner}/backup\"\n"
    )
}

fn few_attempts(partner: SocketAddr) -> String {
    let many = "attempts = 1000, first = \"50ms\", factor = 1.5, max = \"1s\"";
    let few = "attempts = 2, first = \"20ms\", factor = 1.0, max = \"20ms\"";
    let text = pass_through(partner, "", "");
    assert!(text.contains(many), "the schedule to be replaced is there");
    text.replace(many, few)
}

/// Sends one order and waits until `done` holds for its way.
async fn way_of(site: &Site, id: &str, done: impl Fn(&Value) -> bool) -> Value {
    let reply = site.order(id).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    let message = reply.json()["id"].as_str().expect("an id").to_owned();
    until(site, &message, done).await
}

async fn until(site: &Site, message: &str, done: impl Fn(&Value) -> bool) -> Value {
    wait_for(
        "the end of the message's way",
        Duration::from_secs(20),
        async || {
            let way = site.gateway().way(message).await?;
            if done(&way) {
                Ok(way)
            } else {
                Err(way.to_string())
            }
        },
    )
    .await
}

fn events(way: &Value) -> Vec<&str> {
    let history = way["history"].as_array().map_or(&[][..], Vec::as_slice);
    history
        .iter()
        .filter_map(|row| row["event"].as_str())
        .collect()
}

fn ended(way: &Value) -> bool {
    way["live"] == 0
}

fn suspended(way: &Value) -> bool {
    way["live_deliveries"][0]["state"] == "suspended"
}

#[tokio::test(flavor = "multi_thread")]
async fn sent_by_the_primary_or_by_the_backup() {
    for store in [Store::Sqlite, Store::Postgres] {
        let site = Site::new(store, 1, &with_backup, &[]).await;
        let way = way_of(&site, "plain", ended).await;
        assert_eq!(events(&way), ["sent"], "{way}");

        let fault = json!({ "kind": "status", "status": 503, "path": "/orders" });
        site.partner.fault(&fault).await;
        let way = way_of(&site, "detour", ended).await;
        let told = ["attempt-failed", "failed-over", "sent-by-backup"];
        assert_eq!(events(&way), told, "{way}");
        let log = site.partner.log().await;
        let paths: Vec<_> = log
            .iter()
            .filter(|s| s.id == "detour")
            .map(|s| &s.path)
            .collect();
        assert_eq!(paths, ["/orders", "/orders", "/backup"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_with_a_reason_then_resumed_or_terminated() {
    for store in [Store::Sqlite, Store::Postgres] {
        let site = Site::new(store, 1, &few_attempts, &[]).await;
        let fault = json!({ "kind": "status", "status": 503 });
        site.partner.fault(&fault).await;
        let resumed = way_of(&site, "resumed", suspended).await;
        let terminated = way_of(&site, "terminated", suspended).await;
        for way in [&resumed, &terminated] {
            let delivery = &way["live_deliveries"][0];
            let code = delivery["failure"]["code"].as_str().unwrap_or("");
            assert!(code.starts_with("QS"), "a reason to act on: {way}");
            assert!(
                !delivery["failure"]["detail"]
                    .as_str()
                    .unwrap_or("")
                    .is_empty(),
                "{way}"
            );
            assert_eq!(delivery["attempts"], 2, "{way}");
        }

        site.partner.heal().await;
        for (verb, way, event) in [
            ("resume", &resumed, "sent"),
            ("terminate", &terminated, "terminated"),
        ] {
            let delivery = way["live_deliveries"][0]["id"].clone();
            let path = format!("deliveries/{verb}");
            let done = site
                .gateway()
                .post(&path, &json!({ "ids": [delivery] }))
                .await;
            assert_eq!(done.expect("an answer")["outcomes"][0]["outcome"], "done");
            let id = way["id"].as_str().expect("an id");
            let way = until(&site, id, ended).await;
            assert!(events(&way).contains(&event), "{way}");
        }
        let effects = effects(&site.partner.log().await);
        assert_eq!(effects["resumed"].effects, 1);
        assert_eq!(effects["terminated"].effects, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_the_partner_refuses_stops_at_once_and_harms_no_other() {
    for store in [Store::Sqlite, Store::Postgres] {
        let site = Site::start(store).await;
        site.partner
            .fault(&json!({ "kind": "status", "status": 422, "next": 1 }))
            .await;
        let way = way_of(&site, "refused", suspended).await;
        assert_eq!(
            way["live_deliveries"][0]["attempts"], 1,
            "no repeat helps: {way}"
        );
        assert_eq!(
            way["live_deliveries"][0]["failure"]["class"], "give-up",
            "{way}"
        );
        let addr = site.gateway().http;
        let next = post(addr, "next", order_xml("next", "k", 300))
            .await
            .expect("an answer");
        assert_eq!(next.status, 202);
        site.partner
            .wait_for_ids(&["next"], Duration::from_secs(20))
            .await;
    }
}
