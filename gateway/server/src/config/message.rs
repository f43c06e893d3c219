//! `[message.NAME]`: a type of message and what is promoted from it.

use std::{collections::BTreeMap, sync::Arc};

use quayside_adapter_api::config::parse;
use quayside_engine::plan::MessagePlan;
use quayside_model::{Fault, Name};
use quayside_pipeline::{Promotions, Rule, Schema, codes as pipeline};

use super::{app::Reading, codes, section::Section, spans::Node, transport::put_back};

/// A message as it was written, for whoever has to make an example of it.
#[derive(Debug, Clone)]
pub(crate) struct Outline {
    /// `APP.MESSAGE`.
    pub(crate) name: Name,
    /// `namespace#root`.
    pub(crate) message_type: Option<String>,
    /// What the prefixes in its paths stand for.
    pub(crate) namespaces: BTreeMap<String, String>,
    /// What is promoted from it.
    pub(crate) rules: BTreeMap<String, Rule>,
}

/// Reads one message: without a plan after a fault. `None` if it has no proper name.
pub(crate) fn read(
    reading: &Reading<'_>,
    name: &str,
    section: Section<'_>,
) -> Option<(Option<Arc<MessagePlan>>, Outline)> {
    let message_type = section.text("type").map(str::to_owned);
    let namespaces = namespaces(&section);
    let (rules, paths) = rules(&section);
    let mut compiled = rules.clone();
    let is_whole = paths.is_empty();
    compiled.extend(paths);
    let promotions = Promotions::compile(&namespaces, &compiled);
    let full = reading.full_name(&section, &[name]);
    let promotions = match promotions {
        Ok(promotions) => {
            tell_whole(&section, &promotions);
            is_whole.then_some(promotions)
        }
        Err(faults) => {
            faults
                .into_iter()
                .for_each(|fault| put_back(&section, &["promote"], fault));
            None
        }
    };
    let schema = schema(reading, &section);
    section.finish();
    let outline = Outline {
        name: full?,
        message_type,
        namespaces,
        rules,
    };
    let plan = promotions.zip(schema).map(|(promotions, schema)| {
        Arc::new(MessagePlan {
            name: outline.name.clone(),
            message_type: outline.message_type.clone(),
            namespaces: outline.namespaces.clone(),
            promotions,
            schema,
        })
    });
    Some((plan, outline))
}

/// Tells which promotions have to have the whole document.
fn tell_whole(section: &Section<'_>, promotions: &Promotions) {
    for name in promotions.need_whole() {
        let message = format!(
            "the XPath of `{name}` cannot be followed while a body comes in: the whole document is read into memory for \
             it, and bodies above 4 MiB are refused"
        );
        let path = vec![name.to_string(), "xpath".to_owned()];
        let fault = Fault {
            path,
            ..Fault::warning(pipeline::WHOLE_PATH, &[], message)
        };
        put_back(section, &["promote"], fault);
    }
}

/// The schema that the message has to fit, if it names one. `None` after a fault.
fn schema(reading: &Reading<'_>, section: &Section<'_>) -> Option<Option<Schema>> {
    let Some(path) = section.text("schema") else {
        return Some(None);
    };
    let schema = reading.files.schema(path);
    if let Err(why) = &schema {
        section.error(pipeline::SCHEMA, "schema", format!("`{path}`: {why}"));
    }
    schema.ok().map(Some)
}

fn namespaces(section: &Section<'_>) -> BTreeMap<String, String> {
    let Some(namespaces) = section.section("namespaces") else {
        return BTreeMap::new();
    };
    let prefixes: Vec<&String> = namespaces
        .node
        .table()
        .into_iter()
        .flatten()
        .map(|(k, _)| k)
        .collect();
    let entry = |prefix: &String| Some((prefix.clone(), namespaces.text(prefix)?.to_owned()));
    prefixes.into_iter().filter_map(entry).collect()
}

type Rules = BTreeMap<String, Rule>;

/// The rules, and the paths of those in which something else is wrong: to be looked at all the same.
fn rules(section: &Section<'_>) -> (Rules, Rules) {
    let Some(promote) = section.section("promote") else {
        return (Rules::new(), Rules::new());
    };
    let mut paths = Rules::new();
    let rule = |(name, rule): (&str, Section<'_>)| {
        if !is_property(name) {
            let message = format!(
                "`{name}` cannot be promoted: use letters, digits and `_`, beginning with a letter"
            );
            promote.error(codes::BAD_NAME, name, message);
            return None;
        }
        match parse::<Rule>(&rule.node.to_json()) {
            Ok(read) => Some((name.to_owned(), read)),
            Err(faults) => {
                faults
                    .into_iter()
                    .for_each(|fault| put_back(&promote, &[name], fault));
                paths.extend(paths_of(rule.node).map(|rule| (name.to_owned(), rule)));
                None
            }
        }
    };
    let rules = promote.entries().into_iter().filter_map(rule).collect();
    (rules, paths)
}

/// A rule with nothing but its paths, if it has any.
fn paths_of(rule: &Node) -> Option<Rule> {
    let table = rule.table()?;
    let text = |key: &str| table.get(key).and_then(Node::text).map(str::to_owned);
    let (xpath, jsonpath) = (text("xpath"), text("jsonpath"));
    let has_one = xpath.is_some() || jsonpath.is_some();
    has_one.then(|| Rule {
        xpath,
        jsonpath,
        ..Rule::default()
    })
}

/// Whether a filter can name the property as a variable.
fn is_property(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
