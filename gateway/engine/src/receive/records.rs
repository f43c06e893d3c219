//! One record of a batch: a message of its own, or why it is none.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use quayside_adapter_api::Body;
use quayside_model::{
    BodyId, Code, Context, DedupeKey, Failure, FailureClass, Message, MessageId, Name, Text, Value,
};
use quayside_pipeline::{Invalid, split::Record};
use tokio::time::Instant;
use tracing::warn;

use super::{
    body,
    mapped::{self, Forms, Unmapped},
    patience::Patience,
    ready::{Intake, nobody},
    refusal::{Refused, broken_body, unavailable},
    validate::Fault,
};
use crate::{
    codes,
    publish::{Extras, Prepared, prepare},
};

/// The property of a record that names the batch.
const ID: &str = "interchange.id";

/// Its place among all records of the batch, from 1.
pub(super) const NUMBER: &str = "interchange.no";

/// Whether it is the last one.
const LAST: &str = "interchange.last";

/// How many there are.
const RECORDS: &str = "interchange.records";

/// The line on which it begins.
const LINE: &str = "interchange.line";

/// What the records of a batch have in common.
pub(super) struct Of<'a> {
    /// The batch.
    pub(super) id: MessageId,
    /// What its adapter says of it.
    pub(super) context: &'a Context,
    /// The media type of the records.
    pub(super) media_type: &'static str,
    /// How many there are.
    pub(super) records: u64,
}

/// A record that was looked at.
pub(super) struct Recorded {
    /// It, in the form in which it came.
    pub(super) came: Arc<Message>,
    /// The body that is kept, if it is in chunks: of what is committed, or of what goes nowhere.
    pub(super) stored_body: Option<BodyId>,
    /// How long that body is.
    pub(super) bytes: u64,
    /// What of it has to be committed, or why it goes nowhere.
    pub(super) routed: Result<Prepared, Stray>,
}

/// Why a record, or the batch, goes nowhere.
pub(super) struct Stray {
    pub(super) code: Code,
    pub(super) class: FailureClass,
    pub(super) detail: String,
    /// Whether its sender is to be told, where one waits, instead of an operator.
    pub(super) is_refused: bool,
    /// Whether it is a document, which may go on when something else has been repaired.
    pub(super) is_document: bool,
}

impl Stray {
    /// What the content is to blame for.
    pub(super) fn of(invalid: &Invalid) -> Self {
        Self {
            code: invalid.code,
            class: FailureClass::GiveUp,
            detail: invalid.detail.clone(),
            is_refused: true,
            is_document: false,
        }
    }

    /// What an operator is told.
    pub(super) fn failure(&self) -> Failure {
        Failure::new(self.code, self.class, &self.detail)
    }
}

impl Intake<'_> {
    /// Makes a message of `record` and routes it.
    ///
    /// # Errors
    /// The store cannot take it now.
    pub(super) async fn record(
        &self,
        record: Record,
        of: &Of<'_>,
        dedupe: Option<DedupeKey>,
        patience: &mut Patience,
        until: Instant,
    ) -> Result<Recorded, Refused> {
        let (number, line) = (record.number, record.line);
        let mut context = record_context(&record, of);
        let (text, faulty) = match record.document {
            Ok(document) => (Bytes::from(document), None),
            Err(invalid) => (Bytes::from(record.raw), Some(invalid)),
        };
        let is_document = faulty.is_none();
        let media_type = is_document.then(|| Text::lossy(of.media_type));
        let mut read = if is_document {
            let (port, body) = (self.port, one_piece(text));
            let media_type = Some(of.media_type);
            let read = body::read(self.shared, port, media_type, body, patience, true, None);
            read.await
        } else {
            patience
                .lend(body::take_whole(self.shared, one_piece(text)))
                .await
        }
        .map_err(broken_body)?;
        if let Some(invalid) = faulty {
            read.scanned = Err(invalid);
        }
        let judged = patience.lend(self.judge(&read, &mut context)).await;
        let came = Arc::new(self.message(context, media_type, &read));
        let fault = match judged {
            Ok(()) => None,
            // A faulty line names its place already.
            Err(Fault::Content(invalid)) if !is_document => Some((invalid, true)),
            Err(Fault::Content(invalid)) => Some((at(invalid, number, line), true)),
            Err(Fault::Invalid(invalid)) => Some((at(invalid, number, line), self.refuses())),
            Err(Fault::Store(why)) => {
                warn!(location = %self.location.name, why, "a record could not be validated");
                let told = unavailable("the store did not give the body");
                return Err(Refused {
                    leftover: mapped::stored(&came).into_iter().collect(),
                    ..told.into()
                });
            }
        };
        let (forms, fault) = match fault {
            Some(fault) => (Forms::as_it_came(came), Some(fault)),
            None => self.mapped_record(came, (number, line), patience).await?,
        };
        let routed = match fault {
            Some((invalid, is_refused)) => Err(Stray {
                is_refused,
                is_document,
                ..Stray::of(&invalid)
            }),
            None => {
                let extras = Extras {
                    priority: self.port.priority,
                    dedupe,
                    ..Extras::default()
                };
                let routes = self.shared.routes();
                let goes = Arc::clone(forms.goes());
                let routed = prepare(self.shared, &routes, goes, extras, until);
                routed.await.ok_or_else(|| Stray {
                    code: codes::NO_SUBSCRIBER,
                    class: FailureClass::Stop,
                    detail: format!("record {number}, line {line}: {}", nobody(forms.goes())),
                    is_refused: self.rejects_unrouted(),
                    is_document,
                })
            }
        };
        // What goes nowhere stays as it came, so that the map, perhaps another one then, is applied to it again.
        let kept = match &routed {
            Ok(_) => forms.goes(),
            Err(_) => &forms.came,
        };
        let (stored_body, bytes) = (mapped::stored(kept), kept.body().content.len());
        forms.keep(self.shared, stored_body).await;
        Ok(Recorded {
            came: forms.came,
            stored_body,
            bytes,
            routed,
        })
    }

    /// What the maps of the port make of a record, or the fault that they find, which its sender may be told.
    async fn mapped_record(
        &self,
        came: Arc<Message>,
        (number, line): (u64, u64),
        patience: &mut Patience,
    ) -> Result<(Forms, Option<(Invalid, bool)>), Refused> {
        let mapped = mapped::map(self.shared, self.port, &came);
        match patience.lend(mapped).await {
            Ok(mapped) => Ok((Forms { came, mapped }, None)),
            Err(Unmapped::Fault(invalid)) => {
                let fault = (at(invalid, number, line), true);
                Ok((Forms::as_it_came(came), Some(fault)))
            }
            Err(Unmapped::NotNow(rejected)) => Err(Refused {
                leftover: mapped::stored(&came).into_iter().collect(),
                ..(*rejected).into()
            }),
        }
    }
}

fn at(invalid: Invalid, number: u64, line: u64) -> Invalid {
    Invalid {
        detail: format!("record {number}, line {line}: {}", invalid.detail),
        ..invalid
    }
}

fn one_piece(bytes: Bytes) -> Body {
    Box::pin(stream::once(async move { Ok(bytes) }))
}

/// Notes in the context of a batch how many records it has.
pub(super) fn note_records(context: &mut Context, records: u64) {
    if let Ok(name) = Name::new(RECORDS) {
        context.write(name, integer(records));
    }
}

fn record_context(record: &Record, of: &Of<'_>) -> Context {
    let mut context = of.context.clone();
    note_records(&mut context, of.records);
    for (name, value) in record.properties.iter() {
        context.promote(name.clone(), value.clone());
    }
    context.promote_text(ID, &of.id.to_string());
    let promoted = [
        (NUMBER, integer(record.number)),
        (LAST, Value::Boolean(record.number == of.records)),
    ];
    for (name, value) in promoted {
        if let Ok(name) = Name::new(name) {
            context.promote(name, value);
        }
    }
    if let Ok(name) = Name::new(LINE) {
        context.write(name, integer(record.line));
    }
    context
}

fn integer(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

/// How many records the context of a batch says it has.
pub(super) fn count(context: &Context) -> u64 {
    match context.value(RECORDS) {
        Some(Value::Integer(records)) => u64::try_from(*records).unwrap_or(0),
        _ => 0,
    }
}
