//! Messages, properties, ports and ids: the plain data every other crate speaks.
//!
//! This crate promises that a value it lets you build can be stored: text holds no NUL and is bounded,
//! names are short and printable, keys are hashed. It does no I/O and knows no runtime; the clock and
//! the source of randomness are the two traits through which the rest of the gateway meets the machine,
//! so that tests can own both.
//!
//! Reading order: [`text`] and [`id`], then [`value`] and [`context`], then [`message`], [`delivery`]
//! and [`port`].

pub mod clock;
pub mod context;
pub mod decimal;
pub mod delivery;
pub mod entropy;
pub mod failpoint;
pub mod fault;
pub mod id;
pub mod message;
pub mod port;
pub mod text;
pub mod value;

pub use clock::{Clock, ManualClock, Monotonic, SystemClock, Timestamp};
pub use context::{Context, Property};
pub use decimal::Decimal;
pub use delivery::{Claim, DeliveryState, EndResult, Failure, FailureClass, Transport};
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use fault::{Code, Fault, Severity};
pub use id::{BodyId, DeliveryId, ExchangeId, GrantId, InstanceId, MessageId, RunId, SessionId};
pub use message::{Content, DedupeKey, INLINE_MAX, Message, Part, StoredBody, hash16};
pub use port::{OnOrderFailure, PortControl, PortStatus, Priority, RetryPolicy};
pub use text::{Name, Text, TextError};
pub use value::{Value, ValueError, ValueType};
