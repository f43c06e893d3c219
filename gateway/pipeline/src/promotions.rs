//! Which values of a message become properties.

use std::{collections::BTreeMap, sync::Arc};

use quayside_model::{Fault, Name, ValueType};
use serde::Deserialize;

use crate::{
    Kind, codes,
    jsonpath::JsonPath,
    xpath::{XPath, XPathError},
};

/// One promotion as it is configured in `[message.NAME.promote]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Where the value is in XML.
    #[serde(default)]
    pub xpath: Option<String>,
    /// Where the value is in JSON.
    #[serde(default)]
    pub jsonpath: Option<String>,
    /// Its type. Default: string.
    #[serde(default, rename = "type")]
    pub value_type: ValueType,
    /// Whether a message without it is refused. Default: no.
    #[serde(default)]
    pub required: bool,
}

impl Rule {
    /// An optional string found by `xpath`.
    #[must_use]
    pub fn xpath(xpath: &str) -> Self {
        Self {
            xpath: Some(xpath.to_owned()),
            ..Self::default()
        }
    }

    /// An optional string found by `jsonpath`.
    #[must_use]
    pub fn jsonpath(jsonpath: &str) -> Self {
        Self {
            jsonpath: Some(jsonpath.to_owned()),
            ..Self::default()
        }
    }
}

/// The compiled promotions of one type of message. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Promotions {
    rules: Arc<[Compiled]>,
}

/// One compiled promotion; at least one of the paths is there.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) name: Name,
    pub(crate) xpath: Option<XPath>,
    pub(crate) jsonpath: Option<JsonPath>,
    pub(crate) value_type: ValueType,
    pub(crate) required: bool,
}

impl Promotions {
    /// Compiles `rules`, by property name. `namespaces` gives what the prefixes in XPaths stand for.
    ///
    /// # Errors
    /// Every fault, at the property and key.
    pub fn compile(
        namespaces: &BTreeMap<String, String>,
        rules: &BTreeMap<String, Rule>,
    ) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let compiled: Vec<_> = rules
            .iter()
            .filter_map(|(name, rule)| Compiled::new(name, rule, namespaces, &mut faults))
            .collect();
        if faults.is_empty() {
            Ok(Self {
                rules: compiled.into(),
            })
        } else {
            Err(faults)
        }
    }

    /// The properties that these promotions can set, with their types, in the order of their names.
    pub fn properties(&self) -> impl Iterator<Item = (&Name, ValueType)> {
        self.rules.iter().map(|rule| (&rule.name, rule.value_type))
    }

    pub(crate) fn rules(&self) -> &[Compiled] {
        &self.rules
    }

    /// Whether a body of `kind` can be of this type: it is not if everything is found in another kind,
    /// or something required is.
    pub(crate) fn speaks(&self, kind: Kind) -> bool {
        let found_in = |rule: &Compiled| match kind {
            Kind::Xml => rule.xpath.is_some(),
            Kind::Json => rule.jsonpath.is_some(),
            Kind::Opaque => false,
        };
        let required = self.rules.iter().filter(|rule| rule.required).all(found_in);
        required
            && (self.rules.is_empty() || kind == Kind::Opaque || self.rules.iter().any(found_in))
    }
}

/// `name` as that of a property, if it can be one. A name with a dot would be taken for one of the gateway's
/// own, such as `msg.type`.
pub(crate) fn property(name: &str) -> Option<Name> {
    Name::new(name).ok().filter(|name| !name.contains('.'))
}

impl Compiled {
    fn new(
        name: &str,
        rule: &Rule,
        namespaces: &BTreeMap<String, String>,
        faults: &mut Vec<Fault>,
    ) -> Option<Self> {
        let before = faults.len();
        let mut fault =
            |code, path: &[&str], message| faults.push(Fault::error(code, path, message));
        let valid = property(name);
        if valid.is_none() {
            fault(
                codes::RULE,
                &[name],
                format!("`{name}` cannot be the name of a property"),
            );
        }
        if rule.xpath.is_none() && rule.jsonpath.is_none() {
            fault(
                codes::RULE,
                &[name],
                "neither `xpath` nor `jsonpath` is given".to_owned(),
            );
        }
        let xpath = rule
            .xpath
            .as_ref()
            .and_then(|text| match XPath::parse(text, namespaces) {
                Ok(path) => Some(path),
                Err(XPathError::Unsupported(detail)) => {
                    fault(
                        codes::XPATH,
                        &[name, "xpath"],
                        format!("`{text}`: {detail}"),
                    );
                    None
                }
                Err(XPathError::Prefix(prefix)) => {
                    let message = format!("`{text}`: the prefix `{prefix}` is not declared");
                    fault(codes::UNKNOWN_PREFIX, &[name, "xpath"], message);
                    None
                }
            });
        let jsonpath = rule.jsonpath.as_ref().and_then(|text| {
            JsonPath::parse(text)
                .map_err(|e| {
                    fault(
                        codes::JSONPATH,
                        &[name, "jsonpath"],
                        format!("`{text}`: {e}"),
                    )
                })
                .ok()
        });
        let name = valid.filter(|_| faults.len() == before)?;
        Some(Self {
            name,
            xpath,
            jsonpath,
            value_type: rule.value_type,
            required: rule.required,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_reported_at_its_place() {
        let rules = BTreeMap::from([
            ("Good".to_owned(), Rule::xpath("/a/b")),
            ("a.b".to_owned(), Rule::xpath("/a")),
            ("Deep".to_owned(), Rule::xpath("//a")),
            ("Prefix".to_owned(), Rule::xpath("/x:a")),
            ("Star".to_owned(), Rule::jsonpath("$.a[*]")),
            ("None".to_owned(), Rule::default()),
        ]);
        let faults = Promotions::compile(&BTreeMap::new(), &rules).expect_err("five faults");
        let found: Vec<_> = faults.iter().map(|f| (f.code, f.path.join("."))).collect();
        assert_eq!(
            found,
            [
                (codes::XPATH, "Deep.xpath".to_owned()),
                (codes::RULE, "None".to_owned()),
                (codes::UNKNOWN_PREFIX, "Prefix.xpath".to_owned()),
                (codes::JSONPATH, "Star.jsonpath".to_owned()),
                (codes::RULE, "a.b".to_owned()),
            ]
        );
    }
}
