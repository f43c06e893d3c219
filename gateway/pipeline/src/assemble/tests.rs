//! What is written, what is refused, and what is told of a configuration that cannot work.

use serde_json::{Value, json};

use super::*;

fn compiled(spec: Value) -> Assemble {
    let spec: AssembleSpec = serde_json::from_value(spec).expect("a spec");
    spec.compile().expect("no fault")
}

fn file(assemble: &Assemble, document: &str) -> String {
    let made = assemble.apply(None, document.as_bytes()).expect("a file");
    String::from_utf8(made).expect("UTF-8")
}

fn fault(assemble: &Assemble, document: &str) -> (Code, String) {
    let error = assemble
        .apply(None, document.as_bytes())
        .expect_err("a fault");
    (error.code, error.detail)
}

/// A column more of CSV that every document here has.
fn csv(column: Value) -> Assemble {
    compiled(json!({"format": "csv", "columns": [{"name": "a"}, column]}))
}

fn fixed(column: Value) -> Assemble {
    compiled(json!({"format": "fixed", "columns": [column]}))
}

const PAYMENTS: &str = r#"<Batch xmlns="urn:payments"><Id>B7</Id><Payment no="1"><Number>1</Number>
    <Account>DE1</Account><Amount>12.50</Amount></Payment><Payment no="2"><Number>-2</Number><Amount>0.05</Amount>
    <Account> ÄÖ </Account><More/></Payment></Batch>"#;

fn bank() -> Value {
    json!({
        "format": "fixed", "path": "/p:Batch/p:Payment", "namespaces": {"p": "urn:payments"}, "line_end": "crlf",
        "tag": "D",
        "columns": [
            {"name": "Kind", "width": 1, "skip": true},
            {"name": "Number", "width": 4, "type": "integer", "align": "right", "pad": "0"},
            {"name": "Account", "width": 5},
            {"name": "Amount", "width": 6, "type": "decimal", "scale": 2, "align": "right"},
            {"name": "No", "from": 18, "width": 2, "path": "@no", "align": "right"},
            {"name": "Batch", "width": 3, "path": "/p:Batch/p:Id", "pad": "."},
        ],
        "head": {"tag": "H", "columns": [{"name": "Kind", "width": 1, "skip": true}, {"name": "Id", "width": 3}]},
        "trailer": {
            "tag": "T",
            "columns": [
                {"name": "Kind", "width": 1, "skip": true},
                {"name": "Payments", "width": 3, "type": "integer", "align": "right", "pad": "0"},
                {"name": "Lines", "width": 3, "count": "lines"},
                {"name": "Sum", "width": 6, "type": "decimal", "digits": 2, "path": "sum(/p:Batch/p:Payment/p:Amount)"},
                {"name": "Is", "width": 1, "value": "!"},
            ],
            "count": "Payments",
        },
    })
}

#[test]
fn lines_of_fixed_width_with_head_and_trailer() {
    let bank = compiled(bank());
    assert_eq!(bank.content_type(), "text/plain; charset=utf-8");
    assert_eq!(
        file(&bank, PAYMENTS),
        "HB7 \r\nD0001DE1    1250  1B7.\r\nD-002ÄÖ        5  2B7.\r\nT0024  12.55 !\r\n"
    );
}

#[test]
fn lines_with_delimiters_and_names() {
    let spec = json!({
        "format": "csv", "path": "$.items", "delimiter": ";", "names": true, "tag": "D", "tag_at": 2,
        "columns": [
            {"name": "Id"},
            {"name": "K;nd", "skip": true},
            {"name": "Amount", "type": "decimal", "point": ",", "digits": 1},
            {"name": "Street", "path": "@.address.street"},
            {"name": "Paid", "type": "boolean"},
        ],
        "head": {"columns": [{"name": "from"}, {"name": "n", "count": "records"}]},
        "trailer": {"tag": "T"},
    });
    let document = r#"{"from": "me", "items": [
        {"Id": 7, "Amount": 1.50, "address": {"street": "a;\"b\""}, "Paid": true, "x": []},
        {"Paid": null, "Id": "x\ny", "Amount": "+3"}]}"#;
    let csv = compiled(spec);
    assert_eq!(csv.content_type(), "text/csv; charset=utf-8");
    assert_eq!(
        file(&csv, document),
        "me;2\nId;\"K;nd\";Amount;Street;Paid\n7;D;1,5;\"a;\"\"b\"\"\";true\n\"x\ny\";D;3,0;;\n;T\n"
    );
}

#[test]
fn the_document_itself_is_a_record_and_an_array_is_its_elements() {
    let csv = csv(json!({"name": "b"}));
    assert_eq!(file(&csv, r#"{"a": 1, "b": "x"}"#), "1,x\n");
    assert_eq!(file(&csv, "<r><b>x</b><a>1</a></r>"), "1,x\n");
    assert_eq!(file(&csv, r#"[{"a": 1}, {"b": 2}]"#), "1,\n,2\n");
    let alone = compiled(json!({"format": "csv", "columns": [{"name": "a", "path": "@"}]}));
    assert_eq!(file(&alone, r#"["x", null, ""]"#), "x\n\"\"\n\"\"\n");
}

#[test]
fn a_document_without_records_is_a_fault_unless_that_is_said() {
    let mut spec = bank();
    let none = r#"<Batch xmlns="urn:payments"><Id>B8</Id></Batch>"#;
    assert_eq!(fault(&compiled(spec.clone()), none).0, codes::NO_RECORDS);
    spec["empty"] = true.into();
    spec["trailer"]["columns"][3] = json!({"name": "Sum", "width": 6, "value": "0"});
    assert_eq!(
        file(&compiled(spec.clone()), none),
        "HB8 \r\nT0002  0     !\r\n"
    );
    let wrong = "<Batch/>";
    assert_eq!(
        file(&compiled(spec.clone()), wrong),
        "H   \r\nT0002  0     !\r\n"
    );
    for other in ["{}", "plain text"] {
        assert_eq!(
            fault(&compiled(spec.clone()), other).0,
            codes::NO_RECORDS,
            "{other}"
        );
    }
    let malformed = fault(&compiled(spec), "<Batch>");
    assert_eq!(malformed.0, codes::INCOMPLETE);
}

#[test]
fn a_value_that_cannot_stand_in_its_column_is_a_fault() {
    let one = |column: Value| {
        let mut all = json!({"name": "a"});
        let more = column.as_object().expect("an object").clone();
        all.as_object_mut().expect("an object").extend(more);
        all
    };
    let narrow = |column: Value| fixed(one(column));
    for (assemble, document, code, told) in [
        (
            narrow(json!({"width": 3})),
            r#"{"a": "äöüß"}"#,
            codes::FIELD_TOO_LONG,
            "record 1: `a`: `äöüß` has 4 characters, and 3 are the most",
        ),
        (
            narrow(json!({"width": 3})),
            r#"{"a": "x\ny"}"#,
            codes::FIELD,
            "has a line end",
        ),
        (
            narrow(json!({"width": 9, "type": "integer"})),
            r#"[{"a": 1}, {"a": 1.5}]"#,
            codes::FIELD,
            "record 2: `a`: `1.5` is not a whole number",
        ),
        (
            narrow(json!({"width": 9, "type": "decimal", "scale": 2})),
            r#"{"a": 1.005}"#,
            codes::FIELD,
            "more than 2 digits behind its point",
        ),
        (
            narrow(json!({"width": 9, "type": "decimal", "digits": 0})),
            r#"{"a": 0.1}"#,
            codes::FIELD,
            "more than 0 digits",
        ),
        (
            narrow(json!({"width": 9, "required": true})),
            r#"{"a": "  "}"#,
            codes::FIELD,
            "there is no value",
        ),
        (
            narrow(json!({"width": 9})),
            r#"{"a": {"b": 1}}"#,
            codes::FIELD,
            "an object or list",
        ),
        (
            narrow(json!({"width": 9})),
            r#"{"a": 1, "a": 2}"#,
            codes::FIELD,
            "more than once",
        ),
        (
            narrow(json!({"width": 9})),
            "[1]",
            codes::FIELD,
            "nothing in it has a name",
        ),
        (
            narrow(json!({"width": 9, "path": "b"})),
            "<r><b/><b/></r>",
            codes::FIELD,
            "more than one value",
        ),
        (
            compiled(json!({"format": "csv", "quote": "", "columns": [{"name": "a"}]})),
            r#"{"a": "x,y"}"#,
            codes::FIELD,
            "would need quotes",
        ),
    ] {
        let (found, detail) = fault(&assemble, document);
        assert_eq!(found, code, "{document}: {detail}");
        assert!(detail.contains(told), "{document}: {detail}");
    }
}

#[test]
fn a_record_that_looks_like_the_trailer_is_a_fault() {
    for (format, width) in [("csv", None), ("fixed", Some(2))] {
        let spec = json!({
            "format": format, "columns": [{"name": "a", "width": width}], "trailer": {"tag": "T"},
        });
        let assemble = compiled(spec);
        assert_eq!(
            file(&assemble, r#"{"a": "U"}"#).trim_end(),
            if width.is_some() { "U \nT" } else { "U\nT" }
        );
        let (code, detail) = fault(&assemble, r#"{"a": "T"}"#);
        assert_eq!(code, codes::FIELD);
        assert!(detail.contains("taken for the head or trailer"), "{detail}");
    }
}

#[test]
fn nothing_is_larger_than_it_may_be() {
    let wide = fixed(json!({"name": "a", "width": 1_000_000}));
    let document = format!("[{}{{}}]", "{},".repeat(16));
    let (code, _) = fault(&wide, &document);
    assert_eq!(code, codes::FILE_TOO_LARGE);
    let document = format!("[{}{{}}]", "{},".repeat(14));
    assert_eq!(file(&wide, &document).len(), 15_000_015);
    let long = format!("\"{}\"", "x".repeat(4 * 1024 * 1024));
    let alone = compiled(json!({"format": "csv", "columns": [{"name": "a", "path": "@"}]}));
    assert_eq!(
        fault(&alone, &format!("[{long}]")).0,
        codes::MAP_INPUT_TOO_LARGE
    );
}

#[test]
fn every_fault_of_a_configuration_is_told_at_its_key() {
    for (spec, places) in [
        (json!({"format": "csv"}), vec!["columns"]),
        (
            json!({"format": "fixed", "delimiter": ";", "quote": "", "names": true, "columns": [{"name": "a", "width": 1}]}),
            vec!["delimiter", "quote", "names"],
        ),
        (
            json!({"format": "csv", "path": "/a[", "columns": [{"name": "a", "path": "/x:a"}]}),
            vec!["path", "columns.0.path"],
        ),
        (
            json!({"format": "csv", "path": "count(/a)", "columns": [{"name": "a", "path": "$.a"}]}),
            vec!["path", "columns.0.path"],
        ),
        (
            json!({"format": "csv", "path": "$.a", "columns": [{"name": "a", "path": "@.b[*]"}, {"name": "b", "path": "@b"}]}),
            vec!["columns.0.path", "columns.1.path"],
        ),
        (
            json!({"format": "csv", "columns": [{"name": "a", "pad": "0", "align": "right"}, {"name": "b", "count": "lines"}]}),
            vec!["columns.0.align", "columns.0.pad", "columns.1.count"],
        ),
        (
            json!({"format": "csv", "columns": [{"name": "a", "value": "1", "path": "a"}, {"name": "b", "skip": true, "value": "x"}]}),
            vec!["columns.0.value", "columns.1.value"],
        ),
        (
            json!({"format": "fixed", "columns": [
                {"name": "a", "width": 2, "value": "abc"}, {"name": "b", "width": 2, "type": "integer", "value": "x"},
                {"name": "c", "width": 2, "type": "integer", "pad": "0"}, {"name": "d", "width": 1, "pad": "\n"}]}),
            vec![
                "columns.0.value",
                "columns.1.value",
                "columns.2.pad",
                "columns.3.pad",
            ],
        ),
        (
            json!({"format": "csv", "columns": [
                {"name": "a", "digits": 2}, {"name": "b", "type": "decimal", "digits": 2, "scale": 2},
                {"name": "c", "type": "decimal", "digits": 29}]}),
            vec!["columns.0.digits", "columns.1.digits", "columns.2.digits"],
        ),
        (
            json!({"format": "fixed", "tag": "DD", "columns": [{"name": "a", "width": 1, "skip": true}, {"name": "b", "width": 1}],
                "head": {"tag": "H", "promote": ["x"]}, "trailer": {"tag": "TT", "columns": [{"name": "a", "width": 1, "skip": true}]}}),
            vec!["head.promote", "tag", "trailer.tag"],
        ),
        (
            json!({"format": "csv", "tag": "D", "tag_at": 2, "columns": [{"name": "a"}, {"name": "b"}], "head": {},
                "trailer": {"tag": "T", "columns": [{"name": "a"}], "count": "b"}}),
            vec!["tag", "head", "trailer.count", "trailer.tag"],
        ),
        (
            json!({"format": "csv", "tag": "D", "tag_at": 5000, "columns": [{"name": "a", "width": 2}], "quote": ",", "names": true}),
            vec!["tag_at", "quote", "columns.0", "tag"],
        ),
        (
            json!({"format": "csv", "quote": "", "names": true, "tag": "a,b", "columns": [{"name": "a,b", "skip": true}]}),
            vec!["tag", "names"],
        ),
    ] {
        let read: AssembleSpec = serde_json::from_value(spec.clone()).expect("a spec");
        let faults = read.compile().expect_err("faults");
        let told: Vec<_> = faults.iter().map(|fault| fault.path.join(".")).collect();
        assert_eq!(told, places, "{spec}");
        assert!(faults.iter().all(|fault| fault.code == codes::ASSEMBLE));
    }
}
