//! `quayside hosts`: what one node runs, as its agent reads it.
//!
//! The agent reads no configuration itself: it asks for the JSON form, whose fields are only ever added to.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use quayside_lease::{Failback, Limit, Limits, OnDeath, Policy};
use quayside_model::{Name, Severity};
use serde_json::{Value, json};

use super::{
    Show, codes,
    output::{self, Table},
};
use crate::{
    config::{self, Defaults, Inputs, Loaded, Purpose, Report, cluster::failback_text},
    exit::{Exit, Failure},
    secrets::FolderSecrets,
    wiring,
};

/// The longest path of a Unix socket on Linux, in bytes.
const SOCKET_PATH_MAX: usize = 107;
/// The longest name that an agent gives a process of its own, which has a socket like the hosts.
const OWN_NAME_MAX: usize = 14;
/// How much longer the name of a socket may be than that of its host.
const SOCKET_SUFFIX_MAX: usize = 16;

/// Of which node.
#[derive(Debug, Args)]
pub(super) struct HostsArgs {
    /// The folder of an application, or of several
    dir: PathBuf,
    /// The file of the environment: hosts and variables
    #[arg(long, value_name = "FILE")]
    group: Option<PathBuf>,
    /// The file of the node
    #[arg(long, value_name = "FILE")]
    node: Option<PathBuf>,
    #[command(flatten)]
    show: Show,
}

/// Prints the hosts of a node. What is wrong with the configuration goes to standard error.
pub(super) fn hosts(args: &HostsArgs) -> Result<Exit, Failure> {
    let inputs = Inputs {
        dir: args.dir.clone(),
        group: args.group.clone(),
        node: args.node.clone(),
        hosts: Vec::new(),
        purpose: Purpose::Agent,
        defaults: Defaults::of_this_machine(PathBuf::from(config::DATA_DIR)),
    };
    let report = Report::default();
    let loaded = config::load(&inputs, &wiring::adapters_for_checking(), &report);
    if let Some(loaded) = &loaded {
        sockets(&report, loaded);
    }
    if report.errors() + report.warnings() > 0 {
        output::complain(&report.to_string());
    }
    let Some(loaded) = loaded.filter(|_| report.errors() == 0) else {
        return Ok(Exit::BadConfig);
    };
    let document = document(&loaded)?;
    args.show
        .output()
        .table(&document, &table(&loaded), "No hosts.")
}

/// Refuses a folder whose path is too long for the sockets in it.
fn sockets(report: &Report, loaded: &Loaded) {
    let hosts = loaded.hosts.iter().map(|host| host.len());
    let longest = hosts.fold(OWN_NAME_MAX, usize::max);
    let room = SOCKET_PATH_MAX - SOCKET_SUFFIX_MAX - 1 - longest;
    let folder = &loaded.node.run_dir;
    if folder.as_os_str().len() > room {
        let message = format!(
            "the path of the folder {} is longer than {room} bytes, which leaves no room for the names of sockets",
            folder.display()
        );
        let help = "Name a folder with a shorter path in `[node] run_dir`.".to_owned();
        report.add(
            config::codes::LIMIT,
            Severity::Error,
            None,
            message,
            Some(help),
        );
    }
}

/// Whether the host has HTTP locations.
fn takes_requests(loaded: &Loaded, host: &Name) -> bool {
    let mut ports = loaded.plan.receive.iter().filter(|port| port.host == *host);
    ports.any(|port| port.locations.iter().any(|l| l.adapter == "http"))
}

fn document(loaded: &Loaded) -> Result<Value, Failure> {
    let (node, timings) = (&loaded.node, &loaded.node.timings);
    let password = node.store.password.as_ref().map(|reference| {
        let path = FolderSecrets::new(&node.secrets).path(&reference.secret);
        let path = path.map_err(|cause| {
            let detail = format!("the secret `{}` cannot be read: {cause}", reference.secret);
            Failure::new(codes::SECRET, detail).exiting(Exit::BadConfig)
        })?;
        absolute(&path)
    });
    let hosts: Vec<Value> = loaded.hosts.iter().map(|host| of(loaded, host)).collect();
    Ok(json!({
        "node": node.name,
        "data_dir": absolute(&node.data_dir)?,
        "run_dir": absolute(&node.run_dir)?,
        "store": {
            "url": node.store.url,
            "password_file": password.transpose()?,
            "ca": node.store.ca.as_deref().map(absolute).transpose()?,
        },
        "session": {
            "ttl_ms": millis(timings.ttl),
            "renew_every_ms": millis(timings.renew_every),
            "margin_ms": millis(timings.margin),
            "client_timeout_ms": millis(timings.client_timeout),
            "poll_ms": millis(node.poll),
        },
        "allow_loss": node.allow_loss,
        "log": {
            "format": if node.log.json { "json" } else { "text" },
            "level": node.log.level,
        },
        "hosts": hosts,
    }))
}

/// The path as text, whatever folder the reader is in.
fn absolute(path: &Path) -> Result<String, Failure> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.into_os_string().into_string().map_err(|path| {
        let detail = format!("{} is not UTF-8", path.display());
        Failure::new(codes::FILE, detail)
    })
}

fn of(loaded: &Loaded, name: &Name) -> Value {
    let policy = loaded.group.as_ref().and_then(|group| group.policy(name));
    json!({
        "name": name,
        "roles": loaded.roles_of(name),
        "http": takes_requests(loaded, name),
        "clustered": policy.map(of_policy),
    })
}

fn of_policy(policy: &Policy) -> Value {
    let failback = match policy.failback {
        Failback::Manual => json!({ "mode": "manual" }),
        Failback::Always => json!({ "mode": "always" }),
        Failback::Within { from, until } => {
            json!({ "mode": "within", "from_minute": from, "until_minute": until })
        }
    };
    let mut value = json!({
        "possible": policy.possible,
        "preferred": policy.preferred,
        "with": policy.with,
        "spare": policy.spare,
        "on_death": match policy.on_death {
            OnDeath::Warm => "warm",
            OnDeath::InPlace => "restart",
        },
        "failback": failback,
    });
    if let (Value::Object(all), Value::Object(limits)) = (&mut value, of_limits(&policy.limits)) {
        all.extend(limits);
    }
    value
}

fn of_limits(limits: &Limits) -> Value {
    let limit = |limit: Limit| json!({ "times": limit.times, "within_ms": millis(limit.within) });
    json!({
        "restarts": limit(limits.restarts),
        "backoff_ms": limits.backoff.map(millis),
        "moves": limit(limits.moves),
        "retry_failed_ms": millis(limits.retry_failed),
        "quarantine": {
            "lost": limit(limits.quarantine.lost),
            "lasts_ms": millis(limits.quarantine.lasts),
        },
        "online_within_ms": millis(limits.online_within),
        "drain_within_ms": millis(limits.drain_within),
        "hang_after_ms": millis(limits.hang_after),
        "adapter_patience_ms": millis(limits.adapter_patience),
        "failback_stable_ms": millis(limits.failback_stable),
        "rank_delay_ms": millis(limits.rank_delay),
        "offer_lasts_ms": millis(limits.offer_lasts),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn table(loaded: &Loaded) -> Table {
    let mut table = Table::new(&["host", "runs", "members", "preferred", "failback", "roles"]);
    for name in &loaded.hosts {
        let group = loaded.group.as_ref();
        let members = group
            .and_then(|group| group.hosts.get(name.as_str()))
            .map_or_else(
                || loaded.node.name.to_string(),
                |host| host.members.join(", "),
            );
        let policy = group.and_then(|group| group.policy(name));
        let [runs, preferred, failback] = match policy {
            None => ["on each member", "", ""].map(str::to_owned),
            Some(policy) => words(policy),
        };
        let roles = loaded.roles_of(name).join(", ");
        table.row(vec![
            name.to_string(),
            runs,
            members,
            preferred,
            failback,
            roles,
        ]);
    }
    table
}

/// Where a clustered host runs, which nodes it prefers, and when it goes back to them.
fn words(policy: &Policy) -> [String; 3] {
    let preferred: Vec<&str> = policy.order().map(|node| &**node).collect();
    let failback = match policy.failback {
        Failback::Within { .. } => format!("{} UTC", failback_text(policy.failback)),
        _ => failback_text(policy.failback),
    };
    match &policy.with {
        // Where the other one is decides.
        Some(lead) => [
            format!("on one, beside {lead}"),
            String::new(),
            String::new(),
        ],
        None => ["on one".to_owned(), preferred.join(", "), failback],
    }
}
