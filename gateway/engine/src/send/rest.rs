//! The rest of a port: what no message would pass is not tried with each of them.
//!
//! A failure that somebody has to repair (a refused credential, a missing folder) is none of the message
//! that met it. Its port rests in this process by the schedule of the transport, then tries one delivery, and
//! works again with the first that goes well.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quayside_model::{Clock, Failure, Monotonic, Text, Timestamp};

/// The rest of one port in this process.
#[derive(Debug)]
pub(crate) struct Rest {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
}

/// How many deliveries may be begun now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admits {
    All,
    /// The rest is over: one shows whether the rest of them would pass.
    One,
    None,
}

/// The leave to make one attempt; ends with it, whatever becomes of it.
#[derive(Debug)]
pub(crate) struct Pass {
    state: Arc<Mutex<State>>,
    attempt: u64,
}

impl Drop for Pass {
    fn drop(&mut self) {
        lock(&self.state).left(self.attempt);
    }
}

impl Rest {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let state = Arc::default();
        Self { state, clock }
    }

    /// How many deliveries may be begun now.
    pub(crate) fn admits(&self) -> Admits {
        lock(&self.state).admits(self.clock.monotonic())
    }

    /// Whether the port neither rests nor has still to show that it works again.
    pub(crate) fn is_none(&self) -> bool {
        lock(&self.state).stopped.is_none()
    }

    /// The leave to begin an attempt, if there is one now.
    pub(crate) fn begin(&self) -> Option<Pass> {
        let attempt = lock(&self.state).begin(self.clock.monotonic())?;
        let state = Arc::clone(&self.state);
        Some(Pass { state, attempt })
    }

    /// An attempt went well. Returns whether that ended a rest.
    pub(crate) fn went_well(&self) -> bool {
        lock(&self.state).went_well()
    }

    /// The attempt of `pass` met what somebody has to repair; `wait` gives how long the port rests after so
    /// many of these in a row. Returns whether it worked until now.
    pub(crate) fn stopped(
        &self,
        pass: &Pass,
        why: Failure,
        wait: impl FnOnce(u32) -> Duration,
    ) -> bool {
        let now = (self.clock.monotonic(), self.clock.now());
        lock(&self.state).stopped(pass.attempt, now, why, wait)
    }

    /// Somebody may have repaired it: one is tried at once.
    pub(crate) fn forgive(&self) {
        lock(&self.state).forgive(self.clock.monotonic());
    }

    /// Why the port rests, if it does.
    pub(crate) fn told(&self) -> Option<Text> {
        lock(&self.state).told(self.clock.monotonic())
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Default)]
struct State {
    /// How many attempts were begun: the number of the newest.
    begun: u64,
    stopped: Option<Stopped>,
}

#[derive(Debug)]
struct Stopped {
    /// How many in a row, each after a wait.
    stops: u32,
    until: Monotonic,
    /// The same for people.
    until_time: Timestamp,
    why: Failure,
    /// The attempt under way that shows whether messages pass again.
    probe: Option<u64>,
}

impl State {
    fn admits(&self, now: Monotonic) -> Admits {
        match &self.stopped {
            None => Admits::All,
            Some(stopped) if stopped.until <= now && stopped.probe.is_none() => Admits::One,
            Some(_) => Admits::None,
        }
    }

    fn begin(&mut self, now: Monotonic) -> Option<u64> {
        if self.admits(now) == Admits::None {
            return None;
        }
        self.begun += 1;
        if let Some(stopped) = &mut self.stopped {
            stopped.probe = Some(self.begun);
        }
        Some(self.begun)
    }

    fn left(&mut self, attempt: u64) {
        if let Some(stopped) = &mut self.stopped {
            stopped.probe.take_if(|probe| *probe == attempt);
        }
    }

    fn went_well(&mut self) -> bool {
        self.stopped.take().is_some()
    }

    fn stopped(
        &mut self,
        attempt: u64,
        (now, time): (Monotonic, Timestamp),
        why: Failure,
        wait: impl FnOnce(u32) -> Duration,
    ) -> bool {
        let before = match &self.stopped {
            None => 0,
            Some(stopped) if stopped.probe == Some(attempt) => stopped.stops,
            // It was begun before the rest, and says nothing that is not known.
            Some(_) => return false,
        };
        let first = self.stopped.is_none();
        let stops = before.saturating_add(1);
        let wait = wait(stops);
        self.stopped = Some(Stopped {
            stops,
            until: now.plus(wait),
            until_time: time.plus(wait),
            why,
            probe: None,
        });
        first
    }

    fn forgive(&mut self, now: Monotonic) {
        if let Some(stopped) = &mut self.stopped {
            (stopped.stops, stopped.until) = (0, now);
        }
    }

    fn told(&self, now: Monotonic) -> Option<Text> {
        let stopped = self.stopped.as_ref()?;
        let until = match stopped.until > now {
            true => format!("rests until {}", second(stopped.until_time)),
            false => "tries one delivery first".to_owned(),
        };
        let (code, detail) = (&stopped.why.code, &stopped.why.detail);
        Some(Text::lossy(&format!("{until}: {code} {detail}")))
    }
}

/// `2026-11-21 13:09:00Z`: the form of all moments that people read.
fn second(moment: Timestamp) -> String {
    let text = moment.to_string();
    let seconds = text.split(['.', 'Z']).next().unwrap_or_default();
    format!("{}Z", seconds.replacen('T', " ", 1))
}

#[cfg(test)]
mod tests {
    use quayside_model::{FailureClass, ManualClock};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct World {
        clock: Arc<ManualClock>,
        rest: Rest,
    }

    impl World {
        fn new() -> Self {
            let clock = Arc::new(ManualClock::new(Timestamp::from_micros(0)));
            let rest = Rest::new(Arc::clone(&clock) as Arc<dyn Clock>);
            Self { clock, rest }
        }

        /// As many seconds as there were stops in a row.
        fn stop(&self, pass: &Pass) -> bool {
            let why = Failure {
                code: Text::lossy("QS9999"),
                class: FailureClass::Stop,
                detail: Text::lossy("gone"),
                resumable: true,
            };
            self.rest.stopped(pass, why, |stops| SECOND * stops)
        }

        /// The next attempt, which is the only one.
        fn probe(&self) -> Pass {
            assert_eq!(self.rest.admits(), Admits::One);
            let probe = self.rest.begin().expect("the rest is over");
            assert_eq!(self.rest.admits(), Admits::None);
            assert!(self.rest.begin().is_none(), "one at a time");
            probe
        }
    }

    #[test]
    fn rests_grow_until_one_goes_well() {
        let world = World::new();
        assert_eq!(world.rest.admits(), Admits::All);
        assert!(world.stop(&world.rest.begin().unwrap()), "news");
        for seconds in 1..4 {
            assert!(world.rest.begin().is_none(), "it rests");
            world
                .clock
                .advance(SECOND * seconds - Duration::from_micros(1));
            assert_eq!(world.rest.admits(), Admits::None, "{seconds} s");
            world.clock.advance(Duration::from_micros(1));
            assert!(!world.stop(&world.probe()), "told before");
        }
        world.clock.advance(SECOND * 4);
        let probe = world.probe();
        assert!(world.rest.went_well());
        assert_eq!(world.rest.admits(), Admits::All);
        assert!(!world.rest.went_well(), "once");
        drop(probe);
        assert!(world.stop(&world.rest.begin().unwrap()), "news again");
        world.clock.advance(SECOND);
        assert_eq!(world.rest.admits(), Admits::One, "it counts anew");
    }

    #[test]
    fn what_was_under_way_neither_prolongs_a_rest_nor_ends_a_probe() {
        let world = World::new();
        let [first, second, third] = [(); 3].map(|()| world.rest.begin().unwrap());
        assert!(world.stop(&first));
        assert!(!world.stop(&second));
        drop((first, second));
        world.clock.advance(SECOND);
        let probe = world.probe();
        assert!(!world.stop(&third));
        drop(third);
        assert_eq!(world.rest.admits(), Admits::None, "the probe is under way");
        assert!(!world.stop(&probe));
        world.clock.advance(SECOND * 2);
        assert_eq!(world.rest.admits(), Admits::One, "the second in a row");
    }

    #[test]
    fn a_probe_that_shows_nothing_is_followed_by_another() {
        let world = World::new();
        assert!(world.stop(&world.rest.begin().unwrap()));
        world.clock.advance(SECOND);
        drop(world.probe());
        drop(world.probe());
        assert!(!world.rest.is_none());
    }

    #[test]
    fn an_operator_ends_a_rest_and_its_growth() {
        let world = World::new();
        world.rest.forgive();
        assert_eq!(world.rest.admits(), Admits::All);
        assert!(world.stop(&world.rest.begin().unwrap()));
        world.clock.advance(SECOND);
        assert!(!world.stop(&world.probe()));
        world.rest.forgive();
        assert!(!world.stop(&world.probe()));
        world.clock.advance(SECOND);
        assert_eq!(world.rest.admits(), Admits::One);
    }

    #[test]
    fn people_are_told_until_when_and_why() {
        let world = World::new();
        assert_eq!(world.rest.told(), None);
        assert!(world.stop(&world.rest.begin().unwrap()));
        let told = || world.rest.told().expect("a reason").to_string();
        assert_eq!(told(), "rests until 1970-01-01 00:00:01Z: QS9999 gone");
        world.clock.advance(SECOND);
        assert_eq!(told(), "tries one delivery first: QS9999 gone");
        assert!(world.rest.went_well());
        assert_eq!(world.rest.told(), None);
    }
}
