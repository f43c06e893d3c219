//! Lines with delimiters and of fixed width, their head and trailer.

use super::*;

fn csv(more: Value) -> Split {
    let mut spec = json!({
        "format": "csv",
        "columns": [{"name": "Id"}, {"name": "Amount", "type": "decimal", "required": true}, {"name": "Paid", "type": "boolean"}],
    });
    let all = spec.as_object_mut().expect("an object");
    all.extend(more.as_object().expect("an object").clone());
    compiled(spec)
}

#[test]
fn lines_become_objects_or_elements() {
    let body = "\u{feff}A,12.50,true\r\n\"B \"\"x\"\", y\",-1,\r\n\r\n\"two\nlines\",0.10,0\n,3,1";
    assert_eq!(
        documents(&csv(json!({})), body),
        [
            r#"{"Id":"A","Amount":12.5,"Paid":true}"#,
            r#"{"Id":"B \"x\", y","Amount":-1}"#,
            r#"{"Id":"two\nlines","Amount":0.1,"Paid":false}"#,
            r#"{"Id":"","Amount":3,"Paid":true}"#,
        ]
    );
    let xml = csv(json!({
        "delimiter": ";", "quote": "",
        "record": {"as": "xml", "root": "Payment", "namespace": "urn:pay&"},
    }));
    assert_eq!(
        documents(&xml, "\"<A>&;5;1\n"),
        [
            "<Payment xmlns=\"urn:pay&amp;\"><Id>&quot;&lt;A&gt;&amp;</Id><Amount>5</Amount><Paid>true</Paid></Payment>"
        ]
    );
    let (records, _) = run(&csv(json!({})), body.as_bytes());
    let places: Vec<_> = records
        .iter()
        .map(|r| (r.number, r.line, r.offset))
        .collect();
    assert_eq!(places, [(1, 1, 3), (2, 2, 17), (3, 4, 37), (4, 6, 56)]);
}

#[test]
fn a_faulty_line_is_an_outcome_of_its_own() {
    let body = "A,1,1\nB,2\nC,x,1\nD,,1\nE\",5,1\n\"F\"x,6,1\nG,7,1,\nH,8,yes\nI,9,1\n";
    let split = csv(json!({"batch": "per-message"}));
    assert_eq!(split.batch(), Batch::PerMessage);
    let (records, end) = run(&split, body.as_bytes());
    assert_eq!(
        end,
        Ok(Summary {
            records: 9,
            faulty: 7
        })
    );
    let faults: Vec<_> = records
        .iter()
        .filter_map(|r| r.document.clone().err())
        .collect();
    let told: Vec<_> = faults.iter().map(|f| (f.code, f.detail.as_str())).collect();
    assert_eq!(
        told,
        [
            (
                codes::COLUMNS,
                "record 2, line 2: 2 fields where there are 3 columns"
            ),
            (
                codes::CELL,
                "record 3, line 3: column `Amount` is `x`, not a decimal number"
            ),
            (codes::CELL, "record 4, line 4: column `Amount` is empty"),
            (
                codes::QUOTES,
                "record 5, line 5: field 1 has a quote inside, and does not begin with one"
            ),
            (
                codes::QUOTES,
                "record 6, line 6: field 1 goes on behind the quote that ends it"
            ),
            (
                codes::COLUMNS,
                "record 7, line 7: 4 fields where there are 3 columns"
            ),
            (
                codes::CELL,
                "record 8, line 8: column `Paid` is `yes`, not true or false"
            ),
        ]
    );
    assert_eq!(faults[1].offset, 10);
}

#[test]
fn a_carriage_return_behind_a_quote_is_of_the_line_end_or_a_fault() {
    let split = compiled(json!({"format": "csv", "columns": [{"name": "a"}]}));
    assert_eq!(
        outcomes(&split, "\"A\"\r\n\"B\"\rx\n\"C\"\r\r\n\"D\"\r"),
        (
            vec![
                good(r#"{"a":"A"}"#),
                Err(codes::QUOTES),
                Err(codes::QUOTES),
                good(r#"{"a":"D"}"#)
            ],
            None
        )
    );
}

#[test]
fn bytes_that_are_no_text_are_the_fault_of_their_line() {
    let (records, end) = run(&csv(json!({})), b"\xc3,1,\nB,\xa4,1\n\xc3,\xa4,\nD,4,0\n");
    assert_eq!(
        end,
        Ok(Summary {
            records: 4,
            faulty: 3
        })
    );
    for record in &records[..3] {
        assert_eq!(
            record.document.as_ref().map_err(|e| e.code),
            Err(codes::BAD_UTF)
        );
    }
    let xml = csv(json!({"record": {"as": "xml", "root": "P"}}));
    assert_eq!(outcomes(&xml, "\u{1},1,\n").0, [Err(codes::CHARACTER)]);
}

#[test]
fn a_quote_that_is_never_closed_ends_the_batch() {
    let body = "A,1,1\n\nB,\"2,1\nC,3,1\n";
    let (records, end) = run(&csv(json!({})), body.as_bytes());
    assert_eq!(records.len(), 1);
    let invalid = end.expect_err("an open quote");
    assert_eq!((invalid.code, invalid.offset), (codes::OPEN_QUOTE, 9));
    assert!(invalid.detail.contains("line 3"), "{}", invalid.detail);
}

#[test]
fn a_line_can_name_the_columns() {
    let split = compiled(json!({"format": "csv", "names": true}));
    assert_eq!(documents(&split, "b, a\n1,2\n"), [r#"{"b":"1","a":"2"}"#]);
    let known = csv(json!({"names": true}));
    assert_eq!(
        documents(&known, "Paid,Id,Amount\n1,X,5\n"),
        [r#"{"Paid":true,"Id":"X","Amount":5}"#]
    );
    for (split, line) in [
        (&split, "a,a"),
        (&split, "a,,b"),
        (&split, ""),
        (&split, "\"a\"x"),
        (&known, "Id,Amount"),
        (&known, "Id,Amount,Paid,More"),
    ] {
        let body = format!("{line}\n\n");
        assert_eq!(
            outcomes(split, &body),
            (vec![], Some(codes::HEAD)),
            "{line}"
        );
    }
    let xml =
        compiled(json!({"format": "csv", "names": true, "record": {"as": "xml", "root": "r"}}));
    assert_eq!(outcomes(&xml, "a b\n1\n").1, Some(codes::HEAD));
}

fn fixed() -> Split {
    compiled(json!({
        "format": "fixed",
        "columns": [
            {"name": "Kind", "width": 1, "skip": true},
            {"name": "Name", "width": 5},
            {"name": "Amount", "from": 8, "width": 6, "type": "decimal", "scale": 2},
            {"name": "Note", "width": 4, "trim": "right"},
        ],
        "tag": "D",
        "head": {"tag": "H", "columns": [{"name": "K", "width": 1}, {"name": "Batch", "width": 4, "type": "integer"}], "promote": ["Batch"]},
        "trailer": {"tag": "T", "columns": [{"name": "K", "width": 1}, {"name": "Count", "width": 3, "type": "integer"}], "count": "Count"},
    }))
}

#[test]
fn lines_of_fixed_width_with_head_and_trailer() {
    let body = "H0042\nDGrüße 000150  x \nDB    z-00001\nT002\n";
    let (records, end) = run(&fixed(), body.as_bytes());
    assert_eq!(
        end,
        Ok(Summary {
            records: 2,
            faulty: 0
        })
    );
    let documents: Vec<_> = records
        .iter()
        .filter_map(|r| r.document.as_deref().ok())
        .collect();
    assert_eq!(
        documents,
        [
            r#"{"Name":"Grüße","Amount":1.5,"Note":"  x"}"#,
            r#"{"Name":"B","Amount":-0.01,"Note":""}"#
        ]
    );
    assert_eq!(
        records[1].properties[0].1,
        quayside_model::Value::Integer(42)
    );
}

#[test]
fn head_and_trailer_tell_whether_the_file_is_whole() {
    let one = good(r#"{"Name":"A","Note":""}"#);
    for (body, records, code) in [
        ("H1\nDA\nT001", vec![one.clone()], None),
        ("H1\nT000\n", vec![], None),
        ("", vec![], Some(codes::HEAD)),
        ("DA\nT001\n", vec![], Some(codes::HEAD)),
        ("Hx\nT000\n", vec![], Some(codes::HEAD)),
        ("H1\nH1\n", vec![], Some(codes::HEAD)),
        ("H1\nDA\n", vec![one.clone()], Some(codes::TRAILER)),
        (
            "H1\nDA\nT001\n\nDA\n",
            vec![one.clone()],
            Some(codes::TRAILER),
        ),
        ("H1\nDA\nT001xx\n", vec![one.clone()], Some(codes::TRAILER)),
        (
            "H1\nDA\nT002\n",
            vec![one.clone()],
            Some(codes::TRAILER_COUNT),
        ),
        ("H1\nDA\nT\n", vec![one.clone()], Some(codes::TRAILER_COUNT)),
        (
            "H1\nDA     000001Note and more\nT001",
            vec![Err(codes::COLUMNS)],
            None,
        ),
        ("H1\nX\nDA\nT002", vec![Err(codes::TAG), one], None),
    ] {
        assert_eq!(outcomes(&fixed(), body), (records, code), "{body:?}");
    }
}

#[test]
fn the_first_and_the_last_line_can_be_known_by_their_place() {
    let split = compiled(json!({
        "format": "csv", "columns": [{"name": "a"}],
        "head": {}, "trailer": {"columns": [{"name": "n", "type": "integer"}], "count": "n", "count_of": "lines"},
    }));
    assert_eq!(
        documents(&split, "head,x\n1\n2\n4"),
        [r#"{"a":"1"}"#, r#"{"a":"2"}"#]
    );
    assert_eq!(documents(&split, "head\n2\n"), [""; 0]);
    let one = vec![good(r#"{"a":"1"}"#)];
    assert_eq!(
        outcomes(&split, "head\n1\n2\n"),
        (one.clone(), Some(codes::TRAILER_COUNT))
    );
    assert_eq!(
        outcomes(&split, "head\n1\nx\n"),
        (one, Some(codes::TRAILER))
    );
    assert_eq!(outcomes(&split, "head\n"), (vec![], Some(codes::TRAILER)));
    assert_eq!(outcomes(&split, "\n\r\n"), (vec![], Some(codes::HEAD)));
}

#[test]
fn numbers_as_partners_write_them() {
    let split = compiled(json!({
        "format": "csv", "delimiter": ";",
        "columns": [
            {"name": "a", "type": "decimal", "point": ","},
            {"name": "b", "type": "decimal", "scale": 3},
            {"name": "c", "type": "integer", "trim": "both"},
            {"name": "d", "type": "datetime"},
        ],
    }));
    assert_eq!(
        documents(&split, "12,5;-5; 007 ;2026-11-21T09:00:00Z\n;1.5;;\n"),
        [
            r#"{"a":12.5,"b":-0.005,"c":7,"d":"2026-11-21T09:00:00Z"}"#,
            r#"{"b":1.5}"#
        ]
    );
    for line in [
        "1.000,5;1;1;",
        "1,2,3;1;1;",
        ";;1.5;",
        ";-;;",
        ";;;2026-11-21",
    ] {
        assert_eq!(outcomes(&split, line).0, [Err(codes::CELL)], "{line}");
    }
}
