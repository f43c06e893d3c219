//! Finishing a document whose message is stored: it is archived or deleted, on any node, as often as it takes.

use quayside_adapter_api::{AdapterError, ErrorKind};

use crate::{
    codes, config::After, document::Document, holder::Holder, library::Went, mark::Mark,
    names::with_suffix,
};

/// How often a document is looked at before somebody else tries.
const LOOKS: u32 = 8;

/// What is left to do with a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Nothing: it is in the archive, or it is another one by now.
    Nothing,
    /// Somebody works on it.
    Wait,
    /// It is to be deleted or moved.
    Finish,
    /// It was changed right before it was moved into the archive: it goes back, to be taken as what it is now.
    Return,
}

/// Archives or deletes the document of `mark`. One that is finished already, gone, or changed since is fine: a changed
/// one is taken as a new version.
///
/// # Errors
/// If it could not be done now.
pub(crate) async fn finish(holder: &Holder, mark: &Mark) -> Result<(), AdapterError> {
    let library = &holder.library;
    let archive = archive(holder);
    library.undo_check_out(&mark.id).await?;
    let (mut taken, mut back) = (0, 0);
    for _ in 0..LOOKS {
        let Some(document) = library.look(&mark.id).await? else {
            return Ok(());
        };
        match step(&document, mark, archive.as_deref()) {
            Step::Nothing => return Ok(()),
            Step::Wait => break,
            Step::Return => {
                back += 1;
                let path = format!("{}/{}", mark.folder, candidate(mark, back - 1));
                if library.move_to(&mark.id, &path, false).await? == Went::Done {
                    tracing::info!(location = %holder.location, document = path,
                        "a document was changed while it was archived; it is taken anew");
                    return Ok(());
                }
                continue;
            }
            Step::Finish => {}
        }
        let went = match &archive {
            None => library.delete(&mark.id, &document.etag).await?,
            Some(archive) => {
                let path = format!("{archive}/{}", candidate(mark, taken));
                let over = holder.settings.archive_overwrite;
                library.move_to(&mark.id, &path, over).await?
            }
        };
        match (went, &holder.settings.after) {
            // A move takes no condition, as a delete does: another look tells what was moved.
            (Went::Done, After::Archive(_)) => {}
            (Went::Done, After::Delete) => return Ok(()),
            (Went::Taken, _) => taken += 1,
            (Went::NoFolder, After::Archive(archive)) => library.make_folder(archive).await?,
            (Went::NoFolder | Went::LookAgain, _) => {}
        }
    }
    let detail = format!(
        "{}/{} is stored and could not be finished",
        mark.folder, mark.name
    );
    Err(AdapterError::new(
        ErrorKind::Retry(None),
        codes::NOT_SETTLED,
        detail,
    ))
}

/// The path of the archive, if there is one.
pub(crate) fn archive(holder: &Holder) -> Option<String> {
    match &holder.settings.after {
        After::Delete => None,
        After::Archive(archive) => Some(holder.library.client.site.below(&[archive])),
    }
}

/// The path of the library that the archive lies in, if there is one.
pub(crate) fn archive_library(holder: &Holder) -> Option<String> {
    match &holder.settings.after {
        After::Delete => None,
        After::Archive(archive) => {
            let library = archive.split('/').next().unwrap_or_default();
            Some(holder.library.client.site.below(&[library]))
        }
    }
}

/// Whether what lies at `path` is what this location has archived: a view may show it.
pub(crate) fn is_archived(holder: &Holder, path: &str) -> bool {
    archive(holder).is_some_and(|archive| lies_below(path, &archive))
}

/// Whether a document lies in a folder or in one of its folders.
pub(crate) fn lies_below(path: &str, folder: &str) -> bool {
    let (folder, path) = (folder.to_lowercase(), path.to_lowercase());
    path.strip_prefix(&folder)
        .is_some_and(|rest| rest.starts_with('/'))
}

fn step(document: &Document, mark: &Mark, archive: Option<&str>) -> Step {
    let same = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
    if archive.is_some_and(|archive| same(archive, document.folder())) {
        return if document.version == mark.version {
            Step::Nothing
        } else {
            Step::Return
        };
    }
    // Somebody moved it away, or wrote it anew: what is stored is another document than this one.
    if !same(document.folder(), &mark.folder) || document.version != mark.version {
        return Step::Nothing;
    }
    if document.checked_out {
        return Step::Wait;
    }
    Step::Finish
}

/// The name in the archive after so many were taken: its own, and then one that is the same on every node.
fn candidate(mark: &Mark, taken: u32) -> String {
    let id = mark.id.get(..8).unwrap_or(&mark.id);
    match taken {
        0 => mark.name.clone(),
        1 => with_suffix(&mark.name, &format!("{id}-{}", mark.version)),
        more => with_suffix(&mark.name, &format!("{id}-{}-{more}", mark.version)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(folder: &str, version: u32, checkout: u32) -> Document {
        Document::read(json!({
            "UniqueId": "56b8e3c8-8e8a-4600-b9e1-a63d27391799", "Name": "a.xml", "Length": "5",
            "ServerRelativeUrl": format!("{folder}/a.xml"), "ETag": "\"e\"",
            "ContentTag": format!("{{X}},9,{version}"), "CheckOutType": checkout,
        }))
        .expect("a document")
    }

    #[test]
    fn only_what_was_stored_is_finished() {
        let mark = Mark::of(&document("/s/Orders", 2, 0));
        for (found, want) in [
            (document("/s/Orders", 2, 2), Step::Finish),
            (document("/s/orders", 2, 2), Step::Finish),
            (document("/s/Orders", 3, 2), Step::Nothing),
            (document("/s/Orders", 2, 0), Step::Wait),
            (document("/s/Archive/Done", 2, 2), Step::Nothing),
            (document("/s/Archive/Done", 3, 2), Step::Return),
            (document("/s/Elsewhere", 2, 2), Step::Nothing),
        ] {
            assert_eq!(
                step(&found, &mark, Some("/s/Archive/Done")),
                want,
                "{}",
                found.path
            );
        }
    }

    #[test]
    fn a_taken_name_in_the_archive_gives_one_that_all_nodes_choose() {
        let mark = Mark::of(&document("/s/Orders", 2, 0));
        let names: Vec<_> = (0..3).map(|taken| candidate(&mark, taken)).collect();
        assert_eq!(names, ["a.xml", "a-56b8e3c8-2.xml", "a-56b8e3c8-2-2.xml"]);
    }
}
