//! The examples are right, and do what they say.

use quayside_model::Value;

use crate::{
    driver::{Driver, text},
    support::compiled,
};

const APPROVAL: &str = include_str!("../../examples/approval.orchestration.yaml");
const CLAIMS: &str = include_str!("../../examples/claims.orchestration.yaml");
const BATCH: &str = include_str!("../../examples/batch.orchestration.yaml");

fn decimal(text: &str) -> Value {
    Value::Decimal(text.parse().expect("a decimal"))
}

fn approval() -> Driver {
    let order = [("OrderId", text("4711")), ("Total", decimal("20000"))];
    let mut driver = Driver::started(compiled(APPROVAL), "order", &order);
    driver.reply(driver.last_call(), "confirmation");
    driver
}

#[test]
fn an_order_is_approved() {
    let mut driver = approval();
    assert_eq!(driver.waits_at(), ["wait"]);
    driver.pass(86_400);
    driver.correlated(
        0,
        "approval-answer",
        &[("OrderId", text("4711")), ("Decision", text("yes"))],
    );
    driver.wake();
    assert_eq!(
        driver.log(),
        [
            "consume map:order-to-request call:reserve",
            "consume",
            "send:ask",
            "send:remind",
            "consume send:book completed"
        ]
    );
}

#[test]
fn a_refused_order_is_released() {
    let mut driver = approval();
    driver.correlated(
        0,
        "approval-answer",
        &[("OrderId", text("4711")), ("Decision", text("no"))],
    );
    driver.wake();
    assert_eq!(
        driver.log()[3..],
        [
            "consume map:order-to-cancellation send:release",
            "map:order-to-cancellation send:tell terminated"
        ]
    );
}

#[test]
fn an_order_that_nobody_approves_is_released() {
    let mut driver = approval();
    for _ in 0..7 {
        driver.pass(86_400);
    }
    let log = driver.log();
    assert_eq!(
        log.iter().filter(|commit| *commit == "send:remind").count(),
        6
    );
    assert_eq!(
        log.last().map(String::as_str),
        Some("map:order-to-cancellation send:tell terminated")
    );
}

#[test]
fn the_parts_of_a_claim_find_their_instance_in_any_order() {
    let claim = [
        ("ClaimId", text("7")),
        ("Country", text("DE")),
        ("Parts", Value::Integer(3)),
    ];
    let part = [
        ("ClaimId", text("7")),
        ("Country", text("DE")),
        ("Amount", decimal("10.5")),
    ];
    let definition = compiled(CLAIMS);
    let activations = definition.activations();
    assert!(
        activations
            .iter()
            .all(|activation| activation.convoy == Some(0)),
        "{activations:?}"
    );
    let mut driver = Driver::new(definition);
    // A part comes first, and starts the instance.
    driver.arrive(
        "claim-part",
        &part,
        quayside_orchestration::Route::Activation(activations[1].step.clone()),
    );
    driver.wake();
    driver.correlated(0, "claim-part", &part);
    driver.correlated(0, "claim", &claim);
    driver.wake();
    driver.correlated(0, "claim-part", &part);
    driver.wake();
    assert_eq!(
        driver.log().last().map(String::as_str),
        Some("map:claim-to-summary send:publish completed")
    );
    let amount = driver.effects().find_map(|effect| match effect {
        quayside_orchestration::Effect::Keep(call) => Some(format!("{:?}", call.with)),
        _ => None,
    });
    assert!(amount.is_some_and(|with| with.contains("31.5")));
}

#[test]
fn a_line_that_fails_does_not_stop_the_others() {
    let mut driver = Driver::new(compiled(BATCH));
    driver.world.items = vec![text("1"), text("2"), text("3")];
    let step = driver.definition.activations()[0].step.clone();
    driver.arrive(
        "batch",
        &[],
        quayside_orchestration::Route::Activation(step),
    );
    driver.wake();
    driver.reply(driver.last_call(), "receipt");
    driver.refuse(driver.last_call());
    driver.reply(driver.last_call(), "receipt");
    driver.pass(10);
    driver.pass(60);
    driver.reply(driver.last_call(), "receipt");
    assert_eq!(
        driver.log(),
        [
            "consume map:batch-line-to-posting call:post",
            "consume map:batch-line-to-posting call:post",
            "consume map:batch-to-report send:report-line",
            "map:batch-line-to-posting call:post",
            "consume map:batch-to-report send:report-done start:settlement",
            "work:reconcile:1",
            "work:reconcile:2",
            "consume completed"
        ]
    );
}
