//! The test cases of applications: read from `tests/*.test.toml` beside `app.toml`, run in virtual time.
//!
//! [`read`] makes [`Case`]s of files, [`run`] carries one out with the engine's trial, [`compare`] says what came out
//! otherwise than expected. Nothing here opens a store, a connection or a port.

mod case;
mod compare;
mod diff;
mod read;
mod run;

use std::{
    fs,
    path::{Path, PathBuf},
};

use quayside_engine::plan::Plan;
use quayside_model::{Name, Text};

pub(crate) use case::{Case, File};
pub(crate) use compare::Failure;
pub(crate) use run::{content_type_of, run};

use crate::config::{Report, codes, section::Section, spans};

/// Where the cases of an application stand, and how their files are named.
const FOLDER: &str = "tests";
const ENDING: &str = ".test.toml";
/// The largest file of cases, in bytes.
const FILE_MAX: u64 = 1024 * 1024;
/// The largest message that a case names, in bytes.
const MESSAGE_MAX: u64 = 16 * 1024 * 1024;

/// The cases of the applications in `folders`, with their faults in `report`.
pub(crate) fn load(folders: &[PathBuf], plan: &Plan, report: &Report) -> Vec<File> {
    let mut all = Vec::new();
    for folder in folders {
        let Some(app) = name_of(folder) else {
            continue;
        };
        for path in files(folder) {
            all.extend(load_file(&path, (&app, folder), plan, report));
        }
    }
    all
}

fn load_file(
    path: &Path,
    (app, folder): (&Name, &Path),
    plan: &Plan,
    report: &Report,
) -> Option<File> {
    let text = match read_bounded(path, FILE_MAX) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(why) => {
            report.error_without_place(codes::UNREADABLE, format!("{}: {why}", path.display()));
            return None;
        }
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned();
    let (root, faults) = spans::parse(&text);
    let source = report.add_source(spans::Source {
        path: path.to_owned(),
        text,
    });
    for fault in &faults {
        report.error(codes::SYNTAX, source, fault.at, fault.message.clone());
    }
    if !faults.is_empty() {
        return None;
    }
    let section = Section::new(report, source, String::new(), &root);
    Some(read::file(section, (app, folder), plan))
}

/// The files of cases in the folder of an application, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join(FOLDER));
    let entries = entries.into_iter().flatten().flatten();
    let named = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.ends_with(ENDING))
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(named).collect();
    files.sort();
    files
}

/// The name of the application in `folder`, which could be read before.
fn name_of(folder: &Path) -> Option<Name> {
    let text = fs::read_to_string(folder.join("app.toml")).ok()?;
    let (root, _) = spans::parse(text.strip_prefix('\u{feff}').unwrap_or(&text));
    let path = ["app", "name"].map(str::to_owned);
    Name::new(root.nearest(&path).text()?).ok()
}

/// Reads a file that is not too large.
///
/// # Errors
/// Why it cannot be used.
pub(crate) fn read_bounded(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > most {
        return Err(format!("it is larger than {most} bytes"));
    }
    fs::read(path).map_err(|error| error.to_string())
}

/// Reads a message that is handed to a command.
///
/// # Errors
/// Why it cannot be used.
pub(crate) fn read_message(path: &Path) -> Result<Vec<u8>, String> {
    read_bounded(path, MESSAGE_MAX)
}

/// The full name of what the application `app` calls `name`, among `known`.
pub(crate) fn full<'n>(
    app: Option<&Name>,
    name: &str,
    known: impl Iterator<Item = &'n Name>,
) -> Option<Name> {
    let own = app.map(|app| format!("{app}.{name}"));
    let known: Vec<&Name> = known.collect();
    let find = |wanted: &str| known.iter().find(|one| one.as_str() == wanted);
    let found = own.as_deref().and_then(find).or_else(|| find(name))?;
    Some((*found).clone())
}

/// `text`, or as much of it as a message of the program shows.
fn cut(text: &str) -> Text {
    let mut cut: String = text.chars().take(400).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    Text::lossy(&cut)
}
