//! Closing what the owner of a clustered host left open at the broker, when another node takes the host over.
//!
//! A broker notices an owner that is paused or cut off after some heartbeats, and until then keeps for it what it
//! was given last, and the place of the only consumer of its queues. And an owner that is only paused goes on where it
//! stood: it publishes once more what it was about to. So whoever takes over has the connections of its user closed.

use std::{path::PathBuf, time::Duration};

use quayside_adapter_api::{
    AdapterError, ErrorKind, SecretRef, Secrets,
    model::{Fault, Name},
    services::Secret,
};
use serde::Deserialize;
use tokio::sync::OnceCell;

use crate::{
    codes,
    manage::{Management, management_address, management_client},
};

/// What stands in the name of a user for that of the node.
const NODE: &str = "{node}";

/// How long the broker may take for it.
const WITHIN: Duration = Duration::from_secs(5);

/// `takeover = { management, user, password }`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Takeover {
    /// The address of the broker's management API.
    pub management: String,
    /// Who may close connections; without it the user of the connection itself.
    #[serde(default)]
    pub user: Option<String>,
    /// The password of `user`.
    #[serde(default)]
    pub password: Option<SecretRef>,
}

/// The user of the node `node`.
pub(crate) fn user_of(user: &str, node: &str) -> String {
    user.replace(NODE, node)
}

/// What is wrong with the setting, beside a `user`.
pub(crate) fn faults(takeover: Option<&Takeover>, user: Option<&str>, faults: &mut Vec<Fault>) {
    let Some(takeover) = takeover else { return };
    let path = ["takeover", "management"];
    if let Err(why) = management_address(&takeover.management) {
        faults.push(Fault::error(codes::BAD_URL, &path, why));
    }
    if takeover.user.is_none() && takeover.password.is_some() {
        let path = ["takeover", "password"];
        let message = "it belongs to no user: set `user` beside it";
        faults.push(Fault::error(codes::BAD_SETTING, &path, message));
    }
    if !user.is_some_and(|user| user.contains(NODE)) {
        let message = "every node needs a user of its own, or its own connections would be closed with those of the \
                       others: let `user` contain `{node}`";
        faults.push(Fault::error(codes::BAD_SETTING, &["user"], message));
    }
}

/// Closes connections.
#[derive(Debug)]
pub(crate) struct Closer {
    takeover: Takeover,
    /// With [`NODE`] in it.
    user: String,
    password: Option<SecretRef>,
    ca: Option<PathBuf>,
    http: OnceCell<reqwest::Client>,
}

impl Closer {
    /// For connections whose user is `user`, with [`NODE`] in it.
    pub(crate) fn new(
        takeover: Takeover,
        user: String,
        password: Option<SecretRef>,
        ca: Option<PathBuf>,
    ) -> Self {
        Self {
            takeover,
            user,
            password,
            ca,
            http: OnceCell::new(),
        }
    }

    /// Prepares what takes time, so that it is not missed later.
    pub(crate) async fn prepare(&self) -> Result<reqwest::Client, AdapterError> {
        let made = self.http.get_or_try_init(async || {
            let ca = self.ca.clone();
            let made = tokio::task::spawn_blocking(move || {
                management_client(ca.as_deref(), WITHIN, WITHIN)
            });
            made.await.unwrap_or_else(|error| {
                let detail = format!("reading the authorities: {error}");
                Err(AdapterError::new(ErrorKind::Config, codes::BAD_TLS, detail))
            })
        });
        made.await.cloned()
    }

    /// Has the broker close all connections of the user of the node `former`; the node `own` asks for it.
    ///
    /// # Errors
    /// That the management API does not answer or refuses its user.
    pub(crate) async fn close(
        &self,
        former: &Name,
        own: &Name,
        secrets: &dyn Secrets,
    ) -> Result<(), AdapterError> {
        let (user, password) = match &self.takeover.user {
            Some(user) => (user, &self.takeover.password),
            None => (&self.user, &self.password),
        };
        let password: Option<Secret> = match password {
            Some(reference) => Some(secrets.resolve(reference)?),
            None => None,
        };
        let (http, user) = (self.prepare().await?, user_of(user, own));
        let management = Management::at(&self.takeover.management, http, user, password)?;
        let former = user_of(&self.user, former);
        management.close_connections_of(&former).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_a_user() {
        assert_eq!(user_of("queues-{node}", "node-a"), "queues-node-a");
        assert_eq!(user_of("quayside", "node-a"), "quayside");
    }
}
