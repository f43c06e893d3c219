//! The scanner: one body, in pieces, to its type and properties.

use quayside_model::{Name, Text, Value};

use crate::{
    Invalid, Kind, Limits, Promotions, codes, decode::Decoder, json::JsonScanner, xml::XmlScanner,
};

/// A type of message that is expected, with what is promoted from it. The type is `namespace#root` (or
/// `root` for a root element in no namespace); `None` takes any.
pub type Expected<'a> = (Option<&'a str>, &'a Promotions);

/// An expected type with its number among all of them.
pub(crate) type Numbered<'a> = (usize, Expected<'a>);

/// What a body says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Its type: of XML, what its root element is; of other content, what the expected type says.
    pub message_type: Option<Text>,
    /// Which of the expected types it is of, counted from 0.
    pub expected: Option<usize>,
    /// Its promoted properties, in the order of their names.
    pub properties: Vec<(Name, Value)>,
}

/// Reads one body in pieces. After the first error it is of no more use: drop it.
#[derive(Debug)]
pub struct Scanner<'a> {
    decoder: Decoder,
    content: Content<'a>,
}

#[derive(Debug)]
enum Content<'a> {
    Xml(Box<XmlScanner<'a>>),
    Json(Box<JsonScanner<'a>>),
    /// Nothing is looked at.
    Opaque(Scanned),
    /// Of no expected type, whatever the bytes are.
    Refused(Invalid),
}

impl<'a> Scanner<'a> {
    /// Scans a body of `kind`. With nothing `expected`, every well-formed body is fine. With several,
    /// the first fitting one counts: for XML the one for its root element, for JSON the one whose
    /// required properties are all there.
    #[must_use]
    pub fn new(kind: Kind, expected: Vec<Expected<'a>>, limits: Limits) -> Self {
        let anything = expected.is_empty();
        let numbered = expected.into_iter().enumerate();
        let fitting: Vec<Numbered<'a>> = numbered.filter(|(_, e)| fits(kind, e)).collect();
        let content = match kind {
            _ if fitting.is_empty() && !anything => Content::Refused(Invalid::new(
                codes::UNEXPECTED_TYPE,
                0,
                format!("no expected message is found in {}", in_words(kind)),
            )),
            Kind::Xml => Content::Xml(Box::new(XmlScanner::new(fitting, limits))),
            Kind::Json => Content::Json(Box::new(JsonScanner::new(fitting, limits))),
            Kind::Opaque => {
                let first = fitting.first();
                let message_type = first.and_then(|(_, (name, _))| name.map(Text::lossy));
                Content::Opaque(Scanned {
                    message_type,
                    expected: first.map(|(no, _)| *no),
                    properties: Vec::new(),
                })
            }
        };
        Self {
            decoder: Decoder::default(),
            content,
        }
    }

    /// Looks at the next bytes.
    ///
    /// # Errors
    /// The first reason why the body is not acceptable.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Invalid> {
        match &mut self.content {
            Content::Xml(xml) => self.decoder.push(bytes, &mut **xml),
            Content::Json(json) => self.decoder.push(bytes, &mut **json),
            Content::Opaque(_) => Ok(()),
            Content::Refused(invalid) => Err(invalid.clone()),
        }
    }

    /// Ends the body.
    ///
    /// # Errors
    /// Why the body, which is whole now, is not acceptable.
    pub fn finish(self) -> Result<Scanned, Invalid> {
        match self.content {
            Content::Xml(mut xml) => {
                let offset = self.decoder.finish(&mut *xml)?;
                xml.finish(offset)
            }
            Content::Json(mut json) => {
                let offset = self.decoder.finish(&mut *json)?;
                json.finish(offset)
            }
            Content::Opaque(scanned) => Ok(scanned),
            Content::Refused(invalid) => Err(invalid),
        }
    }
}

/// Whether a body of `kind` can be the expected message at all. A type with `#` is that of an XML
/// document: other content is only taken for it if the promotions say where in that content to look.
fn fits(kind: Kind, (name, promotions): &Expected<'_>) -> bool {
    let xml_only = name.is_some_and(|name| name.contains('#'));
    let bare = promotions.rules().is_empty();
    promotions.speaks(kind)
        && match kind {
            Kind::Xml => true,
            Kind::Json => !(bare && xml_only),
            Kind::Opaque => name.is_none() || (bare && !xml_only),
        }
}

fn in_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Xml => "XML",
        Kind::Json => "JSON",
        Kind::Opaque => "content that is neither XML nor JSON",
    }
}
