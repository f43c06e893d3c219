//! The adapter itself: `[receive.PORT.location.NAME.file]` and `[send.PORT.primary.file]`.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use quayside_adapter_api::{
    Adapter, AdapterError, Block, ErrorKind, Receive, SendTerms, Services, Terms, Transmit,
    model::{Fault, Name},
};

use crate::{
    codes,
    config::{ReceiveSettings, SendSettings},
    holder::{Holder, Owners},
    receive::FileReceive,
    send::FileSend,
};

/// Folders. One value serves a whole process: it knows which taken files are its own.
#[derive(Debug, Default)]
pub struct FileAdapter {
    owners: Owners,
}

impl FileAdapter {
    /// A new adapter.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Adapter for FileAdapter {
    fn name(&self) -> &'static str {
        "file"
    }

    fn check_receive(&self, block: &Block, _: &Terms) -> Vec<Fault> {
        ReceiveSettings::read(block).err().unwrap_or_default()
    }

    fn check_send(&self, block: &Block, _: &SendTerms) -> Vec<Fault> {
        SendSettings::read(block).err().unwrap_or_default()
    }

    fn templates(&self, block: &Block) -> BTreeMap<String, String> {
        let name = block.get("file_name").and_then(Block::as_str);
        name.map(|name| ("file_name".to_owned(), name.to_owned()))
            .into_iter()
            .collect()
    }

    async fn open_receive(
        &self,
        name: &Name,
        block: &Block,
        _: &Terms,
        services: Services,
    ) -> Result<Box<dyn Receive>, AdapterError> {
        let settings = ReceiveSettings::read(block).map_err(faulty)?;
        let holder = Holder::new(name.clone(), settings, services, self.owners.clone());
        Ok(Box::new(FileReceive::open(holder).await?))
    }

    async fn open_send(
        &self,
        _name: &Name,
        block: &Block,
        services: Services,
    ) -> Result<Arc<dyn Transmit>, AdapterError> {
        let settings = Arc::new(SendSettings::read(block).map_err(faulty)?);
        Ok(Arc::new(FileSend { settings, services }))
    }
}

fn faulty(faults: Vec<Fault>) -> AdapterError {
    let all: Vec<String> = faults
        .iter()
        .map(|fault| format!("{}: {}", fault.path.join("."), fault.message))
        .collect();
    AdapterError::new(ErrorKind::Config, codes::BAD_SETTING, all.join("; "))
}
