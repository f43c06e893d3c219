//! The adapter itself: `[receive.PORT.location.NAME.sharepoint]` and `[send.PORT.primary.sharepoint]`.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use quayside_adapter_api::{
    Adapter, AdapterError, Block, Receive, SendTerms, Services, Terms, Transmit,
    model::{Fault, Name},
};

use crate::{
    accounts::Accounts,
    client::Client,
    codes,
    config::{ReceiveSettings, SendSettings},
    error,
    holder::{Claims, Holder},
    library::Library,
    receive::SharePointReceive,
    send::SharePointSend,
};

/// Document libraries. One value serves a whole process: it knows which documents the process works on, and which
/// passwords farms took and refused.
#[derive(Debug, Default)]
pub struct SharePointAdapter {
    claims: Claims,
    accounts: Accounts,
}

impl SharePointAdapter {
    /// A new adapter.
    ///
    /// Installs ring as the TLS provider of the process if there is none yet.
    #[must_use]
    pub fn new() -> Self {
        // An error says that one is installed already, which is all that is wanted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self::default()
    }
}

#[async_trait]
impl Adapter for SharePointAdapter {
    fn name(&self) -> &'static str {
        "sharepoint"
    }

    fn check_receive(&self, block: &Block, _: &Terms) -> Vec<Fault> {
        ReceiveSettings::read(block).err().unwrap_or_default()
    }

    fn check_send(&self, block: &Block, _: &SendTerms) -> Vec<Fault> {
        SendSettings::read(block).err().unwrap_or_default()
    }

    fn templates(&self, block: &Block) -> BTreeMap<String, String> {
        SendSettings::read(block)
            .map(|settings| settings.templates())
            .unwrap_or_default()
    }

    async fn open_receive(
        &self,
        name: &Name,
        block: &Block,
        terms: &Terms,
        services: Services,
    ) -> Result<Box<dyn Receive>, AdapterError> {
        let settings = ReceiveSettings::read(block).map_err(faulty)?;
        let farm = settings.farm();
        let farm = farm.map_err(|why| error::config(codes::BAD_SETTING, why))?;
        let client = Client::new(farm, &services, &self.accounts)?;
        let library = Library::open(client, &settings).await?;
        let holder = Holder::new(
            name.clone(),
            settings,
            library,
            services,
            self.claims.clone(),
        );
        Ok(Box::new(SharePointReceive::new(holder, terms.ordered)))
    }

    async fn open_send(
        &self,
        _: &Name,
        block: &Block,
        services: Services,
    ) -> Result<Arc<dyn Transmit>, AdapterError> {
        let settings = SendSettings::read(block).map_err(faulty)?;
        Ok(Arc::new(SharePointSend::open(
            settings,
            &services,
            &self.accounts,
        )?))
    }
}

/// Faults of a block as one error: whoever opens it has checked it before, so this is a late guard.
fn faulty(faults: Vec<Fault>) -> AdapterError {
    let all: Vec<String> = faults
        .iter()
        .map(|fault| format!("{}: {}", fault.path.join("."), fault.message))
        .collect();
    error::config(codes::BAD_SETTING, all.join("; "))
}
