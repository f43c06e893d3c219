//! The run folder of an agent, and who has it.
//!
//! The lock is on an open file that every process of the agent inherits, so it lasts as long as the last of them:
//! whoever has the lock knows that nothing of an earlier run lives, and may end that run's session at once.

use std::{
    fs::{self, DirBuilder},
    io,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt as _},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use quayside_model::SessionId;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use tracing::warn;

use crate::{Failure, codes};

/// The longest path of a socket, its end included.
const SOCKET_PATH_MAX: usize = 107;
/// How often the lock is asked for while the kernel ends what is left of an earlier agent.
const TRIES: u32 = 40;
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// The run folder, locked.
#[derive(Debug)]
pub(crate) struct RunLock {
    dir: PathBuf,
    /// Without close-on-exec, on purpose.
    _file: OwnedFd,
}

impl RunLock {
    /// Makes the folder, for this user alone, and locks it.
    ///
    /// # Errors
    /// It cannot be made, or another agent or a process of one lives.
    pub(crate) fn take(dir: &Path) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(codes::RUN_DIR, format!("{}: {error}", dir.display()))
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| failed(&error))?;
        let flags = OFlags::RDWR | OFlags::CREATE;
        let file = open(dir.join("lock"), flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| failed(&error))?;
        for attempt in 1.. {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(error) if error == rustix::io::Errno::WOULDBLOCK => {
                    if attempt == TRIES {
                        let held = "another agent runs here, or a process of one that does not end";
                        return Err(failed(&held));
                    }
                    thread::sleep(BETWEEN_TRIES);
                }
                Err(error) => return Err(failed(&error)),
            }
        }
        let lock = Self {
            dir: dir.to_owned(),
            _file: file,
        };
        // Nothing of an earlier run lives.
        lock.forget("");
        Ok(lock)
    }

    /// Removes the sockets whose names end with `end`: those of processes that were killed stay otherwise.
    pub(crate) fn forget(&self, end: &str) {
        let end = format!("{end}.sock");
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        for entry in entries {
            if entry.file_name().to_string_lossy().ends_with(&end) {
                // A process may have removed its own.
                drop(fs::remove_file(entry.path()));
            }
        }
    }

    /// Where the process `name` serves its API.
    pub(crate) fn socket(&self, name: &str) -> Result<String, Failure> {
        let path = self.dir.join(format!("{name}.sock"));
        match path.to_str() {
            Some(text) if text.len() <= SOCKET_PATH_MAX => Ok(text.to_owned()),
            _ => {
                let message = format!(
                    "{}: a socket's path has at most {SOCKET_PATH_MAX} bytes",
                    path.display()
                );
                Err(Failure::new(codes::RUN_DIR, message))
            }
        }
    }

    /// The session of the run before, if there was one that did not end it.
    pub(crate) fn previous_session(&self) -> Option<SessionId> {
        fs::read_to_string(self.session_file())
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// Remembers `session` for the next run. Not durable on purpose: after a crash of the machine the session
    /// has run out before a process could start.
    pub(crate) fn remember(&self, session: Option<SessionId>) {
        let file = self.session_file();
        let written = match session {
            Some(session) => fs::write(&file, session.to_string()),
            None => fs::remove_file(&file).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            }),
        };
        if let Err(error) = written {
            warn!(code = %codes::RUN_DIR, file = %file.display(), %error,
                "the session cannot be remembered: after a crash of the agent its hosts wait for the lease to run out");
        }
    }

    fn session_file(&self) -> PathBuf {
        self.dir.join("session")
    }
}

#[cfg(test)]
mod tests {
    use quayside_model::{SystemEntropy, Timestamp};

    use super::*;

    #[test]
    fn a_session_is_remembered_until_it_has_ended() {
        let dir = tempfile::tempdir().expect("a folder");
        let lock = RunLock::take(&dir.path().join("run")).expect("nobody has it");
        assert_eq!(lock.previous_session(), None);
        let session = SessionId::new(Timestamp::from_micros(1), &SystemEntropy);
        lock.remember(Some(session));
        assert_eq!(lock.previous_session(), Some(session));
        lock.remember(None);
        lock.remember(None);
        assert_eq!(lock.previous_session(), None);
    }

    #[test]
    fn what_killed_processes_leave_is_removed() {
        let dir = tempfile::tempdir().expect("a folder");
        let put = |name: &str| fs::write(dir.path().join(name), "").expect("a file");
        let left = || {
            let entries = fs::read_dir(dir.path()).expect("the folder");
            let names = entries.map(|entry| entry.expect("an entry").file_name());
            let mut names: Vec<_> = names
                .map(|name| name.into_string().expect("text"))
                .collect();
            names.sort();
            names
        };
        put("queues.0000aaaa.sock");
        let lock = RunLock::take(dir.path()).expect("nobody has it");
        assert_eq!(left(), ["lock"]);
        put("queues.0000aaaa.sock");
        put("queues.0000bbbb.sock");
        lock.forget("0000aaaa");
        assert_eq!(left(), ["lock", "queues.0000bbbb.sock"]);
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let lock = RunLock::take(dir.path()).expect("nobody has it");
        assert!(lock.socket("edge").expect("short").ends_with("edge.sock"));
        let refused = lock.socket(&"x".repeat(108)).expect_err("too long");
        assert_eq!(refused.code, codes::RUN_DIR);
    }
}
