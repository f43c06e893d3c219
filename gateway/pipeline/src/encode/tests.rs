//! What is put around a body comes off again as it was.

use quayside_model::Code;
use serde_json::{Value, json};

use super::*;
use crate::decode::{DecodeSpec, Decoding};

fn pieces(spec: &Value, body: &[u8], size: usize) -> Result<Vec<u8>, Code> {
    let spec: EncodeSpec = serde_json::from_value(spec.clone()).expect("a spec");
    let mut encoding = Encoding::new(&spec.compile().expect("no fault"));
    let mut out = Vec::new();
    let mut run = || {
        for mut piece in body.chunks(size) {
            while encoding.pull(&mut piece, &mut out)? {}
        }
        while encoding.finish(&mut out)? {}
        Ok(())
    };
    run().map_err(|invalid: Invalid| invalid.code)?;
    Ok(out)
}

/// What a body becomes, for which the pieces make no difference.
fn encode(spec: Value, body: &[u8]) -> Result<Vec<u8>, Code> {
    let whole = pieces(&spec, body, body.len().max(1));
    for size in [1, 2, 3, 7, 1000] {
        assert_eq!(pieces(&spec, body, size), whole, "pieces of {size}");
    }
    whole
}

fn decode(spec: Value, mut body: &[u8]) -> Vec<u8> {
    let spec: DecodeSpec = serde_json::from_value(spec).expect("a spec");
    let mut decoding = Decoding::new(&spec.compile().expect("no fault"), None);
    let mut out = Vec::new();
    while decoding
        .pull(&mut body, &mut out)
        .expect("what was encoded")
    {}
    while decoding.finish(&mut out).expect("what was encoded") {}
    out
}

#[test]
fn what_was_put_around_comes_off() {
    let text = "Grüße, €; ".repeat(20_000);
    let there = json!({"stages": [{"charset": "windows-1252"}, "gzip", "base64"]});
    let back =
        json!({"stages": ["base64", "gzip", {"charset": "windows-1252"}], "max_ratio": 1000});
    let sent = encode(there, text.as_bytes()).expect("characters that it has");
    assert!(sent.len() < 2000 && sent.is_ascii(), "{} bytes", sent.len());
    assert!(decode(back, &sent) == text.as_bytes());
    for (body, base64) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba\u{ff}", "Zm9vYmHDvw=="),
    ] {
        assert_eq!(
            encode(json!({"stages": ["base64"]}), body.as_bytes()),
            Ok(base64.as_bytes().to_vec())
        );
    }
    let empty = encode(json!({"stages": ["gzip"]}), b"").expect("a stream");
    assert_eq!(decode(json!({"stages": ["gzip"]}), &empty), b"");
}

#[test]
fn a_character_that_the_set_does_not_have_is_a_fault() {
    let latin = || json!({"stages": [{"charset": "iso-8859-15"}]});
    assert_eq!(encode(latin(), "a€".as_bytes()), Ok(b"a\xa4".to_vec()));
    assert_eq!(encode(latin(), "aПb".as_bytes()), Err(codes::UNMAPPABLE));
    assert_eq!(encode(latin(), b"a\xff"), Err(codes::BAD_UTF));
    assert_eq!(
        encode(latin(), "ä".as_bytes().split_at(1).0),
        Err(codes::BAD_UTF)
    );
    let spec: EncodeSpec = serde_json::from_value(latin()).expect("a spec");
    let mut encoding = Encoding::new(&spec.compile().expect("no fault"));
    let told = encoding
        .pull(&mut "ab\nП".as_bytes(), &mut Vec::new())
        .expect_err("no such character");
    assert_eq!(
        (told.offset, told.detail.as_str()),
        (3, "stage 1: ISO-8859-15 has no character `П` (U+041F)")
    );
}

#[test]
fn an_xml_declaration_says_what_is_so() {
    let text = |text: &str| {
        let sent = encode(json!({"stages": [{"charset": "latin1"}]}), text.as_bytes());
        String::from_utf8(sent.expect("ASCII")).expect("ASCII")
    };
    for (before, after) in [
        (
            "<?xml version='1.0'?><a/>",
            "<?xml version='1.0' encoding=\"windows-1252\"?><a/>",
        ),
        (
            "<?xml version='1.0' encoding='utf-8' standalone='yes'?><a/>",
            "<?xml version='1.0' encoding=\"windows-1252\" standalone='yes'?><a/>",
        ),
        ("<?xml?><a/>", "<?xml?><a/>"),
        ("<a/>", "<a/>"),
        ("<?x", "<?x"),
    ] {
        assert_eq!(text(before), after);
    }
}

#[test]
fn every_fault_of_a_configuration_is_told_at_its_key() {
    let spec = json!({"stages": ["gzip", {"charset": "latin1"}, {"charset": "klingon"}]});
    let spec: EncodeSpec = serde_json::from_value(spec).expect("a spec");
    let faults = spec.compile().expect_err("faults");
    let told: Vec<_> = faults.iter().map(|fault| fault.path.join(".")).collect();
    assert_eq!(told, ["stages.1", "stages.2", "stages.2"]);
    let utf16: EncodeSpec =
        serde_json::from_value(json!({"stages": [{"charset": "utf-16"}]})).expect("a spec");
    assert_eq!(utf16.compile().expect_err("only read").len(), 1);
    let many = EncodeSpec {
        stages: vec![EncodeStage::Gzip; 9],
    };
    assert_eq!(many.compile().expect_err("too many").len(), 1);
}

#[test]
fn what_is_put_around_a_body_is_its_type() {
    let after = |stages: &str, before: Option<&str>| {
        let spec: EncodeSpec = serde_json::from_str(stages).expect("a spec");
        spec.compile().expect("no fault").content_type(before)
    };
    let xml = Some("text/xml; charset=utf-8");
    let latin = r#"{"stages": [{"charset": "ISO-8859-15"}]}"#;
    assert_eq!(
        after(latin, xml).as_deref(),
        Some("text/xml; charset=iso-8859-15")
    );
    assert_eq!(after(latin, None), None);
    let zipped = r#"{"stages": ["base64", "gzip"]}"#;
    assert_eq!(after(zipped, xml).as_deref(), Some("application/gzip"));
    let armoured = r#"{"stages": ["gzip", "base64"]}"#;
    assert_eq!(after(armoured, xml).as_deref(), Some("text/plain"));
    assert_eq!(after(r#"{"stages": []}"#, xml).as_deref(), xml);
}
