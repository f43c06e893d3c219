//! XPath 1.0 over a document in memory, within bounds: `docs/decisions/0020-maps-in-process.md`.

use std::{collections::BTreeMap, fmt};

use quayside_model::Code;
use uppsala::{Document, NodeId, NodeKind, XPathEvaluator, xpath::XPathValue};

use super::{
    defect::shown,
    inspect::{self, Traits},
    work::{Stop, Work},
};
use crate::codes;

/// How many nodes an evaluation may visit, in attempts: the engine does not tell how many it did, so the first attempt that is
/// enough is what it costs.
const ATTEMPTS: [usize; 4] = [64, 2048, 65_536, 2_097_152];

/// How many bytes of a document a function reads in the time that a node is visited, where they are short elements.
const TEXT_UNIT: u64 = 16;

/// A compiled path or expression.
pub(super) struct XPath {
    text: String,
    traits: Traits,
    nodes: bool,
    evaluators: Vec<XPathEvaluator>,
}

/// Why it cannot be compiled: the code, the place in bytes, and what.
pub(super) type Fault = (Code, usize, String);

/// A document as paths are evaluated over it.
pub(super) struct Tree<'d> {
    pub(super) document: Document<'d>,
    /// Its length in bytes.
    pub(super) bytes: usize,
    /// How deep its elements nest.
    pub(super) depth: u64,
}

impl XPath {
    /// Compiles `text`, whose prefixes stand for `namespaces`. With `nodes` it has to lead to nodes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn compile(
        text: &str,
        namespaces: &BTreeMap<String, String>,
        nodes: bool,
    ) -> Result<Self, Fault> {
        let traits = inspect::inspect(text, namespaces)?;
        let evaluators = ATTEMPTS.iter().map(|&visits| {
            let mut evaluator = XPathEvaluator::new().with_max_node_visits(visits);
            for (prefix, namespace) in namespaces {
                evaluator.add_namespace(prefix, namespace);
            }
            evaluator
        });
        let mut compiled = Self {
            text: text.to_owned(),
            traits,
            nodes: true,
            evaluators: evaluators.collect(),
        };
        // The engine has no way to compile alone: over a document without content it says the same.
        let mut document = uppsala::parse("<a/>").expect("a document");
        document.prepare_xpath();
        let found = compiled.evaluators[0].evaluate(&document, document.root(), text);
        match found {
            Err(error) => {
                let message = format!("the path cannot be read: {}", in_words(&error));
                Err((codes::MAP_PATH, 0, message))
            }
            Ok(XPathValue::NodeSet(_)) => Ok(compiled),
            Ok(_) if nodes => Err((
                codes::MAP_PATH,
                0,
                "a `repeat` goes over elements or attributes, not over a text or number".to_owned(),
            )),
            Ok(_) => {
                compiled.nodes = false;
                Ok(compiled)
            }
        }
    }

    /// Whether it leads to nodes, and not to a text, number or truth that it computes.
    pub(super) fn leads_to_nodes(&self) -> bool {
        self.nodes
    }

    /// What it comes to at the node `at`.
    ///
    /// # Errors
    /// That it cannot be evaluated, or takes too much work.
    pub(super) fn evaluate(
        &self,
        tree: &Tree<'_>,
        at: NodeId,
        work: &mut Work,
    ) -> Result<XPathValue, Stop> {
        let reach = match self.traits.leaves {
            true => tree.bytes,
            false => tree.length(at),
        };
        let texts = self.traits.texts(tree.depth);
        work.charge((reach as u64 / TEXT_UNIT).saturating_mul(texts))?;
        let mut attempts = ATTEMPTS.iter().zip(&self.evaluators).peekable();
        while let Some((&visits, evaluator)) = attempts.next() {
            work.charge(visits as u64)?;
            match evaluator.evaluate(&tree.document, at, &self.text) {
                Ok(value) => return Ok(value),
                Err(error) => {
                    let why = in_words(&error);
                    let more = why.contains("budget");
                    if more && attempts.peek().is_some() {
                        continue;
                    }
                    let code = if more {
                        codes::MAP_WORK
                    } else {
                        codes::MAP_EVALUATION
                    };
                    return Err(Stop::new(code, format!("`{}`: {why}", shown(&self.text))));
                }
            }
        }
        unreachable!("the last attempt returns")
    }
}

impl Tree<'_> {
    /// The length of a node with all that is in it, in bytes of the document.
    pub(super) fn length(&self, node: NodeId) -> usize {
        // Attributes have no place of their own.
        if let Some(NodeKind::Attribute(_, value)) = self.document.node_kind(node) {
            return value.len();
        }
        let range = self.document.node_range(node);
        match range {
            Some(range) if node != self.document.root() => range.len(),
            _ => self.bytes,
        }
    }

    /// The text of a node.
    ///
    /// # Errors
    /// That it takes too much work.
    pub(super) fn text(&self, node: NodeId, work: &mut Work) -> Result<String, Stop> {
        work.charge(1 + self.length(node) as u64 / TEXT_UNIT)?;
        Ok(XPathValue::NodeSet(vec![node]).to_string_value(&self.document))
    }
}

/// What the engine says, without what it calls itself.
fn in_words(error: &uppsala::XmlError) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("XPath error: ").unwrap_or(&text);
    shown(text)
}

impl fmt::Debug for XPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "XPath({:?})", self.text)
    }
}
