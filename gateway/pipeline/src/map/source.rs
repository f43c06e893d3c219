//! The documents that a map reads.

use std::borrow::Cow;

use uppsala::{NodeId, Parser, xpath::XPathValue};

use super::{
    json::{self, Json},
    jsonpath::JsonPath,
    limits,
    scalar::{self, Scalar},
    work::{Stop, Work},
    xpath::{Tree, XPath},
};
use crate::{
    Invalid, Kind, Limits, Scanner, codes,
    decode::{Decoder, Encoding, Sink},
};

/// A document in memory.
pub(super) enum Document<'d> {
    Xml(Tree<'d>),
    Json(Json<'d>),
}

/// A place in a document.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'r> {
    Xml(NodeId),
    Json(&'r Json<'r>),
}

/// A compiled path into a document.
#[derive(Debug)]
pub(super) enum Path {
    Xml(XPath),
    Json(JsonPath),
}

/// Checks `body`, as on the way in, and gives its text.
///
/// # Errors
/// That it is not well-formed, or too large.
pub(crate) fn text(kind: Kind, body: &[u8]) -> Result<Cow<'_, str>, Stop> {
    let too_large = |bytes: usize| {
        let most = limits::INPUT_BYTES;
        let detail = format!("it has {bytes} bytes, and {most} are the most");
        Stop::new(codes::MAP_INPUT_TOO_LARGE, detail)
    };
    // UTF-16 takes at most twice the bytes of UTF-8, so what is refused here is too large either way.
    if body.len() > 2 * limits::INPUT_BYTES {
        return Err(too_large(body.len()));
    }
    let mut scanner = Scanner::new(kind, Vec::new(), Limits::default());
    scanner.push(body).map_err(malformed)?;
    scanner.finish().map_err(malformed)?;
    let text = decoded(body).map_err(malformed)?;
    if text.len() > limits::INPUT_BYTES {
        return Err(too_large(text.len()));
    }
    Ok(text)
}

/// The text of `body` without its byte order mark.
///
/// # Errors
/// That it is in no encoding that is read.
pub(super) fn decoded(body: &[u8]) -> Result<Cow<'_, str>, Invalid> {
    let plain = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    match std::str::from_utf8(plain) {
        Ok(text) if !plain.contains(&0) => Ok(Cow::Borrowed(text)),
        _ => {
            let mut whole = Whole(String::new());
            let mut decoder = Decoder::default();
            decoder.push(body, &mut whole)?;
            decoder.finish(&mut whole)?;
            Ok(Cow::Owned(whole.0))
        }
    }
}

fn malformed(invalid: Invalid) -> Stop {
    let Invalid {
        code,
        detail,
        offset,
    } = invalid;
    Stop::new(code, format!("{detail} (at byte {offset})"))
}

struct Whole(String);

impl Sink for Whole {
    fn text(&mut self, text: &str, _: u64) -> Result<(), Invalid> {
        self.0.push_str(text);
        Ok(())
    }

    fn encoding(&mut self, _: Encoding) -> Result<(), Invalid> {
        Ok(())
    }
}

impl<'d> Document<'d> {
    /// Reads `text`, which [`text`] has checked.
    ///
    /// # Errors
    /// That it has too many values.
    pub(super) fn read(kind: Kind, text: &'d str) -> Result<Self, Stop> {
        match kind {
            Kind::Xml => tree(text).map(Self::Xml),
            Kind::Json => json::read(text).map(Self::Json),
            Kind::Opaque => Err(Stop::new(codes::MAP_INPUTS, "it is neither XML nor JSON")),
        }
    }

    /// The document itself.
    pub(super) fn root(&self) -> Place<'_> {
        match self {
            Self::Xml(tree) => Place::Xml(tree.document.root()),
            Self::Json(json) => Place::Json(json),
        }
    }

    /// Every place that `path` leads to, `here` being the match at hand.
    ///
    /// # Errors
    /// That it cannot be followed, or takes too much work.
    pub(super) fn places<'r>(
        &'r self,
        path: &Path,
        here: Place<'r>,
        work: &mut Work,
    ) -> Result<Vec<Place<'r>>, Stop> {
        match (self, path, here) {
            (Self::Xml(tree), Path::Xml(path), Place::Xml(at)) => {
                let value = path.evaluate(tree, at, work)?;
                Ok(value
                    .as_node_set()
                    .iter()
                    .copied()
                    .map(Place::Xml)
                    .collect())
            }
            (Self::Json(root), Path::Json(path), Place::Json(at)) => {
                let start = if path.relative { at } else { root };
                let found = path.follow(start, work)?;
                Ok(found.into_iter().map(Place::Json).collect())
            }
            _ => Err(mixed()),
        }
    }

    /// The values that `path` leads to.
    ///
    /// # Errors
    /// As of [`Self::places`], and that there is no value but an object or list.
    pub(super) fn values(
        &self,
        path: &Path,
        here: Place<'_>,
        work: &mut Work,
    ) -> Result<Vec<Scalar>, Stop> {
        match (self, path, here) {
            (Self::Xml(tree), Path::Xml(path), Place::Xml(at)) => {
                match path.evaluate(tree, at, work)? {
                    // One more than there may be is enough to know that there are too many.
                    XPathValue::NodeSet(nodes) => nodes
                        .into_iter()
                        .take(2)
                        .map(|node| tree.text(node, work).map(Scalar::Text))
                        .collect(),
                    XPathValue::Boolean(truth) => Ok(vec![Scalar::Boolean(truth)]),
                    XPathValue::String(text) => Ok(vec![Scalar::Text(text)]),
                    XPathValue::Number(number) => {
                        let number = scalar::rounded(number).ok_or_else(|| {
                            let detail = "the path comes to what is no number: a value in it is missing or no number";
                            Stop::new(codes::MAP_VALUE, detail)
                        })?;
                        Ok(vec![Scalar::Number(number)])
                    }
                }
            }
            (Self::Json(root), Path::Json(path), Place::Json(at)) => {
                let start = if path.relative { at } else { root };
                let found = path.follow(start, work)?;
                let values = found.into_iter().map(value);
                Ok(values
                    .collect::<Result<Vec<_>, _>>()?
                    .into_iter()
                    .flatten()
                    .collect())
            }
            _ => Err(mixed()),
        }
    }
}

/// The value of a place in JSON; nothing of `null`.
pub(super) fn value(json: &Json<'_>) -> Result<Option<Scalar>, Stop> {
    Ok(Some(match json {
        Json::Null => return Ok(None),
        Json::Boolean(truth) => Scalar::Boolean(*truth),
        Json::Number(number) => Scalar::Number((*number).to_owned()),
        Json::Text(text) => Scalar::Text(text.clone().into_owned()),
        Json::List(_) | Json::Object(_) => {
            let detail = "the path leads to an object or list, which is no value";
            return Err(Stop::new(codes::MAP_VALUE, detail));
        }
    }))
}

/// Only if a plan was put together wrongly: paths are compiled for the format of their source.
fn mixed() -> Stop {
    Stop::new(
        codes::MAP_EVALUATION,
        "the path is not for a document of this format",
    )
}

fn tree(text: &str) -> Result<Tree<'_>, Stop> {
    let extent = Extent::of(text);
    if extent.values > limits::INPUT_VALUES {
        let most = limits::INPUT_VALUES;
        let detail = format!("it has more than {most} elements, attributes and runs of text");
        return Err(Stop::new(codes::MAP_INPUT_TOO_LARGE, detail));
    }
    let depth = u32::try_from(Limits::default().depth).unwrap_or(u32::MAX);
    let parser = Parser::new()
        .with_max_depth(depth + 1)
        .with_forbid_dtd(true)
        .with_forbid_entities(true);
    // The scanner has passed it, so this is a document on which the two disagree.
    let mut document = parser
        .parse(text)
        .map_err(|error| Stop::new(codes::XML_SYNTAX, error.to_string()))?;
    document.prepare_xpath();
    Ok(Tree {
        document,
        bytes: text.len(),
        depth: extent.depth,
    })
}

/// How much is in a well-formed document, before it takes any memory.
#[derive(Debug, Default, PartialEq, Eq)]
struct Extent {
    /// Elements, attributes, runs of text, comments and instructions.
    values: usize,
    depth: u64,
}

impl Extent {
    fn of(text: &str) -> Self {
        let mut extent = Self::default();
        let mut depth = 0_u64;
        let mut rest = text;
        while let Some(at) = rest.find('<') {
            extent.values += usize::from(at > 0);
            let markup = &rest[at..];
            let end = if markup.starts_with("<!--") {
                extent.values += 1;
                markup.find("-->").map(|end| end + 3)
            } else if markup.starts_with("<![CDATA[") {
                extent.values += 1;
                markup.find("]]>").map(|end| end + 3)
            } else if markup.starts_with("<?") {
                extent.values += 1;
                markup.find("?>").map(|end| end + 2)
            } else if markup.starts_with("</") {
                depth = depth.saturating_sub(1);
                markup.find('>').map(|end| end + 1)
            } else {
                let (end, attributes) = tag(markup);
                extent.values += 1 + attributes;
                extent.depth = extent.depth.max(depth + 1);
                depth += u64::from(!markup[..end].ends_with("/>"));
                Some(end)
            };
            rest = end.map_or("", |end| &markup[end..]);
        }
        extent
    }
}

/// Where a start tag ends, and how many attributes are in it.
fn tag(markup: &str) -> (usize, usize) {
    let mut quote = None;
    let mut attributes = 0;
    for (at, byte) in markup.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return (at + 1, attributes),
            (None, b'"' | b'\'') => {
                quote = Some(byte);
                attributes += 1;
            }
            (Some(open), byte) if byte == open => quote = None,
            _ => {}
        }
    }
    (markup.len(), attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_document_is_counted_before_it_is_read() {
        let text = "<?xml version='1.0'?><a b='>' c=\"'\"><!-- <d> --><d/>x<![CDATA[<e>]]></a>";
        let extent = Extent::of(text);
        assert_eq!(
            extent,
            Extent {
                values: 8,
                depth: 2
            }
        );
        let document = tree(text).expect("a document");
        assert_eq!(document.depth, 2);
        let root = document.document.document_element().expect("a root");
        let text = document.text(root, &mut Work::default());
        assert_eq!(text.as_deref(), Ok("x<e>"));
    }

    /// To read all attributes of a long list costs what they are, not the document for each of them.
    #[test]
    fn an_attribute_is_as_much_work_as_its_value() {
        let items: String = (0..20_000).map(|no| format!("<i no='{no}'/>")).collect();
        let text = format!("<a>{items}</a>");
        let tree = tree(&text).expect("a document");
        let path = XPath::compile("/a/i/@no", &std::collections::BTreeMap::new(), true);
        let mut work = Work::default();
        let root = tree.document.root();
        let found = path.expect("a path").evaluate(&tree, root, &mut work);
        let Ok(XPathValue::NodeSet(nodes)) = found else {
            panic!("{found:?}");
        };
        assert_eq!(nodes.len(), 20_000);
        for (no, node) in nodes.into_iter().enumerate() {
            assert_eq!(tree.text(node, &mut work), Ok(no.to_string()));
        }
    }

    #[test]
    fn documents_in_utf_16_are_read_too() {
        let xml = "<?xml version=\"1.0\" encoding=\"UTF-16\"?><a>ä</a>";
        let units = std::iter::once(0xfeff).chain(xml.encode_utf16());
        let bytes: Vec<u8> = units.flat_map(u16::to_be_bytes).collect();
        let read = text(Kind::Xml, &bytes).expect("a document");
        let tree = tree(&read).expect("a document");
        let root = tree.document.root();
        assert_eq!(tree.text(root, &mut Work::default()).as_deref(), Ok("ä"));
        assert_eq!(text(Kind::Json, b"\xef\xbb\xbf{}").as_deref(), Ok("{}"));
    }
}
