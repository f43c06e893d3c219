//! Columns of documents: what a configuration says of one, and the typed value that the farm is sent.
//!
//! Values go typed, as JSON: a form would read dates and numbers in the language of the site.

use std::{collections::BTreeMap, fmt};

use quayside_adapter_api::model::{Text, Timestamp};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::{Map, Number, Value, json};

/// The longest value of a column of one line, in characters.
const MAX_LINE: usize = 255;

/// What is written into a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The template of the value.
    pub value: String,
    /// The type of the column.
    pub kind: ColumnType,
}

/// The type of a column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// A line of text.
    #[default]
    Text,
    /// Several lines of text.
    Note,
    /// One of the choices of the column.
    Choice,
    /// A number.
    Number,
    /// An amount of money.
    Currency,
    /// Yes or no.
    Boolean,
    /// A date with a time.
    DateTime,
    /// An address, and behind `, ` a text for it.
    Url,
    /// The number of an item of another list.
    Lookup,
    /// The number of a user of the site.
    User,
}

/// The form of a column with a type.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed {
    value: String,
    #[serde(rename = "type", default)]
    kind: ColumnType,
}

impl<'de> Deserialize<'de> for Column {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Column;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a template or { value = TEMPLATE, type = TYPE }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Column, E> {
                Ok(Column {
                    value: text.to_owned(),
                    kind: ColumnType::Text,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Column, A::Error> {
                let typed = Typed::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Column {
                    value: typed.value,
                    kind: typed.kind,
                })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// The key of a column's template.
pub(crate) fn key(name: &str) -> String {
    format!("columns.{name}")
}

/// The typed values of all columns.
///
/// # Errors
/// The first column whose value is not of its type, and why.
pub(crate) fn values(
    columns: &BTreeMap<String, Column>,
    rendered: &BTreeMap<String, Text>,
) -> Result<Map<String, Value>, String> {
    let mut values = Map::new();
    for (name, column) in columns {
        let text = rendered
            .get(&key(name))
            .map_or(column.value.as_str(), Text::as_str);
        let value =
            typed(column.kind, text).map_err(|why| format!("the column `{name}`: {why}"))?;
        values.insert(property(name, column.kind), value);
    }
    Ok(values)
}

/// The name of a column's property in JSON. Columns that point to something else take its number there.
pub(crate) fn property(name: &str, kind: ColumnType) -> String {
    let name = match name.strip_prefix('_') {
        Some(rest) => format!("OData__{rest}"),
        None => name.to_owned(),
    };
    match kind {
        ColumnType::Lookup | ColumnType::User => format!("{name}Id"),
        _ => name,
    }
}

/// `text` as a value of a column. Nothing empties the column.
///
/// # Errors
/// Why it is none.
pub(crate) fn typed(kind: ColumnType, text: &str) -> Result<Value, String> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(Value::Null);
    }
    let shown: String = trimmed.chars().take(80).collect();
    match kind {
        ColumnType::Text | ColumnType::Choice => {
            let length = text.chars().count();
            if length > MAX_LINE {
                return Err(format!("{length} characters are more than {MAX_LINE}"));
            }
            Ok(text.into())
        }
        ColumnType::Note => Ok(text.into()),
        ColumnType::Number | ColumnType::Currency => {
            number(trimmed).ok_or_else(|| format!("`{shown}` is not a number such as 1234.5"))
        }
        ColumnType::Boolean => match trimmed.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" => Ok(true.into()),
            "false" | "0" | "no" => Ok(false.into()),
            _ => Err(format!("`{shown}` is neither true nor false")),
        },
        ColumnType::DateTime => moment(trimmed).map(Value::from).ok_or_else(|| {
            format!("`{shown}` is no date such as 2026-11-21 or 2026-11-21T09:00:00+01:00")
        }),
        ColumnType::Url => {
            let (url, description) = trimmed.split_once(", ").unwrap_or((trimmed, trimmed));
            Ok(json!({ "Url": url, "Description": description }))
        }
        ColumnType::Lookup | ColumnType::User => match trimmed.parse::<u32>() {
            Ok(number) => Ok(number.into()),
            Err(_) => Err(format!("`{shown}` is not the number of an item")),
        },
    }
}

fn number(text: &str) -> Option<Value> {
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole.into());
    }
    // What `f64` takes beside decimals, `inf` and `NaN`, is no number in JSON.
    Number::from_f64(text.parse().ok()?).map(Value::Number)
}

/// A time in UTC to the second, which every farm reads alike. A date alone is its midnight in UTC.
fn moment(text: &str) -> Option<String> {
    let with_time = if text.contains(['T', 't', ' ']) {
        text.to_owned()
    } else {
        format!("{text}T00:00:00Z")
    };
    let at: Timestamp = with_time.parse().ok()?;
    let text = at.to_string();
    let seconds = text.split('.').next()?;
    Some(format!("{}Z", seconds.trim_end_matches('Z')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_takes_its_own_form() {
        use ColumnType::{Boolean, Currency, DateTime, Lookup, Note, Number, Text, Url};
        for (kind, text, want) in [
            (Text, " a ", json!(" a ")),
            (Note, "a\nb", json!("a\nb")),
            (Number, "12", json!(12)),
            (Currency, "-0.5", json!(-0.5)),
            (Boolean, "Yes", json!(true)),
            (Boolean, "0", json!(false)),
            (DateTime, "2026-02-23", json!("2026-02-23T00:00:00Z")),
            (
                DateTime,
                "2026-02-23T01:30:00.25+01:00",
                json!("2026-02-23T00:30:00Z"),
            ),
            (
                Url,
                "http://a, text",
                json!({ "Url": "http://a", "Description": "text" }),
            ),
            (Lookup, "12", json!(12)),
            (Number, "  ", Value::Null),
        ] {
            assert_eq!(typed(kind, text), Ok(want), "{text}");
        }
        for (kind, text) in [
            (Number, "1,5"),
            (Number, "NaN"),
            (Boolean, "maybe"),
            (DateTime, "23/02/2026"),
            (DateTime, "2026-02-30"),
            (Lookup, "12;#x"),
            (Text, "x".repeat(256).as_str()),
        ] {
            assert!(typed(kind, text).is_err(), "{text}");
        }
    }

    #[test]
    fn columns_are_read_and_named() {
        let columns: BTreeMap<String, Column> = serde_json::from_value(json!({
            "Title": "{OrderId}",
            "_Status": { "value": "New" },
            "Customer": { "value": "{CustomerId}", "type": "lookup" },
        }))
        .unwrap();
        let rendered = BTreeMap::from([
            (key("Title"), quayside_adapter_api::model::Text::lossy("17")),
            (
                key("Customer"),
                quayside_adapter_api::model::Text::lossy("3"),
            ),
        ]);
        let values = values(&columns, &rendered).unwrap();
        assert_eq!(
            Value::from(values),
            json!({ "CustomerId": 3, "Title": "17", "OData__Status": "New" })
        );
        for wrong in [
            json!({ "A": 1 }),
            json!({ "A": { "value": "x", "typ": "text" } }),
        ] {
            assert!(serde_json::from_value::<BTreeMap<String, Column>>(wrong).is_err());
        }
    }
}
