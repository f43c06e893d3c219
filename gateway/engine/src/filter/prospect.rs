//! What a filter can come to, told before there is a message: whether it can ever match, and where it
//! compares things of different kinds.
//!
//! Both are careful: what cannot be told counts as possible and as right, so that neither finds a fault
//! where there is none.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};

use super::tree::{children, equality, literal, qualified};

/// What a filter sees in the value of a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Text; times are text too.
    Text,
    /// A number, whole or not.
    Number,
    /// True or false.
    Truth,
}

impl Sight {
    /// The kind in words.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "a number",
            Self::Truth => "true or false",
        }
    }
}

/// What is known of a property of messages that are still to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prospect {
    /// None of them has it.
    Absent,
    /// All that have it have this value, in the form of [`comparable`](super::comparable).
    Is(String),
    /// Nothing.
    Unknown,
}

/// Which results an expression can have. What is no condition has a value: true and false stand for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outcomes {
    yes: bool,
    no: bool,
    error: bool,
}

impl Outcomes {
    const ANY: Self = Self::of(true, true, true);
    const VALUE: Self = Self::of(true, true, false);
    const ERROR: Self = Self::of(false, false, true);

    const fn of(yes: bool, no: bool, error: bool) -> Self {
        Self { yes, no, error }
    }

    fn is_error(self) -> bool {
        self == Self::ERROR
    }

    fn and(self, other: Self) -> Self {
        Self::of(
            self.yes && other.yes,
            self.no || other.no,
            self.error || other.error,
        )
    }

    fn not(self) -> Self {
        Self::of(self.no, self.yes, self.error)
    }

    fn either(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }
}

/// Whether the filter can be true for a message of which `know` tells the properties.
pub(super) fn can_match(expression: &IdedExpr, know: &dyn Fn(&str) -> Prospect) -> bool {
    outcomes(expression, know).yes
}

fn outcomes(expression: &IdedExpr, know: &dyn Fn(&str) -> Prospect) -> Outcomes {
    if let Some(name) = qualified(&expression.expr) {
        return property(&expression.expr, &name, know);
    }
    match &expression.expr {
        Expr::Literal(LiteralValue::Boolean(truth)) => {
            let truth = *truth.inner();
            Outcomes::of(truth, !truth, false)
        }
        Expr::Literal(_) => Outcomes::VALUE,
        Expr::Call(call) => call_outcomes(call, know),
        // Only the range is read outside of the scope of the variables.
        Expr::Comprehension(c) if outcomes(&c.iter_range, know).is_error() => Outcomes::ERROR,
        Expr::Comprehension(_) | Expr::Unspecified => Outcomes::ANY,
        _ => strict(&children(expression), know),
    }
}

/// A name, a field, or the question whether there is one.
fn property(expression: &Expr, name: &str, know: &dyn Fn(&str) -> Prospect) -> Outcomes {
    let asks = matches!(expression, Expr::Select(select) if select.test);
    match know(name) {
        Prospect::Absent if asks => Outcomes::of(false, true, true),
        Prospect::Absent => Outcomes::ERROR,
        Prospect::Is(value) if !asks => Outcomes::of(value != "b:false", value != "b:true", true),
        _ => Outcomes::ANY,
    }
}

/// What needs all of its parts: an error in one is an error of the whole.
fn strict(parts: &[&IdedExpr], know: &dyn Fn(&str) -> Prospect) -> Outcomes {
    if parts.iter().any(|part| outcomes(part, know).is_error()) {
        Outcomes::ERROR
    } else {
        Outcomes::ANY
    }
}

fn call_outcomes(call: &CallExpr, know: &dyn Fn(&str) -> Prospect) -> Outcomes {
    let of = |expression: &IdedExpr| outcomes(expression, know);
    match (call.func_name.as_str(), call.args.as_slice()) {
        (operators::LOGICAL_AND, [left, right]) => of(left).and(of(right)),
        (operators::LOGICAL_OR, [left, right]) => of(left).either(of(right)),
        (operators::LOGICAL_NOT, [inner]) => of(inner).not(),
        (operators::CONDITIONAL, [condition, yes, no]) => {
            let (condition, yes, no) = (of(condition), of(yes), of(no));
            let taken = |side: Outcomes, when: bool| when && side.yes;
            let not_taken = |side: Outcomes, when: bool| when && side.no;
            Outcomes::of(
                taken(yes, condition.yes) || taken(no, condition.no),
                not_taken(yes, condition.yes) || not_taken(no, condition.no),
                true,
            )
        }
        (operators::EQUALS, _) => equal(call, know),
        (operators::NOT_EQUALS, _) => equal(call, know).not(),
        (operators::IN, [item, list]) => among(item, list, know),
        (_, args) => {
            let parts: Vec<&IdedExpr> = call.target.as_deref().into_iter().chain(args).collect();
            strict(&parts, know)
        }
    }
}

fn equal(call: &CallExpr, know: &dyn Fn(&str) -> Prospect) -> Outcomes {
    if let Some(term) = equality(call)
        && let Prospect::Is(value) = know(&term.property)
    {
        // The message may still lack it, which is an error.
        return Outcomes::of(value == term.literal, value != term.literal, true);
    }
    strict(&call.args.iter().collect::<Vec<_>>(), know)
}

/// `item in [...]`.
fn among(item: &IdedExpr, list: &IdedExpr, know: &dyn Fn(&str) -> Prospect) -> Outcomes {
    if let (Some(name), Expr::List(list)) = (qualified(&item.expr), &list.expr)
        && let Prospect::Is(value) = know(&name)
        && let Some(all) = list
            .elements
            .iter()
            .map(|e| literal(&e.expr))
            .collect::<Option<Vec<_>>>()
    {
        let has = all.contains(&value);
        return Outcomes::of(has, !has, true);
    }
    strict(&[item, list], know)
}

/// Every place where things of different kinds meet, as the id of the place and what is wrong there.
pub(super) fn mismatches(
    expression: &IdedExpr,
    sight: &dyn Fn(&str) -> Option<Sight>,
) -> Vec<(u64, String)> {
    let mut faults = Vec::new();
    condition(expression, sight, &mut faults);
    walk(expression, sight, &mut faults);
    faults
}

type Sights<'a> = &'a dyn Fn(&str) -> Option<Sight>;

fn walk(expression: &IdedExpr, sight: Sights<'_>, faults: &mut Vec<(u64, String)>) {
    match &expression.expr {
        Expr::Comprehension(c) => return walk(&c.iter_range, sight, faults),
        Expr::Call(call) => check_call(expression.id, call, sight, faults),
        _ => {}
    }
    for child in children(expression) {
        walk(child, sight, faults);
    }
}

fn check_call(id: u64, call: &CallExpr, sight: Sights<'_>, faults: &mut Vec<(u64, String)>) {
    let name = call.func_name.as_str();
    match (name, call.args.as_slice()) {
        (operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT, parts) => {
            parts.iter().for_each(|part| condition(part, sight, faults));
        }
        (operators::CONDITIONAL, [first, ..]) => condition(first, sight, faults),
        (
            operators::EQUALS
            | operators::NOT_EQUALS
            | operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS,
            [left, right],
        ) => faults.extend(compared(left, right, sight).map(|message| (id, message))),
        (operators::IN, [item, list]) => {
            if let Expr::List(list) = &list.expr {
                let wrong = list.elements.iter().find_map(|e| compared(item, e, sight));
                faults.extend(wrong.map(|message| (id, message)));
            }
        }
        ("startsWith" | "endsWith" | "matches" | "contains", args) => {
            for part in call.target.as_deref().into_iter().chain(args) {
                if let Some(kind) = kind(part, sight).filter(|kind| *kind != Sight::Text) {
                    let (shown, kind) = (shown(part), kind.in_words());
                    let message = format!("{shown} is {kind}, but `{name}` looks into text");
                    faults.push((id, message));
                }
            }
        }
        _ => {}
    }
}

fn condition(expression: &IdedExpr, sight: Sights<'_>, faults: &mut Vec<(u64, String)>) {
    if let Some(kind) = kind(expression, sight).filter(|kind| *kind != Sight::Truth) {
        let message = format!(
            "{} is {}, but stands where a condition belongs",
            shown(expression),
            kind.in_words()
        );
        faults.push((expression.id, message));
    }
}

fn compared(left: &IdedExpr, right: &IdedExpr, sight: Sights<'_>) -> Option<String> {
    let (a, b) = (kind(left, sight)?, kind(right, sight)?);
    (a != b).then(|| {
        format!(
            "{} is {}, but is compared with {}, which is {}",
            shown(left),
            a.in_words(),
            shown(right),
            b.in_words()
        )
    })
}

/// What the expression comes to, where that is plain.
fn kind(expression: &IdedExpr, sight: Sights<'_>) -> Option<Sight> {
    match &expression.expr {
        Expr::Literal(LiteralValue::String(_)) => Some(Sight::Text),
        Expr::Literal(LiteralValue::Boolean(_)) => Some(Sight::Truth),
        Expr::Literal(LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_)) => {
            Some(Sight::Number)
        }
        Expr::Select(select) if select.test => Some(Sight::Truth),
        Expr::Call(call) => match call.func_name.as_str() {
            "size" | "int" | "uint" | "double" => Some(Sight::Number),
            "string" => Some(Sight::Text),
            "startsWith" | "endsWith" | "matches" | "contains" | "bool" => Some(Sight::Truth),
            _ => None,
        },
        other => sight(&qualified(other)?),
    }
}

/// The expression as a message shows it.
fn shown(expression: &IdedExpr) -> String {
    match &expression.expr {
        Expr::Literal(LiteralValue::String(text)) => format!("'{}'", text.inner()),
        Expr::Literal(LiteralValue::Int(number)) => number.inner().to_string(),
        Expr::Literal(LiteralValue::UInt(number)) => number.inner().to_string(),
        Expr::Literal(LiteralValue::Double(number)) => number.inner().to_string(),
        Expr::Literal(LiteralValue::Boolean(truth)) => truth.inner().to_string(),
        Expr::Call(call) => format!("the result of `{}`", call.func_name),
        other => qualified(other).map_or_else(|| "this".to_owned(), |name| format!("`{name}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Filter;

    fn know(name: &str) -> Prospect {
        match name {
            "msg.type" => Prospect::Is("s:order".to_owned()),
            "Country" | "Total" | "http.method" => Prospect::Unknown,
            _ => Prospect::Absent,
        }
    }

    #[test]
    fn what_can_never_match_is_told() {
        for (source, possible) in [
            ("msg.type == 'order'", true),
            ("'order' == msg.type && Country == 'DE'", true),
            ("msg.type == 'invoice'", false),
            ("msg.type != 'invoice'", true),
            ("msg.type != 'order'", false),
            ("!(msg.type == 'order')", false),
            ("msg.type in ['invoice', 'order']", true),
            ("msg.type in ['invoice', 'note']", false),
            ("msg.type == 'invoice' || Country == 'DE'", true),
            ("msg.type == 'invoice' || Countr == 'DE'", false),
            ("Nothing != 'x'", false),
            ("Nothing > 5 && Total > 5", false),
            ("!(Nothing > 5)", false),
            ("has(http.nothing)", false),
            ("!has(http.nothing)", true),
            ("has(http.method)", true),
            ("Nothing.startsWith('x')", false),
            ("[Nothing].exists(n, n == 'x')", false),
            ("['a'].exists(n, n == Nothing)", true),
            ("size(Nothing) == 0", false),
            ("msg.type == 'order' ? Total > 1 : Nothing > 1", true),
            ("msg.type == 'note' ? Total > 1 : Nothing > 1", false),
            ("Total > 1 ? Nothing > 1 : Country == 'DE'", true),
            ("http.header['x'] == 'y'", false),
            ("true", true),
            ("false", false),
        ] {
            let filter = Filter::compile(source).expect(source);
            assert_eq!(filter.can_match(&know), possible, "{source}");
        }
    }

    #[test]
    fn a_filter_that_matches_was_possible() {
        // The other half of being careful: whatever a real message matches must have been possible.
        let mut message = crate::routing::tests::message("order");
        message.context.promote_text("Country", "DE");
        message.context.promote_text("http.method", "POST");
        let facts = crate::filter::Facts::new(&message);
        let terms = [
            "msg.type == 'order'",
            "msg.type == 'invoice'",
            "Country == 'DE'",
            "Nothing == 'x'",
            "has(http.method)",
            "has(http.nothing)",
            "Country in ['AT']",
            "['DE'].exists(c, c == Country)",
        ];
        let mut matched = 0;
        for a in terms {
            for b in terms {
                for form in ["A && B", "A || B", "!(A) || B", "!(A && B)", "A ? B : !(B)"] {
                    let source = form.replace('A', a).replace('B', b);
                    let filter = Filter::compile(&source).expect(&source);
                    if filter.matches(&facts) {
                        matched += 1;
                        assert!(filter.can_match(&know), "{source}");
                    }
                }
            }
        }
        assert!(matched > 100, "{matched} of the filters match");
    }

    #[test]
    fn things_of_different_kinds_are_told_apart() {
        let sight = |name: &str| match name {
            "Country" | "msg.type" => Some(Sight::Text),
            "Total" => Some(Sight::Number),
            "Urgent" => Some(Sight::Truth),
            _ => None,
        };
        for (source, faults) in [
            ("Total > 5 && Country == 'DE' && Urgent", vec![]),
            ("Urgent == true || Total in [1, 2.5]", vec![]),
            ("Unknown > 'x' && Unknown < 5", vec![]),
            ("['x'].exists(Total, Total == 'x')", vec![]),
            (
                "Total > 'abc'",
                vec!["1:7 `Total` is a number, but is compared with 'abc', which is text"],
            ),
            (
                "msg.type == 5",
                vec!["1:10 `msg.type` is text, but is compared with 5, which is a number"],
            ),
            (
                "Country in ['DE', 5]",
                vec!["1:9 `Country` is text, but is compared with 5, which is a number"],
            ),
            (
                "Country",
                vec!["1:1 `Country` is text, but stands where a condition belongs"],
            ),
            (
                "Urgent && !Total",
                vec!["1:12 `Total` is a number, but stands where a condition belongs"],
            ),
            (
                "Total.startsWith('1')",
                vec!["1:17 `Total` is a number, but `startsWith` looks into text"],
            ),
            (
                "size(Country) == 'x'",
                vec![
                    "1:15 the result of `size` is a number, but is compared with 'x', which is text",
                ],
            ),
        ] {
            let filter = Filter::compile(source).expect(source);
            let found: Vec<String> = filter
                .mismatches(&sight)
                .iter()
                .map(|e| format!("{}:{} {}", e.line, e.column, e.message))
                .collect();
            assert_eq!(found, faults, "{source}");
        }
    }
}
