//! Function calls in paths, as far as a look without a grammar finds them.

/// Functions that read files.
pub(super) const READS: [&str; 8] = [
    "document",
    "doc",
    "doc-available",
    "collection",
    "uri-collection",
    "unparsed-text",
    "unparsed-text-lines",
    "unparsed-text-available",
];

/// A call of a function.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call<'e> {
    pub(super) prefix: &'e str,
    pub(super) name: &'e str,
    /// Its argument, if that is one text.
    pub(super) literal: Option<&'e str>,
}

/// The calls in an expression.
pub(super) fn of(expression: &str) -> Vec<Call<'_>> {
    let mut calls = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        if matches!(first, '\'' | '"') {
            rest = literal(rest).map_or("", |(_, after)| after);
            continue;
        }
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        if end == 0 {
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let word = &rest[..end];
        rest = &rest[end..];
        let Some(arguments) = rest.trim_start().strip_prefix('(') else {
            continue;
        };
        let (prefix, name) = word.rsplit_once(':').unwrap_or(("", word));
        // An axis, as in `self::text()`, ends with two colons.
        if prefix.ends_with(':') {
            continue;
        }
        let only = literal(arguments.trim_start())
            .filter(|(_, after)| after.trim_start().starts_with(')'));
        calls.push(Call {
            prefix,
            name,
            literal: only.map(|(text, _)| text),
        });
    }
    calls
}

/// The expressions in braces of a value that is copied otherwise.
pub(super) fn in_braces(value: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = value;
    while let Some(at) = rest.find('{') {
        rest = &rest[at + 1..];
        if let Some(doubled) = rest.strip_prefix('{') {
            rest = doubled;
            continue;
        }
        let end = end_of_braces(rest);
        found.push(&rest[..end]);
        rest = &rest[end..];
    }
    found
}

/// Where the brace that has been opened before `text` is closed: not inside of a quoted text.
fn end_of_braces(text: &str) -> usize {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '}') => return at,
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    text.len()
}

/// The functions that a block of C#, or of a script, declares.
pub(super) fn declared(code: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for (at, _) in code
        .match_indices("public ")
        .chain(code.match_indices("function "))
    {
        let line = code[at..].lines().next().unwrap_or_default();
        let name = line
            .split('(')
            .next()
            .filter(|before| before.len() < line.len());
        let name = name.and_then(|before| before.split_whitespace().last());
        names.extend(name);
    }
    names.truncate(8);
    names
}

/// A quoted text at the beginning of `text`, and what stands behind it.
fn literal(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let inner = &text[1..];
    let end = inner.find(quote)?;
    Some((&inner[..end], &inner[end + 1..]))
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_found_and_texts_are_not_looked_into() {
        let call = |prefix, name, literal| Call {
            prefix,
            name,
            literal,
        };
        let cases = [
            ("concat('document(x)', 1)", vec![call("", "concat", None)]),
            (
                "document( 'a.xml' )/b[count(c) > 1]",
                vec![call("", "document", Some("a.xml")), call("", "count", None)],
            ),
            ("document(@href)", vec![call("", "document", None)]),
            ("document('a.xml', /)", vec![call("", "document", None)]),
            ("s0:f(1)", vec![call("s0", "f", None)]),
            ("self::document", vec![]),
            ("$document + document", vec![]),
            ("'open", vec![]),
        ];
        for (expression, expected) in cases {
            assert_eq!(of(expression), expected, "{expression}");
        }
    }

    #[test]
    fn what_stands_in_braces_is_found() {
        assert_eq!(in_braces("a{b}c{{d}}{'}'}"), ["b", "'}'"]);
        assert_eq!(in_braces("no"), Vec::<&str>::new());
        assert_eq!(in_braces("{open"), ["open"]);
    }

    #[test]
    fn functions_of_a_script_are_named() {
        let code = "public string First(string a)\n{ }\npublic int x;\nfunction second (a) {}";
        assert_eq!(declared(code), ["First", "second"]);
    }
}
