//! A body that is a batch of records.
//!
//! It is read to its end and looked through before anything of it is stored, so that what is wrong with it as a
//! whole refuses it as a whole. Then either all records go into one commit, or the batch itself does, as a message
//! of which each record is made afterwards (`super::split`): so its sender has a receipt for all of it at once, and no
//! crash makes a record twice or loses one.

use std::{sync::Arc, time::Duration};

use quayside_adapter_api::{Incoming, RejectKind, Reply, Source};
use quayside_model::{
    BodyId, Context, DedupeKey, Failure, FailureClass, Message, MessageId, Text, hash16,
};
use quayside_pipeline::{
    Invalid,
    split::{Batch, Split},
};
use quayside_store::commit::NewSource;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tracing::warn;

use super::{
    body::{self, ReadBody},
    patience::Patience,
    pieces::{Broken, Pieces, Records},
    ready::{Intake, Member, Ready, stored_body},
    records::{Of, Stray, note_records},
    refusal::{Refused, broken_body, rejected, unavailable},
};
use crate::{
    codes,
    publish::{Extras, places_until, prepare_batch, prepare_for_nobody},
    shared::BATCHES_KIB,
};

/// How many records go into one commit.
const ALL_RECORDS: u64 = 10_000;

/// How many bytes of them, which are all in memory then.
const ALL_BYTES: u64 = 64 * 1024 * 1024;

/// How long a batch waits for room in memory where no sender waits.
const ROOM_WITHIN: Duration = Duration::from_secs(30);

/// How long the sender waits, and until when its messages wait for places.
pub(super) type Wait<'a> = (&'a mut Patience, &'a mut Option<Instant>);

/// A body that is a batch, not yet stored.
struct Whole {
    context: Context,
    content_type: Option<Text>,
    read: ReadBody,
    key: Option<(DedupeKey, bool)>,
    source: Option<NewSource>,
}

/// What was found in a batch.
#[derive(Default)]
struct Survey {
    records: u64,
    bytes: u64,
    /// The first record that is none.
    faulty: Option<Invalid>,
}

/// Why a batch goes nowhere.
enum Fault {
    /// The content is to blame.
    Whole(Stray),
    /// The store cannot take it now.
    Later(Refused),
}

impl Intake<'_> {
    /// Takes in a body that is a batch: adds to `all` what has to be committed for it.
    pub(super) async fn batch(
        &self,
        split: &Split,
        incoming: Incoming,
        source: Option<Source>,
        (patience, until): Wait<'_>,
        all: &mut Vec<Ready>,
    ) -> Result<(), Refused> {
        let whole = self.whole(incoming, source, patience).await?;
        let leftover = stored_body(&whole.read);
        let first = all.len();
        let taken = self.take_batch(split, &whole, (patience, until), all);
        let fault = match taken.await {
            Ok(()) => {
                if split.batch() == Batch::All {
                    self.give_up(leftover).await;
                }
                return Ok(());
            }
            Err(fault) => fault,
        };
        // What was prepared before the fault was found.
        let undone: Vec<Ready> = all.drain(first..).collect();
        for ready in undone {
            self.give_up(ready.stored_body).await;
        }
        match fault {
            Fault::Later(mut refused) => {
                refused.leftover.extend(leftover);
                Err(refused)
            }
            Fault::Whole(stray) if stray.is_refused && self.reply != Reply::Nothing => {
                let told = rejected(RejectKind::Invalid, stray.code, stray.detail, None);
                Err(Refused {
                    leftover: leftover.into_iter().collect(),
                    ..told.into()
                })
            }
            Fault::Whole(stray) => {
                all.push(self.failed_batch(whole, stray.failure(), until).await);
                Ok(())
            }
        }
    }

    /// Takes in what a stranger sends, where the port takes messages of its parties alone: a sender who waits is told so
    /// before the body is read, and without one it is kept as it came.
    pub(super) async fn stranger(
        &self,
        unknown: &Invalid,
        incoming: Incoming,
        source: Option<Source>,
        (patience, until): Wait<'_>,
        all: &mut Vec<Ready>,
    ) -> Result<(), Refused> {
        if self.reply != Reply::Nothing {
            let detail = unknown.detail.clone();
            return Err(rejected(RejectKind::Forbidden, unknown.code, detail, None).into());
        }
        let whole = self.whole(incoming, source, patience).await?;
        let failure = Failure::new(unknown.code, FailureClass::GiveUp, &unknown.detail);
        all.push(self.failed_batch(whole, failure, until).await);
        Ok(())
    }

    async fn whole(
        &self,
        incoming: Incoming,
        source: Option<Source>,
        patience: &mut Patience,
    ) -> Result<Whole, Refused> {
        let Incoming {
            context,
            content_type,
            body,
            key,
        } = incoming;
        let read = patience.lend(body::take_whole(self.shared, body)).await;
        let read = read.map_err(broken_body)?;
        Ok(Whole {
            key: self.dedupe_key(&context, key, &read),
            source: source.map(|source| NewSource {
                location: self.location.name.clone(),
                key: source.key,
                state: source.state,
            }),
            context,
            content_type,
            read,
        })
    }

    /// Adds to `all` what has to be committed for `whole`.
    async fn take_batch(
        &self,
        split: &Split,
        whole: &Whole,
        (patience, until): Wait<'_>,
        all: &mut Vec<Ready>,
    ) -> Result<(), Fault> {
        let found = patience.lend(self.survey(split, whole)).await?;
        let is_all = split.batch() == Batch::All;
        if is_all && let Some(faulty) = found.faulty {
            return Err(Fault::of(&faulty));
        }
        let mut context = whole.context.clone();
        note_records(&mut context, found.records);
        if !is_all || found.records == 0 {
            let message = self.message(context, whole.content_type.clone(), &whole.read);
            all.push(self.one(whole, Arc::new(message), is_all));
            return Ok(());
        }
        if found.records > ALL_RECORDS || found.bytes > ALL_BYTES {
            return Err(Fault::too_large(found.records, found.bytes));
        }
        let room = self.room_for(found.bytes, patience).await?;
        self.records_of(split, whole, found.records, (patience, until), (all, room))
            .await
    }

    /// Room in memory for the records of a batch, as long as its sender waits.
    async fn room_for(
        &self,
        bytes: u64,
        patience: &mut Patience,
    ) -> Result<Option<OwnedSemaphorePermit>, Fault> {
        let wanted = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let wanted = wanted.min(BATCHES_KIB as u32).max(1);
        let room = Arc::clone(&self.shared.batches).acquire_many_owned(wanted);
        // A delivery of several batches waits with the room of some of them: two such must not wait for each other.
        let within = match self.reply {
            Reply::Nothing => ROOM_WITHIN,
            _ => patience.left(),
        };
        match tokio::time::timeout(within, room).await {
            Ok(room) => Ok(room.ok()),
            Err(_) => {
                let busy = unavailable("too many batches are on their way into the store");
                Err(Fault::Later(busy.into()))
            }
        }
    }

    /// Looks the batch through to its end.
    async fn survey(&self, split: &Split, whole: &Whole) -> Result<Survey, Fault> {
        let mut found = Survey::default();
        let mut records = self.open(split, whole);
        while let Some(record) = records.next().await.map_err(|broken| self.broken(broken))? {
            found.records += 1;
            match record.document {
                Ok(document) => found.bytes += document.len() as u64,
                Err(invalid) => {
                    found.faulty.get_or_insert(invalid);
                }
            }
        }
        Ok(found)
    }

    fn open<'s>(&self, split: &'s Split, whole: &Whole) -> Records<'s> {
        let decode = self.port.pipeline.decode.as_deref();
        let of = (&whole.read.content, whole.content_type.as_deref());
        Records::of(Pieces::of(&self.shared.store, of, decode), split)
    }

    fn broken(&self, broken: Broken) -> Fault {
        match broken {
            Broken::Invalid(invalid) => Fault::of(&invalid),
            Broken::Source(error) => {
                warn!(code = %error.code, location = %self.location.name, detail = error.detail,
                    "a large body could not be read again");
                Fault::Later(unavailable("the store did not give the body").into())
            }
        }
    }

    /// The batch as one message: of which its records are made, or nothing at all if it has none.
    fn one(&self, whole: &Whole, message: Arc<Message>, is_all: bool) -> Ready {
        let routes = self.shared.routes();
        let extras = self.extras(whole);
        let prepared = if is_all {
            prepare_for_nobody(&routes, Arc::clone(&message), extras)
        } else {
            prepare_batch(&routes, Arc::clone(&message), &self.location.name, extras)
        };
        Ready {
            member: Member::new(message.id, whole.key.is_some_and(|(_, of_all)| of_all)),
            stored_body: stored_body(&whole.read),
            prepared,
            batch: (!is_all).then_some(message),
            room: None,
        }
    }

    /// Every record of the batch, for one commit.
    async fn records_of(
        &self,
        split: &Split,
        whole: &Whole,
        count: u64,
        (patience, until): Wait<'_>,
        (all, mut room): (&mut Vec<Ready>, Option<OwnedSemaphorePermit>),
    ) -> Result<(), Fault> {
        let options = &self.shared.options;
        let of = Of {
            id: MessageId::new(options.clock.now(), &*options.entropy),
            context: &whole.context,
            media_type: split.media_type(),
            records: count,
        };
        let until = *until.get_or_insert_with(places_until);
        let mut source = whole.source.clone();
        let mut bytes = 0;
        let mut records = self.open(split, whole);
        while let Some(record) = records.next().await.map_err(|broken| self.broken(broken))? {
            let dedupe = whole.key.map(|(key, _)| key_of_record(&key, record.number));
            let made = self.record(record, &of, dedupe, patience, until).await;
            let made = made.map_err(Fault::Later)?;
            bytes += made.bytes;
            // Maps may make more of it than has come.
            if bytes > ALL_BYTES {
                self.give_up(made.stored_body).await;
                return Err(Fault::too_large(count, bytes));
            }
            match made.routed {
                Ok(prepared) => all.push(Ready {
                    // What its key stands for is in no other batch.
                    member: Member::new(prepared.message(), true),
                    stored_body: made.stored_body,
                    prepared: prepared.with_source(source.take()),
                    batch: None,
                    room: room.take(),
                }),
                Err(stray) => {
                    self.give_up(made.stored_body).await;
                    return Err(Fault::Whole(stray));
                }
            }
        }
        Ok(())
    }

    /// The batch as it came, as a message that cannot go on.
    async fn failed_batch(
        &self,
        whole: Whole,
        failure: Failure,
        until: &mut Option<Instant>,
    ) -> Ready {
        let until = *until.get_or_insert_with(places_until);
        let message = self.message(
            whole.context.clone(),
            whole.content_type.clone(),
            &whole.read,
        );
        let message = Arc::new(message);
        let extras = || self.extras(&whole);
        let routes = self.shared.routes();
        let prepared = self
            .failed(&routes, &message, failure, &extras, until)
            .await;
        Ready {
            member: Member::new(
                prepared.message(),
                whole.key.is_some_and(|(_, of_all)| of_all),
            ),
            stored_body: stored_body(&whole.read),
            prepared,
            batch: None,
            room: None,
        }
    }

    fn extras(&self, whole: &Whole) -> Extras {
        Extras {
            priority: self.port.priority,
            dedupe: whole.key.map(|(key, _)| key),
            source: whole.source.clone(),
            ..Extras::default()
        }
    }

    async fn give_up(&self, stored: Option<BodyId>) {
        if let Some(stored) = stored {
            body::abandon(self.shared, stored).await;
        }
    }
}

impl Fault {
    fn too_large(records: u64, bytes: u64) -> Self {
        let detail = format!(
            "the batch has {records} records with {bytes} bytes; {ALL_RECORDS} records with {ALL_BYTES} bytes are the most \
             that go into one commit"
        );
        Self::of(&Invalid {
            code: codes::BATCH_TOO_LARGE,
            detail,
            offset: 0,
        })
    }

    fn of(invalid: &Invalid) -> Self {
        Self::Whole(Stray::of(invalid))
    }
}

/// The key of a record of the batch that has the key `of`.
fn key_of_record(of: &DedupeKey, number: u64) -> DedupeKey {
    let number = number.to_le_bytes();
    DedupeKey {
        hash: hash16(&[b"record", &of.hash, &number]),
        fingerprint: hash16(&[b"record", &of.fingerprint, &number]),
        window: of.window,
    }
}
