//! Names of documents: templates with the macros of BizTalk, what a library allows, the next free one.

use std::collections::BTreeMap;

use quayside_adapter_api::model::Text;

/// How many names are tried when the wanted one is taken.
pub(crate) const MAX_NUMBERED: u32 = 1_000;

/// The longest path of a document on its server, in characters.
pub(crate) const MAX_PATH: usize = 400;

/// The longest name, in characters.
const MAX_NAME: usize = 255;

/// What no name may hold.
const FORBIDDEN: [char; 9] = ['"', '*', ':', '<', '>', '?', '/', '\\', '|'];

/// The template of a name. The engine renders what stands in braces, each part by itself, so that no value of a
/// message is taken for a macro.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameTemplate(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    /// The text between braces, braces included.
    Template(String),
    /// `%Filename%`: the name that the message came with, without its extension.
    FileName,
    /// `%Extension%`: its extension, without the dot.
    Extension,
}

impl NameTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            let piece = match c {
                // BizTalk's escapes, of these two only: `\` is in no name otherwise.
                '\\' if rest.starts_with(['%', '\\']) => {
                    literal.push_str(&rest[..1]);
                    rest = &rest[1..];
                    continue;
                }
                '{' => {
                    let end = rest.find('}').ok_or("a `{` has no `}`")?;
                    let name = &rest[..end];
                    rest = &rest[end + 1..];
                    Piece::Template(format!("{{{name}}}"))
                }
                '%' => {
                    let end = rest
                        .find('%')
                        .ok_or("a `%` has no second one; `\\%` is the character")?;
                    let name = &rest[..end];
                    rest = &rest[end + 1..];
                    macro_piece(name)?
                }
                c => {
                    literal.push(c);
                    continue;
                }
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(piece);
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self(pieces))
    }

    /// The parts that the engine renders, by the key under which their values come back.
    pub(crate) fn templates(&self, key: &str) -> BTreeMap<String, String> {
        let numbered = self.0.iter().enumerate();
        numbered
            .filter_map(|(no, piece)| match piece {
                Piece::Template(template) => Some((format!("{key}.{no}"), template.clone())),
                _ => None,
            })
            .collect()
    }

    /// Whether no two messages get the same name.
    pub(crate) fn is_unique(&self) -> bool {
        self.0.iter().any(|piece| match piece {
            Piece::Template(template) => {
                matches!(template.as_str(), "{msg.id}" | "{delivery.id}")
            }
            _ => false,
        })
    }

    /// The name of one message. `original` is the name that it came with.
    ///
    /// # Errors
    /// If a part has no value.
    pub(crate) fn render(
        &self,
        key: &str,
        values: &BTreeMap<String, Text>,
        original: Option<&str>,
    ) -> Result<String, String> {
        let mut name = String::new();
        for (no, piece) in self.0.iter().enumerate() {
            match piece {
                Piece::Literal(literal) => name.push_str(literal),
                Piece::Template(template) => {
                    let value = values.get(&format!("{key}.{no}"));
                    name.push_str(value.ok_or_else(|| format!("`{template}` has no value"))?);
                }
                Piece::FileName => name.push_str(split(came(original)?).0),
                Piece::Extension => name.push_str(split(came(original)?).1),
            }
        }
        Ok(name)
    }

    /// The name with a letter in the place of all that a message gives: what is wrong with it is wrong always.
    pub(crate) fn example(&self) -> String {
        let letter = |piece: &Piece| match piece {
            Piece::Literal(literal) => literal.clone(),
            _ => "x".to_owned(),
        };
        self.0.iter().map(letter).collect()
    }
}

fn came(original: Option<&str>) -> Result<&str, String> {
    original.ok_or_else(|| "the message came with no file name".to_owned())
}

fn macro_piece(name: &str) -> Result<Piece, String> {
    match name.to_ascii_lowercase().as_str() {
        "messageid" => Ok(Piece::Template("{msg.id}".to_owned())),
        "filename" => Ok(Piece::FileName),
        "extension" => Ok(Piece::Extension),
        xpath if xpath.starts_with("xpath") => Err(format!(
            "`%{name}%`: promote what the XPath finds in `[message.NAME.promote.PROPERTY]` and write `{{PROPERTY}}`"
        )),
        _ => Err(format!(
            "`%{name}%` is none of %MessageID%, %Filename% and %Extension%"
        )),
    }
}

/// Stem and extension; the dot belongs to neither.
fn split(name: &str) -> (&str, &str) {
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, extension),
        _ => (name, ""),
    }
}

/// The folders and the name, if a library takes them and they stay below its folder.
///
/// # Errors
/// What is wrong, for a person.
pub(crate) fn confine(path: &str, subfolders: bool) -> Result<(Vec<&str>, &str), String> {
    let mut parts: Vec<&str> = path.split('/').collect();
    if parts.len() > 1 && !subfolders {
        return Err(format!(
            "`{path}` names a sub folder, and `subfolders` is off"
        ));
    }
    for part in &parts {
        // Staged under another name, it would be refused at the last step: so it is not even begun.
        fits(part).map_err(|why| format!("{why}; SharePoint refuses such a name ({BAD_NAME})"))?;
    }
    let name = parts.pop().unwrap_or_default();
    Ok((parts, name))
}

/// The HRESULT of a name that is not allowed, which operators know from the farm.
pub(crate) const BAD_NAME: i64 = -2_130_575_245;

/// Whether SharePoint takes `name` for a document or folder.
///
/// # Errors
/// What is wrong, for a person.
pub(crate) fn fits(name: &str) -> Result<(), String> {
    let shown = name.escape_debug();
    if name.is_empty() {
        return Err("a part of the name is empty".to_owned());
    }
    if let Some(bad) = name
        .chars()
        .find(|c| FORBIDDEN.contains(c) || c.is_control())
    {
        return Err(format!("`{shown}` has `{}`", bad.escape_debug()));
    }
    // Farms cut these off or refuse them, each in its own way; `~$` is a lock file of an editor.
    if name.starts_with([' ', '.', '~']) || name.ends_with([' ', '.']) {
        return Err(format!(
            "`{shown}` begins with a space, dot or `~`, or ends with a space or dot"
        ));
    }
    if name.chars().count() > MAX_NAME {
        return Err(format!("`{shown}` is longer than {MAX_NAME} characters"));
    }
    Ok(())
}

/// `name` for the number 1, `name-2.ext` and so on for the others.
pub(crate) fn numbered(name: &str, number: u32) -> String {
    if number <= 1 {
        return name.to_owned();
    }
    with_suffix(name, &number.to_string())
}

/// `name-suffix.ext`, with a shorter `name` if it would be too long.
pub(crate) fn with_suffix(name: &str, suffix: &str) -> String {
    let (stem, extension) = split(name);
    let behind = match extension {
        "" => format!("-{suffix}"),
        extension => format!("-{suffix}.{extension}"),
    };
    let room = MAX_NAME.saturating_sub(behind.chars().count());
    let stem: String = stem.chars().take(room).collect();
    format!("{stem}{behind}")
}

/// The media type that the end of `name` stands for.
pub(crate) fn content_type(name: &str) -> Option<&'static str> {
    Some(match split(name).1.to_ascii_lowercase().as_str() {
        "xml" => "application/xml",
        "json" => "application/json",
        "csv" => "text/csv",
        "txt" => "text/plain",
        "edi" | "edifact" => "application/edifact",
        "x12" => "application/edi-x12",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(
        template: &str,
        values: &[(&str, &str)],
        original: Option<&str>,
    ) -> Result<String, String> {
        let values = values
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Text::lossy(value)))
            .collect();
        NameTemplate::parse(template)?.render("file_name", &values, original)
    }

    #[test]
    fn macros_and_properties_make_a_name() {
        assert_eq!(
            render(
                "%Filename%-{OrderId}-%MessageID%.%Extension%",
                &[("file_name.2", "17"), ("file_name.4", "ID")],
                Some("po.1.xml")
            ),
            Ok("po.1-17-ID.xml".to_owned())
        );
        assert_eq!(
            render(r"100\%-\\{a}", &[("file_name.1", "%Filename%")], None),
            Ok(r"100%-\%Filename%".to_owned()),
            "values are no macros"
        );
        assert!(render("%Filename%", &[], None).is_err());
        assert!(render("{a}", &[], None).is_err());
        let template = NameTemplate::parse("Msg-%messageid%.xml").unwrap();
        assert!(template.is_unique());
        assert_eq!(
            template.templates("file_name"),
            BTreeMap::from([("file_name.1".to_owned(), "{msg.id}".to_owned())])
        );
    }

    #[test]
    fn a_wrong_template_is_found_before_it_is_used() {
        for (template, says) in [
            ("{a", "no `}`"),
            ("50% off", "second one"),
            ("%XPATH=/a/b%", "promote"),
            ("%SendingOrchestrationID%", "none of"),
        ] {
            let error = NameTemplate::parse(template).expect_err(template);
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_message_stays_in_its_folder_and_within_the_rules() {
        for bad in [
            "",
            "/",
            "..",
            "../a",
            "a/../b",
            "a//b",
            "a/",
            ".hidden",
            "a.",
            "a ",
            " a",
            "~$a.docx",
            "a:b",
            "a*b",
            "a?b",
            "a\"b",
            "a<b",
            "a>b",
            "a|b",
            "a\\b",
            "a\nb",
            &"x".repeat(256),
        ] {
            assert!(confine(bad, true).is_err(), "{bad:?}");
        }
        assert_eq!(
            confine("2026/11/O'Brien #1 50%.xml", true),
            Ok((vec!["2026", "11"], "O'Brien #1 50%.xml"))
        );
        assert!(confine("2026/a.xml", false).is_err());
    }

    #[test]
    fn numbers_come_before_the_extension() {
        assert_eq!(numbered("a.xml", 1), "a.xml");
        assert_eq!(numbered("a.tar.gz", 3), "a.tar-3.gz");
        assert_eq!(numbered("a", 2), "a-2");
        assert_eq!(with_suffix("a.xml", "56b8e3c8-2"), "a-56b8e3c8-2.xml");
        let long = with_suffix(&format!("{}.xml", "ä".repeat(MAX_NAME)), "2");
        assert!(
            long.chars().count() == MAX_NAME && long.ends_with("ä-2.xml"),
            "{long}"
        );
    }
}
