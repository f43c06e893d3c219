//! A message on its way in: read, promoted from and validated as a receive location does it.

use bytes::Bytes;
use quayside_model::{Code, Content, Context, Message, MessageId, Name, Part, Text, Timestamp};

use super::{Stopped, bytes_of};
use crate::{
    codes,
    mapping::{self, MapFault},
    plan::{Location, Plan, PortMap, ReceivePort, SendPort, Validate},
    receive::{
        body::{Unfit, read_at_hand},
        party,
    },
    send::{assembled::at_hand, decide::body_name},
};

/// What a sender hands in.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The location: `APP.PORT.LOCATION`.
    pub location: Name,
    /// The media type, as the sender says.
    pub content_type: Option<Text>,
    /// The body.
    pub body: Bytes,
    /// What the transport says of it.
    pub context: Context,
    /// Whether the sender hears that it is refused; otherwise the message is suspended.
    pub told: bool,
}

/// Why a message is not taken in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub code: Code,
    /// Why.
    pub detail: String,
}

/// What comes of a message at a location.
#[derive(Debug)]
pub enum TakenIn {
    /// It can be routed.
    Message {
        /// As it is routed: a map of the port may have made it.
        message: Box<Message>,
        /// As it came, which is what is kept if nobody wants it.
        came: Box<Message>,
        /// Whether its sender can still be told something.
        told: bool,
    },
    /// Nothing is stored, and its sender is told why.
    Refused(Refusal),
    /// It is stored, and goes no further.
    Suspended(Box<Message>, Refusal),
}

impl Incoming {
    /// Whether its sender waits for an answer.
    pub(super) fn two_way(&self, plan: &Plan) -> bool {
        let found = port_of(plan, &self.location);
        found.is_some_and(|(port, _)| port.answer_within.is_some())
    }
}

/// The port of a location.
pub(super) fn port_of<'p>(
    plan: &'p Plan,
    location: &Name,
) -> Option<(&'p ReceivePort, &'p Location)> {
    let all = plan.receive.iter();
    let mut all = all.flat_map(|port| port.locations.iter().map(move |one| (port, one)));
    all.find(|(_, one)| one.name == *location)
}

/// Reads what came, as the location would.
///
/// # Errors
/// The plan has no such location.
pub fn take_in(
    plan: &Plan,
    incoming: Incoming,
    id: MessageId,
    now: Timestamp,
) -> Result<TakenIn, Stopped> {
    let Incoming {
        location,
        content_type,
        body,
        mut context,
        told,
    } = incoming;
    let found = port_of(plan, &location);
    let (port, _) =
        found.ok_or_else(|| Stopped(format!("there is no receive location `{location}`")))?;
    let pipeline = &port.pipeline;
    if pipeline.decode.is_some() || pipeline.split.is_some() {
        let why = format!("`{location}` decodes or splits what it gets, and a trial does neither");
        return Err(Stopped(why));
    }
    let told = told || port.answer_within.is_some();
    let stranger = party::resolve(pipeline.party.as_deref(), &mut context).err();
    let read = read_at_hand(port, content_type.as_deref(), &body, &mut context);
    let (message_type, unfit) = read;
    let (refuses, fault) = match unfit {
        _ if stranger.is_some() => (told, stranger),
        None => (false, None),
        Some(Unfit::Content(fault)) => (told, Some(fault)),
        Some(Unfit::Schema(fault)) => (told && port.validate == Validate::Reject, Some(fault)),
    };
    let refusal = fault.map(|fault| Refusal {
        code: fault.code,
        detail: fault.detail,
    });
    let message = Box::new(Message {
        id,
        received_at: now,
        origin: Text::lossy(&location),
        message_type,
        context,
        parts: vec![Part {
            name: body_name(),
            content_type,
            content: Content::Inline(body),
        }],
    });
    let refusal = match refusal {
        Some(refusal) if refuses => return Ok(TakenIn::Refused(refusal)),
        Some(refusal) => refusal,
        None => match mapped(&port.maps, &message)? {
            Ok(mapped) => {
                let came = message.clone();
                let message = mapped.map_or(message, Box::new);
                return Ok(TakenIn::Message {
                    message,
                    came,
                    told,
                });
            }
            Err(refusal) if told => return Ok(TakenIn::Refused(refusal)),
            Err(refusal) => refusal,
        },
    };
    Ok(TakenIn::Suspended(message, refusal))
}

/// What the maps of a port make of a message, which keeps what was promoted from it. `None`: no map takes its type. `Err` inside:
/// why there is nothing.
///
/// # Errors
/// The map runs in a process of its own, and a trial starts none.
pub(super) fn mapped(
    maps: &[PortMap],
    message: &Message,
) -> Result<Result<Option<Message>, Refusal>, Stopped> {
    let Some(map) = mapping::for_type(maps, message.message_type.as_deref()) else {
        return Ok(Ok(None));
    };
    let fitting = match mapping::at_port_at_hand(map, message, bytes_of(message)) {
        Ok(fitting) => fitting,
        Err(fault) if fault.code == codes::OUTSIDE_UNTRIED => return Err(Stopped(fault.detail)),
        Err(MapFault { code, detail, .. }) => return Ok(Err(Refusal { code, detail })),
    };
    let mut context = message.context.clone();
    for (name, value) in fitting.scanned.properties {
        context.promote(name, value);
    }
    Ok(Ok(Some(Message {
        message_type: fitting.scanned.message_type,
        context,
        parts: vec![Part {
            name: body_name(),
            content_type: Some(Text::lossy(&fitting.made.content_type)),
            content: Content::Inline(fitting.made.body.into()),
        }],
        ..message.clone()
    })))
}

/// `message` as its send port assembles it.
///
/// # Errors
/// Why there is nothing to be sent.
pub(super) fn assembled(plan: Option<&SendPort>, message: Message) -> Result<Message, Refusal> {
    let Some(assemble) = plan.and_then(|plan| plan.pipeline.assemble.as_deref()) else {
        return Ok(message);
    };
    let made = at_hand(assemble, &message, &bytes_of(&message));
    made.map_err(|MapFault { code, detail, .. }| Refusal { code, detail })
}
