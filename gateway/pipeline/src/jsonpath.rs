//! The JSONPath subset of promotions: member names and array positions from the root.

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// The member of this name.
    Member(String),
    /// The element at this position, from 0.
    Element(u64),
}

/// A compiled path: at least one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JsonPath(pub(crate) Vec<Step>);

impl JsonPath {
    /// Compiles `text`.
    ///
    /// # Errors
    /// What is not supported, with the place in bytes.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some(mut rest) = text.strip_prefix('$') else {
            return Err("a JSONPath starts with `$`".to_owned());
        };
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let at = text.len() - rest.len();
            let (step, after) = step(rest).ok_or_else(|| {
                format!("expected `.name`, `['name']` or `[position]` at byte {at}")
            })?;
            steps.push(step);
            rest = after;
        }
        if steps.is_empty() {
            return Err("the root itself is no value: name a member".to_owned());
        }
        Ok(Self(steps))
    }
}

fn step(text: &str) -> Option<(Step, &str)> {
    if let Some(rest) = text.strip_prefix('.') {
        let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        return (!name.is_empty()).then(|| (Step::Member(name.to_owned()), after));
    }
    let rest = text.strip_prefix('[')?;
    let quote = rest.chars().next()?;
    if quote == '\'' || quote == '"' {
        let (name, after) = rest[1..].split_once(quote)?;
        // Escapes inside of the quotes are left out of the subset: refused, not misread.
        let plain = !name.contains('\\');
        return plain.then_some((Step::Member(name.to_owned()), after.strip_prefix(']')?));
    }
    let (digits, after) = rest.split_once(']')?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    plain.then_some((Step::Element(digits.parse().ok()?), after))
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-' || c == '$' || c == '@'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subset_is_read_and_the_rest_refused() {
        let member = |name: &str| Step::Member(name.to_owned());
        for (text, steps) in [
            ("$.a", vec![member("a")]),
            (
                "$.order.lines[0].sku",
                vec![
                    member("order"),
                    member("lines"),
                    Step::Element(0),
                    member("sku"),
                ],
            ),
            ("$['a b'][\"c.d\"]", vec![member("a b"), member("c.d")]),
            ("$[7]", vec![Step::Element(7)]),
        ] {
            assert_eq!(JsonPath::parse(text), Ok(JsonPath(steps)), "{text}");
        }
        for text in [
            "",
            "$",
            "a.b",
            "$..a",
            "$.a[*]",
            "$.a[-1]",
            "$.a[?(@.b)]",
            "$.",
            "$['a",
            "$.a[]",
            "$.a b",
        ] {
            assert!(JsonPath::parse(text).is_err(), "{text}");
        }
    }
}
