//! From bytes to a message: is it well-formed, of what type is it, and which of its values are properties?
//!
//! A [`Scanner`] looks at a body while it streams by and keeps nothing of it but the tokens at hand and
//! the promoted values: a body of any length costs the same bounded memory. It promises that
//! - what it accepts is well-formed XML 1.0 with namespaces, or JSON; what it cannot judge
//!   ([`Kind::Opaque`]) passes untouched;
//! - nothing is expanded: documents with a type declaration are refused, so no entity ever grows;
//! - how the body was cut into pieces changes neither the properties nor the error;
//! - every refusal has a code, a cause and the offset.
//!
//! ```
//! use quayside_pipeline::{Kind, Limits, Promotions, Rule, Scanner};
//! # use std::collections::BTreeMap;
//! let namespaces = BTreeMap::from([("o".to_owned(), "urn:orders".to_owned())]);
//! let rules = BTreeMap::from([("OrderId".to_owned(), Rule::xpath("/o:Order/o:Id"))]);
//! let promotions = Promotions::compile(&namespaces, &rules).expect("two steps");
//! let expected = vec![(Some("urn:orders#Order"), &promotions)];
//! let mut scanner = Scanner::new(Kind::Xml, expected, Limits::default());
//! scanner.push(b"<Order xmlns='urn:orders'><I").expect("well-formed so far");
//! scanner.push(b"d>4711</Id></Order>").expect("well-formed so far");
//! let scanned = scanner.finish().expect("a whole document");
//! assert_eq!(scanned.properties[0].1.to_string(), "4711");
//! ```
//!
//! A [`Schema`] says what a document has to look like beyond that, and finds what does not fit. A [`Map`] makes one
//! document from others.
//!
//! [`decode`] takes off what is wrapped around a body, [`encode`] puts it around again, and [`split`] takes a body that is a batch apart into its records,
//! and [`assemble`] writes a document with records as lines of a file.
//!
//! Nothing here does I/O.

pub mod assemble;
mod chain;
pub mod codes;
mod declaration;
pub mod decode;
pub mod encode;
mod faults;
mod found;
mod invalid;
mod json;
mod jsonpath;
mod kind;
mod limits;
mod lines;
pub mod map;
mod promotions;
mod scanner;
mod schema;
pub mod split;
#[cfg(test)]
mod testing;
mod xml;
mod xpath;

pub use invalid::Invalid;
pub use kind::Kind;
pub use limits::Limits;
pub use map::Map;
pub use promotions::{Promotions, Rule};
pub use scanner::{Expected, Scanned, Scanner};
pub use schema::{FINDINGS_MAX, Finding, Findings, JSON_MAX, ReadFile, Schema};
