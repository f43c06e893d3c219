//! What is wrong with settings, and where it is told.

use serde_json::json;

use super::*;

fn receive(more: Block) -> Vec<String> {
    let mut block = json!({ "url": "amqp://mq.example/erp", "queue": "orders" });
    merge(&mut block, more);
    places(&ReceiveSettings::read(&block, &Terms::default()).1)
}

fn send(more: Block) -> Vec<String> {
    let mut block = json!({ "url": "amqp://mq.example/erp", "queue": "orders" });
    merge(&mut block, more);
    places(&SendSettings::read(&block).1)
}

fn merge(block: &mut Block, more: Block) {
    let (Block::Object(block), Block::Object(more)) = (block, more) else {
        panic!("both are objects");
    };
    block.extend(more);
}

fn places(faults: &[Fault]) -> Vec<String> {
    let place = |f: &Fault| format!("{} {}", f.code, f.path.join("."));
    faults.iter().map(place).collect()
}

#[test]
fn url_and_queue_are_enough() {
    assert_eq!(receive(json!({})), [""; 0]);
    assert_eq!(send(json!({})), [""; 0]);
    let several = json!({ "url": ["amqp://a/%2f", "amqps://b:5671/%2f"] });
    assert_eq!(send(several), [""; 0]);
}

#[test]
fn each_fault_stands_at_its_key() {
    for (more, expected) in [
        (json!({ "url": "http://mq.example/" }), "QS0909 url"),
        (json!({ "url": "amqp://u:p@mq.example/" }), "QS0909 url"),
        (json!({ "url": "amqp://[::1]:5672/" }), "QS0909 url"),
        (
            json!({ "url": "amqp://mq.example/?heartbeat=9" }),
            "QS0909 url",
        ),
        (json!({ "url": [] }), "QS0909 url"),
        (json!({ "url": 5 }), "QS0302 url"),
        (json!({ "heartbeat": "10ms" }), "QS0910 heartbeat"),
        (json!({ "heartbeat": "1500ms" }), "QS0910 heartbeat"),
        (json!({ "heartbeat": "61s" }), "QS0910 heartbeat"),
        (json!({ "connect_timeout": "0s" }), "QS0910 connect_timeout"),
        (json!({ "queue": "" }), "QS0912 queue"),
        (json!({ "queue": "amq.gen-x" }), "QS0912 queue"),
    ] {
        assert_eq!(receive(more.clone()), [expected], "{more}");
        assert_eq!(send(more.clone()), [expected], "{more}");
    }
    for (more, expected) in [
        (
            json!({ "prefetch": 0 }),
            vec!["QS0910 prefetch", "QS0910 batch"],
        ),
        (json!({ "batch": 0 }), vec!["QS0910 batch"]),
        (json!({ "dedupe": "none" }), vec!["QS0914 dedupe"]),
        (
            json!({ "dedupe": { "header": "" } }),
            vec!["QS0910 dedupe.header"],
        ),
        (
            json!({ "on_failure": "dead-letter" }),
            vec!["QS0915 on_failure"],
        ),
        (
            json!({ "dead_letter": "orders" }),
            vec!["QS0910 dead_letter"],
        ),
    ] {
        assert_eq!(receive(more.clone()), expected, "{more}");
    }
    for (more, expected) in [
        (json!({ "window": 0 }), "QS0910 window"),
        (json!({ "pipeline": 0 }), "QS0910 pipeline"),
        (json!({ "pipeline": 257 }), "QS0910 pipeline"),
        (json!({ "queue": "{Queue}" }), "QS0930 queue"),
        (
            json!({ "queue": "{Queue}", "queues": ["**"] }),
            "QS0930 queues",
        ),
        (
            json!({ "answer": { "queue": "amq.x" } }),
            "QS0912 answer.queue",
        ),
        (
            json!({ "answer": { "queue": "orders" } }),
            "QS0910 answer.queue",
        ),
        (
            json!({ "answer": { "within": "0s" } }),
            "QS0910 answer.within",
        ),
    ] {
        assert_eq!(send(more.clone()), [expected], "{more}");
    }
    let listed = json!({ "queue": "{Queue}", "queues": ["erp.*", "crm"] });
    assert_eq!(send(listed), [""; 0]);
    assert_eq!(send(json!({ "queue": "orders.{Country}" })), [""; 0]);
    assert_eq!(
        send(json!({ "confirm_timeout": "0s" })),
        ["QS0910 confirm_timeout"]
    );
}

#[test]
fn connections_of_a_former_owner_are_closed_by_a_user_of_each_node() {
    let takeover = |management: &str, user: Option<&str>| json!({ "user": user, "takeover": { "management": management, "user": "closer" } });
    for (management, user, expected) in [
        ("http://mq:15672", Some("queues-{node}"), vec![]),
        (
            "mq:15672",
            Some("queues-{node}"),
            vec!["QS0909 takeover.management"],
        ),
        ("http://mq:15672", Some("queues"), vec!["QS0910 user"]),
        ("http://mq:15672", None, vec!["QS0910 user"]),
    ] {
        let more = takeover(management, user);
        assert_eq!(receive(more.clone()), expected, "{more}");
        assert_eq!(send(more.clone()), expected, "{more}");
    }
    let nobodys = json!({
        "user": "queues-{node}",
        "takeover": { "management": "http://mq:15672", "password": { "secret": "closer" } },
    });
    assert_eq!(receive(nobodys), ["QS0910 takeover.password"]);
}

#[test]
fn what_the_port_says_counts() {
    let warned = |more: Block, terms: &Terms| {
        let mut block = json!({ "url": "amqp://mq.example/erp", "queue": "orders" });
        merge(&mut block, more);
        let (settings, faults) = ReceiveSettings::read(&block, terms);
        assert!(settings.is_some(), "{block}");
        places(&faults)
    };
    let ordered = Terms {
        ordered: true,
        error_threshold: Some(1),
        ..Terms::default()
    };
    let (stop, exclusive) = (
        json!({ "on_failure": "stop" }),
        json!({ "exclusive": true }),
    );
    assert_eq!(
        warned(stop.clone(), &Terms::default()),
        ["QS0916 on_failure"]
    );
    assert_eq!(warned(stop, &ordered), [""; 0]);
    let express = json!({
        "url": "amqp://mq.example/erp", "queue": "orders", "on_failure": "stop",
        "msmq": { "transactional": false },
    });
    let (settings, faults) = ReceiveSettings::read(&express, &ordered);
    assert_eq!(places(&faults), ["QS0924 on_failure"]);
    assert!(settings.is_none());
    assert_eq!(warned(exclusive.clone(), &Terms::default()), [""; 0]);
    assert_eq!(warned(exclusive, &ordered), ["QS0921 exclusive"]);
}

#[test]
fn a_warning_does_not_stand_in_the_way() {
    let block = json!({ "url": "amqp://h/", "queue": "q", "dedupe": "none" });
    let (settings, faults) = ReceiveSettings::read(&block, &Terms::default());
    assert_eq!(settings.map(|s| s.dedupe), Some(Dedupe::None));
    assert_eq!(faults.len(), 1);
}

#[test]
fn no_message_repeats_a_password() {
    let block = json!({ "url": "amqp://u:hunter2@h:x/", "queue": "q" });
    for fault in SendSettings::read(&block).1 {
        assert!(!fault.message.contains("hunter2"), "{}", fault.message);
    }
}
