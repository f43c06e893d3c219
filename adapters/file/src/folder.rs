//! A folder held open: names are looked up in it by handle, so that a link put in the way leads nowhere.

use std::{
    fs::{File, Metadata},
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, RenameFlags},
    io::Errno,
};

/// An open folder. Every method blocks: call it where blocking is allowed.
#[derive(Debug)]
pub(crate) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

/// What tells one state of a file from another: which file it is, how long, last written when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Print {
    device: u64,
    inode: u64,
    pub(crate) size: u64,
    /// Nanoseconds since the epoch.
    pub(crate) modified: i128,
}

impl Print {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: i128::from(metadata.mtime()) * 1_000_000_000
                + i128::from(metadata.mtime_nsec()),
        }
    }
}

impl Folder {
    /// Opens the folder at `path`, through links if need be: an operator chose that path.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self {
            fd,
            path: path.to_owned(),
        })
    }

    /// Opens the folder at `path` and makes it, with the folders above it, if it is not there.
    pub(crate) fn open_or_create(path: &Path) -> io::Result<Self> {
        match Self::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            let parent = Self::open_or_create(parent)?;
            let made = std::fs::create_dir(path);
            ignore(made, io::ErrorKind::AlreadyExists)?;
            parent.sync()?;
        }
        Self::open(path)
    }

    /// Opens the folder `name` below this one, never through a link: a message chose that name.
    pub(crate) fn below(&self, name: &str, create: bool) -> io::Result<Self> {
        if create {
            match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o777)) {
                Ok(()) => self.sync()?,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty())?;
        Ok(Self {
            fd,
            path: self.path.join(name),
        })
    }

    /// Where it is, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file `name` for reading. Neither a link nor a pipe without a writer holds it up.
    pub(crate) fn open_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.fd, name, flags, Mode::empty())?.into())
    }

    /// Makes the file `name`, which must not exist, for writing.
    pub(crate) fn create_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o666);
        Ok(rustix::fs::openat(&self.fd, name, flags, mode)?.into())
    }

    /// Moves `from` to `to` in `target` and replaces nothing: [`io::ErrorKind::AlreadyExists`].
    pub(crate) fn move_new(&self, from: &str, target: &Self, to: &str) -> io::Result<()> {
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&self.fd, from, &target.fd, to, flags) {
            // Not every file system (NFS, for one) can do it in one step. A second name and the removal
            // of the first refuse to replace as well; only a crash in between leaves both.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                rustix::fs::linkat(&self.fd, from, &target.fd, to, AtFlags::empty())?;
                Ok(self.remove(from)?)
            }
            moved => Ok(moved?),
        }
    }

    /// Moves `from` to `to` here, in the place of what is there.
    pub(crate) fn move_over(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.fd, from, &self.fd, to)?)
    }

    /// Removes the file `name`.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())?)
    }

    /// Makes durable what was made, moved and removed in it.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    /// Whether files may be made in it, as far as the system says without making one.
    pub(crate) fn writable(&self) -> io::Result<()> {
        use rustix::fs::Access;
        let access = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
        Ok(rustix::fs::accessat(
            &self.fd,
            ".",
            access,
            AtFlags::empty(),
        )?)
    }

    /// The bytes that are free for the gateway's user.
    pub(crate) fn free_space(&self) -> io::Result<u64> {
        let found = rustix::fs::fstatvfs(&self.fd)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// The names in it, in no order. A name that is no UTF-8 comes with U+FFFD in its place and `false`.
    pub(crate) fn names(&self) -> io::Result<impl Iterator<Item = io::Result<(String, bool)>>> {
        // By handle as well: `.` of the folder that is open, not of what has its path now.
        let dir = rustix::fs::Dir::read_from(&self.fd)?;
        Ok(dir.filter_map(|entry| match entry {
            Ok(entry) => match entry.file_name().to_bytes() {
                b"." | b".." => None,
                bytes => Some(Ok(match std::str::from_utf8(bytes) {
                    Ok(name) => (name.to_owned(), true),
                    Err(_) => (String::from_utf8_lossy(bytes).into_owned(), false),
                })),
            },
            Err(errno) => Some(Err(errno.into())),
        }))
    }

    /// What stands under `name`, links not followed; `None` if nothing does.
    pub(crate) fn look(&self, name: &str) -> io::Result<Option<Metadata>> {
        match std::fs::symlink_metadata(self.path.join(name)) {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether `other` is on the same file system, so that a rename leads there.
    pub(crate) fn same_file_system(&self, other: &Self) -> io::Result<bool> {
        Ok(rustix::fs::fstat(&self.fd)?.st_dev == rustix::fs::fstat(&other.fd)?.st_dev)
    }
}

/// Takes a failure of kind `expected` for success: somebody else did it first.
pub(crate) fn ignore(result: io::Result<()>, expected: io::ErrorKind) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == expected => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_replaces_nothing() {
        let temp = tempfile::tempdir().expect("temp folder");
        let folder = Folder::open(temp.path()).expect("opens");
        std::fs::write(temp.path().join("a"), "a").expect("written");
        std::fs::write(temp.path().join("b"), "b").expect("written");
        let refused = folder.move_new("a", &folder, "b").expect_err("b exists");
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        folder.move_new("a", &folder, "c").expect("c is free");
        assert!(folder.look("a").expect("looked").is_none());
    }

    #[test]
    fn a_link_below_leads_nowhere() {
        let temp = tempfile::tempdir().expect("temp folder");
        let elsewhere = tempfile::tempdir().expect("temp folder");
        std::os::unix::fs::symlink(elsewhere.path(), temp.path().join("out")).expect("linked");
        let folder = Folder::open(temp.path()).expect("opens");
        assert!(folder.below("out", true).is_err());
        assert!(folder.below("in", true).is_ok());
    }
}
