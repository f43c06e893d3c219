//! The HTTP adapter: receives over HTTP/1.1 and HTTP/2, sends with the same key on every attempt.
//!
//! Promises. A positive answer is given only after the engine said that the message is stored. Every
//! limit (size, pace, inflation, requests, connections) is kept before memory is spent, and what breaks
//! one gets a problem document with a code. An attempt to send repeats the `Idempotency-Key` of the
//! attempts before it, says honestly whether it may have had an effect, and starts only while the
//! process may still act. See the README for the guarantee per target and for every setting.
//!
//! What is not here: retries, storing, routing and rendering of templates, which are the engine's, and
//! the administration API, which is the server's.
//!
//! Use: [`HttpAdapter::new`], then [`HttpAdapter::bind`]; at the end [`HttpAdapter::drain`] and
//! [`HttpAdapter::shutdown`]. Reading order: [`config`], `adapter`, `listener`, `connection`, `receive`,
//! `admission`, `body`; then `send`, `client`, `oauth`.

mod adapter;
mod admission;
mod answer;
mod answering;
mod body;
mod client;
mod cloudevents;
pub mod config;
mod connection;
mod credential;
mod digest;
pub mod error;
mod form;
mod fresh;
mod gzip;
mod headers;
mod idempotency;
mod listener;
mod location;
mod oauth;
mod pem;
mod problem;
mod properties;
mod queue;
mod receive;
mod routes;
mod send;
mod standing;
mod stream;
mod target;
mod tls;
mod work;

pub use adapter::{HttpAdapter, HttpOptions, Readiness, ReadinessCheck, Shutdown};
pub use config::{ReceiveAuth, ReceiveConfig, SendAuth, SendConfig, TextOrSecret};
pub use error::ALL;
pub use listener::ListenerOptions;
pub use problem::refusal;
pub use tls::TlsOptions;
pub use work::Workers;

/// The listener that a receive location uses if it names none.
pub const DEFAULT_LISTENER: &str = "default";
