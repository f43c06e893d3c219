//! Who looks after queues: the login of an operator in the place of that of the ports.

use quayside_adapter_api::{AdapterError, Span};

use crate::{
    config::{Broker, Urls, uris},
    declare::BrokerSettings,
};

/// How often each side shows the other that it lives.
const HEARTBEAT: u16 = 5;

impl Broker {
    /// The broker at `urls`, as the user that it lets in without being told one.
    pub(crate) fn at(urls: &Urls) -> Result<Self, AdapterError> {
        Ok(Self {
            uris: uris(urls)?,
            user: None,
            password: None,
            ca: None,
            heartbeat: HEARTBEAT,
            connect_timeout: Span::secs(3).duration(),
        })
    }

    /// Logs in as `settings` say, where they say something.
    pub(crate) fn log_in_as(&mut self, settings: &BrokerSettings) {
        if settings.user.is_some() {
            self.user.clone_from(&settings.user);
            // That of the other user is not his.
            self.password = None;
        }
        if settings.password.is_some() {
            self.password.clone_from(&settings.password);
        }
        if settings.ca.is_some() {
            self.ca.clone_from(&settings.ca);
        }
    }
}
