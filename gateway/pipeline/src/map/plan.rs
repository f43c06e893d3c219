//! A map as it is applied.

use std::collections::BTreeMap;

use quayside_model::Name;

use super::{
    defect::Place,
    expression::Expression,
    scalar::{Form, Scalar},
    source::Path,
};
use crate::Kind;

/// A compiled map.
#[derive(Debug)]
pub(super) struct Plan {
    /// The documents that it reads, in the order in which they are given.
    pub(super) sources: Vec<Source>,
    pub(super) params: Vec<Param>,
    pub(super) tables: Vec<Table>,
    /// XML or JSON.
    pub(super) kind: Kind,
    /// What the root element declares: prefix, empty for the default, and namespace.
    pub(super) namespaces: Vec<(String, String)>,
    /// The root element; of JSON what holds the document.
    pub(super) root: Branch,
}

/// `[source.NAME]`.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) namespaces: BTreeMap<String, String>,
}

/// A parameter.
#[derive(Debug)]
pub(super) struct Param {
    pub(super) name: Name,
    pub(super) form: Form,
    pub(super) list: bool,
    pub(super) required: bool,
    pub(super) default: Option<Scalar>,
}

/// `[table.NAME]`.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) values: BTreeMap<String, Scalar>,
    pub(super) default: Option<Scalar>,
}

/// A place of the document that is made, with what is in it.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) step: Step,
    /// It is there once for each match.
    pub(super) repeat: Option<Repeat>,
    /// Its own value; of an element its text.
    pub(super) field: Option<Field>,
    pub(super) children: Vec<Branch>,
}

/// What a place is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// An element of XML, with its prefix.
    Element(String),
    /// An attribute of XML, with its prefix.
    Attribute(String),
    /// A member of a JSON object.
    Member(String),
}

/// Over what something repeats.
#[derive(Debug)]
pub(super) struct Repeat {
    pub(super) at: Place,
    /// The place in the target, for messages.
    pub(super) target: String,
    pub(super) source: usize,
    pub(super) path: Path,
}

/// Where a value comes from, and what becomes of it.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) at: Place,
    /// The place in the target, or the name in `with`, for messages.
    pub(super) target: String,
    pub(super) origin: Origin,
    pub(super) table: Option<usize>,
    pub(super) form: Form,
    pub(super) default: Option<Scalar>,
    pub(super) required: bool,
}

/// Where a value comes from.
#[derive(Debug)]
pub(super) enum Origin {
    Path {
        source: usize,
        path: Path,
    },
    Constant(Scalar),
    Param(usize),
    Property(Name),
    Expression {
        expression: Expression,
        with: Vec<Field>,
    },
}

impl Step {
    /// As a target path writes it.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Element(name) | Self::Attribute(name) | Self::Member(name) => name,
        }
    }
}

impl Branch {
    pub(super) fn new(step: Step) -> Self {
        Self {
            step,
            repeat: None,
            field: None,
            children: Vec::new(),
        }
    }
}
