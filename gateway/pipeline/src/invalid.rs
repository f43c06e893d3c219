//! Why a body is not acceptable.

use quayside_model::Code;

/// Why a body is not acceptable. Sending the same body again gives the same answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail} (at byte {offset})")]
pub struct Invalid {
    /// The stable code.
    pub code: Code,
    /// The cause, for the sender: names and positions, cut to a bound.
    pub detail: String,
    /// Where in the body, in bytes from its start; in UTF-16, in bytes of the same text in UTF-8.
    pub offset: u64,
}

impl Invalid {
    /// How much of a hostile name an error repeats, in characters.
    const QUOTED: usize = 80;

    pub(crate) fn new(code: Code, offset: u64, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            offset,
        }
    }

    /// `text` as an error repeats it: short and printable.
    pub(crate) fn quote(text: &str) -> String {
        let mut shown: String = text
            .chars()
            .take(Self::QUOTED)
            .flat_map(char::escape_debug)
            .collect();
        if text.chars().nth(Self::QUOTED).is_some() {
            shown.push('…');
        }
        format!("`{shown}`")
    }
}
