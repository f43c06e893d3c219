//! YAML with the place of every value. One document of maps, lists and values, and nothing else: no
//! anchors, no tags, no keys that are not plain.

use std::collections::BTreeSet;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};

use crate::{
    codes,
    defect::{Defects, Place, shown},
    limits,
};

/// A value and where it begins.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Yaml,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(crate) enum Yaml {
    /// Text as it was written, and how.
    Scalar(String, Style),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// How a text was written, which decides what it can be and where its characters are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Quoted,
    /// Of several lines, with `|` or `>`.
    Block,
}

/// A key and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) place: Place,
    pub(crate) text: String,
}

impl Node {
    /// The text of a value that is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Yaml::Scalar(text, style) if *style != Style::Plain || !is_null(text) => Some(text),
            _ => None,
        }
    }

    /// Whether nothing was written.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Yaml::Scalar(text, Style::Plain) if is_null(text))
    }

    /// What it is, in words.
    pub(crate) fn in_words(&self) -> &'static str {
        match &self.value {
            Yaml::Scalar(..) if self.is_null() => "nothing",
            Yaml::Scalar(..) => "a value",
            Yaml::List(_) => "a list",
            Yaml::Map(_) => "a map",
        }
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null")
}

/// Reads `text`. `None`: it could not be read at all, and `defects` says why.
pub(crate) fn read(text: &str, defects: &mut Defects) -> Option<Node> {
    let start = Place { line: 1, column: 1 };
    if text.len() > limits::SOURCE_BYTES {
        let message = format!(
            "the file has {} bytes; {} are the most",
            text.len(),
            limits::SOURCE_BYTES
        );
        defects.add(start, codes::TOO_LARGE, message);
        return None;
    }
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        defects,
        nodes: 0,
    };
    let mut root = None;
    loop {
        let (event, place) = reader.next()?;
        match event {
            Event::StreamEnd => break,
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            event if root.is_none() => root = Some(reader.value(event, place, 0)?),
            _ => {
                reader
                    .defects
                    .add(place, codes::YAML, "a second document begins here");
                return None;
            }
        }
    }
    if root.is_none() {
        defects.add(start, codes::YAML, "the file is empty");
    }
    root
}

struct Reader<'t, 'd> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    defects: &'d mut Defects,
    nodes: usize,
}

impl<'t> Reader<'t, '_> {
    fn next(&mut self) -> Option<(Event<'t>, Place)> {
        match self.parser.next_event()? {
            Ok((event, span)) => Some((event, place(&span.start))),
            Err(error) => {
                let at = place(error.marker());
                self.defects.add(at, codes::YAML, shown(error.info()));
                None
            }
        }
    }

    fn value(&mut self, event: Event<'t>, at: Place, depth: usize) -> Option<Node> {
        self.nodes += 1;
        if depth > limits::YAML_DEPTH || self.nodes > limits::YAML_NODES {
            self.defects.add(
                at,
                codes::TOO_LARGE,
                "the file has too many values or nests too deep",
            );
            return None;
        }
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.plain(at, anchor, tag.is_some())?;
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => Style::Quoted,
                    ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                };
                Yaml::Scalar(text.into_owned(), style)
            }
            Event::SequenceStart(anchor, tag) => {
                self.plain(at, anchor, tag.is_some())?;
                Yaml::List(self.list(depth)?)
            }
            Event::MappingStart(anchor, tag) => {
                self.plain(at, anchor, tag.is_some())?;
                Yaml::Map(self.map(depth)?)
            }
            _ => {
                self.defects
                    .add(at, codes::YAML, "a reference to an anchor stands here");
                return None;
            }
        };
        Some(Node { place: at, value })
    }

    /// Refuses anchors and tags: a definition means what it shows.
    fn plain(&mut self, at: Place, anchor: usize, tagged: bool) -> Option<()> {
        if anchor == 0 && !tagged {
            return Some(());
        }
        self.defects
            .add(at, codes::YAML, "an anchor or a tag stands here");
        None
    }

    fn list(&mut self, depth: usize) -> Option<Vec<Node>> {
        let mut items = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Some(items);
            }
            items.push(self.value(event, at, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Option<Vec<(Key, Node)>> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut seen = BTreeSet::new();
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Some(entries);
            }
            let Yaml::Scalar(text, _) = self.value(event, at, depth + 1)?.value else {
                self.defects
                    .add(at, codes::YAML, "a key has to be a plain name");
                return None;
            };
            let (event, value_at) = self.next()?;
            let value = self.value(event, value_at, depth + 1)?;
            if !seen.insert(text.clone()) {
                let message = format!("the key `{}` stands here twice", shown(&text));
                self.defects.add(at, codes::DUPLICATE, message);
                continue;
            }
            entries.push((Key { place: at, text }, value));
        }
    }
}

fn place(marker: &Marker) -> Place {
    Place {
        line: marker.line().max(1),
        column: marker.col() + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let mut defects = Defects::default();
        let _ = read(text, &mut defects);
        let faults = defects.finish().into_iter();
        faults
            .map(|d| format!("{} {}", d.place, d.fault.code))
            .collect()
    }

    #[test]
    fn places_are_those_of_an_editor() {
        let mut defects = Defects::default();
        let root = read("a: 1\nbc:\n  - 'x'\n", &mut defects).expect("a document");
        let Yaml::Map(entries) = &root.value else {
            panic!("{root:?}")
        };
        assert_eq!(entries[1].0.place.to_string(), "2:1");
        let Yaml::List(items) = &entries[1].1.value else {
            panic!("{root:?}")
        };
        assert_eq!(items[0].place.to_string(), "3:5");
    }

    #[test]
    fn what_is_not_plain_is_refused_at_its_place() {
        for (text, fault) in [
            ("", "1:1 QS1301"),
            ("a: 1\na: 2\n", "2:1 QS1306"),
            ("a: &x 1\n", "1:4 QS1301"),
            ("a: !!int 1\n", "1:4 QS1301"),
            ("? [a]\n: 1\n", "1:3 QS1301"),
            ("a: 1\n---\nb: 2\n", "3:1 QS1301"),
            ("a: [1\n", "2:1 QS1301"),
            ("{---", "2:1 QS1301"),
        ] {
            let found = faults(text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert_eq!(found[0], fault, "{text}");
        }
    }

    #[test]
    fn depth_and_length_end_with_a_code() {
        for hostile in [
            "[".repeat(100_000),
            "a: {".repeat(50_000),
            " ".repeat(300_000),
        ] {
            assert_eq!(faults(&hostile).len(), 1);
        }
        let deep: String = (0..200).map(|i| format!("{}-\n", " ".repeat(i))).collect();
        assert_eq!(faults(&deep).len(), 1);
        let wide = "- 1\n".repeat(60_000);
        assert_eq!(faults(&wide), ["50000:3 QS1320"]);
    }
}
