//! The life of a process of an agent: it stands by, becomes the active one, drains.

use std::time::Duration;

use quayside_lease::{Epoch, Former, HostState};
use tracing::{info, warn};

use super::{Process, listen};
use crate::{
    agency::Line,
    cli::codes,
    exit::{Exit, Failure},
};

/// How long a new owner waits until what the former one has open at brokers is closed.
const EVICT_WITHIN: Duration = Duration::from_secs(1);

impl Process<'_> {
    /// Serves the host that the agent has started this process for.
    pub(super) async fn serve_agent(&mut self) -> Result<Exit, Failure> {
        let Some(agency) = &self.agency else {
            return Err(Failure::new(codes::INTERNAL, "there is no agent"));
        };
        let (api, stands_by) = (agency.api.clone(), agency.is_clustered());
        self.start_api(&api)?;
        if listen::takes_requests(&self.loaded) && !stands_by {
            self.bind_http().await?;
        }
        if let Some(agency) = &self.agency {
            agency.line().set(HostState::Standby);
        }
        if !self.reach_store().await? || !self.start_engine().await? {
            return Ok(Exit::Ok);
        }
        if !stands_by && let Some(agency) = &self.agency {
            agency.line().set(HostState::Online);
        }
        self.live_on(None).await
    }

    /// Runs its clustered host from now on, as the one that follows `former`.
    pub(super) async fn become_active(
        &mut self,
        epoch: Epoch,
        former: Option<Former>,
    ) -> Result<(), Failure> {
        if listen::takes_requests(&self.loaded) {
            self.bind_http().await?;
        }
        let Some(agency) = &self.agency else {
            return Ok(());
        };
        if let Some(engine) = self.gateway.engine().await.as_ref() {
            if let Some(former) = former {
                // One that has finished left nothing that anybody waits for, unless it could not say goodbye.
                let within = match former.released {
                    true => Duration::ZERO,
                    false => EVICT_WITHIN,
                };
                engine.follow(&former.node, within).await;
            }
            for host in &self.loaded.clustered {
                engine.grant(host, epoch);
            }
        }
        agency.line().set(HostState::Online);
        Ok(())
    }

    /// Finishes what is under way because the agent wants it, and tells it when nothing is left.
    pub(super) async fn drain(&mut self, within: Duration) -> Exit {
        info!(within_ms = within.as_millis(), "draining");
        if let Some(agency) = &self.agency {
            agency.line().set(HostState::Draining);
        }
        self.gateway.drain();
        self.wired.http.drain();
        self.stop_http(within).await;
        let line = self.agency.as_ref().map(|agency| agency.line().clone());
        let mut finished = false;
        let report = self
            .drop_engine(within, || {
                finished = true;
                line.iter().for_each(Line::drained);
            })
            .await;
        if report.unfinished > 0 || !report.ended {
            warn!(code = %codes::UNFINISHED, unfinished = report.unfinished, "work was still under way");
        }
        // Otherwise it is over when the process is.
        if report.ended && !finished {
            line.iter().for_each(Line::drained);
        }
        Exit::Ok
    }
}
