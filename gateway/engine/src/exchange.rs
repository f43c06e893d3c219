//! Requests of this process that wait for their answers.
//!
//! The answer is a row of the store, written by the sending side with the end of its delivery. The
//! waiting side polls all its open exchanges with one query; an answer given in the same process wakes
//! its waiter at once (`reference/store.md` 11).
//!
//! A request that nobody can answer any more, because the deliveries that could are suspended or have ended,
//! need not wait for its time to be over. That is seen by a look at its message now and then: on whichever
//! node the send port gave up, and for a repeat that comes later as well. It is no answer, so nothing is
//! stored: an operator who resumes the delivery brings the answer, and a repeat finds it.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use quayside_adapter_api::Answer;
use quayside_model::{DeliveryState, ExchangeId, MessageId, Text};
use quayside_store::{StoreError, browse::MessageWay};
use tokio::{sync::oneshot, time::Instant};
use tracing::warn;

use crate::{
    committer::chain,
    shared::{Routes, Shared},
};

/// How often the store is asked while a request waits.
const POLL: Duration = Duration::from_millis(20);
/// How many exchanges one query asks for.
const MAX_ASKED: usize = 1000;

/// When a message is looked at for the first time. Most answers are there before that.
const FIRST_LOOK: Duration = Duration::from_millis(40);
/// How long the pause between two looks at a message gets: it doubles up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How many messages are looked at between two polls.
const MAX_LOOKS: usize = 2;

/// What a request was told.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    /// The answer.
    Answer(Answer),
    /// Nobody answers.
    Nobody(NoAnswer),
}

/// Why nobody answers a request.
#[derive(Debug, Clone)]
pub(crate) struct NoAnswer {
    /// The code of the failure, where there is one.
    pub(crate) code: Option<Text>,
    /// Whether it is so for good: no operator can resume what would answer.
    pub(crate) is_over: bool,
}

/// A request that waits.
#[derive(Debug)]
struct Open {
    message: MessageId,
    waiters: Vec<oneshot::Sender<Told>>,
    /// When its message is looked at, and the pause after that.
    look: Instant,
    pause: Duration,
}

#[derive(Debug, Default)]
struct Waiting {
    open: HashMap<ExchangeId, Open>,
    /// Nobody asks for answers any more.
    is_over: bool,
}

/// The open exchanges of this process. Several requests may wait for one: repeats of the same key.
#[derive(Debug, Default)]
pub(crate) struct Exchanges {
    waiting: Mutex<Waiting>,
    opened: tokio::sync::Notify,
}

impl Exchanges {
    /// Waits for the answer to `exchange`, which `message` opened, at most `within`, and no longer than
    /// somebody asks for it or somebody may give it.
    pub(crate) async fn wait(
        &self,
        exchange: ExchangeId,
        message: MessageId,
        within: Duration,
    ) -> Option<Told> {
        let (waiter, told) = oneshot::channel();
        {
            let mut waiting = self.lock();
            if waiting.is_over {
                return None;
            }
            let new = || Open {
                message,
                waiters: Vec::new(),
                look: Instant::now() + FIRST_LOOK,
                pause: FIRST_LOOK,
            };
            let open = waiting.open.entry(exchange).or_insert_with(new);
            open.waiters.push(waiter);
        }
        self.opened.notify_one();
        let told = tokio::time::timeout(within, told).await;
        let mut waiting = self.lock();
        if let Some(open) = waiting.open.get_mut(&exchange) {
            open.waiters.retain(|waiter| !waiter.is_closed());
            if open.waiters.is_empty() {
                waiting.open.remove(&exchange);
            }
        }
        told.ok()?.ok()
    }

    /// Gives an answer to whoever waits for it here.
    pub(crate) fn answered(&self, exchange: ExchangeId, answer: &Answer) {
        self.tell(exchange, &Told::Answer(answer.clone()));
    }

    fn tell(&self, exchange: ExchangeId, told: &Told) {
        let open = self.lock().open.remove(&exchange);
        for waiter in open.into_iter().flat_map(|open| open.waiters) {
            // A closed channel is a requester that went away.
            drop(waiter.send(told.clone()));
        }
    }

    /// Whose messages are to be looked at now: those that have waited for it longest.
    fn due(&self, now: Instant) -> Vec<(ExchangeId, MessageId)> {
        let mut waiting = self.lock();
        let due = waiting.open.iter_mut().filter(|(_, open)| open.look <= now);
        let mut due: Vec<_> = due.collect();
        due.sort_unstable_by_key(|(_, open)| open.look);
        due.truncate(MAX_LOOKS);
        let look = |(exchange, open): (&ExchangeId, &mut Open)| {
            open.look = now + open.pause;
            open.pause = (open.pause * 2).min(LONGEST_PAUSE);
            (*exchange, open.message)
        };
        due.into_iter().map(look).collect()
    }

    fn open(&self) -> Vec<ExchangeId> {
        self.lock().open.keys().copied().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls the store while a request waits, until the cut. Nobody waits for an answer here after that.
    pub(crate) async fn poll(&self, shared: &Shared) {
        self.poll_until_cut(shared).await;
        let mut waiting = self.lock();
        waiting.is_over = true;
        waiting.open.clear();
    }

    async fn poll_until_cut(&self, shared: &Shared) {
        loop {
            let failed = self.look(shared).await;
            let open = self.open();
            if open.is_empty() {
                tokio::select! {
                    () = self.opened.notified() => continue,
                    () = shared.cut.cancelled() => return,
                }
            }
            let mut asked_all = true;
            for asked in open.chunks(MAX_ASKED) {
                asked_all &= self.ask(shared, asked).await;
            }
            // An answer comes with the end of its delivery: what had ended before the question and got none
            // by it gets none.
            for (exchange, why) in failed.into_iter().filter(|_| asked_all) {
                self.tell(exchange, &Told::Nobody(why));
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = shared.cut.cancelled() => return,
            }
        }
    }

    /// Looks at the messages that are due, and finds those that nobody can answer.
    async fn look(&self, shared: &Shared) -> Vec<(ExchangeId, NoAnswer)> {
        let mut failed = Vec::new();
        for (exchange, message) in self.due(Instant::now()) {
            let way = match shared.store.message(message).await {
                Ok(way) => way,
                Err(error) => {
                    note(&error);
                    continue;
                }
            };
            let hope = way
                .as_ref()
                .map_or(Hope::None, |way| hope(way, &shared.routes()));
            if hope != Hope::Pending {
                let why = NoAnswer {
                    code: way.as_ref().and_then(code),
                    is_over: hope == Hope::None,
                };
                failed.push((exchange, why));
            }
        }
        failed
    }

    /// Whether the store could be asked.
    async fn ask(&self, shared: &Shared, asked: &[ExchangeId]) -> bool {
        match shared.store.answers(asked).await {
            Ok(answers) => {
                for arrived in answers {
                    let answer = Answer {
                        status: arrived.status,
                        content_type: arrived.content_type,
                        body: arrived.body,
                    };
                    self.answered(arrived.exchange, &answer);
                }
                true
            }
            Err(error) => {
                note(&error);
                false
            }
        }
    }
}

fn note(error: &StoreError) {
    warn!(code = %error.kind.code(), error = %chain(error), "asking for answers failed");
}

/// What can still bring an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hope {
    /// Nothing.
    None,
    /// A delivery that is suspended, if an operator resumes it.
    Suspended,
    /// A delivery that is on its way.
    Pending,
}

/// The best that the live deliveries of a message may come to. That of a port that the configuration does not
/// have any more may bring the answer, and so may a message that was suspended on receipt.
fn hope(way: &MessageWay, routes: &Routes) -> Hope {
    let answering = way.live_deliveries.iter().filter(|delivery| {
        let subscriber = routes.subscribers.get(&delivery.port);
        subscriber.is_none_or(|subscriber| subscriber.plan.answers)
    });
    let hopes = answering.map(|delivery| match delivery.state {
        DeliveryState::Suspended => Hope::Suspended,
        _ => Hope::Pending,
    });
    hopes.max().unwrap_or(Hope::None)
}

/// The code of the failure that keeps the answer away: of what is suspended, else of what was recorded last.
fn code(way: &MessageWay) -> Option<Text> {
    let suspended = way.live_deliveries.iter();
    let mut suspended = suspended.filter_map(|delivery| delivery.failure.as_ref());
    if let Some(failure) = suspended.next() {
        return Some(failure.code.clone());
    }
    let failures = way.history.iter().rev();
    let mut codes = failures.filter_map(|event| event.detail.split_once(": "));
    let is_code = |text: &str| {
        let number = text.strip_prefix("QS").unwrap_or_default();
        number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit())
    };
    codes.find_map(|(code, _)| is_code(code).then(|| Text::lossy(code)))
}
