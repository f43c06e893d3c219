//! base64 (RFC 4648) with the standard alphabet, padded, in one line.

use crate::{
    Invalid,
    chain::{PIECE, Stage},
};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Encodes one body.
#[derive(Debug, Default)]
pub(super) struct Base64 {
    /// The bytes of the group at hand, two at most.
    group: Vec<u8>,
}

/// The four characters of a group of one to three bytes.
fn characters(group: &[u8]) -> [u8; 4] {
    let byte = |no: usize| u32::from(group.get(no).copied().unwrap_or(0));
    let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
    let mut four = [18, 12, 6, 0].map(|shift| ALPHABET[(bits >> shift & 63) as usize]);
    four[group.len() + 1..].fill(b'=');
    four
}

impl Stage for Base64 {
    fn push(&mut self, bytes: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
        let (piece, rest) = bytes.split_at(bytes.len().min(PIECE / 2));
        *bytes = rest;
        let missing = (3 - self.group.len()).min(piece.len());
        let (first, piece) = piece.split_at(missing);
        self.group.extend_from_slice(first);
        if self.group.len() < 3 {
            return Ok(());
        }
        out.extend_from_slice(&characters(&self.group));
        let groups = piece.chunks_exact(3);
        self.group.clear();
        self.group.extend_from_slice(groups.remainder());
        out.extend(groups.flat_map(characters));
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Invalid> {
        if !self.group.is_empty() {
            out.extend_from_slice(&characters(&self.group));
            self.group.clear();
        }
        Ok(())
    }
}
