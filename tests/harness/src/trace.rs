//! The system calls of running processes, by strace, in one order.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{Process, process::command, wait_for};

/// How often attaching is tried again because a process was started meanwhile.
const ATTEMPTS: u32 = 10;

/// An attached tracer.
#[derive(Debug)]
pub struct Trace {
    process: Process,
    file: PathBuf,
    _dir: TempDir,
}

/// A system call that has returned, in the order of the returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syscall {
    /// The thread.
    pub thread: u32,
    /// Its name.
    pub name: String,
    /// The whole text: arguments with the paths of files and the ends of connections, and the result.
    pub text: String,
}

impl Trace {
    /// Attaches to every thread of the processes that `pids` names and returns when all are attached:
    /// also those that were started while it attached. `calls` are the names of system calls.
    ///
    /// # Panics
    /// When strace is not installed or not allowed.
    pub async fn attach(pids: impl Fn() -> Vec<u32>, calls: &str) -> Self {
        for _ in 0..ATTEMPTS {
            let trace = Self::attach_to(&pids(), calls).await;
            if pids().into_iter().all(is_traced) {
                return trace;
            }
            trace.detach().await;
        }
        panic!("processes start faster than strace attaches to them");
    }

    async fn attach_to(pids: &[u32], calls: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("trace");
        let mut strace = command(Path::new("/usr/bin/strace"));
        let calls = format!("trace={calls}");
        strace.args(["-f", "-yy", "-s", "4096", "-e", &calls, "-o"]);
        strace.arg(&file);
        for pid in pids {
            strace.args(["-p", &pid.to_string()]);
        }
        let mut process = Process::spawn("strace", strace, dir.path());
        wait_for("strace to attach", Duration::from_secs(10), async || {
            assert!(!process.has_ended(), "strace ended:\n{}", process.stderr());
            // A process that ended meanwhile cannot be attached any more and is none of ours.
            match pids.iter().find(|pid| !is_traced(**pid)) {
                None => Ok(()),
                Some(pid) => Err(format!("{pid} is not attached: {}", process.stderr())),
            }
        })
        .await;
        Self {
            process,
            file,
            _dir: dir,
        }
    }

    /// What has returned so far.
    ///
    /// # Panics
    /// When the trace cannot be read.
    #[must_use]
    pub fn calls(&self) -> Vec<Syscall> {
        parse(&String::from_utf8_lossy(
            &fs::read(&self.file).expect("reading the trace"),
        ))
    }

    /// Detaches.
    pub async fn detach(mut self) -> Vec<Syscall> {
        self.process.signal(Signal::INT);
        self.process.wait_exit(Duration::from_secs(10)).await;
        self.calls()
    }
}

/// Whether every thread of a process has a tracer; a process that is gone counts as well.
fn is_traced(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return true;
    };
    threads.flatten().all(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        !status.contains("\nTracerPid:\t0\n")
    })
}

/// Joins the two halves of calls that others interrupted; a call stands where it returned.
fn parse(text: &str) -> Vec<Syscall> {
    let mut begun: HashMap<u32, String> = HashMap::new();
    let mut calls = Vec::new();
    // The tracer writes what a call is told before it writes what comes of it: a line that has no end yet is
    // a call that has not returned, and so is one that it was detached from.
    let whole = text
        .split_inclusive('\n')
        .filter_map(|l| l.strip_suffix('\n'));
    for line in whole.filter(|line| !line.ends_with("<detached ...>")) {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let (Ok(thread), rest) = (thread.parse::<u32>(), rest.trim_start()) else {
            continue;
        };
        if let Some(first) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, first.to_owned());
        } else if let Some((_, second)) = rest
            .strip_prefix("<... ")
            .and_then(|r| r.split_once(" resumed>"))
        {
            let first = begun.remove(&thread).unwrap_or_default();
            calls.extend(call(thread, format!("{first}{second}")));
        } else {
            calls.extend(call(thread, rest.to_owned()));
        }
    }
    calls
}

fn call(thread: u32, text: String) -> Option<Syscall> {
    let (name, _) = text.split_once('(')?;
    Some(Syscall {
        thread,
        name: name.to_owned(),
        text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_joined_where_the_call_returned() {
        let text = "10 fdatasync(5</w> <unfinished ...>\n\
                    11 read(3</a>, \"x\", 1) = 1\n\
                    10 <... fdatasync resumed>)  = 0\n\
                    10 --- SIGTERM {si_signo=SIGTERM} ---\n";
        let calls = parse(text);
        let seen: Vec<_> = calls.iter().map(|c| (c.thread, c.name.as_str())).collect();
        assert_eq!(seen, [(11, "read"), (10, "fdatasync")]);
        assert_eq!(calls[1].text, "fdatasync(5</w>)  = 0");
    }
}
