//! From text to a compiled expression, or to faults with their places.

use std::{collections::BTreeMap, sync::Arc};

use cel::{
    IdedExpr, Program,
    common::ast::{Expr, LiteralValue, operators},
};
use quayside_model::Name;

use super::{
    Expression, Kind, Names, Read, Ref,
    kinds::{FUNCTIONS, Finding, Kinds, qualified},
};
use crate::{
    codes,
    defect::{Defects, Place, nearest},
    limits,
    world::Want,
    yaml::{Node, Style, Yaml},
};

/// What an expression has to come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    Value(Kind),
    /// Any of them: the one that takes it looks.
    Anything,
}

/// What reads a document, with what it comes to.
const READS: &[(&str, Want, Kind)] = &[
    ("text", Want::Text, Kind::Text),
    ("number", Want::Decimal, Kind::Number),
    ("integer", Want::Integer, Kind::Whole),
    ("items", Want::Items, Kind::List),
    ("found", Want::Found, Kind::Truth),
];

/// Compiles the expression that stands at `node`.
pub(crate) fn compile(
    node: &Node,
    names: Names<'_>,
    expect: Expect,
    defects: &mut Defects,
) -> Option<Expression> {
    let Yaml::Scalar(source, style) = &node.value else {
        let message = format!(
            "{} stands here, where an expression belongs",
            node.in_words()
        );
        defects.add(node.place, codes::FORM, message);
        return None;
    };
    if source.len() > limits::EXPRESSION_BYTES {
        defects.add(node.place, codes::TOO_LARGE, "the expression is too long");
        return None;
    }
    let before = defects.errors();
    let program = match Program::compile(source) {
        Ok(program) => program,
        Err(errors) => {
            for error in errors.errors.into_iter().take(1) {
                let at = (
                    usize::try_from(error.pos.0).unwrap_or(1),
                    usize::try_from(error.pos.1).unwrap_or(1),
                );
                defects.add(
                    place_in(node, *style, at),
                    codes::EXPRESSION,
                    in_words(&error.msg),
                );
            }
            return None;
        }
    };
    let at = |id: u64| {
        let offset = program
            .source_info()
            .offset_for(id)
            .map_or(0, |(start, _)| start as usize);
        let text: String = source.chars().take(offset).collect();
        let line = text.matches('\n').count() + 1;
        let column = text.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
        place_in(node, *style, (line, column))
    };
    let mut tree = program.expression().clone();
    let mut rewrite = Rewrite {
        names,
        reads: Vec::new(),
        asks: Vec::new(),
        bound: Vec::new(),
        at: &at,
        defects,
    };
    rewrite.tree(&mut tree);
    let (reads, asks) = (rewrite.reads, rewrite.asks);
    let mut refs: BTreeMap<String, Ref> = BTreeMap::new();
    let mut named = |name: &str, id: u64| -> Kind {
        if let Some(read) = name
            .strip_prefix("@d")
            .and_then(|n| n.parse::<usize>().ok())
        {
            return READS
                .iter()
                .find(|(_, want, _)| *want == reads[read].want)
                .map_or(Kind::Any, |r| r.2);
        }
        if name.starts_with("@h") {
            return Kind::Truth;
        }
        let Some((what, kind)) = names.find(name, at(id), defects) else {
            return Kind::Any;
        };
        refs.extend(what.map(|what| (name.to_owned(), what)));
        kind
    };
    let mut kinds = Kinds {
        named: &mut named,
        faults: Vec::new(),
        bound: Vec::new(),
        nodes: 0,
        loops: 0,
        deepest: 0,
    };
    let kind = kinds.of(&tree);
    let (faults, nodes, loops) = (kinds.faults, kinds.nodes, kinds.deepest);
    let functions = FUNCTIONS.iter().copied().chain(READS.iter().map(|r| r.0));
    let functions: Vec<&str> = functions.collect();
    for Finding {
        id,
        code,
        message,
        function,
    } in faults
    {
        match function.and_then(|name| nearest(&name, &functions)) {
            Some(near) => defects.help(at(id), code, message, &format!("Did you mean `{near}`?")),
            None => defects.add(at(id), code, message),
        }
    }
    if let Expect::Value(wanted) = expect
        && !kind.is(wanted)
        && !(wanted == Kind::Number && kind == Kind::Whole)
    {
        let wanted = if wanted == Kind::Truth {
            "a condition"
        } else {
            wanted.in_words()
        };
        let message = format!(
            "the expression is {}, where {wanted} belongs",
            kind.in_words()
        );
        defects.add(node.place, codes::TYPE, message);
    }
    (defects.errors() == before).then(|| Expression {
        source: source.as_str().into(),
        tree,
        refs: refs.into_iter().collect(),
        reads,
        asks,
        nodes,
        loops,
    })
}

/// Takes out what reads documents and asks for properties, and turns `order.http.header['x']` into one name.
struct Rewrite<'a> {
    names: Names<'a>,
    reads: Vec<Read>,
    asks: Vec<(u16, Name)>,
    bound: Vec<String>,
    at: &'a dyn Fn(u64) -> Place,
    defects: &'a mut Defects,
}

impl Rewrite<'_> {
    fn tree(&mut self, expression: &mut IdedExpr) {
        let id = expression.id;
        let replaced = match &expression.expr {
            Expr::Call(call) if call.target.is_none() => {
                match (call.func_name.as_str(), call.args.as_slice()) {
                    (operators::INDEX, [map, key]) => self.field(map, key),
                    (name, args) if READS.iter().any(|r| r.0 == name) => {
                        Some(self.read(name, args, id))
                    }
                    _ => None,
                }
            }
            Expr::Select(select) if select.test => self.ask(&select.operand.expr, &select.field),
            _ => None,
        };
        if let Some(name) = replaced {
            expression.expr = Expr::Ident(name);
            return;
        }
        match &mut expression.expr {
            Expr::Call(call) => {
                let target = call.target.as_deref_mut().into_iter();
                target
                    .chain(&mut call.args)
                    .for_each(|part| self.tree(part));
            }
            Expr::List(list) => list.elements.iter_mut().for_each(|part| self.tree(part)),
            Expr::Select(select) => self.tree(&mut select.operand),
            Expr::Comprehension(c) => {
                self.tree(&mut c.iter_range);
                let outside = self.bound.len();
                self.bound.push(c.iter_var.clone());
                self.bound.extend(c.iter_var2.clone());
                for part in [
                    &mut c.accu_init,
                    &mut c.loop_cond,
                    &mut c.loop_step,
                    &mut c.result,
                ] {
                    self.tree(part);
                }
                self.bound.truncate(outside);
            }
            _ => {}
        }
    }

    /// `order.http.header['x-id']`, whose key may have what a name cannot have.
    fn field(&self, map: &IdedExpr, key: &IdedExpr) -> Option<String> {
        let Expr::Literal(LiteralValue::String(key)) = &key.expr else {
            return None;
        };
        let name = qualified(&map.expr)?;
        let bound = self.bound.iter().any(|b| name.split('.').next() == Some(b));
        (!bound).then(|| format!("{name}.{}", key.inner()))
    }

    fn ask(&mut self, operand: &Expr, field: &str) -> Option<String> {
        let name = format!("{}.{field}", qualified(operand)?);
        let (first, property) = name.split_once('.')?;
        let message = self.names.message(first)?;
        let property = Name::new(property).ok()?;
        self.asks.push((message, property));
        Some(format!("@h{}", self.asks.len() - 1))
    }

    fn read(&mut self, name: &str, args: &[IdedExpr], id: u64) -> String {
        let (_, want, _) = READS
            .iter()
            .find(|r| r.0 == name)
            .expect("the caller looked");
        let place = (self.at)(id);
        let (message, path) = match args {
            [
                IdedExpr {
                    expr: Expr::Ident(message),
                    ..
                },
                IdedExpr {
                    expr: Expr::Literal(LiteralValue::String(path)),
                    ..
                },
            ] => (message.clone(), path.inner().to_owned()),
            _ => {
                let message = format!("`{name}` takes a message and a path in quotes");
                let help = format!(
                    "Write `{name}(order, '/o:Order/o:Id')` or `{name}(order, '$.order.id')`."
                );
                self.defects.help(place, codes::TYPE, message, &help);
                (String::new(), String::new())
            }
        };
        let slot = self.names.message(&message);
        if slot.is_none() && !message.is_empty() {
            let all = match self.names {
                Names::Step { messages, .. } => messages.iter().map(|m| &*m.name).collect(),
                Names::Filter(_) => Vec::new(),
            };
            self.defects
                .unknown(place, codes::UNKNOWN_NAME, "message", &message, all);
        }
        let path: Arc<str> = path.into();
        let read = Read {
            message: slot.unwrap_or(0),
            path,
            want: *want,
        };
        let known = self.reads.iter().position(|r| *r == read);
        let number = known.unwrap_or_else(|| {
            self.reads.push(read);
            self.reads.len() - 1
        });
        format!("@d{number}")
    }
}

/// The place of line and column of an expression, in the file.
fn place_in(node: &Node, style: Style, (line, column): (usize, usize)) -> Place {
    let Place {
        line: first,
        column: start,
    } = node.place;
    match style {
        Style::Block => Place {
            line: first + line - 1,
            column: start + column - 1,
        },
        // Text over several lines is folded, so only the first one is where it seems to be.
        _ if line > 1 => node.place,
        Style::Quoted => Place {
            line: first,
            column: start + column,
        },
        Style::Plain => Place {
            line: first,
            column: start + column - 1,
        },
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
        return "it ends where something has to follow".to_owned();
    }
    message.replace("mismatched input", "this does not fit here:")
}
