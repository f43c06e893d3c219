//! A Docker engine: the one that runs, else one of our own.
//!
//! Our own keeps its images in a folder that outlives the run, `QUAYSIDE_DOCKER_ROOT` or the folder `docker` beside the
//! built programs, and has everything else in a temporary one. It is ended by its own pid, and takes its containers with
//! it.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use quayside_harness::{program, wait_for};
use rustix::process::{Pid, Signal, getuid, kill_process};
use tempfile::TempDir;

/// The program of the engine.
const DAEMON: &str = "/usr/sbin/dockerd";

/// How long it may take to start, and to end with all its containers.
const START: Duration = Duration::from_secs(60);

/// The longest that any command of its client may take.
const LONGEST: Duration = Duration::from_secs(600);

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    /// Its address, if it is not the one that everybody uses.
    address: Option<String>,
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    process: Child,
    dir: TempDir,
}

impl Engine {
    /// Finds one, or starts one.
    ///
    /// # Panics
    /// When there is none and this user cannot start one.
    pub async fn start() -> Self {
        let mut engine = Self {
            address: None,
            own: None,
        };
        if engine.answers().await.is_ok() {
            return engine;
        }
        assert!(
            getuid().is_root() && Path::new(DAEMON).exists(),
            "no Docker engine answers, and starting one needs root and {DAEMON}: tests/run installs it"
        );
        let dir = tempfile::tempdir().expect("a temporary folder");
        let address = format!("unix://{}", dir.path().join("engine").display());
        let log = File::create(dir.path().join("log")).expect("creating the engine's log");
        // It has to end its containers, so it is told to end and not killed when this test dies.
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "--", DAEMON, "-H", &address])
            .arg("--data-root")
            .arg(root())
            .arg("--exec-root")
            .arg(dir.path().join("exec"))
            .arg("--pidfile")
            .arg(dir.path().join("pid"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("starting {DAEMON}: {e}"));
        engine.address = Some(address);
        engine.own = Some(Own { process, dir });
        wait_for("the Docker engine to answer", START, async || {
            let answer = engine.answers().await;
            answer.map_err(|error| format!("{error}\n{}", engine.log()))
        })
        .await;
        engine
    }

    /// Runs its client with these arguments, and returns what it prints.
    ///
    /// # Errors
    /// What it says, if it fails.
    pub async fn docker(&self, arguments: &[&str]) -> Result<String, String> {
        self.run(Path::new("docker"), arguments, &[]).await
    }

    /// Runs a program that is a client of it, and returns what that prints.
    ///
    /// # Errors
    /// What it says, if it fails.
    pub async fn run(
        &self,
        program: &Path,
        arguments: &[&str],
        settings: &[(&str, &str)],
    ) -> Result<String, String> {
        let mut command = self.command(program, arguments);
        command.envs(settings.iter().copied());
        let what = format!("{} {}", program.display(), arguments.join(" "));
        let run = tokio::task::spawn_blocking(move || command.output()).await;
        let out = run.expect("running a program does not panic");
        outcome(&what, out)
    }

    /// The same at once, for whoever cannot wait for anything: a value that is dropped.
    ///
    /// # Errors
    /// What it says, if it fails.
    pub fn docker_now(&self, arguments: &[&str]) -> Result<String, String> {
        let out = self.command(Path::new("docker"), arguments).output();
        outcome(&arguments.join(" "), out)
    }

    /// What a line of the shell prints that speaks to it.
    ///
    /// # Errors
    /// What it says, if it fails.
    pub fn shell_now(&self, line: &str) -> Result<String, String> {
        outcome(line, self.command(Path::new("sh"), &["-c", line]).output())
    }

    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.arg(LONGEST.as_secs().to_string());
        command.arg(program).args(arguments).stdin(Stdio::null());
        if let Some(address) = &self.address {
            command.env("DOCKER_HOST", address);
        }
        command
    }

    async fn answers(&self) -> Result<(), String> {
        let version = ["version", "--format", "{{.Server.Version}}"];
        self.docker(&version).await.map(drop)
    }

    /// The end of the log of an engine of our own.
    fn log(&self) -> String {
        let Some(own) = &self.own else {
            return String::new();
        };
        let text = fs::read_to_string(own.dir.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let Some(own) = &mut self.own else { return };
        if let Some(pid) = i32::try_from(own.process.id()).ok().and_then(Pid::from_raw) {
            // It fails only if the engine has ended by itself, which waiting for it shows too.
            let _gone = kill_process(pid, Signal::TERM);
        }
        let _status = own.process.wait();
    }
}

/// Where an engine of our own keeps its images.
fn root() -> PathBuf {
    if let Some(root) = env::var_os("QUAYSIDE_DOCKER_ROOT") {
        return root.into();
    }
    let programs = program("quayside");
    programs
        .parent()
        .expect("a folder")
        .with_file_name("docker")
}

fn outcome(what: &str, out: std::io::Result<Output>) -> Result<String, String> {
    let out = out.map_err(|e| format!("{what}: {e}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if out.status.success() {
        Ok(text(&out.stdout))
    } else {
        Err(format!("{what}: {} {}", out.status, text(&out.stderr)))
    }
}

/// The folder `path` of the repository.
#[must_use]
pub fn repository(path: impl AsRef<OsStr>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(Path::new(path.as_ref()))
}
