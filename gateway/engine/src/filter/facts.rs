//! A message as filters see it.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock},
};

use cel::{
    Context, Env, ExecutionError, IdedExpr, Value as Cel,
    common::{
        types::{CelBool, CelDouble, CelInt, CelMap, CelMapKey, CelString},
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use quayside_model::{Message, Value};

use super::Named;

/// A message as filters see it. Nothing is prepared: a variable is looked up when a filter names it.
pub struct Facts<'m> {
    message: &'m Message,
}

impl<'m> Facts<'m> {
    /// The facts of `message`.
    #[must_use]
    pub fn new(message: &'m Message) -> Self {
        Self { message }
    }

    /// The value of a property in the form of [`comparable`], if filters see it.
    #[must_use]
    pub fn comparable(&self, property: &str) -> Option<String> {
        match property {
            "msg.type" => self.message.message_type.as_ref().map(|t| format!("s:{t}")),
            "msg.origin" => Some(format!("s:{}", self.message.origin)),
            "msg.id" => Some(format!("s:{}", self.message.id)),
            property => self.message.context.promoted(property).map(comparable),
        }
    }

    pub(super) fn satisfy(&self, expression: &IdedExpr) -> bool {
        // An error is a variable that is missing or of another type: no match.
        matches!(self.resolve(expression), Ok(Cel::Bool(true)))
    }

    /// What an expression comes to. `Err`: what went wrong, for a person.
    pub(super) fn resolve(&self, expression: &IdedExpr) -> Result<Cel, ExecutionError> {
        let mut context = Context::with_env(environment());
        context.set_variable_resolver(self);
        Cel::resolve(expression, &context)
    }

    /// A property as a term that names it sees it.
    pub(super) fn named(&self, property: &str) -> Named {
        let own = match property {
            "msg.type" => self.message.message_type.as_ref().map(ToString::to_string),
            "msg.origin" => Some(self.message.origin.to_string()),
            "msg.id" => Some(self.message.id.to_string()),
            _ => None,
        };
        let promoted = || self.message.context.promoted(property).map(written);
        let several = || self.below(property).map(|_| "several".to_owned());
        let value = own
            .map(|own| format!("'{own}'"))
            .or_else(promoted)
            .or_else(several);
        let hidden = value.is_none() && self.message.context.get(property).is_some();
        Named {
            property: property.to_owned(),
            value,
            hidden,
        }
    }

    fn own(&self, name: &str) -> Option<Box<dyn Val + '_>> {
        match name {
            "msg.type" => self.message.message_type.as_ref().map(|name| text(name)),
            "msg.origin" => Some(text(&self.message.origin)),
            "msg.id" => Some(Box::new(CelString::from(self.message.id.to_string()))),
            _ => None,
        }
    }

    /// What stands below `namespace` as a map, its keys with all their dots: header names hold some.
    /// The first part of such a key is a map again.
    fn below(&self, namespace: &str) -> Option<CelMap<'_>> {
        let prefix = format!("{namespace}.");
        let promoted = self
            .message
            .context
            .iter()
            .filter(|(_, property)| property.promoted);
        let mut map: HashMap<CelMapKey<'_>, Box<dyn Val + '_>> = HashMap::new();
        for (name, property) in promoted {
            let Some(key) = name.strip_prefix(prefix.as_str()) else {
                continue;
            };
            map.insert(key.into(), to_cel(&property.value));
            if let Some((first, _)) = key.split_once('.')
                && !map.contains_key(&CelMapKey::from(first))
                && let Some(inner) = self.below(&format!("{prefix}{first}"))
            {
                map.insert(first.into(), Box::new(inner));
            }
        }
        if namespace == "msg" {
            for key in ["type", "origin", "id"] {
                let value = self.own(&format!("msg.{key}"));
                map.extend(value.map(|value| (CelMapKey::from(key.to_owned()), value)));
            }
        }
        (!map.is_empty()).then(|| CelMap::from(map))
    }
}

impl VariableResolver for Facts<'_> {
    /// Asked for the longest name first: `http.method` before `http`.
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let promoted = || self.message.context.promoted(name).map(to_cel);
        let namespace = || {
            self.below(name)
                .map(|map| -> Box<dyn Val + 'b> { Box::new(map) })
        };
        self.own(name)
            .or_else(promoted)
            .or_else(namespace)
            .map(CowVal::Owned)
    }
}

impl fmt::Debug for Facts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Facts({})", self.message.id)
    }
}

/// A value in a form in which equal values are equal texts, whatever numeric type they have.
#[must_use]
pub fn comparable(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("s:{text}"),
        Value::Integer(number) => format!("n:{number}"),
        Value::Decimal(decimal) => format!("n:{}", decimal.to_f64()),
        Value::Boolean(truth) => format!("b:{truth}"),
        Value::Time(time) => format!("s:{time}"),
    }
}

/// A value as a filter writes it.
#[must_use]
pub fn written(value: &Value) -> String {
    match value {
        Value::Text(_) | Value::Time(_) => format!("'{value}'"),
        Value::Integer(_) | Value::Decimal(_) | Value::Boolean(_) => value.to_string(),
    }
}

fn text(text: &str) -> Box<dyn Val + '_> {
    Box::new(CelString::from(text))
}

fn to_cel(value: &Value) -> Box<dyn Val + '_> {
    match value {
        Value::Text(value) => text(value),
        Value::Integer(number) => Box::new(CelInt::from(*number)),
        Value::Decimal(decimal) => Box::new(CelDouble::from(decimal.to_f64())),
        Value::Boolean(truth) => Box::new(CelBool::from(*truth)),
        Value::Time(time) => Box::new(CelString::from(time.to_string())),
    }
}

fn environment() -> Arc<Env> {
    static ENVIRONMENT: OnceLock<Arc<Env>> = OnceLock::new();
    Arc::clone(ENVIRONMENT.get_or_init(|| Arc::new(Env::stdlib())))
}
