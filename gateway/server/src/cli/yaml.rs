//! A JSON value as YAML: block style for what holds something, and text in quotes as soon as any reader
//! could take it for something else.

use std::fmt::Write as _;

use serde_json::Value;

/// The document.
pub(super) fn render(value: &Value) -> String {
    let mut text = String::new();
    block(&mut text, value, 0);
    text
}

/// Writes `value` at the beginning of a line that is indented by `depth` levels.
fn block(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                indent(text, depth);
                scalar(text, key);
                text.push(':');
                below(text, value, depth + 1);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                indent(text, depth);
                text.push('-');
                item_of(text, item, depth + 1);
            }
        }
        leaf => {
            indent(text, depth);
            inline(text, leaf);
            text.push('\n');
        }
    }
}

/// Writes the value of a key: on its line, or below it.
fn below(text: &mut String, value: &Value, depth: usize) {
    if is_leaf(value) {
        text.push(' ');
        inline(text, value);
        text.push('\n');
    } else {
        text.push('\n');
        block(text, value, depth);
    }
}

/// Writes an item behind its dash. What it holds begins on the line of the dash, two columns further.
fn item_of(text: &mut String, item: &Value, depth: usize) {
    if is_leaf(item) {
        below(text, item, depth);
        return;
    }
    let mut held = String::new();
    block(&mut held, item, depth);
    text.push(' ');
    text.push_str(held.trim_start_matches(' '));
}

fn indent(text: &mut String, depth: usize) {
    write!(text, "{:1$}", "", depth * 2).expect("writing to a string cannot fail");
}

fn is_leaf(value: &Value) -> bool {
    match value {
        Value::Object(entries) => entries.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => true,
    }
}

fn inline(text: &mut String, leaf: &Value) {
    match leaf {
        Value::String(string) => scalar(text, string),
        // Null, booleans, numbers, `{}` and `[]` are the same in both.
        other => write!(text, "{other}").expect("writing to a string cannot fail"),
    }
}

fn scalar(text: &mut String, string: &str) {
    if is_plain(string) {
        text.push_str(string);
        return;
    }
    // A JSON string is a double-quoted scalar of YAML, but for what YAML calls unprintable.
    text.push('"');
    for c in string.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            c if c.is_control() || is_unprintable(c) => {
                write!(text, "\\u{:04x}", u32::from(c)).expect("writing to a string cannot fail");
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

/// Line ends of Unicode, marks of byte order, and the end of the plane: all below 0x10000.
fn is_unprintable(c: char) -> bool {
    matches!(
        c,
        '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
    )
}

/// Whether no reader takes it for a number, a date, a boolean or null, by the rules of YAML 1.1 or 1.2.
fn is_plain(string: &str) -> bool {
    const WORDS: [&str; 11] = [
        "true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf",
    ];
    let inner = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    string.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/')
        && string.chars().all(inner)
        && !WORDS.contains(&string.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_holds_something_is_a_block() {
        let value = json!({
            "messages": [
                { "id": "01a1fd9f", "live": 0, "type": null, "of": [] },
                { "legs": [["a", "b"], [{ "x": 1 }]], "empty": {} },
                "alone",
            ],
            "next": "orders.in.web",
            "ok": true,
        });
        let wanted = "\
messages:
  - id: \"01a1fd9f\"
    live: 0
    of: []
    type: null
  - empty: {}
    legs:
      - - a
        - b
      - - x: 1
  - alone
next: orders.in.web
ok: true
";
        assert_eq!(render(&value), wanted);
        assert_eq!(render(&json!([])), "[]\n");
        assert_eq!(render(&json!("text")), "text\n");
    }

    #[test]
    fn text_stays_text() {
        for (string, yaml) in [
            ("plain-text_1/a.b", "plain-text_1/a.b"),
            ("", "\"\""),
            ("no", "\"no\""),
            ("NULL", "\"NULL\""),
            ("1e3", "\"1e3\""),
            ("2026-11-21T12:00:00Z", "\"2026-11-21T12:00:00Z\""),
            ("~", "\"~\""),
            ("-", "\"-\""),
            ("a: b", "\"a: b\""),
            ("a #b", "\"a #b\""),
            (" a", "\" a\""),
            ("say \"x\\y\"\n", "\"say \\\"x\\\\y\\\"\\n\""),
            ("\u{1b}[2J\u{7f}\u{85}", "\"\\u001b[2J\\u007f\\u0085\""),
            ("ä\u{2028}", "\"ä\\u2028\""),
        ] {
            assert_eq!(render(&json!(string)), format!("{yaml}\n"), "{string:?}");
        }
    }
}
