//! The adapter itself: `[receive.PORT.location.NAME.amqp]` and `[send.PORT.primary.amqp]`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use quayside_adapter_api::{
    Adapter, AdapterError, Block, ErrorKind, Receive, Services, Terms, Transmit,
    model::{Fault, Name},
};

use crate::{
    batch::Line,
    codes,
    config::{ReceiveSettings, SendSettings},
    link::{Link, Role},
    publish::Publisher,
    receive::AmqpReceive,
    send::AmqpSend,
};

/// How long the dead letter queue may take for a message.
const DEAD_LETTER_WITHIN: Duration = Duration::from_secs(10);

/// Queues over AMQP 0-9-1. Holds nothing: every location and port has connections of its own.
#[derive(Debug, Default)]
pub struct AmqpAdapter;

impl AmqpAdapter {
    /// A new adapter.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Adapter for AmqpAdapter {
    fn name(&self) -> &'static str {
        "amqp"
    }

    fn check_receive(&self, block: &Block, terms: &Terms) -> Vec<Fault> {
        ReceiveSettings::read(block, terms).1
    }

    fn check_send(&self, block: &Block) -> Vec<Fault> {
        SendSettings::read(block).1
    }

    fn templates(&self, block: &Block) -> BTreeMap<String, String> {
        let queue = block.get("queue").and_then(Block::as_str);
        queue
            .map(|queue| ("queue".to_owned(), queue.to_owned()))
            .into_iter()
            .collect()
    }

    async fn open_receive(
        &self,
        name: &Name,
        block: &Block,
        terms: &Terms,
        services: Services,
    ) -> Result<Box<dyn Receive>, AdapterError> {
        let settings = right(ReceiveSettings::read(block, terms))?;
        let link = |role| {
            let (name, services) = (name.to_string(), services.clone());
            Ok::<_, AdapterError>(Link::new(settings.broker()?, role, name, services))
        };
        let consume = link(Role::Consume)?;
        let dead_letters = match &settings.dead_letter {
            None => None,
            Some(_) => Some(Publisher::new(link(Role::Publish)?, 1, DEAD_LETTER_WITHIN)),
        };
        let line = Line::new(name.clone(), settings, services, dead_letters);
        Ok(Box::new(AmqpReceive::new(line, consume, terms.ordered)))
    }

    async fn open_send(
        &self,
        name: &Name,
        block: &Block,
        services: Services,
    ) -> Result<Arc<dyn Transmit>, AdapterError> {
        let settings = right(SendSettings::read(block))?;
        let link = Link::new(
            settings.broker()?,
            Role::Publish,
            name.to_string(),
            services,
        );
        let within = settings.confirm_timeout.duration();
        let publisher = Publisher::new(link, settings.window, within);
        Ok(Arc::new(AmqpSend {
            settings,
            publisher,
        }))
    }
}

fn right<T>((settings, faults): (Option<T>, Vec<Fault>)) -> Result<T, AdapterError> {
    settings.ok_or_else(|| {
        let all: Vec<String> = faults
            .iter()
            .map(|fault| format!("{}: {}", fault.path.join("."), fault.message))
            .collect();
        AdapterError::new(ErrorKind::Config, codes::BAD_SETTING, all.join("; "))
    })
}
