//! How large everything may be that has to do with a map.

/// The largest file of a map, in bytes.
pub(super) const FILE_BYTES: usize = 1024 * 1024;

/// How many faults of one file are told.
pub(super) const DEFECTS: usize = 200;

/// How deep `repeat` nests in `repeat`.
pub(super) const REPEATS: usize = 8;

/// How many steps a target path has, those of the `repeat`s around it included.
pub(super) const TARGET_DEPTH: usize = 64;

/// The longest path or expression, in bytes.
pub(super) const EXPRESSION_BYTES: usize = 2048;

/// How many arguments an XPath gives to functions, all together: each may be the text of a whole document.
pub(super) const XPATH_ARGUMENTS: usize = 16;

/// The longest text that an expression reads, in bytes.
pub(super) const EXPRESSION_TEXT: usize = 8 * 1024;

/// The largest document that is read, in bytes of UTF-8: it is whole in memory.
pub(super) const INPUT_BYTES: usize = 4 * 1024 * 1024;

/// How many values a document has: elements, attributes and runs of text, or members and elements of lists. One of XML takes
/// some 250 bytes in memory.
pub(super) const INPUT_VALUES: usize = 200_000;

/// What a document that is made may be, in bytes.
pub(super) const OUTPUT_BYTES: usize = 16 * 1024 * 1024;

/// The longest single value, in bytes.
pub(super) const VALUE_BYTES: usize = 1024 * 1024;

/// How much work one document may be: a unit is a node that is visited, at some ten nanoseconds.
pub(super) const WORK: u64 = 50_000_000;
