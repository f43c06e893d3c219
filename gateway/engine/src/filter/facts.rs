//! A message as filters see it.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock},
};

use cel::{
    Context, Env, IdedExpr, Value as Cel,
    common::{
        types::{CelBool, CelDouble, CelInt, CelMap, CelMapKey, CelString},
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use quayside_model::{Message, Value};

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
        let mut context = Context::with_env(environment());
        context.set_variable_resolver(self);
        // An error is a variable that is missing or of another type: no match.
        matches!(Cel::resolve(expression, &context), Ok(Cel::Bool(true)))
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
