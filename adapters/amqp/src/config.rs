//! The settings of a receive location and of a send port, and what can be wrong with them.

use std::path::PathBuf;

use quayside_adapter_api::{
    AdapterError, Block, SecretRef, Terms, config,
    model::{Fault, Severity},
    units::{ByteSize, Span},
};
use serde::{Deserialize, de};

use crate::{
    answers::{AnswerSettings, no_answer},
    codes,
    msmq::{self, Purpose, ReceiveMsmq, SendMsmq},
    outgoing::Written,
    takeover::{self, Takeover},
    urls::parse_url,
};

pub use crate::urls::Urls;
pub(crate) use crate::{
    confine::confine,
    urls::{Broker, is_tls, uris},
};

/// The most messages that the broker sends ahead, and that one commit takes.
const MAX_PREFETCH: u16 = 10_000;
const MAX_BATCH: usize = 1000;

/// `[receive.PORT.location.NAME.amqp]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiveSettings {
    /// The broker, or several that have the queue: one of them is connected to.
    pub url: Urls,
    /// The user, in which `{node}` stands for the name of the node; without it the broker's `guest`.
    #[serde(default)]
    pub user: Option<String>,
    /// Its password.
    #[serde(default)]
    pub password: Option<SecretRef>,
    /// A PEM file with the authorities to trust; without it those of the machine.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// How often each side shows the other that it lives. A broker that is silent for twice as long is gone.
    #[serde(default = "heartbeat")]
    pub heartbeat: Span,
    /// How long connecting, TLS and login may take together.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: Span,
    /// How the connections are closed that an owner left behind.
    #[serde(default)]
    pub takeover: Option<Takeover>,
    /// The queue that messages are taken from.
    pub queue: String,
    /// How many messages the broker sends ahead of their acknowledgement.
    #[serde(default = "prefetch")]
    pub prefetch: u16,
    /// The most messages of one commit.
    #[serde(default = "batch")]
    pub batch: usize,
    /// By what a repeat of a message is recognised.
    #[serde(default)]
    pub dedupe: Dedupe,
    /// What happens to a message that is not acceptable.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// The queue for messages that are not acceptable.
    #[serde(default)]
    pub dead_letter: Option<String>,
    /// Whether nobody else may consume from the queue while this location does.
    #[serde(default)]
    pub exclusive: bool,
    /// The meaning of MSMQ.
    #[serde(default)]
    pub msmq: Option<ReceiveMsmq>,
}

/// By what a repeat of a message is recognised.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dedupe {
    /// By the property `message_id`.
    #[default]
    MessageId,
    /// By the content together with `correlation_id` and `timestamp`.
    BodyHash,
    /// By nothing.
    None,
    /// By this header.
    Header(String),
}

/// What happens to a message that is not acceptable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// It is stored and suspended.
    #[default]
    Suspend,
    /// It is stored and suspended for good: it can be terminated and published again, but not resumed.
    SuspendNonResumable,
    /// It goes into the queue `dead_letter`.
    DeadLetter,
    /// It stays in the queue and the location fails.
    Stop,
}

/// `[send.PORT.primary.amqp]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendSettings {
    /// The broker, or several that have the queue: one of them is connected to.
    pub url: Urls,
    /// The user, in which `{node}` stands for the name of the node; without it the broker's `guest`.
    #[serde(default)]
    pub user: Option<String>,
    /// Its password.
    #[serde(default)]
    pub password: Option<SecretRef>,
    /// A PEM file with the authorities to trust; without it those of the machine.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// How often each side shows the other that it lives. A broker that is silent for twice as long is gone.
    #[serde(default = "heartbeat")]
    pub heartbeat: Span,
    /// How long connecting, TLS and login may take together.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: Span,
    /// How the connections are closed that an owner left behind.
    #[serde(default)]
    pub takeover: Option<Takeover>,
    /// The template of the queue's name.
    pub queue: String,
    /// Which queues the template may come to, as names in which `*` stands for anything.
    #[serde(default)]
    pub queues: Vec<String>,
    /// How many messages of one key may wait for the broker's confirmation at once, on an ordered port.
    #[serde(default = "pipeline")]
    pub pipeline: usize,
    /// How many messages may wait for the broker's confirmation at once.
    #[serde(default = "window")]
    pub window: usize,
    /// How long a confirmation may take while the broker takes messages.
    #[serde(default = "confirm_timeout")]
    pub confirm_timeout: Span,
    /// A larger message is not sent.
    #[serde(default = "max_body")]
    pub max_body: ByteSize,
    /// What messages get beside their body.
    #[serde(default)]
    pub properties: Written,
    /// How answers come to a port whose subscribers wait for them.
    #[serde(default)]
    pub answer: AnswerSettings,
    /// The meaning of MSMQ.
    #[serde(default)]
    pub msmq: Option<SendMsmq>,
}

pub(crate) const fn heartbeat() -> Span {
    Span::secs(2)
}

pub(crate) const fn connect_timeout() -> Span {
    Span::secs(3)
}

const fn prefetch() -> u16 {
    200
}

const fn batch() -> usize {
    20
}

const fn window() -> usize {
    256
}

const fn pipeline() -> usize {
    1
}

const fn confirm_timeout() -> Span {
    Span::secs(10)
}

const fn max_body() -> ByteSize {
    ByteSize::mib(4)
}

impl ReceiveSettings {
    /// Reads and checks a block on the terms of its port: the settings, if they can be used, and every fault.
    #[must_use]
    pub fn read(block: &Block, terms: &Terms) -> (Option<Self>, Vec<Fault>) {
        let (settings, faults) = read(block, |settings: &Self, faults| {
            settings.faults(terms, faults);
        });
        (settings.map(Self::with_queues_of_amqp), faults)
    }

    /// With the queues of AMQP in the place of those that are named as MSMQ names them.
    fn with_queues_of_amqp(mut self) -> Self {
        if let Some(msmq) = &self.msmq {
            let resolve = |name: &str, purpose| msmq::resolve(name, &msmq.machine, purpose).ok();
            if let Some(queue) = resolve(&self.queue, Purpose::Receive) {
                self.queue = queue;
            }
            let dead_letter = self.dead_letter.as_deref();
            self.dead_letter = dead_letter.and_then(|name| resolve(name, Purpose::Send));
        }
        self
    }

    fn faults(&self, terms: &Terms, faults: &mut Vec<Fault>) {
        connection_faults(&self.url, self.heartbeat, self.connect_timeout, faults);
        takeover::faults(self.takeover.as_ref(), self.user.as_deref(), faults);
        let means_msmq = self.msmq.is_some();
        queue_fault("queue", &self.queue, faults);
        msmq::queue_fault("queue", &self.queue, Purpose::Receive, means_msmq, faults);
        if let Some(dead_letter) = &self.dead_letter {
            msmq::queue_fault(
                "dead_letter",
                dead_letter,
                Purpose::Send,
                means_msmq,
                faults,
            );
        }
        if let Some(msmq) = &self.msmq {
            msmq.faults(faults);
            if terms.answer_within.is_some() {
                faults.push(no_answer());
            }
        }
        range(
            "prefetch",
            self.prefetch.into(),
            MAX_PREFETCH.into(),
            faults,
        );
        range("batch", self.batch, MAX_BATCH, faults);
        if self.on_failure == OnFailure::Stop && terms.error_threshold != Some(1) {
            let message = "without `error_threshold = 1` the location is opened again and again and fails at \
                           the same message";
            faults.push(Fault::warning(codes::REFUSED, &["on_failure"], message));
        }
        let express = self
            .msmq
            .as_ref()
            .is_some_and(|msmq| msmq.transactional == Some(false));
        if self.on_failure == OnFailure::Stop && express {
            let message = "a queue that is not transactional keeps its messages in memory: what a location that \
                           stops leaves there goes with the broker";
            faults.push(Fault::error(codes::UNSAFE_STOP, &["on_failure"], message));
        }
        if self.exclusive && terms.ordered {
            // The broker would refuse it to all processes of a group but one, which the others cannot replace.
            let message = "`exclusive` leaves no other process to go on in the order of the port: give the \
                           queue `x-single-active-consumer` instead";
            faults.push(Fault::warning(
                codes::NOT_EXCLUSIVE,
                &["exclusive"],
                message,
            ));
        }
        let transactional = self
            .msmq
            .as_ref()
            .is_some_and(|msmq| msmq.transactional == Some(true));
        if self.exclusive && transactional {
            let message = "`exclusive` counts for nothing on a quorum queue, which a transactional queue is if \
                           `quayside queue declare` made it";
            faults.push(Fault::warning(
                codes::NOT_EXCLUSIVE,
                &["exclusive"],
                message,
            ));
        }
        if self.batch > usize::from(self.prefetch) {
            let message = "a batch can never be larger than `prefetch`";
            faults.push(Fault::warning(codes::BAD_SETTING, &["batch"], message));
        }
        match &self.dedupe {
            Dedupe::None => {
                let message = "what the broker delivers again is stored again";
                faults.push(Fault::warning(codes::NO_KEY, &["dedupe"], message));
            }
            Dedupe::Header(name) if name.is_empty() => {
                let message = "the header has no name";
                let path = ["dedupe", "header"];
                faults.push(Fault::error(codes::BAD_SETTING, &path, message));
            }
            _ => {}
        }
        match &self.dead_letter {
            Some(queue) => {
                queue_fault("dead_letter", queue, faults);
                if *queue == self.queue {
                    let message = "messages would be put back into the queue that they come from";
                    faults.push(Fault::error(codes::BAD_SETTING, &["dead_letter"], message));
                }
            }
            None if self.on_failure == OnFailure::DeadLetter => {
                let message = "`on_failure = \"dead-letter\"` without `dead_letter`";
                faults.push(Fault::error(
                    codes::NO_DEAD_LETTER,
                    &["on_failure"],
                    message,
                ));
            }
            None => {}
        }
    }

    pub(crate) fn broker(&self) -> Result<Broker, AdapterError> {
        Ok(Broker {
            uris: uris(&self.url)?,
            user: self.user.clone(),
            password: self.password.clone(),
            ca: self.ca.clone(),
            heartbeat: seconds(self.heartbeat),
            connect_timeout: self.connect_timeout.duration(),
        })
    }
}

impl SendSettings {
    /// Reads and checks a block: the settings, if they can be used, and every fault.
    #[must_use]
    pub fn read(block: &Block) -> (Option<Self>, Vec<Fault>) {
        read(block, Self::faults)
    }

    fn faults(&self, faults: &mut Vec<Fault>) {
        connection_faults(&self.url, self.heartbeat, self.connect_timeout, faults);
        takeover::faults(self.takeover.as_ref(), self.user.as_deref(), faults);
        // What a template comes to shows when it is rendered.
        if self.is_dynamic() {
            crate::confine::faults(&self.queue, &self.queues, faults);
        } else {
            queue_fault("queue", &self.queue, faults);
            msmq::queue_fault(
                "queue",
                &self.queue,
                Purpose::Send,
                self.msmq.is_some(),
                faults,
            );
        }
        if let Some(msmq) = &self.msmq {
            msmq.faults(faults);
        }
        range("window", self.window, 65_536, faults);
        range("pipeline", self.pipeline, self.window.max(1), faults);
        positive("confirm_timeout", self.confirm_timeout, faults);
        self.properties.faults(faults);
        self.answer.faults(&self.queue, faults);
    }

    /// Whether the name of the queue depends on the message.
    #[must_use]
    pub fn is_dynamic(&self) -> bool {
        self.queue.contains('{')
    }

    pub(crate) fn broker(&self) -> Result<Broker, AdapterError> {
        Ok(Broker {
            uris: uris(&self.url)?,
            user: self.user.clone(),
            password: self.password.clone(),
            ca: self.ca.clone(),
            heartbeat: seconds(self.heartbeat),
            connect_timeout: self.connect_timeout.duration(),
        })
    }
}

fn read<T: de::DeserializeOwned>(
    block: &Block,
    check: impl Fn(&T, &mut Vec<Fault>),
) -> (Option<T>, Vec<Fault>) {
    let settings: T = match config::parse(block) {
        Ok(settings) => settings,
        Err(faults) => return (None, faults),
    };
    let mut faults = Vec::new();
    check(&settings, &mut faults);
    let wrong = faults.iter().any(|fault| fault.severity == Severity::Error);
    ((!wrong).then_some(settings), faults)
}

fn connection_faults(urls: &Urls, heartbeat: Span, connect: Span, faults: &mut Vec<Fault>) {
    if urls.list().is_empty() {
        let message = "there is no broker in the list";
        faults.push(Fault::error(codes::BAD_URL, &["url"], message));
    }
    for url in urls.list() {
        if let Err(wrong) = parse_url(url) {
            faults.push(Fault::error(codes::BAD_URL, &["url"], wrong));
        }
    }
    let given = heartbeat.duration();
    if !(1..=60).contains(&given.as_secs()) || given.subsec_nanos() > 0 {
        // The protocol counts in seconds; a broker that is silent for two minutes is not waited for longer.
        let message = format!("`heartbeat` is {heartbeat}, not whole seconds from 1s to 1m");
        faults.push(Fault::error(codes::BAD_SETTING, &["heartbeat"], message));
    }
    positive("connect_timeout", connect, faults);
}

fn positive(key: &str, span: Span, faults: &mut Vec<Fault>) {
    if span.duration().is_zero() {
        let message = format!("`{key}` must be longer than nothing, such as \"3s\"");
        faults.push(Fault::error(codes::BAD_SETTING, &[key], message));
    }
}

fn range(key: &str, value: usize, most: usize, faults: &mut Vec<Fault>) {
    if !(1..=most).contains(&value) {
        let message = format!("`{key}` is {value}, not between 1 and {most}");
        faults.push(Fault::error(codes::BAD_SETTING, &[key], message));
    }
}

fn queue_fault(key: &str, queue: &str, faults: &mut Vec<Fault>) {
    if let Err(wrong) = confine(queue) {
        faults.push(Fault::error(codes::QUEUE_REFUSED, &[key], wrong));
    }
}

pub(crate) fn seconds(span: Span) -> u16 {
    u16::try_from(span.duration().as_secs()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
