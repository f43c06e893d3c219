//! Files as they are assembled, read again by the splitter of the same columns.

use std::fmt::Write as _;

use proptest::prelude::*;
use quayside_pipeline::{
    assemble::{Assemble, AssembleSpec},
    split::{Split, SplitSpec, Splitter},
};
use serde_json::{Map, Value, json};

fn assemble(spec: Value) -> Assemble {
    let spec: AssembleSpec = serde_json::from_value(spec).expect("a spec");
    spec.compile().expect("no fault")
}

fn splits(spec: Value) -> Split {
    let spec: SplitSpec = serde_json::from_value(spec).expect("a spec");
    spec.compile().expect("no fault")
}

/// The records of a file, and the properties of the last one.
fn records(split: &Split, file: &[u8]) -> (Vec<String>, Vec<String>) {
    let mut splitter = Splitter::new(split);
    let (mut rest, mut all, mut properties) = (file, Vec::new(), Vec::new());
    loop {
        let record = match rest.is_empty() {
            false => splitter.pull(&mut rest),
            true => splitter.finish(),
        };
        match record.expect("a file without a fault") {
            Some(record) => {
                properties = record
                    .properties
                    .iter()
                    .map(|(_, value)| value.to_string())
                    .collect();
                all.push(record.document.expect("a good record"));
            }
            None if rest.is_empty() => return (all, properties),
            None => {}
        }
    }
}

/// `spec` with what only assembling says left out.
fn for_reading(mut spec: Value) -> Value {
    let all = spec.as_object_mut().expect("an object");
    all.retain(|key, _| !matches!(key.as_str(), "path" | "namespaces" | "line_end" | "empty"));
    let mut lists: Vec<&mut Value> = Vec::new();
    for (key, value) in all {
        match key.as_str() {
            "columns" => lists.push(value),
            "head" | "trailer" => lists.extend(value.get_mut("columns")),
            _ => {}
        }
    }
    for columns in lists {
        for column in columns.as_array_mut().expect("a list") {
            let keys = column.as_object_mut().expect("an object");
            keys.retain(|key, _| !matches!(key.as_str(), "path" | "align" | "pad" | "digits"));
        }
    }
    spec
}

fn bank() -> Value {
    json!({
        "format": "fixed", "path": "/p:Batch/p:Payment", "namespaces": {"p": "urn:bank"}, "line_end": "crlf",
        "tag": "D",
        "columns": [
            {"name": "Kind", "width": 1, "skip": true},
            {"name": "Number", "width": 8, "type": "integer", "required": true, "align": "right", "pad": "0"},
            {"name": "Account", "width": 22, "required": true},
            {"name": "Amount", "width": 12, "type": "decimal", "scale": 2, "align": "right", "pad": "0"},
            {"name": "Currency", "width": 3},
            {"name": "Text", "width": 27},
        ],
        "head": {
            "tag": "H",
            "columns": [
                {"name": "Kind", "width": 1, "skip": true}, {"name": "BatchId", "width": 10},
                {"name": "Created", "width": 20, "type": "datetime"},
            ],
        },
        "trailer": {
            "tag": "T",
            "columns": [
                {"name": "Kind", "width": 1, "skip": true},
                {"name": "Payments", "width": 8, "type": "integer", "align": "right", "pad": "0"},
            ],
            "count": "Payments",
        },
    })
}

#[test]
fn five_thousand_payments_are_written_as_they_were_read() {
    let mut file = format!("H{:<10}{:<20}\r\n", "B-20261130", "2026-11-30T18:00:00Z");
    for number in 1..=5000 {
        let text = ["Rent", "Café & Söhne", "Ref <1>", ""][number % 4];
        let amount = [0, 5, number * 37][number % 3];
        let account = format!("DE{:020}", number * 7919);
        write!(file, "D{number:08}{account}{amount:012}EUR{text:<27}\r\n").expect("into memory");
    }
    write!(file, "T{:08}\r\n", 5000).expect("into memory");
    let mut spec = for_reading(bank());
    spec["record"] = json!({"as": "xml", "root": "Payment", "namespace": "urn:bank"});
    spec["head"]["promote"] = json!(["BatchId", "Created"]);
    let (records, properties) = records(&splits(spec), file.as_bytes());
    assert_eq!(properties, ["B-20261130", "2026-11-30T18:00:00.000000Z"]);
    let document = format!(
        "<?xml version='1.0'?><b:Batch xmlns:b='urn:bank'><b:BatchId>B-20261130</b:BatchId>\
         <b:Created>2026-11-30T18:00:00Z</b:Created>{}</b:Batch>",
        records.concat()
    );
    let written = assemble(bank()).apply(Some("application/xml"), document.as_bytes());
    let written = String::from_utf8(written.expect("a file")).expect("UTF-8");
    assert_eq!(records.len(), 5000);
    for (written, read) in written.lines().zip(file.lines()) {
        assert_eq!(written, read);
    }
    assert_eq!(written, file);
}

#[test]
fn the_example_of_the_guide_can_be_used() {
    let guide = include_str!("../../../docs/pipelines.md");
    let mut all = guide
        .split("```toml\n")
        .filter_map(|rest| rest.split("```").next());
    let example = all.find(|example| example.starts_with("[send.bank.pipeline.assemble]"));
    let example: toml::Table = toml::from_str(example.expect("one of assembling")).expect("TOML");
    let spec = example["send"]["bank"]["pipeline"]["assemble"].clone();
    let spec: AssembleSpec = spec.try_into().expect("a spec");
    let spec = spec.compile().expect("no fault");
    let payment =
        "<Payment><Number>7</Number><Debtor iban=\"DE1\"/><Amount>12.5</Amount></Payment>";
    let document = format!("<Batch xmlns='urn:payments'><BatchId>B7</BatchId>{payment}</Batch>");
    let file = spec.apply(Some("text/xml"), document.as_bytes());
    let file = String::from_utf8(file.expect("a file")).expect("UTF-8");
    let lines: Vec<&str> = file.split("\r\n").collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(lines[0], "HB7        ");
    assert_eq!(lines[2], "T00000001        1250");
    assert!(
        guide.contains(payment) && guide.contains(lines[1]),
        "{lines:?}"
    );
}

/// A text, often of what means something in a line.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec!["a", "ä", "𝄞", " ", ",", ";", "\"", "'", "\r", "\n", "\t", "T", "\u{feff}", "0", "-"])
            .prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// A record with a text, a whole number, a decimal and a truth, any of which may be missing.
fn record() -> impl Strategy<Value = Map<String, Value>> {
    let number = prop::option::of(-9_999_i64..10_000);
    let decimal = prop::option::of((-999_999_i64..1_000_000).prop_map(|cents| {
        let sign = if cents < 0 { "-" } else { "" };
        format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
    }));
    let truth = prop::option::of(any::<bool>());
    (text(), number, decimal, truth).prop_map(|(text, number, decimal, truth)| {
        let mut record = Map::new();
        record.insert("t".to_owned(), text.into());
        record.extend(number.map(|number| ("n".to_owned(), number.into())));
        record.extend(decimal.map(|decimal| ("d".to_owned(), decimal.into())));
        record.extend(truth.map(|truth| ("b".to_owned(), truth.into())));
        record
    })
}

/// What a splitter makes of the record: decimals are numbers.
fn as_read(record: &Map<String, Value>) -> Value {
    let mut record = record.clone();
    if let Some(decimal) = record.get_mut("d") {
        let number: f64 = decimal.as_str().expect("text").parse().expect("a number");
        *decimal = match number.fract() {
            0.0 => (number as i64).into(),
            _ => number.into(),
        };
    }
    Value::Object(record)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_is_written_as_csv_is_read_as_the_same(
        all in prop::collection::vec(record(), 0..6),
        delimiter in prop::sample::select(vec![",", ";", "\t", "T"]),
        quote in prop::sample::select(vec!["\"", "'"]),
        crlf in any::<bool>(),
        names in any::<bool>(),
        tagged in any::<bool>(),
    ) {
        let mut spec = json!({
            "format": "csv", "path": "$.all", "delimiter": delimiter, "quote": quote, "names": names, "empty": true,
            "line_end": if crlf { "crlf" } else { "lf" },
            "columns": [
                {"name": "t"}, {"name": "n", "type": "integer"}, {"name": "d", "type": "decimal", "point": ".", "digits": 2},
                {"name": "b", "type": "boolean"},
            ],
            "head": {"columns": [{"name": "from"}], "tag": "the head"},
            "trailer": {"columns": [{"name": "n", "type": "integer"}], "count": "n", "count_of": "lines"},
        });
        if tagged {
            spec["tag"] = "D".into();
            spec["tag_at"] = 1.into();
            spec["columns"].as_array_mut().expect("a list").insert(0, json!({"name": "kind", "skip": true}));
            spec["head"]["columns"] = json!([{"name": "kind", "skip": true}, {"name": "from"}]);
        } else {
            spec["head"]["tag"].take();
        }
        let document = json!({"from": "me\n", "all": all}).to_string();
        let file = assemble(spec.clone()).apply(Some("application/json"), document.as_bytes());
        let file = file.expect("a file");
        let mut reading = for_reading(spec);
        reading["head"]["promote"] = json!(["from"]);
        let (read, properties) = records(&splits(reading), &file);
        let read: Vec<Value> = read.iter().map(|one| serde_json::from_str(one).expect("JSON")).collect();
        let wanted: Vec<Value> = all.iter().map(as_read).collect();
        prop_assert_eq!(&read, &wanted, "{}", String::from_utf8_lossy(&file));
        prop_assert!(read.is_empty() || properties == ["me\n"]);
    }

    #[test]
    fn what_is_written_with_fixed_width_is_read_as_the_same(
        all in prop::collection::vec(record(), 1..6),
        right in any::<bool>(),
        zeros in any::<bool>(),
        scale in any::<bool>(),
        gap in 0_usize..3,
    ) {
        let align = if right { "right" } else { "left" };
        let pad = if right && zeros { "0" } else { " " };
        let mut decimal = json!({"name": "d", "width": 9, "type": "decimal", "align": align, "pad": pad});
        if scale {
            decimal["scale"] = 2.into();
        }
        let spec = json!({
            "format": "fixed",
            "columns": [
                {"name": "t", "width": 12, "align": align}, {"name": "n", "width": 6, "type": "integer", "align": align, "pad": pad},
                decimal, {"name": "b", "from": 28 + gap, "width": 5, "type": "boolean", "align": align},
            ],
            "trailer": {"tag": "\u{1}end"},
        });
        let all: Vec<Map<String, Value>> = all.into_iter().map(|mut record| {
            let text = record["t"].as_str().expect("a text").replace(['\r', '\n', '\u{feff}'], "");
            record["t"] = text.trim_matches([' ', '\t']).into();
            record
        }).collect();
        let document = Value::from(all.iter().cloned().map(Value::from).collect::<Vec<_>>()).to_string();
        let file = assemble(spec.clone()).apply(None, document.as_bytes()).expect("a file");
        let (read, _) = records(&splits(for_reading(spec)), &file);
        let read: Vec<Value> = read.iter().map(|one| serde_json::from_str(one).expect("JSON")).collect();
        let wanted: Vec<Value> = all.iter().map(as_read).collect();
        prop_assert_eq!(&read, &wanted, "{}", String::from_utf8_lossy(&file));
    }
}
