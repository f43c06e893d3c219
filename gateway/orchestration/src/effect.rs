//! What goes into the machine and what comes out.

use std::time::Duration;

use quayside_model::{Code, Context, MessageId, Name, RunId, Text, Timestamp, Value};
use serde::{Deserialize, Serialize};

use crate::{CorrelationKey, MapCall, State, id::CallKey, retry::Seen, world::Need};

/// Why the machine runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The instance was started, a message is there, a time has come, or the last commit said `more`.
    Wake,
    /// An operator suspends the instance.
    Suspend {
        /// Why, for whoever finds it.
        reason: Text,
    },
    /// An operator lets a suspended instance go on: a step that failed runs again, and behind a `suspend`
    /// step the next one does.
    Resume,
    /// An operator has the step that failed or waits run again: a call is made once more, under its key.
    RetryStep {
        /// Which one, where several branches wait; otherwise the one that failed, or the only one.
        step: Option<Name>,
        /// How it stood when the operator looked; `None`: however it stands.
        seen: Option<Seen>,
    },
    /// An operator ends the instance.
    Terminate {
        /// Why.
        reason: Text,
    },
}

/// A message that was delivered to the instance and that it has not consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// The message.
    pub message: MessageId,
    /// Its type.
    pub message_type: Option<Text>,
    /// Its properties.
    pub context: Context,
    /// Why it is here.
    pub route: Route,
}

/// Why a message was delivered to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// It started the instance, through the receive step of this name.
    Activation(Name),
    /// It has the key of a subscription.
    Correlated(CorrelationKey),
    /// It answers a call, or is what a worker made.
    Reply(CallKey),
    /// There is no answer to a call, or none of a worker; the context and type do not matter.
    Refused {
        /// The call.
        key: CallKey,
        /// The code of the failure.
        code: Text,
        /// Why, for a person.
        detail: Text,
    },
    /// A message that a `send` with `notify` published was delivered.
    Delivered(MessageId),
    /// A message that a `send` with `notify` published will not be delivered.
    Undelivered {
        /// The message.
        message: MessageId,
        /// The code of the failure.
        code: Text,
        /// Why, for a person.
        detail: Text,
    },
}

/// What comes of a run of the machine.
#[derive(Debug, Clone, PartialEq)]
pub enum Advance {
    /// It cannot go on without these. Nothing has changed: fetch them and ask again with the same.
    Needs(Vec<Need>),
    /// There is nothing to do.
    Unchanged,
    /// A point at which the instance has to be kept.
    Commit(Box<Commit>),
}

/// State and effects that belong into one transaction. No effect may happen without the state, and none
/// before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The new state.
    pub state: State,
    /// What belongs to it, in its order.
    pub effects: Vec<Effect>,
    /// Whether the instance has more to do at once: wake it right after the commit.
    pub more: bool,
}

/// Where a message is published to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A send port of the application.
    Port(Name),
    /// Whoever subscribes.
    Subscribers,
    /// Who waits for the answer to this message.
    Answer(MessageId),
}

/// What is sent: the content of a message, with properties set over those that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The message whose parts and properties it has; one that was received, or made by a map.
    pub content: MessageId,
    /// Its type.
    pub message_type: Text,
    /// Properties that the orchestration has set: promoted, over those of `content`.
    pub properties: Vec<(Name, Value)>,
}

/// Something to be done in the transaction of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The message of the inbox has been taken: its delivery ends.
    Consume(MessageId),
    /// A map has made this message: its content, as the caller has it, is kept until the state names it no
    /// more (see [`State::messages`]).
    Keep(MapCall),
    /// A message is published.
    Publish {
        /// Its id: the same whenever the step is run again before its commit.
        id: MessageId,
        /// The step.
        step: Name,
        /// What.
        message: Outgoing,
        /// To whom.
        to: Destination,
        /// Whether the instance waits for [`Route::Delivered`] or [`Route::Undelivered`].
        notify: bool,
    },
    /// A partner is asked. Its answer comes as [`Route::Reply`] or [`Route::Refused`].
    Call {
        /// The id of the message that is published to the port: another one for each attempt.
        id: MessageId,
        /// The key under which the partner sees it: the same for all attempts.
        key: CallKey,
        /// The step.
        step: Name,
        /// What.
        message: Outgoing,
        /// The send port.
        port: Name,
    },
    /// A worker is asked. It has the work for the length of its lease, and for longer as it says with heartbeats: see
    /// [`State::renew`].
    Work {
        /// The id of the message that asks it: another one for each attempt.
        id: MessageId,
        /// The key under which the worker sees it: the same for all attempts.
        key: CallKey,
        /// Which attempt this is, from 1; none comes twice.
        attempt: u32,
        /// The step.
        step: Name,
        /// The worker.
        worker: Name,
        /// What.
        message: Outgoing,
        /// After how long without a word of it the machine takes it for lost.
        lease: Duration,
    },
    /// Nobody waits any more for the answer to a call or worker: it may be stopped.
    Abandon(CallKey),
    /// An instance of another orchestration is started.
    Start {
        /// Its id.
        run: RunId,
        /// Of which orchestration.
        orchestration: Name,
        /// The message that activates it.
        message: Outgoing,
        /// The id of that message.
        id: MessageId,
        /// The step.
        step: Name,
    },
    /// Messages with this key belong to the instance from now on.
    Subscribe {
        /// The correlation, as in [`Correlation::group`](crate::Correlation::group).
        group: u16,
        /// The key.
        key: CorrelationKey,
    },
    /// They no longer do.
    Unsubscribe {
        /// The correlation.
        group: u16,
        /// The key.
        key: CorrelationKey,
    },
    /// The instance is to be woken at this time at the latest, instead of the one said before.
    SetTimer(Timestamp),
    /// No time wakes it any more.
    CancelTimer,
    /// The instance is suspended.
    Suspend(Failure),
    /// The instance has ended; its subscriptions and timer are gone already.
    End {
        /// How.
        end: End,
        /// Messages of the inbox that it never consumed; not empty makes it "completed with discarded messages".
        discarded: Vec<MessageId>,
    },
}

/// How an instance ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// All of its steps are done.
    Completed,
    /// By a `terminate` step or an operator.
    Terminated {
        /// Why.
        reason: Text,
    },
}

/// Why an instance is suspended, or what an error handler has at hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The name under which it is caught; `suspended` and `operator` are none.
    #[serde(rename = "n")]
    pub name: Name,
    /// The stable code: see `docs/errors.md`.
    #[serde(rename = "c")]
    pub code: Text,
    /// The cause, for a person.
    #[serde(rename = "d")]
    pub detail: Text,
    /// The step.
    #[serde(rename = "s")]
    pub step: Name,
}

impl Failure {
    pub(crate) fn new(name: &str, code: Code, detail: &str, step: &Name) -> Self {
        Self {
            name: Name::new(name).expect("the names of errors are names"),
            code: Text::lossy(code.code),
            detail: Text::lossy(detail),
            step: step.clone(),
        }
    }
}

/// The state or the event does not fit the definition. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refused {
    /// The stable code.
    pub code: Code,
    /// Why.
    pub detail: String,
}
