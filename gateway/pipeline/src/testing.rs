//! What the tests of both formats have in common.

use std::collections::BTreeMap;

use crate::{Expected, Invalid, Kind, Limits, Promotions, Rule, Scanned, Scanner};

/// Promotions of these rules; in their XPaths `o` stands for `urn:o`.
pub(crate) fn promotions(rules: impl IntoIterator<Item = (&'static str, Rule)>) -> Promotions {
    let namespaces = BTreeMap::from([("o".to_owned(), "urn:o".to_owned())]);
    let rules = rules
        .into_iter()
        .map(|(name, rule)| (name.to_owned(), rule))
        .collect();
    Promotions::compile(&namespaces, &rules).expect("paths of the subset")
}

/// Scans a body that comes in one piece.
pub(crate) fn scan(
    kind: Kind,
    expected: Vec<Expected<'_>>,
    body: &str,
) -> Result<Scanned, Invalid> {
    let mut scanner = Scanner::new(kind, expected, Limits::default());
    scanner.push(body.as_bytes())?;
    scanner.finish()
}

/// The properties as `NAME=VALUE`.
pub(crate) fn shown(scanned: &Scanned) -> Vec<String> {
    scanned
        .properties
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}
