//! The adapter over real sockets: a small engine behind it, a real partner before it.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose scene cannot be set ends right there"
)]

mod credentials;
mod events;
mod gateway;
mod hostile;
mod life;
mod odd;
mod partner;
mod raw;
mod receive;
mod send;
mod settings;
mod standing;
mod tls;
mod work;
