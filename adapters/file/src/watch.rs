//! Looking at a folder: which files are there, whole and next.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::Arc,
    time::Duration,
};

use quayside_adapter_api::{
    AdapterError, ErrorKind,
    model::{Monotonic, Timestamp},
};

use crate::{
    codes,
    config::{Order, ReceiveSettings},
    error,
    folder::{Folder, Print},
    holder::Holder,
    names,
    taken::{Taken, TakenName},
};

/// Files that are taken, made durable and handed out together: one fsync for all of them, and not so many
/// that another instance finds nothing to do.
pub(crate) const TAKE_AT_ONCE: usize = 16;

/// Files of a folder that are known at a time; the rest waits for a later look. Bounds the memory.
const MAX_KNOWN: usize = 4_096;

/// A file that can be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) print: Print,
}

/// What is known of a folder between two looks.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Each file as it was, and since when it is so.
    seen: HashMap<String, (Print, Monotonic)>,
    /// Whole files, the next one first.
    due: VecDeque<Found>,
    /// What cannot be taken, so that it is reported once and not at each look.
    bad: HashMap<String, Option<Print>>,
}

/// What a look brought.
#[derive(Debug, Default)]
pub(crate) struct Look {
    pub(crate) taken: Vec<Taken>,
    /// Whether files of other owners lie there.
    pub(crate) others: bool,
    /// When the next file may be whole.
    pub(crate) again_in: Option<Duration>,
}

impl Watch {
    /// Takes the next files, durably. Blocks.
    pub(crate) fn look(&mut self, holder: &Arc<Holder>) -> Result<Look, AdapterError> {
        let folder = Arc::new(holder.open_folder()?);
        let of_folder = |cause: io::Error| error::of_folder(folder.path(), "look into", &cause);
        let mut look = Look::default();
        if self.due.is_empty() {
            let now = holder.services.clock.monotonic();
            look = self.scan(&folder, holder, now).map_err(of_folder)?;
        }
        while look.taken.len() < TAKE_AT_ONCE {
            let Some(found) = self.due.pop_front() else {
                break;
            };
            look.taken.extend(self.take(holder, &folder, &found)?);
        }
        if !look.taken.is_empty() {
            // Before any of it is stored: a power failure must not give a stored file its old name back.
            folder.sync().map_err(of_folder)?;
        }
        Ok(look)
    }

    fn take(
        &mut self,
        holder: &Arc<Holder>,
        folder: &Arc<Folder>,
        found: &Found,
    ) -> Result<Option<Taken>, AdapterError> {
        self.seen.remove(&found.name);
        let path = folder.path().join(&found.name);
        let file = match folder.open_file(&found.name) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => {
                self.report(holder, found, &error::of_file(&path, "open", &cause));
                return Ok(None);
            }
        };
        let now = file.metadata().map(|metadata| Print::of(&metadata));
        if !now.is_ok_and(|print| print == found.print) {
            return Ok(None);
        }
        let taken = match Taken::take(holder, folder, found, file) {
            Ok(Some(taken)) => taken,
            Ok(None) => return Ok(None),
            Err(cause) if cause.kind() == io::ErrorKind::InvalidFilename => {
                self.report(holder, found, &error::of_file(&path, "take", &cause));
                return Ok(None);
            }
            Err(cause) => return Err(error::of_folder(&path, "take", &cause)),
        };
        within_limit(taken)
    }

    /// Finds what is whole and what has to wait.
    fn scan(&mut self, folder: &Folder, holder: &Holder, now: Monotonic) -> io::Result<Look> {
        let settings = &holder.settings;
        let mut look = Look::default();
        let mut bad = std::mem::take(&mut self.bad);
        let mut known: Vec<(Timestamp, String)> = Vec::new();
        for entry in folder.names()? {
            let (name, utf8) = entry?;
            if let Some(taken) = TakenName::parse(&name) {
                look.others |= taken.owner != holder.owner && holder.is_of_location(&taken.owner);
            } else if wanted(settings, &name) {
                let reported = bad.remove(&name);
                if let Some(rank) = self.rank(folder, holder, &name, utf8, reported)? {
                    known.push((rank, name));
                }
            }
            if known.len() >= 2 * MAX_KNOWN {
                keep_first(&mut known);
            }
        }
        keep_first(&mut known);
        self.compare(
            folder,
            &known,
            settings.stable_for.duration(),
            now,
            &mut look,
        )?;
        Ok(look)
    }

    /// Where the file `name` stands in the order; `None` if it cannot be taken as it is.
    fn rank(
        &mut self,
        folder: &Folder,
        holder: &Holder,
        name: &str,
        utf8: bool,
        reported: Option<Option<Print>>,
    ) -> io::Result<Option<Timestamp>> {
        if !utf8 {
            if reported.is_none() {
                warn(holder, name, &strange(name, "its name is no UTF-8"));
            }
            self.remember(name, None);
            return Ok(None);
        }
        if reported.is_none() && holder.settings.order == Order::Name {
            return Ok(Some(Timestamp::from_micros(0)));
        }
        let Some(metadata) = folder.look(name)? else {
            return Ok(None);
        };
        let print = Print::of(&metadata);
        if reported == Some(Some(print)) {
            self.remember(name, Some(print));
            return Ok(None);
        }
        Ok(Some(match holder.settings.order {
            Order::Name => Timestamp::from_micros(0),
            Order::Mtime => modified(&print),
        }))
    }

    /// Compares the first files of the order with how they were before.
    fn compare(
        &mut self,
        folder: &Folder,
        known: &[(Timestamp, String)],
        stable_for: Duration,
        now: Monotonic,
        look: &mut Look,
    ) -> io::Result<()> {
        let before = std::mem::take(&mut self.seen);
        for (_, name) in known {
            let Some(metadata) = folder.look(name)? else {
                continue;
            };
            let print = Print::of(&metadata);
            if !metadata.is_file() {
                if !metadata.is_dir() {
                    tracing::warn!(code = %codes::FILE_UNREADABLE, file = %folder.path().join(name).display(),
                        "not a regular file: it is left alone");
                }
                self.remember(name, Some(print));
                continue;
            }
            let since = match before.get(name) {
                Some((same, since)) if *same == print => *since,
                _ => now,
            };
            let waited = now.since(since);
            if waited >= stable_for {
                self.due.push_back(Found {
                    name: name.clone(),
                    print,
                });
            } else {
                let left = stable_for - waited;
                look.again_in = Some(look.again_in.map_or(left, |soonest| soonest.min(left)));
            }
            self.seen.insert(name.clone(), (print, since));
        }
        Ok(())
    }

    fn report(&mut self, holder: &Holder, found: &Found, error: &AdapterError) {
        warn(holder, &found.name, error);
        self.remember(&found.name, Some(found.print));
    }

    fn remember(&mut self, name: &str, print: Option<Print>) {
        // Beyond the bound a bad file is tried, and reported, again: tiresome, but true.
        if self.bad.len() < MAX_KNOWN {
            self.bad.insert(name.to_owned(), print);
        }
    }
}

/// When a file was last written.
pub(crate) fn modified(print: &Print) -> Timestamp {
    Timestamp::from_micros(i64::try_from(print.modified / 1_000).unwrap_or(i64::MAX))
}

fn wanted(settings: &ReceiveSettings, name: &str) -> bool {
    !name.starts_with('.') && names::matches(&settings.pattern, name)
}

fn keep_first(known: &mut Vec<(Timestamp, String)>) {
    known.sort_unstable();
    known.truncate(MAX_KNOWN);
}

/// Puts a file out of the way that is larger than the location allows.
fn within_limit(taken: Taken) -> Result<Option<Taken>, AdapterError> {
    let max = taken.holder.settings.max_size;
    let (size, holder) = (taken.print.size, taken.holder.clone());
    if max.is_none_or(|max| size <= max.bytes()) {
        return Ok(Some(taken));
    }
    let name = taken.name.original.clone();
    let path = taken.folder.path().join(&name);
    taken
        .park()
        .map_err(|cause| error::of_folder(&path, "put aside", &cause))?;
    let detail = format!(
        "{} has {size} bytes and was put into .rejected",
        path.display()
    );
    warn(
        &holder,
        &name,
        &AdapterError::new(ErrorKind::TooLarge, codes::FILE_TOO_LARGE, detail),
    );
    Ok(None)
}

fn strange(name: &str, why: &str) -> AdapterError {
    let detail = format!("{name} cannot be taken: {why}");
    AdapterError::new(ErrorKind::Retry(None), codes::NAME_REFUSED, detail)
}

fn warn(holder: &Holder, name: &str, error: &AdapterError) {
    tracing::warn!(location = %holder.location, file = name, code = %error.code,
        detail = %error.detail, "a file is not taken");
}
