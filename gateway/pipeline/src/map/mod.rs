//! Maps: one document out of others.
//!
//! A [`Map`] is compiled once, from a file `NAME.toml` of an application, and applied to any number of messages. It is pure:
//! the same documents, parameters and properties come to the same bytes. `docs/maps.md` has what a map can say.
//!
//! Everything is bounded, whatever is sent: a document that is read has at most 4 MiB, 200,000 values and 256 levels, what is made
//! at most 16 MiB, and the work on it is counted. What goes beyond ends with a code.
//!
//! ```
//! use quayside_pipeline::map::{Call, Input, Map};
//! use quayside_pipeline::Kind;
//! # use std::collections::BTreeMap;
//! let text = r#"
//! [source.order]
//! format = "xml"
//! namespaces = { o = "urn:orders" }
//! [target]
//! format = "json"
//! [to]
//! "$.id" = "/o:Order/o:Id"
//! "$.skus" = { repeat = "/o:Order/o:Line", to = { "@" = "@sku" } }
//! "#;
//! let map = Map::compile("maps/order.toml", text).expect("a map");
//! let order = br#"<Order xmlns="urn:orders"><Id>7</Id><Line sku="a"/><Line sku="b"/></Order>"#;
//! let inputs = [Input { kind: Kind::Xml, body: order }];
//! let call = Call { inputs: &inputs, params: &BTreeMap::new(), properties: &BTreeMap::new() };
//! let output = map.apply(&call).expect("a document");
//! assert_eq!(output.body, br#"{"id":"7","skus":["a","b"]}"#);
//! ```

mod apply;
mod defect;
mod expression;
mod inspect;
pub mod jq;
mod json;
mod jsonpath;
mod limits;
mod plan;
mod read;
mod records;
mod scalar;
mod select;
mod source;
mod toml;
mod work;
mod write;
mod xpath;
pub mod xslt;

use std::{collections::BTreeMap, fmt, sync::Arc};

use quayside_model::{Code, Name, Value};

pub use self::{
    defect::{Defect, Place},
    select::{Selector, texts_of_each},
};
pub(crate) use self::{
    records::{Reader, Spot},
    select::texts_of,
    source::text,
    work::{Stop, Work},
};
use crate::{Kind, codes};

/// A compiled map. Cheap to clone.
#[derive(Clone)]
pub struct Map(Arc<plan::Plan>);

/// What a map is applied to.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The documents, in the order of the map's `[source]`.
    pub inputs: &'a [Input<'a>],
    /// The parameters by their names.
    pub params: &'a BTreeMap<Name, Given>,
    /// The promoted properties of the message, for `property`.
    pub properties: &'a BTreeMap<Name, Value>,
}

/// A document that a map reads.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// Its format.
    pub kind: Kind,
    /// The bytes as they came: UTF-8, and XML also in UTF-16 with a byte order mark.
    pub body: &'a [u8],
}

/// The value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// A value.
    One(Value),
    /// A list, for a parameter that is declared as one.
    Many(Vec<Value>),
}

/// What a map has made.
#[derive(Clone, PartialEq, Eq)]
pub struct Output {
    /// The document, in UTF-8.
    pub body: Vec<u8>,
    /// XML or JSON.
    pub kind: Kind,
    /// `application/xml` or `application/json`.
    pub content_type: &'static str,
}

/// Why a map has made nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct MapError {
    /// The stable code.
    pub code: Code,
    /// The cause, for a person.
    pub detail: String,
    /// Where in the file of the map, if it is about one place there.
    pub place: Option<Place>,
}

impl Map {
    /// Compiles the map with the text `text` in the file `path`, whose ending tells its language: `.toml`.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place, in the order of the file.
    pub fn compile(path: &str, text: &str) -> Result<Self, Vec<Defect>> {
        let start = Place { line: 1, column: 1 };
        match path.rsplit_once('.') {
            Some((_, end)) if end.eq_ignore_ascii_case("toml") => {
                read::read(text).map(|plan| Self(Arc::new(plan)))
            }
            _ => {
                let mut defects = defect::Defects::default();
                let message = format!("`{}` does not end with `.toml`", defect::shown(path));
                defects.add(start, codes::MAP_LANGUAGE, message);
                Err(defects.finish())
            }
        }
    }

    /// The documents that it reads, by their names in the map and with their formats, in the order in which they are given.
    pub fn sources(&self) -> impl Iterator<Item = (&str, Kind)> {
        let sources = self.0.sources.iter();
        sources.map(|source| (source.name.as_str(), source.kind))
    }

    /// Its parameters, and whether each has to be given.
    pub fn params(&self) -> impl Iterator<Item = (&Name, bool)> {
        self.0
            .params
            .iter()
            .map(|param| (&param.name, param.required))
    }

    /// The format of what it makes.
    #[must_use]
    pub fn target(&self) -> Kind {
        self.0.kind
    }

    /// Makes the document.
    ///
    /// # Errors
    /// The first reason why there is none.
    pub fn apply(&self, call: &Call<'_>) -> Result<Output, MapError> {
        apply::apply(&self.0, call)
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources: Vec<_> = self.sources().collect();
        write!(f, "Map({sources:?} to {:?})", self.target())
    }
}

/// Without the document, which may be long and secret.
impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Input({:?}, {} bytes)", self.kind, self.body.len())
    }
}

/// Without the document, as of [`Input`].
impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output({:?}, {} bytes)", self.kind, self.body.len())
    }
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)?;
        match self.place {
            Some(place) => write!(f, " (at {place} of the map)"),
            None => Ok(()),
        }
    }
}
