//! What bodies become when what was put around them is taken off.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use quayside_model::Code;
use serde_json::{Value, json};

use super::*;
use crate::chain::PIECE;

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).expect("into memory");
    encoder.finish().expect("into memory")
}

fn compiled(spec: Value) -> Decode {
    let spec: DecodeSpec = serde_json::from_value(spec).expect("a spec");
    spec.compile().expect("no fault")
}

fn pieces(decode: &Decode, body: &[u8], size: usize) -> Result<Vec<u8>, Code> {
    let mut decoding = Decoding::new(decode, None);
    let (mut all, mut out) = (Vec::new(), Vec::new());
    let mut run = || {
        for mut piece in body.chunks(size) {
            while decoding.pull(&mut piece, &mut out)? {
                assert!(
                    out.len() <= PIECE + 300 * 1024,
                    "{} bytes at a time",
                    out.len()
                );
                all.append(&mut out);
            }
            assert!(piece.is_empty(), "all was taken");
        }
        while decoding.finish(&mut out)? {
            all.append(&mut out);
        }
        Ok(())
    };
    run().map_err(|invalid: Invalid| invalid.code)?;
    all.append(&mut out);
    Ok(all)
}

/// What a body becomes, for which the pieces make no difference.
fn decode(spec: Value, body: &[u8]) -> Result<Vec<u8>, Code> {
    let decode = compiled(spec);
    let whole = pieces(&decode, body, body.len().max(1));
    for size in [1, 2, 3, 7, 255, 256, 257] {
        assert_eq!(pieces(&decode, body, size), whole, "pieces of {size}");
    }
    whole
}

#[test]
fn stages_come_off_in_their_order() {
    use std::fmt::Write as _;
    let text = "Grüße; ".repeat(3000);
    let latin: Vec<u8> = text
        .chars()
        .map(|c| u8::try_from(u32::from(c)).expect("of Latin-1"))
        .collect();
    let spec = json!({"stages": ["gzip", {"charset": "iso-8859-1"}], "max_ratio": 1000});
    assert_eq!(decode(spec, &gzip(&latin)), Ok(text.into_bytes()));
    let hexadecimal = (0..2000).fold(String::new(), |mut all, number| {
        write!(all, "{number:x}").expect("into memory");
        all
    });
    let twice = json!({"stages": ["gzip", "gzip"]});
    assert_eq!(
        decode(twice, &gzip(&gzip(hexadecimal.as_bytes()))),
        Ok(hexadecimal.into_bytes())
    );
    assert_eq!(decode(json!({}), b"as it is"), Ok(b"as it is".to_vec()));
    assert_eq!(
        decode(json!({"stages": ["base64", "gzip"]}), b"H4sI"),
        Err(codes::COMPRESSED)
    );
}

#[test]
fn gzip_has_members_and_an_end() {
    let spec = || json!({"stages": ["gzip"]});
    let one = gzip(b"one");
    assert_eq!(
        decode(spec(), &[&one[..], &gzip(b" two")].concat()),
        Ok(b"one two".to_vec())
    );
    let mut damaged = one.clone();
    let last = damaged.len() - 6;
    damaged[last] ^= 1;
    for body in [
        &one[..one.len() - 1],
        &one[..5],
        &damaged,
        b"text",
        b"",
        &[&one[..], b"more"].concat(),
    ] {
        assert_eq!(decode(spec(), body), Err(codes::COMPRESSED), "{body:?}");
    }
}

#[test]
fn what_grows_too_far_is_refused() {
    let zeros = gzip(&vec![0; 20 * 1024 * 1024]);
    assert_eq!(
        decode(json!({"stages": ["gzip"]}), &zeros),
        Err(codes::EXPANSION)
    );
    let wide = |bytes: u64| json!({"stages": ["gzip"], "max_ratio": 2000, "max_bytes": bytes});
    assert_eq!(
        decode(wide(20 * 1024 * 1024), &zeros).map(|all| all.len()),
        Ok(20 * 1024 * 1024)
    );
    assert_eq!(
        decode(wide(20 * 1024 * 1024 - 1), &zeros),
        Err(codes::EXPANSION)
    );
    let text = json!({"stages": ["gzip", {"charset": "utf-8"}], "max_ratio": 2000});
    assert_eq!(
        decode(text, &zeros).map(|all| all.len()),
        Ok(20 * 1024 * 1024)
    );
    // Short texts may compress well.
    assert_eq!(
        decode(json!({"stages": ["gzip"]}), &gzip(&[0; 60_000])).map(|all| all.len()),
        Ok(60_000)
    );
    let text = json!({"stages": [{"charset": "windows-1252"}], "max_bytes": 5});
    assert_eq!(decode(text, b"\x80\x80"), Err(codes::EXPANSION));
}

#[test]
fn base64_is_whole_groups() {
    let spec = || json!({"stages": ["base64"]});
    for (body, bytes) in [
        ("", ""),
        ("Zg==", "f"),
        ("Zm8=", "fo"),
        ("Zm9v\r\nYmE=\n", "fooba"),
        (" Z m 8 = ", "fo"),
        ("+/+/", "\u{0}"),
    ] {
        let found = decode(spec(), body.as_bytes()).expect("base64");
        if body == "+/+/" {
            assert_eq!(found, [0xfb, 0xff, 0xbf]);
        } else {
            assert_eq!(found, bytes.as_bytes(), "{body}");
        }
    }
    for body in [
        "Zg", "Zg=", "Zg===", "Z===", "====", "Zm9v=", "Zg==Zg==", "Zm9v-_", "Zh==", "Zm9=", "Zg=a",
    ] {
        assert_eq!(
            decode(spec(), body.as_bytes()),
            Err(codes::BASE64),
            "{body}"
        );
    }
}

#[test]
fn character_sets_become_utf8() {
    let text = |charset: &str, bytes: &[u8]| {
        let decoded = decode(json!({"stages": [{"charset": charset}]}), bytes);
        decoded.map(|utf8| String::from_utf8(utf8).expect("UTF-8"))
    };
    assert_eq!(text("windows-1252", b"\x80 \xe4").as_deref(), Ok("€ ä"));
    assert_eq!(text("ISO-8859-15", b"\xa4").as_deref(), Ok("€"));
    assert_eq!(text("ibm866", b"\x8f").as_deref(), Ok("П"));
    assert_eq!(
        text("shift_jis", b"\x83e\x83X\x83g").as_deref(),
        Ok("テスト")
    );
    assert_eq!(
        text("utf-16", b"\xfe\xff\x00a\x20\xac").as_deref(),
        Ok("a€")
    );
    assert_eq!(text("utf-16le", b"a\0\xac\x20").as_deref(), Ok("a€"));
    assert_eq!(text("utf-8", b"\xef\xbb\xbfa").as_deref(), Ok("a"));
    for (charset, bytes) in [
        ("utf-8", &b"a\xff"[..]),
        ("utf-8", b"a\xe4"),
        ("shift_jis", b"\x83"),
        ("utf-16le", b"a"),
    ] {
        assert_eq!(
            text(charset, bytes),
            Err(codes::BAD_UTF),
            "{charset} {bytes:?}"
        );
    }
}

#[test]
fn an_xml_declaration_no_longer_says_what_is_no_longer_so() {
    let text = |text: &str| {
        let decoded = decode(
            json!({"stages": [{"charset": "windows-1252"}]}),
            text.as_bytes(),
        );
        String::from_utf8(decoded.expect("text")).expect("UTF-8")
    };
    for (before, after) in [
        (
            "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a/>",
            "<?xml version=\"1.0\"?><a/>",
        ),
        (
            "<?xml version='1.0' encoding = 'x' standalone='yes'?><a/>",
            "<?xml version='1.0' standalone='yes'?><a/>",
        ),
        (
            "<?xml version='1.0'?><a encoding='x'/>",
            "<?xml version='1.0'?><a encoding='x'/>",
        ),
        (
            "<?xml-stylesheet encoding='x'?>",
            "<?xml-stylesheet encoding='x'?>",
        ),
        ("<a> encoding='x'?></a>", "<a> encoding='x'?></a>"),
        ("<?xm", "<?xm"),
        ("<?xml version='1.0'", "<?xml version='1.0'"),
        ("", ""),
    ] {
        assert_eq!(text(before), after);
    }
    for spaces in [245, 300, 5000] {
        let long = format!("<?xml version='1'{} encoding='x'?>", " ".repeat(spaces));
        assert_eq!(text(&long), long);
    }
}

#[test]
fn every_fault_of_a_configuration_is_told_at_its_key() {
    let spec = json!({"stages": [{"charset": "klingon"}, {"charset": "utf-7"}, {"charset": "latin1"}, "gzip"], "max_bytes": 0, "max_ratio": 0});
    let spec: DecodeSpec = serde_json::from_value(spec).expect("a spec");
    let faults = spec.compile().expect_err("faults");
    let told: Vec<_> = faults.iter().map(|fault| fault.path.join(".")).collect();
    assert_eq!(
        told,
        ["stages.0", "stages.1", "stages.3", "max_bytes", "max_ratio"]
    );
    let many = DecodeSpec {
        stages: vec![StageSpec::Gzip; 9],
        ..DecodeSpec::default()
    };
    assert_eq!(many.compile().expect_err("too many").len(), 1);
}

type Parts = Vec<(PartHead, Vec<u8>)>;

fn parts_in(content_type: &str, choice: BodyPart, body: &[u8], size: usize) -> Result<Parts, Code> {
    let limits = PartLimits {
        parts: 3,
        header_bytes: 200,
    };
    let mut reader =
        Multipart::new(content_type, choice, limits).map_err(|invalid| invalid.code)?;
    let mut parts: Parts = Vec::new();
    let mut out = Vec::new();
    let mut see = |event, out: &mut Vec<u8>| match event {
        Event::Part(head) => {
            assert!(out.is_empty(), "nothing is of no part");
            parts.push((head, Vec::new()));
        }
        Event::End => parts.last_mut().expect("a part").1.append(out),
    };
    let mut run = || {
        for mut piece in body.chunks(size) {
            while let Some(event) = reader.pull(&mut piece, &mut out)? {
                see(event, &mut out);
            }
            assert!(piece.is_empty(), "all was taken");
        }
        while let Some(event) = reader.finish(&mut out)? {
            see(event, &mut out);
        }
        Ok(())
    };
    run().map_err(|invalid: Invalid| invalid.code)?;
    Ok(parts)
}

fn parts(choice: BodyPart, body: &str) -> Result<Parts, Code> {
    let content_type = "multipart/related; type=\"a;b=\\\"c\"; Boundary=\"b-1\"; x=y";
    let whole = parts_in(content_type, choice.clone(), body.as_bytes(), body.len());
    for size in [1, 2, 3, 5, 7] {
        let cut = parts_in(content_type, choice.clone(), body.as_bytes(), size);
        assert_eq!(cut, whole, "pieces of {size}");
    }
    whole
}

/// The contents of the parts.
fn contents(body: &str) -> Vec<String> {
    let parts = parts(BodyPart::First, body).expect("whole");
    let contents = parts
        .into_iter()
        .map(|(_, content)| String::from_utf8(content).expect("UTF-8"));
    contents.collect()
}

#[test]
fn parts_have_heads_and_contents() {
    let body = "preamble\r\n--b-1\r\nContent-Type: application/xml;\r\n charset=utf-8\r\ncontent-id: <root@x>\r\n\r\n<a/>\r\n\r\n--b-1\t \r\n\
        Content-Type: application/pdf\r\nContent-Transfer-Encoding: BASE64\r\nContent-Disposition: attachment; filename=\"a \\\"b\\\".pdf\"\r\n\r\n\
        Zm9v\r\nYmE=\r\n--b-1\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Disposition: form-data; name=note\r\n\r\n\
        a=3Db=\r\nc =E4\r\n--b-1--\r\nepilogue --b-1";
    let found = parts(BodyPart::Type("Application/XML".to_owned()), body).expect("whole");
    let heads: Vec<_> = found.iter().map(|(head, _)| head.clone()).collect();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        heads,
        [
            PartHead {
                number: 1,
                body: true,
                content_type: some("application/xml; charset=utf-8"),
                id: some("root@x"),
                name: None
            },
            PartHead {
                number: 2,
                content_type: some("application/pdf"),
                name: some("a \"b\".pdf"),
                ..PartHead::default()
            },
            PartHead {
                number: 3,
                name: some("note"),
                ..PartHead::default()
            },
        ]
    );
    let contents: Vec<_> = found.iter().map(|(_, content)| &content[..]).collect();
    assert_eq!(contents, [&b"<a/>\r\n"[..], b"fooba", b"a=bc \xe4"]);
    let chosen = |choice| {
        parts(choice, body)
            .expect("whole")
            .iter()
            .find(|(head, _)| head.body)
            .map(|(head, _)| head.number)
    };
    assert_eq!(chosen(BodyPart::First), Some(1));
    assert_eq!(chosen(BodyPart::Number(2)), Some(2));
    assert_eq!(chosen(BodyPart::Id("root@x".to_owned())), Some(1));
    assert_eq!(chosen(BodyPart::Type("text/plain".to_owned())), Some(3));
    assert_eq!(parts(BodyPart::Number(4), body), Err(codes::NO_BODY_PART));
}

#[test]
fn only_whole_lines_are_delimiters() {
    let content = "--b\r--b-1x\n--b-1-\r\n-- b-1\r\r\n\n --b-1\n--b-1 -";
    assert_eq!(contents(&format!("--b-1\n\n{content}\n--b-1--")), [content]);
    assert_eq!(contents("--b-1\r\n\r\n--b-1\r\n\r\n\r\n--b-1--"), ["", ""]);
    assert_eq!(contents("--b-1\n\nx\r\r\n--b-1--  "), ["x\r"]);
    let nested = "--b-10\n\nx\n--b-10--";
    assert_eq!(contents(&format!("--b-1\n\n{nested}\n--b-1--\n")), [nested]);
}

#[test]
fn what_is_no_multipart_body_is_refused() {
    for (body, code) in [
        ("", codes::MULTIPART),
        ("--b-2\r\n\r\nx", codes::MULTIPART),
        ("--b-1", codes::MULTIPART),
        ("--b-1\n\nx", codes::MULTIPART),
        ("--b-1\n\nx\n--b-1", codes::MULTIPART),
        ("--b-1\n\nx\n--b-1-", codes::MULTIPART),
        ("--b-1\nno header\n\nx\n--b-1--", codes::MULTIPART),
        ("--b-1\n folded: 1\n\nx\n--b-1--", codes::MULTIPART),
        (
            "--b-1\nContent-Transfer-Encoding: rot13\n\nx\n--b-1--",
            codes::MULTIPART,
        ),
        ("--b-1--", codes::MULTIPART),
        (
            "--b-1\nContent-Transfer-Encoding: base64\n\nZg\n--b-1--",
            codes::BASE64,
        ),
        (
            "--b-1\nContent-Transfer-Encoding: quoted-printable\n\n=a\n--b-1--",
            codes::BASE64,
        ),
        (
            "--b-1\n\n\n--b-1\n\n\n--b-1\n\n\n--b-1\n\n\n--b-1--",
            codes::MULTIPART_LIMIT,
        ),
    ] {
        assert_eq!(
            parts_in(
                "multipart/mixed; boundary=b-1",
                BodyPart::First,
                body.as_bytes(),
                3
            )
            .map(|_| ()),
            Err(code),
            "{body}"
        );
    }
    assert_eq!(
        parts(BodyPart::First, "--b-1--\n"),
        Err(codes::NO_BODY_PART)
    );
    let long = format!("--b-1\nX: {}\n\n\n--b-1--", "x".repeat(200));
    assert_eq!(parts(BodyPart::First, &long), Err(codes::MULTIPART_LIMIT));
    for content_type in [
        "text/plain; boundary=a",
        "multipart/mixed",
        "multipart/mixed; boundary=\"\"",
        "multipart/mixed; boundary=\"a\u{7f}\"",
        "multipart/mixed; boundary=\"a",
    ] {
        assert_eq!(
            parts_in(content_type, BodyPart::First, b"x", 1),
            Err(codes::MULTIPART),
            "{content_type}"
        );
    }
}
