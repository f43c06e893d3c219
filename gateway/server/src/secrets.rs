//! Secrets in a folder: one file for each, readable by the gateway's user only.
//!
//! The folder is that of `[secrets] folder`, or of systemd's credentials. A file is read again at each
//! use, so that a rotated secret is taken up without a restart.

use std::{
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use quayside_adapter_api::{AdapterError, ErrorKind, SecretRef, Secrets, services::Secret};

use crate::cli::codes;

/// The longest secret: a certificate chain fits, a disk image does not.
const MAX_BYTES: u64 = 1024 * 1024;

/// Secrets in one folder.
#[derive(Debug)]
pub(crate) struct FolderSecrets {
    folder: PathBuf,
}

impl FolderSecrets {
    /// The secrets of `folder`, which need not exist before one is asked for.
    pub(crate) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    fn read(&self, name: &str) -> Result<Secret, String> {
        let plain = !name.starts_with('.')
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if name.is_empty() || !plain {
            return Err("its name may have letters, digits, `-`, `_` and `.` only".to_owned());
        }
        let path = self.folder.join(name);
        let at = |error: std::io::Error| format!("{}: {error}", path.display());
        let file = std::fs::File::open(&path).map_err(at)?;
        // Of the open file, not of its path: what is checked is what is read.
        let meta = file.metadata().map_err(at)?;
        if meta.mode() & 0o077 != 0 {
            let mode = meta.mode() & 0o777;
            return Err(format!(
                "{} has mode {mode:04o}: others may read it",
                path.display()
            ));
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(at)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(format!("{} is longer than 1 MiB", path.display()));
        }
        Ok(Secret::new(&bytes))
    }
}

impl Secrets for FolderSecrets {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, AdapterError> {
        self.read(&reference.secret).map_err(|cause| {
            let detail = format!("the secret `{}` cannot be read: {cause}", reference.secret);
            AdapterError::new(ErrorKind::Config, codes::SECRET, detail)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn resolve(folder: &Path, name: &str) -> Result<String, String> {
        let reference = SecretRef {
            secret: name.to_owned(),
        };
        let secret = FolderSecrets::new(folder).resolve(&reference);
        secret
            .map(|secret| secret.expose_text().unwrap_or_default().to_owned())
            .map_err(|error| error.detail)
    }

    #[test]
    fn only_private_files_are_secrets() {
        let folder = tempfile::tempdir().expect("a folder");
        let put = |name: &str, mode: u32| {
            let path = folder.path().join(name);
            std::fs::write(&path, "hunter2\n").expect("written");
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("set");
        };
        put("good", 0o600);
        put("credential", 0o400);
        put("open", 0o644);
        assert_eq!(resolve(folder.path(), "good").as_deref(), Ok("hunter2"));
        assert_eq!(
            resolve(folder.path(), "credential").as_deref(),
            Ok("hunter2")
        );
        for (name, cause) in [
            ("open", "mode 0644"),
            ("none", "No such file"),
            ("../good", "its name"),
            ("", "its name"),
        ] {
            let error = resolve(folder.path(), name).expect_err(name);
            assert!(
                error.contains(cause) && !error.contains("hunter2"),
                "{name}: {error}"
            );
        }
    }
}
