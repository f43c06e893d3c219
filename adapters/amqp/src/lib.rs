//! Queues over AMQP 0-9-1: a receive location takes messages from one, a send port puts messages into one.
//!
//! **Receiving** promises: a message is acknowledged only after it is stored; what the broker delivers again
//! is recognised by its `message_id` and stored once; messages of one batch are stored together or not at
//! all, and one that is not acceptable neither loops nor takes others with it. **Sending** promises: a
//! message counts as sent when the broker has confirmed that a queue took it, and every attempt carries the
//! same `message_id`. The README lists every setting and guarantee.
//!
//! What it does not do: it declares nothing (queues are made by an operator with the arguments that they
//! need; `inspect` only asks what they are), it does not use the client's own recovery (a lost connection is
//! dropped whole and built anew), and it never requeues single messages: what is to come again is kept here, or
//! its channel is closed, because both keep the order.
//!
//! Reading order: [`config`], then `supervise` (pure) and `link`, `sieve` (pure) and `wire`, `publish` and `send`,
//! then `batch`, `acks` and `refusal` (pure), `unacked` and `receive`; `partner` and `takeover` for clustered hosts.
//! `declare` (pure) and `manage` look after queues for an operator; no port uses them.

mod acks;
mod adapter;
mod answerer;
mod answers;
mod batch;
pub mod codes;
pub mod config;
mod confine;
pub mod declare;
mod dial;
mod error;
mod inspect;
mod link;
pub mod manage;
mod msmq;
mod outgoing;
mod partner;
mod properties;
mod publish;
mod receive;
mod refusal;
mod replies;
mod send;
mod sieve;
mod supervise;
mod takeover;
mod unacked;
mod untaken;
mod urls;
mod wire;

pub use adapter::AmqpAdapter;
