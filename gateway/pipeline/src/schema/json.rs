//! JSON Schema, by jsonschema behind our own names: `docs/decisions/0018-who-validates.md`.

use std::{
    error::Error,
    io::Read,
    sync::atomic::{AtomicUsize, Ordering},
};

use jsonschema::{PatternOptions, Retrieve, Uri, ValidationError, Validator};
use serde_json::Value;

use super::{BASE, FILES_MAX, Findings, JSON_MAX, ReadFile, path_of};
use crate::{Invalid, codes};

/// Up to this length all findings of a document are looked for, in bytes. Each element of a longer one may be a finding
/// of some hundred bytes, all of them in memory at once: of those only the first one is.
const LIST_MAX: u64 = 64 * 1024;

/// How large the automaton of a pattern may grow, in bytes.
const PATTERN_MAX: usize = 1024 * 1024;

pub(super) struct JsonSchema(Validator);

impl JsonSchema {
    pub(super) fn compile(path: &str, read: &ReadFile) -> Result<Self, String> {
        let main: Value =
            serde_json::from_slice(&read(path)?).map_err(|error| error.to_string())?;
        // Patterns that take linear time, whatever text they are given: no references back, no looking around.
        let patterns = PatternOptions::regex()
            .size_limit(PATTERN_MAX)
            .dfa_size_limit(PATTERN_MAX);
        let options = jsonschema::options()
            .with_base_uri(format!("{BASE}{path}"))
            .with_retriever(Files {
                read: ReadFile::clone(read),
                count: AtomicUsize::new(0),
            })
            .with_pattern_options(patterns);
        options.build(&main).map(Self).map_err(|error| why(&error))
    }

    pub(super) fn validate(&self, document: impl Read, length: u64) -> Result<Findings, Invalid> {
        let failed = |detail: String| Invalid::new(codes::NOT_VALIDATED, 0, detail);
        let mut bytes =
            Vec::with_capacity(usize::try_from(length.min(JSON_MAX)).unwrap_or_default());
        let read = document.take(JSON_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|error| failed(format!("the document could not be read: {error}")))?;
        let document: Value = serde_json::from_slice(&bytes)
            .map_err(|error| failed(format!("the document could not be validated: {error}")))?;
        drop(bytes);
        let mut findings = Findings::default();
        if length <= LIST_MAX {
            for error in self.0.iter_errors(&document) {
                add(&mut findings, &error);
            }
        } else if let Err(error) = self.0.validate(&document) {
            add(&mut findings, &error);
            findings.more = true;
        }
        Ok(findings)
    }
}

/// Without the value itself, which may be a secret, and is in the message anyway.
fn add(findings: &mut Findings, error: &ValidationError<'_>) {
    findings.push(
        error.instance_path().to_string(),
        &error.masked().to_string(),
    );
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
    count: AtomicUsize,
}

impl Retrieve for Files {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn Error + Send + Sync>> {
        if self.count.fetch_add(1, Ordering::Relaxed) >= FILES_MAX {
            return Err(format!("it comes from more than {FILES_MAX} files").into());
        }
        let path = path_of(uri.as_str())?;
        let bytes = (self.read)(path).map_err(|why| format!("{path}: {why}"))?;
        Ok(serde_json::from_slice(&bytes).map_err(|error| format!("{path}: {error}"))?)
    }
}
