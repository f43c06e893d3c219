//! What the tests of both directions share: a store in memory that tells processes apart.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt;
use quayside_adapter_api::{
    Accepted, Adapter, AdapterError, Block, Condition, Delivery, ErrorKind, Messages,
    PendingSource, Receive, Secrets, Services, Sources, Standing, Terms,
    model::{Clock, Entropy, MessageId, Name, SystemClock, SystemEntropy, Text},
    services::{CancellationToken, Secret, SecretRef},
};
use serde_json::json;

use crate::{FileAdapter, codes, holder::Holder};

/// A store that keeps messages, and marks and leases by location, and knows who is dead.
#[derive(Debug, Default)]
pub(crate) struct Store(Mutex<Rows>);

#[derive(Debug, Default)]
struct Rows {
    messages: BTreeMap<String, (MessageId, String, Bytes)>,
    marks: Vec<(&'static str, PendingSource)>,
    leases: HashMap<String, u32>,
    dead: HashSet<u32>,
}

/// A gateway process: its own adapter, its own side of the store.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) adapter: Arc<FileAdapter>,
    pub(crate) store: Arc<Store>,
    location: &'static str,
    id: u32,
}

impl Store {
    /// The stored bodies by the name of their file.
    pub(crate) fn messages(&self) -> Vec<(String, Bytes)> {
        let rows = self.0.lock().unwrap();
        let mut messages: Vec<_> = rows
            .messages
            .values()
            .map(|(_, name, body)| (name.clone(), body.clone()))
            .collect();
        messages.sort();
        messages
    }

    pub(crate) fn marks(&self) -> usize {
        self.0.lock().unwrap().marks.len()
    }

    fn is_live(rows: &Rows, process: u32) -> Result<(), AdapterError> {
        if rows.dead.contains(&process) {
            return Err(AdapterError::new(
                ErrorKind::Disconnected,
                codes::CLOSED,
                "fenced",
            ));
        }
        Ok(())
    }
}

impl Process {
    pub(crate) fn new(store: &Arc<Store>, id: u32) -> Self {
        Self {
            adapter: Arc::default(),
            store: store.clone(),
            location: "app.port.file",
            id,
        }
    }

    /// The same process with another location.
    pub(crate) fn at(&self, location: &'static str) -> Self {
        Self {
            location,
            ..self.clone()
        }
    }

    /// Lets the store see the process as dead, as after SIGKILL.
    pub(crate) fn kill(&self) {
        self.store.0.lock().unwrap().dead.insert(self.id);
    }

    /// Takes the lease of `owner`, as a process may that the store told that its holder is dead.
    pub(crate) fn steal(&self, owner: &str) -> bool {
        let key = format!("{}/{}", self.location, Holder::lease_key(owner));
        self.store
            .0
            .lock()
            .unwrap()
            .leases
            .insert(key, self.id)
            .is_some()
    }

    pub(crate) fn services(&self, clock: Arc<dyn Clock>) -> Services {
        Services {
            node: Name::new("node-a").unwrap(),
            clock,
            entropy: Arc::new(SystemEntropy),
            secrets: Arc::new(NoSecrets),
            sources: Arc::new(self.clone()),
            messages: Arc::new(self.clone()),
            condition: Condition::default(),
            stopping: CancellationToken::new(),
        }
    }

    pub(crate) async fn open(&self, folder: &Path, more: Block) -> Box<dyn Receive> {
        let mut block = json!({ "folder": folder, "poll": "5ms", "stable_for": "0s" });
        for (key, value) in more.as_object().expect("an object") {
            block[key] = value.clone();
        }
        let services = self.services(Arc::new(SystemClock));
        let name = Name::new(self.location).unwrap();
        self.adapter
            .open_receive(&name, &block, &Terms::default(), services)
            .await
            .expect("the location opens")
    }

    /// Stores a delivery with its mark in one step, as the engine does; the answer is not given yet.
    pub(crate) async fn commit(&self, delivery: &mut Delivery) -> Result<Accepted, AdapterError> {
        let empty: quayside_adapter_api::Body = Box::pin(futures_util::stream::empty());
        let body = std::mem::replace(&mut delivery.message.body, empty);
        let pieces: Vec<Bytes> = body.try_collect().await?;
        let name = delivery
            .message
            .context
            .promoted("file.name")
            .expect("a name")
            .to_string();
        let key = delivery.message.key.clone().expect("a file has a key").key;
        let source = delivery.source.clone().expect("a file has a mark");
        let mut rows = self.store.0.lock().unwrap();
        Store::is_live(&rows, self.id)?;
        if let Some((message, ..)) = rows.messages.get(key.as_str()) {
            return Ok(Accepted {
                message: *message,
                others: Vec::new(),
                replayed: true,
                answer: None,
            });
        }
        let message = MessageId::new(SystemClock.now(), &SystemEntropy as &dyn Entropy);
        rows.messages
            .insert(key.to_string(), (message, name, pieces.concat().into()));
        let mark = PendingSource {
            key: source.key,
            state: source.state,
            message,
        };
        rows.marks.push((self.location, mark));
        Ok(Accepted {
            message,
            others: Vec::new(),
            replayed: false,
            answer: None,
        })
    }

    /// Receives, stores and answers one file; gives its name.
    pub(crate) async fn pass(&self, receive: &mut dyn Receive) -> String {
        let mut delivery = receive.receive().await.expect("a delivery");
        let accepted = self.commit(&mut delivery).await.expect("stored");
        delivery.settle.accept(accepted).await.expect("cleaned up");
        delivery
            .message
            .context
            .promoted("file.name")
            .expect("a name")
            .to_string()
    }
}

#[async_trait]
impl Messages for Process {
    async fn standing(&self, id: MessageId) -> Result<Option<Standing>, AdapterError> {
        let rows = self.store.0.lock().unwrap();
        let known = rows.messages.values().any(|(message, ..)| *message == id);
        Ok(known.then(|| Standing {
            location: Text::lossy(self.location),
            ended: true,
        }))
    }
}

#[async_trait]
impl Sources for Process {
    async fn lease(&self, key: &str) -> Result<bool, AdapterError> {
        let key = &format!("{}/{key}", self.location);
        let mut rows = self.store.0.lock().unwrap();
        Store::is_live(&rows, self.id)?;
        let held_by_other = rows
            .leases
            .get(key)
            .is_some_and(|holder| *holder != self.id && !rows.dead.contains(holder));
        if !held_by_other {
            rows.leases.insert(key.to_owned(), self.id);
        }
        Ok(!held_by_other)
    }

    async fn release(&self, key: &str) -> Result<(), AdapterError> {
        let key = &format!("{}/{key}", self.location);
        let mut rows = self.store.0.lock().unwrap();
        if rows.leases.get(key) == Some(&self.id) {
            rows.leases.remove(key);
        }
        Ok(())
    }

    async fn pending(&self) -> Result<Vec<PendingSource>, AdapterError> {
        let rows = self.store.0.lock().unwrap();
        let own = rows
            .marks
            .iter()
            .filter(|(location, _)| *location == self.location);
        Ok(own.map(|(_, mark)| mark.clone()).collect())
    }

    async fn settled(&self, keys: &[Text]) -> Result<(), AdapterError> {
        let mut rows = self.store.0.lock().unwrap();
        Store::is_live(&rows, self.id)?;
        rows.marks.retain(|(_, mark)| !keys.contains(&mark.key));
        Ok(())
    }
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, AdapterError> {
        let detail = format!("there is no secret {}", reference.secret);
        Err(AdapterError::new(
            ErrorKind::Config,
            codes::BAD_SETTING,
            detail,
        ))
    }
}

/// The names in a folder, sorted.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}
