//! The JSONPath of maps: members, positions, `[*]` and simple filters, from the root or from a match.

use super::{
    defect::shown,
    json::Json,
    work::{Stop, Work},
};
use crate::codes;

/// A compiled path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JsonPath {
    /// `@`, from the match, and not `$`, from the root.
    pub(super) relative: bool,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(String),
    /// From 0, or with a minus sign from the end.
    Element(i64),
    /// Every member or element.
    All,
    /// Every member or element that fits.
    Where(Filter),
}

/// `?@.kind`, `?@.kind == 'net'`, `?@.no != 3`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Filter {
    /// Members and positions only.
    steps: Vec<Step>,
    /// Whether they have to be equal, and to what; `None`: it has to be there.
    compared: Option<(bool, Literal)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Literal {
    Text(String),
    Number(String),
    Boolean(bool),
    Null,
}

/// Where a path cannot be read, in bytes, and why.
pub(super) type Fault = (usize, String);

impl JsonPath {
    /// Compiles `text`.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let mut parser = Parser { text, rest: text };
        let relative = parser.eat("@");
        if !relative && !parser.eat("$") {
            return Err((
                0,
                "a JSONPath starts with `$`, or in a `repeat` with `@`".to_owned(),
            ));
        }
        let mut steps = Vec::new();
        while !parser.rest.is_empty() {
            steps.push(parser.step(true)?);
        }
        Ok(Self { relative, steps })
    }

    /// Whether it is meant to lead to several places. A filter may be there to find the one.
    pub(super) fn is_plural(&self) -> bool {
        self.steps.contains(&Step::All)
    }

    /// The names of its steps, if there is nothing else in it: what a target path is made of.
    pub(super) fn members(self) -> Option<Vec<String>> {
        let member = |step| match step {
            Step::Member(name) => Some(name),
            _ => None,
        };
        self.steps.into_iter().map(member).collect()
    }

    /// Every place that it leads to from `start`, in the order of the document.
    ///
    /// # Errors
    /// If a member that it names is there twice, or it takes too much work.
    pub(super) fn follow<'j, 'd>(
        &self,
        start: &'j Json<'d>,
        work: &mut Work,
    ) -> Result<Vec<&'j Json<'d>>, Stop> {
        let mut here = vec![start];
        for step in &self.steps {
            let mut next = Vec::new();
            for json in here {
                step.take(json, &mut next, work)?;
            }
            here = next;
        }
        Ok(here)
    }
}

impl Step {
    fn take<'j, 'd>(
        &self,
        json: &'j Json<'d>,
        into: &mut Vec<&'j Json<'d>>,
        work: &mut Work,
    ) -> Result<(), Stop> {
        work.charge(1)?;
        match (self, json) {
            (Self::Member(wanted), Json::Object(members)) => {
                work.charge(members.len() as u64)?;
                let mut found = members.iter().filter(|(name, _)| name == wanted);
                into.extend(found.next().map(|(_, value)| value));
                if found.next().is_some() {
                    let detail = format!("the member `{}` is there twice", shown(wanted));
                    return Err(Stop::new(codes::DUPLICATE_KEY, detail));
                }
            }
            (Self::Element(position), Json::List(items)) => {
                let from_end = usize::try_from(position.unsigned_abs()).unwrap_or(usize::MAX);
                let place = if *position < 0 {
                    items.len().checked_sub(from_end)
                } else {
                    Some(from_end)
                };
                into.extend(place.and_then(|place| items.get(place)));
            }
            (Self::All | Self::Where(_), Json::Object(members)) => {
                work.charge(members.len() as u64)?;
                for (_, value) in members {
                    self.pick(value, into, work)?;
                }
            }
            (Self::All | Self::Where(_), Json::List(items)) => {
                work.charge(items.len() as u64)?;
                for value in items {
                    self.pick(value, into, work)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn pick<'j, 'd>(
        &self,
        value: &'j Json<'d>,
        into: &mut Vec<&'j Json<'d>>,
        work: &mut Work,
    ) -> Result<(), Stop> {
        let fits = match self {
            Self::Where(filter) => filter.fits(value, work)?,
            _ => true,
        };
        into.extend(fits.then_some(value));
        Ok(())
    }
}

impl Filter {
    fn fits(&self, value: &Json<'_>, work: &mut Work) -> Result<bool, Stop> {
        let mut here = vec![value];
        for step in &self.steps {
            let mut next = Vec::new();
            for json in here {
                step.take(json, &mut next, work)?;
            }
            here = next;
        }
        Ok(match (&self.compared, here.first()) {
            (None, found) => found.is_some(),
            (Some((equal, _)), None) => !equal,
            (Some((equal, literal)), Some(found)) => literal.is(found) == *equal,
        })
    }
}

impl Literal {
    fn is(&self, json: &Json<'_>) -> bool {
        match (self, json) {
            (Self::Text(literal), Json::Text(text)) => literal == text,
            (Self::Number(literal), Json::Number(number)) => {
                // `1.0` is `1`; what no binary number tells apart is compared as it is written.
                literal == number
                    || (literal.len().max(number.len()) <= 15
                        && literal.parse::<f64>().ok() == number.parse::<f64>().ok())
            }
            (Self::Boolean(literal), Json::Boolean(truth)) => literal == truth,
            (Self::Null, Json::Null) => true,
            _ => false,
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    rest: &'t str,
}

impl Parser<'_> {
    fn step(&mut self, filters: bool) -> Result<Step, Fault> {
        if self.rest.starts_with("..") {
            return Err(self.fault("`..` is not followed: name the members on the way"));
        }
        if self.eat(".") {
            if self.eat("*") {
                return Ok(Step::All);
            }
            let end = self.rest.find(|c: char| !is_name(c));
            let (name, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
            if name.is_empty() {
                return Err(self.fault("expected a name after `.`"));
            }
            self.rest = rest;
            return Ok(Step::Member(name.to_owned()));
        }
        if !self.eat("[") {
            return Err(self.fault(
                "expected `.name`, `['name']`, `[position]`, `[*]` or `[?@.name == 'value']`",
            ));
        }
        self.space();
        let step = match self.rest.chars().next() {
            Some('\'' | '"') => Step::Member(self.quoted()?),
            Some('*') if filters => {
                self.eat("*");
                Step::All
            }
            Some('?') if filters => {
                self.eat("?");
                Step::Where(self.filter()?)
            }
            _ => self.position()?,
        };
        self.space();
        self.expect("]")?;
        Ok(step)
    }

    fn filter(&mut self) -> Result<Filter, Fault> {
        self.space();
        let open = self.eat("(");
        self.space();
        self.expect("@")?;
        let mut steps = Vec::new();
        while self.rest.starts_with(['.', '[']) {
            steps.push(self.step(false)?);
        }
        self.space();
        let compared = if self.eat("==") {
            Some((true, self.literal()?))
        } else if self.eat("!=") {
            Some((false, self.literal()?))
        } else {
            None
        };
        self.space();
        if open {
            self.expect(")")?;
        }
        Ok(Filter { steps, compared })
    }

    fn literal(&mut self) -> Result<Literal, Fault> {
        self.space();
        if self.rest.starts_with(['\'', '"']) {
            return self.quoted().map(Literal::Text);
        }
        for (word, literal) in [
            ("true", Literal::Boolean(true)),
            ("false", Literal::Boolean(false)),
            ("null", Literal::Null),
        ] {
            if self.eat(word) {
                return Ok(literal);
            }
        }
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '+' | '.'));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        let number = super::scalar::number(word).ok_or_else(|| {
            self.fault("expected text in quotes, a number, `true`, `false` or `null`")
        })?;
        self.rest = rest;
        Ok(Literal::Number(number))
    }

    fn quoted(&mut self) -> Result<String, Fault> {
        let quote = if self.eat("'") { '\'' } else { '"' };
        if quote == '"' {
            self.expect("\"")?;
        }
        let Some((name, rest)) = self.rest.split_once(quote) else {
            return Err(self.fault("a quoted text has no end"));
        };
        // Escapes would be read in two ways by TOML and by JSONPath: refused, not misread.
        if name.contains('\\') {
            return Err(self.fault("`\\` cannot stand in a quoted text"));
        }
        self.rest = rest;
        Ok(name.to_owned())
    }

    fn position(&mut self) -> Result<Step, Fault> {
        let end = self.rest.find(']').unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        let number: Option<i64> = digits.trim().parse().ok();
        let plain = !digits.contains('+');
        match number.filter(|_| plain) {
            Some(number) => {
                self.rest = rest;
                Ok(Step::Element(number))
            }
            None => Err(self.fault(
                "expected a name in quotes, a position from 0, `*` or `?@.name == 'value'`",
            )),
        }
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

    fn expect(&mut self, token: &str) -> Result<(), Fault> {
        if self.eat(token) {
            Ok(())
        } else {
            Err(self.fault(&format!("expected `{token}`")))
        }
    }

    fn fault(&self, what: &str) -> Fault {
        (self.text.len() - self.rest.len(), what.to_owned())
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

#[cfg(test)]
mod tests {
    use super::{super::json, *};

    const ORDER: &str = r#"{"id": 7, "lines": [{"sku": "a", "no": 1.0, "net": true}, {"sku": "b", "no": 2}],
        "a b": {"c.d": null}, "twice": 1, "twice": 2}"#;

    fn found(path: &str) -> Vec<String> {
        let json = json::read(ORDER).expect("a document");
        let path = JsonPath::parse(path).expect(path);
        let found = path.follow(&json, &mut Work::default()).expect("found");
        found.iter().map(|json| format!("{json:?}")).collect()
    }

    #[test]
    fn paths_lead_where_they_say() {
        for (path, places) in [
            ("$.id", vec!["Number(\"7\")"]),
            ("$['id']", vec!["Number(\"7\")"]),
            ("$.lines[*].sku", vec!["Text(\"a\")", "Text(\"b\")"]),
            ("@.lines[-1].sku", vec!["Text(\"b\")"]),
            ("$.lines[0]['sku']", vec!["Text(\"a\")"]),
            ("$.lines[?@.sku == 'b'].no", vec!["Number(\"2\")"]),
            ("$.lines[?(@.no == 1)].sku", vec!["Text(\"a\")"]),
            ("$.lines[?@.net].sku", vec!["Text(\"a\")"]),
            ("$.lines[?@.net != true].sku", vec!["Text(\"b\")"]),
            ("$['a b'][\"c.d\"]", vec!["Null"]),
            ("$['a b'].*", vec!["Null"]),
            ("$.lines[2].sku", vec![]),
            ("$.lines[-3].sku", vec![]),
            ("$.id.x", vec![]),
            ("$.nothing", vec![]),
        ] {
            assert_eq!(found(path), places, "{path}");
        }
        assert!(JsonPath::parse("$.lines[*].a").expect("a path").is_plural());
        assert!(!JsonPath::parse("@").expect("a path").is_plural());
    }

    #[test]
    fn a_member_that_is_there_twice_is_no_guess() {
        let json = json::read(ORDER).expect("a document");
        let path = JsonPath::parse("$.twice").expect("a path");
        let stop = path.follow(&json, &mut Work::default());
        assert_eq!(stop.expect_err("twice").code, codes::DUPLICATE_KEY);
    }

    #[test]
    fn the_rest_is_refused_at_its_place() {
        for (path, at) in [
            ("", 0),
            ("a.b", 0),
            ("$..a", 1),
            ("$.", 2),
            ("$.a b", 3),
            ("$['a", 3),
            ("$['a\\'b']", 3),
            ("$.a[1:2]", 4),
            ("$.a[+1]", 4),
            ("$.a[?@.b == x]", 12),
            ("$.a[?b]", 5),
            ("$.a[?@[*]]", 7),
            ("$.a[0", 5),
        ] {
            let fault = JsonPath::parse(path).expect_err(path);
            assert_eq!(fault.0, at, "{path}: {}", fault.1);
        }
    }
}
