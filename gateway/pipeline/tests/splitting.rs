//! Batches as partners send them, in whatever pieces: the same records with the same faults.

use std::fmt::Write as _;

use proptest::prelude::*;
use quayside_pipeline::{
    Invalid, Kind, Limits, Scanner, codes,
    decode::DecodeSpec,
    encode::EncodeSpec,
    split::{Record, Split, SplitSpec, Splitter, Summary},
};

fn compiled(spec: &str) -> Split {
    let spec: SplitSpec = toml::from_str(spec).expect("a spec");
    spec.compile().expect("no fault")
}

/// Gives each record of a body that comes in `pieces` to `each`.
fn split<'b>(
    split: &Split,
    pieces: impl IntoIterator<Item = &'b [u8]>,
    mut each: impl FnMut(Record),
) -> Result<Summary, Invalid> {
    let mut splitter = Splitter::new(split);
    for mut piece in pieces {
        while let Some(record) = splitter.pull(&mut piece)? {
            each(record);
        }
        assert!(piece.is_empty(), "nothing is given when all was taken");
    }
    while let Some(record) = splitter.finish()? {
        each(record);
    }
    Ok(splitter.summary())
}

fn collected(spec: &Split, body: &[u8], size: usize) -> (Vec<Record>, Result<Summary, Invalid>) {
    let mut records = Vec::new();
    let end = split(spec, body.chunks(size), |record| records.push(record));
    (records, end)
}

const PAYMENTS: &str = r#"
    format = "fixed"
    batch = "per-message"
    tag = "D"
    columns = [
        { name = "Kind", width = 1, skip = true },
        { name = "Number", width = 8, type = "integer", required = true },
        { name = "Account", width = 22, required = true },
        { name = "Amount", width = 12, type = "decimal", scale = 2, required = true },
        { name = "Currency", width = 3, required = true },
        { name = "Text", width = 27 },
    ]
    record = { as = "xml", root = "Payment", namespace = "urn:bank:payments" }

    [head]
    tag = "H"
    columns = [
        { name = "Kind", width = 1, skip = true },
        { name = "BatchId", width = 10 },
        { name = "Created", width = 20, type = "datetime" },
    ]
    promote = ["BatchId", "Created"]

    [trailer]
    tag = "T"
    columns = [
        { name = "Kind", width = 1, skip = true },
        { name = "Payments", width = 8, type = "integer" },
    ]
    count = "Payments"
"#;

/// A file of payments; those whose number ends with 777 have a wrong amount.
fn payments(count: u64) -> String {
    let mut file = format!("H{:<10}{:<20}\r\n", "B-20261130", "2026-11-30T18:00:00Z");
    for number in 1..=count {
        let amount = if number % 1000 == 777 {
            "12,50".to_owned()
        } else {
            (number * 37).to_string()
        };
        let text = ["Rent", "Café & Söhne", "Ref <1>", ""][(number % 4) as usize];
        let account = format!("DE{:020}", number * 7919);
        write!(file, "D{number:08}{account}{amount:0>12}EUR{text:<27}\r\n").expect("into memory");
    }
    write!(file, "T{count:08}\r\n").expect("into memory");
    file
}

#[test]
fn ten_thousand_payments_come_the_same_in_pieces_of_every_size() {
    let spec = compiled(PAYMENTS);
    let file = payments(10_000);
    let (records, end) = collected(&spec, file.as_bytes(), file.len());
    assert_eq!(
        end,
        Ok(Summary {
            records: 10_000,
            faulty: 10
        })
    );
    for (record, number) in records.iter().zip(1..) {
        assert_eq!((record.number, record.line), (number, number + 1));
        assert!(file[record.offset as usize..].starts_with(&format!("D{number:08}")));
        let shown: Vec<_> = record
            .properties
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            shown,
            ["BatchId=B-20261130", "Created=2026-11-30T18:00:00.000000Z"]
        );
        match &record.document {
            Err(invalid) => {
                assert_eq!((number % 1000, invalid.code), (777, codes::CELL));
                let place = format!("record {number}, line {}: column `Amount`", number + 1);
                assert!(invalid.detail.starts_with(&place), "{}", invalid.detail);
            }
            Ok(document) => {
                let mut scanner = Scanner::new(Kind::Xml, vec![], Limits::default());
                scanner.push(document.as_bytes()).expect("well-formed");
                let scanned = scanner.finish().expect("well-formed");
                assert_eq!(
                    scanned.message_type.as_deref(),
                    Some("urn:bank:payments#Payment")
                );
            }
        }
    }
    let first = "<Payment xmlns=\"urn:bank:payments\"><Number>1</Number>\
        <Account>DE00000000000000007919</Account><Amount>0.37</Amount><Currency>EUR</Currency>\
        <Text>Café &amp; Söhne</Text></Payment>";
    assert_eq!(records[0].document.as_deref(), Ok(first));
    for size in [1, 7, 64 * 1024] {
        assert!(
            collected(&spec, file.as_bytes(), size).0 == records,
            "pieces of {size}"
        );
    }
}

#[test]
fn a_file_that_was_cut_off_is_known_by_its_trailer() {
    let spec = compiled(PAYMENTS);
    let file = payments(50);
    for lines in 1..=51 {
        let cut: String = file.split_inclusive('\n').take(lines).collect();
        let (records, end) = collected(&spec, cut.as_bytes(), 100);
        assert_eq!(records.len(), lines - 1);
        assert_eq!(end.map_err(|invalid| invalid.code), Err(codes::TRAILER));
    }
    let without_one = file.replacen("D00000007", "X00000007", 1);
    let (records, end) = collected(&spec, without_one.as_bytes(), 100);
    assert_eq!(
        records[6].document.as_ref().map_err(|i| i.code),
        Err(codes::TAG)
    );
    assert!(end.is_ok(), "a faulty record is counted: {end:?}");
    let lost: String = file
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("D00000007"))
        .collect();
    let end = collected(&spec, lost.as_bytes(), 100).1;
    assert_eq!(
        end.map_err(|invalid| invalid.code),
        Err(codes::TRAILER_COUNT)
    );
}

#[test]
fn an_envelope_of_orders_is_split_as_biztalk_wrote_its_paths() {
    let spec = compiled(
        r#"
        format = "xml"
        path = "/*[local-name()='Envelope' and namespace-uri()='urn:env']/*[local-name()='Body' and namespace-uri()='urn:env']/o:Order"
        namespaces = { o = "urn:orders", e = "urn:env" }
        [header.Sender]
        xpath = "/e:Envelope/e:Header/e:From"
        required = true
        "#,
    );
    let mut body = String::from(
        "<e:Envelope xmlns:e='urn:env' xmlns:o='urn:orders'><e:Header><e:From>ACME</e:From></e:Header><e:Body>\n",
    );
    for number in 0..500 {
        writeln!(body, "<o:Order><o:Id>{number}</o:Id></o:Order>").expect("into memory");
    }
    body.push_str("</e:Body></e:Envelope>");
    let (records, end) = collected(&spec, body.as_bytes(), 4096);
    assert_eq!(
        end,
        Ok(Summary {
            records: 500,
            faulty: 0
        })
    );
    assert_eq!(
        records[499].document.as_deref(),
        Ok("<o:Order xmlns:e=\"urn:env\" xmlns:o=\"urn:orders\"><o:Id>499</o:Id></o:Order>")
    );
    assert_eq!(records[499].properties[0].1.to_string(), "ACME");
    assert_eq!(records[499].line, 501);
    for size in [1, 7, 64 * 1024] {
        assert!(
            collected(&spec, body.as_bytes(), size).0 == records,
            "pieces of {size}"
        );
    }
}

#[test]
fn the_examples_of_the_guide_can_be_used() {
    let guide = include_str!("../../../docs/pipelines.md");
    let all = guide.split("```toml\n").skip(1).map(|rest| {
        let (example, _) = rest.split_once("```").expect("an end");
        example
    });
    // Others are of `app.toml`.
    let mut examples = all.filter(|example| {
        !["[receive", "[send", "[message", "[party"]
            .iter()
            .any(|own| example.starts_with(own))
    });
    let decode = examples.next();
    let decode: DecodeSpec = toml::from_str(decode.expect("one of decoding")).expect("a spec");
    decode.compile().expect("no fault");
    let mut run = |body: &str| {
        let spec = compiled(examples.next().expect("four examples"));
        let (records, end) = collected(&spec, body.as_bytes(), 3);
        end.expect("no fault");
        let record = records.into_iter().next().expect("one record");
        (record.document.expect("a good one"), record.properties)
    };
    let told = |document: &str| guide.contains(document);

    let body = "<Batch xmlns=\"urn:batch\"><Head><Id>7</Id></Head><Orders><Order no=\"1\"/></Orders></Batch>";
    let (document, properties) = run(body);
    assert!(told(body) && told(&document), "{document}");
    assert_eq!(properties[0].1.to_string(), "7");
    assert_eq!(run(r#"{"meta": {"sender": "X"}, "items": [5]}"#).0, "5");
    let (document, _) = run("Account;Amount;Paid\nDE1;12,50;1\n");
    assert!(told(&document), "{document}");
    let line = format!("D00000001{:<22}{:012}      {:<27}", "DE1", 1250, "Rent");
    let (document, _) = run(&format!("H0000000042\n{line}\nT00000001\n"));
    assert_eq!(
        document,
        r#"{"Number":1,"Account":"DE1","Amount":12.5,"Text":"Rent"}"#
    );
    assert_eq!(examples.next(), None);
    let mut all = guide
        .split("```toml\n")
        .filter_map(|rest| rest.split("```").next());
    let sends = all.find(|example| example.starts_with("[send.bank.pipeline]"));
    let sends: toml::Table = toml::from_str(sends.expect("one of encoding")).expect("TOML");
    let encode = sends["send"]["bank"]["pipeline"]["encode"].clone();
    let encode: EncodeSpec = encode.try_into().expect("a spec");
    encode.compile().expect("no fault");
}

fn splits() -> Vec<Split> {
    [
        "format = 'xml'\npath = '/a/b'\nmax_record_bytes = 60\n[header.H]\nxpath = '/a/h'",
        "format = 'xml'\npath = '/*/*[2]/b'",
        "format = 'json'\npath = '$'\nmax_records = 3",
        "format = 'json'\npath = '$.a'\n[header.H]\njsonpath = '$.h'",
        "format = 'csv'\ncolumns = [{name='a'},{name='b',type='integer'}]\nmax_record_bytes = 12",
        "format = 'csv'\nnames = true\ntrailer = {}\ndelimiter = ';'\nrecord = {as='xml',root='r'}",
        "format = 'csv'\ncolumns = [{name='a'}]\nhead = {tag='a'}\ntrailer = {tag='b'}\nquote = ''",
        "format = 'fixed'\ncolumns = [{name='a',width=2},{name='b',width=1,type='boolean'}]\ntag = 'a'\ntrailer = {}",
    ]
    .map(compiled)
    .into()
}

/// Pieces of all formats put together at random.
fn anything() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec![
            "<a>", "</a>", "<b>", "</b>", "<b/>", "<a xmlns:p='u'>", "<b p:x='>'>", "<h>", "</h>", "<!--", "-->",
            "<![CDATA[", "]]>", "<?p ?>", "<x/>", "&amp;", "[", "]", "{", "}", ",", ":", "\"a\"", "\"h\"", "\"b\"",
            "1", "true", "null", "-0.5e1", "\"", "\"\"", ";", "a", "b", "a,1\n", "\"x,\n\",2\r\n", "\n", "\r\n", "\r",
            " ", "ä", "𝄞", "\u{feff}", "text",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..3),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// A document that is mostly an envelope.
fn envelope() -> impl Strategy<Value = Vec<u8>> {
    let inside = prop::sample::select(vec![
        "<b/>",
        "<b>x<c/></b>",
        "<b xmlns:p='v' p:y=''/>",
        "<p:b/>",
        "<h>1</h>",
        "text &lt;",
        "<b><!-- </b> --></b>",
        "<x><b/></x>",
        "\n",
    ]);
    prop::collection::vec(inside, 0..12).prop_map(|inside| {
        format!("<a xmlns:p='u' xmlns:q='w&quot;'>{}</a>", inside.concat()).into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn pieces_change_nothing(
        body in prop_oneof![anything(), envelope()],
        sizes in prop::collection::vec(0_usize..6, 0..60),
    ) {
        for spec in splits() {
            let whole = collected(&spec, &body, body.len().max(1));
            let mut rest = &body[..];
            let mut pieces = Vec::new();
            for size in &sizes {
                let (piece, after) = rest.split_at((*size).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            pieces.push(rest);
            let mut records = Vec::new();
            let end = split(&spec, pieces, |record| records.push(record));
            prop_assert_eq!(&(records, end), &whole);
            prop_assert_eq!(&collected(&spec, &body, 1), &whole);
        }
    }

    #[test]
    fn each_record_of_an_envelope_stands_alone(body in envelope()) {
        let spec = compiled("format = 'xml'\npath = '/a/b'");
        let (records, end) = collected(&spec, &body, 5);
        prop_assert!(end.is_ok(), "{:?}", end);
        for record in records {
            let document = record.document.expect("within the limits");
            let mut scanner = Scanner::new(Kind::Xml, vec![], Limits::default());
            scanner.push(document.as_bytes()).expect("well-formed");
            prop_assert!(scanner.finish().is_ok(), "{}", document);
        }
    }

    #[test]
    fn each_record_of_an_array_stands_alone(
        values in prop::collection::vec(any::<Option<std::collections::BTreeMap<String, i32>>>(), 0..6),
    ) {
        let values: Vec<_> = values.iter().map(|value| serde_json::json!(value)).collect();
        let body = serde_json::to_string_pretty(&serde_json::json!({"n": [0], "items": values})).expect("JSON");
        let spec = compiled("format = 'json'\npath = '$.items'");
        let (records, end) = collected(&spec, body.as_bytes(), 3);
        prop_assert_eq!(end.map(|summary| summary.records), Ok(values.len() as u64));
        for (record, value) in records.iter().zip(values) {
            let document = record.document.as_ref().expect("within the limits");
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(document).expect("JSON"), value);
        }
    }

    #[test]
    fn fields_that_were_quoted_come_as_they_were(rows in prop::collection::vec(prop::collection::vec("[a,;\" \r\nä]{0,6}", 2), 0..8)) {
        let mut body = String::new();
        for row in &rows {
            let quoted: Vec<_> = row.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect();
            body.push_str(&quoted.join(","));
            body.push_str("\r\n");
        }
        let spec = compiled("format = 'csv'\ncolumns = [{name='a'},{name='b'}]");
        let (records, end) = collected(&spec, body.as_bytes(), 4);
        prop_assert_eq!(end.map(|summary| summary.faulty), Ok(0));
        let read: Vec<Vec<String>> = records.iter().map(|record| {
            let document = record.document.as_ref().expect("good");
            let object: serde_json::Value = serde_json::from_str(document).expect("JSON");
            ["a", "b"].iter().map(|key| object[key].as_str().expect("text").to_owned()).collect()
        }).collect();
        prop_assert_eq!(read, rows);
    }
}
