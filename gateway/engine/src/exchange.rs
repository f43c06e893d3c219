//! Requests of this process that wait for their answers.
//!
//! The answer is a row of the store, written by the sending side with the end of its delivery. The
//! waiting side polls all its open exchanges with one query; an answer given in the same process wakes
//! its waiter at once (`reference/store.md` 11).

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use quayside_adapter_api::Answer;
use quayside_model::ExchangeId;
use quayside_store::AnyStore;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::committer::chain;

/// How often the store is asked while a request waits.
const POLL: Duration = Duration::from_millis(20);
/// How many exchanges one query asks for.
const MAX_ASKED: usize = 1000;

#[derive(Debug, Default)]
struct Waiting {
    open: HashMap<ExchangeId, Vec<oneshot::Sender<Answer>>>,
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
    /// Waits for the answer to `exchange`, at most `within`, and no longer than somebody asks for it.
    pub(crate) async fn wait(&self, exchange: ExchangeId, within: Duration) -> Option<Answer> {
        let (waiter, answer) = oneshot::channel();
        {
            let mut waiting = self.lock();
            if waiting.is_over {
                return None;
            }
            waiting.open.entry(exchange).or_default().push(waiter);
        }
        self.opened.notify_one();
        let answer = tokio::time::timeout(within, answer).await;
        let mut waiting = self.lock();
        if let Some(waiters) = waiting.open.get_mut(&exchange) {
            waiters.retain(|waiter| !waiter.is_closed());
            if waiters.is_empty() {
                waiting.open.remove(&exchange);
            }
        }
        answer.ok()?.ok()
    }

    /// Gives an answer to whoever waits for it here.
    pub(crate) fn answered(&self, exchange: ExchangeId, answer: &Answer) {
        for waiter in self.lock().open.remove(&exchange).into_iter().flatten() {
            // A closed channel is a requester that went away.
            drop(waiter.send(answer.clone()));
        }
    }

    fn open(&self) -> Vec<ExchangeId> {
        self.lock().open.keys().copied().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls the store while a request waits, until `cut`. Nobody waits for an answer here after that.
    pub(crate) async fn poll(&self, store: &AnyStore, cut: &CancellationToken) {
        self.poll_until(store, cut).await;
        let mut waiting = self.lock();
        waiting.is_over = true;
        waiting.open.clear();
    }

    async fn poll_until(&self, store: &AnyStore, cut: &CancellationToken) {
        loop {
            let open = self.open();
            if open.is_empty() {
                tokio::select! {
                    () = self.opened.notified() => continue,
                    () = cut.cancelled() => return,
                }
            }
            for asked in open.chunks(MAX_ASKED) {
                self.ask(store, asked).await;
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = cut.cancelled() => return,
            }
        }
    }

    async fn ask(&self, store: &AnyStore, asked: &[ExchangeId]) {
        match store.answers(asked).await {
            Ok(answers) => {
                for arrived in answers {
                    let answer = Answer {
                        status: arrived.status,
                        content_type: arrived.content_type,
                        body: arrived.body,
                    };
                    self.answered(arrived.exchange, &answer);
                }
            }
            Err(error) => warn!(code = %error.kind.code(), error = %chain(&error),
                "asking for answers failed"),
        }
    }
}
