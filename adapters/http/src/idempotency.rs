//! The `Idempotency-Key` header: a structured-field string, or bare as most senders write it.

use http::{HeaderMap, HeaderName};
use quayside_adapter_api::{AdapterError, model::Text};

use crate::error::{BAD_KEY, invalid};

/// The header's name.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// The longest key, in characters.
const MAX: usize = 255;

/// The key of a request, if it has one.
///
/// # Errors
/// `BAD_KEY` if there are two, or one that is malformed: guessing would make two messages one.
pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Option<Text>, AdapterError> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(invalid(BAD_KEY, "more than one key"));
    }
    parse(value.as_bytes()).map(Some)
}

fn parse(value: &[u8]) -> Result<Text, AdapterError> {
    let key = match value.strip_prefix(b"\"") {
        Some(quoted) => unquote(quoted)?,
        None => bare(value)?,
    };
    if key.is_empty() || key.len() > MAX {
        return Err(invalid(BAD_KEY, "the key must have 1 to 255 characters"));
    }
    Text::new(key).map_err(|error| invalid(BAD_KEY, error.to_string()))
}

/// What stands between the quotes (RFC 9651, 3.3.3), `quoted` beginning behind the first.
fn unquote(quoted: &[u8]) -> Result<String, AdapterError> {
    let mut key = String::with_capacity(quoted.len());
    let mut bytes = quoted.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' if bytes.len() == 0 => return Ok(key),
            b'"' => return Err(invalid(BAD_KEY, "something follows the closing quote")),
            b'\\' => match bytes.next() {
                Some(escaped @ (b'"' | b'\\')) => key.push(char::from(escaped)),
                _ => return Err(invalid(BAD_KEY, "only \\\" and \\\\ are escapes")),
            },
            0x20..=0x7e => key.push(char::from(byte)),
            _ => {
                return Err(invalid(
                    BAD_KEY,
                    "the key holds a character that is not ASCII",
                ));
            }
        }
    }
    Err(invalid(BAD_KEY, "the closing quote is missing"))
}

/// A key without quotes: visible ASCII. A comma is refused, because a proxy that joins two headers
/// into one makes it.
fn bare(value: &[u8]) -> Result<String, AdapterError> {
    let fits = |b: &u8| matches!(b, 0x21..=0x7e) && !matches!(b, b'"' | b',' | b'\\');
    if !value.iter().all(fits) {
        return Err(invalid(
            BAD_KEY,
            "a bare key holds visible ASCII without quotes and commas",
        ));
    }
    Ok(value.iter().copied().map(char::from).collect())
}

/// The header's value for `key`, which holds no quote and no backslash.
pub(crate) fn quoted(key: &str) -> String {
    debug_assert!(!key.contains(['"', '\\']), "ids hold neither");
    format!("\"{key}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_quoted_and_bare() {
        for (value, key) in [
            ("\"8e03978e-40d5\"", "8e03978e-40d5"),
            ("8e03978e-40d5", "8e03978e-40d5"),
            (r#""a \"b\" \\ c""#, r#"a "b" \ c"#),
            ("a;b=c", "a;b=c"),
        ] {
            assert_eq!(parse(value.as_bytes()).as_deref(), Ok(key), "{value}");
        }
    }

    #[test]
    fn a_doubtful_key_is_refused() {
        let long = "x".repeat(MAX + 1);
        for value in [
            "",
            "\"\"",
            "\"a",
            "\"a\"b",
            r#""a\n""#,
            "a b",
            "a,b",
            "\"\u{e4}\"",
            &long,
        ] {
            assert_eq!(
                parse(value.as_bytes()).map_err(|e| e.code),
                Err(BAD_KEY),
                "{value}"
            );
        }
        let mut two = HeaderMap::new();
        two.append(HEADER, "a".parse().unwrap());
        two.append(HEADER, "b".parse().unwrap());
        assert!(from_headers(&two).is_err());
    }

    #[test]
    fn what_is_sent_is_read_again() {
        assert_eq!(parse(quoted("0199.3").as_bytes()).as_deref(), Ok("0199.3"));
    }
}
