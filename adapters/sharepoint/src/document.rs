//! A document as the farm tells it, and the properties of its message.

use quayside_adapter_api::model::{Context, Name, Text, Timestamp, Value as Property};
use serde_json::Value;

use crate::{listing::number, odata::Site};

/// What the name of a property of a column begins with.
const COLUMN: &str = "sharepoint.column.";

/// Fields of an item that are told in other ways, or are of no use outside of the farm.
const NOT_COLUMNS: [&str; 12] = [
    "Id",
    "ID",
    "GUID",
    "FileSystemObjectType",
    "ServerRedirectedEmbedUri",
    "ServerRedirectedEmbedUrl",
    "ContentTypeId",
    "Modified",
    "Created",
    "AuthorId",
    "EditorId",
    "CheckoutUserId",
];

/// A document with its columns.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Document {
    pub(crate) id: String,
    pub(crate) name: String,
    /// From the root of the server.
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) etag: String,
    /// Changes with the content, and with nothing else.
    pub(crate) version: String,
    /// Whether somebody has it checked out.
    pub(crate) checked_out: bool,
    file: Value,
}

impl Document {
    /// Reads the answer to a look at a file, expanded by its item. `None`: it is none.
    pub(crate) fn read(file: Value) -> Option<Self> {
        let text = |name: &str| file[name].as_str().map(str::to_owned);
        Some(Self {
            id: text("UniqueId")?.to_ascii_lowercase(),
            name: text("Name")?,
            path: text("ServerRelativeUrl")?,
            size: number(&file["Length"])?,
            etag: text("ETag")?,
            version: version(&file)?,
            checked_out: file["CheckOutType"].as_u64().is_some_and(|kind| kind != 2),
            file,
        })
    }

    /// The folder that it lies in.
    pub(crate) fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// The properties of its message. Filters see where it comes from and the columns of `promote`.
    pub(crate) fn context(&self, site: &Site, library: &str, promote: &[String]) -> Context {
        let mut context = Context::new();
        for (name, value) in [
            ("sharepoint.name", self.name.as_str()),
            ("sharepoint.folder", self.folder()),
            ("sharepoint.library", library),
            ("sharepoint.site", site.address()),
        ] {
            context.promote_text(name, value);
        }
        let item = &self.file["ListItemAllFields"];
        let whole = |value: u64| Property::Integer(i64::try_from(value).unwrap_or(i64::MAX));
        let text = |value: &str| Property::Text(Text::lossy(value));
        let written = [
            ("sharepoint.id", Some(text(&self.id))),
            ("sharepoint.version", Some(text(&self.version))),
            ("sharepoint.etag", Some(text(&self.etag))),
            ("sharepoint.path", Some(text(&self.path))),
            ("sharepoint.size", Some(whole(self.size))),
            (
                "sharepoint.label",
                self.file["UIVersionLabel"].as_str().map(text),
            ),
            ("sharepoint.item", number(&item["Id"]).map(whole)),
            (
                "sharepoint.created_by",
                number(&item["AuthorId"]).map(whole),
            ),
            (
                "sharepoint.modified_by",
                number(&item["EditorId"]).map(whole),
            ),
            ("sharepoint.created", time(&self.file["TimeCreated"])),
            ("sharepoint.modified", time(&self.file["TimeLastModified"])),
        ];
        for (name, value) in written {
            if let (Ok(name), Some(value)) = (Name::new(name), value) {
                context.write(name, value);
            }
        }
        for (column, value) in item.as_object().into_iter().flatten() {
            if context.len() >= Context::MAX_PROPERTIES {
                break;
            }
            let name = Name::new(format!("{COLUMN}{column}"));
            let (Ok(name), Some(value)) = (name, property(column, value)) else {
                continue;
            };
            if promote.iter().any(|wanted| wanted == column) {
                context.promote(name, value);
            } else {
                context.write(name, value);
            }
        }
        context
    }
}

/// The content version: the last part of the content tag, which moves with the content; else the label of the version.
pub(crate) fn version(file: &Value) -> Option<String> {
    let tag = file["ContentTag"].as_str().and_then(|tag| {
        let (_, last) = tag.rsplit_once(',')?;
        let last = last.trim();
        let digits = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| last.to_owned())
    });
    tag.or_else(|| file["UIVersionLabel"].as_str().map(str::to_owned))
}

fn time(value: &Value) -> Option<Property> {
    let at: Timestamp = value.as_str()?.parse().ok()?;
    Some(Property::Time(at))
}

fn property(column: &str, value: &Value) -> Option<Property> {
    if NOT_COLUMNS.contains(&column) || column.starts_with("odata.") {
        return None;
    }
    match value {
        Value::Bool(truth) => Some(Property::Boolean(*truth)),
        Value::Number(number) => Some(match number.as_i64() {
            Some(whole) => Property::Integer(whole),
            None => match number.to_string().parse() {
                Ok(decimal) => Property::Decimal(decimal),
                Err(_) => Property::Text(Text::lossy(&number.to_string())),
            },
        }),
        Value::String(text) => Text::new(text.as_str()).ok().map(Property::Text),
        // An address; other objects are other items, which nobody asked for.
        Value::Object(parts) => {
            let url = parts.get("Url")?.as_str()?;
            Some(Property::Text(Text::lossy(url)))
        }
        Value::Null | Value::Array(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file() -> Value {
        json!({
            "UniqueId": "56b8e3c8-8e8a-4600-b9e1-a63d27391799", "Name": "a.xml", "Length": "5",
            "ServerRelativeUrl": "/sites/erp/Orders/In/a.xml", "ETag": "\"{56B8E3C8},4\"",
            "ContentTag": "{56B8E3C8-8E8A-4600-B9E1-A63D27391799},4,2", "UIVersionLabel": "3.0",
            "CheckOutType": 0, "TimeLastModified": "2026-11-21T09:00:00Z",
            "ListItemAllFields": {
                "Id": 7, "AuthorId": 11, "Title": "Order 17", "Total": 12.5, "Count": 3,
                "Paid": true, "Link": { "Url": "http://a", "Description": "x" }, "Empty": null,
            },
        })
    }

    #[test]
    fn the_version_follows_the_content_only() {
        let document = Document::read(file()).expect("a document");
        assert_eq!((document.version.as_str(), document.size), ("2", 5));
        assert!(document.checked_out);
        assert_eq!(document.folder(), "/sites/erp/Orders/In");
        let mut older = file();
        older["ContentTag"] = Value::Null;
        let version = Document::read(older).map(|it| it.version);
        assert_eq!(version.as_deref(), Some("3.0"));
        assert_eq!(Document::read(json!({ "UniqueId": "x" })), None);
    }

    #[test]
    fn facts_and_columns_become_properties() {
        let document = Document::read(file()).expect("a document");
        let site = Site::parse("https://sp.example/sites/erp").unwrap();
        let context = document.context(&site, "Orders", &["Title".to_owned()]);
        let promoted = |name: &str| context.promoted(name).map(ToString::to_string);
        let value = |name: &str| context.value(name).map(ToString::to_string);
        assert_eq!(promoted("sharepoint.name").as_deref(), Some("a.xml"));
        assert_eq!(
            promoted("sharepoint.column.Title").as_deref(),
            Some("Order 17")
        );
        assert_eq!(promoted("sharepoint.column.Total"), None, "only written");
        for (name, want) in [
            ("sharepoint.column.Total", Some("12.5")),
            ("sharepoint.column.Count", Some("3")),
            ("sharepoint.column.Paid", Some("true")),
            ("sharepoint.column.Link", Some("http://a")),
            ("sharepoint.column.Empty", None),
            ("sharepoint.column.Id", None),
            ("sharepoint.item", Some("7")),
            ("sharepoint.size", Some("5")),
        ] {
            assert_eq!(value(name).as_deref(), want, "{name}");
        }
    }
}
