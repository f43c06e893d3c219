//! The meaning of MSMQ over AMQP: names of queues, properties of messages, times, dead letters, journals and
//! acknowledgments, for ports and locations that have a block `msmq`.
//!
//! What is decided is decided without a connection, in `compose`, `deadline`, `report` and below them; `sender`
//! and `receiver` only publish what comes of it. Each publication has an id that follows from that of the
//! message that it is about, so that what a crash cuts off is done again and known as a repeat.
//!
//! Reading order: `names` and `spelling`, `class`, `id`, `message` (AMQP to MSMQ and back), `context` (MSMQ to the properties of
//! a message of the gateway), `settings` and `value`, `deadline`, `report`, `compose`, `sender`, `receiver`.

mod class;
mod compose;
mod context;
mod deadline;
mod duties;
mod id;
mod message;
mod names;
mod receiver;
mod report;
mod sender;
mod settings;
mod spelling;
mod value;

pub(crate) use class::Class;
pub(crate) use compose::Ready;
pub(crate) use duties::Duties;
pub(crate) use names::{Purpose, System, journal_of, resolve};
pub(crate) use receiver::Receiver;
pub(crate) use sender::{Publishing, Sender};
pub(crate) use settings::{ReceiveMsmq, SendMsmq, queue_fault, templates};
