//! Which values of a message become properties.

use std::{collections::BTreeMap, sync::Arc};

use quayside_model::{Code, Fault, Name, Value, ValueType};
use serde::Deserialize;

use crate::{
    Invalid, Kind, codes,
    found::Found,
    jsonpath::JsonPath,
    map::{MapError, Selector, texts_of},
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
    /// An XPath that cannot be followed while the document comes in.
    pub(crate) whole: Option<Selector>,
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

    /// The properties for which a document of XML has to be in memory as a whole, in the order of their names.
    pub fn need_whole(&self) -> impl Iterator<Item = &Name> {
        let whole = self.rules.iter().filter(|rule| rule.whole.is_some());
        whole.map(|rule| &rule.name)
    }

    /// What is promoted of `body`, a well-formed document of XML, by the paths that need the whole of it. Bounded as
    /// the sources of maps are.
    ///
    /// # Errors
    /// That the document is too large, a path takes too much work on it, or a value is not as its promotion says.
    pub fn whole(&self, body: &[u8]) -> Result<Vec<(Name, Value)>, Invalid> {
        let whole = || self.rules.iter().enumerate();
        let whole = || whole().filter_map(|(rule, r)| Some((rule, r.whole.as_ref()?)));
        let texts = texts_of(whole().map(|(_, path)| path), body).map_err(in_promotions)?;
        let mut found = Found::new(&self.rules);
        for ((rule, _), texts) in whole().zip(&texts) {
            for text in texts {
                found.set(rule, text, 0)?;
            }
            if texts.is_empty() && self.rules[rule].required {
                return Err(found.fault(rule, codes::REQUIRED, 0, "is not in the message"));
            }
        }
        Ok(found.there())
    }

    pub(crate) fn rules(&self) -> &[Compiled] {
        &self.rules
    }

    /// Whether a body of `kind` can be of this type: it is not if everything is found in another kind,
    /// or something required is.
    pub(crate) fn speaks(&self, kind: Kind) -> bool {
        let found_in = |rule: &Compiled| match kind {
            Kind::Xml => rule.xpath.is_some() || rule.whole.is_some(),
            Kind::Json => rule.jsonpath.is_some(),
            Kind::Opaque => false,
        };
        let required = self.rules.iter().filter(|rule| rule.required).all(found_in);
        required
            && (self.rules.is_empty() || kind == Kind::Opaque || self.rules.iter().any(found_in))
    }
}

/// What keeps paths from being followed, as the fault of a message.
fn in_promotions(error: MapError) -> Invalid {
    let code = match error.code {
        codes::MAP_INPUT_TOO_LARGE => codes::WHOLE_TOO_LARGE,
        codes::MAP_WORK | codes::MAP_EVALUATION => codes::WHOLE_WORK,
        code => code,
    };
    Invalid::new(code, 0, error.detail)
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
        let path = rule.xpath.as_ref().map(|text| paths(text, namespaces));
        let (xpath, whole) = match path.transpose() {
            Ok(path) => path.unwrap_or_default(),
            Err((code, message)) => {
                fault(code, &[name, "xpath"], message);
                (None, None)
            }
        };
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
            whole,
            jsonpath,
            value_type: rule.value_type,
            required: rule.required,
        })
    }
}

/// An XPath as one that can be followed in a stream, or as one that needs the whole document.
fn paths(
    text: &str,
    namespaces: &BTreeMap<String, String>,
) -> Result<(Option<XPath>, Option<Selector>), (Code, String)> {
    let detail = match XPath::parse(text, namespaces) {
        Ok(path) => return Ok((Some(path), None)),
        Err(XPathError::Unsupported(detail)) => detail,
        Err(XPathError::Prefix(prefix)) => {
            let message = format!("`{text}`: the prefix `{prefix}` is not declared");
            return Err((codes::UNKNOWN_PREFIX, message));
        }
    };
    // A JSONPath in the wrong place would be one to the selector.
    if text.starts_with('$') {
        return Err((codes::XPATH, format!("`{text}`: {detail}")));
    }
    match Selector::compile(text, namespaces) {
        Ok(path) => Ok((None, Some(path))),
        Err(why) => Err((codes::XPATH, format!("`{text}`: {why}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Scanner};

    #[test]
    fn every_fault_is_reported_at_its_place() {
        let rules = BTreeMap::from([
            ("Good".to_owned(), Rule::xpath("/a/b")),
            ("a.b".to_owned(), Rule::xpath("/a")),
            ("Deep".to_owned(), Rule::xpath("//a")),
            ("Open".to_owned(), Rule::xpath("/a[")),
            ("Dollar".to_owned(), Rule::xpath("$.a")),
            ("Prefix".to_owned(), Rule::xpath("/x:a")),
            ("Star".to_owned(), Rule::jsonpath("$.a[*]")),
            ("None".to_owned(), Rule::default()),
        ]);
        let faults = Promotions::compile(&BTreeMap::new(), &rules).expect_err("five faults");
        let found: Vec<_> = faults.iter().map(|f| (f.code, f.path.join("."))).collect();
        assert_eq!(
            found,
            [
                (codes::XPATH, "Dollar.xpath".to_owned()),
                (codes::RULE, "None".to_owned()),
                (codes::XPATH, "Open.xpath".to_owned()),
                (codes::UNKNOWN_PREFIX, "Prefix.xpath".to_owned()),
                (codes::JSONPATH, "Star.jsonpath".to_owned()),
                (codes::RULE, "a.b".to_owned()),
            ]
        );
    }
    #[test]
    fn what_no_stream_can_follow_is_found_in_the_whole_document() {
        let rule = |xpath: &str, value_type, required| Rule {
            value_type,
            required,
            ..Rule::xpath(xpath)
        };
        let rules = BTreeMap::from([
            (
                "Lines".to_owned(),
                rule("count(//o:Line)", ValueType::Integer, true),
            ),
            (
                "Last".to_owned(),
                rule("//o:Line[last()]/@sku", ValueType::String, true),
            ),
            (
                "Id".to_owned(),
                rule("/o:Order/o:Id", ValueType::String, true),
            ),
            (
                "Note".to_owned(),
                rule("//o:Note", ValueType::String, false),
            ),
        ]);
        let namespaces = BTreeMap::from([("o".to_owned(), "urn:o".to_owned())]);
        let promotions = Promotions::compile(&namespaces, &rules).expect("no fault");
        let names: Vec<&str> = promotions.need_whole().map(|name| name.as_str()).collect();
        assert_eq!(names, ["Last", "Lines", "Note"]);

        let body = b"<Order xmlns='urn:o'><Id>7</Id><Line sku='a'/><Line sku='b'/></Order>";
        let found = promotions.whole(body).expect("all that is required");
        let found: Vec<String> = found
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(found, ["Last=b", "Lines=2"]);
        // The stream finds the rest, and does not miss what is found here.
        let mut scanner = Scanner::new(Kind::Xml, vec![(None, &promotions)], Limits::default());
        scanner.push(body).expect("well-formed");
        let scanned = scanner.finish().expect("a whole document");
        assert_eq!(scanned.properties.len(), 1, "{scanned:?}");

        let code = |body: &str| promotions.whole(body.as_bytes()).expect_err("a fault").code;
        assert_eq!(code("<Order xmlns='urn:o'/>"), codes::REQUIRED);
        let two = "<Order xmlns='urn:o'><Line sku='a'/><Note>1</Note><Note>2</Note></Order>";
        assert_eq!(code(two), codes::REPEATED);
        let large = format!("<Order>{}</Order>", "x".repeat(5 * 1024 * 1024));
        assert_eq!(code(&large), codes::WHOLE_TOO_LARGE);
    }
}
