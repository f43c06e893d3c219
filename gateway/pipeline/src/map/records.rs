//! The records of a document and the values in them, outside of a map: what is written as lines.

use std::collections::HashMap;

use super::{
    json::Json,
    scalar::Scalar,
    select::Selector,
    source::{self, Document, Place},
    work::{Stop, Work},
};
use crate::Kind;

/// A document that is read once and asked for many values. The work on it is bounded as that of a map is.
pub(crate) struct Reader<'d> {
    document: Document<'d>,
}

/// A place in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot<'r>(Place<'r>);

impl<'d> Reader<'d> {
    /// Reads `text`, which [`text`](source::text) has checked.
    ///
    /// # Errors
    /// That it has too many values.
    pub(crate) fn new(kind: Kind, text: &'d str) -> Result<Self, Stop> {
        let document = Document::read(kind, text)?;
        Ok(Self { document })
    }

    /// The document itself: the root element, or the value that it is.
    pub(crate) fn top(&self) -> Spot<'_> {
        let root = self.document.root();
        match &self.document {
            Document::Xml(tree) => {
                let element = tree.document.document_element();
                Spot(element.map_or(root, Place::Xml))
            }
            Document::Json(_) => Spot(root),
        }
    }

    /// The records: every place that `path` leads to, or else the document itself. Of a JSON array, its elements.
    ///
    /// # Errors
    /// That the path cannot be followed, or takes too much work.
    pub(crate) fn records(
        &self,
        path: Option<&Selector>,
        work: &mut Work,
    ) -> Result<Vec<Spot<'_>>, Stop> {
        let places = match path {
            Some(path) => self
                .document
                .places(path.path(), self.document.root(), work)?,
            None => vec![self.top().0],
        };
        let mut records = Vec::with_capacity(places.len());
        for place in places {
            match place {
                Place::Json(Json::List(items)) => {
                    work.charge(items.len() as u64)?;
                    records.extend(items.iter().map(Place::Json).map(Spot));
                }
                place => records.push(Spot(place)),
            }
        }
        Ok(records)
    }

    /// The texts that `path` leads to from `at`: none, one, or two if there are more than one.
    ///
    /// # Errors
    /// As of [`Self::records`], and that there is no value but an object or list.
    pub(crate) fn texts(
        &self,
        path: &Selector,
        at: Spot<'_>,
        work: &mut Work,
    ) -> Result<Vec<String>, Stop> {
        let values = self.document.values(path.path(), at.0, work)?;
        Ok(values.into_iter().take(2).map(in_text).collect())
    }

    /// The children or members of `at` whose names `wanted` numbers, in their order; `None` of a `null`.
    ///
    /// # Errors
    /// That there is an object or list, or too much work.
    pub(crate) fn named(
        &self,
        at: Spot<'_>,
        wanted: &HashMap<String, usize>,
        work: &mut Work,
    ) -> Result<Vec<(usize, Option<String>)>, Stop> {
        let mut found = Vec::with_capacity(wanted.len());
        match (&self.document, at.0) {
            (Document::Xml(tree), Place::Xml(node)) => {
                for child in tree.document.children_iter(node) {
                    work.charge(1)?;
                    let name = tree.document.element(child).map(|it| &*it.name.local_name);
                    if let Some(&number) = name.and_then(|name| wanted.get(name)) {
                        found.push((number, Some(tree.text(child, work)?)));
                    }
                }
            }
            (Document::Json(_), Place::Json(Json::Object(members))) => {
                work.charge(members.len() as u64)?;
                for (name, member) in members {
                    if let Some(&number) = wanted.get(&**name) {
                        let value = source::value(member).map_err(|stop| stop.of(name))?;
                        found.push((number, value.map(in_text)));
                    }
                }
            }
            _ => {}
        }
        Ok(found)
    }

    /// Whether something can be found by its name in `at`.
    pub(crate) fn has_names(&self, at: Spot<'_>) -> bool {
        match (&self.document, at.0) {
            (Document::Xml(tree), Place::Xml(node)) => tree.document.element(node).is_some(),
            (_, Place::Json(json)) => matches!(json, Json::Object(_)),
            _ => false,
        }
    }
}

fn in_text(scalar: Scalar) -> String {
    match scalar {
        Scalar::Text(text) | Scalar::Number(text) => text,
        Scalar::Boolean(_) => scalar.text().into_owned(),
    }
}
