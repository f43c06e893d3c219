//! A value of jq as JSON: the engine knows values that no JSON can be, and writes them all the same.

use std::io::{self, Write};

use jaq_json::{
    Num, Val,
    write::{Pp, write},
};

/// Writes a value.
///
/// # Errors
/// It is no JSON, or nobody reads it.
pub(super) fn value(out: &mut impl Write, value: &Val) -> Result<(), String> {
    match value {
        Val::Null | Val::Bool(_) => leaf(out, value),
        Val::TStr(text) => match std::str::from_utf8(text) {
            Ok(_) => leaf(out, value),
            Err(_) => Err("it makes a text that is not UTF-8".to_owned()),
        },
        Val::BStr(_) => {
            Err("it makes bytes, which JSON has not: `tostring` makes a text of them".to_owned())
        }
        Val::Num(number) => write_number(out, number),
        Val::Arr(all) => {
            put(out, "[")?;
            for (no, one) in all.iter().enumerate() {
                if no > 0 {
                    put(out, ",")?;
                }
                self::value(out, one)?;
            }
            put(out, "]")
        }
        Val::Obj(all) => {
            put(out, "{")?;
            for (no, (key, one)) in all.iter().enumerate() {
                if no > 0 {
                    put(out, ",")?;
                }
                if !matches!(key, Val::TStr(_)) {
                    return Err("it makes an object whose key is no text".to_owned());
                }
                self::value(out, key)?;
                put(out, ":")?;
                self::value(out, one)?;
            }
            put(out, "}")
        }
    }
}

fn write_number(out: &mut impl Write, number: &Num) -> Result<(), String> {
    match number {
        Num::Float(float) if !float.is_finite() => {
            Err(format!("it makes the number {float}, which JSON has not"))
        }
        Num::Dec(text) => put(out, &decimal(text)),
        other => put(out, &other.to_string()),
    }
}

/// A number with a point or an exponent as JSON wants it: `tonumber` takes `+1.5` and `007.50` too.
fn decimal(text: &str) -> String {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let rest = rest.trim_start_matches('0');
    let zero = if rest.starts_with(|c: char| c.is_ascii_digit()) {
        ""
    } else {
        "0"
    };
    format!("{sign}{zero}{rest}")
}

fn leaf(out: &mut impl Write, value: &Val) -> Result<(), String> {
    write(out, &Pp::default(), 0, value).map_err(unread)
}

fn put(out: &mut impl Write, text: &str) -> Result<(), String> {
    out.write_all(text.as_bytes()).map_err(unread)
}

fn unread(error: io::Error) -> String {
    format!("it cannot be written: {error}")
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn numbers_are_written_as_json_wants_them() {
        for (text, written) in [
            ("12.50", "12.50"),
            ("-0.5e3", "-0.5e3"),
            ("+1.5", "1.5"),
            ("007.50", "7.50"),
            ("-00.1", "-0.1"),
            ("0e5", "0e5"),
        ] {
            assert_eq!(decimal(text), written);
        }
    }
}
