//! A JSON document as a tree, with its numbers as they are written.

use std::borrow::Cow;

use super::{limits, work::Stop};
use crate::codes;

/// A value of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Json<'d> {
    Null,
    Boolean(bool),
    Number(&'d str),
    Text(Cow<'d, str>),
    List(Vec<Json<'d>>),
    Object(Vec<(Cow<'d, str>, Json<'d>)>),
}

/// Reads a document that a [`Scanner`](crate::Scanner) has found to be well-formed, and no deeper than its limits.
///
/// # Errors
/// That it has too many values.
pub(super) fn read(text: &str) -> Result<Json<'_>, Stop> {
    let mut reader = Reader {
        text,
        at: 0,
        left: limits::INPUT_VALUES,
    };
    reader.value()
}

struct Reader<'d> {
    text: &'d str,
    at: usize,
    left: usize,
}

impl<'d> Reader<'d> {
    fn value(&mut self) -> Result<Json<'d>, Stop> {
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            let detail = format!("it has more than {} values", limits::INPUT_VALUES);
            Stop::new(codes::MAP_INPUT_TOO_LARGE, detail)
        })?;
        match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.list(),
            Some(b'"') => self.string().map(Json::Text),
            _ => self.word(),
        }
    }

    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(self.at) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    fn object(&mut self) -> Result<Json<'d>, Stop> {
        self.at += 1;
        let mut members = Vec::new();
        while self.peek() != Some(b'}') {
            let name = self.string()?;
            self.pass(b':')?;
            members.push((name, self.value()?));
            if self.peek() == Some(b',') {
                self.at += 1;
                self.peek();
            }
        }
        self.at += 1;
        Ok(Json::Object(members))
    }

    fn list(&mut self) -> Result<Json<'d>, Stop> {
        self.at += 1;
        let mut items = Vec::new();
        while self.peek() != Some(b']') {
            items.push(self.value()?);
            if self.peek() == Some(b',') {
                self.at += 1;
            }
        }
        self.at += 1;
        Ok(Json::List(items))
    }

    fn string(&mut self) -> Result<Cow<'d, str>, Stop> {
        let start = self.at;
        self.pass(b'"')?;
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        loop {
            match bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(_) => self.at += 1,
                None => return Err(malformed()),
            }
        }
        self.at += 1;
        let written = self.text.get(start..self.at).ok_or_else(malformed)?;
        if !escaped {
            return Ok(Cow::Borrowed(&written[1..written.len() - 1]));
        }
        let text: String = serde_json::from_str(written).map_err(|_| malformed())?;
        Ok(Cow::Owned(text))
    }

    /// A number, `true`, `false` or `null`.
    fn word(&mut self) -> Result<Json<'d>, Stop> {
        let rest = &self.text[self.at..];
        let ends = |c: char| matches!(c, ',' | ']' | '}' | ' ' | '\t' | '\n' | '\r');
        let word = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += word.len();
        match word {
            "null" => Ok(Json::Null),
            "true" => Ok(Json::Boolean(true)),
            "false" => Ok(Json::Boolean(false)),
            // An end where a value has to be; it would be read for ever.
            "" => Err(malformed()),
            number => Ok(Json::Number(number)),
        }
    }

    fn pass(&mut self, byte: u8) -> Result<(), Stop> {
        if self.peek() != Some(byte) {
            return Err(malformed());
        }
        self.at += 1;
        Ok(())
    }
}

/// Only for what no scanner has seen.
fn malformed() -> Stop {
    Stop::new(codes::JSON_SYNTAX, "it is not well-formed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_as_it_is_written() {
        let text =
            " {\"a\\u00e4\" : [ 1.50, -2e3 ,true,null , \"x\\n\\\"\" ], \"b\":{ } , \"c\":[]}\n";
        let Ok(Json::Object(members)) = read(text) else {
            panic!("an object");
        };
        assert_eq!(members[0].0, "aä");
        let list = [
            Json::Number("1.50"),
            Json::Number("-2e3"),
            Json::Boolean(true),
            Json::Null,
            Json::Text("x\n\"".into()),
        ];
        assert_eq!(members[0].1, Json::List(list.to_vec()));
        assert_eq!(members[1].1, Json::Object(Vec::new()));
        assert_eq!(members[2].1, Json::List(Vec::new()));
        assert_eq!(read("5"), Ok(Json::Number("5")));
    }

    #[test]
    fn what_no_scanner_has_seen_ends_all_the_same() {
        for bad in [
            "", "{", "[", "[1,", "{\"a\"", "{\"a\":", "\"", "\"\\", "{,}", "[,]",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn it_has_no_more_values_than_it_may_have() {
        let list = |count: usize| format!("[{}0]", "0,".repeat(count - 2));
        assert!(read(&list(limits::INPUT_VALUES)).is_ok());
        let stop = read(&list(limits::INPUT_VALUES + 1)).expect_err("too many");
        assert_eq!(stop.code, codes::MAP_INPUT_TOO_LARGE);
    }
}
