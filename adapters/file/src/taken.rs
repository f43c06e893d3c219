//! A file that is taken: renamed so that nobody else takes it and everybody sees whose it is.

use std::{fs::File, io, sync::Arc};

use quayside_adapter_api::model::Text;
use serde::{Deserialize, Serialize};

use crate::{
    folder::{Folder, Print, ignore},
    holder::{Holder, random_hex},
    names::{MAX_NUMBERED, numbered},
    watch::Found,
};

/// Where files go that will never be taken as they are.
pub(crate) const REJECTED: &str = ".rejected";

/// The name of a taken file: `.taken-<owner>-<id>-<original name>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TakenName {
    /// Whose it is: 24 hexadecimal digits.
    pub(crate) owner: String,
    /// What it is known by from now on, to the store too: 32 hexadecimal digits.
    pub(crate) id: String,
    /// How it was called.
    pub(crate) original: String,
}

impl TakenName {
    const PREFIX: &str = ".taken-";

    pub(crate) fn file_name(&self) -> String {
        format!(
            "{}{}-{}-{}",
            Self::PREFIX,
            self.owner,
            self.id,
            self.original
        )
    }

    pub(crate) fn parse(file_name: &str) -> Option<Self> {
        let mut pieces = file_name.strip_prefix(Self::PREFIX)?.splitn(3, '-');
        let (owner, id, original) = (pieces.next()?, pieces.next()?, pieces.next()?);
        let hex =
            |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit());
        (hex(owner, 24) && hex(id, 32) && !original.is_empty()).then(|| Self {
            owner: owner.to_owned(),
            id: id.to_owned(),
            original: original.to_owned(),
        })
    }

    /// The dedupe key, and the key of the mark.
    pub(crate) fn key(&self) -> Text {
        Text::lossy(&self.id)
    }
}

/// The mark in the store: enough to clean up, even if the location's folder is another one by then.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The folder that it lies in.
    pub(crate) folder: String,
    /// Its taken name.
    pub(crate) taken: String,
}

impl Mark {
    pub(crate) fn text(&self) -> Text {
        let json = serde_json::to_string(self).expect("two strings are always JSON");
        Text::lossy(&json)
    }
}

/// A file taken by this process and not answered yet. Dropping it leaves it to the next look.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) holder: Arc<Holder>,
    pub(crate) name: TakenName,
    pub(crate) print: Print,
    pub(crate) folder: Arc<Folder>,
    /// Open from before the rename: reading needs no name.
    pub(crate) file: Option<File>,
    answered: bool,
}

impl Taken {
    /// Takes a file that was found. `None`: it is gone, changed or somebody else's.
    pub(crate) fn take(
        holder: &Arc<Holder>,
        folder: &Arc<Folder>,
        found: &Found,
        file: File,
    ) -> io::Result<Option<Self>> {
        let name = TakenName {
            owner: holder.owner.clone(),
            id: random_hex(&*holder.services.entropy, 16),
            original: found.name.clone(),
        };
        match folder.move_new(&found.name, folder, &name.file_name()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            moved => moved?,
        }
        let taken = Self::held(holder, folder, name, found.print, file);
        // Between the look and the rename another instance may have taken the file and a writer may have
        // begun a new one of its name: then this is half a file.
        match folder.look(&taken.name.file_name())? {
            Some(there) if Print::of(&there) == found.print => Ok(Some(taken)),
            Some(_) => taken.put_back().map(|_| None),
            None => Ok(None),
        }
    }

    /// Takes over a file that this owner, or a dead one, had taken. `None`: it is gone.
    pub(crate) fn adopt(
        holder: &Arc<Holder>,
        folder: &Arc<Folder>,
        left: &TakenName,
    ) -> io::Result<Option<Self>> {
        let file = match folder.open_file(&left.file_name()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let name = TakenName {
            owner: holder.owner.clone(),
            ..left.clone()
        };
        if name != *left {
            match folder.move_new(&left.file_name(), folder, &name.file_name()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                moved => moved?,
            }
        }
        let print = Print::of(&file.metadata()?);
        Ok(Some(Self::held(holder, folder, name, print, file)))
    }

    fn held(
        holder: &Arc<Holder>,
        folder: &Arc<Folder>,
        name: TakenName,
        print: Print,
        file: File,
    ) -> Self {
        holder.took();
        Self {
            holder: holder.clone(),
            name,
            print,
            folder: folder.clone(),
            file: Some(file),
            answered: false,
        }
    }

    /// Its message is stored: removes or archives it, and remembers to tell the store.
    pub(crate) fn clean(mut self) -> io::Result<()> {
        clean(&self.holder, &self.folder, &self.name)?;
        self.holder.forget_failures(&self.name.original);
        self.answered = true;
        Ok(())
    }

    /// Nothing of it is stored: gives it its name back, or the next free one.
    pub(crate) fn put_back(mut self) -> io::Result<String> {
        let back = self.move_to(&self.folder)?;
        self.answered = true;
        Ok(back)
    }

    /// It will never be stored as it is: puts it out of the way.
    pub(crate) fn park(mut self) -> io::Result<String> {
        let rejected = self.folder.below(REJECTED, true)?;
        let name = self.move_to(&rejected)?;
        rejected.sync()?;
        self.holder.forget_failures(&self.name.original);
        self.answered = true;
        Ok(name)
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark {
            folder: self.folder.path().to_string_lossy().into_owned(),
            taken: self.name.file_name(),
        }
    }

    fn move_to(&self, target: &Folder) -> io::Result<String> {
        let moved = move_numbered(
            &self.folder,
            &self.name.file_name(),
            target,
            &self.name.original,
        );
        match moved {
            // Another instance took this process for dead and has the file now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(self.name.original.clone()),
            moved => moved,
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let lost = (!self.answered).then(|| self.name.clone());
        self.holder.gave_up(lost);
    }
}

/// Removes or archives a taken file whose message is stored; one that is gone already is fine.
pub(crate) fn clean(holder: &Holder, folder: &Folder, name: &TakenName) -> io::Result<()> {
    let file_name = name.file_name();
    let done = match holder.archive() {
        None => folder.remove(&file_name),
        Some(archive) => {
            let archive = Folder::open_or_create(&archive)?;
            move_numbered(folder, &file_name, &archive, &name.original).map(drop)
        }
    };
    ignore(done, io::ErrorKind::NotFound)?;
    holder.cleaned(name.key());
    Ok(())
}

fn move_numbered(from: &Folder, name: &str, target: &Folder, to: &str) -> io::Result<String> {
    for number in 1..=MAX_NUMBERED {
        let free = numbered(to, number);
        match from.move_new(name, target, &free) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            moved => return moved.map(|()| free),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_names_are_read_back() {
        let name = TakenName {
            owner: "0123456789abcdef01234567".into(),
            id: "00112233445566778899aabbccddeeff".into(),
            original: "a-b-c.xml".into(),
        };
        assert_eq!(TakenName::parse(&name.file_name()), Some(name));
        for other in [
            "a.xml",
            ".taken-",
            ".taken-0123456789abcdef01234567-00112233445566778899aabbccddeeff-",
            ".taken-0123456789abcdef0123456g-00112233445566778899aabbccddeeff-a",
            ".taken-123-456-a",
        ] {
            assert_eq!(TakenName::parse(other), None, "{other}");
        }
    }
}
