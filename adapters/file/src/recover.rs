//! Files that were taken and never answered: by a process that died, or by a delivery that was dropped.
//!
//! A file's id is in the marks of the store if and only if its message is stored (the mark is committed
//! with it). So the rule is short: with a mark, clean up; without one, deliver again under the same id,
//! and should the message be stored all the same, the dedupe key says so. Two things make it safe among
//! several instances: the lease of the dead owner, taken before the marks are read, so that the owner
//! cannot store anything afterwards and nobody else adopts its files; and renames that only one can win.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    path::Path,
    sync::Arc,
};

use quayside_adapter_api::{AdapterError, PendingSource};

use crate::{
    codes, error,
    folder::Folder,
    holder::{Holder, blocking},
    taken::{Mark, Taken, TakenName, clean},
};

/// Cleans up what is stored and returns what has to be delivered again.
pub(crate) async fn recover(holder: &Arc<Holder>) -> Result<Vec<Taken>, AdapterError> {
    let marks = holder.services.sources.pending().await?;
    let dead = dead_owners(holder, &marks).await?;
    if dead.is_empty() && holder.lost().is_empty() {
        return Ok(Vec::new());
    }
    // Once more: what the dead stored until their leases were taken.
    let marks = holder.services.sources.pending().await?;
    let (worker, gone) = (holder.clone(), dead.clone());
    let found = blocking(move || settle_all(&worker, &gone, &marks)).await;
    if found.is_ok() {
        holder.flush().await?;
    }
    for owner in &dead {
        let key = Holder::lease_key(owner);
        holder.services.sources.release(&key).await?;
    }
    found
}

/// The owners of files and marks whose lease this process could take: they died.
async fn dead_owners(
    holder: &Arc<Holder>,
    marks: &[PendingSource],
) -> Result<BTreeSet<String>, AdapterError> {
    let worker = holder.clone();
    let files = blocking(move || {
        let folder = worker.open_folder()?;
        taken_files(&folder).map_err(|cause| error::of_folder(folder.path(), "look into", &cause))
    })
    .await?;
    let marked = marks.iter().filter_map(|mark| Some(read(mark)?.1.owner));
    let owners: BTreeSet<String> = files
        .into_iter()
        .map(|name| name.owner)
        .chain(marked)
        .collect();
    let mut dead = BTreeSet::new();
    for owner in owners {
        if holder.is_of_location(&owner)
            && !holder.is_own(&owner)
            && holder
                .services
                .sources
                .lease(&Holder::lease_key(&owner))
                .await?
        {
            dead.insert(owner);
        }
    }
    Ok(dead)
}

fn taken_files(folder: &Folder) -> io::Result<Vec<TakenName>> {
    let names = folder.names()?;
    names
        .filter_map(|entry| entry.map(|(name, _)| TakenName::parse(&name)).transpose())
        .collect()
}

fn settle_all(
    holder: &Arc<Holder>,
    dead: &BTreeSet<String>,
    marks: &[PendingSource],
) -> Result<Vec<Taken>, AdapterError> {
    let folder = Arc::new(holder.open_folder()?);
    let of_folder = |cause: io::Error| error::of_folder(folder.path(), "clean up", &cause);
    let stored: HashMap<&str, &PendingSource> =
        marks.iter().map(|mark| (mark.key.as_str(), mark)).collect();
    for mark in marks {
        if let Some((place, name)) = read(mark).filter(|(_, name)| dead.contains(&name.owner)) {
            clean_marked(holder, &place, &name).map_err(of_folder)?;
        }
    }
    let mut again = Vec::new();
    let left = taken_files(&folder).map_err(of_folder)?;
    for name in left.iter().filter(|name| dead.contains(&name.owner)) {
        again.extend(settle(holder, &folder, name, &stored).map_err(of_folder)?);
    }
    for name in holder.lost() {
        again.extend(settle(holder, &folder, &name, &stored).map_err(of_folder)?);
        holder.found(&name);
    }
    if !again.is_empty() {
        folder.sync().map_err(of_folder)?;
    }
    Ok(again)
}

/// Cleans up a file by its mark, which may lie in a folder that the location had before.
fn clean_marked(holder: &Holder, place: &Path, name: &TakenName) -> io::Result<()> {
    match Folder::open(place) {
        Ok(folder) => clean(holder, &folder, name),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            holder.cleaned(name.key());
            Ok(())
        }
        Err(cause) => Err(cause),
    }
}

fn settle(
    holder: &Arc<Holder>,
    folder: &Arc<Folder>,
    name: &TakenName,
    stored: &HashMap<&str, &PendingSource>,
) -> io::Result<Option<Taken>> {
    if stored.contains_key(name.id.as_str()) {
        return clean(holder, folder, name).map(|()| None);
    }
    Taken::adopt(holder, folder, name)
}

fn read(mark: &PendingSource) -> Option<(std::path::PathBuf, TakenName)> {
    let parsed: Option<Mark> = serde_json::from_str(&mark.state).ok();
    let read = parsed.and_then(|m| Some((m.folder.into(), TakenName::parse(&m.taken)?)));
    if read.is_none() {
        tracing::error!(code = %codes::MARK_UNREADABLE, id = %mark.key, message.id = %mark.message,
            "a mark about a taken file cannot be read");
    }
    read
}
