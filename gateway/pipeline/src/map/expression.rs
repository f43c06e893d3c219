//! CEL in maps: over values that a field names, parameters and properties.
//!
//! No loops, so the work is bounded by the text of the expression. All numbers are binary ones: the language has whole ones too
//! and refuses to add both, which in a map would depend on how a sender writes a number.

use std::sync::{Arc, OnceLock};

use cel::{
    Context, Env, IdedExpr, Program, Value as Cel,
    common::{
        ast::{CallExpr, Expr, LiteralValue, operators},
        types::{CelBool, CelDouble, CelList, CelString},
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use quayside_model::Name;

use super::{
    defect::{Defects, Place, shown},
    limits,
    scalar::{self, Scalar},
    toml::Node,
    work::Stop,
};
use crate::codes;

/// The functions that there are.
const FUNCTIONS: [&str; 9] = [
    "bool",
    "contains",
    "double",
    "endsWith",
    "int",
    "matches",
    "size",
    "startsWith",
    "string",
];

/// The longest pattern of `matches`, in bytes.
const PATTERN_BYTES: usize = 256;

/// What a name in an expression stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ref {
    /// A value of the field's own `with`, by its number.
    With(usize),
    /// A parameter, by its number.
    Param(usize),
    /// A property of the message.
    Property(Name),
}

/// A compiled expression.
#[derive(Debug, Clone)]
pub(super) struct Expression {
    source: String,
    tree: IdedExpr,
    refs: Vec<(String, Ref)>,
    /// What `has()` asks for; `@hN` in the tree.
    asks: Vec<Ref>,
}

/// The names that an expression can use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'n> {
    pub(super) with: &'n [String],
    pub(super) params: &'n [Name],
}

/// What a name stands for while an expression is evaluated: nothing, or values and whether they are a list.
pub(super) type Given = Option<(Vec<Scalar>, bool)>;

/// What an expression came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A name in it has no value.
    Nothing,
    One(Scalar),
    List(Vec<Scalar>),
}

impl Expression {
    /// Compiles the expression in the text `source` at `node`.
    pub(super) fn compile(
        node: &Node,
        source: &str,
        names: Names<'_>,
        defects: &mut Defects,
    ) -> Option<Self> {
        if source.len() > limits::EXPRESSION_BYTES {
            let message = format!(
                "an expression has {} bytes at most",
                limits::EXPRESSION_BYTES
            );
            defects.add(node.at, codes::MAP_TOO_LARGE, message);
            return None;
        }
        let program = match Program::compile(source) {
            Ok(program) => program,
            Err(errors) => {
                let first = errors.errors.into_iter().next();
                let (at, message) = first.map_or((0, String::new()), |error| {
                    (offset(source, error.pos), in_words(&error.msg))
                });
                defects.add(node.place_in(source, at), codes::MAP_EXPRESSION, message);
                return None;
            }
        };
        let at = |id: u64| {
            let characters = program
                .source_info()
                .offset_for(id)
                .map_or(0, |(at, _)| at as usize);
            let bytes = source.char_indices().nth(characters);
            node.place_in(source, bytes.map_or(source.len(), |(at, _)| at))
        };
        let mut tree = program.expression().clone();
        let mut resolve = Resolve {
            names,
            refs: Vec::new(),
            asks: Vec::new(),
            at: &at,
            defects,
            faults: 0,
        };
        resolve.tree(&mut tree);
        let Resolve {
            refs, asks, faults, ..
        } = resolve;
        (faults == 0).then(|| Self {
            source: source.to_owned(),
            tree,
            refs,
            asks,
        })
    }

    /// What it comes to, with what `known` tells of names.
    ///
    /// # Errors
    /// That its values do not fit together.
    pub(super) fn evaluate(
        &self,
        known: &mut dyn FnMut(&Ref) -> Result<Given, Stop>,
    ) -> Result<Outcome, Stop> {
        let mut values: Vec<(String, Given)> = Vec::new();
        for (name, what) in &self.refs {
            let given = known(what)?;
            let items = given.iter().flat_map(|(items, _)| items);
            let bytes: usize = items.map(|value| value.text().len()).sum();
            if bytes > limits::EXPRESSION_TEXT {
                let most = limits::EXPRESSION_TEXT;
                let detail = format!(
                    "`{}` is longer than {most} bytes, which is too long for an expression",
                    shown(name)
                );
                return Err(Stop::new(codes::MAP_EVALUATION, detail));
            }
            values.push((name.clone(), given));
        }
        for (number, what) in self.asks.iter().enumerate() {
            let truth = Scalar::Boolean(known(what)?.is_some());
            values.push((format!("@h{number}"), Some((vec![truth], false))));
        }
        let resolver = Values(&values);
        let mut context = Context::with_env(environment());
        context.set_variable_resolver(&resolver);
        let failed = |why: String| {
            let detail = format!("`{}`: {why}", shown(&self.source));
            Stop::new(codes::MAP_EVALUATION, detail)
        };
        match Cel::resolve(&self.tree, &context) {
            Ok(value) => from_cel(&value).map_err(failed),
            // Every name in the tree is known, so that one of them has no value.
            Err(cel::ExecutionError::UndeclaredReference(_)) => Ok(Outcome::Nothing),
            Err(error) => Err(failed(reason(&error))),
        }
    }
}

impl Expression {
    /// What it costs to evaluate, in units of work.
    pub(super) fn cost(&self) -> u64 {
        // Each name may stand for a text that is copied and looked through.
        let names = self.refs.len() as u64;
        1 + self.source.len() as u64 / 4 + names * 16
    }
}

/// The byte at the line and column that the parser tells, both from 1.
fn offset(source: &str, (line, column): (isize, isize)) -> usize {
    let skipped = usize::try_from(line - 1).unwrap_or(0);
    let start: usize = source
        .split_inclusive('\n')
        .take(skipped)
        .map(str::len)
        .sum();
    let column = usize::try_from(column - 1).unwrap_or(0);
    let within = source[start..].char_indices().nth(column);
    within.map_or(source.len(), |(at, _)| start + at)
}

/// Turns every name into one identifier, and finds what it stands for.
struct Resolve<'a> {
    names: Names<'a>,
    refs: Vec<(String, Ref)>,
    asks: Vec<Ref>,
    at: &'a dyn Fn(u64) -> Place,
    defects: &'a mut Defects,
    faults: usize,
}

impl Resolve<'_> {
    fn tree(&mut self, expression: &mut IdedExpr) {
        if let Some(name) = qualified(&expression.expr) {
            let place = (self.at)(root(expression));
            if let Some(what) = self.find(&name, place)
                && !self.refs.iter().any(|(known, _)| *known == name)
            {
                self.refs.push((name.clone(), what));
            }
            expression.expr = Expr::Ident(name);
            return;
        }
        let id = expression.id;
        let mut asked = None;
        match &mut expression.expr {
            Expr::Call(call) => {
                self.function(id, &call.func_name, call.args.last());
                // Positions and remainders are of whole numbers.
                let whole = matches!(call.func_name.as_str(), operators::INDEX | operators::MODULO);
                let target = call.target.as_deref_mut().into_iter();
                target.chain(&mut call.args).for_each(|part| {
                    self.tree(part);
                    if !whole {
                        as_binary(part);
                    }
                });
            }
            Expr::List(list) => list.elements.iter_mut().for_each(|part| {
                self.tree(part);
                as_binary(part);
            }),
            Expr::Select(select) if select.test => {
                let name = qualified(&select.operand.expr);
                let name = name.map(|operand| format!("{operand}.{}", select.field));
                let place = (self.at)(root(&select.operand));
                if let Some(what) = name.and_then(|name| self.find(&name, place)) {
                    self.asks.push(what);
                    asked = Some(Expr::Ident(format!("@h{}", self.asks.len() - 1)));
                }
            }
            Expr::Literal(LiteralValue::Bytes(_)) | Expr::Map(_) | Expr::Struct(_) | Expr::Select(_) => {
                self.fault(id, "maps, structures and bytes have no place in a map");
            }
            Expr::Comprehension(_) => self.fault(
                id,
                "`all`, `exists`, `filter` and `map` have no place in a map: use `repeat`, or `in` with a list",
            ),
            _ => {}
        }
        if let Some(asked) = asked {
            expression.expr = asked;
        }
    }

    fn find(&mut self, name: &str, place: Place) -> Option<Ref> {
        let (first, rest) = name.split_once('.').unwrap_or((name, ""));
        if rest.is_empty() {
            let number = self.names.with.iter().position(|known| known == name);
            if number.is_none() {
                let message = format!("`with` has no value `{}`", shown(name));
                let known = self.names.with.iter().map(String::as_str);
                let others = ["param.NAME", "property.NAME"];
                self.unknown(place, message, name, &mut known.chain(others));
            }
            return number.map(Ref::With);
        }
        match first {
            "param" => {
                let number = self.names.params.iter().position(|known| *known == *rest);
                if number.is_none() {
                    let message = format!("there is no parameter `{}`", shown(rest));
                    let known = self.names.params.iter().map(Name::as_str);
                    self.unknown(place, message, rest, &mut { known });
                }
                number.map(Ref::Param)
            }
            "property" => match Name::new(rest) {
                Ok(name) => Some(Ref::Property(name)),
                Err(error) => {
                    self.faults += 1;
                    self.defects.add(place, codes::MAP_NAME, error.to_string());
                    None
                }
            },
            _ => {
                let message = format!("`{}` stands for nothing", shown(name));
                self.unknown(
                    place,
                    message,
                    first,
                    &mut ["param", "property"].into_iter(),
                );
                None
            }
        }
    }

    fn unknown(
        &mut self,
        place: Place,
        message: String,
        name: &str,
        known: &mut dyn Iterator<Item = &str>,
    ) {
        self.faults += 1;
        self.defects
            .unknown(place, codes::MAP_NAME, message, name, known);
    }

    fn function(&mut self, id: u64, name: &str, last: Option<&IdedExpr>) {
        if name.starts_with(['_', '@', '!', '-']) || name == operators::NEGATE {
            return;
        }
        if !FUNCTIONS.contains(&name) {
            let message = format!("there is no function `{}`", shown(name));
            self.faults += 1;
            let place = (self.at)(id);
            self.defects
                .unknown(place, codes::MAP_EXPRESSION, message, name, FUNCTIONS);
        }
        // A pattern out of a message could be built to cost time and memory.
        let written = last.is_some_and(|arg| match &arg.expr {
            Expr::Literal(LiteralValue::String(pattern)) => pattern.inner().len() <= PATTERN_BYTES,
            _ => false,
        });
        if name == "matches" && !written {
            let message = format!(
                "the pattern of `matches` is written out, in quotes, with {PATTERN_BYTES} bytes at most"
            );
            self.fault(id, &message);
        }
    }

    fn fault(&mut self, id: u64, message: &str) {
        self.faults += 1;
        self.defects
            .add((self.at)(id), codes::MAP_EXPRESSION, message);
    }
}

/// Makes a binary number of what would be a whole one.
fn as_binary(part: &mut IdedExpr) {
    match &part.expr {
        Expr::Literal(LiteralValue::Int(number)) => {
            let number = *number.inner() as f64;
            part.expr = Expr::Literal(LiteralValue::Double(number.into()));
        }
        Expr::Call(call)
            if matches!(call.func_name.as_str(), "int" | "size" | operators::MODULO) =>
        {
            let inner = part.clone();
            part.expr = Expr::Call(CallExpr {
                func_name: "double".to_owned(),
                target: None,
                args: vec![inner],
            });
        }
        _ => {}
    }
}

/// `a.b.c` and `a['b.c']` of an identifier or of fields selected from one.
fn qualified(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Ident(name) if !name.starts_with('@') => Some(name.clone()),
        Expr::Select(select) if !select.test => {
            let operand = qualified(&select.operand.expr)?;
            Some(format!("{operand}.{}", select.field))
        }
        Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
            [
                map,
                IdedExpr {
                    expr: Expr::Literal(LiteralValue::String(key)),
                    ..
                },
            ] => Some(format!("{}.{}", qualified(&map.expr)?, key.inner())),
            _ => None,
        },
        _ => None,
    }
}

/// The place at which a name begins.
fn root(expression: &IdedExpr) -> u64 {
    match &expression.expr {
        Expr::Select(select) => root(&select.operand),
        Expr::Call(call) => call.args.first().map_or(expression.id, root),
        _ => expression.id,
    }
}

struct Values<'v>(&'v [(String, Given)]);

impl VariableResolver for Values<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let (_, given) = self.0.iter().find(|(known, _)| known == name)?;
        let (items, list) = given.as_ref()?;
        Some(CowVal::Owned(match items.as_slice() {
            [one] if !list => to_cel(one),
            items => Box::new(CelList::from(items.iter().map(to_cel).collect::<Vec<_>>())),
        }))
    }
}

fn to_cel(value: &Scalar) -> Box<dyn Val + '_> {
    match value {
        Scalar::Text(text) => Box::new(CelString::from(text.as_str())),
        Scalar::Boolean(truth) => Box::new(CelBool::from(*truth)),
        Scalar::Number(number) => {
            Box::new(CelDouble::from(number.parse::<f64>().unwrap_or(f64::NAN)))
        }
    }
}

fn from_cel(value: &Cel) -> Result<Outcome, String> {
    match value {
        Cel::Null => Ok(Outcome::Nothing),
        Cel::List(list) => list
            .iter()
            .map(one)
            .collect::<Result<_, _>>()
            .map(Outcome::List),
        value => one(value).map(Outcome::One),
    }
}

fn one(value: &Cel) -> Result<Scalar, String> {
    match value {
        Cel::Int(number) => Ok(Scalar::Number(number.to_string())),
        Cel::UInt(number) => Ok(Scalar::Number(number.to_string())),
        Cel::Float(number) => scalar::rounded(*number)
            .map(Scalar::Number)
            .ok_or_else(|| "it comes to what is no number".to_owned()),
        Cel::String(text) => Ok(Scalar::Text(text.to_string())),
        Cel::Bool(truth) => Ok(Scalar::Boolean(*truth)),
        _ => Err("it comes to what no document can hold".to_owned()),
    }
}

/// The reason without values of messages, which do not belong into logs.
fn reason(error: &cel::ExecutionError) -> String {
    match error {
        cel::ExecutionError::DivisionByZero(_) | cel::ExecutionError::RemainderByZero(_) => {
            "a number is divided by zero".to_owned()
        }
        cel::ExecutionError::Overflow(..) => "the number is too large".to_owned(),
        cel::ExecutionError::NoSuchOverload(error) => shown(&error.to_string()),
        _ => "its values do not fit together".to_owned(),
    }
}

/// What the parser says without the list of everything that could have stood there.
fn in_words(message: &str) -> String {
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message);
    let message = message.split(" expecting ").next().unwrap_or(message);
    if message.starts_with("token recognition error at: '=") {
        return "write `==` to compare".to_owned();
    }
    if message.contains("'<EOF>'") {
        return "the expression ends where something has to follow".to_owned();
    }
    message.replace("mismatched input", "this does not fit here:")
}

fn environment() -> Arc<Env> {
    static ENVIRONMENT: OnceLock<Arc<Env>> = OnceLock::new();
    Arc::clone(ENVIRONMENT.get_or_init(|| Arc::new(Env::stdlib())))
}
