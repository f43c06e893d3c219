//! Bodies that mean harm to who splits them: a coded answer, in memory that does not grow with the body.
//!
//! One test in a process of its own, because what it measures is the process.

use std::{io::Write as _, iter};

use flate2::{Compression, write::GzEncoder};
use quayside_pipeline::{
    Invalid, codes,
    decode::{BodyPart, DecodeSpec, Decoding, Multipart, PartLimits},
    split::{Record, SplitSpec, Splitter, Summary},
};

const MIB: usize = 1024 * 1024;

/// How a batch ended: how many records and faulty ones came, of which codes, and what ended it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    summary: Summary,
    codes: Vec<&'static str>,
    end: Option<&'static str>,
}

/// Splits `head`, then `block` until there are `bytes` of it, then `tail`.
fn split(spec: &str, head: &str, block: &str, bytes: usize, tail: &str) -> Outcome {
    let spec: SplitSpec = toml::from_str(spec).expect("a spec");
    let spec = spec.compile().expect("no fault");
    let block = block.repeat((64 * 1024 / block.len()).max(1));
    let blocks = iter::repeat_n(block.as_bytes(), bytes / block.len());
    let pieces = iter::once(head.as_bytes())
        .chain(blocks)
        .chain([tail.as_bytes()]);
    let mut outcome = Outcome::default();
    let mut splitter = Splitter::new(&spec);
    let see = |record: Record, outcome: &mut Outcome| {
        if let Err(invalid) = record.document {
            assert!(invalid.detail.len() < 1000, "a short cause");
            if outcome.codes.last() != Some(&invalid.code.code) {
                outcome.codes.push(invalid.code.code);
            }
        }
    };
    let all = || {
        for mut piece in pieces {
            while let Some(record) = splitter.pull(&mut piece)? {
                see(record, &mut outcome);
            }
        }
        while let Some(record) = splitter.finish()? {
            see(record, &mut outcome);
        }
        Ok(())
    };
    let end: Result<(), quayside_pipeline::Invalid> = all();
    outcome.end = end.err().map(|invalid| invalid.code.code);
    outcome.summary = splitter.summary();
    outcome
}

/// The most memory that this process ever had, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    1024 * kib
        .and_then(|kib| kib.parse::<usize>().ok())
        .expect("a number")
}

fn ended(records: u64, faulty: u64, fault: &[&'static str], end: Option<&'static str>) -> Outcome {
    Outcome {
        summary: Summary { records, faulty },
        codes: fault.to_vec(),
        end,
    }
}

#[test]
fn hostile_batches_end_with_a_code_in_bounded_memory() {
    const XML: &str = "format = 'xml'\npath = '/a/b'";
    const JSON: &str = "format = 'json'\npath = '$'";
    const CSV: &str = "format = 'csv'\ncolumns = [{name='a'},{name='b'}]";
    const LAST: &str = "format = 'csv'\ncolumns = [{name='a'}]\ntrailer = {}";
    const FIXED: &str = "format = 'fixed'\ncolumns = [{name='a',width=5}]";
    let large = codes::RECORD_TOO_LARGE.code;
    let many = codes::TOO_MANY_RECORDS.code;

    let deep = "<x>".repeat(10_000);
    assert_eq!(
        split(XML, &format!("<a><b>{deep}"), "x", 0, ""),
        ended(0, 0, &[], Some(codes::TOO_DEEP.code))
    );
    let deep = "[".repeat(10_000);
    assert_eq!(
        split(JSON, &deep, "x", 0, ""),
        ended(0, 0, &[], Some(codes::TOO_DEEP.code))
    );
    let bomb = "<!DOCTYPE a [<!ENTITY x '0123456789'><!ENTITY y '&x;&x;&x;&x;'>]><a><b>&y;</b></a>";
    assert_eq!(
        split(XML, bomb, "x", 0, ""),
        ended(0, 0, &[], Some(codes::DTD.code))
    );

    // What is longer than a record may be is passed over, and the next record comes.
    assert_eq!(
        split(XML, "<a><b>", "text ", 64 * MIB, "</b><b/></a>"),
        ended(2, 1, &[large], None)
    );
    assert_eq!(
        split(JSON, "[\"", "text ", 64 * MIB, "\",1]"),
        ended(2, 1, &[large], None)
    );
    assert_eq!(
        split(CSV, "", "text ", 64 * MIB, ""),
        ended(1, 1, &[large], None)
    );
    assert_eq!(
        split(CSV, "", "text ", 64 * MIB, "\na,b\n"),
        ended(2, 1, &[large], None)
    );
    assert_eq!(
        split(FIXED, "", "text ", 64 * MIB, "\na\n"),
        ended(2, 1, &[large], None)
    );
    assert_eq!(
        split(LAST, "a\n", "text ", 64 * MIB, "\nb"),
        ended(2, 1, &[large], None)
    );

    // A quote that is never closed, and commas without end.
    assert_eq!(
        split(CSV, "a,\"", "b,c\n", 64 * MIB, ""),
        ended(0, 0, &[], Some(codes::OPEN_QUOTE.code))
    );
    assert_eq!(
        split(CSV, "", ",", 64 * MIB, "\na,b\n"),
        ended(2, 1, &[codes::COLUMNS.code], None)
    );
    assert_eq!(
        split(CSV, "", "\"\",", 64 * MIB, ""),
        ended(1, 1, &[codes::COLUMNS.code], None)
    );
    assert_eq!(
        split(JSON, "[1", ",", 64 * MIB, ""),
        ended(1, 0, &[], Some(codes::JSON_SYNTAX.code))
    );

    // Records without end, good ones and faulty ones.
    assert_eq!(
        split(JSON, "[1", ",1", 64 * MIB, "]"),
        ended(1_000_000, 0, &[], Some(many))
    );
    assert_eq!(
        split(XML, "<a>", "<b/>", 64 * MIB, "</a>"),
        ended(1_000_000, 0, &[], Some(many))
    );
    assert_eq!(
        split(CSV, "", "a,b\n", 64 * MIB, ""),
        ended(1_000_000, 0, &[], Some(many))
    );
    assert_eq!(
        split(CSV, "", "a\n", 64 * MIB, ""),
        ended(1_000_000, 1_000_000, &[codes::COLUMNS.code], Some(many))
    );
    // Empty lines are no records, and take no memory either.
    assert_eq!(
        split(CSV, "", "\n", 64 * MIB, "a,b"),
        ended(1, 0, &[], None)
    );

    // Each small record is given the declarations around it: their bytes count.
    let mut declared = String::from("<a");
    for number in 0..200 {
        declared.push_str(&format!(" xmlns:p{number}='{}'", "u".repeat(1000)));
    }
    declared.push('>');
    let outcome = split(XML, &declared, "<b/>", MIB, "</a>");
    assert_eq!(outcome.end, Some(many));
    assert!(outcome.summary.records < 25_000, "{outcome:?}");

    bombs();

    let peak = peak() / MIB;
    assert!(peak < 64, "{peak} MiB were in use");
    println!("at most {peak} MiB were in use");
}

/// How many bytes a body of `bytes` zeros becomes, that was compressed as often as `spec` says, and how it ended.
fn inflate(spec: &str, bytes: usize) -> (usize, Option<&'static str>) {
    let spec: DecodeSpec = toml::from_str(spec).expect("a spec");
    let decode = spec.compile().expect("no fault");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let zeros = vec![0; MIB];
    for _ in 0..bytes / MIB {
        encoder.write_all(&zeros).expect("into memory");
    }
    let mut body = encoder.finish().expect("into memory");
    for _ in 1..spec.stages.len() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&body).expect("into memory");
        body = encoder.finish().expect("into memory");
    }
    let mut decoding = Decoding::new(&decode, None);
    let (mut all, mut out) = (0, Vec::new());
    let mut run = || {
        for mut piece in body.chunks(64 * 1024) {
            while decoding.pull(&mut piece, &mut out)? {
                all += out.len();
                out.clear();
            }
        }
        while decoding.finish(&mut out)? {
            all += out.len();
            out.clear();
        }
        Ok(())
    };
    let end: Result<(), Invalid> = run();
    (all + out.len(), end.err().map(|invalid| invalid.code.code))
}

fn bombs() {
    let bomb = Some(codes::EXPANSION.code);
    let (all, end) = inflate("stages = ['gzip']", 256 * MIB);
    assert_eq!(end, bomb);
    assert!(all < MIB, "{all} bytes came out");
    // A bomb in a bomb is known by its first stage.
    let (all, end) = inflate("stages = ['gzip', 'gzip']", 256 * MIB);
    assert_eq!(end, bomb);
    assert!(all < MIB, "{all} bytes came out");
    // Whoever allows that much gets it a little at a time.
    let (all, end) = inflate("stages = ['gzip']\nmax_ratio = 2000", 256 * MIB);
    assert_eq!((all, end), (256 * MIB, None));

    // Headers, preambles and delimiters without end.
    for (begin, code) in [
        ("--b\r\nX: ", Some(codes::MULTIPART_LIMIT)),
        ("--b\r\n\r\n", None),
        ("", None),
        ("--b  ", None),
    ] {
        let mut reader = Multipart::new(
            "multipart/x; boundary=b",
            BodyPart::First,
            PartLimits::default(),
        )
        .expect("multipart");
        let block = " ".repeat(64 * 1024);
        let pieces = iter::once(begin).chain(iter::repeat_n(&*block, 1024));
        let (mut all, mut out) = (0, Vec::new());
        let run = || {
            for piece in pieces {
                let mut piece = piece.as_bytes();
                while reader.pull(&mut piece, &mut out)?.is_some() {}
                all += out.len();
                out.clear();
            }
            Ok(())
        };
        let end: Result<(), Invalid> = run();
        assert_eq!(end.err().map(|invalid| invalid.code), code, "{begin:?}");
        assert!(
            all == 0 || all == 64 * MIB,
            "{begin:?}: {all} bytes of a part"
        );
    }
}
