//! Taking a document: claimed in the store, checked out at the farm, looked at.
//!
//! The lease keeps the nodes apart, which share an account; the checkout keeps people and other systems apart.

use std::sync::Arc;

use quayside_adapter_api::AdapterError;

use crate::{
    codes,
    document::Document,
    holder::{Claim, Holder, Taken},
    library::CheckOut,
    listing::Found,
    mark::Mark,
};

/// Takes a document that was found. `None`: it is not for this process, or not now.
///
/// # Errors
/// If the farm or the store fails; then the next sweep looks what became of the document.
pub(crate) async fn take(holder: Arc<Holder>, found: Found) -> Result<Option<Taken>, AdapterError> {
    let Some(claim) = Claim::take(&holder, &found.id).await? else {
        return Ok(None);
    };
    match hold(&holder, &found).await? {
        Some(document) => Ok(Some(Taken { claim, document })),
        None => claim.release().await.map(|()| None),
    }
}

/// Gives a document back that nothing is stored of.
pub(crate) async fn give_back(taken: Taken) {
    let Taken { claim, document } = taken;
    let holder = claim.holder.clone();
    let undone = holder.library.undo_check_out(&claim.id).await;
    let released = match undone {
        Ok(()) => claim.release().await,
        // The claim is dropped: the sweep does it.
        Err(error) => Err(error),
    };
    if let Err(error) = released {
        tracing::warn!(location = %holder.location, document = document.path, code = %error.code,
            detail = %error.detail, "a document could not be given back; it is tried again");
    }
}

async fn hold(holder: &Holder, found: &Found) -> Result<Option<Document>, AdapterError> {
    let library = &holder.library;
    if found.checked_out_by == Some(library.me) {
        // Nobody who lives has the lease, so whoever checked it out is dead.
        library.free(&found.id).await?;
    }
    match library.check_out(&found.id).await? {
        CheckOut::Ours => {}
        CheckOut::Busy | CheckOut::Gone => return Ok(None),
    }
    let Some(document) = library.look(&found.id).await? else {
        return Ok(None);
    };
    if is_wanted(holder, found, &document) {
        return Ok(Some(document));
    }
    library.undo_check_out(&found.id).await?;
    Ok(None)
}

fn is_wanted(holder: &Holder, found: &Found, document: &Document) -> bool {
    // Since it was listed it may have been archived, by another node: its id leads to it all the same.
    if document.path != found.path {
        return false;
    }
    let version = Mark::of(document).key();
    if holder.is_done_with(&version) {
        return false;
    }
    let max = holder.settings.max_size.map(|max| max.bytes());
    if max.is_some_and(|max| document.size > max) {
        too_large(holder, &document.path, &version);
        return false;
    }
    true
}

/// Tells once that a document is too large.
pub(crate) fn too_large(holder: &Holder, path: &str, version: &str) {
    if holder.refuse(version) {
        tracing::error!(location = %holder.location, document = path,
            code = %codes::DOCUMENT_TOO_LARGE, "a document is larger than `max_size`");
    }
}
