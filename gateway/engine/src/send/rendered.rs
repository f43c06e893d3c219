//! Templates of a port: parsed when the configuration is applied, rendered when a message is published,
//! kept with the delivery, so that every attempt on every node uses the same names.

use std::collections::BTreeMap;

use quayside_adapter_api::Adapter;
use quayside_model::{DeliveryId, Failure, FailureClass, Message, Text, Transport};
use quayside_store::Claimed;
use serde::{Deserialize, Serialize};

use crate::{
    codes,
    plan::{SendPort, TransportPlan},
    shared::Shared,
    template::Template,
};

/// The parsed templates of both transports.
#[derive(Debug, Default)]
pub(crate) struct Templates {
    primary: BTreeMap<String, Template>,
    backup: BTreeMap<String, Template>,
}

/// What was rendered, as it is kept.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Rendered {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    primary: BTreeMap<String, Text>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    backup: BTreeMap<String, Text>,
}

impl Templates {
    /// Parses the templates of `plan`.
    ///
    /// # Errors
    /// The first template that is none, with its key.
    pub(crate) fn parse(
        plan: &SendPort,
        adapter: impl Fn(&str) -> Option<std::sync::Arc<dyn Adapter>>,
    ) -> Result<Self, String> {
        let of = |transport: &TransportPlan| {
            let Some(adapter) = adapter(&transport.adapter) else {
                return Ok(BTreeMap::new());
            };
            let mut parsed = BTreeMap::new();
            for (key, text) in adapter.templates(&transport.block) {
                let template = Template::parse(&text).map_err(|e| format!("{key}: {e}"))?;
                parsed.insert(key, template);
            }
            Ok::<_, String>(parsed)
        };
        Ok(Self {
            primary: of(&plan.primary)?,
            backup: plan
                .backup
                .as_ref()
                .map(of)
                .transpose()?
                .unwrap_or_default(),
        })
    }

    fn is_empty(&self) -> bool {
        self.primary.is_empty() && self.backup.is_empty()
    }

    /// Renders all templates for `delivery` of `message`. `None`: there are none.
    ///
    /// # Errors
    /// What is missing, for a person.
    pub(crate) fn render(
        &self,
        message: &Message,
        delivery: DeliveryId,
    ) -> Result<Option<Text>, String> {
        if self.is_empty() {
            return Ok(None);
        }
        let all = |templates: &BTreeMap<String, Template>| {
            let mut values = BTreeMap::new();
            for (key, template) in templates {
                let value = template
                    .render(message, delivery)
                    .map_err(|e| format!("{key}: {e}"))?;
                values.insert(key.clone(), value);
            }
            Ok::<_, String>(values)
        };
        let rendered = Rendered {
            primary: all(&self.primary)?,
            backup: all(&self.backup)?,
        };
        let json = serde_json::to_string(&rendered).map_err(|e| e.to_string())?;
        Text::new(json).map(Some).map_err(|e| e.to_string())
    }
}

/// What was kept with the delivery. One whose templates failed as it came in, and that an operator has
/// resumed, has nothing: it gets what the templates in force make of it.
///
/// # Errors
/// Why it cannot be sent: the templates still fail; or it may have been sent under names that nobody knows
/// any more, and other names would be another document.
pub(crate) fn kept_or_new(shared: &Shared, claimed: &Claimed) -> Result<Option<Text>, Failure> {
    if claimed.rendered.is_some() {
        return Ok(claimed.rendered.clone());
    }
    let routes = shared.routes();
    let subscriber = routes.subscribers.get(&claimed.port);
    let Some(subscriber) = subscriber.filter(|subscriber| !subscriber.templates.is_empty()) else {
        return Ok(None);
    };
    if claimed.in_doubt {
        let detail = "it may have been sent before, under names that were not kept";
        return Err(Failure::new(codes::IN_DOUBT, FailureClass::Retry, detail));
    }
    let rendered = subscriber.templates.render(&claimed.message, claimed.id());
    rendered.map_err(|detail| Failure::new(codes::TEMPLATE, FailureClass::GiveUp, &detail))
}

/// The values for `transport` in what was kept.
pub(crate) fn read(kept: Option<&Text>, transport: Transport) -> BTreeMap<String, Text> {
    let rendered: Rendered = kept
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    match transport {
        Transport::Primary => rendered.primary,
        Transport::Backup => rendered.backup,
    }
}
