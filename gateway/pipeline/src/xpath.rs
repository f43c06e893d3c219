//! The XPath subset of promotions, chosen so that it can be followed in a stream: child steps from the
//! root, so that every element is on the path or off it, and never both.

use std::collections::BTreeMap;

/// Which names fit. `None` takes any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NameTest {
    pub(crate) namespace: Option<String>,
    pub(crate) local: Option<String>,
}

impl NameTest {
    /// Whether the name of a node fits.
    pub(crate) fn fits(&self, namespace: &str, local: &str) -> bool {
        self.namespace.as_deref().is_none_or(|n| n == namespace)
            && self.local.as_deref().is_none_or(|l| l == local)
    }

    /// Both tests as one; `None` if nothing can pass both.
    fn and(self, other: Self) -> Option<Self> {
        let both = |a: Option<String>, b: Option<String>| match (a, b) {
            (Some(a), Some(b)) => (a == b).then_some(Some(a)),
            (a, b) => Some(a.or(b)),
        };
        Some(Self {
            namespace: both(self.namespace, other.namespace)?,
            local: both(self.local, other.local)?,
        })
    }
}

/// A test of a step. They apply in their order, as in XPath: `*[2][local-name()='a']` is the second
/// child if it is an `a`; `*[local-name()='a'][2]` the second `a`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Test {
    /// The name fits.
    Name(NameTest),
    /// It is the one with this number, from 1, of those that passed the tests before.
    Position(u64),
}

/// What is taken of the node at the end of the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// All text in the element.
    Content,
    /// The text that is the element's own, not that of its children.
    Text,
    /// An attribute.
    Attribute(NameTest),
}

/// A compiled path: at least one step, each a list of tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct XPath {
    pub(crate) steps: Vec<Vec<Test>>,
    pub(crate) target: Target,
}

/// Why a path cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum XPathError {
    /// Not of the subset.
    Unsupported(String),
    /// A prefix that is not in the list.
    Prefix(String),
}

impl XPath {
    /// Compiles `text`; its prefixes stand for `namespaces`. A name without prefix is in no namespace.
    pub(crate) fn parse(
        text: &str,
        namespaces: &BTreeMap<String, String>,
    ) -> Result<Self, XPathError> {
        let mut parser = Parser {
            text,
            rest: text,
            namespaces,
        };
        let mut steps = Vec::new();
        let mut target = Target::Content;
        while !parser.rest.is_empty() {
            parser.expect("/")?;
            if parser.eat("@") {
                target = Target::Attribute(parser.attribute()?);
                break;
            }
            if parser.eat("text()") {
                target = Target::Text;
                break;
            }
            steps.push(parser.step()?);
        }
        if !parser.rest.is_empty() {
            return Err(parser.unsupported("nothing can follow an attribute or `text()`"));
        }
        if steps.is_empty() {
            return Err(parser.unsupported("a path starts with `/` and the root element"));
        }
        Ok(Self { steps, target })
    }
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
    namespaces: &'a BTreeMap<String, String>,
}

impl<'a> Parser<'a> {
    fn step(&mut self) -> Result<Vec<Test>, XPathError> {
        let mut tests = vec![Test::Name(self.name_test()?)];
        while self.eat("[") {
            self.space();
            tests.push(self.predicate()?);
            self.space();
            self.expect("]")?;
        }
        Ok(tests)
    }

    fn attribute(&mut self) -> Result<NameTest, XPathError> {
        let mut test = self.name_test()?;
        while self.eat("[") {
            self.space();
            let Test::Name(other) = self.predicate()? else {
                return Err(self.unsupported("attributes have no order"));
            };
            test = test
                .and(other)
                .ok_or_else(|| self.unsupported("no attribute can fit this"))?;
            self.space();
            self.expect("]")?;
        }
        Ok(test)
    }

    fn name_test(&mut self) -> Result<NameTest, XPathError> {
        if self.eat("*") {
            return Ok(NameTest::default());
        }
        let first = self.name()?;
        if self.rest.starts_with("::") {
            return Err(self.unsupported("axes are not followed"));
        }
        if !self.eat(":") {
            return Ok(NameTest {
                namespace: Some(String::new()),
                local: Some(first.to_owned()),
            });
        }
        let Some(namespace) = self.namespaces.get(first) else {
            return Err(XPathError::Prefix(first.to_owned()));
        };
        let local = if self.eat("*") {
            None
        } else {
            Some(self.name()?.to_owned())
        };
        Ok(NameTest {
            namespace: Some(namespace.clone()),
            local,
        })
    }

    fn predicate(&mut self) -> Result<Test, XPathError> {
        if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            let digits = self.take_while(|c| c.is_ascii_digit());
            return match digits.parse() {
                Ok(position) if position > 0 => Ok(Test::Position(position)),
                _ => Err(self.unsupported("positions count from 1")),
            };
        }
        let mut test = self.condition()?;
        loop {
            self.space();
            if !self.eat("and") {
                return Ok(Test::Name(test));
            }
            self.space();
            let other = self.condition()?;
            test = test
                .and(other)
                .ok_or_else(|| self.unsupported("no node can fit this"))?;
        }
    }

    fn condition(&mut self) -> Result<NameTest, XPathError> {
        if self.eat("local-name()") {
            return Ok(NameTest {
                namespace: None,
                local: Some(self.equals_literal()?),
            });
        }
        if self.eat("namespace-uri()") {
            return Ok(NameTest {
                namespace: Some(self.equals_literal()?),
                local: None,
            });
        }
        Err(self
            .unsupported("a predicate is `[n]`, or compares `local-name()` or `namespace-uri()`"))
    }

    fn equals_literal(&mut self) -> Result<String, XPathError> {
        self.space();
        self.expect("=")?;
        self.space();
        let quote = if self.eat("'") {
            '\''
        } else {
            self.expect("\"").map(|()| '"')?
        };
        let Some((literal, after)) = self.rest.split_once(quote) else {
            return Err(self.unsupported("a quoted text has no end"));
        };
        self.rest = after;
        Ok(literal.to_owned())
    }

    fn name(&mut self) -> Result<&'a str, XPathError> {
        let name = self.take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
        if name.starts_with(|c: char| c.is_alphabetic() || c == '_') {
            Ok(name)
        } else {
            Err(self.unsupported("expected a name or `*`"))
        }
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !fits(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(token) else {
            return false;
        };
        self.rest = rest;
        true
    }

    fn expect(&mut self, token: &str) -> Result<(), XPathError> {
        if self.eat(token) {
            Ok(())
        } else {
            Err(self.unsupported(&format!("expected `{token}`")))
        }
    }

    fn unsupported(&self, what: &str) -> XPathError {
        let at = self.text.len() - self.rest.len();
        XPathError::Unsupported(format!("{what}, at byte {at}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<XPath, XPathError> {
        let namespaces = BTreeMap::from([("o".to_owned(), "urn:orders".to_owned())]);
        XPath::parse(text, &namespaces)
    }

    fn named(namespace: &str, local: &str) -> NameTest {
        NameTest {
            namespace: Some(namespace.to_owned()),
            local: Some(local.to_owned()),
        }
    }

    #[test]
    fn prefixes_positions_and_targets() {
        let path = parse("/o:Order/o:Line[2]/@sku").expect("of the subset");
        assert_eq!(
            path.steps,
            vec![
                vec![Test::Name(named("urn:orders", "Order"))],
                vec![Test::Name(named("urn:orders", "Line")), Test::Position(2)],
            ]
        );
        assert_eq!(path.target, Target::Attribute(named("", "sku")));
        assert_eq!(parse("/a/text()").map(|p| p.target), Ok(Target::Text));
        assert_eq!(parse("/a").map(|p| p.target), Ok(Target::Content));
    }

    #[test]
    fn the_form_that_biztalk_writes() {
        let path = parse(
            "/*[local-name()='Order' and namespace-uri()='urn:orders']/*[local-name()=\"Id\"]/@*[local-name()='v' and namespace-uri()='']",
        )
        .expect("of the subset");
        let id = NameTest {
            namespace: None,
            local: Some("Id".to_owned()),
        };
        assert_eq!(
            path.steps,
            vec![
                vec![
                    Test::Name(NameTest::default()),
                    Test::Name(named("urn:orders", "Order"))
                ],
                vec![Test::Name(NameTest::default()), Test::Name(id)],
            ]
        );
        assert_eq!(path.target, Target::Attribute(named("", "v")));
    }

    #[test]
    fn the_rest_is_refused() {
        for text in [
            "",
            "/",
            "a/b",
            "//a",
            "/a//b",
            "/a/..",
            "/a[0]",
            "/a[last()]",
            "/a[@b='c']",
            "/@a",
            "/a/@b/c",
            "/a/text()/b",
            "/a[local-name()='x",
            "/a|/b",
            "/a/@b[1]",
            "/descendant::a",
        ] {
            assert!(
                matches!(parse(text), Err(XPathError::Unsupported(_))),
                "{text}"
            );
        }
        assert_eq!(parse("/x:a"), Err(XPathError::Prefix("x".to_owned())));
    }
}
