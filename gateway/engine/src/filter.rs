//! Filters: CEL over the properties of a message.
//!
//! `msg.type`, `msg.origin` and `msg.id` are the message's own; what an application promotes is a
//! variable of that name (`Total`); namespaced properties are fields of their namespace
//! (`http.method`, `file.name`, `http.header['x-request-id']`). Decimals compare as the nearest binary
//! number, as literals do. Only promoted properties are seen. A filter that names what a message does
//! not have does not match it: that is never an error for the sender.

use std::{collections::HashMap, fmt, sync::Arc};

use cel::{
    Env, Program, Value as Cel,
    common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators},
    objects::Key,
};
use quayside_model::{Message, Value};

/// A compiled filter. Two are equal if their texts are.
#[derive(Clone)]
pub struct Filter {
    source: Arc<str>,
    program: Arc<Program>,
    equalities: Vec<Equality>,
    /// Whether the equalities are all that it asks for, so that they decide alone.
    only_equalities: bool,
}

/// A term `property == literal` that has to hold for the filter to match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equality {
    /// The property, such as `msg.type` or `Country`.
    pub property: String,
    /// The literal in the form of [`comparable`].
    pub literal: String,
}

/// The text is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FilterError {
    /// What is wrong.
    pub message: String,
    /// The line in the text, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
}

impl Filter {
    /// Compiles `source`.
    ///
    /// # Errors
    /// [`FilterError`] at the first fault.
    pub fn compile(source: &str) -> Result<Self, FilterError> {
        let program = Program::compile(source).map_err(|errors| {
            let first = errors.errors.into_iter().next();
            let (line, column) = first.as_ref().map_or((1, 1), |e| e.pos);
            FilterError {
                message: first.map_or_else(|| "not an expression".to_owned(), |e| e.msg),
                line: usize::try_from(line).unwrap_or(1).max(1),
                column: usize::try_from(column).unwrap_or(1).max(1),
            }
        })?;
        let mut equalities = Vec::new();
        let only_equalities = collect(program.expression(), &mut equalities);
        Ok(Self {
            source: source.into(),
            program: Arc::new(program),
            equalities,
            only_equalities,
        })
    }

    /// Its text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The variables that it names: `msg`, namespaces and promoted properties.
    #[must_use]
    pub fn references(&self) -> Vec<String> {
        let references = self.program.references();
        let mut names: Vec<String> = references
            .variables()
            .into_iter()
            .map(str::to_owned)
            .collect();
        names.sort_unstable();
        names
    }

    /// The terms that have to hold, for an index.
    #[must_use]
    pub fn equalities(&self) -> &[Equality] {
        &self.equalities
    }

    /// Whether the message fits.
    #[must_use]
    pub fn matches(&self, facts: &Facts<'_>) -> bool {
        let equal = self.equalities.iter().all(|term| {
            facts
                .comparable(&term.property)
                .is_some_and(|value| value == term.literal)
        });
        equal && (self.only_equalities || facts.evaluate(&self.program))
    }
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Filter {}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({:?})", self.source)
    }
}

/// Collects the equality terms of a chain of `&&`. Returns whether there was nothing else in it.
fn collect(expression: &IdedExpr, equalities: &mut Vec<Equality>) -> bool {
    let Expr::Call(call) = &expression.expr else {
        return false;
    };
    match (call.func_name.as_str(), call.args.as_slice()) {
        (operators::LOGICAL_AND, [left, right]) => {
            // Both sides are looked at, whatever the first one is.
            collect(left, equalities) & collect(right, equalities)
        }
        (operators::EQUALS, _) => match equality(call) {
            Some(term) => {
                equalities.push(term);
                true
            }
            None => false,
        },
        _ => false,
    }
}

fn equality(call: &CallExpr) -> Option<Equality> {
    let [left, right] = call.args.as_slice() else {
        return None;
    };
    let term = |name: &IdedExpr, value: &IdedExpr| {
        Some(Equality {
            property: property(&name.expr)?,
            literal: literal(&value.expr)?,
        })
    };
    term(left, right).or_else(|| term(right, left))
}

/// `Country`, `msg.type`, `http.method`; nothing deeper, whose names could be read in two ways.
fn property(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => match &select.operand.expr {
            Expr::Ident(namespace) => Some(format!("{namespace}.{}", select.field)),
            _ => None,
        },
        _ => None,
    }
}

fn literal(expression: &Expr) -> Option<String> {
    let Expr::Literal(literal) = expression else {
        return None;
    };
    match literal {
        LiteralValue::String(text) => Some(format!("s:{}", text.inner())),
        LiteralValue::Int(number) => Some(format!("n:{}", number.inner())),
        LiteralValue::Double(number) => Some(format!("n:{}", number.inner())),
        LiteralValue::Boolean(truth) => Some(format!("b:{}", truth.inner())),
        _ => None,
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

/// A message as filters see it. Made once for all filters that look at it.
pub struct Facts<'m> {
    message: &'m Message,
    context: std::cell::OnceCell<cel::Context<'static, 'static>>,
}

impl<'m> Facts<'m> {
    /// The facts of `message`.
    #[must_use]
    pub fn new(message: &'m Message) -> Self {
        Self {
            message,
            context: std::cell::OnceCell::new(),
        }
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

    fn evaluate(&self, program: &Program) -> bool {
        let context = self.context.get_or_init(|| variables(self.message));
        matches!(program.execute(context), Ok(Cel::Bool(true)))
    }
}

impl fmt::Debug for Facts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Facts({})", self.message.id)
    }
}

fn environment() -> Arc<Env> {
    static ENVIRONMENT: std::sync::OnceLock<Arc<Env>> = std::sync::OnceLock::new();
    Arc::clone(ENVIRONMENT.get_or_init(|| Arc::new(Env::stdlib())))
}

/// Nested maps for names with dots, so that `http.header['x']` finds `http.header.x`.
enum Node {
    Leaf(Cel),
    Branch(HashMap<String, Node>),
}

fn variables(message: &Message) -> cel::Context<'static, 'static> {
    let mut root: HashMap<String, Node> = HashMap::new();
    let text = |text: &str| Cel::from(text);
    insert(&mut root, "msg.origin", text(&message.origin));
    insert(&mut root, "msg.id", text(&message.id.to_string()));
    if let Some(message_type) = &message.message_type {
        insert(&mut root, "msg.type", text(message_type));
    }
    for (name, property) in message.context.iter().filter(|(_, p)| p.promoted) {
        insert(&mut root, name, to_cel(&property.value));
    }
    let mut context = cel::Context::with_env(environment());
    for (name, node) in root {
        context.add_variable_from_value(name, node.into_cel());
    }
    context
}

fn insert(root: &mut HashMap<String, Node>, name: &str, value: Cel) {
    // The third piece keeps its dots: header names may hold some.
    let mut pieces = name.splitn(3, '.');
    let (first, rest): (_, Vec<&str>) = (pieces.next().unwrap_or(name), pieces.collect());
    let mut place = root;
    let mut key = first;
    for next in rest {
        let branch = place
            .entry(key.to_owned())
            .or_insert_with(|| Node::Branch(HashMap::new()));
        // A property and a namespace of one name: the namespace wins, whatever the order was.
        if matches!(branch, Node::Leaf(_)) {
            *branch = Node::Branch(HashMap::new());
        }
        let Node::Branch(inner) = branch else { return };
        place = inner;
        key = next;
    }
    place.entry(key.to_owned()).or_insert(Node::Leaf(value));
}

impl Node {
    fn into_cel(self) -> Cel {
        match self {
            Self::Leaf(value) => value,
            Self::Branch(inner) => {
                let map: HashMap<Key, Cel> = inner
                    .into_iter()
                    .map(|(name, node)| (Key::from(name), node.into_cel()))
                    .collect();
                Cel::from(map)
            }
        }
    }
}

fn to_cel(value: &Value) -> Cel {
    match value {
        Value::Text(text) => Cel::from(&**text),
        Value::Integer(number) => Cel::Int(*number),
        Value::Decimal(decimal) => Cel::Float(decimal.to_f64()),
        Value::Boolean(truth) => Cel::Bool(*truth),
        Value::Time(time) => Cel::from(time.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use quayside_model::{Name, Text};

    use super::*;
    use crate::routing::tests::message;

    fn sample() -> Message {
        let mut message = message("urn:orders#Order");
        let context = &mut message.context;
        context.promote_text("Country", "DE");
        context.promote_text("http.method", "POST");
        context.promote_text("http.header.x-request-id", "r1");
        context.promote_text("http.header.x.y", "dotted");
        let name = |text: &str| Name::new(text).expect("a name");
        context.promote(
            name("Total"),
            Value::Decimal("99.5".parse().expect("a decimal")),
        );
        context.promote(name("Count"), Value::Integer(3));
        context.promote(name("Urgent"), Value::Boolean(true));
        context.write(name("Hidden"), Text::lossy("x"));
        message
    }

    #[test]
    fn properties_are_seen_as_documented() {
        let message = sample();
        let facts = Facts::new(&message);
        for (source, expected) in [
            ("msg.type == 'urn:orders#Order' && Total < 100000.0", true),
            ("msg.type == 'urn:orders#Order' && Total < 100000", true),
            ("Total == 99.5", true),
            ("99.5 == Total && Country == 'DE'", true),
            ("Total > 99.5", false),
            ("Count == 3 && Urgent", true),
            ("Count == 3.0", true),
            ("Urgent == false", false),
            ("Country in ['DE', 'AT']", true),
            ("Country.startsWith('D') || Country == 'FR'", true),
            ("http.method == 'POST'", true),
            ("http.header['x-request-id'] == 'r1'", true),
            ("http.header['x.y'] == 'dotted'", true),
            ("Hidden == 'x'", false),
            ("Nothing == 'x'", false),
            ("Nothing != 'x'", false),
            ("has(http.nothing)", false),
            ("!(Country == 'DE')", false),
            ("Country", false),
            ("true", true),
        ] {
            let filter = Filter::compile(source).expect(source);
            assert_eq!(filter.matches(&facts), expected, "{source}");
        }
    }

    #[test]
    fn equality_terms_are_found_in_chains_only() {
        let terms = |source: &str| -> Vec<String> {
            let filter = Filter::compile(source).expect(source);
            filter
                .equalities()
                .iter()
                .map(|e| format!("{}={}", e.property, e.literal))
                .collect()
        };
        assert_eq!(
            terms("msg.type == 'a' && (Total > 1.0 && Country == 'DE')"),
            ["msg.type=s:a", "Country=s:DE"]
        );
        assert!(terms("Country == 'DE' || Country == 'AT'").is_empty());
        assert!(terms("!(Country == 'DE')").is_empty());
    }

    #[test]
    fn a_fault_has_a_place() {
        let error = Filter::compile("Total <\n < 5").expect_err("no filter");
        assert_eq!(error.line, 2, "{error:?}");
    }
}
