//! The mark of a document in the store: committed with its message, gone when the document is archived or deleted.

use quayside_adapter_api::model::Text;
use serde::{Deserialize, Serialize};

use crate::document::Document;

/// What is needed to finish a document whose message is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The id of the document.
    pub(crate) id: String,
    /// The version of the content that is stored.
    pub(crate) version: String,
    /// Its name at the time.
    pub(crate) name: String,
    /// The folder that it was taken from.
    pub(crate) folder: String,
}

impl Mark {
    pub(crate) fn of(document: &Document) -> Self {
        Self {
            id: document.id.clone(),
            version: document.version.clone(),
            name: document.name.clone(),
            folder: document.folder().to_owned(),
        }
    }

    /// The dedupe key of the document, and the key of its mark: one version of one document is one message.
    pub(crate) fn key(&self) -> Text {
        Text::lossy(&key(&self.id, &self.version))
    }

    /// As the store keeps it.
    pub(crate) fn text(&self) -> Text {
        let json = serde_json::to_string(self).expect("four strings are always JSON");
        Text::lossy(&json)
    }

    /// As it was kept.
    pub(crate) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// One version of one document.
pub(crate) fn key(id: &str, version: &str) -> String {
    format!("{id}:{version}")
}

/// The key of the lease on a document: whoever has it may take the document and finish it.
pub(crate) fn lease_key(id: &str) -> String {
    format!("document:{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_back() {
        let mark = Mark {
            id: "56b8e3c8-8e8a-4600-b9e1-a63d27391799".into(),
            version: "2".into(),
            name: "O'Brien \"1\".xml".into(),
            folder: "/sites/erp/Orders".into(),
        };
        assert_eq!(Mark::read(&mark.text()), Some(mark.clone()));
        assert_eq!(mark.key(), "56b8e3c8-8e8a-4600-b9e1-a63d27391799:2");
        assert_eq!(Mark::read("{}"), None);
    }
}
