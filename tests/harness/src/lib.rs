//! Real processes for tests and measurements: started, watched, paused, killed, and never left behind.
//!
//! Everything that a scenario needs beside the gateway is a value that owns what it started:
//! [`Postgres`], [`RabbitMq`], [`Gateway`], [`Partner`], [`SharePoint`], [`Haproxy`], [`Proxy`], [`Load`]. Dropping the value ends
//! the process by its own pid; if the harness itself is killed, the kernel does it.
//!
//! # Rules
//! - **Wait for a condition, never for a time**: [`wait_for`] looks again and again and, when the time
//!   is up, fails with what it saw last.
//! - **The harness panics.** It is used by tests and by the bench, where a broken set-up has no other
//!   answer than its own text. What the gateway does is returned as a value, failures included.
//! - **No mocks**: the programs are the built ones, found beside the running test.
//!
//! # What it does not do
//! It does not build anything (`tests/run` does) and it does not judge: scenarios do.

pub mod client;
pub mod clock;
pub mod gateway;
pub mod guide;
pub mod haproxy;
pub mod load;
pub mod network;
pub mod partner;
pub mod port;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod rabbitmq;
pub mod scenario;
pub mod sharepoint;
pub mod trace;
pub mod wait;

pub use client::{Broken, Connection, Reply, get_json};
pub use clock::{FakeClock, Stopwatch, unix_micros};
pub use gateway::{Gateway, Metrics, Node, items};
pub use guide::{guide_block, operations_guide};
pub use haproxy::Haproxy;
pub use load::{Answer, Load, LoadPlan, LoadReport, OnBreak, Status};
pub use network::{Cut, Network, Way};
pub use partner::{Effects, Partner, Seen, effects};
pub use port::{Port, free_port};
pub use postgres::{Postgres, Session};
pub use process::{Process, program, signal_all};
pub use proxy::{Lost, Proxy};
pub use rabbitmq::RabbitMq;
pub use scenario::{App, order_xml, pass_through};
pub use sharepoint::{Document, SharePoint, Visitor};
pub use trace::{Syscall, Trace};
pub use wait::{lasts, look_for, wait_for};
