//! The clocks of measuring code: the one place in the tests that reads them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tempfile::TempDir;

/// Measures a time span.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "measures real processes; decides nothing"
    )]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Microseconds since the epoch by the machine's clock, which all processes of a run share.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "compares moments across processes of one machine"
)]
pub fn unix_micros() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// A wall clock of a process's own, which a test steps while the process runs. What measures spans of time runs on
/// as it is: only the time of day is another one.
#[derive(Debug)]
pub struct FakeClock(TempDir);

impl FakeClock {
    /// A clock that is right so far.
    ///
    /// # Panics
    /// When libfaketime is not installed: tests/run does that.
    #[must_use]
    pub fn new() -> Self {
        assert!(
            library().exists(),
            "libfaketime is not installed: run tests/run"
        );
        let dir = tempfile::tempdir().expect("a temporary folder");
        // Whoever the process runs as may look.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(dir.path(), open).expect("opening the folder");
        let clock = Self(dir);
        clock.step_to(0);
        clock
    }

    /// From now on it is wrong by `seconds`.
    ///
    /// # Panics
    /// When that cannot be written.
    pub fn step_to(&self, seconds: i64) {
        let new = self.0.path().join("new");
        fs::write(&new, format!("{seconds:+}\n")).expect("writing the step");
        // At once: a reader finds one of the two.
        fs::rename(&new, self.file()).expect("stepping the clock");
    }

    /// The environment of a process that lives by it.
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        let file = self.file().display().to_string();
        [
            ("LD_PRELOAD", library().display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", file),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// A program that runs `program` by the machine's clock again, for processes that live by this one. What has
    /// jemalloc as its allocator cannot live by it: that asks for the time before the library has begun, which asks
    /// for memory.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn outside(&self, program: &Path) -> PathBuf {
        let path = self.0.path().join("outside");
        let text = format!(
            "#!/bin/sh\nunset LD_PRELOAD\nexec '{}' \"$@\"\n",
            program.display()
        );
        fs::write(&path, text).expect("writing the program");
        let may_run = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&path, may_run).expect("letting the program run");
        path
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("step")
    }
}

impl Drop for FakeClock {
    /// Removes what processes that were killed have left in shared memory.
    fn drop(&mut self) {
        let entries = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let of = ["sem.faketime_sem_", "faketime_shm_"];
            let pid = of.iter().find_map(|prefix| name.strip_prefix(prefix));
            if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
                // Another test may have removed it meanwhile.
                let _gone = fs::remove_file(entry.path());
            }
        }
    }
}

impl Default for FakeClock {
    fn default() -> Self {
        Self::new()
    }
}

/// What is loaded into the processes.
fn library() -> PathBuf {
    let libraries = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let of_machine = libraries.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    let found = of_machine.into_iter().find(|path| path.exists());
    found.unwrap_or_else(|| Path::new("/usr/lib/faketime/libfaketimeMT.so.1").to_owned())
}
