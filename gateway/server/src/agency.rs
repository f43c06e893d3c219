//! The agent that started this process, if one did: what it says, and what it is told.
//!
//! Standard input is a socket to it then, and beside its first packet comes the page of the deadline. The
//! process does not outlive its agent: the kernel kills it when the agent's thread that started it ends, and
//! the page, which nobody moves on any more, shuts its gate before that if the kernel were late.

use std::{
    fs::File,
    io::{ErrorKind, IoSliceMut, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{fs::FileExt as _, net::UnixStream},
    },
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use quayside_engine::{Agency as EngineAgency, Gate, Pulse};
use quayside_lease::{Beat, Epoch, Former, HostState, Member, ToAgent, ToHost, page, protocol};
use quayside_model::Monotonic;
use rustix::{
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
    process::{Signal, getppid, set_parent_process_death_signal},
};
use tokio::net::UnixStream as Packets;
use tracing::warn;

use crate::{
    cli::codes,
    exit::{Exit, Failure},
};

/// Set by the agent for the processes it starts.
const MARK: &str = "QUAYSIDE_AGENT";
/// How often a page that is being written is read again.
const READS_MAX: usize = 64;

/// The agent of this process.
#[derive(Debug)]
pub(crate) struct Agency {
    /// Where the API is served.
    pub(crate) api: PathBuf,
    /// Of a clustered host.
    member: Option<Member>,
    page: Arc<Page>,
    line: Line,
    packets: Packets,
}

/// What the agent says to a process that runs.
#[derive(Debug)]
pub(crate) enum Word {
    /// It is the active one, after that owner, if there was one on another node.
    Grant(Epoch, Option<Former>),
    /// It is to finish and end.
    Drain(Duration),
    /// There is no agent any more.
    Gone,
}

/// What the process says to its agent. Whatever the socket does not take at once is dropped: the next beat
/// follows soon, and an agent that does not read is one that hangs.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    socket: Arc<UnixStream>,
    state: Arc<AtomicU8>,
}

/// The page of the deadline.
#[derive(Debug)]
struct Page(File);

impl Gate for Page {
    fn deadline(&self) -> Monotonic {
        let closed = Monotonic::from_boot(Duration::ZERO);
        for _ in 0..READS_MAX {
            let mut bytes = [0; page::LEN];
            if self.0.read_exact_at(&mut bytes, 0).is_err() {
                return closed;
            }
            if let Some(deadline) = page::decode(bytes) {
                return deadline;
            }
        }
        closed
    }
}

/// The agent's first packet and what came with it, before there is a runtime.
#[derive(Debug)]
pub(crate) struct Adopted {
    socket: UnixStream,
    page: Page,
    welcome: ToHost,
}

impl Adopted {
    /// Of this process, if an agent has started it. Binds its life to the agent's.
    ///
    /// # Errors
    /// The agent does not speak, is of another version, or is gone already.
    pub(crate) fn here() -> Result<Option<Self>, Failure> {
        if std::env::var_os(MARK).is_none() {
            return Ok(None);
        }
        let failed = |what: &str| Failure::new(codes::AGENT, what.to_owned()).exiting(Exit::Orphan);
        let socket = std::io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| failed(&format!("standard input: {error}")))?;
        let (welcome, page) = first_packet(&socket).map_err(|error| failed(&error))?;
        let ToHost::Welcome { agent, .. } = &welcome else {
            return Err(failed("its first packet is no welcome"));
        };
        set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|error| failed(&format!("to be told of its end: {error}")))?;
        // It may have ended before the kernel was asked to tell.
        let parent = getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        if parent != Some(*agent) {
            return Err(failed("it has ended already"));
        }
        Ok(Some(Self {
            socket: UnixStream::from(socket),
            page,
            welcome,
        }))
    }

    /// Goes on inside of a runtime.
    pub(crate) fn join(self) -> Result<Agency, Failure> {
        let failed =
            |error| Failure::new(codes::AGENT, format!("the socket to the agent: {error}"));
        let ToHost::Welcome { api, member, .. } = self.welcome else {
            return Err(Failure::new(codes::INTERNAL, "looked at in `here`"));
        };
        self.socket.set_nonblocking(true).map_err(failed)?;
        let writer = self.socket.try_clone().map_err(failed)?;
        let packets = Packets::from_std(self.socket).map_err(failed)?;
        Ok(Agency {
            api: PathBuf::from(api),
            member,
            page: Arc::new(self.page),
            line: Line {
                socket: Arc::new(writer),
                state: Arc::new(AtomicU8::new(0)),
            },
            packets,
        })
    }
}

fn first_packet(socket: &OwnedFd) -> Result<(ToHost, Page), String> {
    let mut bytes = [0; protocol::PACKET_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let got = recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
        .map_err(|error| error.to_string())?;
    let page = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    let page = page.ok_or("its first packet brings no page of the deadline")?;
    let welcome = protocol::decode(&bytes[..got.bytes]).map_err(|error| error.to_string())?;
    Ok((welcome, Page(File::from(page))))
}

impl Agency {
    /// What the engine of a clustered host works by; an unclustered one is only supervised.
    pub(crate) fn for_engine(&self) -> Option<EngineAgency> {
        let Member { instance, .. } = self.member?;
        let line = self.line.clone();
        Some(EngineAgency {
            instance,
            gate: Arc::clone(&self.page) as Arc<dyn Gate>,
            beat: Arc::new(move |pulse| line.beat(pulse)),
        })
    }

    /// Whether its processes run a clustered host, one of them at a time.
    pub(crate) fn is_clustered(&self) -> bool {
        self.member.is_some()
    }

    /// What tells the agent.
    pub(crate) fn line(&self) -> &Line {
        &self.line
    }

    /// Waits for the agent's next word. Cancel safe.
    pub(crate) async fn next(&self) -> Word {
        // Not in the future, which would be as large.
        let mut bytes = vec![0; protocol::PACKET_MAX];
        loop {
            if self.packets.readable().await.is_err() {
                return Word::Gone;
            }
            let packet = match self.packets.try_read(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Ok(length) if length > 0 => &bytes[..length],
                _ => return Word::Gone,
            };
            match protocol::decode(packet) {
                Ok(ToHost::Grant { epoch, former, .. }) => return Word::Grant(epoch, former),
                Ok(ToHost::Drain { within_ms }) => {
                    return Word::Drain(Duration::from_millis(within_ms));
                }
                Ok(ToHost::Welcome { .. }) => {}
                Err(error) => {
                    warn!(code = %codes::AGENT, %error, "the agent says what nobody understands")
                }
            }
        }
    }
}

impl Line {
    /// What the next beats say of the process.
    pub(crate) fn set(&self, state: HostState) {
        self.state.store(state as u8, Ordering::SeqCst);
    }

    /// Says that all work is finished.
    pub(crate) fn drained(&self) {
        self.say(&ToAgent::Drained);
    }

    fn beat(&self, pulse: Pulse) {
        let states = [
            HostState::Starting,
            HostState::Standby,
            HostState::Online,
            HostState::Draining,
        ];
        let state = states[usize::from(self.state.load(Ordering::SeqCst))];
        self.say(&ToAgent::Beat(Beat {
            state,
            in_flight: u32::try_from(pulse.in_flight).unwrap_or(u32::MAX),
            adapters: pulse.adapters,
        }));
    }

    fn say(&self, word: &ToAgent) {
        let packet = protocol::encode(word);
        if let Err(error) = (&*self.socket).write(&packet)
            && error.kind() != ErrorKind::WouldBlock
        {
            warn!(code = %codes::AGENT, %error, "the agent cannot be told");
        }
    }
}
