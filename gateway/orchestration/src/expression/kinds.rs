//! Of what kind an expression is, and where things of different kinds meet in it. What cannot be told
//! counts as right.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators};
use quayside_model::Code;

use crate::codes;

/// Of what kind a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text; times are text too.
    Text,
    /// A whole number.
    Whole,
    /// A number with a fraction.
    Number,
    /// True or false.
    Truth,
    /// A list.
    List,
    /// It cannot be told.
    Any,
}

impl Kind {
    pub(crate) fn in_words(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Whole => "a whole number",
            Self::Number => "a decimal number",
            Self::Truth => "true or false",
            Self::List => "a list",
            Self::Any => "anything",
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Self::Whole | Self::Number)
    }

    /// Whether a value of this kind can stand where `wanted` belongs.
    pub(crate) fn is(self, wanted: Self) -> bool {
        self == wanted || self == Self::Any || wanted == Self::Any
    }

    /// Whether the two can be compared.
    fn meets(self, other: Self) -> bool {
        self.is(other) || (self.is_number() && other.is_number())
    }
}

/// The functions that there are, beside the macros and those that read documents.
pub(super) const FUNCTIONS: &[&str] = &[
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

/// A fault, with the place of the parser.
pub(super) struct Finding {
    pub(super) id: u64,
    pub(super) code: Code,
    pub(super) message: String,
    /// The function that does not exist.
    pub(super) function: Option<String>,
}

/// Finds kinds. `named` tells that of a name, and remembers a fault itself.
pub(super) struct Kinds<'a> {
    pub(super) named: &'a mut dyn FnMut(&str, u64) -> Kind,
    pub(super) faults: Vec<Finding>,
    pub(super) bound: Vec<String>,
    pub(super) nodes: u64,
    pub(super) loops: u32,
    pub(super) deepest: u32,
}

impl Kinds<'_> {
    pub(super) fn of(&mut self, expression: &IdedExpr) -> Kind {
        self.nodes += 1;
        if let Some(name) = qualified(&expression.expr) {
            let first = name.split('.').next().unwrap_or_default();
            let bound =
                first.starts_with('@') && !first.starts_with("@d") && !first.starts_with("@h");
            if bound || self.bound.iter().any(|b| b == first) {
                return Kind::Any;
            }
            return (self.named)(&name, root(expression));
        }
        match &expression.expr {
            Expr::Literal(literal) => literal_kind(literal),
            Expr::List(list) => {
                for element in &list.elements {
                    self.of(element);
                }
                Kind::List
            }
            Expr::Call(call) => self.call(expression.id, call),
            Expr::Comprehension(comprehension) => self.comprehension(expression.id, comprehension),
            // `has(http.method)`, of what is no message of ours.
            Expr::Select(select) if select.test => {
                match qualified(&select.operand.expr) {
                    Some(name) => {
                        let name = format!("{name}.{}", select.field);
                        (self.named)(&name, root(&select.operand));
                    }
                    None => {
                        self.of(&select.operand);
                    }
                }
                Kind::Truth
            }
            Expr::Select(select) => {
                self.of(&select.operand);
                Kind::Any
            }
            Expr::Ident(_) => Kind::Any,
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                let message = "maps and structures have no place in an orchestration";
                self.fault_of(expression.id, codes::EXPRESSION, message);
                Kind::Any
            }
        }
    }

    fn fault(&mut self, id: u64, message: impl Into<String>) {
        self.fault_of(id, codes::TYPE, message);
    }

    fn fault_of(&mut self, id: u64, code: Code, message: impl Into<String>) {
        let message = message.into();
        self.faults.push(Finding {
            id,
            code,
            message,
            function: None,
        });
    }

    fn call(&mut self, id: u64, call: &CallExpr) -> Kind {
        let target = call.target.as_deref().map(|t| (self.of(t), t.id));
        let args: Vec<(Kind, u64)> = call.args.iter().map(|a| (self.of(a), a.id)).collect();
        match (call.func_name.as_str(), args.as_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT, parts) => {
                for (kind, at) in parts {
                    self.condition(*kind, *at);
                }
                Kind::Truth
            }
            (operators::CONDITIONAL, [(first, at), (yes, _), (no, _)]) => {
                self.condition(*first, *at);
                match (yes, no) {
                    (a, b) if a == b => *a,
                    (a, b) if a.meets(*b) => Kind::Any,
                    (a, b) => {
                        let message = format!(
                            "both results have to be of one kind, not {} and {}",
                            a.in_words(),
                            b.in_words()
                        );
                        self.fault(id, message);
                        Kind::Any
                    }
                }
            }
            (operators::EQUALS | operators::NOT_EQUALS, [(a, _), (b, _)]) => {
                self.compared(id, *a, *b, true);
                Kind::Truth
            }
            (
                operators::LESS
                | operators::LESS_EQUALS
                | operators::GREATER
                | operators::GREATER_EQUALS,
                [(a, _), (b, _)],
            ) => {
                self.compared(id, *a, *b, false);
                Kind::Truth
            }
            (operators::IN, [_, (list, at)]) => {
                self.wanted(*list, *at, Kind::List);
                let written = call.args.last();
                if !written.is_some_and(|list| matches!(list.expr, Expr::List(_))) {
                    // It goes through the list as a loop does.
                    self.deepest = self.deepest.max(self.loops + 1);
                }
                Kind::Truth
            }
            (operators::ADD, [(a, _), (b, _)]) => self.sum(id, *a, *b),
            (operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE, [(a, _), (b, _)]) => {
                self.arithmetic(id, *a, *b)
            }
            (operators::MODULO, [(a, at), (b, bt)]) => {
                self.wanted(*a, *at, Kind::Whole);
                self.wanted(*b, *bt, Kind::Whole);
                Kind::Whole
            }
            (operators::NEGATE, [(kind, at)]) => {
                if !kind.is_number() && *kind != Kind::Any {
                    self.fault(*at, format!("{} has no sign", kind.in_words()));
                }
                *kind
            }
            (operators::INDEX, [(kind, at), (index, index_at)]) => {
                self.wanted(*kind, *at, Kind::List);
                self.wanted(*index, *index_at, Kind::Whole);
                Kind::Any
            }
            (name, args) => self.function(id, name, call, target, args),
        }
    }

    fn function(
        &mut self,
        id: u64,
        name: &str,
        call: &CallExpr,
        target: Option<(Kind, u64)>,
        args: &[(Kind, u64)],
    ) -> Kind {
        let all: Vec<(Kind, u64)> = target.into_iter().chain(args.iter().copied()).collect();
        match (name, all.as_slice()) {
            ("size", [(kind, at)]) => {
                if !kind.is(Kind::List) && !kind.is(Kind::Text) {
                    self.fault(*at, format!("{} has no size", kind.in_words()));
                }
                Kind::Whole
            }
            ("string", [_]) => Kind::Text,
            ("int", [_]) => Kind::Whole,
            ("double", [_]) => Kind::Number,
            ("bool", [_]) => Kind::Truth,
            ("startsWith" | "endsWith" | "contains" | "matches", [_, _]) => {
                for (kind, at) in &all {
                    self.wanted(*kind, *at, Kind::Text);
                }
                // A pattern out of a message could be built to cost time and memory.
                let literal = call
                    .args
                    .last()
                    .is_some_and(|a| matches!(&a.expr, Expr::Literal(LiteralValue::String(_))));
                if name == "matches" && !literal {
                    self.fault(
                        id,
                        "the pattern of `matches` has to be written out, in quotes",
                    );
                }
                Kind::Truth
            }
            (name, all) if FUNCTIONS.contains(&name) => {
                self.fault(id, format!("`{name}` does not take {} values", all.len()));
                Kind::Any
            }
            (name, _) if name.starts_with(['_', '@', '!', '-']) => Kind::Any,
            (name, _) => {
                self.faults.push(Finding {
                    id,
                    code: codes::EXPRESSION,
                    message: format!("there is no function `{name}`"),
                    function: Some(name.to_owned()),
                });
                Kind::Any
            }
        }
    }

    fn comprehension(&mut self, id: u64, c: &ComprehensionExpr) -> Kind {
        let range = self.of(&c.iter_range);
        self.wanted(range, c.iter_range.id, Kind::List);
        self.loops += 1;
        self.deepest = self.deepest.max(self.loops);
        if self.loops == crate::limits::EXPRESSION_LOOPS + 1 {
            let message = "`map`, `filter`, `all` and `exists` nest too deep";
            self.fault_of(id, codes::COST, message);
        }
        let outside = self.bound.len();
        self.bound.extend([c.iter_var.clone(), c.accu_var.clone()]);
        self.bound.extend(c.iter_var2.clone());
        let kind = match &c.accu_init.expr {
            Expr::List(_) => Kind::List,
            _ => Kind::Truth,
        };
        for part in [&c.accu_init, &c.loop_cond, &c.loop_step, &c.result] {
            self.of(part);
        }
        self.bound.truncate(outside);
        self.loops -= 1;
        kind
    }

    fn wanted(&mut self, kind: Kind, at: u64, wanted: Kind) {
        if !kind.is(wanted) {
            self.fault(
                at,
                format!(
                    "{} stands here, where {} belongs",
                    kind.in_words(),
                    wanted.in_words()
                ),
            );
        }
    }

    fn condition(&mut self, kind: Kind, at: u64) {
        if !kind.is(Kind::Truth) {
            self.fault(
                at,
                format!("{} stands here, where a condition belongs", kind.in_words()),
            );
        }
    }

    fn compared(&mut self, id: u64, a: Kind, b: Kind, equality: bool) {
        let ordered = equality || !(a == Kind::List || b == Kind::List);
        if !a.meets(b) || !ordered {
            self.fault(
                id,
                format!("{} is compared with {}", a.in_words(), b.in_words()),
            );
        }
    }

    fn sum(&mut self, id: u64, a: Kind, b: Kind) -> Kind {
        match (a, b) {
            (Kind::Any, other) | (other, Kind::Any) => other,
            (Kind::Text, Kind::Text) | (Kind::List, Kind::List) => a,
            _ => self.arithmetic(id, a, b),
        }
    }

    fn arithmetic(&mut self, id: u64, a: Kind, b: Kind) -> Kind {
        match (a, b) {
            (Kind::Whole, Kind::Whole) | (Kind::Number, Kind::Number) => a,
            (Kind::Any, other) | (other, Kind::Any) if other == Kind::Any || other.is_number() => {
                other
            }
            (a, b) if a.is_number() && b.is_number() => {
                self.fault(id, "a whole and a decimal number are combined: write `1.0` for `1`, or convert one with `double()`");
                Kind::Number
            }
            (a, b) => {
                self.fault(
                    id,
                    format!(
                        "{} and {} cannot be combined like this",
                        a.in_words(),
                        b.in_words()
                    ),
                );
                Kind::Any
            }
        }
    }
}

fn literal_kind(literal: &LiteralValue) -> Kind {
    match literal {
        LiteralValue::String(_) => Kind::Text,
        LiteralValue::Int(_) | LiteralValue::UInt(_) => Kind::Whole,
        LiteralValue::Double(_) => Kind::Number,
        LiteralValue::Boolean(_) => Kind::Truth,
        LiteralValue::Bytes(_) | LiteralValue::Null => Kind::Any,
    }
}

/// The place at which a name begins: that of a selection is its dot.
fn root(expression: &IdedExpr) -> u64 {
    match &expression.expr {
        Expr::Select(select) => root(&select.operand),
        _ => expression.id,
    }
}

/// `a.b.c` of an identifier or of fields selected from one.
pub(super) fn qualified(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => Some(format!(
            "{}.{}",
            qualified(&select.operand.expr)?,
            select.field
        )),
        _ => None,
    }
}
