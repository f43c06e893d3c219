//! What came of a step, against what was expected.

use std::collections::{BTreeMap, HashSet};

use quayside_engine::{
    explain::explain,
    plan::Plan,
    rehearsal::{Happened, InstanceView, Trial, What, bytes_of},
};
use quayside_model::{Content, Context, Message, MessageId, Name, Part, Text};
use quayside_orchestration::{Datum, End, Status};
use quayside_pipeline::map::Selector;

use super::{
    case::{Expect, Step, Wanted, WantedInstance},
    cut, diff,
    read::namespaces,
    run::text_of,
};
use crate::cli::explain::lines_of;

/// How many lines tell why a message goes nowhere.
const LINES: usize = 60;

/// Something that came out otherwise than expected.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The byte of the file at which the expectation stands.
    pub(crate) at: usize,
    /// What is wrong.
    pub(crate) message: String,
    /// More of it, line by line.
    pub(crate) details: Vec<String>,
}

impl Failure {
    pub(super) fn new(at: usize, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
            details: Vec::new(),
        }
    }

    fn with(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.details.extend(details);
        self
    }

    fn differs(at: usize, what: &str, expected: &str, came: &str) -> Self {
        let lines = [
            format!("expected {}", cut(expected)),
            format!("    came {}", cut(came)),
        ];
        Self::new(at, format!("{what} is not as expected")).with(lines)
    }
}

/// What the judgement of one step needs.
pub(super) struct Judge<'a> {
    pub(super) app: &'a Name,
    pub(super) plan: &'a Plan,
    pub(super) trial: &'a Trial<'a>,
    /// What happened in the step.
    pub(super) events: &'a [Happened],
}

/// Something that happened and that a case can expect: where, which message, and what else is known of it.
#[derive(Clone)]
struct Found {
    place: Option<Name>,
    message: Option<Message>,
    status: Option<u16>,
    code: Option<Text>,
    /// In words, where nobody has expected it.
    words: String,
}

impl Judge<'_> {
    pub(super) fn step(&self, step: &Step) -> Vec<Failure> {
        let expect = &step.expect;
        let mut failures = self.intake(step);
        for (wanted, found, what, all) in [
            (&expect.sent, self.sent(), "was sent to", true),
            (
                &expect.worker,
                self.worker(),
                "was given to the worker",
                true,
            ),
            (
                &expect.published,
                self.published(),
                "was published by",
                false,
            ),
            (&expect.answered, self.answered(), "was answered by", true),
            (&expect.suspended, self.suspended(), "is suspended at", true),
        ] {
            failures.extend(self.messages(step.at, wanted, found, what, all));
        }
        failures.extend(self.instances(expect));
        failures
    }

    /// What became of a message that was handed in.
    fn intake(&self, step: &Step) -> Vec<Failure> {
        let mut failures = Vec::new();
        let refusal = self.events.iter().find_map(|one| match &one.what {
            What::Refused {
                refusal, message, ..
            } => Some((refusal, message)),
            _ => None,
        });
        match (&step.expect.refused, refusal) {
            (None, Some((refusal, read))) => {
                let message = format!("the sender is refused: {}", refusal.code);
                let why = read.iter().flat_map(|read| self.why_nowhere(read));
                let detail = cut(&refusal.detail).to_string();
                failures.push(Failure::new(step.at, message).with([detail]).with(why));
            }
            (Some((at, code)), None) => {
                failures.push(Failure::new(
                    *at,
                    format!("the sender is not refused with {code}"),
                ));
            }
            (Some((at, code)), Some((refusal, _))) if code != refusal.code.code => {
                let (expected, came) = (code.as_str(), refusal.code.code);
                let detail = cut(&refusal.detail).to_string();
                let differs = Failure::differs(*at, "the code of the refusal", expected, came);
                failures.push(differs.with([detail]));
            }
            _ => {}
        }
        if let Some(wanted) = &step.expect.received {
            let received = self.events.iter().find_map(|one| match &one.what {
                What::Received { message, .. } | What::Suspended { message, .. } => Some(message),
                _ => None,
            });
            match received {
                Some(message) => {
                    let found = Found::of(None, message);
                    failures.extend(self.differences(wanted, &found));
                }
                None => failures.push(Failure::new(wanted.at, "no message is taken in")),
            }
        }
        failures
    }

    /// Why a message goes nowhere: every subscription.
    fn why_nowhere(&self, message: &Message) -> Vec<String> {
        let told = explain(self.plan, &HashSet::new(), message);
        let mut lines = Vec::new();
        for held in &told.subscriptions {
            lines.push(format!("{} does not get it:", held.name));
            lines.extend(lines_of(held));
        }
        lines.truncate(LINES);
        lines
    }

    /// Holds what happened against what is wanted. `all`: what nobody wants is a failure.
    fn messages(
        &self,
        at: usize,
        wanted: &[Wanted],
        mut found: Vec<Found>,
        what: &str,
        all: bool,
    ) -> Vec<Failure> {
        let mut failures = Vec::new();
        for wanted in wanted {
            let same_place = |one: &&Found| wanted.place.is_none() || one.place == wanted.place;
            let fits = |one: &Found| same_place(&one) && self.differences(wanted, one).is_empty();
            if let Some(at) = found.iter().position(fits) {
                found.remove(at);
            } else if let Some(at) = found.iter().position(|one| same_place(&one)) {
                let nearest = found.remove(at);
                failures.extend(self.differences(wanted, &nearest));
            } else {
                let place = wanted.place.as_ref();
                let place = place.map_or_else(String::new, |place| format!(" `{place}`"));
                let message = format!("nothing {what}{place}");
                failures.push(Failure::new(wanted.at, message).with(self.why_not(wanted)));
            }
        }
        if all {
            let others = found.into_iter();
            failures.extend(others.map(|one| {
                let place = one.place.as_ref();
                let place = place.map_or_else(String::new, |place| format!(" `{place}`"));
                let message = format!("something {what}{place} that the step does not expect");
                Failure::new(at, message).with([one.words])
            }));
        }
        failures
    }

    /// Why a port did not get what was routed in the step.
    fn why_not(&self, wanted: &Wanted) -> Vec<String> {
        let Some(place) = &wanted.place else {
            return Vec::new();
        };
        let routed = self.events.iter().filter_map(|one| match &one.what {
            What::Received { message, .. } | What::Published { message, .. } => Some(message),
            _ => None,
        });
        let mut lines = Vec::new();
        for message in routed.take(3) {
            let told = explain(self.plan, &HashSet::new(), message);
            let own = told.subscriptions.iter().filter(|one| one.name == *place);
            for held in own.filter(|one| !one.matched) {
                let of = message.message_type.as_deref().unwrap_or("no type");
                lines.push(format!("a message of {of} does not match:"));
                lines.extend(lines_of(held));
            }
        }
        lines
    }

    fn sent(&self) -> Vec<Found> {
        self.find(|what| match what {
            What::Sent { port, message } => Some(Found::of(Some(port), message)),
            _ => None,
        })
    }

    fn worker(&self) -> Vec<Found> {
        self.find(|what| match what {
            What::Worker {
                worker, message, ..
            } => Some(Found::of(Some(worker), message)),
            _ => None,
        })
    }

    fn published(&self) -> Vec<Found> {
        self.find(|what| match what {
            What::Published { by, message } => Some(Found::of(Some(by), message)),
            _ => None,
        })
    }

    fn answered(&self) -> Vec<Found> {
        self.find(|what| match what {
            What::Answered {
                request,
                status,
                body,
            } => Some(Found {
                status: Some(*status),
                ..Found::of(None, &answer(*request, body))
            }),
            _ => None,
        })
    }

    fn suspended(&self) -> Vec<Found> {
        self.find(|what| match what {
            What::Suspended {
                place,
                message,
                code,
                detail,
            } => Some(Found {
                code: Some(code.clone()),
                words: format!("{code} {}", cut(detail)),
                ..Found::of(Some(place), message)
            }),
            What::Halted {
                orchestration,
                failure,
                ..
            } => Some(Found {
                place: Some(orchestration.clone()),
                message: None,
                status: None,
                code: Some(failure.code.clone()),
                words: format!(
                    "{} at the step {}: {}",
                    failure.code,
                    failure.step,
                    cut(&failure.detail)
                ),
            }),
            _ => None,
        })
    }

    fn find(&self, pick: impl Fn(&What) -> Option<Found>) -> Vec<Found> {
        let all = self.events.iter();
        all.filter_map(|one| pick(&one.what)).collect()
    }

    /// Everything in which `found` is not as it is wanted.
    fn differences(&self, wanted: &Wanted, found: &Found) -> Vec<Failure> {
        let mut failures = Vec::new();
        if let Some((at, code)) = &wanted.code {
            let came = found.code.as_deref().unwrap_or("none");
            if code != came {
                let differs = Failure::differs(*at, "the code", code, came);
                failures.push(differs.with([found.words.clone()]));
            }
        }
        if let (Some((at, status)), Some(came)) = (&wanted.status, found.status)
            && *status != u32::from(came)
        {
            let (status, came) = (status.to_string(), came.to_string());
            failures.push(Failure::differs(*at, "the status", &status, &came));
        }
        let Some(message) = &found.message else {
            return failures;
        };
        if let Some((at, of)) = &wanted.message_type {
            let came = message.message_type.as_deref().unwrap_or("none");
            if *of != came && self.type_of(of).as_deref() != Some(came) {
                failures.push(Failure::differs(*at, "the type of the message", of, came));
            }
        }
        for (at, name, value) in &wanted.properties {
            let came = message.context.promoted(name).map(ToString::to_string);
            let came = came.unwrap_or_else(|| absent(&message.context, name));
            if *value != came {
                let what = format!("the property {name}");
                failures.push(Failure::differs(*at, &what, value, &came));
            }
        }
        failures.extend(self.paths(wanted, message));
        if let Some((at, body)) = &wanted.body {
            let (expected, came) = (String::from_utf8_lossy(body), text_of(message));
            if expected.trim_end() != came.trim_end() {
                let lines = diff::lines(expected.trim_end(), came.trim_end());
                failures.push(Failure::new(*at, "the body is not as expected").with(lines));
            }
        }
        failures
    }

    fn paths(&self, wanted: &Wanted, message: &Message) -> Vec<Failure> {
        let mut failures = Vec::new();
        if wanted.paths.is_empty() {
            return failures;
        }
        let namespaces = namespaces(self.app, self.plan, message.message_type.as_deref());
        let body = bytes_of(message);
        for (at, path, texts) in &wanted.paths {
            let found = Selector::compile(path, &namespaces)
                .and_then(|selector| selector.texts(&body).map_err(|error| error.to_string()));
            match found {
                Err(why) => {
                    failures.push(Failure::new(*at, format!("{path} cannot be read: {why}")));
                }
                Ok(found) if found == *texts => {}
                Ok(found) => {
                    let what = format!("what stands at {path}");
                    let (expected, came) = (texts.join(", "), found.join(", "));
                    let came = if found.is_empty() {
                        "nothing".to_owned()
                    } else {
                        came
                    };
                    failures.push(Failure::differs(*at, &what, &expected, &came));
                }
            }
        }
        failures
    }

    /// The type of a message that the application calls `name`.
    fn type_of(&self, name: &str) -> Option<String> {
        let full = format!("{}.{name}", self.app);
        let receive = self.plan.receive.iter().flat_map(|port| &port.messages);
        let process = self
            .plan
            .orchestrations
            .iter()
            .flat_map(|one| &one.messages);
        let mut all = receive.chain(process);
        all.find(|message| message.name == full.as_str())?
            .message_type
            .clone()
    }

    fn instances(&self, expect: &Expect) -> Vec<Failure> {
        let mut failures = Vec::new();
        let all = self.trial.instances();
        let mut by_name: BTreeMap<&Name, Vec<&WantedInstance>> = BTreeMap::new();
        for wanted in &expect.instances {
            by_name
                .entry(&wanted.orchestration)
                .or_default()
                .push(wanted);
        }
        for (name, wanted) in by_name {
            let own: Vec<_> = all
                .iter()
                .filter(|one| one.orchestration == *name)
                .collect();
            for (wanted, came) in wanted.iter().zip(&own) {
                failures.extend(self.instance(wanted, came));
            }
            if own.len() != wanted.len() {
                let at = wanted
                    .get(own.len())
                    .or(wanted.last())
                    .map_or(0, |one| one.at);
                let what = format!("the number of instances of `{name}`");
                let (expected, came) = (wanted.len().to_string(), own.len().to_string());
                let differs = Failure::differs(at, &what, &expected, &came);
                failures.push(differs.with(own.iter().map(|one| in_words(one))));
            }
        }
        failures
    }

    fn instance(&self, wanted: &WantedInstance, came: &InstanceView) -> Vec<Failure> {
        let mut failures = Vec::new();
        let mut hold = |expected: Option<(usize, String)>, what: &str, came: String| {
            if let Some((at, expected)) = expected.filter(|(_, expected)| *expected != came) {
                failures.push(Failure::differs(at, what, &expected, &came));
            }
        };
        hold(
            wanted.state.clone(),
            "the state of the instance",
            state(came).to_owned(),
        );
        hold(wanted.code.clone(), "the code of the instance", code(came));
        let joined = |list: &Option<(usize, Vec<String>)>| {
            list.as_ref().map(|(at, list)| (*at, list.join(", ")))
        };
        let steps: Vec<&str> = came.positions.iter().map(|one| one.step.as_str()).collect();
        hold(
            joined(&wanted.steps),
            "where the instance is",
            steps.join(", "),
        );
        // Messages go by their names, or by their types.
        for (list, ids, what) in [
            (
                &wanted.consumed,
                &came.consumed,
                "what the instance has consumed",
            ),
            (&wanted.left, &came.left, "what the instance has left"),
        ] {
            let Some((at, names)) = list else { continue };
            let types = names.iter();
            let types = types.map(|name| self.type_of(name).unwrap_or_else(|| name.clone()));
            let types: Vec<String> = types.collect();
            let of = |id: &MessageId| {
                let message = self.trial.message(*id);
                let of = message.and_then(|message| message.message_type.as_ref());
                of.map_or_else(|| "(none)".to_owned(), ToString::to_string)
            };
            let found: Vec<String> = ids.iter().map(of).collect();
            hold(Some((*at, types.join(", "))), what, found.join(", "));
        }
        for (at, name, value) in &wanted.variables {
            let what = format!("the variable {name}");
            let came = match came.variables.get(name.as_str()) {
                None => "no such variable".to_owned(),
                Some(Datum::One(value)) => value.to_string(),
                Some(Datum::Many(values)) => {
                    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
                    values.join(", ")
                }
            };
            hold(Some((*at, value.clone())), &what, came);
        }
        if !failures.is_empty() {
            let words = in_words(came);
            failures
                .iter_mut()
                .for_each(|one| one.details.push(words.clone()));
        }
        failures
    }
}

impl Found {
    fn of(place: Option<&Name>, message: &Message) -> Self {
        let of = message.message_type.as_deref().unwrap_or("no type");
        let promoted = message.context.iter().filter(|(_, one)| one.promoted);
        let promoted = promoted.map(|(name, one)| format!("{name} = {}", one.value));
        let promoted: Vec<String> = promoted.take(8).collect();
        let words = match promoted.as_slice() {
            [] => format!("a message of {of}"),
            some => format!("a message of {of} with {}", some.join(", ")),
        };
        Self {
            place: place.cloned(),
            message: Some(message.clone()),
            status: None,
            code: None,
            words: cut(&words).to_string(),
        }
    }
}

/// An answer as a message, so that it is looked at like one.
fn answer(request: MessageId, body: &Part) -> Message {
    Message {
        id: request,
        received_at: quayside_model::Timestamp::from_micros(0),
        origin: Text::lossy(""),
        message_type: None,
        context: Context::new(),
        parts: vec![Part {
            content: match &body.content {
                Content::Inline(bytes) => Content::Inline(bytes.clone()),
                Content::Stored(stored) => Content::Stored(*stored),
            },
            ..body.clone()
        }],
    }
}

fn absent(context: &Context, name: &str) -> String {
    match context.value(name) {
        Some(value) => format!("{value}, which is not promoted"),
        None => "none".to_owned(),
    }
}

/// The state of an instance, in the words of a case.
fn state(instance: &InstanceView) -> &'static str {
    match instance.status {
        Status::Active => "waiting",
        Status::Suspended(_) => "suspended",
        Status::Ended(End::Completed) => "completed",
        Status::Ended(End::Terminated { .. }) => "terminated",
    }
}

fn code(instance: &InstanceView) -> String {
    match &instance.status {
        Status::Suspended(failure) => failure.code.to_string(),
        _ => "none".to_owned(),
    }
}

/// An instance in a line.
fn in_words(instance: &InstanceView) -> String {
    let why = match &instance.status {
        Status::Suspended(failure) => format!(": {} {}", failure.code, cut(&failure.detail)),
        Status::Ended(End::Terminated { reason }) => format!(": {}", cut(reason)),
        _ => String::new(),
    };
    let at: Vec<&str> = instance
        .positions
        .iter()
        .map(|one| one.step.as_str())
        .collect();
    let at = match at.as_slice() {
        [] => String::new(),
        at => format!(" at {}", at.join(", ")),
    };
    format!("it is {}{at}{why}", state(instance))
}
