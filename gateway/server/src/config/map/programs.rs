//! Maps that have processes of their own: all files that they consist of, as they were checked.

use std::collections::{BTreeMap, VecDeque};

use quayside_engine::outside::{Language, Program};
use quayside_pipeline::map::{
    Place,
    xslt::{self, Stylesheet},
};

use super::{
    super::{app::Reading, codes, section::Section, spans::Source},
    offset, report,
};

/// How many files a stylesheet consists of at most.
const FILES_MAX: usize = 64;
/// How many bytes they have together.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// A file that is still to be read: where it is named, if that is in another one.
struct Wanted {
    path: String,
    is_stylesheet: bool,
    by: Option<(String, Place)>,
}

/// The stylesheet at `path` with all that it includes and reads. `None` after a fault.
pub(super) fn xslt(reading: &Reading<'_>, section: &Section<'_>, path: &str) -> Option<Program> {
    let path = &plain(section, "xslt", path)?;
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut first: Option<Stylesheet> = None;
    let mut params: Vec<String> = Vec::new();
    let mut is_whole = true;
    let mut left = VecDeque::from([Wanted {
        path: path.to_owned(),
        is_stylesheet: true,
        by: None,
    }]);
    while let Some(wanted) = left.pop_front() {
        if files.contains_key(&wanted.path) {
            continue;
        }
        let bytes = match reading.files.of_map(&wanted.path) {
            Ok(bytes) => bytes,
            Err(why) => {
                unreadable(reading, section, &wanted, &files, why);
                is_whole = false;
                continue;
            }
        };
        let found = match wanted.is_stylesheet {
            true => xslt::check(&wanted.path, &bytes).map(Some),
            false => xslt::check_document(&bytes).map(|()| None),
        };
        match found {
            Err(defects) => {
                let text = xslt::text(&bytes).into_owned();
                report(reading, section, (&wanted.path, text), defects);
                is_whole = false;
            }
            Ok(None) => {}
            Ok(Some(sheet)) => {
                params.extend(sheet.params.iter().cloned());
                left.extend(sheet.refers.iter().map(|one| Wanted {
                    path: one.path.clone(),
                    is_stylesheet: one.is_stylesheet,
                    by: Some((wanted.path.clone(), one.place)),
                }));
                first.get_or_insert(sheet);
            }
        }
        files.insert(wanted.path, bytes);
        let bytes: usize = files.values().map(Vec::len).sum();
        if files.len() > FILES_MAX || bytes > BYTES_MAX {
            let message =
                format!("`{path}` consists of more than {FILES_MAX} files or {BYTES_MAX} bytes");
            section.error(codes::LIMIT, "xslt", message);
            return None;
        }
    }
    let content_type = first.filter(|_| is_whole)?.content_type;
    let main = path.to_owned();
    Some(Program::new(
        Language::Xslt,
        main,
        files,
        params,
        content_type,
    ))
}

/// The path under `key` as it is kept.
fn plain(section: &Section<'_>, key: &str, path: &str) -> Option<String> {
    let plain = xslt::within(path);
    plain
        .map_err(|why| section.error(codes::UNREADABLE, key, format!("`{path}` {why}")))
        .ok()
}

/// Tells that a file cannot be read, where it is named.
fn unreadable(
    reading: &Reading<'_>,
    section: &Section<'_>,
    wanted: &Wanted,
    files: &BTreeMap<String, Vec<u8>>,
    why: String,
) {
    let named = wanted.by.as_ref();
    let Some((by, place)) = named.and_then(|(by, place)| Some((by, (files.get(by)?, place))))
    else {
        section.error(codes::UNREADABLE, "xslt", why);
        return;
    };
    let text = xslt::text(place.0).into_owned();
    let at = offset(&text, *place.1);
    let source = section.report.add_source(Source {
        path: reading.files.place(by),
        text,
    });
    section.report.error(codes::UNREADABLE, source, at, why);
}
