//! What is to run here. The configuration has one reader, `quayside`; the agent asks it.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use quayside_lease::{Failback, Limit, Limits, OnDeath, Policy, Quarantine, Replication, Timings};
use quayside_model::Name;
use serde::Deserialize;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{Args, BAD_CONFIG, Failure, codes};

/// So many lines of the log wait to be read; more are dropped.
const LINES_MAX: usize = 16_384;

/// What the process for the API is called here. No host can have this name.
const API: &str = "quayside.admin";

/// The program that runs the hosts, and what it is told.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    path: PathBuf,
    /// The configuration, as every call of the program names it.
    config: Vec<OsString>,
}

impl Program {
    /// The one that is named, or the one beside the agent.
    pub(crate) fn find(args: &Args) -> Result<Self, Failure> {
        let path = match &args.program {
            Some(path) => path.clone(),
            None => std::env::current_exe()
                .map_err(|error| Failure::new(codes::PROGRAM, error.to_string()))?
                .with_file_name("quayside"),
        };
        let mut config = vec![args.dir.clone().into_os_string()];
        for (flag, file) in [("--group", &args.group), ("--node", &args.node)] {
            config.extend([flag.into(), file.clone().into_os_string()]);
        }
        Ok(Self { path, config })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The arguments of the process of `host`, or of the one for the API.
    pub(crate) fn args(&self, host: &Name) -> Vec<OsString> {
        let api = &**host == API;
        let mut args: Vec<OsString> = vec![if api { "admin" } else { "run" }.into()];
        args.extend(self.config.clone());
        if !api {
            args.extend(["--host".into(), host.to_string().into()]);
        }
        args
    }
}

/// What runs on this node.
#[derive(Debug, Deserialize)]
pub(crate) struct Plan {
    pub(crate) node: Name,
    pub(crate) run_dir: PathBuf,
    pub(crate) store: StorePlan,
    session: SessionPlan,
    pub(crate) allow_loss: bool,
    pub(crate) log: LogPlan,
    pub(crate) hosts: Vec<HostPlan>,
}

/// The store of the node.
#[derive(Debug, Deserialize)]
pub(crate) struct StorePlan {
    pub(crate) url: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) ca: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[expect(clippy::struct_field_names, reason = "every one has its unit")]
struct SessionPlan {
    ttl_ms: u64,
    renew_every_ms: u64,
    margin_ms: u64,
    client_timeout_ms: u64,
    poll_ms: u64,
}

/// How the agent logs: like the processes.
#[derive(Debug, Deserialize)]
pub(crate) struct LogPlan {
    format: String,
    level: String,
}

/// A host of the node.
#[derive(Debug, Deserialize)]
pub(crate) struct HostPlan {
    pub(crate) name: Name,
    clustered: Option<PolicyPlan>,
}

#[derive(Debug, Deserialize)]
struct PolicyPlan {
    possible: Vec<Name>,
    preferred: Vec<Name>,
    with: Option<Name>,
    spare: bool,
    on_death: OnDeathPlan,
    failback: FailbackPlan,
    restarts: LimitPlan,
    backoff_ms: [u64; 3],
    moves: LimitPlan,
    retry_failed_ms: u64,
    quarantine: QuarantinePlan,
    online_within_ms: u64,
    drain_within_ms: u64,
    hang_after_ms: u64,
    adapter_patience_ms: u64,
    failback_stable_ms: u64,
    rank_delay_ms: u64,
    offer_lasts_ms: u64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnDeathPlan {
    Warm,
    Restart,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase", tag = "mode")]
enum FailbackPlan {
    Manual,
    Always,
    Within { from_minute: u16, until_minute: u16 },
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct LimitPlan {
    times: u32,
    within_ms: u64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct QuarantinePlan {
    lost: LimitPlan,
    lasts_ms: u64,
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl From<LimitPlan> for Limit {
    fn from(plan: LimitPlan) -> Self {
        Self {
            times: plan.times,
            within: ms(plan.within_ms),
        }
    }
}

impl PolicyPlan {
    fn policy(&self) -> Policy {
        Policy {
            possible: self.possible.clone(),
            preferred: self.preferred.clone(),
            with: self.with.clone(),
            spare: self.spare,
            on_death: match self.on_death {
                OnDeathPlan::Warm => OnDeath::Warm,
                OnDeathPlan::Restart => OnDeath::InPlace,
            },
            failback: match self.failback {
                FailbackPlan::Manual => Failback::Manual,
                FailbackPlan::Always => Failback::Always,
                FailbackPlan::Within {
                    from_minute,
                    until_minute,
                } => Failback::Within {
                    from: from_minute,
                    until: until_minute,
                },
            },
            limits: Limits {
                restarts: self.restarts.into(),
                backoff: self.backoff_ms.map(ms),
                moves: self.moves.into(),
                retry_failed: ms(self.retry_failed_ms),
                quarantine: Quarantine {
                    lost: self.quarantine.lost.into(),
                    lasts: ms(self.quarantine.lasts_ms),
                },
                online_within: ms(self.online_within_ms),
                drain_within: ms(self.drain_within_ms),
                hang_after: ms(self.hang_after_ms),
                adapter_patience: ms(self.adapter_patience_ms),
                failback_stable: ms(self.failback_stable_ms),
                rank_delay: ms(self.rank_delay_ms),
                offer_lasts: ms(self.offer_lasts_ms),
            },
        }
    }
}

impl Plan {
    /// Asks the program.
    ///
    /// # Errors
    /// It cannot be run, or refuses the configuration; then it has told why already.
    pub(crate) fn ask(program: &Program) -> Result<Self, Failure> {
        let failed = |what: String| {
            Failure::new(
                codes::PROGRAM,
                format!("{}: {what}", program.path.display()),
            )
        };
        let output = Command::new(&program.path)
            .arg("hosts")
            .args(&program.config)
            .args(["-o", "json"])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            let code = output
                .status
                .code()
                .and_then(|code| u8::try_from(code).ok());
            let mut failure = match code {
                // It has told why.
                Some(BAD_CONFIG) => Failure::new(codes::BAD_CONFIG, "see above"),
                _ => failed(format!("`hosts` ended with {}", output.status)),
            };
            failure.exit = code.unwrap_or(1);
            return Err(failure);
        }
        let plan: Self = serde_json::from_slice(&output.stdout)
            .map_err(|error| failed(format!("`hosts` says what nobody understands: {error}")))?;
        if plan.store.url.is_none() {
            let message = format!("the node {} has the embedded store", plan.node);
            let mut failure = Failure::new(codes::NO_CLUSTER, message);
            failure.exit = BAD_CONFIG;
            return Err(failure);
        }
        Ok(plan)
    }

    /// The clustered hosts.
    pub(crate) fn groups(&self) -> Vec<(Name, Policy)> {
        let clustered = self.hosts.iter().filter_map(|host| {
            let policy = host.clustered.as_ref()?.policy();
            Some((host.name.clone(), policy))
        });
        clustered.collect()
    }

    /// Whether other nodes run clustered hosts of this one as well.
    pub(crate) fn is_shared(&self) -> bool {
        let mut policies = self.hosts.iter().filter_map(|host| host.clustered.as_ref());
        policies.any(|policy| policy.possible.len() > 1)
    }

    /// The others, and the process that answers for all of them.
    pub(crate) fn plain(&self) -> Vec<Name> {
        let plain = self.hosts.iter().filter(|host| host.clustered.is_none());
        let names = plain.map(|host| host.name.clone());
        names.chain(Name::new(API)).collect()
    }

    /// How the pure core is to run.
    pub(crate) fn options(&self) -> quayside_lease::Options {
        let SessionPlan {
            ttl_ms,
            renew_every_ms,
            margin_ms,
            client_timeout_ms,
            poll_ms,
        } = self.session;
        quayside_lease::Options {
            node: self.node.clone(),
            timings: Timings {
                ttl: ms(ttl_ms),
                renew_every: ms(renew_every_ms),
                margin: ms(margin_ms),
                client_timeout: ms(client_timeout_ms),
            },
            poll: ms(poll_ms),
            replication: match self.allow_loss {
                false => Replication::Synchronous,
                true => Replication::Lossy,
            },
            groups: self.groups(),
        }
    }
}

impl LogPlan {
    /// Starts the agent's log, on standard error like those of its processes. Whoever reads it may stop reading: what
    /// is not taken then is dropped, because a lease that waits for a line to be read is lost. What is returned writes
    /// what is left when it goes.
    pub(crate) fn start(&self) -> WorkerGuard {
        let filter = EnvFilter::try_new(&self.level).unwrap_or_else(|_| EnvFilter::new("info"));
        let registry = tracing_subscriber::registry().with(filter);
        let (writer, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(LINES_MAX)
            .thread_name("log")
            .finish(std::io::stderr());
        let layer = fmt::layer().with_writer(writer);
        // An error says that the process logs already, which is what is wanted.
        let _ = if self.format == "json" {
            registry.with(layer.json().flatten_event(true)).try_init()
        } else {
            registry
                .with(layer.with_ansi(false).with_target(false))
                .try_init()
        };
        guard
    }
}
