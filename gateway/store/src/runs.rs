//! Orchestration instances: their state, their inboxes, who runs them and when.
//!
//! A *run* is one instance of an orchestration. Its inbox are deliveries: a message for an orchestration is
//! claimed like one for a send port, and then *enters* a run ([`Op::Enter`]) instead of being sent. It ends
//! when the run has consumed it and its state names it no more, so that a message is kept for as long as a
//! run may read it, and retention need not know of runs.
//!
//! A run is worked on by one instance at a time, under a claim with a token, and changed by [`Op::Step`]
//! alone: state, consumed messages, subscriptions, timer and, as further members of the same group,
//! publications. A step by anybody else is [`StepOutcome::Fenced`] and writes nothing.
//!
//! Waiting costs a row. What wakes a run, a message, an answer, an operator's order, counts `wakes` up in the same
//! transaction; a step says which count it has seen, and rests only if there was none since. So no wake is lost,
//! and one too many does no harm. Time is a column with an index.
//!
//! [`Op::Enter`]: crate::Op::Enter
//! [`Op::Step`]: crate::Op::Step

use std::{fmt::Write as _, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use quayside_model::{
    Claim, Content, DeliveryId, ExchangeId, InstanceId, Message, MessageId, Name, Part, RunId,
    Text, Timestamp,
};

use crate::{Deaths, StoreError, work::Lease};

/// The most messages of an inbox that come with a claim, the first ones.
pub const INBOX_PAGE: u32 = 256;

/// From how many bytes of them on no more come, even if the page is not full: a claim brings the inboxes of hundreds of runs, and
/// all of them are in memory.
pub const INBOX_BYTES: usize = 1024 * 1024;

/// Orchestration instances.
#[async_trait]
pub trait Runs: Send + Sync {
    /// Claims what `wants` says of runs that have something to do, or whose time has come by the store's clock, for
    /// `instance`: those that are ready longest first. Empty if there are none or the instance is not live. Never waits for
    /// another instance's claim. Durable when it returns.
    async fn claim_runs(
        &self,
        instance: InstanceId,
        wants: &[RunWant],
    ) -> Result<Vec<ClaimedRun>, StoreError>;

    /// The messages that wait for `run` behind `after`, one of those that do. Empty if that is not there any more.
    async fn inbox(&self, run: RunId, after: DeliveryId) -> Result<Page, StoreError>;

    /// Gives back every run that `instance` holds and that is not among `held`: those whose claim got lost
    /// on its way. Returns how many. Durable when it returns.
    async fn release_runs(&self, instance: InstanceId, held: &[RunId]) -> Result<u32, StoreError>;

    /// Keeps the definition `fingerprint` of `orchestration`, for as long as a run may need it. Idempotent.
    async fn keep_definition(
        &self,
        orchestration: &Name,
        fingerprint: [u8; 16],
        text: &str,
    ) -> Result<(), StoreError>;

    /// A definition that was kept.
    async fn definition(
        &self,
        orchestration: &Name,
        fingerprint: [u8; 16],
    ) -> Result<Option<String>, StoreError>;

    /// The definitions that live runs are bound to: orchestration, fingerprint and text.
    async fn bound_definitions(&self) -> Result<Vec<(Name, [u8; 16], String)>, StoreError>;

    /// How many runs of each orchestration are in each state that is not over, counting at most `cap`: those of which there
    /// are some, by name and state.
    async fn live_runs(&self, cap: u32) -> Result<Vec<(Name, RunState, u64)>, StoreError>;

    /// Runs that fit `filter`, newest first, at most `limit`, older than `before`.
    async fn runs(
        &self,
        filter: &RunFilter,
        before: Option<RunId>,
        limit: u32,
    ) -> Result<Vec<RunRow>, StoreError>;

    /// One run with its state. `None` after retention, or if there never was one.
    async fn run(&self, id: RunId) -> Result<Option<RunShown>, StoreError>;

    /// Leaves `order` for the next who works on the run, in place of one that nobody has read yet, and wakes
    /// it. Durable when it returns. What it means is the engine's business.
    async fn order_run(&self, id: RunId, order: &str) -> Result<OrderOutcome, StoreError>;
}

/// Which runs of an orchestration an instance wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunWant {
    /// The orchestration, `APP.NAME`.
    pub orchestration: Name,
    /// How many, at most.
    pub room: u32,
    /// The definitions of which it wants none: they are left to others.
    pub except: Vec<[u8; 16]>,
    /// Those that so many holders have died over.
    pub deaths: Deaths,
}

impl RunWant {
    /// Up to `room` of any definition.
    #[must_use]
    pub fn any(orchestration: Name, room: u32) -> Self {
        Self {
            orchestration,
            room,
            except: Vec::new(),
            deaths: Deaths::Any,
        }
    }

    /// [`RunWant::except`] in hex, each after a comma: a text that a store can look for a definition in.
    #[must_use]
    pub fn exceptions(&self) -> String {
        let mut text = String::new();
        for definition in &self.except {
            text.push(',');
            for byte in definition {
                let _never = write!(text, "{byte:02x}");
            }
        }
        text
    }
}

/// The proof of holding a run: presented with every step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RunClaim {
    /// The run.
    pub run: RunId,
    /// The holder.
    pub instance: InstanceId,
    /// Which of the run's claims this is. A run is born with the token 1.
    pub token: u32,
}

/// A run in hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedRun {
    /// The proof.
    pub claim: RunClaim,
    /// The orchestration, `APP.NAME`.
    pub orchestration: Name,
    /// Which definition it is bound to.
    pub definition: [u8; 16],
    /// Its state, as the last step left it.
    pub state: Bytes,
    /// How often it was woken until the inbox was read.
    pub wakes: i64,
    /// An operator's order that nobody has read.
    pub order: Option<Text>,
    /// How many holders in a row have died before they had made a step of it.
    pub deaths: u32,
    /// The first messages that wait for it, in the order of their acceptance.
    pub inbox: Vec<Entered>,
    /// Whether more may wait than came along.
    pub partial: bool,
    /// The deliveries of messages that it has consumed and keeps.
    pub kept: Vec<DeliveryId>,
    /// What has become of the messages that it waits for.
    pub asked: Vec<Asked>,
    /// How the leases stand that it has given. Of work under a lease `asked` tells only that it was answered, or that no
    /// program can be asked: a program that has taken it may answer later.
    pub leases: Vec<Lease>,
    /// The store's clock at the claim.
    pub now: Timestamp,
}

/// Messages that wait for a run, in the order of their acceptance: at most [`INBOX_PAGE`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The messages.
    pub messages: Vec<Entered>,
    /// Whether more may wait behind them.
    pub partial: bool,
    bytes: usize,
}

impl Page {
    /// An empty one for the first `waiting` messages that wait: a page of them, or as many as there are.
    #[must_use]
    pub fn of(waiting: usize) -> Self {
        Self {
            partial: waiting >= INBOX_PAGE as usize,
            ..Self::default()
        }
    }

    /// Adds the next message. `false`: the page has as many bytes as it may have.
    pub fn add(&mut self, entered: Entered) -> bool {
        let parts = entered.message.parts.iter();
        let inline = parts.map(|part| match &part.content {
            Content::Inline(bytes) => bytes.len(),
            Content::Stored(_) => 0,
        });
        self.bytes += inline.sum::<usize>();
        self.messages.push(entered);
        self.bytes < INBOX_BYTES
    }
}

/// A message in the inbox of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entered {
    /// Its delivery.
    pub delivery: DeliveryId,
    /// The message, inline parts included.
    pub message: Arc<Message>,
    /// Why it is here, in the engine's words.
    pub route: Text,
}

/// An exchange that a run has opened with a message ([`NewExchange::run`](crate::commit::NewExchange)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The exchange.
    pub exchange: ExchangeId,
    /// The message that opened it.
    pub message: MessageId,
    /// How it stands. Those that are still on their way are not told.
    pub end: AskedEnd,
}

/// What became of a message that opened an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskedEnd {
    /// An answer has come.
    Answered {
        /// When.
        at: Timestamp,
        /// The partner's status.
        status: u16,
        /// The body, inline.
        body: Part,
    },
    /// It reached its target, which gives no answer.
    Delivered,
    /// It is suspended, or an operator has ended it.
    Failed {
        /// The code of the failure.
        code: Text,
        /// Why, for a person.
        detail: Text,
    },
}

/// A step of a run: everything that changes with it. Publications are further members of its group. A group may have the
/// steps of many runs, at most one of each.
#[derive(Debug, Clone)]
pub struct Step {
    /// The proof. With [`Step::create`] the run is born held by the instance, under the token 1.
    pub claim: RunClaim,
    /// The run does not exist yet.
    pub create: Option<NewRun>,
    /// The new state; `None`: as it was.
    pub state: Option<Bytes>,
    /// What the run is after it.
    pub status: RunStatus,
    /// When time wakes it at the latest.
    pub due: Option<Timestamp>,
    /// The count of wakes that was seen; see the module. 0 for a new run.
    pub wakes: i64,
    /// Whether the instance goes on with it. `false`, or an order waits that was not read: the claim is given back.
    pub hold: bool,
    /// Whether it has something to do at once, whoever claims it next: it does not rest then.
    pub again: bool,
    /// Whether the order that came with the claim was done, or refused. One that was left since stays.
    pub ordered: bool,
    /// Deliveries of its inbox, or kept by it, that end now: consumed, and named no more.
    pub consumed: Vec<DeliveryId>,
    /// Deliveries of its inbox that were consumed and are kept.
    pub kept: Vec<DeliveryId>,
    /// Keys under which messages find it from now on.
    pub subscribe: Vec<[u8; 16]>,
    /// Keys under which they no longer do.
    pub unsubscribe: Vec<[u8; 16]>,
    /// Exchanges that it waits for no more.
    pub closed: Vec<ExchangeId>,
    /// Answers to those who sent it messages.
    pub answers: Vec<RunAnswer>,
}

/// A run that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// The orchestration, `APP.NAME`.
    pub orchestration: Name,
    /// The definition that it is bound to, which is kept already.
    pub definition: [u8; 16],
}

/// What a run is after a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunStatus {
    /// It goes on, or waits.
    Active,
    /// Only an order goes on with it.
    Suspended {
        /// The code of the failure.
        code: Text,
        /// Why, for a person.
        detail: Text,
        /// The step.
        step: Name,
    },
    /// It is over: keys, timer and exchanges are gone. What it has kept ends as consumed, what is left in its inbox as
    /// discarded.
    Ended {
        /// Whether its steps were done; `false`: it was terminated.
        completed: bool,
        /// Why, if it was terminated.
        reason: Text,
    },
}

/// An answer to the request that `message` was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunAnswer {
    /// The message. If it opened no exchange, nothing happens.
    pub message: MessageId,
    /// The status, as of a partner.
    pub status: u16,
    /// The body, inline.
    pub body: Part,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepOutcome {
    /// Durable. A repeat of a step that was done is [`StepOutcome::Fenced`] once the claim was given back,
    /// and done again, with nothing changed, as long as it is held.
    Done,
    /// Durable as [`StepOutcome::Done`] is, and the claim, which was to be held, was given back: an order waits.
    GivenBack,
    /// The run is not held under this claim; nothing was written.
    Fenced,
    /// Another run has one of the keys; nothing was written.
    Taken {
        /// That run.
        by: RunId,
    },
}

/// A claimed delivery of an orchestration, on its way to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enter {
    /// The claim of the delivery.
    pub claim: Claim,
    /// The run, if it is known: one that this group creates, or that has created it.
    pub run: Option<RunId>,
    /// The orchestration, in which the keys are looked up otherwise.
    pub orchestration: Name,
    /// The keys that the message has, each with what to say of the way it came, in the order in which they
    /// are tried.
    pub keys: Vec<([u8; 16], Text)>,
    /// What to say of a message for a known run.
    pub route: Text,
}

/// What became of a delivery that was to enter a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnterOutcome {
    /// It is in the inbox of this run, which was woken.
    Entered(RunId),
    /// No run has one of its keys; nothing was changed, and the claim holds.
    Nobody,
    /// The delivery is not held under this claim any more; nothing was changed.
    Fenced,
}

/// Which runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Of this orchestration, or of any of this application.
    pub orchestration: Option<Text>,
    /// Those that stand so.
    pub state: Option<RunState>,
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// It has something to do, and nobody does it yet.
    Ready,
    /// An instance works on it.
    Running,
    /// It waits for a message, an answer or a time.
    Waiting,
    /// It waits for an operator.
    Suspended,
    /// All of its steps are done.
    Completed,
    /// It was ended.
    Terminated,
}

impl RunState {
    /// All of them, in their order.
    pub const ALL: [Self; 6] = [
        Self::Ready,
        Self::Running,
        Self::Waiting,
        Self::Suspended,
        Self::Completed,
        Self::Terminated,
    ];

    /// The word for people and programs, which is stable.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Suspended => "suspended",
            Self::Completed => "completed",
            Self::Terminated => "terminated",
        }
    }
}

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// The orchestration.
    pub orchestration: Name,
    /// The definition that it is bound to.
    pub definition: [u8; 16],
    /// How it stands.
    pub state: RunState,
    /// When it was started.
    pub started_at: Timestamp,
    /// When its last step was committed.
    pub changed_at: Timestamp,
    /// When time wakes it.
    pub due: Option<Timestamp>,
    /// Who works on it.
    pub instance: Option<InstanceId>,
    /// Why it is suspended or was terminated: the code, where there is one, the cause and the step.
    pub reason: Option<Text>,
    /// How many messages it ended without having consumed.
    pub discarded: u32,
}

/// A run with what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunShown {
    /// What a list says of it.
    pub row: RunRow,
    /// Its state; `None` once it is over.
    pub data: Option<Bytes>,
    /// An operator's order that nobody has carried out.
    pub order: Option<Text>,
    /// The messages that wait for it, the first ones: delivery and route.
    pub inbox: Vec<(DeliveryId, Text)>,
    /// The keys under which messages find it.
    pub keys: Vec<[u8; 16]>,
}

/// What became of an operator's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderOutcome {
    /// It is left for whoever works on the run next.
    Left,
    /// There is no such run.
    Missing,
    /// It is over.
    Ended,
}
