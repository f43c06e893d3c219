//! P2: the same dedupe key inside its window is one message, and the repeat gets the first answer.

use std::time::Duration;

use quayside_harness::{Reply, client, effects, items, order_xml, pass_through, wait_for};
use quayside_tests::{Site, Store, post};
use serde_json::{Value, json};
use tokio::task::JoinSet;

async fn on_both(test: impl AsyncFn(Site)) {
    for store in [Store::Sqlite, Store::Postgres] {
        test(Site::start(store).await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_gets_the_first_answer_and_no_second_effect() {
    on_both(async |mut site| {
        let first = site.order("once").await;
        assert_eq!(first.status, 202, "{}", first.text());
        assert_eq!(first.header("idempotency-replayed"), "");
        let second = site.order("once").await;
        assert_eq!(second.status, 202);
        assert_eq!(second.header("idempotency-replayed"), "true");
        assert_eq!(second.json()["id"], first.json()["id"]);
        assert_eq!(second.header("location"), first.header("location"));

        // The key outlives the process.
        site.gateways[0].kill9();
        site.restart(0).await;
        let third = site.order("once").await;
        assert_eq!(
            (third.status.as_u16(), &third.json()["id"]),
            (202, &first.json()["id"])
        );

        assert_eq!(site.order("last").await.status, 202);
        site.partner
            .wait_for_ids(&["once", "last"], Duration::from_secs(20))
            .await;
        site.gateway().drained(Duration::from_secs(20)).await;
        let effects = effects(&site.partner.log().await);
        assert_eq!(
            (effects["once"].effects, effects["once"].keys.len()),
            (1, 1)
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_at_the_same_moment_are_one_message() {
    on_both(async |site| {
        for round in 0..10 {
            let id = format!("race-{round}");
            let mut clients = JoinSet::new();
            for _ in 0..16 {
                let (addr, id) = (site.gateway().http, id.clone());
                clients.spawn(async move { post(addr, &id, order_xml(&id, "k", 300)).await });
            }
            let mut ids = std::collections::BTreeSet::new();
            let mut firsts = 0;
            while let Some(reply) = clients.join_next().await {
                let reply = reply.expect("a client").expect("an answer");
                // Still being uploaded by another: the only refusal that is allowed.
                if reply.status == 409 {
                    continue;
                }
                assert_eq!(reply.status, 202, "{}", reply.text());
                firsts += usize::from(reply.header("idempotency-replayed").is_empty());
                ids.insert(reply.json()["id"].to_string());
            }
            assert_eq!(
                (ids.len(), firsts),
                (1, 1),
                "one message and one first answer: {ids:?}"
            );
        }
        site.gateway().drained(Duration::from_secs(20)).await;
        let effects = effects(&site.partner.log().await);
        assert_eq!(effects.len(), 10);
        assert!(effects.values().all(|e| e.effects == 1), "{effects:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_for_another_content_is_refused() {
    on_both(async |site| {
        let addr = site.gateway().http;
        assert_eq!(site.order("mine").await.status, 202);
        let other = post(addr, "mine", order_xml("other", "k", 300))
            .await
            .expect("an answer");
        assert_eq!(
            (other.status.as_u16(), other.code().as_str()),
            (422, "QS0802")
        );
        assert_eq!(other.header("content-type"), "application/problem+json");
        site.gateway().drained(Duration::from_secs(20)).await;
        assert!(!effects(&site.partner.log().await).contains_key("other"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_gets_the_first_answer() {
    for store in [Store::Sqlite, Store::Postgres] {
        let app = |partner| {
            let text = pass_through(partner, "answers = true", "");
            let port = "message = \"order\"";
            text.replacen(port, &format!("{port}\nanswer_within = \"1s\""), 1)
        };
        let site = Site::new(store, 1, &app, &[]).await;
        let (addr, partner) = (site.gateway().http, site.partner.addr());
        let answer_with = async |text: &'static str| {
            let headers = [("content-type", "text/plain")];
            let path = "/_control/reply?status=200";
            let put = client::request("PUT", partner, path, &headers, text.into());
            let told = client::once(partner, put, Duration::from_secs(10)).await;
            assert!(told.expect("an answer").status.is_success());
        };
        let ask = async |id: &str| {
            let reply = post(addr, id, order_xml(id, "k", 300)).await;
            reply.expect("an answer")
        };

        answer_with("one").await;
        let first = ask("a").await;
        assert_eq!((first.status.as_u16(), &*first.text()), (200, "one"));
        assert_eq!(first.header("content-type"), "text/plain");
        assert_eq!(first.header("idempotency-replayed"), "");
        answer_with("two").await;
        let again = ask("a").await;
        assert_eq!((again.status.as_u16(), &*again.text()), (200, "one"));
        assert_eq!(again.header("idempotency-replayed"), "true");

        // Nobody answers in time; the request goes on, and its repeat brings the answer home.
        site.partner.process.pause().await;
        let late = ask("b").await;
        assert_eq!(
            (late.status.as_u16(), &*late.code()),
            (504, "QS0805"),
            "{store:?}: {}",
            late.text()
        );
        site.partner.process.resume();
        wait_for("the late answer", Duration::from_secs(20), async || {
            let reply = ask("b").await;
            if reply.status == 200 {
                assert_eq!(reply.text(), "two");
                Ok(())
            } else {
                Err(reply.text())
            }
        })
        .await;
        let effects = site.partner.log().await.iter().filter(|s| s.effect).count();
        assert_eq!(effects, 2, "{store:?}: each request was done once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_nobody_can_answer_is_told_so() {
    for store in [Store::Sqlite, Store::Postgres] {
        let app = |partner| {
            let text = pass_through(partner, "answers = true", "");
            let port = "message = \"order\"";
            text.replacen(port, &format!("{port}\nanswer_within = \"15s\""), 1)
        };
        let site = Site::new(store, 1, &app, &[]).await;
        let fault = json!({ "kind": "status", "status": 422 });
        site.partner.fault(&fault).await;
        let first = site.order("a").await;
        let text = first.text();
        let said = (first.status.as_u16(), &*first.code());
        assert_eq!(said, (502, "QS0820"), "{store:?}: {text}");
        assert!(text.contains("QS0454"), "it names the failure: {text}");
        let place = site.partner.addr().to_string();
        assert!(
            !text.contains(&place) && !text.contains("422"),
            "and nothing within: {text}"
        );
        // A repeat is told the same, and asks nobody again.
        let again = site.order("a").await;
        assert_eq!(again.status, 502, "{store:?}: {}", again.text());
        assert_eq!(site.partner.log().await.len(), 1, "{store:?}");

        // No answer was given yet: the delivery still may bring it.
        site.partner.heal().await;
        let suspended = site.gateway().api("deliveries?state=suspended").await;
        let delivery = items(&suspended.expect("a list"))[0]["id"].clone();
        let ids = json!({ "ids": [delivery] });
        let resumed = site.gateway().post("deliveries/resume", &ids).await;
        assert_eq!(
            resumed.expect("an answer")["outcomes"][0]["outcome"],
            "done"
        );
        wait_for("the answer", Duration::from_secs(20), async || {
            let reply = site.order("a").await;
            match (reply.status.as_u16(), reply.header("idempotency-replayed")) {
                (200, "true") => Ok(()),
                _ => Err(reply.text()),
            }
        })
        .await;
        let effects = effects(&site.partner.log().await);
        assert_eq!(effects["a"].effects, 1, "{store:?}");

        // What an operator has ended cannot be answered any more, and its sender is not told to hope.
        site.partner.fault(&fault).await;
        assert_eq!(site.order("b").await.status, 502, "{store:?}");
        let suspended = site.gateway().api("deliveries?state=suspended").await;
        let delivery = items(&suspended.expect("a list"))[0]["id"].clone();
        let ids = json!({ "ids": [delivery] });
        let ended = site.gateway().post("deliveries/terminate", &ids).await;
        assert_eq!(ended.expect("an answer")["outcomes"][0]["outcome"], "done");
        let over = site.order("b").await;
        let text = over.text();
        let said = (over.status.as_u16(), &*over.code());
        assert_eq!(said, (502, "QS0820"), "{store:?}: {text}");
        assert!(
            text.contains("has ended without an answer") && !text.contains("operator acts"),
            "{store:?}: {text}"
        );
    }
}

/// A request of events: a batch, or one alone.
async fn send_events(site: &Site, key: &str, events: Value) -> Reply {
    let kind = match events {
        Value::Array(_) => "application/cloudevents-batch+json",
        _ => "application/cloudevents+json",
    };
    let headers = [("content-type", kind), ("idempotency-key", key)];
    let (addr, body) = (site.gateway().http, events.to_string().into());
    let request = client::request("POST", addr, "/in/orders", &headers, body);
    let reply = client::once(addr, request, Duration::from_secs(20)).await;
    reply.expect("an answer")
}

/// An event that carries an order.
fn event(id: &str) -> Value {
    let order = order_xml(id, "k", 300);
    json!({
        "specversion": "1.0", "id": id, "source": "/shop", "type": "order",
        "datacontenttype": "application/xml", "data": String::from_utf8_lossy(&order),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_batch_stands_for_the_whole_request() {
    for store in [Store::Sqlite, Store::Postgres] {
        let app = |partner| {
            let text = pass_through(partner, "", "");
            let path = "path = \"/in/orders\"";
            text.replace(path, &format!("{path}\ncloudevents = \"accept\""))
        };
        let site = Site::new(store, 1, &app, &[]).await;
        let (a, b, c) = (event("a"), event("b"), event("c"));
        let batch = json!([a, b]);
        let first = send_events(&site, "k", batch.clone()).await;
        assert_eq!(first.status, 202, "{store:?}: {}", first.text());
        let again = send_events(&site, "k", batch).await;
        assert_eq!(
            (again.status.as_u16(), again.json()["ids"].clone()),
            (202, first.json()["ids"].clone()),
            "{store:?}: {}",
            again.text()
        );
        assert_eq!(again.header("idempotency-replayed"), "true");

        let mut typed = a.clone();
        typed["type"] = json!("another");
        for other in [
            json!([a]),
            json!([b]),
            json!([a, b, c]),
            json!([b, a]),
            json!([typed, b]),
            a.clone(),
        ] {
            let refused = send_events(&site, "k", other.clone()).await;
            let text = refused.text();
            let said = (refused.status.as_u16(), &*refused.code());
            assert_eq!(said, (422, "QS0802"), "{store:?}: {other}: {text}");
            assert_eq!(
                refused.json().get("index"),
                None,
                "no event is to blame: {text}"
            );
        }
        // An event alone is its request, too.
        assert_eq!(send_events(&site, "l", a.clone()).await.status, 202);
        for other in [typed, json!([a])] {
            let refused = send_events(&site, "l", other).await;
            assert_eq!(refused.status, 422, "{store:?}: {}", refused.text());
        }
        let messages = site.gateway().api("messages").await.expect("a list");
        assert_eq!(items(&messages).len(), 3, "{store:?}: {messages}");
    }
}
