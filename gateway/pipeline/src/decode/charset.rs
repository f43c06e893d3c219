//! From a character set to UTF-8.

use encoding_rs::{DecoderResult, Encoding};

use crate::{
    Invalid,
    chain::{PIECE, Stage},
    codes,
    declaration::Declaration,
};

/// Converts text to UTF-8. What an XML declaration says of the encoding is left out, because it is no longer so.
pub(super) struct Charset {
    name: &'static str,
    decoder: encoding_rs::Decoder,
    offset: u64,
    declaration: Declaration,
}

impl std::fmt::Debug for Charset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Charset");
        shown
            .field("name", &self.name)
            .field("offset", &self.offset);
        shown
            .field("declaration", &self.declaration)
            .finish_non_exhaustive()
    }
}

impl Charset {
    pub(super) fn new(encoding: &'static Encoding) -> Self {
        Self {
            name: encoding.name(),
            decoder: encoding.new_decoder(),
            offset: 0,
            declaration: Declaration::new(None),
        }
    }

    fn convert(&mut self, bytes: &[u8], last: bool, out: &mut Vec<u8>) -> Result<(), Invalid> {
        let mut rest = bytes;
        let mut buffer = [0; 4096];
        loop {
            let (result, read, written) =
                self.decoder
                    .decode_to_utf8_without_replacement(rest, &mut buffer, last);
            self.offset += read as u64;
            rest = &rest[read..];
            self.declaration.pass(&buffer[..written], out);
            match result {
                DecoderResult::InputEmpty => return Ok(()),
                DecoderResult::OutputFull => {}
                DecoderResult::Malformed(_, _) => {
                    let detail = format!("bytes that are not valid in {}", self.name);
                    return Err(Invalid::new(codes::BAD_UTF, self.offset, detail));
                }
            }
        }
    }
}

impl Stage for Charset {
    fn push(&mut self, bytes: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
        // A byte becomes three at most.
        let (piece, rest) = bytes.split_at(bytes.len().min(PIECE / 3));
        *bytes = rest;
        self.convert(piece, false, out)
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Invalid> {
        self.convert(&[], true, out)?;
        self.declaration.finish(out);
        Ok(())
    }
}
