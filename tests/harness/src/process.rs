//! One child process: its output, its signals, its memory, its end.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use rustix::process::{Pid, Signal, getuid, kill_process};

use crate::wait_for;

/// How many lines of standard error a failing test shows.
const TAIL_LINES: usize = 40;

/// The states of a thread that does not run because it was stopped, or that has ended.
const PAUSED: [char; 4] = ['T', 't', 'Z', 'X'];

/// A running child. Dropping it kills it and, while a test panics, shows the end of its errors.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
    stdout: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    stderr: PathBuf,
}

impl Process {
    /// Starts `command`. Its standard error goes to `STDERR_DIR/NAME.stderr`, behind what earlier runs
    /// of that name wrote.
    ///
    /// # Panics
    /// When it cannot be started: with the command line.
    #[must_use]
    pub fn spawn(name: &str, mut command: Command, stderr_dir: &Path) -> Self {
        let stderr = stderr_dir.join(format!("{name}.stderr"));
        let errors = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&stderr);
        let errors = errors.unwrap_or_else(|e| panic!("opening {}: {e}", stderr.display()));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors);
        let mut child = command
            .spawn()
            .unwrap_or_else(|e| panic!("starting {name} by {command:?}: {e}"));
        let stdout = Arc::new(Mutex::new(Vec::new()));
        let pipe = child.stdout.take().expect("standard output is a pipe");
        let lines = Arc::clone(&stdout);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                lines
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        Self {
            name: name.to_owned(),
            child,
            status: None,
            stdout,
            reader: Some(reader),
            stderr,
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal; a process that has ended meanwhile takes none.
    pub fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            signal_pid(self.pid(), signal);
        }
    }

    /// Stops its execution (SIGSTOP) and returns when every thread of it has stopped.
    pub async fn pause(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.pid());
        wait_for(
            &format!("{} to be paused", self.name),
            Duration::from_secs(5),
            async || {
                let running = threads_not_in(&tasks, &PAUSED);
                if running == 0 {
                    Ok(())
                } else {
                    Err(format!("{running} threads run"))
                }
            },
        )
        .await;
    }

    /// Lets it run on (SIGCONT).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it (SIGKILL) and returns when it is gone.
    pub fn kill9(&mut self) -> ExitStatus {
        self.signal(Signal::KILL);
        self.reap()
    }

    /// Waits for it to end by itself, at most `within`.
    pub async fn wait_exit(&mut self, within: Duration) -> ExitStatus {
        let name = self.name.clone();
        let status = wait_for(&format!("{name} to end"), within, async || {
            match self.child.try_wait() {
                Ok(Some(status)) => Ok(status),
                Ok(None) => Err("it runs".to_owned()),
                Err(e) => Err(e.to_string()),
            }
        })
        .await;
        self.status = Some(status);
        status
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self
                .child
                .try_wait()
                .expect("the child is ours to wait for");
        }
        self.status.is_some()
    }

    /// Waits for a line of standard output that starts with `prefix` and returns the rest of it.
    pub async fn wait_line(&mut self, prefix: &str, within: Duration) -> String {
        let what = format!("the line `{prefix}` of {}", self.name);
        wait_for(&what, within, async || {
            let ended = self.has_ended();
            let rest = self
                .lines()
                .iter()
                .find_map(|l| l.strip_prefix(prefix).map(str::to_owned));
            assert!(
                rest.is_some() || !ended,
                "{} ended early:\n{}",
                self.name,
                self.stderr_tail()
            );
            rest.ok_or_else(|| self.stderr_tail())
        })
        .await
    }

    /// What it has printed so far, line by line.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.stdout
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The end of its standard error.
    #[must_use]
    pub fn stderr_tail(&self) -> String {
        let bytes = fs::read(&self.stderr).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// All of its standard error, runs of the same name before it included.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stderr).unwrap_or_default()).into_owned()
    }

    /// Its resident memory in bytes; 0 when it is gone.
    #[must_use]
    pub fn rss(&self) -> u64 {
        status_kib(self.pid(), "VmRSS:") * 1024
    }

    /// The most resident memory it ever had, in bytes.
    #[must_use]
    pub fn peak_rss(&self) -> u64 {
        status_kib(self.pid(), "VmHWM:") * 1024
    }

    /// The processor time that it and its children that ended have used, in seconds.
    #[must_use]
    pub fn cpu_seconds(&self) -> f64 {
        cpu_seconds(self.pid())
    }

    fn reap(&mut self) -> ExitStatus {
        let status = match self.status {
            Some(status) => status,
            None => self.child.wait().expect("the child is ours to wait for"),
        };
        self.status = Some(status);
        if let Some(reader) = self.reader.take() {
            // Grandchildren may hold the pipe open, so the reader is left to end with them.
            if reader.is_finished() {
                reader.join().expect("reading lines does not panic");
            }
        }
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.reap();
        if std::thread::panicking() {
            show(&format!(
                "--- {} wrote last:\n{}",
                self.name,
                self.stderr_tail()
            ));
        }
    }
}

/// A command that the kernel kills when the thread that started it ends, however that happens.
#[must_use]
pub fn command(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// The built program `name`: in the folder of the running test's or bench's own build.
///
/// # Panics
/// When it is not there: with what to do.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("the path of the running program");
    let folder = own.parent().expect("a program lies in a folder");
    let folder = if folder.ends_with("deps") {
        folder.parent().unwrap_or(folder)
    } else {
        folder
    };
    let path = folder.join(name);
    assert!(
        path.exists(),
        "{} is not built: run tests/run",
        path.display()
    );
    path
}

/// Sends `signal` to `pid`, if it still is there.
pub fn signal_pid(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // The only failure is that the process is gone, which every caller sees by waiting for it.
        let _gone = kill_process(pid, signal);
    }
}

/// Sends `signal` to each of `pids` that still is there: what its agent has killed meanwhile is no failure.
pub fn signal_all(pids: &[Pid], signal: Signal) {
    for pid in pids {
        let _gone = kill_process(*pid, signal);
    }
}

/// The processes that `pid` started and that still are there.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|p| p.parse().ok())
        .collect()
}

/// The processor time of a process and of its children that ended, in seconds.
#[must_use]
pub fn cpu_seconds(pid: u32) -> f64 {
    let ticks = rustix::param::clock_ticks_per_second();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold spaces; fields 14 to 17 of the line are 11 to 14 behind it.
    let behind = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let sum: u64 = behind
        .split_whitespace()
        .skip(11)
        .take(4)
        .filter_map(|f| f.parse::<u64>().ok())
        .sum();
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds of a test run are far below 2^52 ticks"
    )]
    let seconds = sum as f64 / ticks as f64;
    seconds
}

/// Who runs a server that should not, or will not, run as root; `None` if this process is not root.
pub(crate) fn unprivileged() -> Option<(String, u32, u32)> {
    if !getuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("reading /etc/passwd");
    let find = |name: &str| {
        let mut fields = users
            .lines()
            .find(|l| l.split(':').next() == Some(name))?
            .split(':')
            .skip(2);
        let mut id = || fields.next().and_then(|f| f.parse().ok());
        Some((name.to_owned(), id()?, id()?))
    };
    Some(
        find("postgres")
            .or_else(|| find("nobody"))
            .expect("a user postgres or nobody"),
    )
}

/// Whether the process `pid` does nothing any more, waited for by its parent or not.
pub(crate) fn has_ended(pid: u32) -> bool {
    threads_not_in(&format!("/proc/{pid}/task"), &['Z', 'X']) == 0
}

/// Whether every thread of the process `pid` is paused or has ended.
pub(crate) fn is_paused(pid: u32) -> bool {
    threads_not_in(&format!("/proc/{pid}/task"), &PAUSED) == 0
}

fn threads_not_in(tasks: &str, states: &[char]) -> usize {
    let Ok(entries) = fs::read_dir(tasks) else {
        return 0;
    };
    let state = |stat: String| {
        stat.rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next())
    };
    entries
        .flatten()
        .filter_map(|e| fs::read_to_string(e.path().join("stat")).ok())
        .filter(|stat| !state(stat.clone()).is_some_and(|s| states.contains(&s)))
        .count()
}

fn status_kib(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix(field))
        .unwrap_or("0");
    line.split_whitespace()
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

#[expect(
    clippy::print_stderr,
    reason = "shown by the test runner below the failed test"
)]
fn show(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, dir: &Path) -> Process {
        let mut shell = command(Path::new("/bin/sh"));
        shell.args(["-c", script]);
        Process::spawn("shell", shell, dir)
    }

    #[tokio::test]
    async fn a_line_a_pause_a_signal_and_an_exit_are_seen() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut process = shell(
            "trap 'exit 7' TERM; echo ready x=1; echo oops >&2; while :; do :; done",
            dir.path(),
        );
        assert_eq!(
            process.wait_line("ready ", Duration::from_secs(5)).await,
            "x=1"
        );
        assert!(process.rss() > 0 && process.peak_rss() >= process.rss() / 2);
        process.pause().await;
        process.resume();
        process.signal(Signal::TERM);
        assert_eq!(
            process.wait_exit(Duration::from_secs(5)).await.code(),
            Some(7)
        );
        assert_eq!(process.stderr_tail(), "oops");
        assert!(process.has_ended());
    }

    #[test]
    fn dropping_it_ends_it() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let process = shell("while :; do :; done", dir.path());
        let path = format!("/proc/{}", process.pid());
        assert!(Path::new(&path).exists());
        drop(process);
        assert!(!Path::new(&path).exists());
    }

    #[tokio::test]
    #[should_panic(expected = "shell ended early:\nno such thing")]
    async fn an_early_end_shows_its_errors() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut process = shell("echo no such thing >&2", dir.path());
        process.wait_line("ready ", Duration::from_secs(5)).await;
    }
}
