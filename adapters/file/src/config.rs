//! The settings of a receive location and of a send port, and what can be wrong with them.

use std::path::PathBuf;

use quayside_adapter_api::{
    Block, config,
    model::Fault,
    units::{ByteSize, Span},
};
use serde::Deserialize;

use crate::{codes, names};

/// `[receive.PORT.location.NAME.file]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiveSettings {
    /// The folder that files are taken from.
    pub folder: PathBuf,
    /// Whether the folder is made if it is not there.
    #[serde(default)]
    pub create: bool,
    /// Which names are taken: `*` stands for any characters, `?` for one. Hidden files never are.
    #[serde(default = "any_name")]
    pub pattern: String,
    /// How often an idle folder is looked at.
    #[serde(default = "one_second")]
    pub poll: Span,
    /// How long size and time of a file must not change before it is taken.
    #[serde(default = "one_second")]
    pub stable_for: Span,
    /// What happens to a file whose message is stored.
    #[serde(default)]
    pub after: After,
    /// A larger file is put into `.rejected`.
    #[serde(default)]
    pub max_size: Option<ByteSize>,
    /// The media type of all files; without it, the end of the name tells.
    #[serde(default)]
    pub content_type: Option<String>,
    /// Which file is taken first.
    #[serde(default)]
    pub order: Order,
}

/// What happens to a file whose message is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum After {
    /// It is removed.
    #[default]
    Delete,
    /// It is moved to this folder, on the same file system; a relative one lies in the location's
    /// folder. It is made if it is not there.
    Archive(PathBuf),
}

/// Which file is taken first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The first by name.
    #[default]
    Name,
    /// The oldest.
    Mtime,
}

/// `[send.PORT.primary.file]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendSettings {
    /// The folder that files are put into.
    pub folder: PathBuf,
    /// Whether the folder is made if it is not there.
    #[serde(default)]
    pub create: bool,
    /// The template of the name.
    pub file_name: String,
    /// What happens if the name is taken.
    #[serde(default)]
    pub overwrite: Overwrite,
    /// States that with `overwrite = "yes"` a file is meant to replace that of an earlier message.
    #[serde(default)]
    pub replaces: bool,
    /// Whether the name may hold `/`: sub folders, made as needed.
    #[serde(default)]
    pub subfolders: bool,
}

/// What happens if the name of a file is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overwrite {
    /// The message is not sent.
    #[default]
    No,
    /// The new file replaces the old one.
    Yes,
    /// The new file gets the next free name: `name-2.xml`.
    Rename,
}

fn any_name() -> String {
    "*".to_owned()
}

const fn one_second() -> Span {
    Span::secs(1)
}

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

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        empty_folder(&self.folder, &["folder"], &mut faults);
        if self.pattern.is_empty() || self.pattern.starts_with('.') || self.pattern.contains('/') {
            let message = format!("`{}` matches no visible file of a folder", self.pattern);
            faults.push(Fault::error(codes::BAD_PATTERN, &["pattern"], message));
        }
        if self.poll.duration().is_zero() {
            let message = "`poll` must be longer than nothing, such as \"1s\"";
            faults.push(Fault::error(codes::BAD_SETTING, &["poll"], message));
        }
        if let After::Archive(archive) = &self.after {
            empty_folder(archive, &["after", "archive"], &mut faults);
            if self.folder.join(archive) == self.folder {
                let message = "files would be archived where they are taken from";
                faults.push(Fault::error(
                    codes::BAD_SETTING,
                    &["after", "archive"],
                    message,
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

    /// Whether no two messages get the same name.
    #[must_use]
    pub fn names_are_unique(&self) -> bool {
        ["{msg.id}", "{delivery.id}"]
            .iter()
            .any(|id| self.file_name.contains(id))
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        empty_folder(&self.folder, &["folder"], &mut faults);
        let example = with_examples(&self.file_name);
        if let Err(wrong) = names::confine(&example, self.subfolders) {
            faults.push(Fault::error(codes::NAME_REFUSED, &["file_name"], wrong));
        }
        if self.overwrite == Overwrite::Yes && !self.replaces && !self.names_are_unique() {
            let message = "`overwrite = \"yes\"` with names that two messages can share";
            faults.push(Fault::error(
                codes::UNSAFE_OVERWRITE,
                &["overwrite"],
                message,
            ));
        }
        faults
    }
}

fn empty_folder(folder: &std::path::Path, key: &[&str], faults: &mut Vec<Fault>) {
    if folder.as_os_str().is_empty() {
        faults.push(Fault::error(
            codes::BAD_SETTING,
            key,
            "the folder has no name",
        ));
    }
}

/// The template with a letter in the place of each property: what is wrong with it then is wrong always.
fn with_examples(template: &str) -> String {
    let mut example = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        example.push_str(before);
        example.push('x');
        rest = after.split_once('}').map_or("", |(_, rest)| rest);
    }
    example.push_str(rest);
    example
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn receive_faults(block: Block) -> Vec<String> {
        places(ReceiveSettings::read(&block).err())
    }

    fn send_faults(block: Block) -> Vec<String> {
        places(SendSettings::read(&block).err())
    }

    fn places(faults: Option<Vec<Fault>>) -> Vec<String> {
        let faults = faults.unwrap_or_default();
        faults
            .iter()
            .map(|f| format!("{} {}", f.code, f.path.join(".")))
            .collect()
    }

    #[test]
    fn defaults_are_enough() {
        assert_eq!(receive_faults(json!({ "folder": "in" })), [""; 0]);
        let archive = json!({ "folder": "in", "after": { "archive": "done" }, "stable_for": "0s" });
        let settings = ReceiveSettings::read(&archive).expect("right");
        assert_eq!(settings.after, After::Archive("done".into()));
        assert_eq!(
            send_faults(json!({ "folder": "out", "file_name": "{msg.id}.xml" })),
            [""; 0]
        );
    }

    #[test]
    fn each_fault_stands_at_its_key() {
        for (block, expected) in [
            (json!({}), "QS0303 "),
            (json!({ "folder": "" }), "QS0515 folder"),
            (json!({ "folder": "in", "pattern": ".x" }), "QS0513 pattern"),
            (
                json!({ "folder": "in", "pattern": "a/*" }),
                "QS0513 pattern",
            ),
            (json!({ "folder": "in", "poll": "0s" }), "QS0515 poll"),
            (json!({ "folder": "in", "poll": "5" }), "QS0302 poll"),
            (
                json!({ "folder": "in", "after": { "archive": "" } }),
                "QS0515 after.archive",
            ),
            (json!({ "folder": "in", "patern": "*" }), "QS0301 patern"),
        ] {
            assert!(
                receive_faults(block.clone()).iter().any(|f| f == expected),
                "{block}"
            );
        }
        for (block, expected) in [
            (
                json!({ "folder": "o", "file_name": "../{a}" }),
                "QS0509 file_name",
            ),
            (
                json!({ "folder": "o", "file_name": "a/{a}" }),
                "QS0509 file_name",
            ),
            (
                json!({ "folder": "o", "file_name": "" }),
                "QS0509 file_name",
            ),
            (
                json!({ "folder": "o", "file_name": "{OrderId}.xml", "overwrite": "yes" }),
                "QS0514 overwrite",
            ),
        ] {
            assert!(
                send_faults(block.clone()).iter().any(|f| f == expected),
                "{block}"
            );
        }
    }

    #[test]
    fn replacing_is_a_choice() {
        for name in ["{msg.id}.xml", "{delivery.id}"] {
            let block = json!({ "folder": "o", "file_name": name, "overwrite": "yes" });
            assert_eq!(send_faults(block), [""; 0], "{name}");
        }
        let stated =
            json!({ "folder": "o", "file_name": "last.xml", "overwrite": "yes", "replaces": true });
        assert_eq!(send_faults(stated), [""; 0]);
    }
}
