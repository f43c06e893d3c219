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
        // A mark, or NUL among the first bytes, says another encoding than UTF-8.
        prop_assume!(!text.starts_with('\u{feff}') && !text.bytes().take(4).any(|b| b == 0));
        let narrow = scan(Kind::Xml, Limits::default(), text.as_bytes(), &[]);
        let wide = scan(Kind::Xml, Limits::default(), &wide(&body, big), &[cut]);
        prop_assert_eq!(narrow.map_err(|e| e.code), wide.map_err(|e| e.code));
    }

    #[test]
    fn well_formed_xml_reads_the_same_in_another_parser(
        body in document(),
        cuts in prop::collection::vec(0_usize..6, 0..60),
    ) {
        let ours = scan_root(body.as_bytes(), &cuts);
        prop_assert_eq!(ours.map_err(|e| e.to_string()), Ok(read_elsewhere(&body)));
    }

    #[test]
    fn damaged_xml_is_refused_if_another_parser_refuses_it(
        body in document(),
        at: prop::sample::Index,
        damage in prop::sample::select(vec!["", "<", ">", "&", "/", "=", "'", "\"", " ", "x", "]]>"]),
    ) {
        let damaged = damage_at(&body, at, damage);
        if let Ok(ours) = scan_root(damaged.as_bytes(), &[]) {
            prop_assert_eq!(ours, read_elsewhere(&damaged));
        }
        let whole = scan(Kind::Xml, Limits::default(), damaged.as_bytes(), &[]);
        let single = scan(Kind::Xml, Limits::default(), damaged.as_bytes(), &vec![1; damaged.len()]);
        prop_assert_eq!(single, whole);
    }

    #[test]
    fn json_is_what_serde_takes_for_json(
        body in json(),
        at: prop::sample::Index,
        damage in prop::sample::select(vec!["", "{", "]", ",", ":", "\"", "\\", "0", ".", "-", "e", " "]),
        damaged: bool,
    ) {
        let body = if damaged { damage_at(&body, at, damage) } else { body };
        // Ours refuses what theirs passes only for a promoted value, so nothing is promoted here.
        let mut scanner = Scanner::new(Kind::Json, Vec::new(), Limits::default());
        let ours = scanner.push(body.as_bytes()).and_then(|()| scanner.finish());
        let theirs = serde_json::from_str::<serde_json::Value>(&body);
        prop_assert!(damaged || ours.is_ok(), "{:?}", ours);
        // A number that does not fit a double is no fault of form.
        prop_assume!(!theirs.as_ref().is_err_and(|e| e.to_string().contains("out of range")));
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", ours, theirs);
    }
}

/// Well-formed documents.
fn document() -> impl Strategy<Value = String> {
    let text = prop::sample::select(vec![
        "",
        "text",
        "ä 𝄞",
        "&amp;",
        "&#x41;&#66;",
        "<![CDATA[<c>]]&]]>",
        "<!-- <c> - -->",
        "<?p c?>",
        "one\r\ntwo\rthree\n",
        "]]&gt;",
        " ",
    ]);
    let name = prop::sample::select(vec!["a", "b", "x:a", "Größe", "_-."]);
    let attributes = prop::sample::select(vec![
        "",
        " c='1'",
        "  c = \"&lt;'\n>\"",
        " xmlns='u'",
        " xmlns:x='v' x:c='' c=''",
    ]);
    let element = move |name: &str, attributes: &str, inner: &str| {
        let declared = if name.starts_with("x:") && !attributes.contains("xmlns:x") {
            " xmlns:x='w'"
        } else {
            ""
        };
        format!("<{name}{declared}{attributes}>{inner}</{name} >")
    };
    let pieces = text
        .prop_map(str::to_owned)
        .prop_recursive(4, 24, 5, move |inner| {
            (
                name.clone(),
                attributes.clone(),
                prop::collection::vec(inner, 0..5),
            )
                .prop_map(move |(name, attributes, inner)| {
                    element(name, attributes, &inner.concat())
                })
        });
    let prolog = prop::sample::select(vec![
        "",
        "<?xml version=\"1.0\" encoding='utf-8' ?>",
        "\n<!-- c -->",
        "\u{feff}",
    ]);
    (
        prolog,
        prop::collection::vec(pieces, 0..4),
        prop::sample::select(vec!["", "\n", "<?p?>"]),
    )
        .prop_map(|(prolog, pieces, end)| format!("{prolog}<r>{}</r>{end}", pieces.concat()))
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "null",
        "true",
        "false",
        "0",
        "-1",
        "12.50",
        "1e5",
        "-0.1E-2",
        "\"\"",
        "\"text\"",
        "\"\\u00e4\\ud834\\udd1e\"",
        "\"\\n\\\"\\\\\"",
        "\"ä𝄞\"",
    ]);
    leaf.prop_map(str::to_owned)
        .prop_recursive(4, 24, 4, |inner| {
            let array = prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|values| format!("[{}]", values.join(" , ")));
            let key = prop::sample::select(vec!["\"a\"", "\"b\"", "\"\\u0061b\""]);
            let object = prop::collection::vec((key, inner), 0..4).prop_map(|members| {
                let members: Vec<String> =
                    members.iter().map(|(k, v)| format!("{k}:\n{v}")).collect();
                format!("{{{}}}", members.join(","))
            });
            prop_oneof![array, object]
        })
}

/// Replaces one character of `body`.
fn damage_at(body: &str, at: prop::sample::Index, damage: &str) -> String {
    let mut chars: Vec<String> = body.chars().map(String::from).collect();
    let at = at.index(chars.len());
    chars[at] = damage.to_owned();
    chars.concat()
}

/// All text of the root element, whatever its name is, and that name.
fn scan_root(body: &[u8], cuts: &[usize]) -> Result<(String, String), Invalid> {
    let rules = BTreeMap::from([("Root".to_owned(), Rule::xpath("/*"))]);
    let promotions = Promotions::compile(&BTreeMap::new(), &rules).expect("of the subset");
    let mut scanner = Scanner::new(Kind::Xml, vec![(None, &promotions)], Limits::default());
    let mut rest = body;
    for cut in cuts {
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        scanner.push(piece)?;
        rest = after;
    }
    scanner.push(rest)?;
    let scanned = scanner.finish()?;
    let name = scanned.message_type.expect("XML has a type");
    let name = name.rsplit('#').next().unwrap_or_default().to_owned();
    Ok((name, scanned.properties[0].1.to_string()))
}

/// The same, read with quick-xml.
fn read_elsewhere(text: &str) -> (String, String) {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_str(text.trim_start_matches('\u{feff}'));
    let (mut root, mut content, mut depth) = (None, String::new(), 0);
    loop {
        match reader
            .read_event()
            .expect("what we accept is well-formed for others too")
        {
            Event::Start(tag) => {
                depth += 1;
                root.get_or_insert(tag.local_name().as_ref().to_owned());
            }
            Event::Empty(tag) => {
                root.get_or_insert(tag.local_name().as_ref().to_owned());
            }
            Event::End(_) => depth -= 1,
            Event::Text(text) if depth > 0 => content.push_str(&lines(&text)),
            Event::CData(text) => content.push_str(&lines(&text)),
            Event::GeneralRef(name) => {
                let resolved = name.resolve_char_ref().expect("a reference that we accept");
                let named = || quick_xml::escape::resolve_predefined_entity(&name);
                match resolved {
                    Some(c) => content.push(c),
                    None => content.push_str(named().expect("an entity that we accept")),
                }
            }
            Event::Eof => return (root.expect("what we accept has a root element"), content),
            _ => {}
        }
    }
}

/// Line ends as XML wants them.
fn lines(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}
