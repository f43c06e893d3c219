//! What holds when the lease thread does not: active processes are killed when trust has ended and that thread
//! has not moved.
//!
//! A process checks its deadline itself before each effect. What is left is an effect under way in a process
//! that is frozen between its look and its effect, while the agent's own loop is stuck too.
//!
//! systemd is told that the agent lives only while that loop moves.

use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use quayside_model::{Clock as _, InstanceId, Monotonic, SystemClock};
use rustix::process::{Signal, pidfd_send_signal};
use sd_notify::NotifyState;
use tracing::error;

use crate::codes;

/// How often the watchdog looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The lease thread moves every 100 ms; one that has not for this long is stuck.
const STUCK_AFTER: Duration = Duration::from_millis(400);

/// What the lease thread tells the watchdog.
#[derive(Debug, Default)]
pub(crate) struct Watchdog {
    /// When the lease thread last moved, and when active processes have to be dead, in microseconds of boot
    /// time; 0: nothing is granted.
    moved: AtomicU64,
    kill_at: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    active: BTreeMap<InstanceId, Arc<OwnedFd>>,
    over: bool,
}

impl Watchdog {
    /// The lease thread moves. `kill_at`: when active processes have to be dead, if they are granted anything.
    pub(crate) fn moved(&self, now: Monotonic, kill_at: Option<Monotonic>) {
        self.kill_at
            .store(kill_at.map_or(0, micros), Ordering::SeqCst);
        self.moved.store(micros(now), Ordering::SeqCst);
    }

    /// How long the lease thread has not moved.
    fn idle(&self, now: Monotonic) -> Duration {
        let moved = self.moved.load(Ordering::SeqCst);
        Duration::from_micros(micros(now).saturating_sub(moved))
    }

    /// A process may act from now on.
    pub(crate) fn watch(&self, instance: InstanceId, handle: Arc<OwnedFd>) {
        self.lock().active.insert(instance, handle);
    }

    /// A process has ended.
    pub(crate) fn forget(&self, instance: InstanceId) {
        self.lock().active.remove(&instance);
    }

    /// The lease thread is done.
    pub(crate) fn end(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }

    /// Looks until [the end](Self::end).
    pub(crate) fn run(&self) {
        let mut state = self.lock();
        while !state.over {
            let (woken, _) = self
                .changed
                .wait_timeout(state, LOOK_EVERY)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            let now = SystemClock.monotonic();
            self.look(&state, now);
            if self.idle(now) < STUCK_AFTER {
                // Without systemd nobody is told.
                drop(sd_notify::notify(&[NotifyState::Watchdog]));
            }
        }
    }

    fn look(&self, state: &State, now: Monotonic) {
        let kill_at = self.kill_at.load(Ordering::SeqCst);
        if kill_at == 0 || micros(now) < kill_at || self.idle(now) < STUCK_AFTER {
            return;
        }
        for (instance, handle) in &state.active {
            // One that has been waited for is no error: its end is only not known here yet.
            if pidfd_send_signal(&**handle, Signal::KILL).is_ok() {
                error!(code = %codes::WATCHDOG, %instance, "trust has ended and the lease thread hangs: killed");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(time: Monotonic) -> u64 {
    u64::try_from(time.since_boot().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use quayside_model::{SystemEntropy, Timestamp};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic::from_boot(Duration::from_millis(ms))
    }

    fn sleeper(watchdog: &Watchdog) -> Child {
        let child = Command::new("sleep").arg("60").spawn().expect("sleep");
        let handle = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).expect("it runs");
        let instance = InstanceId::new(Timestamp::from_micros(1), &SystemEntropy);
        watchdog.watch(instance, Arc::new(handle));
        child
    }

    #[test]
    fn it_kills_only_after_the_deadline_and_only_for_a_thread_that_hangs() {
        let watchdog = Watchdog::default();
        let mut child = sleeper(&watchdog);
        let mut look = |moved, kill_at: Option<u64>, now| {
            watchdog.moved(at(moved), kill_at.map(at));
            watchdog.look(&watchdog.lock(), at(now));
            child.try_wait().expect("it is ours").is_some()
        };
        assert!(!look(1000, None, 9000), "nothing is granted");
        assert!(!look(1000, Some(2000), 1900), "trust lasts");
        assert!(!look(2000, Some(2000), 2100), "the thread moves");
        look(1000, Some(2000), 2100);
        let status = child.wait().expect("it is ours");
        assert!(!status.success(), "{status}");
    }
}
