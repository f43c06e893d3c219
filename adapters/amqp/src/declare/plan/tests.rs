//! Which queues follow from which ports.

use serde_json::json;

use super::*;

fn uses(blocks: &[(&'static str, bool, bool, Block)], judge: impl FnOnce(&[Use<'_>])) {
    let uses: Vec<Use<'_>> = blocks
        .iter()
        .map(|(place, receives, ordered, block)| Use {
            place,
            receives: *receives,
            ordered: *ordered,
            block,
        })
        .collect();
    judge(&uses);
}

fn definitions(toml: &[(&str, Block)]) -> Definitions {
    let queues = toml.iter().map(|(name, block)| {
        let definition = Definition::read(name, block).0.expect("a definition");
        ((*name).to_owned(), definition)
    });
    Definitions {
        queues: queues.collect(),
        ..Definitions::default()
    }
}

fn names(site: &Site) -> Vec<String> {
    let line = |planned: &Planned| {
        let single = planned
            .wanted
            .arguments
            .contains_key("x-single-active-consumer");
        let single = if single { " single" } else { "" };
        let (name, kind) = (&planned.wanted.name, planned.wanted.kind.word());
        format!("{name} {kind}{single}: {}", planned.roles.join(", "))
    };
    site.queues.iter().map(line).collect()
}

#[test]
fn the_queues_of_an_application_follow_from_its_ports() {
    let at = |queue: &str| json!({ "url": "amqp://mq/", "queue": queue });
    let mut strict = at("in");
    strict["dead_letter"] = json!("bad");
    strict["on_failure"] = json!("dead-letter");
    let blocks = [
        ("a.in.mq", true, true, strict),
        ("a.out", false, false, at("out")),
        ("a.many", false, false, at("to.{Country}")),
        ("a.loop", false, true, at("in")),
    ];
    uses(&blocks, |uses| {
        let plan = plan(uses, &Definitions::default(), None);
        assert_eq!(plan.faults, []);
        assert_eq!(plan.sites.len(), 1);
        assert_eq!(
            names(&plan.sites[0]),
            [
                "bad poison: for what a.in.mq cannot take, dead letters of in",
                "out.poison poison: dead letters of out",
                "in transactional single: taken by a.in.mq, filled by a.loop",
                "out transactional: filled by a.out",
            ]
        );
        assert_eq!(plan.notes.len(), 1, "{:?}", plan.notes);
    });
}

#[test]
fn a_definition_goes_before_what_is_derived_and_must_keep_the_order() {
    let block = json!({ "url": ["amqp://b/", "amqp://a/"], "queue": "in" });
    let blocks = [("a.in.mq", true, true, block)];
    let express = definitions(&[
        ("in", json!({ "kind": "express" })),
        ("more", json!({ "kind": "admin" })),
    ]);
    uses(&blocks, |uses| {
        let found = plan(uses, &express, None);
        let paths: Vec<String> = found.faults.iter().map(|f| f.path.join(".")).collect();
        assert_eq!(paths, ["queue.in.single_active_consumer"]);
        assert_eq!(found.sites[0].url, "amqp://b/, amqp://a/");
        let lines = names(&found.sites[0]);
        assert!(lines.contains(&"more admin: ".to_owned()), "{lines:?}");
    });
}

#[test]
fn what_a_location_stops_at_is_not_given_up() {
    let block = json!({ "url": "amqp://a/", "queue": "in", "on_failure": "stop" });
    let blocks = [("a.in.mq", true, false, block)];
    let limited = |found: &Plan| {
        let wanted = |planned: &&Planned| planned.wanted.name == "in";
        let queue = found.sites[0].queues.iter().find(wanted);
        let arguments = &queue.expect("the queue").wanted.arguments;
        arguments.contains_key("x-delivery-limit")
    };
    let plain = json!({ "kind": "transactional" });
    let quota = json!({ "kind": "transactional", "delivery_limit": 50 });
    for (given, faults) in [
        (None, vec![]),
        (Some(plain), vec![]),
        (Some(quota), vec!["queue.in.delivery_limit"]),
    ] {
        let given: Vec<_> = given.into_iter().map(|block| ("in", block)).collect();
        uses(&blocks, |uses| {
            let found = plan(uses, &definitions(&given), None);
            let paths: Vec<String> = found.faults.iter().map(|f| f.path.join(".")).collect();
            assert_eq!(paths, faults);
            assert_eq!(limited(&found), !faults.is_empty());
        });
    }
}

#[test]
fn a_location_that_takes_one_kind_has_places_for_both() {
    for transactional in [json!(true), json!(false)] {
        let block = json!({
            "url": "amqp://mq/", "queue": "in", "msmq": { "machine": "gate", "transactional": transactional },
        });
        uses(&[("a.in.mq", true, false, block)], |uses| {
            let found = plan(uses, &Definitions::default(), None);
            let names = names(&found.sites[0]).join("; ");
            for place in ["gate.deadletter$", "gate.xactdeadletter$"] {
                assert!(names.contains(place), "{transactional}: {names}");
            }
        });
    }
}

#[test]
fn queues_of_msmq_stand_beside_those_of_their_machine() {
    let send = json!({
        "url": "amqp://mq/",
        "queue": r"DIRECT=OS:erp\private$\orders",
        "msmq": {
            "machine": "gate", "transactional": true, "journal": true, "acknowledge": "full-reach-queue",
            "administration_queue": "gate.acks",
        },
    });
    let receive = json!({
        "url": "amqp://mq/", "queue": "fast", "msmq": { "machine": "gate", "transactional": false, "journal": true },
    });
    let blocks = [
        ("a.out", false, true, send),
        ("a.in.mq", true, false, receive),
    ];
    uses(&blocks, |uses| {
        let found = plan(uses, &Definitions::default(), None);
        assert_eq!(
            names(&found.sites[0]),
            [
                "fast.journal$ journal: journal of fast",
                "fast.poison poison: dead letters of fast",
                "gate.acks admin: acknowledgments for a.out",
                "gate.deadletter$ dead-letter: dead letters of gate",
                "gate.journal$ journal: journal of gate",
                "gate.xactdeadletter$ dead-letter: dead letters of gate",
                "msmq.private$.orders.poison poison: dead letters of msmq.private$.orders",
                "fast express: taken by a.in.mq",
                "msmq.private$.orders transactional single: filled by a.out",
            ]
        );
    });
}

#[test]
fn the_broker_of_an_unused_queue_must_be_known() {
    let on = |url: &str, queue: &str| json!({ "url": url, "queue": queue });
    let blocks = [
        ("a.x.mq", true, false, on("amqp://one/", "x")),
        ("a.y.mq", true, false, on("amqp://two/", "y")),
    ];
    let mut file = definitions(&[
        ("y", json!({ "kind": "express" })),
        ("z", json!({ "kind": "admin" })),
    ]);
    uses(&blocks, |uses| {
        let found = plan(uses, &file, None);
        assert_eq!(found.faults.len(), 1);
        assert_eq!(
            (found.faults[0].code, found.faults[0].path.join(".")),
            (codes::NO_BROKER, "queue.z".to_owned())
        );
        let at =
            json!({ "url": "amqp://two:5672/", "user": "root", "management": "http://two:15672" });
        file.broker = BrokerSettings::read(&at).0.expect("settings");
        let found = plan(uses, &file, None);
        assert_eq!(found.faults, []);
        let two = found
            .sites
            .iter()
            .find(|site| site.url == "amqp://two/")
            .expect("a site");
        assert!(names(two).contains(&"z admin: ".to_owned()));
        assert_eq!(two.management.as_deref(), Some("http://two:15672"));
        assert_eq!(two.broker.user.as_deref(), Some("root"));
        assert_eq!(found.sites[0].broker.user, None);
        let here = BrokerSettings::read(&json!({ "url": "amqp://test/" }))
            .0
            .expect("settings");
        let found = plan(uses, &file, Some(&here));
        assert_eq!(found.sites.len(), 1, "all at the broker that is named");
        assert_eq!(found.sites[0].url, "amqp://test/");
    });
}
