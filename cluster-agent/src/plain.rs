//! The hosts of this node that are not clustered: each has a process, which is started again when it ends.
//!
//! Their processes keep sessions of their own at the store and need no grant.

use std::{collections::BTreeMap, time::Duration};

use quayside_lease::{Exit, Verdict};
use quayside_model::{InstanceId, Monotonic, Name};

/// How long the first, the second and every further start in a row waits.
const BACKOFF: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(5),
];
/// A process that ran for so long has not failed in a row.
const STEADY: Duration = Duration::from_secs(60);
/// What cannot run with this configuration is tried again after this long: it may have been repaired.
const HOPELESS: Duration = Duration::from_secs(60);

/// One of the hosts.
#[derive(Debug)]
struct Host {
    name: Name,
    process: Option<(InstanceId, Monotonic)>,
    start_at: Monotonic,
    failures: usize,
}

/// The hosts, decided about in pure code.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    hosts: Vec<Host>,
    stopping: bool,
}

impl Plain {
    pub(crate) fn new(names: Vec<Name>, now: Monotonic) -> Self {
        let host = |name| Host {
            name,
            process: None,
            start_at: now,
            failures: 0,
        };
        Self {
            hosts: names.into_iter().map(host).collect(),
            stopping: false,
        }
    }

    /// The hosts whose process is to be started now, under these ids.
    pub(crate) fn due(
        &mut self,
        now: Monotonic,
        mut id: impl FnMut() -> InstanceId,
    ) -> Vec<(Name, InstanceId)> {
        if self.stopping {
            return Vec::new();
        }
        let due = |host: &&mut Host| host.process.is_none() && host.start_at <= now;
        let start = |host: &mut Host| {
            let instance = id();
            host.process = Some((instance, now));
            (host.name.clone(), instance)
        };
        self.hosts.iter_mut().filter(due).map(start).collect()
    }

    /// When the next start is due.
    pub(crate) fn next(&self) -> Option<Monotonic> {
        let waiting = self.hosts.iter().filter(|host| host.process.is_none());
        let next = waiting.map(|host| host.start_at).min();
        next.filter(|_| !self.stopping)
    }

    /// A process has ended. Returns whose it was, and how long the next one waits, if it was one of these.
    pub(crate) fn ended(
        &mut self,
        instance: InstanceId,
        exit: Exit,
        now: Monotonic,
    ) -> Option<(Name, Duration)> {
        let mine = |host: &&mut Host| host.process.is_some_and(|(id, _)| id == instance);
        let host = self.hosts.iter_mut().find(mine)?;
        let (_, since) = host.process.take()?;
        if now.since(since) >= STEADY {
            host.failures = 0;
        }
        let wait = match exit.verdict() {
            Verdict::Fatal => HOPELESS,
            Verdict::Done | Verdict::Respawn | Verdict::Failure => {
                BACKOFF[host.failures.min(BACKOFF.len() - 1)]
            }
        };
        host.failures += 1;
        host.start_at = now.plus(wait);
        Some((host.name.clone(), wait))
    }

    /// Starts nothing any more.
    pub(crate) fn stop(&mut self) {
        self.stopping = true;
    }

    /// Their processes.
    pub(crate) fn instances(&self) -> BTreeMap<InstanceId, Name> {
        let running = self.hosts.iter().filter_map(|host| {
            let (instance, _) = host.process?;
            Some((instance, host.name.clone()))
        });
        running.collect()
    }
}

#[cfg(test)]
mod tests {
    use quayside_model::{SystemEntropy, Timestamp};

    use super::*;

    fn at(s: u64) -> Monotonic {
        Monotonic::from_boot(Duration::from_secs(s))
    }

    fn id() -> InstanceId {
        InstanceId::new(Timestamp::from_micros(1), &SystemEntropy)
    }

    #[test]
    fn a_process_is_started_again_later_and_later_until_it_was_steady() {
        let name = Name::new("edge").expect("a name");
        let mut plain = Plain::new(vec![name], at(0));
        let mut end = |now: u64, exit| {
            let due = plain.due(at(now), id);
            let [(_, instance)] = &due[..] else {
                panic!("one is due: {due:?}");
            };
            plain.ended(*instance, exit, at(now)).expect("it is ours").1
        };
        let failure = Exit::Code(1);
        let waits = [
            end(0, failure),
            end(0, failure),
            end(1, failure),
            end(6, failure),
        ];
        assert_eq!(waits.map(|wait| wait.as_secs()), [0, 1, 5, 5]);
        assert_eq!(end(11, Exit::Code(10)), HOPELESS);
        let due = plain.due(at(71), id);
        assert_eq!(plain.next(), None, "it runs");
        let (_, wait) = plain.ended(due[0].1, failure, at(131)).expect("it is ours");
        assert_eq!(wait, Duration::ZERO);
        assert_eq!(plain.next(), Some(at(131)));
        assert_eq!(
            plain.ended(id(), failure, at(131)),
            None,
            "not one of these"
        );
        plain.stop();
        assert!(plain.due(at(200), id).is_empty());
    }
}
