//! What the file system says, in the words that the engine acts on.

use std::{io, path::Path};

use quayside_adapter_api::{AdapterError, ErrorKind, model::Code};
use rustix::io::Errno;

use crate::codes;

/// A failure around a folder: the whole location or port is concerned.
pub(crate) fn of_folder(path: &Path, doing: &str, error: &io::Error) -> AdapterError {
    let (kind, code) = classify(error);
    AdapterError::new(kind, code, describe(path, doing, error))
}

/// A failure around one file that the gateway reads. It never stops the location.
pub(crate) fn of_file(path: &Path, doing: &str, error: &io::Error) -> AdapterError {
    AdapterError::new(
        ErrorKind::Retry(None),
        codes::FILE_UNREADABLE,
        describe(path, doing, error),
    )
}

/// The open location takes nothing any more.
pub(crate) fn closed() -> AdapterError {
    AdapterError::new(ErrorKind::Ended, codes::CLOSED, "the location is closed")
}

fn describe(path: &Path, doing: &str, error: &io::Error) -> String {
    format!("failed to {doing} {}: {error}", path.display())
}

fn classify(error: &io::Error) -> (ErrorKind, Code) {
    let Some(errno) = error.raw_os_error().map(Errno::from_raw_os_error) else {
        return (ErrorKind::Retry(None), codes::IO);
    };
    match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => (ErrorKind::Config, codes::FOLDER_MISSING),
        Errno::ACCESS | Errno::PERM | Errno::ROFS => (ErrorKind::Config, codes::FOLDER_DENIED),
        Errno::NOSPC | Errno::DQUOT => (ErrorKind::Retry(None), codes::DISK_FULL),
        Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ => {
            (ErrorKind::Rejected, codes::NAME_REFUSED)
        }
        Errno::ISDIR => (ErrorKind::Rejected, codes::TARGET_EXISTS),
        Errno::FBIG => (ErrorKind::Rejected, codes::DISK_FULL),
        Errno::STALE | Errno::HOSTDOWN | Errno::NODEV | Errno::NOTCONN => {
            (ErrorKind::Disconnected, codes::IO)
        }
        _ => (ErrorKind::Retry(None), codes::IO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_consequence() {
        for (errno, kind, code) in [
            (Errno::NOSPC, ErrorKind::Retry(None), codes::DISK_FULL),
            (Errno::ACCESS, ErrorKind::Config, codes::FOLDER_DENIED),
            (Errno::NOENT, ErrorKind::Config, codes::FOLDER_MISSING),
            (Errno::STALE, ErrorKind::Disconnected, codes::IO),
            (Errno::IO, ErrorKind::Retry(None), codes::IO),
            (Errno::NAMETOOLONG, ErrorKind::Rejected, codes::NAME_REFUSED),
        ] {
            let error = io::Error::from(errno);
            let found = of_folder(Path::new("/x"), "open", &error);
            assert_eq!((found.kind, found.code), (kind, code), "{errno:?}");
        }
    }
}
