//! Requests that are open, and what partners say to them.

use std::{sync::Arc, time::Duration};

use quayside_adapter_api::Answer;
use quayside_model::{
    Content, ExchangeId, Failure, FailureClass, Message, MessageId, Name, Part, Text,
};
use quayside_orchestration::{Arrived, CallKey, Event, Route};
use quayside_store::runs::{Asked, AskedEnd};

use super::{Stopped, Trial, What, intake};
use crate::{
    codes,
    mapping::{self, MapFault},
    plan::{PortMap, SendPort},
    process::inbox::{self, Asking},
};

/// What a partner or a worker says.
#[derive(Debug, Clone)]
pub enum Reply {
    /// An answer.
    Answered {
        /// The status; from 400 on it is a refusal.
        status: u16,
        /// The body.
        body: Part,
    },
    /// It has the message, and says nothing.
    Delivered,
    /// It never gets the message.
    Failed {
        /// The code of the failure.
        code: Text,
        /// Why.
        detail: Text,
    },
    /// A worker is at it.
    Heartbeat,
}

/// Nobody waits for what this one says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NobodyAsked {
    /// Who is asked instead.
    pub asked: Vec<Name>,
}

/// A request that is open.
#[derive(Debug, Clone)]
pub(super) struct Open {
    /// The port or worker.
    who: Name,
    message: MessageId,
    by: By,
}

/// Who asked.
#[derive(Debug, Clone, Copy)]
enum By {
    /// An instance, by its number, that wants an answer, or only to know about the delivery.
    Call(usize, CallKey),
    Notify(usize),
    /// A program, which is taken for lost when nothing was heard of it for so long.
    Work(usize, CallKey, Duration),
    /// Who has sent the message.
    Sender,
}

impl Open {
    pub(super) fn call(who: &Name, message: MessageId, instance: usize, key: CallKey) -> Self {
        Self::new(who, message, By::Call(instance, key))
    }

    pub(super) fn notify(who: &Name, message: MessageId, instance: usize) -> Self {
        Self::new(who, message, By::Notify(instance))
    }

    pub(super) fn work(
        who: &Name,
        message: MessageId,
        instance: usize,
        (key, lease): (CallKey, Duration),
    ) -> Self {
        Self::new(who, message, By::Work(instance, key, lease))
    }

    pub(super) fn sender(who: &Name, message: MessageId) -> Self {
        Self::new(who, message, By::Sender)
    }

    fn new(who: &Name, message: MessageId, by: By) -> Self {
        let who = who.clone();
        Self { who, message, by }
    }

    pub(super) fn who(&self) -> &Name {
        &self.who
    }

    fn key(&self) -> Option<CallKey> {
        match self.by {
            By::Call(_, key) | By::Work(_, key, _) => Some(key),
            By::Notify(_) | By::Sender => None,
        }
    }

    fn instance(&self) -> Option<usize> {
        match self.by {
            By::Call(at, _) | By::Work(at, _, _) | By::Notify(at) => Some(at),
            By::Sender => None,
        }
    }
}

impl Trial<'_> {
    /// Who is asked and has said nothing yet, in the order of the requests.
    #[must_use]
    pub fn asked(&self) -> Vec<Name> {
        self.open.iter().map(|open| open.who.clone()).collect()
    }

    /// Has `who`, a send port or a worker, say `reply` to the oldest request that it has. A failure is told of the last
    /// message that went there, too, if nobody waits for what becomes of it.
    ///
    /// # Errors
    /// [`NobodyAsked`] if it has no request; [`Stopped`] inside if what comes of it never rests.
    pub fn reply(&mut self, who: &Name, reply: Reply) -> Result<Result<(), Stopped>, NobodyAsked> {
        let Some(at) = self.open.iter().position(|open| open.who == *who) else {
            return match &reply {
                Reply::Failed { code, detail } => self.fail_send(who, code, detail),
                _ => Err(self.nobody()),
            };
        };
        let beats = matches!(reply, Reply::Heartbeat);
        let open = match beats {
            true => self.open[at].clone(),
            false => self.open.remove(at),
        };
        Ok(self.say(&open, reply))
    }

    fn nobody(&self) -> NobodyAsked {
        NobodyAsked {
            asked: self.asked(),
        }
    }

    fn say(&mut self, open: &Open, reply: Reply) -> Result<(), Stopped> {
        let reply = self.mapped_reply(&open.who, reply)?;
        match (open.by, reply) {
            (By::Work(instance, key, lease), Reply::Heartbeat) => {
                let until = self.now.plus(lease);
                self.instances[instance].renew(key, until);
            }
            (_, Reply::Heartbeat) => {}
            (By::Sender, Reply::Answered { status, body }) => {
                self.answer_sender(open.message, status, body)?;
            }
            (By::Sender, Reply::Failed { code, detail }) => {
                let message = self.message(open.message).map(Arc::clone);
                if let Some(message) = message {
                    self.suspend(&open.who, message, &code, &detail);
                }
            }
            (By::Sender, Reply::Delivered) => {}
            (By::Call(instance, key) | By::Work(instance, key, _), reply) => {
                let exchange = ExchangeId::from_bytes(key.to_bytes());
                self.tell(instance, open, exchange, reply)?;
            }
            (By::Notify(instance), reply) => {
                let exchange = ExchangeId::from_bytes(open.message.to_bytes());
                self.tell(instance, open, exchange, reply)?;
            }
        }
        self.settle()
    }

    /// What the maps of the port that asked make of a reply.
    fn mapped_reply(&self, who: &Name, reply: Reply) -> Result<Reply, Stopped> {
        let port = self.plan.send.iter().find(|port| port.name == *who);
        let (Some(port), Reply::Answered { status, body }) = (port, &reply) else {
            return Ok(reply);
        };
        match mapped_answer(&port.answer_maps, *status, body) {
            Ok(body) => Ok(Reply::Answered {
                status: *status,
                body,
            }),
            Err(fault) if fault.code == codes::OUTSIDE_UNTRIED => Err(Stopped(fault.detail)),
            Err(fault) => Ok(Reply::Failed {
                code: Text::lossy(fault.code.code),
                detail: Text::lossy(&fault.detail),
            }),
        }
    }

    /// Answers whoever has sent `request`, as the maps of the receive port make it.
    pub(super) fn answer_sender(
        &mut self,
        request: MessageId,
        status: u16,
        body: Part,
    ) -> Result<(), Stopped> {
        let plan = self.plan;
        let origin = self.message(request).map(|message| &*message.origin);
        let location = origin.and_then(|origin| Name::new(origin).ok());
        let port = location.and_then(|location| intake::port_of(plan, &location));
        let maps = port.map_or(&[][..], |(port, _)| &port.answer_maps);
        let body = mapped_answer(maps, status, &body)
            .map_err(|fault| Stopped(format!("the answer: {fault}")))?;
        self.note(What::Answered {
            request,
            status,
            body,
        });
        Ok(())
    }

    /// Tells an instance what became of a message that it has sent.
    fn tell(
        &mut self,
        instance: usize,
        open: &Open,
        exchange: ExchangeId,
        reply: Reply,
    ) -> Result<(), Stopped> {
        let end = match reply {
            Reply::Answered { status, body } => AskedEnd::Answered {
                at: self.now,
                status,
                body,
            },
            Reply::Failed { code, detail } => AskedEnd::Failed { code, detail },
            Reply::Delivered | Reply::Heartbeat => AskedEnd::Delivered,
        };
        let asked = Asked {
            exchange,
            message: open.message,
            end,
        };
        let asking = match open.by {
            By::Notify(_) => Asking::Notified,
            By::Work(..) => Asking::Work,
            By::Call(..) | By::Sender => Asking::Call,
        };
        let waiting = inbox::asked(self.instances[instance].plan, asked, asking, self.now);
        if let inbox::From::Exchange(_, Some(answer)) = &waiting.from {
            self.documents.keep(Arc::clone(answer));
        }
        self.bring(instance, waiting.arrived)
    }

    fn bring(&mut self, instance: usize, arrived: Arrived) -> Result<(), Stopped> {
        self.instances[instance].deliver(arrived);
        self.drive(instance, Event::Wake)
    }

    /// Has somebody wait. An attempt more of the same request takes the place of the one before.
    pub(super) fn await_reply(&mut self, open: Open) {
        if let Some(key) = open.key() {
            self.open.retain(|other| other.key() != Some(key));
        }
        self.open.push(open);
    }

    /// Nobody waits any more for what comes of `key`.
    pub(super) fn abandon(&mut self, key: CallKey) {
        self.open.retain(|open| open.key() != Some(key));
    }

    /// Nobody waits any more for anything on behalf of an instance.
    pub(super) fn abandon_all(&mut self, instance: usize) {
        self.open.retain(|open| open.instance() != Some(instance));
    }

    /// A request could not even be sent.
    pub(super) fn fail_open(&mut self, open: Option<Open>, code: &str, detail: &str) {
        let Some(open) = open else {
            return;
        };
        let (code, detail) = (Text::lossy(code), Text::lossy(detail));
        let (message, route) = match open.by {
            By::Call(_, key) | By::Work(_, key, _) => {
                (open.message, Route::Refused { key, code, detail })
            }
            By::Notify(_) => {
                let message = open.message;
                let route = Route::Undelivered {
                    message,
                    code,
                    detail,
                };
                (message, route)
            }
            By::Sender => return,
        };
        let arrived = Arrived {
            message,
            message_type: None,
            context: quayside_model::Context::default(),
            route,
        };
        if let Some(instance) = open.instance() {
            // It is looked at when the instance has come to rest: it is in the middle of a step.
            self.instances[instance].deliver(arrived);
        }
    }

    /// The last message that went to `port` fails for good.
    fn fail_send(
        &mut self,
        port: &Name,
        code: &Text,
        detail: &Text,
    ) -> Result<Result<(), Stopped>, NobodyAsked> {
        let sent = self.log.iter().rev().find_map(|one| match &one.what {
            // As it was published, whatever a map has made of it for the transport.
            What::Sent { port: to, message } if to == port => self.message(message.id),
            _ => None,
        });
        let plan = self.plan.send.iter().find(|one| one.name == *port);
        let (Some(message), Some(plan)) = (sent.map(Arc::clone), plan) else {
            return Err(self.nobody());
        };
        Ok(self
            .not_sent(plan, message, code, detail)
            .and_then(|()| self.settle()))
    }

    /// A message that a port cannot send at all: published as a failed message if the port says so and somebody wants it,
    /// suspended otherwise.
    pub(super) fn not_sent(
        &mut self,
        plan: &SendPort,
        message: Arc<Message>,
        code: &Text,
        detail: &Text,
    ) -> Result<(), Stopped> {
        let port = &plan.name;
        let failure = Failure {
            code: code.clone(),
            ..Failure::new(codes::REFUSED, FailureClass::GiveUp, detail)
        };
        let itself = message.context.get("error.code").is_some();
        if plan.publish_failures && !itself {
            let names = [("error.send-port", port.as_str())];
            let stored = Some(message.id);
            if self.publish_failure(&message, stored, &failure, &names, port)? {
                return Ok(());
            }
        }
        self.suspend(port, message, code, detail);
        Ok(())
    }
}

fn mapped_answer(maps: &[PortMap], status: u16, body: &Part) -> Result<Part, MapFault> {
    let Content::Inline(bytes) = &body.content else {
        return Ok(body.clone());
    };
    let answer = Answer {
        status,
        content_type: body.content_type.clone(),
        body: bytes.clone(),
    };
    let made = mapping::answer_at_hand(maps, answer)?;
    Ok(Part {
        name: body.name.clone(),
        content_type: made.content_type,
        content: Content::Inline(made.body),
    })
}
