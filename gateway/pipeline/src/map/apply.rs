//! Values for one document: out of the documents, parameters and properties that were given.

use std::{borrow::Cow, collections::BTreeMap};

use quayside_model::{Name, Value};

use super::{
    Call, Given, MapError, Output,
    defect::{self, shown},
    expression::{self, Outcome, Ref},
    plan::{Field, Origin, Param, Plan, Repeat},
    scalar::Scalar,
    source::{self, Document, Place},
    work::{Stop, Work},
    write,
};
use crate::{Invalid, Kind, codes};

/// Applies `plan` to `call`.
pub(super) fn apply(plan: &Plan, call: &Call<'_>) -> Result<Output, MapError> {
    if call.inputs.len() != plan.sources.len() {
        let (takes, given) = (plan.sources.len(), call.inputs.len());
        let detail = format!("the map takes {takes} messages and was given {given}");
        return Err(Stop::new(codes::MAP_INPUTS, detail).somewhere());
    }
    let params = params(&plan.params, call.params).map_err(Stop::somewhere)?;
    let mut texts: Vec<Cow<'_, str>> = Vec::new();
    for (source, input) in plan.sources.iter().zip(call.inputs) {
        if source.kind != input.kind {
            let detail = format!("`{}` is {}", source.name, not_the_format(source.kind));
            return Err(Stop::new(codes::MAP_INPUTS, detail).somewhere());
        }
        let text = source::text(input.kind, input.body);
        texts.push(text.map_err(|stop| stop.of(&source.name).somewhere())?);
    }
    let mut documents: Vec<Document<'_>> = Vec::new();
    for (source, text) in plan.sources.iter().zip(&texts) {
        let document = Document::read(source.kind, text);
        documents.push(document.map_err(|stop| stop.of(&source.name).somewhere())?);
    }
    let mut run = Run {
        plan,
        documents: &documents,
        params,
        properties: call.properties,
        work: Work::default(),
    };
    let scope: Scope<'_> = documents.iter().map(Document::root).collect();
    let body = match plan.kind {
        Kind::Json => write::json::write(&mut run, &scope)?,
        _ => write::xml::write(&mut run, &scope)?,
    };
    let content_type = match plan.kind {
        Kind::Json => "application/json",
        _ => "application/xml",
    };
    Ok(Output {
        body: body.into_bytes(),
        kind: plan.kind,
        content_type,
    })
}

fn not_the_format(wanted: Kind) -> &'static str {
    match wanted {
        Kind::Json => "not JSON",
        _ => "not XML",
    }
}

/// The match at hand in each document.
pub(super) type Scope<'r> = Vec<Place<'r>>;

/// One application of a map.
pub(super) struct Run<'r> {
    pub(super) plan: &'r Plan,
    documents: &'r [Document<'r>],
    params: Vec<Values>,
    properties: &'r BTreeMap<Name, Value>,
    pub(super) work: Work,
}

/// What a field comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Values {
    pub(super) items: Vec<Scalar>,
    /// Whether it is a list, however many items it has.
    pub(super) list: bool,
}

impl<'r> Run<'r> {
    /// The scopes of a repetition.
    pub(super) fn matches(
        &mut self,
        repeat: &Repeat,
        scope: &Scope<'r>,
    ) -> Result<Vec<Place<'r>>, MapError> {
        let document = &self.documents[repeat.source];
        let here = scope[repeat.source];
        let found = document.places(&repeat.path, here, &mut self.work);
        found.map_err(|stop| stop.at(repeat.at, &repeat.target))
    }

    /// The values of a field: none, one, or those of a list.
    pub(super) fn values(&mut self, field: &Field, scope: &Scope<'r>) -> Result<Values, MapError> {
        let values = self.found(field, scope);
        values.map_err(|stop| stop.at(field.at, &field.target))
    }

    fn found(&mut self, field: &Field, scope: &Scope<'r>) -> Result<Values, Stop> {
        self.work.charge(1)?;
        let mut values = self.origin(field, scope)?;
        for item in &mut values.items {
            let mut value = std::mem::replace(item, Scalar::Boolean(false));
            if let Some(table) = field.table {
                value = self.looked_up(table, &value)?;
            }
            let taken = field.form.take(value);
            *item = taken.map_err(|why| Stop::new(codes::MAP_VALUE, why))?;
        }
        if !values.items.is_empty() {
            return Ok(values);
        }
        if field.required {
            return Err(Stop::new(codes::MAP_REQUIRED, "there is no value"));
        }
        values.items.extend(field.default.clone());
        Ok(values)
    }

    fn origin(&mut self, field: &Field, scope: &Scope<'r>) -> Result<Values, Stop> {
        match &field.origin {
            Origin::Path { source, path } => {
                let document = &self.documents[*source];
                let items = document.values(path, scope[*source], &mut self.work)?;
                if items.len() > 1 {
                    let detail = "the path leads to more than one value";
                    return Err(Stop::new(codes::MAP_REPEATED, detail));
                }
                Ok(Values { items, list: false })
            }
            Origin::Constant(value) => Ok(Values::one(Some(value.clone()))),
            Origin::Param(number) => Ok(self.params[*number].clone()),
            Origin::Property(name) => Ok(self.property(name)),
            Origin::Expression { expression, with } => {
                let outcome = expression.evaluate(&mut |what| self.named(what, with, scope))?;
                self.work.charge(expression.cost())?;
                Ok(match outcome {
                    Outcome::Nothing => Values::default(),
                    Outcome::One(value) => Values::one(Some(value)),
                    Outcome::List(items) => Values { items, list: true },
                })
            }
        }
    }

    fn property(&self, name: &Name) -> Values {
        Values::one(self.properties.get(name).map(Scalar::from))
    }

    /// What a name in an expression stands for.
    fn named(
        &mut self,
        what: &Ref,
        with: &[Field],
        scope: &Scope<'r>,
    ) -> Result<expression::Given, Stop> {
        let values = match what {
            Ref::With(number) => {
                let field = &with[*number];
                let found = self.found(field, scope);
                found.map_err(|stop| stop.of(&field.target))?
            }
            Ref::Param(number) => self.params[*number].clone(),
            Ref::Property(name) => self.property(name),
        };
        let there = values.list || !values.items.is_empty();
        Ok(there.then_some((values.items, values.list)))
    }

    fn looked_up(&self, table: usize, value: &Scalar) -> Result<Scalar, Stop> {
        let table = &self.plan.tables[table];
        let found = table.values.get(&*value.text());
        found.or(table.default.as_ref()).cloned().ok_or_else(|| {
            let quoted = Invalid::quote(&value.text());
            let detail = format!("{quoted} is not in the table `{}`", table.name);
            Stop::new(codes::MAP_TABLE, detail)
        })
    }
}

impl Values {
    fn one(value: Option<Scalar>) -> Self {
        Self {
            items: value.into_iter().collect(),
            list: false,
        }
    }
}

/// The values of the parameters, in the order of their declaration.
fn params(declared: &[Param], given: &BTreeMap<Name, Given>) -> Result<Vec<Values>, Stop> {
    let wrong = |detail: String| Stop::new(codes::MAP_INPUTS, detail);
    let unknown = given
        .keys()
        .find(|name| !declared.iter().any(|param| param.name == **name));
    if let Some(name) = unknown {
        return Err(wrong(format!("the map has no parameter `{name}`")));
    }
    let value = |param: &Param| {
        let name = &param.name;
        let items: Vec<Scalar> = match given.get(name) {
            None if param.required => {
                return Err(wrong(format!("the parameter `{name}` is missing")));
            }
            None => param.default.iter().cloned().collect(),
            Some(Given::One(value)) => vec![Scalar::from(value)],
            Some(Given::Many(values)) if param.list => values.iter().map(Scalar::from).collect(),
            Some(Given::Many(_)) => {
                return Err(wrong(format!(
                    "the parameter `{name}` is one value, not a list"
                )));
            }
        };
        let taken = items.into_iter().map(|item| param.form.take(item));
        let items = taken.collect::<Result<_, _>>().map_err(|why| {
            Stop::new(codes::MAP_INPUTS, format!("the parameter `{name}`: {why}"))
        })?;
        Ok(Values {
            items,
            list: param.list,
        })
    };
    declared.iter().map(value).collect()
}

impl Stop {
    /// Something in `what`.
    pub(crate) fn of(self, what: &str) -> Self {
        let detail = format!("`{}`: {}", shown(what), self.detail);
        Self { detail, ..self }
    }

    /// At no place of the map.
    fn somewhere(self) -> MapError {
        MapError {
            code: self.code,
            detail: self.detail,
            place: None,
        }
    }

    /// At a place of the map, which makes `target`.
    pub(super) fn at(self, place: defect::Place, target: &str) -> MapError {
        let mut error = self.of(target).somewhere();
        error.place = Some(place);
        error
    }
}
