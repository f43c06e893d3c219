//! What comes out of multipart bodies, and what is refused.

use quayside_model::Code;
use serde_json::{Value, json};

use super::super::{DecodeSpec, Decoding};
use crate::{Invalid, codes};

const FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--b\r\n\
    Content-Disposition: form-data; name=\"file\"; filename=\"a.xml\"\r\nContent-Type: application/xml\r\n\
    Content-ID: <x@y>\r\nContent-Transfer-Encoding: base64\r\n\r\nPGEv\r\nPg==\r\n--b--\r\nepilogue";

const ALONE: &str = "--b\nContent-Type: text/xml; charset=utf-8\n\n<a/>\n--b--\n";

/// The body and its type, or the code of the fault, the same in pieces of every size.
fn decoded(
    spec: Value,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<(String, Option<String>), Code> {
    let spec: DecodeSpec = serde_json::from_value(spec).expect("a spec");
    let decode = spec.compile().expect("no fault");
    let run = |size: usize| {
        let mut decoding = Decoding::new(&decode, content_type);
        let mut out = Vec::new();
        for mut piece in body.chunks(size) {
            while decoding.pull(&mut piece, &mut out)? {}
            assert!(piece.is_empty(), "all was taken");
        }
        while decoding.finish(&mut out)? {}
        let text = String::from_utf8(out).expect("UTF-8");
        Ok::<_, Invalid>((text, decoding.part_type().map(str::to_owned)))
    };
    let whole = run(body.len().max(1)).map_err(|invalid| invalid.code);
    for size in [1, 2, 7, 50] {
        assert_eq!(
            run(size).map_err(|invalid| invalid.code),
            whole,
            "pieces of {size}"
        );
    }
    whole
}

fn good(text: &str, content_type: Option<&str>) -> Result<(String, Option<String>), Code> {
    Ok((text.to_owned(), content_type.map(str::to_owned)))
}

#[test]
fn the_chosen_part_is_the_body() {
    let form = Some("multipart/form-data; boundary=b");
    let choose = |body: Value| json!({"multipart": {"body": body, "others": "drop"}});
    let xml = good("<a/>", Some("application/xml"));
    for body in [
        json!({"type": "application/xml"}),
        json!({"number": 2}),
        json!({"id": "x@y"}),
    ] {
        assert_eq!(
            decoded(choose(body.clone()), form, FORM.as_bytes()),
            xml,
            "{body}"
        );
    }
    assert_eq!(
        decoded(choose(json!("first")), form, FORM.as_bytes()),
        good("hello", None)
    );
    let none = decoded(choose(json!({"type": "text/css"})), form, FORM.as_bytes());
    assert_eq!(none, Err(codes::NO_BODY_PART));
}

#[test]
fn other_parts_are_refused_unless_that_is_said() {
    let form = Some("multipart/form-data; boundary=b");
    let spec = json!({"multipart": {}});
    assert_eq!(
        decoded(spec.clone(), form, FORM.as_bytes()),
        Err(codes::OTHER_PARTS)
    );
    let alone = good("<a/>", Some("text/xml; charset=utf-8"));
    assert_eq!(
        decoded(
            spec,
            Some("Multipart/Mixed; boundary=\"b\""),
            ALONE.as_bytes()
        ),
        alone
    );
}

#[test]
fn without_a_content_type_the_first_line_tells_the_boundary() {
    let alone = good("<a/>", Some("text/xml; charset=utf-8"));
    for content_type in [
        None,
        Some("application/octet-stream"),
        Some("text/plain; charset=utf-8"),
    ] {
        let read = decoded(json!({"multipart": {}}), content_type, ALONE.as_bytes());
        assert_eq!(read, alone, "{content_type:?}");
    }
    let long = format!("--{}\n\nx", "b".repeat(71));
    for (content_type, body) in [
        (None, ""),
        (None, "--b"),
        (None, "<a/>"),
        (None, "\n--b\n\nx\n--b--"),
        (None, "--a\"b\n\nx\n--a\"b--"),
        (None, long.as_str()),
        (Some("application/xml"), ALONE),
        (Some("multipart/mixed"), ALONE),
        (Some("multipart/mixed; boundary=c"), ALONE),
        (Some("multipart/mixed; boundary=b"), "--b\n\n<a/>"),
    ] {
        let read = decoded(json!({"multipart": {}}), content_type, body.as_bytes());
        assert_eq!(read, Err(codes::MULTIPART), "{content_type:?} {body}");
    }
}

#[test]
fn stages_follow_for_the_body_and_faults_name_them() {
    let spec = json!({"multipart": {}, "stages": ["base64", {"charset": "latin1"}]});
    let body = "--b\n\n5PY=\n--b--";
    assert_eq!(
        decoded(spec.clone(), None, body.as_bytes()),
        good("äö", None)
    );
    let spec: DecodeSpec = serde_json::from_value(spec).expect("a spec");
    let decode = spec.compile().expect("no fault");
    let mut decoding = Decoding::new(&decode, None);
    let mut wrong: &[u8] = b"--b\n\n!!!\n--b--\n";
    let mut out = Vec::new();
    let mut run = || {
        while decoding.pull(&mut wrong, &mut out)? {}
        while decoding.finish(&mut out)? {}
        Ok::<_, Invalid>(())
    };
    let invalid = run().expect_err("no base64");
    assert_eq!(invalid.code, codes::BASE64);
    assert!(
        invalid.detail.starts_with("stage 1: "),
        "{}",
        invalid.detail
    );
    let bounded = json!({"multipart": {}, "max_bytes": 3});
    assert_eq!(
        decoded(bounded, None, ALONE.as_bytes()),
        Err(codes::EXPANSION)
    );
}

#[test]
fn a_choice_that_nothing_fits_is_a_fault() {
    for body in [
        json!({"number": 0}),
        json!({"type": "xml"}),
        json!({"id": ""}),
    ] {
        let spec = json!({"multipart": {"body": body}});
        let spec: DecodeSpec = serde_json::from_value(spec).expect("a spec");
        let faults = spec.compile().expect_err("a fault");
        assert_eq!(faults.len(), 1, "{body}");
        assert_eq!(faults[0].path, ["multipart", "body"]);
    }
}
