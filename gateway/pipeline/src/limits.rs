//! How much of anything a body may have.

/// Limits of one body. They bound the memory of a scan, whatever the body's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How deep elements, objects and arrays nest.
    pub depth: usize,
    /// How many attributes a tag has, and how many namespace declarations are in force.
    pub attributes: usize,
    /// The longest name of an element, attribute or member, and the longest namespace, in bytes.
    pub name_bytes: usize,
    /// The longest attribute value, in bytes.
    pub attribute_bytes: usize,
    /// The longest tag or processing instruction, in bytes.
    pub token_bytes: usize,
    /// The longest run of text, string or number, in bytes. It passes through and is not held: a
    /// document may carry another one, encoded.
    pub text_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 256,
            attributes: 256,
            name_bytes: 1024,
            attribute_bytes: 64 * 1024,
            token_bytes: 256 * 1024,
            text_bytes: 1024 * 1024 * 1024,
        }
    }
}
