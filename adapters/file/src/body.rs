//! The body of a taken file, read in pieces.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use futures_util::stream;
use quayside_adapter_api::{AdapterError, Body, ErrorKind};

use crate::{
    codes, error,
    folder::Print,
    holder::{Holder, blocking},
};

/// The longest piece, in bytes.
const PIECE: u64 = 1 << 20;

/// A file that is being read.
pub(crate) struct Reading {
    pub(crate) holder: Arc<Holder>,
    pub(crate) file: File,
    /// How the file was when it was taken: it must be so at the end.
    pub(crate) print: Print,
    /// Its original name.
    pub(crate) name: String,
    pub(crate) read: u64,
}

impl Reading {
    pub(crate) fn body(self) -> Body {
        Box::pin(stream::try_unfold(Some(self), |reading| async {
            match reading {
                None => Ok(None),
                Some(reading) => blocking(move || reading.next()).await,
            }
        }))
    }

    fn next(mut self) -> Result<Option<(Bytes, Option<Self>)>, AdapterError> {
        let piece = self
            .piece()
            .inspect_err(|_| self.holder.read_failed(&self.name))?;
        if piece.is_empty() {
            return Ok(None);
        }
        let more = self.read < self.print.size;
        Ok(Some((piece, more.then_some(self))))
    }

    fn piece(&mut self) -> Result<Bytes, AdapterError> {
        let wanted = (self.print.size - self.read).min(PIECE);
        let mut piece = Vec::with_capacity(usize::try_from(wanted).expect("at most a MiB"));
        let taken = (&self.file).take(wanted).read_to_end(&mut piece);
        taken.map_err(|cause| error::of_file(&self.path(), "read", &cause))?;
        self.read += piece.len() as u64;
        if piece.len() as u64 != wanted || (self.read == self.print.size && !self.unchanged()?) {
            let detail = format!("{} changed while it was read", self.path().display());
            return Err(AdapterError::new(
                ErrorKind::Retry(None),
                codes::FILE_CHANGED,
                detail,
            ));
        }
        Ok(piece.into())
    }

    fn unchanged(&self) -> Result<bool, AdapterError> {
        let now: io::Result<_> = self.file.metadata();
        let now = now.map_err(|cause| error::of_file(&self.path(), "look at", &cause))?;
        Ok(Print::of(&now) == self.print)
    }

    fn path(&self) -> PathBuf {
        self.holder.settings.folder.join(&self.name)
    }
}
