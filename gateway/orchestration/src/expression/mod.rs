//! Expressions: CEL over variables, the properties of messages, and what is read of documents.
//!
//! `text(order, '/o:Order/o:Id')`, and `number`, `integer`, `items` and `found` alike, read a document.
//! They are taken out of the expression when it is compiled, so that what it needs to read is known
//! before it is evaluated, and an evaluation never waits. So is `has(order.Total)`.

mod compile;
mod evaluate;
mod kinds;
mod names;

use std::{fmt, sync::Arc};

use cel::IdedExpr;
use quayside_model::Name;

pub(crate) use self::{
    compile::{Expect, compile},
    evaluate::{Known, Trouble, evaluate},
    kinds::Kind,
    names::{Names, RESERVED, kind_of},
};
use crate::world::Want;

/// A compiled expression.
#[derive(Clone)]
pub(crate) struct Expression {
    pub(crate) source: Arc<str>,
    tree: IdedExpr,
    /// What each name in it stands for.
    refs: Vec<(String, Ref)>,
    /// What it reads of documents; the first is the name `@d0`.
    pub(crate) reads: Vec<Read>,
    /// Which properties it asks for with `has`; the first is the name `@h0`.
    asks: Vec<(u16, Name)>,
    /// How many parts it has, and how deep its loops nest.
    nodes: u64,
    loops: u32,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ref {
    /// A variable, by its slot.
    Variable(u16),
    /// A property of a message.
    Property(u16, Name),
    /// The id of a message.
    Id(u16),
    /// The type of a message.
    Type(u16),
    /// The time of this step.
    Now,
    /// The id of the instance.
    Run,
    /// The name of the error at hand.
    ErrorName,
    /// The code of the error at hand.
    ErrorCode,
    /// The text of the error at hand.
    ErrorMessage,
    /// The step of the error at hand.
    ErrorStep,
}

/// A place of a document that an expression reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) message: u16,
    pub(crate) path: Arc<str>,
    pub(crate) want: Want,
}

impl Expression {
    pub(crate) fn refs(&self) -> impl Iterator<Item = &Ref> {
        self.refs.iter().map(|(_, what)| what)
    }

    /// The messages that it looks into.
    pub(crate) fn messages(&self) -> impl Iterator<Item = u16> {
        let of_refs = self.refs().filter_map(|what| match what {
            Ref::Property(slot, _) | Ref::Id(slot) | Ref::Type(slot) => Some(*slot),
            _ => None,
        });
        let of_reads = self.reads.iter().map(|read| read.message);
        of_refs
            .chain(of_reads)
            .chain(self.asks.iter().map(|(slot, _)| *slot))
    }

    /// The properties that it needs of messages, those that it only asks for too.
    pub(crate) fn properties(&self) -> impl Iterator<Item = (u16, &Name)> {
        let of_refs = self.refs().filter_map(|what| match what {
            Ref::Property(slot, name) => Some((*slot, name)),
            _ => None,
        });
        of_refs.chain(self.asks.iter().map(|(slot, name)| (*slot, name)))
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expression({:?})", self.source)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.refs == other.refs
    }
}
