//! Every wrong definition is refused, with all faults at once, each at its place and with a remedy.

use std::collections::BTreeSet;

use quayside_model::{Entropy, SeededEntropy};
use quayside_orchestration::codes;

use crate::support::compile;

/// What most cases begin with: six lines.
const HEAD: &str = "\
messages: { order: order, request: approval-request, answer: approval-answer, reply: confirmation }
variables: { count: 0, who: '', limit: 1.5, open: true, lines: { type: list } }
correlations: { by_order: OrderId, by_priority: [OrderId, Priority] }
steps:
  - { receive: order, activate: true, initialise: by_order }
  - { transform: order-to-request, from: order, to: request }
";

fn faults(text: &str) -> Vec<String> {
    let defects = compile(text).err().unwrap_or_default();
    defects
        .iter()
        .map(|d| format!("{} {}", d.place, d.fault.code))
        .collect()
}

fn check(cases: &[(&str, &[&str])]) {
    let mut wrong = Vec::new();
    for (steps, expected) in cases {
        let text = format!("{HEAD}{steps}\n");
        let defects = compile(&text).err().unwrap_or_default();
        let told: Vec<String> = defects.iter().map(ToString::to_string).collect();
        if faults(&text) != *expected {
            wrong.push(format!("{steps}\nexpected {expected:?}\n{told:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_right_has_no_fault() {
    check(&[
        (
            "  - { send: request, to: approvers, initialise: by_priority }",
            &[],
        ),
        (
            "  - assign: { count: count + 1, who: order.OrderId, limit: order.Total * 2.0, open: count > 3 && who != '' }",
            &[],
        ),
        (
            "  - assign: { lines: \"items(order, '/a/b')\", who: string(count), request.Priority: \"'high'\" }",
            &[],
        ),
        (
            "  - assign: { open: \"has(order.Priority) && lines.exists(x, x == 'a') && size(lines) > 0 && found(order, '/a')\" }",
            &[],
        ),
        (
            "  - assign: { who: \"order.http.header['x-id'] + order.msg.id + now + run.id\" }",
            &[],
        ),
        (
            "  - { receive: answer, follow: by_order, name: later }",
            &[],
        ),
        (
            "  - { call: request, to: stock, reply: reply }\n  - { worker: reconcile, send: reply, reply: reply }",
            &[],
        ),
        (
            "  - loop: \"true\"\n    steps: [{ receive: answer, follow: by_order }]",
            &[],
        ),
    ]);
}

#[test]
fn keys_steps_and_forms() {
    check(&[
        ("  - { sned: request, to: erp }", &["7:7 QS1303"]),
        ("  - nothing", &["7:5 QS1305"]),
        ("  - {}", &["7:5 QS1303"]),
        ("  - { send: request, to: erp, tow: 1 }", &["7:31 QS1302"]),
        ("  - { send: request }", &["7:13 QS1304"]),
        (
            "  - { send: request, to: erp, publish: true }",
            &["7:13 QS1304"],
        ),
        ("  - { call: request, to: stock }", &["7:5 QS1304"]),
        ("  - { receive: answer }", &["7:16 QS1304"]),
        ("  - delay: 10 seconds", &["7:12 QS1305"]),
        (
            "  - { worker: reconcile, send: request, attempts: 0 }",
            &["7:51 QS1305"],
        ),
        ("  - scope: s\n    steps: []", &["8:12 QS1305"]),
        ("  - parallel: { one: [{ delay: 1s }] }", &["7:15 QS1305"]),
        (
            "  - decide: [{ otherwise: [{ delay: 1s }] }, { when: open, steps: [{ delay: 1s }] }]",
            &["7:14 QS1317", "7:14 QS1305"],
        ),
        ("  - listen: [{ steps: [{ delay: 1s }] }]", &["7:14 QS1304"]),
        (
            "  - { send: request, to: erp, notify: maybe }",
            &["7:39 QS1305"],
        ),
        ("  - raise: not a name", &["7:12 QS1305"]),
        (
            "  - { delay: 1s, name: a }\n  - { delay: 1s, name: a }",
            &["8:24 QS1306"],
        ),
    ]);
    assert_eq!(
        faults("steps: [{ delay: 1s }]"),
        ["1:1 QS1304", "1:9 QS1315"]
    );
    assert_eq!(faults("- a"), ["1:1 QS1305"]);
    assert_eq!(
        faults("messages: { a: order, a: order }\nsteps: 1"),
        ["1:23 QS1306", "2:8 QS1305"]
    );
    assert_eq!(
        faults(
            "messages: { now: order }\nvariables: { a-b: 1, c: { type: txt } }\nsteps: [{ delay: 1s }]"
        ),
        ["1:13 QS1305", "2:14 QS1305", "2:33 QS1305", "3:9 QS1315"]
    );
}

#[test]
fn names_and_what_the_application_has() {
    check(&[
        ("  - { send: requst, to: erp }", &["7:13 QS1307"]),
        ("  - { send: request, to: epr }", &["7:26 QS1312"]),
        (
            "  - { call: request, to: erp, reply: reply }",
            &["7:26 QS1312"],
        ),
        (
            "  - { transform: order-to-reqest, from: order, to: request }",
            &["7:18 QS1311"],
        ),
        (
            "  - { transform: order-to-request, from: request, to: order }",
            &["7:18 QS1311", "7:18 QS1311"],
        ),
        (
            "  - { transform: with-limit, from: order, to: request }",
            &["7:18 QS1311"],
        ),
        (
            "  - { transform: with-limit, from: order, to: request, with: { limt: 1, note: \"'a'\" } }",
            &["7:18 QS1311", "7:64 QS1311"],
        ),
        ("  - { start: settlment, with: order }", &["7:14 QS1313"]),
        ("  - { worker: recncile, send: order }", &["7:15 QS1314"]),
        ("  - { receive: answer, follow: by_ordr }", &["7:32 QS1307"]),
        (
            "  - { receive: answer, follow: by_priority }",
            &["7:5 QS1316", "7:32 QS1307"],
        ),
        ("  - assign: { cuont: 1 }", &["7:15 QS1307"]),
        ("  - assign: { order.Totl: 1.0 }", &["7:15 QS1307"]),
        ("  - assign: { count: cuont + 1 }", &["7:22 QS1307"]),
        ("  - assign: { who: order.OrderI }", &["7:20 QS1307"]),
        ("  - assign: { who: count.x }", &["7:20 QS1307"]),
        ("  - assign: { order: request }", &["7:22 QS1309"]),
        (
            "  - scope: s\n    steps: [{ delay: 1s }]\n    on_error: [{ catch: timout, steps: [{ delay: 1s }] }]",
            &["9:25 QS1307"],
        ),
        (
            "  - scope: s\n    steps: [{ delay: 1s }]\n    on_error: [{ compensate: t }]",
            &["9:30 QS1307"],
        ),
    ]);
    assert_eq!(
        faults("messages: { a: odrer }\nsteps: [{ receive: a, activate: true }]"),
        ["1:16 QS1310"]
    );
}

#[test]
fn expressions_are_checked_where_they_stand() {
    check(&[
        ("  - assign: { count: count + }", &["7:29 QS1308"]),
        ("  - assign: { open: count = 1 }", &["7:27 QS1308"]),
        ("  - assign: { count: who }", &["7:22 QS1309"]),
        ("  - assign: { count: \"count + who\" }", &["7:29 QS1309"]),
        ("  - assign: { limit: limit + 1 }", &["7:28 QS1309"]),
        ("  - assign: { open: who == 5 }", &["7:25 QS1309"]),
        ("  - assign: { open: count && open }", &["7:21 QS1309"]),
        (
            "  - assign: { open: \"who.startsWith(count)\" }",
            &["7:37 QS1309"],
        ),
        (
            "  - assign: { open: \"who.matches(who)\" }",
            &["7:33 QS1309"],
        ),
        ("  - assign: { who: lower(who) }", &["7:25 QS1308"]),
        ("  - assign: { who: order }", &["7:20 QS1309"]),
        ("  - assign: { who: error.message }", &["7:20 QS1321"]),
        ("  - assign: { who: text(order) }", &["7:24 QS1309"]),
        (
            "  - assign: { who: \"text(ordr, '/a')\" }",
            &["7:25 QS1307"],
        ),
        (
            "  - assign: { lines: \"lines.map(a, lines.map(b, lines.map(c, c)))\" }",
            &["7:58 QS1331"],
        ),
        (
            "  - loop: count\n    steps: [{ delay: 1s }]",
            &["7:11 QS1309"],
        ),
        (
            "  - each: x\n    in: count\n    steps: [{ delay: 1s }]",
            &["8:9 QS1309"],
        ),
        (
            "  - each: count\n    in: lines\n    steps: [{ delay: 1s }]",
            &["7:11 QS1306"],
        ),
        (
            "  - each: x\n    in: lines\n    steps: [{ assign: { x: 1 } }]",
            &["9:28 QS1305"],
        ),
        ("  - suspend: no reason", &["7:17 QS1308"]),
        ("  - delay: { until: count }", &["7:21 QS1309"]),
        ("  - suspend: |\n      'a'\n      + cuont", &["9:9 QS1307"]),
    ]);
}

#[test]
fn filters_see_the_properties_of_their_message() {
    let filter = |filter: &str| {
        let text = format!(
            "messages: {{ a: order }}\nsteps:\n  - receive: a\n    activate: true\n    filter: {filter}\n"
        );
        faults(&text)
    };
    for right in [
        "Total > 1000.0 && OrderId != ''",
        "has(http.method) && msg.type == 'x'",
        "\"http.header['x-id'] == 'a'\"",
        "true",
    ] {
        assert_eq!(filter(right), Vec::<String>::new(), "{right}");
    }
    assert_eq!(filter("Totl > 1000.0"), ["5:13 QS1307"]);
    assert_eq!(filter("a.Total > 1000.0 && OrderId > 5"), ["5:41 QS1309"]);
    assert_eq!(filter("Total"), ["5:13 QS1309"]);
    assert_eq!(filter("found(a, '/x')"), ["5:18 QS1307"]);
}

#[test]
fn every_path_is_looked_at() {
    check(&[
        // A receive that cannot activate first, and one that activates later.
        ("  - { receive: answer, activate: true }", &["7:5 QS1315"]),
        ("  - { send: answer, publish: true }", &["7:5 QS1319"]),
        (
            "  - decide: [{ when: open, steps: [{ receive: answer, follow: by_order }] }]\n  - { send: answer, publish: true }",
            &["8:5 QS1319"],
        ),
        (
            "  - decide: [{ when: open, steps: [{ receive: answer, follow: by_order }] }, { otherwise: [{ terminate: }] }]\n  - { send: answer, publish: true }",
            &[],
        ),
        (
            "  - scope: s\n    steps: [{ receive: answer, follow: by_order }]\n    on_error: [{ delay: 1s }]\n  - { send: answer, publish: true }",
            &["10:5 QS1319"],
        ),
        (
            "  - decide: [{ when: open, steps: [{ send: request, to: erp, initialise: by_priority }] }]\n  - listen: [{ receive: request, follow: by_priority }]",
            &["8:5 QS1316"],
        ),
        (
            "  - terminate:\n  - delay: 1s\n  - delay: 2s",
            &["8:5 QS1317"],
        ),
        (
            "  - loop: \"true\"\n    steps: [{ delay: 1s }]\n  - delay: 1s",
            &["9:5 QS1317"],
        ),
        (
            "  - scope: s\n    steps: [{ raise: x }]\n    compensate: [{ delay: 1s }]",
            &["9:18 QS1317"],
        ),
        (
            "  - scope: s\n    steps: [{ raise: x }]\n    on_error: [{ catch: any, steps: [{ delay: 1s }] }, { catch: x, steps: [{ delay: 1s }] }]",
            &["9:56 QS1317"],
        ),
        ("  - compensate: all", &["7:5 QS1321"]),
        (
            "  - scope: s\n    atomic: true\n    timeout: 1s\n    steps: [{ call: request, to: stock, reply: reply }, { delay: 1s }, { suspend: who }, { scope: t, steps: [{ send: request, to: erp, notify: true }] }]",
            &[
                "9:14 QS1318",
                "10:13 QS1318",
                "10:57 QS1318",
                "10:72 QS1318",
                "10:90 QS1318",
                "10:110 QS1318",
            ],
        ),
    ]);
    let first = "messages: { a: order, b: claim }\ncorrelations: { k: OrderId }\nsteps:\n";
    assert_eq!(faults(&format!("{first}  - delay: 1s")), ["4:5 QS1315"]);
    assert_eq!(
        faults(&format!("{first}  - {{ receive: a, follow: k }}")),
        ["4:5 QS1315", "4:5 QS1316"]
    );
    let side_by_side = "  - parallel:\n      x: [{ receive: a, activate: true, initialise: k }]\n      y: [{ receive: b, activate: true }]";
    assert_eq!(faults(&format!("{first}{side_by_side}")), ["6:11 QS1316"]);
}

#[test]
fn too_much_is_refused() {
    let nested = |depth: usize| {
        let mut text = HEAD.to_owned();
        for level in 0..depth {
            text.push_str(&format!(
                "{0}- scope: s{level}\n{0}  steps:\n",
                "  ".repeat(level * 2 + 1)
            ));
        }
        text + &format!("{}- delay: 1s\n", "  ".repeat(depth * 2 + 1))
    };
    assert_eq!(faults(&nested(20)), Vec::<String>::new());
    assert_eq!(faults(&nested(30)).len(), 1);
    assert!(faults(&nested(30))[0].ends_with("QS1320"));
    let many = format!("{HEAD}{}", "  - delay: 1s\n".repeat(2_100));
    assert_eq!(faults(&many), ["2005:5 QS1320"]);
    // A step that is there when the limit is reached, with lists that are left out by it.
    let last = format!(
        "{HEAD}{}  - decide: [{{ when: open, steps: [{{ decide: [{{ when: open, steps: [{{ delay: 1s }}] }}] }}] }}]\n",
        "  - delay: 1s\n".repeat(1_997)
    );
    assert!(
        faults(&last).iter().any(|fault| fault.ends_with("QS1320")),
        "{:?}",
        faults(&last)
    );
    let empty = format!(
        "{HEAD}  - decide:\n{}",
        "    - { when: open, steps: [] }\n".repeat(9_000)
    );
    assert!(!faults(&empty).is_empty());
    let long = format!("{HEAD}  - suspend: \"'{}'\"\n", "x".repeat(5_000));
    assert_eq!(faults(&long), ["7:14 QS1320"]);
}

#[test]
fn all_faults_come_at_once_with_what_to_do() {
    let text = format!(
        "{HEAD}  - {{ send: requst, to: epr }}\n  - assign: {{ cuont: who + 1 }}\n  - recieve: answer\n"
    );
    let defects = compile(&text).expect_err("it has faults");
    let told: Vec<String> = defects.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "7:13: QS1307: there is no message `requst`. Did you mean `request`?",
            "7:25: QS1312: the application has no send port `epr`. Did you mean `erp`?",
            "8:15: QS1307: there is no variable or message `cuont`. Did you mean `count`?",
            "9:5: QS1303: there is no step `recieve`. Did you mean `receive`?",
        ]
    );
}

#[test]
fn every_code_is_used_and_in_its_range() {
    let mut seen = BTreeSet::new();
    for code in codes::ALL {
        assert!(
            code.code.starts_with("QS13") && seen.insert(code.code),
            "{code}"
        );
    }
}

#[test]
fn no_text_is_a_panic() {
    let examples = [
        include_str!("../../examples/approval.orchestration.yaml"),
        include_str!("../../examples/claims.orchestration.yaml"),
        include_str!("../../examples/batch.orchestration.yaml"),
    ];
    let entropy = SeededEntropy::new(11);
    let below = |bound: usize| {
        let mut bytes = [0; 4];
        entropy.fill(&mut bytes);
        u32::from_le_bytes(bytes) as usize % bound
    };
    let (mut right, mut wrong) = (0, 0);
    for round in 0..3_000 {
        let mut lines: Vec<&str> = examples[round % 3].lines().collect();
        for _ in 0..1 + below(3) {
            let (a, b) = (below(lines.len()), below(lines.len()));
            match below(4) {
                0 => drop(lines.remove(a)),
                1 => lines.swap(a, b),
                2 => lines.insert(a, lines[b]),
                _ => lines[a] = lines[b],
            }
        }
        let mut text = lines.join("\n");
        if below(2) == 0 {
            let at = (0..=below(text.len()))
                .rev()
                .find(|at| text.is_char_boundary(*at))
                .unwrap_or(0);
            text.insert_str(at, ["'", "{", "- ", ": ", "\u{0}", "*", "|", "ä"][below(8)]);
        }
        match compile(&text) {
            Ok(definition) => {
                assert!(!definition.graph().is_empty() && !definition.graph_svg().is_empty());
                right += 1;
            }
            Err(defects) => {
                assert!(
                    !defects.is_empty() && defects.iter().all(|d| d.place.line > 0),
                    "{text}"
                );
                wrong += 1;
            }
        }
    }
    assert!(right > 100 && wrong > 1_000, "{right} right, {wrong} wrong");
}
