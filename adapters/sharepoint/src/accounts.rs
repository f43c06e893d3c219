//! What is known about passwords. Domains lock an account after a few wrong ones, so a wrong one is tried by one
//! call, not by all that wait, and then it rests.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use quayside_adapter_api::model::Monotonic;
use sha2::{Digest as _, Sha256};

/// How long a password that was refused is not tried again. Another one is tried at once.
pub(crate) const REST: Duration = Duration::from_secs(60);

/// The accounts of a process, by the host and the name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts(Arc<Mutex<ByName>>);

type ByName = BTreeMap<(String, String), Arc<Account>>;

/// An account of a farm.
#[derive(Debug, Default)]
pub(crate) struct Account {
    known: Mutex<Known>,
    /// Held while a password is tried that may be wrong.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// A password, as far as it must be told from others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark([u8; 32]);

#[derive(Debug, Default)]
struct Known {
    /// The farm took it.
    good: Option<Mark>,
    /// The farm refused it, and when.
    bad: Option<(Mark, Monotonic)>,
}

/// Whether a password may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    /// By everybody.
    Go,
    /// By one call.
    Alone,
    /// Not before this has passed.
    Rests(Duration),
}

/// A password that is being tried. Others wait for what becomes of it, unless it was good before.
pub(crate) struct Trial {
    mark: Mark,
    was_good: bool,
    _turn: Option<tokio::sync::OwnedMutexGuard<()>>,
}

impl Accounts {
    /// The account `user` of the farm at `origin`.
    pub(crate) fn of(&self, origin: &str, user: &str) -> Arc<Account> {
        let key = (origin.to_lowercase(), user.to_lowercase());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(key).or_default().clone()
    }
}

impl Account {
    /// Waits for the turn of this password.
    ///
    /// # Errors
    /// How long it rests, because the farm refused it.
    pub(crate) async fn turn(
        &self,
        password: &str,
        now: impl Fn() -> Monotonic,
    ) -> Result<Trial, Duration> {
        let mark = Mark::of(password);
        let mut turn = None;
        loop {
            let may = self.known().may(mark, now());
            match may {
                May::Rests(left) => return Err(left),
                May::Alone if turn.is_none() => {
                    // What it becomes known to be in the meantime is seen by another look.
                    turn = Some(self.turn.clone().lock_owned().await);
                }
                _ => {
                    let was_good = may == May::Go;
                    return Ok(Trial {
                        mark,
                        was_good,
                        _turn: turn.filter(|_| !was_good),
                    });
                }
            }
        }
    }

    /// The farm took the password.
    pub(crate) fn accepted(&self, trial: Trial) {
        let mut known = self.known();
        known.good = Some(trial.mark);
        known.bad = None;
    }

    /// The farm refused the password. Says whether that is to be believed: of one that was good before, the next
    /// call finds out.
    pub(crate) fn refused(&self, trial: Trial, now: Monotonic) -> bool {
        let mut known = self.known();
        if known.good == Some(trial.mark) {
            known.good = None;
        }
        if !trial.was_good {
            known.bad = Some((trial.mark, now));
        }
        !trial.was_good
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn may(&self, mark: Mark, now: Monotonic) -> May {
        if self.good == Some(mark) {
            return May::Go;
        }
        match self.bad {
            Some((bad, at)) if bad == mark => {
                let left = REST.saturating_sub(now.since(at));
                if left.is_zero() {
                    May::Alone
                } else {
                    May::Rests(left)
                }
            }
            _ => May::Alone,
        }
    }
}

impl Mark {
    fn of(password: &str) -> Self {
        Self(Sha256::digest(password).into())
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mark(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Monotonic {
        Monotonic::from_boot(Duration::from_secs(secs))
    }

    #[tokio::test]
    async fn a_wrong_password_is_tried_by_one_call_of_many() {
        let account = Accounts::default().of("https://farm", "FARM\\bob");
        let first = account.turn("wrong", || at(1)).await.expect("its turn");
        let waiting = {
            let account = account.clone();
            async move { account.turn("wrong", || at(2)).await.err() }
        };
        let refuse = async {
            tokio::task::yield_now().await;
            assert!(account.refused(first, at(1)));
        };
        let (left, ()) = tokio::join!(waiting, refuse);
        assert_eq!(left, Some(Duration::from_secs(59)));
        // Another one is tried at once, and the same one after its rest.
        assert!(account.turn("right", || at(2)).await.is_ok());
        assert!(account.turn("wrong", || at(61)).await.is_ok());
    }

    #[tokio::test]
    async fn a_good_password_is_used_by_all_at_once() {
        let accounts = Accounts::default();
        let account = accounts.of("https://farm", "FARM\\bob");
        let trial = account.turn("right", || at(1)).await.expect("its turn");
        account.accepted(trial);
        // The same account of another port.
        let account = accounts.of("https://FARM", "farm\\BOB");
        let one = account.turn("right", || at(1)).await.expect("at once");
        let two = account.turn("right", || at(1)).await.expect("at once");
        // One refusal is not believed; what the next one finds counts.
        assert!(!account.refused(one, at(2)));
        let three = account.turn("right", || at(2)).await.expect("one more");
        assert!(account.refused(three, at(3)));
        assert!(account.turn("right", || at(4)).await.is_err());
        // A late success of a call that was under way shows that it was none of the password's.
        account.accepted(two);
        assert!(account.turn("right", || at(4)).await.is_ok());
    }
}
