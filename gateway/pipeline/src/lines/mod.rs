//! Lines with fields between delimiters or of fixed widths: what is the same for those that are read and those that
//! are written.

mod compile;
mod spec;

use quayside_model::ValueType;

pub(crate) use self::compile::{Columns, Tags, count_column, layout};
pub use self::spec::{Align, ColumnSpec, CountOf, HeadSpec, TrailerSpec, Trim};

/// What a line is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    Csv { delimiter: u8, quote: Option<u8> },
    Fixed,
}

/// A column that can be read or written.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) value_type: ValueType,
    pub(crate) required: bool,
    pub(crate) trim: Trim,
    /// Whether it is passed over.
    pub(crate) skip: bool,
    /// Its first character, from 0, and how many it has; with CSV both are 0.
    pub(crate) from: usize,
    pub(crate) width: usize,
    pub(crate) scale: Option<u8>,
    pub(crate) point: char,
}

impl Column {
    /// `text` without the spaces that are not of its value.
    pub(crate) fn trimmed<'t>(&self, text: &'t str) -> &'t str {
        let space = [' ', '\t'];
        match self.trim {
            Trim::None => text,
            Trim::Left => text.trim_start_matches(space),
            Trim::Right => text.trim_end_matches(space),
            Trim::Both => text.trim_matches(space),
        }
    }
}
