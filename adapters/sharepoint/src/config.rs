//! The settings of a receive location and of a send port, and what can be wrong with them.

use std::collections::BTreeMap;

use quayside_adapter_api::{
    Block, config,
    model::Fault,
    units::{ByteSize, Span},
};
use serde::Deserialize;

mod login;

pub use self::login::{Auth, Entra, PathOrSecret};
pub use crate::columns::{Column, ColumnType};
use crate::{
    codes, columns,
    names::{self, NameTemplate},
    odata::Site,
};

/// The key of the template of a document's name.
pub(crate) const FILE_NAME: &str = "file_name";

/// How a site is reached.
#[derive(Debug, Clone)]
pub(crate) struct Farm {
    pub(crate) site: Site,
    pub(crate) auth: Auth,
    pub(crate) ca: Option<PathOrSecret>,
    pub(crate) timeout: Span,
    pub(crate) connect_timeout: Span,
}

/// `[receive.PORT.location.NAME.sharepoint]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiveSettings {
    /// The address of the site.
    pub site: String,
    /// The folder of the library, as it stands in the address of its documents.
    pub library: String,
    /// A folder of the library; documents of folders below it are not taken.
    #[serde(default)]
    pub folder: Option<String>,
    /// A view of the library, by its title: what it shows is taken.
    #[serde(default)]
    pub view: Option<String>,
    /// How the gateway proves who it is.
    pub auth: Auth,
    /// How long an idle library is left alone; a busy one is looked at without a pause.
    #[serde(default = "one_minute")]
    pub poll: Span,
    /// How many documents are listed at once.
    #[serde(default = "twenty")]
    pub batch: u32,
    /// How many documents are checked out and fetched at the same time.
    #[serde(default = "four")]
    pub parallel: u32,
    /// What happens to a document whose message is stored.
    #[serde(default)]
    pub after: After,
    /// Whether a document in the archive is replaced by one of the same name.
    #[serde(default)]
    pub archive_overwrite: bool,
    /// A larger document is left alone.
    #[serde(default)]
    pub max_size: Option<ByteSize>,
    /// How old a document without content must be to be taken: an upload may be going on.
    #[serde(default = "one_day")]
    pub stub_age: Span,
    /// Columns that filters see; all others are properties as well.
    #[serde(default)]
    pub promote: Vec<String>,
    /// The media type of all documents; without it, the end of the name tells.
    #[serde(default)]
    pub content_type: Option<String>,
    /// The authorities that are trusted, PEM. Absent: those of the machine.
    #[serde(default)]
    pub ca: Option<PathOrSecret>,
    /// How long one call may take.
    #[serde(default = "call_timeout")]
    pub timeout: Span,
    /// How long a connection may take.
    #[serde(default = "five_seconds")]
    pub connect_timeout: Span,
}

/// What happens to a document whose message is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum After {
    /// It is deleted.
    #[default]
    Delete,
    /// It is moved to this folder of the site: a library, or a library and folders of it.
    Archive(String),
}

/// `[send.PORT.primary.sharepoint]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendSettings {
    /// The address of the site.
    pub site: String,
    /// The folder of the library, as it stands in the address of its documents.
    pub library: String,
    /// A folder of the library.
    #[serde(default)]
    pub folder: Option<String>,
    /// The template of the name.
    pub file_name: String,
    /// Whether the name may hold `/`: folders, made as needed.
    #[serde(default)]
    pub subfolders: bool,
    /// What happens if the name is taken.
    #[serde(default)]
    pub overwrite: Overwrite,
    /// States that with `overwrite = "yes"` a document is meant to replace that of an earlier message.
    #[serde(default)]
    pub replaces: bool,
    /// The columns that are set, by their internal names.
    #[serde(default)]
    pub columns: BTreeMap<String, Column>,
    /// A column of text that gets the id of the delivery, by which it is recognised without reading its content.
    #[serde(default)]
    pub stamp: Option<String>,
    /// The folder of the library where documents lie until they are whole.
    #[serde(default = "staging")]
    pub staging: String,
    /// What lies there unchanged for so long is taken away: longer than any upload takes.
    #[serde(default = "one_day")]
    pub sweep_after: Span,
    /// How the gateway proves who it is.
    pub auth: Auth,
    /// Larger documents are uploaded in pieces of this size.
    #[serde(default = "eight_mib")]
    pub chunk: ByteSize,
    /// The authorities that are trusted, PEM. Absent: those of the machine.
    #[serde(default)]
    pub ca: Option<PathOrSecret>,
    /// How long one call may take.
    #[serde(default = "call_timeout")]
    pub timeout: Span,
    /// How long a connection may take.
    #[serde(default = "five_seconds")]
    pub connect_timeout: Span,
}

/// What happens if the name of a document is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overwrite {
    /// The message is not sent.
    #[default]
    No,
    /// The new document replaces the old one.
    Yes,
    /// The new document gets the next free name: `name-2.xml`.
    Rename,
}

fn staging() -> String {
    "quayside-staging".to_owned()
}

const fn one_minute() -> Span {
    Span::secs(60)
}

const fn one_day() -> Span {
    Span::secs(86_400)
}

const fn five_seconds() -> Span {
    Span::secs(5)
}

const fn call_timeout() -> Span {
    Span::secs(100)
}

const fn eight_mib() -> ByteSize {
    ByteSize::mib(8)
}

const fn twenty() -> u32 {
    20
}

const fn four() -> u32 {
    4
}

/// The smallest and the largest piece of an upload.
const CHUNKS: std::ops::RangeInclusive<u64> = 64 * 1024..=128 * 1024 * 1024;

impl ReceiveSettings {
    /// Reads and checks a block.
    ///
    /// # Errors
    /// Every fault of it.
    pub fn read(block: &Block) -> Result<Self, Vec<Fault>> {
        let settings: Self = config::parse(block)?;
        let faults = settings.faults();
        if faults.is_empty() {
            Ok(settings)
        } else {
            Err(faults)
        }
    }

    /// How its site is reached.
    ///
    /// # Errors
    /// What is wrong with its address.
    pub(crate) fn farm(&self) -> Result<Farm, String> {
        Ok(Farm {
            site: Site::parse(&self.site)?,
            auth: self.auth.clone(),
            ca: self.ca.clone(),
            timeout: self.timeout,
            connect_timeout: self.connect_timeout,
        })
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        place_faults(
            &self.site,
            &self.library,
            self.folder.as_deref(),
            &mut faults,
        );
        faults.extend(self.auth.faults());
        time_faults(
            &[
                ("poll", self.poll),
                ("timeout", self.timeout),
                ("connect_timeout", self.connect_timeout),
            ],
            &mut faults,
        );
        if self.folder.is_some() && self.view.is_some() {
            faults.push(bad(
                &["view"],
                "a location takes from a folder or from a view, not both",
            ));
        }
        for (key, value, most) in [
            ("batch", self.batch, 1_000),
            ("parallel", self.parallel, 32),
        ] {
            if !(1..=most).contains(&value) {
                faults.push(bad(&[key], format!("use 1 to {most}")));
            }
        }
        if let After::Archive(archive) = &self.after {
            let key = &["after", "archive"];
            if let Err(why) = names::confine(archive, true) {
                faults.push(bad(key, why));
            }
            let source = match &self.folder {
                Some(folder) => format!("{}/{folder}", self.library),
                None => self.library.clone(),
            };
            if archive.eq_ignore_ascii_case(&source) {
                faults.push(bad(
                    key,
                    "documents would be archived where they are taken from",
                ));
            }
        }
        faults
    }
}

impl SendSettings {
    /// Reads and checks a block.
    ///
    /// # Errors
    /// Every fault of it.
    pub fn read(block: &Block) -> Result<Self, Vec<Fault>> {
        let settings: Self = config::parse(block)?;
        let faults = settings.faults();
        if faults.is_empty() {
            Ok(settings)
        } else {
            Err(faults)
        }
    }

    /// How its site is reached.
    ///
    /// # Errors
    /// What is wrong with its address.
    pub(crate) fn farm(&self) -> Result<Farm, String> {
        Ok(Farm {
            site: Site::parse(&self.site)?,
            auth: self.auth.clone(),
            ca: self.ca.clone(),
            timeout: self.timeout,
            connect_timeout: self.connect_timeout,
        })
    }

    /// The settings whose value is a template, by the key under which the rendered value comes back.
    #[must_use]
    pub fn templates(&self) -> BTreeMap<String, String> {
        let name = NameTemplate::parse(&self.file_name);
        let mut templates = name
            .map(|name| name.templates(FILE_NAME))
            .unwrap_or_default();
        for (name, column) in &self.columns {
            let value = column.value.replace("%MessageID%", "{msg.id}");
            templates.insert(columns::key(name), value);
        }
        templates
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        place_faults(
            &self.site,
            &self.library,
            self.folder.as_deref(),
            &mut faults,
        );
        faults.extend(self.auth.faults());
        let times = [
            ("timeout", self.timeout),
            ("connect_timeout", self.connect_timeout),
        ];
        time_faults(&times, &mut faults);
        match NameTemplate::parse(&self.file_name) {
            Err(why) => faults.push(Fault::error(codes::BAD_NAME_TEMPLATE, &[FILE_NAME], why)),
            Ok(name) => {
                if let Err(why) = names::confine(&name.example(), self.subfolders) {
                    faults.push(Fault::error(codes::NAME_REFUSED, &[FILE_NAME], why));
                }
                if self.overwrite == Overwrite::Yes && !self.replaces && !name.is_unique() {
                    let message = "`overwrite = \"yes\"` with names that two messages can share";
                    faults.push(Fault::error(
                        codes::UNSAFE_OVERWRITE,
                        &["overwrite"],
                        message,
                    ));
                }
            }
        }
        if let Err(why) = names::fits(&self.staging) {
            faults.push(bad(&["staging"], why));
        }
        if self
            .folder
            .as_ref()
            .is_some_and(|folder| folder.eq_ignore_ascii_case(&self.staging))
        {
            faults.push(bad(
                &["staging"],
                "documents are staged where they are published",
            ));
        }
        if self.sweep_after < one_minute() {
            faults.push(bad(
                &["sweep_after"],
                "use at least 1m, and more than an upload takes",
            ));
        }
        if !CHUNKS.contains(&self.chunk.bytes()) {
            faults.push(bad(&["chunk"], "use 64 KiB to 128 MiB"));
        }
        let stamp = self.stamp.as_ref();
        if stamp.is_some_and(|stamp| self.columns.contains_key(stamp)) {
            faults.push(bad(&["stamp"], "the column is in `columns` already"));
        }
        for name in self.columns.keys().chain(stamp) {
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                let why = format!(
                    "`{name}` is no internal name of a column: letters, digits and `_`, a space is `_x0020_`"
                );
                faults.push(bad(&["columns", name], why));
            }
        }
        faults
    }
}

fn bad(key: &[&str], why: impl Into<String>) -> Fault {
    Fault::error(codes::BAD_SETTING, key, why)
}

fn place_faults(site: &str, library: &str, folder: Option<&str>, faults: &mut Vec<Fault>) {
    if let Err(why) = Site::parse(site) {
        faults.push(bad(&["site"], why));
    }
    if let Err(why) = names::fits(library) {
        faults.push(bad(&["library"], why));
    }
    if let Some(Err(why)) = folder.map(|folder| names::confine(folder, true)) {
        faults.push(bad(&["folder"], why));
    }
}

fn time_faults(times: &[(&str, Span)], faults: &mut Vec<Fault>) {
    for (key, span) in times {
        if span.duration().is_zero() {
            faults.push(bad(&[key], "use more than 0s"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(block: &Block, more: Block) -> Block {
        let mut block = block.clone();
        for (key, value) in more.as_object().expect("an object") {
            block[key] = value.clone();
        }
        block
    }

    fn receive() -> Block {
        json!({
            "site": "https://sp.example/sites/erp", "library": "Orders",
            "auth": { "bearer": { "secret": "sp" } },
        })
    }

    fn send() -> Block {
        with(&receive(), json!({ "file_name": "{OrderId}-{msg.id}.xml" }))
    }

    fn places(faults: Option<Vec<Fault>>) -> Vec<String> {
        let faults = faults.unwrap_or_default();
        faults
            .iter()
            .map(|f| format!("{} {}", f.code, f.path.join(".")))
            .collect()
    }

    #[test]
    fn defaults_are_those_that_teams_know() {
        let settings = ReceiveSettings::read(&receive()).expect("right");
        assert_eq!((settings.batch, settings.poll), (20, Span::secs(60)));
        assert_eq!(
            (settings.after, settings.timeout),
            (After::Delete, Span::secs(100))
        );
        let settings = SendSettings::read(&send()).expect("right");
        assert_eq!(
            (settings.overwrite, settings.chunk),
            (Overwrite::No, ByteSize::mib(8))
        );
    }

    #[test]
    fn each_way_to_log_in_is_read() {
        for auth in [
            json!({ "bearer": { "secret": "sp" } }),
            json!({ "command": ["az", "account", "get-access-token"] }),
            json!({ "basic": { "user": "CORP\\svc", "password": { "secret": "sp" } } }),
            json!({ "ntlm": { "user": "CORP\\svc", "password": { "secret": "sp" } } }),
            json!({ "ntlm": { "user": "svc@corp.example", "password": { "secret": "sp" } } }),
            json!({ "entra": {
                "tenant": "contoso.onmicrosoft.com", "client_id": "app",
                "certificate": "/etc/quayside/sp.pem", "key": { "secret": "sp-key" },
            } }),
        ] {
            let block = with(&receive(), json!({ "auth": auth }));
            assert_eq!(
                places(ReceiveSettings::read(&block).err()),
                [""; 0],
                "{block}"
            );
        }
    }

    #[test]
    fn each_fault_stands_at_its_key() {
        for (more, expected) in [
            (json!({ "site": "sp.example" }), "QS1101 site"),
            (json!({ "library": "" }), "QS1101 library"),
            (
                json!({ "library": "Shared Documents/In" }),
                "QS1101 library",
            ),
            (json!({ "folder": "../x" }), "QS1101 folder"),
            (json!({ "folder": "In", "view": "New" }), "QS1101 view"),
            (json!({ "poll": "0s" }), "QS1101 poll"),
            (json!({ "batch": 0 }), "QS1101 batch"),
            (json!({ "parallel": 33 }), "QS1101 parallel"),
            (
                json!({ "after": { "archive": "orders" } }),
                "QS1101 after.archive",
            ),
            (json!({ "auth": { "command": [] } }), "QS1101 auth.command"),
            (
                json!({ "auth": { "ntlm": { "user": "svc", "password": { "secret": "sp" } } } }),
                "QS1101 auth.ntlm.user",
            ),
            (json!({ "pol": "1s" }), "QS0301 pol"),
        ] {
            let block = with(&receive(), more);
            let found = places(ReceiveSettings::read(&block).err());
            assert!(found.iter().any(|f| f == expected), "{block}: {found:?}");
        }
        for (more, expected) in [
            (json!({ "file_name": "%XPATH=/a%" }), "QS1102 file_name"),
            (json!({ "file_name": "a/{a}" }), "QS1120 file_name"),
            (json!({ "file_name": "{a}:1" }), "QS1120 file_name"),
            (
                json!({ "file_name": "{a}", "overwrite": "yes" }),
                "QS1103 overwrite",
            ),
            (json!({ "staging": "a/b" }), "QS1101 staging"),
            (json!({ "sweep_after": "59s" }), "QS1101 sweep_after"),
            (json!({ "chunk": "1 KiB" }), "QS1101 chunk"),
            (
                json!({ "stamp": "Title", "columns": { "Title": "x" } }),
                "QS1101 stamp",
            ),
            (
                json!({ "columns": { "Order Date": "x" } }),
                "QS1101 columns.Order Date",
            ),
        ] {
            let block = with(&send(), more);
            let found = places(SendSettings::read(&block).err());
            assert!(found.iter().any(|f| f == expected), "{block}: {found:?}");
        }
    }

    #[test]
    fn templates_are_rendered_by_the_engine() {
        let block = with(
            &send(),
            json!({ "columns": { "Total": { "value": "{Total}", "type": "number" } } }),
        );
        let templates = SendSettings::read(&block).expect("right").templates();
        let keys: Vec<_> = templates.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            keys,
            [
                "columns.Total={Total}",
                "file_name.0={OrderId}",
                "file_name.2={msg.id}"
            ]
        );
    }
}
