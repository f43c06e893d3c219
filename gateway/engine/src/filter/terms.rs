//! A filter term by term, in its own words: what each came to for one message, and by which values.
//!
//! The text is taken apart where it says `||`, `&&` and `!`, and each part is put to the same evaluator as the whole, so
//! that what is told of a part is what the filter makes of it.

use cel::{Program, Value as Cel};
use serde::Serialize;

use super::{Facts, tree};

/// How deep terms are taken apart; what is nested deeper is one term.
const DEPTH: usize = 32;
/// How many terms of one filter are told apart.
const TERMS: usize = 500;

/// What a term came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It names what the message does not have, so that it is neither.
    Absent,
    /// It is a value, and no condition.
    NoCondition,
    /// It compares things that cannot be compared, or goes wrong otherwise.
    Error,
}

/// How the parts of a term belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Join {
    /// `&&`.
    All,
    /// `||`.
    Any,
    /// `!`.
    Not,
}

/// A property that a term names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The property.
    pub property: String,
    /// Its value as a filter writes it; `None`: filters see none.
    pub value: Option<String>,
    /// Whether the message has it, but not promoted, so that filters do not see it.
    pub hidden: bool,
}

/// A term.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Term {
    /// As it is written.
    pub text: String,
    /// What it came to.
    pub verdict: Verdict,
    /// How its parts belong together; `None`: it has none.
    pub join: Option<Join>,
    /// Its parts.
    pub parts: Vec<Term>,
    /// The properties that it names, where it has no parts.
    pub named: Vec<Named>,
    /// What went wrong.
    pub why: Option<String>,
}

/// Takes `text`, which is a filter, apart.
pub(super) fn explain(text: &str, facts: &Facts<'_>) -> Term {
    term(text, facts, DEPTH, &mut TERMS.clone())
}

fn term(text: &str, facts: &Facts<'_>, depth: usize, left: &mut usize) -> Term {
    let text = bare(text);
    let shape = match depth {
        0 => Shape::Leaf,
        _ => shape(text),
    };
    let (join, parts) = match shape {
        Shape::Leaf => (None, Vec::new()),
        Shape::All(parts) => (Some(Join::All), parts),
        Shape::Any(parts) => (Some(Join::Any), parts),
        Shape::Not(part) => (Some(Join::Not), vec![part]),
    };
    // What is said twice is told once.
    let mut said: Vec<&str> = Vec::new();
    for part in parts.into_iter().map(bare) {
        if !said.contains(&part) {
            said.push(part);
        }
    }
    let parts = said;
    let (join, parts) = match parts.len() <= *left {
        true => (join, parts),
        false => (None, Vec::new()),
    };
    *left -= parts.len();
    let parts: Vec<Term> = parts
        .into_iter()
        .map(|part| term(part, facts, depth - 1, left))
        .collect();
    let (verdict, why, named) = judge(text, facts);
    Term {
        text: text.lines().map(str::trim).collect::<Vec<_>>().join(" "),
        verdict,
        named: if parts.is_empty() { named } else { Vec::new() },
        why: why.filter(|_| parts.is_empty()),
        join,
        parts,
    }
}

fn judge(text: &str, facts: &Facts<'_>) -> (Verdict, Option<String>, Vec<Named>) {
    let Ok(program) = Program::compile(text) else {
        return (Verdict::Error, None, Vec::new());
    };
    let expression = tree::direct(program.expression());
    let names = tree::references(&expression);
    let named: Vec<Named> = names.iter().map(|name| facts.named(name)).collect();
    let (verdict, why) = match facts.resolve(&expression) {
        Ok(Cel::Bool(true)) => (Verdict::True, None),
        Ok(Cel::Bool(false)) => (Verdict::False, None),
        Ok(_) => (Verdict::NoCondition, None),
        Err(why) if named.iter().all(|one| one.value.is_some()) => {
            let why = why.to_string();
            (Verdict::Error, Some(why.chars().take(200).collect()))
        }
        Err(_) => (Verdict::Absent, None),
    };
    (verdict, why, named)
}

enum Shape<'s> {
    All(Vec<&'s str>),
    Any(Vec<&'s str>),
    Not(&'s str),
    Leaf,
}

/// `text` without spaces and brackets around the whole of it.
fn bare(text: &str) -> &str {
    let text = text.trim();
    match inside(text) {
        Some(inner) => bare(inner),
        None => text,
    }
}

/// What stands in the brackets, if they are around the whole text.
fn inside(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    let mut depth = 0_i32;
    let around = marks(inner).into_iter().all(|(_, mark)| {
        match mark {
            Mark::Open => depth += 1,
            Mark::Close => depth -= 1,
            _ => {}
        }
        depth >= 0
    });
    around.then_some(inner)
}

fn shape(text: &str) -> Shape<'_> {
    let mut depth = 0_i32;
    let (mut ands, mut ors) = (Vec::new(), Vec::new());
    for (at, mark) in marks(text) {
        match mark {
            Mark::Open => depth += 1,
            Mark::Close => depth -= 1,
            _ if depth > 0 => {}
            Mark::And => ands.push(at),
            Mark::Or => ors.push(at),
            Mark::Choice => return Shape::Leaf,
        }
    }
    if !ors.is_empty() {
        return Shape::Any(split(text, &ors));
    }
    if !ands.is_empty() {
        return Shape::All(split(text, &ands));
    }
    let Some(rest) = text.strip_prefix('!').map(str::trim) else {
        return Shape::Leaf;
    };
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
    match inside(rest) {
        Some(inner) => Shape::Not(inner),
        None if rest.chars().all(plain) => Shape::Not(rest),
        None => Shape::Leaf,
    }
}

/// The pieces between operators of two characters.
fn split<'s>(text: &'s str, at: &[usize]) -> Vec<&'s str> {
    let starts = std::iter::once(0).chain(at.iter().map(|at| at + 2));
    let ends = at.iter().copied().chain([text.len()]);
    starts.zip(ends).map(|(from, to)| &text[from..to]).collect()
}

/// What matters for the shape of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Open,
    Close,
    And,
    Or,
    Choice,
}

/// The marks of a text, outside of literals and comments.
fn marks(text: &str) -> Vec<(usize, Mark)> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let two = bytes.get(at..at + 2);
        let mark = match (bytes[at], two) {
            (b'\'' | b'"', _) => {
                at = literal_end(bytes, at);
                continue;
            }
            (_, Some(b"//")) => {
                let rest = &bytes[at..];
                at += rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
                continue;
            }
            (b'(' | b'[' | b'{', _) => Some(Mark::Open),
            (b')' | b']' | b'}', _) => Some(Mark::Close),
            (_, Some(b"&&")) => Some(Mark::And),
            (_, Some(b"||")) => Some(Mark::Or),
            (b'?', _) => Some(Mark::Choice),
            _ => None,
        };
        found.extend(mark.map(|mark| (at, mark)));
        at += match mark {
            Some(Mark::And | Mark::Or) => 2,
            _ => 1,
        };
    }
    found
}

/// Where the literal that begins at `at` is over.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let quote = bytes[at];
    let before = bytes[..at].iter().rev();
    let prefix: Vec<u8> = before
        .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_')
        .map(u8::to_ascii_lowercase)
        .collect();
    let raw = matches!(prefix.as_slice(), b"r" | b"br" | b"rb");
    let triple = bytes[at..].starts_with(&[quote; 3]);
    let mut end = at + if triple { 3 } else { 1 };
    while end < bytes.len() {
        if bytes[end] == b'\\' && !raw {
            end += 2;
        } else if triple && bytes[end..].starts_with(&[quote; 3]) {
            return end + 3;
        } else if !triple && bytes[end] == quote {
            return end + 1;
        } else {
            end += 1;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{filter::Filter, routing::tests::message};

    /// A term in one line: verdict and parts.
    fn line(term: &Term) -> String {
        let verdict = format!("{:?}", term.verdict).to_lowercase();
        if term.parts.is_empty() {
            return format!("{verdict}<{}>", term.text);
        }
        let parts: Vec<String> = term.parts.iter().map(line).collect();
        let join = match term.join {
            Some(Join::All) => " && ",
            Some(Join::Any) => " || ",
            _ => "!",
        };
        match term.join {
            Some(Join::Not) => format!("{verdict}!({})", parts.concat()),
            _ => format!("{verdict}({})", parts.join(join)),
        }
    }

    fn order() -> quayside_model::Message {
        let mut message = message("order");
        message.context.promote_text("Country", "DE");
        let name = quayside_model::Name::new("Total").expect("a name");
        let total = quayside_model::Value::Integer(5);
        message.context.promote(name, total);
        let hidden = quayside_model::Name::new("Hidden").expect("a name");
        message
            .context
            .write(hidden, quayside_model::Text::lossy("x"));
        message
    }

    #[test]
    fn a_filter_is_taken_apart_where_it_is_joined() {
        let message = order();
        let facts = Facts::new(&message);
        for (source, expected) in [
            (
                "msg.type == 'order' && (Total > 9 || Country == 'DE')",
                "true(true<msg.type == 'order'> && true(false<Total > 9> || true<Country == 'DE'>))",
            ),
            ("Nothing == 'x'", "absent<Nothing == 'x'>"),
            ("!(Total > 9)", "true!(false<Total > 9>)"),
            (
                "!(Total > 9) && true",
                "true(true!(false<Total > 9>) && true<true>)",
            ),
            (
                "Country == 'a && b' || Country == \"c || \\\" d\"",
                "false(false<Country == 'a && b'> || false<Country == \"c || \\\" d\">)",
            ),
            (
                "Total > 1 ? Country == 'DE' && true : false",
                "true<Total > 1 ? Country == 'DE' && true : false>",
            ),
            ("Country", "nocondition<Country>"),
            ("Total > 'x'", "error<Total > 'x'>"),
            (
                "(Total > 1) && (Total < 3)",
                "false(true<Total > 1> && false<Total < 3>)",
            ),
            ("((Total > 1))", "true<Total > 1>"),
            (
                "(Total > 9) || Country == 'DE' || Total > 9",
                "true(false<Total > 9> || true<Country == 'DE'>)",
            ),
            (
                "Country in ['DE', 'A&&T'] // || never\n && true",
                "true(true<Country in ['DE', 'A&&T'] // || never> && true<true>)",
            ),
            (
                "['FR', 'DE'].exists(c, c == Country && true)",
                "true<['FR', 'DE'].exists(c, c == Country && true)>",
            ),
            (
                "Country.contains(r'\\') || false",
                "false(false<Country.contains(r'\\')> || false<false>)",
            ),
        ] {
            let filter = Filter::compile(source).expect(source);
            let told = filter.explain(&facts);
            assert_eq!(line(&told), expected, "{source}");
        }
    }

    #[test]
    fn what_is_told_of_the_whole_is_what_the_filter_does() {
        let message = order();
        let facts = Facts::new(&message);
        let terms = [
            "msg.type == 'order'",
            "Country == 'FR'",
            "Nothing == 'x'",
            "Total > 'x'",
            "has(http.method)",
            "Hidden == 'x'",
            "Country",
        ];
        let mut matched = 0;
        for a in terms {
            for b in terms {
                for form in [
                    "A && B",
                    "A || B",
                    "!(A) || B",
                    "!(A && (B))",
                    "A ? B : !(B)",
                ] {
                    let source = form.replace('A', a).replace('B', b);
                    let filter = Filter::compile(&source).expect(&source);
                    let told = filter.explain(&facts).verdict == Verdict::True;
                    assert_eq!(told, filter.matches(&facts), "{source}");
                    matched += usize::from(told);
                }
            }
        }
        assert!(matched > 30, "{matched} of the filters match");
    }

    #[test]
    fn values_stand_beside_the_names_and_what_is_not_promoted_is_told() {
        let message = order();
        let filter = Filter::compile("Country == 'FR' && Hidden == 'x'").expect("a filter");
        let told = filter.explain(&Facts::new(&message));
        let named: Vec<&Named> = told.parts.iter().flat_map(|part| &part.named).collect();
        let named: Vec<(&str, Option<&str>, bool)> = named
            .iter()
            .map(|one| (one.property.as_str(), one.value.as_deref(), one.hidden))
            .collect();
        assert_eq!(
            named,
            [("Country", Some("'DE'"), false), ("Hidden", None, true)]
        );
    }

    #[test]
    fn what_is_nested_without_end_is_told_as_one() {
        let message = order();
        let source = format!("{}true{}", "!(".repeat(60), ")".repeat(60));
        let Ok(filter) = Filter::compile(&source) else {
            return;
        };
        let told = filter.explain(&Facts::new(&message));
        let mut deep = 0;
        let mut at = &told;
        while let Some(part) = at.parts.first() {
            (at, deep) = (part, deep + 1);
        }
        assert_eq!(deep, DEPTH);
    }
}
