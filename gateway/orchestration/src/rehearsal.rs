//! One instance in virtual time, without a store: for the tests that an application has of its orchestrations.

use std::collections::{BTreeSet, VecDeque};

use quayside_model::{MessageId, RunId, Timestamp};

use crate::{
    Advance, Arrived, CallKey, Commit, Definition, Effect, Event, Input, Need, Refused, State,
    Status, World, advance, codes,
};

/// How many commits one event may lead to.
const COMMITS: usize = 10_000;

/// An instance that is tried: the same machine, with a store that is a list and a clock that is set.
#[derive(Debug)]
pub struct Rehearsal<'d> {
    definition: &'d Definition,
    state: State,
    inbox: Vec<Arrived>,
    now: Timestamp,
    effects: Vec<(Timestamp, Effect)>,
    /// Events that could not be dealt with yet.
    pending: VecDeque<Event>,
}

/// What came of trying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// It lacks these: give them to the world, and try the same again.
    Needs(Vec<Need>),
    /// Nothing is left to do now.
    Quiet,
}

impl<'d> Rehearsal<'d> {
    /// A new instance. Its first message is delivered like any other one, with
    /// [`Route::Activation`](crate::Route::Activation).
    #[must_use]
    pub fn new(definition: &'d Definition, run: RunId, now: Timestamp) -> Self {
        Self {
            definition,
            state: State::start(definition, run, now),
            inbox: Vec::new(),
            now,
            effects: Vec::new(),
            pending: VecDeque::new(),
        }
    }

    /// Puts a message into the inbox. It is looked at with the next event.
    pub fn deliver(&mut self, arrived: Arrived) {
        self.inbox.push(arrived);
    }

    /// A worker was heard of, see [`State::renew`].
    pub fn renew(&mut self, key: CallKey, until: Timestamp) {
        self.state.renew(key, until);
    }

    /// What would come of `event` now. Nothing changes: whoever takes a commit gives it to [`Rehearsal::accept`], and
    /// whoever cannot make its effects asks with another event, as a process does whose store refuses a step.
    ///
    /// # Errors
    /// [`Refused`] if the event does not fit.
    pub fn propose(&self, event: &Event, world: &dyn World) -> Result<Advance, Refused> {
        let input = Input {
            definition: self.definition,
            state: &self.state,
            inbox: &self.inbox,
            now: self.now,
            world,
        };
        advance(input, event)
    }

    /// Takes a commit that was proposed last.
    pub fn accept(&mut self, commit: Commit) {
        let consumed: BTreeSet<MessageId> = commit
            .effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Consume(message) => Some(*message),
                _ => None,
            })
            .collect();
        self.inbox
            .retain(|arrived| !consumed.contains(&arrived.message));
        self.state = commit.state;
        let now = self.now;
        self.effects
            .extend(commit.effects.into_iter().map(|effect| (now, effect)));
    }

    /// Sets the clock forward to `time`. What is due by then happens with the next event.
    pub fn set_clock(&mut self, time: Timestamp) {
        self.now = self.now.max(time);
    }

    /// Gives `event`, and goes on until nothing is left to do at this time.
    ///
    /// # Errors
    /// [`Refused`] if the event does not fit, or if it never comes to rest.
    pub fn tell(&mut self, event: &Event, world: &dyn World) -> Result<Tried, Refused> {
        if self.pending.back() != Some(event) {
            self.pending.push_back(event.clone());
        }
        for _ in 0..COMMITS {
            let Some(event) = self.pending.pop_front() else {
                return Ok(Tried::Quiet);
            };
            match self.propose(&event, world)? {
                Advance::Needs(needs) => {
                    self.pending.push_front(event);
                    return Ok(Tried::Needs(needs));
                }
                Advance::Unchanged => {}
                Advance::Commit(commit) => {
                    if commit.more {
                        self.pending.push_front(Event::Wake);
                    }
                    self.accept(*commit);
                }
            }
        }
        self.pending.clear();
        let detail = format!("it went on for {COMMITS} commits");
        Err(Refused {
            code: codes::RUNAWAY,
            detail,
        })
    }

    /// Sets the clock forward to `time`, and has everything happen that is due until then.
    ///
    /// # Errors
    /// As [`Rehearsal::tell`].
    pub fn pass(&mut self, time: Timestamp, world: &dyn World) -> Result<Tried, Refused> {
        loop {
            if let Tried::Needs(needs) = self.tell(&Event::Wake, world)? {
                return Ok(Tried::Needs(needs));
            }
            match self.state.timer().filter(|due| *due <= time) {
                Some(due) if due > self.now => self.now = due,
                _ if self.now < time => self.now = time,
                _ => return Ok(Tried::Quiet),
            }
        }
    }

    /// Everything that was done, with its time, in its order.
    #[must_use]
    pub fn effects(&self) -> &[(Timestamp, Effect)] {
        &self.effects
    }

    /// The definition that it is bound to.
    #[must_use]
    pub fn definition(&self) -> &'d Definition {
        self.definition
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The time on its clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The messages that were delivered and not consumed.
    #[must_use]
    pub fn inbox(&self) -> &[Arrived] {
        &self.inbox
    }

    /// Whether it is over.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.state.status(), Status::Ended(_))
    }
}
