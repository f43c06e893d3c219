//! What has to be done for messages that were taken and that the broker may not forget before.
//!
//! They are not handed out again: they are stored already, or must not be. What cannot be done now is done
//! later; what came over a connection that is lost comes again by itself.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quayside_adapter_api::{
    AdapterError, Services, TroubleKind,
    condition::Part,
    model::{Clock, failpoint},
};

use super::{class::Class, receiver::Receiver};
use crate::batch::{Taken, acknowledge};

/// How long a location rests whose duties cannot be done.
const REST: Duration = Duration::from_secs(1);

/// The duties of one location.
#[derive(Debug)]
pub(crate) struct Duties {
    receiver: Receiver,
    part: Part,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: VecDeque<Duty>,
    /// The code of why they cannot be done now, once it is told.
    told: Option<&'static str>,
    closed: bool,
}

#[derive(Debug)]
enum Duty {
    /// These are stored.
    Stored(Vec<Taken>),
    /// This one must not be.
    Refused(Box<Taken>, Class),
}

impl Duties {
    pub(crate) fn new(receiver: Receiver, services: &Services) -> Self {
        Self {
            receiver,
            part: services.condition.part(),
            clock: Arc::clone(&services.clock),
            state: Mutex::default(),
        }
    }

    pub(crate) fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes those out of `pending` that must not be stored.
    pub(crate) fn sort_out(&self, pending: &mut VecDeque<Taken>) {
        for taken in std::mem::take(pending) {
            match self.receiver.refusal(&taken.properties) {
                None => pending.push_back(taken),
                Some(class) => {
                    let duty = Duty::Refused(Box::new(taken), class);
                    self.state().open.push_back(duty);
                }
            }
        }
    }

    /// The messages of `batch` are stored. That may be so after the location was closed as well.
    pub(crate) fn stored(&self, batch: Vec<Taken>) {
        self.state().open.push_back(Duty::Stored(batch));
    }

    /// Whether something is left to do.
    pub(crate) fn are_open(&self) -> bool {
        !self.state().open.is_empty()
    }

    /// Does what is left, and lets the broker forget the messages. Dropping the future loses nothing.
    ///
    /// # Errors
    /// What is left cannot be done now: how long to leave it.
    pub(crate) async fn fulfil(&self) -> Result<(), Duration> {
        let done = self.fulfil_all().await;
        let location = self.receiver.location();
        let told = |told| std::mem::replace(&mut self.state().told, told);
        let Err(error) = done else {
            if told(None).is_some() {
                self.part.well();
                tracing::info!(%location, "copies and acknowledgments are delivered again");
            }
            return Ok(());
        };
        let code = error.code;
        if told(Some(code.code)) != Some(code.code) {
            tracing::error!(%location, %code, detail = error.detail,
                "the broker does not take a copy or an acknowledgment; messages wait for that");
        }
        let detail = format!("{}. {}", error.detail, code.remedy);
        self.part
            .ill(TroubleKind::BackPressure, code, &detail, self.clock.now());
        Err(REST)
    }

    async fn fulfil_all(&self) -> Result<(), AdapterError> {
        while let Some(mut doing) = self.next() {
            if let Some(duty) = &doing.duty {
                self.act(duty).await?;
            }
            let location = self.receiver.location();
            let tell = || tracing::warn!(%location, "held before the ack");
            failpoint::pass("hold-before-ack", tell).await;
            match doing.duty.take() {
                Some(Duty::Stored(batch)) => acknowledge(&batch).await?,
                Some(Duty::Refused(taken, _)) => acknowledge(&[*taken]).await?,
                None => {}
            }
        }
        Ok(())
    }

    async fn act(&self, duty: &Duty) -> Result<(), AdapterError> {
        match duty {
            Duty::Stored(batch) => {
                let messages = batch.iter().map(|taken| (&taken.properties, &taken.body));
                self.receiver.stored(messages).await
            }
            Duty::Refused(taken, class) => {
                let message = (&taken.properties, &taken.body);
                self.receiver.refuse(message, *class).await
            }
        }
    }

    fn next(&self) -> Option<Doing<'_>> {
        let mut state = self.state();
        loop {
            let duty = state.open.pop_front()?;
            if !duty.is_lost() {
                return Some(Doing {
                    duties: self,
                    duty: Some(duty),
                });
            }
        }
    }

    /// Gives up what is left, and from now on what cannot be done at once: the broker has it still.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.open.clear();
        self.part.well();
    }
}

impl Duty {
    /// Whether the broker delivers it anew.
    fn is_lost(&self) -> bool {
        match self {
            Self::Stored(batch) => batch.iter().any(|taken| taken.live.is_lost()),
            Self::Refused(taken, _) => taken.live.is_lost(),
        }
    }
}

/// A duty that somebody is at.
struct Doing<'a> {
    duties: &'a Duties,
    duty: Option<Duty>,
}

impl Drop for Doing<'_> {
    /// Not done: it is the next one again, as long as somebody comes back to it.
    fn drop(&mut self) {
        if let Some(duty) = self.duty.take() {
            let mut state = self.duties.state();
            if !state.closed {
                state.open.push_front(duty);
            }
        }
    }
}
