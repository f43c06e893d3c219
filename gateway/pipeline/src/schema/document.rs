//! A document as the validator reads it: the same that the scanner has seen, and no larger in memory than it may be.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Deserializer, Map, Number, Value};

/// How many values a document may have, members of objects included: each takes up to some hundred bytes in memory,
/// however short it was written.
pub(super) const VALUES_MAX: usize = 200_000;

/// What some systems begin every text with.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads a document.
///
/// Not as `serde_json` reads a `Value`: with features that other crates may ask for it takes objects with certain members
/// for something else than they are, so that another document would be judged than is stored.
///
/// # Errors
/// What is wrong with it, or too much.
pub(super) fn read(bytes: &[u8]) -> Result<Value, String> {
    let bytes = bytes.strip_prefix(MARK).unwrap_or(bytes);
    let mut left = VALUES_MAX;
    let mut text = Deserializer::from_slice(bytes);
    let value = Whole(&mut left).deserialize(&mut text);
    let value = value.and_then(|value| text.end().map(|()| value));
    value.map_err(|error| error.to_string())
}

/// Reads a value, and counts it.
struct Whole<'a>(&'a mut usize);

impl<'de> DeserializeSeed<'de> for Whole<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        *self.0 = self
            .0
            .checked_sub(1)
            .ok_or_else(|| D::Error::custom(format!("it has more than {VALUES_MAX} values")))?;
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number =
            Number::from_f64(value).ok_or_else(|| E::custom("a number is out of range"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Whole(self.0))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(Whole(self.0))?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_read_as_it_is() {
        let text = r#"{"a": [1, -1, 1.5, "x", true, null, {}], "$serde_json::private::RawValue": "{\"b\": 1}"}"#;
        let want = json!({ "a": [1, -1, 1.5, "x", true, null, {}],
            "$serde_json::private::RawValue": "{\"b\": 1}" });
        assert_eq!(read(text.as_bytes()), Ok(want));
        assert_eq!(read(b"\xef\xbb\xbf{}"), Ok(json!({})));
        for bad in ["", "{", "{} {}", "1e999"] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn it_has_no_more_values_than_it_may_have() {
        let list = |count: usize| format!("[{}0]", "0,".repeat(count - 2));
        assert!(read(list(VALUES_MAX).as_bytes()).is_ok());
        let why = read(list(VALUES_MAX + 1).as_bytes()).expect_err("too many");
        assert!(why.contains("200000 values"), "{why}");
    }
}
