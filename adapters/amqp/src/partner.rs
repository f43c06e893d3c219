//! The broker as a clustered host sees it: whether it answers from here, and what a former owner left there.

use async_trait::async_trait;
use quayside_adapter_api::{AdapterError, Block, Partner, Services, Span, model::Name};
use serde::Deserialize;
use tokio::time::timeout;

use crate::{
    config::{self, Broker, Urls},
    error,
    link::{ANSWER_WITHIN, Link, Live, Role},
    takeover::{Closer, Takeover},
};

/// How often it is asked before it counts as one that does not answer: the connection may have been lost since the last
/// time, which is no fault if another one can be had.
const TRIES: usize = 2;

/// What a location's block and a port's say of the broker.
#[derive(Debug, Deserialize)]
struct Reach {
    url: Urls,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    password: Option<quayside_adapter_api::SecretRef>,
    #[serde(default)]
    ca: Option<std::path::PathBuf>,
    #[serde(default)]
    takeover: Option<Takeover>,
    #[serde(default = "config::heartbeat")]
    heartbeat: Span,
    #[serde(default = "config::connect_timeout")]
    connect_timeout: Span,
}

/// The broker of a block, over a connection that stands as long as it can: nothing is consumed or published
/// over it, and the broker's log has a line when it begins, not for each time that it is asked.
#[derive(Debug)]
pub(crate) struct BrokerPartner {
    key: String,
    link: Link,
    closer: Option<Closer>,
    services: Services,
}

impl BrokerPartner {
    /// Of a block without faults.
    pub(crate) fn new(name: &Name, block: &Block, services: Services) -> Option<Self> {
        let reach: Reach = serde_json::from_value(block.clone()).ok()?;
        let key = format!("{reach:?}");
        let (user, password, ca) = (&reach.user, &reach.password, &reach.ca);
        let closer = reach.takeover.clone().map(|takeover| {
            let user = user.clone().unwrap_or_default();
            Closer::new(takeover, user, password.clone(), ca.clone())
        });
        let broker = Broker {
            uris: config::uris(&reach.url).ok()?,
            user: reach.user,
            password: reach.password,
            ca: reach.ca,
            heartbeat: config::seconds(reach.heartbeat),
            connect_timeout: reach.connect_timeout.duration(),
        };
        let (role, shown) = (Role::Consume, format!("probe {name}"));
        Some(Self {
            key,
            link: Link::new(broker, role, shown, services.clone()),
            closer,
            services,
        })
    }

    async fn ask(&self, live: &Live) -> Result<(), AdapterError> {
        match timeout(ANSWER_WITHIN, live.answers()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error::of_broker("asking whether it answers", &error)),
            Err(_) => Err(error::unreachable(format!(
                "the broker did not answer within {ANSWER_WITHIN:?}"
            ))),
        }
    }
}

#[async_trait]
impl Partner for BrokerPartner {
    fn key(&self) -> &str {
        &self.key
    }

    async fn probe(&self) -> Result<(), AdapterError> {
        let mut last = error::unreachable("it was not asked");
        for _ in 0..TRIES {
            let live = self.link.live().await?;
            match self.ask(&live).await {
                Ok(()) => {
                    if let Some(closer) = &self.closer {
                        // What is wrong with it is told when it is needed.
                        drop(closer.prepare().await);
                    }
                    return Ok(());
                }
                Err(error) => {
                    self.link.fail(&live, &error.detail);
                    last = error;
                }
            }
        }
        Err(last)
    }

    async fn evict(&self, former: &Name) -> Result<(), AdapterError> {
        let Some(closer) = &self.closer else {
            return Ok(());
        };
        let Services { node, secrets, .. } = &self.services;
        closer.close(former, node, &**secrets).await
    }
}
