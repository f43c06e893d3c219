//! The adapter over real sockets: a small engine behind it, a real partner before it.

mod gateway;
mod hostile;
mod life;
mod partner;
mod raw;
mod receive;
mod send;
mod tls;
