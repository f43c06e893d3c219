//! Runs one instance as a caller does: commits what the machine says, writes the state down each time,
//! and hands over the messages that are there.

use std::collections::BTreeSet;

use quayside_model::{Context, MessageId, Name, RunId, SeededEntropy, Text, Timestamp, Value};
use quayside_orchestration::{
    Advance, Arrived, CallKey, Commit, Definition, Effect, Event, Input, Route, State, World,
    advance,
};

use crate::support::{Documents, at, name};

pub(crate) struct Driver {
    pub(crate) definition: Definition,
    pub(crate) state: State,
    pub(crate) inbox: Vec<Arrived>,
    pub(crate) now: Timestamp,
    pub(crate) world: Documents,
    /// The effects of each commit.
    pub(crate) commits: Vec<Vec<Effect>>,
    entropy: SeededEntropy,
}

impl Driver {
    pub(crate) fn new(definition: Definition) -> Self {
        let now = at(0);
        Self {
            state: State::start(&definition, RunId::from_bytes([9; 16]), now),
            definition,
            inbox: Vec::new(),
            now,
            world: Documents::default(),
            commits: Vec::new(),
            entropy: SeededEntropy::new(3),
        }
    }

    /// An instance whose first receive gets a message with these properties.
    pub(crate) fn started(
        definition: Definition,
        message: &str,
        properties: &[(&str, Value)],
    ) -> Self {
        let mut driver = Self::new(definition);
        let step = driver.definition.activations()[0].step.clone();
        driver.arrive(message, properties, Route::Activation(step));
        driver.wake();
        driver
    }

    pub(crate) fn arrive(
        &mut self,
        message: &str,
        properties: &[(&str, Value)],
        route: Route,
    ) -> MessageId {
        let id = MessageId::new(self.now, &self.entropy);
        let mut context = Context::new();
        for (property, value) in properties {
            context.promote(name(property), value.clone());
        }
        self.inbox.push(Arrived {
            message: id,
            message_type: Some(Text::lossy(&format!("urn:test#{message}"))),
            context,
            route,
        });
        id
    }

    /// A message that finds its instance by the correlation with this number.
    pub(crate) fn correlated(
        &mut self,
        group: u16,
        message: &str,
        properties: &[(&str, Value)],
    ) -> MessageId {
        let mut context = Context::new();
        for (property, value) in properties {
            context.promote(name(property), value.clone());
        }
        let key = self
            .definition
            .correlation_key(group, &context)
            .expect("it has the properties");
        self.arrive(message, properties, Route::Correlated(key))
    }

    pub(crate) fn reply(&mut self, key: CallKey, message: &str) {
        self.arrive(message, &[], Route::Reply(key));
        self.wake();
    }

    pub(crate) fn refuse(&mut self, key: CallKey) {
        let route = Route::Refused {
            key,
            code: Text::lossy("QS0001"),
            detail: Text::lossy("no"),
        };
        self.arrive("nothing", &[], route);
        self.wake();
    }

    pub(crate) fn pass(&mut self, seconds: i64) {
        self.now = Timestamp::from_micros(self.now.as_micros() + seconds * 1_000_000);
        self.wake();
    }

    pub(crate) fn wake(&mut self) {
        self.event(&Event::Wake);
    }

    /// Gives `event`, and goes on until there is nothing more to do.
    pub(crate) fn event(&mut self, event: &Event) {
        let mut event = event.clone();
        for _ in 0..10_000 {
            let Some(commit) = self.once(&event) else {
                return;
            };
            let more = commit.more;
            self.apply(commit);
            if !more {
                return;
            }
            event = Event::Wake;
        }
        panic!("it never ends");
    }

    /// One run, whose result is thrown away.
    pub(crate) fn once(&self, event: &Event) -> Option<Commit> {
        match self.look(event, &self.world) {
            Advance::Needs(needs) => panic!("{needs:?}"),
            Advance::Unchanged => None,
            Advance::Commit(commit) => Some(*commit),
        }
    }

    pub(crate) fn look(&self, event: &Event, world: &dyn World) -> Advance {
        let input = Input {
            definition: &self.definition,
            state: &self.state,
            inbox: &self.inbox,
            now: self.now,
            world,
        };
        advance(input, event).expect("the state belongs to the definition")
    }

    pub(crate) fn apply(&mut self, commit: Commit) {
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
        let bytes = commit.state.encode();
        self.state = State::decode(&bytes, &self.definition).expect("it can be read back");
        assert_eq!(
            self.state, commit.state,
            "what is read back is what was written"
        );
        self.commits.push(commit.effects);
    }

    pub(crate) fn effects(&self) -> impl Iterator<Item = &Effect> {
        self.commits.iter().flatten()
    }

    /// What was done, in short words, commit by commit.
    pub(crate) fn log(&self) -> Vec<String> {
        let commits = self.commits.iter().map(|effects| {
            let words: Vec<String> = effects.iter().filter_map(word).collect();
            words.join(" ")
        });
        commits.filter(|words| !words.is_empty()).collect()
    }

    /// The key of the call that was made last.
    pub(crate) fn last_call(&self) -> CallKey {
        let calls = self.effects().filter_map(|effect| match effect {
            Effect::Call { key, .. } | Effect::Work { key, .. } => Some(*key),
            _ => None,
        });
        calls.last().expect("a call")
    }

    pub(crate) fn waits_at(&self) -> Vec<Name> {
        self.state
            .positions(&self.definition)
            .into_iter()
            .map(|position| position.step)
            .collect()
    }
}

/// An effect in a few words. Timers and subscriptions are left out.
pub(crate) fn word(effect: &Effect) -> Option<String> {
    match effect {
        Effect::Consume(_) => Some("consume".to_owned()),
        Effect::Keep(call) => Some(format!("map:{}", call.map)),
        Effect::Publish { step, .. } => Some(format!("send:{step}")),
        Effect::Call { step, .. } => Some(format!("call:{step}")),
        Effect::Work {
            worker, attempt, ..
        } => Some(format!("work:{worker}:{attempt}")),
        Effect::Abandon(_) => Some("abandon".to_owned()),
        Effect::Start { orchestration, .. } => Some(format!("start:{orchestration}")),
        Effect::Suspend(failure) => Some(format!("suspend:{}@{}", failure.code, failure.step)),
        Effect::End { end, discarded } => {
            let how = match end {
                quayside_orchestration::End::Completed => "completed",
                quayside_orchestration::End::Terminated { .. } => "terminated",
            };
            Some(if discarded.is_empty() {
                how.to_owned()
            } else {
                format!("{how}-{}", discarded.len())
            })
        }
        _ => None,
    }
}

pub(crate) fn text(text: &str) -> Value {
    Value::Text(Text::lossy(text))
}

impl Driver {
    /// The code with which `event` is refused.
    pub(crate) fn look_error(&self, event: &Event) -> quayside_model::Code {
        let input = Input {
            definition: &self.definition,
            state: &self.state,
            inbox: &self.inbox,
            now: self.now,
            world: &self.world,
        };
        advance(input, event).expect_err("it is refused").code
    }
}
