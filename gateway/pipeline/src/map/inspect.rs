//! What an XPath does, seen from its text: which names it uses, and how far it reaches. The engine that evaluates it counts
//! the nodes that it visits, but not the text that its functions read.

use std::collections::BTreeMap;

use super::{defect::shown, limits, xpath::Fault};
use crate::codes;

/// The functions of XPath 1.0, without `id()` and `lang()`, which nothing here declares.
const FUNCTIONS: [&str; 24] = [
    "boolean",
    "ceiling",
    "concat",
    "contains",
    "count",
    "false",
    "floor",
    "last",
    "local-name",
    "name",
    "namespace-uri",
    "normalize-space",
    "not",
    "number",
    "position",
    "round",
    "starts-with",
    "string",
    "string-length",
    "substring",
    "substring-after",
    "substring-before",
    "sum",
    "translate",
];

/// Those that read no text.
const WITHOUT_TEXT: [&str; 10] = [
    "boolean",
    "count",
    "false",
    "last",
    "local-name",
    "name",
    "namespace-uri",
    "not",
    "position",
    "true",
];

/// What `NAME(` can be besides a function.
const NODE_TESTS: [&str; 4] = ["comment", "node", "processing-instruction", "text"];

/// The axes that stay at a node or below it.
const DOWN: [&str; 5] = [
    "attribute",
    "child",
    "descendant",
    "descendant-or-self",
    "self",
];

/// Others that are followed, though not in a predicate.
const OTHER: [&str; 5] = [
    "ancestor",
    "ancestor-or-self",
    "following-sibling",
    "parent",
    "preceding-sibling",
];

/// What an XPath does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Traits {
    /// Whether it leaves the node that it starts at, other than downwards.
    pub(super) leaves: bool,
    /// How many texts functions and operators take, by the number of predicates around them.
    texts: [u32; 4],
    /// How many of its steps lead to nodes inside of each other.
    nested: u32,
}

impl Traits {
    /// How often it may read the text that it reaches, in a document that is `depth` deep: the texts of nodes inside of each
    /// other are read once for each, and once more for each predicate around.
    pub(super) fn texts(&self, depth: u64) -> u64 {
        let counted = self.texts.iter().zip(0_u32..);
        let weighed = counted.map(|(&count, predicates)| {
            let times = depth.saturating_pow(predicates + self.nested);
            u64::from(count).saturating_mul(times)
        });
        weighed.fold(0, u64::saturating_add)
    }
}

/// Looks at `text`.
///
/// # Errors
/// What is refused, whatever the engine would say of it.
pub(super) fn inspect(text: &str, namespaces: &BTreeMap<String, String>) -> Result<Traits, Fault> {
    if text.len() > limits::EXPRESSION_BYTES {
        let message = format!("a path has {} bytes at most", limits::EXPRESSION_BYTES);
        return Err((codes::MAP_TOO_LARGE, 0, message));
    }
    let mut inspector = Inspector {
        text,
        at: 0,
        namespaces,
        traits: Traits::default(),
        operand: false,
        predicates: 0,
    };
    while inspector.at < text.len() {
        inspector.token()?;
    }
    let traits = inspector.traits;
    let texts: u32 = traits.texts.iter().sum();
    if texts as usize > limits::XPATH_ARGUMENTS {
        let message = format!(
            "it compares or passes on more than {} values",
            limits::XPATH_ARGUMENTS
        );
        return Err((codes::MAP_TOO_LARGE, 0, message));
    }
    Ok(traits)
}

struct Inspector<'t> {
    text: &'t str,
    at: usize,
    namespaces: &'t BTreeMap<String, String>,
    traits: Traits,
    /// Whether what came before ends a value, so that an operator can follow.
    operand: bool,
    predicates: usize,
}

impl<'t> Inspector<'t> {
    fn token(&mut self) -> Result<(), Fault> {
        let rest = &self.text[self.at..];
        let Some(first) = rest.chars().next() else {
            return Ok(());
        };
        let start = self.at;
        self.at += first.len_utf8();
        match first {
            c if c.is_whitespace() => {}
            '\'' | '"' => {
                let end = rest[1..].find(first);
                let end = end.ok_or_else(|| self.fault(start, "a quoted text has no end"))?;
                self.at = start + end + 2;
                self.operand = true;
            }
            '$' => return Err(self.fault(start, "a path knows no variables")),
            '/' => self.slash(rest, start)?,
            '.' if rest.starts_with("..") => {
                self.at += 1;
                self.up(start)?;
                self.operand = true;
            }
            '[' => {
                self.predicates += 1;
                self.operand = false;
            }
            ']' => {
                self.predicates = self.predicates.saturating_sub(1);
                self.operand = true;
            }
            ')' | '.' => self.operand = true,
            ',' => self.reads(),
            '(' | '@' | '|' => self.operand = false,
            '*' if !self.operand => self.operand = true,
            '*' | '+' | '-' | '=' | '<' | '>' | '!' => self.reads(),
            c if c.is_ascii_digit() => self.operand = true,
            c if c.is_alphabetic() || c == '_' => self.word(start)?,
            _ => {
                let message = format!("`{}` has no meaning in a path", shown(&first.to_string()));
                return Err(self.fault(start, &message));
            }
        }
        Ok(())
    }

    fn slash(&mut self, rest: &str, start: usize) -> Result<(), Fault> {
        if !self.operand {
            self.up(start)?;
        }
        if rest.starts_with("//") {
            self.at += 1;
            self.traits.nested += 1;
        }
        self.operand = false;
        Ok(())
    }

    /// A name, with all that belongs to it.
    fn word(&mut self, start: usize) -> Result<(), Fault> {
        let name = self.name(start);
        if self.operand && matches!(name, "and" | "or" | "div" | "mod") {
            if matches!(name, "div" | "mod") {
                self.reads();
            }
            self.operand = false;
            return Ok(());
        }
        self.operand = true;
        let rest = &self.text[self.at..];
        if rest.trim_start().starts_with("::") {
            self.at += rest.len() - rest.trim_start().len() + 2;
            self.operand = false;
            return self.axis(name, start);
        }
        if let Some(local) = rest.strip_prefix(':') {
            if name != "xml" && !self.namespaces.contains_key(name) {
                let message = format!("the prefix `{}` is not declared", shown(name));
                return Err((codes::MAP_NAME, start, message));
            }
            self.at += 1;
            if local.starts_with('*') {
                self.at += 1;
                return Ok(());
            }
            let local = self.name(self.at);
            if self.text[self.at..].trim_start().starts_with('(') {
                return Err(self.no_function(&format!("{name}:{local}"), start));
            }
            return Ok(());
        }
        if rest.trim_start().starts_with('(') && !NODE_TESTS.contains(&name) {
            if !FUNCTIONS.contains(&name) {
                return Err(self.no_function(name, start));
            }
            if !WITHOUT_TEXT.contains(&name) {
                self.reads();
            }
        }
        Ok(())
    }

    /// The rest of the name that begins at `start`.
    fn name(&mut self, start: usize) -> &'t str {
        let text = self.text;
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        let end = text[start..].find(|c| !fits(c));
        self.at = end.map_or(text.len(), |end| start + end);
        &text[start..self.at]
    }

    fn axis(&mut self, name: &str, start: usize) -> Result<(), Fault> {
        if DOWN.contains(&name) {
            if name.starts_with("descendant") {
                self.traits.nested += 1;
            }
            return Ok(());
        }
        if OTHER.contains(&name) {
            self.traits.nested += 1;
            return self.up(start);
        }
        let message = format!("the axis `{}` is not followed", shown(name));
        Err(self.fault(start, &message))
    }

    fn up(&mut self, start: usize) -> Result<(), Fault> {
        self.traits.leaves = true;
        if self.predicates > 0 {
            let message =
                "in `[...]` a path leads down from the node, not up or aside or from the root";
            return Err(self.fault(start, message));
        }
        Ok(())
    }

    /// A text is read.
    fn reads(&mut self) {
        self.operand = false;
        let last = self.traits.texts.len() - 1;
        self.traits.texts[self.predicates.min(last)] += 1;
    }

    fn no_function(&self, name: &str, start: usize) -> Fault {
        self.fault(start, &format!("there is no function `{}`", shown(name)))
    }

    fn fault(&self, start: usize, message: &str) -> Fault {
        (codes::MAP_PATH, start, message.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(text: &str) -> Result<Traits, Fault> {
        let namespaces = BTreeMap::from([("o".to_owned(), "urn:orders".to_owned())]);
        inspect(text, &namespaces)
    }

    fn traits(leaves: bool, texts: [u32; 4], nested: u32) -> Traits {
        Traits {
            leaves,
            texts,
            nested,
        }
    }

    #[test]
    fn it_is_told_how_far_a_path_reaches() {
        for (text, wanted) in [
            ("o:Id", traits(false, [0; 4], 0)),
            ("/o:Order/o:Id", traits(true, [0; 4], 0)),
            ("../@id", traits(true, [0; 4], 0)),
            ("parent::o:a", traits(true, [0; 4], 1)),
            ("//o:Line", traits(true, [0; 4], 1)),
            (".//o:Line/text()", traits(false, [0; 4], 1)),
            ("concat(o:a, ' / ', \"..\")", traits(false, [3, 0, 0, 0], 0)),
            ("o:Line[@kind = 'net']", traits(false, [0, 1, 0, 0], 0)),
            (
                "o:a[o:b[contains(., 'x')]][2]",
                traits(false, [0, 0, 2, 0], 0),
            ),
            ("o:a * 2 - o:b-c div 3", traits(false, [3, 0, 0, 0], 0)),
            (
                "*[local-name()='Order' and namespace-uri()='urn:o']",
                traits(false, [0, 2, 0, 0], 0),
            ),
            ("o:and[@or or @and]", traits(false, [0; 4], 0)),
        ] {
            assert_eq!(look(text), Ok(wanted), "{text}");
        }
        let deep = look("//a[contains(., 'x')]").expect("a path");
        assert_eq!(deep.texts(10), 200);
    }

    #[test]
    fn what_is_refused_has_its_place() {
        for (text, code, at) in [
            ("x:Id", codes::MAP_NAME, 0),
            ("o:a/$b", codes::MAP_PATH, 4),
            ("lower-case(o:a)", codes::MAP_PATH, 0),
            ("o:f(1)", codes::MAP_PATH, 0),
            ("id('x')", codes::MAP_PATH, 0),
            ("o:a/following::o:b", codes::MAP_PATH, 4),
            ("o:a[/o:b = 1]", codes::MAP_PATH, 4),
            ("o:a[../o:b]", codes::MAP_PATH, 4),
            ("o:a[count(ancestor::*) > 1]", codes::MAP_PATH, 10),
            ("'a", codes::MAP_PATH, 0),
            ("o:a;", codes::MAP_PATH, 3),
        ] {
            let (found, place, message) = look(text).expect_err(text);
            assert_eq!((found, place), (code, at), "{text}: {message}");
        }
        let many = format!("concat({}'a')", "/,".repeat(20));
        assert_eq!(look(&many).expect_err("many").0, codes::MAP_TOO_LARGE);
        let long = "a/".repeat(limits::EXPRESSION_BYTES);
        assert_eq!(look(&long).expect_err("long").0, codes::MAP_TOO_LARGE);
    }
}
