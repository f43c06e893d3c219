//! How lines are configured.

use quayside_model::ValueType;
use serde::Deserialize;

/// One column of a line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnSpec {
    /// What it is called: the member or element that it becomes, or is taken from.
    pub name: String,
    /// What its values are. Default: string.
    #[serde(default, rename = "type")]
    pub value_type: ValueType,
    /// Whether an empty value is a fault. Default: no.
    #[serde(default)]
    pub required: bool,
    /// Whether it is passed over: neither checked nor written. Default: no.
    #[serde(default)]
    pub skip: bool,
    /// On which sides spaces are taken off. Default: both with fixed width, none with CSV.
    pub trim: Option<Trim>,
    /// Fixed width: its first character, from 1. Default: behind the column before.
    pub from: Option<usize>,
    /// Fixed width: how many characters it has.
    pub width: Option<usize>,
    /// Decimals: how many of the digits stand behind a point that is not written.
    pub scale: Option<u8>,
    /// Decimals: the character before the fraction. Default: a point.
    pub point: Option<char>,

    /// Assembling: where its value is, as an XPath or JSONPath. Default: the child or member of its name.
    pub path: Option<String>,
    /// Assembling: its value, which is always the same.
    pub value: Option<String>,
    /// Assembling a head or trailer: what it counts.
    pub count: Option<CountOf>,
    /// Assembling with fixed width: on which side the value stands. Default: left.
    pub align: Option<Align>,
    /// Assembling with fixed width: what stands on the other side. Default: a space.
    pub pad: Option<char>,
    /// Assembling decimals: how many digits stand behind the point. Default: as many as there are.
    pub digits: Option<u8>,
}

impl ColumnSpec {
    /// Those of the keys for assembling that are given.
    pub(crate) fn of_assembling(&self) -> impl Iterator<Item = &'static str> {
        let keys = [
            ("path", self.path.is_some()),
            ("value", self.value.is_some()),
            ("count", self.count.is_some()),
            ("align", self.align.is_some()),
            ("pad", self.pad.is_some()),
            ("digits", self.digits.is_some()),
        ];
        keys.into_iter()
            .filter_map(|(key, given)| given.then_some(key))
    }
}

/// Where spaces are taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trim {
    /// Nowhere.
    None,
    /// In front of the value.
    Left,
    /// Behind it.
    Right,
    /// On both sides.
    Both,
}

/// On which side of its column a value stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Align {
    /// At its beginning.
    #[default]
    Left,
    /// At its end.
    Right,
}

/// The line before the records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadSpec {
    /// Its tag. Default: it is known by being the first line.
    pub tag: Option<String>,
    /// Its columns.
    #[serde(default)]
    pub columns: Vec<ColumnSpec>,
    /// Splitting: which of its columns every record carries as properties of that name.
    #[serde(default)]
    pub promote: Vec<String>,
}

/// The line after the records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrailerSpec {
    /// Its tag. Default: it is known by being the last line.
    pub tag: Option<String>,
    /// Its columns.
    #[serde(default)]
    pub columns: Vec<ColumnSpec>,
    /// Which of its columns says how many there are.
    pub count: Option<String>,
    /// How many of what. Default: records.
    #[serde(default)]
    pub count_of: CountOf,
}

/// What is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CountOf {
    /// Records.
    #[default]
    Records,
    /// All lines but empty ones: head, names, records and trailer. A line within quotes is no line.
    Lines,
}
