//! Deliveries in doubt, through the verbs of a real node on a real PostgreSQL. The test is the owner that dies.

use quayside_store::{
    Browse as _, Claims as _, Sessions as _, Want,
    model::{DeliveryId, InstanceId},
};
use serde_json::{Value, json};

use crate::{
    api::Calls,
    cluster::{Site, name, refused},
    dev::text,
};

const PORT: &str = "orders.archive";

/// Has a node that dies send what waits for the port, and gives the ids of its deliveries.
fn dies(site: &Site, count: usize) -> Vec<String> {
    for _ in 0..count {
        site.dev.json(&["send", "orders.orders.web", "order.xml"]);
    }
    let dead = site.node("node-b");
    let want = Want {
        port: name(PORT),
        room: 9,
        ordered: false,
        marks: false,
        deaths: quayside_store::Deaths::Any,
    };
    let claimed = site.runtime.block_on(async {
        let claimed = site.store.claim(dead.instance, &[want]).await;
        let claimed = claimed.expect("claimed");
        let end = site.store.end_instance(dead.instance).await;
        end.expect("it dies");
        claimed
    });
    assert_eq!(claimed.len(), count);
    // The node gives back what the dead have held, as does the test: whoever is first.
    let released = site.runtime.block_on(site.store.release_dead(9));
    released.expect("released");
    let ids: Vec<DeliveryId> = claimed
        .iter()
        .map(|claimed| claimed.claim.delivery)
        .collect();
    site.dev.wait_for("doubts", |_| {
        let doubts = site.runtime.block_on(site.store.doubts(None, None, 99));
        let doubts = doubts.expect("a list");
        let listed = |id: &DeliveryId| doubts.iter().any(|row| row.delivery.id == *id);
        let by = |id: Option<InstanceId>| id == Some(dead.instance);
        let known = doubts.iter().any(|row| {
            let owner = row.owner.as_ref();
            owner.is_some_and(|owner| by(owner.instance))
        });
        (ids.iter().all(listed) && known).then_some(())
    });
    let mut ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    ids.sort();
    ids
}

fn history(site: &Site, id: &str) -> Value {
    let way = site.dev.json(&["messages", "show", id]);
    let events = way["history"].as_array().expect("a history");
    events.last().expect("an event").clone()
}

#[test]
fn an_operator_decides_about_what_may_have_been_sent() {
    let site = Site::start();
    site.dev.json(&["ports", "stop", PORT]);
    let none = text(&site.dev.run(&["cluster", "in-doubt"]));
    assert_eq!(none, "No delivery is in doubt.\n");
    let ids = dies(&site, 4);

    let told = site.dev.json(&["cluster", "in-doubt"]);
    let rows = told["deliveries"].as_array().expect("a list");
    assert_eq!(rows.len(), 4, "{told:#}");
    for (row, id) in rows.iter().zip(&ids) {
        for (key, value) in [
            ("id", json!(id)),
            ("port", json!(PORT)),
            ("host", json!("edge")),
            ("order_key", json!(null)),
            ("state", json!("ready")),
            ("node", json!("node-b")),
            ("policy", json!("resend")),
            ("then", json!("sent again when it is due")),
        ] {
            assert_eq!(row[key], value, "{key}: {row:#}");
        }
        assert!(
            row["partner"]
                .as_str()
                .is_some_and(|at| at.ends_with("archive")),
            "{row:#}"
        );
        assert!(
            row["begun_at"].as_str() <= row["released_at"].as_str(),
            "{row:#}"
        );
        assert!(
            row["begun_at"].is_string() && row["instance"].is_string(),
            "{row:#}"
        );
    }
    let of_edge = text(&site.dev.run(&["cluster", "in-doubt", "edge"]));
    for part in [
        ids[0].as_str(),
        "node-b",
        "quayside cluster in-doubt done ID.NO",
    ] {
        assert!(of_edge.contains(part), "`{part}` is missing:\n{of_edge}");
    }
    let of_another = text(&site.dev.run(&["cluster", "in-doubt", "list", "queues"]));
    assert_eq!(of_another, "No delivery is in doubt.\n");
    refused(
        &site,
        &["cluster", "in-doubt", "edg"],
        3,
        "QS0704",
        "did you mean",
    );
    let page = site
        .dev
        .json(&["cluster", "in-doubt", "--limit", "1", "--after", &ids[0]]);
    assert_eq!(
        (&page["deliveries"][0]["id"], &page["next"]),
        (&json!(ids[1]), &json!(ids[1]))
    );

    let decide = |verb: &str, id: &str| {
        let args = ["cluster", "in-doubt", verb, id, "--reason", "we asked"];
        site.dev.json(&args)["outcomes"][0]["outcome"].clone()
    };
    assert_eq!(decide("done", &ids[0]), "done");
    let event = history(&site, &ids[0]);
    let told = (&event["event"], &event["detail"]);
    let word = "the partner has it (in doubt), by tester: we asked";
    assert_eq!(told, (&json!("sent"), &json!(word)));
    // The message stands for its deliveries in doubt.
    let (message, _) = ids[1].split_once('.').expect("a number");
    assert_eq!(decide("skip", message), "done");
    let event = history(&site, &ids[1]);
    let word = "not to be sent (in doubt), by tester: we asked";
    assert_eq!(
        (&event["event"], &event["detail"]),
        (&json!("terminated"), &json!(word))
    );
    assert_eq!(
        decide("resend", &ids[2]),
        "unchanged",
        "it is sent again anyway"
    );

    let again = ["cluster", "in-doubt", "done", &ids[0]];
    refused(&site, &again, 3, "QS0704", "no such delivery in doubt");
    refused(
        &site,
        &["cluster", "in-doubt", "skip", message],
        3,
        "QS0704",
        "no delivery in doubt",
    );
    let sure = site.dev.json(&["send", "orders.orders.web", "order.xml"]);
    let sure = format!("{}.0", sure["id"].as_str().expect("an id"));
    let output = site.dev.run(&["cluster", "in-doubt", "skip", &sure]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(text(&output).contains("not in doubt"), "{}", text(&output));
    refused(
        &site,
        &["cluster", "in-doubt", "done", &ids[2], &sure],
        1,
        "QS0718",
        "1 of 2",
    );

    let all = ["cluster", "in-doubt", "skip", "--host", "edge"];
    let outcomes = site.dev.json(&all)["outcomes"].clone();
    assert_eq!(outcomes, json!([{ "id": ids[3], "outcome": "done" }]));
    assert_eq!(text(&site.dev.run(&["cluster", "in-doubt"])), none);
    let nothing = site.dev.run(&all);
    assert!(nothing.status.success(), "{}", text(&nothing));
}

#[test]
fn real_answers_fit_the_description() {
    let site = Site::start();
    site.dev.json(&["ports", "stop", PORT]);
    let ids = dies(&site, 3);
    let mut calls = Calls::new(&site.dev);
    let body = |id: &str| json!({ "ids": [id], "reason": "x" });
    for call in [
        "get /cluster/in-doubt?host=edge&limit=2".to_owned(),
        format!("post /cluster/in-doubt/done {}", body(&ids[0])),
        format!("post /cluster/in-doubt/skip {}", body(&ids[0])),
        format!("post /cluster/in-doubt/skip {}", body(&ids[1])),
        format!("post /cluster/in-doubt/resend {}", body(&ids[2])),
    ] {
        let (status, value) = calls.make(&call);
        assert_eq!(status, 200, "{call}: {value}");
    }
    for (call, status) in [
        ("get /cluster/in-doubt?host=none", 404),
        ("get /cluster/in-doubt?limit=0", 400),
        ("post /cluster/in-doubt/done {\"ids\":[]}", 400),
    ] {
        let (given, value) = calls.make(call);
        assert_eq!(given, status, "{call}: {value}");
    }
    let left = calls.left(|route| route.contains("/cluster/in-doubt"));
    assert!(left.is_empty(), "{left:?}");
}
