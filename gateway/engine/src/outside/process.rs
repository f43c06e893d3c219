//! One process of a map: started within its limits, given one document, ended.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use bytes::Bytes;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getrlimit, kill_process_group, prlimit, setpriority_process,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    time::timeout,
};

use super::{Language, OutsideError, Program, Settings, kept};
use crate::codes;

/// How much of what a program complains is kept, in bytes; the rest is read and dropped.
const TOLD: usize = 1024;
/// How much is read at once.
const PIECE: usize = 16 * 1024;
/// How much it gives way to the gateway, by `nice`.
const NICE: i32 = 10;
/// What programs say that get no more memory.
const NO_MEMORY: [&str; 5] = [
    "allocation failed",
    "out of memory",
    "outofmemory",
    "cannot allocate memory",
    "memory allocation of",
];

/// A process that waits for its document. It is ended when it is dropped.
#[derive(Debug)]
pub(super) struct Worker {
    child: Child,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a process for `program`. Blocks; within a runtime, which reaps it.
///
/// # Errors
/// It cannot be started on this machine.
pub(super) fn start(
    settings: &Settings,
    program: &Program,
    params: &[(String, String)],
) -> Result<Worker, OutsideError> {
    let here = |detail: String| OutsideError::here(codes::OUTSIDE_START, detail);
    let (folder, file) = kept::keep(&settings.folder, program)
        .map_err(|error| here(format!("{}: {error}", settings.folder.display())))?;
    let command = match program.language {
        Language::Xslt => &settings.xslt,
        Language::Jq => &settings.jq,
    };
    let words = command.with(&file.to_string_lossy(), params);
    let words = words.ok_or_else(|| {
        let detail = "the command of this machine takes no parameters";
        OutsideError::new(codes::OUTSIDE_PARAMETER, detail)
    })?;
    let Some((first, arguments)) = words.split_first() else {
        return Err(here("the command is empty".to_owned()));
    };
    let child = Command::new(first)
        .args(arguments)
        .current_dir(folder)
        // Nothing of ours is its business, secrets in the environment least of all.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Of its own, so that what it starts is ended with it, and no signal for the gateway ends it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let child = child.map_err(|error| here(format!("`{first}` cannot be started: {error}")))?;
    let worker = Worker { child };
    worker
        .limit(settings)
        .map_err(|error| here(format!("`{first}` cannot be limited: {error}")))?;
    Ok(worker)
}

impl Worker {
    fn pid(&self) -> Option<Pid> {
        let id = self.child.id()?;
        Pid::from_raw(i32::try_from(id).ok()?)
    }

    /// Sets what the operating system keeps, before the process has seen a byte of a document.
    fn limit(&self, settings: &Settings) -> io::Result<()> {
        let Some(pid) = self.pid() else {
            return Ok(());
        };
        // Our own clock ends it before; this holds also if the gateway is gone.
        let seconds = settings.timeout.as_secs() + 2;
        let limits = [
            (Resource::As, settings.memory),
            (Resource::Cpu, seconds),
            (Resource::Core, 0),
            (Resource::Fsize, 0),
        ];
        // All other traffic goes first.
        match setpriority_process(Some(pid), NICE) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
        for (resource, most) in limits {
            // It has ours, which nobody may raise.
            let most = getrlimit(resource)
                .maximum
                .map_or(most, |ours| ours.min(most));
            let limit = Rlimit {
                current: Some(most),
                maximum: Some(most),
            };
            match prlimit(Some(pid), resource, limit) {
                // It has ended already, and says why when it is used.
                Ok(_) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether it still runs.
    pub(super) fn waits(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Gives it its document, and takes what it makes of it.
    ///
    /// # Errors
    /// Why it makes nothing.
    pub(super) async fn run(
        mut self,
        input: Bytes,
        most: usize,
        settings: &Settings,
    ) -> Result<Vec<u8>, OutsideError> {
        let talked = timeout(settings.timeout, self.talk(input, most)).await;
        let (made, told, status) = match talked {
            Ok(Ok(all)) => all,
            Ok(Err(error)) => {
                self.end().await;
                return Err(error);
            }
            Err(_) => {
                self.end().await;
                return Err(too_long(settings.timeout));
            }
        };
        // It has ended, but what it may have started has not.
        self.kill();
        judge(status, &told, settings).map(|()| made)
    }

    async fn talk(
        &mut self,
        input: Bytes,
        most: usize,
    ) -> Result<(Vec<u8>, String, ExitStatus), OutsideError> {
        let child = &mut self.child;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(OutsideError::here(codes::OUTSIDE_START, "it has no pipes"));
        };
        let give = async {
            // One that does not want all of it has its reasons, and tells them otherwise.
            let _ = stdin.write_all(&input).await;
            drop(stdin);
            Ok(())
        };
        let told = async { Ok(begin_of(stderr).await) };
        let ((), made, told) = tokio::try_join!(give, all_of(stdout, most), told)?;
        let status = self.child.wait().await;
        let status = status.map_err(|error| broken(&error))?;
        Ok((made, told, status))
    }

    /// Ends it, and waits until it is gone.
    pub(super) async fn end(mut self) {
        self.kill();
        // Nothing outlives this signal; what cannot be waited for is gone already.
        let _ = self.child.wait().await;
    }

    fn kill(&mut self) {
        if let Some(pid) = self.pid() {
            // It may have ended by itself.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// What comes until the end.
///
/// # Errors
/// It is more than `most` bytes.
async fn all_of(mut from: impl AsyncRead + Unpin, most: usize) -> Result<Vec<u8>, OutsideError> {
    let (mut all, mut piece) = (Vec::new(), vec![0; PIECE]);
    loop {
        let count = from
            .read(&mut piece)
            .await
            .map_err(|error| broken(&error))?;
        if count == 0 {
            return Ok(all);
        }
        if all.len() + count > most {
            let detail = format!("it makes more than {most} bytes");
            return Err(OutsideError::new(codes::OUTSIDE_OUTPUT, detail));
        }
        all.extend_from_slice(&piece[..count]);
    }
}

/// What is said first; all of it is read, so that nobody waits with the rest of it.
async fn begin_of(mut from: impl AsyncRead + Unpin) -> String {
    let (mut begin, mut piece) = (Vec::new(), vec![0; PIECE]);
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        let room = TOLD - begin.len();
        begin.extend_from_slice(&piece[..count.min(room)]);
    }
    let text = String::from_utf8_lossy(&begin);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

/// What its end says.
fn judge(status: ExitStatus, told: &str, settings: &Settings) -> Result<(), OutsideError> {
    let failed = |detail: String| Err(OutsideError::new(codes::OUTSIDE_FAILED, detail));
    let small = told.to_lowercase();
    // Some go on without what they could not allocate, and end as if all were well.
    if NO_MEMORY.iter().any(|words| small.contains(words)) {
        return Err(no_memory(settings.memory, told));
    }
    match (status.signal(), status.code()) {
        (None, Some(0)) => Ok(()),
        (Some(signal), _) if signal == Signal::XCPU.as_raw() => Err(too_long(settings.timeout)),
        (Some(signal), _) if told.is_empty() => Err(no_memory(
            settings.memory,
            &format!("it was ended by signal {signal}"),
        )),
        (Some(signal), _) => failed(format!("it was ended by signal {signal}: {told}")),
        (None, code) => {
            let code = code.unwrap_or_default();
            let told = if told.is_empty() {
                "it says nothing"
            } else {
                told
            };
            failed(format!("it ended with {code}: {told}"))
        }
    }
}

fn no_memory(most: u64, told: &str) -> OutsideError {
    let detail = format!(
        "it wants more than {} MiB of memory: {told}",
        most / (1024 * 1024)
    );
    OutsideError::new(codes::OUTSIDE_MEMORY, detail)
}

fn too_long(limit: Duration) -> OutsideError {
    let detail = format!("it did not end within {limit:?}");
    OutsideError::new(codes::OUTSIDE_TIME, detail)
}

fn broken(error: &io::Error) -> OutsideError {
    OutsideError::here(codes::OUTSIDE_START, format!("its pipes broke: {error}"))
}
