//! Whatever arrives, in whatever pieces: no panic, and the same answer for the same bytes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use quayside_pipeline::{Invalid, Kind, Limits, Promotions, Rule, Scanned, Scanner};

fn promotions() -> Promotions {
    let rule = |xpath: &str, jsonpath: &str| Rule {
        xpath: Some(xpath.to_owned()),
        jsonpath: Some(jsonpath.to_owned()),
        ..Rule::default()
    };
    let rules = BTreeMap::from([
        ("A".to_owned(), rule("/a/b", "$.a.b")),
        ("B".to_owned(), rule("/a/@c", "$.a[0]")),
        ("C".to_owned(), rule("/a/*[2]/text()", "$.c")),
    ]);
    Promotions::compile(&BTreeMap::new(), &rules).expect("of the subset")
}

fn small() -> Limits {
    Limits {
        depth: 6,
        attributes: 3,
        name_bytes: 8,
        attribute_bytes: 16,
        token_bytes: 40,
        text_bytes: 60,
    }
}

fn scan(kind: Kind, limits: Limits, body: &[u8], cuts: &[usize]) -> Result<Scanned, Invalid> {
    let promotions = promotions();
    let mut scanner = Scanner::new(kind, vec![(None, &promotions)], limits);
    let mut rest = body;
    for cut in cuts {
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        scanner.push(piece)?;
        rest = after;
    }
    scanner.push(rest)?;
    scanner.finish()
}

/// Pieces of markup put together at random come much further than random bytes.
fn markup() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "<a>",
            "</a>",
            "<b>",
            "</b>",
            "<a c='1'>",
            "<b/>",
            "<a",
            " c=\"x\"",
            ">",
            "/>",
            "&amp;",
            "&#65;",
            "&x;",
            "&",
            "<!--",
            "-->",
            "-",
            "<![CDATA[",
            "]]>",
            "]",
            "<?p ",
            "?>",
            "\r\n",
            "\r",
            "text",
            "ä",
            "𝄞",
            "<?xml version='1.0'?>",
            "<!DOCTYPE",
            "xmlns='u'",
            "\u{feff}",
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"b\"",
            "\"c\"",
            "\"",
            "\\",
            "\\u00e4",
            "\\ud834",
            "\\udd1e",
            "null",
            "tru",
            "true",
            "1",
            "-0.5e+3",
            "0",
            " ",
        ])
        .prop_map(|s| s.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 1..3),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn wide(body: &[u8], big: bool) -> Vec<u8> {
    let text = String::from_utf8_lossy(body);
    let mark = std::iter::once(0xfeff);
    let bytes = |unit: u16| {
        if big {
            unit.to_be_bytes()
        } else {
            unit.to_le_bytes()
        }
    };
    mark.chain(text.encode_utf16()).flat_map(bytes).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn pieces_change_nothing(
        body in markup(),
        cuts in prop::collection::vec(0_usize..6, 0..60),
        json: bool,
        tight: bool,
    ) {
        let kind = if json { Kind::Json } else { Kind::Xml };
        let limits = if tight { small() } else { Limits::default() };
        let whole = scan(kind, limits, &body, &[]);
        prop_assert_eq!(&scan(kind, limits, &body, &cuts), &whole);
        prop_assert_eq!(scan(kind, limits, &body, &vec![1; body.len()]), whole);
    }

    #[test]
    fn utf16_says_the_same_as_utf8(body in markup(), big: bool, cut in 0_usize..40) {
        let text = String::from_utf8_lossy(&body).into_owned();
        prop_assume!(!text.starts_with('\u{feff}'));
        let narrow = scan(Kind::Xml, Limits::default(), text.as_bytes(), &[]);
        let wide = scan(Kind::Xml, Limits::default(), &wide(&body, big), &[cut]);
        prop_assert_eq!(narrow.map_err(|e| e.code), wide.map_err(|e| e.code));
    }

    #[test]
    fn json_is_what_serde_takes_for_json(body in markup()) {
        // Ours refuses what theirs passes only for a promoted value, so nothing is promoted here.
        let mut scanner = Scanner::new(Kind::Json, Vec::new(), Limits::default());
        let ours = scanner.push(&body).and_then(|()| scanner.finish());
        let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&body);
        let theirs = serde_json::from_slice::<serde_json::Value>(text);
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", ours, theirs);
    }

    #[test]
    fn accepted_xml_reads_the_same_in_another_parser(body in markup()) {
        let Ok(scanned) = scan(Kind::Xml, Limits::default(), &body, &[]) else { return Ok(()) };
        let text = String::from_utf8(body).expect("accepted bytes are UTF-8");
        let root = first_element(text.trim_start_matches('\u{feff}'));
        let ours = scanned.message_type.map(String::from);
        let ours = ours.map(|name| name.rsplit('#').next().unwrap_or_default().to_owned());
        prop_assert_eq!(ours, Some(root));
    }
}

/// Reads all of `text` with quick-xml; returns the name of the first element.
fn first_element(text: &str) -> String {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_str(text);
    let mut first = None;
    loop {
        match reader
            .read_event()
            .expect("what we accept is well-formed for others too")
        {
            Event::Start(tag) | Event::Empty(tag) => {
                let name = tag.local_name().as_ref().to_owned();
                first.get_or_insert(name);
            }
            Event::Eof => return first.expect("what we accept has a root element"),
            _ => {}
        }
    }
}
