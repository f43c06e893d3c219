//! Bodies in pieces: one call for a small document, an upload session for a large one.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use quayside_adapter_api::{
    AdapterError, Body, ErrorKind,
    model::{DeliveryId, hash16},
};

use crate::codes;

/// A body cut into pieces of one size, the last of which is known to be the last.
pub(crate) struct Pieces {
    body: Body,
    size: usize,
    /// How much is still to come, if the body has the length that it should have.
    left: u64,
    /// What was read behind the last piece.
    rest: Bytes,
    ended: bool,
}

impl Pieces {
    /// Pieces of `size` bytes of a body of `length` bytes, at least one.
    pub(crate) fn new(body: Body, length: u64, size: usize) -> Self {
        Self {
            body,
            size: size.max(1),
            left: length,
            rest: Bytes::new(),
            ended: false,
        }
    }

    /// The next piece and whether it is the last; an empty body is one empty piece.
    pub(crate) async fn next(&mut self) -> Result<(Bytes, bool), AdapterError> {
        // One allocation for each piece, which goes with it: one buffer for all of them would be doubled and copied
        // while the last piece still holds half of it.
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let mut piece = BytesMut::with_capacity(self.size.min(left));
        loop {
            let room = self.size - piece.len();
            piece.extend_from_slice(&self.rest.split_to(room.min(self.rest.len())));
            // One byte more than a piece tells that it is not the last.
            if self.ended || !self.rest.is_empty() {
                self.left = self.left.saturating_sub(piece.len() as u64);
                return Ok((piece.freeze(), self.rest.is_empty()));
            }
            match self.body.next().await {
                Some(more) => self.rest = more?,
                None => self.ended = true,
            }
        }
    }
}

/// Whether a body had the length that it should have.
///
/// # Errors
/// It had not.
pub(crate) fn whole(sent: u64, length: u64) -> Result<(), AdapterError> {
    if sent == length {
        return Ok(());
    }
    let detail = format!("the content ended after {sent} of {length} bytes");
    Err(AdapterError::new(
        ErrorKind::Retry(None),
        codes::BODY_UNREADABLE,
        detail,
    ))
}

/// The id of the upload session of a delivery: the same for all attempts, so that each can end what an earlier one
/// left open.
pub(crate) fn session(delivery: DeliveryId) -> String {
    guid(&hash16(&[b"upload", delivery.to_string().as_bytes()]))
}

fn guid(bytes: &[u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// What to do with a piece whose answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resume {
    /// The farm has it: the next one.
    Next,
    /// The farm does not have it: the same one again.
    Same,
    /// Nobody can tell: all of it again.
    Restart,
}

/// Compares what the farm expects next with the piece of `length` bytes at `offset`.
pub(crate) fn resume(expected: Option<u64>, offset: u64, length: u64) -> Resume {
    match expected {
        Some(expected) if expected == offset + length => Resume::Next,
        Some(expected) if expected == offset => Resume::Same,
        _ => Resume::Restart,
    }
}

/// The beginning of a range such as `10485760-`.
pub(crate) fn expected(range: &str) -> Option<u64> {
    range.split('-').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn cut(body: &[&'static str], size: usize) -> Vec<(String, bool)> {
        let parts: Vec<Result<Bytes, AdapterError>> = body
            .iter()
            .map(|part| Ok(Bytes::from_static(part.as_bytes())))
            .collect();
        let mut pieces = Pieces::new(Box::pin(stream::iter(parts)), 3, size);
        let mut found = Vec::new();
        loop {
            let (piece, last) = pieces.next().await.expect("no error");
            found.push((String::from_utf8_lossy(&piece).into_owned(), last));
            if last {
                return found;
            }
        }
    }

    #[tokio::test]
    async fn only_the_last_piece_is_the_last() {
        let piece = |text: &str, last| (text.to_owned(), last);
        assert_eq!(cut(&[], 4).await, [piece("", true)]);
        assert_eq!(cut(&["abcd"], 4).await, [piece("abcd", true)]);
        assert_eq!(
            cut(&["ab", "cde", "fghi"], 4).await,
            [piece("abcd", false), piece("efgh", false), piece("i", true)]
        );
    }

    #[test]
    fn a_lost_piece_is_sent_again_only_if_the_farm_lacks_it() {
        assert_eq!(resume(expected("20-"), 10, 10), Resume::Next);
        assert_eq!(resume(expected("10-"), 10, 10), Resume::Same);
        assert_eq!(resume(expected("0-"), 10, 10), Resume::Restart);
        assert_eq!(resume(expected("?"), 10, 10), Resume::Restart);
    }

    #[test]
    fn all_attempts_of_a_delivery_have_one_session() {
        let delivery: DeliveryId = "019aa6a2-0000-7000-8000-000000000001.0"
            .parse()
            .expect("an id");
        let id = session(delivery);
        assert_eq!((id.len(), session(delivery)), (36, id));
    }
}
