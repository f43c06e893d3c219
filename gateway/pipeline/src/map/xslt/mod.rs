//! XSLT: what can be said of a stylesheet before it runs, in a process of its own and by a program that is not ours.
//!
//! A stylesheet is looked at, not compiled: that it is well-formed and one, which other files it names, and what in it only
//! another processor than the one that runs it would do.

mod calls;
mod reach;

use std::borrow::Cow;

use uppsala::{Document, Element, NodeId, Parser};

use super::{
    defect::{Defect, Defects, Place, place_of as place, shown},
    limits, source,
};
use crate::{Invalid, Kind, Limits, Scanner, codes};

const XSL: &str = "http://www.w3.org/1999/XSL/Transform";
const MSXSL: &str = "urn:schemas-microsoft-com:xslt";
/// What functions of .NET are bound to in maps of BizTalk.
const BIZTALK: &str = "http://schemas.microsoft.com/BizTalk/2003/";
/// Whose functions evaluate texts as paths.
const DYNAMIC: [&str; 2] = ["http://exslt.org/dynamic", "http://icl.com/saxon"];
/// Whose elements have paths in their attributes, as those of XSLT do.
const EXTENSIONS: [&str; 3] = [XSL, "http://exslt.org/", "http://icl.com/saxon"];
const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// What a stylesheet says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stylesheet {
    /// The names of its parameters.
    pub params: Vec<String>,
    /// The other files that it names, each once.
    pub refers: Vec<Reference>,
    /// The content type of what it makes.
    pub content_type: String,
}

/// Another file that a stylesheet names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Its path from the folder of the application.
    pub path: String,
    /// Whether it is a stylesheet itself, or a document that is read.
    pub is_stylesheet: bool,
    /// Where it is named.
    pub place: Place,
}

/// The text of a file of XML, as far as it can be read: for a person.
#[must_use]
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    source::decoded(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes))
}

/// The plain path of a file of the application's folder: without `.` and `..`.
///
/// # Errors
/// Why it is none, to follow the path.
pub fn within(path: &str) -> Result<String, &'static str> {
    reach::resolve("", path)
}

/// Looks at the stylesheet in the file `path` from the folder of the application.
///
/// # Errors
/// Everything that is wrong with it, each with its place, in the order of the file.
pub fn check(path: &str, bytes: &[u8]) -> Result<Stylesheet, Vec<Defect>> {
    let text = read(bytes)?;
    let parser = Parser::new()
        .with_max_depth(u32::try_from(Limits::default().depth).unwrap_or(u32::MAX) + 1)
        .with_forbid_dtd(true)
        .with_forbid_entities(true);
    let document = parser
        .parse(&text)
        .map_err(|error| one(Place { line: 1, column: 1 }, error.to_string()))?;
    let mut look = Look {
        path,
        text: &text,
        document: &document,
        defects: Defects::default(),
        found: Stylesheet {
            params: Vec::new(),
            refers: Vec::new(),
            content_type: "application/xml".to_owned(),
        },
        prefixes: Vec::new(),
    };
    look.all();
    if look.defects.is_empty() {
        Ok(look.found)
    } else {
        Err(look.defects.finish())
    }
}

/// Looks whether a document that a stylesheet reads is well-formed.
///
/// # Errors
/// That it is not, with the place.
pub fn check_document(bytes: &[u8]) -> Result<(), Vec<Defect>> {
    read(bytes).map(drop)
}

fn one(place: Place, message: String) -> Vec<Defect> {
    let mut defects = Defects::default();
    defects.add(place, codes::STYLESHEET, message);
    defects.finish()
}

/// The text of a well-formed document without a type declaration.
fn read(bytes: &[u8]) -> Result<Cow<'_, str>, Vec<Defect>> {
    let start = Place { line: 1, column: 1 };
    if bytes.len() > limits::INPUT_BYTES {
        let message = format!("it is larger than {} bytes", limits::INPUT_BYTES);
        return Err(one(start, message));
    }
    let at = |Invalid {
                  detail,
                  offset,
                  code,
              }: Invalid| {
        let whole = text(bytes);
        // Of a text with a byte order mark the mark is counted, but it is not in the text.
        let marked = [&b"\xef\xbb\xbf"[..], b"\xfe\xff", b"\xff\xfe"];
        let mark = if marked.iter().any(|mark| bytes.starts_with(mark)) {
            3
        } else {
            0
        };
        let offset = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .saturating_sub(mark);
        one(place(&whole, offset), format!("{detail} ({code})"))
    };
    let mut scanner = Scanner::new(Kind::Xml, Vec::new(), Limits::default());
    scanner.push(bytes).map_err(at)?;
    scanner.finish().map_err(at)?;
    source::decoded(bytes).map_err(at)
}

struct Look<'d> {
    path: &'d str,
    text: &'d str,
    document: &'d Document<'d>,
    defects: Defects,
    found: Stylesheet,
    /// The prefixes that are declared anywhere, with what they stand for.
    prefixes: Vec<(String, String)>,
}

impl Look<'_> {
    fn all(&mut self) {
        let document = self.document;
        let Some(root) = document.document_element() else {
            return;
        };
        let Some(element) = document.element(root) else {
            return;
        };
        let is_root = |name| element.matches_name_ns(XSL, name);
        if !is_root("stylesheet") && !is_root("transform") {
            let name = shown(&element.name.prefixed_name());
            let message = format!("the root element `{name}` is no `xsl:stylesheet`");
            self.defects
                .add(self.place(root), codes::STYLESHEET, message);
            return;
        }
        if element.get_attribute("version").is_none() {
            let message = "the root element has no `version`";
            self.defects
                .add(self.place(root), codes::STYLESHEET, message);
        }
        let elements: Vec<(NodeId, &Element<'_>)> = std::iter::once(root)
            .chain(document.descendants(root))
            .filter_map(|id| Some((id, document.element(id)?)))
            .collect();
        for (_, element) in &elements {
            let declared = element.namespace_declarations.iter();
            let declared = declared.map(|(prefix, uri)| (prefix.to_string(), uri.to_string()));
            self.prefixes.extend(declared);
        }
        for (id, element) in elements {
            let top = document.parent(id) == Some(root);
            self.element(id, element, top);
        }
    }

    fn place(&self, id: NodeId) -> Place {
        let at = self.document.node_range(id).map_or(0, |range| range.start);
        place(self.text, at)
    }

    fn element(&mut self, id: NodeId, element: &Element<'_>, top: bool) {
        let ours = element.name.namespace_uri.as_deref() == Some(XSL);
        if element.matches_name_ns(MSXSL, "script") {
            self.script(id, element);
        }
        if element.get_attribute_ns(XML, "base").is_some() {
            let message = "`xml:base` says where other files lie";
            let help = "Leave it out, and name files from where the stylesheet lies.";
            self.defects
                .help(self.place(id), codes::STYLESHEET_REACH, message, help);
        }
        if ours {
            match &*element.name.local_name {
                "import" | "include" => self.refers(id, element.get_attribute("href"), true),
                "param" if top => {
                    let name = element.get_attribute("name").map(str::to_owned);
                    self.found.params.extend(name);
                }
                "output" if top => self.output(element),
                _ => {}
            }
        }
        let namespace = element.name.namespace_uri.as_deref().unwrap_or_default();
        let computes = EXTENSIONS.iter().any(|uri| namespace.starts_with(uri));
        for attribute in &element.attributes {
            let expressions = match computes {
                true => vec![&*attribute.value],
                // Of what is copied only what stands in braces is a path.
                false => calls::in_braces(&attribute.value),
            };
            for expression in expressions {
                for call in calls::of(expression) {
                    self.call(id, &call);
                }
            }
        }
    }

    /// A block of code, which only a processor of .NET runs.
    fn script(&mut self, id: NodeId, element: &Element<'_>) {
        let language = element.get_attribute("language").unwrap_or("JScript");
        let prefix = element
            .get_attribute("implements-prefix")
            .unwrap_or_default();
        let code = self.document.text_content_deep(id);
        let functions = calls::declared(&code);
        let what = match functions.as_slice() {
            [] => String::new(),
            names => format!(" with {}", shown(&names.join(", "))),
        };
        let message = format!(
            "an `msxsl:script` block in {} for `{}`{what}",
            shown(language),
            shown(prefix)
        );
        let help = "Rewrite what it does in XSLT (templates, `concat()`, `substring()`, `format-number()`, EXSLT), or make the value in a declarative map.";
        self.defects
            .help(self.place(id), codes::STYLESHEET_SCRIPT, message, help);
    }

    fn refers(&mut self, id: NodeId, href: Option<&str>, is_stylesheet: bool) {
        let place = self.place(id);
        let Some(href) = href else {
            let message = "an `xsl:import` or `xsl:include` without `href`";
            self.defects.add(place, codes::STYLESHEET, message);
            return;
        };
        match reach::resolve(self.path, href) {
            Ok(path) => {
                let known =
                    |one: &Reference| one.path == path && one.is_stylesheet == is_stylesheet;
                if !self.found.refers.iter().any(known) {
                    self.found.refers.push(Reference {
                        path,
                        is_stylesheet,
                        place,
                    });
                }
            }
            Err(why) => {
                let message = format!("`{}` {why}", shown(href));
                self.defects.add(place, codes::STYLESHEET_REACH, message);
            }
        }
    }

    fn call(&mut self, id: NodeId, call: &calls::Call<'_>) {
        let place = self.place(id);
        if call.prefix.is_empty() {
            if calls::READS.contains(&call.name) {
                match call.literal {
                    // The stylesheet itself, by which look-up tables stand in it.
                    Some("") => {}
                    Some(href) => self.refers(id, Some(href), false),
                    None => {
                        let message = format!("the address in `{}()` is computed", call.name);
                        let help = "Name one file of the application's folder by a text, as in `document('codes.xml')`.";
                        self.defects
                            .help(place, codes::STYLESHEET_REACH, message, help);
                    }
                }
            }
            return;
        }
        let stands_for = |uri: &str| {
            let mut prefixes = self.prefixes.iter();
            prefixes.any(|(prefix, of)| prefix == call.prefix && of.starts_with(uri))
        };
        let name = shown(&format!("{}:{}", call.prefix, call.name));
        if stands_for(BIZTALK) && !self.implements(call.prefix) {
            let message = format!("`{name}()` is a function of .NET");
            self.defects.add(place, codes::STYLESHEET_SCRIPT, message);
        } else if DYNAMIC.into_iter().any(stands_for) {
            let message = format!("`{name}()` follows a path that is computed");
            let help = "Write the path out.";
            self.defects
                .help(place, codes::STYLESHEET_REACH, message, help);
        }
    }

    /// Whether a block of code, which is told itself, has the functions of `prefix`.
    fn implements(&self, prefix: &str) -> bool {
        let document = self.document;
        let blocks = document.get_elements_by_tag_name_ns(MSXSL, "script");
        let mut of = blocks
            .into_iter()
            .filter_map(|id| document.get_attribute(id, "implements-prefix"));
        of.any(|of| of == prefix)
    }

    fn output(&mut self, element: &Element<'_>) {
        let of_method = match element.get_attribute("method") {
            Some("text") => "text/plain",
            Some("html") => "text/html",
            _ => "application/xml",
        };
        let media_type = element.get_attribute("media-type");
        // What comes out is announced to partners: no more than a plain type is taken over.
        let plain = |text: &&str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "!#$&^_.+-/".contains(c);
            text.len() <= 100 && text.matches('/').count() == 1 && text.chars().all(allowed)
        };
        self.found.content_type = media_type.filter(plain).unwrap_or(of_method).to_owned();
    }
}

#[cfg(test)]
mod tests;
