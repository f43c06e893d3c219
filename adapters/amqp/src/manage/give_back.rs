//! Returning messages from where they were given up to where they came from.
//!
//! A message is put into its queue, confirmed there, and only then acknowledged here, with the same
//! `message_id`: what ends in between leaves it in both, and who takes it knows it by its id. Messages that
//! are passed over are held until the end and go back to their places.

use std::collections::BTreeMap;

use lapin::{
    Channel, Confirmation,
    message::Delivery,
    options::{BasicAckOptions, BasicPublishOptions},
    types::ShortString,
};
use quayside_adapter_api::{AdapterError, ErrorKind, model::failpoint};

use super::{
    Session, failed, leave,
    message::{cleaned, origin},
    name,
    peek::{Got, SCAN, get, harm, missing, take_rest},
    within,
};
use crate::{codes, publish::NOT_TAKEN};

/// Which messages, and to where.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'a> {
    /// The queue that has them.
    pub queue: &'a str,
    /// Where they go; without it each to where it came from.
    pub to: Option<&'a str>,
    /// At most so many of those that are there now; without it all of them.
    pub count: Option<u32>,
    /// Only the one with this `message_id`.
    pub id: Option<&'a str>,
}

/// What was returned.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// How many messages, by the queue that they went to.
    pub to: BTreeMap<String, u64>,
    /// How many stay because nothing says where they came from.
    pub homeless: u64,
    /// How many of those that were returned have no `message_id`.
    pub nameless: u64,
    /// Why it did not go on.
    pub failure: Option<AdapterError>,
}

impl Given {
    /// How many messages were returned.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.to.values().sum()
    }
}

impl Session {
    /// Returns messages of a queue, in their order. What a failure leaves undone stays where it is.
    ///
    /// # Errors
    /// That there is no such queue, or that it cannot be worked on; nothing was returned then.
    pub async fn give_back(&self, selection: Selection<'_>) -> Result<Given, AdapterError> {
        let queue = selection.queue;
        let Some(counts) = self.look(queue).await? else {
            return Err(missing(queue));
        };
        let (from, to) = (self.channel().await?, self.confirming().await?);
        let mut given = Given::default();
        let (mut holds, mut came_back) = (false, false);
        // What comes in the meantime is left: it may be what was just returned and could not be taken again.
        for _ in 0..counts.ready.min(SCAN) {
            let enough = selection
                .count
                .is_some_and(|count| given.count() >= u64::from(count));
            if enough || (selection.id.is_some() && given.count() > 0) {
                break;
            }
            let delivery = match get(&from, queue).await {
                Ok(Some(delivery)) => delivery,
                Ok(None) => break,
                Err(Got::Locked) => {
                    let why = "it has a single active consumer, so it is no queue to return messages from";
                    return Err(harm(queue, why));
                }
                Err(Got::Failed(error)) => {
                    given.failure = Some(error);
                    break;
                }
            };
            came_back = delivery.redelivered;
            if !is_meant(&delivery, &selection) {
                holds = true;
                continue;
            }
            let target = selection.to.map(str::to_owned);
            let target = target.or_else(|| origin(&delivery.properties));
            let Some(target) = target.filter(|target| target != queue) else {
                given.homeless += 1;
                holds = true;
                continue;
            };
            match hand_over(&to, &target, &delivery, queue).await {
                Ok(()) => {
                    given.nameless += u64::from(delivery.properties.message_id().is_none());
                    *given.to.entry(target).or_default() += 1;
                }
                Err(error) => {
                    given.failure = Some(error);
                    holds = true;
                    break;
                }
            }
        }
        take_rest(&from, queue, holds && came_back).await;
        leave(from).await;
        leave(to).await;
        self.settle(queue, counts).await;
        Ok(given)
    }
}

fn is_meant(delivery: &Delivery, selection: &Selection<'_>) -> bool {
    let id = delivery.properties.message_id().as_ref();
    selection
        .id
        .is_none_or(|wanted| id.is_some_and(|id| id.as_str() == wanted))
}

/// Puts the message into `target`, waits for the word that it is there, and takes it out of `queue`.
async fn hand_over(
    to: &Channel,
    target: &str,
    delivery: &Delivery,
    queue: &str,
) -> Result<(), AdapterError> {
    let doing = format!("returning to `{target}`");
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let properties = cleaned(&delivery.properties);
    let key = name(target)?;
    let publishing = async {
        let exchange = ShortString::default();
        let published = to.basic_publish(exchange, key, options, &delivery.data, properties);
        published.await?.await
    };
    let confirmed = within(&doing, publishing).await?;
    let refused = |code, why: &str| {
        let detail = format!("{doing}: {why}; the message is still in `{queue}`");
        Err(AdapterError::new(ErrorKind::Config, code, detail))
    };
    match confirmed.map_err(|error| failed(&doing, &error))? {
        Confirmation::Ack(None) => {}
        Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
            return refused(codes::RETURNED, "there is no such queue");
        }
        Confirmation::Nack(None) => return refused(codes::NOT_TAKEN, NOT_TAKEN),
        Confirmation::NotRequested => return refused(codes::UNCONFIRMED, "it was not confirmed"),
    }
    let tell = || tracing::warn!(queue, "held before the acknowledgement");
    failpoint::pass("hold-before-ack", tell).await;
    let acknowledging = delivery.ack(BasicAckOptions::default());
    let acknowledged = within(&doing, acknowledging).await?;
    match acknowledged {
        Ok(true) => Ok(()),
        Ok(false) => {
            let why = "it is there, but could not be taken out here";
            refused(codes::UNREACHABLE, why)
        }
        Err(error) => Err(failed(&doing, &error)),
    }
}
