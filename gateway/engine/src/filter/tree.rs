//! What can be told from the text of a filter alone: its faults, its references, its equality terms.

use std::collections::BTreeSet;

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators,
};

/// A term `property == literal` that has to hold for the filter to match.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Equality {
    /// The property, such as `msg.type` or `Country`.
    pub property: String,
    /// The literal in the form of [`comparable`](super::comparable).
    pub literal: String,
}

/// The functions of the standard environment, conversions included.
pub(super) const FUNCTIONS: &[&str] = &[
    "bool",
    "bytes",
    "contains",
    "double",
    "dyn",
    "endsWith",
    "int",
    "matches",
    "size",
    "startsWith",
    "string",
    "type",
    "uint",
];

/// Names that stand for types, not properties.
const TYPES: &[&str] = &[
    "bool",
    "bytes",
    "double",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
];

/// The operators whose result is no condition.
const NO_CONDITION: &[&str] = &[
    operators::ADD,
    operators::SUBSTRACT,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::NEGATE,
];

/// The first fault of an expression that was parsed, with the id of its place.
pub(super) fn fault(expression: &IdedExpr) -> Option<(u64, String)> {
    let condition = match &expression.expr {
        Expr::Call(call) => !NO_CONDITION.contains(&call.func_name.as_str()),
        Expr::Literal(literal) => matches!(literal, LiteralValue::Boolean(_)),
        Expr::List(_) | Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => false,
        Expr::Ident(_) | Expr::Select(_) | Expr::Comprehension(_) => true,
    };
    if !condition {
        return Some((
            expression.id,
            "a filter is a condition, true or false".to_owned(),
        ));
    }
    unknown_function(expression)
}

fn unknown_function(expression: &IdedExpr) -> Option<(u64, String)> {
    if let Expr::Call(call) = &expression.expr {
        let name = call.func_name.as_str();
        // The names of operators have characters that the name of a function cannot have.
        let function = name.chars().all(|c| c.is_alphanumeric() || c == '_')
            && name.starts_with(char::is_alphabetic);
        if function && !FUNCTIONS.contains(&name) {
            return Some((expression.id, format!("there is no function `{name}`")));
        }
    }
    children(expression).into_iter().find_map(unknown_function)
}

/// The same expression with `http.header['x']` turned into the name `http.header.x`, which is looked up
/// without a map of all headers and can be indexed. Inside of a comprehension `a['b']` may be a field
/// of its variable, so those stay as they are.
pub(super) fn direct(expression: &IdedExpr) -> IdedExpr {
    let Expr::Call(call) = &expression.expr else {
        return expression.clone();
    };
    let expr = match (call.func_name.as_str(), call.args.as_slice()) {
        (operators::INDEX, [map, key]) if let Some(name) = field(map, key) => Expr::Ident(name),
        _ => Expr::Call(CallExpr {
            func_name: call.func_name.clone(),
            target: call
                .target
                .as_deref()
                .map(|target| Box::new(direct(target))),
            args: call.args.iter().map(direct).collect(),
        }),
    };
    IdedExpr {
        id: expression.id,
        expr,
    }
}

fn field(map: &IdedExpr, key: &IdedExpr) -> Option<String> {
    let Expr::Literal(LiteralValue::String(key)) = &key.expr else {
        return None;
    };
    Some(format!("{}.{}", qualified(&map.expr)?, key.inner()))
}

/// The properties that `expression` names, sorted.
pub(super) fn references(expression: &IdedExpr) -> Vec<String> {
    let mut names = BTreeSet::new();
    refer(expression, &mut Vec::new(), &mut names);
    names.into_iter().collect()
}

fn refer<'e>(expression: &'e IdedExpr, bound: &mut Vec<&'e str>, names: &mut BTreeSet<String>) {
    if let Some(name) = qualified(&expression.expr) {
        let first = name.split('.').next().unwrap_or_default();
        let own = !first.starts_with('@') && !TYPES.contains(&first) && !bound.contains(&first);
        if own {
            names.insert(name);
        }
        return;
    }
    let outside = bound.len();
    if let Expr::Comprehension(comprehension) = &expression.expr {
        let ComprehensionExpr {
            iter_range,
            iter_var,
            iter_var2,
            accu_var,
            ..
        } = &**comprehension;
        // The range is read outside of the scope that the variables are bound in.
        refer(iter_range, bound, names);
        bound.extend([iter_var.as_str(), accu_var.as_str()]);
        bound.extend(iter_var2.as_deref());
    }
    for child in children(expression) {
        refer(child, bound, names);
    }
    bound.truncate(outside);
}

/// `a.b.c` of an identifier or of fields selected from one.
pub(super) fn qualified(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) => Some(format!(
            "{}.{}",
            qualified(&select.operand.expr)?,
            select.field
        )),
        _ => None,
    }
}

/// The parts of an expression; of a comprehension, those inside of its scope.
pub(super) fn children(expression: &IdedExpr) -> Vec<&IdedExpr> {
    match &expression.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Call(call) => call
            .target
            .as_deref()
            .into_iter()
            .chain(&call.args)
            .collect(),
        Expr::Comprehension(c) => vec![&c.accu_init, &c.loop_cond, &c.loop_step, &c.result],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map
            .entries
            .iter()
            .flat_map(|entry| entry_parts(&entry.expr))
            .collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Struct(new) => new
            .entries
            .iter()
            .flat_map(|e| entry_parts(&e.expr))
            .collect(),
    }
}

fn entry_parts(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

/// The equality terms of a chain of `&&`, and whether there is nothing else in it.
pub(super) fn equalities(expression: &IdedExpr) -> (Vec<Equality>, bool) {
    let mut terms = Vec::new();
    let only = collect(expression, &mut terms);
    (terms, only)
}

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

pub(super) fn equality(call: &CallExpr) -> Option<Equality> {
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

pub(super) fn literal(expression: &Expr) -> Option<String> {
    let Expr::Literal(literal) = expression else {
        return None;
    };
    match literal {
        LiteralValue::String(text) => Some(format!("s:{}", text.inner())),
        LiteralValue::Int(number) => Some(format!("n:{}", number.inner())),
        // Minus zero is zero; adding zero makes it so.
        LiteralValue::Double(number) => Some(format!("n:{}", number.inner() + 0.0)),
        LiteralValue::Boolean(truth) => Some(format!("b:{}", truth.inner())),
        _ => None,
    }
}
