//! JSON Schema, by jsonschema behind our own names: `docs/decisions/0018-who-validates.md`.

use std::{
    collections::BTreeMap,
    error::Error,
    io::Read,
    sync::{Arc, Mutex, PoisonError},
};

use jsonschema::{PatternOptions, Retrieve, Uri, ValidationError, Validator};
use serde_json::Value;

use super::{BASE, FILES_MAX, Findings, JSON_MAX, ReadFile, document, extent, path_of};
use crate::{Invalid, codes};

/// Up to this length all findings of a document are looked for, in bytes. Each of its values may be a finding of some hundred
/// bytes under each alternative of the schema, all of them in memory at once.
const LIST_MAX: u64 = 8 * 1024;

/// How large the automaton of a pattern may grow, in bytes.
const PATTERN_MAX: usize = 1024 * 1024;

/// What is told of a document whose findings are not listed.
const UNLISTED: &str = "it does not fit: places are named of documents up to 8 KiB, under a schema that does not refer to \
                        itself";

pub(super) struct JsonSchema {
    validator: Validator,
    /// Whether what does not fit can be listed.
    lists: bool,
}

impl JsonSchema {
    pub(super) fn compile(path: &str, read: &ReadFile) -> Result<Self, String> {
        let main = parse(&read(path)?)?;
        let files = Files {
            read: ReadFile::clone(read),
            seen: Arc::default(),
        };
        let seen = Arc::clone(&files.seen);
        // Patterns that take linear time, whatever text they are given: no references back, no looking around.
        let patterns = PatternOptions::regex()
            .size_limit(PATTERN_MAX)
            .dfa_size_limit(PATTERN_MAX);
        let options = jsonschema::options()
            .with_base_uri(format!("{BASE}{path}"))
            .with_retriever(files)
            .with_pattern_options(patterns);
        let validator = options.build(&main).map_err(|error| why(&error))?;
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(path.to_owned(), main);
        Ok(Self {
            validator,
            lists: extent::is_small(path, &seen),
        })
    }

    pub(super) fn validate(&self, document: impl Read, length: u64) -> Result<Findings, Invalid> {
        let failed = |detail: String| Invalid::new(codes::NOT_VALIDATED, 0, detail);
        let mut bytes =
            Vec::with_capacity(usize::try_from(length.min(JSON_MAX)).unwrap_or_default());
        let read = document.take(JSON_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|error| failed(format!("the document could not be read: {error}")))?;
        let document = document::read(&bytes)
            .map_err(|why| failed(format!("the document could not be validated: {why}")))?;
        drop(bytes);
        let mut findings = Findings::default();
        // The verdict remembers what it has judged at a place, and so takes no longer than schema times document. The list
        // of findings does not: it is made only where it is bounded.
        if self.validator.is_valid(&document) {
            return Ok(findings);
        }
        if self.lists && length <= LIST_MAX {
            for error in self.validator.iter_errors(&document) {
                // Without the value itself, which may be a secret, and is in the message anyway.
                findings.push(error.instance_path().as_str(), &error.masked().to_string());
            }
        }
        if findings.is_empty() {
            findings.push("", UNLISTED);
        }
        Ok(findings)
    }
}

fn parse(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

fn why(error: &ValidationError<'_>) -> String {
    let place = error.instance_path().to_string();
    let mut text = if place.is_empty() {
        error.to_string()
    } else {
        format!("at {place}: {error}")
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The files that a schema refers to.
struct Files {
    read: ReadFile,
    /// What they hold, by their paths.
    seen: Arc<Mutex<BTreeMap<String, Value>>>,
}

impl Retrieve for Files {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn Error + Send + Sync>> {
        let path = path_of(uri.as_str())?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= FILES_MAX {
            return Err(format!("it comes from more than {FILES_MAX} files").into());
        }
        let schema = (self.read)(path).and_then(|bytes| parse(&bytes));
        let schema = schema.map_err(|why| format!("{path}: {why}"))?;
        seen.insert(path.to_owned(), schema.clone());
        Ok(schema)
    }
}
