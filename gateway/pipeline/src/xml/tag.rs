//! One whole tag or instruction.

use std::borrow::Cow;

use quayside_model::Code;

use super::names;
use crate::{Invalid, Limits, codes, decode::Encoding};

type Fault = (Code, String);

/// A start tag, as it is written.
#[derive(Debug)]
pub(super) struct StartTag<'t> {
    /// With its prefix.
    pub(super) name: &'t str,
    pub(super) attributes: Vec<RawAttribute<'t>>,
    /// Whether it is its own end.
    pub(super) empty: bool,
}

/// An attribute or namespace declaration. Its name is a qualified name.
#[derive(Debug)]
pub(super) struct RawAttribute<'t> {
    pub(super) prefix: &'t str,
    pub(super) local: &'t str,
    /// With its references resolved and its spaces normalised.
    pub(super) value: Cow<'t, str>,
}

impl<'t> StartTag<'t> {
    /// Parses what stands between `<` and `>`.
    pub(super) fn parse(inner: &'t str, limits: &Limits) -> Result<Self, Fault> {
        let (inner, empty) = match inner.strip_suffix('/') {
            Some(inner) => (inner, true),
            None => (inner, false),
        };
        let end = inner.find(names::is_space).unwrap_or(inner.len());
        let (name, rest) = inner.split_at(end);
        qualified(name, limits)?;
        Ok(Self {
            name,
            attributes: attributes(rest, limits)?,
            empty,
        })
    }

    /// Whether it says what `prefix` stands for; the empty one is the default namespace.
    pub(super) fn declares(&self, prefix: &str) -> bool {
        let mut declared = self.attributes.iter().filter_map(RawAttribute::declared);
        declared.any(|declared| declared == prefix)
    }
}

impl<'t> RawAttribute<'t> {
    /// The prefix that it declares, if it is a namespace declaration.
    pub(super) fn declared(&self) -> Option<&'t str> {
        match (self.prefix, self.local) {
            ("", "xmlns") => Some(""),
            ("xmlns", prefix) => Some(prefix),
            _ => None,
        }
    }
}

fn qualified<'t>(name: &'t str, limits: &Limits) -> Result<(&'t str, &'t str), Fault> {
    if name.len() > limits.name_bytes {
        return Err((
            codes::TOO_LONG,
            "a name is longer than the limit".to_owned(),
        ));
    }
    names::split(name).ok_or_else(|| syntax(&format!("{} is not a name", Invalid::quote(name))))
}

fn attributes<'t>(text: &'t str, limits: &Limits) -> Result<Vec<RawAttribute<'t>>, Fault> {
    let mut attributes = Vec::new();
    let mut rest = text;
    loop {
        let trimmed = rest.trim_start_matches(names::is_space);
        if trimmed.is_empty() {
            return Ok(attributes);
        }
        if trimmed.len() == rest.len() {
            return Err(syntax("attributes are separated by spaces"));
        }
        if attributes.len() == limits.attributes {
            return Err((codes::TOO_MANY, "a tag has too many attributes".to_owned()));
        }
        let (attribute, after) = attribute(trimmed, limits)?;
        attributes.push(attribute);
        rest = after;
    }
}

fn attribute<'t>(text: &'t str, limits: &Limits) -> Result<(RawAttribute<'t>, &'t str), Fault> {
    let (name, after) = text
        .split_once('=')
        .ok_or_else(|| syntax("an attribute has no value"))?;
    let (prefix, local) = qualified(names::trim_end(name), limits)?;
    let after = after.trim_start_matches(names::is_space);
    let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''));
    let quote = quote.ok_or_else(|| syntax("an attribute's value stands in quotes"))?;
    let quoted = after[1..].split_once(quote);
    let (raw, after) = quoted.ok_or_else(|| syntax("an attribute's value has no end"))?;
    if raw.len() > limits.attribute_bytes {
        return Err((
            codes::TOO_LONG,
            "an attribute is longer than the limit".to_owned(),
        ));
    }
    if names::any_forbidden(raw) {
        return Err((
            codes::CHARACTER,
            "an attribute has a character that XML forbids".to_owned(),
        ));
    }
    Ok((
        RawAttribute {
            prefix,
            local,
            value: value(raw)?,
        },
        after,
    ))
}

/// The value of an attribute: line ends and tabs are spaces, references what they stand for.
fn value(raw: &str) -> Result<Cow<'_, str>, Fault> {
    if !raw.contains(['&', '\t', '\n', '\r']) {
        return Ok(Cow::Borrowed(raw));
    }
    let mut value = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find(['&', '\t', '\n', '\r']) {
        value.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix('&') {
            let end = after
                .find(|c| !names::in_reference(c))
                .unwrap_or(after.len());
            let Some(next) = after[end..].strip_prefix(';') else {
                return Err(syntax(
                    "`&` has to be written `&amp;`, and a reference ends with `;`",
                ));
            };
            value.push(names::resolve(&after[..end])?);
            rest = next;
        } else {
            value.push(' ');
            rest = rest.strip_prefix("\r\n").unwrap_or(&rest[1..]);
        }
    }
    value.push_str(rest);
    Ok(Cow::Owned(value))
}

/// Checks a whole `<?...?>`. The XML declaration may only stand at the very start, and may only say
/// what the bytes already did.
pub(super) fn instruction(whole: &str, at_start: bool, encoding: Encoding) -> Result<(), Fault> {
    let Some(inner) = whole.strip_prefix("<?").and_then(|t| t.strip_suffix("?>")) else {
        return Err(syntax("a processing instruction has no name"));
    };
    let end = inner.find(names::is_space).unwrap_or(inner.len());
    let (target, rest) = inner.split_at(end);
    if !names::is_name(target) {
        return Err(syntax("a processing instruction has no name"));
    }
    if names::any_forbidden(rest) {
        return Err((
            codes::CHARACTER,
            "an instruction has a character that XML forbids".to_owned(),
        ));
    }
    if !target.eq_ignore_ascii_case("xml") {
        return Ok(());
    }
    if target != "xml" || !at_start {
        return Err(syntax(
            "an XML declaration stands at the very start, in small letters",
        ));
    }
    declaration(rest, encoding)
}

fn declaration(text: &str, encoding: Encoding) -> Result<(), Fault> {
    let said = attributes(text, &Limits::default())?;
    let said: Vec<(&str, &str)> = said
        .iter()
        .filter(|a| a.prefix.is_empty())
        .map(|a| (a.local, &*a.value))
        .collect();
    let (version, others) = match said.split_first() {
        Some((("version", version), others)) => (*version, others),
        _ => return Err(syntax("an XML declaration begins with the version")),
    };
    if version != "1.0" {
        return Err(syntax(&format!(
            "version {} is not supported",
            Invalid::quote(version)
        )));
    }
    let (declared, others) = match others.split_first() {
        Some((("encoding", declared), others)) => (Some(*declared), others),
        _ => (None, others),
    };
    if !matches!(others, [] | [("standalone", "yes" | "no")]) {
        return Err(syntax(
            "an XML declaration has version, encoding and standalone, in this order",
        ));
    }
    match declared {
        Some(declared) if !same(declared, encoding) => {
            let detail = format!(
                "the document says {}, its bytes do not",
                Invalid::quote(declared)
            );
            Err((codes::ENCODING, detail))
        }
        _ => Ok(()),
    }
}

fn same(declared: &str, encoding: Encoding) -> bool {
    let names: &[&str] = match encoding {
        Encoding::Utf8 => &["utf-8", "utf8", "us-ascii", "ascii"],
        Encoding::Utf16 { .. } => &["utf-16", "utf-16le", "utf-16be", "iso-10646-ucs-2"],
    };
    names.iter().any(|name| name.eq_ignore_ascii_case(declared))
}

fn syntax(detail: &str) -> Fault {
    (codes::XML_SYNTAX, detail.to_owned())
}
