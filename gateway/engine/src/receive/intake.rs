//! One delivery on its way into the store: read, promote, key, route, commit, settle.

use std::{pin::pin, sync::Arc, time::Duration};

use quayside_adapter_api::{
    Accepted, AdapterError, Delivery, Incoming, RejectKind, Reply, Settle, Source,
};
use quayside_model::{BodyId, ExchangeId, MessageId, Monotonic, Text};
use quayside_store::{GroupOutcome, Outcome, PublishOutcome};
use tracing::{info, warn};

use super::{
    body,
    ready::{Intake, Member, Ready},
    refusal::{Refused, key_repeated, key_reused, no_answer, not_answered, rejected, unavailable},
    split::{self, Batch},
};
use crate::{
    codes,
    counters::count,
    exchange::{NoAnswer, Told},
    mapping::{self, MapFault},
    plan::{DedupePlan, Location, ReceivePort},
    publish::commit_together,
    shared::Shared,
};

/// How long the key of a resumption is remembered: longer than any outage between its two commits.
pub(crate) const RESUMED_WINDOW: Duration = Duration::from_secs(30 * 86_400);

/// What arrived, apart from how to answer.
pub(crate) struct Arrival {
    pub(crate) arrived: Monotonic,
    pub(crate) message: Incoming,
    pub(crate) others: Vec<Incoming>,
    pub(crate) source: Option<Source>,
    pub(crate) reply: Reply,
    pub(crate) resumable: bool,
}

impl Arrival {
    /// One message that comes from within, now.
    pub(crate) fn alone(shared: &Shared, message: Incoming, reply: Reply) -> Self {
        Self {
            arrived: shared.options.clock.monotonic(),
            message,
            others: Vec::new(),
            source: None,
            reply,
            resumable: true,
        }
    }
}

/// Takes one delivery in and answers its sender. Returns whether the location worked: a refusal of what
/// was sent is no failure of the location.
pub(crate) async fn take(
    shared: Arc<Shared>,
    port: Arc<ReceivePort>,
    location: Arc<Location>,
    delivery: Delivery,
) -> Result<(), AdapterError> {
    let Delivery {
        arrived,
        message,
        others,
        source,
        reply,
        resumable,
        settle,
    } = delivery;
    let arrival = Arrival {
        arrived,
        message,
        others,
        source,
        reply,
        resumable,
    };
    let intake = Intake {
        shared: &shared,
        port: &port,
        location: &location,
        reply,
        resumable,
    };
    let (ready, patience) = match intake.prepare(arrival).await {
        Ok(prepared) => prepared,
        Err(refused) => return intake.refuse(settle, refused).await,
    };
    if !port.ordered {
        let mut stored = intake.store(ready, Some(patience.until())).await;
        let batches = batches(&mut stored);
        let told = intake.answer(settle, stored).await;
        intake.split(batches).await;
        return told;
    }
    // What comes behind it must not overtake it: the sender is told in time, but the location goes on only
    // when the store has said what became of it (`reference/store.md` 4).
    let mut storing = pin!(intake.store(ready, None));
    match tokio::time::timeout(patience.left(), &mut storing).await {
        Ok(mut stored) => {
            let batches = batches(&mut stored);
            let told = intake.answer(settle, stored).await;
            intake.split(batches).await;
            told
        }
        Err(_) => {
            let told = intake.refuse(settle, Refused::late()).await;
            match storing.await {
                Ok(stored) => {
                    info!(message.id = %stored.first.message, location = %location.name,
                        "stored after its sender was told to come back");
                    intake.split(stored.batches).await;
                }
                Err(refused) => give_up(&shared, &refused.leftover).await,
            }
            told
        }
    }
}

/// Takes one arrival into the store.
///
/// # Errors
/// Why its sender has to be refused; then nothing is known to be stored.
pub(crate) async fn accept(
    shared: &Shared,
    port: &ReceivePort,
    location: &Location,
    arrival: Arrival,
) -> Result<Accepted, Refused> {
    let intake = Intake {
        shared,
        port,
        location,
        reply: arrival.reply,
        resumable: arrival.resumable,
    };
    let accepted = async {
        let (ready, patience) = intake.prepare(arrival).await?;
        let mut stored = intake.store(ready, Some(patience.until())).await?;
        intake.split(std::mem::take(&mut stored.batches)).await;
        intake.accepted(stored).await
    };
    let accepted = accepted.await;
    if let Err(refused) = &accepted {
        give_up(shared, &refused.leftover).await;
    }
    accepted
}

/// [`accept`] for a message that was suspended on receipt: its key is that of the resumption alone,
/// because the key that it came with stands for the suspended message already.
///
/// # Errors
/// As [`accept`].
pub(crate) async fn accept_resumed(
    shared: &Shared,
    port: &ReceivePort,
    location: &Location,
    arrival: Arrival,
) -> Result<Accepted, Refused> {
    let dedupe = DedupePlan {
        keys: Vec::new(),
        window: RESUMED_WINDOW,
    };
    let port = ReceivePort {
        dedupe,
        ..port.clone()
    };
    accept(shared, &port, location, arrival).await
}

async fn give_up(shared: &Shared, bodies: &[BodyId]) {
    for body in bodies {
        body::abandon(shared, *body).await;
    }
}

/// A message that is in the store.
struct Stored {
    message: MessageId,
    replayed: bool,
    exchange: Option<ExchangeId>,
    /// Whether it is the first of what it came in.
    is_first: bool,
}

/// Everything of a delivery that is in the store.
struct AllStored {
    first: Stored,
    others: Vec<Stored>,
    /// What has to be split now.
    batches: Vec<Batch>,
}

fn batches(stored: &mut Result<AllStored, Refused>) -> Vec<Batch> {
    match stored {
        Ok(stored) => std::mem::take(&mut stored.batches),
        Err(_) => Vec::new(),
    }
}

/// A batch among what is to be stored, if this process may split it then.
fn batch_of(shared: &Shared, ready: &mut Ready) -> Option<Batch> {
    let claim = ready.prepared.kept_claim(shared)?;
    let message = ready.batch.take()?;
    Some(Batch {
        message,
        claim,
        attempts: 0,
    })
}

impl Intake<'_> {
    /// Commits everything by `deadline`, if there is one: all of it or nothing.
    async fn store(
        &self,
        mut all: Vec<Ready>,
        deadline: Option<Monotonic>,
    ) -> Result<AllStored, Refused> {
        let stored_bodies = bodies(&all);
        // Until the store has them.
        let _room: Vec<_> = all.iter_mut().filter_map(|one| one.room.take()).collect();
        let batches = all.iter_mut().filter_map(|one| batch_of(self.shared, one));
        let mut batches: Vec<Batch> = batches.collect();
        let stored = match all.pop() {
            Some(one) if all.is_empty() => self.store_one(one, deadline).await,
            last => {
                self.store_together(all.into_iter().chain(last), deadline)
                    .await
            }
        };
        match stored {
            Ok(mut stored) => {
                // A repeat of one that was stored before is somebody else's.
                let all = || stored.others.iter().chain([&stored.first]);
                let is_new = |batch: &Batch| {
                    all().any(|one| !one.replayed && one.message == batch.message.id)
                };
                batches.retain(is_new);
                stored.batches = batches;
                // A body of its own has only a message that is stored now, not one that was before.
                if stored
                    .others
                    .iter()
                    .chain([&stored.first])
                    .any(|one| one.replayed)
                {
                    give_up(self.shared, &stored_bodies).await;
                }
                Ok(stored)
            }
            Err(refused) => Err(Refused {
                leftover: stored_bodies,
                ..refused
            }),
        }
    }

    async fn store_one(
        &self,
        one: Ready,
        deadline: Option<Monotonic>,
    ) -> Result<AllStored, Refused> {
        let outcome = one.prepared.commit(self.shared, deadline).await;
        let outcome = outcome.ok_or_else(Refused::late)?;
        Ok(AllStored {
            first: self.stored(&one.member, outcome)?,
            others: Vec::new(),
            batches: Vec::new(),
        })
    }

    async fn store_together(
        &self,
        all: impl Iterator<Item = Ready>,
        deadline: Option<Monotonic>,
    ) -> Result<AllStored, Refused> {
        let (members, prepared): (Vec<_>, Vec<_>) = all
            .map(
                |Ready {
                     member, prepared, ..
                 }| (member, prepared),
            )
            .unzip();
        let outcome = commit_together(self.shared, prepared, Vec::new(), deadline).await;
        let outcomes = match outcome.ok_or_else(Refused::late)? {
            GroupOutcome::Done(outcomes) => outcomes,
            GroupOutcome::Undone { member, outcome } => {
                return Err(self.undone(&members, member, outcome));
            }
        };
        let mut stored = members
            .iter()
            .zip(outcomes)
            .map(|(member, outcome)| match outcome {
                Outcome::Published(outcome) => self.stored(member, outcome),
                // The members are publications: anything else tells nothing of them.
                _ => Err(Refused::late()),
            });
        Ok(AllStored {
            first: stored.next().unwrap_or_else(|| Err(Refused::late()))?,
            others: stored.collect::<Result<_, _>>()?,
            batches: Vec::new(),
        })
    }

    /// Why nothing of `members` is stored: the one of the number `no` met `outcome`.
    fn undone(&self, members: &[Member], no: usize, outcome: Outcome) -> Refused {
        let (guilty, Outcome::Published(outcome)) = (&members[no], outcome) else {
            return unavailable("the store answered something else").into();
        };
        let mut of_all = false;
        let refused = match outcome {
            // That one is not stored either, so its id would lead nowhere.
            PublishOutcome::Mismatch(first)
                if members.iter().any(|one| one.message == first.message) =>
            {
                key_repeated().into()
            }
            outcome => {
                of_all = guilty.of_all && matches!(outcome, PublishOutcome::Mismatch(_));
                let refused = self.stored(guilty, outcome).err();
                refused.unwrap_or_else(Refused::late)
            }
        };
        match guilty.index {
            // Where the key stands for all of them, none of them is to blame alone.
            Some(index) if !of_all => refused.of(index),
            _ => refused,
        }
    }

    /// What the store's word on one message means.
    fn stored(&self, member: &Member, outcome: PublishOutcome) -> Result<Stored, Refused> {
        match outcome {
            PublishOutcome::Stored { .. } => {
                count(&self.shared.counters.accepted);
                Ok(Stored {
                    message: member.message,
                    replayed: false,
                    exchange: member.exchange,
                    is_first: member.is_first,
                })
            }
            PublishOutcome::Duplicate(first) => {
                count(&self.shared.counters.duplicates);
                Ok(Stored {
                    message: first.message,
                    replayed: true,
                    exchange: first.exchange,
                    is_first: member.is_first,
                })
            }
            PublishOutcome::Mismatch(first) => Err(key_reused(&first).into()),
            PublishOutcome::Refused(detail) => {
                let detail = format!("the store refused the message: {detail}");
                let kind = RejectKind::Invalid;
                Err(rejected(kind, codes::REFUSED, detail, None).into())
            }
            PublishOutcome::Fenced => Err(unavailable("this instance is being replaced").into()),
        }
    }

    /// Makes the records of batches that are stored.
    async fn split(&self, batches: Vec<Batch>) {
        for batch in batches {
            split::run(self.shared, self.port, self.location, batch).await;
        }
    }

    /// Tells the sender that everything is stored, with its answer if it waits for one.
    async fn answer(
        &self,
        settle: Box<dyn Settle>,
        stored: Result<AllStored, Refused>,
    ) -> Result<(), AdapterError> {
        let accepted = match stored {
            Ok(stored) => self.accepted(stored).await,
            Err(refused) => Err(refused),
        };
        match accepted {
            Ok(accepted) => settle.accept(accepted).await,
            Err(refused) => self.refuse(settle, refused).await,
        }
    }

    async fn refuse(&self, settle: Box<dyn Settle>, refused: Refused) -> Result<(), AdapterError> {
        let Refused {
            rejected,
            known,
            leftover,
        } = refused;
        count(&self.shared.counters.rejected);
        info!(code = %rejected.code, location = %self.location.name, detail = %rejected.detail,
            kind = ?rejected.kind, "delivery refused");
        if known || self.reply != Reply::Nothing {
            settle.reject(*rejected).await;
        }
        // Otherwise the settle handle is dropped unanswered: the adapter keeps what it has taken under
        // the same key until the store says whether it has it. Put back, it would come again under
        // another key.
        give_up(self.shared, &leftover).await;
        Ok(())
    }

    async fn accepted(&self, stored: AllStored) -> Result<Accepted, Refused> {
        let AllStored { first, others, .. } = stored;
        let replayed = first.replayed && others.iter().all(|other| other.replayed);
        // Who sent several wants one id for each; the records of a batch are not what it sent.
        let others = others.into_iter().filter(|other| other.is_first);
        let mut accepted = Accepted {
            message: first.message,
            replayed,
            others: others.map(|other| other.message).collect(),
            answer: None,
        };
        let (Reply::Answer(within), Some(exchange)) = (self.reply, first.exchange) else {
            return Ok(accepted);
        };
        let exchanges = &self.shared.exchanges;
        match exchanges.wait(exchange, first.message, within).await {
            Some(Told::Answer(answer)) => {
                let maps = &self.port.answer_maps;
                let made = Box::pin(mapping::answer(self.shared, maps, answer)).await;
                let made = made.map_err(|fault| self.not_mapped(first.message, &fault))?;
                accepted.answer = Some(made);
                Ok(accepted)
            }
            Some(Told::Nobody(why)) => Err(not_answered(first.message, &why).into()),
            None => Err(no_answer(first.message, within).into()),
        }
    }

    /// The answer is there, and stays: once the map is right, the same key brings it.
    fn not_mapped(&self, message: MessageId, fault: &MapFault) -> Refused {
        warn!(code = %fault.code, message.id = %message, location = %self.location.name, detail = %fault.detail,
            "an answer could not be mapped");
        if fault.is_here {
            return unavailable("the answer could not be mapped now").into();
        }
        let why = NoAnswer {
            code: Some(Text::lossy(fault.code.code)),
            is_over: false,
        };
        not_answered(message, &why).into()
    }
}

fn bodies(all: &[Ready]) -> Vec<BodyId> {
    all.iter().filter_map(|ready| ready.stored_body).collect()
}
