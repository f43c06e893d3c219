//! The state of an instance: everything that it is between two commits. Small for one that waits, since
//! it holds places and values and no document.

use std::collections::{BTreeMap, BTreeSet};

use quayside_model::{MessageId, Name, RunId, Timestamp, Value};
use serde::{Deserialize, Serialize};

use crate::{
    CallKey, CorrelationKey, Datum, Definition, End, Failure, Fingerprint, Refused, codes, datum,
    definition::Action,
};

/// The version of the encoded form. A program reads its own and older ones.
pub const VERSION: u16 = 1;

/// The state of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    #[serde(rename = "v")]
    pub(crate) version: u16,
    #[serde(rename = "d")]
    pub(crate) definition: Fingerprint,
    #[serde(rename = "r")]
    pub(crate) run: RunId,
    /// The time of the last commit, or of the start.
    #[serde(rename = "t")]
    pub(crate) at: Timestamp,
    /// When it asked to be woken.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub(crate) timer: Option<Timestamp>,
    #[serde(rename = "s")]
    pub(crate) status: Status,
    #[serde(rename = "m", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) messages: BTreeMap<u16, Held>,
    /// Those that were assigned; the others hold what the definition says.
    #[serde(rename = "x", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) variables: BTreeMap<u16, Datum>,
    /// The values of the correlation sets that were initialised.
    #[serde(rename = "c", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) sets: BTreeMap<u16, Vec<Value>>,
    /// The subscriptions in force, by group.
    #[serde(rename = "k", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) keys: BTreeMap<u16, CorrelationKey>,
    #[serde(rename = "b")]
    pub(crate) branches: Vec<Branch>,
    /// The number of the next branch or finished scope.
    #[serde(rename = "n")]
    pub(crate) next: u32,
}

/// What an instance is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It runs or waits.
    #[serde(rename = "a")]
    Active,
    /// It was taken out of the flow and can be resumed.
    #[serde(rename = "s")]
    Suspended(Failure),
    /// It is over.
    #[serde(rename = "e")]
    Ended(End),
}

/// A message that an instance holds: its id, and the properties that the definition looks at or has set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    #[serde(rename = "i")]
    pub(crate) id: MessageId,
    #[serde(rename = "k", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) kept: BTreeMap<Name, Value>,
    #[serde(rename = "s", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) set: BTreeMap<Name, Value>,
}

impl Held {
    pub(crate) fn property(&self, name: &str) -> Option<&Value> {
        self.set.get(name).or_else(|| self.kept.get(name))
    }

    fn weight(&self) -> usize {
        let values = self.kept.iter().chain(&self.set);
        60 + values
            .map(|(name, value)| name.len() + datum::weight(value))
            .sum::<usize>()
    }
}

/// One line of execution. The first one is the instance's own, others are those of a `parallel`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Branch {
    #[serde(rename = "i")]
    pub(crate) id: u32,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<u32>,
    /// The rounds of the loops around the `parallel`.
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) base: Vec<u32>,
    #[serde(rename = "f")]
    pub(crate) stack: Vec<Frame>,
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub(crate) wait: Option<Wait>,
    /// How often the step at hand was tried before.
    #[serde(rename = "a", default, skip_serializing_if = "is_zero")]
    pub(crate) attempt: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Where a branch is, from the outside to the inside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Frame {
    /// In a list of steps: which, and the number of the step in it.
    #[serde(rename = "b")]
    Block(u16, u16),
    /// In an `each`: the step, its elements, and how many rounds were begun.
    #[serde(rename = "e")]
    Each(u16, Vec<Value>, u32),
    /// In a `loop`: the step, and how many rounds were begun.
    #[serde(rename = "l")]
    Loop(u16, u32),
    /// In a scope.
    #[serde(rename = "s")]
    Scope(InScope),
    /// In the handler of a scope.
    #[serde(rename = "h")]
    Handle(InHandler),
    /// Compensating scopes, the last one first.
    #[serde(rename = "u")]
    Undoing(Vec<Done>),
    /// In the compensation of a scope.
    #[serde(rename = "c")]
    Undo(Box<Done>),
    /// Waits for the branches of a `parallel`: the step.
    #[serde(rename = "j")]
    Join(u16),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct InScope {
    #[serde(rename = "s")]
    pub(crate) step: u16,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub(crate) due: Option<Timestamp>,
    /// Scopes inside that have ended well.
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) done: Vec<Done>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct InHandler {
    #[serde(rename = "s")]
    pub(crate) step: u16,
    #[serde(rename = "e")]
    pub(crate) failure: Failure,
    /// Scopes inside of the failed one that have ended well, for `compensate` steps.
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) done: Vec<Done>,
    /// Scopes of the handler itself that have ended well.
    #[serde(rename = "m", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) made: Vec<Done>,
}

/// A scope that has ended well and can be compensated, once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Done {
    #[serde(rename = "s")]
    pub(crate) step: u16,
    /// Scopes that end later have a higher number.
    #[serde(rename = "n")]
    pub(crate) number: u32,
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rounds: Vec<u32>,
    /// What its compensation looks at, as it was.
    #[serde(rename = "m", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) messages: BTreeMap<u16, Held>,
    #[serde(rename = "x", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) variables: BTreeMap<u16, Datum>,
    /// Scopes inside of it that have ended well.
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) nested: Vec<Done>,
}

/// What a branch waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wait {
    /// A message for its `receive`.
    #[serde(rename = "m")]
    Message,
    /// The first of its `listen`, with the times of its delays.
    #[serde(rename = "l")]
    Listen(Vec<Option<Timestamp>>),
    #[serde(rename = "t")]
    Until(Timestamp),
    #[serde(rename = "r")]
    Reply(CallKey),
    /// What becomes of a message that was sent.
    #[serde(rename = "d")]
    Delivery(MessageId),
    /// A worker, until when it is believed, and which attempt this is.
    #[serde(rename = "w")]
    Work(CallKey, Timestamp, u32),
}

impl Wait {
    /// Whether a step of this kind waits like this.
    fn fits(&self, action: &Action) -> bool {
        match (self, action) {
            (Self::Listen(times), Action::Listen(branches)) => times.len() == branches.len(),
            (Self::Message, Action::Receive(_))
            | (Self::Until(_), Action::Delay(_))
            | (Self::Reply(_), Action::Call(_))
            | (Self::Delivery(_), Action::Send(_))
            | (Self::Work(..), Action::Worker(_)) => true,
            _ => false,
        }
    }

    pub(crate) fn due(&self) -> Option<Timestamp> {
        match self {
            Self::Listen(times) => times.iter().flatten().min().copied(),
            Self::Until(time) | Self::Work(_, time, _) => Some(*time),
            Self::Message | Self::Reply(_) | Self::Delivery(_) => None,
        }
    }

    /// The call that somebody works on for it.
    pub(crate) fn call(&self) -> Option<CallKey> {
        match self {
            Self::Reply(key) | Self::Work(key, ..) => Some(*key),
            _ => None,
        }
    }
}

/// Where an instance is, for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Position {
    /// The step.
    pub step: Name,
    /// The rounds of the loops around it.
    pub rounds: Vec<u32>,
    /// What it waits for: the kind of step, and which worker; `None`: it runs, or is suspended.
    pub waits_for: Option<String>,
    /// When it stops waiting, if it does.
    pub until: Option<Timestamp>,
}

impl State {
    /// The state of a new instance. It begins with the first [`advance`](crate::advance), which takes the
    /// message that activates it out of the inbox.
    #[must_use]
    pub fn start(definition: &Definition, run: RunId, now: Timestamp) -> Self {
        let first = Branch {
            id: 0,
            parent: None,
            base: Vec::new(),
            stack: vec![Frame::Block(0, 0)],
            wait: None,
            attempt: 0,
        };
        Self {
            version: VERSION,
            definition: definition.fingerprint,
            run,
            at: now,
            timer: None,
            status: Status::Active,
            messages: BTreeMap::new(),
            variables: BTreeMap::new(),
            sets: BTreeMap::new(),
            keys: BTreeMap::new(),
            branches: vec![first],
            next: 1,
        }
    }

    /// The form in which it is stored.
    ///
    /// # Panics
    /// Never: all of it can be written as JSON.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data with text keys")
    }

    /// Reads what [`State::encode`] has written.
    ///
    /// # Errors
    /// [`Refused`] if it is of another version or definition, or no state at all.
    pub fn decode(bytes: &[u8], definition: &Definition) -> Result<Self, Refused> {
        let state: Self = serde_json::from_slice(bytes).map_err(|error| Refused {
            code: codes::STATE,
            detail: format!("it cannot be read: {error}"),
        })?;
        state.belongs_to(definition)?;
        if state.is_sound(definition) {
            return Ok(state);
        }
        let detail = "it names what the definition does not have".to_owned();
        Err(Refused {
            code: codes::STATE,
            detail,
        })
    }

    pub(crate) fn belongs_to(&self, definition: &Definition) -> Result<(), Refused> {
        let refused = |detail: String| {
            Err(Refused {
                code: codes::STATE,
                detail,
            })
        };
        if self.version > VERSION {
            return refused(format!(
                "it is of version {}, and this program knows {VERSION}",
                self.version
            ));
        }
        if self.definition != definition.fingerprint {
            return refused(format!(
                "it belongs to the definition {}, not to {}",
                self.definition, definition.fingerprint
            ));
        }
        Ok(())
    }

    /// Whether every number in it stands for something of the definition.
    fn is_sound(&self, definition: &Definition) -> bool {
        let slots = |count: usize| move |slot: &u16| usize::from(*slot) < count;
        let ids: BTreeSet<u32> = self.branches.iter().map(|branch| branch.id).collect();
        let branch = |branch: &Branch| {
            let parent = branch
                .parent
                .map_or(branch.id == 0, |id| id < branch.id && ids.contains(&id));
            let step = branch.stack.last().and(branch.current(definition));
            let action = step.and_then(|step| definition.steps.get(usize::from(step)));
            let waits = match (&branch.wait, action.map(|step| &step.action)) {
                (Some(wait), Some(action)) => wait.fits(action),
                (wait, _) => wait.is_none(),
            };
            parent && waits && branch.stack.iter().all(|frame| frame.is_sound(definition))
        };
        // A number of a list is looked at before it is used to find the step of a branch.
        let lists =
            self.branches
                .iter()
                .flat_map(|branch| &branch.stack)
                .all(|frame| match frame {
                    Frame::Block(block, _) => usize::from(*block) < definition.blocks.len(),
                    _ => true,
                });
        let ended = matches!(self.status, Status::Ended(_));
        lists
            && ids.len() == self.branches.len()
            && (ended || ids.contains(&0))
            && self.branches.iter().all(branch)
            && self.messages.keys().all(slots(definition.messages.len()))
            && self.variables.keys().all(slots(definition.variables.len()))
            && self.sets.keys().all(slots(definition.sets.len()))
            && self.keys.keys().all(slots(definition.groups.len()))
    }

    /// The instance.
    #[must_use]
    pub fn run(&self) -> RunId {
        self.run
    }

    /// What it is doing.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// When time wakes it, if it does.
    #[must_use]
    pub fn timer(&self) -> Option<Timestamp> {
        self.timer
    }

    /// A worker was heard of: it has the work of `key` until `until`, if not for longer. Nothing runs because of that,
    /// and it is true whether the state is kept or not: whoever keeps leases says it again at every claim.
    pub fn renew(&mut self, key: CallKey, until: Timestamp) {
        for branch in &mut self.branches {
            if let Some(Wait::Work(of, due, _)) = &mut branch.wait
                && *of == key
            {
                *due = (*due).max(until);
                self.timer = self.next_due();
                return;
            }
        }
    }

    /// Its subscriptions: group and key.
    pub fn subscriptions(&self) -> impl Iterator<Item = (u16, CorrelationKey)> {
        self.keys.iter().map(|(group, key)| (*group, *key))
    }

    /// The messages that it may still use: their contents have to be kept.
    #[must_use]
    pub fn messages(&self) -> BTreeSet<MessageId> {
        let mut all: BTreeSet<MessageId> = self.messages.values().map(|held| held.id).collect();
        for frame in self.branches.iter().flat_map(|branch| &branch.stack) {
            for done in frame.done() {
                done.collect_messages(&mut all);
            }
        }
        all
    }

    /// Its variables by name, with what each holds now. An element of a list holds nothing outside of its loop.
    #[must_use]
    pub fn variables(&self, definition: &Definition) -> BTreeMap<Name, Datum> {
        let slots = (0u16..).zip(&definition.variables);
        let held = slots.filter_map(|(slot, variable)| {
            let assigned = self.variables.get(&slot);
            let datum = assigned.or(variable.initial.as_ref())?;
            Some((variable.name.clone(), datum.clone()))
        });
        held.collect()
    }

    /// Where it is, one place for each of its branches.
    #[must_use]
    pub fn positions(&self, definition: &Definition) -> Vec<Position> {
        let branches = self.branches.iter().filter_map(|branch| {
            let step = branch.current(definition)?;
            let action = &definition.step(step).action;
            // An atomic scope that lacks a message waits at its beginning.
            let atomic = matches!(action, Action::Scope(scope) if scope.atomic);
            let kind = match &branch.wait {
                Some(_) => Some(action.kind()),
                None if atomic && self.status == Status::Active => Some("receive"),
                None => None,
            };
            Some(Position {
                step: definition.step(step).name.clone(),
                rounds: branch.rounds(),
                waits_for: kind.map(|kind| match action {
                    Action::Worker(worker) => format!("{kind} {}", worker.worker),
                    _ => kind.to_owned(),
                }),
                until: branch.wait.as_ref().and_then(Wait::due),
            })
        });
        branches.collect()
    }

    /// When something in it is due next.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        if self.status != Status::Active {
            return None;
        }
        let waits = self
            .branches
            .iter()
            .filter_map(|branch| branch.wait.as_ref()?.due());
        let frames = self.branches.iter().flat_map(|branch| &branch.stack);
        let scopes = frames.filter_map(|frame| match frame {
            Frame::Scope(scope) => scope.due,
            _ => None,
        });
        waits.chain(scopes).min()
    }

    /// Its encoded length in bytes, roughly.
    #[must_use]
    pub fn weight(&self) -> usize {
        let messages: usize = self.messages.values().map(Held::weight).sum();
        let variables: usize = self.variables.values().map(Datum::weight).sum();
        let sets: usize = self.sets.values().flatten().map(datum::weight).sum();
        let frames = self.branches.iter().flat_map(|branch| &branch.stack);
        let frames: usize = frames.map(Frame::weight).sum();
        200 + messages + variables + sets + self.keys.len() * 45 + self.branches.len() * 60 + frames
    }
}

impl Branch {
    /// The step at which it is; in a list that is over, the one around it.
    pub(crate) fn current(&self, definition: &Definition) -> Option<u16> {
        self.stack.iter().rev().find_map(|frame| match frame {
            Frame::Block(block, at) => definition.block(*block).get(usize::from(*at)).copied(),
            Frame::Each(step, ..) | Frame::Loop(step, _) | Frame::Join(step) => Some(*step),
            Frame::Scope(scope) => Some(scope.step),
            Frame::Handle(handler) => Some(handler.step),
            Frame::Undo(done) => Some(done.step),
            Frame::Undoing(_) => None,
        })
    }

    /// The rounds of all loops around the step at hand.
    pub(crate) fn rounds(&self) -> Vec<u32> {
        let mut rounds = self.base.clone();
        for frame in &self.stack {
            match frame {
                Frame::Each(_, _, round) | Frame::Loop(_, round) => rounds.push(*round),
                Frame::Undo(done) => rounds.clone_from(&done.rounds),
                _ => {}
            }
        }
        rounds
    }
}

impl Frame {
    fn is_sound(&self, definition: &Definition) -> bool {
        let action = |step: u16| {
            definition
                .steps
                .get(usize::from(step))
                .map(|step| &step.action)
        };
        let is_scope = |step: u16| matches!(action(step), Some(Action::Scope(_)));
        let own = match self {
            Self::Block(block, at) => usize::from(*at) <= definition.block(*block).len(),
            Self::Each(step, _, _) => matches!(action(*step), Some(Action::Each { .. })),
            Self::Loop(step, _) => matches!(action(*step), Some(Action::Loop { .. })),
            Self::Join(step) => matches!(action(*step), Some(Action::Parallel(_))),
            Self::Scope(scope) => is_scope(scope.step),
            Self::Handle(handler) => is_scope(handler.step),
            Self::Undoing(_) | Self::Undo(_) => true,
        };
        own && self
            .done()
            .iter()
            .all(|done| done.all(&|done| is_scope(done.step)))
    }

    /// The finished scopes that it remembers.
    pub(crate) fn done(&self) -> Vec<&Done> {
        match self {
            Self::Scope(scope) => scope.done.iter().collect(),
            Self::Handle(handler) => handler.done.iter().chain(&handler.made).collect(),
            Self::Undoing(queue) => queue.iter().collect(),
            Self::Undo(done) => vec![done],
            _ => Vec::new(),
        }
    }

    fn weight(&self) -> usize {
        let own = match self {
            Self::Each(_, items, _) => items.iter().map(datum::weight).sum(),
            _ => 0,
        };
        own + 24 + self.done().iter().map(|done| done.weight()).sum::<usize>()
    }
}

impl Done {
    /// Whether `test` holds for it and all that are nested in it.
    fn all(&self, test: &dyn Fn(&Self) -> bool) -> bool {
        test(self) && self.nested.iter().all(|nested| nested.all(test))
    }

    fn weight(&self) -> usize {
        let messages: usize = self.messages.values().map(Held::weight).sum();
        let variables: usize = self.variables.values().map(Datum::weight).sum();
        40 + messages + variables + self.nested.iter().map(Self::weight).sum::<usize>()
    }

    fn collect_messages(&self, all: &mut BTreeSet<MessageId>) {
        all.extend(self.messages.values().map(|held| held.id));
        for nested in &self.nested {
            nested.collect_messages(all);
        }
    }
}
