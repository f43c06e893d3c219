//! Secrets in a folder: one file for each, readable by the gateway's user only.
//!
//! The folder is that of `[secrets] folder`, or of systemd's credentials. A file is read again at each
//! use, so that a rotated secret is taken up without a restart.

use std::path::{Path, PathBuf};

use quayside_adapter_api::{AdapterError, ErrorKind, SecretRef, Secrets, services::Secret};
use quayside_store_postgres::private_file;

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

    /// The file of the secret `name`, whether it is there or not.
    ///
    /// # Errors
    /// That no secret can have this name.
    pub(crate) fn path(&self, name: &str) -> Result<PathBuf, String> {
        let plain = !name.starts_with('.')
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if name.is_empty() || !plain {
            return Err("its name may have letters, digits, `-`, `_` and `.` only".to_owned());
        }
        Ok(self.folder.join(name))
    }

    fn read(&self, name: &str) -> Result<Secret, String> {
        // The agent reads the password of the store by the same rule.
        let bytes = private_file(&self.path(name)?, MAX_BYTES)?;
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
