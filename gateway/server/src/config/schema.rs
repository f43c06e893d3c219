//! The schemas of an application: files in its folder, which name others there.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use quayside_pipeline::{ReadFile, Schema};
use sha2::{Digest, Sha256};

/// The largest file of a schema, in bytes.
const FILE_MAX: u64 = 16 * 1024 * 1024;

/// Reads schemas from the folder of an application, and remembers what it has read: they are part of the configuration.
#[derive(Debug)]
pub(crate) struct Schemas {
    folder: PathBuf,
    /// Hashes of the files, by their paths from the folder.
    seen: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Schemas {
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            seen: Arc::default(),
        }
    }

    /// Compiles the schema in the file at `path` from the folder.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn compile(&self, path: &str) -> Result<Schema, String> {
        let (folder, seen) = (self.folder.clone(), Arc::clone(&self.seen));
        let read: ReadFile = Arc::new(move |path| {
            let bytes = read(&folder, path)?;
            let hash = super::hex(&Sha256::digest(&bytes));
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.insert(path.to_owned(), hash);
            Ok(bytes)
        });
        Schema::compile(path, &read)
    }

    /// A line for each file that was read, to tell one version of the configuration from another.
    pub(crate) fn lines(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let line = |(path, hash): (&String, &String)| format!("# schema {path} {hash}\n");
        seen.iter().map(line).collect()
    }
}

/// Reads a file of the folder, wherever links in it lead, as long as that is in the folder.
fn read(folder: &Path, path: &str) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| format!("{path} cannot be read: {error}");
    let folder = folder.canonicalize().map_err(unreadable)?;
    let file = folder.join(path).canonicalize().map_err(unreadable)?;
    if !file.starts_with(&folder) {
        return Err(format!("{path} is not in the folder of the application"));
    }
    let length = file.metadata().map_err(unreadable)?.len();
    if length > FILE_MAX {
        return Err(format!("{path} is larger than {FILE_MAX} bytes"));
    }
    fs::read(file).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_folder_are_read_and_each_is_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let app = dir.path().join("app");
        fs::create_dir(&app).expect("a folder");
        let schema = r#"{"type": "object"}"#;
        for (path, text) in [("app/a.json", schema), ("outside.json", schema)] {
            fs::write(dir.path().join(path), text).expect("a file");
        }
        std::os::unix::fs::symlink(dir.path().join("outside.json"), app.join("link.json"))
            .expect("a link");
        let schemas = Schemas::in_folder(&app);
        assert_eq!(schemas.lines(), "");
        assert!(schemas.compile("a.json").is_ok());
        for path in [
            "../outside.json",
            "link.json",
            "/etc/hostname.json",
            "b.json",
        ] {
            assert!(schemas.compile(path).is_err(), "{path}");
        }
        let lines = schemas.lines();
        assert!(
            lines.starts_with("# schema a.json ") && lines.lines().count() == 1,
            "{lines}"
        );
    }
}
