//! What an expression comes to.

use std::sync::{Arc, OnceLock};

use cel::{
    Context, Env, Value as Cel,
    common::{
        types::{CelBool, CelDouble, CelInt, CelList, CelString},
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use quayside_model::{Code, MessageId, Text, Value};

use super::{Expression, Ref, kinds::qualified};
use crate::{
    codes, datum,
    datum::Datum,
    defect::shown,
    limits,
    world::{Lookup, Need, World},
};

/// What an expression can look at.
pub(crate) trait Known {
    /// The value of what a name stands for, if there is one.
    fn value(&self, what: &Ref) -> Option<Datum>;
    /// Whether the message has the property.
    fn has(&self, message: u16, property: &str) -> bool;
    /// The id of the message in this slot.
    fn message(&self, slot: u16) -> Option<MessageId>;
    /// The documents.
    fn world(&self) -> &dyn World;
}

/// Why an expression came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It reads what is not there yet.
    Needs(Vec<Need>),
    /// It fails.
    Failed(Code, String),
}

/// Evaluates `expression`.
pub(crate) fn evaluate(expression: &Expression, known: &dyn Known) -> Result<Datum, Trouble> {
    let mut names: Vec<(String, Datum)> = Vec::new();
    for (name, what) in &expression.refs {
        names.extend(known.value(what).map(|value| (name.clone(), value)));
    }
    for (number, (message, property)) in expression.asks.iter().enumerate() {
        let truth = Value::Boolean(known.has(*message, property));
        names.push((format!("@h{number}"), Datum::One(truth)));
    }
    read(expression, known, &mut names)?;
    // A value that is only passed on stays exactly what it is.
    if qualified(&expression.tree.expr).is_some()
        && let [(_, only)] = names.as_slice()
    {
        return Ok(only.clone());
    }
    let longest = names.iter().map(|(_, datum)| match datum {
        Datum::Many(list) => list.len() as u64,
        Datum::One(_) => 1,
    });
    let longest = longest.max().unwrap_or(1).max(expression.nodes);
    let cost = expression
        .nodes
        .saturating_mul(longest.saturating_pow(expression.loops));
    if expression.loops > 0 && cost > limits::EXPRESSION_COST {
        let detail = format!(
            "`{}` would take about {cost} operations",
            shown(&expression.source)
        );
        return Err(Trouble::Failed(codes::COST, detail));
    }
    let resolver = Resolver::of(&names);
    let mut context = Context::with_env(environment());
    context.set_variable_resolver(&resolver);
    let failed = |detail: String| {
        let detail = format!("`{}`: {detail}", shown(&expression.source));
        Trouble::Failed(codes::EVALUATION, detail)
    };
    let value =
        Cel::resolve(&expression.tree, &context).map_err(|error| failed(in_words(&error)))?;
    let datum = from_cel(&value).map_err(failed)?;
    if datum.fits() {
        return Ok(datum);
    }
    let detail = format!(
        "`{}` is a list of too many elements",
        shown(&expression.source)
    );
    Err(Trouble::Failed(codes::VALUE_TOO_LARGE, detail))
}

/// Adds what stands in the documents; everything that is missing is named at once.
fn read(
    expression: &Expression,
    known: &dyn Known,
    names: &mut Vec<(String, Datum)>,
) -> Result<(), Trouble> {
    let mut needs = Vec::new();
    for (number, read) in expression.reads.iter().enumerate() {
        let Some(message) = known.message(read.message) else {
            let detail = format!("there is no message yet to read `{}` of", shown(&read.path));
            return Err(Trouble::Failed(codes::EVALUATION, detail));
        };
        match known.world().read(message, &read.path, read.want) {
            Lookup::Ready(datum) if datum.fits() => names.push((format!("@d{number}"), datum)),
            Lookup::Ready(_) => {
                let detail = format!(
                    "`{}` leads to more places than a list can have",
                    shown(&read.path)
                );
                return Err(Trouble::Failed(codes::VALUE_TOO_LARGE, detail));
            }
            Lookup::Failed(why) => {
                let detail = format!("`{}`: {why}", shown(&read.path));
                return Err(Trouble::Failed(codes::DOCUMENT, detail));
            }
            Lookup::Missing => {
                let need = Need::Body(message);
                if !needs.contains(&need) {
                    needs.push(need);
                }
            }
        }
    }
    if needs.is_empty() {
        Ok(())
    } else {
        Err(Trouble::Needs(needs))
    }
}

/// The values, each made once: a loop asks for a list in every round.
struct Resolver<'n>(Vec<(&'n str, Box<dyn Val + 'n>)>);

impl<'n> Resolver<'n> {
    fn of(names: &'n [(String, Datum)]) -> Self {
        let made = names.iter().map(|(name, datum)| {
            let value: Box<dyn Val + 'n> = match datum {
                Datum::One(value) => to_cel(value),
                Datum::Many(list) => {
                    Box::new(CelList::from(list.iter().map(to_cel).collect::<Vec<_>>()))
                }
            };
            (name.as_str(), value)
        });
        Self(made.collect())
    }
}

impl VariableResolver for Resolver<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let (_, value) = self.0.iter().find(|(known, _)| *known == name)?;
        Some(CowVal::Borrowed(&**value))
    }
}

fn to_cel(value: &Value) -> Box<dyn Val + '_> {
    match value {
        Value::Text(text) => Box::new(CelString::from(&**text)),
        Value::Integer(number) => Box::new(CelInt::from(*number)),
        Value::Decimal(decimal) => Box::new(CelDouble::from(decimal.to_f64())),
        Value::Boolean(truth) => Box::new(CelBool::from(*truth)),
        Value::Time(time) => Box::new(CelString::from(time.to_string())),
    }
}

fn from_cel(value: &Cel) -> Result<Datum, String> {
    match value {
        Cel::List(list) => list
            .iter()
            .map(one)
            .collect::<Result<_, _>>()
            .map(Datum::Many),
        value => one(value).map(Datum::One),
    }
}

fn one(value: &Cel) -> Result<Value, String> {
    match value {
        Cel::Int(number) => Ok(Value::Integer(*number)),
        Cel::UInt(number) => i64::try_from(*number)
            .map(Value::Integer)
            .map_err(|_| "the number is too large".to_owned()),
        Cel::Float(number) => datum::decimal(*number)
            .map(Value::Decimal)
            .ok_or_else(|| "the number is no decimal of 28 digits".to_owned()),
        Cel::String(text) => Text::new(text.as_str())
            .map(Value::Text)
            .map_err(|error| error.to_string()),
        Cel::Bool(truth) => Ok(Value::Boolean(*truth)),
        _ => Err("it comes to what no variable can hold".to_owned()),
    }
}

/// The reason without values of messages, which do not belong into logs.
fn in_words(error: &cel::ExecutionError) -> String {
    match error {
        cel::ExecutionError::UndeclaredReference(name) => {
            format!("there is no value for `{}`", shown(name))
        }
        cel::ExecutionError::DivisionByZero(_) | cel::ExecutionError::RemainderByZero(_) => {
            "a number is divided by zero".to_owned()
        }
        cel::ExecutionError::Overflow(..) => "the number is too large".to_owned(),
        cel::ExecutionError::IndexOutOfBounds(_) => "the list has no such element".to_owned(),
        cel::ExecutionError::NoSuchOverload(error) => shown(&error.to_string()),
        _ => "its values do not fit together".to_owned(),
    }
}

fn environment() -> Arc<Env> {
    static ENVIRONMENT: OnceLock<Arc<Env>> = OnceLock::new();
    Arc::clone(ENVIRONMENT.get_or_init(|| Arc::new(Env::stdlib())))
}
