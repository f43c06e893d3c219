//! The values of properties: which are right, as a setting gives them or as a template comes out.

use std::time::Duration;

use quayside_adapter_api::{model::Code, units::Span};

use super::{
    context::{MAX_EXTENSION, unhex},
    id,
    names::{self, Purpose},
};
use crate::codes;

/// The longest label, in units of UTF-16: MSMQ counts its end as one of 250.
const MAX_LABEL: usize = 249;

/// MSMQ's number for a time without end, in seconds.
const INFINITE: u64 = 0xFFFF_FFFF;

/// Why a value cannot be that of a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) code: Code,
    pub(crate) message: String,
}

fn wrong(message: impl Into<String>) -> Wrong {
    Wrong {
        code: codes::MSMQ_PROPERTY,
        message: message.into(),
    }
}

/// Checks the text that the setting `key` comes to.
pub(crate) fn check_text(key: &str, text: &str) -> Result<(), Wrong> {
    match key {
        "label" => label(text),
        "correlation_id" => correlation_id(text).map(|_| ()),
        "extension" => extension(text).map(|_| ()),
        "time_to_be_received" => time_to_be_received(text).map(|_| ()),
        _ => queue(text),
    }
}

fn label(text: &str) -> Result<(), Wrong> {
    let units = text.encode_utf16().count();
    if units > MAX_LABEL {
        let message = format!("the label has {units} units of UTF-16, more than {MAX_LABEL}");
        return Err(wrong(message));
    }
    Ok(())
}

/// An id in its one spelling; nothing for an empty text.
pub(crate) fn correlation_id(text: &str) -> Result<Option<String>, Wrong> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    id::normal(text).map(Some).ok_or_else(|| {
        let message =
            "a correlation id has 20 bytes, written GUID\\NUMBER or in 40 hexadecimal digits";
        wrong(format!("`{text}`: {message}"))
    })
}

pub(crate) fn extension(text: &str) -> Result<Vec<u8>, Wrong> {
    let bytes = unhex(text).ok_or_else(|| {
        wrong("an extension is written in pairs of hexadecimal digits, such as 00ff")
    })?;
    if bytes.len() > MAX_EXTENSION {
        let message = format!(
            "the extension has {} bytes, more than {MAX_EXTENSION}",
            bytes.len()
        );
        return Err(wrong(message));
    }
    Ok(bytes)
}

fn queue(text: &str) -> Result<(), Wrong> {
    let resolved = names::resolve(text, "here", Purpose::Send);
    resolved.map(|_| ()).map_err(|error| Wrong {
        code: error.code(),
        message: error.to_string(),
    })
}

/// A duration with units, or whole seconds as MSMQ counts them; `None` for one without end.
pub(crate) fn time_to_be_received(text: &str) -> Result<Option<Duration>, Wrong> {
    let text = text.trim();
    if text == "infinite" {
        return Ok(None);
    }
    let time = match text.parse::<u64>() {
        Ok(seconds) if seconds >= INFINITE => return Ok(None),
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let span: Span = text.parse().map_err(|error| wrong(format!("{error}")))?;
            span.duration()
        }
    };
    if time.is_zero() {
        return Err(wrong("it must be longer than nothing, such as \"4d\""));
    }
    Ok(Some(time))
}

/// Checks the number that the setting `key` comes to.
pub(crate) fn check_number(key: &str, number: i64) -> Result<(), Wrong> {
    let most = match key {
        "priority" => 7,
        _ => i64::from(u32::MAX),
    };
    if (0..=most).contains(&number) {
        return Ok(());
    }
    Err(wrong(format!(
        "`{key}` is {number}, not between 0 and {most}"
    )))
}

/// The number that a template of the setting `key` has come to.
pub(crate) fn number(key: &str, text: &str) -> Result<u32, Wrong> {
    let number: i64 = text
        .trim()
        .parse()
        .map_err(|_| wrong(format!("`{key}` is `{text}`, no whole number")))?;
    check_number(key, number)?;
    u32::try_from(number).map_err(|_| wrong(format!("`{key}` is {number}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_or_are_seconds() {
        let secs = |secs| Ok(Some(Duration::from_secs(secs)));
        assert_eq!(time_to_be_received("4d"), secs(345_600));
        assert_eq!(time_to_be_received(" 90 "), secs(90));
        for endless in ["infinite", "4294967295"] {
            assert_eq!(time_to_be_received(endless), Ok(None));
        }
        for text in ["0", "0s", "-1", "soon", ""] {
            assert!(time_to_be_received(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_keep_their_bounds() {
        assert_eq!(number("priority", " 7 "), Ok(7));
        assert_eq!(number("app_specific", "4294967295"), Ok(u32::MAX));
        for (key, text) in [
            ("priority", "8"),
            ("body_type", "-1"),
            ("app_specific", "a"),
        ] {
            assert!(number(key, text).is_err(), "{key} {text}");
        }
    }
}
