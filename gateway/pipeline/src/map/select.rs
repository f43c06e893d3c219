//! Values at a path of a document, outside of a map: what orchestrations read.

use std::collections::BTreeMap;

use super::{
    MapError,
    jsonpath::JsonPath,
    scalar::Scalar,
    source::{self, Document, Path, Place},
    work::{Stop, Work},
    xpath::XPath,
};
use crate::Kind;

/// A path into documents of one format: XPath, or a JSONPath, which begins with `$`.
#[derive(Debug)]
pub struct Selector {
    path: Path,
    kind: Kind,
}

impl Selector {
    /// Compiles `path`, in which prefixes stand for `namespaces`.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn compile(path: &str, namespaces: &BTreeMap<String, String>) -> Result<Self, String> {
        Self::of(path, namespaces, path.starts_with('$'))
    }

    /// Compiles `path`, which may lead on from a place: an XPath as ever, or a JSONPath that begins with `@`.
    ///
    /// # Errors
    /// As of [`Self::compile`].
    pub(crate) fn relative(
        path: &str,
        namespaces: &BTreeMap<String, String>,
    ) -> Result<Self, String> {
        // An `@` of XPath has the name of an attribute behind it.
        let from_here = path == "@" || path.starts_with("@.") || path.starts_with("@[");
        Self::of(path, namespaces, from_here || path.starts_with('$'))
    }

    fn of(path: &str, namespaces: &BTreeMap<String, String>, json: bool) -> Result<Self, String> {
        let (path, kind) = match json {
            true => {
                let path = JsonPath::parse(path).map_err(|(_, why)| why)?;
                (Path::Json(path), Kind::Json)
            }
            false => {
                let path = XPath::compile(path, namespaces, false).map_err(|(_, _, why)| why)?;
                (Path::Xml(path), Kind::Xml)
            }
        };
        Ok(Self { path, kind })
    }

    /// The format of the documents that it reads.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it leads to places of the document, and not to a value that it computes.
    pub(crate) fn leads_to_places(&self) -> bool {
        match &self.path {
            Path::Xml(path) => path.leads_to_nodes(),
            Path::Json(_) => true,
        }
    }

    /// Whether it is meant to lead to several places.
    pub(crate) fn is_plural(&self) -> bool {
        matches!(&self.path, Path::Json(path) if path.is_plural())
    }

    /// The texts of all places in `body` that the path leads to, in their order. Bounded as the sources of maps are.
    ///
    /// # Errors
    /// That the document is not well-formed or too large, or the path takes too much work on it.
    pub fn texts(&self, body: &[u8]) -> Result<Vec<String>, MapError> {
        self.read(body).map_err(|Stop { code, detail }| MapError {
            code,
            detail,
            place: None,
        })
    }

    fn read(&self, body: &[u8]) -> Result<Vec<String>, Stop> {
        let text = source::text(self.kind, body)?;
        let document = Document::read(self.kind, &text)?;
        self.find(&document, &mut Work::default())
    }

    fn find(&self, document: &Document<'_>, work: &mut Work) -> Result<Vec<String>, Stop> {
        let is_value = matches!(&self.path, Path::Xml(path) if !path.leads_to_nodes());
        let scalars = if is_value {
            document.values(&self.path, document.root(), work)?
        } else {
            let places = document.places(&self.path, document.root(), work)?;
            let mut scalars = Vec::with_capacity(places.len());
            for place in places {
                scalars.extend(document.value(place, work)?);
            }
            scalars
        };
        Ok(scalars.into_iter().map(in_text).collect())
    }
}

/// The texts of each of `selectors`, all of one format, in `body`, which is read once. Each has a bound of work of its own.
///
/// # Errors
/// Of each as [`Selector::texts`]: of a document that cannot be read, all alike.
pub fn texts_of_each(selectors: &[&Selector], body: &[u8]) -> Vec<Result<Vec<String>, MapError>> {
    let stopped = |Stop { code, detail }: Stop| MapError {
        code,
        detail,
        place: None,
    };
    let Some(kind) = selectors.first().map(|selector| selector.kind) else {
        return Vec::new();
    };
    let text = source::text(kind, body).map_err(stopped);
    let document = text
        .as_ref()
        .map_err(Clone::clone)
        .and_then(|text| Document::read(kind, text).map_err(stopped));
    let found = selectors.iter().map(|selector| match &document {
        Ok(document) => {
            let found = selector.find(document, &mut Work::default());
            found.map_err(stopped)
        }
        Err(error) => Err(error.clone()),
    });
    found.collect()
}

/// The texts of several paths into one XML document, which is read once and has one bound of work for all of them.
///
/// # Errors
/// As [`Selector::texts`], without the document being read twice.
pub(crate) fn texts_of<'s>(
    selectors: impl Iterator<Item = &'s Selector>,
    body: &[u8],
) -> Result<Vec<Vec<String>>, MapError> {
    let stopped = |Stop { code, detail }: Stop| MapError {
        code,
        detail,
        place: None,
    };
    let text = source::text(Kind::Xml, body).map_err(stopped)?;
    let document = Document::read(Kind::Xml, &text).map_err(stopped)?;
    let mut work = Work::default();
    let found = selectors.map(|selector| selector.find(&document, &mut work));
    found.collect::<Result<_, _>>().map_err(stopped)
}

fn in_text(scalar: Scalar) -> String {
    scalar.text().into_owned()
}

impl Document<'_> {
    /// The value of one place; nothing of `null`.
    fn value(&self, place: Place<'_>, work: &mut Work) -> Result<Option<Scalar>, Stop> {
        match (self, place) {
            (Self::Xml(tree), Place::Xml(node)) => {
                tree.text(node, work).map(|text| Some(Scalar::Text(text)))
            }
            (Self::Json(_), Place::Json(json)) => source::value(json),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(path: &str, body: &str) -> Vec<String> {
        let namespaces = BTreeMap::from([("b".to_owned(), "urn:b".to_owned())]);
        let selector = Selector::compile(path, &namespaces).expect("a path");
        selector.texts(body.as_bytes()).expect("texts")
    }

    #[test]
    fn every_place_gives_its_text() {
        let xml = "<Batch xmlns='urn:b'><Line no='1'>a<i>b</i></Line><Line no='2'/></Batch>";
        assert_eq!(texts("/b:Batch/b:Line/@no", xml), ["1", "2"]);
        assert_eq!(texts("/b:Batch/b:Line", xml), ["ab", ""]);
        assert_eq!(texts("count(//b:Line)", xml), ["2"]);
        assert_eq!(texts("/b:Batch/b:None", xml), [""; 0]);
        let json = r#"{"lines": [{"no": 1.50}, {"no": "x"}, {"no": null}], "ok": true}"#;
        assert_eq!(texts("$.lines[*].no", json), ["1.50", "x"]);
        assert_eq!(texts("$.ok", json), ["true"]);
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let none = BTreeMap::new();
        assert!(Selector::compile("/x:a", &none).is_err(), "the prefix");
        assert!(Selector::compile("$.a[", &none).is_err());
        let selector = Selector::compile("/a", &none).expect("a path");
        assert!(selector.texts(b"<a><b></a>").is_err(), "not well-formed");
        assert!(selector.texts(b"{}").is_err(), "another format");
    }
}
