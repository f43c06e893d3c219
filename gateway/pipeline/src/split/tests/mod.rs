//! What records come out, where they were, and what ends a batch.

use quayside_model::Code;
use serde_json::{Value, json};

mod lines;
mod spec;

use super::*;

fn compiled(spec: Value) -> Split {
    let spec: SplitSpec = serde_json::from_value(spec).expect("a spec");
    spec.compile().expect("no fault")
}

/// The records of a body that comes in pieces of this size, and how it ended.
fn pieces(split: &Split, body: &[u8], size: usize) -> (Vec<Record>, Result<Summary, Invalid>) {
    let mut splitter = Splitter::new(split);
    let mut records = Vec::new();
    let mut all = || {
        for mut piece in body.chunks(size) {
            while let Some(record) = splitter.pull(&mut piece)? {
                records.push(record);
            }
        }
        while let Some(record) = splitter.finish()? {
            records.push(record);
        }
        Ok(splitter.summary())
    };
    let end = all();
    (records, end)
}

/// The same, for which the pieces make no difference.
fn run(split: &Split, body: &[u8]) -> (Vec<Record>, Result<Summary, Invalid>) {
    let whole = pieces(split, body, body.len().max(1));
    for size in [1, 2, 3, 7] {
        assert_eq!(pieces(split, body, size), whole, "pieces of {size}");
    }
    whole
}

/// The documents of a body without any fault.
fn documents(split: &Split, body: &str) -> Vec<String> {
    let (records, end) = run(split, body.as_bytes());
    end.expect("a whole body");
    let documents = records
        .into_iter()
        .map(|record| record.document.expect("a good record"));
    documents.collect()
}

/// Each record, or the code of its fault, and the code with which the batch ended.
fn outcomes(split: &Split, body: &str) -> (Vec<Result<String, Code>>, Option<Code>) {
    let (records, end) = run(split, body.as_bytes());
    let records = records
        .into_iter()
        .map(|record| record.document.map_err(|invalid| invalid.code));
    (records.collect(), end.err().map(|invalid| invalid.code))
}

fn good(text: &str) -> Result<String, Code> {
    Ok(text.to_owned())
}

fn envelope() -> Split {
    compiled(json!({
        "format": "xml",
        "path": "/b:Batch/b:Orders/b:Order",
        "namespaces": {"b": "urn:batch"},
        "header": {
            "BatchId": {"xpath": "/b:Batch/b:Id", "required": true},
            "Size": {"xpath": "/b:Batch/@size", "type": "integer"},
        },
    }))
}

#[test]
fn elements_become_documents_with_the_namespaces_around_them() {
    let body = "<?xml version='1.0'?>\n<Batch xmlns='urn:batch' xmlns:x='urn:x&amp;\"' size='2'>\n<Id>B-1</Id>\n<Orders xmlns:y='urn:y'>\
        <Order a='>'><x:p/><!-- <Order> --><![CDATA[<Order>]]>&amp;</Order>\n\
        <Other/><Order xmlns:x='urn:other'/></Orders></Batch>"
        .replace("&amp;\"", "&amp;&quot;");
    let (records, end) = run(&envelope(), body.as_bytes());
    assert_eq!(
        end,
        Ok(Summary {
            records: 2,
            faulty: 0
        })
    );
    let around = " xmlns=\"urn:batch\" xmlns:x=\"urn:x&amp;&quot;\" xmlns:y=\"urn:y\"";
    assert_eq!(
        records[0].document,
        Ok(format!(
            "<Order{around} a='>'><x:p/><!-- <Order> --><![CDATA[<Order>]]>&amp;</Order>"
        ))
    );
    let own = "<Order xmlns=\"urn:batch\" xmlns:y=\"urn:y\" xmlns:x='urn:other'/>";
    assert_eq!(records[1].document.as_deref(), Ok(own));
    assert_eq!((records[0].line, records[1].line), (4, 5));
    assert_eq!(
        records[1].offset as usize,
        body.rfind("<Order xmlns:x").expect("is there")
    );
    let shown: Vec<_> = records[1]
        .properties
        .iter()
        .map(|(n, v)| format!("{n}={v}"))
        .collect();
    assert_eq!(shown, ["BatchId=B-1", "Size=2"]);
}

#[test]
fn a_default_namespace_that_was_taken_back_stays_away() {
    let split = compiled(json!({"format": "xml", "path": "/a/b/c"}));
    let wrapped = "<a xmlns:p='urn:p'><b xmlns:p='urn:q'><c p:x='1'/></b></a>";
    assert_eq!(
        documents(&split, wrapped),
        ["<c xmlns:p=\"urn:q\" p:x='1'/>"]
    );
    let split = compiled(json!({"format": "xml", "path": "/*/b/c"}));
    let back = "<a xmlns='urn:a'><b xmlns=''><c/></b></a>";
    assert_eq!(documents(&split, back), ["<c/>"]);
    // Each parent has declarations of its own.
    let two = "<a><b xmlns:p='1'><c/></b><b xmlns:p='2'><c/></b><b><c/></b></a>";
    assert_eq!(
        documents(&split, two),
        ["<c xmlns:p=\"1\"/>", "<c xmlns:p=\"2\"/>", "<c/>"]
    );
}

#[test]
fn utf16_is_split_as_utf8_is() {
    let body = "<a><b>ä𝄞</b><b/></a>";
    let split = compiled(json!({"format": "xml", "path": "/a/b"}));
    for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
        let units = std::iter::once(0xfeff).chain(body.encode_utf16());
        let wide: Vec<u8> = units.flat_map(bytes).collect();
        let (records, end) = run(&split, &wide);
        assert_eq!(
            end,
            Ok(Summary {
                records: 2,
                faulty: 0
            })
        );
        assert_eq!(records[0].document.as_deref(), Ok("<b>ä𝄞</b>"));
    }
}

#[test]
fn a_fault_of_the_envelope_ends_the_batch_behind_the_records_before_it() {
    let split = envelope();
    let batch = |inside: &str| {
        format!("<Batch xmlns='urn:batch'><Id>1</Id><Orders>{inside}</Orders></Batch>")
    };
    let order = "<Order xmlns=\"urn:batch\"/>";
    for (inside, records, code) in [
        ("<Order/><Order></Ordr>", 1, codes::XML_SYNTAX),
        ("<Order/>&nbsp;", 1, codes::ENTITY),
        (
            "<Order/></Orders><Orders x:y=''/>",
            1,
            codes::UNDECLARED_PREFIX,
        ),
    ] {
        let expected = (vec![good(order); records], Some(code));
        assert_eq!(outcomes(&split, &batch(inside)), expected, "{inside}");
    }
    assert_eq!(
        outcomes(&split, "<!DOCTYPE a><a/>"),
        (vec![], Some(codes::DTD))
    );
    assert_eq!(
        outcomes(&split, "<Orders xmlns='urn:batch'/>"),
        (vec![], Some(codes::REQUIRED))
    );
    assert_eq!(
        outcomes(&split, "<Batch xmlns='urn:batch'><Id>1</Id></Batch>"),
        (vec![], Some(codes::NO_ENVELOPE))
    );
    let cut_off = "<Batch xmlns='urn:batch'><Id>1</Id><Orders><Order/><Order>";
    assert_eq!(
        outcomes(&split, cut_off),
        (vec![good(order)], Some(codes::INCOMPLETE))
    );
    assert_eq!(outcomes(&split, &batch("")), (vec![], None));
}

#[test]
fn values_for_every_record_come_before_the_first() {
    let split = envelope();
    let late = "<Batch xmlns='urn:batch'><Orders><Order/></Orders><Id>1</Id></Batch>";
    assert_eq!(outcomes(&split, late), (vec![], Some(codes::REQUIRED)));
    let split = compiled(json!({
        "format": "xml", "path": "/a/b", "header": {"Id": {"xpath": "/a/id"}},
    }));
    let behind = "<a><b/><id>1</id></a>";
    assert_eq!(
        outcomes(&split, behind),
        (vec![good("<b/>")], Some(codes::LATE_HEADER))
    );
    let between = "<a><b/><id>1</id><b/><b/></a>";
    assert_eq!(
        outcomes(&split, between),
        (vec![good("<b/>")], Some(codes::LATE_HEADER))
    );
    let split = compiled(json!({
        "format": "json", "path": "$.b", "header": {"Id": {"jsonpath": "$.id"}},
    }));
    let behind = r#"{"b": [1], "id": 2}"#;
    assert_eq!(
        outcomes(&split, behind),
        (vec![good("1")], Some(codes::LATE_HEADER))
    );
    let (records, _) = run(&split, br#"{"id": 7, "b": [1]}"#);
    assert_eq!(records[0].properties[0].1.to_string(), "7");
}

#[test]
fn elements_of_an_array_become_documents() {
    let root = compiled(json!({"format": "json", "path": "$"}));
    let body = "[1, \"a,]\\\"\", {\"b\": [1, {}]}\n, [], null,true , -2.5e3]";
    assert_eq!(
        documents(&root, body),
        [
            "1",
            "\"a,]\\\"\"",
            "{\"b\": [1, {}]}",
            "[]",
            "null",
            "true",
            "-2.5e3"
        ]
    );
    assert_eq!(documents(&root, " [ ] "), [""; 0]);
    let deep = compiled(json!({"format": "json", "path": "$.x[1].items"}));
    let body = r#"{"items": [0], "x": [{"items": [1]}, {"y": {"items": [2]}, "items": [3, 4], "z": [5]}, {"items": [6]}]}"#;
    assert_eq!(documents(&deep, body), ["3", "4"]);
    let (records, _) = run(&root, b"[\n 1,\n\n 2]");
    let places: Vec<_> = records
        .iter()
        .map(|r| (r.number, r.line, r.offset))
        .collect();
    assert_eq!(places, [(1, 2, 3), (2, 4, 8)]);
}

#[test]
fn a_document_without_the_array_is_refused() {
    let split = compiled(json!({"format": "json", "path": "$.items"}));
    for (body, records, code) in [
        ("[1]", 0, codes::NO_ENVELOPE),
        ("{}", 0, codes::NO_ENVELOPE),
        (r#"{"items": {}}"#, 0, codes::NO_ENVELOPE),
        (r#"{"items": 5}"#, 0, codes::NO_ENVELOPE),
        (r#"{"items": null}"#, 0, codes::NO_ENVELOPE),
        (r#"{"items": [1], "items": [2]}"#, 1, codes::DUPLICATE_KEY),
        (r#"{"items": [1 2]}"#, 1, codes::JSON_SYNTAX),
        (r#"{"items": [1,]}"#, 1, codes::JSON_SYNTAX),
        (r#"{"items": [1"#, 0, codes::INCOMPLETE),
        (r#"{"items": [1]} x"#, 1, codes::TRAILING),
    ] {
        assert_eq!(
            outcomes(&split, body),
            (vec![good("1"); records], Some(code)),
            "{body}"
        );
    }
}

#[test]
fn limits_bound_records_and_their_number() {
    let small = json!({"max_records": 2, "max_record_bytes": 40});
    let with = |mut spec: Value| {
        spec.as_object_mut()
            .expect("an object")
            .extend(small.as_object().expect("an object").clone());
        compiled(spec)
    };
    let long = "x".repeat(41);
    let xml = with(json!({"format": "xml", "path": "/a/b"}));
    assert_eq!(
        outcomes(&xml, &format!("<a><b>{long}</b><b/></a>")),
        (vec![Err(codes::RECORD_TOO_LARGE), good("<b/>")], None)
    );
    assert_eq!(
        outcomes(&xml, "<a><b/><b/><b/></a>").1,
        Some(codes::TOO_MANY_RECORDS)
    );
    let json = with(json!({"format": "json", "path": "$"}));
    assert_eq!(
        outcomes(&json, &format!("[\"{long}\",1]")),
        (vec![Err(codes::RECORD_TOO_LARGE), good("1")], None)
    );
    assert_eq!(
        outcomes(&json, "[1,2,3,4]").1,
        Some(codes::TOO_MANY_RECORDS)
    );
    let lines = with(json!({"format": "csv", "columns": [{"name": "a"}]}));
    assert_eq!(
        outcomes(&lines, &format!("{long}\n1\n")),
        (
            vec![Err(codes::RECORD_TOO_LARGE), good(r#"{"a":"1"}"#)],
            None
        )
    );
    assert_eq!(
        outcomes(&lines, &format!("1\n\"{long}")).1,
        Some(codes::OPEN_QUOTE)
    );
    // What is written is longer than what was read.
    assert_eq!(
        outcomes(&lines, &"\u{1}".repeat(20)).0,
        [Err(codes::RECORD_TOO_LARGE)]
    );
    let total = compiled(json!({"format": "json", "path": "$", "max_total_bytes": 5}));
    assert_eq!(
        outcomes(&total, "[123,45,6]"),
        (vec![good("123"), good("45")], Some(codes::TOO_MANY_RECORDS))
    );
}

#[test]
fn a_faulty_record_keeps_its_text_as_far_as_a_record_may_go() {
    let raw = |spec: Value, body: &str| {
        let split = compiled(spec);
        let mut splitter = Splitter::new(&split);
        let mut bytes = body.as_bytes();
        let mut raw = Vec::new();
        while let Some(record) = splitter.pull(&mut bytes).expect("no fault of the batch") {
            raw.push(String::from_utf8(record.raw).expect("text"));
        }
        while let Some(record) = splitter.finish().expect("no fault of the batch") {
            raw.push(String::from_utf8(record.raw).expect("text"));
        }
        raw
    };
    let lines = json!({"format": "csv", "delimiter": ";", "max_record_bytes": 12,
                       "columns": [{"name": "a", "type": "integer"}, {"name": "b"}]});
    // Quotes and delimiters stand as they came, line ends do not; a good record keeps nothing.
    let body = "x;\"y\"\r\n\"a\"b;c\nabcdefghijklmnop\nx;y";
    assert_eq!(
        raw(lines, body),
        ["x;\"y\"", "\"a\"b;c", "abcdefghijkl", "x;y"]
    );
    let xml = json!({"format": "xml", "path": "/a/b", "max_record_bytes": 8});
    assert_eq!(raw(xml, "<a><b>ääää</b><b/></a>"), ["<b>ää", ""]);
}
