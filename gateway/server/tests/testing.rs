//! `quayside test`: the cases of the sample applications, what a failing one looks like, and `quayside explain` for files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn quayside(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quayside"))
        .args(args)
        .current_dir(dir)
        .env("NO_COLOR", "1")
        .output()
        .expect("the program runs")
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/apps")
}

/// A folder with applications: the files by their paths.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("below the folder")).expect("made");
        fs::write(path, text).expect("written");
    }
    dir
}

/// The sample application `orders` with other cases.
fn orders(cases: &str) -> tempfile::TempDir {
    let app = fs::read_to_string(samples().join("orders/app.toml")).expect("the sample");
    // Without its approvals.
    let (app, _) = app
        .split_once("# Where the orchestration")
        .expect("its ports");
    let (messages, rest) = app.split_once("# What a person").expect("its messages");
    let (_, ports) = rest.split_once("[receive.orders]").expect("its locations");
    let (ports, rest) = ports
        .split_once("[receive.approvals]")
        .expect("its locations");
    let (_, sends) = rest.split_once("[send.archive]").expect("its ports");
    let app = format!("{messages}[receive.orders]{ports}[send.archive]{sends}");
    let order = fs::read_to_string(samples().join("orders/tests/order.xml")).expect("the sample");
    folder(&[
        ("orders/app.toml", &app),
        ("orders/tests/order.xml", &order),
        ("orders/tests/cases.test.toml", cases),
    ])
}

#[test]
fn the_cases_of_the_samples_pass() {
    let mut tested = 0;
    for app in ["claims", "orders"] {
        let output = quayside(&samples(), &["test", app]);
        let text = printed(&output);
        assert_eq!(output.status.code(), Some(0), "{text}");
        let last = text.lines().last().unwrap_or_default();
        assert!(last.ends_with(" passed, 0 failed."), "{text}");
        tested += text
            .lines()
            .filter(|line| line.starts_with("passed  "))
            .count();
    }
    assert!(tested >= 7, "{tested}");
    // All samples at once share no name, and messages of one may go to another.
    let dir = samples();
    let one = quayside(
        &dir,
        &["test", "claims", "--case", "do not mix", "-o", "json"],
    );
    let told: serde_json::Value = serde_json::from_slice(&one.stdout).expect("JSON");
    assert_eq!(
        (&told["passed"], &told["ok"]),
        (&1.into(), &true.into()),
        "{told}"
    );
    assert_eq!(told["cases"][0]["application"], "claims");
}

const FAILING: &str = r#"
[[test]]
name = "a large order goes to the archive and to the ERP"
[[test.step]]
receive = "orders.web"
text = "<o:Order xmlns:o='urn:orders'><o:Id>1</o:Id><o:Customer id='C-9'/><o:Total>250000</o:Total></o:Order>"
promoted = { OrderId = 2, Country = "DE" }
[[test.step.sent]]
port = "archive"
at = { "/o:Order/o:Total" = 9, "/o:Order/o:Id" = 1 }
[[test.step.sent]]
port = "erp"

[[test]]
name = "nothing is expected"
[[test.step]]
receive = "orders.web"
file = "order.xml"
[[test.step.sent]]
port = "erp"
body = """
<o:Order xmlns:o="urn:orders">
  <o:Id>4712</o:Id>
  <o:Customer id="C-9"/>
  <o:Total>99.50</o:Total>
  <o:Country>DE</o:Country>
</o:Order>
"""
[[test.step]]
receive = "orders.web"
text = "<Note/>"
"#;

#[test]
fn a_failure_tells_its_place_what_was_expected_and_what_came() {
    let dir = orders(FAILING);
    let output = quayside(dir.path(), &["test", "orders"]);
    assert_eq!(printed(&output), FAILED);
    assert_eq!(output.status.code(), Some(1));
    let told = quayside(dir.path(), &["test", "orders", "-o", "json"]);
    assert_eq!(told.status.code(), Some(1));
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).expect("JSON");
    assert_eq!(
        (&told["failed"], &told["ok"]),
        (&2.into(), &false.into()),
        "{told}"
    );
    let first = &told["cases"][0]["failures"][0];
    assert_eq!(
        (&first["code"], &first["line"]),
        (&"QS0731".into(), &7.into()),
        "{first}"
    );
}

const FAILED: &str = "\
FAILED  orders: a large order goes to the archive and to the ERP
error[QS0731] the property Country is not as expected
  --> orders/tests/cases.test.toml:7:27
      expected DE
          came none
error[QS0731] the property OrderId is not as expected
  --> orders/tests/cases.test.toml:7:14
      expected 2
          came 1
error[QS0731] what stands at /o:Order/o:Total is not as expected
  --> orders/tests/cases.test.toml:10:8
      expected 9
          came 250000
error[QS0731] nothing was sent to `orders.erp`
  --> orders/tests/cases.test.toml:11:1
      a message of urn:orders#Order does not match:
      false  all of:
        true   msg.type == 'urn:orders#Order'   [msg.type is 'urn:orders#Order']
        false  Total < 100000.0   [Total is 250000]
FAILED  orders: nothing is expected
error[QS0731] the body is not as expected
  --> orders/tests/cases.test.toml:21:1
        <o:Order xmlns:o=\"urn:orders\">
      -   <o:Id>4712</o:Id>
      +   <o:Id>4711</o:Id>
          <o:Customer id=\"C-9\"/>
          <o:Total>99.50</o:Total>
error[QS0731] something was sent to `orders.archive` that the step does not expect
  --> orders/tests/cases.test.toml:16:1
      a message of urn:orders#Order with Country = DE, CustomerId = C-9, OrderId = 4711, Total = 99.5
error[QS0731] the sender is refused: QS0217
  --> orders/tests/cases.test.toml:29:1
      a message of type `Note` is not expected
0 passed, 2 failed.
";

#[test]
fn a_case_that_is_written_wrong_is_told_like_a_configuration() {
    let dir = orders(
        r#"
[[test]]
nam = "x"
[[test.step]]
receive = "orders.wob"
text = "<a/>"
[[test.step]]
advance = "soon"
[[test.step]]
receive = "orders.web"
file = "../../outside.xml"
[[test.step.sent]]
port = "archiv"
[[test.step]]
"#,
    );
    let output = quayside(dir.path(), &["test", "orders"]);
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(10), "{text}");
    for (line, what) in [
        (2, "`test.name` is missing"),
        (3, "unknown key `nam` in test"),
        (
            5,
            "there is no receive location `orders.wob` — did you mean `orders.web`?",
        ),
        (8, "`soon` is not a duration"),
        (11, "`../../outside.xml` cannot be read"),
        (13, "there is no `archiv`"),
        (
            14,
            "a step has one of `receive`, `advance`, `reply` and `order`",
        ),
    ] {
        assert!(text.contains(what), "{what}:\n{text}");
        assert!(
            text.contains(&format!("cases.test.toml:{line}:")),
            "{what}:\n{text}"
        );
    }
}

#[test]
fn without_a_case_there_is_nothing_to_pass() {
    let dir = orders("[[test]]\nname = \"one\"\n[[test.step]]\nadvance = \"1s\"\n");
    let output = quayside(dir.path(), &["test", "orders", "--case", "two"]);
    assert_eq!(output.status.code(), Some(3), "{}", printed(&output));
    assert!(printed(&output).contains("QS0732"), "{}", printed(&output));
}

/// An application whose orchestration asks a partner, waits for an answer and wants to know of a delivery.
const APPROVAL: &str = r#"
[app]
name = "approval"
[message.order]
type = "Order"
promote.Number = { xpath = "/Order/Number", required = true }
[message.answer]
type = "Answer"
promote.Number = { xpath = "/Answer/Number", required = true }
[message.receipt]
type = "Receipt"
[receive.in]
message = ["order", "answer"]
location.web.http = { path = "/in" }
[send.stock]
answers = true
primary.http = { url = "http://127.0.0.1:1/stock" }
[send.release]
primary.http = { url = "http://127.0.0.1:1/release" }
[send.approvers]
primary.http = { url = "http://127.0.0.1:1/approvers" }
[send.erp]
primary.http = { url = "http://127.0.0.1:1/erp" }
"#;

const APPROVE: &str = r#"
messages: { order: order, answer: answer, receipt: receipt }
correlations: { by_number: Number }
steps:
  - { receive: order, activate: true, initialise: by_number }
  - scope: approval
    timeout: 1h
    steps:
      - scope: reservation
        steps:
          - { call: order, to: stock, reply: receipt, name: reserve }
        compensate:
          - { send: order, to: release, name: release }
      - { send: order, to: approvers, name: ask }
      - { receive: answer, follow: by_number, name: wait }
      - decide:
          - when: "text(answer, '/Answer/Decision') != 'yes'"
            steps: [{ raise: refused }]
    on_error:
      - catch: [refused, timeout]
        steps:
          - compensate: all
          - terminate: "error.name"
  - { send: order, to: erp, name: book, notify: true }
"#;

const APPROVALS: &str = r#"
[[test]]
name = "what is approved is booked"
[[test.step]]
receive = "in"
text = "<Order><Number>7</Number></Order>"
[[test.step.sent]]
port = "stock"
[[test.step]]
reply = "stock"
text = "<Receipt/>"
[[test.step.sent]]
port = "approvers"
[[test.step]]
receive = "in.web"
text = "<Answer><Number>7</Number><Decision>yes</Decision></Answer>"
[[test.step.sent]]
port = "erp"
properties = { Number = 7 }
[[test.step.instance]]
orchestration = "approve"
state = "waiting"
at = "book"
[[test.step]]
reply = "erp"
[[test.step.instance]]
orchestration = "approve"
state = "completed"
consumed = ["order", "receipt", "answer"]

[[test]]
name = "nobody answers in time, and what was reserved is released"
[[test.step]]
receive = "in"
text = "<Order><Number>7</Number></Order>"
[[test.step.sent]]
port = "stock"
[[test.step]]
advance = "10m"
[[test.step]]
reply = "stock"
text = "<Receipt/>"
[[test.step.sent]]
port = "approvers"
[[test.step]]
advance = "49m59s"
[[test.step.instance]]
orchestration = "approve"
state = "waiting"
at = "wait"
[[test.step]]
advance = "1s"
[[test.step.sent]]
port = "release"
[[test.step.instance]]
orchestration = "approve"
state = "terminated"

[[test]]
name = "a stock that refuses suspends the instance, which goes on when it is asked again"
[[test.step]]
receive = "in"
text = "<Order><Number>7</Number></Order>"
[[test.step.sent]]
port = "stock"
[[test.step]]
reply = "stock"
status = 503
[[test.step.suspended]]
place = "approve"
[[test.step]]
order = "resume"
orchestration = "approve"
[[test.step.sent]]
port = "stock"
[[test.step]]
reply = "stock"
failure = "nobody is there"
[[test.step.suspended]]
place = "approve"
[[test.step]]
order = "terminate"
orchestration = "approve"
reason = "enough"
[[test.step.instance]]
orchestration = "approve"
state = "terminated"

[[test]]
name = "an answer to nobody waits for a while and is suspended then; a repeat has no instance of its own"
[[test.step]]
receive = "in"
text = "<Order><Number>7</Number></Order>"
[[test.step.sent]]
port = "stock"
[[test.step]]
receive = "in"
text = "<Order><Number>7</Number></Order>"
[[test.step.suspended]]
place = "approve"
code = "QS0825"
[[test.step]]
receive = "in"
text = "<Answer><Number>8</Number><Decision>no</Decision></Answer>"
[[test.step]]
advance = "6s"
[[test.step]]
advance = "1s"
[[test.step.suspended]]
place = "approve"
code = "QS0824"
[[test.step.instance]]
orchestration = "approve"
at = "reserve"
"#;

#[test]
fn partners_operators_and_time_are_played() {
    let dir = folder(&[
        ("app.toml", APPROVAL),
        ("approve.orchestration.yaml", APPROVE),
        ("tests/approve.test.toml", APPROVALS),
    ]);
    let output = quayside(dir.path(), &["test", "."]);
    let text = printed(&output);
    assert!(text.ends_with("4 passed, 0 failed.\n"), "{text}");
    let again = quayside(dir.path(), &["test", "."]);
    assert_eq!(printed(&again), text, "the same cases come to the same");
}

/// An application with senders that wait, failures that are published, a schema, and orchestrations that start others.
const DESK: &str = r#"
[app]
name = "desk"
[message.question]
type = "Question"
promote.Number = { xpath = "/Question/Number", required = true }
[message.order]
type = "Order"
promote.Number = { xpath = "/Order/Number" }
[message.note]
type = "note"
schema = "note.json"
promote.Kind = { jsonpath = "$.kind" }
[receive.ask]
message = "question"
answer_within = "10s"
location.web.http = { path = "/ask" }
[receive.buy]
message = "order"
answer_within = "10s"
location.web.http = { path = "/buy" }
[receive.notes]
message = "note"
location.web.http = { path = "/notes" }
[send.shop]
filter = "msg.type == 'Order'"
answers = true
primary.http = { url = "http://127.0.0.1:1/" }
[send.fragile]
filter = "msg.type == 'Order' && Number == '2'"
on_failure = "publish"
primary.http = { url = "http://127.0.0.1:1/" }
[send.alarm]
filter = "has(error.code) && error['send-port'] == 'desk.fragile'"
primary.http = { url = "http://127.0.0.1:1/" }
[send.notes]
filter = "msg.type == 'note'"
primary.file = { folder = "notes", create = true, file_name = "{Kind}.json" }
"#;

const ANSWER: &str = r#"
messages: { question: question }
steps:
  - { receive: question, activate: true, filter: "Number == '1'" }
  - { start: log, with: question }
  - delay: 5s
  - { send: question, answer: question, name: say }
"#;

const LOG: &str = r#"
messages: { question: question }
steps:
  - { receive: question, activate: true, filter: "Number == '9'" }
  - assign: { question.Number: "'3'" }
  - { send: question, publish: true, name: tell }
"#;

const DESK_CASES: &str = r#"
[[test]]
name = "an orchestration answers the sender; the one that it starts publishes what nobody wants, and is suspended"
[[test.step]]
receive = "ask"
text = "<Question><Number>1</Number></Question>"
[[test.step.suspended]]
place = "log"
code = "QS0801"
[[test.step]]
advance = "4s"
[[test.step]]
advance = "1s"
[[test.step.answered]]
status = 200
at = { "/Question/Number" = 1 }
[[test.step.instance]]
orchestration = "answer"
state = "completed"

[[test]]
name = "a port brings the answer of its partner back, and a failure is published"
[[test.step]]
receive = "buy"
text = "<Order><Number>2</Number></Order>"
[[test.step.sent]]
port = "fragile"
[[test.step.sent]]
port = "shop"
[[test.step]]
reply = "shop"
status = 201
text = "<Done/>"
[[test.step.answered]]
status = 201
body = "<Done/>"
[[test.step]]
reply = "fragile"
failure = "it is broken"
code = "QS0402"
[[test.step.published]]
by = "fragile"
properties = { error.code = "QS0402", error.send-port = "desk.fragile" }
[[test.step.sent]]
port = "alarm"

[[test]]
name = "a note has to fit its schema and to have a name for its file"
[[test.step]]
receive = "notes"
text = '{"kind": "a", "text": "x"}'
content_type = "application/json"
promoted = { validation.result = "valid" }
[[test.step.sent]]
port = "notes"
at = { "$.text" = "x" }
[[test.step]]
receive = "notes"
text = '{"kind": 5}'
content_type = "application/json"
refused = "QS0228"
[[test.step]]
receive = "notes"
text = '{}'
content_type = "application/json"
[[test.step.suspended]]
place = "notes"
code = "QS0807"
"#;

const NOTE: &str = r#"{"type": "object", "properties": {"kind": {"type": "string"}}}"#;

#[test]
fn senders_get_answers_and_failures_go_their_way() {
    let dir = folder(&[
        ("app.toml", DESK),
        ("note.json", NOTE),
        ("answer.orchestration.yaml", ANSWER),
        ("log.orchestration.yaml", LOG),
        ("tests/desk.test.toml", DESK_CASES),
    ]);
    let output = quayside(dir.path(), &["test", "."]);
    let text = printed(&output);
    assert!(text.ends_with("3 passed, 0 failed.\n"), "{text}");
    // Published as it is, it starts again what has started it.
    let endless = LOG.replace("'3'", "'1'");
    fs::write(dir.path().join("log.orchestration.yaml"), endless).expect("written");
    let output = quayside(
        dir.path(),
        &["test", ".", "--case", "an orchestration answers"],
    );
    let text = printed(&output);
    assert!(
        text.contains("there are more than 10000 messages"),
        "{text}"
    );
    assert_eq!(output.status.code(), Some(1), "{text}");
}

#[test]
fn a_reply_that_nobody_waits_for_fails_the_case() {
    let dir = orders("[[test]]\nname = \"x\"\n[[test.step]]\nreply = \"erp\"\nstatus = 200\n");
    let output = quayside(dir.path(), &["test", "orders"]);
    let text = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("nobody waits for what `orders.erp` says; nobody is asked anything"),
        "{text}"
    );
}

#[test]
fn a_file_is_held_against_every_subscription() {
    let dir = orders("");
    fs::write(
        dir.path().join("large.xml"),
        "<o:Order xmlns:o='urn:orders'><o:Id>1</o:Id><o:Customer id='C-9'/><o:Total>250000</o:Total></o:Order>",
    )
    .expect("written");
    let output = quayside(
        dir.path(),
        &["explain", "large.xml", "orders", "--receive", "orders"],
    );
    assert_eq!(printed(&output), EXPLAINED);
    assert_eq!(output.status.code(), Some(0));
    let args = [
        "explain",
        "-",
        "orders",
        "--type",
        "urn:orders#Order",
        "--property",
        "Total=5",
    ];
    let output = quayside(dir.path(), &[&args[..], &["-o", "json"]].concat());
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let all = told["subscriptions"]
        .as_array()
        .expect("subscriptions")
        .iter();
    assert!(all.clone().all(|one| one["matched"] == true), "{told}");
    for (args, code, what) in [
        (&["explain", "large.xml", "orders"][..], 2, "--receive"),
        (
            &["explain", "large.xml", "orders", "--receive", "ordres"],
            3,
            "did you mean",
        ),
        (
            &["explain", "none.xml", "orders", "--receive", "orders"],
            1,
            "none.xml",
        ),
        (
            &["explain", "-", "orders", "--port", "none"],
            3,
            "orders.erp",
        ),
        (
            &["explain", "-", "orders", "--property", "Total=x"],
            2,
            "Total",
        ),
        (
            &[
                "explain",
                "orders/app.toml",
                "orders",
                "--receive",
                "orders",
            ],
            1,
            "does not take it in",
        ),
    ] {
        let output = quayside(dir.path(), args);
        let text = printed(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert!(text.contains(what), "{args:?}: {text}");
    }
}

const EXPLAINED: &str = "\
urn:orders#Order from orders.orders.web
  CustomerId = 'C-9'
  OrderId = '1'
  Total = 250000

It goes to orders.archive.

orders.archive (send port) gets it
  true   msg.type == 'urn:orders#Order'   [msg.type is 'urn:orders#Order']

orders.erp (send port) does not get it
  false  all of:
    true   msg.type == 'urn:orders#Order'   [msg.type is 'urn:orders#Order']
    false  Total < 100000.0   [Total is 250000]
";
