//! The URL of a send transport: a fixed origin, and placeholders in path and query.
//!
//! Each placeholder is a template of its own, so that its value is encoded as data before it becomes a
//! part of the URL: no value can add a segment, a parameter or another host.

use std::collections::BTreeMap;

use quayside_adapter_api::{AdapterError, ErrorKind, model::Text};
use reqwest::Url;

use crate::{error::BAD_RENDERING, form};

/// A URL with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pieces: Vec<Piece>,
    /// The URL with every placeholder replaced by `x`: for what does not depend on a message.
    sample: Url,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    /// The text between the braces, braces included, and whether it stands in the query.
    Placeholder {
        template: String,
        in_query: bool,
    },
}

impl Target {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let rest = ["http://", "https://"]
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme))
            .ok_or("a URL starts with http:// or https://")?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.is_empty() || authority.contains(['{', '}']) {
            return Err("the host of a URL is fixed: placeholders stand behind it".to_owned());
        }
        if url.contains('#') {
            return Err("a URL that is sent to has no fragment".to_owned());
        }
        let pieces = split(url)?;
        let sample = join(&pieces, |_, _, _| Ok::<_, String>("x".to_owned()))?;
        let sample = Url::parse(&sample).map_err(|error| error.to_string())?;
        Ok(Self { pieces, sample })
    }

    /// Its placeholders, by the key under which their values come back.
    pub(crate) fn templates(&self) -> impl Iterator<Item = (String, String)> {
        self.pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Placeholder { template, .. } => Some(template.clone()),
                Piece::Literal(_) => None,
            })
            .enumerate()
            .map(|(no, template)| (key(no), template))
    }

    /// The URL of one message.
    ///
    /// # Errors
    /// `Rejected` if a value is missing, is empty in the path or would lead out of the path.
    pub(crate) fn render(&self, values: &BTreeMap<String, Text>) -> Result<Url, AdapterError> {
        if self.is_fixed() {
            return Ok(self.sample.clone());
        }
        let text = join(&self.pieces, |no, template, in_query| {
            let value = values.get(&key(no)).map_or("", Text::as_str);
            if value.is_empty() && !in_query {
                return Err(rejected(format!("`{template}` of the URL gave nothing")));
            }
            Ok(form::encode(value))
        })?;
        let path = text.split('?').next().unwrap_or_default();
        if path.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(rejected(format!("`{path}` leads out of the URL's path")));
        }
        Url::parse(&text).map_err(|error| rejected(format!("`{text}`: {error}")))
    }

    /// Whether there is no placeholder.
    pub(crate) fn is_fixed(&self) -> bool {
        self.pieces
            .iter()
            .all(|piece| matches!(piece, Piece::Literal(_)))
    }

    /// The URL with every placeholder replaced by `x`.
    pub(crate) fn sample(&self) -> &Url {
        &self.sample
    }

    /// Whether a user name or a password stands in it.
    pub(crate) fn has_credentials(&self) -> bool {
        !self.sample.username().is_empty() || self.sample.password().is_some()
    }

    /// The names of the query's parameters that have a literal value.
    pub(crate) fn literal_query_names(&self) -> impl Iterator<Item = &str> {
        self.sample
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .filter(|(_, value)| !value.is_empty() && *value != "x")
            .map(|(name, _)| name)
    }
}

fn key(no: usize) -> String {
    format!("url.{no}")
}

fn rejected(detail: String) -> AdapterError {
    AdapterError::new(ErrorKind::Rejected, BAD_RENDERING, detail)
}

fn split(url: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut in_query = false;
    let mut rest = url;
    while let Some(open) = rest.find(['{', '}']) {
        let (literal, tail) = rest.split_at(open);
        let close = tail.find('}').filter(|_| tail.starts_with('{'));
        let close = close.ok_or("a brace is not closed or not opened")?;
        let (template, after) = tail.split_at(close + 1);
        if template.len() == 2 || template[1..].contains('{') {
            return Err(format!("`{template}` is no placeholder"));
        }
        in_query |= literal.contains('?');
        pieces.push(Piece::Literal(literal.to_owned()));
        pieces.push(Piece::Placeholder {
            template: template.to_owned(),
            in_query,
        });
        rest = after;
    }
    pieces.push(Piece::Literal(rest.to_owned()));
    Ok(pieces)
}

fn join<E>(
    pieces: &[Piece],
    mut value: impl FnMut(usize, &str, bool) -> Result<String, E>,
) -> Result<String, E> {
    let mut text = String::new();
    let mut no = 0;
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Placeholder { template, in_query } => {
                text.push_str(&value(no, template, *in_query)?);
                no += 1;
            }
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(url: &str, values: &[&str]) -> Result<String, AdapterError> {
        let target = Target::parse(url).unwrap();
        let values = values
            .iter()
            .enumerate()
            .map(|(no, value)| (key(no), Text::lossy(value)))
            .collect();
        target.render(&values).map(String::from)
    }

    #[test]
    fn values_stay_data() {
        let url = "https://erp.example/orders/{OrderId}?by={msg.id}";
        for (order, want) in [
            ("17", "https://erp.example/orders/17?by=1"),
            ("a/b", "https://erp.example/orders/a%2Fb?by=1"),
            ("a?x=1#f", "https://erp.example/orders/a%3Fx%3D1%23f?by=1"),
            (
                "@evil.example",
                "https://erp.example/orders/%40evil.example?by=1",
            ),
        ] {
            assert_eq!(render(url, &[order, "1"]).as_deref(), Ok(want));
        }
        for order in ["", ".", ".."] {
            let error = render(url, &[order, "1"]).expect_err(order);
            assert_eq!(
                (error.kind, error.code),
                (ErrorKind::Rejected, BAD_RENDERING)
            );
        }
    }

    #[test]
    fn a_wrong_url_is_found_before_it_is_used() {
        for url in [
            "ftp://a/",
            "https:///x",
            "https://{Host}/x",
            "https://a.{Host}/x",
            "https://a/{x",
            "https://a/x}",
            "https://a/{}",
            "https://a/{a{b}}",
            "https://a/x#y",
            "https://a:99999/",
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn placeholders_are_templates_of_their_own() {
        let target = Target::parse("http://a/{OrderId}/x-{msg.id}").unwrap();
        let templates: Vec<_> = target.templates().collect();
        assert_eq!(
            templates,
            [
                ("url.0".into(), "{OrderId}".into()),
                ("url.1".into(), "{msg.id}".into())
            ]
        );
        assert!(!target.is_fixed());
    }
}
