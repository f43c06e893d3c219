//! What is wrong with a configuration.

use quayside_model::{Code, Fault};

/// The faults of one part of a configuration, each at its key.
#[derive(Debug)]
pub(crate) struct Faults {
    code: Code,
    pub(crate) all: Vec<Fault>,
}

impl Faults {
    /// None so far; those that come have the code `code`.
    pub(crate) fn new(code: Code) -> Self {
        Self {
            code,
            all: Vec::new(),
        }
    }

    pub(crate) fn at(&mut self, path: &[&str], message: impl Into<String>) {
        self.all.push(Fault::error(self.code, path, message));
    }
}
