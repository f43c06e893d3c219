//! Faults as an operator meets them: a code, a place, a cause and a remedy.

use std::fmt;

use serde::Serialize;

/// A stable error code: `QS` and four digits. Each crate lists its own as constants; `docs/errors.md`
/// is generated from all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Code {
    /// `QS0000`.
    pub code: &'static str,
    /// The meaning, in one line.
    pub meaning: &'static str,
    /// What to do about it, in one line.
    pub remedy: &'static str,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)
    }
}

/// Declares error codes and `ALL`, the list that `docs/errors.md` is made from.
#[macro_export]
macro_rules! codes {
    ($($name:ident = $code:literal, $meaning:literal, $remedy:literal;)+) => {
        $(
            #[doc = $meaning]
            pub const $name: $crate::fault::Code =
                $crate::fault::Code { code: $code, meaning: $meaning, remedy: $remedy };
        )+
        /// Every code of this crate.
        pub const ALL: &[$crate::fault::Code] = &[$($name),+];
    };
}

/// How bad a fault in a configuration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Applied, but probably not what was meant.
    Warning,
    /// Not applied.
    Error,
}

/// One fault in a configuration, at a key path below the block that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The code.
    pub code: Code,
    /// Error or warning.
    pub severity: Severity,
    /// The keys that lead to the place, from the block that was checked.
    pub path: Vec<String>,
    /// What is wrong, for a person.
    pub message: String,
    /// What to do, where it is more than the code's own remedy.
    pub help: Option<String>,
}

impl Fault {
    /// An error at `path`.
    #[must_use]
    pub fn error(code: Code, path: &[&str], message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            path: path.iter().map(|&p| p.to_owned()).collect(),
            message: message.into(),
            help: None,
        }
    }

    /// A warning at `path`.
    #[must_use]
    pub fn warning(code: Code, path: &[&str], message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, path, message)
        }
    }

    /// The same fault with its own remedy.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}
