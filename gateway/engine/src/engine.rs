//! The front of the engine: start, look, operate, stop.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use quayside_adapter_api::{Accepted, Condition, Incoming, Rejected, Reply, Services};
use quayside_model::{
    Code, Context, InstanceId, Message, MessageId, Name, Text, Transport, port::PortControl,
};
use quayside_store::{PublishOutcome, browse::HistoryRow};
use tokio::{
    sync::{Mutex, watch},
    task::JoinSet,
};

use crate::{
    codes,
    counters::Counters,
    options::{EngineError, PUBLISH_WITHIN},
    plan::Plan,
    process,
    publish::{Extras, places_until, prepare},
    receive::{
        body,
        intake::{self, Arrival},
    },
    runtime::Runtimes,
    shared::Shared,
    view::{Health, PortView},
};

mod life;
mod look;
mod orchestrations;

pub(crate) use life::beating;
pub use look::Sight;
pub use orchestrations::RunView;

/// The property in which a resubmitted message names its source.
pub const RESUBMITTED_FROM: &str = "msg.resubmitted-from";
/// How many rows of each state a backlog counts.
const BACKLOG_CAP: u32 = 10_000;

/// A running engine: one instance of the hosts it was given.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    runtimes: Arc<Runtimes>,
    /// The tasks of the engine itself, each by its name.
    tasks: Mutex<JoinSet<&'static str>>,
    /// Becomes `true` when its own session was ended; an agent keeps the session for its processes.
    lost: Option<watch::Receiver<bool>>,
}

impl Engine {
    /// The id of this run.
    #[must_use]
    pub fn instance(&self) -> InstanceId {
        self.shared.instance
    }

    /// The version of the configuration in force here.
    #[must_use]
    pub fn config_version(&self) -> i64 {
        self.shared.routes().version
    }

    /// Whether it can accept messages now. Cheap.
    #[must_use]
    pub fn health(&self) -> Health {
        let options = &self.shared.options;
        let rests = |host| self.shared.ownership.stands_by(host);
        let stands_by = !options.hosts.is_empty() && options.hosts.iter().all(rests);
        let acts = self.shared.trust.may_act();
        let mut reasons = Vec::new();
        if self.shared.stopping.is_cancelled() {
            reasons.push("stopping".to_owned());
        }
        if self.lost.as_ref().is_some_and(|lost| *lost.borrow()) {
            reasons.push("another node has ended the session of this one".to_owned());
        } else if !acts && options.agent.is_none() {
            reasons.push("the session at the store could not be renewed".to_owned());
        } else if !acts && !stands_by {
            reasons.push("the agent of this node could not renew its session".to_owned());
        }
        reasons.extend(self.shared.writable.reason());
        let standby = stands_by && reasons.is_empty();
        if standby && !acts {
            // A standby acts by the leave of its agent only.
            reasons.push("it stands by: another process has its host, or may take it".to_owned());
        }
        Health {
            ready: reasons.is_empty(),
            standby,
            reasons,
        }
    }

    /// What it has done since it started.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.counters.read()
    }

    /// Puts another configuration into force without dropping a message, and returns its version. What
    /// is unchanged runs on.
    ///
    /// # Errors
    /// [`EngineError`] if it cannot run, which is not recorded, or if it cannot be recorded; then the old
    /// one stays in force.
    pub async fn apply(&self, plan: Plan) -> Result<i64, EngineError> {
        self.runtimes.apply(&self.shared, plan).await
    }

    /// The configuration in force.
    #[must_use]
    pub fn plan(&self) -> Arc<Plan> {
        self.runtimes.plan()
    }

    /// Every port and location of the plan, those of other hosts included.
    ///
    /// # Errors
    /// [`EngineError::Store`] if the backlog cannot be read.
    pub async fn ports(&self) -> Result<Vec<PortView>, EngineError> {
        let backlog = self.shared.store.backlog(BACKLOG_CAP).await?;
        Ok(look::ports(&self.shared, &self.runtimes, backlog))
    }

    /// The same without the backlog: nobody has to wait for the store.
    #[must_use]
    pub fn ports_here(&self) -> Vec<PortView> {
        look::ports(&self.shared, &self.runtimes, Vec::new())
    }

    /// What can be seen of it also while it [stops](Self::stop).
    #[must_use]
    pub fn sight(&self) -> Sight {
        Sight {
            shared: Arc::downgrade(&self.shared),
            runtimes: Arc::downgrade(&self.runtimes),
        }
    }

    /// Records an operator's word about a port or location and puts it into force here; other processes
    /// follow within their next look. `false`: there is none of this name.
    ///
    /// # Errors
    /// [`EngineError::Store`] if it cannot be recorded.
    pub async fn control(&self, name: &Name, control: PortControl) -> Result<bool, EngineError> {
        if !self.knows(name) {
            return Ok(false);
        }
        self.shared.store.set_control(name, &control).await?;
        let may_work = control.lets_work(self.shared.options.clock.now());
        self.runtimes.reload_controls(&self.shared).await?;
        if may_work {
            self.runtimes.end_rest(&self.shared, name);
        }
        Ok(true)
    }

    /// Lets the adapter of a send port look at its target without changing anything.
    ///
    /// # Errors
    /// [`EngineError`] with what the adapter met, or if there is no such port.
    pub async fn test_port(&self, name: &Name) -> Result<String, EngineError> {
        let plan = self.runtimes.plan();
        let port = plan.send.iter().find(|port| port.name == *name);
        let port = port.ok_or_else(|| EngineError::no_port(name))?;
        let services = self.services(name);
        let transports = crate::send::transports::Transports::new(services);
        let transmit = transports
            .get(port, &self.shared.options, Transport::Primary)
            .await?;
        Ok(transmit.test().await?)
    }

    /// Publishes the message again as a new one, routed by the configuration in force.
    ///
    /// # Errors
    /// [`EngineError`] if there is no such message, nobody subscribes to it, or the store fails.
    pub async fn resubmit(&self, id: MessageId) -> Result<MessageId, EngineError> {
        let coded = |code, detail: &str| EngineError::Coded {
            code,
            detail: detail.to_owned(),
        };
        let Some(old) = self.shared.store.load(id).await? else {
            return Err(coded(codes::NOT_FOUND, "no such message"));
        };
        let now = self.shared.options.clock.now();
        let new = MessageId::new(now, &*self.shared.options.entropy);
        let parts = body::copy_parts(&self.shared, &old).await?;
        let copies = parts.clone();
        let mut context = old.context.clone();
        // The key of a call is for its own attempts.
        context.remove(process::CALL_KEY);
        if let Ok(name) = Name::new(RESUBMITTED_FROM) {
            context.write(name, Text::lossy(&id.to_string()));
        }
        let message = Message {
            id: new,
            received_at: now,
            parts,
            context,
            ..old
        };
        let routes = self.shared.routes();
        let (extras, until) = (Extras::default(), places_until());
        let prepared = prepare(&self.shared, &routes, Arc::new(message), extras, until).await;
        let Some(prepared) = prepared else {
            body::abandon_parts(&self.shared, &copies).await;
            if let Some((code, detail)) = self.content_fault(id).await? {
                return Err(coded(code, &detail));
            }
            return Err(coded(
                codes::NO_SUBSCRIBER,
                "nobody subscribes to the message",
            ));
        };
        let deadline = self.shared.options.clock.monotonic().plus(PUBLISH_WITHIN);
        let outcome = prepared.commit(&self.shared, Some(deadline)).await;
        if !matches!(outcome, Some(PublishOutcome::Stored { .. })) {
            // One that still waits for the store is refused then: its sender is told to come back.
            body::abandon_parts(&self.shared, &copies).await;
        }
        match outcome {
            Some(PublishOutcome::Stored { .. }) => Ok(new),
            Some(PublishOutcome::Refused(detail)) => Err(coded(codes::REFUSED, &detail)),
            _ => Err(coded(
                codes::STORE_UNAVAILABLE,
                "the store did not answer in time",
            )),
        }
    }

    /// What was wrong with the content of a message when it arrived. Such a message has no type and no
    /// properties of its content, so that hardly anybody can subscribe to it.
    async fn content_fault(&self, id: MessageId) -> Result<Option<(Code, String)>, EngineError> {
        let Some(way) = self.shared.store.message(id).await? else {
            return Ok(None);
        };
        let on_receipt = way.live_deliveries.iter().find_map(|delivery| {
            let failure = delivery.failure.as_ref()?;
            (*delivery.port == *way.row.origin)
                .then(|| format!("{}: {}", failure.code, failure.detail))
        });
        let recorded = || {
            let of_location = |event: &&HistoryRow| {
                let port = event.port.as_ref();
                &*event.event == "suspended" && port.is_some_and(|port| **port == *way.row.origin)
            };
            way.history
                .iter()
                .rev()
                .find(of_location)
                .map(|event| event.detail.to_string())
        };
        let Some(told) = on_receipt.or_else(recorded) else {
            return Ok(None);
        };
        let (code, cause) = told.split_once(": ").unwrap_or((&told, ""));
        let mut codes = quayside_pipeline::codes::ALL.iter();
        Ok(codes.find(|known| known.code == code).map(|code| {
            let detail = format!(
                "the content of the message could not be read, and nobody subscribes to it as it is: {cause}"
            );
            (*code, detail)
        }))
    }

    /// Takes `body` in as if it had arrived at `location`.
    ///
    /// # Errors
    /// The outer error if there is no such location here; the inner one says why it was refused.
    pub async fn inject(
        &self,
        location: &Name,
        body: Bytes,
        content_type: Option<Text>,
        properties: Vec<(Name, Text)>,
    ) -> Result<Result<Accepted, Rejected>, EngineError> {
        let routes = self.shared.routes();
        let port = routes
            .receive
            .get(location)
            .ok_or_else(|| EngineError::no_port(location))?;
        let place = port.locations.iter().find(|l| l.name == *location);
        let place = place.ok_or_else(|| EngineError::no_port(location))?;
        let mut context = Context::new();
        for (name, value) in properties {
            context.promote(name, value);
        }
        let reply = port.answer_within.map_or(Reply::Receipt, Reply::Answer);
        let body = Box::pin(stream::once(async move { Ok(body) }));
        let message = Incoming {
            context,
            content_type,
            body,
            key: None,
        };
        let arrival = Arrival::alone(&self.shared, message, reply);
        let accepted = intake::accept(&self.shared, port, place, arrival).await;
        Ok(accepted.map_err(|refused| *refused.rejected))
    }

    /// Waits until this instance is lost for good: its session was ended by another node, or a task of
    /// the engine has failed. Then stop it with no grace and start another one.
    pub async fn fatal(&self) -> EngineError {
        let mut lost = self.lost.clone();
        let lost = async {
            match &mut lost {
                Some(lost) => drop(lost.wait_for(|lost| *lost).await),
                None => std::future::pending().await,
            }
        };
        let mut tasks = self.tasks.lock().await;
        let detail = tokio::select! {
            // A lost session cuts the tasks off: it is the cause, and their ends are not.
            biased;
            () = lost => "the session was ended by another node".to_owned(),
            end = tasks.join_next() => match end {
                Some(Ok(name)) => format!("the task `{name}` has ended"),
                Some(Err(error)) => format!("a task of the engine panicked: {error}"),
                None => "the engine has no tasks".to_owned(),
            },
        };
        EngineError::Coded {
            code: codes::SESSION_LOST,
            detail,
        }
    }

    fn knows(&self, name: &Name) -> bool {
        let plan = self.runtimes.plan();
        plan.send.iter().any(|port| port.name == *name)
            || plan
                .receive
                .iter()
                .flat_map(|port| &port.locations)
                .any(|l| l.name == *name)
    }

    fn services(&self, name: &Name) -> Services {
        // Of its own: what a test meets is told to who asked for it.
        crate::runtime::services(&self.shared, name, Condition::default())
    }
}
