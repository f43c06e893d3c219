//! Reading a configuration block so that every fault is found at once, each at its own key.

use std::time::Duration;

use quayside_model::Fault;
use serde::de::DeserializeOwned;

/// A block of settings: a JSON object, variables already put in, secrets still references.
pub type Block = serde_json::Value;

/// What the receive port and the location say beside the adapter's block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// Whether messages go into the store in the order in which they are given out.
    pub ordered: bool,
    /// After how many failures in a row the location is disabled; `None`: never.
    pub error_threshold: Option<u32>,
    /// How long a sender waits for a subscriber's answer; `None`: the port is one-way.
    pub answer_within: Option<Duration>,
}

/// What the send port says beside the adapter's block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SendTerms {
    /// Whether messages of one key are sent one after the other.
    pub ordered: bool,
    /// Whether somebody waits for the answer of the partner.
    pub answers: bool,
}

quayside_model::codes! {
    UNKNOWN_KEY = "QS0301", "A key is not known here.",
        "Correct or remove the key; the message names the nearest ones.";
    WRONG_VALUE = "QS0302", "A value has the wrong type or form.",
        "Give a value of the form that the message names.";
    MISSING_KEY = "QS0303", "A required key is missing.",
        "Add the key that the message names.";
}

/// Reads `block` as `T` (which should deny unknown fields).
///
/// # Errors
/// All faults of the block: after each unknown key the rest is read again without it.
pub fn parse<T: DeserializeOwned>(block: &Block) -> Result<T, Vec<Fault>> {
    let mut block = block.clone();
    let mut faults: Vec<Fault> = Vec::new();
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(&block) {
            Ok(value) if faults.is_empty() => return Ok(value),
            Ok(_) => return Err(faults),
            Err(error) => error,
        };
        let path: Vec<String> = error
            .path()
            .iter()
            .filter_map(|segment| match segment {
                serde_path_to_error::Segment::Map { key } => Some(key.clone()),
                serde_path_to_error::Segment::Seq { index } => Some(index.to_string()),
                // `auth = { basic = ... }`: the variant is a key like any other.
                serde_path_to_error::Segment::Enum { variant } => Some(variant.clone()),
                _ => None,
            })
            .collect();
        let message = error.inner().to_string();
        let keys: Vec<&str> = path.iter().map(String::as_str).collect();
        if let Some(unknown) = unknown_field(&message) {
            // serde names the unknown key in its text; the path may or may not end with it.
            let mut keys = keys;
            if keys.last() != Some(&unknown) {
                keys.push(unknown);
            }
            faults.push(Fault::error(UNKNOWN_KEY, &keys, message.clone()));
            if remove(&mut block, &keys) {
                continue;
            }
        } else if message.starts_with("missing field") {
            faults.push(Fault::error(MISSING_KEY, &keys, message));
        } else {
            faults.push(Fault::error(WRONG_VALUE, &keys, message));
        }
        return Err(faults);
    }
}

fn unknown_field(message: &str) -> Option<&str> {
    message.strip_prefix("unknown field `")?.split('`').next()
}

fn remove(block: &mut Block, path: &[&str]) -> bool {
    let Some((last, parents)) = path.split_last() else {
        return false;
    };
    let mut place = block;
    for key in parents {
        match place.get_mut(*key) {
            Some(inner) => place = inner,
            None => return false,
        }
    }
    place
        .as_object_mut()
        .is_some_and(|object| object.remove(*last).is_some())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Settings {
        folder: String,
        #[serde(default)]
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Inner {
        depth: u32,
    }

    #[test]
    fn every_unknown_key_is_found_at_its_place() {
        let block = json!({ "folder": "a", "folde": 1, "inner": { "depth": 1, "dept": 2 } });
        let faults = parse::<Settings>(&block).expect_err("two faults");
        let mut paths: Vec<_> = faults
            .iter()
            .map(|f| (f.code.code, f.path.join(".")))
            .collect();
        paths.sort();
        assert_eq!(
            paths,
            [
                ("QS0301", "folde".to_owned()),
                ("QS0301", "inner.dept".to_owned())
            ]
        );
    }

    #[test]
    fn a_wrong_value_is_found_at_its_key() {
        let block = json!({ "folder": "a", "inner": { "depth": "deep" } });
        let faults = parse::<Settings>(&block).expect_err("one fault");
        assert_eq!(faults[0].code, WRONG_VALUE);
        assert_eq!(faults[0].path, ["inner", "depth"]);
    }
}
