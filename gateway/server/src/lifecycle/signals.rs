//! The signals of a process.

use std::time::Duration;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

use super::Event;
use crate::{cli::codes, exit::Failure};

/// The signals of the process.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::new(codes::INTERNAL, format!("signals: {error}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            reload: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for any signal.
    pub(super) async fn next(&mut self) -> Event {
        tokio::select! {
            _ = self.terminate.recv() => Event::Stop,
            _ = self.interrupt.recv() => Event::Stop,
            _ = self.reload.recv() => Event::Reload,
        }
    }

    /// Waits for a signal to stop.
    pub(super) async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits, at most this long. Whether a signal to stop came.
    pub(super) async fn stop_within(&mut self, wait: Duration) -> bool {
        tokio::select! {
            () = self.stop() => true,
            () = sleep(wait) => false,
        }
    }
}
