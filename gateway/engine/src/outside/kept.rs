//! The texts of maps as files for their processes: those that were checked, whatever has become of the application's folder
//! since.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Component, Path, PathBuf},
    time::SystemTime,
};

use super::Program;

/// How many programs are kept; those that were put there first go first.
const KEPT: usize = 64;
/// How much of a hash names a folder.
const NAMED: usize = 32;

/// Puts the files of `program` into a folder of its own below `folder`, unless they lie there as they should. Returns that
/// folder and the file that is run. Blocks.
///
/// # Errors
/// They cannot be written.
pub(super) fn keep(folder: &Path, program: &Program) -> io::Result<(PathBuf, PathBuf)> {
    let own = folder.join(program.hash.get(..NAMED).unwrap_or(&program.hash));
    let is_new = !own.exists();
    private_folder(&own)?;
    for (path, text) in &*program.files {
        let path = Path::new(path);
        if !path
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
        {
            let what = format!("{} is no plain path", path.display());
            return Err(io::Error::other(what));
        }
        let file = own.join(path);
        if fs::read(&file).is_ok_and(|there| there == *text) {
            continue;
        }
        if let Some(parent) = file.parent() {
            private_folder(parent)?;
        }
        write(&file, text)?;
    }
    if is_new {
        // What cannot be removed now is removed with the next one.
        let _ = forget(folder, &own);
    }
    let main = own.join(&program.main);
    Ok((own, main))
}

fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Another process of the node may write the same at the same time: each by a name of its own, and whole when it has its name.
fn write(file: &Path, text: &[u8]) -> io::Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let id = std::process::id();
    let mine = file.with_file_name(format!(".{name}.{id}-{:?}", std::thread::current().id()));
    let made = || {
        let _ = fs::remove_file(&mine);
        let mut open: File = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&mine)?;
        open.write_all(text)?;
        fs::rename(&mine, file)
    };
    made().inspect_err(|_| drop(fs::remove_file(&mine)))
}

/// Removes the oldest folders beyond the bound, but not `own`. A process that still uses one puts it there again.
fn forget(folder: &Path, own: &Path) -> io::Result<()> {
    let mut all: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)?.flatten() {
        let made = entry.metadata().and_then(|data| data.modified());
        all.push((made.unwrap_or(SystemTime::UNIX_EPOCH), entry.path()));
    }
    all.sort();
    let extra = all.len().saturating_sub(KEPT);
    for (_, path) in all.into_iter().take(extra).filter(|(_, path)| path != own) {
        fs::remove_dir_all(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::outside::Language;

    fn program(text: &str) -> Program {
        let files = [("maps/a.xsl", text), ("codes.xml", "<c/>")];
        let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
        let (main, kind) = ("maps/a.xsl".to_owned(), "application/xml".to_owned());
        Program::new(
            Language::Xslt,
            main,
            BTreeMap::from(files),
            Vec::new(),
            kind,
        )
    }

    #[test]
    fn files_are_as_they_were_checked_whoever_has_changed_them() {
        let dir = tempfile::tempdir().expect("a folder");
        let one = program("<a/>");
        let (own, main) = keep(dir.path(), &one).expect("kept");
        assert_eq!(fs::read_to_string(&main).expect("there"), "<a/>");
        assert_eq!(
            fs::read_to_string(own.join("codes.xml")).expect("there"),
            "<c/>"
        );
        fs::write(&main, "<b/>").expect("changed");
        fs::remove_file(own.join("codes.xml")).expect("removed");
        assert_eq!(keep(dir.path(), &one).expect("kept").1, main);
        assert_eq!(fs::read_to_string(&main).expect("there"), "<a/>");
        assert!(own.join("codes.xml").exists());
        let left = fs::read_dir(own.join("maps")).expect("a folder");
        assert_eq!(left.count(), 1, "something is left beside the file");
    }

    #[test]
    fn no_more_than_a_number_of_programs_is_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        for no in 0..KEPT + 5 {
            let (_, main) = keep(dir.path(), &program(&no.to_string())).expect("kept");
            assert!(main.exists());
        }
        let kept = fs::read_dir(dir.path()).expect("a folder").count();
        assert_eq!(kept, KEPT);
    }

    #[test]
    fn nothing_is_written_elsewhere() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = BTreeMap::from([("../a.xsl".to_owned(), Vec::new())]);
        let bad = Program::new(
            Language::Xslt,
            "../a.xsl".to_owned(),
            files,
            Vec::new(),
            String::new(),
        );
        keep(&dir.path().join("in"), &bad).expect_err("it leads out");
        assert!(!dir.path().join("a.xsl").exists());
    }
}
