//! The processes of this node: started, heard, told, killed, waited for.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    sync::{Arc, mpsc::SyncSender},
    time::Duration,
};

use quayside_lease::{Beat, Exit, Former, Grant, KillReason, ToAgent, ToHost, protocol};
use quayside_model::{InstanceId, Monotonic};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_send_signal, waitid,
};
use tokio::{
    net::UnixStream as Packets,
    sync::{mpsc, oneshot},
    task::{JoinHandle, JoinSet},
};
use tracing::{error, info, warn};

use crate::{
    codes,
    page::Page,
    spawner::{Order, Started},
    watchdog::Watchdog,
};

/// What happens to a process.
#[derive(Debug)]
pub(crate) enum News {
    /// It was started, or could not be.
    Started(InstanceId, io::Result<Started>),
    /// It works.
    Beat(InstanceId, Beat),
    /// It has finished everything.
    Drained(InstanceId),
    /// The store told it that it is not the owner.
    Fenced(InstanceId),
    /// It has ended and was waited for.
    Ended(InstanceId, Exit),
}

/// A process to start.
#[derive(Debug)]
pub(crate) struct Spawn {
    pub(crate) instance: InstanceId,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<std::ffi::OsString>,
    pub(crate) welcome: ToHost,
}

/// The processes of this node, by what they are to the store.
#[derive(Debug)]
pub(crate) struct Processes {
    running: BTreeMap<InstanceId, Running>,
    spawner: SyncSender<Order>,
    news: mpsc::Sender<News>,
    watchdog: Arc<Watchdog>,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
enum Running {
    /// Ordered; `killed`: not wanted any more.
    Starting {
        killed: bool,
    },
    Up(Up),
}

#[derive(Debug)]
struct Up {
    pid: Pid,
    handle: Arc<OwnedFd>,
    socket: UnixStream,
    page: Page,
}

impl Processes {
    pub(crate) fn new(
        spawner: SyncSender<Order>,
        news: mpsc::Sender<News>,
        watchdog: Arc<Watchdog>,
    ) -> Self {
        Self {
            running: BTreeMap::new(),
            spawner,
            news,
            watchdog,
            tasks: JoinSet::new(),
        }
    }

    /// A process is going to be [started](Self::start).
    pub(crate) fn expect(&mut self, instance: InstanceId) {
        let starting = Running::Starting { killed: false };
        self.running.insert(instance, starting);
    }

    /// Starts a process. [`News::Started`] follows. `false`: it was killed before that.
    pub(crate) fn start(&mut self, spawn: Spawn) -> bool {
        let instance = spawn.instance;
        if let Some(Running::Starting { killed: true }) = self.running.get(&instance) {
            return false;
        }
        self.expect(instance);
        let (answer, started) = oneshot::channel();
        let order = Order {
            program: spawn.program,
            args: spawn.args,
            welcome: spawn.welcome,
            answer,
        };
        // Full only if processes cannot be started: then this one cannot be either.
        let sent = self.spawner.try_send(order);
        let news = self.news.clone();
        self.tasks.spawn(async move {
            let started = match sent {
                Ok(()) => started.await.unwrap_or_else(|_| Err(stopped())),
                Err(_) => Err(stopped()),
            };
            // Nobody listens to an agent that ends.
            drop(news.send(News::Started(instance, started)).await);
        });
        while self.tasks.try_join_next().is_some() {}
        true
    }

    /// Takes over a process that was started. `false`: it was not.
    pub(crate) fn started(&mut self, instance: InstanceId, result: io::Result<Started>) -> bool {
        let killed = matches!(
            self.running.get(&instance),
            Some(Running::Starting { killed: true })
        );
        let started = match result {
            Ok(started) => started,
            Err(error) => {
                error!(code = %codes::HOST_START, %instance, %error, "the process cannot be started");
                self.running.remove(&instance);
                return false;
            }
        };
        let handle = Arc::new(started.handle);
        match self.listen(instance, &handle, &started.socket) {
            Ok(()) => {}
            Err(error) => {
                // Nobody would hear of its end.
                error!(code = %codes::HOST_START, %instance, %error, "the process cannot be followed");
                kill(&handle, started.pid);
                self.running.remove(&instance);
                return false;
            }
        }
        info!(%instance, pid = started.pid.as_raw_nonzero(), "a process of a host has started");
        if killed {
            kill(&handle, started.pid);
        }
        let up = Up {
            pid: started.pid,
            handle,
            socket: started.socket,
            page: started.page,
        };
        self.running.insert(instance, Running::Up(up));
        true
    }

    fn listen(
        &mut self,
        instance: InstanceId,
        handle: &Arc<OwnedFd>,
        socket: &UnixStream,
    ) -> io::Result<()> {
        let packets = socket.try_clone()?;
        packets.set_nonblocking(true)?;
        let packets = Packets::from_std(packets)?;
        let handle = Arc::clone(handle);
        // A thread that waits, because nothing safe registers the handle for readiness. The process ends, or is
        // killed, before the agent does.
        let end = tokio::task::spawn_blocking(move || exit_of(&handle));
        let news = self.news.clone();
        self.tasks.spawn(follow(instance, packets, end, news));
        Ok(())
    }

    /// Makes a process the active one, after `former`.
    pub(crate) fn grant(&mut self, instance: InstanceId, grant: Grant, former: Option<Former>) {
        let Grant {
            epoch,
            id,
            deadline,
        } = grant;
        if let Some(Running::Up(up)) = self.running.get(&instance) {
            self.watchdog.watch(instance, Arc::clone(&up.handle));
            write(instance, up.page.write(deadline));
            let after = former.as_ref().map(|former| former.node.to_string());
            info!(%instance, %epoch, after, "granted");
            tell(instance, up, &ToHost::Grant { epoch, id, former });
        }
    }

    /// Moves the deadline of a process.
    pub(crate) fn extend(&self, instance: InstanceId, deadline: Monotonic) {
        if let Some(Running::Up(up)) = self.running.get(&instance) {
            write(instance, up.page.write(deadline));
        }
    }

    /// Shuts the gate of a process.
    pub(crate) fn shut(&self, instance: InstanceId) {
        if let Some(Running::Up(up)) = self.running.get(&instance) {
            write(instance, up.page.shut());
        }
    }

    /// Tells a process to finish.
    pub(crate) fn drain(&self, instance: InstanceId, within: Duration) {
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        if let Some(Running::Up(up)) = self.running.get(&instance) {
            tell(instance, up, &ToHost::Drain { within_ms });
        }
    }

    /// Kills a process. Its end follows as news.
    pub(crate) fn kill(&mut self, instance: InstanceId, reason: KillReason) {
        if reason == KillReason::Unneeded {
            info!(%instance, %reason, "a process is killed");
        } else {
            warn!(code = %codes::HOST_KILLED, %instance, %reason, "a process is killed");
        }
        match self.running.get_mut(&instance) {
            Some(Running::Starting { killed }) => *killed = true,
            Some(Running::Up(up)) => kill(&up.handle, up.pid),
            None => {}
        }
    }

    /// Sends `signal` to a process; one that has not started yet is not wanted any more.
    pub(crate) fn signal(&mut self, instance: InstanceId, signal: Signal) {
        match self.running.get_mut(&instance) {
            Some(Running::Starting { killed }) => *killed |= signal != Signal::HUP,
            // It may have ended: then its end is on its way.
            Some(Running::Up(up)) => {
                let _ = pidfd_send_signal(&*up.handle, signal);
            }
            None => {}
        }
    }

    /// All of them.
    pub(crate) fn instances(&self) -> Vec<InstanceId> {
        self.running.keys().copied().collect()
    }

    /// A process has ended.
    pub(crate) fn ended(&mut self, instance: InstanceId) {
        self.watchdog.forget(instance);
        self.running.remove(&instance);
    }
}

fn stopped() -> io::Error {
    io::Error::other("the agent stops")
}

fn write(instance: InstanceId, written: io::Result<()>) {
    if let Err(error) = written {
        // The page keeps its deadline, which passes.
        error!(code = %codes::THREAD, %instance, %error, "the page of a deadline cannot be written");
    }
}

/// Packets are small and few: a process that does not take one hangs, and its beats tell.
fn tell(instance: InstanceId, up: &Up, word: &ToHost) {
    if let Err(error) = (&up.socket).write(&protocol::encode(word)) {
        warn!(code = %codes::HOST_ENDED, %instance, %error, "a process cannot be told");
    }
}

/// Kills the process, then whatever it has started. Only a process that has ended already cannot be killed.
fn kill(handle: &OwnedFd, pid: Pid) {
    let _ = pidfd_send_signal(handle, Signal::KILL);
    let _ = kill_process_group(pid, Signal::KILL);
}

/// Tells what a process says until it has ended, then that.
async fn follow(
    instance: InstanceId,
    packets: Packets,
    mut end: JoinHandle<Exit>,
    news: mpsc::Sender<News>,
) {
    let mut open = true;
    let exit = loop {
        tokio::select! {
            biased;
            said = next(&packets), if open => match said {
                Some(word) => drop(news.send(told(instance, word)).await),
                None => open = false,
            },
            exit = &mut end => break exit.unwrap_or(Exit::NotStarted),
        }
    };
    // What it said last comes before its end.
    while let Some(word) = read(&packets) {
        drop(news.send(told(instance, word)).await);
    }
    drop(news.send(News::Ended(instance, exit)).await);
}

fn told(instance: InstanceId, word: ToAgent) -> News {
    match word {
        ToAgent::Beat(beat) => News::Beat(instance, beat),
        ToAgent::Drained => News::Drained(instance),
        ToAgent::Fenced => News::Fenced(instance),
    }
}

async fn next(packets: &Packets) -> Option<ToAgent> {
    let mut bytes = vec![0; protocol::PACKET_MAX];
    loop {
        packets.readable().await.ok()?;
        match packets.try_read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(length) if length > 0 => {
                if let Some(word) = decode(&bytes[..length]) {
                    return Some(word);
                }
            }
            _ => return None,
        }
    }
}

fn read(packets: &Packets) -> Option<ToAgent> {
    let mut bytes = [0; protocol::PACKET_MAX];
    let length = packets
        .try_read(&mut bytes)
        .ok()
        .filter(|length| *length > 0)?;
    decode(&bytes[..length])
}

fn decode(packet: &[u8]) -> Option<ToAgent> {
    match protocol::decode(packet) {
        Ok(word) => Some(word),
        Err(error) => {
            warn!(code = %codes::PROGRAM, %error, "a process says what nobody understands");
            None
        }
    }
}

fn exit_of(handle: &OwnedFd) -> Exit {
    match waitid(WaitId::PidFd(handle.as_fd()), WaitIdOptions::EXITED) {
        Ok(Some(status)) => {
            let code = status.exit_status().map(Exit::Code);
            let signal = status.terminating_signal().map(Exit::Signal);
            code.or(signal).unwrap_or(Exit::NotStarted)
        }
        other => {
            error!(code = %codes::THREAD, ?other, "a process that has ended cannot be waited for");
            Exit::NotStarted
        }
    }
}
