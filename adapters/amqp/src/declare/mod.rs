//! Which queues an application needs, with which arguments: from its locations and ports, and from its
//! `queues.toml`. Nothing here speaks to a broker; `manage` does.

use std::{collections::BTreeMap, path::PathBuf};

use quayside_adapter_api::{Block, SecretRef, config, model::Fault};
use serde::Deserialize;

mod arguments;
mod definition;
mod plan;
mod refusal;

pub use arguments::{Argument, Arguments, Wanted};
pub use definition::{Definition, Kind};
pub use plan::{Plan, Planned, Site, Use, plan, whereabouts};
pub use refusal::Difference;

pub(crate) use arguments::table;
pub(crate) use refusal::read as read_refusal;

use crate::{
    config::{Urls, uris},
    msmq,
};

/// The machine of names that tell none, such as `.\journal$`, unless a `msmq` block names another one.
const MACHINE: &str = "quayside";

/// The queue of the broker that `name` stands for: a name of MSMQ in any spelling, or the name itself.
#[must_use]
pub fn queue_named(name: &str) -> String {
    msmq::resolve(name, MACHINE, msmq::Purpose::Receive).unwrap_or_else(|_| name.to_owned())
}

/// `queues.toml`: definitions of queues, and the broker that they are about where no port says so.
#[derive(Debug, Clone, Default)]
pub struct Definitions {
    /// `[broker]`
    pub broker: BrokerSettings,
    /// `[queue.NAME]`
    pub queues: BTreeMap<String, Definition>,
}

/// `[broker]`: who looks after the queues, which is not who moves messages.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerSettings {
    /// The broker, or several that have the queues.
    #[serde(default)]
    pub url: Option<Urls>,
    /// The user, who may configure queues; without it that of the ports.
    #[serde(default)]
    pub user: Option<String>,
    /// Its password.
    #[serde(default)]
    pub password: Option<SecretRef>,
    /// A PEM file with the authorities to trust; without it those of the machine.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// The address of the broker's management API.
    #[serde(default)]
    pub management: Option<String>,
}

impl BrokerSettings {
    /// Reads and checks a block: the settings, if they can be used, and every fault.
    #[must_use]
    pub fn read(block: &Block) -> (Option<Self>, Vec<Fault>) {
        let settings: Self = match config::parse(block) {
            Ok(settings) => settings,
            Err(faults) => return (None, faults),
        };
        let mut faults = Vec::new();
        if let Some(url) = &settings.url {
            let wrong = match uris(url) {
                Ok(uris) if uris.is_empty() => Some("there is no broker in the list".to_owned()),
                Ok(_) => None,
                Err(wrong) => Some(wrong.detail),
            };
            faults.extend(wrong.map(|why| Fault::error(crate::codes::BAD_URL, &["url"], why)));
        }
        if let Some(address) = &settings.management
            && let Err(why) = crate::manage::management_address(address)
        {
            faults.push(Fault::error(crate::codes::BAD_URL, &["management"], why));
        }
        (faults.is_empty().then_some(settings), faults)
    }
}
