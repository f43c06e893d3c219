//! What is accepted, what is found, what is refused, and with which code.

use quayside_model::Code;

use crate::{
    Expected, Invalid, Kind, Rule, Scanned, codes,
    testing::{self, promotions, shown},
};

fn required(path: &str) -> Rule {
    Rule {
        required: true,
        ..Rule::jsonpath(path)
    }
}

fn scan(body: &str, expected: Vec<Expected<'_>>) -> Result<Scanned, Invalid> {
    testing::scan(Kind::Json, expected, body)
}

#[test]
fn paths_find_their_values() {
    for (path, body, found) in [
        ("$.a", r#"{"a": "x", "b": 2}"#, Some("x")),
        ("$.a", r#"{"b": {"a": "x"}}"#, None),
        (
            "$.a.b",
            r#"{"x": {"b": 1}, "a": {"b": -2.50e3}, "b": 3}"#,
            Some("-2.50e3"),
        ),
        ("$.a.b", r#"{"a": [{"b": 1}], "c": {"a": {"b": 2}}}"#, None),
        (
            "$.a[1].b",
            r#"{"a": [{"b": 1}, {"b": 2}, {"b": 3}]}"#,
            Some("2"),
        ),
        ("$[0][1]", "[[1,\n2], 3]", Some("2")),
        ("$.a", r#"{"a": null}"#, None),
        ("$.a", r#"{"a": true}"#, Some("true")),
        (
            "$['a b']",
            r#"{"\u0061 b": "\u00e4\ud834\udd1e\n\/ä"}"#,
            Some("ä𝄞\n/ä"),
        ),
        ("$.b", r#"{"a": {"a": 1, "a": 2}, "b": ""}"#, Some("")),
    ] {
        let promotions = promotions([("P", Rule::jsonpath(path))]);
        let scanned =
            scan(body, vec![(None, &promotions)]).unwrap_or_else(|e| panic!("{body}: {e}"));
        let expected: Vec<String> = found.iter().map(|value| format!("P={value}")).collect();
        assert_eq!(shown(&scanned), expected, "{path} in {body}");
    }
}

#[test]
fn what_is_not_well_formed_is_refused() {
    for (body, expected) in [
        ("", codes::INCOMPLETE),
        (" \n", codes::INCOMPLETE),
        ("{", codes::INCOMPLETE),
        ("[1", codes::INCOMPLETE),
        (r#""a"#, codes::INCOMPLETE),
        ("tru", codes::INCOMPLETE),
        ("-", codes::INCOMPLETE),
        ("{}x", codes::TRAILING),
        ("1 2", codes::TRAILING),
        ("[1,]", codes::JSON_SYNTAX),
        ("{\"a\":1,}", codes::JSON_SYNTAX),
        ("{a:1}", codes::JSON_SYNTAX),
        ("{\"a\" 1}", codes::JSON_SYNTAX),
        ("[1}", codes::JSON_SYNTAX),
        ("[1 2]", codes::JSON_SYNTAX),
        ("01", codes::JSON_SYNTAX),
        ("[1.]", codes::JSON_SYNTAX),
        ("[+1]", codes::JSON_SYNTAX),
        ("[.5]", codes::JSON_SYNTAX),
        ("[1e]", codes::JSON_SYNTAX),
        ("[NaN]", codes::JSON_SYNTAX),
        ("[nulL]", codes::JSON_SYNTAX),
        (r#"["\x"]"#, codes::JSON_SYNTAX),
        (r#"["\u12g4"]"#, codes::JSON_SYNTAX),
        (r#"["\ud834"]"#, codes::LONE_SURROGATE),
        (r#"["\ud834x"]"#, codes::LONE_SURROGATE),
        (r#"["\ud834\n"]"#, codes::LONE_SURROGATE),
        (r#"["\udd1e"]"#, codes::LONE_SURROGATE),
        (r#"["\ud834\u0041"]"#, codes::LONE_SURROGATE),
        ("[\"a\nb\"]", codes::CHARACTER),
        ("[\u{0}]", codes::CHARACTER),
        ("// c\n1", codes::JSON_SYNTAX),
    ] {
        let code: Option<Code> = scan(body, Vec::new()).err().map(|invalid| invalid.code);
        assert_eq!(code, Some(expected), "{body}");
    }
    let deep = "[".repeat(257) + &"]".repeat(257);
    assert_eq!(
        scan(&deep, Vec::new()).expect_err("too deep").code,
        codes::TOO_DEEP
    );
    assert_eq!(scan(&deep[1..513], Vec::new()), Ok(Scanned::default()));
    let key = format!("{{\"{}\":1}}", "k".repeat(1025));
    assert_eq!(
        scan(&key, Vec::new()).expect_err("too long").code,
        codes::TOO_LONG
    );
}

#[test]
fn values_that_cannot_be_properties_are_refused() {
    let long = format!(r#"{{"a":{{"b":"{}"}}}}"#, "ä".repeat(5000));
    for (body, expected) in [
        (r#"{"a":{"b":1,"b":2}}"#, codes::DUPLICATE_KEY),
        (r#"{"a":{"b":1},"a":{"c":2}}"#, codes::DUPLICATE_KEY),
        (r#"{"a":{"b":{}}}"#, codes::NOT_A_VALUE),
        (r#"{"a":{"b":[1]}}"#, codes::NOT_A_VALUE),
        (r#"{"a":{"b":null}}"#, codes::REQUIRED),
        (r#"{"a":1}"#, codes::REQUIRED),
        (r#"{"a":{"b":"\u0000"}}"#, codes::CHARACTER),
        (&long, codes::VALUE_TOO_LONG),
    ] {
        let promotions = promotions([("P", required("$.a.b"))]);
        let invalid = scan(body, vec![(None, &promotions)]).expect_err(body);
        assert_eq!(invalid.code, expected, "{body:.60}");
    }
}

#[test]
fn of_several_types_the_first_that_is_whole_counts() {
    let (order, invoice) = (
        promotions([("Order", required("$.order.id"))]),
        promotions([("Invoice", required("$.invoice"))]),
    );
    let expected = || vec![(Some("order"), &order), (Some("invoice"), &invoice)];
    let scanned = scan(r#"{"invoice": 5}"#, expected()).expect("an invoice");
    assert_eq!(scanned.message_type.as_deref(), Some("invoice"));
    assert_eq!(shown(&scanned), ["Invoice=5"]);
    let scanned = scan(r#"{"invoice": {}, "order": {"id": 1}}"#, expected()).expect("an order");
    assert_eq!(scanned.message_type.as_deref(), Some("order"));
    let neither = scan("{}", expected()).expect_err("neither");
    assert_eq!(neither.code, codes::UNEXPECTED_TYPE);
    let xml = promotions([("Id", Rule::xpath("/a"))]);
    let only_xml = scan("{}", vec![(Some("u#a"), &xml)]).expect_err("found in XML only");
    assert_eq!(only_xml.code, codes::UNEXPECTED_TYPE);
}
