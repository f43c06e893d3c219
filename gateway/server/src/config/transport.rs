//! A block of an adapter: found by its key, checked by the adapter, its faults put back into place.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use quayside_adapter_api::{Adapter, Block, SendTerms, Terms, config};
use quayside_model::Fault;
use serde_json::json;

use super::{
    codes, literal,
    section::{Section, list, suggestion},
    vars,
};

/// The adapters by their keys.
pub(crate) type Adapters = BTreeMap<&'static str, Arc<dyn Adapter>>;

/// What a block is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Direction {
    /// A receive location, on these terms.
    Receive(Terms),
    /// A send port, on these terms.
    Send(SendTerms),
}

/// How often a block is looked at again without the value that was wrong.
const MAX_ROUNDS: usize = 32;

/// The one adapter of a section.
#[derive(Debug)]
pub(crate) struct Transport {
    /// Its key.
    pub(crate) adapter: String,
    /// Its block; after a fault what is left of it without what is wrong.
    pub(crate) block: Block,
    /// Whether it has no fault.
    pub(crate) is_whole: bool,
}

/// The one adapter of `section`. `None` if there is not one.
pub(crate) fn read(
    section: &Section<'_>,
    adapters: &Adapters,
    direction: Direction,
    data_dir: &Path,
) -> Option<Transport> {
    let found: Vec<_> = adapters
        .values()
        .filter(|adapter| section.get(adapter.name()).is_some())
        .collect();
    let [adapter] = found.as_slice() else {
        not_one(section, adapters, found.len());
        return None;
    };
    let key = adapter.name();
    let (faults, mut block) = check(adapter.as_ref(), &direction, section.get(key)?.to_json());
    let wrong = faults
        .iter()
        .any(|fault| fault.severity == quayside_model::Severity::Error);
    for fault in faults {
        put_back(section, &[key], fault);
    }
    resolve_folder(key, &mut block, data_dir);
    Some(Transport {
        adapter: key.to_owned(),
        block,
        is_whole: !wrong,
    })
}

fn not_one(section: &Section<'_>, adapters: &Adapters, found: usize) {
    let known: Vec<&str> = adapters.keys().copied().collect();
    let unknown_table = section
        .node
        .table()
        .into_iter()
        .flatten()
        .find(|(key, node)| node.table().is_some() && !section.knows(key));
    match (found, unknown_table) {
        (0, Some((key, _))) => {
            section.get(key);
            let message = format!(
                "there is no adapter `{key}` (in {}){}",
                section.path,
                suggestion(key, &known)
            );
            section.error(codes::UNKNOWN_ADAPTER, key, message);
        }
        (0, None) => {
            let message = format!(
                "{} has no adapter: add one of {}",
                section.path,
                list(&known)
            );
            section.error(codes::ONE_ADAPTER, "", message);
        }
        _ => {
            let message = format!("{} has {found} adapters, but takes one", section.path);
            section.error(codes::ONE_ADAPTER, "", message);
        }
    }
}

/// Every fault of the block. An adapter stops at the first value that it cannot read, so the block is
/// looked at again without it; that the key is missing then is no fault. With the faults comes what is left
/// of the block.
fn check(adapter: &dyn Adapter, direction: &Direction, mut block: Block) -> (Vec<Fault>, Block) {
    let mut removed: Vec<Vec<String>> = Vec::new();
    let mut all: Vec<Fault> = Vec::new();
    for _ in 0..MAX_ROUNDS {
        let faults = match direction {
            Direction::Receive(terms) => adapter.check_receive(&block, terms),
            Direction::Send(terms) => adapter.check_send(&block, terms),
        };
        let mut again = false;
        for fault in faults {
            let consequence = removed.iter().any(|path| follows(&fault, path));
            if consequence || all.contains(&fault) {
                continue;
            }
            if fault.code == config::WRONG_VALUE && remove(&mut block, &fault.path) {
                removed.push(fault.path.clone());
                again = true;
            }
            all.push(fault);
        }
        if !again {
            break;
        }
    }
    for fault in all.iter().filter(|fault| fault.code == config::UNKNOWN_KEY) {
        remove(&mut block, &fault.path);
    }
    (all, block)
}

/// Whether a fault is only there because the value at `removed` is not: its key is missing, or the table
/// that held it is wrong without it.
fn follows(fault: &Fault, removed: &[String]) -> bool {
    let Some((key, parent)) = removed.split_last() else {
        return false;
    };
    let is_missed =
        fault.code == config::MISSING_KEY && fault.message.contains(&format!("`{key}`"));
    is_missed || fault.code == config::WRONG_VALUE && fault.path == parent
}

fn remove(block: &mut Block, path: &[String]) -> bool {
    let Some((last, parents)) = path.split_last() else {
        return false;
    };
    let place = parents
        .iter()
        .try_fold(block, |place, key| place.get_mut(key.as_str()));
    place
        .and_then(Block::as_object_mut)
        .is_some_and(|object| object.remove(last).is_some())
}

/// Reports a fault of the block under `keys` of `section`, at the key that the fault names.
pub(crate) fn put_back(section: &Section<'_>, keys: &[&str], fault: Fault) {
    let mut path: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    path.extend(fault.path.iter().cloned());
    let node = section.node.nearest(&path);
    let key = path.last().map(String::as_str).unwrap_or_default();
    // Refused already, in words that do not repeat the secret, or for want of the variable.
    let refused = node
        .text()
        .is_some_and(|text| literal::is_refused(key, text));
    let place: Vec<&str> = section.path.split('.').collect();
    let repeats = literal::is_repeated(&place, section.node, &fault.message);
    if refused || repeats || vars::reference(node).is_some() {
        return;
    }
    let message = in_words(&section.name_of(&keys.join(".")), &fault);
    let message = match &node.from_var {
        Some(var) => format!("{message} (the value comes from vars.{var})"),
        None => message,
    };
    let place = Some((section.source, node.key_at));
    section
        .report
        .add(fault.code, fault.severity, place, message, fault.help);
}

/// What the fault says, in the words of the other sections.
fn in_words(block: &str, fault: &Fault) -> String {
    let mut path = vec![block.to_owned()];
    path.extend(fault.path.iter().cloned());
    if fault.code == config::UNKNOWN_KEY {
        let known = expected_keys(&fault.message);
        let key = path.pop().unwrap_or_default();
        return format!(
            "unknown key `{key}` in {}{}",
            path.join("."),
            suggestion(&key, &known)
        );
    }
    if fault.code == config::MISSING_KEY
        && let Some(key) = fault.message.split('`').nth(1)
    {
        return format!("`{}.{key}` is missing", path.join("."));
    }
    format!("`{}`: {}", path.join("."), fault.message)
}

/// The keys in serde's "unknown field `x`, expected one of `a`, `b`".
pub(super) fn expected_keys(message: &str) -> Vec<&str> {
    let expected = message
        .split_once(", expected ")
        .map_or("", |(_, expected)| expected);
    expected.split('`').skip(1).step_by(2).collect()
}

/// Puts the data folder in front of a relative folder, so that it does not depend on where the process
/// was started.
fn resolve_folder(adapter: &str, block: &mut Block, data_dir: &Path) {
    if adapter != "file" {
        return;
    }
    if let Some(folder) = block.get_mut("folder")
        && let Some(path) = folder.as_str()
    {
        // Joining an absolute path gives that path.
        *folder = json!(data_dir.join(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_told_like_everywhere_else() {
        let fault = Fault::error(
            config::UNKNOWN_KEY,
            &["confrim"],
            "unknown field `confrim`, expected one of `queue`, `confirm`",
        );
        assert_eq!(
            in_words("send.erp.primary.amqp", &fault),
            "unknown key `confrim` in send.erp.primary.amqp — did you mean `confirm`?"
        );
    }
}
