//! What the names in an expression can stand for.

use std::collections::BTreeMap;

use quayside_model::{Name, ValueType};

use super::{Kind, Ref};
use crate::{
    codes,
    datum::Holds,
    defect::{Defects, Place, shown},
    definition::{MessageVariable, Variable},
};

/// Names that belong to the language and cannot be given to variables or messages.
pub(crate) const RESERVED: &[&str] = &[
    "now",
    "run",
    "error",
    "msg",
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "string",
    "type",
    "uint",
    "null_type",
    "true",
    "false",
    "null",
    "in",
    "dyn",
    "any",
];

/// The names that an expression may use.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Names<'a> {
    /// Those of the orchestration, for a step.
    Step {
        messages: &'a [MessageVariable],
        variables: &'a [Variable],
        /// Whether there is an error at hand.
        error: bool,
    },
    /// The properties of one message, for a filter.
    Filter(&'a BTreeMap<Name, ValueType>),
}

impl Names<'_> {
    /// What the name `qualified` stands for. A fault is told at `place`.
    pub(crate) fn find(
        self,
        qualified: &str,
        place: Place,
        defects: &mut Defects,
    ) -> Option<(Option<Ref>, Kind)> {
        match self {
            Self::Filter(properties) => {
                property(properties, qualified, place, defects).map(|kind| (None, kind))
            }
            Self::Step {
                messages,
                variables,
                error,
            } => step(messages, variables, error, qualified, place, defects)
                .map(|(what, kind)| (Some(what), kind)),
        }
    }

    /// The message of this name, by its slot.
    pub(crate) fn message(self, name: &str) -> Option<u16> {
        let Self::Step { messages, .. } = self else {
            return None;
        };
        let slot = messages.iter().position(|m| &*m.name == name)?;
        u16::try_from(slot).ok()
    }
}

fn step(
    messages: &[MessageVariable],
    variables: &[Variable],
    error: bool,
    qualified: &str,
    place: Place,
    defects: &mut Defects,
) -> Option<(Ref, Kind)> {
    let (first, rest) = match qualified.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (qualified, None),
    };
    let slot = |at: usize| u16::try_from(at).expect("names are bounded");
    match (qualified, rest) {
        ("now", _) => return Some((Ref::Now, Kind::Text)),
        ("run.id", _) => return Some((Ref::Run, Kind::Text)),
        ("error.name" | "error.code" | "error.message" | "error.step", _) if !error => {
            let message = "there is no error here, but in `on_error` of a scope";
            defects.add(place, codes::MISPLACED, message);
            return None;
        }
        ("error.name", _) => return Some((Ref::ErrorName, Kind::Text)),
        ("error.code", _) => return Some((Ref::ErrorCode, Kind::Text)),
        ("error.message", _) => return Some((Ref::ErrorMessage, Kind::Text)),
        ("error.step", _) => return Some((Ref::ErrorStep, Kind::Text)),
        _ => {}
    }
    if let Some(at) = variables.iter().position(|v| &*v.name == first) {
        if rest.is_some() {
            let message = format!("the variable `{first}` has no parts");
            defects.add(place, codes::UNKNOWN_NAME, message);
            return None;
        }
        return Some((Ref::Variable(slot(at)), kind_of(variables[at].holds)));
    }
    let Some(at) = messages.iter().position(|m| &*m.name == first) else {
        let names = variables.iter().map(|v| &*v.name);
        let names = names
            .chain(messages.iter().map(|m| &*m.name))
            .chain(["now", "run", "error"]);
        defects.unknown(
            place,
            codes::UNKNOWN_NAME,
            "variable or message",
            first,
            names,
        );
        return None;
    };
    let Some(rest) = rest else {
        let message = format!("`{first}` is a message and no value");
        let help = format!(
            "Name a property, as in `{first}.Id`, or read the document, as in `text({first}, '/Id')`."
        );
        defects.help(place, codes::TYPE, message, &help);
        return None;
    };
    match rest {
        "msg.id" => return Some((Ref::Id(slot(at)), Kind::Text)),
        "msg.type" => return Some((Ref::Type(slot(at)), Kind::Text)),
        _ => {}
    }
    let kind = property(&messages[at].properties, rest, place, defects)?;
    let Ok(name) = Name::new(rest) else {
        defects.add(
            place,
            codes::UNKNOWN_NAME,
            format!("`{}` is no name", shown(rest)),
        );
        return None;
    };
    Some((Ref::Property(slot(at), name), kind))
}

/// The kind of a property. One with a dot belongs to a transport: there may be any.
fn property(
    properties: &BTreeMap<Name, ValueType>,
    name: &str,
    place: Place,
    defects: &mut Defects,
) -> Option<Kind> {
    if let Some(value_type) = properties.get(name) {
        return Some(kind_of(Holds::One(*value_type)));
    }
    if name.contains('.') {
        return Some(Kind::Any);
    }
    defects.unknown(
        place,
        codes::UNKNOWN_NAME,
        "property",
        name,
        properties.keys().map(|n| &**n),
    );
    None
}

pub(crate) fn kind_of(holds: Holds) -> Kind {
    match holds {
        Holds::One(ValueType::String | ValueType::DateTime) => Kind::Text,
        Holds::One(ValueType::Integer) => Kind::Whole,
        Holds::One(ValueType::Decimal) => Kind::Number,
        Holds::One(ValueType::Boolean) => Kind::Truth,
        Holds::List => Kind::List,
        Holds::Element => Kind::Any,
    }
}
