//! What a case is: steps, and what has to come of each.

use std::time::Duration;

use bytes::Bytes;
use quayside_engine::{Order, rehearsal::Reply};
use quayside_model::{Context, Name, Part, Timestamp};

use crate::config::report::SourceId;

/// A file of cases.
#[derive(Debug)]
pub(crate) struct File {
    /// Its place in the report.
    pub(crate) source: SourceId,
    /// The application that it stands beside.
    pub(crate) app: Name,
    /// The cases, in their order.
    pub(crate) cases: Vec<Case>,
}

/// A case.
#[derive(Debug)]
pub(crate) struct Case {
    /// What it is called.
    pub(crate) name: String,
    /// Where it begins.
    pub(crate) at: usize,
    /// The time at which it begins.
    pub(crate) start: Timestamp,
    /// What happens, in its order.
    pub(crate) steps: Vec<Step>,
}

/// Something that happens in a case, and what has to come of it.
#[derive(Debug)]
pub(crate) struct Step {
    /// Where it begins.
    pub(crate) at: usize,
    /// What happens.
    pub(crate) action: Action,
    /// What has to come of it.
    pub(crate) expect: Expect,
}

/// What happens.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// A sender hands a message in.
    Receive {
        /// The location.
        location: Name,
        /// The message.
        body: Part,
        /// What the transport says of it.
        context: Context,
    },
    /// Time passes.
    Advance(Duration),
    /// A partner or a worker says something.
    Reply(Name, Reply),
    /// An operator gives an order for the instance of this number, from 1, of an orchestration.
    Order(Name, usize, Order),
}

/// What has to come of a step.
#[derive(Debug, Default)]
pub(crate) struct Expect {
    /// The code with which the sender is refused.
    pub(crate) refused: Option<(usize, String)>,
    /// The message that is taken in.
    pub(crate) received: Option<Wanted>,
    /// What goes to send ports: all of it.
    pub(crate) sent: Vec<Wanted>,
    /// What workers are asked: all of it.
    pub(crate) worker: Vec<Wanted>,
    /// What is published, among others.
    pub(crate) published: Vec<Wanted>,
    /// What waiting senders get: all of it.
    pub(crate) answered: Vec<Wanted>,
    /// Messages and instances that are suspended: all of them.
    pub(crate) suspended: Vec<Wanted>,
    /// Instances of orchestrations as they are then: all of each orchestration that is named.
    pub(crate) instances: Vec<WantedInstance>,
}

/// A message that is wanted.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Where that is said.
    pub(crate) at: usize,
    /// The port, worker or whatever has it; empty for those that have no place.
    pub(crate) place: Option<Name>,
    /// Its type.
    pub(crate) message_type: Option<(usize, String)>,
    /// Properties with their values as text.
    pub(crate) properties: Vec<(usize, String, String)>,
    /// The whole body.
    pub(crate) body: Option<(usize, Bytes)>,
    /// Paths with the texts that they lead to.
    pub(crate) paths: Vec<(usize, String, Vec<String>)>,
    /// The status of an answer.
    pub(crate) status: Option<(usize, u32)>,
    /// The code of a failure.
    pub(crate) code: Option<(usize, String)>,
}

/// An instance of an orchestration that is wanted.
#[derive(Debug)]
pub(crate) struct WantedInstance {
    /// Where that is said.
    pub(crate) at: usize,
    /// The orchestration.
    pub(crate) orchestration: Name,
    /// Its state, in a word.
    pub(crate) state: Option<(usize, String)>,
    /// The steps at which it is.
    pub(crate) steps: Option<(usize, Vec<String>)>,
    /// Variables with what they hold as text.
    pub(crate) variables: Vec<(usize, String, String)>,
    /// The messages that it has consumed, by their names or types, in their order.
    pub(crate) consumed: Option<(usize, Vec<String>)>,
    /// The messages that it has not consumed.
    pub(crate) left: Option<(usize, Vec<String>)>,
    /// The code with which it is suspended.
    pub(crate) code: Option<(usize, String)>,
}

/// The words for the state of an instance.
pub(crate) const STATES: [(&str, &str); 4] = [
    ("waiting", "waiting"),
    ("suspended", "suspended"),
    ("completed", "completed"),
    ("terminated", "terminated"),
];
