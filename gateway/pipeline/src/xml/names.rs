//! Characters and references of XML 1.0.

use quayside_model::Code;

use crate::codes;

/// Whether XML forbids the character that begins `bytes`, which are UTF-8.
pub(super) fn forbidden(bytes: &[u8]) -> bool {
    match bytes.first() {
        Some(b'\t' | b'\n' | b'\r') => false,
        Some(0..0x20) => true,
        Some(0xef) => matches!(bytes, [_, 0xbf, 0xbe | 0xbf, ..]),
        _ => false,
    }
}

/// Whether text of the root element has to be looked at byte by byte around this one: it may be forbidden,
/// or begin what is.
pub(super) fn extraordinary(byte: u8) -> bool {
    let control = byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r');
    control | (byte == b']') | (byte == b'>') | (byte == 0xef)
}

/// Whether XML forbids any character of `text`.
pub(crate) fn any_forbidden(text: &str) -> bool {
    (0..text.len()).any(|i| forbidden(&text.as_bytes()[i..]))
}

/// Whether a name may start with `c`. A colon is judged with the prefix that it ends.
pub(super) fn starts_name(c: char) -> bool {
    matches!(c,
        'A'..='Z' | 'a'..='z' | '_' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}'
        | '\u{f8}'..='\u{2ff}' | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}'
        | '\u{200c}'..='\u{200d}' | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}'
        | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}'
        | '\u{10000}'..='\u{effff}')
}

/// Whether a name may go on with `c`.
pub(super) fn continues_name(c: char) -> bool {
    starts_name(c)
        || matches!(c,
            '0'..='9' | '-' | '.' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
}

/// Whether `name` is a name without colon.
pub(crate) fn is_name(name: &str) -> bool {
    name.starts_with(starts_name) && name.chars().all(continues_name)
}

/// Writes `text` so that it reads the same as text and as a value in double quotes.
pub(crate) fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            _ => out.push(c),
        }
    }
}

/// Splits `prefix:local`; no prefix is the empty one. `None`: not a qualified name.
pub(super) fn split(name: &str) -> Option<(&str, &str)> {
    match name.split_once(':') {
        None => is_name(name).then_some(("", name)),
        Some((prefix, local)) => (is_name(prefix) && is_name(local)).then_some((prefix, local)),
    }
}

/// XML's own four spaces, not Unicode's.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// Without the spaces before its end.
pub(super) fn trim_end(text: &str) -> &str {
    text.trim_end_matches(is_space)
}

/// Whether `c` can stand between `&` and `;`.
pub(super) fn in_reference(c: char) -> bool {
    c == '#' || c == ':' || continues_name(c)
}

/// The character that `&reference;` stands for.
pub(super) fn resolve(reference: &str) -> Result<char, (Code, String)> {
    let number = |digits: &str, radix| {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let code = u32::from_str_radix(digits, radix).ok().filter(|_| plain)?;
        let allowed = |c: &char| !forbidden(c.encode_utf8(&mut [0; 4]).as_bytes());
        char::from_u32(code).filter(allowed)
    };
    let c = match reference {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "apos" => Some('\''),
        "quot" => Some('"'),
        _ => {
            let Some(digits) = reference.strip_prefix('#') else {
                let detail = format!("the entity `&{reference};` is not defined");
                return Err((codes::ENTITY, detail));
            };
            match digits.strip_prefix('x') {
                Some(hex) => number(hex, 16),
                None => number(digits, 10),
            }
        }
    };
    c.ok_or_else(|| {
        (
            codes::CHARACTER,
            format!("`&{reference};` does not refer to a character of XML"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_stand_for_one_character() {
        for (reference, c) in [("lt", '<'), ("#228", 'ä'), ("#xE4", 'ä'), ("#x1D11E", '𝄞')] {
            assert_eq!(resolve(reference), Ok(c), "{reference}");
        }
        for (reference, code) in [
            ("nbsp", codes::ENTITY),
            ("", codes::ENTITY),
            ("#", codes::CHARACTER),
            ("#0", codes::CHARACTER),
            ("#x1", codes::CHARACTER),
            ("#xD800", codes::CHARACTER),
            ("#xFFFE", codes::CHARACTER),
            ("#+5", codes::CHARACTER),
            ("#99999999999", codes::CHARACTER),
        ] {
            assert_eq!(
                resolve(reference).map_err(|e| e.0),
                Err(code),
                "{reference}"
            );
        }
    }

    #[test]
    fn names_have_at_most_one_prefix() {
        assert_eq!(split("o:Order"), Some(("o", "Order")));
        assert_eq!(split("Größe.2-x"), Some(("", "Größe.2-x")));
        for bad in ["", ":a", "a:", "a:b:c", "1a", "-a", "a b", "a:1"] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }
}
