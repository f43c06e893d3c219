//! The application `fixtures/apps/queues` as a whole: its queues declared, then queue to queue in the order of each
//! customer, HTTP to queue and queue to HTTP, looked at with `quayside queue`.

use std::fs;

use quayside_harness::{Node, Partner, RabbitMq, client, wait_for};
use quayside_tests::broker::{
    PATIENCE, consume, fixture, judge, original, queue, wait_for_waiting,
};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn the_application_of_the_fixture_runs_whole() {
    let server = RabbitMq::start_with(&["rabbitmq_management"]).await;
    let partner = Partner::start().await;
    let app = fixture(&server, Some(&partner));
    let dir = app.path().to_str().expect("a path");
    let made = queue(&["declare", dir]).await;
    assert_eq!(made.code, 0, "{made:?}");
    let gateway = Node::new("node-a", app.path()).start().await;

    let order = |no: u64, customer: &str| {
        json!({
            "body": format!(
                "<Order xmlns=\"urn:orders\"><Id>{no}</Id><Customer id=\"{customer}\"/></Order>"
            ),
            "properties": { "message_id": format!("order-{no}") },
        })
    };
    let mut orders: Vec<Value> = (0..20)
        .map(|no| order(no, ["a", "b"][(no % 2) as usize]))
        .collect();
    orders.insert(
        10,
        json!({ "body": "no order", "properties": { "message_id": "bad" } }),
    );
    judge(
        &server,
        json!({ "do": "put", "queue": "shop.orders", "messages": orders }),
    )
    .await;
    let returned = json!([{ "body": "<r/>", "properties": { "message_id": "return-1" } }]);
    judge(
        &server,
        json!({ "do": "put", "queue": "shop.returns", "messages": returned }),
    )
    .await;
    let payment = fs::read(original().join("samples/payment.json")).expect("the sample");
    let headers = [
        ("idempotency-key", "p-1"),
        ("content-type", "application/json"),
    ];
    let request = client::request(
        "POST",
        gateway.http,
        "/in/payments",
        &headers,
        payment.into(),
    );
    let answer = client::once(gateway.http, request, PATIENCE).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status.as_u16(), 202, "{}", answer.text());

    wait_for_waiting(&server, "erp.orders", 20).await;
    wait_for_waiting(&server, "bank.payments", 1).await;
    wait_for_waiting(&server, "shop.orders.poison", 1).await;
    wait_for("the return to reach the partner", PATIENCE, async || {
        let log = partner.log().await;
        let paths: Vec<&str> = log.iter().map(|seen| seen.path.as_str()).collect();
        if paths == ["/returns"] {
            Ok(())
        } else {
            Err(format!("{paths:?}"))
        }
    })
    .await;

    let management = server.management();
    let list = wait_for("the figures of the management API", PATIENCE, async || {
        let list = queue(&[
            "list",
            "--app",
            dir,
            "--management",
            &management,
            "-o",
            "json",
        ])
        .await;
        let found = list.json()["queues"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let counted = found
            .iter()
            .all(|queue| queue["ready"].is_u64() && queue["unacked"].is_u64());
        let consumed = found
            .iter()
            .any(|q| q["queue"] == "shop.orders" && q["consumers"] == 1);
        if counted && consumed {
            Ok(found)
        } else {
            Err(format!("{list:?}"))
        }
    })
    .await;
    let erp = list
        .iter()
        .find(|queue| queue["queue"] == "erp.orders")
        .expect("the queue");
    assert_eq!(erp["roles"], json!(["filled by queues.erp"]), "{erp}");

    let bad = queue(&["peek", "shop.orders.poison", "--app", dir]).await;
    assert_eq!(bad.code, 0, "{bad:?}");
    assert!(
        bad.out.contains("shop.orders") && bad.out.contains("QS0"),
        "{bad:?}"
    );
    // It is no better than before and comes back; what is returned is not returned again in the same run.
    let back = queue(&["return", "shop.orders.poison", "--app", dir]).await;
    assert_eq!(
        back.out, "Returned 1 message to `shop.orders`.\n",
        "{back:?}"
    );
    wait_for_waiting(&server, "shop.orders.poison", 1).await;

    let came = consume(&server, "erp.orders", false).await;
    let bodies: Vec<&str> = came
        .iter()
        .filter_map(|message| message["body"].as_str())
        .collect();
    for customer in ["a", "b"] {
        let of: Vec<u64> = bodies
            .iter()
            .filter(|body| body.contains(&format!("id=\"{customer}\"")))
            .map(|body| {
                let id = body
                    .split("<Id>")
                    .nth(1)
                    .and_then(|rest| rest.split('<').next());
                id.and_then(|id| id.parse().ok()).expect("a number")
            })
            .collect();
        assert_eq!(of.len(), 10, "{bodies:?}");
        assert!(of.is_sorted(), "{customer}: {of:?}");
    }
    let paid = consume(&server, "bank.payments", false).await;
    assert!(
        paid[0]["body"].as_str().expect("a body").contains("P-1"),
        "{paid:?}"
    );
}
