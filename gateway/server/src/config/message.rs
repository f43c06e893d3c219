//! `[message.NAME]`: a type of message and what is promoted from it.

use std::{collections::BTreeMap, sync::Arc};

use quayside_adapter_api::config::parse;
use quayside_engine::plan::MessagePlan;
use quayside_model::Name;
use quayside_pipeline::{Promotions, Rule};

use super::{app::Reading, codes, section::Section, transport::put_back};

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

/// Reads one message. `None` after a fault.
pub(crate) fn read(
    reading: &Reading<'_>,
    name: &str,
    section: Section<'_>,
) -> Option<(Arc<MessagePlan>, Outline)> {
    let message_type = section.text("type").map(str::to_owned);
    let namespaces = namespaces(&section);
    let rules = rules(&section);
    let promotions = Promotions::compile(&namespaces, &rules);
    let full = reading.full_name(&section, &[name]);
    let promotions = match promotions {
        Ok(promotions) => Some(promotions),
        Err(faults) => {
            faults
                .into_iter()
                .for_each(|fault| put_back(&section, &["promote"], fault));
            None
        }
    };
    section.finish();
    let outline = Outline {
        name: full?,
        message_type,
        namespaces,
        rules,
    };
    let (name, message_type) = (outline.name.clone(), outline.message_type.clone());
    Some((
        Arc::new(MessagePlan {
            name,
            message_type,
            promotions: promotions?,
        }),
        outline,
    ))
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

fn rules(section: &Section<'_>) -> BTreeMap<String, Rule> {
    let Some(promote) = section.section("promote") else {
        return BTreeMap::new();
    };
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
                None
            }
        }
    };
    promote.entries().into_iter().filter_map(rule).collect()
}

/// Whether a filter can name the property as a variable.
fn is_property(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
