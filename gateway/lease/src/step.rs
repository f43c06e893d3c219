//! What goes into an [`Agent`](crate::Agent) and what comes out.

use std::{fmt, time::Duration};

use quayside_model::{GrantId, InstanceId, Monotonic, Name, SessionId};

use crate::{Beat, Epoch, Exclusion, Exit, Grant, Incarnation, KillReason, Transition, View};

/// Something that was observed. Every [`Action`] that says so is answered by exactly one event, within the
/// client timeout: an answer that did not come is `Unknown` or `None`, and may still take effect later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Time has passed. At least every 100 ms, and at [`Agent::next_wake`](crate::Agent::next_wake).
    Tick,
    /// Somebody said that something changed: a look is worth while.
    Hint,
    /// A connection for sessions was made, and read which store it leads to. Before anything else it does.
    Connected(Incarnation),
    /// Answers [`Action::Open`].
    Opened {
        /// The session.
        session: SessionId,
        /// Whether the store has it.
        done: bool,
    },
    /// Answers [`Action::Renew`].
    Renewed {
        /// The session.
        session: SessionId,
        /// As in the action.
        sent_at: Monotonic,
        /// What came of it.
        renewal: Renewal,
    },
    /// Answers [`Action::Look`].
    Looked {
        /// As in the action.
        asked: Monotonic,
        /// What it showed.
        view: Option<View>,
    },
    /// Answers [`Action::Expire`].
    Expired {
        /// The session.
        session: SessionId,
        /// Whether it is dead now by this very statement.
        done: bool,
    },
    /// Answers [`Action::Close`].
    Closed {
        /// The session.
        session: SessionId,
        /// Whether the store knows.
        done: bool,
    },
    /// Answers [`Action::Take`].
    Took {
        /// The group.
        group: Name,
        /// As in the action.
        grant: GrantId,
        /// What came of it.
        take: Take,
    },
    /// Answers [`Action::Release`].
    Released {
        /// The group.
        group: Name,
        /// As in the action.
        grant: GrantId,
        /// Whether the store knows; also if somebody else has it since.
        done: bool,
    },
    /// Answers [`Action::End`].
    Ended {
        /// The process.
        instance: InstanceId,
        /// Whether the store knows.
        done: bool,
    },
    /// A process has reported.
    Beat {
        /// The process.
        instance: InstanceId,
        /// Its report.
        beat: Beat,
    },
    /// A process has finished all work and shut its own gate for good.
    Drained {
        /// The process.
        instance: InstanceId,
    },
    /// A process was told by the store that it is not the owner. It does nothing more.
    Fenced {
        /// The process.
        instance: InstanceId,
    },
    /// A process has ended and was waited for: nothing of it runs any more. Or it could not be started.
    Exited {
        /// The process.
        instance: InstanceId,
        /// How.
        exit: Exit,
    },
    /// This node is to stop: every group is drained, then the session ends.
    Shutdown,
}

/// How long after an [`Action::Offer`] that was planned a take counts as planned, and after a drill as that of the
/// drill.
pub const PLANNED_FOR: Duration = Duration::from_secs(60);

/// What is said of a group with its release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The node that is to take it.
    pub to: Name,
    /// Whether the store records a move because of a fault.
    pub counted: bool,
}

/// What came of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// The session is live. Not for a commit with warning 01000: that one is unknown.
    Live,
    /// The session is dead and never comes back.
    Dead,
    /// No answer that can be believed.
    Unknown,
}

/// What came of a take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// This grant owns the group, by this call or an earlier one.
    Taken(Epoch),
    /// Somebody live has it.
    Held,
    /// The asking process is not live in the store.
    Refused,
    /// An open transaction of the owner stands in the way.
    Locked,
    /// No answer that can be believed.
    Unknown,
}

/// Something to be done. Actions of one step are begun in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open `session` for this node. Answered. Never repeated for the same id.
    Open {
        /// A new id.
        session: SessionId,
    },
    /// Renew `session`. Answered.
    Renew {
        /// The session.
        session: SessionId,
        /// The clock before it is sent; the deadline counts from here.
        sent_at: Monotonic,
    },
    /// Write `report` for this node and read a [`View`]. Answered.
    Look {
        /// The clock before it is sent.
        asked: Monotonic,
        /// What the others should know.
        report: Vec<(Name, crate::StandbySeen)>,
    },
    /// End the session of another node if its sequence still is `seq` and its lease has run out. Answered.
    Expire {
        /// The session.
        session: SessionId,
        /// Its sequence, unchanged for a full ttl.
        seq: i64,
    },
    /// End an own session under which nothing runs. Answered.
    Close {
        /// The session.
        session: SessionId,
    },
    /// Register `instance` under `session`, then start a process of `group` with it. Unanswered if it
    /// works; a failure of either is [`Event::Exited`] with [`Exit::NotStarted`].
    Spawn {
        /// The group.
        group: Name,
        /// A new id.
        instance: InstanceId,
        /// The session it lives under.
        session: SessionId,
    },
    /// Kill a process, whatever it does. Its [`Event::Exited`] follows.
    Kill {
        /// The process.
        instance: InstanceId,
        /// Why.
        reason: KillReason,
    },
    /// Declare `instance` dead in the store. Answered. Only asked for after it has exited.
    End {
        /// The process.
        instance: InstanceId,
    },
    /// Take `group` for `instance`. Answered. May be repeated with the same grant.
    Take {
        /// The group.
        group: Name,
        /// The process that is to be active.
        instance: InstanceId,
        /// A new id.
        grant: GrantId,
        /// Whether the store records a move because of a fault, in the same transaction.
        counted: bool,
    },
    /// Give `group` back if `grant` still is its grant, and in the same transaction offer it. Answered.
    Release {
        /// The group.
        group: Name,
        /// The grant.
        grant: GrantId,
        /// To whom it is offered, if to anybody.
        offer: Option<Offer>,
    },
    /// End the open transactions of `instance`, which is not live.
    BreakLocks {
        /// The former owner.
        instance: InstanceId,
    },
    /// Write that `group`, whose process is dead or is being killed, is offered to `to`, and hint.
    Offer {
        /// The group.
        group: Name,
        /// A node.
        to: Name,
        /// Whether it was on its way there already. If so, what follows is no move because of a fault, whoever takes
        /// it from the dead owner within [`PLANNED_FOR`].
        planned: bool,
    },
    /// Write that `group` has failed now.
    Fail {
        /// The group.
        group: Name,
    },
    /// Write that `group` has not failed any more.
    Recover {
        /// The group.
        group: Name,
    },
    /// Make a process active: close the former owner's connections at the broker, write the page, send
    /// the grant.
    Grant {
        /// The process.
        instance: InstanceId,
        /// What it is granted.
        grant: Grant,
    },
    /// Move the deadline in the page of a process.
    Extend {
        /// The process.
        instance: InstanceId,
        /// Until when it may act now.
        deadline: Monotonic,
    },
    /// Write a deadline that has passed into the page of a process, until it is granted something anew.
    Shut {
        /// The process.
        instance: InstanceId,
    },
    /// Tell a process to take nothing new and to finish. [`Event::Drained`] follows, or it is killed.
    Drain {
        /// The process.
        instance: InstanceId,
        /// How long it has.
        within: Duration,
    },
    /// Write that an order to move is dealt with: followed from now on, or refused.
    Answer {
        /// The group.
        group: Name,
        /// The number of the order.
        order: u64,
        /// Why it is not followed.
        refused: Option<Refusal>,
    },
    /// The connection for sessions leads to an old primary: drop it and look for another.
    Disconnect,
    /// Record a change of state.
    Record(Transition),
    /// All is stopped and the session ended: this node's agent may exit.
    Stopped,
}

/// Why an order to move is not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It runs there already.
    AlreadyThere,
    /// This speaks against the node that the order names.
    Excluded(Name, Exclusion),
    /// No other node can run it.
    NoCandidate,
    /// The owner that it was given to was lost before it had followed.
    OwnerLost,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyThere => f.write_str("it runs there already"),
            Self::Excluded(node, why) => write!(f, "not on {node}: {why}"),
            Self::NoCandidate => f.write_str("no other node can run it"),
            Self::OwnerLost => f.write_str("its owner was lost before it had followed"),
        }
    }
}
