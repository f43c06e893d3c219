//! Schemas: what a message has to look like beyond being well-formed.
//!
//! A schema is compiled once, from files that the caller reads: nothing is ever fetched, whatever a schema or a document
//! names. What it says of a document is a bounded list of findings, each with its place.

mod document;
mod extent;
mod json;

use std::{fmt, io::Read, sync::Arc};

use crate::{Invalid, Kind, codes};

/// How many findings are kept of one document.
pub const FINDINGS_MAX: usize = 20;

/// How much of one finding is kept, and of its place, in bytes.
const FINDING_MAX: usize = 250;
const PLACE_MAX: usize = 120;

/// The largest JSON document that is validated, in bytes: it is whole in memory for that, where each of its values takes
/// 32 bytes and more, however short it was written.
pub const JSON_MAX: u64 = 4 * 1024 * 1024;

/// How many files one schema may come from.
const FILES_MAX: usize = 200;

/// A compiled schema. Cheap to clone.
#[derive(Clone)]
pub struct Schema(Arc<json::JsonSchema>);

/// Reads the files that schemas come from: by the path from the folder of the application.
pub type ReadFile = Arc<dyn Fn(&str) -> Result<Vec<u8>, String> + Send + Sync>;

/// Something that a schema does not allow in a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where: the path of a value, `/lines/0/sku`; empty for the document itself.
    pub place: String,
    /// What is wrong.
    pub detail: String,
}

/// What a schema says of a document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// The first ones, in the order of the schema.
    pub list: Vec<Finding>,
    /// Whether there are more.
    pub more: bool,
}

impl Schema {
    /// Compiles the schema in the file `path`: JSON Schema in `*.json`. Files that it refers to are read from beside it.
    ///
    /// # Errors
    /// Why it cannot be used, with the file if it is another one.
    pub fn compile(path: &str, read: &ReadFile) -> Result<Self, String> {
        match path.rsplit_once('.') {
            Some((_, end)) if end.eq_ignore_ascii_case("json") => {
                Ok(Self(Arc::new(json::JsonSchema::compile(path, read)?)))
            }
            _ => Err("a schema is a JSON Schema in a file `*.json`".to_owned()),
        }
    }

    /// The kind of documents that it is for.
    #[must_use]
    pub fn kind(&self) -> Kind {
        Kind::Json
    }

    /// Says what it does not allow in a document of `length` bytes, which is whole in memory for that. The document is
    /// well-formed: a [`Scanner`](crate::Scanner) has seen it.
    ///
    /// # Errors
    /// If the document cannot be read to its end, or is longer than [`JSON_MAX`].
    pub fn validate(&self, document: impl Read, length: u64) -> Result<Findings, Invalid> {
        if length > JSON_MAX {
            let detail = format!("the document has {length} bytes, and {JSON_MAX} are the most");
            return Err(Invalid::new(codes::TOO_LARGE_TO_VALIDATE, 0, detail));
        }
        self.0.validate(document, length)
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({:?})", self.kind())
    }
}

impl Findings {
    /// Whether the document is valid.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    fn push(&mut self, place: &str, detail: &str) {
        if self.list.len() == FINDINGS_MAX {
            self.more = true;
            return;
        }
        self.list.push(Finding {
            place: line(place, PLACE_MAX),
            detail: line(detail, FINDING_MAX),
        });
    }
}

/// One line of at most `most` bytes, whatever a document has put into a text.
fn line(text: &str, most: usize) -> String {
    let cut = text.floor_char_boundary(most);
    let mut shown: String = text[..cut].chars().map(printable).collect();
    if cut < text.len() {
        shown.push('…');
    }
    shown
}

fn printable(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

/// A line for each finding.
impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (no, finding) in self.list.iter().enumerate() {
            if no > 0 {
                f.write_str("\n")?;
            }
            if !finding.place.is_empty() {
                write!(f, "{}: ", finding.place)?;
            }
            f.write_str(&finding.detail)?;
        }
        if self.more {
            f.write_str("\nand more")?;
        }
        Ok(())
    }
}

/// Where schemas have their place while they are compiled: the folder of the application as the root.
const BASE: &str = "app:///";

/// The path in the application of what a schema names, as it was resolved against its own place. What leads above the
/// root ends there.
fn path_of(url: &str) -> Result<&str, String> {
    let elsewhere =
        || format!("`{url}` is no file of the application, and nothing is fetched from elsewhere");
    let path = url.strip_prefix(BASE).ok_or_else(elsewhere)?;
    let path = path.split(['#', '?']).next().unwrap_or_default();
    // What an address has to write in another way than a file is called.
    if path.contains('%') || path.split('/').any(|part| part == "..") {
        return Err(format!(
            "`{path}`: use letters, digits, `.`, `-` and `_` in the names of schemas"
        ));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_comes_from_the_folder_of_the_application_and_nowhere_else() {
        assert_eq!(
            path_of("app:///schemas/types.json"),
            Ok("schemas/types.json")
        );
        assert_eq!(path_of("app:///types.json#/$defs/a"), Ok("types.json"));
        for url in [
            "http://example/types.json",
            "file:///etc/passwd",
            "types.json",
            "app:///a%2Fb.json",
            "app:///../a",
        ] {
            assert!(path_of(url).is_err(), "{url}");
        }
    }

    #[test]
    fn findings_are_bounded_lines() {
        let mut findings = Findings::default();
        findings.push("/a\nb", "a\nb");
        findings.push("", &"ä".repeat(300));
        for _ in 0..30 {
            findings.push("", "c");
        }
        let text = findings.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), FINDINGS_MAX + 1);
        assert_eq!(lines[0], "/a b: a b");
        assert_eq!(lines[1].chars().count(), 126);
        assert!(lines[1].ends_with('…'));
        assert_eq!(lines[FINDINGS_MAX], "and more");
    }

    #[test]
    fn the_end_of_its_name_tells_the_language() {
        let read: ReadFile = Arc::new(|_: &str| Ok(b"{}".to_vec()));
        assert_eq!(
            Schema::compile("a.JSON", &read).map(|it| it.kind()),
            Ok(Kind::Json)
        );
        assert!(Schema::compile("a.xsd", &read).is_err());
    }
}
