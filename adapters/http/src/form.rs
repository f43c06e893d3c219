//! `application/x-www-form-urlencoded`, and the percent-encoding that URLs share with it.

use std::fmt::Write as _;

/// Everything but RFC 3986's unreserved characters as `%XX`.
pub(crate) fn encode(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Fields as one form.
pub(crate) fn fields(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    pairs.join("&")
}

/// Form decoding: `+` is a space, `%XX` a byte.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    percent_decode(&text.replace('+', " "))
}

/// Percent-decoding; a `%` that starts no byte stays.
pub(crate) fn percent_decode(text: &str) -> Vec<u8> {
    let hex = |byte: u8| {
        let digit = char::from(byte).to_digit(16)?;
        u8::try_from(digit).ok()
    };
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = match bytes[at..] {
            [b'%', high, low, ..] => hex(high).zip(hex(low)),
            _ => None,
        };
        out.push(escaped.map_or(bytes[at], |(high, low)| (high << 4) | low));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_again() {
        for (text, encoded) in [
            ("a b+c", "a%20b%2Bc"),
            ("\u{e4}/&=", "%C3%A4%2F%26%3D"),
            ("-._~", "-._~"),
        ] {
            assert_eq!(encode(text), encoded);
            assert_eq!(decode(encoded), text.as_bytes());
        }
        assert_eq!(fields(&[("a", "1 2"), ("b", "&")]), "a=1%202&b=%26");
    }

    #[test]
    fn a_broken_escape_stays_as_it_is() {
        for (text, want) in [("a+b", "a b"), ("100%", "100%"), ("%zz%4", "%zz%4")] {
            assert_eq!(decode(text), want.as_bytes());
        }
    }
}
