//! How the ports and locations of an engine look, also while it stops.

use std::{collections::HashMap, sync::Weak};

use quayside_model::{MessageId, Name, PortStatus, Timestamp, port::PortControl};
use quayside_store::browse::PortBacklog;

use crate::{
    explain::{Explanation, explain},
    options::EngineError,
    runtime::Runtimes,
    shared::Shared,
    tally::Tally,
    view::PortView,
    window::ServiceWindow,
};

/// What can be seen of an engine as long as anything of it runs. Keeps nothing of it.
#[derive(Debug, Clone)]
pub struct Sight {
    pub(super) shared: Weak<Shared>,
    pub(super) runtimes: Weak<Runtimes>,
}

impl Sight {
    /// Every port and location of the plan without what waits for it, as [`Engine::ports_here`](super::Engine::ports_here)
    /// gives them. None is running of an engine that stops; what it still has in hand is told. `None`: nothing of
    /// the engine is left.
    #[must_use]
    pub fn ports(&self) -> Option<Vec<PortView>> {
        let (shared, runtimes) = (self.shared.upgrade()?, self.runtimes.upgrade()?);
        Some(ports(&shared, &runtimes, Vec::new()))
    }
}

impl super::Engine {
    /// Holds a stored message against every subscription of the plan in force. `None`: there is no such message.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn explain(&self, id: MessageId) -> Result<Option<Explanation>, EngineError> {
        let Some(message) = self.shared.store.load(id).await? else {
            return Ok(None);
        };
        let (routes, plan) = (self.shared.routes(), self.runtimes.plan());
        let controls = routes.controls.iter();
        let unenlisted = controls.filter(|(_, control)| control.status == PortStatus::Unenlisted);
        let unenlisted = unenlisted.map(|(name, _)| name.clone()).collect();
        Ok(Some(explain(&plan, &unenlisted, &message)))
    }
}

/// Every port and location of the plan as it is now, those of other hosts included, with what waits for it.
pub(super) fn ports(
    shared: &Shared,
    runtimes: &Runtimes,
    backlog: Vec<PortBacklog>,
) -> Vec<PortView> {
    let mut backlog: HashMap<Name, _> = backlog
        .into_iter()
        .map(|port| (port.port.clone(), port))
        .collect();
    let (routes, plan) = (shared.routes(), runtimes.plan());
    // What finishes takes nothing new.
    let works = !shared.stopping.is_cancelled();
    let now = shared.options.clock.now();
    let mut views = Vec::new();
    let locations: HashMap<_, _> = runtimes
        .locations()
        .into_iter()
        .map(|r| (r.location.name.clone(), r))
        .collect();
    for port in &plan.receive {
        for location in &port.locations {
            let runtime = locations.get(&location.name);
            let default = if location.enabled {
                PortStatus::Started
            } else {
                PortStatus::Stopped
            };
            let control = routes.controls.get(&location.name).cloned();
            let control = control.unwrap_or(PortControl {
                status: default,
                ..PortControl::default()
            });
            views.push(PortView {
                kind: "location",
                host: port.host.clone(),
                adapter: location.adapter.clone(),
                running: works && runtime.is_some_and(|r| r.is_running()),
                in_flight: runtime.map_or(0, |r| r.in_flight()),
                trouble: runtime.and_then(|r| r.condition.trouble()),
                backlog: backlog.remove(&location.name),
                opens_at: opens_at(location.window.as_ref(), now),
                standby: shared.ownership.stands_by(&port.host),
                ..view(&location.name, control, runtime.map(|r| &r.tally))
            });
        }
    }
    let senders: HashMap<_, _> = runtimes
        .send_ports()
        .into_iter()
        .map(|r| (r.plan.name.clone(), r))
        .collect();
    for port in &plan.send {
        let runtime = senders.get(&port.name);
        let mut control = routes.controls.get(&port.name).cloned().unwrap_or_default();
        let rests = runtime.and_then(|r| r.rest.told());
        let resting = rests.is_some() && control.lets_work(now);
        if resting {
            control = PortControl {
                reason: rests,
                ..PortControl::default()
            };
        }
        views.push(PortView {
            kind: "send",
            host: port.host.clone(),
            adapter: port.primary.adapter.clone(),
            running: works && runtime.is_some_and(|r| r.is_flowing()),
            resting,
            in_flight: runtime.map_or(0, |r| r.hand.count()),
            trouble: runtime.and_then(|r| r.condition.trouble()),
            backlog: backlog.remove(&port.name),
            opens_at: opens_at(port.window.as_ref(), now),
            standby: shared.ownership.stands_by(&port.host),
            ..view(&port.name, control, runtime.map(|r| &r.tally))
        });
    }
    // Deliveries of ports that the configuration does not have any more must not vanish from sight.
    for (name, left) in backlog {
        let orchestration = routes.orchestrations.get(&name);
        let (kind, host) = match orchestration {
            Some(plan) => ("orchestration", &plan.host),
            None => ("removed", &name),
        };
        views.push(PortView {
            kind,
            host: host.clone(),
            running: works && orchestration.is_some_and(|plan| shared.options.runs(&plan.host)),
            backlog: Some(left),
            ..view(&name, PortControl::default(), None)
        });
    }
    // A pause that is over is no pause, and its reason none for anything.
    for view in &mut views {
        if view.paused_until.is_some_and(|until| until <= now) {
            view.paused_until = None;
            view.reason.take_if(|_| view.status == PortStatus::Started);
        }
    }
    views
}

fn opens_at(window: Option<&ServiceWindow>, now: Timestamp) -> Option<Timestamp> {
    window
        .filter(|window| !window.is_open(now))
        .and_then(|window| window.next_change(now))
}

fn view(name: &Name, control: PortControl, tally: Option<&Tally>) -> PortView {
    let (last_failure_at, last_failure) = tally.and_then(Tally::last_failure).unzip();
    PortView {
        name: name.clone(),
        kind: "",
        host: name.clone(),
        adapter: String::new(),
        status: control.status,
        paused_until: control.paused_until,
        reason: control.reason,
        resting: false,
        running: false,
        standby: false,
        trouble: None,
        in_flight: 0,
        backlog: None,
        last_failure,
        last_failure_at,
        opens_at: None,
        tally: tally.map(Tally::read).unwrap_or_default(),
    }
}
