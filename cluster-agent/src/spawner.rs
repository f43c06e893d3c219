//! Starts processes, on the main thread: it lives as long as the agent, and the kernel ends a process when the
//! thread that started it ends.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{net::UnixStream, process::CommandExt as _},
    },
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc::Receiver,
};

use quayside_lease::{ToHost, protocol};
use rustix::{
    net::{
        AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
        SocketType, sendmsg, socketpair,
    },
    process::{Pid, PidfdFlags, pidfd_open},
};
use tokio::sync::oneshot;

use crate::page::Page;

/// Tells `quayside` that its standard input is an agent.
const MARK: &str = "QUAYSIDE_AGENT";

/// How many processes may wait to be started.
pub(crate) const ORDERS_MAX: usize = 256;

/// A process to start.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<std::ffi::OsString>,
    /// The first thing it is told.
    pub(crate) welcome: ToHost,
    /// Dropped without an answer if the agent stops meanwhile.
    pub(crate) answer: oneshot::Sender<io::Result<Started>>,
}

/// A process that runs.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) pid: Pid,
    /// Names the process for good, also when its number is used again.
    pub(crate) handle: OwnedFd,
    /// Packets of [`quayside_lease::ToHost`] out, of [`quayside_lease::ToAgent`] in.
    pub(crate) socket: UnixStream,
    pub(crate) page: Page,
}

/// Starts what is ordered until nobody can order any more.
pub(crate) fn serve(orders: &Receiver<Order>) {
    for order in orders {
        let started = start(&order);
        if let Err(Ok(started)) = order.answer.send(started) {
            // Nobody knows it, so nobody would end it.
            let kill = rustix::process::Signal::KILL;
            let _ = rustix::process::pidfd_send_signal(&started.handle, kill);
        }
    }
}

fn start(order: &Order) -> io::Result<Started> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let page = Page::shut_from_the_start()?;
    welcome(&ours, &order.welcome, &page)?;
    // The signals of a terminal are for the agent alone, which decides who stops when.
    let child = Command::new(&order.program)
        .args(&order.args)
        .env(MARK, "1")
        .stdin(Stdio::from(theirs))
        .process_group(0)
        .spawn()?;
    let number = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = number.ok_or_else(|| io::Error::other("the process has no number"))?;
    // It has not been waited for, so that its number cannot be another's yet.
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    Ok(Started {
        pid,
        handle,
        socket: UnixStream::from(ours),
        page,
    })
}

fn welcome(socket: &OwnedFd, welcome: &ToHost, page: &Page) -> io::Result<()> {
    let packet = protocol::encode(welcome);
    let files = [page.file().as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::Error::other("the page does not fit beside the welcome"));
    }
    let parts = [IoSlice::new(&packet)];
    sendmsg(socket, &parts, &mut control, SendFlags::empty())?;
    Ok(())
}
