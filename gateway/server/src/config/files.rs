//! The files that an application names: schemas, which name others, and maps.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use quayside_pipeline::{ReadFile, Schema};
use sha2::{Digest, Sha256};

/// The largest of these files, in bytes.
const FILE_MAX: u64 = 16 * 1024 * 1024;

/// Reads files from the folder of an application, and remembers what it has read: they are part of the configuration.
#[derive(Debug)]
pub(crate) struct Files {
    folder: PathBuf,
    seen: Arc<Mutex<Seen>>,
}

/// Hashes of the files, by what they are and by their paths from the folder.
type Seen = BTreeMap<(&'static str, String), String>;

impl Files {
    pub(crate) fn in_folder(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            seen: Arc::default(),
        }
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Compiles the schema in the file at `path` from the folder.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn schema(&self, path: &str) -> Result<Schema, String> {
        let (folder, seen) = (self.folder.clone(), Arc::clone(&self.seen));
        let read: ReadFile = Arc::new(move |path| {
            let bytes = read(&folder, path)?;
            note(&seen, "schema", path, &bytes);
            Ok(bytes)
        });
        Schema::compile(path, &read)
    }

    /// The text of the map in the file at `path` from the folder.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(crate) fn map(&self, path: &str) -> Result<String, String> {
        let bytes = self.of_map(path)?;
        String::from_utf8(bytes).map_err(|_| format!("{path} is not UTF-8"))
    }

    /// What is in the file at `path` from the folder, which is a map or belongs to one.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub(crate) fn of_map(&self, path: &str) -> Result<Vec<u8>, String> {
        let bytes = read(&self.folder, path)?;
        note(&self.seen, "map", path, &bytes);
        Ok(bytes)
    }

    /// Where the file at `path` is, for a person.
    pub(crate) fn place(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// The files that were read.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.keys().map(|(_, path)| self.place(path)).collect()
    }

    /// A line for each file that was read, to tell one version of the configuration from another.
    pub(crate) fn lines(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = seen.iter();
        let lines = lines.map(|((what, path), hash)| format!("# {what} {path} {hash}\n"));
        lines.collect()
    }
}

fn note(seen: &Mutex<Seen>, what: &'static str, path: &str, bytes: &[u8]) {
    let hash = super::hex(&Sha256::digest(bytes));
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.insert((what, path.to_owned()), hash);
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
        let files = Files::in_folder(&app);
        assert_eq!(files.lines(), "");
        assert!(files.schema("a.json").is_ok());
        for path in [
            "../outside.json",
            "link.json",
            "/etc/hostname.json",
            "b.json",
        ] {
            assert!(files.schema(path).is_err(), "{path}");
            assert!(files.map(path).is_err(), "{path}");
        }
        let lines = files.lines();
        assert!(
            lines.starts_with("# schema a.json ") && lines.lines().count() == 1,
            "{lines}"
        );
        assert_eq!(files.map("a.json").as_deref(), Ok(schema));
        assert!(files.lines().starts_with("# map a.json "));
    }
}
