//! The records of a batch that is stored, one message each.
//!
//! Each record has a key made of the id of the batch and its number. Whoever splits the batch again, after a crash
//! in the middle, meets what is stored already and goes on behind it. Only when all records are stored does the
//! delivery of the batch end.

use std::{sync::Arc, time::Duration};

use quayside_adapter_api::Reply;
use quayside_model::{
    BodyId, Claim, DedupeKey, EndResult, Failure, FailureClass, Message, Text, Transport,
    failpoint, hash16,
};
use quayside_pipeline::split::Split;
use quayside_store::{Change, Claimed, GroupOutcome, Outcome, PublishOutcome};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{
    body,
    patience::Patience,
    pieces::{Broken, Pieces, Records},
    ready::Intake,
    records::{Of, Recorded},
};
use crate::{
    codes,
    plan::{Location, ReceivePort},
    publish::{Extras, Prepared, commit_together},
    receive::intake::RESUMED_WINDOW,
    shared::{Routes, Shared},
};

/// How many records go into one commit, and about how many bytes.
const RECORDS: usize = 256;
const BYTES: u64 = 1024 * 1024;

/// When a batch is looked at again whose records could not be made for a reason that is not theirs.
const WAIT: Duration = Duration::from_secs(2);

/// A batch that is stored, and whose records this process makes.
pub(crate) struct Batch {
    pub(crate) message: Arc<Message>,
    pub(crate) claim: Claim,
    /// How often that was tried before.
    pub(crate) attempts: u32,
}

/// Why the records are not all there.
enum Stop {
    /// In a while: what is missing here may take long to come back, such as the program that makes a map.
    Wait(Failure),
    /// Another time, or somebody else.
    Later,
    /// An operator has to look at it.
    Failed(Failure),
}

/// Splits a batch whose splitter has died, or that an operator has resumed.
pub(crate) async fn take(shared: &Arc<Shared>, routes: &Routes, claimed: Claimed) {
    let port = routes.receive.get(&claimed.port).map(Arc::clone);
    let batch = Batch {
        message: Arc::clone(&claimed.message),
        claim: claimed.claim,
        attempts: claimed.attempts,
    };
    let location = port.as_ref().and_then(|port| {
        let mut locations = port.locations.iter();
        locations.find(|location| location.name == claimed.port)
    });
    match (&port, location) {
        (Some(port), Some(location)) => run(shared, port, location, batch).await,
        _ => settle(shared, batch.claim, Change::Release).await,
    }
}

/// Makes the records of `batch` and ends its delivery.
pub(crate) async fn run(shared: &Shared, port: &ReceivePort, location: &Location, batch: Batch) {
    let work = Work {
        intake: Intake {
            shared,
            port,
            location,
            reply: Reply::Nothing,
            resumable: true,
        },
        batch: &batch,
    };
    let change = match work.all().await {
        Ok((records, faulty)) => {
            info!(message.id = %batch.message.id, location = %location.name, records, faulty, "batch split");
            Change::End {
                result: EndResult::Consumed,
                attempts: 1,
                detail: Text::lossy(&format!(
                    "split into {records} records, {faulty} of them faulty"
                )),
                answer: None,
            }
        }
        Err(Stop::Wait(failure)) => Change::Retry {
            wait: WAIT,
            transport: Transport::Primary,
            attempts: batch.attempts.saturating_add(1),
            failure,
            in_doubt: false,
        },
        Err(Stop::Later) => Change::Release,
        Err(Stop::Failed(failure)) => {
            warn!(code = %failure.code, message.id = %batch.message.id, location = %location.name,
                detail = %failure.detail, "a batch cannot be split");
            Change::Suspend {
                attempts: 0,
                failure,
                hold_key: false,
                in_doubt: false,
            }
        }
    };
    settle(shared, batch.claim, change).await;
}

async fn settle(shared: &Shared, claim: Claim, change: Change) {
    shared.committer.settle(claim, change).await;
    shared.held.remove(claim);
}

struct Work<'a> {
    intake: Intake<'a>,
    batch: &'a Batch,
}

/// Records for one commit.
#[derive(Default)]
struct Pile {
    prepared: Vec<Prepared>,
    bodies: Vec<Option<BodyId>>,
    bytes: u64,
}

impl Work<'_> {
    /// Stores all records. Gives how many there are, and how many of them could not go on.
    async fn all(&self) -> Result<(u64, u64), Stop> {
        let Some(split) = self.intake.port.pipeline.split.as_deref() else {
            let detail = "the receive port does not split its messages any more";
            let failure = Failure::new(codes::NO_PORT, FailureClass::GiveUp, detail);
            return Err(Stop::Failed(failure));
        };
        let mut pile = Pile::default();
        let made = self.in_piles(split, &mut pile).await;
        if made.is_err() {
            // Nobody commits these any more.
            give_up(self.intake.shared, pile.bodies).await;
        }
        made
    }

    /// Stores the records of all piles; on an error `pile` is the one that is not stored.
    async fn in_piles(&self, split: &Split, pile: &mut Pile) -> Result<(u64, u64), Stop> {
        let mut faulty = 0;
        let (message, store) = (&self.batch.message, &self.intake.shared.store);
        let decode = self.intake.port.pipeline.decode.as_deref();
        let body = message.body();
        let of = (&body.content, body.content_type.as_deref());
        let pieces = Pieces::of(store, of, decode);
        let mut records = Records::of(pieces, split);
        let of = self.of(split);
        let mut number = 0;
        while let Some(record) = records.next().await.map_err(stopped)? {
            number = record.number;
            let made = self.record(record, &of).await?;
            faulty += u64::from(made.is_faulty);
            pile.bytes += made.bytes;
            pile.prepared.push(made.prepared);
            pile.bodies.push(made.stored_body);
            if pile.prepared.len() >= RECORDS || pile.bytes >= BYTES {
                self.commit(std::mem::take(pile)).await?;
            }
        }
        self.commit(std::mem::take(pile)).await?;
        Ok((number, faulty))
    }

    fn of(&self, split: &Split) -> Of<'_> {
        let message = &self.batch.message;
        Of {
            id: message.id,
            context: &message.context,
            media_type: split.media_type(),
            records: super::records::count(&message.context),
        }
    }

    /// Makes one record.
    async fn record(
        &self,
        record: quayside_pipeline::split::Record,
        of: &Of<'_>,
    ) -> Result<Made, Stop> {
        let shared = self.intake.shared;
        let key = key_of(self.batch, record.number);
        let mut patience = Patience::from(shared.options.clock.monotonic(), &shared.options.clock);
        // Who has no place for it now finds it in the store.
        let until = Instant::now();
        let made = self
            .intake
            .record(record, of, Some(key), &mut patience, until)
            .await;
        let Recorded {
            came,
            stored_body,
            bytes,
            routed,
        } = match made {
            Ok(made) => made,
            Err(refused) => {
                info!(code = %refused.rejected.code, message.id = %self.batch.message.id,
                    detail = %refused.rejected.detail, "splitting a batch has to wait");
                give_up(shared, refused.leftover).await;
                let (code, detail) = (refused.rejected.code, &refused.rejected.detail);
                let failure = Failure::new(code, FailureClass::Retry, detail);
                return Err(Stop::Wait(failure));
            }
        };
        let (is_faulty, prepared) = match routed {
            Ok(prepared) => (false, prepared),
            Err(stray) => {
                let intake = Intake {
                    resumable: stray.is_document,
                    ..self.intake
                };
                let extras = || Extras {
                    priority: intake.port.priority,
                    dedupe: Some(key),
                    ..Extras::default()
                };
                let (routes, failure) = (shared.routes(), stray.failure());
                let failed = intake.failed(&routes, &came, failure, &extras, until);
                (true, failed.await)
            }
        };
        Ok(Made {
            bytes,
            stored_body,
            prepared,
            is_faulty,
        })
    }

    /// Stores records, whatever of them is stored already.
    async fn commit(&self, pile: Pile) -> Result<(), Stop> {
        let shared = self.intake.shared;
        let Pile {
            prepared, bodies, ..
        } = pile;
        if prepared.is_empty() {
            return Ok(());
        }
        if shared.stopping.is_cancelled() || !shared.trust.may_act() {
            give_up(shared, bodies).await;
            return Err(Stop::Later);
        }
        let tell =
            || warn!(message.id = %self.batch.message.id, "held between the records of a batch");
        failpoint::pass("hold-in-batch", tell).await;
        let refused = |detail: &str| {
            let failure = Failure::new(codes::RECORD_REFUSED, FailureClass::GiveUp, detail);
            Stop::Failed(failure)
        };
        match commit_together(shared, prepared, Vec::new(), None).await {
            Some(GroupOutcome::Done(outcomes)) => {
                let repeats = outcomes.iter().zip(&bodies).filter(|(outcome, _)| {
                    !matches!(outcome, Outcome::Published(PublishOutcome::Stored { .. }))
                });
                let repeats: Vec<_> = repeats.map(|(_, body)| *body).collect();
                give_up(shared, repeats).await;
                Ok(())
            }
            Some(GroupOutcome::Undone { outcome, .. }) => {
                give_up(shared, bodies).await;
                match outcome {
                    Outcome::Published(PublishOutcome::Refused(why)) => Err(refused(&why)),
                    Outcome::Published(PublishOutcome::Mismatch(first)) => Err(refused(&format!(
                        "its key is that of message {}",
                        first.message
                    ))),
                    _ => Err(Stop::Later),
                }
            }
            None => {
                give_up(shared, bodies).await;
                Err(Stop::Later)
            }
        }
    }
}

struct Made {
    prepared: Prepared,
    stored_body: Option<BodyId>,
    bytes: u64,
    is_faulty: bool,
}

fn stopped(broken: Broken) -> Stop {
    match broken {
        // It was looked through when it came in: the configuration is another one now.
        Broken::Invalid(invalid) => {
            let failure = Failure::new(invalid.code, FailureClass::GiveUp, &invalid.detail);
            Stop::Failed(failure)
        }
        Broken::Source(error) => {
            warn!(code = %error.code, detail = error.detail, "a batch could not be read");
            Stop::Later
        }
    }
}

/// The key of a record. What it is a second time, perhaps by another configuration, does not matter: it is stored.
fn key_of(batch: &Batch, number: u64) -> DedupeKey {
    let id = batch.message.id.to_bytes();
    let hash = hash16(&[b"record", &id, &number.to_le_bytes()]);
    DedupeKey {
        hash,
        fingerprint: hash,
        window: RESUMED_WINDOW,
    }
}

async fn give_up(shared: &Shared, bodies: impl IntoIterator<Item = impl Into<Option<BodyId>>>) {
    for stored in bodies.into_iter().filter_map(Into::into) {
        body::abandon(shared, stored).await;
    }
}
