//! Which documents a library shows, and which of them are to be taken.

use std::time::Duration;

use quayside_adapter_api::model::Timestamp;
use serde_json::{Value, json};

use crate::document::version;

/// The properties that a list of documents is asked for.
pub(crate) const SELECT: &str = "$select=Id,UniqueId,FileRef,FileLeafRef,FSObjType,Modified,CheckoutUserId,File/Length,File/ContentTag,\
     File/UIVersionLabel&$expand=File";

/// A document in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its id, which it keeps wherever it is moved to.
    pub(crate) id: String,
    /// Its path from the root of the server.
    pub(crate) path: String,
    /// The version of its content, if the list tells.
    pub(crate) version: Option<String>,
    /// Its length in bytes, if the list tells.
    pub(crate) size: Option<u64>,
    /// When it was changed last.
    pub(crate) modified: Option<Timestamp>,
    /// Who has it checked out: the number of a user.
    pub(crate) checked_out_by: Option<u64>,
}

impl Found {
    /// The path of the folder that it lies in.
    pub(crate) fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }
}

/// A page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// Its documents.
    pub(crate) found: Vec<Found>,
    /// The number of the last row, folders included; `None` of an empty page.
    pub(crate) last: Option<u64>,
    /// How many rows it has.
    pub(crate) rows: usize,
}

/// Where documents are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Directly in the folder at a path, by number.
    Folder(String),
    /// What a view shows: its query and its scope.
    View {
        /// The content of its `<Query>`.
        query: String,
        /// Its number in the farm's list of scopes.
        scope: u64,
    },
}

impl Scope {
    /// What is asked for: at most `rows`, in a folder those behind the number `after`.
    pub(crate) fn request(&self, rows: u32, after: u64) -> Value {
        let (scope, query, folder, paging) = match self {
            // By number only: a library of any size can be walked so without an index.
            Self::Folder(path) => (
                "",
                "<OrderBy><FieldRef Name='ID'/></OrderBy>".to_owned(),
                Value::from(path.as_str()),
                (after > 0).then(|| json!({ "PagingInfo": format!("Paged=TRUE&p_ID={after}") })),
            ),
            Self::View { query, scope } => {
                let scope = match scope {
                    1 => " Scope='Recursive'",
                    2 => " Scope='RecursiveAll'",
                    3 => " Scope='FilesOnly'",
                    _ => "",
                };
                // A view has an order of its own, so it cannot be walked by number. What others have checked out is
                // left out instead, lest it fills every page.
                (scope, free_only(query), Value::Null, None)
            }
        };
        let xml = format!("<View{scope}><Query>{query}</Query><RowLimit>{rows}</RowLimit></View>");
        json!({ "query": {
            "ViewXml": xml,
            "FolderServerRelativeUrl": folder,
            "ListItemCollectionPosition": paging,
            "DatesInUtc": true,
        } })
    }
}

/// The query of a view, for documents that nobody has checked out: folders would fill its pages.
fn free_only(query: &str) -> String {
    const FREE: &str = "<And><IsNull><FieldRef Name='CheckoutUser'/></IsNull>\
        <Eq><FieldRef Name='FSObjType'/><Value Type='Integer'>0</Value></Eq></And>";
    let inside = query.find("<Where>").and_then(|begin| {
        let end = query[begin..].find("</Where>")? + begin;
        Some((begin, end))
    });
    match inside {
        Some((begin, end)) if !query[begin + 7..end].trim().is_empty() => {
            let (before, inner, after) =
                (&query[..begin], &query[begin + 7..end], &query[end + 8..]);
            format!("{before}<Where><And>{inner}{FREE}</And></Where>{after}")
        }
        Some((begin, end)) => format!(
            "{}<Where>{FREE}</Where>{}",
            &query[..begin],
            &query[end + 8..]
        ),
        None => format!("<Where>{FREE}</Where>{query}"),
    }
}

/// Reads a page. Rows without an id or path are counted and left out.
pub(crate) fn page(answer: &Value) -> Page {
    let rows = answer["value"].as_array().map_or(&[][..], Vec::as_slice);
    Page {
        found: rows.iter().filter_map(found).collect(),
        last: rows.iter().filter_map(|row| number(&row["Id"])).max(),
        rows: rows.len(),
    }
}

fn found(row: &Value) -> Option<Found> {
    if number(&row["FSObjType"]) != Some(0) {
        return None;
    }
    Some(Found {
        id: row["UniqueId"].as_str()?.to_ascii_lowercase(),
        path: row["FileRef"].as_str()?.to_owned(),
        version: version(&row["File"]),
        size: number(&row["File"]["Length"]),
        modified: row["Modified"].as_str().and_then(|text| text.parse().ok()),
        checked_out_by: number(&row["CheckoutUserId"]),
    })
}

/// A number, which farms write as a number or as a text.
pub(crate) fn number(value: &Value) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| value.as_str()?.trim().parse().ok())
}

/// What is to be done with a document of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pick {
    /// It is to be taken.
    Take,
    /// This account has it: it is taken, or a dead process left it so.
    Own,
    /// Not now: somebody works on it.
    Busy,
    /// Not now: its content has not come yet.
    Stub,
    /// Never as it is: it is too large.
    TooLarge,
    /// It is none for a location: a send port has it in its staging folder.
    Staged,
}

/// What to do with a document for the account `me`.
pub(crate) fn pick(
    found: &Found,
    me: u64,
    stub_age: Duration,
    max_size: Option<u64>,
    now: Timestamp,
) -> Pick {
    if found.path.ends_with(".part") && found.path.contains("/quayside-staging/") {
        return Pick::Staged;
    }
    match found.checked_out_by {
        Some(user) if user == me => return Pick::Own,
        Some(_) => return Pick::Busy,
        None => {}
    }
    // An upload in pieces shows an empty document until its last piece.
    let young = found.modified.is_none_or(|at| now.since(at) < stub_age);
    if found.size == Some(0) && young {
        return Pick::Stub;
    }
    match (found.size, max_size) {
        (Some(size), Some(max)) if size > max => Pick::TooLarge,
        _ => Pick::Take,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Value {
        json!({
            "Id": 7, "UniqueId": "56B8E3C8-8E8A-4600-B9E1-A63D27391799", "FSObjType": 0,
            "FileRef": "/sites/erp/Orders/a.xml", "FileLeafRef": "a.xml",
            "Modified": "2026-11-21T09:00:00Z", "CheckoutUserId": null, "File": { "Length": "5", "ContentTag": "{X},4,2", "UIVersionLabel": "1.0" },
        })
    }

    #[test]
    fn rows_are_read_and_folders_are_counted_only() {
        let mut folder = row();
        folder["FSObjType"] = "1".into();
        folder["Id"] = 9.into();
        let page = page(&json!({ "value": [row(), folder] }));
        assert_eq!((page.rows, page.last, page.found.len()), (2, Some(9), 1));
        let found = &page.found[0];
        assert_eq!(found.id, "56b8e3c8-8e8a-4600-b9e1-a63d27391799");
        assert_eq!((found.size, found.checked_out_by), (Some(5), None));
        assert_eq!(found.version.as_deref(), Some("2"));
        assert_eq!(super::page(&Value::Null), Page::default());
    }

    #[test]
    fn a_folder_is_walked_by_number_and_a_view_by_its_query() {
        let folder = Scope::Folder("/sites/erp/Orders/In".into());
        let first = folder.request(20, 0);
        assert_eq!(first["query"]["ListItemCollectionPosition"], Value::Null);
        let next = folder.request(20, 41);
        assert_eq!(
            next["query"]["ListItemCollectionPosition"]["PagingInfo"],
            "Paged=TRUE&p_ID=41"
        );
        let view = Scope::View {
            query:
                "<Where><Eq><FieldRef Name='Status'/><Value Type='Text'>New</Value></Eq></Where>\
                    <OrderBy><FieldRef Name='ID'/></OrderBy>"
                    .into(),
            scope: 1,
        };
        assert_eq!(
            view.request(5, 41)["query"]["ViewXml"],
            "<View Scope='Recursive'><Query><Where><And><Eq><FieldRef Name='Status'/>\
             <Value Type='Text'>New</Value></Eq>\
             <And><IsNull><FieldRef Name='CheckoutUser'/></IsNull><Eq><FieldRef Name='FSObjType'/>\
             <Value Type='Integer'>0</Value></Eq></And></And></Where>\
             <OrderBy><FieldRef Name='ID'/></OrderBy></Query><RowLimit>5</RowLimit></View>"
        );
        for (query, behind) in [("", ""), ("<Where></Where><X/>", "<X/>")] {
            let want = "<Where><And><IsNull><FieldRef Name='CheckoutUser'/></IsNull><Eq><FieldRef \
                        Name='FSObjType'/><Value Type='Integer'>0</Value></Eq></And></Where>";
            assert_eq!(free_only(query), format!("{want}{behind}"));
        }
    }

    #[test]
    fn each_document_has_its_lot() {
        let now: Timestamp = "2026-11-21T09:10:00Z".parse().unwrap();
        let old = Duration::from_secs(300);
        let lot = |change: &dyn Fn(&mut Found), stub_age, max| {
            let mut found = found(&row()).expect("a document");
            change(&mut found);
            pick(&found, 11, stub_age, max, now)
        };
        assert_eq!(lot(&|_| {}, old, None), Pick::Take);
        assert_eq!(
            lot(&|it| it.checked_out_by = Some(11), old, None),
            Pick::Own
        );
        assert_eq!(
            lot(&|it| it.checked_out_by = Some(12), old, None),
            Pick::Busy
        );
        assert_eq!(lot(&|_| {}, old, Some(4)), Pick::TooLarge);
        assert_eq!(
            lot(&|it| it.size = Some(0), old, None),
            Pick::Take,
            "old enough"
        );
        let young = Duration::from_secs(1_800);
        assert_eq!(lot(&|it| it.size = Some(0), young, None), Pick::Stub);
        let staged = |it: &mut Found| it.path = "/s/Orders/quayside-staging/x.0.part".into();
        assert_eq!(lot(&staged, old, None), Pick::Staged);
    }
}
