//! Everything around an instance: its inbox, partners, workers and time, and crashes.
//!
//! Invariants that every run has to keep:
//! - **consumed once**: no message is consumed that is not in the inbox;
//! - **one id, one effect**: no id of a publish, call or start comes twice;
//! - **nothing before its commit**: a run that is made again asks for exactly the same;
//! - **quiet**: after it has said that nothing is left, another wake-up changes nothing;
//! - **atomic**: whatever is begun in an atomic scope is in one commit (by the oracle's course);
//! - **woken in time**: while anything waits for time, the timer that was set is the first of all;
//! - **alive**: it ends, is suspended, or waits for something that can come.

use std::{
    cell::RefCell,
    collections::{BTreeSet, VecDeque},
};

use quayside_model::{Context, Entropy, MessageId, RunId, SeededEntropy, Text, Timestamp, Value};
use quayside_orchestration::{
    Advance, Arrived, CallKey, Commit, Definition, Effect, Event, Input, Need, Route, State,
    Status, advance,
};

use super::plan::Style;
use crate::{
    driver::{text, word},
    support::{Documents, at, name},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crashes {
    None,
    Everywhere,
}

pub(crate) struct World {
    definition: Definition,
    state: State,
    inbox: Vec<Arrived>,
    now: Timestamp,
    /// What partners will say, each at the next quiet moment.
    answers: VecDeque<(Text, Route)>,
    /// Decides what happens; asked only at moments that a crash does not move.
    fate: SeededEntropy,
    chaos: SeededEntropy,
    style: Style,
    mode: Crashes,
    documents: Documents,
    committed: Vec<Effect>,
    /// How many effects there were after each commit.
    ends: Vec<usize>,
    pub(crate) crashes: usize,
    pub(crate) longest: usize,
    ids: BTreeSet<String>,
    resumed: u32,
    messages: u32,
}

impl World {
    pub(crate) fn new(definition: Definition, seed: u64, style: Style, mode: Crashes) -> Self {
        let state = State::start(&definition, RunId::from_bytes([5; 16]), at(0));
        Self {
            definition,
            state,
            inbox: Vec::new(),
            now: at(0),
            answers: VecDeque::new(),
            fate: SeededEntropy::new(seed),
            chaos: SeededEntropy::new(seed ^ 0xdead),
            style,
            mode,
            documents: Documents::default(),
            committed: Vec::new(),
            ends: Vec::new(),
            crashes: 0,
            longest: 0,
            ids: BTreeSet::new(),
            resumed: 0,
            messages: 0,
        }
    }

    pub(crate) fn run(&mut self, about: &str) {
        self.message("t0", |_, _| Route::Activation(name("first")));
        let mut event = Event::Wake;
        for _ in 0..3_000 {
            self.advance(&event, about);
            event = match self.state.status() {
                Status::Ended(_) => return,
                Status::Suspended(_) => match self.operator() {
                    Some(event) => event,
                    None => return,
                },
                Status::Active => {
                    self.next_moment(about);
                    Event::Wake
                }
            };
        }
        panic!("it never ends: {about}");
    }

    /// What was done, in words, with a `|` between two commits; the messages that it never consumed are left
    /// out, and commits in which nothing but the state has changed.
    pub(crate) fn course(&self) -> Vec<String> {
        let mut course: Vec<String> = Vec::new();
        let mut at = 0;
        for (number, effect) in self.committed.iter().enumerate() {
            while self.ends.get(at).is_some_and(|end| *end <= number) {
                at += 1;
                if course.last().is_some_and(|word| word != "|") {
                    course.push("|".to_owned());
                }
            }
            course.extend(word(effect).map(|word| match word.split_once("ed-") {
                Some((end, _)) => format!("{end}ed"),
                None => word,
            }));
        }
        course
    }

    pub(crate) fn effects(&self) -> &[Effect] {
        &self.committed
    }

    pub(crate) fn commits(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn end(&self) -> &'static str {
        match self.state.status() {
            Status::Active => "active",
            Status::Suspended(_) => "suspended",
            Status::Ended(quayside_orchestration::End::Completed) => "completed",
            Status::Ended(_) => "terminated",
        }
    }

    fn chance(entropy: &SeededEntropy, in_: u32) -> bool {
        let mut bytes = [0; 4];
        entropy.fill(&mut bytes);
        u32::from_le_bytes(bytes).is_multiple_of(in_)
    }

    /// Gives `event` and goes on until nothing is left.
    fn advance(&mut self, event: &Event, about: &str) {
        let mut event = event.clone();
        loop {
            let Some(commit) = self.one_run(&event, about) else {
                return;
            };
            let more = commit.more;
            self.commit(commit, about);
            if !more {
                break;
            }
            event = Event::Wake;
        }
        assert!(
            self.one_run(&Event::Wake, about).is_none(),
            "quiet: {about}"
        );
    }

    /// One run, with crashes before its commit.
    fn one_run(&mut self, event: &Event, about: &str) -> Option<Commit> {
        if self.mode == Crashes::None {
            self.documents.loaded = None;
            return self.outcome(event, about);
        }
        // First without any document: every place that reads one is a place to be interrupted at.
        let mut before: Option<Option<Commit>> = None;
        if Self::chance(&self.chaos, 2) {
            self.documents.loaded = Some(RefCell::new(BTreeSet::new()));
            before = Some(self.outcome(event, about));
            self.documents.loaded = None;
        }
        // The result is lost, once or more often, and the process that comes next reads the state anew.
        while before.is_none() || Self::chance(&self.chaos, 2) {
            self.state =
                State::decode(&self.state.encode(), &self.definition).expect("it can be read");
            let again = self.outcome(event, about);
            if let Some(before) = &before {
                assert_eq!(before, &again, "nothing before its commit: {about}");
                self.crashes += 1;
            }
            before = Some(again);
        }
        before.expect("it ran")
    }

    fn outcome(&mut self, event: &Event, about: &str) -> Option<Commit> {
        for _ in 0..1_000 {
            let input = Input {
                definition: &self.definition,
                state: &self.state,
                inbox: &self.inbox,
                now: self.now,
                world: &self.documents,
            };
            match advance(input, event).expect("the state belongs to it") {
                Advance::Unchanged => return None,
                Advance::Commit(commit) => return Some(*commit),
                Advance::Needs(needs) => {
                    self.crashes += 1;
                    let loaded = self
                        .documents
                        .loaded
                        .as_ref()
                        .expect("only then something is missing");
                    loaded
                        .borrow_mut()
                        .extend(needs.into_iter().map(|need| match need {
                            Need::Body(message) => message,
                            Need::Map(call) => call.id,
                        }));
                }
            }
        }
        panic!("it needs more and more: {about}");
    }

    fn commit(&mut self, commit: Commit, about: &str) {
        let bytes = commit.state.encode();
        self.longest = self.longest.max(bytes.len());
        self.state = State::decode(&bytes, &self.definition).expect("it can be read");
        assert_eq!(self.state, commit.state, "{about}");
        for effect in &commit.effects {
            self.happen(effect, about);
        }
        let due = self
            .state
            .positions(&self.definition)
            .into_iter()
            .filter_map(|position| position.until)
            .min();
        if *self.state.status() == Status::Active
            && let Some(due) = due
        {
            assert!(
                self.state.timer().is_some_and(|timer| timer <= due),
                "woken in time: {about}"
            );
        }
        self.committed.extend(commit.effects);
        self.ends.push(self.committed.len());
    }

    fn happen(&mut self, effect: &Effect, about: &str) {
        let new = |ids: &mut BTreeSet<String>, id: String| {
            assert!(ids.insert(id), "one id, one effect: {about}")
        };
        match effect {
            Effect::Consume(message) => {
                let at = self
                    .inbox
                    .iter()
                    .position(|arrived| arrived.message == *message);
                self.inbox
                    .remove(at.unwrap_or_else(|| panic!("consumed once: {about}")));
            }
            Effect::Publish {
                id, step, notify, ..
            } => {
                new(&mut self.ids, id.to_string());
                if *notify {
                    let route = if step.starts_with("lost") {
                        Route::Undelivered {
                            message: *id,
                            code: Text::lossy("QS0001"),
                            detail: Text::lossy("lost"),
                        }
                    } else {
                        Route::Delivered(*id)
                    };
                    self.answers.push_back((Text::lossy("none"), route));
                }
            }
            Effect::Call { id, key, step, .. } => {
                new(&mut self.ids, id.to_string());
                self.answer(*key, step);
            }
            Effect::Work { id, key, step, .. } => {
                new(&mut self.ids, id.to_string());
                if !step.starts_with("mute") || Self::chance(&self.fate, 3) {
                    self.answer(*key, step);
                }
            }
            Effect::Start { run, id, .. } => {
                new(&mut self.ids, run.to_string());
                new(&mut self.ids, id.to_string());
            }
            _ => {}
        }
    }

    fn answer(&mut self, key: CallKey, step: &str) {
        let answer = if step.starts_with("no") {
            (
                Text::lossy("none"),
                Route::Refused {
                    key,
                    code: Text::lossy("QS0001"),
                    detail: Text::lossy("no"),
                },
            )
        } else {
            (Text::lossy("urn:test#t3"), Route::Reply(key))
        };
        self.answers.push_back(answer);
    }

    /// Something comes: what partners said, a message, or time.
    fn next_moment(&mut self, about: &str) {
        let orderly = self.style == Style::Orderly;
        if !self.answers.is_empty() && (orderly || !Self::chance(&self.fate, 4)) {
            let (message_type, route) = self.answers.pop_front().expect("there is one");
            self.put(Some(message_type), Context::new(), route);
            return;
        }
        let waits: Vec<String> = self
            .state
            .positions(&self.definition)
            .into_iter()
            .filter_map(|p| p.waits_for)
            .collect();
        let blocked = self.state.timer().is_none() && self.answers.is_empty();
        let for_messages = waits
            .iter()
            .any(|kind| kind == "receive" || kind == "listen")
            || blocked;
        if for_messages && (blocked || orderly || Self::chance(&self.fate, 2)) {
            assert!(
                self.messages < 1_000,
                "alive: it waits for what does not come: {about}"
            );
            let kind = if waits.iter().any(|kind| kind == "listen") && Self::chance(&self.fate, 2) {
                "t2"
            } else {
                "t1"
            };
            self.message(kind, |definition, context| {
                Route::Correlated(
                    definition
                        .correlation_key(0, context)
                        .expect("it has the key"),
                )
            });
        } else if let Some(timer) = self.state.timer() {
            self.now = self.now.max(timer);
        }
    }

    fn operator(&mut self) -> Option<Event> {
        self.resumed += 1;
        let paused =
            matches!(self.state.status(), Status::Suspended(failure) if &*failure.code == "QS1342");
        let timed_out =
            matches!(self.state.status(), Status::Suspended(failure) if &*failure.code == "QS1337");
        // Orderly runs stop where nobody handles an error, as the oracle does.
        match self.resumed {
            1..=5 if paused || timed_out => Some(Event::Resume),
            1..=2 if self.style == Style::Wild => Some(Event::RetryStep {
                step: None,
                seen: None,
            }),
            _ => None,
        }
    }

    fn message(&mut self, kind: &str, route: impl Fn(&Definition, &Context) -> Route) {
        if kind == "t1" && self.definition.correlations().is_empty() {
            return;
        }
        self.messages += 1;
        let mut context = Context::new();
        context.promote(name("Key"), text("one"));
        context.promote(name("N"), Value::Integer(i64::from(self.messages)));
        let route = route(&self.definition, &context);
        self.put(
            Some(Text::lossy(&format!("urn:test#{kind}"))),
            context,
            route,
        );
    }

    fn put(&mut self, message_type: Option<Text>, context: Context, route: Route) {
        let message = MessageId::new(self.now, &self.fate);
        self.inbox.push(Arrived {
            message,
            message_type,
            context,
            route,
        });
    }
}
