//! The transports of a port, opened when they are first needed and again after a failure to open.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use quayside_adapter_api::{AdapterError, ErrorKind, Services, Transmit};
use quayside_model::Transport;
use tokio::sync::Mutex;

use crate::{codes, options::Options, plan::SendPort};

/// Both transports of a port.
pub(crate) struct Transports {
    primary: Mutex<Option<Arc<dyn Transmit>>>,
    backup: Mutex<Option<Arc<dyn Transmit>>>,
    longest_run: AtomicUsize,
    services: Services,
}

impl Transports {
    pub(crate) fn new(services: Services) -> Self {
        Self {
            primary: Mutex::new(None),
            backup: Mutex::new(None),
            longest_run: AtomicUsize::new(1),
            services,
        }
    }

    /// How many deliveries of one order key the primary transport takes at once; 1 until it is open.
    pub(crate) fn longest_run(&self) -> usize {
        self.longest_run.load(Ordering::Relaxed)
    }

    /// The transport, open.
    pub(crate) async fn get(
        &self,
        plan: &SendPort,
        options: &Options,
        which: Transport,
    ) -> Result<Arc<dyn Transmit>, AdapterError> {
        let (slot, transport) = match (which, &plan.backup) {
            (Transport::Backup, Some(backup)) => (&self.backup, backup),
            _ => (&self.primary, &plan.primary),
        };
        let mut slot = slot.lock().await;
        if let Some(open) = &*slot {
            return Ok(Arc::clone(open));
        }
        let Some(adapter) = options.adapters.get(transport.adapter.as_str()) else {
            let detail = format!("no adapter `{}`", transport.adapter);
            return Err(AdapterError::new(
                ErrorKind::Config,
                codes::NO_ADAPTER,
                detail,
            ));
        };
        let services = self.services.clone();
        let open = adapter
            .open_send(&plan.name, &transport.block, services)
            .await?;
        *slot = Some(Arc::clone(&open));
        if which == Transport::Primary {
            let longest = open.longest_run().max(1);
            self.longest_run.store(longest, Ordering::Relaxed);
        }
        Ok(open)
    }
}

impl std::fmt::Debug for Transports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transports").finish_non_exhaustive()
    }
}
