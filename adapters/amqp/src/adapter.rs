//! The adapter itself: `[receive.PORT.location.NAME.amqp]` and `[send.PORT.primary.amqp]`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use quayside_adapter_api::{
    Adapter, AdapterError, Block, ErrorKind, Partner, Receive, SendTerms, Services, Terms,
    Transmit,
    model::{Fault, Name},
};

use crate::{
    answerer::Answerer,
    batch::{Asides, Line},
    codes,
    config::{ReceiveSettings, SendSettings},
    link::{Link, Role},
    msmq::{self, Duties, Receiver, Sender},
    outgoing,
    partner::BrokerPartner,
    publish::Publisher,
    receive::AmqpReceive,
    replies::Replies,
    send::AmqpSend,
};

/// How long the dead letter queue may take for a message.
const DEAD_LETTER_WITHIN: Duration = Duration::from_secs(10);

/// How long the queue of an answer may take for it.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How many copies, acknowledgments and answers of one location may be unconfirmed at once.
const DUTIES_WINDOW: usize = 64;

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

    fn check_send(&self, block: &Block, terms: &SendTerms) -> Vec<Fault> {
        let mut faults = SendSettings::read(block).1;
        crate::answers::faults(block, terms, &mut faults);
        faults
    }

    fn templates(&self, block: &Block) -> BTreeMap<String, String> {
        let mut templates = block.get("msmq").map(msmq::templates).unwrap_or_default();
        templates.extend(
            block
                .get("properties")
                .map(outgoing::templates)
                .into_iter()
                .flatten(),
        );
        if let Some(queue) = block.get("queue").and_then(Block::as_str) {
            templates.insert("queue".to_owned(), queue.to_owned());
        }
        templates
    }

    fn prepares(&self) -> bool {
        true
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
        let duties = match &settings.msmq {
            None => None,
            Some(msmq) => {
                let link = link(Role::Publish)?;
                let publisher = Publisher::new(link, DUTIES_WINDOW, DEAD_LETTER_WITHIN);
                let (name, queue) = (name.clone(), settings.queue.clone());
                let clock = Arc::clone(&services.clock);
                let receiver = Receiver::new(name, queue, msmq.clone(), publisher, clock);
                Some(Duties::new(receiver, &services))
            }
        };
        let answerer = match terms.answer_within {
            None => None,
            Some(within) => Some(Answerer {
                location: name.clone(),
                publisher: Publisher::new(link(Role::Publish)?, DUTIES_WINDOW, ANSWER_WITHIN),
                within,
            }),
        };
        let asides = Asides {
            dead_letters,
            duties,
            answerer,
        };
        let line = Line::new(name.clone(), settings, services, asides);
        Ok(Box::new(AmqpReceive::new(line, consume, terms.ordered)))
    }

    async fn open_send(
        &self,
        name: &Name,
        block: &Block,
        services: Services,
    ) -> Result<Arc<dyn Transmit>, AdapterError> {
        let settings = right(SendSettings::read(block))?;
        let msmq = settings.msmq.clone();
        let msmq = msmq.map(|msmq| Sender::new(name.clone(), msmq, Arc::clone(&services.clock)));
        let link = |role| {
            let (name, services) = (name.to_string(), services.clone());
            Ok::<_, AdapterError>(Link::new(settings.broker()?, role, name, services))
        };
        let own = settings.answer.queue.clone();
        let own = own.map(|queue| Ok::<_, AdapterError>((queue, link(Role::Consume)?)));
        let within = settings.answer.within.duration();
        let replies = Arc::new(Replies::new(own.transpose()?, within));
        let within = settings.confirm_timeout.duration();
        let publisher = Publisher::new(link(Role::Publish)?, settings.window, within);
        let publisher = publisher.with_replies(Arc::clone(&replies));
        Ok(Arc::new(AmqpSend {
            settings,
            publisher,
            msmq,
            replies,
        }))
    }

    fn partner(&self, name: &Name, block: &Block, services: Services) -> Option<Arc<dyn Partner>> {
        let partner = BrokerPartner::new(name, block, services)?;
        Some(Arc::new(partner))
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
