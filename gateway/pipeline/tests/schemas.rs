//! Documents against schemas, the harmless and the hostile ones.

use std::{collections::BTreeMap, io, sync::Arc};

use quayside_pipeline::{FINDINGS_MAX, JSON_MAX, Kind, ReadFile, Schema};

const ORDER: &str = r#"{"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
  "required": ["id", "lines"],
  "properties": {"id": {"$ref": "common.json#/$defs/id"},
    "lines": {"type": "array", "items": {"type": "object", "required": ["sku"]}}}}"#;

const COMMON: &str = r#"{"$defs": {"id": {"type": "string", "pattern": "^[0-9]{4}(a+)+$"}}}"#;

/// Files by their paths, and nothing else.
fn files(files: &[(&str, &str)]) -> ReadFile {
    let files: BTreeMap<String, String> = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .collect();
    Arc::new(move |path| {
        let text = files
            .get(path)
            .ok_or_else(|| format!("there is no {path}"))?;
        Ok(text.clone().into_bytes())
    })
}

fn order() -> Schema {
    let files = files(&[
        ("schemas/order.json", ORDER),
        ("schemas/common.json", COMMON),
    ]);
    Schema::compile("schemas/order.json", &files).expect("a schema")
}

/// The findings as lines.
fn findings(schema: &Schema, document: &str) -> Vec<String> {
    let findings = schema.validate(document.as_bytes(), document.len() as u64);
    let text = findings.expect("a whole document").to_string();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_json_document_fits_or_each_line_says_why_not() {
    let schema = order();
    assert_eq!(schema.kind(), Kind::Json);
    let good = r#"{"id": "1234aa", "lines": [{"sku": "a"}]}"#;
    assert_eq!(findings(&schema, good), Vec::<String>::new());
    let bad = r#"{"id": "secret", "lines": [{"sku": "a"}, {}]}"#;
    let found = findings(&schema, bad);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found.iter().any(|line| line.starts_with("/id: ")),
        "{found:#?}"
    );
    assert!(
        found.iter().any(|line| line.starts_with("/lines/1: ")),
        "{found:#?}"
    );
    assert!(!found.concat().contains("secret"), "{found:#?}");
}

#[test]
fn many_findings_are_cut() {
    let short = format!(r#"{{"id": "1234a", "lines": [{}0]}}"#, "0,".repeat(1000));
    let found = findings(&order(), &short);
    assert_eq!(found.len(), FINDINGS_MAX + 1);
    assert_eq!(found[FINDINGS_MAX], "and more");
    let long = format!(r#"{{"id": "1234a", "lines": [{}0]}}"#, "0,".repeat(100_000));
    let found = findings(&order(), &long);
    assert!(
        found.len() == 1 && found[0].starts_with("it does not fit"),
        "{found:#?}"
    );
}

#[test]
fn alternatives_under_a_schema_that_refers_to_itself_take_no_time_that_grows_with_each_level() {
    let schema = r##"{"$ref": "#/$defs/n", "$defs": {"n": {"anyOf": [
        {"type": "object", "properties": {"op": {"const": "and"}, "arg": {"$ref": "#/$defs/n"}}},
        {"type": "object", "properties": {"op": {"const": "or"}, "arg": {"$ref": "#/$defs/n"}}}]}}}"##;
    let schema = Schema::compile("a.json", &files(&[("a.json", schema)])).expect("a schema");
    let nested = |leaf: &str| {
        format!(
            "{}{leaf}{}",
            r#"{"op": "and", "arg": "#.repeat(100),
            "}".repeat(100)
        )
    };
    assert_eq!(
        findings(&schema, &nested(r#"{"op": "or"}"#)),
        Vec::<String>::new()
    );
    let found = findings(&schema, &nested("7"));
    assert!(
        found.len() == 1 && found[0].starts_with("it does not fit"),
        "{found:#?}"
    );
}

#[test]
fn alternatives_over_a_large_document_list_nothing() {
    let schema =
        r#"{"oneOf": [{"type": "array", "items": {"type": "string"}}, {"type": "object"}]}"#;
    let schema = Schema::compile("a.json", &files(&[("a.json", schema)])).expect("a schema");
    let found = findings(&schema, &format!("[{}0]", "0,".repeat(150_000)));
    assert!(
        found.len() == 1 && found[0].starts_with("it does not fit"),
        "{found:#?}"
    );
}

#[test]
fn the_document_that_is_judged_is_the_one_that_is_stored() {
    let schema = order();
    let hidden =
        r#"{"id": "1234a", "lines": [{"$serde_json::private::RawValue": "{\"sku\": \"a\"}"}]}"#;
    assert_eq!(
        findings(&schema, hidden).len(),
        1,
        "the member that it needs is not there"
    );
    let marked = "\u{feff}{\"id\": \"1234a\", \"lines\": []}";
    assert_eq!(findings(&schema, marked), Vec::<String>::new());
}

#[test]
fn a_finding_is_one_short_line_whatever_the_document_calls_its_members() {
    let schema = r#"{"additionalProperties": {"type": "string"}}"#;
    let schema = Schema::compile("a.json", &files(&[("a.json", schema)])).expect("a schema");
    let name = format!("a\\nQS0000 forged{}", "b".repeat(3000));
    let found = findings(&schema, &format!(r#"{{"{name}": 1}}"#));
    assert!(found.len() == 1 && found[0].len() < 500, "{found:#?}");
}

#[test]
fn a_pattern_takes_linear_time_whatever_it_meets() {
    // Of the form that takes exponential time where matching goes back.
    let bomb = format!("1234{}!", "a".repeat(50_000));
    let found = findings(&order(), &format!(r#"{{"id": "{bomb}", "lines": []}}"#));
    assert_eq!(found.len(), 1, "{found:#?}");
}

#[test]
fn a_schema_that_cannot_be_used_says_why() {
    for (text, word) in [
        ("{", "EOF"),
        (r#"{"type": "objekt"}"#, "objekt"),
        (
            r#"{"$ref": "http://example.com/a.json"}"#,
            "nothing is fetched",
        ),
        (r#"{"$ref": "b.json"}"#, "there is no b.json"),
        (r#"{"pattern": "(a{1000}){1000}"}"#, "a{1000}"),
        (r#"{"pattern": "(?=a)b"}"#, "(?=a)b"),
    ] {
        match Schema::compile("a.json", &files(&[("a.json", text)])) {
            Ok(_) => panic!("{text}: it can be used"),
            Err(why) => assert!(why.contains(word), "{text}: {why}"),
        }
    }
    assert!(Schema::compile("a.xsd", &files(&[("a.xsd", "{}")])).is_err());
}

#[test]
fn what_cannot_be_read_or_is_too_large_is_told() {
    struct Breaks;
    impl io::Read for Breaks {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("gone"))
        }
    }
    let broken = order().validate(Breaks, 10).expect_err("it broke off");
    assert_eq!(broken.code.code, "QS0229");
    assert!(broken.detail.contains("gone"), "{broken}");
    let large = order()
        .validate(&b"{}"[..], JSON_MAX + 1)
        .expect_err("too large");
    assert_eq!(large.code.code, "QS0230");
}
