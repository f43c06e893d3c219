//! The page of a deadline: memory that the agent writes and a process reads.

use std::{fs::File, io, os::unix::fs::FileExt as _, time::Duration};

use quayside_lease::page;
use quayside_model::Monotonic;
use rustix::fs::{MemfdFlags, memfd_create};

/// The page of one process.
#[derive(Debug)]
pub(crate) struct Page(File);

impl Page {
    /// A page that allows nothing.
    pub(crate) fn shut_from_the_start() -> io::Result<Self> {
        let memory = memfd_create("quayside-deadline", MemfdFlags::CLOEXEC)?;
        let page = Self(File::from(memory));
        page.write(Monotonic::from_boot(Duration::ZERO))?;
        Ok(page)
    }

    /// Lets the process act until `deadline`.
    pub(crate) fn write(&self, deadline: Monotonic) -> io::Result<()> {
        self.0.write_all_at(&page::encode(deadline), 0)
    }

    /// Lets it do nothing.
    pub(crate) fn shut(&self) -> io::Result<()> {
        self.write(Monotonic::from_boot(Duration::ZERO))
    }

    /// To be sent to the process.
    pub(crate) fn file(&self) -> &File {
        &self.0
    }
}
