//! What a crash left, and what this process could not finish.
//!
//! A mark in the store says that the message of a document is stored: the document is finished. Without one, nothing of
//! it is stored: its checkout is ended, and the next poll takes it. The lease comes first each time, so that its former
//! holder cannot store anything afterwards and nobody else does the same.

use std::{collections::HashSet, sync::Arc};

use quayside_adapter_api::{AdapterError, ErrorKind, PendingSource, model::Code};

use crate::{
    codes,
    holder::{Claim, Holder},
    listing::{Found, Page, Scope},
    mark::Mark,
    settle::{archive, archive_library, finish, lies_below},
};

/// How many documents are finished in one sweep, which everything that is new waits for.
const TRIES: u32 = 20;

/// Looks for what is left and mends it. Each document by itself: one that cannot be mended keeps no other. Says whether
/// there was more to finish than one sweep finishes.
///
/// # Errors
/// If the store or the farm cannot be asked.
pub(crate) async fn sweep(holder: &Arc<Holder>) -> Result<bool, AdapterError> {
    let lost = holder.lost();
    // Read after that: what was lost with its message stored has its mark by now.
    let marks = holder.services.sources.pending().await?;
    holder.stored(marks.iter().map(|mark| mark.key.to_string()).collect());
    let (mut marked, mut tried) = (HashSet::new(), 0);
    for pending in &marks {
        let Some(mark) = read(holder, pending) else {
            continue;
        };
        marked.insert(mark.id.clone());
        if !holder.is_due(&mark.id) {
            continue;
        }
        tried += 1;
        if tried <= TRIES {
            let finished = finish_marked(holder, &mark).await;
            told(holder, &mark.id, &mark.name, codes::NOT_SETTLED, finished);
        }
    }
    for id in lost.iter().filter(|id| !marked.contains(*id)) {
        told(holder, id, id, codes::STRANDED, give_up(holder, id).await);
    }
    let own = checked_out(holder).await?;
    let archived = own.iter().filter(|found| lies_in_archive(holder, found));
    let archived: HashSet<&str> = archived.map(|found| found.id.as_str()).collect();
    let left = holder.held_too_long(&archived);
    let is_left = |found: &Found| match archived.contains(found.id.as_str()) {
        true => left.contains(&found.id),
        false => in_scope(holder, found),
    };
    for found in own.iter().filter(|found| is_left(found)) {
        if !marked.contains(&found.id) && holder.is_due(&found.id) {
            let freed = free(holder, found).await;
            told(holder, &found.id, &found.path, codes::STRANDED, freed);
        }
    }
    Ok(tried > TRIES)
}

/// What this account has checked out in the libraries of this location: its own, and the one of its archive. A process
/// that was late for a document finds it by its id wherever it went, and may die between its checkout and the look that
/// tells it so.
async fn checked_out(holder: &Holder) -> Result<Vec<Found>, AdapterError> {
    let library = &holder.library;
    let mut own = match library.own(&library.root).await {
        // Too many for a query without an index: what lies in a folder is found when the folder is walked through.
        Err(error) if error.code == codes::THRESHOLD => Page::default(),
        own => own?,
    };
    let other = archive_library(holder)
        .filter(|archive| archive.to_lowercase() != library.root.to_lowercase());
    if let Some(root) = other {
        match library.own(&root).await {
            Ok(page) => own.found.extend(page.found),
            // Whoever archives tells that it is missing, or closed to this account.
            Err(error) if error.kind == ErrorKind::Config => tracing::debug!(
                location = %holder.location, library = root, %error,
                "the library of the archive cannot be looked through"),
            Err(error) => return Err(error),
        }
    }
    Ok(own.found)
}

async fn finish_marked(holder: &Arc<Holder>, mark: &Mark) -> Result<(), AdapterError> {
    // Whoever works on it, this process or another, does this as well.
    let Some(claim) = Claim::take(holder, &mark.id).await? else {
        return Ok(());
    };
    let finished = async {
        finish(holder, mark).await?;
        holder.services.sources.settled(&[mark.key()]).await
    };
    claim.end(finished.await).await
}

/// Ends the checkout of a document that this process took and nothing is stored of.
async fn give_up(holder: &Arc<Holder>, id: &str) -> Result<(), AdapterError> {
    let Some(claim) = Claim::take(holder, id).await? else {
        // Another node has it by now, which it can only have after this process was taken for dead.
        holder.found(id);
        return Ok(());
    };
    claim.end(holder.library.undo_check_out(id).await).await
}

/// Ends the checkout of a document that a process left which is dead.
async fn free(holder: &Arc<Holder>, found: &Found) -> Result<(), AdapterError> {
    let Some(claim) = Claim::take(holder, &found.id).await? else {
        return Ok(());
    };
    claim.end(holder.library.free(&found.id).await).await?;
    tracing::info!(location = %holder.location, document = found.path,
        "a document was freed that a dead process had checked out");
    Ok(())
}

/// Whether a document with this account's checkout is one that this location may have taken.
fn in_scope(holder: &Holder, found: &Found) -> bool {
    let folder = found.folder();
    let library = &holder.library;
    match &library.scope {
        Scope::Folder(path) => folder.to_lowercase() == path.to_lowercase(),
        // What a send port has staged is not for a view to free.
        Scope::View { .. } => {
            lies_below(&found.path, &library.root) && !folder.ends_with("/quayside-staging")
        }
    }
}

/// Whether a document lies where this location archives.
fn lies_in_archive(holder: &Holder, found: &Found) -> bool {
    archive(holder).is_some_and(|archive| found.folder().to_lowercase() == archive.to_lowercase())
}

fn told(holder: &Holder, id: &str, document: &str, code: Code, mended: Result<(), AdapterError>) {
    if let Err(error) = mended {
        holder.put_off(id);
        tracing::warn!(location = %holder.location, document, code = %code,
            reason.code = %error.code, reason = error.detail,
            "a document that was left behind could not be mended; it is tried again");
    }
}

fn read(holder: &Holder, pending: &PendingSource) -> Option<Mark> {
    let mark = Mark::read(&pending.state);
    if mark.is_none() {
        tracing::error!(location = %holder.location, code = %codes::MARK_UNREADABLE,
            id = %pending.key, message.id = %pending.message,
            "a mark about a document cannot be read");
    }
    mark
}
