//! Errors: who handles them, what is compensated, and in which order.

use quayside_model::{Text, Value};
use quayside_orchestration::{Effect, Route, Status};

use crate::{
    driver::{Driver, text},
    support::compiled,
};

const HEAD: &str = "\
messages: { m: t0, n: t1, r: t3 }
variables: { a: 0, why: '' }
correlations: { k: Key }
steps:
  - { receive: m, activate: true, initialise: k, name: first }
";

fn started(steps: &str) -> Driver {
    Driver::started(
        compiled(&format!("{HEAD}{steps}\n")),
        "t0",
        &[("Key", text("x"))],
    )
}

const TWO_SCOPES: &str = "  - scope: outer
    timeout: 1h
    steps:
      - { scope: one, steps: [{ send: m, to: p0, name: do1 }], compensate: [{ send: m, to: p0, name: undo1 }] }
      - scope: middle
        timeout: 1h
        steps:
          - { scope: two, steps: [{ send: m, to: p0, name: do2 }], compensate: [{ send: m, to: p0, name: undo2 }] }
          - { scope: three, steps: [{ send: m, to: p0, name: do3 }], compensate: [{ send: m, to: p0, name: undo3 }] }
";

#[test]
fn what_ended_well_is_compensated_in_reverse_order_once() {
    let steps = format!(
        "{TWO_SCOPES}      - {{ raise: x }}\n    on_error: [{{ compensate: all }}, {{ compensate: all }}, {{ send: m, to: p1, name: told }}]"
    );
    let log = started(&steps).log();
    assert_eq!(
        log,
        [
            "consume send:do1 send:do2 send:do3",
            "send:undo3 send:undo2 send:undo1",
            "send:told completed"
        ]
    );
}

#[test]
fn a_handler_decides_what_is_compensated() {
    let steps =
        format!("{TWO_SCOPES}      - {{ raise: x }}\n    on_error: [{{ compensate: one }}]");
    assert_eq!(started(&steps).log()[1..], ["send:undo1 completed"]);
    let steps = format!(
        "{TWO_SCOPES}      - {{ raise: x }}\n    on_error: [{{ compensate: one }}, {{ compensate: all }}]"
    );
    assert_eq!(
        started(&steps).log()[1..],
        ["send:undo1", "send:undo3 send:undo2 completed"]
    );
    let steps = format!("{TWO_SCOPES}      - {{ raise: x }}\n    on_error: [{{ delay: 1s }}]");
    assert_eq!(
        started(&steps).log().len(),
        1,
        "nothing by itself where a handler takes the error"
    );
}

#[test]
fn a_scope_without_a_handler_compensates_and_passes_the_error_on() {
    let inner = TWO_SCOPES
        .replace("  - scope: outer", "      - scope: outer")
        .replace("\n    ", "\n        ");
    let steps = format!(
        "  - scope: all\n    steps:\n{inner}          - {{ raise: x, message: \"'why'\" }}\n    on_error: [{{ assign: {{ why: error.message }} }}, {{ send: m, to: p1, name: told }}, {{ suspend: why }}]"
    );
    let driver = started(&steps);
    assert_eq!(
        driver.log()[1..],
        [
            "send:undo3 send:undo2 send:undo1",
            "send:told suspend:QS1342@suspend-18"
        ]
    );
    let Status::Suspended(failure) = driver.state.status() else {
        panic!("{:?}", driver.state)
    };
    assert_eq!(&*failure.detail, "why");
}

#[test]
fn an_error_that_nobody_handles_undoes_nothing_and_can_be_resumed() {
    let steps = format!("{TWO_SCOPES}      - {{ call: m, to: ask, reply: r, name: c }}");
    let mut driver = started(&steps);
    let first = driver.last_call();
    driver.refuse(first);
    assert_eq!(driver.log()[1..], ["consume suspend:QS1339@c"]);
    driver.event(&quayside_orchestration::Event::Resume);
    assert_eq!(driver.last_call(), first, "the partner sees one key");
    let ids: Vec<_> = driver
        .effects()
        .filter_map(|effect| match effect {
            Effect::Call { id, .. } => Some(*id),
            _ => None,
        })
        .collect();
    assert_ne!(ids[0], ids[1], "the store sees two messages");
    driver.reply(first, "t3");
    assert_eq!(
        driver.log().last().map(String::as_str),
        Some("consume completed")
    );
}

#[test]
fn a_failed_atomic_scope_has_done_nothing() {
    let steps = "  - scope: around\n    steps:\n      - scope: c\n        atomic: true\n        steps:\n          - assign: { a: a + 5 }\n          - { send: m, to: p0, name: s }\n          - { raise: x }\n    on_error: [{ decide: [{ when: a == 0, steps: [{ send: m, to: p1, name: nothing }] }] }]";
    assert_eq!(started(steps).log(), ["consume send:nothing completed"]);
    let bare = "  - scope: c\n    atomic: true\n    steps:\n      - { send: m, to: p0, name: s }\n      - { raise: x, name: bad }";
    let mut driver = started(bare);
    assert_eq!(driver.log(), ["consume suspend:QS1341@bad"]);
    driver.event(&quayside_orchestration::Event::Resume);
    assert_eq!(
        driver.log(),
        ["consume suspend:QS1341@bad", "suspend:QS1341@bad"],
        "it begins at its beginning again"
    );
}

#[test]
fn a_time_out_ends_what_the_scope_waits_for() {
    let steps = "  - scope: c\n    timeout: 10s\n    steps:\n      - parallel:\n          x: [{ call: m, to: ask, reply: r, name: c1 }]\n          y: [{ worker: reconcile, send: m, lease: 1h, name: w }]\n    on_error: [{ catch: timeout, steps: [{ send: m, to: p1, name: late }] }]\n  - delay: 1h";
    let mut driver = started(steps);
    let call = driver.last_call();
    assert_eq!(driver.state.timer(), Some(crate::support::at(10)));
    driver.pass(10);
    assert_eq!(driver.log()[1..], ["abandon abandon send:late"]);
    // An answer that comes now is for nobody; it is told of at the end.
    driver.reply(call, "t3");
    driver.pass(3_600);
    assert_eq!(driver.log().last().map(String::as_str), Some("completed-1"));
}

#[test]
fn a_time_out_that_nobody_handles_suspends_and_goes_on_without_one() {
    let mut driver = started(
        "  - scope: c\n    timeout: 10s\n    steps: [{ call: m, to: ask, reply: r, name: c1 }]",
    );
    driver.pass(10);
    assert_eq!(driver.log()[1..], ["suspend:QS1337@c"]);
    driver.event(&quayside_orchestration::Event::Resume);
    driver.pass(1_000);
    driver.reply(driver.last_call(), "t3");
    assert_eq!(driver.log()[2..], ["consume completed"]);
}

#[test]
fn an_error_of_one_branch_ends_the_others() {
    let steps = "  - scope: c\n    steps:\n      - parallel:\n          x: [{ call: m, to: ask, reply: r, name: c1 }]\n          y: [{ delay: 1s }, { raise: x }]\n    on_error: [{ send: m, to: p1, name: told }]";
    let mut driver = started(steps);
    driver.pass(1);
    assert_eq!(driver.log()[1..], ["abandon send:told completed"]);
}

#[test]
fn deliveries_that_fail_are_errors() {
    let steps = "  - scope: c\n    steps: [{ send: m, to: p0, notify: true, name: s }]\n    on_error: [{ catch: delivery, steps: [{ send: m, to: p1, name: told }] }]";
    for (bad, end) in [
        (true, "consume send:told completed"),
        (false, "consume completed"),
    ] {
        let mut driver = started(steps);
        let published = driver
            .effects()
            .find_map(|effect| match effect {
                Effect::Publish {
                    id, notify: true, ..
                } => Some(*id),
                _ => None,
            })
            .expect("it was sent");
        let route = if bad {
            Route::Undelivered {
                message: published,
                code: Text::lossy("QS0402"),
                detail: Text::lossy("gone"),
            }
        } else {
            Route::Delivered(published)
        };
        driver.arrive("nothing", &[], route);
        driver.wake();
        assert_eq!(driver.log()[1..], [end]);
    }
}

#[test]
fn workers_are_asked_again_when_they_are_lost() {
    let mut driver =
        started("  - { worker: reconcile, send: m, lease: 10s, attempts: 2, name: w }");
    let key = driver.last_call();
    driver.now = crate::support::at(8);
    let waits = driver.state.positions(&driver.definition).remove(0);
    assert_eq!(waits.waits_for.as_deref(), Some("worker reconcile"));
    driver.state.renew(key, crate::support::at(18));
    driver.state.renew(key, crate::support::at(12));
    assert_eq!(driver.state.timer(), Some(crate::support::at(18)));
    driver.now = crate::support::at(17);
    driver.wake();
    assert_eq!(driver.log().len(), 1, "a heartbeat lengthens the lease");
    driver.pass(1);
    assert_eq!(driver.last_call(), key);
    driver.pass(10);
    assert_eq!(
        driver.log()[1..],
        ["work:reconcile:2", "abandon suspend:QS1340@w"]
    );
}

#[test]
fn a_compensation_sees_what_its_scope_saw() {
    let steps = "  - scope: all\n    steps:\n      - each: line\n        in: \"['p', 'q']\"\n        steps:\n          - { scope: one, steps: [{ assign: { a: a + 1 } }], compensate: [{ transform: any, from: m, to: r, with: { line: line, a: a } }] }\n      - assign: { a: 100 }\n      - raise: x\n    on_error: [{ compensate: all }]";
    let driver = started(steps);
    let seen: Vec<String> = driver
        .effects()
        .filter_map(|effect| match effect {
            Effect::Keep(call) => Some(format!("{:?}", call.with.values().collect::<Vec<_>>())),
            _ => None,
        })
        .collect();
    assert_eq!(seen.len(), 2);
    assert!(
        seen[0].contains("\"q\"") && seen[0].contains('2'),
        "{seen:?}"
    );
    assert!(
        seen[1].contains("\"p\"") && seen[1].contains('1'),
        "{seen:?}"
    );
}

#[test]
fn data_that_does_not_fit_is_an_error_of_the_step() {
    for (steps, suspended) in [
        ("  - assign: { a: 1 / (a - a) }", "QS1330@assign-6"),
        ("  - assign: { a: m.N }", "QS1330@assign-6"),
        (
            "  - { send: m, to: p0, name: s }\n  - { send: r, to: p0, name: t }",
            "",
        ),
        ("  - { transform: order-to-request, from: m, to: r }", ""),
    ] {
        if suspended.is_empty() {
            continue;
        }
        assert_eq!(
            started(steps).log(),
            [format!("consume suspend:{suspended}")],
            "{steps}"
        );
    }
    // A message that lacks a property of a correlation stays in the inbox.
    let mut driver = Driver::new(compiled(&format!("{HEAD}  - delay: 1s\n")));
    driver.arrive(
        "t0",
        &[("N", Value::Integer(1))],
        Route::Activation("first".parse().expect("a name")),
    );
    driver.wake();
    assert_eq!(driver.log(), ["suspend:QS1343@first"]);
    assert_eq!(driver.inbox.len(), 1);
}

#[test]
fn a_map_that_fails_can_be_tried_again() {
    let mut driver = Driver::new(compiled(&format!(
        "{HEAD}  - {{ transform: any, from: m, to: r, name: t }}\n"
    )));
    driver.world.failing.insert(crate::support::name("any"));
    driver.arrive(
        "t0",
        &[("Key", text("x"))],
        Route::Activation("first".parse().expect("a name")),
    );
    driver.wake();
    assert_eq!(driver.log(), ["consume suspend:QS1335@t"]);
    driver.world.failing.clear();
    driver.event(&quayside_orchestration::Event::RetryStep {
        step: None,
        seen: None,
    });
    assert_eq!(driver.log()[1..], ["map:any completed"]);
}

#[test]
fn attempts_are_counted_for_each_step() {
    let mut driver = started(
        "  - { call: m, to: ask, reply: r, name: c }\n  - { worker: reconcile, send: m, name: w }",
    );
    driver.refuse(driver.last_call());
    driver.event(&quayside_orchestration::Event::Resume);
    driver.reply(driver.last_call(), "t3");
    assert_eq!(
        driver.log().last().map(String::as_str),
        Some("consume work:reconcile:1")
    );
}

#[test]
fn compensations_in_rounds_have_ids_of_their_own() {
    let steps = "  - scope: all\n    steps:\n      - each: line\n        in: \"[1, 2, 3]\"\n        steps: [{ scope: one, steps: [{ send: m, to: p0, name: do }], compensate: [{ send: m, to: p0, name: undo }] }]\n      - raise: x\n    on_error: [{ compensate: all }]";
    let driver = started(steps);
    let ids: std::collections::BTreeSet<_> = driver
        .effects()
        .filter_map(|effect| match effect {
            Effect::Publish { id, .. } => Some(*id),
            _ => None,
        })
        .collect();
    assert_eq!(ids.len(), 6);
}

#[test]
fn a_compensation_inside_of_another_writes_what_that_one_sees() {
    let steps = "  - scope: all\n    steps:\n      - scope: outer\n        steps:\n          - { scope: inner, steps: [{ delay: 1s }], compensate: [{ assign: { why: \"'inner'\" } }] }\n        compensate:\n          - compensate: all\n          - { suspend: why, name: stop }\n      - raise: x\n    on_error: [{ compensate: all }]";
    let mut driver = started(steps);
    driver.pass(1);
    let Status::Suspended(failure) = driver.state.status() else {
        panic!("{:?}", driver.state)
    };
    assert_eq!(&*failure.detail, "inner");
}

#[test]
fn a_compensation_that_fails_leaves_the_rest_to_who_handles_it() {
    let steps = "  - scope: all\n    steps:\n      - scope: outer\n        steps:\n          - { scope: inner, steps: [{ delay: 1s }], compensate: [{ send: m, to: p0, name: undo }] }\n        compensate:\n          - { raise: y }\n      - scope: failing\n        steps:\n          - raise: x\n        on_error: [{ catch: x, steps: [{ raise: z }] }]\n    on_error:\n      - catch: z\n        steps:\n          - scope: careful\n            steps: [{ compensate: all }]\n            on_error: [{ send: m, to: p1, name: told }]";
    let mut driver = started(steps);
    driver.pass(1);
    // What was nested in the compensation that failed is compensated on the way.
    assert_eq!(driver.log()[1..], ["send:undo send:told completed"]);
}

#[test]
fn a_receipt_that_nobody_waits_for_is_not_missed() {
    let steps = "  - scope: c\n    timeout: 10s\n    steps: [{ send: m, to: p0, notify: true, name: s }]\n    on_error: [{ delay: 1s }]";
    let mut driver = started(steps);
    let published = driver.effects().find_map(|effect| match effect {
        Effect::Publish { id, .. } => Some(*id),
        _ => None,
    });
    driver.pass(10);
    driver.arrive(
        "nothing",
        &[],
        Route::Delivered(published.expect("it was sent")),
    );
    driver.pass(1);
    assert_eq!(driver.log().last().map(String::as_str), Some("completed"));
}
