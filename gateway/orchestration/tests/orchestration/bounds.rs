//! Every bound is reached by a test, and is an error with a code.

use quayside_model::Value;
use quayside_orchestration::{Effect, Route, limits};

use crate::{
    driver::{Driver, text},
    support::compiled,
};

fn started(declarations: &str, steps: &str) -> Driver {
    let head = "messages: { m: t0, r: t3 }\n";
    let text_ = format!(
        "{head}{declarations}steps:\n  - {{ receive: m, activate: true, name: first }}\n{steps}\n"
    );
    let mut driver = Driver::new(compiled(&text_));
    driver.world.items = vec![text("x"); limits::LIST];
    driver.arrive(
        "t0",
        &[("Key", text("x"))],
        Route::Activation("first".parse().expect("a name")),
    );
    driver.wake();
    driver
}

#[test]
fn a_loop_without_an_end_is_stopped() {
    let step = "{ assign: { a: a + 1 } }";
    // The points of an `each` are none in a loop: it would go on for ever.
    let each = format!("{{ each: x, in: l, steps: [{step}] }}");
    let branches = format!("{{ parallel: {{ one: [{each}], other: [{step}] }} }}");
    for inside in [step, &each, &branches] {
        let driver = started(
            "variables: { l: { type: list }, a: 0 }\n",
            &format!(
                "  - assign: {{ l: \"items(m, '/a')\" }}\n  - loop: \"true\"\n    name: on\n    steps: [{inside}]"
            ),
        );
        assert_eq!(driver.log().len(), 1, "{inside}");
        assert!(
            driver.log()[0].starts_with("consume suspend:QS1332@"),
            "{inside}: {:?}",
            driver.log()
        );
    }
}

#[test]
fn a_long_each_is_many_commits_and_ends() {
    let declarations = "variables: { l: { type: list }, a: 0 }\n";
    let each = "{ each: x, in: l, steps: [{ assign: { a: a + 1 } }, { assign: { a: a + 1 } }, { assign: { a: a + 1 } }] }";
    let steps = format!(
        "  - assign: {{ l: \"items(m, '/a')\" }}\n  - {each}\n  - {{ send: m, to: p0, name: s }}"
    );
    let driver = started(declarations, &steps);
    let log = driver.log();
    assert!(driver.commits.len() > 20, "{}", driver.commits.len());
    assert!(
        log.iter().all(|commit| !commit.contains("suspend")),
        "{log:?}"
    );
    assert!(
        log.last().is_some_and(|last| last.contains("end")),
        "{log:?}"
    );
    // An atomic one is one commit, or none.
    let steps = format!(
        "  - assign: {{ l: \"items(m, '/a')\" }}\n  - scope: c\n    atomic: true\n    steps: [{each}]"
    );
    let log = started(declarations, &steps).log();
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].contains("suspend:QS1332"), "{log:?}");
}

#[test]
fn many_sends_are_several_commits() {
    let driver = started(
        "variables: { l: { type: list } }\n",
        "  - assign: { l: \"items(m, '/a')\" }\n  - { each: x, in: l, steps: [{ send: m, to: p0, name: s }] }",
    );
    let sends = driver
        .effects()
        .filter(|effect| matches!(effect, Effect::Publish { .. }))
        .count();
    assert_eq!(sends, limits::LIST);
    assert!(
        driver
            .commits
            .iter()
            .all(|effects| effects.len() <= limits::EFFECTS + 2)
    );
}

#[test]
fn an_atomic_scope_that_does_too_much_has_done_nothing() {
    let driver = started(
        "variables: { l: { type: list } }\n",
        "  - assign: { l: \"items(m, '/a')\" }\n  - scope: c\n    atomic: true\n    steps: [{ each: x, in: l, steps: [{ send: m, to: p0, name: s }] }]",
    );
    assert_eq!(driver.log(), ["consume suspend:QS1347@each-8"]);
}

#[test]
fn expressions_that_would_cost_too_much_are_not_begun() {
    let driver = started(
        "variables: { l: { type: list }, t: false }\n",
        "  - assign: { l: \"items(m, '/a')\" }\n  - { assign: { t: \"l.all(x, l.exists(y, x == y))\" }, name: dear }",
    );
    assert_eq!(driver.log(), ["consume suspend:QS1331@dear"]);
}

#[test]
fn values_and_states_stay_within_their_bounds() {
    let long = format!(
        "  - assign: {{ t: \"'{}'\" }}\n  - loop: size(t) < 100000\n    steps: [{{ assign: {{ t: t + t }}, name: grow }}]",
        "x".repeat(1000)
    );
    let driver = started("variables: { t: '' }\n", &long);
    assert_eq!(driver.log(), ["consume suspend:QS1330@grow"]);
    // Lists in many variables.
    let mut names = String::from("variables:\n");
    let mut steps = String::from("  - assign: { v0: \"items(m, '/a')\" }\n");
    for n in 0..20 {
        names.push_str(&format!("  v{n}: {{ type: list }}\n"));
        steps.push_str(&format!("  - assign: {{ v{n}: v0 }}\n"));
    }
    let driver = started(&names, &format!("{steps}  - delay: 1s"));
    assert_eq!(driver.log(), ["suspend:QS1333@first"]);
    assert_eq!(driver.inbox.len(), 1, "it is as it was before");
}

#[test]
fn branches_are_bounded() {
    // 16 branches with 16 branches each.
    let inner: String = (0..16)
        .map(|n| format!("          c{n}: [{{ delay: 1s }}]\n"))
        .collect();
    let outer: String = (0..16)
        .map(|n| {
            format!(
                "      b{n}:\n        - parallel:\n{}",
                inner.replace("          c", "            c")
            )
        })
        .collect();
    let driver = started("", &format!("  - parallel:\n{outer}"));
    assert!(
        driver.log()[0].starts_with("consume suspend:QS1332@parallel-"),
        "{:?}",
        driver.log()
    );
}

#[test]
fn numbers_are_exact_where_they_are_only_passed_on() {
    let head = "messages: { o: order, r: t3 }\nvariables: { total: { type: decimal } }\nsteps:\n  - { receive: o, activate: true, name: first }\n";
    let definition = compiled(&format!(
        "{head}  - assign: {{ total: o.Total }}\n  - {{ transform: any, from: o, to: r, with: {{ total: total, double: \"total * 2.0\" }} }}\n"
    ));
    let total = Value::Decimal("1234567890123456789.01".parse().expect("a decimal"));
    let driver = Driver::started(definition, "order", &[("Total", total)]);
    let with = driver.effects().find_map(|effect| match effect {
        Effect::Keep(call) => Some(format!("{:?}", call.with)),
        _ => None,
    });
    assert!(with.expect("a map").contains("1234567890123456789.01"));
}
