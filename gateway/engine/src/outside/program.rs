//! A map in a language that another process runs.

use std::{collections::BTreeMap, fmt, sync::Arc};

use sha2::{Digest, Sha256};

/// The language of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// XSLT; from XML.
    Xslt,
    /// jq; from JSON.
    Jq,
}

/// A program with all files that it consists of, as they were checked. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Program {
    /// What it is written in.
    pub language: Language,
    /// The path of the file that is run, one of `files`.
    pub main: String,
    /// Its files, by their paths from the folder of the application: plain relative ones.
    pub files: Arc<BTreeMap<String, Vec<u8>>>,
    /// The parameters that it takes.
    pub params: Vec<String>,
    /// The content type of what it makes.
    pub content_type: String,
    /// SHA-256 over all of it, in hex: what is run under it never changes.
    pub hash: String,
}

impl Program {
    /// The program with these files.
    #[must_use]
    pub fn new(
        language: Language,
        main: String,
        files: BTreeMap<String, Vec<u8>>,
        params: Vec<String>,
        content_type: String,
    ) -> Self {
        let mut sha = Sha256::new();
        let mut add = |bytes: &[u8]| {
            // With its length, so that no two lists of parts look the same.
            sha.update((bytes.len() as u64).to_be_bytes());
            sha.update(bytes);
        };
        add(format!("{language:?}").as_bytes());
        add(main.as_bytes());
        for (path, text) in &files {
            add(path.as_bytes());
            add(text);
        }
        let hash = sha.finalize();
        let hash = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            language,
            main,
            files: Arc::new(files),
            params,
            content_type,
            hash,
        }
    }
}

/// Without the texts: the hash stands for them.
impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            language,
            main,
            hash,
            ..
        } = self;
        write!(f, "Program({language:?}, {main}, {hash})")
    }
}
