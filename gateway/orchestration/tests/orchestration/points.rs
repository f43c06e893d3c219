//! The places at which an instance is kept: those of BizTalk, adjacent ones as one.

use crate::{
    driver::{Driver, text},
    support::compiled,
};

const HEAD: &str = "\
messages: { m: t0, n: t1, r: t3 }
variables: { a: 0 }
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

fn log(steps: &str) -> Vec<String> {
    started(steps).log()
}

#[test]
fn a_send_is_a_point_and_the_end_is_one_with_it() {
    assert_eq!(
        log("  - { send: m, to: p0, name: s }"),
        ["consume send:s completed"]
    );
    assert_eq!(
        log("  - { send: m, to: p0, name: s }\n  - assign: { a: a + 1 }"),
        ["consume send:s", "completed"]
    );
}

#[test]
fn points_that_follow_each_other_are_one() {
    let sends = "  - { send: m, to: p0, name: s }\n  - { send: m, to: p1, name: t }\n  - { start: other, with: m }\n  - assign: { a: a + 1 }\n  - { send: m, to: p0, name: u }";
    assert_eq!(
        log(sends),
        ["consume send:s send:t start:other", "send:u completed"]
    );
    // Through lists of steps too: what only holds steps does nothing itself.
    let nested = "  - { send: m, to: p0, name: s }\n  - scope: c\n    timeout: 1h\n    steps: [{ send: m, to: p1, name: t }]\n  - { send: m, to: p0, name: u }";
    assert_eq!(log(nested), ["consume send:s send:t send:u completed"]);
}

#[test]
fn receives_expressions_and_plain_scopes_are_none() {
    let steps = "  - assign: { a: a + 1 }\n  - scope: c\n    steps: [{ assign: { a: a + 1 } }]\n  - decide: [{ when: a == 2, steps: [{ transform: any, from: m, to: r }] }]\n  - loop: a < 5\n    steps: [{ assign: { a: a + 1 } }]";
    assert_eq!(log(steps), ["consume map:any completed"]);
}

#[test]
fn a_transactional_scope_is_a_point_at_its_end() {
    let steps = "  - scope: c\n    timeout: 1h\n    steps: [{ transform: any, from: m, to: r }]\n  - assign: { a: a + 1 }";
    assert_eq!(log(steps), ["consume map:any", "completed"]);
}

#[test]
fn an_atomic_scope_has_no_point_inside() {
    let steps = "  - { send: m, to: p0, name: s }\n  - scope: c\n    atomic: true\n    steps:\n      - { send: m, to: p0, name: t }\n      - assign: { a: a + 1 }\n      - { send: m, to: p0, name: u }\n      - { start: other, with: m }\n  - assign: { a: a + 1 }";
    assert_eq!(
        log(steps),
        ["consume send:s", "send:t send:u start:other", "completed"]
    );
}

#[test]
fn a_message_that_is_there_is_taken_after_what_came_before_is_kept() {
    let mut driver = Driver::new(compiled(&format!(
        "{HEAD}  - {{ send: m, to: p0, name: s }}\n  - {{ receive: n, follow: k }}\n"
    )));
    driver.arrive(
        "t0",
        &[("Key", text("x"))],
        quayside_orchestration::Route::Activation("first".parse().expect("a name")),
    );
    driver.correlated(0, "t1", &[("Key", text("x"))]);
    driver.wake();
    assert_eq!(driver.log(), ["consume send:s", "consume completed"]);
}

#[test]
fn waiting_keeps_the_instance() {
    let mut driver = started("  - delay: 10s\n  - { receive: n, follow: k }");
    assert_eq!(driver.log(), ["consume"]);
    assert!(driver.state.timer().is_some());
    driver.pass(9);
    assert_eq!(driver.commits.len(), 1, "nothing happens before its time");
    driver.pass(1);
    assert_eq!(driver.state.timer(), None);
    driver.correlated(0, "t1", &[("Key", text("y"))]);
    driver.wake();
    assert_eq!(
        driver.log(),
        ["consume"],
        "a message of another key is not taken"
    );
    driver.correlated(0, "t1", &[("Key", text("x"))]);
    driver.wake();
    assert_eq!(driver.log(), ["consume", "consume completed-1"]);
}

#[test]
fn a_waiting_instance_is_small() {
    let driver = started("  - { receive: n, follow: k }");
    let state = driver.state.encode();
    assert!(
        state.len() < 512,
        "{} bytes: {}",
        state.len(),
        String::from_utf8_lossy(&state)
    );
}

#[test]
fn an_atomic_scope_that_lacks_a_message_waits_at_its_beginning() {
    let mut driver = started(
        "  - scope: c\n    atomic: true\n    steps:\n      - { send: m, to: p0, name: s }\n      - { receive: n, follow: k }\n      - { send: n, to: p0, name: t }",
    );
    assert_eq!(driver.log(), ["consume"], "nothing of it has happened");
    let positions = driver.state.positions(&driver.definition);
    assert_eq!(positions[0].waits_for.as_deref(), Some("receive"));
    driver.correlated(0, "t1", &[("Key", text("x"))]);
    driver.wake();
    assert_eq!(driver.log(), ["consume", "send:s consume send:t completed"]);
}

#[test]
fn an_answer_is_taken_after_what_another_branch_did_is_kept() {
    let mut driver = started(
        "  - parallel:\n      x: [{ call: m, to: ask, reply: r, name: c }]\n      y: [{ receive: n, follow: k }, { send: m, to: p0, name: s }]",
    );
    // Both come at once: the branch that is asked first goes on first.
    driver.correlated(0, "t1", &[("Key", text("x"))]);
    let key = driver.last_call();
    driver.reply(key, "t3");
    assert_eq!(
        driver.log(),
        ["consume call:c", "consume consume send:s completed"]
    );
    let mut driver = started(
        "  - parallel:\n      x: [{ receive: n, follow: k }, { send: m, to: p0, name: s }]\n      y: [{ call: m, to: ask, reply: r, name: c }]",
    );
    driver.correlated(0, "t1", &[("Key", text("x"))]);
    let key = driver.last_call();
    driver.reply(key, "t3");
    assert_eq!(
        driver.log(),
        ["consume call:c", "consume send:s", "consume completed"]
    );
}

#[test]
fn a_correlation_that_gets_the_same_values_again_stays_as_it_is() {
    let driver = started(
        "  - loop: a < 3\n    steps: [{ send: m, to: p0, initialise: k, name: s }, { assign: { a: a + 1 } }]\n  - { receive: n, follow: k }",
    );
    let count = |driver: &Driver| {
        let changes = driver.effects().filter(|effect| {
            matches!(
                effect,
                quayside_orchestration::Effect::Subscribe { .. }
                    | quayside_orchestration::Effect::Unsubscribe { .. }
            )
        });
        changes.count()
    };
    assert_eq!(count(&driver), 1);
}

#[test]
fn a_run_that_is_made_again_later_has_the_same_ids() {
    let mut driver = Driver::new(compiled(&format!(
        "{HEAD}  - {{ transform: any, from: m, to: r }}\n  - {{ send: r, to: p0, name: s }}\n"
    )));
    driver.arrive(
        "t0",
        &[("Key", text("x"))],
        quayside_orchestration::Route::Activation("first".parse().expect("a name")),
    );
    let effects = |driver: &Driver| {
        driver
            .once(&quayside_orchestration::Event::Wake)
            .expect("it runs")
            .effects
    };
    let before = effects(&driver);
    driver.now = crate::support::at(77);
    assert_eq!(before, effects(&driver));
}

#[test]
fn messages_are_taken_in_the_order_in_which_they_came() {
    let mut driver = started(
        "  - { receive: n, follow: k }\n  - { send: n, to: p0, name: s }\n  - { receive: n, follow: k }\n  - { send: n, to: p0, name: t }",
    );
    let came = [0, 1].map(|_| driver.correlated(0, "t1", &[("Key", text("x"))]));
    driver.wake();
    let sent: Vec<_> = driver
        .effects()
        .filter_map(|effect| match effect {
            quayside_orchestration::Effect::Publish { message, .. } => Some(message.content),
            _ => None,
        })
        .collect();
    assert_eq!(sent, came);
}

#[test]
fn ids_have_the_time_of_their_cause_and_are_never_old() {
    let mut driver = started(
        "  - delay: 10s\n  - { send: m, to: p0, name: s }\n  - { receive: n, follow: k }\n  - { send: n, to: p0, name: u }\n  - { suspend: \"'later'\" }\n  - { send: m, to: p0, name: t }",
    );
    // Woken late: the id has the time at which it was due.
    driver.pass(15);
    // A message that came while nobody looked: its own time.
    driver.now = crate::support::at(100);
    driver.correlated(0, "t1", &[("Key", text("x"))]);
    driver.now = crate::support::at(200);
    driver.wake();
    // Resumed after a month: the time of the suspension would be too old for a store.
    driver.now = crate::support::at(30 * 86_400);
    driver.event(&quayside_orchestration::Event::Resume);
    let seconds: Vec<_> = driver
        .effects()
        .filter_map(|effect| match effect {
            quayside_orchestration::Effect::Publish { id, .. } => {
                let millis = id.to_bytes()[..6]
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | i64::from(*byte));
                Some(millis / 1000 - crate::support::at(0).as_micros() / 1_000_000)
            }
            _ => None,
        })
        .collect();
    assert_eq!(seconds, [10, 100, 30 * 86_400]);
}

#[test]
fn the_time_of_ids_goes_on_with_each_commit() {
    let mut driver = Driver::new(compiled(&format!(
        "{HEAD}  - {{ send: m, to: p0, name: s }}\n  - assign: {{ a: a + 1 }}\n  - {{ send: m, to: p0, name: t }}\n"
    )));
    driver.now = crate::support::at(50);
    driver.arrive(
        "t0",
        &[("Key", text("x"))],
        quayside_orchestration::Route::Activation("first".parse().expect("a name")),
    );
    driver.wake();
    let times: Vec<Vec<u8>> = driver
        .effects()
        .filter_map(|effect| match effect {
            quayside_orchestration::Effect::Publish { id, .. } => Some(id.to_bytes()[..6].to_vec()),
            _ => None,
        })
        .collect();
    assert_eq!(times.len(), 2);
    assert_eq!(times[0], times[1], "both are of the time at which it ran");
}

#[test]
fn a_send_initialises_before_anybody_can_answer() {
    let text_ = "messages: { m: t0, n: t1 }\ncorrelations: { k: [Key, N] }\nsteps:\n  - { receive: m, activate: true, name: first }\n  - { send: m, to: p0, initialise: k, name: s }\n  - { receive: n, follow: k }\n";
    let properties = [("Key", text("x")), ("N", quayside_model::Value::Integer(7))];
    let mut driver = Driver::started(compiled(text_), "t0", &properties);
    let effects: Vec<_> = driver.effects().collect();
    let subscribed = effects
        .iter()
        .position(|effect| matches!(effect, quayside_orchestration::Effect::Subscribe { .. }));
    let sent = effects
        .iter()
        .position(|effect| matches!(effect, quayside_orchestration::Effect::Publish { .. }));
    assert!(subscribed.is_some() && subscribed < sent);
    driver.correlated(0, "t1", &properties);
    driver.wake();
    assert_eq!(driver.log(), ["consume send:s", "consume completed"]);
}

#[test]
fn what_is_looked_at_in_a_copy_of_a_copy_is_kept() {
    let text_ = "messages: { a: t0, b: t0, c: t0 }\nsteps:\n  - { receive: a, activate: true, name: first }\n  - assign: { b: a }\n  - delay: 1s\n  - assign: { c: b }\n  - { suspend: c.Key, name: stop }\n";
    let mut driver = Driver::started(compiled(text_), "t0", &[("Key", text("x"))]);
    driver.pass(1);
    assert_eq!(driver.log(), ["consume", "suspend:QS1342@stop"]);
}
