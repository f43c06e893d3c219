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
    mark::{Mark, key},
    settle::is_archived,
};

/// What became of a document that was to be taken.
#[derive(Debug)]
pub(crate) enum Take {
    /// It is taken.
    Taken(Taken),
    /// It is not for this process, or not now.
    Left,
    /// The farm does not let this account have it, and says why.
    Refused(AdapterError),
}

/// Takes a document that was found.
///
/// # Errors
/// If the farm or the store fails; then the next sweep looks what became of the document.
pub(crate) async fn take(holder: Arc<Holder>, found: Found) -> Result<Take, AdapterError> {
    let Some(claim) = Claim::take(&holder, &found.id).await? else {
        return Ok(Take::Left);
    };
    match hold(&holder, &found).await {
        Ok(Held::Document(document)) => Ok(Take::Taken(Taken { claim, document })),
        Ok(Held::Nothing) => claim.end(Ok(Take::Left)).await,
        Ok(Held::Refused(error)) => claim.end(Ok(Take::Refused(error))).await,
        Err(error) => claim.end(Err(error)).await,
    }
}

enum Held {
    Document(Document),
    Nothing,
    Refused(AdapterError),
}

/// Gives a document back that nothing is stored of.
pub(crate) async fn give_back(taken: Taken) {
    let Taken { claim, document } = taken;
    let holder = claim.holder.clone();
    let undone = holder.library.undo_check_out(&claim.id).await;
    if let Err(error) = claim.end(undone).await {
        tracing::warn!(location = %holder.location, document = document.path, code = %error.code,
            detail = %error.detail, "a document could not be given back; it is tried again");
    }
}

async fn hold(holder: &Holder, found: &Found) -> Result<Held, AdapterError> {
    let library = &holder.library;
    if found.checked_out_by == Some(library.me) {
        // Nobody who lives has the lease, so whoever checked it out is dead.
        library.free(&found.id).await?;
    }
    match library.check_out(&found.id).await? {
        CheckOut::Ours => {}
        CheckOut::Busy | CheckOut::Gone => return Ok(Held::Nothing),
        CheckOut::Refused(error) => {
            let version = found.version.as_deref().unwrap_or_default();
            if holder.refuse(&key(&found.id, version)) {
                tracing::error!(location = %holder.location, document = found.path, code = %error.code,
                    detail = %error.detail, "a document cannot be taken; the others go on");
            }
            return Ok(Held::Refused(error));
        }
    }
    let Some(document) = library.look(&found.id).await? else {
        return Ok(Held::Nothing);
    };
    if is_wanted(holder, found, &document) {
        return Ok(Held::Document(document));
    }
    library.undo_check_out(&found.id).await?;
    Ok(Held::Nothing)
}

fn is_wanted(holder: &Holder, found: &Found, document: &Document) -> bool {
    // Since it was listed it may have been archived, by another node: its id leads to it all the same.
    if document.path != found.path || is_archived(holder, &document.path) {
        return false;
    }
    // An upload in pieces began meanwhile: its content is still to come.
    if document.size == 0 && found.size != Some(0) {
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
