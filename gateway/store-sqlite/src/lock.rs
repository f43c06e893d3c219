//! One process per folder: an advisory lock that dies with its process, on a file system that keeps it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
    thread::sleep,
    time::Duration,
};

use quayside_store::{StoreError, StoreErrorKind};
use rustix::{
    fs::{FlockOperation, flock, fstatfs},
    io::Errno,
};

/// The name of the lock file. It holds the number of the process that has the store.
pub(crate) const LOCK_FILE: &str = "quayside.lock";
const OPERATION: &str = "open the embedded store";

/// File systems whose locks or shared memory do not hold between machines, by their magic numbers.
const NETWORK: [(u64, &str); 10] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0102_1997, "9p"),
    (0x5346_414f, "AFS"),
    (0x7375_7245, "Coda"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x564c, "NCP"),
];

/// The lock on a folder, held until it is dropped: nobody else opens the store in it.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

/// How often the lock is tried: a process that has just been killed has it until the last of its memory is gone.
const TRIES: u32 = 50;
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);

impl FolderLock {
    /// Takes the lock of `dir`, for which a supervisor may start a process right after the one before was killed. Blocks
    /// for up to a second.
    ///
    /// # Errors
    /// As [`FolderLock::take`].
    pub(crate) fn take_from_the_dying(dir: &Path) -> Result<Self, StoreError> {
        for _ in 1..TRIES {
            match Self::take(dir) {
                Err(error) if error.kind == StoreErrorKind::Occupied => sleep(PAUSE),
                taken => return taken,
            }
        }
        Self::take(dir)
    }

    /// Takes the lock of `dir`.
    ///
    /// # Errors
    /// `Occupied` names the process that has it; `Config` a network file system.
    pub(crate) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(LOCK_FILE);
        let unavailable = |error: io::Error| {
            let kind = match error.kind() {
                io::ErrorKind::StorageFull => StoreErrorKind::Full,
                _ => StoreErrorKind::Unavailable,
            };
            StoreError::new(kind, OPERATION, error)
        };
        // Not truncated: until the lock is ours, the number in it is the other process's.
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(unavailable)?;
        refuse_network(&file, dir)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(occupied(dir, &mut file)),
            Err(error) => return Err(unavailable(error.into())),
        }
        // Written over what is there before that is cut off: a full disk would not give the place back.
        let number = format!("{}\n", std::process::id());
        file.write_all(number.as_bytes()).map_err(unavailable)?;
        file.set_len(number.len() as u64).map_err(unavailable)?;
        Ok(Self { _file: file })
    }
}

fn occupied(dir: &Path, file: &mut File) -> StoreError {
    let mut content = String::new();
    let number = match file.read_to_string(&mut content) {
        // A longer number of an earlier process may still stand behind it.
        Ok(_) => content.lines().next().unwrap_or_default(),
        Err(_) => "",
    };
    let owner = match number {
        "" => "another process".to_owned(),
        number => format!("process {number}"),
    };
    let cause = format!("{owner} has the store in {} open", dir.display());
    StoreError::new(StoreErrorKind::Occupied, OPERATION, cause)
}

fn refuse_network(file: &File, dir: &Path) -> Result<(), StoreError> {
    let stat = fstatfs(file).map_err(|error| {
        StoreError::new(
            StoreErrorKind::Unavailable,
            OPERATION,
            io::Error::from(error),
        )
    })?;
    // The type of the field differs between machines; its low 32 bits are the number.
    let magic = (stat.f_type as u64) & 0xffff_ffff;
    match network_name(magic) {
        None => Ok(()),
        Some(name) => {
            let cause = format!(
                "[store] data_dir {} is on {name}, a network file system, whose locks do not keep two \
                 machines apart; use a local disk, or PostgreSQL",
                dir.display()
            );
            Err(StoreError::new(StoreErrorKind::Config, OPERATION, cause))
        }
    }
}

fn network_name(magic: u64) -> Option<&'static str> {
    NETWORK
        .iter()
        .find(|(number, _)| *number == magic)
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_has_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let first = FolderLock::take(dir.path()).unwrap();
        let error = FolderLock::take(dir.path()).unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Occupied);
        let cause = error.source.to_string();
        assert!(
            cause.contains(&format!("process {}", std::process::id())),
            "{cause}"
        );
        drop(first);
        FolderLock::take(dir.path()).unwrap();
    }

    #[test]
    fn network_file_systems_are_known_and_local_ones_are_not() {
        assert_eq!(network_name(0x6969), Some("NFS"));
        assert_eq!(network_name(0xff53_4d42), Some("CIFS"));
        for local in [0xef53, 0x0102_1994, 0x9123_683e, 0x5846_5342] {
            assert_eq!(network_name(local), None, "{local:x}");
        }
    }
}
