//! The open elements and the namespaces in force.

use quayside_model::Code;

use super::{collect::Attribute, names, tag::StartTag};
use crate::{Invalid, Limits, codes};

type Fault = (Code, String);

/// Namespaces that no element can be in.
pub(crate) const RESERVED: [&str; 2] = [XML, XMLNS];
const XML: &str = "http://www.w3.org/XML/1998/namespace";
const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

/// The open elements and the namespaces in force.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// The names of the open elements, one after the other.
    names: String,
    /// Where each begins.
    starts: Vec<usize>,
    bindings: Vec<Binding>,
}

#[derive(Debug)]
struct Binding {
    depth: usize,
    prefix: String,
    uri: String,
}

impl Scope {
    /// Opens the element of `tag` with its namespace declarations.
    pub(super) fn enter(&mut self, tag: &StartTag<'_>, limits: &Limits) -> Result<(), Fault> {
        if self.starts.len() == limits.depth {
            return Err((
                codes::TOO_DEEP,
                "elements are nested deeper than the limit".to_owned(),
            ));
        }
        self.starts.push(self.names.len());
        self.names.push_str(tag.name);
        for attribute in &tag.attributes {
            if let Some(prefix) = attribute.declared() {
                self.declare(prefix, &attribute.value, limits)?;
            }
        }
        Ok(())
    }

    fn declare(&mut self, prefix: &str, uri: &str, limits: &Limits) -> Result<(), Fault> {
        if uri.len() > limits.name_bytes {
            return Err((
                codes::TOO_LONG,
                "a namespace is longer than the limit".to_owned(),
            ));
        }
        if self.bindings.len() == limits.attributes {
            return Err((
                codes::TOO_MANY,
                "too many namespaces are in force".to_owned(),
            ));
        }
        let allowed = match prefix {
            "xmlns" => false,
            "xml" => uri == XML,
            "" => uri != XML && uri != XMLNS,
            _ => !uri.is_empty() && uri != XML && uri != XMLNS,
        };
        if !allowed {
            let detail = format!("the prefix `{prefix}` cannot be declared like this");
            return Err((codes::UNDECLARED_PREFIX, detail));
        }
        let depth = self.starts.len();
        if self
            .bindings
            .iter()
            .rev()
            .any(|b| b.depth == depth && b.prefix == prefix)
        {
            let detail = format!("the prefix `{prefix}` is declared twice");
            return Err((codes::DUPLICATE_ATTRIBUTE, detail));
        }
        self.bindings.push(Binding {
            depth,
            prefix: prefix.to_owned(),
            uri: uri.to_owned(),
        });
        Ok(())
    }

    /// Namespace and local name of the element `name`.
    pub(super) fn element<'s, 't: 's>(
        &'s self,
        name: &'t str,
    ) -> Result<(&'s str, &'t str), Fault> {
        let (prefix, local) = names::split(name).expect("the tag was parsed by the same rule");
        Ok((self.namespace(prefix)?, local))
    }

    /// The attributes of `tag`, without the namespace declarations.
    pub(super) fn attributes<'s, 't: 's>(
        &'s self,
        tag: &'t StartTag<'_>,
    ) -> Result<Vec<Attribute<'s>>, Fault> {
        let mut attributes = Vec::with_capacity(tag.attributes.len());
        for raw in tag.attributes.iter().filter(|raw| raw.declared().is_none()) {
            // An attribute without prefix is in no namespace, whatever the default one is.
            let namespace = if raw.prefix.is_empty() {
                ""
            } else {
                self.namespace(raw.prefix)?
            };
            attributes.push(Attribute {
                namespace,
                local: raw.local,
                value: &raw.value,
            });
        }
        unique(&attributes)?;
        Ok(attributes)
    }

    fn namespace(&self, prefix: &str) -> Result<&str, Fault> {
        let bound = self.bindings.iter().rev().find(|b| b.prefix == prefix);
        match (bound, prefix) {
            (Some(binding), _) => Ok(&binding.uri),
            (None, "") => Ok(""),
            (None, "xml") => Ok(XML),
            (None, _) => {
                let detail = format!("the prefix {} is not declared", Invalid::quote(prefix));
                Err((codes::UNDECLARED_PREFIX, detail))
            }
        }
    }

    /// The namespaces in force around the innermost element, by prefix.
    pub(super) fn around(&self) -> impl Iterator<Item = (&str, &str)> {
        let depth = self.starts.len();
        let outer = self.bindings.partition_point(|b| b.depth < depth);
        let outer = &self.bindings[..outer];
        let in_force = outer.iter().enumerate().filter(move |(i, binding)| {
            let hidden = outer[i + 1..].iter().any(|b| b.prefix == binding.prefix);
            // `xml` needs no declaration, and an empty default namespace is what there is without one.
            !hidden && binding.prefix != "xml" && !binding.uri.is_empty()
        });
        in_force.map(|(_, binding)| (&*binding.prefix, &*binding.uri))
    }

    /// The name of the innermost open element.
    pub(super) fn innermost(&self) -> Option<&str> {
        self.starts.last().map(|&start| &self.names[start..])
    }

    /// Closes the innermost element; returns how many are open then.
    pub(super) fn leave(&mut self) -> usize {
        let depth = self.starts.len();
        if let Some(start) = self.starts.pop() {
            self.names.truncate(start);
        }
        while self.bindings.last().is_some_and(|b| b.depth == depth) {
            self.bindings.pop();
        }
        self.starts.len()
    }
}

fn unique(attributes: &[Attribute<'_>]) -> Result<(), Fault> {
    if attributes.len() < 2 {
        return Ok(());
    }
    let mut names: Vec<_> = attributes.iter().map(|a| (a.local, a.namespace)).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => {
            let detail = format!("the attribute {} occurs twice", Invalid::quote(pair[0].0));
            Err((codes::DUPLICATE_ATTRIBUTE, detail))
        }
    }
}
