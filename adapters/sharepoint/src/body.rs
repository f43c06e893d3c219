//! The content of a document that is taken, read in pieces as it comes.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use quayside_adapter_api::{AdapterError, Body, ErrorKind};
use reqwest::Response;

use crate::{client::Call, codes, document::Document, error, holder::Holder, odata};

/// A document that is being read.
struct Reading {
    holder: Arc<Holder>,
    document: Document,
    read: u64,
}

/// What comes next, and how it goes on after that.
type Piece = Option<(Bytes, (Reading, Option<Response>))>;

/// The content of `document`. It ends with an error if it is not what the document was when it was taken.
pub(crate) fn body(holder: &Arc<Holder>, document: &Document) -> Body {
    let reading = Reading {
        holder: holder.clone(),
        document: document.clone(),
        read: 0,
    };
    Box::pin(stream::try_unfold((reading, None), next))
}

async fn next((mut reading, response): (Reading, Option<Response>)) -> Result<Piece, AdapterError> {
    let mut response = match response {
        Some(response) => response,
        None => reading.open().await?,
    };
    let piece = response.chunk().await;
    match piece.map_err(|cause| reading.broken(&cause))? {
        None => reading.end().await.map(|()| None),
        Some(piece) => {
            reading.read += piece.len() as u64;
            if reading.read > reading.document.size {
                return Err(reading.changed());
            }
            Ok(Some((piece, (reading, Some(response)))))
        }
    }
}

impl Reading {
    async fn open(&self) -> Result<Response, AdapterError> {
        let target = format!("{}/$value", odata::file(&self.document.id));
        let call = Call::document("reading a document", target);
        let opened = self.holder.library.client.open(&call).await;
        opened.map_err(|failure| passing(failure.error()))
    }

    /// The checkout keeps others from it, but an administrator can end a checkout.
    async fn end(&self) -> Result<(), AdapterError> {
        let now = self.holder.library.look(&self.document.id).await;
        let now = now.map_err(passing)?;
        let same = now.is_some_and(|now| now.etag == self.document.etag);
        if same && self.read == self.document.size {
            return Ok(());
        }
        Err(self.changed())
    }

    fn changed(&self) -> AdapterError {
        let detail = format!("{} changed while it was read", self.document.path);
        AdapterError::new(ErrorKind::Retry(None), codes::DOCUMENT_CHANGED, detail)
    }

    fn broken(&self, cause: &reqwest::Error) -> AdapterError {
        let detail = format!("reading {}: {}", self.document.path, error::chain(cause));
        AdapterError::new(ErrorKind::Retry(None), codes::NOT_REACHED, detail)
    }
}

/// A failure of the way, and not of the content: a document that was fine when it was taken is not refused for good
/// because the farm wanted another login for a moment.
fn passing(error: AdapterError) -> AdapterError {
    let kind = match error.kind {
        ErrorKind::Retry(after) => ErrorKind::Retry(after),
        _ => ErrorKind::Retry(None),
    };
    AdapterError { kind, ..error }
}
