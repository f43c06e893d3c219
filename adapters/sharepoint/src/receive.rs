//! A receive location: looks into its library, takes documents, hands them out, answers for them.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_trait::async_trait;
use quayside_adapter_api::{
    Accepted, AdapterError, Delivery, Incoming, NaturalKey, Receive, RejectKind, Rejected, Reply,
    Settle, Source,
    condition::{Part, TroubleKind},
    model::{Monotonic, Text},
};
use tokio::task::{JoinError, JoinSet};

use crate::{
    body::body,
    codes, error,
    holder::{Holder, InHand, Taken},
    listing::{Found, Page, Pick, Scope, pick},
    mark::{Mark, key},
    names,
    settle::{finish, is_archived},
    sweep::sweep,
    take::{Take, give_back, take, too_large},
};

/// How often what was left behind is looked for when nothing points at it.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// How often it is looked for while this process knows of some.
const SWEEP_SOON: Duration = Duration::from_secs(1);

/// The longest pause after a refusal, and the one if the engine names none.
const MAX_PAUSE: Duration = Duration::from_secs(60);
const DEFAULT_PAUSE: Duration = Duration::from_millis(250);

/// The longest page of a view, above which farms refuse.
const MAX_ROWS: u32 = 5_000;

/// How many takes in a row may fail for a reason that passes before the location does.
const TOLERATED: u32 = 8;

/// The outcome of a take that goes on while nobody waits.
type Taking = JoinSet<Result<Take, AdapterError>>;

/// An open location.
pub(crate) struct SharePointReceive {
    holder: Arc<Holder>,
    ordered: bool,
    parallel: usize,
    /// Listed, not taken yet.
    found: VecDeque<Found>,
    /// Takes under way: dropping [`Receive::receive`] must lose nothing.
    taking: Taking,
    /// Taken, not handed out yet.
    ready: VecDeque<Taken>,
    /// Behind which number the next page of a folder begins.
    after: u64,
    /// Whether the last list was the last one of a walk: what it showed is worked off first.
    walked: bool,
    /// Whether something was taken since the walk began: then the next one begins at once.
    took: bool,
    /// When the next walk begins.
    look_at: Option<Monotonic>,
    swept_at: Option<Monotonic>,
    /// Whether the last sweep has left something that is due.
    more_left: bool,
    /// Of an ordered location: whether all behind a document that was not stored is being given back.
    going_back: bool,
    /// How many takes in a row failed.
    failures: u32,
    /// How many documents in a row the farm did not let this account have.
    refusals: u32,
    /// How many more rows than `batch` a view is asked for, as a power of two: all that it showed so far is not to be
    /// taken.
    wider: u32,
    part: Part,
}

impl SharePointReceive {
    pub(crate) fn new(holder: Holder, ordered: bool) -> Self {
        let parallel = if ordered { 1 } else { holder.settings.parallel };
        let part = holder.services.condition.part();
        Self {
            parallel: usize::try_from(parallel).unwrap_or(1).max(1),
            holder: Arc::new(holder),
            ordered,
            found: VecDeque::new(),
            taking: JoinSet::new(),
            ready: VecDeque::new(),
            after: 0,
            walked: false,
            took: false,
            look_at: None,
            swept_at: None,
            more_left: false,
            going_back: false,
            failures: 0,
            refusals: 0,
            wider: 0,
            part,
        }
    }

    /// Sweeps if it is time to.
    async fn sweep_if_due(&mut self) -> Result<(), AdapterError> {
        let now = self.holder.services.clock.monotonic();
        let due = self
            .swept_at
            .is_none_or(|last| now.since(last) >= self.sweep_every());
        if due {
            self.more_left = sweep(&self.holder).await?;
            self.swept_at = Some(now);
        }
        Ok(())
    }

    /// How long what is left behind waits for the next sweep.
    fn sweep_every(&self) -> Duration {
        if self.more_left || !self.holder.lost().is_empty() {
            SWEEP_SOON
        } else {
            SWEEP_EVERY
        }
    }

    /// Begins as many takes as may go on at once.
    fn begin(&mut self) {
        while self.taking.len() < self.parallel {
            let Some(found) = self.found.pop_front() else {
                return;
            };
            self.taking.spawn(take(self.holder.clone(), found));
        }
    }

    /// Waits for one of the takes under way.
    async fn taken(&mut self) -> Result<(), AdapterError> {
        let Some(joined) = self.taking.join_next().await else {
            return Ok(());
        };
        match settled(joined) {
            Ok(Take::Taken(taken)) => {
                (self.failures, self.refusals) = (0, 0);
                self.took = true;
                self.ready.push_back(taken);
                Ok(())
            }
            Ok(Take::Left) => {
                self.failures = 0;
                Ok(())
            }
            // One document is not the location; many of them without one that can be taken are.
            Ok(Take::Refused(error)) => {
                self.refusals += 1;
                if self.refusals > TOLERATED {
                    Err(error)
                } else {
                    Ok(())
                }
            }
            // One answer that is lost is no failure of the location: the sweep looks after the document.
            Err(error) if passes(&error) && self.failures < TOLERATED => {
                self.failures += 1;
                tracing::debug!(location = %self.holder.location, code = %error.code,
                    detail = %error.detail, "a document could not be taken; it is tried again");
                self.took = true;
                if self.ordered {
                    self.holder.begin_anew();
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Of an ordered location: waits until the document that is out is answered, and if it is not stored, gives back
    /// all that is behind it.
    async fn keep_order(&mut self) {
        self.holder.answered().await;
        // Kept until all is given back: whoever waits for a document may stop waiting at any time.
        self.going_back |= self.holder.begins_anew();
        if !self.going_back {
            return;
        }
        self.found.clear();
        (self.after, self.walked) = (0, false);
        while let Some(joined) = self.taking.join_next().await {
            if let Ok(Take::Taken(taken)) = settled(joined) {
                self.ready.push_back(taken);
            }
        }
        while let Some(taken) = self.ready.pop_back() {
            give_back(taken).await;
        }
        self.going_back = false;
    }

    /// How long the library is left alone, because there was nothing to take in it.
    fn idle(&mut self) -> Duration {
        let now = self.holder.services.clock.monotonic();
        if std::mem::take(&mut self.walked) && !std::mem::take(&mut self.took) {
            self.look_at = Some(now.plus(self.holder.settings.poll.duration()));
        }
        self.look_at.map_or(Duration::ZERO, |at| at.since(now))
    }

    /// Lists the next documents.
    async fn look(&mut self) -> Result<(), AdapterError> {
        let rows = self.holder.settings.batch;
        let rows = rows.saturating_mul(1 << self.wider).min(MAX_ROWS).max(rows);
        let page = self.holder.library.list(rows, self.after).await?;
        let more = u64::try_from(page.rows).unwrap_or(u64::MAX) >= u64::from(rows);
        let walks = matches!(self.holder.library.scope, Scope::Folder(_));
        self.after = if more && walks {
            page.last.unwrap_or(0)
        } else {
            0
        };
        self.walked = self.after == 0;
        self.choose(page);
        // A view cannot be walked by number. If a page of it is full of what is not to be taken, a longer one shows more.
        if more && !walks && self.found.is_empty() && rows < MAX_ROWS {
            self.wider += 1;
            self.walked = false;
        } else if !self.found.is_empty() {
            self.wider = 0;
        }
        Ok(())
    }

    fn choose(&mut self, page: Page) {
        let holder = &self.holder;
        let max = holder.settings.max_size.map(|max| max.bytes());
        let stub_age = holder.settings.stub_age.duration();
        let now = holder.services.clock.now();
        for found in page.found {
            let version = found.version.as_deref();
            let is_done = |version| holder.is_done_with(&key(&found.id, version));
            if version.is_some_and(is_done) || is_archived(holder, &found.path) {
                continue;
            }
            match pick(&found, holder.library.me, stub_age, max, now) {
                Pick::Take | Pick::Own => self.found.push_back(found),
                Pick::TooLarge => {
                    let version = found.version.as_deref().unwrap_or_default();
                    too_large(holder, &found.path, &key(&found.id, version));
                }
                Pick::Busy | Pick::Stub | Pick::Staged => {}
            }
        }
        if !self.ordered && !self.found.is_empty() {
            // Nodes that look at the same time would all reach for the first one.
            let mut random = [0];
            holder.services.entropy.fill(&mut random);
            let first = usize::from(random[0]) % self.found.len();
            self.found.rotate_left(first);
        }
    }

    /// Rests until the next look is worth it, or the host stops.
    async fn rest(&self, at_most: Duration) {
        let wait = at_most.max(self.holder.pause_left());
        let stopping = self.holder.services.stopping.clone();
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stopping.cancelled() => {}
        }
    }

    async fn step(&mut self) -> Result<Option<Delivery>, AdapterError> {
        if self.holder.is_closed() {
            return Err(error::closed());
        }
        if !self.holder.pause_left().is_zero() {
            self.rest(Duration::ZERO).await;
            return Ok(None);
        }
        if self.ordered {
            self.keep_order().await;
        }
        if let Some(taken) = self.ready.pop_front() {
            self.begin();
            return Ok(Some(delivery(taken, self.ordered)));
        }
        self.sweep_if_due().await?;
        self.begin();
        if !self.taking.is_empty() {
            self.taken().await?;
            return Ok(None);
        }
        let idle = self.idle();
        if idle.is_zero() {
            self.look().await?;
            self.part.well();
            return Ok(None);
        }
        // What is left behind is seen to in the meantime.
        self.rest(idle.min(self.sweep_every())).await;
        Ok(None)
    }
}

#[async_trait]
impl Receive for SharePointReceive {
    async fn receive(&mut self) -> Result<Delivery, AdapterError> {
        loop {
            match self.step().await {
                Ok(Some(delivery)) => return Ok(delivery),
                Ok(None) => {}
                // A farm that asks for peace works: that is no failure of the location.
                Err(error) if error.code == codes::THROTTLED => {
                    let now = self.holder.services.clock.now();
                    let detail = error.detail.as_str();
                    self.part
                        .ill(TroubleKind::BackPressure, error.code, detail, now);
                    self.rest(DEFAULT_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn close(&mut self) {
        self.holder.close();
        self.found.clear();
        while let Some(joined) = self.taking.join_next().await {
            match settled(joined) {
                Ok(Take::Taken(taken)) => self.ready.push_back(taken),
                Ok(_) => {}
                Err(error) => tracing::debug!(location = %self.holder.location, %error,
                    "a take under way failed"),
            }
        }
        for taken in self.ready.drain(..) {
            give_back(taken).await;
        }
    }
}

fn passes(error: &AdapterError) -> bool {
    [codes::OUTCOME_UNKNOWN, codes::FARM_BUSY, codes::CONFLICT].contains(&error.code)
}

/// The outcome of a take. A panic in it goes on here.
fn settled(joined: Result<Result<Take, AdapterError>, JoinError>) -> Result<Take, AdapterError> {
    match joined {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that shuts down cancels it.
            Err(_) => Ok(Take::Left),
        },
    }
}

/// Answers for one document.
#[derive(Debug)]
struct DocumentSettle {
    taken: Taken,
    /// Of an ordered location. Goes behind all else.
    in_hand: Option<InHand>,
}

#[async_trait]
impl Settle for DocumentSettle {
    async fn accept(self: Box<Self>, _: Accepted) -> Result<(), AdapterError> {
        let Taken { claim, document } = self.taken;
        let mut in_hand = self.in_hand;
        let holder = claim.holder.clone();
        let mark = Mark::of(&document);
        // On an error the sweep goes on by the mark, on whatever node.
        let finished = async {
            finish(&holder, &mark).await?;
            holder.services.sources.settled(&[mark.key()]).await
        };
        let ended = claim.end(finished.await).await;
        // It is stored, whatever became of the document.
        done(&mut in_hand);
        ended
    }

    async fn reject(self: Box<Self>, rejected: Rejected) {
        let taken = self.taken;
        let mut in_hand = self.in_hand;
        let holder = taken.claim.holder.clone();
        let for_good = matches!(
            rejected.kind,
            RejectKind::Invalid
                | RejectKind::Forbidden
                | RejectKind::TooLarge
                | RejectKind::KeyReused
        );
        if for_good {
            let version = Mark::of(&taken.document).key();
            holder.refuse(&version);
            done(&mut in_hand);
            tracing::error!(location = %holder.location, document = taken.document.path,
                code = %codes::DOCUMENT_REFUSED, reason.code = %rejected.code,
                reason = rejected.detail, "a document was refused for good");
        } else {
            let pause = rejected.retry_after.unwrap_or(DEFAULT_PAUSE);
            holder.pause(pause.min(MAX_PAUSE));
        }
        give_back(taken).await;
    }
}

/// The next document of an ordered location may follow.
fn done(in_hand: &mut Option<InHand>) {
    if let Some(in_hand) = in_hand {
        in_hand.done = true;
    }
}

fn delivery(taken: Taken, ordered: bool) -> Delivery {
    let in_hand = ordered.then(|| taken.claim.holder.hand_out());
    let holder = &taken.claim.holder;
    let (settings, document) = (&holder.settings, &taken.document);
    let mark = Mark::of(document);
    let declared = settings
        .content_type
        .as_deref()
        .or_else(|| names::content_type(&document.name));
    let site = &holder.library.client.site;
    let message = Incoming {
        context: document.context(site, &settings.library, &settings.promote),
        content_type: declared.map(Text::lossy),
        body: body(holder, document),
        key: Some(NaturalKey {
            scope: Text::lossy("sharepoint"),
            key: mark.key(),
            covers: None,
        }),
    };
    Delivery {
        arrived: holder.services.clock.monotonic(),
        message,
        others: Vec::new(),
        source: Some(Source {
            key: mark.key(),
            state: mark.text(),
        }),
        reply: Reply::Nothing,
        resumable: true,
        settle: Box::new(DocumentSettle { taken, in_hand }),
    }
}
