//! The messages of a trial and what maps have made, as the machine sees them.

use std::{collections::HashMap, sync::Arc};

use quayside_model::{Message, MessageId, Timestamp};
use quayside_orchestration::{Datum, Lookup, MapCall, Mapped, Want, World};

use super::{Bodies, bytes_of};
use crate::{
    mapping,
    plan::OrchestrationPlan,
    process::{document, hand},
};

/// The messages of a trial.
#[derive(Debug, Default)]
pub(super) struct Documents {
    messages: Bodies,
    made: HashMap<MessageId, Result<Arc<Message>, String>>,
}

impl Documents {
    pub(super) fn message(&self, id: MessageId) -> Option<&Arc<Message>> {
        match self.made.get(&id) {
            Some(Ok(made)) => Some(made),
            _ => self.messages.get(&id),
        }
    }

    pub(super) fn keep(&mut self, message: Arc<Message>) {
        self.messages.insert(message.id, message);
    }

    /// Applies a map and keeps what came of it.
    pub(super) fn apply(&mut self, plan: &OrchestrationPlan, call: &MapCall, now: Timestamp) {
        let made = self.mapped(plan, call, now);
        self.made.insert(call.id, made.map(Arc::new));
    }

    fn mapped(
        &self,
        plan: &OrchestrationPlan,
        call: &MapCall,
        now: Timestamp,
    ) -> Result<Message, String> {
        let map = plan.maps.get(&plan.full(&call.map));
        let map = map.ok_or_else(|| format!("there is no map `{}`", call.map))?;
        let from = call.from.iter().map(|id| {
            let message = self.message(*id);
            let message = message.ok_or_else(|| "a message is not there".to_owned())?;
            Ok((Arc::clone(message), body(message)?))
        });
        let from: Vec<_> = from.collect::<Result<_, String>>()?;
        let made =
            mapping::at_hand(map, &hand::work(&from, call)).map_err(|error| error.to_string())?;
        Ok(document::mapped(plan, call.id, now, made))
    }
}

/// The document, if it is not longer than one that an orchestration reads.
fn body(message: &Message) -> Result<bytes::Bytes, String> {
    let bytes = bytes_of(message);
    if bytes.len() > mapping::INPUT_MAX {
        let (len, most) = (bytes.len(), mapping::INPUT_MAX);
        return Err(format!(
            "the document has {len} bytes, and at most {most} are read"
        ));
    }
    Ok(bytes)
}

/// What an instance sees.
pub(super) struct Sight<'a> {
    pub(super) plan: &'a OrchestrationPlan,
    pub(super) documents: &'a Documents,
}

impl World for Sight<'_> {
    fn read(&self, id: MessageId, path: &Arc<str>, want: Want) -> Lookup<Datum> {
        let Some(message) = self.documents.message(id) else {
            return Lookup::Failed("the message is not there".to_owned());
        };
        let read = body(message).and_then(|body| {
            let paths = [(Arc::clone(path), want)];
            document::at(&self.plan.messages, message, &body, &paths).remove(0)
        });
        match read {
            Ok(datum) => Lookup::Ready(datum),
            Err(why) => Lookup::Failed(why),
        }
    }

    fn map(&self, call: &MapCall) -> Lookup<Mapped> {
        match self.documents.made.get(&call.id) {
            None => Lookup::Missing,
            Some(Err(why)) => Lookup::Failed(why.clone()),
            Some(Ok(message)) => {
                let promoted = message.context.iter().filter(|(_, p)| p.promoted);
                let properties = promoted.map(|(name, p)| (name.clone(), p.value.clone()));
                Lookup::Ready(Mapped {
                    properties: properties.collect(),
                })
            }
        }
    }
}
