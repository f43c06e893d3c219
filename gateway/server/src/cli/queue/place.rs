//! Which broker is meant, and which queues are known there.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use quayside_adapter_api::{AdapterError, ErrorKind, SecretRef, Secrets, services::Secret};
use serde_json::json;

use super::{cli_codes, codes, failed};
use crate::{
    config::{self, Defaults, Inputs, Purpose, Report, nearest, queues::uses},
    exit::{Exit, Failure},
    secrets::FolderSecrets,
    wiring::{
        self,
        declare::{BrokerSettings, Definitions, Plan, Planned, Site, plan},
    },
};

/// What the options stand under in the help.
const BROKER: &str = "The broker";

/// How to reach the broker.
#[derive(Debug, Args)]
pub(super) struct BrokerArgs {
    /// The broker instead of that of the application: amqp://HOST:PORT/VHOST, or amqps://…
    #[arg(long, value_name = "URL", env = "QUAYSIDE_BROKER", help_heading = BROKER)]
    pub(super) url: Option<String>,
    /// The user instead of that of the application
    #[arg(long, value_name = "NAME", env = "QUAYSIDE_BROKER_USER", help_heading = BROKER)]
    user: Option<String>,
    /// Its password
    #[arg(
        long,
        env = "QUAYSIDE_BROKER_PASSWORD",
        hide_env_values = true,
        help_heading = BROKER
    )]
    password: Option<String>,
    /// The authorities that the certificate of the broker may come from, PEM
    #[arg(long, value_name = "FILE", env = "QUAYSIDE_BROKER_CA", help_heading = BROKER)]
    ca: Option<PathBuf>,
    /// The management API of the broker, as http://HOST:15672
    #[arg(long, value_name = "URL", env = "QUAYSIDE_BROKER_MANAGEMENT", help_heading = BROKER)]
    management: Option<String>,
    /// The file of the environment, for the variables of the application
    #[arg(long, value_name = "FILE", help_heading = BROKER)]
    group: Option<PathBuf>,
    /// The file of the node, for the folder with the secrets
    #[arg(long, value_name = "FILE", help_heading = BROKER)]
    node: Option<PathBuf>,
}

/// Whose queues.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The folder of the application, or of several; the current one if neither this nor `--url` is given
    #[arg(long, value_name = "DIR", help_heading = BROKER)]
    app: Option<PathBuf>,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// The queues that are known, and the secrets to get at them.
pub(super) struct Known {
    pub(super) plan: Plan,
    pub(super) secrets: Arc<dyn Secrets>,
}

impl Place {
    /// What is known from the application, or from the command line alone.
    pub(super) fn known(&self) -> Result<Known, Failure> {
        match (&self.app, &self.broker.url) {
            (None, Some(_)) => self.broker.known_without_application(),
            (app, _) => {
                let folder = app.as_deref().unwrap_or(Path::new("."));
                self.broker.of_application(folder)
            }
        }
    }
}

impl BrokerArgs {
    /// The queues of the application, or applications, in `folder`.
    pub(super) fn of_application(&self, folder: &Path) -> Result<Known, Failure> {
        let report = Report::default();
        let inputs = Inputs {
            dir: folder.to_owned(),
            group: self.group.clone(),
            node: self.node.clone(),
            hosts: Vec::new(),
            defaults: Defaults::of_this_machine(PathBuf::from(config::DATA_DIR)),
            // Nothing is run here; certificates and secrets of ports are of no matter.
            purpose: Purpose::CheckAnyNode,
        };
        let loaded = config::load(&inputs, &wiring::adapters_for_checking(), &report);
        let loaded = loaded.ok_or_else(|| faulty("the application", &report))?;
        let uses = uses(&loaded.plan.receive, &loaded.plan.send);
        let at = self.settings()?;
        let plan = plan(&uses, &loaded.queues, Some(&at));
        if plan.sites.is_empty() {
            let message = format!("no application in {} uses queues", folder.display());
            return Err(Failure::new(codes::NO_BROKER, message).exiting(Exit::Usage));
        }
        Ok(Known {
            plan: plan.of_node(&loaded.node.name),
            secrets: self.secrets(&loaded.node.secrets),
        })
    }

    /// The queues of a file of definitions.
    pub(super) fn of_file(&self, file: &Path) -> Result<Known, Failure> {
        let report = Report::default();
        let definitions = config::queues::load(file, self.group.as_deref(), &report);
        let definitions = definitions.ok_or_else(|| faulty("the file", &report))?;
        let at = self.settings()?;
        let plan = plan(&[], &definitions, Some(&at));
        if !plan.faults.is_empty() || plan.sites.is_empty() {
            let message = format!("{} names no broker", file.display());
            return Err(Failure::new(codes::NO_BROKER, message).exiting(Exit::Usage));
        }
        self.with_secrets_of_node(plan)
    }

    fn known_without_application(&self) -> Result<Known, Failure> {
        let at = self.settings()?;
        self.with_secrets_of_node(plan(&[], &Definitions::default(), Some(&at)))
    }

    fn with_secrets_of_node(&self, plan: Plan) -> Result<Known, Failure> {
        let report = Report::default();
        let defaults = Defaults::of_this_machine(PathBuf::from(config::DATA_DIR));
        let node = config::load_node(self.node.as_deref(), &defaults, &report);
        let node = node.ok_or_else(|| faulty("the file of the node", &report))?;
        Ok(Known {
            plan,
            secrets: self.secrets(&node.secrets),
        })
    }

    /// What the command line says, in the form of `[broker]`.
    fn settings(&self) -> Result<BrokerSettings, Failure> {
        let mut block = json!({});
        let texts = [
            ("url", &self.url),
            ("user", &self.user),
            ("management", &self.management),
        ];
        for (key, value) in texts {
            if let Some(value) = value {
                block[key] = json!(value);
            }
        }
        let (settings, faults) = BrokerSettings::read(&block);
        let mut settings = settings.ok_or_else(|| {
            let fault = |fault: &quayside_model::Fault| {
                let key = fault.path.first().map(String::as_str).unwrap_or_default();
                format!("`--{key}`: {}", fault.message)
            };
            let message: Vec<String> = faults.iter().map(fault).collect();
            Failure::new(codes::BAD_URL, message.join("; ")).exiting(Exit::Usage)
        })?;
        settings.ca.clone_from(&self.ca);
        settings.password = self.password.as_ref().map(|_| SecretRef {
            secret: GIVEN.to_owned(),
        });
        Ok(settings)
    }

    fn secrets(&self, folder: &Path) -> Arc<dyn Secrets> {
        Arc::new(Given {
            password: self.password.clone(),
            folder: FolderSecrets::new(folder),
        })
    }
}

fn faulty(what: &str, report: &Report) -> Failure {
    let message = format!("{what} has errors\n{}", report.to_string().trim_end());
    Failure::new(config::codes::WRONG_VALUE, message)
        .exiting(Exit::BadConfig)
        .with_help("Correct what is named above; `quayside check DIR` finds the same faults.")
}

/// Stands for the password of the command line; no file has such a name.
const GIVEN: &str = "/command line";

/// The password of the command line, and the secrets of the node.
struct Given {
    password: Option<String>,
    folder: FolderSecrets,
}

impl Secrets for Given {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, AdapterError> {
        match &self.password {
            Some(password) if reference.secret == GIVEN => Ok(Secret::new(password.as_bytes())),
            _ => self.folder.resolve(reference),
        }
    }
}

impl Known {
    /// A failure about `queue` as a verb reports it.
    pub(super) fn failed(&self, queue: &str, error: AdapterError) -> Failure {
        match error.code {
            codes::QUEUE_MISSING => self.missing(queue),
            _ => failed(error),
        }
    }

    /// That there is no such queue; perhaps another one of the application was meant.
    pub(super) fn missing(&self, queue: &str) -> Failure {
        let queues = self.plan.sites.iter().flat_map(|site| &site.queues);
        let names: Vec<&str> = queues.map(|planned| planned.wanted.name.as_str()).collect();
        let meant = if names.contains(&queue) {
            None
        } else {
            nearest(queue, &names)
        };
        let meant = meant.map(|meant| format!(" — did you mean `{meant}`?"));
        let message = format!("there is no queue `{queue}`{}", meant.unwrap_or_default());
        failed(AdapterError::new(
            ErrorKind::Config,
            codes::QUEUE_MISSING,
            message,
        ))
    }

    /// The broker that has `queue`, and what the queue is if that is known.
    pub(super) fn site_of(&self, queue: &str) -> Result<(&Site, Option<&Planned>), Failure> {
        let planned = |site: &'_ Site| -> Option<usize> {
            site.queues
                .iter()
                .position(|planned| planned.wanted.name == queue)
        };
        let mut having = self
            .plan
            .sites
            .iter()
            .filter(|site| planned(site).is_some());
        let refused = |why: String| {
            let failure = Failure::new(codes::NO_BROKER, why).exiting(Exit::Usage);
            Err(failure.with_help("Name the broker with `--url URL`."))
        };
        match (having.next(), having.next(), self.plan.sites.as_slice()) {
            (Some(site), None, _) => Ok((site, planned(site).and_then(|at| site.queues.get(at)))),
            (Some(_), Some(_), _) => refused(format!("several brokers have a queue `{queue}`")),
            (None, _, [only]) => Ok((only, None)),
            (None, _, []) => Err(Failure::new(cli_codes::INTERNAL, "no broker is known")),
            (None, ..) => refused(format!(
                "the application has several brokers and does not name the queue `{queue}`"
            )),
        }
    }
}
