//! Filters: CEL over the properties of a message.
//!
//! `msg.type`, `msg.origin` and `msg.id` are the message's own; what an application promotes is a
//! variable of that name (`Total`); namespaced properties are fields of their namespace
//! (`http.method`, `file.name`, `http.header['x-request-id']`). Decimals compare as the nearest binary
//! number, as literals do. Only promoted properties are seen. A filter that names what a message does
//! not have does not match it: that is never an error for the sender.

mod facts;
mod prospect;
mod terms;
mod tree;

use std::{fmt, sync::Arc};

use cel::{IdedExpr, Program};

pub use self::{
    facts::{Facts, comparable, written},
    prospect::{Prospect, Sight},
    terms::{Join, Named, Term, Verdict},
    tree::Equality,
};

/// A compiled filter. Two are equal if their texts are.
#[derive(Clone)]
pub struct Filter {
    source: Arc<str>,
    expression: Arc<IdedExpr>,
    equalities: Vec<Equality>,
    /// Whether the equalities are all that it asks for, so that they decide alone.
    only_equalities: bool,
    references: Vec<String>,
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
    /// [`FilterError`] at the first fault: what cannot be parsed, a function that does not exist, and
    /// what is no condition. The last two would otherwise be a filter that silently never matches.
    pub fn compile(source: &str) -> Result<Self, FilterError> {
        let program = Program::compile(source).map_err(|errors| {
            let first = errors.errors.into_iter().next();
            let (line, column) = first.as_ref().map_or((1, 1), |e| e.pos);
            FilterError {
                message: first.map_or_else(|| "not an expression".to_owned(), |e| in_words(&e.msg)),
                line: usize::try_from(line).unwrap_or(1).max(1),
                column: usize::try_from(column).unwrap_or(1).max(1),
            }
        })?;
        if let Some((id, message)) = tree::fault(program.expression()) {
            return Err(FilterError::at(&program, source, id, message));
        }
        let expression = tree::direct(program.expression());
        let (equalities, only_equalities) = tree::equalities(&expression);
        let references = tree::references(&expression);
        Ok(Self {
            source: source.into(),
            expression: Arc::new(expression),
            equalities,
            only_equalities,
            references,
        })
    }

    /// Its text.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The properties that it names, such as `msg.type`, `http.header.x-id` and `Country`, each once.
    #[must_use]
    pub fn references(&self) -> &[String] {
        &self.references
    }

    /// The terms that have to hold, for an index.
    #[must_use]
    pub fn equalities(&self) -> &[Equality] {
        &self.equalities
    }

    /// Whether a message can fit of which `know` tells what it will have. `false` is certain.
    #[must_use]
    pub fn can_match(&self, know: &dyn Fn(&str) -> Prospect) -> bool {
        prospect::can_match(&self.expression, know)
    }

    /// Every place where things of different kinds are compared, or where no condition stands though one
    /// belongs there. `sight` tells the kind of a property, where it is known.
    #[must_use]
    pub fn mismatches(&self, sight: &dyn Fn(&str) -> Option<Sight>) -> Vec<FilterError> {
        // The places are kept by the parser only, and only who checks a configuration asks for them.
        let Ok(program) = Program::compile(&self.source) else {
            return Vec::new();
        };
        prospect::mismatches(&self.expression, sight)
            .into_iter()
            .map(|(id, message)| FilterError::at(&program, &self.source, id, message))
            .collect()
    }

    /// What it comes to, term by term. The verdict of the whole is [`Verdict::True`] if it [matches](Filter::matches).
    #[must_use]
    pub fn explain(&self, facts: &Facts<'_>) -> Term {
        terms::explain(&self.source, facts)
    }

    /// Whether the message fits.
    #[must_use]
    pub fn matches(&self, facts: &Facts<'_>) -> bool {
        let equal = self.equalities.iter().all(|term| {
            facts
                .comparable(&term.property)
                .is_some_and(|value| value == term.literal)
        });
        equal && (self.only_equalities || facts.satisfy(&self.expression))
    }
}

/// What the parser says without the list of everything that could have stood there.
fn in_words(message: &str) -> String {
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message);
    let message = message.split(" expecting ").next().unwrap_or(message);
    match message {
        // The language has no `=`, so its lexer stops there, at that and what follows.
        message if message.starts_with("token recognition error at: '=") => {
            "write `==` to compare".to_owned()
        }
        "mismatched input '<EOF>'" | "no viable alternative at input '<EOF>'" => {
            "it ends where something has to follow".to_owned()
        }
        message => message.replace("mismatched input", "this does not fit here:"),
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

impl FilterError {
    fn at(program: &Program, source: &str, id: u64, message: String) -> Self {
        let offset = program.source_info().offset_for(id);
        let offset = offset.map_or(0, |(start, _)| start as usize);
        let before: String = source.chars().take(offset).collect();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        Self {
            message,
            line,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use quayside_model::{Message, Name, Text, Value};

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
            ("has(http.method) && has(http.header) && has(msg.id)", true),
            ("http['method'] == 'POST'", true),
            ("['FR', 'DE'].exists(c, c == Country)", true),
            ("[{'x': 'DE'}].exists(c, c['x'] == Country)", true),
            ("http.header.exists(h, h == 'x-request-id')", true),
            ("http.header['x-' + 'request-id'] == 'r1'", true),
            ("size(Country) == 2 && string(Count) == '3'", true),
            ("Nothing == 'x' || Country == 'DE'", true),
            ("Country == 'DE' || Nothing == 'x'", true),
            ("Count > 'x'", false),
            ("Count / 0 == 1", false),
            ("!(Country == 'DE')", false),
            ("Country", false),
            ("true", true),
        ] {
            let filter = Filter::compile(source).expect(source);
            assert_eq!(filter.matches(&facts), expected, "{source}");
        }
    }

    #[test]
    fn references_are_properties_and_nothing_else() {
        let filter = Filter::compile(
            "msg.type == 'a' && http.header['x'] == 'b' && ['c'].exists(c, c == Country) \
             && type(Total) == double && has(file.name) && Country != ''",
        )
        .expect("a filter");
        let names = ["Country", "Total", "file.name", "http.header.x", "msg.type"];
        assert_eq!(filter.references(), names);
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
        assert_eq!(
            terms("http.header['x-id'] == 'a'"),
            ["http.header.x-id=s:a"]
        );
        assert!(terms("Country == 'DE' || Country == 'AT'").is_empty());
        assert!(terms("!(Country == 'DE')").is_empty());
    }

    #[test]
    fn a_fault_has_a_place() {
        for (source, line, column) in [
            ("Total <\n < 5", 2, 2),
            ("Country == 'DE' &&\n  Country.begins('D')", 2, 17),
            ("lower(Country) == 'de'", 1, 6),
            ("Total + 1.0", 1, 7),
            ("'text'", 1, 1),
            ("", 1, 1),
        ] {
            let error = Filter::compile(source).expect_err(source);
            assert_eq!(
                (error.line, error.column),
                (line, column),
                "{source}: {error}"
            );
        }
    }

    #[test]
    fn one_equals_sign_is_told_as_what_it_is() {
        for (source, column) in [("msg.type = 'x'", 10), ("msg.type ='x'", 10)] {
            let error = Filter::compile(source).expect_err(source);
            assert_eq!(error.message, "write `==` to compare", "{source}");
            assert_eq!((error.line, error.column), (1, column), "{source}");
        }
    }
}
